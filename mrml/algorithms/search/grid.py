"""Many algorithms over one pass of the data: each Block is read once for all of them.

A member's statistics, values and State are its own, under keys that begin with its number, so that its model has the
bytes of training it alone.  Members that say that they are alike in a round (``Algorithm.alike``: candidates whose
transforms are the same, penalties of which only the driver knows) share one pass and one statistic.  Members that have
finished leave: no task hears of them any more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.search.common import learned, packed, unpacked, used
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard
from mrml.errors import ConfigError, EngineError, InputError
from mrml.model import Model, describe, revive
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic

log = logging.getLogger(__name__)
_BAR = "|"


@dataclass(frozen=True)
class Grid(Algorithm):
    """Trains all of its members side by side.

    With ``forgiving`` a member that data or configuration end, a loss that is not finite for example, fails for itself:
    its State says why, and it has no model.
    """

    members: tuple[Any, ...] = param((), "the algorithms", internal=True)
    names: tuple[str, ...] = param((), "what errors call them; default their numbers", internal=True)
    forgiving: bool = param(False, "whether a member may fail and the others go on", internal=True)

    def init(self, schema: Schema) -> State:
        members: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for number, member in enumerate(self.members):
            found = self._tried(number, 0, lambda member=member: member.init(schema), failed)
            members[member_name(number)] = found.to_wire()
        return State({"members": members, "failed": failed, "common": {}}, 0, *self.over(members))

    # ---- up

    def reads(self, state: State) -> Reads:
        return self._opened(state).reads

    def broadcast(self, state: State) -> State:
        """Of members that take part what their tasks need."""
        opened = self._opened(state)
        ids = {id(tree): digest for digest, tree in state["common"].items()}
        told = {member_name(n): packed(self.members[n].broadcast(s), ids) for n, s in opened.states.items()}
        params = {"members": told, "failed": {}, "common": used(told, state["common"])}
        return State(params, state.round, state.stop, state.converged)

    def statistic(self, state: State, key: str) -> Statistic:
        number, own = _parted(key)
        found: Statistic = self.members[number].statistic(self._opened(state).states[number], own)
        return found

    def map(self, state: State, block: Block, into: Into) -> None:
        opened = self._opened(state)
        for number in opened.leaders:
            if getattr(opened.own_reads[number], block.part):
                self.members[number].map(opened.states[number], block, _Own(into, number))

    def map_shard(self, state: State, shard: Shard, into: Into) -> None:
        opened = self._opened(state)
        for number in opened.leaders:
            self.members[number].map_shard(opened.states[number], shard, _Own(into, number))

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        number, own = _parted(key)
        return self.members[number].reduce(self._opened(state).states[number], own, statistic)

    def keeps(self, state: State) -> tuple[str, ...]:
        """What all members need, where one memo can stand for the columns of all."""
        opened = self._opened(state)
        found = [self.members[n].keeps(opened.states[n]) for n in opened.states]
        if len({names[:1] for names in found}) != 1:
            return ()
        return tuple(dict.fromkeys(name for names in found for name in names))

    # ---- down

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        opened, split, failed = self._opened(state), _by_member(values), dict(state["failed"])
        after = {}
        for number, before in opened.states.items():
            own = split.get(opened.leader_of[number], {})
            after[number] = self._tried(
                number, before.round + 1, lambda n=number, s=before, v=own: self._after(n, s, v), failed
            )
        twins = Counter(opened.leader_of.values())
        new, ids = learned(s for n, s in after.items() if twins[opened.leader_of[n]] > 1)
        ids |= {id(tree): digest for digest, tree in state["common"].items()}
        members = {**state["members"], **{member_name(n): packed(s, ids) for n, s in after.items()}}
        common = used(members, {**new, **state["common"]})
        params = {"members": members, "failed": failed, "common": common}
        return State(params, state.round + 1, *self.over(members))

    def _after(self, number: int, before: State, values: Mapping[str, Value]) -> State:
        if not values:
            raise InputError("data", "no row was found", "look at the files with `mrml schema`")
        after: State = self.members[number].update(before, values)
        if after.round != before.round + 1:
            raise EngineError("update", f"went from round {before.round} to {after.round}", "use state.next(...)")
        return after

    def _tried(self, number: int, round_: int, step: Any, failed: dict[str, str]) -> State:
        """The State after a step of a member; where it fails and may, a State that stops."""
        try:
            found: State = step()
            return found
        except (InputError, ConfigError) as error:
            if not self.forgiving:
                place = f"{self.called(number)}, {error.place}" if self.names or len(self.members) > 1 else error.place
                raise type(error)(place, error.finding, error.remedy) from error
            log.warning("%s ends: %s", self.called(number), error)
            failed[member_name(number)] = str(error)
            return State({}, round_, f"failed: {error}", converged=False)

    @staticmethod
    def over(members: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, bool]:
        """Why a Grid of these members' States stops, and whether all of them converged."""
        if any(tree["stop"] is None for tree in members.values()):
            return None, True
        return f"all {len(members)} members are done", all(tree["converged"] for tree in members.values())

    def called(self, number: int) -> str:
        """What a member is called."""
        return self.names[number] if self.names else f"member {number}"

    def state_of(self, state: State, number: int) -> State:
        """The State of a member; where a limit of rounds ended the run, ended by it."""
        found = unpacked(state["members"][member_name(number)], state["common"])
        if state.stop is not None and found.stop is None:
            return State(found.params, found.round, state.stop, state.converged)
        return found

    def model_of(self, state: State, number: int, schema: Schema) -> Model | None:
        """The model of a member, byte for byte that of training it alone; None where it failed."""
        if member_name(number) in state["failed"]:
            return None
        found: Model = self.members[number].model(self.state_of(state, number), schema)
        return found

    def model(self, state: State, schema: Schema) -> GridModel:
        return GridModel([self.model_of(state, n, schema) for n in range(len(self.members))])

    # ---- what is told

    def check_here(self) -> None:
        for member in self.members:
            member.check_here()

    def expected_rounds(self) -> int:
        return max((int(member.expected_rounds()) for member in self.members), default=1)

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        if state is None:
            return max((int(m.rounds_in_all(None, n_rows)) for m in self.members), default=1)
        live = _live(state)
        return max((int(self.members[n].rounds_in_all(s, n_rows)) for n, s in live), default=state.round)

    def progress(self, state: State) -> dict[str, float]:
        """Of the first member that still trains, and how many do."""
        live = list(_live(state))
        told = dict(self.members[live[0][0]].progress(live[0][1])) if live else {}
        return {**told, "training": float(len(live))}

    def _opened(self, state: State) -> _Opened:
        """The members of a State; the last one is kept, since every block of a round asks for it."""
        kept = self.__dict__.get("_kept")
        if kept is None or kept.params is not state.params:
            kept = self.__dict__["_kept"] = _Opened(self.members, state)
        found: _Opened = kept
        return found


class _Opened:
    """Who takes part in a round.

    ``states`` of those members by number; a round reads Blocks, or shards of one number: what most members ask for,
    the others wait.  ``leader_of`` each is the first member that is alike.
    """

    def __init__(self, members: tuple[Any, ...], state: State) -> None:
        self.params = state.params
        live = dict(_live(state))
        wanted = {n: members[n].reads(s) for n, s in live.items()}
        counts = Counter(reads.shards for reads in wanted.values())
        shards = max(counts, key=lambda n: counts[n], default=0)
        self.own_reads: dict[int, Reads] = {n: reads for n, reads in wanted.items() if reads.shards == shards}
        self.states: dict[int, State] = {n: live[n] for n in self.own_reads}
        self._members = members

    @property
    def reads(self) -> Reads:
        """What all of them read together."""
        own = self.own_reads.values()
        shards = next(iter(own)).shards if own else 0
        return Reads(any(r.train for r in own), any(r.valid for r in own), shards)

    @cached_property
    def leader_of(self) -> dict[int, int]:
        """The number of the member that computes for each."""
        first: dict[tuple[bytes, Reads], int] = {}
        found = {}
        for number, state in self.states.items():
            same = self._members[number].alike(state)
            reads = self.own_reads[number]
            found[number] = number if same is None else first.setdefault((same, reads), number)
        return found

    @cached_property
    def leaders(self) -> list[int]:
        """The members that compute."""
        return sorted(set(self.leader_of.values()))


class _Own(Into):
    """What a member fills: its own keys of the Grid's."""

    def __init__(self, into: Into, number: int) -> None:
        self._into, self._prefix = into, member_name(number) + _BAR

    def __getitem__(self, key: str) -> Statistic:
        return self._into[self._prefix + key]


class GridModel(Model):
    """The models of all members; None for one that failed."""

    def __init__(self, models: list[Model | None]) -> None:
        self.models = models

    def header(self) -> dict[str, Any]:
        return {"members": [None if model is None else describe(model) for model in self.models]}

    def arrays(self) -> dict[str, Array]:
        there = [(n, model) for n, model in enumerate(self.models) if model is not None]
        return {f"{member_name(n)}.{name}": array for n, model in there for name, array in model.arrays().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> GridModel:
        own: list[dict[str, Array]] = [{} for _ in header["members"]]
        for name, array in arrays.items():
            number, _, rest = name.partition(".")
            own[int(number)][rest] = array
        pairs = zip(header["members"], own, strict=True)
        return cls([None if told is None else revive(told, found) for told, found in pairs])


def member_name(number: int) -> str:
    """What a member is called among a State's."""
    return f"{number:05d}"


def _parted(key: str) -> tuple[int, str]:
    number, _, own = key.partition(_BAR)
    return int(number), own


def _by_member(values: Mapping[str, Value]) -> dict[int, dict[str, Value]]:
    found: dict[int, dict[str, Value]] = {}
    for key, value in values.items():
        number, own = _parted(key)
        found.setdefault(number, {})[own] = value
    return found


def _live(state: State) -> Iterator[tuple[int, State]]:
    """The members that have not stopped."""
    for name, tree in state["members"].items():
        if tree["stop"] is None:
            yield int(name), unpacked(tree, state["common"])
