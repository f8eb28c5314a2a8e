"""Texts to numbers, with the texts that are none found rather than refused: the slow path of the text readers.

What Arrow's CSV reader accepts is accepted here with the same value, and a little more: spaces around any value, and
``3.0`` or ``+3`` where an integer is wanted.  A value of nothing but spaces is the empty text.  So a run of records
gives the same rows whether the fast path took it or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mrml.arrays import Array
from mrml.data.formats.spelling import PLAIN, Spelling, zoned
from mrml.errors import InputError
from mrml.schema import Column

_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), *(-?\d+)\)")
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, *tz=(.+))?\]")

TRUE = ("1", "true", "True", "TRUE")
FALSE = ("0", "false", "False", "FALSE")

#: RE2 patterns that hold every text Arrow accepts: what does not match need not be tried one by one.
_FLOAT = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan|nan\(\w*\)))$"
_INTEGER = r"^(-?\d+|-?0[xX][0-9a-fA-F]+)$"
_TIME = r"^(\d{4}-\d{2}-\d{2}|\d{2}:\d{2})"


def arrow_type(source: str) -> Any:
    """The Arrow type that :attr:`mrml.schema.Column.source` names."""
    if found := _TIMESTAMP.fullmatch(source):
        return pa.timestamp(found[1], found[2])
    if found := _DECIMAL.fullmatch(source):
        return getattr(pa, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    try:
        return pa.type_for_alias(source.split("[day]")[0])
    except ValueError:
        raise InputError("schema", f"source {source!r} is not a type", "use Arrow's words, such as double") from None


def read_type(column: Column) -> Any:
    """The Arrow type a text reader reads the column as: numbers at once in the column's storage."""
    source = arrow_type(column.source)
    if pa.types.is_boolean(source) or (pa.types.is_temporal(source) and not pa.types.is_duration(source)):
        return source
    if column.role != "id" and column.kind == "numeric":
        return pa.float32() if column.storage == "float32" else pa.float64()
    if pa.types.is_integer(source):
        return source
    return pa.float64() if pa.types.is_floating(source) or pa.types.is_decimal(source) else pa.string()


def finding(text: str, type_: Any) -> tuple[str, str]:
    """What is wrong with a text that is not of the type, and the remedy."""
    short = text if len(text) <= 40 else text[:37] + "..."
    remedy = f'add na: ["{short}"] under data'
    if pa.types.is_boolean(type_):
        return f"{short!r} is neither true nor false", remedy
    if pa.types.is_date(type_):
        return f"{short!r} is not a date like 2026-11-20", remedy
    if pa.types.is_temporal(type_):
        return f"{short!r} is not a time like 2026-11-20 13:00:00 ({type_})", remedy
    if pa.types.is_integer(type_):
        return f"{short!r} is not an integer ({type_})", f"{remedy}, or set the column's source in the schema"
    return f"{short!r} is not a number", remedy


def parse_texts(texts: Any, type_: Any, na: Sequence[str], spelling: Spelling = PLAIN) -> tuple[Any, Array]:
    """The texts as values of an Arrow type.

    Parameters
    ----------
    texts : Arrow strings (n,).
    type_ : an Arrow boolean, integer, floating or temporal type, or string, which every text is.
    na : texts that mean null.
    spelling : how numbers and times are written.

    Returns
    -------
    values : Arrow array (n,) of the type, null where the text is bad.
    bad : (n,) bool.
    """
    if pa.types.is_string(type_):
        return texts, np.zeros(len(texts), bool)
    trimmed = _without_nulls(texts, na)
    if spelling.concerns(type_):
        values = _spelled(trimmed, type_, spelling)
        return values, _lost(trimmed, values)
    if pa.types.is_timestamp(type_) and type_.tz:
        trimmed = zoned(trimmed)
    if not pa.types.is_boolean(type_):  # whose cast takes more than the fast path does, such as tRue
        try:
            return trimmed.cast(type_), np.zeros(len(texts), bool)
        except pa.ArrowInvalid:
            pass
    coded = trimmed.dictionary_encode()  # what is wrong is often wrong many times
    codes = pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy(zero_copy_only=False)
    different = coded.dictionary
    values = _try_cast(different, type_)
    if pa.types.is_integer(type_):
        values = pc.coalesce(values, _whole(_try_cast(different, pa.float64()), type_))
    bad = np.append(pc.is_null(values).to_numpy(zero_copy_only=False), False)
    return pa.concat_arrays([values, pa.nulls(1, type_)]).take(pa.array(codes)), bad[codes]


def _spelled(texts: Any, type_: Any, spelling: Spelling) -> Any:
    """Texts of another spelling as values of the type, null where they are none; ISO dates and times stay what they
    are."""
    if pa.types.is_floating(type_):
        return spelling.numbers(texts).cast(type_)
    values, _ = parse_texts(texts, type_, ())
    unread = pc.if_else(pc.is_null(values), texts, pa.scalar(None, texts.type))
    return pc.coalesce(values, spelling.times(unread, type_))


def _lost(texts: Any, values: Any) -> Array:
    """(n,) bool: texts of which no value came."""
    lost: Array = pc.and_(pc.is_valid(texts), pc.is_null(values)).to_numpy(zero_copy_only=False)
    return lost


def _without_nulls(texts: Any, na: Sequence[str]) -> Any:
    """The texts without spaces around them, null where they mean null with or without those."""
    markers = pa.array(list(na), pa.string())
    trimmed = pc.ascii_trim(texts, " \t")
    missing = pc.or_(pc.is_in(texts, markers), pc.is_in(trimmed, markers))
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def _whole(floats: Any, type_: Any) -> Any:
    """Floats that are integers, exactly, as the integer type; null otherwise."""
    fits = pc.and_(pc.equal(floats, pc.trunc(floats)), pc.less(pc.abs(floats), 2.0**53))
    kept = pc.if_else(fits, floats, pa.scalar(None, pa.float64())).cast(pa.int64())
    bounds = np.iinfo(str(type_))  # NumPy's names are Arrow's; to_pandas_dtype asks pyarrow 25 for pandas
    inside = np.array([v is not None and bounds.min <= v <= bounds.max for v in kept.to_pylist()], bool)
    return pc.if_else(pa.array(inside), kept, pa.scalar(None, pa.int64())).cast(type_)


def _try_cast(texts: Any, type_: Any) -> Any:
    """Values of the type, null where a text is none."""
    if pa.types.is_boolean(type_):
        true, false = (pc.is_in(texts, pa.array(words)) for words in (TRUE, FALSE))
        return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))
    pattern = _INTEGER if pa.types.is_integer(type_) else _FLOAT if pa.types.is_floating(type_) else _TIME
    plausible = pc.match_substring_regex(texts, pattern)
    return _halves(pc.if_else(plausible, texts, pa.scalar(None, pa.string())), type_)


def _halves(texts: Any, type_: Any) -> Any:
    """Cast; halve what Arrow refuses until what is left is one bad text."""
    try:
        return texts.cast(type_)
    except pa.ArrowInvalid:
        n = len(texts)
        if n == 1:
            return pa.nulls(1, type_)
        return pa.concat_arrays([_halves(texts[: n // 2], type_), _halves(texts[n // 2 :], type_)])


def plain_number(text: str) -> str:
    """A number's text as a label: '1' for '1.0', so that it reads alike as an integer and as a float."""
    if text.lstrip("-").isdigit():
        return text if text.strip("-0") else "0"
    value = float(text)
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else str(pa.scalar(value).cast(pa.string()))


def decode(raw: Any) -> tuple[Any, Array]:
    """Arrow bytes (n,) as strings, null where they are not UTF-8, and where that is: (n,) bool."""
    try:
        return raw.cast(pa.string()), np.zeros(len(raw), bool)
    except pa.ArrowInvalid:
        coded = raw.dictionary_encode()
    texts = [_utf8(value) for value in coded.dictionary.to_pylist()]
    codes = pc.fill_null(coded.indices, len(texts)).to_numpy(zero_copy_only=False)
    bad = np.array([t is None for t in texts] + [False])
    return pa.array([*texts, None], pa.string()).take(pa.array(codes)), bad[codes]


def _utf8(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
