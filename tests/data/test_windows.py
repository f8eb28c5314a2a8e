"""The window rule of DESIGN section 3, in both its forms, against a reading of the rule in plain Python."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrml.data import windows
from mrml.data.formats.lines import Rule, find_records, line_starts
from mrml.data.windows import line_start_after, n_windows, stream_windows, strip_bom, window_bytes

TEXT = st.lists(st.sampled_from([b"a", b"bb", b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\n\n", b"\xff", b"x" * 9]))
BYTES = TEXT.map(b"".join)
WIDTH = st.integers(1, 12)


def reader(data: bytes):
    def read(offset: int, n: int) -> bytes:
        assert offset >= 0 and n >= 0 and offset + n <= len(data)
        return data[offset : offset + n]

    return read


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return (data[a:b] for a, b in itertools.pairwise(edges))


def naive_lines(data: bytes) -> list[tuple[int, bytes]]:
    """(first byte, line with its end), one byte at a time."""
    out, start, i = [], 0, 0
    while i < len(data):
        i += 2 if data[i : i + 2] == b"\r\n" else 1
        if data[i - 1] in b"\r\n":
            out.append((start, data[start:i]))
            start = i
    return out + ([(start, data[start:])] if start < len(data) else [])


def naive_records(data: bytes) -> list[tuple[int, bytes]]:
    """The same where a newline inside a quoted field ends nothing: a state machine, one byte at a time."""
    out, start, i, state = [], 0, 0, "field start"
    text = b",,," + data[3:] if data.startswith(b"\xef\xbb\xbf") else data
    while i < len(text):
        two, c = text[i : i + 2], text[i : i + 1]
        if c == b'"' and state == "field start":
            stop = closing(text, i + 1)
            state, i = ("field", stop) if stop else ("stray", i + 1)
            continue
        i += 1
        if c in (b"\n", b"\r"):
            i += two == b"\r\n"
            out.append((start, data[start:i]))
            start, state = i, "field start"
        elif state != "stray":
            state = "field start" if c == b"," else "field"
    return out + ([(start, data[start:])] if start < len(data) else [])


def closing(text: bytes, i: int) -> int:
    """The byte after the quote that closes the field whose first byte is i; 0 where it is none."""
    first = i
    while i < len(text):
        if text[i : i + 2] == b'""':
            i += 2
        elif text[i : i + 1] == b'"':
            lines = text[first:i].strip(b"\r\n") != text[first:i] or len(text[first:i].splitlines()) > 1
            return 0 if lines and text[i + 1 : i + 2] not in (b",", b"\r", b"\n", b"") else i + 1
        else:
            i += 1
    return 0


def naive_windows(lines: list[tuple[int, bytes]], size: int, w: int) -> list[tuple[int, bytes]]:
    out = []
    for k in range((size + w - 1) // w):
        owned = [(s, line) for s, line in lines if k * w < s <= (k + 1) * w or (k == 0 and s == 0)]
        out.append((owned[0][0] if owned else k * w, b"".join(line for _, line in owned)))
    return out


@given(BYTES, WIDTH, st.integers(2, 5))
@example(b"a\r\nb", 2, 2)
@example(b"a\r\r\n\r", 1, 2)
def test_a_window_read_by_itself_owns_the_lines_the_rule_gives_it(data, w, ahead):
    expected = naive_windows(naive_lines(data), len(data), w)
    old, windows.AHEAD_BYTES = windows.AHEAD_BYTES, ahead
    try:
        found = [window_bytes(reader(data), len(data), w, k) for k in range(n_windows(len(data), w))]
    finally:
        windows.AHEAD_BYTES = old
    assert found == expected
    assert b"".join(b for _, b in found) == data


@given(BYTES, WIDTH, st.lists(st.integers(0, 200), max_size=12))
def test_a_stream_cut_anywhere_gives_the_same_windows(data, w, cuts):
    assert list(stream_windows(pieces(data, cuts), w)) == naive_windows(naive_lines(data), len(data), w)


@given(st.one_of(BYTES, BYTES.map(lambda b: b"\xef\xbb\xbf" + b)), WIDTH, st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=300)
@example(b'\xef\xbb\xbf"a\nb"\nc', 2, [1, 2])
@example(b'"a""\n"\nc', 2, [3, 4])
@example(b'a"\n"b\n"', 1, [])
@example(b'"a\n"b\n"c\n",d\n"e', 1, [5])
def test_a_quoted_newline_ends_no_record_of_a_multiline_file(data, w, cuts):
    expected = naive_windows(naive_records(data), len(data), w)
    assert list(stream_windows(pieces(data, cuts), w, Rule('"', multiline=True))) == expected


@given(BYTES, st.integers(0, 200), st.integers(2, 5))
def test_the_next_line_start_is_the_smallest_one_after_the_position(data, position, ahead):
    position = min(position, len(data))
    expected = min([s for s, _ in naive_lines(data) if s > position], default=len(data))
    old, windows.AHEAD_BYTES = windows.AHEAD_BYTES, ahead
    try:
        assert line_start_after(reader(data), len(data), position) == expected
    finally:
        windows.AHEAD_BYTES = old


@given(BYTES)
def test_records_are_the_lines_that_are_not_empty(data):
    spans = find_records(data)
    expected = [
        (s, line.rstrip(b"\r\n") if line.strip(b"\r\n") else b"", s + len(line)) for s, line in naive_lines(data)
    ]
    found = [(s, data[s:e], n) for s, e, n in zip(spans.starts, spans.ends, spans.nexts, strict=True)]
    assert found == [(s, text, n) for s, text, n in expected if text]
    assert line_starts(data).tolist() == [s + len(t) for s, t in naive_lines(data) if t[-1] in b"\r\n"]


@given(BYTES)
def test_multiline_records_begin_where_the_state_machine_says(data):
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    spans = find_records(data, Rule('"', multiline=True))
    expected = [(s, s + len(r)) for s, r in naive_records(data) if r.strip(b"\r\n")]
    assert list(zip(spans.starts.tolist(), spans.nexts.tolist(), strict=True)) == expected


def test_a_line_longer_than_several_windows_makes_the_windows_between_empty():
    data = b"a\n" + b"b" * 30 + b"\nc\n"
    found = [window_bytes(reader(data), len(data), 8, k) for k in range(n_windows(len(data), 8))]
    assert found == [(0, data[:33]), (8, b""), (16, b""), (24, b""), (33, b"c\n")]
    assert list(stream_windows(iter([data]), 8)) == found


def test_a_line_that_starts_on_the_boundary_belongs_to_the_window_before():
    data = b"abc\ndef\nghi\n"
    assert window_bytes(reader(data), 12, 4, 0) == (0, b"abc\ndef\n")
    assert window_bytes(reader(data), 12, 4, 1) == (8, b"ghi\n")
    assert window_bytes(reader(data), 12, 4, 2) == (8, b"")


def test_an_empty_file_has_no_windows():
    assert n_windows(0, 4) == 0
    assert list(stream_windows(iter([]), 4)) == list(stream_windows(iter([b"", b""]), 4)) == []


@pytest.mark.parametrize("pack, opened", [(gzip.compress, gzip.open), (bz2.compress, bz2.open)])
def test_compressed_text_gives_the_windows_of_its_plain_bytes(pack, opened):
    data = b"".join(b"%d,%d\r\n" % (i, i * i) for i in range(5000))
    with opened(io.BytesIO(pack(data))) as f:
        found = list(stream_windows(iter(lambda: f.read(1000), b""), 4096))
    assert found == [window_bytes(reader(data), len(data), 4096, k) for k in range(n_windows(len(data), 4096))]


def test_a_stream_holds_a_window_and_the_longest_line_not_the_file():
    line, n = b"x" * 99 + b"\n", 50_000
    given_bytes = 0

    def chunks() -> Iterator[bytes]:
        nonlocal given_bytes
        for _ in range(n):
            given_bytes += len(line)
            yield line

    seen = 0
    for _, data in stream_windows(chunks(), 10_000):
        seen += len(data)
        assert given_bytes - seen <= 300
    assert seen == n * len(line)


def test_a_byte_order_mark_is_stripped_once():
    assert strip_bom(b"\xef\xbb\xbf\xef\xbb\xbfa") == b"\xef\xbb\xbfa"
    assert strip_bom(b"a\xef\xbb\xbf") == b"a\xef\xbb\xbf"
