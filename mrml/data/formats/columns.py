"""Arrow columns to the arrays of a Block.

What a value becomes (also the documentation of the kinds, see :mod:`mrml.schema`):

=====================  =========================================================  ==========================
Arrow type             numeric                                                    as text (categorical, id)
=====================  =========================================================  ==========================
bool                   0 or 1                                                     ``true``, ``false``
integers               itself, in the column's storage                            ``3``
floats                 itself; NaN is null                                        ``1`` for 1.0, ``0.5``
decimal                the nearest float64                                        ``1.5`` for 1.50
date32, date64         days since 1970-01-01                                      ``2026-11-20``
timestamp              seconds since 1970-01-01 UTC, the same for every unit      as Arrow prints it
time, duration         seconds                                                    as Arrow prints it
string                 parsed, spaces around it ignored                           itself
dictionary             as its values                                              as its values
=====================  =========================================================  ==========================

Arrow's own cast of decimals multiplies by a rounded power of ten: one in eight values of decimal(18, 2) comes out
one bit off (pyarrow 26), so decimals go through their digits here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mrml.arrays import Array
from mrml.data.block import Coded
from mrml.data.formats.texts import finding, parse_texts, read_type
from mrml.errors import InputError
from mrml.schema import Column

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
#: Levels as a NumPy unicode array take 4 bytes per character of the longest: refuse to exhaust a task's memory.
MAX_LEVEL_BYTES = 256 << 20
#: 10**22 is the largest power of ten that float64 holds exactly, 10**15 < 2**53.
_EXACT_SCALE, _EXACT_DIGITS = 22, 15


def to_column(values: Any, column: Column, na: Sequence[str] = ()) -> Array | Coded:
    """The values as the column's array.

    Parameters
    ----------
    values : pyarrow Array or ChunkedArray of n_rows.
    column : numeric -> (n_rows,) C-contiguous array of ``column.storage``, NaN for null, not copied where Arrow
        holds it like that already (then it cannot be written to); categorical, text -> :class:`Coded`.
    na : texts that mean null, spaces around them ignored.
    """
    values = _flat(values, column)
    if column.role == "group" and pa.types.is_integer(values.type) and not values.null_count:
        return to_id(values, column)  # a name, which is never rounded
    if column.kind == "numeric":
        return _numeric(values, column, na)
    return _coded(values, column, na)


def to_id(values: Any, column: Column | None = None) -> Array:
    """The values (n_rows,) of an id column: int64, uint64, float64 or unicode.

    Integers are int64 (uint64 when some are beyond it), floats float64, everything else its text, '' for null, so too
    integers of which some are null: an id is never rounded.  Texts that mean null elsewhere are themselves here.
    """
    column = column or Column("id", "categorical", "id")
    values = _flat(values, column)
    if pa.types.is_integer(values.type) and not values.null_count:
        fits = values.type != pa.uint64() or (pc.max(values).as_py() or 0) < 1 << 63
        return _dense(values, np.int64 if fits else np.uint64)
    if pa.types.is_floating(values.type):
        return _dense(values, np.float64)
    codes, levels = _coded(values, column, ())
    levels = np.concatenate([levels, np.array([""])])  # code -1 finds it
    return levels[codes]


def _flat(values: Any, column: Column) -> Any:
    """One Arrow array without dictionary encoding of numbers, of a type this module knows."""
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks == 1 else _combined(values)
    t = values.type
    if pa.types.is_dictionary(t) and not _is_text(t.value_type):
        values = values.dictionary_decode()
        t = values.type
    if pa.types.is_float16(t):
        values = values.cast(pa.float32())
    if pa.types.is_nested(t) or not (_is_text(getattr(t, "value_type", t)) or _is_number(t)):
        place = f"column {column.name!r}"
        raise InputError(
            place, f"has the type {t}, which is not a kind of number or text", "leave it out with --exclude"
        )
    return values


def _combined(values: Any) -> Any:
    try:
        return values.combine_chunks()
    except pa.ArrowInvalid:  # dictionaries that hold a null
        return pa.concat_arrays([chunk.dictionary_decode() for chunk in values.chunks])


def _is_text(t: Any) -> bool:
    binary = pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_fixed_size_binary(t)
    return bool(pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t) or binary)


def _is_number(t: Any) -> bool:
    is_ = pa.types
    plain = is_.is_boolean(t) or is_.is_integer(t) or is_.is_floating(t) or is_.is_decimal(t) or is_.is_null(t)
    return bool(plain or is_.is_date(t) or is_.is_timestamp(t) or is_.is_time(t) or is_.is_duration(t))


# ---- numbers ----


def _numeric(values: Any, column: Column, na: Sequence[str]) -> Array:
    """(n_rows,) of ``column.storage``."""
    dtype, t = np.dtype(column.storage), values.type
    if _is_text(getattr(t, "value_type", t)):
        values = _parsed(_texts(values, column), column, na)
        t = values.type
    if pa.types.is_null(t):
        return np.full(len(values), np.nan, dtype)
    if pa.types.is_boolean(t):
        values = values.cast(pa.uint8())
    elif pa.types.is_decimal(t):
        values = _decimals(values)
    elif pa.types.is_date64(t):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_date32(t):
        values = values.cast(pa.int32())
    elif not (pa.types.is_integer(t) or pa.types.is_floating(t)):
        return _seconds(values).astype(dtype, copy=False)
    return _dense(values, dtype)


def _parsed(texts: Any, column: Column, na: Sequence[str]) -> Any:
    """Texts wanted as numbers, as Arrow values; InputError naming the first that is none."""
    values, bad = parse_texts(texts, read_type(column), na)
    if bad.any():
        first = int(bad.argmax())
        raise InputError(f"column {column.name!r}, row {first}", *finding(texts[first].as_py(), values.type))
    return values


def _dense(values: Any, dtype: Any) -> Array:
    """(n_rows,) of ``dtype`` of integers or floats, NaN for null."""
    out: Array = values.to_numpy(zero_copy_only=False)
    if values.null_count and pa.types.is_integer(values.type):
        out = out.astype(np.float64, copy=False)
    return np.ascontiguousarray(out.astype(dtype, copy=False))


def _seconds(values: Any) -> Array:
    """(n_rows,) float64 seconds; whole seconds and the rest apart, so that every unit gives the same bits."""
    t = values.type
    ticks = values.cast(pa.int32() if t.bit_width == 32 else pa.int64()).cast(pa.int64())
    count: Array = pc.fill_null(ticks, 0).to_numpy(zero_copy_only=False)
    unit = _UNITS[t.unit]
    rest = np.fmod(count, unit)  # has the sign of count: no cancellation before 1970
    out = np.asarray((count - rest) // unit + rest / unit, np.float64)
    if values.null_count:
        out[pc.is_null(values).to_numpy(zero_copy_only=False)] = np.nan
    return out


def _decimals(values: Any) -> Any:
    """Arrow float64, each the nearest to its decimal."""
    t = values.type
    if pa.types.is_decimal128(t) and t.precision <= _EXACT_DIGITS and 0 <= t.scale <= _EXACT_SCALE:
        words = np.frombuffer(values.buffers()[1], np.int64)  # little-endian low, high
        low = words[2 * values.offset : 2 * (values.offset + len(values)) : 2]
        mask = pc.is_null(values).to_numpy(zero_copy_only=False) if values.null_count else None
        return pa.array(low / 10.0**t.scale, pa.float64(), mask=mask)
    return values.cast(pa.string()).cast(pa.float64())


# ---- text ----


def _coded(values: Any, column: Column, na: Sequence[str]) -> Coded:
    """Codes in order of first appearance."""
    texts = values if pa.types.is_dictionary(values.type) else _texts(values, column).dictionary_encode()
    codes = pc.fill_null(texts.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
    return _first_appearance(codes, _levels(_texts(texts.dictionary, column), column), na)


def _levels(texts: Any, column: Column) -> list[str | None]:
    longest = pc.max(pc.utf8_length(texts)).as_py() or 0
    if 4 * longest * len(texts) > MAX_LEVEL_BYTES:
        raise InputError(
            f"column {column.name!r}",
            f"has {len(texts)} different texts in one block, one of them with {longest} characters",
            "leave it out with --exclude, or make data.window_bytes smaller",
        )
    out: list[str | None] = texts.to_pylist()
    return out


def _first_appearance(codes: Array, levels: list[str | None], na: Sequence[str]) -> Coded:
    """Drop nulls, unused and repeated levels; number the others as they come.

    Repeated ones come from Parquet dictionaries, and from texts that differ in trailing NULs alone, which NumPy's
    unicode arrays do not keep.
    """
    null = set(na)
    number: dict[str, int] = {}
    merged = np.array(
        [
            -1 if s is None or s in null or s.strip(" \t") in null else number.setdefault(s.rstrip("\0"), len(number))
            for s in levels
        ]
        + [-1],
        np.int32,
    )
    codes = merged[codes]  # code -1 finds the last
    first = np.full(len(number) + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last one written stays: the first appearance
    order = np.argsort(first[:-1], kind="stable")
    order = order[first[order] < len(codes)]
    rank = np.full(len(number) + 1, -1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    names = np.array(list(number), np.str_)
    return Coded(rank[codes], names[order] if len(names) else np.array([], "U1"))


def _texts(values: Any, column: Column) -> Any:
    """Arrow strings: the plain text of each value."""
    t = values.type
    if pa.types.is_dictionary(t):
        return _texts(values.dictionary_decode(), column)
    if pa.types.is_string(t) or pa.types.is_large_string(t):
        return values
    if pa.types.is_floating(t):
        return _float_texts(values)
    if pa.types.is_decimal(t):
        digits = pc.replace_substring_regex(values.cast(pa.string()), r"(\.\d*[1-9])0+$", r"\1")
        return pc.replace_substring_regex(digits, r"\.0*$", "")
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        place = f"column {column.name!r}"
        raise InputError(place, "holds bytes that are not UTF-8", "leave it out with --exclude") from None


def _float_texts(values: Any) -> Any:
    """1.0 is '1', so that a label reads alike whether a file holds it as an integer or a float; NaN is null."""
    plain = _dense(values, np.float64)
    whole = (np.abs(plain) < 1e15) & (plain == np.trunc(plain))
    as_integer = pa.array(np.where(whole, plain, 0.0).astype(np.int64)).cast(pa.string())
    missing = pa.array(np.isnan(plain))
    texts = pc.if_else(pa.array(whole), as_integer, values.cast(pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), texts)
