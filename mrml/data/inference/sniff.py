"""Which format the files have: from their names first, from their first bytes where the names do not tell.

Floor 2, the driver's side only.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mrml.config.sections import DataConfig
from mrml.data.files import PARQUET_ENDINGS, File, compression, head
from mrml.data.formats.csv import split_fields
from mrml.data.formats.dialect import encoding_named, utf8
from mrml.data.formats.lines import Rule, find_records, strip_bom
from mrml.data.formats.textfiles import delimiter_said, preamble
from mrml.errors import ConfigError, InputError
from mrml.schema import NA, Format

HEAD_BYTES = 256 << 10
#: the longest first line, in which columns are named
MOST_HEAD_BYTES = 64 << 20
_LOOK_FILES = 16
SINGLE_ROLES = ("target", "weight", "id", "group", "offset", "time")
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
    ".svmlight": "libsvm",
    **dict.fromkeys(PARQUET_ENDINGS, "parquet"),
}
_UNREAD = {
    **dict.fromkeys((".orc", ".avro", ".arrow", ".feather"), "write it as Parquet"),
    **dict.fromkeys(
        (".xz", ".lz4", ".snappy", ".lzo", ".zip", ".z", ".deflate"), "compress it with gzip, bzip2 or zstd"
    ),
    **dict.fromkeys((".xlsx", ".xls", ".npy", ".npz", ".pkl", ".tar", ".tgz"), "write it as CSV or Parquet"),
}
_MAGIC = {
    b"\x1f\x8b": "is gzip by its first bytes, and its name does not end in .gz",
    b"BZh": "is bzip2 by its first bytes, and its name does not end in .bz2",
    b"\x28\xb5\x2f\xfd": "is zstd by its first bytes, and its name does not end in .zst",
    b"\xff\xfe": "is UTF-16",
    b"\xfe\xff": "is UTF-16",
    b"ORC": "is ORC",
    b"Obj\x01": "is Avro",
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
_LIBSVM = re.compile(r"\s*[+-]?[\d.][\d.eE+-]*(\s+qid:\d+)?((\s+\d+:[^\s:]+)+|\s*)\s*(#.*)?")
_A_TIME = re.compile(r"\s*[+-]?[\d.]+\s+([01]?\d|2[0-4]):[0-5]\d\s*")
_PAIR = re.compile(r"\s\d+:[^\s:]+")
DELIMITERS = (",", "\t", ";", "|", "\x01", " ")
_SPELT = {"\\t": "\t", "tab": "\t", "space": " ", "\\x01": "\x01", "\\001": "\x01"}
_BY_LINES = Format("jsonl")
#: what says that quotes are characters like others
NO_QUOTE = "none"


def sniff(files: Sequence[File], config: DataConfig, known: Collection[str] = ()) -> Format:
    """The format of the files; what the configuration says goes before what they look like.

    ``known`` are column names that the first line holds when it is a header.
    """
    named = None if config.format else _from_names(files)
    first = first_with_text(files)
    said = said_format(config)
    raw = _raw_beginning(first, said.skip_lines)
    start = text_of(raw, said)
    name = config.format or named or _from_bytes(start, first)
    _refuse(raw, name, first)
    if said.skip_lines and raw and not start.strip() and name not in ("parquet", "jsonl", "libsvm"):
        finding = f"has no line after the {said.skip_lines} that are skipped"
        raise InputError(first.name, finding, "say a smaller --skip-lines (data, skip_lines)")
    na = null_words(config.na, NA)
    if name in ("parquet", "jsonl"):
        return Format(name, na=na, absent=config.absent, encoding=said.encoding if name == "jsonl" else "utf-8")
    if name == "libsvm":
        base = config.index_base if config.index_base is not None else 1
        return Format(name, header=False, na=na, index_base=base, absent=config.absent)
    said = replace(said, na=na, encoding="utf-8")  # which the text is by now
    delimiter = spelt("delimiter", config.delimiter) or delimiter_said(raw) or _delimiter(name, start, said)
    if delimiter == "\t" and not (config.format or named):
        name = "tsv"
    plain = replace(said, name=name, delimiter=delimiter)
    header = config.header if config.header is not None else _has_header(start, plain, {*known, *said.columns})
    return replace(plain, header=header, encoding=encoding_named(config.encoding or "utf-8"))


def said_format(config: DataConfig) -> Format:
    """What the configuration says of text files, as CSV without a header."""
    quote = "" if config.quote == NO_QUOTE else spelt("quote", config.quote) or '"'
    escape = spelt("escape", config.escape) or ""
    if escape and escape in (quote, " ", "\t"):
        raise ConfigError("data, escape", f"{escape!r} is the quote or a blank", "a doubled quote needs no escape")
    return Format(
        quote=quote,
        header=False,
        multiline=config.multiline,
        absent=config.absent,
        encoding=encoding_named(config.encoding or "utf-8"),
        escape=escape,
        skip_lines=config.skip_lines or 0,
        columns=config.columns,
        trim=config.trim,
        **_said_spelling(config),
    )


def _said_spelling(config: DataConfig) -> dict[str, Any]:
    """Decimal and thousands marks, units and date formats; ConfigError for what reads no number or time."""
    decimal, thousands = spelt("decimal", config.decimal) or ".", spelt("thousands", config.thousands) or ""
    if decimal == thousands or any(c.isalnum() or c in "+-" for c in decimal + thousands):
        finding = f"{decimal!r} and thousands {thousands!r} tell no number"
        raise ConfigError("data, decimal", finding, "give two marks, such as --decimal , --thousands .")
    for format_ in config.date_format:
        try:
            datetime.datetime.strptime("", format_)
        except (ValueError, re.error) as error:
            if not str(error).startswith("time data"):
                raise ConfigError("data, date_format", f"{format_!r}: {error}", "give one such as %d/%m/%Y") from None
    return {"decimal": decimal, "thousands": thousands, "units": config.units, "date_format": config.date_format}


def named(config: DataConfig) -> set[str]:
    """Every column name the configuration says."""
    single = [n for role in SINGLE_ROLES if (n := getattr(config, role))]
    return {*single, *config.features, *config.exclude, *config.categorical}


def null_words(said: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The texts that mean null: those that were said beside the usual ones, or these alone where '' is one of them."""
    return tuple(said) if "" in said else tuple(dict.fromkeys((*usual, *said)))


def first_with_text(files: Sequence[File]) -> File:
    """The first of the first few files that holds more than spaces: a compressed part may be empty."""
    return next((f for f in files[:_LOOK_FILES] if strip_bom(head(f, HEAD_BYTES)).strip()), files[0])


def beginning(file: File, format: Format) -> bytes:
    """The first bytes of a text file from its header or first row on, as UTF-8: HEAD_BYTES, or as many as its first
    line takes.

    InputError for a first line that has no end within MOST_HEAD_BYTES: a header of that length is none.
    """
    return text_of(_raw_beginning(file, format.skip_lines), format)


def text_of(data: bytes, format: Format) -> bytes:
    """The beginning of a file without the lines that are skipped, as UTF-8; what is cut stays cut."""
    return utf8(data[preamble(data, format) :], format)


def _raw_beginning(file: File, skip_lines: int) -> bytes:
    n_bytes, n_lines = HEAD_BYTES, skip_lines + 2  # one more: it may say the delimiter
    while len(data := head(file, n_bytes)) == n_bytes and not data.startswith(b"PAR1"):
        if max(data.count(b"\n"), data.count(b"\r")) >= n_lines:
            break
        if n_bytes >= MOST_HEAD_BYTES:
            finding = f"its first line does not end within {MOST_HEAD_BYTES >> 20} MiB"
            raise InputError(file.name, finding, "is it text? use --format")
        n_bytes *= 4
    return data


def first_fields(file: File, format: Format) -> list[str]:
    """The fields of a text file's first record; empty when the file is.  InputError when it is malformed."""
    plain = replace(format, encoding="utf-8")
    lines = _lines(beginning(file, format), 1, plain)
    try:
        return split_fields(lines[0], plain) if lines else []
    except InputError as error:
        raise InputError(f"{file.name}, {error.place}", error.finding, error.remedy) from error


def first_keys(file: File, format: Format) -> set[str]:
    """The keys of the first objects of a file of JSON lines; a key whose value is null may be left out of some."""
    keys: set[str] = set()
    for line in _lines(beginning(file, format), 1000):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line)
            keys |= found.keys() if isinstance(found, dict) else set()
    return keys


def split(line: bytes, format: Format) -> list[str]:
    """The fields of one record as far as they can be told: malformed ones are there to be looked at too."""
    text = line.decode("utf-8", "replace")
    try:
        return split_fields(text.encode(), format)
    except InputError:
        return text.split(format.delimiter)


def _from_names(files: Sequence[File]) -> str | None:
    """The format that the names tell, or None.  InputError when two names tell two."""
    seen: dict[str, str] = {}
    for file in files:
        stem = file.stem
        if compression(stem):  # of Parquet that only its name calls compressed
            stem = posixpath.splitext(stem)[0]
        ending = posixpath.splitext(stem)[1].lower()
        if ending in _UNREAD:
            raise InputError(file.name, f"mrml reads no {ending} files", _UNREAD[ending])
        name = ENDINGS.get(ending)
        if name == "parquet" and file.compression:
            finding = f"is Parquet inside {file.compression}"
            raise InputError(file.name, finding, "decompress it: Parquet compresses its own columns")
        if name:
            seen.setdefault(name, file.name)
    if len(seen) > 1:
        (a, x), (b, y) = list(seen.items())[:2]
        raise InputError(y, f"is {b}, and {x} is {a}", "give files of one format, or say which with --format")
    return next(iter(seen), None)


def _from_bytes(data: bytes, file: File) -> str:
    if data.startswith(b"PAR1"):
        return "parquet"
    text = strip_bom(data).lstrip()
    if text.startswith((b"{", b"[{", b"[\n")):
        return "jsonl"
    lines = [s for s in (line.decode("utf-8", "replace") for line in _lines(data, 20)) if s.strip(" ") and s[0] != "#"]
    if lines and all(_LIBSVM.fullmatch(s) for s in lines) and any(_PAIR.search(s) for s in lines):
        if all(_A_TIME.fullmatch(s) for s in lines):
            finding = "holds times of day, or LibSVM's index:value: both are written alike"
            remedy = "use --format libsvm, or --format csv --delimiter space --header false"
            raise InputError(file.name, finding, remedy)
        return "libsvm"
    return "csv"


def _refuse(data: bytes, name: str, file: File) -> None:
    """InputError for bytes that are certainly not what they are taken for."""
    if data.startswith(b"PAR1") != (name == "parquet"):
        if name == "parquet":
            raise InputError(file.name, "is not a Parquet file: it does not begin with PAR1", "write it again")
        raise InputError(file.name, f"is Parquet by its first bytes and {name} by its name", "rename it to .parquet")
    for magic, finding in _MAGIC.items():
        if data.startswith(magic):
            raise InputError(file.name, finding, "rename it, or convert it to UTF-8 text or Parquet")
    if name == "jsonl" and strip_bom(data).lstrip().startswith(b"["):
        raise InputError(file.name, "is one JSON array; mrml reads one object a line", "convert it with jq -c '.[]'")


def spelt(option: str, text: str | None) -> str | None:
    """A delimiter, quote or escape as configured: a character or its name, such as tab; a delimiter may be several.

    ConfigError for what cannot stand between fields.
    """
    text = _SPELT.get(text or "", text)
    if text is None:
        return None
    if not text or (len(text) > 1 and option != "delimiter") or set(text) & set("\r\n"):
        several = " or several" * (option == "delimiter")
        raise ConfigError(f"data, {option}", f"{text!r} is not one character{several}", f"give a character as {option}")
    if not text.isascii() and option != "delimiter":
        raise ConfigError(f"data, {option}", f"{text!r} is not ASCII", "write the file with another one")
    return text


def _delimiter(name: str, data: bytes, said: Format) -> str:
    """A tab for TSV, else what cuts the first lines into most equal rows; where nothing does, the lines after the
    first, which may be a title, or a header of fewer names."""
    if name == "tsv":
        return "\t"
    marks = (said.decimal, said.thousands)
    rows = {d: _records(data, replace(said, delimiter=d), 10) for d in DELIMITERS if d not in marks}
    return _most_equal(rows) or _most_equal({d: below[1:] for d, below in rows.items()}) or ","


def _most_equal(rows: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """The delimiter that gives rows of one width, the largest there is; '' where none gives more than one field."""
    best, most = "", 1
    for delimiter, found in rows.items():
        widths = {len(row) for row in found}
        if len(widths) == 1 and (n := widths.pop()) > most and (delimiter != " " or most == 1):
            best, most = delimiter, n
    return best


def _has_header(data: bytes, format: Format, known: Collection[str]) -> bool:
    """Whether the first record names the columns.

    It does when it holds a known name; it does not when it holds a number, a null marker or a name twice.  Otherwise
    the rows below decide: it does unless one of its texts stands below it in its own column.
    """
    rows = _records(data, format, 50)
    if not rows:
        return True
    first, below = rows[0], rows[1:]
    if any(name in known for name in first):
        return True
    empty = [i for i, text in enumerate(first) if text in format.na]
    if any(NUMBER.fullmatch(text.strip()) for text in first) or len(set(first)) < len(first) or empty not in ([], [0]):
        return False
    return not any(text in [row[i] for row in below if i < len(row)] for i, text in enumerate(first))


def _records(data: bytes, format: Format, most: int) -> list[list[str]]:
    """The fields of the first records."""
    return [split(line, format) for line in _lines(data, most, format)]


def _lines(data: bytes, most: int, format: Format = _BY_LINES) -> list[bytes]:
    """The bytes of the first records; the last is left out when the data may have cut it."""
    may_be_cut = len(data) >= HEAD_BYTES
    data = strip_bom(data)
    spans = find_records(data, Rule.of(format))
    n = len(spans.starts)
    n -= n > 1 and may_be_cut
    return [data[spans.starts[i] : spans.ends[i]] for i in range(min(n, most))]
