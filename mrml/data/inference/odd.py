"""What is odd about the beginning of a text file that does not read as told: a title, another delimiter, no header.

Floor 2, the driver's side only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from mrml.data.files import File
from mrml.data.formats import textfiles
from mrml.data.inference.sniff import DELIMITERS, NUMBER, beginning, first_with_text, split
from mrml.errors import InputError
from mrml.schema import Column, Format, Schema

_LOOK_LINES = 30
_LINE_END = re.compile(rb"\r\n|\r|\n")
#: what may be a delimiter of several characters
_SEVERAL = re.compile(r"[^\w\s.+\-\"']{2,4}")


def no_rows(files: Sequence[File], n_bad: int, format: Format, window_bytes: int) -> InputError:
    """The error of files of which no row can be read, ``n_bad`` were looked at."""
    place = files[0].name if len(files) == 1 else f"{len(files)} files from {files[0].name} on"
    if n_bad and format.name not in ("csv", "tsv"):
        return InputError(place, f"no row is {format.name}", "say another --format")
    if n_bad:
        found = above_header(first_with_text(files), format) or first_fault(files, format, window_bytes)
        return found or InputError(place, "no row can be read", "say another --format or --delimiter")
    below = " below the header" if format.header and format.name in ("csv", "tsv") else ""
    return InputError(place, f"no row{below}", "give files with rows")


def bad_lines(files: Sequence[File], n_bad: int, n_rows: int, schema: Schema) -> tuple[str, ...]:
    """What is told of malformed records of a sample: how many of how many, and the first; nothing where none are."""
    if not n_bad or not n_rows:
        return ()
    first = first_fault(files, schema.format, schema.window_bytes)
    told = f"{n_bad} of {n_bad + n_rows} lines of the sample cannot be read"
    return (f"{told}: {first}; --bad-rows skip leaves them out" if first else told,)


def first_fault(files: Sequence[File], format: Format, window_bytes: int) -> InputError | None:
    """The first malformed record, as a reader tells it."""
    for file in files:
        schema = Schema((), format, window_bytes)
        for run in textfiles.runs(file, schema, (), 0, None):
            every = [Column(name, "text", "feature", "string") for name in dict.fromkeys(run.names)]
            for problem in run.parse(every, format).problems:
                place = f"{file.name}, byte {run.offset + problem.offset}"
                place += f", column {problem.column!r}" if problem.column else ""
                return InputError(place, problem.finding, problem.remedy)
    return None


def above_header(file: File, format: Format, known: Collection[str] = ()) -> InputError | None:
    """The error of a file with lines above the one that names the columns; None where none are found."""
    lines = _LINE_END.split(beginning(file, format))[:_LOOK_LINES]
    plain = replace(format, encoding="utf-8")
    for delimiter in dict.fromkeys((format.delimiter, *DELIMITERS)):
        rows = [split(line, replace(plain, delimiter=delimiter)) for line in lines]
        at = _names_known(rows, known) if known else _widens(rows)
        if at and not any(NUMBER.fullmatch(field.strip()) for field in rows[at]):  # which names nothing
            title = lines[0].decode("utf-8", "replace")[:40]
            skip = at + format.skip_lines
            finding = f"begins with {title!r}, and its columns are named in line {skip + 1}"
            return InputError(file.name, finding, f"use --skip-lines {skip}")
    return None


def _names_known(rows: Sequence[Sequence[str]], known: Collection[str]) -> int:
    return next((i for i, row in enumerate(rows) if any(field.strip() in known for field in row)), 0)


def _widens(rows: Sequence[Sequence[str]]) -> int:
    """The first row that is as wide as all after it, where those before are narrower; 0 where there is none."""
    widths = [len(row) for row in rows if row] or [0]
    usual = Counter(widths).most_common(1)[0][0]
    at = next((i for i, row in enumerate(rows) if len(row) == usual), 0)
    rest = [len(row) for row in rows[at:-1] if row]  # the last line may be cut
    return at if usual > 1 and len(rest) > 1 and set(rest) == {usual} else 0


def explained(error: InputError, name: str, names: Sequence[str], files: Sequence[File], format: Format) -> InputError:
    """The error of a column ``name`` that is not among ``names``, with what the file itself tells of the reason."""
    first = first_with_text(files)
    for column in names:
        if column.strip() == name and format.name in ("csv", "tsv"):
            return InputError(f"column {name!r}", f"is {column!r} in the header, with blanks", "use --trim")
    if format.name not in ("csv", "tsv") or format.columns:
        return error
    if title := above_header(first, format, {name}):
        return title
    several = _several(beginning(first, format))
    if several and (len(names) == 1 or format.delimiter in several):
        finding = f"has {several!r} in every line, and was cut at {format.delimiter!r}"
        return InputError(first.name, finding, f"use --delimiter '{several}'")
    if not format.header:
        finding = f"is not in the data, which has no header: its columns are c0 to c{len(names) - 1}"
        return InputError(error.place, finding, "name them with --columns A,B,..., or use --header true")
    return error


def _several(data: bytes) -> str:
    """Some characters that are in every one of the first lines equally often, or ''."""
    lines = [line.decode("utf-8", "replace") for line in _LINE_END.split(data)[:_LOOK_LINES] if line]
    for found in dict.fromkeys(_SEVERAL.findall(lines[0] if lines else "")):
        if len({line.count(found) for line in lines[:-1] or lines}) == 1:
            return str(found)
    return ""
