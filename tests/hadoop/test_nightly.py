"""Three nights on the real cluster: one goes into service, one is refused, one is killed and goes on (issue 14)."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mrml.cluster import Cluster
from mrml.engines.hadoop.yarn import ResourceManager
from mrml.fs.folder import Folder
from mrml.runs.store import Store
from tests.test_report import check

pytestmark = pytest.mark.hadoop
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def nights(cluster: Cluster, environment: dict[str, str]) -> list[dict[str, Any]]:
    """What each run of `make demo-nightly` told."""
    words = [sys.executable, "-m", "benchmarks.nightly", "hdfs:///nightly"]
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=540, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["nights"]
    return found


def outcomes(night: dict[str, Any]) -> dict[str, str]:
    return {name: "kept" if step.get("kept") else step["outcome"] for name, step in night["steps"].items()}


def test_each_night_ends_as_it_is_to(nights: list[dict[str, Any]], cluster: Cluster) -> None:
    first, drifted, killed, again = nights
    assert [night["code"] for night in nights] == [0, 7, 137, 0]
    assert (first["verdict"], first["version"], drifted["verdict"]) == ("promoted", 1, "refused")
    assert "version 1 stays in service" in drifted["error"]["finding"]
    assert outcomes(drifted)["promote"] == "skipped" and drifted["steps"]["predict"]["version"] == 1
    assert "steps" not in killed
    assert outcomes(again)["validate"] == "kept" and outcomes(again)["train"] == "done"
    assert (again["verdict"], again["champion"]) == ("promoted", 1)
    jobs = ResourceManager(cluster.resourcemanager_url).of_user(getpass.getuser())
    assert [job.id for job in jobs if not job.ended] == [], "a job that outlived its night"


def test_what_drifted_is_told(nights: list[dict[str, Any]]) -> None:
    columns = {c["column"]: c for c in nights[1]["steps"]["validate"]["columns"]}
    assert columns["age"]["shifted"] and columns["age"]["psi"] > 1 and not columns["plan"]["shifted"]
    auc = nights[1]["steps"]["evaluate"]["comparison"]["metrics"]["auc"]
    assert auc["better"] is False and auc["high"] < 0


def test_the_store_the_scores_and_the_pages_are_those_of_the_nights(
    nights: list[dict[str, Any]], client: Cluster, tmp_path: Path
) -> None:
    first, drifted, _, again = nights
    store, root = Store("hdfs:///nightly/models"), Folder("hdfs:///nightly")
    assert [v["lineage"]["run"] for v in store.versions()] == [first["run"], again["run"]]
    assert [s.version for s in store.switches()] == [1, again["version"]]
    assert store.folder.read("CURRENT").decode() == f"{again['version']:06d}\n"
    for night in (first, drifted, again):
        assert "_SUCCESS" in (root / "scores" / f"ds={night['night']}").names()
        assert night["steps"]["predict"]["n_rows"] == 4000
        page = tmp_path / f"{night['night']}.html"
        page.write_bytes((root / "runs" / f"{night['night']}-{night['run']}").read("report.html"))
        verdict = "refused by the gate" if night["code"] else f"version {night['version']} is in service"
        assert verdict in check(page).texts
    assert (root / "scores").names() == [f"ds={night['night']}" for night in (first, drifted, again)]
