"""Shards: runs of training Blocks that depend on the data and their number alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.config.sections import DataConfig
from mrml.data.open import open_dataset
from mrml.data.shards import Reads, cut
from mrml.engines.task import blocks
from mrml.errors import ConfigError

sizes_and_number = st.lists(st.integers(0, 1000), min_size=1, max_size=60).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.integers(1, len(sizes)))
)


@given(sizes_and_number)
def test_every_unit_is_in_one_shard_and_no_shard_is_empty(given: tuple[list[int], int]) -> None:
    sizes, n = given
    runs = cut(sizes, n)
    assert len(runs) == n
    assert all(run.start < run.stop for run in runs)
    assert [k for run in runs for k in range(len(sizes))[run]] == list(range(len(sizes)))


@given(sizes_and_number)
def test_a_shard_is_off_its_share_by_no_more_than_two_units(given: tuple[list[int], int]) -> None:
    sizes, n = given
    if min(sizes) < 1 or max(sizes) * n > sum(sizes):
        return
    share, largest = sum(sizes) / n, max(sizes)
    assert all(abs(sum(sizes[run]) - share) <= 2 * largest for run in cut(sizes, n))


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    for name, rows in (("a.csv", 300), ("b.csv", 1), ("c.csv", 700)):
        lines = "".join(f"{i},{i * i % 7}\n" for i in range(rows))
        (tmp_path / name).write_text("x,y\n" + lines)
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "v.csv").write_text("x,y\n1,2\n3,4\n")
    paths = tuple(str(tmp_path / n) for n in ("a.csv", "b.csv", "c.csv"))
    return DataConfig(data=paths, valid=(str(tmp_path / "valid"),), target="y", window_bytes=256)


@pytest.mark.parametrize("n_shards", [1, 2, 7])
def test_shards_hold_every_training_block_once_in_order(data: DataConfig, n_shards: int) -> None:
    dataset = open_dataset(data)
    whole = [(b.file, b.index) for s in dataset.splits(1 << 30, Reads(valid=False)) for b in blocks(dataset, s, None)]
    shards = dataset.shards(n_shards)
    assert [(b.file, b.index) for s in shards for b in blocks(dataset, s, None)] == whole
    assert len(shards) == n_shards


def test_a_shard_is_read_on_from_any_of_its_blocks(data: DataConfig) -> None:
    dataset = open_dataset(data)
    for shard in dataset.shards(3):
        whole = [(b.file, b.index) for b in blocks(dataset, shard, None)]
        for first in range(len(whole) + 1):
            assert [(b.file, b.index) for b in blocks(dataset, shard, None, first)] == whole[first:]


@pytest.mark.parametrize("split_bytes", [1, 1000, 1 << 30])
def test_validation_splits_come_after_the_shards(data: DataConfig, split_bytes: int) -> None:
    dataset = open_dataset(data)
    splits = dataset.splits(split_bytes, Reads(shards=4))
    parts = [{dataset.files[r.file].part for r in split} for split in splits]
    assert parts[:4] == [{"train"}] * 4 and parts[4:] and all(p == {"valid"} for p in parts[4:])
    assert dataset.splits(split_bytes, Reads(shards=4, valid=False)) == dataset.shards(4)
    assert dataset.splits(split_bytes, Reads(train=False)) == splits[4:]


def test_more_shards_than_blocks_say_how_many_there_are(data: DataConfig) -> None:
    with pytest.raises(ConfigError, match=r"100 are asked for, and the training data has \d+ blocks"):
        open_dataset(data).shards(100)
