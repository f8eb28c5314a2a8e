"""Blocks and memos kept as memory maps come back as they were, or not at all."""

from __future__ import annotations

import errno
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrml.arrays import CSR
from mrml.data.block import Block, Coded
from mrml.data.store import DirectoryStore, read_arrays, write_arrays

LEVELS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4)


def same(a, b) -> bool:
    """Equal to the bit, types included."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, tuple) and hasattr(a, "_fields"):
        return type(a) is type(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def same_block(a: Block, b: Block) -> bool:
    if list(a.coded) != list(b.coded) or not all(same(a.coded[k], b.coded[k]) for k in a.coded):
        return False
    return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name not in ("store", "coded"))


@st.composite
def coded(draw, n):
    levels = np.array(draw(LEVELS), dtype=str)
    codes = draw(hnp.arrays(np.int32, n, elements=st.integers(-1, len(levels) - 1)))
    return Coded(codes, levels)


@st.composite
def blocks(draw):
    n = draw(st.integers(0, 5))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    dense = hnp.arrays(dtype, (n, draw(st.integers(0, 3))))
    floats = hnp.arrays(np.float64, n)
    csr = CSR(np.arange(n + 1), np.zeros(n, np.int32), np.ones(n, dtype), 7)
    ids = hnp.arrays(np.dtype("<U3"), n, elements=st.text(max_size=3).map(lambda s: s.rstrip("\0")))
    return Block(
        draw(st.integers(0, 3)),
        draw(st.integers(0, 3)),
        np.arange(n) * 2,
        draw(dense | st.just(csr)),
        draw(st.dictionaries(st.text(max_size=3), coded(n), max_size=2)),
        draw(st.none() | floats | coded(n)),
        draw(st.none() | floats),
        draw(st.none() | floats),
        draw(st.none() | hnp.arrays(np.int64, n) | coded(n)),
        draw(st.none() | ids | floats),
        draw(st.sampled_from(["train", "valid"])),
        n_records=n + 1,
        n_bad=1,
        problems=("p, byte 3: «x» is not a number",),
    )


@settings(max_examples=60, deadline=None)
@given(blocks())
def test_a_block_comes_back_as_it_was(tmp_path_factory, block):
    store = DirectoryStore(tmp_path_factory.mktemp("store"))
    assert store.get_block(block.file, block.index) is None
    store.put_block(block)
    back = store.get_block(block.file, block.index)
    assert back is not None and same_block(back, block)


def test_arrays_are_read_only_views_that_begin_at_64_bytes(tmp_path):
    store = DirectoryStore(tmp_path)
    store.put_block(Block(0, 0, np.arange(3), np.ones((3, 5), np.float32), y=np.zeros(3), weight=np.ones(3)))
    back = store.get_block(0, 0)
    for array in (back.rows, back.X, back.y, back.weight):
        assert array.ctypes.data % 64 == 0 and not array.flags.writeable and array.flags.c_contiguous
        assert not array.flags.owndata


def test_memos_keep_their_version_and_the_newest_wins(tmp_path):
    block = Block(2, 5, np.arange(3), np.ones((3, 1)), store=DirectoryStore(tmp_path).block_memo(2, 5))
    seen = []

    def compute(older):
        seen.append(None if older is None else older[0])
        return {"s": np.full(3, len(seen))}

    assert block.memo("scores/a b", 1, compute)["s"][0] == 1
    assert block.memo("scores/a b", 1, compute)["s"][0] == 1
    assert block.memo("scores/a b", 2, compute)["s"][0] == 2
    assert block.memo("other", 1, compute)["s"][0] == 3
    assert seen == [None, 1, None]
    again = DirectoryStore(tmp_path).block_memo(2, 5)
    assert again.get("scores/a b")[0] == 2 and again.get("other")[1]["s"].tolist() == [3, 3, 3]


def test_blocks_files_and_names_do_not_meet(tmp_path):
    store = DirectoryStore(tmp_path)
    for file in range(2):
        for index in range(2):
            store.put_block(Block(file, index, np.array([10 * file + index]), np.ones((1, 1))))
            store.block_memo(file, index).put("block", 1, {"a": np.array([10 * file + index])})
    for file in range(2):
        for index in range(2):
            assert store.get_block(file, index).rows[0] == 10 * file + index
            assert store.block_memo(file, index).get("block")[1]["a"][0] == 10 * file + index


def test_the_number_of_blocks_is_known_once_somebody_said_so(tmp_path):
    store = DirectoryStore(tmp_path)
    assert store.n_blocks(1) is None
    store.put_n_blocks(1, 17)
    assert DirectoryStore(tmp_path).n_blocks(1) == 17 and store.n_blocks(0) is None


def only_file(root: Path) -> Path:
    return next(p for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("cut", [0, 7, 15, 40, 100, -1])
def test_a_file_cut_short_reads_as_absent(tmp_path, cut):
    store = DirectoryStore(tmp_path)
    store.put_block(Block(0, 0, np.arange(100), np.ones((100, 5))))
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    assert store.get_block(0, 0) is None
    store.put_block(Block(0, 0, np.arange(100), np.ones((100, 5))))
    assert store.get_block(0, 0) is not None


@given(st.binary(max_size=200))
def test_any_bytes_at_all_read_as_absent(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("store") / "x"
    path.write_bytes(data)
    assert read_arrays(path) is None


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_header_reads_as_absent(tmp_path_factory, where, flip):
    path = tmp_path_factory.mktemp("store") / "x"
    write_arrays(path, {"a": 1}, {"x": np.arange(3)})
    data = bytearray(path.read_bytes())
    n_header = int.from_bytes(data[8:12], "little")
    data[where % (16 + n_header)] ^= flip
    path.write_bytes(data)
    assert read_arrays(path) is None


def test_a_map_that_is_read_outlives_the_next_put(tmp_path):
    memo = DirectoryStore(tmp_path).block_memo(0, 0)
    memo.put("a", 1, {"x": np.arange(1000)})
    old = memo.get("a")[1]["x"]
    memo.put("a", 2, {"x": np.zeros(3)})
    assert old.tolist() == list(range(1000)) and memo.get("a")[0] == 2
    assert [p.name[0] for p in tmp_path.rglob("*") if p.is_file()] == ["0"]


def test_a_full_disk_costs_the_memo_and_nothing_else(tmp_path, monkeypatch):
    memo = DirectoryStore(tmp_path).block_memo(0, 0)

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("mrml.data.store.write_arrays", full)
    memo.put("a", 1, {"x": np.arange(3)})
    assert memo.get("a") is None


def test_a_memo_changes_in_place_where_one_process_has_the_block(tmp_path):
    memo = DirectoryStore(tmp_path, alone=True).block_memo(0, 0)

    def add(before: int, arrays: dict) -> None:
        arrays["x"] += before

    assert memo.change("a", 7, add) is None  # nothing to change
    memo.put("a", 5, {"x": np.zeros(3)})
    assert memo.change("a", 7, add)["x"].tolist() == [5.0] * 3
    assert memo.change("a", 7, add)["x"].tolist() == [5.0] * 3  # it is there already
    assert memo.change("a", 6, add) is None  # there is no way back
    version, arrays = DirectoryStore(tmp_path).block_memo(0, 0).get("a")
    assert version == 7 and list(arrays) == ["x"] and arrays["x"].tolist() == [5.0] * 3
    assert not arrays["x"].flags.writeable
    assert DirectoryStore(tmp_path).block_memo(0, 0).change("a", 8, add) is None  # others may look on


def test_a_memo_whose_change_was_cut_short_is_absent(tmp_path):
    memo = DirectoryStore(tmp_path, alone=True).block_memo(0, 0)
    memo.put("a", 1, {"x": np.zeros(3)})

    def die(before: int, arrays: dict) -> None:
        arrays["x"][0] = 1.0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memo.change("a", 2, die)
    assert memo.get("a") is None and memo.change("a", 2, die) is None
    assert DirectoryStore(tmp_path).block_memo(0, 0).get("a") is None
    memo.put("a", 2, {"x": np.ones(3)})
    assert memo.get("a")[1]["x"].tolist() == [1.0] * 3


def test_rows_without_numbers_are_standardised_to_nothing() -> None:
    block = Block(0, 0, np.arange(3), np.ones((3, 0)), center=np.empty(0), scale=np.empty(0))
    ((part, found),) = block.standardised()
    assert part == slice(0, 3) and found.shape == (3, 0)
