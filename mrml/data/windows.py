"""The window rule: which lines of a text file make block k.

Window k of W bytes owns the lines whose first byte s has k*W < s <= (k+1)*W, and window 0 also s = 0: Hadoop's own
rule (``LineRecordReader``: a split reads one line past its end, and all but the first skip theirs), so a split fed by
Hadoop and one read directly hold the same rows.  A line longer than several windows leaves those between empty.

Two forms of one law: :func:`window_bytes` reads any window of a file by itself; :func:`stream_windows` cuts what can
only be read in order (compressed text, newlines inside quotes) into the same windows.  Either holds W bytes, the
longest line and one read-ahead at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from mrml.arrays import Array
from mrml.data.formats.lines import BOM, covered, line_starts, quoted_spans, strip_bom

__all__ = ["line_start_after", "n_windows", "stream_windows", "strip_bom", "window_bytes"]

Read = Callable[[int, int], bytes]

#: Bytes read past a window to find where its last line ends.
AHEAD_BYTES = 64 << 10
#: A CR at the end of what was read may be half of a CRLF: it is no line end yet.
_LINE_END = re.compile(rb"\n|\r(?=[^\n])")


def n_windows(size: int, window_bytes: int) -> int:
    """Windows of a file of ``size`` bytes; none of an empty one."""
    return -(-size // window_bytes)


def _next_start(data: bytes, position: int, is_end: bool) -> int | None:
    """Smallest line start > position in data, None when what was read does not tell."""
    found = _LINE_END.search(data, position)
    if found:
        return found.end()
    return len(data) if is_end else None


def line_start_after(read: Read, size: int, position: int) -> int:
    """Smallest line start > position, or ``size`` when there is none.

    ``read(offset, n)`` gives exactly the n bytes there (less only at the end of the file).
    """
    while position < size:
        data = read(position, min(AHEAD_BYTES, size - position))
        start = _next_start(data, 0, position + len(data) == size)
        if start is not None:
            return position + start
        position += len(data) - data.endswith(b"\r")
    return size


def window_bytes(read: Read, size: int, window_bytes: int, k: int) -> tuple[int, bytes]:
    """File offset and bytes of the lines that window k owns; (k * W, b"") when it owns none."""
    low, high = k * window_bytes, min((k + 1) * window_bytes, size)
    data = read(low, min(high + AHEAD_BYTES, size) - low)
    is_end = low + len(data) == size
    start = 0 if k == 0 else _next_start(data, 0, is_end)
    if start is None or low + start > high or low + start >= size:
        return low, b""
    stop = _next_start(data, high - low, is_end) if high < size else len(data)
    if stop is not None:
        return low + start, data[start:stop]
    held = len(data) - data.endswith(b"\r")
    end = line_start_after(read, size, low + held)
    return low + start, data[start:held] + read(low + held, end - low - held)


def stream_windows(
    chunks: Iterator[bytes], window_bytes: int, multiline_quote: str | None = None, delimiter: str = ","
) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of every window in order, the empty ones included.

    Parameters
    ----------
    chunks : the bytes of the file in order, in pieces of any size.
    multiline_quote : the quote character where newlines may be quoted; records, not lines, are then owned by the
        same rule on their first byte.
    delimiter : what ends a field, so that a quote within one is told from a quote around one.
    """
    k = base = at = 0  # window to give next, first byte not given yet, first byte not scanned yet
    held: list[bytes] = []  # bytes base to at
    for piece, starts in _scan(chunks, multiline_quote, delimiter):
        taken = 0  # bytes of the piece given already
        while True:
            while base > (k + 1) * window_bytes:
                yield k * window_bytes, b""
                k += 1
            i = int(np.searchsorted(starts, (k + 1) * window_bytes - at, side="right"))
            if i == len(starts):
                break
            stop = int(starts[i])
            yield base, b"".join([*held, piece[taken:stop]])
            held, base, taken, k = [], at + stop, stop, k + 1
        held.append(piece[taken:] if taken else piece)
        at += len(piece)
    if base < at:
        yield base, b"".join(held)
        k += 1
    for empty in range(k, n_windows(at, window_bytes)):
        yield empty * window_bytes, b""


def _scan(chunks: Iterator[bytes], quote: str | None, delimiter: str) -> Iterator[tuple[bytes, Array]]:
    """Pieces of the file and the record starts (n,) in each, ``len(piece)`` possible.

    A piece never ends with a CR or a quote, unless the file does: the next byte tells what those mean.
    """
    before, inside = b"\n", False  # the byte before the piece; inside a quoted field
    first = True
    for piece in _whole_ends(chunks, (quote or "").encode()):
        starts = line_starts(piece)
        text = _blank_bom(piece, delimiter) if first else piece
        if quote and (inside or quote.encode() in piece):
            spans, inside = quoted_spans(before + text, quote, delimiter, 1, inside)
            starts = starts[~covered(starts, spans)]  # the line's end lies at start - 1, and spans are 1 too far
        yield piece, starts
        before, first = text[-1:], False


def _blank_bom(piece: bytes, delimiter: str) -> bytes:
    """A quote after a byte order mark opens a field."""
    return delimiter.encode() * 3 + piece[3:] if piece.startswith(BOM) else piece


def _whole_ends(chunks: Iterator[bytes], quote: bytes) -> Iterator[bytes]:
    """The same bytes in pieces that do not end with a CR or a quote; the first holds a whole BOM."""
    kept, shortest = b"", len(BOM)
    for chunk in chunks:
        chunk = kept + chunk if kept else chunk
        end = len(chunk) - 1 if chunk.endswith(b"\r") else len(chunk.rstrip(quote)) if quote else len(chunk)
        if end < shortest:
            kept = chunk
            continue
        kept, shortest = chunk[end:], 1
        yield chunk[:end]
    if kept:
        yield kept
