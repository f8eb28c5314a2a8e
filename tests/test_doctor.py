"""``mrml doctor``: what each check says of what it finds, without a cluster."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig
from mrml.engines.hadoop import probe
from mrml.engines.hadoop.limits import queues
from mrml.engines.hadoop.probe import Probe, Told
from mrml.errors import EngineError
from mrml.kernels.fingerprint import fingerprint
from mrml.tools.doctor import hadoop as doctor_cluster
from mrml.tools.doctor import machine as doctor
from mrml.tools.doctor.examine import doctor as everything
from mrml.tools.doctor.findings import FAIL, OK, WARN, Finding, examine, worst
from mrml.tools.doctor.hadoop import asked, judge, quota, room, way_back

SOURCE = probe.source_digest(mrml.__path__[0])
HERE = Told("a:1", "3.11.0", "/p", mrml.__version__, SOURCE, doctor_cluster.np.__version__, fingerprint())  # type: ignore[attr-defined]


def levels(findings: list[Finding]) -> dict[str, str]:
    return {f.check: f.level for f in findings}


def test_an_error_of_a_check_is_a_finding_with_its_remedy() -> None:
    def broken() -> Finding:
        raise EngineError("place", "finding", "remedy")

    assert examine("x", broken) == [Finding(FAIL, "x", "place: finding", "remedy")]

    def refused() -> Finding:
        raise ConnectionRefusedError("refused")

    assert [f.level for f in examine("x", refused)] == [FAIL]


def test_every_finding_that_is_not_ok_names_a_remedy() -> None:
    findings = [asked(9000, 1, 100), asked(100, 1, 9000), room(1, 1, 9, 8, 8), quota("/u", full(quota=5))]
    findings += judge([Told("a:1", error="no"), HERE._replace(numpy="1.0", fingerprint="0")], 2, 1.0)
    findings += [doctor.scratch("/proc")]
    bad = [f for f in findings if f.level != OK]
    assert len(bad) >= 7 and all(f.remedy for f in bad)


def test_the_worst_finding_is_the_verdict() -> None:
    of = [Finding(level, "", "") for level in (OK, WARN, FAIL)]
    assert (worst(of), worst(of[:2]), worst(of[:1]), worst([])) == (FAIL, WARN, OK, OK)


def full(**limits: int) -> dict[str, Any]:
    return {"directoryCount": 2, "fileCount": 2, "spaceConsumed": 100, "quota": -1, "spaceQuota": -1, **limits}


@pytest.mark.parametrize(("summary", "level"), [
    (full(), OK), (full(quota=10**6), OK), (full(quota=500), WARN), (full(quota=5), FAIL),
    (full(spaceQuota=1 << 40), OK), (full(spaceQuota=1 << 20), WARN),
])  # fmt: skip
def test_a_quota_that_is_nearly_used_up_is_told(summary: dict[str, Any], level: str) -> None:
    assert quota("/user/x", summary).level == level


LIMITS = {
    "queueName": "q", "numApplications": 3, "maxApplications": 10, "maximumAllocation": {"memory": 4096},
    "maxEffectiveCapacity": {"memory": 8192}, "AMResourceLimit": {"memory": 3000}, "usedAMResource": {"memory": 1000},
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said", "level"), [
    ({}, "", OK),
    ({"numApplications": 10}, "takes 10 applications, and has them", FAIL),
    ({"maximumAllocation": {"memory": 1200}}, "a container at most 1200 MB, and 1536 MB are asked", FAIL),
    ({"maxEffectiveCapacity": {"memory": 2048}}, "holds 2048 MB at most, and a job needs 2560 MB", FAIL),
    ({"usedAMResource": {"memory": 2000}}, "has 1000 MB left for application masters", WARN),
])  # fmt: skip
def test_what_a_queue_would_not_give_is_told(changes: dict[str, Any], said: str, level: str) -> None:
    found = doctor_cluster.limits({**LIMITS, **changes}, 1024, 1536)
    assert [f.level for f in found] == [level] * (level != OK) and all(said in f.text and f.remedy for f in found)


def test_a_scheduler_that_tells_no_limits_has_none() -> None:
    assert doctor_cluster.limits({"queueName": "root.fair"}, 1 << 20, 1 << 20) == []


def test_a_node_whose_disk_is_full_is_named() -> None:
    def level(free: int) -> str:
        return levels(judge([HERE._replace(free=free)], 1, 1.0)).get("node space", OK)

    assert [level(f) for f in (-1, 1 << 40, 1 << 30, 1 << 20)] == [OK, OK, WARN, FAIL]


def test_a_task_no_node_can_hold_fails_and_a_small_one_is_warned_of() -> None:
    assert asked(1024, 1536, 8192).level == OK
    assert asked(9000, 1536, 8192).remedy == "ask less: -D mapreduce.map.memory.mb=8192"
    assert asked(1024, 9000, 8192).remedy == "ask less: -D yarn.app.mapreduce.am.resource.mb=8192"
    assert asked(256, 512, 8192).level == WARN


def test_room_counts_tasks_beside_the_application_master() -> None:
    assert "3 tasks" in room(1024, 1, 1024, 4096, 8).text
    assert "2 tasks" in room(1024, 1, 1024, 40960, 3).text
    assert room(1024, 1, 1024, 1500, 8).level == WARN


def test_queues_of_either_scheduler_are_found() -> None:
    capacity = {"schedulerInfo": {"queueName": "root", "queues": {"queue": [{"queueName": "a"}, {"queueName": "b"}]}}}
    fair = {"rootQueue": {"queueName": "root", "childQueues": {"queue": [{"queueName": "root.a"}]}}}
    assert [q["queueName"] for q in queues(capacity)] == ["root", "a", "b"]
    assert [q["queueName"] for q in queues(fair)] == ["root", "root.a"]


def test_nodes_like_this_machine_are_fine() -> None:
    found = judge([HERE, HERE._replace(node="b:1")], 2, 3.0)
    assert levels(found) == {"nodes": OK, "kernels": OK} and "2 of 2 nodes" in found[0].text


def test_differing_kernels_name_every_node() -> None:
    found = judge([HERE, HERE._replace(node="b:1", fingerprint="other")], 2, 3.0)
    assert levels(found)["kernels"] == WARN and "b:1 other" in found[-1].text


def test_other_versions_on_the_nodes_are_told() -> None:
    assert levels(judge([HERE._replace(numpy="1.0")], 1, 3.0))["versions"] == WARN
    (found,) = [f for f in judge([HERE._replace(source="other")], 1, 3.0) if f.check == "versions"]
    assert found.level == WARN and "pack this environment again" in found.remedy


def test_the_digest_of_the_source_sees_any_change(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = probe.source_digest(str(tmp_path))
    (tmp_path / "a.pyc").write_text("not read")
    assert probe.source_digest(str(tmp_path)) == first
    (tmp_path / "a.py").write_text("2")
    assert probe.source_digest(str(tmp_path)) != first


def test_a_node_without_mrml_fails_with_its_own_words() -> None:
    found = judge([HERE, Told("b:1", error="ModuleNotFoundError: No module named 'mrml'")], 2, 3.0)
    assert (found[0].level, found[0].text) == (FAIL, "b:1: ModuleNotFoundError: No module named 'mrml'")


# ---- the probe


def told_by(python: str | None, folder: Path, back: tuple[str, int] | None = None) -> Told:
    """What the mapper tells when this machine runs it as a node would."""
    script = folder / "probe.sh"
    script.write_text(Probe("hadoop", "jar", python, None, {}, back).script())
    done = subprocess.run(["sh", str(script)], input="0\t1\n", capture_output=True, text=True, check=True,
                          cwd=folder, env={"NM_HOST": "n", "NM_PORT": "7", "PATH": "/usr/bin:/bin"})  # fmt: skip
    (line,) = done.stdout.splitlines()
    return probe.told(line)


def test_the_probe_tells_versions_and_kernels(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        back = "127.0.0.1", server.getsockname()[1]
        told = told_by(None, tmp_path, back)
    assert told.error == "" and told.node == "n:7"
    assert told.free > 0 and told.back == "ok"
    assert told._replace(node="a:1", version="3.11.0", prefix="/p", free=-1, back="") == HERE
    lost = told_by(None, tmp_path, back)
    assert "refused" in lost.back and lost._replace(back="ok", free=told.free) == told
    (found,) = way_back([told, lost], *back)
    assert found.level == WARN and f"n:7 cannot reach this machine at 127.0.0.1:{back[1]}" in found.text
    assert "--driver-ports" in found.remedy and [f.level for f in way_back([told], *back)] == [OK]
    assert way_back([told._replace(back="")], *back) == []


def test_an_interpreter_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    told = told_by("/no/such/python", tmp_path)
    assert told.node == "n:7" and "not found" in told.error


def test_an_interpreter_without_mrml_is_an_answer(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nexec env -i python3 -S "$@"\n')
    python.chmod(0o755)
    assert "mrml" in told_by(str(python), tmp_path).error


@pytest.mark.parametrize("line", ["", "n:1", "n:1\t0\tno json", "n:1\t0\t[]", "n:1\t1\t"])
def test_whatever_a_task_says_is_an_answer(line: str) -> None:
    assert probe.told(line).error


# ---- this machine, and the command


def test_a_big_compressed_file_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    data = DataConfig(data=(str(tmp_path),), split_bytes=64)
    assert [f.level for f in doctor.inputs(data)] == [OK]
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(bytes(range(256)) * 8))
    (found,) = doctor.inputs(data)
    assert found.level == WARN and "b.csv.gz" in found.text and found.remedy
    assert "multiline" in doctor.inputs(DataConfig(data=(str(tmp_path / "a.csv"),), multiline=True))[0].text


def test_a_machine_alone_is_asked_nothing_of_a_cluster() -> None:
    found = everything(EngineConfig(), DataConfig())
    assert [f.check for f in found] == ["python", "numpy pinned", "scratch"]


def test_a_cluster_that_is_not_there_is_five_findings_and_exit_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "core-site.xml").write_text(
        "<configuration><property><name>fs.defaultFS</name><value>hdfs://127.0.0.1:1</value></property></configuration>"
    )
    (tmp_path / "yarn-site.xml").write_text(
        "<configuration><property><name>yarn.resourcemanager.webapp.address</name><value>127.0.0.1:1</value>"
        "</property></configuration>"
    )
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert main(["doctor", "-r", "hadoop", "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    failed = [f["check"] for f in found["findings"] if f["level"] == FAIL]
    assert found["level"] == FAIL and failed == ["java", "hadoop client", "namenode", "resourcemanager"]
    monkeypatch.delenv("HADOOP_CONF_DIR")
    assert main(["doctor", "-r", "hadoop"]) == 5
    out = capsys.readouterr().out
    assert "fail  configuration" in out and "export HADOOP_CONF_DIR" in out


def test_a_machine_that_is_well_is_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith("ok    python")
