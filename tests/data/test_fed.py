"""Lines as Hadoop feeds them are the blocks that reading the file gives; the oracle is its reader in plain Python."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.config.sections import DataConfig
from mrml.data.fed import FedSplit
from mrml.data.formats import textfiles
from mrml.data.open import open_dataset
from mrml.data.windows import n_windows, window_bytes
from mrml.errors import EngineError
from tests.data.test_windows import BYTES, pieces, reader

BOM = b"\xef\xbb\xbf"
#: text with tabs and digits in it, which offsets and their separator might be taken for
LINES = st.lists(st.sampled_from([b"a", b"\t", b"1", b",", b"\n", b"\r", b"\r\n", b"\xff", b"7\t", b"x" * 9]))
FILES = st.one_of(BYTES, LINES.map(b"".join), LINES.map(b"".join).map(lambda text: BOM + text))


def hadoop_lines(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """``mapred.LineRecordReader`` over bytes ``start`` to ``end``: offset and line without its end."""

    def read_line(at: int) -> tuple[bytes, int]:
        stop = at
        while stop < len(data) and data[stop] not in b"\r\n":
            stop += 1
        after = stop + (2 if data[stop : stop + 2] == b"\r\n" else 1)
        return data[at:stop], min(after, len(data)) - at

    position = start + read_line(start)[1] if start else 0
    while position <= end:
        key, (line, n_bytes) = position, read_line(position)
        position += n_bytes
        if not n_bytes:
            return
        yield key, line.removeprefix(BOM) if key == 0 else line


def fed_text(data: bytes, start: int, end: int) -> bytes:
    """What Streaming's text writer makes of them."""
    return b"".join(b"%d\t%s\n" % pair for pair in hadoop_lines(data, start, end))


def split_of(data: bytes, window: int, first: int, stop: int) -> FedSplit:
    start = first * window
    return FedSplit(start, min(stop * window, len(data)) - start, len(data), window, data.startswith(BOM))


@given(FILES.filter(bool), st.integers(1, 12), st.lists(st.integers(0, 99), max_size=4), st.data())
def test_the_windows_of_a_split_are_those_of_the_file(data: bytes, window: int, cuts: list[int], draw) -> None:
    n = n_windows(len(data), window)
    first = draw.draw(st.integers(0, n - 1))
    stop = draw.draw(st.integers(first + 1, n))
    split = split_of(data, window, first, stop)
    text = fed_text(data, split.start, split.end)
    found = list(split.windows(p for p in pieces(text, cuts) if p))
    read = reader(data)
    expected = [(k, *window_bytes(read, len(data), window, k)) for k in range(first, stop)]
    assert [(k, at) for k, at, _ in found] == [(k, at) for k, at, _ in expected]
    # how the last line of a split ends is not told, and a lone CR comes as LF: both end a line
    lf = [text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") for _, _, text in found]
    assert lf == [text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") for _, _, text in expected]
    lengths = [len(text) for _, _, text in expected]
    owning = max((i for i, text in enumerate(lf) if text), default=None)
    for i, (_, _, text) in enumerate(found):
        assert len(text) == lengths[i] or (i == owning and stop < n and len(text) == lengths[i] - 1)


@given(st.lists(st.sampled_from([b"a", b"\t1", b"x" * 9]), min_size=2), st.integers(1, 12), st.data())
def test_lines_that_are_missing_are_an_error(texts: list[bytes], window: int, draw) -> None:
    data = b"".join(text + b"\n" for text in texts)
    lines = fed_text(data, 0, len(data)).splitlines(keepends=True)
    del lines[draw.draw(st.integers(0, len(lines) - 1))]
    split = split_of(data, window, 0, n_windows(len(data), window))
    with pytest.raises(EngineError, match="Hadoop's split"):
        list(split.windows(iter([b"".join(lines)])))


def test_a_split_that_cuts_a_window_is_refused() -> None:
    for start, length in ((3, 8), (0, 6)):
        with pytest.raises(EngineError, match="no whole windows of 4 bytes"):
            list(FedSplit(start, length, 20, 4).windows(iter([])))


def test_a_split_without_its_end_is_an_error() -> None:
    data = b"ab\n" * 8
    split = split_of(data, 6, 0, 2)
    text = fed_text(data, 0, 12)
    short = b"".join(text.splitlines(keepends=True)[:-2])
    for torn in (b"", text[:-2], short, b"x" + text, text.replace(b"\t", b"")):
        with pytest.raises(EngineError, match="Hadoop's split of bytes 0 to 12"):
            list(split.windows(iter([torn] if torn else [])))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize(("name", "row"), [("csv", '{i},"{c}",{x}'), ("jsonl", '{{"id": {i}, "c": "{c}", "x": {x}}}')])
def test_blocks_are_those_of_reading(tmp_path: Path, ending: str, mark: bytes, name: str, row: str) -> None:
    rows = [row.format(i=i, c="uvw"[i * i % 3], x="oops" if i % 50 == 7 else i / 7) for i in range(300)]
    if name == "jsonl":
        rows = [r.replace("oops", '"oops"') for r in rows]
    lines = (["id,c,x"] if name == "csv" else []) + rows
    path = tmp_path / f"part.{name}"
    path.write_bytes(mark + ending.join(lines).encode())
    data = path.read_bytes()
    config = DataConfig(data=(str(path),), id="id", window_bytes=512, bad_rows="skip", na=("-",))
    schema = open_dataset(config).schema
    columns = tuple(
        dataclasses.replace(c, kind="numeric", source="double") if c.name == "x" else c for c in schema.columns
    )
    dataset = open_dataset(config, schema=dataclasses.replace(schema, columns=columns))
    expected = [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]
    head, n = textfiles.head(dataset.files[0], dataset.schema), n_windows(len(data), 512)
    found = []
    for first, stop in itertools.pairwise([0, 1, 4, 5, n]):
        split = split_of(data, 512, first, stop)
        found += dataset.fed(0, head, split.windows(iter([fed_text(data, split.start, split.end)])))
    assert sum(b.n_bad for b in found) == 6 and len(found) == len(expected) > 9
    for a, b in zip(found, expected, strict=True):
        assert (a.file, a.index, a.n_records, a.n_bad) == (b.file, b.index, b.n_records, b.n_bad)
        assert [str(p) for p in a.problems] == [str(p) for p in b.problems]
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.X, b.X)
        np.testing.assert_array_equal(a.id, b.id)
