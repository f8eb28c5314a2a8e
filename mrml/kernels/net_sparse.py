"""Tables of parameters of which a batch touches few rows: sums of rows, and sums into rows.

Both directions are one operation, sums by group, in float64 and in the order of the entries, so that a row's sum
depends on its own entries alone.  ``bincount`` takes 1.4 ns an entry where ``add.at`` takes 7 and a sort with
``reduceat`` 100.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mrml.kernels.net import Array, SparseRows

#: numbers that a sum holds at a time
_AT_ONCE = 1 << 20


class Touched(NamedTuple):
    """``rows`` (n_unique,) int64, ascending: the rows of a table that entries name; ``of`` (m,) each one's number."""

    rows: Array
    of: Array


class Entries(NamedTuple):
    """A table's rows ``column`` (m,) that the batch's rows ``row`` (m,) read, times ``value`` (m,), or 1 for None."""

    row: Array
    column: Array
    value: Array | None


def from_csr(sparse: SparseRows, dtype: np.dtype[np.generic]) -> Entries:
    row = np.repeat(np.arange(len(sparse.indptr) - 1), np.diff(sparse.indptr))
    return Entries(row, sparse.indices, sparse.data.astype(dtype, copy=False))


def from_codes(codes: Array, first_level: Array) -> Entries:
    """Entries of (n, n_tables) codes in the table of all levels."""
    row = np.repeat(np.arange(len(codes)), codes.shape[1])
    return Entries(row, (codes + first_level).ravel(), None)


def touched(index: Array, n_rows: int) -> Touched:
    """The rows that ``index`` names, of a table of ``n_rows``.

    A table of marks while it is not much longer than the entries; else a sort.  The result is the same.
    """
    if n_rows > 64 * len(index) + 4096:
        rows, of = np.unique(index, return_inverse=True)
        return Touched(rows.astype(np.int64), of.ravel())
    number = np.zeros(n_rows, np.int64)
    number[index] = 1
    rows = np.flatnonzero(number)
    number[rows] = np.arange(len(rows))
    return Touched(rows, number[index])


def sums(group: Array, n_groups: int, table: Array, index: Array, value: Array | None, square: bool = False) -> Array:
    """``out[group[i]] += value[i] * table[index[i]]`` over the entries i, of squares with ``square``.

    Returns
    -------
    (n_groups, width) in the table's dtype, summed in float64.
    """
    width = table.shape[1]
    out = np.empty((n_groups, width), table.dtype)
    step = max(1, _AT_ONCE // max(len(group), 1))
    for at in range(0, width, step):
        part = slice(at, min(at + step, width))
        weights = table[index, part] if step < width else table[index]
        if value is not None:
            weights = weights * value[:, None]
        if square:
            weights = np.square(weights)
        out[:, part] = _by_group(group, n_groups, weights)
    return out


def _by_group(group: Array, n_groups: int, weights: Array) -> Array:
    """(n_groups, width) float64 sums of weights (m, width)."""
    width = weights.shape[1]
    if width == 1:
        return np.bincount(group, weights[:, 0], n_groups)[:, None]
    cells = (group[:, None] * width + np.arange(width)).ravel()
    return np.bincount(cells, weights.ravel(), n_groups * width).reshape(n_groups, width)
