"""HDFS through both clients: the contract, what only HDFS has, and data read from it byte for byte as from a disk."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrml.cluster import Cluster
from mrml.config.sections import DataConfig
from mrml.data.open import open_dataset
from mrml.errors import EngineError, InputError
from mrml.fs import connect
from mrml.fs import hdfs as fs_hdfs
from mrml.fs.find import filesystem
from tests.data.fs_contract import FileSystemContract, Place

pytestmark = pytest.mark.hadoop
FOLDERS = itertools.count()


def empty_folder(uri: str) -> Iterator[Place]:
    """An empty directory below a URI, removed at the end."""
    fs, root = filesystem(f"{uri}/contract-{next(FOLDERS)}")
    fs.makedirs(root)
    yield Place(fs, root)
    fs.rm(root, recursive=True)


def uri(cluster: Cluster, scheme: str) -> str:
    return cluster.namenode_uri if scheme == "hdfs" else cluster.webhdfs.replace("http", "webhdfs")


class TestNativeClient(FileSystemContract):
    """``hdfs://`` by hdfs-native."""

    @pytest.fixture
    def place(self, client: Cluster) -> Iterator[Place]:
        pytest.importorskip("hdfs_native")
        yield from empty_folder(uri(client, "hdfs"))


class TestWebClient(FileSystemContract):
    """``webhdfs://`` by the hdfs package."""

    @pytest.fixture
    def place(self, client: Cluster) -> Iterator[Place]:
        pytest.importorskip("hdfs")
        yield from empty_folder(uri(client, "webhdfs"))


@pytest.fixture(params=["hdfs", "webhdfs"])
def place(request: pytest.FixtureRequest, client: Cluster) -> Iterator[Place]:
    """A directory on HDFS, once through each client."""
    pytest.importorskip({"hdfs": "hdfs_native", "webhdfs": "hdfs"}[request.param])
    yield from empty_folder(uri(client, request.param))


def test_the_client_is_told_once_for_each_address(client: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    connect._client.cache_clear()
    with caplog.at_level(logging.INFO, "mrml"):
        for _ in range(3):
            filesystem(client.namenode_uri + "/")
            filesystem("hdfs:///tmp")
            filesystem(uri(client, "webhdfs") + "/")
    told = [r.getMessage() for r in caplog.records if r.name == "mrml.fs.connect"]
    assert len(told) == 2 and "hdfs-native 0." in told[0] and "WebHDFS, by hdfs 2." in told[1]


def test_without_hdfs_native_hdfs_goes_through_webhdfs(client: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_native", lambda: None)
    connect._client.cache_clear()
    fs, root = filesystem(client.namenode_uri)
    assert "WebHDFS" in str(fs) and root == f"{client.namenode_uri}/" and fs.isdir(root + "tmp")
    assert fs.ls(root)[0].name.startswith(root)
    connect._client.cache_clear()


def test_a_path_without_host_is_on_the_default_file_system(client: Cluster) -> None:
    fs, path = filesystem("hdfs:///tmp//x/../")
    assert path == f"{client.namenode_uri}/tmp" and fs.isdir(path)


def test_a_block_boundary_inside_a_range_is_no_matter(place: Place) -> None:
    data = np.random.default_rng(5).bytes(40 << 20)  # blocks are of 16 MiB
    path = place.write("long", data)
    for edge in (16 << 20, 32 << 20):
        assert place.fs.cat_file(path, edge - 1000, edge + 1000) == data[edge - 1000 : edge + 1000]
    with place.fs.open(path) as file:
        assert file.read() == data


def test_what_one_may_not_read_or_write_is_a_permission_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place.write("secret", b"x")
    forbid(place, path)
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    fs, _ = filesystem(path)
    for call in (lambda: fs.cat_file(path), lambda: fs.rm(path), lambda: fs.open(path, "wb").close()):
        with pytest.raises(PermissionError, match="stranger"):
            call()


@pytest.mark.parametrize("scheme", ["hdfs", "webhdfs"])
def test_a_refused_port_is_an_engine_error_at_once(client: Cluster, scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(EngineError, match=rf"127.0.0.1:{port}: the NameNode cannot be reached: .*refused; check the"):
        filesystem(f"{scheme}://127.0.0.1:{port}/data")
    assert time.monotonic() - begun < 10


FORMATS = ["csv", "gz", "parquet", "libsvm", "jsonl"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers, a category and nulls in every format, two files each, the text ones of several windows."""
    top = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(11)
    for number in range(2):
        n = 60_000
        table = pa.table({
            "y": rng.integers(0, 2, n), "a": rng.normal(size=n), "b": rng.normal(size=n).astype("f4"),
            "c": rng.choice(["red", "green", "blue"], n)})  # fmt: skip
        a, b, c, y = (table[k].to_pylist() for k in "abcy")
        csv = "y,a,b,c\n" + "".join(f"{y[i]},{a[i]},{b[i] if i % 97 else ''},{c[i]}\n" for i in range(n))
        texts = {
            "csv": csv.encode(),
            "gz": gzip.compress(csv.encode(), 1),
            "libsvm": "".join(f"{y[i]} 1:{a[i]} 7:{b[i]}\n" for i in range(n)).encode(),
            "jsonl": "".join(f'{{"y": {y[i]}, "a": {a[i]}, "c": "{c[i]}"}}\n' for i in range(n)).encode(),
        }
        names = {"csv": "csv", "gz": "csv.gz", "libsvm": "libsvm", "jsonl": "jsonl"}
        for kind, data in texts.items():
            (top / kind).mkdir(exist_ok=True)
            (top / kind / f"part-{number}.{names[kind]}").write_bytes(data)
        (top / "parquet").mkdir(exist_ok=True)
        pq.write_table(table, top / "parquet" / f"part-{number}.parquet", row_group_size=40_000)
    return top


def put(folder: Path, place: Place) -> str:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place.fs.makedirs(place(path.parent.relative_to(folder).as_posix()))
            place.write(path.relative_to(folder).as_posix(), path.read_bytes())
    return place.root


def plain(value: Any) -> Any:
    """A value with its arrays as type, shape and bytes."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return repr(value)


def blocks(path: str, split_bytes: int, target: str = "y", **more: Any) -> tuple[list[Any], Any]:
    """Every block of data to the byte, and the schema that was inferred."""
    dataset = open_dataset(DataConfig(data=(path,), target=target, **more))
    found = []
    for split in dataset.splits(split_bytes):
        for part in split:
            for block in dataset.read(part):
                fields = {f.name: getattr(block, f.name) for f in dataclasses.fields(block)}
                found.append({**plain({k: v for k, v in fields.items() if k != "store"}), "key": plain(block.row_key)})
    return found, dataset.schema


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_on_hdfs_are_those_of_the_local_disk_to_the_byte(rows: Path, place: Place, kind: str) -> None:
    target = "label" if kind == "libsvm" else "y"
    local, schema = blocks(str(rows / kind), 1 << 40, target)
    far, far_schema = blocks(put(rows / kind, place), 3 << 20, target)
    assert len(local) >= 2 and far == local and far_schema == schema


def test_patterns_and_single_files_on_hdfs_name_the_same_rows(rows: Path, place: Place) -> None:
    root = put(rows / "csv", place)
    everything = blocks(str(rows / "csv"), 1 << 40)
    assert blocks(f"{root}/*.csv", 1 << 40) == blocks(f"{root}/part-?.csv", 1 << 40) == everything
    assert blocks(f"{root}/part-0.csv", 1 << 40) == blocks(str(rows / "csv/part-0.csv"), 1 << 40)


def test_side_files_and_hive_partitions_are_found_on_hdfs(tmp_path: Path, place: Place) -> None:
    for country in ("NL", "FR"):
        folder = tmp_path / f"country={country}"
        folder.mkdir()
        (folder / "part.csv").write_text("y,a\n0,1\n1,2\n")
        (folder / "part.csv.weight").write_text("1\n2\n")
    local, far = blocks(str(tmp_path), 1 << 40), blocks(put(tmp_path, place), 1 << 40)
    assert far == local and "country" in repr(far[1])


def test_only_the_columns_asked_for_leave_hdfs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 300_000
    table = pa.table({"y": np.arange(n) % 2, "a": np.random.default_rng(2).random(n)})
    wide = {f"x{i}": np.random.default_rng(i).random(n) for i in range(20)}
    with place.fs.open(place("wide.parquet"), "wb") as file:
        pq.write_table(pa.table({**{k: table[k] for k in table.column_names}, **wide}), file, use_dictionary=False)
    size, fetched = place.fs.info(place("wide.parquet")).size, []
    fetch = fs_hdfs.RangeFile._fetch
    monkeypatch.setattr(fs_hdfs.RangeFile, "_fetch", lambda self, n: (fetched.append(n), fetch(self, n))[1])  # type: ignore[func-returns-value]
    dataset = open_dataset(DataConfig(data=(place("wide.parquet"),), target="y", features=("a",)))
    fetched.clear()  # what inference looked at
    found = [b for split in dataset.splits(1 << 40) for part in split for b in dataset.read(part)]
    assert sum(b.n_rows for b in found) == n and sum(fetched) < size / 8


def test_a_missing_path_an_unreadable_file_and_a_broken_footer_are_input_errors(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no such file or directory"):
        blocks(place("nothing"), 1 << 40)
    with pytest.raises(InputError, match=r"bad.parquet.*cannot be read as Parquet"):
        blocks(place.write("bad.parquet", b"PAR1 no footer"), 1 << 40)
    path = place.write("secret.csv", b"y,a\n0,1\n1,2\n")
    forbid(place, path)
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    with pytest.raises(InputError, match=r"secret.csv.*cannot be read.*stranger"):
        blocks(path, 1 << 40)


def forbid(place: Place, path: str) -> None:
    """Nobody but its owner may read a file."""
    client: Any = place.fs._client  # type: ignore[attr-defined]
    client.set_permission(path.removeprefix(place.fs.prefix), 0o600 if hasattr(client, "inner") else "600")  # type: ignore[attr-defined]


def test_a_lost_datanode_stops_no_reader(broken: Cluster, rows: Path, client: Cluster) -> None:
    root = None
    for place in empty_folder(uri(client, "hdfs")):
        root = put(rows / "parquet", place)
        expected = blocks(str(rows / "parquet"), 1 << 40)
        for node in broken.nodes:
            node.kill_datanode()
            assert blocks(root, 1 << 40) == expected
            broken.heal()
    assert root
