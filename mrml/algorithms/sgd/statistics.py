"""What SGD sends up: weighted vectors of a shard, or the gradient of a global batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.narrow import widened
from mrml.kernels.net.describe import Gradient, SparseGradient
from mrml.statistic import Statistic


class Learned(Statistic):
    """What shards have learned: the sum over them of weight times each vector.

    Of one shard it is kept, and sent, in the narrow form it was made in; merged ones are float64.  ``shards`` are facts
    of every shard by its number (as text): where it goes on, and what it keeps for itself.
    """

    def __init__(self) -> None:
        self.weight = self.loss = 0.0
        self.n_rows = 0
        self.narrow: dict[str, dict[str, Array]] = {}
        self.sums: dict[str, Array] = {}
        self.shards: dict[str, dict[str, Any]] = {}

    def put(self, number: int, weight: float, loss: float, n_rows: int, vectors: Mapping[str, dict[str, Array]],
            facts: Mapping[str, Any]) -> None:  # fmt: skip
        """Take in what a shard has learned: ``loss`` the sum of its rows' losses, vectors in their narrow form."""
        self.weight, self.loss, self.n_rows = weight, loss, n_rows
        self.narrow, self.shards = dict(vectors), {str(number): dict(facts)}

    def total(self) -> dict[str, Array]:
        """float64 sums by name, of weight times vector."""
        if self.narrow:
            return {name: widened(arrays).astype(np.float64) * self.weight for name, arrays in self.narrow.items()}
        return self.sums

    def mean(self) -> dict[str, Array]:
        """float64 weighted means by name."""
        return {name: total / self.weight for name, total in self.total().items()}

    def merge(self, other: Learned) -> None:
        mine, theirs = self.total(), other.total()
        self.sums = {name: mine[name] + theirs[name] if name in mine else theirs[name] for name in {**mine, **theirs}}
        self.narrow = {}
        self.weight, self.loss, self.n_rows = (
            self.weight + other.weight, self.loss + other.loss, self.n_rows + other.n_rows)  # fmt: skip
        self.shards |= other.shards

    def to_wire(self) -> Any:
        return [self.weight, self.loss, self.n_rows, self.narrow, self.sums, self.shards]

    @classmethod
    def from_wire(cls, tree: Any) -> Learned:
        out = cls()
        out.weight, out.loss, out.n_rows, out.narrow, out.sums, out.shards = tree
        return out

    def n_bytes(self) -> int:
        arrays = [a for group in self.narrow.values() for a in group.values()] + list(self.sums.values())
        return sum(a.nbytes for a in arrays)


class GradientSum(Statistic):
    """The gradient of a global batch: float64 sums of the dense part, of every sparse slot the rows that are touched.

    ``moments`` are sums of batch norm's over the Blocks' parts of the batch, each weighing its rows.
    """

    def __init__(self) -> None:
        self.weight = self.loss = 0.0
        self.n_rows = 0
        self.dense: Array = np.zeros(0)
        self.moments: Array = np.zeros(0)
        self.tables: dict[str, tuple[Array, Array]] = {}

    def put(self, gradient: Gradient) -> None:
        """Take in the gradient of a Block's rows."""
        self.weight, self.loss, self.n_rows = gradient.weight, gradient.loss, gradient.n_rows
        self.dense, self.moments = gradient.dense.astype(np.float64), gradient.moments.copy()
        self.tables = {s.slot.name: (s.rows, s.values.astype(np.float64)) for s in gradient.sparse}

    def merge(self, other: GradientSum) -> None:
        if not other.n_rows:
            return
        if not self.n_rows:
            vars(self).update(vars(other))
            return
        self.weight, self.loss, self.n_rows = (
            self.weight + other.weight, self.loss + other.loss, self.n_rows + other.n_rows)  # fmt: skip
        self.dense, self.moments = self.dense + other.dense, self.moments + other.moments
        self.tables = {name: _united(self.tables[name], other.tables[name]) for name in self.tables}

    def gradient(self, slots: Mapping[str, Any]) -> Gradient:
        """The gradient in float32, its sparse parts in the order of the slots."""
        tables = tuple(
            SparseGradient(slot, self.tables[name][0], self.tables[name][1].astype(np.float32))
            for name, slot in slots.items()
            if name in self.tables
        )
        return Gradient(self.loss, self.weight, self.dense.astype(np.float32), tables, self.moments, self.n_rows)

    def to_wire(self) -> Any:
        tables = {name: list(pair) for name, pair in self.tables.items()}
        return [self.weight, self.loss, self.n_rows, self.dense, self.moments, tables]

    @classmethod
    def from_wire(cls, tree: Any) -> GradientSum:
        out = cls()
        out.weight, out.loss, out.n_rows, out.dense, out.moments, tables = tree
        out.tables = {name: (rows, values) for name, (rows, values) in tables.items()}
        return out

    def n_bytes(self) -> int:
        return self.dense.nbytes + sum(r.nbytes + v.nbytes for r, v in self.tables.values())


def _united(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Rows of either, the values of those in both added up."""
    rows = np.union1d(one[0], other[0])
    values = np.zeros((len(rows), one[1].shape[1]))
    values[np.searchsorted(rows, one[0])] = one[1]
    values[np.searchsorted(rows, other[0])] += other[1]
    return rows, values
