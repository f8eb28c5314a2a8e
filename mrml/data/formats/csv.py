"""CSV and TSV: whole lines to columns, through Arrow's reader.

The fast path is one ``read_csv`` with every type declared.  Where Arrow refuses, the slow path reads the same bytes
as raw fields and finds the records at fault; those are described and dropped, the others kept.

A record means the same whatever lies around it: ``parse`` of some lines is the ``parse`` of each, put together.  So
Arrow's block size is never smaller than the data, and without ``multiline`` no quote reaches past its line.

Numbers may have spaces around them (Arrow's rule).  A value of nothing but spaces is the empty text, hence null where
``na`` holds the empty text, as it does by default; texts keep their spaces.  Null markers apply to quoted values too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from mrml.arrays import Array
from mrml.data.block import Coded
from mrml.data.formats import dialect, faults
from mrml.data.formats.columns import to_column, to_id
from mrml.data.formats.lines import (
    BOM,
    Rule,
    Spans,
    count_fields,
    ends_open,
    find_records,
    keep_records,
    line_starts,
    quoted_fields,
)
from mrml.data.formats.records import MAX_PROBLEMS, Problem, Records
from mrml.data.formats.spelling import Spelling
from mrml.data.formats.texts import FALSE, TRUE, decode, finding, parse_texts, read_type
from mrml.errors import InputError, nearest
from mrml.schema import Column, Format


def parse(data: bytes, names: Sequence[str], wanted: Sequence[Column], format: Format) -> Records:
    """The wanted columns of whole lines.

    Parameters
    ----------
    data : whole lines without header or byte order mark; the last may lack its end.
    names : every field of the file, in file order.
    wanted : the columns to convert, each among the names.
    """
    if not dialect.is_plain(format):
        return _foreign(data, names, wanted, format)
    return _parsed(data, names, wanted, format, format)


def _foreign(data: bytes, names: Sequence[str], wanted: Sequence[Column], format: Format) -> Records:
    """The same of a text of other customs; problems lie in its own bytes."""
    text, plain = dialect.plain(data, format)
    records = _parsed(text, names, wanted, plain, format)
    if not records.problems:
        return records
    starts = find_records(data, Rule.of(format)).starts
    ordinals = np.searchsorted(find_records(text, Rule.of(plain)).starts, [p.offset for p in records.problems])
    moved = [p._replace(offset=int(starts[i])) for p, i in zip(records.problems, ordinals, strict=True)]
    return records._replace(problems=tuple(moved))


def _parsed(data: bytes, names: Sequence[str], wanted: Sequence[Column], format: Format, said: Format) -> Records:
    """The wanted columns of a plain text, which was ``said`` to be of another format."""
    there = set(names)
    for column in wanted:
        if column.name not in there:
            raise InputError(f"column {column.name!r}", "is not in the data", nearest(column.name, names))
    table = _fast(data, names, wanted, format)
    if table is None:
        return _slow(data, names, wanted, format, said)
    arrays = [_read_spelled(v, c, format) for c, v in zip(wanted, table.columns, strict=False)]
    if any(values is None for values in arrays):
        return _slow(data, names, wanted, format, said)
    columns = {c.name: _convert(v, c, format) for c, v in zip(wanted, arrays, strict=False)}
    return Records(table.num_rows, np.arange(table.num_rows), columns, None, 0, ())


def split_fields(line: bytes, format: Format) -> list[str]:
    """The fields of one line, such as the header; InputError when a quote is open or it is not UTF-8."""
    said = format
    line, format = dialect.plain(line, format)
    rule = Rule.of(format)._replace(multiline=True)
    spans = find_records(line, rule)
    if not len(spans.starts):
        return []
    if spans.is_open[0]:
        raise InputError("header", "has a quote that is still open at its end", "close it, or use --header false")
    record = line[spans.starts[0] : spans.ends[0]]
    if not format.quote or format.quote.encode() not in record:  # 1 us a field, and Arrow takes 8
        with contextlib.suppress(UnicodeDecodeError):
            return record.decode().split(format.delimiter)
    n_fields = int(count_fields(line, spans, rule)[0])
    row = _read(line, n_fields, dict.fromkeys(range(n_fields), pa.binary()), format)
    texts = [decode(field.combine_chunks())[0][0].as_py() for field in row.columns]
    if None in texts:
        raise InputError("header", *faults.not_text(said))
    return texts


def _convert(values: Any, column: Column, format: Format) -> Array | Coded:
    return to_id(values, column) if column.role == "id" else to_column(values, column, format.na)


def _read_spelled(values: Any, column: Column, format: Format) -> Any:
    """What Arrow did not read as the column's type as that; None where a text is none."""
    if values.type == _type(column):
        return values
    typed, bad = parse_texts(values.combine_chunks(), _type(column), format.na, Spelling.of(format))
    return None if bad.any() else typed


def _parse_options(format: Format) -> Any:
    return pa_csv.ParseOptions(
        delimiter=format.delimiter,
        quote_char=format.quote or False,
        newlines_in_values=format.multiline,
    )


def _read(data: bytes, n_fields: int, types: dict[int, Any], format: Format) -> Any:
    """The fields numbered in ``types``, in that order; ``pa.ArrowInvalid`` where Arrow refuses."""
    data = b"\n" + data if data.startswith(BOM) else data  # Arrow would drop a mark that is the record's own
    names = [str(i) for i in range(n_fields)]
    convert = pa_csv.ConvertOptions(
        column_types={str(i): t for i, t in types.items()},
        include_columns=[str(i) for i in types],
        null_values=list(dict.fromkeys(format.na)),
        strings_can_be_null=False,  # to_column looks at the few levels instead, and ids keep their text
        true_values=list(TRUE),
        false_values=list(FALSE),
    )
    options = pa_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1)
    return pa_csv.read_csv(pa.py_buffer(data), options, _parse_options(format), convert)


def _types(names: Sequence[str], wanted: Sequence[Column], format: Format) -> dict[int, Any]:
    """Field number -> Arrow type, in the order of ``wanted``; the first field as raw bytes when nothing is."""
    index = {name: i for i, name in reversed(list(enumerate(names)))}
    spelling = Spelling.of(format)
    types = [(index[c.name], _type(c)) for c in wanted]
    return {i: pa.string() if spelling.concerns(t) else t for i, t in types} or {0: pa.binary()}


def _type(column: Column) -> Any:
    """An id is the text it is: 007 is not 7."""
    return pa.string() if column.role == "id" else read_type(column)


def _fast(data: bytes, names: Sequence[str], wanted: Sequence[Column], format: Format) -> Any:
    """The table of the wanted columns, or None when a record is at fault."""
    if not names or not data:
        return None
    try:
        table = _read(data, len(names), _types(names, wanted, format), format)
    except pa.ArrowInvalid:
        return None
    return None if _may_swallow(data, table.num_rows, format) else table


def _may_swallow(data: bytes, n_rows: int, format: Format) -> bool:
    """Whether a quote was open at the end of a record.

    As many rows as lines that are not empty means that each row is one line, save that the last may run on.
    """
    if not format.quote or format.quote.encode() not in data:
        return False
    if format.multiline:
        return bool(quoted_fields(data, Rule.of(format)).is_open.any())
    body = data.rstrip(b"\r\n")
    last = body[max(body.rfind(b"\n"), body.rfind(b"\r")) + 1 :]
    return n_rows != _count_lines(body) or ends_open(last, Rule.of(format))


def _count_lines(body: bytes) -> int:
    """Lines that are not empty of bytes that do not end with a line's end."""
    if b"\r" in body or b"\n\n" in body or body.startswith(b"\n"):
        starts = np.concatenate([[0], line_starts(body)])
        buffer = np.frombuffer(body, np.uint8)
        return int(np.count_nonzero(~np.isin(buffer[starts], (10, 13)))) if len(body) else 0
    return body.count(b"\n") + bool(body)


# ---- the slow path ----


def _slow(data: bytes, names: Sequence[str], wanted: Sequence[Column], format: Format, said: Format) -> Records:
    """The same, with the records at fault found, described and dropped."""
    rule = Rule.of(format)
    spans = find_records(data, rule)
    n_fields = count_fields(data, spans, rule)
    whole = np.flatnonzero(~spans.is_open & (n_fields == len(names)))
    text = keep_records(data, spans, whole)
    if len(whole) and names:
        table = _read(text, len(names), dict.fromkeys(_types(names, wanted, format), pa.binary()), format)
        fields = [_Field(c, raw, format) for c, raw in zip(wanted, table.columns, strict=False)]
    else:
        fields = [_Field(c, pa.chunked_array([], pa.binary()), format) for c in wanted]
    bad = np.any([f.bad for f in fields], axis=0) if fields else np.zeros(len(whole), bool)
    rows = whole[~bad]
    at_fault = np.ones(len(n_fields), bool)
    at_fault[rows] = False
    problems = tuple(
        _problem(data, int(i), spans, int(n_fields[i]), int(np.searchsorted(whole, i)), fields, names, format, said)
        for i in np.flatnonzero(at_fault)[:MAX_PROBLEMS]
    )
    arrays = {f.column.name: _convert(f.values.filter(pa.array(~bad)), f.column, format) for f in fields}
    return Records(len(n_fields), rows, arrays, None, int(at_fault.sum()), problems)


class _Field:
    """A column of raw fields: its values as the wanted type, and which of them are none."""

    def __init__(self, column: Column, raw: Any, format: Format) -> None:
        self.column, self.type = column, _type(column)
        self.texts, self.not_utf8 = decode(raw.combine_chunks())
        self.values, bad = parse_texts(self.texts, self.type, format.na, Spelling.of(format))
        self.bad = bad | self.not_utf8

    def problem(self, row: int, offset: int, said: Format) -> Problem:
        if self.not_utf8[row]:
            return Problem(offset, self.column.name, *faults.not_text(said))
        return Problem(offset, self.column.name, *finding(self.texts[row].as_py(), self.type))


def _problem(
    data: bytes,
    i: int,
    spans: Spans,
    n_fields: int,
    row: int,
    fields: list[_Field],
    names: Sequence[str],
    format: Format,
    said: Format,
) -> Problem:
    """What is wrong with record i, which is ``row`` among those with the right number of fields."""
    offset = int(spans.starts[i])
    if spans.is_open[i] or n_fields != len(names):
        return Problem(offset, "", *faults.of_record(data, spans, i, n_fields, names, format, said))
    return next(f.problem(row, offset, said) for f in fields if f.bad[row])
