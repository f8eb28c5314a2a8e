"""A cluster's folder: what starts, what is refused, what is left behind; without Java."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrml.cluster import Cluster, processes, ready
from mrml.cluster.nodes import mark
from mrml.errors import ConfigError, EngineError

from .conftest import JAVA, Program

Up = Callable[..., Cluster]
#: stays, with the arguments it was called with
STAYS = "while :; do sleep 0.2; done"


@pytest.fixture
def up(program: Program, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``up(daemon)`` starts a cluster whose Java runs these lines as a daemon; ready is what lives."""
    monkeypatch.setattr(ready, "is_ready", lambda role, node, ports: True)
    monkeypatch.setattr(ready, "make_folder", lambda *a: True)
    monkeypatch.setattr(ready, "put", lambda *a: True)
    home = tmp_path / "cluster"

    def start(daemon: str = STAYS, nodes: int | None = None, program: Program = program, **more: Any) -> Cluster:
        program("java", JAVA.replace("DAEMON", daemon))
        return Cluster.up(nodes, home, cache=cache, **more)

    yield start
    if home.exists():
        Cluster._recorded(home) and Cluster.open(home).down()
        assert not processes.marked(mark(home))


def test_a_cluster_is_found_again_by_its_folder_and_is_up_only_once(up: Up) -> None:
    first = up(nodes=2)
    again = up()
    assert [d.process for d in again.daemons] == [d.process for d in first.daemons] and len(first.daemons) == 7
    assert Cluster.open(first.folder).daemons == first.daemons and all(d.alive for d in first.daemons)


def test_what_has_died_starts_again_and_the_rest_stays(up: Up) -> None:
    cluster = up()
    before = {d.name: d.pid for d in cluster.daemons}
    cluster.nodes[1].kill()
    assert {d.name for d in cluster.daemons if not d.alive} == {"datanode2", "nodemanager2"}
    cluster.heal()
    changed = {d.name for d in Cluster.open(cluster.folder).daemons if d.alive and d.pid != before[d.name]}
    assert changed == {"datanode2", "nodemanager2"}
    cluster.masters[0].kill()
    assert up().masters[0].alive


def test_oozie_is_one_more_daemon_that_a_cluster_keeps(up: Up) -> None:
    before = up(nodes=1)
    assert not before.has_oozie and "OOZIE_URL" not in before.environment()
    cluster = up(oozie=True)
    assert [d.pid for d in cluster.daemons if d.role != "oozie"] == [d.pid for d in before.daemons]
    assert up().masters[-1].process == cluster.masters[-1].process and cluster.has_oozie
    assert Cluster.open(cluster.folder).environment()["OOZIE_URL"] == cluster.oozie_url
    running = [d.process for d in cluster.daemons]
    for late in cluster.masters[2:]:
        late.kill()
    assert {d.name for d in up().daemons if d.process not in running} == {"historyserver", "oozie"}
    assert Cluster.open(cluster.folder).down() == 6 and up().has_oozie


def test_oozie_is_started_with_its_own_settings_and_the_clusters(up: Up) -> None:
    cluster = up(f'echo "$HADOOP_CONF_DIR $*"; {STAYS}', nodes=1, oozie=True, more={"x.y": "z"})
    oozie = cluster.folder / "oozie"
    until = time.monotonic() + 30
    while not (said := cluster.masters[-1].log.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    assert said.startswith(f"{oozie}/conf -XX") and said.endswith(" org.apache.oozie.server.EmbeddedOozieServer\n")
    assert f"/lib/*:{oozie}/embedded-oozie-server:{oozie}/lib/* " in said and mark(cluster.folder) in said
    for name in ("core-site.xml", "yarn-site.xml"):
        assert "<name>x.y</name><value>z</value>" in (oozie / "conf/hadoop-conf" / name).read_text()
    assert (
        f"<value>{cluster.conf},{cluster.folder}/lib/*</value>"
        in (oozie / "conf/hadoop-conf/yarn-site.xml").read_text()
    )
    assert "hadoop.proxyuser." in (cluster.conf / "core-site.xml").read_text()


def test_a_database_of_oozie_that_cannot_be_made_is_told_and_made_by_the_next_up(up: Up, program: Program) -> None:
    def fails(name: str, script: str) -> Path:
        return program(name, script.replace("*OozieDBCLI*)", "*OozieDBCLI*) echo no room; exit 1;;\n  never)"))

    with pytest.raises(EngineError, match=r"oozie: its database cannot be made: no room; see .*oozie-schema.log"):
        up(nodes=1, oozie=True, program=fails)
    assert up().masters[-1].alive


def test_a_property_that_a_running_cluster_has_not_is_refused_and_one_that_it_has_is_not(up: Up) -> None:
    cluster = up(nodes=1, more={"x.y": "<a>", "dfs.datanode.x": True})
    running = [d.process for d in cluster.daemons]
    same = {"x.y": "<a>", "dfs.datanode.x": "true", "yarn.nodemanager.resource.cpu-vcores": 4}
    assert [d.process for d in up(more=same).daemons] == running
    for more, said in (
        ({"x.y": "b"}, "runs with x.y=<a>, not b; end"),
        ({"new": 1}, "runs without new=1; end it first"),
    ):
        with pytest.raises(ConfigError, match=said):
            up(more=more)
    cluster.nodes[0].kill_datanode()
    with pytest.raises(ConfigError, match="runs without new=1"):
        up(more={"new": 1})
    assert [d.process for d in Cluster.open(cluster.folder).masters] == running[:3]


def test_down_ends_everything_and_down_again_nothing(up: Up) -> None:
    cluster = up(nodes=1)
    assert cluster.down() == 5 and not processes.marked(mark(cluster.folder))
    assert cluster.down() == 0 and Cluster.open(cluster.folder).down() == 0


def test_a_with_block_ends_what_it_holds(up: Up) -> None:
    with up(nodes=1) as cluster:
        running = [d.process for d in cluster.daemons]
    assert not any(p and p.alive for p in running)


def test_a_daemon_that_dies_at_its_start_is_named_with_its_log_and_its_last_error(up: Up, tmp_path: Path) -> None:
    said = "2026-01-01 00:00:00,000 ERROR d.DataNode: Exception in secureMain\njava.net.BindException: Port in use: x"
    dies = f"case $* in *DataNode*) echo {shlex.quote(said)}; echo '	at Here'; exit 1;; *) {STAYS};; esac"
    with pytest.raises(EngineError) as caught:
        up(dies)
    assert caught.value.place in ("datanode1", "datanode2")
    assert "died as it started: java.net.BindException: Port in use: x" in str(caught.value)
    assert f"see {tmp_path}/cluster/logs/datanode" in str(caught.value)
    left = processes.marked(mark(tmp_path / "cluster"))  # a shell that was killed leaves its sleep of 0.2 s behind
    assert processes.wait_ended(left, 5.0)


def test_a_daemon_that_is_not_ready_in_time_is_named(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "is_ready", lambda role, node, ports: role != "datanode")
    with pytest.raises(EngineError, match="datanode1, datanode2: not ready in time: its log is empty"):
        up(limit_s=0.5)


def test_a_file_system_that_cannot_be_formatted_is_told(program: Program, cache: Path, tmp_path: Path) -> None:
    program("java", JAVA.replace("home=", "echo no space; exit 1; home="))
    with pytest.raises(EngineError, match=r"namenode -format: failed: no space; see .*format.log"):
        Cluster.up(1, tmp_path / "cluster", cache=cache)


def test_processes_of_a_cluster_that_lost_its_record_are_ended_before_a_new_one(up: Up) -> None:
    cluster = up(nodes=1)
    strays = [d.process for d in cluster.daemons if d.process]
    (cluster.folder / "cluster.json").write_text("{")
    with pytest.raises(EngineError, match="there is no cluster in this folder; start one with `mrml cluster up`"):
        Cluster.open(cluster.folder)
    assert len(strays) == 5 and all(p.alive for p in strays)
    assert all(d.alive for d in up(nodes=1).daemons) and not any(p.alive for p in strays)


def test_a_running_cluster_keeps_its_nodes_and_ports(up: Up) -> None:
    cluster = up(nodes=2)
    with pytest.raises(ConfigError, match="runs with 2 nodes, not 3; end it first with `mrml cluster down`"):
        up(nodes=3)
    with pytest.raises(ConfigError, match="runs on ports from"):
        up(port_base=cluster.ports.base + 1)
    cluster.down()
    with pytest.raises(ConfigError, match="holds the data of 2 nodes, and 1 may not have all of it"):
        up(nodes=1)
    assert len(up(nodes=3).nodes) == 3


@pytest.mark.parametrize("nodes, base", [(0, None), (10, None), (1, 80), (1, 65500)])
def test_numbers_out_of_bounds_are_refused(tmp_path: Path, nodes: int, base: int | None) -> None:
    with pytest.raises(ConfigError, match="is out of bounds"):
        Cluster.up(nodes, tmp_path / "cluster", port_base=base)


@pytest.mark.parametrize("name", ["a b", "a,b", "a%b", "a:b", "a&b"])
def test_a_folder_that_hadoops_settings_cannot_carry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="choose a folder whose path has letters, digits"):
        Cluster.up(1, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_one_command_at_a_time_works_on_a_folder(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match="another mrml cluster command works on this folder; wait"):
            Cluster.up(1, tmp_path)


def test_the_launchers_start_the_classes_of_hadoops_own(up: Up, program: Program) -> None:
    cluster = up(nodes=1)
    program("java", 'echo "$HADOOP_CONF_DIR $*"')
    calls = {
        "hadoop fs -ls /": "org.apache.hadoop.fs.FsShell -ls /",
        "hdfs dfs -ls /": "org.apache.hadoop.fs.FsShell -ls /",
        "hadoop jar x.jar -D a=b": "org.apache.hadoop.util.RunJar x.jar -D a=b",
        "hadoop version": "org.apache.hadoop.util.VersionInfo",
        "yarn application -list": "org.apache.hadoop.yarn.client.cli.ApplicationCLI application -list",
        "yarn logs -applicationId a": "org.apache.hadoop.yarn.client.cli.LogsCLI -applicationId a",
        "yarn queue -status q": "org.apache.hadoop.yarn.client.cli.QueueCLI -status q",
        "mapred job -kill j": "org.apache.hadoop.mapred.JobClient -kill j",
        "mapred streaming -x": "org.apache.hadoop.streaming.HadoopStreaming -x",
        "hadoop some.Class 'a b'": "some.Class a b",
    }
    for call, expected in calls.items():
        tool, *words = shlex.split(call)
        done = subprocess.run([str(cluster.home / "bin" / tool), *words], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"{cluster.conf} -XX") and done.stdout.rstrip().endswith(f"* {expected}"), call
    script = str(cluster.home / "bin/hadoop")
    done = subprocess.run([script, "nonsense"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "hadoop: unknown command 'nonsense'\n"
    other = subprocess.run(
        [script, "--config", "/c", "fs"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert other.stdout.startswith("/c -XX")
    more = {"PATH": os.environ["PATH"], "HADOOP_CLASSPATH": "/a.jar"}
    other = subprocess.run([script, "fs"], capture_output=True, text=True, env=more)
    assert other.stdout.endswith("/lib/*:/a.jar org.apache.hadoop.fs.FsShell\n")


def test_a_home_has_the_streaming_jar_where_mrjob_looks(up: Up) -> None:
    cluster = up(nodes=1)
    found = [os.path.join(d, n) for d, _, names in os.walk(cluster.home) for n in names if n.startswith("hadoop-stre")]
    assert found == [str(cluster.home / "share/hadoop/tools/lib/hadoop-streaming-3.4.2.jar")]
    assert (cluster.home / "lib" / "hadoop-common-3.5.0.jar").exists()


def test_the_record_is_whole_at_every_moment(up: Up) -> None:
    cluster = up(nodes=1)
    state = json.loads((cluster.folder / "cluster.json").read_text())
    assert set(state["processes"]) == {d.name for d in cluster.daemons} and state["nodes"] == 1
    assert not (cluster.folder / ".cluster.json").exists()
