"""A piece's columns as the arrays of a Block.

Floor 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.data.rows import Piece
from mrml.schema import Column, Schema

#: Rows filled at a time: 1,024 x 28 float32 is 112 kB, which stays in L2 while column after column is written into
#: it.  Without it 65,536 x 28 take 3 times as long.
_FILL_ROWS = 1024


def assemble(piece: Piece, columns: Sequence[Column], schema: Schema, file: int, part: str) -> Block:
    """The raw Block of a piece; ``columns`` are those it was read for, side files included."""
    by_role = {c.role: piece.columns[c.name] for c in columns if c.role != "feature"}
    features = [c for c in columns if c.role == "feature"]
    numeric = [c for c in features if c.kind == "numeric"]
    X: Array | CSR
    if piece.sparse is not None:
        X = piece.sparse
    else:
        X = matrix([_array(piece.columns[c.name]) for c in numeric], len(piece.rows), np.dtype(schema.numeric_dtype))
    return Block(
        file,
        piece.block,
        np.ascontiguousarray(piece.rows, np.int64),
        X,
        {c.name: _coded(piece.columns[c.name]) for c in features if c.kind != "numeric"},
        _float64(by_role.get("target")),
        _float64(by_role.get("weight")),
        _float64(by_role.get("offset")),
        _group(by_role.get("group"), columns),
        _array(by_role["id"]) if "id" in by_role else None,
        part,
        n_records=piece.n_records,
        n_bad=piece.n_bad,
        problems=tuple(str(f) for f in piece.faults),
        time=_float64(by_role.get("time")),
    )


def matrix(columns: Sequence[Array], n_rows: int, dtype: np.dtype[Any]) -> Array:
    """Columns (n_rows,) side by side as a C-contiguous (n_rows, n_columns) array."""
    out = np.empty((n_rows, len(columns)), dtype)
    for start in range(0, n_rows, _FILL_ROWS):
        rows = out[start : start + _FILL_ROWS]
        for j, column in enumerate(columns):
            rows[:, j] = column[start : start + _FILL_ROWS]
    return out


def _float64(values: Any) -> Any:
    """(n_rows,) float64; a Coded target and None as they are."""
    if values is None or isinstance(values, Coded):
        return values
    return np.ascontiguousarray(values, np.float64)


def _group(values: Any, columns: Sequence[Column]) -> Any:
    """Integers as int64, other numbers as float64, texts as Coded."""
    if values is None or isinstance(values, Coded):
        return values
    source = next(c.source for c in columns if c.role == "group")
    return np.ascontiguousarray(values, np.int64 if source.startswith(("int", "uint")) else np.float64)


def _array(values: Array | Coded) -> Array:
    assert not isinstance(values, Coded)
    return values


def _coded(values: Array | Coded) -> Coded:
    assert isinstance(values, Coded)
    return values
