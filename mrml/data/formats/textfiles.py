"""Text files as runs of records: which bytes make a block, which line is the header, where a problem lies.

Floor 2.  A plain file is read window by window, from any of them; a compressed one, or one whose quotes may hold
newlines, in order from its beginning.  Both give the same blocks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from mrml.data.files import File, chunks, reading
from mrml.data.formats.dialect import utf8
from mrml.data.formats.lines import BOM, Rule, find_records, line_starts
from mrml.data.formats.records import Records
from mrml.data.windows import line_start_after, n_windows, stream_windows, window_bytes
from mrml.errors import InputError, nearest
from mrml.schema import Column, Format, Schema

_UNNAMED = re.compile(r"c(\d+)")
_SEP = re.compile(rb"(?:\xef\xbb\xbf)?\"?sep=([^\r\n]{1,8}?)\"?(?:[\r\n]|\Z)", re.IGNORECASE)
_SEP_BYTES = 32


class Run(NamedTuple):
    """The records of one block: whole lines, where they begin in the (decompressed) file, and the field names."""

    block: int
    offset: int
    data: bytes
    names: tuple[str, ...]

    def parse(self, wanted: Sequence[Column], format: Format) -> Records:
        """The wanted columns."""
        if format.name == "jsonl":
            from mrml.data.formats import jsonl

            return jsonl.parse(utf8(self.data, format), wanted, format)
        if format.name == "libsvm":
            from mrml.data.formats import libsvm

            return libsvm.parse(utf8(self.data, format), wanted, format)
        from mrml.data.formats import csv

        return csv.parse(self.data, self.names, wanted, format)

    def n_records(self, format: Format) -> int:
        """Records, malformed ones included."""
        return len(self._starts(format))

    def offset_of(self, ordinal: int, format: Format) -> int:
        """Where a record begins in :attr:`data`."""
        return self._starts(format)[ordinal]

    def _starts(self, format: Format) -> list[int]:
        """The first byte of each record; lines of nothing but spaces or a comment are none in JSON and LibSVM."""
        spans = find_records(self.data, Rule.of(format))
        if format.name in ("csv", "tsv"):
            return list(spans.starts.tolist())
        comment = b"#" if format.name == "libsvm" else b"\n"
        lines = zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)
        return [a for a, b in lines if self.data[a:b].split(comment)[0].strip(b" \t")]


def n_blocks(file: File, schema: Schema) -> int | None:
    """Blocks of a text file; None when only reading it tells."""
    return None if in_order(file, schema.format) else n_windows(file.size, schema.window_bytes)


def in_order(file: File, format: Format) -> bool:
    """Whether a file can only be read from its beginning."""
    return bool(file.compression) or (format.multiline and format.name in ("csv", "tsv"))


def runs(file: File, schema: Schema, wanted: Sequence[Column], first: int, stop: int | None) -> Iterator[Run]:
    """Blocks ``first`` to ``stop`` (None: to the end), in order.

    InputError when the header of the file lacks a wanted column.
    """
    read = _ordered if in_order(file, schema.format) else _windows
    return read(file, schema, wanted, first, stop)


def _windows(file: File, schema: Schema, wanted: Sequence[Column], first: int, stop: int | None) -> Iterator[Run]:
    n = n_windows(file.size, schema.window_bytes)
    with reading(file) as read:
        header = _Header.of(_beginning(read, file.size, schema.format), file, schema, wanted)
        for k in range(first, n if stop is None else min(stop, n)):
            yield header.cut(k, *window_bytes(read, file.size, schema.window_bytes, k))


def head(file: File, schema: Schema) -> bytes:
    """What the runs of a plain file need of its beginning: a byte order mark, and the lines of CSV to the header."""
    with reading(file) as read:
        return _beginning(read, file.size, schema.format)


def _beginning(read: Callable[[int, int], bytes], size: int, format: Format) -> bytes:
    if format.name not in ("csv", "tsv"):
        return read(0, min(len(BOM), size))
    stop = line_start_after(read, size, 0)
    for _ in range(max(format.skip_lines, bool(delimiter_said(read(0, min(stop, _SEP_BYTES)))))):
        stop = line_start_after(read, size, stop)
    return read(0, stop)


def delimiter_said(data: bytes) -> str:
    """What the first line says where it is ``sep=;``, which Excel writes and which is neither header nor row; or ''."""
    found = _SEP.match(data)
    return found[1].decode("utf-8", "replace") if found else ""


def preamble(data: bytes, format: Format) -> int:
    """Bytes before the header or the first row of CSV, a byte order mark alone left to others: lines that are skipped.

    ``data`` begins as the file does; where it holds too few lines, all of it.
    """
    n_lines = max(format.skip_lines, bool(delimiter_said(data))) if format.name in ("csv", "tsv") else 0
    if not n_lines:
        return 0
    starts = line_starts(data)
    return int(starts[n_lines - 1]) if len(starts) >= n_lines else len(data)


def fed(
    file: File, schema: Schema, wanted: Sequence[Column], head: bytes, windows: Iterator[tuple[int, int, bytes]]
) -> Iterator[Run]:
    """Runs of (number, offset, bytes) windows that somebody else read; ``head`` is that of the file."""
    header = _Header.of(head, file, schema, wanted)
    for k, offset, data in windows:
        yield header.cut(k, offset, data)


def _ordered(file: File, schema: Schema, wanted: Sequence[Column], first: int, stop: int | None) -> Iterator[Run]:
    header = None
    skipped, rest = _without_preamble(chunks(file), schema.format)
    for k, (offset, data) in enumerate(stream_windows(rest, schema.window_bytes, Rule.of(schema.format))):
        if stop is not None and k >= stop:
            return
        header = header or _Header.of(data, file, schema, wanted, skipped)
        if k >= first:
            yield header.cut(k, skipped + offset, data)


def _without_preamble(pieces: Iterator[bytes], format: Format) -> tuple[int, Iterator[bytes]]:
    """How many bytes of lines are skipped, whose quotes mean nothing, and the bytes after them."""
    begun = b""
    for piece in pieces:
        begun += piece
        n_bytes = preamble(begun, format)
        if len(begun) >= _SEP_BYTES and (not n_bytes or n_bytes < len(begun) - 1):  # one more: half a CRLF
            return n_bytes, chain([begun[n_bytes:]], pieces)
    n_bytes = preamble(begun, format)
    return n_bytes, iter([begun[n_bytes:]])


class _Header(NamedTuple):
    """Field names, and where in the file the lines before the first record end."""

    names: tuple[str, ...]
    end: int

    @staticmethod
    def of(data: bytes, file: File, schema: Schema, wanted: Sequence[Column], at: int = 0) -> _Header:
        """From bytes that hold the first record: those at the beginning of the file, or from byte ``at`` after what is
        skipped."""
        format_ = schema.format
        skip = 0 if at else preamble(data, format_)
        skip = skip or (len(BOM) if data.startswith(BOM) else 0)
        if format_.name not in ("csv", "tsv"):
            return _Header((), skip)
        end = _first_end(data[skip:], format_)
        names = _names(data[skip : skip + end], file, schema)
        if format_.header or format_.columns:
            _check(names, wanted, file)
        return _Header(names, at + skip + end * format_.header)

    def cut(self, block: int, offset: int, data: bytes) -> Run:
        """The run of a block without what precedes the first record."""
        n = min(max(self.end - offset, 0), len(data))
        return Run(block, offset + n, data[n:], self.names)


def _first_end(data: bytes, format: Format) -> int:
    """Where the first record ends, its line end included."""
    if format.multiline:
        spans = find_records(data, Rule.of(format))
        return int(spans.nexts[0]) if len(spans.nexts) else len(data)
    starts = line_starts(data[: 1 << 16])
    starts = starts if len(starts) and starts[0] < 1 << 16 else line_starts(data)
    return int(starts[0]) if len(starts) else len(data)


def _names(line: bytes, file: File, schema: Schema) -> tuple[str, ...]:
    """What the configuration or the first record names the columns, or c0, c1, ... where that is a row.

    InputError where both name one in different places: the values would be taken for another column's.
    """
    fields, said = _fields(line, file, schema.format), schema.format.columns
    if not said:
        return tuple(fields) if schema.format.header else _unnamed(len(fields), schema)
    if schema.format.header and (moved := misplaced(fields, said)):
        finding = f"is in another place than among {', '.join(said)}"
        raise InputError(f"{file.name}, column {moved!r}", finding, "give the files columns in one order")
    return said


def misplaced(fields: Sequence[str], columns: Sequence[str]) -> str:
    """The first name of a header that is another field's among ``columns``, or ''."""
    return next((f for i, f in enumerate(fields) if f in columns and columns.index(f) != i), "")


def _fields(line: bytes, file: File, format: Format) -> list[str]:
    from mrml.data.formats import csv

    try:
        return csv.split_fields(line, format)
    except InputError as error:
        if not format.header:
            return []
        raise InputError(f"{file.name}, {error.place}", error.finding, error.remedy) from error


def _check(fields: Sequence[str], wanted: Sequence[Column], file: File) -> None:
    if wanted and not any(f.strip() for f in fields):
        raise blank_header(file)
    if wanted and set(fields).isdisjoint(c.name for c in wanted):
        finding = f"its first line, {', '.join(fields)[:80]!r}, names no column that is wanted"
        raise InputError(file.name, finding, "every file begins with the column names, or with --header false none")
    counts = Counter(fields)
    for column in wanted:
        if counts[column.name] == 1:
            continue
        place = f"{file.name}, column {column.name!r}"
        if not counts[column.name]:
            raise InputError(place, "is missing", nearest(column.name, fields))
        raise InputError(place, "occurs twice", "write the file with different names")


def blank_header(file: File) -> InputError:
    """The error of a file with nothing in its first line."""
    finding = "its first line is blank, and it is there that the columns are named"
    return InputError(file.name, finding, "delete the lines above the column names, or use --header false")


def _unnamed(n_fields: int, schema: Schema) -> tuple[str, ...]:
    """c0, c1, ...: as many as the first record has, or the schema knows (a first record may be malformed)."""
    known = [int(m[1]) + 1 for c in schema.columns if (m := _UNNAMED.fullmatch(c.name))]
    return tuple(f"c{i}" for i in range(max([n_fields, *known])))
