"""An algorithm over the rows of all folds but one, and one over those of a fold: training and judging apart.

What is left out of training is left out of everything: transforms are fitted, bins cut and classes counted on the other
rows alone, so that nothing of the fold leaks into the model.  Rows to validate with, which files of their own hold, are
no part of any fold and stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.search.parting import BY, Part, Parting
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard
from mrml.model import Model
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic


@dataclass(frozen=True)
class Around(Algorithm):
    """Runs another algorithm; a subclass says on which rows."""

    algorithm: Any = param(None, "the algorithm that runs", internal=True)
    fold: int = param(0, "number of the fold, from 0; -1 none", low=-1, internal=True)
    folds: int = param(5, "folds in all", low=2, internal=True)
    by: str = param("row", "what of a row decides on its fold", choices=BY, internal=True)
    seed: int = param(0, "of the draws of folds", internal=True)
    cuts: tuple[float, ...] = param((), "by date: where stretches begin", internal=True)
    span: int = param(0, "by date: stretches before a fold that are trained on; 0 all", internal=True)
    column: int = param(-1, "by date: number of the feature that is the time", internal=True)

    @property
    def parting(self) -> Parting:
        """Which fold a row is in."""
        return Parting(self.folds, self.by, self.seed, self.cuts, self.span, self.column)

    def init(self, schema: Schema) -> State:
        found: State = self.algorithm.init(schema)
        return found

    def statistic(self, state: State, key: str) -> Statistic:
        found: Statistic = self.algorithm.statistic(state, key)
        return found

    def reads(self, state: State) -> Reads:
        found: Reads = self.algorithm.reads(state)
        return found

    def broadcast(self, state: State) -> State:
        found: State = self.algorithm.broadcast(state)
        return found

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        return self.algorithm.reduce(state, key, statistic)

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        found: State = self.algorithm.update(state, values)
        return found

    def model(self, state: State, schema: Schema) -> Model:
        found: Model = self.algorithm.model(state, schema)
        return found

    def check_here(self) -> None:
        self.algorithm.check_here()

    def expected_rounds(self) -> int:
        return int(self.algorithm.expected_rounds())

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        return int(self.algorithm.rounds_in_all(state, n_rows))

    def progress(self, state: State) -> dict[str, float]:
        found: dict[str, float] = self.algorithm.progress(state)
        return found


@dataclass(frozen=True)
class Fold(Around):
    """Trains on the rows of all folds but one, or on a ``share`` of them; where it ``watches``, those of the fold are
    its rows to validate with."""

    share: float = param(1.0, "of the rows, that it is trained on", low=0.0, high=1.0, internal=True)
    watches: bool = param(False, "whether the rows of the fold tell it when to stop", internal=True)

    @cached_property
    def part(self) -> Part:
        """The rows it sees."""
        return Part(self.parting, self.fold if self.fold >= 0 else None, True, self.share)

    @cached_property
    def watched(self) -> Part:
        """The rows of the fold."""
        return Part(self.parting, self.fold, without=False)

    def reads(self, state: State) -> Reads:
        reads: Reads = self.algorithm.reads(state)
        return reads._replace(train=reads.train or reads.valid, valid=False) if self.watches else reads

    def map(self, state: State, block: Block, into: Into) -> None:
        if not self.watches:
            self.algorithm.map(state, self._seen(block), into)
            return
        reads: Reads = self.algorithm.reads(state)
        if reads.train:
            self.algorithm.map(state, self._seen(block), into)
        if reads.valid:
            self._watch(state, block, into)

    def map_shard(self, state: State, shard: Shard, into: Into) -> None:
        self.algorithm.map_shard(state, shard.through(self._seen), into)
        if self.watches and self.algorithm.reads(state).valid:
            for block in shard.blocks(0):
                self._watch(state, block, into)

    def _watch(self, state: State, block: Block, into: Into) -> None:
        self.algorithm.map(state, dataclasses.replace(self.watched.block(block), part="valid"), into)

    def keeps(self, state: State) -> tuple[str, ...]:
        return tuple(f"{self.part.name}.{name}" for name in self.algorithm.keeps(state))

    def alike(self, state: State) -> bytes | None:
        inner = self.algorithm.alike(state)
        return None if inner is None else self.part.name.encode() + (b"+:" if self.watches else b":") + inner

    def _seen(self, block: Block) -> Block:
        return self.part.block(block) if block.part == "train" else block


@dataclass(frozen=True)
class Held(Around):
    """Judges on the training rows of one fold, on those of all folds, or on the rows to validate with."""

    rows: str = param("fold", "which rows", choices=("fold", "train", "valid"), internal=True)

    @cached_property
    def part(self) -> Part:
        """The rows it sees."""
        return Part(self.parting, self.fold if self.rows == "fold" else None, without=False)

    def reads(self, state: State) -> Reads:
        return Reads(train=self.rows != "valid", valid=self.rows == "valid")

    def map(self, state: State, block: Block, into: Into) -> None:
        if block.part == ("valid" if self.rows == "valid" else "train"):
            some = self.rows == "fold" or (self.rows == "train" and self.by == "date")
            self.algorithm.map(state, self.part.block(block) if some else block, into)


def without_fold(
    algorithm: Algorithm, fold: int | None, parting: Parting, share: float = 1.0, watches: bool = False
) -> Fold:
    """The algorithm on the rows of all folds but one, or on a share of them; see :class:`Fold`."""
    number = -1 if fold is None else fold
    return Fold(algorithm, number, **dataclasses.asdict(parting), share=share, watches=watches)


def on_fold(algorithm: Algorithm, fold: int | None, parting: Parting) -> Held:
    """The algorithm on the rows of one fold; None: on those of all."""
    rows = "train" if fold is None else "fold"
    return Held(algorithm, fold or 0, rows=rows, **dataclasses.asdict(parting))
