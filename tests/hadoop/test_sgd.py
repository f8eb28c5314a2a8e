"""Local steps on YARN: the bytes of the inline engine, with the driver killed inside a round, and then a task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.engines.hadoop.yarn import Application, ResourceManager
from tests.identity import kill_a_task_of, make_data

pytestmark = pytest.mark.hadoop
ROOT = Path(__file__).parents[2]
LIMIT_S = 300


def command(rows: Path, output: Path, *engine: str) -> list[str]:
    net = ["--hidden", "6,3", "--dropout", "0.2", "--norm", "batch", "--batch-size", "100"]
    steps = ["--shards", "3", "--epochs", "2", "--outer", "nesterov", "--wire", "bf16"]
    data = ["--data", str(rows), "--target", "label", "--exclude", "count,number,kind,w", "--window-bytes", "30000"]
    words = ["train", "mlp", *data, *net, *steps, "--output", str(output), *engine]
    return [sys.executable, "-m", "mrml", *words]


def jobs_of(cluster: Cluster, output: Path) -> list[Application]:
    """The jobs of the run, once it has a name."""
    name = output / "_run" / "run_id.json"
    if not name.exists():
        return []
    return ResourceManager(cluster.resourcemanager_url).by_tag("mrml-" + str(json.loads(name.read_text())["run"]))


def test_a_network_is_that_of_the_inline_engine_whoever_is_killed(
    client: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    make_data(tmp_path)
    rows, here, there = tmp_path / "numbers", tmp_path / "here", tmp_path / "there"
    told = {**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])}
    on_yarn = command(rows, there, "--engine", "streaming", "--runner", "hadoop", "--workers", "3", "--uber", "never")
    driver = subprocess.Popen(on_yarn, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + LIMIT_S
    while len(jobs_of(client, there)) < 2 and time.monotonic() < until:  # the transforms', then the first epoch's
        assert driver.poll() is None
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    stop = threading.Event()
    killer = threading.Thread(target=kill_a_task_of, args=(client.folder, stop))
    killer.start()
    again = subprocess.run(on_yarn, env=told, capture_output=True, text=True, timeout=LIMIT_S)
    killed = not killer.is_alive()
    stop.set()
    killer.join()
    assert again.returncode == 0 and killed, again.stderr
    done = subprocess.run(command(rows, here, "--engine", "inline"), env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("model.json", "model.npz"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
