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
from mrml.data.formats.lines import BOM, Rule, covered, line_starts, quoted_fields, strip_bom

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
    chunks: Iterator[bytes],
    window_bytes: int,
    rule: Rule = Rule(),  # noqa: B008 - it never changes
) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of every window in order, the empty ones included.

    Parameters
    ----------
    chunks : the bytes of the file in order, in pieces of any size.
    rule : where newlines may be quoted records, not lines, are owned by the same rule on their first byte.
    """
    k = base = at = 0  # window to give next, first byte not given yet, first byte not scanned yet
    held: list[bytes] = []  # bytes base to at
    for piece, starts in _scan(chunks, rule):
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


def _scan(chunks: Iterator[bytes], rule: Rule) -> Iterator[tuple[bytes, Array]]:
    """Pieces of the file and the record starts (n,) in each, ``len(piece)`` possible."""
    if rule.multiline and rule.quote:
        yield from _scan_quoted(chunks, rule)
        return
    for piece in _whole_ends(chunks):
        yield piece, line_starts(piece)


def _scan_quoted(chunks: Iterator[bytes], rule: Rule) -> Iterator[tuple[bytes, Array]]:
    """Pieces that begin with a record; what may be the beginning of one waits for as much again, so that no byte is
    looked at more than a few times."""
    kept: list[bytes] = []
    held = enough = 0
    is_first = True
    for chunk in chunks:
        kept.append(chunk)
        held += len(chunk)
        if held <= max(enough, len(BOM)):
            continue
        text = b"".join(kept)
        starts = _record_starts(text, rule, is_first, False)
        cut = int(starts[-1]) if len(starts) else 0
        if cut:
            yield text[:cut], starts
            is_first = False
        kept, held = [text[cut:]], len(text) - cut
        enough = 2 * held
    if text := b"".join(kept):
        yield text, _record_starts(text, rule, is_first, True)


def _record_starts(text: bytes, rule: Rule, is_first: bool, is_end: bool) -> Array:
    """(n,) the starts of records after the first that stay, whatever follows the text."""
    starts = line_starts(text)
    if text.endswith(b"\r") and not is_end:
        starts = starts[:-1]
    if rule.quote.encode() not in text:
        return starts
    marked = is_first and text.startswith(BOM)  # a quote after a byte order mark opens a field, as after a line's end
    quoted = quoted_fields(b"\n" * len(BOM) + text[len(BOM) :] if marked else text, rule, is_end)
    return starts[(starts <= quoted.settled) & ~covered(starts - 1, quoted.spans)]


def _whole_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that do not end with a CR, unless the file does: the next byte tells what it means."""
    kept = b""
    for chunk in chunks:
        chunk = kept + chunk if kept else chunk
        end = len(chunk) - chunk.endswith(b"\r")
        kept = chunk[end:]
        if end:
            yield chunk[:end]
    if kept:
        yield kept
