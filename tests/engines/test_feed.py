"""Which rows Hadoop can feed, and that its splits then begin at windows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.config.sections import DataConfig
from mrml.data.dataset import Dataset
from mrml.data.open import open_dataset
from mrml.engines.streaming.feed import Feed, fed_split, heads, obstacle
from mrml.errors import ConfigError, EngineError


def dataset(folder: Path, names: tuple[str, ...] = ("a.csv", "b.csv"), **config: object) -> Dataset:
    """Files of 100 lines, as if they lay on HDFS."""
    for name in names:
        (folder / name).write_text("id,x,g\n" + "".join(f"{i},{i / 3},{i // 9}\n" for i in range(100)))
    found = open_dataset(DataConfig(data=(str(folder),), window_bytes=64, **config))  # type: ignore[arg-type]
    return dataclasses.replace(
        found, files=tuple(dataclasses.replace(f, path="hdfs://h:1" + f.path) for f in found.files)
    )


def hadoop_starts(size: int, total: int, maps: int, least: int, block: int) -> list[int]:
    """Where ``mapred.FileInputFormat.getSplits`` of Hadoop 3.5.0 cuts a file."""
    each = max(least, min(total // max(maps, 1), block))
    starts, left = [], size
    while left / each > 1.1:
        starts.append(size - left)
        left -= each
    return starts + ([size - left] if left else [])


@given(
    st.lists(st.integers(1, 1 << 31), min_size=1, max_size=9),
    st.integers(64, 9 << 20),
    st.integers(1, 99),
    st.integers(64, 1 << 30),
    st.integers(512, 1 << 30),
)
def test_every_split_begins_at_a_window_whatever_the_hdfs_block(
    sizes: list[int], window: int, n_tasks: int, most: int, block: int
) -> None:
    each = Feed.cut(sum(sizes), window, n_tasks, most)
    told = Feed(each, 1, sum(sizes), ()).properties()
    least, maps = (int(told[k]) for k in ("mapreduce.input.fileinputformat.split.minsize", "mapreduce.job.maps"))
    for size in sizes:
        starts = hadoop_starts(size, sum(sizes), maps, least, block)
        assert all(start % window == 0 for start in starts)
        assert len(starts) <= -(-size // each)


def test_what_hadoop_cannot_feed_is_refused_with_the_reason(tmp_path: Path) -> None:
    fine = dataset(tmp_path)
    assert obstacle(fine) == "" and Feed.of(fine, 2, 1 << 20).n_splits >= 2

    def with_file(**changes: object) -> Dataset:
        first, *rest = fine.files
        return dataclasses.replace(fine, files=(dataclasses.replace(first, **changes), *rest))  # type: ignore[arg-type]

    path = fine.files[0].path
    wrong = {
        "is compressed": with_file(compression="gz"),
        "is not on HDFS": with_file(path=path.removeprefix("hdfs://h:1")),
        "takes for a pattern": with_file(path=path.replace("a.csv", "a{1,2}.csv")),
        "a.csv.lz4 is compressed": with_file(name="a.csv.lz4", path=path + ".lz4"),
        "has a side file": with_file(weight=path + ".weight"),
        "two files have one path": with_file(path=fine.files[1].path.replace("//h", "//other")),
        "groups reach": dataclasses.replace(fine, schema=fine.schema.with_roles({"g": "group"})),
        "newlines may be quoted": dataclasses.replace(
            fine,
            schema=dataclasses.replace(fine.schema, format=dataclasses.replace(fine.schema.format, multiline=True)),
        ),
        "Parquet": dataclasses.replace(
            fine,
            schema=dataclasses.replace(fine.schema, format=dataclasses.replace(fine.schema.format, name="parquet")),
        ),
    }
    for reason, found in wrong.items():
        with pytest.raises(ConfigError, match=f"Hadoop cannot feed these rows: .*{reason}.*; use --feed direct"):
            Feed.of(found, 2, 1 << 20)


def test_a_task_knows_its_split_by_its_environment(tmp_path: Path) -> None:
    local = dataset(tmp_path)
    files = tuple(dataclasses.replace(f, path=f.path.removeprefix("hdfs://h:1")) for f in local.files)
    found = heads(dataclasses.replace(local, files=files))
    told = {"mapreduce_map_input_start": "128", "mapreduce_map_input_length": "64"}
    number, head, split = fed_split(local, found, {**told, "mapreduce_map_input_file": local.files[1].path})
    assert (number, head) == (1, b"id,x,g\n")
    assert (split.first, split.stop, split.size) == (2, 3, local.files[1].size)
    with pytest.raises(EngineError, match="not a file of this run"):
        fed_split(local, found, {**told, "mapreduce_map_input_file": "hdfs://h:1/other"})
