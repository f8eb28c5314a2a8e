"""``mrml runs`` on the real cluster: a run is seen, followed, ended with its job, and goes on afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.engines.hadoop.yarn import configuration, home
from mrml.fs.folder import Folder
from mrml.runs import manage as runs
from tests import answers

from .conftest import Run

pytestmark = pytest.mark.hadoop
LIMIT_S = 180


def test_a_run_is_listed_followed_killed_and_goes_on(client: Cluster, run: Run, tmp_path: Path) -> None:
    place = Folder(f"{client.namenode_uri}/runs")
    place.remove()
    place.make()
    place.write("rows.csv", b"a,b\n" + b"".join(b"%d,%d\n" % (i * 7919 % 1000, i * i % 997) for i in range(2000)))
    mrml = [sys.executable, "-m", "mrml"]
    train = [*mrml, "train", "kmeans", "--k", "2", "--data", place.join("rows.csv"), "--window-bytes", "4096", "-q"]
    there, here = place.join("model"), str(tmp_path / "model")
    yarn = ["--output", there, "--engine", "streaming", "-r", "hadoop", "--workers", "2"]
    run(*train, "--engine", "inline", "--max-rounds", "2", "--output", here)

    with subprocess.Popen([*train, *yarn], stderr=subprocess.PIPE, text=True) as driver:
        manager, until = runs.manager(), time.monotonic() + LIMIT_S
        assert manager is not None

        def running() -> bool:
            found = runs.find(place.path, manager)
            return bool(found) and any(a.state == "RUNNING" for a in found[0].jobs)

        while not running():
            assert driver.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        (listed,) = answers.check(["runs", "list"], run(*mrml, "runs", "list", place.path, "--json"))["runs"]
        assert (listed["state"], listed["output"], listed["driver"]["pid"]) == ("running", there, driver.pid)
        known = next(r for r in runs.known(manager) if r.id == listed["id"])
        assert known == runs.named(listed["id"], manager) and known.driver["pid"] == driver.pid
        assert (known.output, known.state, known.algorithm, known.round) == (there, "running", "kmeans", 0)
        with subprocess.Popen([*mrml, "runs", "attach", there], stderr=subprocess.PIPE, text=True) as follower:
            assert follower.stderr is not None
            first = next(line for line in follower.stderr if line.startswith("application_"))
            done = json.loads(run(*mrml, "runs", "kill", there, "--json"))
            assert done["driver"] == "ended" and driver.wait(60) == 130
            assert follower.wait(60) == 5 and "no driver works on this run" in follower.stderr.read()
        assert first.endswith(", round 1: RUNNING\n")
    while not all(a.ended for a in manager.by_tag(f"mrml-{listed['id']}")):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert runs.look(there, manager).state == runs.named(listed["id"], manager).state == "stopped"

    run(*train, *yarn, "--max-rounds", "2")
    assert runs.look(there, manager)[:3] == (listed["id"], there, "finished")
    assert Folder(there).read("model.npz") == (tmp_path / "model" / "model.npz").read_bytes()

    staging = Folder(f"{home(configuration())}/mrml-{'0' * 12}")
    staging.make()
    assert staging.path in [left.path for left in runs.leftovers("", 0.0, manager)]
    run(*mrml, "runs", "clean", "--keep", "1d", "--delete")
    assert staging.exists()
    staging.remove()
