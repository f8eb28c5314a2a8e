"""A round on YARN: the bytes of the inline engine, one client JVM, and errors in the words of what failed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mrml.cluster import Cluster
from mrml.config import EngineConfig
from mrml.driver import Checkpoint, fit
from mrml.engines.hadoop import HadoopEngine
from mrml.engines.inline import InlineEngine
from mrml.engines.yarn import fetch
from mrml.errors import EngineError, InputError, TaskFailed
from tests.exercise import Exercise, make_dataset
from tests.hadoop.faulty import Faulty
from tests.identity import model_bytes

pytestmark = pytest.mark.hadoop
#: the first failure of a task is the job's
ONCE = {"mapreduce.map.maxattempts": "1"}


def train(tmp_path: Path, algorithm: Exercise, **options: Any) -> bytes:
    """The model of a run on the cluster."""
    with HadoopEngine(2, 2000, **options) as engine:
        model, _ = fit(algorithm, make_dataset(tmp_path), engine, Checkpoint(tmp_path / "rounds"))
        assert engine.report.n_rows == 730
    return model_bytes(model, tmp_path / "model")


def test_rounds_give_the_bytes_of_the_inline_engine_with_one_client_each(
    client: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = Exercise(n_rounds=2, n_keys=40, large=True, noisy=True)
    inline, _ = fit(algorithm, make_dataset(tmp_path), InlineEngine(2000), Checkpoint(tmp_path / "inline"))
    calls = tmp_path / "calls"
    wrapper = tmp_path / "hadoop"
    wrapper.write_text(f'#!/bin/sh\necho "$1" >> {calls}\nexec {client.home}/bin/hadoop "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr("mrml.engines.hadoop.find_hadoop", lambda: str(wrapper))
    began = time.monotonic()
    asked = EngineConfig(memory_mb=700, vcores=2, priority="high", jobconf=("mapreduce.map.env=A=1,B=2",)).properties()
    found = train(tmp_path, algorithm, n_reducers=2, jobconf=asked)
    print(f"{(time.monotonic() - began) / 2:.1f} s a round, staging and the end of the last client included")
    assert found == model_bytes(inline, tmp_path / "expected")
    assert calls.read_text().split() == ["jar", "jar"]
    assert asked.items() <= last_job(client).items()


def last_job(cluster: Cluster) -> dict[str, str]:
    """The properties of the job that was submitted last, as the history server has them a moment after its end."""
    apps = json.loads(fetch(f"{cluster.resourcemanager_url}/ws/v1/cluster/apps"))["apps"]["app"]
    name = max(apps, key=lambda a: int(a["startedTime"]))["id"].replace("application", "job")
    until = time.monotonic() + 60
    while True:
        try:
            found = json.loads(fetch(f"{cluster.history_url}/ws/v1/history/mapreduce/jobs/{name}/conf"))
        except OSError:
            assert time.monotonic() < until, f"no history of {name}"
            time.sleep(0.2)
        else:
            return {p["name"]: str(p["value"]) for p in found["conf"]["property"]}


@pytest.mark.parametrize(
    ("fail", "options", "kind", "said"),
    [
        ("unexpected", {}, TaskFailed, "ZeroDivisionError: a value"),
        ("reduce ours", {}, InputError, "cannot be reduced"),
        ("", {"queue": "nowhere"}, EngineError, "unknown queue: nowhere"),
        (
            "",
            {"task_python": "/nowhere/python", "jobconf": ONCE},
            EngineError,
            "the node has no program /nowhere/python",
        ),
        ("", {"jobconf": {"mapreduce.map.memory.mb": "99999"}}, EngineError, "asks for more than a node has"),
        ("", {"round_timeout_s": 2.0}, EngineError, "took longer than 2 s"),
    ],
)
def test_what_fails_is_told_in_its_own_words(
    client: Cluster, tmp_path: Path, fail: str, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as found:
        train(tmp_path, Exercise(n_rounds=1, fail=fail), **options)
    assert said in str(found.value)


def test_a_task_that_is_killed_is_named_with_its_host_and_log(client: Cluster, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"map task \d+, attempt 0 on .*container_.*code 137.*yarn logs -application"):
        train(tmp_path, Exercise(n_rounds=1, fail="kill"), jobconf=ONCE)


def test_a_container_that_grows_beyond_its_memory_is_told_with_the_limit(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "meet").mkdir()
    grows = Faulty(n_rounds=1, folder=str(tmp_path / "meet"), deed="grow")
    said = (
        r"map task \d, attempt 0 on .* was killed for memory, above the physical limit: [\d.]+ GB of 768 MB .* used; "
    )
    with pytest.raises(EngineError, match=said + r"give more: --memory-mb"):
        train(tmp_path, grows, jobconf=ONCE)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fs.defaultFS", "hdfs://127.0.0.1:1", "NameNode 127.0.0.1:1: cannot be reached"),
        ("yarn.resourcemanager.webapp.address", "127.0.0.1:1", "ResourceManager http://127.0.0.1:1: cannot be"),
    ],
)
def test_a_master_that_is_not_there_is_said_at_once(
    client: Cluster, monkeypatch: pytest.MonkeyPatch, key: str, value: str, said: str
) -> None:
    from mrml.engines import hadoop

    keys = {**hadoop.configuration(), key: value}
    monkeypatch.setattr(hadoop, "configuration", lambda: keys)
    with pytest.raises(EngineError, match=said):
        HadoopEngine(2, 2000)
