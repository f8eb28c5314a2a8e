"""Windows rebuilt from the lines that Hadoop feeds a task: the blocks that reading the file gives.

Floor 2.  Hadoop's ``TextInputFormat`` hands over the lines of a split, each with the offset of its first byte; written
as text by Streaming that is ``OFFSET TAB LINE LF``.  Its rule for who owns a line is that of :mod:`mrml.data.windows`,
so a split that begins and ends at multiples of the window holds whole windows.  How a line ended (LF, CR, CRLF, the end
of the file) and a byte order mark, which Hadoop leaves out, follow from the next offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.data.formats.lines import BOM
from mrml.data.windows import n_windows
from mrml.errors import EngineError

#: digits of the largest offset, 2^63 - 1
_DIGITS = 19
_TAB, _LF, _CR = 9, 10, 13
_REMEDY = "let tasks read by themselves: --feed direct"


class FedSplit(NamedTuple):
    """Bytes ``start`` to ``start + length`` of a file of ``size`` bytes and windows of ``window``."""

    start: int
    length: int
    size: int
    window: int
    has_bom: bool = False

    @property
    def end(self) -> int:
        return min(self.start + self.length, self.size)

    @property
    def first(self) -> int:
        """Its first window."""
        return self.start // self.window

    @property
    def stop(self) -> int:
        """The window after its last."""
        return n_windows(self.end, self.window)

    def windows(self, chunks: Iterator[bytes]) -> Iterator[tuple[int, int, bytes]]:
        """(number, offset, bytes) of every window in order, the empty ones included.

        ``chunks`` are what Streaming writes, cut anywhere.  EngineError where it is not the lines of this split.
        """
        self._refuse_crooked()
        k, base, held = self.first, 0, list[bytes]()
        for i, lines in enumerate(self._parts(chunks)):
            if i == 0 and self.start == 0 and lines.starts[0] != 0:
                raise self._wrong("does not begin with its first line")
            owners = np.maximum((lines.starts - 1) // self.window, 0)
            if owners[0] < k or owners[-1] >= self.stop:
                raise self._wrong("holds lines of another split")
            at = 0
            while at < len(owners):
                while k < owners[at]:
                    yield k, base if held else k * self.window, b"".join(held)
                    k, held = k + 1, []
                after = int(np.searchsorted(owners, k, side="right"))
                base = base if held else int(lines.starts[at])
                held.append(lines.data[lines.edges[at] : lines.edges[after]])
                at = after
        for number in range(k, self.stop):
            yield number, base if held else number * self.window, b"".join(held)
            held = []

    def _parts(self, chunks: Iterator[bytes]) -> Iterator[_Lines]:
        """The lines, rebuilt; the last one of a chunk waits for the offset of the next."""
        kept = b""
        for chunk in chunks:
            kept += chunk
            last = kept.rfind(b"\n", 0, max(kept.rfind(b"\n"), 0)) + 1
            after = kept.find(b"\t", last)
            if last and after >= 0:
                yield self._rebuilt(kept[:last], int(kept[last:after]))
                kept = kept[last:]
        if kept:
            yield self._rebuilt(kept, None)
        elif self.start == 0 and self.size:
            raise self._wrong("has no line")

    def _rebuilt(self, text: bytes, follower: int | None) -> _Lines:
        """The lines of some whole records; ``follower`` is the offset of the one after them, None at the end."""
        if not text.endswith(b"\n"):
            raise self._wrong("ends within a line")
        buffer = np.frombuffer(text + b"\n", np.uint8).copy()  # one more: a CRLF may take the place after the last
        ends = np.flatnonzero(buffer[:-1] == _LF)
        begins = np.append(0, ends[:-1] + 1)
        tabs = np.flatnonzero(buffer == _TAB)
        tabs = np.append(tabs, len(buffer))[np.searchsorted(tabs, begins)]
        starts = self._numbers(buffer, begins, tabs, ends)
        lengths = ends - tabs - 1
        mark = len(BOM) if self.has_bom and starts[0] == 0 else 0
        gaps = self._gaps(starts, lengths, mark, follower)
        crlf = ends[gaps == 2]
        buffer[crlf], buffer[crlf + 1] = _CR, _LF  # over the first digit of the next offset
        edges = np.zeros(len(buffer) + 1, np.int8)
        edges[tabs + 1] += 1
        edges[ends + gaps] -= 1
        data = BOM[:mark] + buffer[np.cumsum(edges[:-1], dtype=np.int8).astype(bool)].tobytes()
        cuts = np.append(0, np.cumsum(lengths + gaps) + mark)
        return _Lines(starts, cuts, data)

    def _gaps(self, starts: Array, lengths: Array, mark: int, follower: int | None) -> Array:
        """(n,) bytes that end each line; EngineError where lines are missing between, or at the end."""
        text_ends = starts + lengths
        text_ends[0] += mark
        least = np.ones(len(starts), np.int64)
        if follower is None:
            least[-1] = 0 if text_ends[-1] == self.size else 1
            # before the end of the file the line after is the next split's: CRLF or not is all one
            follower = self.size if self.end == self.size else min(int(text_ends[-1]) + 1, self.size)
            if follower < min(self.end, self.size):
                raise self._wrong(f"ends at byte {follower}")
        gaps: Array = np.append(starts[1:], follower) - text_ends
        if not ((gaps >= least) & (gaps <= 2)).all():
            at = int(np.flatnonzero((gaps < least) | (gaps > 2))[0])
            raise self._wrong(f"lacks what follows byte {int(text_ends[at])}")
        return gaps

    def _numbers(self, buffer: Array, begins: Array, tabs: Array, ends: Array) -> Array:
        """(n,) int64: the digits before each tab."""
        widths = tabs - begins
        if ((tabs > ends) | (widths < 1) | (widths > _DIGITS)).any():
            raise self._wrong("holds a line without its offset")
        numbers = np.zeros(len(begins), np.int64)
        for place in range(int(widths.max())):
            there = widths > place
            numbers[there] = numbers[there] * 10 + (buffer[begins[there] + place] - np.uint8(ord("0")))
        return numbers

    def _refuse_crooked(self) -> None:
        """A split that holds half a window."""
        if self.start % self.window or (self.end % self.window and self.end != self.size):
            finding = f"bytes {self.start} to {self.end} are no whole windows of {self.window} bytes"
            raise EngineError("Hadoop's split", finding, _REMEDY)

    def _wrong(self, finding: str) -> EngineError:
        return EngineError(f"Hadoop's split of bytes {self.start} to {self.end}", finding, _REMEDY)


class _Lines(NamedTuple):
    """``starts`` (n,) in the file, ``edges`` (n + 1,) in ``data``, which are the file's own bytes."""

    starts: Array
    edges: Array
    data: bytes
