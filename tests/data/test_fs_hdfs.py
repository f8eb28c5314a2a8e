"""HDFS without a cluster: addresses, the choice of a client, errors, limits."""

from __future__ import annotations

import builtins
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mrml.cli.main import main
from mrml.engines.hadoop import yarn
from mrml.errors import ConfigError, EngineError
from mrml.fs import address as fs_address
from mrml.fs import connect
from mrml.fs.address import Connection, await_any, limited, rpc_addresses, web_addresses
from mrml.fs.find import filesystem
from mrml.fs.hdfs import READ_AHEAD, RangeFile, remote_error

HA = {
    "fs.defaultFS": "hdfs://prod",
    "dfs.ha.namenodes.prod": "a, b",
    "dfs.namenode.rpc-address.prod.a": "one:8020",
    "dfs.namenode.rpc-address.prod.b": "two:8020",
    "dfs.namenode.http-address.prod.a": "one:9870",
    "dfs.namenode.http-address.prod.b": "two:9870",
    "dfs.namenode.https-address.prod.a": "one:9871",
    "dfs.namenode.https-address.prod.b": "two:9871",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but a test's own, and no client of another test."""
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "HADOOP_USER_NAME"):
        monkeypatch.delenv(name, raising=False)
    connect._client.cache_clear()


def conf(folder: Path, **files: dict[str, str]) -> str:
    for name, keys in files.items():
        lines = [f"<property><name>{k}</name><value>{v}</value></property>" for k, v in keys.items()]
        (folder / f"{name}-site.xml").write_text(f"<configuration>{''.join(lines)}</configuration>")
    return str(folder)


class Memory:
    """A file of the cluster that counts what is fetched."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.ranges = data, len(data), list[tuple[int, int]]()

    def read_range(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= self.size
        self.ranges.append((start, end))
        return self.data[start:end]


def test_a_host_has_the_default_port_and_a_name_service_its_namenodes() -> None:
    assert rpc_addresses("nn", {}) == ("nn:8020",) and rpc_addresses("nn:9000", HA) == ("nn:9000",)
    assert rpc_addresses("prod", HA) == ("one:8020", "two:8020")


def test_web_addresses_are_the_paths_own_or_the_configurations_or_the_default() -> None:
    assert web_addresses("webhdfs", "nn:50070", HA) == ("nn:50070",)
    assert web_addresses("webhdfs", "nn", {}) == web_addresses("hdfs", "nn:8020", {}) == ("nn:9870",)
    assert web_addresses("swebhdfs", "nn", {}) == ("nn:9871",)
    assert web_addresses("hdfs", "prod", HA) == web_addresses("webhdfs", "prod", HA) == ("one:9870", "two:9870")
    assert web_addresses("hdfs", "prod", {**HA, "dfs.http.policy": "HTTPS_ONLY"}) == ("one:9871", "two:9871")


@pytest.mark.parametrize("own", ["nn:12345", "0.0.0.0:12345"])
def test_a_port_of_the_configuration_holds_for_its_own_namenode(own: str) -> None:
    keys = {"fs.defaultFS": "hdfs://nn:9000", "dfs.namenode.http-address": own}
    assert web_addresses("hdfs", "nn:9000", keys) == ("nn:12345",)
    if own.startswith("nn"):
        assert web_addresses("hdfs", "other:9000", keys) == ("other:9870",)


def test_the_configuration_is_looked_for_where_hadoop_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc" / "hadoop"
    folder.mkdir(parents=True)
    conf(folder, core={"fs.defaultFS": "hdfs://x:1", "a": " 1 "}, hdfs={"b": ""})
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path))
    assert fs_address.conf_folder() == str(folder)
    assert fs_address.configuration(str(folder)) == {"fs.defaultFS": "hdfs://x:1", "a": "1", "b": ""}
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("HADOOP_CONF_DIR", conf(other, core={}))
    assert fs_address.conf_folder() == str(other)
    (other / "hdfs-site.xml").write_text("<configuration>")
    with pytest.raises(ConfigError, match=r"hdfs-site.xml: is not XML"):
        fs_address.configuration(str(other))


def test_a_path_without_host_needs_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"hdfs:///: names no host.*export HADOOP_CONF_DIR"):
        filesystem("hdfs:///data")
    monkeypatch.setenv("HADOOP_CONF_DIR", conf(tmp_path, core={"fs.defaultFS": "file:///"}))
    with pytest.raises(ConfigError, match=r"no fs.defaultFS of hdfs://"):
        filesystem("hdfs:///data")


def test_without_a_client_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name in ("mrml.fs.native", "mrml.fs.webhdfs"):
            raise ImportError(f"No module named {name!r}")
        return load(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=r"no client is installed.*pip install 'mrml\[hdfs-native\]'"):
            filesystem(f"webhdfs://127.0.0.1:{port}/x")
        with pytest.raises(ConfigError, match="viewfs://: needs hdfs-native"):
            filesystem(f"viewfs://127.0.0.1:{port}/x")


def test_a_refused_port_names_every_address_and_a_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    connection = Connection("hdfs", "prod", (address, address), {}, None)
    with pytest.raises(
        EngineError, match=rf"{address}, {address}: the NameNode cannot be reached: .*refused; check the"
    ):
        await_any(connection)


def test_one_namenode_that_answers_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        addresses = tuple(f"127.0.0.1:{s.getsockname()[1]}" for s in (free, server))
        await_any(Connection("hdfs", "prod", addresses, {}, None))


def test_namenodes_that_never_answer_share_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    def silent(address: tuple[str, int], timeout: float) -> socket.socket:
        limits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", silent)
    with pytest.raises(EngineError, match="cannot be reached: timed out"):
        await_any(Connection("hdfs", "prod", ("a:1", "b:2"), {}, None))
    assert len(limits) == 2 and limits[0] <= fs_address.CONNECT_LIMIT_S / 2 and sum(limits) < 13


def test_a_name_service_without_addresses_is_a_configuration_error() -> None:
    keys = {"dfs.ha.namenodes.prod": "a,b"}
    with pytest.raises(ConfigError, match=r"hdfs://prod: is a name service without addresses; give dfs.namenode"):
        await_any(Connection("hdfs", "prod", rpc_addresses("prod", keys), keys, None))


@pytest.mark.parametrize("name, message, kind, said", [
    ("java.io.FileNotFoundException", "/x", FileNotFoundError, "/x"),
    ("java.io.FileNotFoundException", "Path is not a file: /x\n\tat a.b", IsADirectoryError, "Path is not a file: /x"),
    ("org.apache.hadoop.security.AccessControlException", r"Denied: user=a\n\tat", PermissionError, "user=a"),
    ("org.apache.hadoop.fs.ParentNotDirectoryException", "/x (is not a directory)", NotADirectoryError, "/x"),
    ("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot", EngineError, "-safemode wait"),
    ("SASL", "No valid SASL mechanism", EngineError, "kinit"),
    ("org.apache.hadoop.Strange", "why", EngineError, "Strange: why"),
])  # fmt: skip
def test_what_the_namenode_throws_is_an_error_of_the_path_or_of_the_cluster(
    name: str, message: str, kind: type[Exception], said: str
) -> None:
    error = remote_error(Connection("hdfs", "nn:1", ("nn:1",), {}, None), name, message)
    assert type(error) is kind and said in str(error) and "\tat" not in str(error)


def test_a_small_read_fetches_ahead_once_and_a_large_one_just_itself() -> None:
    memory = Memory(bytes(range(256)) * 4096)
    file = RangeFile(memory)
    assert file.read(10) + file.read(90) == memory.data[:100] and memory.ranges == [(0, READ_AHEAD)]
    file.seek(500_000)
    assert file.read(200_000) == memory.data[500_000:700_000] and memory.ranges[1:] == [(500_000, 700_000)]


def test_a_footer_is_one_fetch_whichever_end_it_is_read_from() -> None:
    memory = Memory(bytes(range(256)) * 4096)
    file = RangeFile(memory)
    file.seek(-8, 2)
    file.read(8)
    file.seek(-5000, 2)
    assert file.read(4992) == memory.data[-5000:-8] and len(memory.ranges) == 1


def test_a_call_that_takes_too_long_is_left_behind() -> None:
    never = threading.Event()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        limited(never.wait, limit_s=0.1)
    assert time.monotonic() - begun < 60
    never.set()
    assert limited(lambda a: a + 1, 1, limit_s=60) == 2
    with pytest.raises(KeyError):
        limited({}.__getitem__, "x", limit_s=60)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "{}:{}".format(*server.getsockname())


@pytest.mark.parametrize(("scheme", "library"), [("hdfs", "hdfs_native"), ("webhdfs", "hdfs")])
def test_a_namenode_that_takes_connections_and_says_nothing_ends_in_an_engine_error(
    silent: str, scheme: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library)
    assert fs_address.FIRST_ANSWER_S <= 20
    monkeypatch.setattr(fs_address, "FIRST_ANSWER_S", 0.5)
    said = rf"{silent}: the NameNode cannot be reached: it takes a connection and gives no answer for 0.5 s; check the"
    with pytest.raises(EngineError, match=said):
        filesystem(f"{scheme}://{silent}/x")


@pytest.mark.parametrize("daemon", ["namenode", "resourcemanager"])
def test_training_on_a_cluster_that_says_nothing_ends_with_5_and_leaves_nothing(
    silent: str, daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hdfs_native")
    assert yarn.TIMEOUT_S <= 20
    monkeypatch.setattr(fs_address, "FIRST_ANSWER_S", 0.5)
    monkeypatch.setattr(yarn, "TIMEOUT_S", 0.5)
    monkeypatch.setenv("HADOOP_HOME", str(hadoop_home(tmp_path)))
    (tmp_path / "rows.csv").write_text("x,y\n1,0\n2,1\n3,0\n")
    with answering() as resourcemanager:
        web = silent if daemon == "resourcemanager" else resourcemanager
        keys = {"fs.defaultFS": f"hdfs://{silent}", "yarn.resourcemanager.webapp.address": web}
        monkeypatch.setenv("HADOOP_CONF_DIR", conf(tmp_path, core=keys))
        words = ["train", "logistic", "--data", str(tmp_path / "rows.csv"), "--target", "y", "-q"]
        code = main([*words, "--output", str(tmp_path / "model"), "--engine", "streaming", "-r", "hadoop"])
    said = capsys.readouterr().err
    assert code == 5 and said.count("\n") == 1 and f"{silent}: " in said and "cannot be reached: " in said, said
    assert {"namenode": "NameNode", "resourcemanager": "ResourceManager"}[daemon] in said
    assert not (tmp_path / "model").exists()


def hadoop_home(folder: Path) -> Path:
    """What the engine looks for before it speaks to a cluster."""
    command = folder / "bin" / "hadoop"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    return folder


@contextmanager
def answering() -> Iterator[str]:
    """A ResourceManager that answers with nothing to everything."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
