"""JSON lines: one object a line to columns, through Arrow's reader with an explicit schema.

A key that is missing is null, one that nobody wants is ignored.  Where Arrow refuses, the slow path loads each line
with the standard library: it finds the records at fault, and takes a value of another JSON type by its text, so that
``"3"`` is a number and ``1.0`` the label ``1``.  An object or a list in a wanted column is a bad value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from mrml.arrays import Array
from mrml.data.block import Coded
from mrml.data.formats.columns import to_column, to_id
from mrml.data.formats.lines import BOM, Spans, find_records
from mrml.data.formats.records import MAX_PROBLEMS, Problem, Records
from mrml.data.formats.texts import finding, parse_texts, plain_number, read_type
from mrml.schema import Column, Format

#: Literals that Arrow takes and the standard library does not: left to the latter, which refuses them.
_ODD = re.compile(rb"[:,\[\s](-?Inf(?!inity)|-NaN)")
_Fault = tuple[str, str, str]  # column, finding, remedy


class _Number(str):
    """A JSON number by its text."""


def parse(data: bytes, wanted: Sequence[Column], format: Format) -> Records:
    """The wanted columns of whole lines; a line of nothing but spaces is no record."""
    spans = find_records(data)
    values = _fast(data, spans, wanted, format)
    if values is None:
        return _slow(data, spans, wanted, format)
    n = len(spans.starts)
    columns = {c.name: _convert(v, c, format) for c, v in zip(wanted, values, strict=True)}
    return Records(n, np.arange(n), columns, None, 0, ())


def _convert(values: Any, column: Column, format: Format) -> Array | Coded:
    return to_id(values, column) if column.role == "id" else to_column(values, column, format.na)


def _fast(data: bytes, spans: Spans, wanted: Sequence[Column], format: Format) -> list[Any] | None:
    """Arrow values of each wanted column, or None when a line is at fault or not plainly one object."""
    buffer, n = np.frombuffer(data, np.uint8), len(spans.starts)
    if not n or not wanted or data.startswith(BOM) or _ODD.search(data):
        return None
    # A line's end between } and { is between two objects, never inside one: as many objects as lines, then,
    # means one in each.
    if (buffer[spans.starts] != ord("{")).any() or (buffer[spans.ends - 1] != ord("}")).any():
        return None
    try:
        table = _read(data, wanted)
        table.validate(full=True)  # the reader itself lets bytes through that are not UTF-8
    except pa.ArrowInvalid:
        return None
    parsed = [_parsed(v, c, format) for c, v in zip(wanted, table.columns, strict=True)]
    return None if table.num_rows != n or any(bad.any() for _, bad in parsed) else [v for v, _ in parsed]


def _read(data: bytes, wanted: Sequence[Column]) -> Any:
    fields = [(c.name, _json_type(read_type(c))) for c in wanted]
    options = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    how = pa_json.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore")
    return pa_json.read_json(pa.py_buffer(data), options, how).select([c.name for c in wanted])


def _json_type(type_: Any) -> Any:
    """Dates and times are JSON strings."""
    return pa.string() if pa.types.is_temporal(type_) else type_


def _parsed(values: Any, column: Column, format: Format) -> tuple[Any, Array]:
    values, type_ = values.combine_chunks(), read_type(column)
    if values.type == type_:
        return values, np.zeros(len(values), bool)
    return parse_texts(values, type_, format.na)


# ---- the slow path ----


def _slow(data: bytes, spans: Spans, wanted: Sequence[Column], format: Format) -> Records:
    lines = zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)
    at = [(s, data[s:e]) for s, e in lines]
    at = [(s, line) for s, line in at if line.strip(b" \t")]
    faults: dict[int, _Fault] = {}
    texts: list[list[str | None]] = [[] for _ in wanted]
    for i, (_, line) in enumerate(at):
        record = _load(line)
        if not isinstance(record, dict):
            faults[i] = ("", record, "write one JSON object a line")
            record = {}
        for column, out in zip(wanted, texts, strict=True):
            text = _text(record.get(column.name), read_type(column))
            if isinstance(text, tuple):
                faults.setdefault(i, (column.name, *text))
            out.append(None if isinstance(text, tuple) else text)
    values = []
    for column, out in zip(wanted, texts, strict=True):
        typed, bad = parse_texts(pa.array(out, pa.string()), read_type(column), format.na)
        for i in np.flatnonzero(bad).tolist():
            faults.setdefault(i, (column.name, *finding(out[i] or "", typed.type)))
        values.append(typed)
    kept = np.ones(len(at), bool)
    kept[list(faults)] = False
    columns = {c.name: _convert(v.filter(pa.array(kept)), c, format) for c, v in zip(wanted, values, strict=True)}
    problems = tuple(Problem(at[i][0], *faults[i]) for i in sorted(faults)[:MAX_PROBLEMS])
    return Records(len(at), np.flatnonzero(kept), columns, None, len(faults), problems)


def _load(line: bytes) -> dict[str, Any] | str:
    """The object of a line, or what is wrong with it."""
    try:
        text = line.decode("utf-8", "surrogateescape")
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except ValueError as error:
        return f"is not JSON ({getattr(error, 'msg', error)})"
    except RecursionError:
        return "is nested too deeply"
    return value if isinstance(value, dict) else "is JSON but no object"


def _text(value: Any, type_: Any) -> str | tuple[str, str] | None:
    """The text of a value, or finding and remedy where it has none."""
    if value is None or (isinstance(value, _Number) and value == "NaN"):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return plain_number(value) if pa.types.is_string(type_) else str(value)
    if isinstance(value, str):
        return value if _is_utf8(value) else ("is not UTF-8", "save the file as UTF-8")
    kind = "an object" if isinstance(value, dict) else "a list"
    return f"holds {kind}, not a value", "leave the column out with --exclude, or flatten it"


def _is_utf8(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which is what bytes that are not UTF-8 became."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)
