"""A search among candidates as one Algorithm: training and judging take turns, one scan a round for all of them.

Training is a :class:`~mrml.algorithms.search.grid.Grid`: of every candidate a member without each fold, or one of all
rows where there are others to validate with.  Judging is a Grid of evaluations of their models, so many at a time as a
process can rank.  With ``rungs`` (successive halving: Jamieson and Talwalkar, "Non-stochastic best arm identification",
AISTATS 2016) training pauses after those rounds, candidates are judged, and only the best go on.  With ``brackets``
candidates compete with those of their own bracket, from the rung of its number on (Hyperband: Li et al., JMLR 2018),
and all brackets train side by side.  All of it is in the State: a search that is killed goes on from its last round.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.evaluation.parts import Metrics
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.search.dealt import check_dealt
from mrml.algorithms.search.fold import Held, without_fold
from mrml.algorithms.search.grid import Grid, member_name
from mrml.algorithms.search.judging import judges_of, models_of, n_bytes
from mrml.algorithms.search.parting import BY, Parting
from mrml.algorithms.search.scores import METRICS, Standing
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard
from mrml.model import Model
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic

#: rows whose scores are ranked in one round, of all members together: 24 bytes each travel
JUDGED_ROWS = 1 << 23
#: members that are judged in one round
JUDGED_MEMBERS = 256


def _stops_early(algorithm: Algorithm) -> bool:
    return bool(getattr(algorithm, "early_stopping", 0))


@dataclass(frozen=True)
class Search(Algorithm):
    """Trains candidates side by side, judges them, and says which is the best."""

    candidates: tuple[Any, ...] = param((), "pipelines of the candidates", internal=True)
    schema: Schema = param(Schema(()), "columns of the raw blocks", internal=True)
    folds: int = param(5, "folds to judge by; 0: by the rows to validate with", low=0, internal=True)
    by: str = param("row", "what of a row decides on its fold", choices=BY, internal=True)
    seed: int = param(0, "of the draws of folds", internal=True)
    cuts: tuple[float, ...] = param((), "by date: where stretches begin", internal=True)
    span: int = param(0, "by date: stretches before a fold that are trained on; 0 all", internal=True)
    column: int = param(-1, "by date: number of the feature that is the time", internal=True)
    metric: str = param("", "what is judged by; default by the target", choices=("", *METRICS), internal=True)
    rungs: tuple[int, ...] = param((), "rounds of training after which the worse leave", internal=True)
    eta: float = param(3.0, "of so many candidates one goes on", low=1.0, internal=True)
    brackets: tuple[int, ...] = param((), "of every candidate the first rung at which it may leave", internal=True)
    share: float = param(1.0, "of the rows, that candidates are trained on", low=0.0, high=1.0, internal=True)
    watches: bool = param(False, "whether the rows of a fold tell its members when to stop", internal=True)
    max_bytes: int = param(0, "of a model that may be the best; 0 any", low=0, internal=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = (dataclasses.replace(c, schema=self.schema) if not c.schema.columns else c for c in self.candidates)
        object.__setattr__(self, "candidates", tuple(whole))

    def spec(self) -> dict[str, Any]:
        """As of every algorithm, but that the schema, which all candidates have, is told once."""
        told = super().spec()
        for candidate in told["params"]["candidates"]:
            del candidate["algorithm"]["params"]["schema"]
        return told

    @cached_property
    def parting(self) -> Parting:
        """How rows are dealt to folds."""
        return Parting(max(self.folds, 2), self.by, self.seed, self.cuts, self.span, self.column)

    @property
    def each(self) -> int:
        """Members of a candidate."""
        return self.folds or 1

    @cached_property
    def trainer(self) -> Grid:
        """Member ``candidate * each + fold`` trains a candidate without a fold."""
        if not self.folds:
            some = [without_fold(c, None, self.parting, self.share) for c in self.candidates] if self.share < 1 else ()
            return Grid(tuple(some) or self.candidates, self._names(""), forgiving=True)
        members = [
            without_fold(c, k, self.parting, self.share, self.watches and _stops_early(c.algorithm))
            for c in self.candidates
            for k in range(self.folds)
        ]
        return Grid(tuple(members), self._names(", without fold {}"), forgiving=True)

    @cached_property
    def judges(self) -> Grid:
        """The evaluation of every member."""
        rows, parting = "fold" if self.folds else "valid", dataclasses.asdict(self.parting)
        judges = [Held(Evaluate(), k, rows=rows, **parting) for k in range(self.each)] * len(self.candidates)
        return Grid(tuple(judges), self._names(", fold {}"), forgiving=True)

    def _names(self, ending: str) -> tuple[str, ...]:
        return tuple(f"trial {c}" + ending.format(k) for c in range(len(self.candidates)) for k in range(self.each))

    def init(self, schema: Schema) -> State:
        train = self.trainer.init(schema)
        judged: dict[str, Any] = {"judge": None, "waiting": [], "metrics": {}, "rung": 0, "dropped": {}}
        state = State({"phase": "train", "train": train.to_wire(), **judged})
        return state if train.stop is None else self._decided(state, 0)

    # ---- what one of the two Grids does

    def _now(self, state: State) -> tuple[Grid, State]:
        grid = self.trainer if state["phase"] == "train" else self.judges
        return grid, State.from_wire(state[state["phase"]])

    def reads(self, state: State) -> Reads:
        grid, inner = self._now(state)
        return grid.reads(inner)

    def broadcast(self, state: State) -> State:
        grid, inner = self._now(state)
        return State(
            {"phase": state["phase"], state["phase"]: grid.broadcast(inner).to_wire()}, state.round, state.stop
        )

    def statistic(self, state: State, key: str) -> Statistic:
        grid, inner = self._now(state)
        return grid.statistic(inner, key)

    def map(self, state: State, block: Block, into: Into) -> None:
        grid, inner = self._now(state)
        grid.map(inner, block, into)

    def map_shard(self, state: State, shard: Shard, into: Into) -> None:
        grid, inner = self._now(state)
        grid.map_shard(inner, shard, into)

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        grid, inner = self._now(state)
        return grid.reduce(inner, key, statistic)

    def keeps(self, state: State) -> tuple[str, ...]:
        grid, inner = self._now(state)
        return grid.keeps(inner)

    # ---- training and judging in turns

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        grid, inner = self._now(state)
        after = grid.update(inner, values)
        if state["phase"] == "train":
            if after.round == 1 and self.folds and self.share == 1.0:
                check_dealt(self.parting, self.trainer, after, 0)
            after = self._without_failed(after)
        next_ = State({**state.params, state["phase"]: after.to_wire()}, state.round + 1)
        if state["phase"] == "judge":
            return next_ if after.stop is None else self._judged(next_)
        pause = state["rung"] < len(self.rungs) and after.round >= self.rungs[state["rung"]]
        return self._to_judge(next_) if after.stop is not None or pause else next_

    def _without_failed(self, train: State) -> State:
        """A candidate that fails in a fold is none any more: its other members leave."""
        failed = {int(name) // self.each for name in train["failed"]}
        return self._ended(train, failed, "the candidate failed without another fold") if failed else train

    def _ended(self, train: State, candidates: Collection[int], why: str) -> State:
        """Training without the members of some candidates."""
        members = dict(train["members"])
        for name in (member_name(c * self.each + k) for c in candidates for k in range(self.each)):
            if members[name]["stop"] is None:
                members[name] = {**members[name], "stop": why, "converged": False}
        return State({**train.params, "members": members}, train.round, *self.trainer.over(members))

    def hurried(self, state: State, why: str) -> State:
        """The State in which training is over, wherever it is, and what has learned something is judged."""
        if state["phase"] != "train" or state.stop is not None:
            return state
        train = State.from_wire(state["train"])
        cut = sorted({int(name) // self.each for name, tree in train["members"].items() if tree["stop"] is None})
        told = {"train": self._ended(train, cut, why).to_wire(), "cut": cut}
        return self._to_judge(State({**state.params, **told}, state.round))

    def _bracket(self, candidate: int) -> int:
        return self.brackets[candidate] if self.brackets else 0

    def _to_judge(self, state: State) -> State:
        """All members that have learned something since they were judged, to be judged, where it decides something."""
        train, known = State.from_wire(state["train"]), state["metrics"]
        waiting = [
            number
            for number in range(len(self.trainer.members))
            if str(number // self.each) not in state["dropped"]
            and (train.stop is not None or self._bracket(number // self.each) <= state["rung"])
            and member_name(number) not in train["failed"]
            and known.get(member_name(number), {}).get("round") != self.trainer.state_of(train, number).round
        ]
        return self._batch(State({**state.params, "waiting": waiting}, state.round))

    def _batch(self, state: State) -> State:
        """The next candidates, to be judged side by side; when there are none any more, what comes of it."""
        train, waiting = State.from_wire(state["train"]), list(state["waiting"])
        judges: dict[str, Any] = {}
        while waiting and len(judges) < self._room(train):
            candidate = waiting[0] // self.each
            numbers = [n for n in waiting if n // self.each == candidate]
            found = judges_of(self._models(train, candidate), numbers, self.each, self.parting, self.schema)
            judges |= {member_name(number): tree for number, tree in found.items()}
            waiting = waiting[len(numbers) :]
        if not judges:
            return self._decided(state, state["rung"])
        judge = State({"members": judges, "failed": {}, "common": {}}).to_wire()
        return State({**state.params, "phase": "judge", "judge": judge, "waiting": waiting}, state.round)

    def _room(self, train: State) -> int:
        """Members whose scores can be ranked in one round, by the rows that they are trained on."""
        states = (self.trainer.state_of(train, number) for number in range(len(self.trainer.members)))
        n_rows = max((int(f["n_rows"]) for s in states if (f := s.params.get("fitted"))), default=1)
        return min(max(JUDGED_ROWS * max(self.each - 1, 1) // n_rows, 1), JUDGED_MEMBERS)

    def _models(self, train: State, candidate: int) -> dict[int, PipelineModel]:
        numbers = range(candidate * self.each, (candidate + 1) * self.each)
        return models_of(self.trainer, train, numbers, self.schema)

    def _judged(self, state: State) -> State:
        """Take in what the judges found; on to the next ones."""
        judge, train = State.from_wire(state["judge"]), State.from_wire(state["train"])
        metrics = dict(state["metrics"])
        for name in judge["members"]:
            if name not in judge["failed"]:
                found = self.judges.model_of(judge, int(name), self.schema)
                assert isinstance(found, Metrics)
                at = {"round": self.trainer.state_of(train, int(name)).round}
                own = models_of(self.trainer, train, [int(name)], self.schema)[int(name)] if self.max_bytes else None
                metrics[name] = {**at, **({"bytes": n_bytes(own)} if own else {}), **found.metrics}
        return self._batch(State({**state.params, "judge": None, "metrics": metrics}, state.round))

    def _decided(self, state: State, rung: int) -> State:
        """All are judged: the worse leave and the others go on; or it is over."""
        train, ranking = State.from_wire(state["train"]), self.standing(state).ranking
        if train.stop is not None:
            best = f"; the best is {ranking[0]}" if ranking else ""
            stop = f"{len(self.candidates)} candidates are judged{best}"
            return State({**state.params, "phase": "train"}, state.round, stop, bool(ranking))
        left = [c for c in ranking if str(c) not in state["dropped"] and self._bracket(c) <= rung]
        worse: list[int] = []
        for bracket in sorted({self._bracket(c) for c in left}):
            own = [c for c in left if self._bracket(c) == bracket]
            worse += own[max(math.ceil(len(own) / self.eta), 1) :]
        dropped = {**state["dropped"], **{str(c): rung for c in worse}}
        train = self._ended(train, worse, f"left after round {train.round}, at rung {rung}")
        told = {"phase": "train", "train": train.to_wire(), "dropped": dropped, "rung": rung + 1}
        after = State({**state.params, **told}, state.round)
        return after if train.stop is None else self._decided(after, rung + 1)

    # ---- what is told

    def standing(self, state: State) -> Standing:
        """What is known of the candidates."""
        return Standing(state, len(self.candidates), self.each, len(self.rungs), self.metric, self.max_bytes)

    def refit_with(self, state: State, candidate: int) -> dict[str, Any]:
        """Hyperparameters that take the place of a candidate's where it is trained on all rows."""
        train, algorithm = State.from_wire(state["train"]), self.candidates[candidate].algorithm
        numbers = range(candidate * self.each, (candidate + 1) * self.each)
        inner = [self.trainer.state_of(train, n).params.get("inner") for n in numbers]
        found: dict[str, Any] = algorithm.to_refit([State.from_wire(tree) for tree in inner if tree])
        return found if self.watches else {}

    def model(self, state: State, schema: Schema) -> Model:
        return Metrics({"trials": self.standing(state).results()})

    def check_here(self) -> None:
        self.trainer.check_here()

    def expected_rounds(self) -> int:
        judging = 2 * math.ceil(len(self.trainer.members) / JUDGED_MEMBERS) * (len(self.rungs) + 1)
        return self.trainer.expected_rounds() + judging

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        if state is None:
            return self.expected_rounds()
        train = State.from_wire(state["train"])
        return state.round - train.round + self.trainer.rounds_in_all(train, n_rows) + 2

    def progress(self, state: State) -> dict[str, float]:
        train = State.from_wire(state["train"])
        told = self.trainer.progress(train)
        left = len(self.candidates) - len(state["dropped"])
        return {**told, "candidates": float(left), "judged": float(len(state["metrics"]) // self.each)}
