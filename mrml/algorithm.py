"""The contract between algorithms and engines: State travels down, Statistics travel up.

A round broadcasts the State; every Split maps its Blocks to keyed Statistics; equal keys merge; each
key is reduced where it lands; the driver folds the values into the next State::

    init(schema) -> State
    map(state, block, into)                 into[key] is the Statistic to fill
    map_shard(state, shard, into)           the same, of a run of Blocks whole, where ``reads`` asks for that
    reduce(state, key, statistic) -> value  default: the statistic
    update(state, values) -> State
    ahead(state, blocks) -> State           optional: several rounds in one go, where all rows are in one process
    model(state, schema) -> Model

An algorithm is a frozen dataclass of its hyperparameters and knows no engine.  Keys are strings.
"""

from __future__ import annotations

import dataclasses
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mrml import names
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard
from mrml.errors import ConfigError
from mrml.model import Model
from mrml.params import by_name, check, check_type, meant, once, unknown
from mrml.schema import Schema
from mrml.statistic import Into, Statistic

Value = Any


@dataclass(frozen=True)
class State:
    """What a round starts from and a checkpoint contains; frozen.

    Attributes
    ----------
    params : mapping
        Everything the algorithm needs: dicts, lists, numbers, texts and arrays.  ``state["name"]`` reads one.
    round : int
        Number of rounds done.
    stop : str or None
        The reason for stopping, as a sentence; None: continue.
    converged : bool
        False only if the run stopped because it reached its maximum number of rounds.
    """

    params: Mapping[str, Any]
    round: int = 0
    stop: str | None = None
    converged: bool = True

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def next(self, stop: str | None = None, converged: bool = True, **params: Any) -> State:
        """The State after this round, with some parameters replaced; ``stop`` ends the run and says why."""
        return State({**self.params, **params}, self.round + 1, stop, converged)

    def to_wire(self) -> dict[str, Any]:
        return {"params": dict(self.params), "round": self.round, "stop": self.stop, "converged": self.converged}

    @staticmethod
    def from_wire(tree: Mapping[str, Any]) -> State:
        return State(tree["params"], tree["round"], tree["stop"], tree["converged"])


class Algorithm(ABC):
    """The contract of an algorithm: a frozen dataclass of hyperparameters with five methods.

    ``init`` makes the first State.  In each round, ``map`` adds what it computes from a block of rows to Statistics,
    equal keys are merged, and ``update`` makes the next State of them.  ``model`` makes the Model of the last State.
    ``statistic`` says what is summed under a key.  The other methods have defaults.
    """

    #: what the target must be: "none", "numeric", "binary", "classes", or "auto", which design "codes" looks up
    target: ClassVar[str] = "none"
    #: True when ``map`` standardises by itself (``block.standardised()``); otherwise ``block.X``
    #: already is standardised where the configuration asks for it
    lazy: ClassVar[bool] = False
    #: what ``block.X`` holds: "matrix", numbers; "columns", the same, with facts of the target in the design; "bins",
    #: uint8 codes of at most ``max_bin`` bins a column; or "codes", the numeric columns, with the codes of the
    #: categorical ones in ``block.coded`` and the facts
    design: ClassVar[str] = "matrix"
    #: whether rows are judged within the groups of the group column
    grouped: bool = False
    #: runs of training blocks that its rounds read whole; 0: they read Block by Block
    shards: int = 0
    #: whether the numeric columns are standardised; None, of a hyperparameter: where the columns are not sparse
    standardise: ClassVar[bool | None] = True
    #: what its rounds do, in a word, where they train nothing: what `mrml runs` calls them
    does: ClassVar[str] = ""
    #: what to do about many rounds where each is a job on a cluster
    fewer_rounds: ClassVar[str] = ""
    #: hyperparameters of other libraries without a counterpart, and what to do instead
    no_counterpart: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def init(self, schema: Schema) -> State:
        """Make the State before the first round.

        ``schema.design`` (:class:`~mrml.extend.Design`) describes the matrix: names and number of columns, classes,
        number of rows, sum of weights.
        """

    @abstractmethod
    def statistic(self, state: State, key: str) -> Statistic:
        """Make an empty Statistic for a key that ``map`` uses."""

    @abstractmethod
    def map(self, state: State, block: Block, into: Into) -> None:
        """Add what is computed from one block to ``into[key]``.

        ``block.X`` is (n_rows, n_features), ``block.y`` (n_rows,) or None, ``block.weight`` (n_rows,) or None,
        ``block.part`` ``"train"`` or ``"valid"``.  A block may have no rows.  The result must not depend on how
        many blocks or tasks there are.
        """

    def reads(self, state: State) -> Reads:
        """What the next round reads; default: every Block."""
        return Reads()

    def map_shard(self, state: State, shard: Shard, into: Into) -> None:
        """Like ``map``, for a whole shard, in rounds that read shards."""
        raise NotImplementedError

    def keeps(self, state: State) -> tuple[str, ...]:
        """Names of block memos worth keeping between jobs; a block that has the first one needs no columns."""
        return ()

    def alike(self, state: State) -> bytes | None:
        """Everything except the rows that this round's maps and reduces depend on.

        Two algorithms that return the same bytes compute the same statistics, so that one may compute them for both.
        None: never the same as those of another.
        """
        return None

    def broadcast(self, state: State) -> State:
        """The part of the State that map tasks need; ``reduce`` and ``update`` get all of it."""
        return state

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        """Turn the complete Statistic of a key into what ``update`` gets; default: the Statistic itself."""
        return statistic

    @abstractmethod
    def update(self, state: State, values: Mapping[str, Value]) -> State:
        """Make the next State of the values of a round, by key; return ``state.next(...)``."""

    def goes_ahead(self, state: State) -> bool:
        """Whether :meth:`ahead` may know a shorter way from here than rounds."""
        return False

    def ahead(self, state: State, blocks: Iterable[Block]) -> State | None:
        """The State after some more rounds, to the byte, where one process holds every Block; None if it is no shorter.

        Nobody is told of the States between nor can stop there, so the way should take milliseconds, and what
        :meth:`progress` says must not change on it.
        """
        raise NotImplementedError

    @abstractmethod
    def model(self, state: State, schema: Schema) -> Model:
        """Make the Model of the last State."""

    def decided(self, schema: Schema) -> Algorithm:
        """The algorithm with what was left to the columns: whether to standardise them."""
        if self.standardise is not None:
            return self
        return dataclasses.replace(self, standardise=not schema.absent_is_zero)  # type: ignore[type-var]

    def wants_scale(self) -> bool:
        """Whether the design comes with ``center`` and ``scale``: by default where it standardises."""
        return bool(self.standardise)

    def to_refit(self, states: Sequence[State]) -> dict[str, Any]:
        """Hyperparameters that take the place of its own where it is trained on all rows, of which some told these runs
        of it when to stop."""
        return {}

    def check_here(self) -> None:
        """Raise ConfigError if this machine lacks something that tasks need; called if tasks run on it."""
        return None

    def expected_rounds(self) -> int:
        """The maximum number of rounds, for the plan and the ETA."""
        return 1

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        """The maximum number of rounds, once the number of training rows or a State is known."""
        return self.expected_rounds()

    def progress(self, state: State) -> dict[str, float]:
        """Values to print after each round, ``loss`` and ``step`` first; ``device`` may be a text."""
        return {}

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            check_type(f, getattr(self, f.name), types[f.name])
            check(f, getattr(self, f.name))
            if f.metadata.get("code") and ":" in getattr(self, f.name):
                names.allow(getattr(self, f.name))

    def spec(self) -> dict[str, Any]:
        """Class and hyperparameters as JSON values; :func:`from_spec` is the inverse."""
        params = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"class": names.name_of(type(self)), "params": params}

    def told(self, *without: str) -> dict[str, Any]:
        """Hyperparameters as a model tells them: nothing of where it began, nor of others that made no difference."""
        return {k: v for k, v in self.spec()["params"].items() if k not in ("init_model", *without)}


def hyperparameters(cls: type[Algorithm]) -> dict[str, dataclasses.Field[Any]]:
    """The public hyperparameters of an algorithm, by name."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return {f.name: f for f in fields if not f.metadata.get("internal")}


def field_type(cls: type[Algorithm], name: str) -> Any:
    """The resolved type annotation of a hyperparameter."""
    return typing.get_type_hints(cls)[name]


def build(cls: type[Algorithm], params: Mapping[str, Any]) -> Algorithm:
    """The algorithm with these hyperparameters, by any of their names; ConfigError for one that is unknown."""
    known, place = hyperparameters(cls), f"algorithm {cls.__name__.lower()}"
    field_of = by_name(known)
    for name in params:
        if name not in field_of:
            raise ConfigError(place, f"unknown key {name!r}", unknown(name, field_of, cls.no_counterpart))
    once(params, field_of, place)
    return cls(**{field_of[name]: meant(known[field_of[name]], value) for name, value in params.items()})


def load_class(path: str, base: type) -> Any:
    """The class at ``module:Name`` that the user asks for; ConfigError when it is not there or not a ``base``."""
    names.allow(path)
    found = names.imported(path)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(path, f"is not a subclass of {base.__module__}.{base.__name__}")
    return found


def from_spec(spec: Mapping[str, Any]) -> Algorithm:
    """The algorithm that :meth:`Algorithm.spec` described."""
    cls = names.find(spec["class"], Algorithm, "algorithm")
    found: Algorithm = cls(**{k: _revive(v) for k, v in spec["params"].items()})
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Algorithm):
        return {"algorithm": value.spec()}
    if isinstance(value, Schema):
        return {"schema": value.to_json()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _revive(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"algorithm"}:
        return from_spec(value["algorithm"])
    if isinstance(value, dict) and set(value) == {"schema"}:
        return Schema.from_json(value["schema"])
    if isinstance(value, list):
        return tuple(_revive(v) for v in value)
    return value
