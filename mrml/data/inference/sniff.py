"""Which format the files have: from their names first, from their first bytes where the names do not tell.

Floor 2, the driver's side only.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from collections.abc import Collection, Sequence

from mrml.config.sections import DataConfig
from mrml.data.files import File, head
from mrml.data.formats.csv import split_fields
from mrml.data.formats.lines import find_records, strip_bom
from mrml.errors import ConfigError, InputError
from mrml.schema import NA, Format

HEAD_BYTES = 256 << 10
#: the longest first line, in which columns are named
MOST_HEAD_BYTES = 64 << 20
_LOOK_FILES = 16
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
    ".parquet": "parquet",
    ".pq": "parquet",
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
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
_LIBSVM = re.compile(r"\s*[+-]?[\d.][\d.eE+-]*(\s+qid:\d+)?((\s+\d+:[^\s:]+)+|\s*)\s*(#.*)?")
_A_TIME = re.compile(r"\s*[+-]?[\d.]+\s+([01]?\d|2[0-4]):[0-5]\d\s*")
_PAIR = re.compile(r"\s\d+:[^\s:]+")
_DELIMITERS = (",", "\t", ";", "|", "\x01", " ")
_SPELT = {"\\t": "\t", "tab": "\t", "space": " ", "\\x01": "\x01", "\\001": "\x01"}


def sniff(files: Sequence[File], config: DataConfig, known: Collection[str] = ()) -> Format:
    """The format of the files; what the configuration says goes before what they look like.

    ``known`` are column names that the first line holds when it is a header.
    """
    named = None if config.format else _from_names(files)
    first = first_with_text(files)
    start = beginning(first)
    name = config.format or named or _from_bytes(start, first)
    _refuse(start, name, first)
    na = null_words(config.na, NA)
    if name in ("parquet", "jsonl"):
        return Format(name, na=na, absent=config.absent)
    if name == "libsvm":
        base = config.index_base if config.index_base is not None else 1
        return Format(name, header=False, na=na, index_base=base, absent=config.absent)
    quote = spelt("quote", config.quote) or '"'
    delimiter = _delimiter(config, name, start, quote)
    if delimiter == "\t" and not (config.format or named):
        name = "tsv"
    plain = Format(name, delimiter, quote, False, config.multiline, na, absent=config.absent)
    header = config.header if config.header is not None else _has_header(start, plain, known)
    return Format(name, delimiter, quote, header, config.multiline, na, absent=config.absent)


def null_words(said: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The texts that mean null: those that were said beside the usual ones, or these alone where '' is one of them."""
    return tuple(said) if "" in said else tuple(dict.fromkeys((*usual, *said)))


def first_with_text(files: Sequence[File]) -> File:
    """The first of the first few files that holds more than spaces: a compressed part may be empty."""
    return next((f for f in files[:_LOOK_FILES] if strip_bom(head(f, HEAD_BYTES)).strip()), files[0])


def beginning(file: File) -> bytes:
    """The first bytes of a text file: HEAD_BYTES, or as many as its first line takes.

    InputError for a first line that has no end within MOST_HEAD_BYTES: a header of that length is none.
    """
    n_bytes = HEAD_BYTES
    while len(data := head(file, n_bytes)) == n_bytes and not re.search(rb"\A(PAR1|.*[\r\n])", data, re.DOTALL):
        if n_bytes >= MOST_HEAD_BYTES:
            finding = f"its first line does not end within {MOST_HEAD_BYTES >> 20} MiB"
            raise InputError(file.name, finding, "is it text? say --format")
        n_bytes *= 4
    return data


def first_fields(file: File, format: Format) -> list[str]:
    """The fields of a text file's first record; empty when the file is.  InputError when it is malformed."""
    lines = _lines(beginning(file), 1, format.quote, format.delimiter, format.multiline)
    try:
        return split_fields(lines[0], format) if lines else []
    except InputError as error:
        raise InputError(f"{file.name}, {error.place}", error.finding, error.remedy) from error


def first_keys(file: File) -> set[str]:
    """The keys of the first objects of a file of JSON lines; a key whose value is null may be left out of some."""
    keys: set[str] = set()
    for line in _lines(beginning(file), 1000):
        with contextlib.suppress(ValueError):
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
        ending = posixpath.splitext(file.stem)[1].lower()
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
            remedy = "say --format libsvm, or --format csv --delimiter space --header false"
            raise InputError(file.name, finding, remedy)
        return "libsvm"
    return "csv"


def _refuse(data: bytes, name: str, file: File) -> None:
    """InputError for bytes that are certainly not what they are taken for."""
    if data.startswith(b"PAR1") != (name == "parquet"):
        if name == "parquet":
            raise InputError(file.name, "is no Parquet file: it does not begin with PAR1", "write it again")
        raise InputError(file.name, f"is Parquet by its first bytes and {name} by its name", "rename it to .parquet")
    for magic, finding in _MAGIC.items():
        if data.startswith(magic):
            raise InputError(file.name, finding, "rename it, or convert it to UTF-8 text or Parquet")
    if name == "jsonl" and strip_bom(data).lstrip().startswith(b"["):
        raise InputError(file.name, "is one JSON array; mrml reads one object a line", "convert it with jq -c '.[]'")


def spelt(option: str, text: str | None) -> str | None:
    """A delimiter or quote as configured: one character, or a name for one such as tab."""
    text = _SPELT.get(text or "", text)
    if text is not None and len(text) != 1:
        raise ConfigError(f"data, {option}", f"{text!r} is not one character", f"give one character as {option}")
    return text


def _delimiter(config: DataConfig, name: str, data: bytes, quote: str) -> str:
    """The configured one, a tab for TSV, else the one that cuts the first lines into most equal rows."""
    if said := spelt("delimiter", config.delimiter):
        return said
    if name == "tsv":
        return "\t"
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        format_ = Format("csv", delimiter, quote, False, config.multiline)
        widths = {len(row) for row in _records(data, format_, 10)}
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
    if any(_NUMBER.fullmatch(text.strip()) for text in first) or len(set(first)) < len(first) or empty not in ([], [0]):
        return False
    return not any(text in [row[i] for row in below if i < len(row)] for i, text in enumerate(first))


def _records(data: bytes, format: Format, most: int) -> list[list[str]]:
    """The fields of the first records."""
    return [split(line, format) for line in _lines(data, most, format.quote, format.delimiter, format.multiline)]


def _lines(data: bytes, most: int, quote: str = "", delimiter: str = ",", multiline: bool = False) -> list[bytes]:
    """The bytes of the first records; the last is left out when the data may have cut it."""
    may_be_cut = len(data) >= HEAD_BYTES
    data = strip_bom(data)
    spans = find_records(data, quote, delimiter, multiline)
    n = len(spans.starts)
    n -= n > 1 and may_be_cut
    return [data[spans.starts[i] : spans.ends[i]] for i in range(min(n, most))]
