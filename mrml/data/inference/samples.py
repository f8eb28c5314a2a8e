"""The sample an inferred schema is made from: the first records of the first files, column by column.

Floor 2, the driver's side only.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from mrml.config.sections import DataConfig
from mrml.data.files import File, head
from mrml.data.formats import parquet
from mrml.data.formats.dialect import plain
from mrml.data.formats.libsvm import COLUMN_BYTES
from mrml.data.formats.lines import BOM, Rule, find_records, keep_records, strip_bom
from mrml.data.formats.spelling import Spelling
from mrml.data.formats.textfiles import blank_header, preamble
from mrml.data.inference.odd import above_header
from mrml.data.inference.profile import ALL, TIMES, Profile
from mrml.data.inference.sniff import beginning, first_fields, first_with_text, named, split
from mrml.errors import InputError
from mrml.logs import size
from mrml.pin import allowed_bytes
from mrml.schema import Format

SAMPLE_BYTES = 64 << 20
SAMPLE_FILES = 16
#: Python parses JSON and LibSVM samples, at about 30 MB a second.
_SLOW_BYTES = 8 << 20
#: Rows of Parquet, all files together: types are known there, only levels and ranges are to be seen.
_PARQUET_ROWS = 1 << 18
_SURROGATE = re.compile("[\ud800-\udfff]")


class Sample(NamedTuple):
    """Profiles in column order; ``format`` with what only the rows tell (the first LibSVM index)."""

    profiles: list[Profile]
    format: Format
    n_bytes: int
    bad_lines: int = 0
    notes: tuple[str, ...] = ()
    #: sentences that a training run tells
    matter: tuple[str, ...] = ()


def take(files: Sequence[File], format: Format, config: DataConfig, footers: Sequence[parquet.Footer]) -> Sample:
    """Sample the first files; of Parquet, every footer."""
    if format.name == "parquet":
        return _parquet(files, footers, format)
    read = {"jsonl": _jsonl, "libsvm": _libsvm}.get(format.name, _delimited)
    return read(_with_rows(files, format)[:SAMPLE_FILES], format, config)


def _with_rows(files: Sequence[File], format: Format) -> Sequence[File]:
    """The files that are longer than a header, a byte order mark and a line end; all of them where none is."""
    if not format.header or len(files) <= SAMPLE_FILES:
        return files
    data = strip_bom(beginning(first_with_text(files), format))
    nexts = find_records(data, Rule.of(format)).nexts
    n = int(nexts[0]) + len(BOM) + 1 if len(nexts) else 0
    return [f for f in files if f.compression or f.size > n] or files


def _heads(files: Sequence[File], budget: int, format: Format) -> Iterator[bytes]:
    """The first whole records of each file, together at most ``budget`` bytes, without byte order marks and lines that
    are skipped."""
    for i, file in enumerate(files):
        share = budget // (len(files) - i)
        data = head(file, share + 1)
        if len(data) > share:
            data = data[:share]
            spans = find_records(data, Rule.of(format))
            data = data[: int(spans.starts[-1])] if len(spans.starts) > 1 else data
        budget -= len(data)
        yield strip_bom(data[preamble(data, format) :])


def _delimited(files: Sequence[File], format: Format, config: DataConfig) -> Sample:
    first = first_with_text(files)
    try:
        names = first_fields(first, format)
    except InputError as error:
        raise above_header(first, format, named(config)) or error from None
    lines = strip_bom(beginning(first, format)).splitlines()
    if format.header and not format.columns and lines and not lines[0].strip():
        raise blank_header(first)
    names = list(format.columns) or (names if format.header else [f"c{i}" for i in range(len(names))])
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})[0]
        raise InputError(f"{first.name}, column {twice!r}", "occurs twice", "rename one, or give --header false")
    profiles = {name: Profile(name, format.na, Spelling.of(format)) for name in names}
    later: dict[str, str] = {}
    n_bytes = bad = 0
    for file, data in zip(files, _heads(files, SAMPLE_BYTES, format), strict=True):
        n_bytes += len(data)
        data, plain_format = plain(data, format)
        data, own, n_bad = _clean(data, plain_format, names)
        later |= {name: file.name for name in own if name not in profiles and name not in later}
        bad += n_bad
        if data:
            table, n_bad = _texts(data, own, plain_format)
            bad += n_bad
            for name in own:
                if name in profiles:
                    profiles[name].take(table.column(name), ALL)
    return Sample(list(profiles.values()), format, n_bytes, bad, (), _left_out(later, first))


def _left_out(later: Mapping[str, str], first: File) -> tuple[str, ...]:
    """What is told of columns that only later files have, by the names of these files."""
    return tuple(
        f"column {name!r} is left out: {file} has it, and {first.name} does not; give it to every file"
        for name, file in later.items()
    )


def _clean(data: bytes, format: Format, names: Sequence[str]) -> tuple[bytes, list[str], int]:
    """The records that are UTF-8 and close their quotes, the names of their fields, and how many others there are."""
    spans = find_records(data, Rule.of(format))
    keep = ~spans.is_open
    try:
        data.decode()
    except UnicodeDecodeError:
        keep &= np.array([_is_utf8(data[a:b]) for a, b in zip(spans.starts, spans.ends, strict=True)], bool)
    own = list(names)
    bad = int(len(keep) - keep.sum())
    if format.header and len(keep):
        own = own if format.columns else split(data[spans.starts[0] : spans.ends[0]], format)
        keep[0] = False
    return (data if keep.all() else keep_records(data, spans, keep)), own, bad


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _texts(data: bytes, names: Sequence[str], format: Format) -> tuple[Any, int]:
    """The records as a table of texts, and how many had another number of fields."""
    bad = 0

    def skip(_: Any) -> str:
        nonlocal bad
        bad += 1
        return "skip"

    table = pacsv.read_csv(
        io.BytesIO(data),
        pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=_unique(names)),
        pacsv.ParseOptions(
            delimiter=format.delimiter,
            quote_char=format.quote or False,
            newlines_in_values=format.multiline,
            invalid_row_handler=skip,
        ),
        pacsv.ConvertOptions(column_types={n: pa.string() for n in _unique(names)}, strings_can_be_null=False),
    )
    return table, bad


def _unique(names: Sequence[str]) -> list[str]:
    """Names that a later part holds twice must not stop the reader."""
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    return [n if first[n] == i else f"{n}\0{i}" for i, n in enumerate(names)]


def _jsonl(files: Sequence[File], format: Format, config: DataConfig) -> Sample:
    profiles: dict[str, Profile] = {}
    n_bytes = bad = n_rows = 0
    for data in _heads(files, _SLOW_BYTES, format):
        n_bytes += len(data)
        records = [_object(line) for line in data.splitlines() if line.strip()]
        good = [r for r in records if r is not None]
        bad += len(records) - len(good)
        for name in dict.fromkeys(key for r in good for key in r):
            if name not in profiles:
                profiles[name] = Profile(name, format.na)
                profiles[name].take(pa.nulls(n_rows))
        n_rows += len(good)
        for name, profile in profiles.items():
            profile.take(*_values([r.get(name) for r in good]))
    return Sample(list(profiles.values()), format, n_bytes, bad)


def _object(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None where it is none, or holds half of a surrogate pair, which is no text."""
    try:
        value = json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    odd = b"\\u" in line and any(_SURROGATE.search(s) for s in _texts_of(value))
    return value if isinstance(value, dict) and not odd else None


def _integer(text: str) -> int | float:
    """Beyond 64 bits as float64 has it; of 310 digits and more that is infinite."""
    return int(text) if len(text) < len(str(1 << 63)) else float(text)


def _texts_of(value: Any) -> Iterator[str]:
    """The keys and texts of the outermost object."""
    if isinstance(value, dict):
        yield from (text for pair in value.items() for text in pair if isinstance(text, str))


def _values(values: list[Any]) -> tuple[Any, Sequence[Any]]:
    """JSON values as an Arrow array, and what its texts are to be tried as: times, and numbers only among numbers."""
    kinds = {type(v) for v in values if v is not None}
    if kinds & {dict, list}:
        return pa.nulls(len(values), pa.list_(pa.null())), ()
    if str in kinds or (bool in kinds and len(kinds) > 1):
        texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return pa.array(texts, pa.string()), TIMES if kinds == {str} else ALL
    if kinds == {int} and all(v is None or -(1 << 63) <= v < 1 << 63 for v in values):
        return pa.array(values, pa.int64()), ()
    if kinds <= {bool}:
        return pa.array(values, pa.bool_() if kinds else pa.null()), ()
    return pa.array([None if v is None else float(v) for v in values], pa.float64()), ()


_LABEL = re.compile(rb"^[ \t]*([^\s:#]+)(?::([^\s:#]+))?(?:[ \t]+qid:(\d+))?", re.MULTILINE)


def _largest(numbers: list[bytes]) -> int:
    """The largest of numbers of at most 18 digits: a million take 0.3 s where ``int`` takes 1.2."""
    return int(np.array(numbers, "S18").astype(np.int64).max(initial=0)) if numbers else 0


def _libsvm(files: Sequence[File], format: Format, config: DataConfig) -> Sample:
    profiles = [Profile(name, format.na) for name in ("label", "weight", "qid")]
    n_bytes = largest = 0
    has_zero = False
    for file, data in zip(files, _heads(files, SAMPLE_BYTES, format), strict=True):
        n_bytes += len(data)
        has_zero |= re.search(rb"\s0+:", data) is not None
        some = data[: _SLOW_BYTES // len(files)]
        rows = [[g and g.decode("utf-8", "replace") for g in m.groups()] for m in _LABEL.finditer(some)]
        for profile, texts in zip(profiles, zip(*rows, strict=True), strict=True):
            profile.take(pa.array(texts, pa.string()), ALL)
        largest = max(largest, _largest(re.findall(rb"\s(\d{1,18}):", some)))
        _refuse_columns_beyond_memory(largest, some, file)
    base = config.index_base if config.index_base is not None else int(not has_zero)
    notes = (f"largest index in the sample: {largest}",)
    format = dataclasses.replace(format, index_base=base)
    label, weight, qid = profiles
    found = [label, *([weight] if config.weight == "weight" else []), *([] if qid.empty else [qid])]
    return Sample(found, format, n_bytes, 0, notes)


def _refuse_columns_beyond_memory(largest: int, data: bytes, file: File) -> None:
    """InputError naming the line of an index of which a model would take more memory than there is."""
    most = allowed_bytes() // COLUMN_BYTES
    if largest <= most:
        return
    found = re.search(rb"\s%d:" % largest, data)
    start = max(data.rfind(b"\n", 0, found.start() + 1), data.rfind(b"\r", 0, found.start() + 1)) + 1 if found else 0
    needed = (
        f"columns to index {largest} take about {size(largest * COLUMN_BYTES)}, and there are {size(allowed_bytes())}"
    )
    raise InputError(f"{file.name}, byte {start}", needed, "number them anew, from 1 without gaps")


def _parquet(files: Sequence[File], footers: Sequence[parquet.Footer], format: Format) -> Sample:
    _agree(files, footers)
    profiles = {name: Profile(name, format.na) for name in footers[0].schema.names}
    later: dict[str, str] = {}
    for file, own in zip(files, footers, strict=True):
        for field in own.schema:
            if field.name in profiles:
                profiles[field.name].saw(field.type)
            else:
                later.setdefault(field.name, file.name)
    flat = [name for name, profile in profiles.items() if not profile.nested]
    some = [(f, o) for f, o in zip(files, footers, strict=True) if sum(o.row_groups)][:SAMPLE_FILES]
    n_rows = n_bytes = 0
    for file, own in some:
        columns = [n for n in flat if n in own.schema.names]
        table = parquet.sample(file, columns, _PARQUET_ROWS // len(some), SAMPLE_BYTES // len(some))
        n_rows, n_bytes = n_rows + table.num_rows, n_bytes + table.nbytes
        for name in columns:
            profiles[name].take(table.column(name))
    return Sample(list(profiles.values()), format, n_bytes, matter=_left_out(later, files[0]))


def _agree(files: Sequence[File], footers: Sequence[parquet.Footer]) -> None:
    """InputError when a column is of one family of types in one file and of another in another."""
    seen: dict[str, tuple[Any, str]] = {}
    for file, own in zip(files, footers, strict=True):
        for field in own.schema:
            if parquet.family(field.type) == "null":
                continue
            type_, first = seen.setdefault(field.name, (field.type, file.name))
            if parquet.family(type_) != parquet.family(field.type):
                finding = f"is {field.type} here and {type_} in {first}"
                raise InputError(f"{file.name}, column {field.name!r}", finding, "write all files with one type")
