"""Folds by time: how many rows each day has, and where the rows are cut into stretches of about as many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.search.parting import times_of
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.data.shards import Reads
from mrml.errors import ConfigError, InputError
from mrml.model import Model
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic

#: different values that are counted: 27 centuries of days
MOST_VALUES = 1_000_000


class ValueCounts(Statistic):
    """Rows of each value: exact."""

    exact = True

    def __init__(self) -> None:
        self.values, self.counts = np.empty(0), np.empty(0, np.int64)

    def merge(self, other: ValueCounts) -> None:
        self.add(other.values, other.counts)

    def add(self, values: Array, counts: Array) -> None:
        """So many rows (n,) of each of the values (n,) more; InputError for more different ones than are counted."""
        both, place = np.unique(np.concatenate([self.values, values]), return_inverse=True)
        if len(both) > MOST_VALUES:
            finding = f"the times have more than {MOST_VALUES:,} different values"
            raise InputError("run, fold_by", finding, "name a column of dates with --time")
        rows = np.concatenate([self.counts, counts])
        self.values, self.counts = both, np.zeros(len(both), np.int64)
        np.add.at(self.counts, place, rows)

    def to_wire(self) -> Any:
        return {"values": self.values, "counts": self.counts}

    @classmethod
    def from_wire(cls, tree: Any) -> ValueCounts:
        out = cls()
        out.values, out.counts = tree["values"], tree["counts"]
        return out


@dataclass(frozen=True)
class CountTimes(Algorithm):
    """One round over the training rows; the State's ``values`` (n,) float64, ascending, and ``counts`` (n,) int64."""

    does = "count"

    column: int = param(
        -1, "number of the numeric feature that is the time; -1: the column of that role", internal=True
    )
    step: float = param(0.0, "times within a step are one value, such as a day of seconds; 0: as they are", low=0.0)

    def init(self, schema: Schema) -> State:
        return State({})

    def reads(self, state: State) -> Reads:
        return Reads(valid=False)

    def statistic(self, state: State, key: str) -> Statistic:
        return ValueCounts()

    def map(self, state: State, block: Block, into: Into) -> None:
        counts, times = into["rows"], times_of(block, self.column)
        assert isinstance(counts, ValueCounts)
        counts.add(*np.unique(np.floor(times / self.step) * self.step if self.step else times, return_counts=True))

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        found = values["rows"]
        return state.next(stop="counted", values=found.values, counts=found.counts)

    def model(self, state: State, schema: Schema) -> Model:
        raise NotImplementedError("a count is not a model")


def cuts(values: Array, counts: Sequence[int] | Array, stretches: int) -> tuple[float, ...]:
    """Where rows of these ascending values (n,) and counts (n,) are cut into so many stretches of about as many rows:
    the first value of every stretch but the first.  No value is in two.  ConfigError for more stretches than values."""
    n = len(values)
    if n < stretches:
        finding = f"the rows are of {n} different times, of which {stretches} stretches cannot be made"
        raise ConfigError("run, folds", finding, "give fewer folds, or a column of finer times with --time")
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    total, found, last = int(np.sum(counts)), [], 0
    for k in range(1, stretches):
        nearest = int(np.abs(before - total * k / stretches).argmin())
        last = min(max(nearest, last + 1), n - stretches + k)
        found.append(float(values[last]))
    return tuple(found)
