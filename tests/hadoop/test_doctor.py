"""``mrml doctor -r hadoop`` on the real cluster: well as it is, and what it says of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mrml.cli.main import main
from mrml.cluster import Cluster

pytestmark = pytest.mark.hadoop


def findings(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, dict[str, Any]]]:
    capsys.readouterr()
    code = main(["doctor", "-r", "hadoop", "--json", *argv])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert all(f["remedy"] for f in found if f["level"] != "ok")
    return code, {f["check"]: f for f in found}


def test_a_cluster_that_is_well_has_no_failure(client: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(capsys)
    assert code == 0 and not [f for f in found.values() if f["level"] == "fail"]
    expected = "java", "hadoop client", "configuration", "namenode", "hdfs space", "quota", "resourcemanager", "queue"
    assert set(expected) <= set(found) and "2 nodes" in found["resourcemanager"]["text"]
    assert found["way back"]["level"] == "ok" and "reach this machine" in found["way back"]["text"]
    assert found["kernels"]["level"] == "ok" and "default" in found["queue"]["text"]


def test_what_is_wrong_is_named_with_its_remedy(client: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = findings(capsys, "--task-python", "/no/such/python")
    assert code == 5 and "mrml pack --upload" in found["nodes"]["remedy"] and "not found" in found["nodes"]["text"]
    huge = ("--jobconf", "mapreduce.map.memory.mb=999999")
    code, found = findings(capsys, "--queue", "nowhere", *huge)
    assert code == 5
    assert found["queue"]["level"] == "fail" and "default" in found["queue"]["remedy"]
    assert found["memory"]["level"] == "fail" and "mapreduce.map.memory.mb" in found["memory"]["remedy"]
    assert found["nodes"]["level"] == "fail"
