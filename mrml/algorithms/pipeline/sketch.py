"""A mergeable weighted quantile sketch of numeric columns, exact up to 4,096 distinct values.

Compare Chen and Guestrin 2016, appendix A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.statistic import Statistic

#: more distinct values than twice this are thinned out to this many
SKETCH_SIZE = 4096


class Summary(Statistic):
    """Rows, weights, numeric targets: sums and extremes, and the sketches of the numeric columns.

    ``columns`` holds for each column its distinct values, ascending float32, and their weights, float64; ``target`` the
    same of a numeric target, ``labels`` the weight of each label; ``offset`` the extremes of the offset; ``extent`` (2,
    n_columns) float64 those of dense columns before they were float32.  In LibSVM data (:mod:`.sparse_sketch`) whose
    absent entries are zeros (``zeros``), a column that a part has never seen was zero in all of its rows.
    """

    def __init__(self, n_columns: int = 0, zeros: bool = False) -> None:
        self.zeros = zeros
        self.n_rows, self.sum_weight, self.max_weight, self.sum_y = 0, 0.0, 0.0, 0.0
        self.offset: list[float] = []
        self.labels: dict[str, float] = {}
        self.columns: list[tuple[Array, Array]] = [_NOTHING] * n_columns
        self.target: tuple[Array, Array] = _NOTHING
        self.extent = np.array([np.full(n_columns, np.inf), np.full(n_columns, -np.inf)])

    def fill(self, block: Block, x: Array | CSR, y: Array | Coded | None) -> None:
        """Take the rows of one block into an empty statistic."""
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        self.n_rows, self.sum_weight = block.n_rows, float(weight.sum())
        self.max_weight = float(weight.max(initial=0.0))
        if block.offset is not None and block.n_rows:
            self.offset = [float(block.offset.min()), float(block.offset.max())]
        if isinstance(y, Coded):
            sums = np.bincount(y.codes[y.codes >= 0], weight[y.codes >= 0], len(y.levels))
            self.labels = dict(zip(y.levels.tolist(), sums.tolist(), strict=True))
        elif y is not None:
            self.sum_y = float((weight * y).sum())
            self.target = thinned(*distinct(y.astype(np.float64), block.weight))
        self.fill_columns(block, x, weight)

    def fill_columns(self, block: Block, x: Array | CSR, weight: Array) -> None:
        """Take the numeric columns; ``weight`` (n_rows,) float64 is that of the rows."""
        assert isinstance(x, np.ndarray)
        if block.n_rows:
            self.extent = np.array([np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)], np.float64)
        rows = np.ascontiguousarray(x.T, np.float32)
        self.columns = [thinned(*distinct(column, block.weight)) for column in rows]

    def edges(self, max_bin: int) -> Sequence[Array]:
        """The edges of the bins of every numeric column."""
        return [edges_of(values, weights, max_bin) for values, weights in self.columns]

    def beyond(self) -> int | None:
        """The first column with a number that float32 cannot hold, or None."""
        for j, (values, _) in enumerate(self.columns):
            if len(values) and not np.isfinite(values[[0, -1]]).all():
                return j
        return None

    def merge(self, other: Summary) -> None:
        if other.columns:
            mine = self.columns or [_NOTHING] * len(other.columns)
            self.columns = [joined(a, b) for a, b in zip(mine, other.columns, strict=True)]
        self.target = joined(self.target, other.target)
        if self.extent.shape == other.extent.shape:
            low, high = np.fmin(self.extent[0], other.extent[0]), np.fmax(self.extent[1], other.extent[1])
            self.extent = np.array([low, high])
        self.n_rows, self.sum_y = self.n_rows + other.n_rows, self.sum_y + other.sum_y
        self.sum_weight += other.sum_weight
        self.max_weight = max(self.max_weight, other.max_weight)
        both = self.offset + other.offset
        self.offset = [min(both), max(both)] if both else []
        self.labels = {
            label: self.labels.get(label, 0.0) + other.labels.get(label, 0.0)
            for label in {**self.labels, **other.labels}
        }

    def to_wire(self) -> Any:
        plain = {k: getattr(self, k) for k in ("zeros", *_PLAIN)}
        columns = [list(c) for c in self.columns]
        return {**plain, "columns": columns, "target": list(self.target), "extent": self.extent}

    @classmethod
    def from_wire(cls, tree: Any) -> Summary:
        out = cls(0, tree["zeros"])
        out.take(tree)
        return out

    def take(self, tree: Any) -> None:
        """Be what :meth:`to_wire` gave."""
        self.columns, self.target = [(v, w) for v, w in tree["columns"]], (tree["target"][0], tree["target"][1])
        self.extent = tree["extent"]
        for name in _PLAIN:
            setattr(self, name, tree[name])

    def n_bytes(self) -> int:
        return sum(12 * len(v) for v, _ in self.columns)


_NOTHING: tuple[Array, Array] = (np.empty(0, np.float32), np.empty(0))


_PLAIN = ("n_rows", "sum_weight", "max_weight", "sum_y", "offset", "labels")


def distinct(column: Array, weight: Array | None) -> tuple[Array, Array]:
    """The distinct values in order and the weight of each; NaN is left out, -0.0 is 0.0."""
    if weight is None:
        values = np.sort(column)  # 4 ns a value; NaN comes last
        values = values[: np.searchsorted(values, np.nan)] + 0
        first = np.flatnonzero(values[1:] != values[:-1]) + 1
        first = np.concatenate([np.zeros(min(1, len(values)), np.int64), first])
        return values[first], np.diff(np.append(first, len(values))).astype(np.float64)
    keep = ~np.isnan(column)
    values, inverse = np.unique(column[keep] + 0, return_inverse=True)
    return values, np.bincount(inverse, weight[keep], len(values))


def joined(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sketch of the rows of two."""
    if not len(a[0]) or not len(b[0]):
        return a if len(a[0]) else b
    values, inverse = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    return thinned(values, np.bincount(inverse, np.concatenate([a[1], b[1]]), len(values)))


def thinned(values: Array, weights: Array) -> tuple[Array, Array]:
    """At most ``2 * SKETCH_SIZE`` values: otherwise ``SKETCH_SIZE`` at even ranks, each with its stretch's weight.

    Every thinning moves a rank by at most half of 1/4,096 of the weight, and rows meet one a level of the merge tree.
    """
    if len(values) <= 2 * SKETCH_SIZE:
        return values, weights
    rank = np.cumsum(weights) - weights / 2
    stretch = np.minimum((rank / rank[-1] * SKETCH_SIZE).astype(np.int64), SKETCH_SIZE - 1)
    first = np.flatnonzero(np.diff(stretch, prepend=-1))
    last = np.append(first[1:], len(values)) - 1
    middle = (first + last) // 2
    middle[0], middle[-1] = 0, len(values) - 1  # the extremes stay exact
    return values[middle], np.add.reduceat(weights, first)


def edges_of(values: Array, weights: Array, max_bin: int) -> Array:
    """At most ``max_bin - 1`` ascending float32 edges of a sketch.

    With no more than ``max_bin`` distinct values every one has a bin and edges lie half-way; otherwise edges are values
    at even ranks of the weight.
    """
    if len(values) <= max_bin:
        low, high = values[:-1].astype(np.float64), values[1:].astype(np.float64)
        middle = ((low + high) / 2).astype(np.float32)
        return np.where(middle > values[:-1], middle, values[1:]).astype(np.float32)
    rank = np.cumsum(weights) / weights.sum()
    cuts = np.searchsorted(rank, np.arange(1, max_bin) / max_bin, side="left") + 1
    return np.unique(values[np.clip(cuts, 1, len(values) - 1)]).astype(np.float32)
