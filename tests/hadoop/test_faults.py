"""Whatever dies, a run ends with the model that nothing would have changed: the same bytes as on the inline engine."""

from __future__ import annotations

import contextlib
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
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.engines.hadoop.client import end_clients
from mrml.engines.hadoop.engine import HadoopEngine
from mrml.engines.hadoop.yarn import Application, ResourceManager, configuration, home
from mrml.engines.inline import InlineEngine
from mrml.fs.folder import Folder
from mrml.runs import train as run
from mrml.runs.fit import Checkpoint, fit
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
    ("where", "deed", "damage"),
    [
        pytest.param("both", "kill", nothing, id="a task's Python killed, and a reducer's first attempt"),
        pytest.param("map", "hold", lose_the_client, id="the client killed"),
        pytest.param("map", "hold", lose_the_application_master, id="the application master killed"),
        pytest.param("map", "hold", lose_a_datanode, id="a DataNode killed"),
        pytest.param("map", "hold", lose_the_node_of_the_task, id="a NodeManager and its containers killed"),
    ],
)
def test_the_model_is_the_same_bytes_whatever_dies(
    client: Cluster, broken: Cluster, tmp_path: Path, folder: Path, where: str, deed: str, damage: Damage
) -> None:
    algorithm = Faulty(n_rounds=1, folder=str(folder), deed=deed, where=where)
    dataset = make_dataset(tmp_path)
    expected = undisturbed(algorithm, dataset, folder, tmp_path)
    with HadoopEngine(EngineConfig(workers=2, uber="never"), 2000) as engine:
        thread = meddle(broken, engine, folder, damage)
        model, _ = fit(algorithm, dataset, engine, Checkpoint(tmp_path / "hadoop"))
        staging = engine.staging.path
    thread.join(LIMIT_S)
    assert all((folder / name / "here").exists() for name in ([".", "reduce"] if where == "both" else ["."]))
    assert model_bytes(model, tmp_path / "model") == expected
    assert not engine.fs.exists(staging)
    assert all(a.ended for a in apps(broken, engine.run_id))


def undisturbed(algorithm: Faulty, dataset: Dataset, folder: Path, tmp_path: Path) -> bytes:
    """The model of the inline engine, where nothing happens because it happened already."""
    (folder / "reduce").mkdir()
    met = [folder / "here", folder / "reduce" / "here"]
    for path in met:
        path.touch()
    model, _ = fit(algorithm, dataset, InlineEngine(2000), Checkpoint(tmp_path / "inline"))
    for path in met:
        path.unlink()
    return model_bytes(model, tmp_path / "expected")


def pairs(conf: dict[str, str]) -> tuple[str, ...]:
    """Properties of jobs as ``-D`` gives them."""
    return tuple(f"{k}={v}" for k, v in conf.items())


def apps(cluster: Cluster, tag: str) -> list[Application]:
    return ResourceManager(cluster.resourcemanager_url).by_tag(tag)


def test_speculation_changes_nothing(client: Cluster, tmp_path: Path, folder: Path) -> None:
    conf = {"mapreduce.map.speculative": "true", "mapreduce.job.speculative.retry-after-no-speculate": "200",
            "mapreduce.job.speculative.minimum-allowed-tasks": "2"}  # fmt: skip
    algorithm = Faulty(n_rounds=1, folder=str(folder))
    dataset = make_dataset(tmp_path)
    expected = undisturbed(algorithm, dataset, folder, tmp_path)
    began = time.monotonic()
    with HadoopEngine(EngineConfig(workers=4, uber="never", jobconf=pairs(conf)), 2000) as engine:
        model, _ = fit(algorithm, dataset, engine, Checkpoint(tmp_path / "hadoop"))
    assert model_bytes(model, tmp_path / "model") == expected
    assert not (folder / "go").exists() and time.monotonic() - began < 150, "the first attempt was waited for"


class Driver:
    """``mrml train`` in a process of its own, its data here and its run directory on HDFS."""

    def __init__(self, cluster: Cluster, tmp_path: Path, folder: Path, *more: str) -> None:
        self.output = Folder(f"{cluster.namenode_uri}/faults/{folder.parent.name}")
        words = ["train", "tests.hadoop.faulty:Waiting", "--data", str(tmp_path / "rows"), "--output", self.output.path]
        words += ["--k", "3", "--seed", "1", "--max-rounds", "2", "--folder", str(folder), "--split-bytes", "4000"]
        words += ["--window-bytes", "1000", "--exclude", "name", "--engine", "streaming", "--runner", "hadoop"]
        path = os.pathsep.join([str(Path(__file__).parents[2]), *(p for p in sys.path if p)])
        environment = {**os.environ, **cluster.environment(), "PYTHONPATH": path}
        environment["PATH"] = cluster.environment()["PATH"] + os.pathsep + os.environ["PATH"]
        self.process = subprocess.Popen([sys.executable, "-m", "mrml", *words, "--workers", "2", *more],
                                        env=environment, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def run_id(self) -> str:
        """The tag of the run, once it has one: a driver that overwrites another run takes that one's away first."""
        found = b""

        def there() -> bool:
            nonlocal found
            with contextlib.suppress(FileNotFoundError):
                found = self.output.read("_run/run_id.json")
            return bool(found)

        until(there, "the driver made no run directory")
        return "mrml-" + str(json.loads(found)["run"])

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=30)

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, said


def refused(loser: Driver, winner: Driver) -> bool:
    code, said = loser.end()
    return code == 5 and f"another driver works on this run: process {winner.process.pid} on" in said


def plant_a_torn_output(staging: Folder, tag: str) -> None:
    """What an attempt leaves that died as it wrote: the directory is there already, and is no output."""
    torn = staging / f"out-{tag}.000000"
    torn.make()
    torn.write("part-00000", b"torn")


def test_killed_drivers_are_taken_over_and_never_two_drive(client: Cluster, tmp_path: Path, folder: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    make_dataset(rows)
    both = [Driver(client, tmp_path, folder) for _ in range(2)]
    run_id = both[0].run_id()
    until(lambda: apps(client, run_id), "nothing was submitted")
    loser, winner = sorted(both, key=lambda d: not d.ended)
    assert refused(loser, winner)
    winner.kill()  # the job is submitted, and nobody wrote that down
    second = Driver(client, tmp_path, folder)
    until((folder / "here").exists, "no task came to its place")
    assert refused(Driver(client, tmp_path, folder, "--resume"), second)
    second.kill()  # in the middle of the round that it attached to
    held, transforms = apps(client, run_id)
    tag = next(t for t in held.tags if t.startswith(f"{run_id}-") and "." not in t)
    plant_a_torn_output(staged(client, run_id), tag)
    (folder / "go").touch()
    until(lambda: all(a.ended for a in apps(client, run_id)), "the job does not end by itself")
    third = Driver(client, tmp_path, folder)
    code, said = third.end()
    assert code == 0 and "continuing an unfinished run after round 1" in said, said
    metrics, *rounds = [a.id for a in apps(client, run_id) if a.succeeded]
    assert rounds == [held.id, transforms.id] and metrics > held.id, "one a round, one of metrics, and no more"
    assert third.output.names() == ["_SUCCESS", "_run", "model.json", "model.npz", "run.json"]
    assert not staged(client, run_id).exists()
    for name, content in inline_model(rows, tmp_path, folder).items():
        assert third.output.read(name) == content


def inline_model(rows: Path, tmp_path: Path, folder: Path, seed: int = 1) -> dict[str, bytes]:
    """The files of the same run on the inline engine."""
    data = DataConfig(data=(str(rows),), split_bytes=4000, window_bytes=1000, exclude=("name",))
    params = {"k": 3, "seed": seed, "folder": str(folder)}
    config = RunConfig("tests.hadoop.faulty:Waiting", params, data, EngineConfig(engine="inline"), max_rounds=2)
    run.train(dataclasses.replace(config, output=str(tmp_path / "inline")))
    return {name: (tmp_path / "inline" / name).read_bytes() for name in ("model.json", "model.npz")}


def test_a_run_that_is_overwritten_loses_its_job_and_a_terminated_driver_takes_its_own_along(
    client: Cluster, tmp_path: Path, folder: Path
) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    make_dataset(rows)
    first = Driver(client, tmp_path, folder)
    before = first.run_id()
    until(lambda: apps(client, before), "nothing was submitted")
    assert refused(Driver(client, tmp_path, folder, "--overwrite"), first)
    first.kill()  # its job goes on
    assert not apps(client, before)[0].ended
    second = Driver(client, tmp_path, folder, "--overwrite", "--seed", "2")
    until(lambda: second.ended or (second.run_id() != before and apps(client, second.run_id())), "nothing came anew")
    assert not second.ended, second.end()
    assert [a.state for a in apps(client, before)] == ["KILLED"], "ended before the other one began"
    assert not staged(client, before).exists()
    second.process.send_signal(signal.SIGTERM)
    code, said = second.end()
    assert code == 130, said
    until(lambda: all(a.ended for a in apps(client, second.run_id())), "the application goes on")
    (folder / "go").touch()
    third = Driver(client, tmp_path, folder, "--seed", "2", "--engine", "inline")
    code, said = third.end()
    assert code == 0 and "continuing an unfinished run" in said, said
    assert len(apps(client, third.run_id())) == 1 and len(apps(client, before)) == 1
    for name, content in inline_model(rows, tmp_path, folder, seed=2).items():
        assert third.output.read(name) == content


def staged(cluster: Cluster, run_id: str) -> Folder:
    return Folder(f"{home(configuration(str(cluster.conf)))}/{run_id}")
