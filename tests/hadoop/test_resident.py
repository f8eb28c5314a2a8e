"""Tasks that stay, in containers of YARN: one job for a whole run, and the bytes of the inline engine."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml import wire
from mrml.algorithm import State
from mrml.cluster import Cluster
from mrml.cluster.processes import kill_all
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.files import discover
from mrml.engines.hadoop.places import places
from mrml.engines.hadoop.resident import Containers
from mrml.engines.hadoop.yarn import Application, ResourceManager, configuration
from mrml.engines.inline import InlineEngine
from mrml.engines.resident.connection import Connection
from mrml.engines.resident.engine import ResidentEngine
from mrml.errors import EngineError
from mrml.fs.folder import Folder
from mrml.runs import train as run
from mrml.runs.fit import Checkpoint, fit
from tests.contract.test_engines import by_hand
from tests.exercise import Exercise, make_dataset
from tests.identity import CASES, make_data, model_bytes, prepare

pytestmark = pytest.mark.hadoop
LIMIT_S = 120
#: one of each family
FAMILIES = (
    "boosting-softmax",
    "forest",
    "logistic-newton",
    "softmax-lbfgs",
    "kmeans",
    "mlp-steps",
    "evaluation-binary",
)


def apps(cluster: Cluster) -> list[Application]:
    """Those of resident tasks, the newest first."""
    found = ResourceManager(cluster.resourcemanager_url).of_user(getpass.getuser())
    return [app for app in found if any("-resident." in tag for tag in app.tags)]


def test_one_job_serves_every_family_and_a_lost_container_costs_no_bit(client: Cluster, tmp_path: Path) -> None:
    make_data(tmp_path)
    before = len(apps(client))
    with ResidentEngine(EngineConfig(engine="resident", runner="hadoop", workers=2, min_workers=2), 40_000) as engine:
        assert isinstance(engine.starter, Containers)
        for number, case in enumerate(case for case in CASES if case.name in FAMILIES):
            dataset, pipeline = prepare(case, tmp_path)

            def kill(state: State, now: bool = number == 1) -> None:
                """Of the second family, a container in its second round."""
                if now and state.round == 2:
                    peer = engine.peers[0]
                    assert isinstance(peer, Connection)
                    os.kill(peer.facts["pid"], signal.SIGKILL)

            at = tmp_path / case.name
            found, _ = fit(pipeline, dataset, engine, Checkpoint(at / "yarn"), kill, case.rounds)
            with InlineEngine() as inline:
                expected, _ = fit(pipeline, dataset, inline, Checkpoint(at / "inline"), None, case.rounds)
            assert model_bytes(found, at / "found") == model_bytes(expected, at / "expected"), case.name
        until = time.monotonic() + LIMIT_S
        while len(engine.peers) < 2 and time.monotonic() < until:  # YARN starts another
            engine._welcome()
            time.sleep(0.1)
        assert len(engine.peers) == 2
        private, fs = engine.starter.jobs.staging.private, engine.starter.jobs.fs
        listed = subprocess.run(["hadoop", "fs", "-ls", "-d", private, f"{private}/*"], capture_output=True, text=True)
        modes = [line.split()[0] for line in listed.stdout.splitlines() if not line.startswith("Found")]
        assert modes == ["drwx------", "-rw-------"], listed
        assert "127.0.0.1" in peer_hosts(engine)
    began = time.monotonic()
    (app,) = apps(client)[: len(apps(client)) - before]
    while not app.ended and time.monotonic() - began < 10:
        time.sleep(0.2)
        app = apps(client)[0]
    assert app.ended and app.final == "SUCCEEDED" and not fs.exists(private)


def processes_with(words: bytes) -> list[int]:
    """Processes whose command line has these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [int(path.parent.name)] * (words in path.read_bytes())
    return found


def peer_hosts(engine: ResidentEngine) -> frozenset[str]:
    return frozenset().union(*(p.hosts for p in engine.peers if isinstance(p, Connection)))


def test_the_namenode_tells_which_hosts_hold_a_file(client: Cluster, tmp_path: Path) -> None:
    folder = Folder(f"{client.namenode_uri}/places é")
    folder.make()
    folder.write("rows.csv", b"x\n" + b"1\n" * 5000)
    (tmp_path / "rows.csv").write_bytes(b"x\n1\n")
    keys = configuration()
    there, here = places(discover([f"{folder.path}/rows.csv", str(tmp_path / "rows.csv")]), keys)
    assert [(h.start, h.stop) for h in there] == [(0, 10002)] and "127.0.0.1" in there[0].hosts and here == []
    folder.remove()
    assert places(discover([str(tmp_path / "rows.csv")]), keys) == [[]]


def test_a_frozen_task_a_lost_application_master_and_a_lost_node_cost_no_bit(
    client: Cluster, broken: Cluster, tmp_path: Path
) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise(n_rounds=10_000, slow_s=0.03)
    state = algorithm.init(dataset.schema)
    config = EngineConfig(engine="resident", runner="hadoop", workers=2, min_workers=2, heartbeat_timeout_s=2.0)
    with ResidentEngine(config, 20_000) as engine:

        def rounds_until(true: Callable[[set[int]], bool], what: str) -> set[int]:
            """Processes of the tasks that are there at last."""
            nonlocal state
            end = time.monotonic() + LIMIT_S
            while not true(there := {p.facts["pid"] for p in engine.peers if isinstance(p, Connection)}):
                assert time.monotonic() < end, what
                state = algorithm.update(state, engine.round(algorithm, state, dataset))
            return there

        rounds_until(lambda there: len(there) == 2, "both tasks come")
        frozen = min(rounds_until(lambda there: state.round >= 2, "rounds"))
        os.kill(frozen, signal.SIGSTOP)
        rounds_until(lambda there: frozen not in there, "the frozen task is lost")
        os.kill(frozen, signal.SIGCONT)
        first = rounds_until(lambda there: frozen in there, "the thawed task comes back")
        kill_all([c.process for c in broken.containers() if c.is_master])
        second = rounds_until(lambda there: len(there - first) == 2, "YARN starts the master again, and it both tasks")
        node = next(n for n in broken.nodes if second & {c.process.pid for c in n.containers()})
        node.kill_nodemanager()
        rounds_until(lambda there: bool(there - first - second), "a task comes on the other node")
    found, state = state, algorithm.init(dataset.schema)
    quick = Exercise(n_rounds=10_000)
    with InlineEngine() as inline:
        while state.round < found.round:
            state = quick.update(state, inline.round(quick, state, dataset))
    assert wire.dumps(found.to_wire()) == wire.dumps(state.to_wire())


def test_the_next_driver_of_a_run_takes_the_tasks_over(client: Cluster, tmp_path: Path) -> None:
    make_data(tmp_path)
    options = ["--target", "label", "--exclude", "number,count,kind,w", "--rounds", "1500", "--max-depth", "2"]
    words = [sys.executable, "-m", "mrml", "train", "boosting", "--objective", "logistic", "--data",
             str(tmp_path / "numbers"), *options]  # fmt: skip
    resident = [*words, "--output", str(tmp_path / "m"), "--engine", "resident", "-r", "hadoop", "--workers", "2"]
    with subprocess.Popen(resident, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stderr is not None
        for line in driver.stderr:
            if line.startswith("tree 300/"):
                driver.kill()
                break
    (first,) = [a for a in apps(client) if not a.ended]
    done = subprocess.run(resident, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "continuing an unfinished run after round" in done.stderr and "taking over the tasks" in done.stderr
    assert apps(client)[0].id == first.id
    alone = subprocess.run([*words, "--output", str(tmp_path / "alone"), "--engine", "inline", "-q"])
    assert alone.returncode == 0
    for name in ("model.json", "model.npz"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize("how", ["its tasks fail", "somebody kills it"])
def test_when_its_application_ends_a_run_goes_on_by_jobs_unless_somebody_ended_it(
    client: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise(n_rounds=2)
    options = {"workers": 1, "jobconf": ("mapreduce.map.maxattempts=1",)}
    config = EngineConfig(engine="resident", runner="hadoop", **options)  # type: ignore[arg-type]
    with ResidentEngine(config, 20_000) as engine:
        first = algorithm.init(dataset.schema)
        state = algorithm.update(first, engine.round(algorithm, first, dataset))
        (peer,) = engine.peers
        assert isinstance(peer, Connection)
        if how == "somebody kills it":
            ResourceManager(client.resourcemanager_url).kill(apps(client)[0].id)
            with pytest.raises(EngineError, match="was killed"):
                while True:
                    engine.round(algorithm, state, dataset)
            return
        os.kill(peer.facts["pid"], signal.SIGKILL)
        with caplog.at_level(logging.WARNING):
            state = algorithm.update(state, engine.round(algorithm, state, dataset))
    assert "the run continues with a job per round" in caplog.text
    assert wire.dumps(state.to_wire()) == by_hand(algorithm, dataset)


def test_a_driver_in_a_container_outlives_who_sent_it_and_tasks_that_stay_write_predictions(
    client: Cluster, tmp_path: Path
) -> None:
    make_data(tmp_path)
    place = Folder(f"{client.namenode_uri}/away")
    for part in sorted((tmp_path / "numbers").iterdir()):
        (place / "numbers").make()
        (place / "numbers").write(part.name, part.read_bytes())
    words = [sys.executable, "-m", "mrml", "train", "logistic", "--target", "label", "--exclude", "number,count,kind",
             "--data", place.join("numbers"), "--output", place.join("m"), "-r", "hadoop", "--workers", "2",
             "--driver", "cluster"]  # fmt: skip
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as sender:
        assert sender.stderr is not None
        first = next(line for line in sender.stderr if "drives this run" in line)
        sender.kill()  # the laptop is closed
    end = time.monotonic() + LIMIT_S
    while not (drivers := processes_with(b"train\0--config\0run.json")):
        assert time.monotonic() < end, "no driver in a container"
        time.sleep(0.1)
    os.kill(drivers[0], signal.SIGKILL)  # YARN starts it again
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert next(word for word in first.split() if word.startswith("application_")) in done.stderr
    found = Folder(place.join("m")).read_json("run.json")
    data = {"data": (str(tmp_path / "numbers"),), "target": "label", "exclude": ("number", "count", "kind")}
    alone = run.train(RunConfig("logistic", {}, DataConfig(**data), EngineConfig(engine="inline"), str(tmp_path / "n")))
    assert found["metrics"] == alone["metrics"] and found["engine"] == {"name": "resident", "workers": 2}
    rows, resident = DataConfig(data=data["data"]), EngineConfig(engine="resident", runner="hadoop", workers=2)
    for model, name, engine in (
        (place.join("m"), "m", resident),
        (str(tmp_path / "n"), "n", EngineConfig(engine="inline")),
    ):
        run.predict(model, rows, engine, str(tmp_path / f"{name}.csv"), "csv")
    texts = [b"".join(p.read_bytes() for p in sorted((tmp_path / f"{n}.csv").glob("part-*"))) for n in "mn"]
    assert texts[0] == texts[1]
