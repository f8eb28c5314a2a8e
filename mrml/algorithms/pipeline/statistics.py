"""Statistics of columns that the transforms share: moments, levels, a quantile sketch."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import CHUNK_ROWS, TILE, by_tiles
from mrml.errors import InputError
from mrml.statistic import Statistic

#: distinct levels of one column that a task keeps; a column with more is an identifier
MAX_LEVELS = 1_000_000


class Moments(Statistic):
    """Mean and variance of columns by Chan, Golub and LeVeque (1979), eq. 2.1: stable when the mean is large.

    Arrays are (n_columns,) float64: ``count`` of values that are not null, ``mean``, ``m2`` (sum of squared
    differences from the mean).  ``n_rows`` counts rows, ``sum_weight`` adds their weights.
    A merge of statistics with different numbers of columns pads with zero columns (LibSVM).
    """

    NAMES = ("count", "mean", "m2")

    def __init__(self, n_columns: int = 0, sparse: bool = False) -> None:
        self.n_rows, self.sum_weight, self.sparse = 0, 0.0, sparse
        self.count: Array = np.zeros(n_columns)
        self.mean: Array = np.zeros(n_columns)
        self.m2: Array = np.zeros(n_columns)

    @np.errstate(over="ignore", invalid="ignore")  # who reads them refuses what is not finite
    def fill(self, x: Array | CSR, weight: Array | None) -> None:
        """Take the rows of one block into an empty statistic."""
        self.n_rows = x.shape[0]
        self.sum_weight = float(self.n_rows if weight is None else weight.sum())
        if self.n_rows == 0 or x.shape[1] == 0:
            return
        if isinstance(x, CSR):
            self._fill_sparse(x)
        else:
            self._fill_dense(x)

    def _fill_dense(self, x: Array) -> None:
        """Runs of rows in float64 merge from first to last.

        Sums are products with ones: 31 ns a row of 28 float32, where ``sum`` and broadcasts take 70.
        """
        buffer, ones = np.empty((min(CHUNK_ROWS, len(x)), x.shape[1])), np.ones(CHUNK_ROWS)
        for start in range(0, len(x), CHUNK_ROWS):
            n = min(CHUNK_ROWS, len(x) - start)
            part, one, other = buffer[:n], ones[:n], Moments(x.shape[1])
            part[...] = x[start : start + n]
            total = one @ part
            if np.isnan(total).any():
                other._fill_nulls(part)
            else:
                other.count = np.full(len(total), float(n))
                other.mean = total / n
                by_tiles(np.subtract, part, np.tile(other.mean, TILE))
                rest = one @ part  # what the rounding of the mean left
                other.m2 = one @ np.square(part, out=part) - rest**2 / n
            self._join(other)

    def _fill_nulls(self, x: Array) -> None:
        null = np.isnan(x)
        self.count = (~null).sum(axis=0).astype(np.float64)
        some = self.count > 0
        n = np.where(some, self.count, 1.0)
        self.mean = np.where(null, 0.0, x).sum(axis=0) / n
        centred = np.where(null, 0.0, x - self.mean)
        self.m2 = np.einsum("ij,ij->j", centred, centred) - centred.sum(axis=0) ** 2 / n

    def _fill_sparse(self, x: CSR) -> None:
        """Absent entries are zeros."""
        n, p = x.shape
        data = x.data.astype(np.float64)
        present = np.bincount(x.indices, minlength=p).astype(np.float64)
        self.count = np.full(p, float(n))
        self.mean = np.bincount(x.indices, data, minlength=p) / n
        self.m2 = np.bincount(x.indices, (data - self.mean[x.indices]) ** 2, minlength=p)
        self.m2 = self.m2 + (n - present) * self.mean**2

    def merge(self, other: Moments) -> None:
        width = max(len(self.mean), len(other.mean))
        a, b = self._padded(width), other._padded(width)
        a.n_rows, a.sum_weight = self.n_rows + other.n_rows, self.sum_weight + other.sum_weight
        a._join(b)
        self.__dict__.update(a.__dict__)

    @np.errstate(over="ignore", invalid="ignore")
    def _join(self, other: Moments) -> None:
        if len(self.mean) != len(other.mean):
            self.__dict__.update(self._padded(len(other.mean)).__dict__)
        n = self.count + other.count
        share = np.divide(other.count, n, out=np.zeros_like(n), where=n > 0)
        delta = other.mean - self.mean
        self.m2 = self.m2 + other.m2 + delta**2 * self.count * share
        self.mean = self.mean + delta * share
        self.count = n

    def _padded(self, width: int) -> Moments:
        """A copy of that many columns; in a new sparse column every row so far was zero."""
        out = Moments(width, self.sparse)
        out.n_rows, out.sum_weight = self.n_rows, self.sum_weight
        for name in self.NAMES:
            getattr(out, name)[: len(self.mean)] = getattr(self, name)
        if self.sparse and self.n_rows:
            new = slice(len(self.mean), None)
            out.count[new] = self.n_rows
        return out

    def to_wire(self) -> Any:
        arrays = {name: getattr(self, name) for name in self.NAMES}
        return {"n_rows": self.n_rows, "sum_weight": self.sum_weight, "sparse": self.sparse, **arrays}

    @classmethod
    def from_wire(cls, tree: Any) -> Moments:
        out = cls(len(tree["mean"]), tree["sparse"])
        out.n_rows, out.sum_weight = tree["n_rows"], tree["sum_weight"]
        for name in cls.NAMES:
            setattr(out, name, np.array(tree[name]))
        return out

    def n_bytes(self) -> int:
        return 24 * len(self.mean)


class Levels(Statistic):
    """How often each level of a column of strings occurs: exact.

    ``counts`` maps the level to its rows; ``n_null`` counts nulls.
    """

    exact = True

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.n_null = 0

    def add(self, levels: Array, counts: Array, n_null: int, place: str) -> None:
        """Take (n_levels,) unicode levels and their int counts."""
        for level, count in zip(levels.tolist(), counts.tolist(), strict=True):
            if count:
                self.counts[level] = self.counts.get(level, 0) + count
        self.n_null += n_null
        if len(self.counts) > MAX_LEVELS:
            finding = f"has more than {MAX_LEVELS:,} distinct levels"
            raise InputError(place, finding, "give it role ignore or kind text in the schema")

    def merge(self, other: Levels) -> None:
        for level, count in other.counts.items():
            self.counts[level] = self.counts.get(level, 0) + count
        self.n_null += other.n_null

    def ordered(self) -> list[tuple[str, int]]:
        """Levels and counts, the most frequent first, ties by text."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))

    def to_wire(self) -> Any:
        levels = sorted(self.counts)
        counts = np.array([self.counts[level] for level in levels], np.int64)
        return {"levels": levels, "counts": counts, "n_null": self.n_null}

    @classmethod
    def from_wire(cls, tree: Any) -> Levels:
        out = cls()
        out.counts = dict(zip(tree["levels"], tree["counts"].tolist(), strict=True))
        out.n_null = tree["n_null"]
        return out

    def n_bytes(self) -> int:
        return 100 * len(self.counts)


class Quantiles(Statistic):
    """Mergeable weighted quantile summaries of numeric columns, exact up to ``size`` distinct values.

    A column's summary is its sorted distinct values with their weights.  Past ``2 * size`` it is pruned to ``size``
    values at even ranks, each keeping the weight of its stretch: every prune moves a rank by at most 1/size of
    the summary's weight, so a tree of depth d is within d/size (compare Chen and Guestrin 2016, appendix A).
    """

    def __init__(self, n_columns: int = 0, size: int = 2048) -> None:
        self.size = size
        self.columns: list[tuple[Array, Array]] = [(np.empty(0), np.empty(0)) for _ in range(n_columns)]

    def fill(self, x: Array) -> None:
        """Take the rows of one block into an empty statistic; nulls are left out."""
        for j in range(x.shape[1]):
            column = x[:, j].astype(np.float64)
            values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
            self.columns[j] = self._pruned(values, counts.astype(np.float64))

    def merge(self, other: Quantiles) -> None:
        for j, ((a, u), (b, v)) in enumerate(zip(self.columns, other.columns, strict=True)):
            values, inverse = np.unique(np.concatenate([a, b]), return_inverse=True)
            self.columns[j] = self._pruned(values, np.bincount(inverse, np.concatenate([u, v]), len(values)))

    def _pruned(self, values: Array, weights: Array) -> tuple[Array, Array]:
        if len(values) <= 2 * self.size:
            return values, weights
        rank = np.cumsum(weights) - weights / 2
        stretch = np.minimum((rank / rank[-1] * self.size).astype(np.int64), self.size - 1)
        first = np.flatnonzero(np.diff(stretch, prepend=-1))
        last = np.append(first[1:], len(values)) - 1
        middle = (first + last) // 2
        middle[0], middle[-1] = 0, len(values) - 1  # the extremes stay exact
        return values[middle], np.add.reduceat(weights, first)

    def edges(self, column: int, n_bins: int) -> Array:
        """At most ``n_bins - 1`` ascending edges; a value goes right of an edge it equals."""
        values, weights = self.columns[column]
        if len(values) <= n_bins:
            return (values[1:] + values[:-1]) / 2
        rank = (np.cumsum(weights) - weights / 2) / weights.sum()
        cuts = values[np.searchsorted(rank, np.arange(1, n_bins) / n_bins).clip(1, len(values) - 1)]
        return np.unique(cuts)

    def to_wire(self) -> Any:
        return {"size": self.size, "columns": [list(c) for c in self.columns]}

    @classmethod
    def from_wire(cls, tree: Any) -> Quantiles:
        out = cls(0, tree["size"])
        out.columns = [(v, w) for v, w in tree["columns"]]
        return out

    def n_bytes(self) -> int:
        return sum(16 * len(v) for v, _ in self.columns)
