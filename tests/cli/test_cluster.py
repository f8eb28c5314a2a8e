"""``mrml cluster``: its actions, what it prints, what it refuses; Hadoop itself is in tests/hadoop."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.cluster.settings import Ports

from .conftest import Done

Cli = Callable[..., Done]


@pytest.fixture
def stopped(tmp_path: Path) -> Cluster:
    """A cluster that has run and does not."""
    cluster = Cluster(tmp_path / "cluster", 2, Ports(20000), Path("/jdk/bin/java"))
    (cluster.folder / "logs").mkdir(parents=True)
    cluster._record()
    return cluster


@pytest.mark.parametrize("action", ["status", "env", "logs", "down"])
def test_without_a_cluster_the_way_to_one_is_told(mrml: Cli, tmp_path: Path, action: str) -> None:
    done = mrml("cluster", action, "--folder", str(tmp_path / "none"))
    assert done.code == 5 and "start one with `mrml cluster up`" in done.err and not (tmp_path / "none").exists()


def test_status_of_one_that_is_down_names_every_daemon_and_is_an_error(mrml: Cli, stopped: Cluster) -> None:
    done = mrml("cluster", "status", "--folder", str(stopped.folder), "--json")
    assert done.code == 5 and "`mrml cluster up` starts what is missing" in done.err
    facts = json.JSONDecoder().raw_decode(done.out)[0]
    assert list(facts["daemons"]) == [d.name for d in stopped.daemons]
    assert {d["state"] for d in facts["daemons"].values()} == {"is down"}


def test_env_is_lines_for_a_shell(mrml: Cli, stopped: Cluster) -> None:
    lines = mrml("cluster", "env", "--folder", str(stopped.folder)).out.splitlines()
    assert [shlex.split(line)[1].partition("=")[0] for line in lines] == [
        "HADOOP_HOME", "HADOOP_CONF_DIR", "JAVA_HOME", "PATH"]  # fmt: skip
    assert lines[-1] == f'export PATH={stopped.folder}/bin:"$PATH"'


def test_down_with_nothing_up_is_fine_and_delete_removes_the_folder(mrml: Cli, stopped: Cluster) -> None:
    assert mrml("cluster", "down", "--folder", str(stopped.folder)).out.startswith("nothing ran in")
    done = mrml("cluster", "down", "--folder", str(stopped.folder), "--delete", "--json")
    assert json.loads(done.out) == {"ended": 0, "deleted": True} and not stopped.folder.exists()


def test_logs_show_errors_of_all_the_end_of_one_and_what_a_container_said(mrml: Cli, stopped: Cluster) -> None:
    logs = stopped.folder / "logs"
    (logs / "namenode.log").write_text(
        "2026-01-01 0 INFO a\n2026-01-01 0 ERROR b: it broke\n\tat x\n2026-01-01 0 INFO c\n"
    )
    folder = logs / "userlogs" / "application_1_0002" / "container_1_0002_01_000001"
    folder.mkdir(parents=True)
    (folder / "stderr").write_text("Traceback\nValueError: no\n")
    (folder / "stdout").write_text("")
    place = ("--folder", str(stopped.folder))
    every = mrml("cluster", "logs", *place).out
    assert "ERROR b: it broke" in every and every.count("no error") == 6
    assert mrml("cluster", "logs", "namenode", *place, "--lines", "1").out.splitlines()[1:] == ["2026-01-01 0 INFO c"]
    for name in ("application_1_0002", "container_1_0002_01_000001"):
        told = mrml("cluster", "logs", name, *place).out
        assert "ValueError: no" in told and "stdout" not in told
    assert "has no log of application_9_0001" in mrml("cluster", "logs", "application_9_0001", *place).err


@pytest.mark.parametrize("argv, said", [
    (["sttus"], "did you mean 'status'?"),
    (["logs", "namenod"], "did you mean 'namenode'?"),
    (["up", "more"], "unexpected argument"),
    (["up", "--nodes", "two"], "--nodes"),
    (["up", "--nodes", "0"], "at least 1"),
    (["up", "-D", "dfs.replication"], "write -D dfs.replication=1"),
    (["logs", "namenode", "--lines", "x"], "--lines"),
])  # fmt: skip
def test_what_is_wrong_with_a_command_line_is_told(mrml: Cli, stopped: Cluster, argv: list[str], said: str) -> None:
    done = mrml("cluster", *argv, "--folder", str(stopped.folder))
    assert done.code == 2 and said in done.err


def test_the_folder_is_that_of_the_environment(mrml: Cli, stopped: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRML_CLUSTER", str(stopped.folder))
    assert f"HADOOP_HOME={stopped.folder}" in mrml("cluster", "env").out


def test_a_cluster_with_oozie_tells_where_it_is(mrml: Cli, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster", 1, Ports(20000), Path("/jdk/bin/java"), oozie=True)
    (cluster.folder / "logs").mkdir(parents=True)
    cluster._record()
    there = ["--folder", str(cluster.folder)]
    assert "export OOZIE_URL=http://127.0.0.1:20099/oozie\n" in mrml("cluster", "env", *there).out
    status = mrml("cluster", "status", *there)
    assert status.code == 5 and status.out.count("http://127.0.0.1:20099/oozie") == 2
    assert mrml("cluster", "logs", "oozie", *there).code == 0
