"""Where lines, quoted fields and records begin and end in a run of bytes.

LF, CRLF and a lone CR end a line (Hadoop's own rule).  A quote opens a quoted field only where a field begins, a
doubled quote inside stands for one, and what follows the closing quote is plain text again: the state machine of
Arrow's CSV reader, so that ``12" pipe`` is a text and not an open quote.  Where the format has an escape, that makes a
quote, a delimiter or itself after it plain.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.schema import Format

BOM = b"\xef\xbb\xbf"
_LF, _CR = 10, 13
#: the longest quoted field that holds newlines, and the bytes behind one that tell whether it ends there
MOST_QUOTED_BYTES, _LOOK_BYTES = 4 << 20, 64
_LINE_END = re.compile(rb"[\r\n]")


class Rule(NamedTuple):
    """What of a format tells where records and quoted fields are; the default: a record is a line."""

    quote: str = ""
    delimiter: str = ","
    multiline: bool = False
    escape: str = ""
    trim: bool = False

    @staticmethod
    def of(format: Format) -> Rule:
        if format.name not in ("csv", "tsv"):
            return Rule()
        return Rule(format.quote, format.delimiter, format.multiline, format.escape, format.trim)

    @property
    def blanks(self) -> bytes:
        """The blanks that are trimmed."""
        return b"".join(c for c in (b" ", b"\t") if self.trim and c not in self.delimiter.encode())


class Spans(NamedTuple):
    """Records of a run of bytes, empty lines left out.

    ``starts``, ``ends``, ``nexts`` (n_records,) int64: first byte, end without the line's end, and where the next
    line begins.  ``is_open`` (n_records,) bool: a quote is still open at the end.
    """

    starts: Array
    ends: Array
    nexts: Array
    is_open: Array


def strip_bom(data: bytes) -> bytes:
    """The bytes without a UTF-8 byte order mark."""
    return data[3:] if data.startswith(BOM) else data


def line_starts(data: bytes) -> Array:
    """(n,) int64 ascending: every position that follows the end of a line; ``len(data)`` may be the last."""
    buffer = np.frombuffer(data, np.uint8)
    if b"\r" not in data:
        return np.flatnonzero(buffer == _LF) + 1
    ends = (buffer == _LF) | (buffer == _CR)
    if len(buffer):
        ends[:-1] &= ~((buffer[:-1] == _CR) & (buffer[1:] == _LF))
    return np.flatnonzero(ends) + 1


@lru_cache(maxsize=16)
def _quoted(rule: Rule) -> re.Pattern[bytes]:
    """One quoted field as group 1; group 2 is its closing quote, None when it runs to the end.  Never backtracks.

    Group 1 is None where escapes are passed over, so that the delimiter of ``\\,"`` begins no field.
    """
    q, d, e = (re.escape(c.encode()) for c in (rule.quote, rule.delimiter, rule.escape))
    before = b"(?:(?<=" + d + b")|(?<=[\r\n])|\\A)"
    if rule.blanks:
        before = b"(?:" + d + b"|[\r\n]|\\A)[" + rule.blanks + b"]*"
    passed = b"(?:" + e + b"(?:" + b"|".join((e, q, d)) + b"))+" + q + b"*|" if e else b""
    plain = b"[^" + q + e + b"]*"
    doubled = b"(?:" + q + q + (b"|" + e + b"[" + q + e + b"]?" if e else b"") + b")"
    inside = plain + b"(?:" + doubled + plain + b")*(?:(" + q + b")(?!" + q + b")|\\Z)"
    return re.compile(passed + before + b"(" + q + inside + b")", re.DOTALL)


class Quoted(NamedTuple):
    """Quoted fields of a run of bytes.

    ``spans`` (n, 2) int64, quotes included; ``is_open`` (n,) bool: never closed.  ``settled``: all before that byte
    stays, whatever follows the bytes.
    """

    spans: Array
    is_open: Array
    settled: int


def quoted_fields(data: bytes, rule: Rule, is_end: bool = True) -> Quoted:
    """The quoted fields of some whole records, or with ``is_end`` false of the beginning of some.

    With ``multiline`` a quote opens no field beyond its line where that would be longer than MOST_QUOTED_BYTES, runs to
    the end, or goes on behind its closing quote: then a quote was forgotten, and only its own line is at fault.
    """
    found: list[tuple[int, int, bool]] = []
    at: int | None = 0
    while at is not None:
        at, settled = _until_stray(data, rule, is_end, at, found)
    table = np.array(found, np.int64).reshape(-1, 3)
    return Quoted(table[:, :2], table[:, 2].astype(bool), settled)


def _until_stray(
    data: bytes, rule: Rule, is_end: bool, at: int, found: list[tuple[int, int, bool]]
) -> tuple[int | None, int]:
    """Add the fields from ``at`` to the next stray quote; where to go on, None at the end, and what is settled."""
    for match in _quoted(rule).finditer(data, at):
        first, stop = match.span(1)
        if first < 0:
            continue
        if rule.multiline and not is_end and len(data) - stop < _LOOK_BYTES and stop - first <= MOST_QUOTED_BYTES:
            return None, first
        if rule.multiline and (match[2] is None or _is_stray(data, first, stop, rule)):
            end = _LINE_END.search(data, first)
            stop = end.start() if end else len(data)
            found.append((first, stop, True))
            return stop, len(data)
        found.append((first, stop, match[2] is None))
    return None, len(data)


def _is_stray(data: bytes, first: int, stop: int, rule: Rule) -> bool:
    """Whether a field of several lines is none."""
    if data.find(b"\n", first, stop) < 0 and data.find(b"\r", first, stop) < 0:
        return False
    after = data[stop : stop + _LOOK_BYTES]
    after = after.lstrip(rule.blanks) if rule.blanks else after
    goes_on = bool(after) and not after.startswith((rule.delimiter.encode(), b"\n", b"\r"))
    return goes_on or stop - first > MOST_QUOTED_BYTES


def covered(positions: Array, spans: Array) -> Array:
    """(n,) bool: which ascending or other positions lie inside a span."""
    if not len(spans):
        return np.zeros(len(positions), bool)
    nearest = np.searchsorted(spans[:, 0], positions, side="right") - 1
    inside: Array = (nearest >= 0) & (positions < spans[nearest, 1])
    return inside


def find_records(data: bytes, rule: Rule = Rule()) -> Spans:  # noqa: B008 - it never changes
    """Every record: a line, or with ``multiline`` several where a newline is quoted."""
    nexts = line_starts(data)
    has_quotes = bool(rule.quote) and rule.quote.encode() in data
    quoted = quoted_fields(data, rule) if has_quotes and rule.multiline else None
    if quoted:
        nexts = nexts[~covered(nexts - 1, quoted.spans)]
    if len(data) and (not len(nexts) or nexts[-1] != len(data)):
        nexts = np.append(nexts, len(data))
    starts = np.concatenate([np.zeros(min(1, len(nexts)), np.int64), nexts[:-1]])
    ends = _without_line_ends(data, starts, nexts)
    is_open = np.zeros(len(starts), bool)
    if quoted:
        is_open[np.searchsorted(starts, quoted.spans[quoted.is_open, 0], side="right") - 1] = True
    elif has_quotes:
        is_open = _open_lines(data, starts, ends, rule)
    kept = ends > starts
    if rule.blanks:
        kept &= ~_are_blank(data, starts, ends, rule.blanks)
    return Spans(starts[kept], ends[kept], nexts[kept], is_open[kept])


def _are_blank(data: bytes, starts: Array, ends: Array, blanks: bytes) -> Array:
    """(n,) bool: records of nothing but blanks."""
    if not len(data):
        return np.zeros(0, bool)
    first = np.frombuffer(data, np.uint8)[np.minimum(starts, len(data) - 1)]
    are = np.isin(first, np.frombuffer(blanks, np.uint8))
    for i in np.flatnonzero(are).tolist():
        are[i] = not data[starts[i] : ends[i]].strip(blanks)
    return are


def _without_line_ends(data: bytes, starts: Array, nexts: Array) -> Array:
    """(n,) where each line's text ends: the next line's start less LF, CR or CRLF."""
    buffer = np.frombuffer(data, np.uint8)
    if not len(nexts):
        return nexts
    last, before = buffer[nexts - 1], buffer[np.maximum(nexts - 2, 0)]
    crlf = (last == _LF) & (before == _CR) & (nexts - 2 >= starts)
    ends: Array = nexts - ((last == _LF) | (last == _CR)) - crlf
    return ends


def _open_lines(data: bytes, starts: Array, ends: Array, rule: Rule) -> Array:
    """(n,) bool: lines that end inside a quoted field; looks only at lines that hold a quote."""
    quotes = np.flatnonzero(np.frombuffer(data, np.uint8) == rule.quote.encode()[0])
    lines = np.unique(np.searchsorted(starts, quotes, side="right") - 1)
    is_open = np.zeros(len(starts), bool)
    for i in lines.tolist():
        is_open[i] = ends_open(data[starts[i] : ends[i]], rule)
    return is_open


def ends_open(line: bytes, rule: Rule) -> bool:
    """Whether a quote is open at a line's end."""
    return bool(quoted_fields(line, rule).is_open.any())


def keep_records(data: bytes, spans: Spans, kept: Array) -> bytes:
    """The bytes of the records numbered in ``kept``, in order, without the empty lines between."""
    edges = np.zeros(len(data) + 1, np.int8)
    edges[spans.starts[kept]] += 1
    edges[spans.nexts[kept]] -= 1
    mask = np.cumsum(edges[:-1], dtype=np.int8).astype(bool)
    bytes_: bytes = np.frombuffer(data, np.uint8)[mask].tobytes()
    return bytes_


def count_fields(data: bytes, spans: Spans, rule: Rule) -> Array:
    """(n_records,) int64 fields of each record; of one with an open quote, some number.

    Only of plain records: a delimiter of one character and no escapes.
    """
    closed = np.flatnonzero(~spans.is_open)
    lengths = (spans.nexts - spans.starts)[closed]
    text = keep_records(data, spans, closed)  # an open quote would reach into the records after it
    delimiters = np.flatnonzero(np.frombuffer(text, np.uint8) == rule.delimiter.encode()[0])
    if rule.quote and rule.quote.encode() in text:
        delimiters = delimiters[~covered(delimiters, quoted_fields(text, rule).spans)]
    n_fields = np.ones(len(spans.starts), np.int64)
    n_fields[closed] += np.diff(np.searchsorted(delimiters, np.concatenate([[0], np.cumsum(lengths)])))
    return n_fields
