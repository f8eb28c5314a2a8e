"""A night whose rows lie on HDFS, and one whose rounds run on YARN, on the real cluster."""

from __future__ import annotations

import getpass
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mrml.airflow import MrmlPartitionSensor
from mrml.cluster import Cluster
from mrml.engines.hadoop.yarn import ResourceManager
from tests.airflow import dags
from tests.hadoop.conftest import client, cluster, environment  # noqa: F401

pytestmark = pytest.mark.hadoop
DAY = "rows/ds=2026-11-20"


@pytest.fixture
def root(client: Cluster, tmp_path: Path) -> str:  # noqa: F811
    """The rows of a day and a holdout on HDFS; the day's flag is not there yet."""
    made = dags.made(tmp_path / "rows")
    (made / DAY / "_SUCCESS").unlink()
    subprocess.run(["hadoop", "fs", "-mkdir", "-p", f"/nights/{tmp_path.name}"], check=True)
    subprocess.run(["hadoop", "fs", "-put", *map(str, made.iterdir()), f"/nights/{tmp_path.name}/"], check=True)
    return f"hdfs:///nights/{tmp_path.name}"


def test_a_night_on_hdfs_waits_for_the_flag_and_leaves_its_scores_there(home: Path, root: str) -> None:
    sensor = MrmlPartitionSensor(task_id="rows", path=f"{root}/{DAY}")
    assert not sensor.poke({})
    subprocess.run(["hadoop", "fs", "-touchz", f"{root}/{DAY}/_SUCCESS"], check=True)
    assert sensor.poke({})
    dags.write(home, "on_hdfs", root)
    ran = dags.run(home, "on_hdfs")
    assert ran.state == "success" and ran.told("verdict", "on_hdfs") == "promoted"
    assert MrmlPartitionSensor(task_id="scores", path=f"{root}/scores/ds=2026-11-20").poke({})


def test_ending_the_task_ends_its_applications_on_yarn(
    home: Path,
    root: str,
    tmp_path: Path,
    client: Cluster,  # noqa: F811
) -> None:
    engine = "engine: resident, runner: hadoop, workers: 1"
    dags.write(home, "on_yarn", root, file=dags.slow(tmp_path, engine))
    jobs = ResourceManager(client.resourcemanager_url)

    def running() -> list[Any]:
        return [app for app in jobs.of_user(getpass.getuser()) if not app.ended]

    task = dags.start(home, "on_yarn", tmp_path / "airflow.log")
    folder = dags.folder_of(home, "on_yarn")
    assert running(), "it trains on YARN"
    task.send_signal(signal.SIGTERM)
    task.wait(dags.LIMIT_S)
    assert "interrupted; the same command continues" in (tmp_path / "airflow.log").read_text("utf-8")
    dags.until(lambda: not running())
    assert dags.processes_of(folder) == []
