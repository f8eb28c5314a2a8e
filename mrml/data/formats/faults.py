"""What is wrong with a record of a text file, and the option with which it is read."""

from __future__ import annotations

from collections.abc import Sequence

from mrml.data.formats.lines import Rule, Spans, count_fields, find_records
from mrml.schema import Format

#: bytes in which a quote that is open at its line's end is looked for a partner
_AHEAD_BYTES = 64 << 10
#: names that a remedy spells out
_MOST_NAMES = 12
_STRAY = "close it, or use --quote none where quotes are characters like others"


def not_text(format: Format) -> tuple[str, str]:
    """Finding and remedy for bytes that are none of the format's encoding."""
    if format.encoding != "utf-8":
        return f"is not {format.encoding}", "say another --encoding"
    return "is not UTF-8", "use --encoding cp1252, latin-1 or what it is, or save the file as UTF-8"


def of_record(
    data: bytes, spans: Spans, i: int, n_fields: int, names: Sequence[str], format: Format, said: Format
) -> tuple[str, str]:
    """Finding and remedy for record ``i`` of a plain text, which does not have a field for each name.

    ``said`` is the format in the user's words.
    """
    record = data[spans.starts[i] : spans.ends[i]]
    escaped = not said.escape and b"\\" + said.quote.encode() in record and bool(said.quote)
    if spans.is_open[i]:
        if not said.multiline and _closes_later(data, int(spans.starts[i]), len(names), format):
            return "has a newline inside quotes", "use --multiline"
        remedy = "use --escape '\\' where a backslash makes a quote plain" if escaped else _STRAY
        return "has a quote that is still open at its end", remedy
    named = f"--columns names {len(names)}" if said.columns else f"the header names {len(names)}"
    counted = f"has {n_fields} field{'s' * (n_fields != 1)}, {named}"
    if escaped:
        return f"{counted}: backslashes stand before its quotes", "use --escape '\\'"
    if n_fields == len(names) + 1 and record.endswith(format.delimiter.encode()):
        return f"{counted}: it ends with {said.delimiter!r}", f"name every field: --columns {_and_one_more(names)}"
    return counted, f"quote what holds {said.delimiter!r}, or say another --delimiter"


def _closes_later(data: bytes, start: int, n_names: int, format: Format) -> bool:
    """Whether the record is whole once newlines may be quoted."""
    rule = Rule.of(format)._replace(multiline=True)
    ahead = data[start : start + _AHEAD_BYTES]
    spans = find_records(ahead, rule)
    return not spans.is_open[0] and int(count_fields(ahead, spans, rule)[0]) == n_names


def _and_one_more(names: Sequence[str]) -> str:
    """The names as an option spells them, with one for a field that has none."""
    plain = len(names) <= _MOST_NAMES and not any(set(name) & set(", \t\"'") for name in names)
    if not plain:
        return "A,B,..."
    rest = next(word for word in ("rest", *(f"rest{k}" for k in range(len(names)))) if word not in names)
    return ",".join([*names, rest])
