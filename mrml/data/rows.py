"""The well-formed rows of one block before they become its matrix: checked, and able to be cut and joined.

Floor 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Coded
from mrml.data.formats.records import MAX_PROBLEMS, Records
from mrml.errors import InputError
from mrml.schema import Column

_REMEDY = "mend or leave out such rows, or set bad_rows: skip under data"


class Piece(NamedTuple):
    """Rows of one block of a file.

    ``rows`` (n_rows,) int64, ``columns`` and ``sparse`` as in :class:`mrml.data.formats.records.Records`; ``n_records``
    and ``n_bad`` count what the block's own bytes hold; ``faults`` are the first few problems, ready to be raised.
    """

    block: int
    rows: Array
    columns: dict[str, Array | Coded]
    sparse: CSR | None
    n_records: int
    n_bad: int
    faults: tuple[InputError, ...]


def checked(block: int, records: Records, wanted: Sequence[Column], place: Callable[[int], str],
            offset: Callable[[int], int], weightless: bool = False) -> Piece:  # fmt: skip
    """The rows a model can use: besides malformed ones, those without a usable target, weight, offset, group
    or time go.

    Rows of weight 0 are none: neither their class nor a null of theirs counts.  In a group they stay, where others are
    ranked beside them.

    Parameters
    ----------
    place : a problem's offset to the words for it, such as ``part-0.csv, byte 48213``.
    offset : the ordinal of a record to its problem's offset.
    weightless : whether rows of weight 0 stay all the same; nothing is asked of what they hold.
    """
    faults = [(p.offset, p.column, p.finding, p.remedy) for p in records.problems]
    counted = _counted(records, wanted)
    keep = counted.copy()
    for column in wanted:
        if column.role in ("target", "weight", "offset", "group", "time"):
            bad, finding = _unusable(records.columns[column.name], column)
            bad = bad & keep
            for ordinal in records.rows[bad][:MAX_PROBLEMS].tolist():
                faults.append((offset(ordinal), column.name, finding, _REMEDY))
            keep &= ~bad
    faults.sort(key=lambda f: f[0])
    errors = tuple(
        InputError(f"{place(at)}, column {name!r}" if name else place(at), finding, remedy)
        for at, name, finding, remedy in faults[:MAX_PROBLEMS]
    )
    n_bad = records.n_bad + int(counted.sum() - keep.sum())
    keep |= ~counted if weightless else False
    piece = Piece(block, records.rows, records.columns, records.sparse, records.n_records, n_bad, errors)
    return piece if keep.all() else take(piece, keep)


def _counted(records: Records, wanted: Sequence[Column]) -> Array:
    """(n_rows,) bool: where the weight is not 0."""
    weights = [column.name for column in wanted if column.role == "weight"]
    if not weights or any(column.role == "group" for column in wanted):
        return np.ones(len(records.rows), bool)
    return np.asarray(records.columns[weights[0]] != 0)


def take(piece: Piece, keep: Array) -> Piece:
    """The rows where ``keep`` (n_rows,) is true."""
    columns = {name: take_values(values, keep) for name, values in piece.columns.items()}
    sparse = None if piece.sparse is None else _narrow(piece.sparse.take(keep))
    return piece._replace(rows=piece.rows[keep], columns=columns, sparse=sparse)


def take_values(values: Array | Coded, keep: Array) -> Array | Coded:
    """The rows of one column where ``keep`` is true; levels that are left without rows go."""
    if isinstance(values, Coded):
        return recode(values.codes[keep], values.levels)
    return values[keep]


def join(first: Piece, second: Piece, shift: int) -> Piece:
    """The rows of both in the block of the first; ordinals of the second are raised by ``shift``."""
    columns = {name: _join_values(v, second.columns[name]) for name, v in first.columns.items()}
    rows = np.concatenate([first.rows, second.rows + shift])
    sparse = first.sparse
    if first.sparse is not None and second.sparse is not None:
        sparse = _join_sparse(first.sparse, second.sparse)
    return first._replace(rows=rows, columns=columns, sparse=sparse)


def recode(codes: Array, levels: Array) -> Coded:
    """The same texts with levels in order of first appearance, unused ones left out."""
    n = len(levels)
    first = np.full(n + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # code -1 writes the last place; the first appearance stays
    order = np.argsort(first[:-1], kind="stable")
    order = order[first[order] < len(codes)]
    rank = np.full(n + 1, -1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return Coded(rank[codes], _tight(levels[order]))


def constant(values: Array | Coded, n_rows: int) -> Array | Coded:
    """A column of one row repeated."""
    if not isinstance(values, Coded):
        return np.repeat(values, n_rows)
    return recode(np.repeat(values.codes, n_rows), values.levels)


def _unusable(values: Array | Coded, column: Column) -> tuple[Array, str]:
    """Which rows have no usable value, and why."""
    if isinstance(values, Coded):
        return values.codes < 0, "is null"
    if column.role == "weight":
        with np.errstate(invalid="ignore"):
            return ~((values >= 0) & (values < np.inf)), "is null, negative or not finite"
    if values.dtype.kind == "f":
        return ~np.isfinite(values), "is null or not finite"
    return np.zeros(len(values), bool), ""


def _join_values(a: Array | Coded, b: Array | Coded) -> Array | Coded:
    if isinstance(a, Coded) and isinstance(b, Coded):
        levels = np.concatenate([a.levels, b.levels])
        names, inverse = np.unique(levels, return_inverse=True)
        codes = np.concatenate([a.codes, np.where(b.codes < 0, -1, b.codes + len(a.levels))])
        inverse = np.append(inverse, -1).astype(np.int32)  # code -1 finds the last
        return recode(inverse[codes], names)
    return np.concatenate([a, b])


def _join_sparse(a: CSR, b: CSR) -> CSR:
    indptr = np.concatenate([a.indptr, b.indptr[1:] + a.indptr[-1]])
    indices, data = np.concatenate([a.indices, b.indices]), np.concatenate([a.data, b.data])
    return CSR(indptr, indices, data, max(a.n_columns, b.n_columns))


def _narrow(x: CSR) -> CSR:
    """With the rows' own largest index + 1 as the number of columns."""
    return x._replace(n_columns=int(x.indices.max()) + 1 if len(x.indices) else 0)


def _tight(levels: Array) -> Array:
    """As few characters a level as the longest needs."""
    return levels.astype(np.str_) if not len(levels) else np.array(levels.tolist(), np.str_)
