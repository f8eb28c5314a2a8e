"""Text files as runs of records: which bytes make a block, which line is the header, where a problem lies.

Floor 2.  A plain file is read window by window, from any of them; a compressed one, or one whose quotes may hold
newlines, in order from its beginning.  Both give the same blocks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mrml.data.files import File, chunks, reading
from mrml.data.formats.lines import BOM, find_records, line_starts
from mrml.data.formats.records import Records
from mrml.data.windows import n_windows, stream_windows, window_bytes
from mrml.errors import InputError, nearest
from mrml.schema import Column, Format, Schema

_UNNAMED = re.compile(r"c(\d+)")


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

            return jsonl.parse(self.data, wanted, format)
        if format.name == "libsvm":
            from mrml.data.formats import libsvm

            return libsvm.parse(self.data, wanted, format)
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
        spans = find_records(self.data, *_record_rule(format))
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
        _, line = window_bytes(read, file.size, 1, 0)
        header = _Header.of(line, file, schema, wanted)
        for k in range(first, n if stop is None else min(stop, n)):
            yield header.cut(k, *window_bytes(read, file.size, schema.window_bytes, k))


def head(file: File, schema: Schema) -> bytes:
    """What the runs of a plain file need of its beginning: a byte order mark, and the first line of CSV."""
    with reading(file) as read:
        if schema.format.name in ("csv", "tsv"):
            return window_bytes(read, file.size, 1, 0)[1]
        return read(0, min(len(BOM), file.size))


def fed(
    file: File, schema: Schema, wanted: Sequence[Column], head: bytes, windows: Iterator[tuple[int, int, bytes]]
) -> Iterator[Run]:
    """Runs of (number, offset, bytes) windows that somebody else read; ``head`` is that of the file."""
    header = _Header.of(head, file, schema, wanted)
    for k, offset, data in windows:
        yield header.cut(k, offset, data)


def _ordered(file: File, schema: Schema, wanted: Sequence[Column], first: int, stop: int | None) -> Iterator[Run]:
    format_ = schema.format
    quote = format_.quote if in_order(file, format_) and _record_rule(format_)[2] else None
    header = None
    for k, (offset, data) in enumerate(stream_windows(chunks(file), schema.window_bytes, quote, format_.delimiter)):
        if stop is not None and k >= stop:
            return
        header = header or _Header.of(data, file, schema, wanted)
        if k >= first:
            yield header.cut(k, offset, data)


def _record_rule(format: Format) -> tuple[str, str, bool]:
    """Quote, delimiter and multiline, as :func:`mrml.data.formats.lines.find_records` wants them."""
    if format.name in ("csv", "tsv"):
        return format.quote, format.delimiter, format.multiline
    return "", ",", False


class _Header(NamedTuple):
    """Field names and the bytes of the mark and the header line at the file's beginning."""

    names: tuple[str, ...]
    n_bytes: int

    @staticmethod
    def of(data: bytes, file: File, schema: Schema, wanted: Sequence[Column]) -> _Header:
        """From bytes at the beginning of the file that hold its first record."""
        skip = len(BOM) if data.startswith(BOM) else 0
        format_ = schema.format
        if format_.name not in ("csv", "tsv"):
            return _Header((), skip)
        end = _first_end(data[skip:], format_)
        fields = _fields(data[skip : skip + end], file, format_)
        if not format_.header:
            return _Header(_unnamed(len(fields), schema), skip)
        _check(fields, wanted, file)
        return _Header(tuple(fields), skip + end)

    def cut(self, block: int, offset: int, data: bytes) -> Run:
        """The run of a block without what precedes the first record."""
        n = self.n_bytes if block == 0 else 0
        return Run(block, offset + n, data[n:], self.names)


def _first_end(data: bytes, format: Format) -> int:
    """Where the first record ends, its line end included."""
    if format.multiline:
        spans = find_records(data, *_record_rule(format))
        return int(spans.nexts[0]) if len(spans.nexts) else len(data)
    starts = line_starts(data[: 1 << 16])
    starts = starts if len(starts) and starts[0] < 1 << 16 else line_starts(data)
    return int(starts[0]) if len(starts) else len(data)


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
        raise InputError(place, "is there twice", "write the file with different names")


def blank_header(file: File) -> InputError:
    """The error of a file with nothing in its first line."""
    finding = "its first line is blank, and it is there that the columns are named"
    return InputError(file.name, finding, "delete the lines above the column names, or say --header false")


def _unnamed(n_fields: int, schema: Schema) -> tuple[str, ...]:
    """c0, c1, ...: as many as the first record has, or the schema knows (a first record may be malformed)."""
    known = [int(m[1]) + 1 for c in schema.columns if (m := _UNNAMED.fullmatch(c.name))]
    return tuple(f"c{i}" for i in range(max([n_fields, *known])))
