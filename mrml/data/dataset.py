"""The Dataset: schema, files and blocks; what an engine cuts into splits and a task reads.

Floor 2.  The driver opens it: that lists the files, infers or loads the schema and reads Parquet footers.  A task gets
it as JSON, and reads: no listing, no inference, the same blocks whoever reads them and wherever a split begins.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.data import groups, sides
from mrml.data.assemble import assemble
from mrml.data.block import Block, Coded
from mrml.data.files import File
from mrml.data.formats import textfiles
from mrml.data.formats.records import Records
from mrml.data.rows import Piece, checked, constant
from mrml.data.shards import Reads, cut
from mrml.errors import InputError, TaskFailed
from mrml.schema import Column, Schema

_NUMBERED = re.compile(r"file (\d+)(?=, block )")
ROLES = ("feature", "target", "weight", "group", "offset", "id")
#: A row group is cut only when it is at least this many times a split: a later part decodes what lies before it.
_CUT_ROW_GROUPS = 4


class Range(NamedTuple):
    """Blocks ``first`` to ``stop`` of file number ``file``; None: to its end."""

    file: int
    first: int
    stop: int | None


Split = tuple[Range, ...]


@dataclass(frozen=True)
class Dataset:
    """Rows to read.

    Attributes
    ----------
    schema : columns, kinds, roles, format and block size.
    files : in the order of their numbers: training files, then validation files.
    roles : of the columns to read.
    bad_rows : "fail" raises InputError at the first malformed row, "skip" drops and counts it.
    weightless : whether rows of weight 0 are read too, which are no rows to train on.
    notes : what was found odd about the columns when they were inferred; told while training.
    """

    schema: Schema
    files: tuple[File, ...]
    roles: tuple[str, ...] = ROLES
    bad_rows: str = "fail"
    notes: tuple[str, ...] = field(default=(), compare=False)
    weightless: bool = False

    @property
    def n_bytes(self) -> int:
        """Bytes of all files as stored."""
        return sum(file.size for file in self.files)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are read, in the schema's order."""
        return tuple(c for c in self.schema.columns if c.role in self.roles)

    def splits(self, split_bytes: int, reads: Reads = Reads()) -> tuple[Split, ...]:  # noqa: B008 - it never changes
        """Consecutive blocks of about ``split_bytes`` each, in order; or first the shards, where a round reads those.

        Small files share a split, a file that cannot be split is in one whole; training and validation files
        never share one.  ConfigError for more shards than blocks.
        """
        key = (split_bytes, reads)
        if key not in self._cuts:
            self._cuts[key] = self._split(split_bytes, reads)
        return self._cuts[key]

    @cached_property
    def _cuts(self) -> dict[tuple[int, Reads], tuple[Split, ...]]:
        """A round asks for the same splits once a task."""
        return {}

    def _split(self, split_bytes: int, reads: Reads) -> tuple[Split, ...]:
        splits = [list(shard) for shard in self.shards(reads.shards)]
        parts = {"train"} if reads.train and not reads.shards else set()
        parts |= {"valid"} if reads.valid else set()
        part, room = "", 0
        for number, file in enumerate(self.files):
            if file.part not in parts:
                continue
            for range_, n_bytes in self._parts(number, split_bytes):
                if file.part != part or n_bytes > room:
                    splits.append([])
                    part, room = file.part, split_bytes
                splits[-1].append(range_)
                room -= n_bytes
        return tuple(tuple(split) for split in splits)

    def shards(self, n_shards: int) -> tuple[Split, ...]:
        """The training blocks as so many runs, whatever the splits; ConfigError for more than there are blocks."""
        if not n_shards:
            return ()
        trained = [number for number, file in enumerate(self.files) if file.part == "train"]
        units = [unit for number in trained for unit in self._units(number)]
        return tuple(_joined([range for range, _ in units[run]]) for run in cut([size for _, size in units], n_shards))

    def read(self, range: Range) -> Iterator[Block]:
        """The raw Blocks of a range in order, the empty ones included.

        InputError when a file is not what it was, a column is missing, a group lies in two files, or, with
        ``bad_rows`` fail, a row is malformed.
        """
        file = self.files[range.file]
        columns = (*self.columns, *self._sides(file))
        pieces = self._owned(range) if self._group(file) else self._pieces(range.file, range.first, range.stop)
        for piece in pieces:
            yield assemble(piece, columns, self.schema, range.file, file.part)

    def fed(self, number: int, head: bytes, windows: Iterator[tuple[int, int, bytes]]) -> Iterator[Block]:
        """The Blocks of windows of file ``number`` that Hadoop read; ``head`` is what `textfiles.head` found there.

        The same as :meth:`read` gives, for files without groups and side files.
        """
        file = self.files[number]
        with _naming(file):
            reader = _Reader(self, number)
            for run in textfiles.fed(file, self.schema, reader.stored, head, windows):
                yield assemble(reader.parsed(run), self.columns, self.schema, number, file.part)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: what a task on another machine gets."""
        files = [dataclasses.asdict(file) for file in self.files]
        told = {"schema": self.schema.to_json(), "files": files, "roles": list(self.roles), "bad_rows": self.bad_rows}
        return {**told, **({"weightless": True} if self.weightless else {})}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Dataset:
        """The inverse of :meth:`to_json`."""
        files = tuple(File.from_json(f) for f in value["files"])
        more = {"weightless": value.get("weightless", False)}
        return Dataset(Schema.from_json(value["schema"]), files, tuple(value["roles"]), value["bad_rows"], **more)

    def describe(self) -> dict[str, Any]:
        """Figures for the plan: files, bytes, blocks and rows where they are known before reading."""
        known = [file.n_blocks for file in self.files]
        is_parquet = self.schema.format.name == "parquet"
        return {
            "files": len(self.files),
            "valid_files": sum(file.part == "valid" for file in self.files),
            "bytes": self.n_bytes,
            "format": self.schema.format.name,
            "compressed_files": sum(bool(file.compression) for file in self.files),
            "blocks": None if None in known else sum(n or 0 for n in known),
            "rows": sum(sum(file.row_groups) for file in self.files) if is_parquet else None,
            "columns": len(self.columns),
        }

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Errors from where only the numbers of files are known name the file."""
        try:
            yield
        except TaskFailed as error:
            error.place = _NUMBERED.sub(lambda found: self.files[int(found[1])].name, error.place)
            raise
        except InputError as error:
            found = _NUMBERED.match(error.place)
            if not found:
                raise
            place = self.files[int(found[1])].name + error.place[found.end() :]
            raise type(error)(place, error.finding, error.remedy) from error

    # ---- splits ----

    def _parts(self, number: int, split_bytes: int) -> list[tuple[Range, int]]:
        """A file as ranges, each with about how many bytes it reads."""
        file = self.files[number]
        if not file.splittable or file.n_blocks is None:
            return [(Range(number, 0, None), file.size)]
        each = max(file.size // max(file.n_blocks, 1), 1)
        parts = []
        for first, stop in self._runs(file, split_bytes // each):
            parts.append((Range(number, first, stop), (stop - first) * each))
        return parts

    def _units(self, number: int) -> list[tuple[Range, int]]:
        """A file block by block, each with about how many bytes it has; whole where it is read once to know."""
        file = self.files[number]
        if not file.splittable or file.n_blocks is None:
            return [(Range(number, 0, None), file.size)]
        each = max(file.size // max(file.n_blocks, 1), 1)
        return [(Range(number, k, k + 1), each) for k in range(file.n_blocks)]

    def _runs(self, file: File, at_most: int) -> list[tuple[int, int]]:
        """Consecutive blocks that stay together: of text each block, of Parquet each row group unless it is huge."""
        n_blocks = file.n_blocks or 0
        if not file.row_groups:
            return [(k, min(k + max(at_most, 1), n_blocks)) for k in range(0, n_blocks, max(at_most, 1))]
        from mrml.data.formats.parquet import block_rows

        rows = block_rows(self.schema)
        edges = np.concatenate([[0], np.cumsum([-(-n // rows) for n in file.row_groups])]).tolist()
        runs: list[tuple[int, int]] = []
        for low, high in pairwise(edges):
            step = max(at_most, 1) if high - low >= _CUT_ROW_GROUPS * max(at_most, 1) else max(high - low, 1)
            runs += [(k, min(k + step, high)) for k in range(low, high, step)]
        return _packed(runs, at_most)

    # ---- reading ----

    def _sides(self, file: File) -> tuple[Column, ...]:
        return sides.side_columns(file, self.schema, self.roles)

    def _group(self, file: File) -> Column | None:
        """The column that keeps rows together: a real one, or a file's query sizes."""
        return next((c for c in (*self.columns, *self._sides(file)) if c.role == "group"), None)

    def _owned(self, range: Range) -> Iterator[Piece]:
        """The pieces of a range with whole groups."""
        number, first, stop = range
        file = self.files[number]
        column = self._group(file)
        assert column is not None

        def values(piece: Piece) -> Array | Coded:
            return piece.columns[column.name]

        before = self._last_group(number, first, values)
        last = before
        for piece in groups.owned(self._pieces(number, first, None), values, before, stop):
            last = groups.value_at(values(piece), -1) if len(piece.rows) else last
            yield piece
        if column != sides.QUERY and (stop is None or stop >= (file.n_blocks or stop + 1)):
            self._refuse_straddling(number, column, last)

    def _last_group(self, number: int, first: int, values: Callable[[Piece], Array | Coded]) -> Any:
        """The group of the last usable row before block ``first``, or NONE."""
        file = self.files[number]
        in_order = not file.splittable
        starts = [0] if in_order else range(first - 1, -1, -1)
        for k in starts:
            found = groups.NONE
            for piece in self._pieces(number, k, first if in_order else k + 1):
                found = groups.value_at(values(piece), -1) if len(piece.rows) else found
            if found is not groups.NONE:
                return found
        return groups.NONE

    def _refuse_straddling(self, number: int, column: Column, last: Any) -> None:
        """InputError when the next file with rows begins with the group this one ends with."""
        file = self.files[number]
        for other in range(number + 1, len(self.files)):
            if self.files[other].part != file.part:
                return
            for piece in self._pieces(other, 0, None):
                if not len(piece.rows):
                    continue
                if groups.value_at(piece.columns[column.name], 0) == last:
                    finding = f"group {last!r} begins in {file.name} and goes on here"
                    place = f"{self.files[other].name}, column {column.name!r}"
                    raise InputError(place, finding, "write each group into one file")
                return

    def _pieces(self, number: int, first: int, stop: int | None) -> Iterator[Piece]:
        """Blocks as pieces of usable rows."""
        file = self.files[number]
        with _naming(file):
            reader = _Reader(self, number)
            yield from (
                reader.parquet(first, stop)
                if file.row_groups or self.schema.format.name == "parquet"
                else (reader.text(first, stop))
            )


def _joined(ranges: list[Range]) -> Split:
    """Neighbouring ranges of a file as one."""
    out: list[Range] = []
    for range in ranges:
        if out and out[-1].file == range.file and out[-1].stop == range.first:
            out[-1] = out[-1]._replace(stop=range.stop)
        else:
            out.append(range)
    return tuple(out)


def _packed(runs: list[tuple[int, int]], at_most: int) -> list[tuple[int, int]]:
    """Neighbours together while they stay within ``at_most`` blocks."""
    packed: list[tuple[int, int]] = []
    for low, high in runs:
        if packed and high - packed[-1][0] <= at_most:
            packed[-1] = (packed[-1][0], high)
        else:
            packed.append((low, high))
    return packed


class _Reader:
    """Reads one file of a Dataset."""

    def __init__(self, dataset: Dataset, number: int) -> None:
        self.dataset, self.schema = dataset, dataset.schema
        self.file = dataset.files[number]
        partition = dict(self.file.partition)
        side = dataset._sides(self.file)
        self.columns = (*dataset.columns, *side)
        self.stored = [c for c in dataset.columns if c.name not in partition]
        self.constants = {c.name: self.constant(c, partition[c.name]) for c in dataset.columns if c.name in partition}
        self.sides = sides.Sides(self.file, number, side) if side else None

    def constant(self, column: Column, value: str | None) -> Array | Coded:
        """A partition's value as a column of one row."""
        import pyarrow as pa

        from mrml.data.formats.columns import to_column, to_id

        values = pa.array([value], pa.string())
        if column.role == "id":
            return to_id(values, column)
        return to_column(values, column, self.schema.format.na)

    def parquet(self, first: int, stop: int | None) -> Iterator[Piece]:
        from mrml.data.formats import parquet

        rows = parquet.block_rows(self.schema)
        starts = _row_starts(self.file.row_groups, rows)
        for k, records in enumerate(parquet.read(self.file, self.schema, self.stored, first, stop), first):
            yield self.piece(k, records, starts[k], "row", starts[k], lambda ordinal: ordinal)

    def text(self, first: int, stop: int | None) -> Iterator[Piece]:
        format_ = self.schema.format
        at = 0  # records before the block, counted where a side file needs it
        begin = 0 if self.sides else first
        for run in textfiles.runs(self.file, self.schema, self.stored, begin, stop):
            if run.block < first:
                at += run.n_records(format_)
                continue
            piece = self.parsed(run, at)
            yield piece
            at += piece.n_records
        if self.sides and stop is None:
            self.sides.check(at)

    def parsed(self, run: textfiles.Run, at: int = 0) -> Piece:
        """The rows of one block of text; ``at`` records come before it, where a side file needs to know."""
        format_ = self.schema.format
        records = run.parse(self.stored, format_)
        return self.piece(run.block, records, at, "byte", run.offset, lambda i: run.offset_of(i, format_))

    def piece(self, block: int, records: Records, at: int, unit: str, base: int, offset: Any) -> Piece:
        """Records with constants and side files, checked; the first fault is raised unless they are skipped."""
        for name, value in self.constants.items():
            records.columns[name] = constant(value, len(records.rows))
        if self.sides:
            records.columns.update(self.sides.at(at + records.rows))
        name = self.file.name
        place, every = (lambda problem: f"{name}, {unit} {base + problem}"), self.dataset.weightless
        piece = checked(block, records, self.columns, place, offset, every)
        if piece.faults and self.dataset.bad_rows == "fail":
            raise piece.faults[0]
        return piece


def _row_starts(row_groups: Sequence[int], rows: int) -> list[int]:
    """The first row of each block, numbered through the file."""
    starts, at = [], 0
    for n in row_groups:
        starts += list(range(at, at + n, rows))
        at += n
    return starts


@contextmanager
def _naming(file: File) -> Iterator[None]:
    """InputErrors that do not say in which file they arose say so."""
    try:
        yield
    except InputError as error:
        if error.place.startswith(file.name):
            raise
        raise type(error)(f"{file.name}, {error.place}", error.finding, error.remedy) from error
