"""Whatever dies, a run ends with the model that nothing would have changed: the same bytes as on the inline engine."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.cluster.processes import kill_all
from mrml.driver import Checkpoint, fit
from mrml.engines.client import end_clients
from mrml.engines.hadoop import HadoopEngine
from mrml.engines.inline import InlineEngine
from mrml.engines.yarn import Application, ResourceManager
from tests.exercise import make_dataset
from tests.hadoop.faulty import Faulty
from tests.identity import model_bytes

pytestmark = pytest.mark.hadoop
LIMIT_S = 240
Damage = Callable[[Cluster, HadoopEngine, int], None]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where tasks and test meet; on its end nobody waits any more."""
    found = tmp_path / "meet"
    found.mkdir()
    yield found
    (found / "go").touch()


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, f"waited {LIMIT_S} s: {what}"
        time.sleep(0.05)


def meddle(cluster: Cluster, engine: HadoopEngine, folder: Path, damage: Damage) -> threading.Thread:
    """Do the damage as soon as a task is where it waits."""

    def work() -> None:
        until(lambda: (folder / "here").exists() and (folder / "here").read_text(), "no task came to its place")
        damage(cluster, engine, int((folder / "here").read_text()))
        (folder / "go").touch()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def lose_the_node_of_the_task(cluster: Cluster, engine: HadoopEngine, pid: int) -> None:
    next(n for n in cluster.nodes if pid in [c.process.pid for c in n.containers()]).kill_nodemanager()


def lose_a_datanode(cluster: Cluster, engine: HadoopEngine, pid: int) -> None:
    cluster.nodes[0].kill_datanode()


def lose_the_application_master(cluster: Cluster, engine: HadoopEngine, pid: int) -> None:
    kill_all([c.process for c in cluster.containers() if c.is_master and "MRAppMaster" in c.command])


def lose_the_client(cluster: Cluster, engine: HadoopEngine, pid: int) -> None:
    end_clients(engine.run_id)


def nothing(cluster: Cluster, engine: HadoopEngine, pid: int) -> None:
    return None


@pytest.mark.parametrize(
    ("where", "deed", "damage", "conf"),
    [
        pytest.param("map", "kill", nothing, {}, id="a task's Python killed"),
        pytest.param("reduce", "kill", nothing, {}, id="a reducer fails once"),
        pytest.param("map", "hold", lose_the_client, {}, id="the client killed"),
        pytest.param("map", "hold", lose_the_application_master, {}, id="the application master killed"),
        pytest.param("map", "hold", lose_a_datanode, {}, id="a DataNode killed"),
        pytest.param("map", "hold", lose_the_node_of_the_task, {}, id="a NodeManager and its containers killed"),
    ],
)
def test_the_model_is_the_same_bytes_whatever_dies(
    client: Cluster, broken: Cluster, tmp_path: Path, folder: Path, where: str, deed: str, damage: Damage,
    conf: dict[str, str],
) -> None:  # fmt: skip
    algorithm = Faulty(n_rounds=1, folder=str(folder), deed=deed, where=where)
    dataset = make_dataset(tmp_path)
    (folder / "here").touch()
    expected, _ = fit(algorithm, dataset, InlineEngine(2000), Checkpoint(tmp_path / "inline"))
    (folder / "here").unlink()
    with HadoopEngine(2, 2000, jobconf=conf) as engine:
        thread = meddle(broken, engine, folder, damage)
        model, _ = fit(algorithm, dataset, engine, Checkpoint(tmp_path / "hadoop"))
        staging = engine.staging
    thread.join(LIMIT_S)
    assert (folder / "here").exists()
    assert model_bytes(model, tmp_path / "a") == model_bytes(expected, tmp_path / "b")
    assert not engine.fs.exists(staging)
    assert all(a.ended for a in apps(broken, engine.run_id))


def apps(cluster: Cluster, tag: str) -> list[Application]:
    return ResourceManager(cluster.resourcemanager_url).by_tag(tag)


def test_speculation_changes_nothing(client: Cluster, tmp_path: Path, folder: Path) -> None:
    conf = {"mapreduce.map.speculative": "true", "mapreduce.job.speculative.retry-after-no-speculate": "200",
            "mapreduce.job.speculative.minimum-allowed-tasks": "2"}  # fmt: skip
    algorithm = Faulty(n_rounds=1, folder=str(folder))
    dataset = make_dataset(tmp_path)
    (folder / "here").touch()
    expected, _ = fit(algorithm, dataset, InlineEngine(2000), Checkpoint(tmp_path / "inline"))
    (folder / "here").unlink()
    began = time.monotonic()
    with HadoopEngine(4, 2000, jobconf=conf) as engine:
        model, _ = fit(algorithm, dataset, engine, Checkpoint(tmp_path / "hadoop"))
    assert model_bytes(model, tmp_path / "a") == model_bytes(expected, tmp_path / "b")
    assert not (folder / "go").exists() and time.monotonic() - began < 150, "the first attempt was waited for"


class Driver:
    """``mrml train`` in a process of its own."""

    def __init__(self, cluster: Cluster, tmp_path: Path, folder: Path, *more: str) -> None:
        self.output = tmp_path / "out"
        words = ["train", "tests.hadoop.faulty:Waiting", "--data", str(tmp_path / "rows"), "--output", str(self.output)]
        words += ["--k", "3", "--seed", "1", "--max-rounds", "3", "--folder", str(folder), "--split-bytes", "4000"]
        words += ["--window-bytes", "1000", "--exclude", "name", "--engine", "streaming", "--runner", "hadoop"]
        path = os.pathsep.join([str(Path(__file__).parents[2]), *(p for p in sys.path if p)])
        environment = {**os.environ, **cluster.environment(), "PYTHONPATH": path}
        environment["PATH"] = cluster.environment()["PATH"] + os.pathsep + os.environ["PATH"]
        self.process = subprocess.Popen([sys.executable, "-m", "mrml", *words, "--workers", "2", *more],
                                        env=environment, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def run_id(self) -> str:
        path = self.output / "_run" / "run_id.json"
        until(path.exists, "the driver made no run directory")
        return "mrml-" + str(json.loads(path.read_text())["run"])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, said


def test_a_killed_driver_is_taken_over_and_never_two_drive(client: Cluster, tmp_path: Path, folder: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    make_dataset(rows)
    first = Driver(client, tmp_path, folder)
    run_id = first.run_id()
    until(lambda: apps(client, run_id), "nothing was submitted")
    first.kill()  # the job is submitted, and nobody wrote that down
    second = Driver(client, tmp_path, folder, "--resume")
    until((folder / "here").exists, "no task came to its place")
    code, said = Driver(client, tmp_path, folder, "--resume").end()
    assert code == 5 and f"another driver works on this run: process {second.process.pid} on" in said, said
    second.kill()
    (folder / "go").touch()
    code, said = Driver(client, tmp_path, folder, "--resume").end()
    assert code == 0, said
    found = apps(client, run_id)
    assert len(found) == 3 and all(a.succeeded for a in found), "each round was one application, adopted twice"
    files = ("model.json", "model.npz")
    from mrml import run
    from mrml.config import DataConfig, EngineConfig, RunConfig

    data = DataConfig(data=(str(rows),), split_bytes=4000, window_bytes=1000, exclude=("name",))
    params = {"k": 3, "seed": 1, "folder": str(folder)}
    config = RunConfig("tests.hadoop.faulty:Waiting", params, data, EngineConfig(engine="inline"), max_rounds=3)
    run.train(dataclasses.replace(config, output=str(tmp_path / "inline")))
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "inline" / name).read_bytes()


def test_a_terminated_driver_takes_its_application_along(client: Cluster, tmp_path: Path, folder: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    make_dataset(rows)
    driver = Driver(client, tmp_path, folder)
    until(lambda: apps(client, driver.run_id()), "nothing was submitted")
    driver.process.send_signal(signal.SIGTERM)
    code, said = driver.end()
    assert code == 130, said
    until(lambda: all(a.ended for a in apps(client, driver.run_id())), "the application goes on")
