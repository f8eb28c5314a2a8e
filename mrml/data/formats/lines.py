"""Where lines, quoted fields and records begin and end in a run of bytes.

LF, CRLF and a lone CR end a line (Hadoop's own rule).  A quote opens a quoted field only where a field begins, a
doubled quote inside stands for one, and what follows the closing quote is plain text again: the state machine of
Arrow's CSV reader, so that ``12" pipe`` is a text and not an open quote.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mrml.arrays import Array

BOM = b"\xef\xbb\xbf"
_LF, _CR = 10, 13


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
def _quoted(quote: bytes, delimiter: bytes) -> re.Pattern[bytes]:
    """One quoted field; group 1 is its closing quote, None when it runs to the end.  Never backtracks."""
    q, d = re.escape(quote), re.escape(delimiter)
    return re.compile(b"(?:(?<=[" + d + b"\r\n])|\\A)" + q + _inside(q), re.DOTALL)


@lru_cache(maxsize=16)
def _rest_of_quoted(quote: bytes) -> re.Pattern[bytes]:
    return re.compile(_inside(re.escape(quote)), re.DOTALL)


def _inside(q: bytes) -> bytes:
    return b"[^" + q + b"]*(?:" + q + q + b"[^" + q + b"]*)*(?:(" + q + b")(?!" + q + b")|\\Z)"


def quoted_spans(data: bytes, quote: str, delimiter: str, start: int = 0, inside: bool = False) -> tuple[Array, bool]:
    """The quoted fields of ``data[start:]``.

    Parameters
    ----------
    start : 0, or the position to begin at; the byte before it tells whether a field begins there.
    inside : the position is inside a quoted field.

    Returns
    -------
    spans : (n, 2) int64, quotes included.
    inside : whether the last one is still open at the end.
    """
    q = quote.encode()
    found = []
    if inside:
        rest = _rest_of_quoted(q).match(data, start)
        assert rest is not None  # it matches the empty string
        found.append((start, rest.end(), rest[1] is None))
        start = rest.end()
    if not (found and found[-1][2]):
        matches = _quoted(q, delimiter.encode()).finditer(data, start)
        found.extend((m.start(), m.end(), m[1] is None) for m in matches)
    spans = np.array([f[:2] for f in found], np.int64).reshape(-1, 2)
    return spans, bool(found) and found[-1][2]


def covered(positions: Array, spans: Array) -> Array:
    """(n,) bool: which ascending or other positions lie inside a span."""
    if not len(spans):
        return np.zeros(len(positions), bool)
    nearest = np.searchsorted(spans[:, 0], positions, side="right") - 1
    inside: Array = (nearest >= 0) & (positions < spans[nearest, 1])
    return inside


def find_records(data: bytes, quote: str = "", delimiter: str = ",", multiline: bool = False) -> Spans:
    """Every record: a line, or with ``multiline`` several where a newline is quoted."""
    nexts = line_starts(data)
    has_quotes = bool(quote) and quote.encode() in data
    is_open_at_end = False
    if multiline and has_quotes:
        spans, is_open_at_end = quoted_spans(data, quote, delimiter)
        nexts = nexts[~covered(nexts - 1, spans)]
    if len(data) and (not len(nexts) or nexts[-1] != len(data)):
        nexts = np.append(nexts, len(data))
    starts = np.concatenate([np.zeros(min(1, len(nexts)), np.int64), nexts[:-1]])
    ends = _without_line_ends(data, starts, nexts)
    if is_open_at_end:
        ends[-1] = len(data)
    is_open = np.zeros(len(starts), bool)
    if has_quotes and multiline:
        is_open[-1:] = is_open_at_end
    elif has_quotes:
        is_open = _open_lines(data, starts, ends, quote, delimiter)
    kept = ends > starts
    return Spans(starts[kept], ends[kept], nexts[kept], is_open[kept])


def _without_line_ends(data: bytes, starts: Array, nexts: Array) -> Array:
    """(n,) where each line's text ends: the next line's start less LF, CR or CRLF."""
    buffer = np.frombuffer(data, np.uint8)
    if not len(nexts):
        return nexts
    last, before = buffer[nexts - 1], buffer[np.maximum(nexts - 2, 0)]
    crlf = (last == _LF) & (before == _CR) & (nexts - 2 >= starts)
    ends: Array = nexts - ((last == _LF) | (last == _CR)) - crlf
    return ends


def _open_lines(data: bytes, starts: Array, ends: Array, quote: str, delimiter: str) -> Array:
    """(n,) bool: lines that end inside a quoted field; looks only at lines that hold a quote."""
    quotes = np.flatnonzero(np.frombuffer(data, np.uint8) == quote.encode()[0])
    lines = np.unique(np.searchsorted(starts, quotes, side="right") - 1)
    is_open = np.zeros(len(starts), bool)
    for i in lines.tolist():
        is_open[i] = quoted_spans(data[starts[i] : ends[i]], quote, delimiter)[1]
    return is_open


def keep_records(data: bytes, spans: Spans, kept: Array) -> bytes:
    """The bytes of the records numbered in ``kept``, in order, without the empty lines between."""
    edges = np.zeros(len(data) + 1, np.int8)
    edges[spans.starts[kept]] += 1
    edges[spans.nexts[kept]] -= 1
    mask = np.cumsum(edges[:-1], dtype=np.int8).astype(bool)
    bytes_: bytes = np.frombuffer(data, np.uint8)[mask].tobytes()
    return bytes_


def count_fields(data: bytes, spans: Spans, quote: str, delimiter: str) -> Array:
    """(n_records,) int64 fields of each record; of one with an open quote, some number."""
    closed = np.flatnonzero(~spans.is_open)
    lengths = (spans.nexts - spans.starts)[closed]
    text = keep_records(data, spans, closed)  # an open quote would reach into the records after it
    delimiters = np.flatnonzero(np.frombuffer(text, np.uint8) == delimiter.encode()[0])
    if quote and quote.encode() in text:
        delimiters = delimiters[~covered(delimiters, quoted_spans(text, quote, delimiter)[0])]
    n_fields = np.ones(len(spans.starts), np.int64)
    n_fields[closed] += np.diff(np.searchsorted(delimiters, np.concatenate([[0], np.cumsum(lengths)])))
    return n_fields
