"""Parquet files as blocks: slices of a row group, read in order, only the columns that are wanted.

Floor 2.  A block is a power of two of rows between 1,024 and 65,536, such that its decoded columns take at most
twice ``window_bytes`` (8 MB by default): the schema alone decides it, never which columns a round asks for.  Blocks
are numbered through the file; the last of a row group holds what is left of it, and a row group without rows has none.

Row groups are decoded batch by batch with one thread: 2,000,000 x 28 float32 in 0.13 s (1.6 GB/s), and never more
than one row group's wanted columns are held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrml.arrays import Array
from mrml.data.block import Coded
from mrml.data.files import File, check_unchanged
from mrml.data.formats.columns import to_column, to_id
from mrml.data.formats.records import MAX_PROBLEMS, Problem, Records
from mrml.data.formats.texts import arrow_type, finding, parse_texts, read_type
from mrml.errors import InputError, nearest
from mrml.fs.base import LocalFileSystem
from mrml.fs.find import filesystem
from mrml.schema import Column, Schema

MIN_ROWS, MAX_ROWS = 1 << 10, 1 << 16
#: What a row of a column of codes or an id is taken to cost: its code and its share of the levels.
_TEXT_BYTES = 16


class Footer(NamedTuple):
    """What a file says of itself: its Arrow schema and the rows of each row group."""

    schema: Any
    row_groups: tuple[int, ...]


def block_rows(schema: Schema) -> int:
    """Rows of a block of Parquet."""
    width = sum(_width(c) for c in schema.columns if c.role != "ignore")
    rows = 2 * schema.window_bytes // max(width, 1)
    return min(max(1 << (rows.bit_length() - 1) if rows else 0, MIN_ROWS), MAX_ROWS)


def n_blocks(row_groups: Sequence[int], rows: int) -> int:
    """Blocks of a file whose row groups have these numbers of rows."""
    return sum(-(-n // rows) for n in row_groups)


def footer(file: File) -> Footer:
    """Read the end of a file.  InputError when it is no Parquet."""
    with _open(file) as parquet:
        groups = tuple(parquet.metadata.row_group(g).num_rows for g in range(parquet.num_row_groups))
        return Footer(parquet.schema_arrow, groups)


def footers(files: Sequence[File]) -> tuple[Footer, ...]:
    """The footer of every file."""
    return tuple(footer(file) for file in files)


def check(schema: Any, wanted: Sequence[Column], name: str) -> None:
    """InputError naming file and column when a wanted column is missing, nested or of another type."""
    names = schema.names
    for column in wanted:
        place = f"{name}, column {column.name!r}"
        if column.name not in names:
            raise InputError(place, "is missing", nearest(column.name, names))
        if names.count(column.name) > 1:
            raise InputError(place, "occurs twice", "write the file with different names")
        found = schema.field(column.name).type
        if pa.types.is_nested(found):
            raise InputError(place, f"is nested ({found})", "leave it out with --exclude, or flatten it before")
        if column.role == "id":  # copied to the predictions, whatever it is
            continue
        have, want = family(found), family(arrow_type(column.source))
        if have != want and have != "null" and want != "null":
            finding_ = f"is {found} here and {column.source} in the schema"
            raise InputError(place, finding_, "write all files with one type")


def family(type_: Any) -> str:
    """Types of one family may stand for each other: number, date, timestamp, time, duration, text, null, nested."""
    is_ = pa.types
    if is_.is_dictionary(type_):
        return family(type_.value_type)
    tests = {
        "number": (is_.is_boolean, is_.is_integer, is_.is_floating, is_.is_decimal),
        "date": (is_.is_date,),
        "timestamp": (is_.is_timestamp,),
        "time": (is_.is_time,),
        "duration": (is_.is_duration,),
        "null": (is_.is_null,),
        "nested": (is_.is_nested,),
    }
    return next((name for name, fits in tests.items() if any(f(type_) for f in fits)), "text")


def read(file: File, schema: Schema, wanted: Sequence[Column], first: int, stop: int | None) -> Iterator[Records]:
    """Blocks ``first`` to ``stop`` (None: to the end), in order.

    A problem's ``offset`` is the ordinal of its row in the block.
    """
    rows = block_rows(schema)
    with _open(file) as parquet:
        check(parquet.schema_arrow, wanted, file.name)
        reader = _Reader(file, parquet, wanted, schema.format.na)
        at = 0
        for group, n_rows in enumerate(file.row_groups):
            n = n_blocks([n_rows], rows)
            low, high = max(first - at, 0), n if stop is None else min(stop - at, n)
            if low < high:
                yield from reader.blocks(group, n_rows, rows, low, high)
            at += n


def sample(file: File, columns: Sequence[str], n_rows: int, n_bytes: int) -> Any:
    """The first rows of a file as an Arrow table, for inference: at most so many, and about so many bytes."""
    with _open(file) as parquet:
        meta = parquet.metadata
        width = sum(meta.row_group(g).total_byte_size for g in range(meta.num_row_groups)) / max(meta.num_rows, 1)
        most = max(int(min(n_rows, n_bytes / max(width, 1.0))), 1)
        try:
            batch = next(parquet.iter_batches(batch_size=most, columns=list(columns), use_threads=False))
        except (OSError, pa.ArrowException) as error:
            raise _broken(file, error) from error
        return pa.Table.from_batches([batch])


class _Reader(NamedTuple):
    file: File
    parquet: Any
    wanted: Sequence[Column]
    na: Sequence[str]

    def blocks(self, group: int, n_rows: int, rows: int, low: int, high: int) -> Iterator[Records]:
        """Blocks low to high of a row group.  Those before are decoded too: Parquet cannot be entered midway."""
        if not self.wanted:
            yield from (_nothing(min(rows, n_rows - k * rows)) for k in range(low, high))
            return
        names = [c.name for c in self.wanted]
        try:
            batches = self.parquet.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=False)
            for table in islice(_exact(batches, rows), low, high):
                yield self.records(table)
        except (OSError, pa.ArrowException) as error:
            raise _broken(self.file, error) from error

    def records(self, table: Any) -> Records:
        n = table.num_rows
        keep = np.ones(n, bool)
        problems: list[Problem] = []
        columns: dict[str, Array | Coded] = {}
        for column in self.wanted:
            values = table.column(column.name)
            if column.kind == "numeric" and family(values.type) == "text" and column.role != "id":
                values, bad = self.numbers(values, column, problems)
                keep &= ~bad
            try:
                columns[column.name] = (
                    to_id(values, column) if column.role == "id" else to_column(values, column, self.na)
                )
            except InputError as error:
                place = f"{self.file.name}, {error.place}"
                raise InputError(place, error.finding, error.remedy) from error
        problems.sort(key=lambda p: p.offset)
        ordinals = np.arange(n)
        if not keep.all():
            ordinals, columns = ordinals[keep], {k: _take(v, keep) for k, v in columns.items()}
        return Records(n, ordinals, columns, None, int(n - keep.sum()), tuple(problems[:MAX_PROBLEMS]))

    def numbers(self, values: Any, column: Column, problems: list[Problem]) -> tuple[Any, Array]:
        """Texts of a numeric column as numbers, and which rows are bad."""
        texts = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], pa.string())
        kind = read_type(column)
        kind = pa.float64() if pa.types.is_string(kind) else kind
        parsed, bad = parse_texts(texts.cast(pa.string()), kind, self.na)
        for row in np.flatnonzero(bad)[:MAX_PROBLEMS].tolist():
            problems.append(Problem(row, column.name, *finding(texts[row].as_py(), kind)))
        return parsed, bad


def _width(column: Column) -> int:
    if column.role == "id" or column.kind != "numeric":
        return _TEXT_BYTES
    return 4 if column.role == "feature" and column.storage == "float32" else 8


def _take(values: Array | Coded, keep: Array) -> Array | Coded:
    return Coded(values.codes[keep], values.levels) if isinstance(values, Coded) else values[keep]


def _nothing(n: int) -> Records:
    return Records(n, np.arange(n), {}, None, 0, ())


def _exact(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Tables of exactly ``rows`` rows, the last one shorter, whatever the batches' own cut."""
    held: list[Any] = []
    n = 0
    for batch in batches:
        while n + batch.num_rows >= rows:
            yield pa.Table.from_batches([*held, batch.slice(0, rows - n)])
            batch, held, n = batch.slice(rows - n), [], 0
        if batch.num_rows:
            held.append(batch)
            n += batch.num_rows
    if n:
        yield pa.Table.from_batches(held)


@contextmanager
def _open(file: File) -> Iterator[Any]:
    """The file as pyarrow reads it; a local one as a memory map, so that its bytes are never copied."""
    fs, path = filesystem(file.path)
    try:
        check_unchanged(file)
        source = pa.memory_map(path) if isinstance(fs, LocalFileSystem) else pa.PythonFile(fs.open(path), "r")
        parquet = pq.ParquetFile(source, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise _broken(file, error) from error
    with source:
        yield parquet


def _broken(file: File, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(file.name, "was deleted after the run began", "start again with the files as they are")
    said = " ".join(str(error).split())[:200]
    return InputError(file.name, f"cannot be read as Parquet: {said}", "write it again, or leave it out")
