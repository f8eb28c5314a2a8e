"""The development cluster is a real one: its processes, its clients, what it survives, what it leaves."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrml.cluster import Cluster, processes, settings
from mrml.cluster.cluster import delete
from mrml.cluster.nodes import mark

from .conftest import CACHE, JOB_LIMIT_S, Run, fresh

pytestmark = pytest.mark.hadoop
N_LINES = 200_000


@pytest.fixture(scope="module")
def numbers(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of numbers on HDFS."""
    path = tmp_path_factory.mktemp("numbers") / "numbers"
    path.write_text("".join(f"{i}\n" for i in range(N_LINES)))
    run("hadoop", "fs", "-mkdir", "-p", "/numbers")
    run("hadoop", "fs", "-put", "-f", str(path), "/numbers")
    return "/numbers"


def eventually(holds: Callable[[], object], limit_s: float = 60) -> bool:
    until = time.monotonic() + limit_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.1)
    return bool(holds())


def listening() -> set[str]:
    """Addresses in /proc/net/tcp on which something listens."""
    lines = [line.split() for f in ("tcp", "tcp6") for line in Path("/proc/net", f).read_text().splitlines()[1:]]
    return {fields[1] for fields in lines if fields[3] == "0A"}


def test_every_daemon_is_a_process_of_its_own_that_works(cluster: Cluster) -> None:
    assert len({d.pid for d in cluster.daemons}) == 7 + cluster.has_oozie and all(d.is_ready() for d in cluster.daemons)
    assert len(cluster.nodes) == 2 and cluster.nodes[0].port != cluster.nodes[1].port


def test_only_the_shuffle_listens_beyond_loopback(cluster: Cluster) -> None:
    """Hadoop has no setting for its address; it serves nothing without a job's token."""
    ports = {int(a.rpartition(":")[2], 16) for a in listening() if not a.startswith("0100007F")}
    shuffles = {cluster.ports("shuffle", n.number) for n in cluster.nodes}
    assert ports & set(cluster.ports.every(len(cluster.nodes))) == shuffles


def test_up_on_a_cluster_that_is_up_changes_nothing(cluster: Cluster) -> None:
    again = Cluster.up(folder=cluster.folder, cache=CACHE)
    assert [d.process for d in again.daemons] == [d.process for d in cluster.daemons]


def test_hadoops_own_clients_find_it_by_the_environment(run: Run, numbers: str) -> None:
    assert run("hadoop", "version").startswith("Hadoop 3.5.0")
    assert run("hdfs", "dfs", "-cat", f"{numbers}/numbers").endswith(f"{N_LINES - 1}\n")
    assert run("yarn", "node", "-list").count("RUNNING") == 2
    assert "Live datanodes (2)" in run("hdfs", "dfsadmin", "-report")
    assert "Total jobs:" in run("mapred", "job", "-list")


def test_a_streaming_job_runs_over_it(run: Run, numbers: str) -> None:
    options = ["-D", "mapreduce.job.reduces=1", "-D", "mapreduce.job.maps=2"]
    run("mapred", "streaming", *options, "-input", numbers, "-output", "/lines", "-mapper", "cat", "-reducer", "wc -l")
    assert run("hadoop", "fs", "-cat", "/lines/part-*").strip() == str(N_LINES)
    run("hadoop", "fs", "-rm", "-r", "/lines")


def test_what_is_on_a_lost_node_is_read_from_the_other_and_the_node_comes_back(
    broken: Cluster, run: Run, numbers: str
) -> None:
    node = broken.nodes[1]
    node.kill()
    assert not node.datanode.alive and not node.nodemanager.alive and not node.containers()
    assert run("hadoop", "fs", "-cat", f"{numbers}/numbers").endswith(f"{N_LINES - 1}\n")
    broken.heal()
    assert all(d.is_ready() for d in broken.daemons)


def test_down_ends_containers_too_and_up_finds_the_data_again(cluster: Cluster, tmp_path: Path) -> None:
    home = fresh("second-cluster")
    with Cluster.up(1, home, cache=CACHE, port_base=settings.choose_ports(home, 1).base) as second:
        put(second, b"a line\n", "/line")
        with sleeping_job(second, "/line", tmp_path / "log"):
            assert eventually(lambda: any(c.endswith("sleep 600") for c in commands(second)), 120), (
                tmp_path / "log"
            ).read_text()
            begun = second.containers()
            assert any(c.is_master for c in begun)
            second.down()
        assert not any(c.process.alive for c in begun) and not processes.marked(mark(home))
        assert all(d.alive for d in cluster.daemons)  # the other one
        second = Cluster.up(folder=home, cache=CACHE)
        assert get(second, "/line") == b"a line\n"
        second.down()
    delete(home)


def put(cluster: Cluster, data: bytes, path: str) -> None:
    script = [str(cluster.home / "bin/hadoop"), "--config", str(cluster.conf)]
    subprocess.run([*script, "fs", "-put", "-", path], input=data, check=True, timeout=JOB_LIMIT_S)


def get(cluster: Cluster, path: str) -> bytes:
    script = [str(cluster.home / "bin/hadoop"), "--config", str(cluster.conf)]
    return subprocess.run([*script, "fs", "-cat", path], capture_output=True, check=True, timeout=JOB_LIMIT_S).stdout


@contextmanager
def sleeping_job(cluster: Cluster, path: str, log: Path) -> Iterator[None]:
    """A job that sleeps in its map task; its client is killed at the end."""
    script = [str(cluster.home / "bin/mapred"), "--config", str(cluster.conf), "streaming"]
    options = ["-D", "mapreduce.job.reduces=0", "-input", path, "-output", "/out", "-mapper", "sleep 600"]
    with log.open("w") as said, subprocess.Popen([*script, *options], stdout=said, stderr=said) as client:
        try:
            yield
        finally:
            client.kill()


def commands(cluster: Cluster) -> list[str]:
    return [c.command.strip() for c in cluster.containers()]
