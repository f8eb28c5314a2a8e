"""The sketches of sparse columns, all columns in a few arrays: 200,000 of them one by one would take minutes.

The numbers are those of :mod:`mrml.algorithms.pipeline.sketch`, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from mrml.algorithms.pipeline.sketch import SKETCH_SIZE, Summary, edges_of, thinned
from mrml.arrays import CSR, Array
from mrml.data.block import Block


class Ragged(Sequence[Array]):
    """Arrays of several lengths, one after the other: ``values``, and ``sizes`` (n,) int32 of each."""

    def __init__(self, values: Array, sizes: Array) -> None:
        self.values, self.sizes = values, sizes
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, at: int) -> Array: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Array]: ...
    def __getitem__(self, at: int | slice) -> Array | Sequence[Array]:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        return self.values[self.starts[at] : self.starts[at + 1]]

    def __iter__(self) -> Iterator[Array]:
        return (self[k] for k in range(len(self)))

    def columns(self) -> Array:
        """(n_values,) int64: the number of the array that each value is of."""
        return np.repeat(np.arange(len(self)), self.sizes)


def keys_of(columns: Array, values: Array) -> Array:
    """(n,) uint64 in the order of columns, and of float32 values inside a column; none is NaN, and -0.0 is 0.0."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
    bits = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    out: Array = (columns.astype(np.uint64) << np.uint64(32)) | bits
    return out


class Sketches(NamedTuple):
    """Distinct values of every column, ascending float32, and their weights, float64."""

    values: Ragged
    weights: Array

    @staticmethod
    def of(columns: Array, values: Array, weights: Array | None, n_columns: int) -> Sketches:
        """Values in any order; without weights every one counts 1."""
        keys, values = keys_of(columns, values), values + np.float32(0)
        sums: Array
        if weights is None:
            known, first, counts = np.unique(keys, return_index=True, return_counts=True)
            sums = counts.astype(np.float64)
        else:
            known, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            sums = np.bincount(inverse, weights, len(known))
        sizes = np.bincount((known >> np.uint64(32)).astype(np.int64), minlength=n_columns).astype(np.int32)
        return Sketches(Ragged(values[first], sizes), sums)._thinned()

    def _thinned(self) -> Sketches:
        many = np.flatnonzero(self.values.sizes > 2 * SKETCH_SIZE)
        if not len(many):
            return self
        values, weights, sizes, done = [], [], self.values.sizes.copy(), 0
        for k in many.tolist():
            start, stop = self.values.starts[k : k + 2]
            fewer = thinned(self.values[k], self.weights[start:stop])
            values += [self.values.values[done:start], fewer[0]]
            weights += [self.weights[done:start], fewer[1]]
            sizes[k], done = len(fewer[0]), stop
        values.append(self.values.values[done:])
        weights.append(self.weights[done:])
        return Sketches(Ragged(np.concatenate(values), sizes), np.concatenate(weights))

    def kept(self, keep: Array) -> Sketches:
        """Some of the values."""
        sizes = np.bincount(self.values.columns()[keep], minlength=len(self.values)).astype(np.int32)
        return Sketches(Ragged(self.values.values[keep], sizes), self.weights[keep])

    def edges(self, max_bin: int) -> Ragged:
        """The edges of every column: see :func:`mrml.algorithms.pipeline.sketch.edges_of`."""
        v, few = self.values, self.values.sizes <= max_bin
        if len(v.values):
            low, high = v.values[:-1], v.values[1:]
            middle = ((low.astype(np.float64) + high.astype(np.float64)) / 2).astype(np.float32)
            middle = np.where(middle > low, middle, high)
            inside = np.diff(v.columns()) == 0
        else:
            middle, inside = v.values, np.zeros(0, bool)
        sizes = np.maximum(v.sizes - 1, 0)
        if few.all():
            return Ragged(middle[inside], sizes)
        found = list(Ragged(middle[inside], sizes))
        for k in np.flatnonzero(~few).tolist():
            found[k] = edges_of(v[k], self.weights[v.starts[k] : v.starts[k + 1]], max_bin)
        return Ragged(np.concatenate(found), np.array([len(e) for e in found], np.int32))


class SparseSummary(Summary):
    """:class:`Summary` of LibSVM columns; ``sketches`` in the place of ``columns``.

    ``n_entries`` are the entries of all rows.
    """

    def __init__(self, n_columns: int = 0, zeros: bool = False) -> None:
        super().__init__(0, zeros)
        none = np.empty(0, np.float32)
        self.sketches = Sketches(Ragged(none, np.zeros(n_columns, np.int32)), np.empty(0))
        self.n_entries = 0

    def fill_columns(self, block: Block, x: Array | CSR, weight: Array) -> None:
        assert isinstance(x, CSR)
        self.n_entries = len(x.data)
        with np.errstate(over="ignore"):
            columns, values = x.indices.astype(np.int64), x.data.astype(np.float32)
        w = None if block.weight is None else np.repeat(weight, np.diff(x.indptr))
        if self.zeros:
            rest = self.sum_weight - _sums(columns, w, x.n_columns)
            columns = np.concatenate([columns, np.arange(x.n_columns)])
            values = np.concatenate([values, np.zeros(x.n_columns, np.float32)])
            w = np.concatenate([np.ones(len(x.data)) if w is None else w, rest])
        known = ~np.isnan(values)
        found = Sketches.of(columns[known], values[known], None if w is None else w[known], x.n_columns)
        keep = found.weights > 0
        self.sketches = found if keep.all() else found.kept(keep)

    def merge(self, other: Summary) -> None:
        assert isinstance(other, SparseSummary)
        n = max(len(self.sketches.values), len(other.sketches.values))
        parts = self._padded_to(n), other._padded_to(n)
        columns, values, weights = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        self.sketches = Sketches.of(columns, values, weights, n)
        self.n_entries += other.n_entries
        super().merge(other)

    def _padded_to(self, n: int) -> tuple[Array, Array, Array]:
        """Columns, values and weights; columns that were never seen were zero where absent entries are."""
        values, weights = self.sketches.values, self.sketches.weights
        more = np.arange(len(values), n) if self.zeros and self.sum_weight else np.arange(0)
        return (
            np.concatenate([values.columns(), more]),
            np.concatenate([values.values, np.zeros(len(more), np.float32)]),
            np.concatenate([weights, np.full(len(more), self.sum_weight)]),
        )

    def edges(self, max_bin: int) -> Sequence[Array]:
        return self.sketches.edges(max_bin)

    def beyond(self) -> int | None:
        bad = np.flatnonzero(~np.isfinite(self.sketches.values.values))
        return int(self.sketches.values.columns()[bad[0]]) if len(bad) else None

    def to_wire(self) -> Any:
        values, weights = self.sketches
        return {**super().to_wire(), "n_entries": self.n_entries, "sketches": [values.values, values.sizes, weights]}

    @classmethod
    def from_wire(cls, tree: Any) -> SparseSummary:
        out = cls(0, tree["zeros"])
        out.take(tree)
        values, sizes, weights = tree["sketches"]
        out.sketches, out.n_entries = Sketches(Ragged(values, sizes), weights), tree["n_entries"]
        return out

    def n_bytes(self) -> int:
        return 12 * len(self.sketches.weights)


def _sums(columns: Array, weights: Array | None, n_columns: int) -> Array:
    """(n_columns,) float64: the weight of the entries of each column."""
    if weights is None:
        return np.bincount(columns, minlength=n_columns).astype(np.float64)
    order = np.argsort(columns, kind="stable")
    pieces = np.split(weights[order], np.cumsum(np.bincount(columns, minlength=n_columns))[:-1])
    return np.array([piece.sum() for piece in pieces])  # pairwise: to the bit what each column by itself has
