"""A round on YARN: the bytes of the inline engine, one client JVM, and errors in the words of what failed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mrml.cluster import Cluster
from mrml.driver import Checkpoint, fit
from mrml.engines.hadoop import HadoopEngine
from mrml.engines.inline import InlineEngine
from mrml.errors import EngineError, InputError, TaskFailed
from tests.exercise import Exercise, make_dataset
from tests.identity import model_bytes

pytestmark = pytest.mark.hadoop


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
    found = train(tmp_path, algorithm, n_reducers=2)
    print(f"{(time.monotonic() - began) / 2:.1f} s a round, staging and the end of the last client included")
    assert found == model_bytes(inline, tmp_path / "expected")
    assert calls.read_text().split() == ["jar", "jar"]


@pytest.mark.parametrize(
    ("fail", "options", "kind", "said"),
    [
        ("ours", {}, InputError, "'n/a' is not a number ☃"),
        ("unexpected", {}, TaskFailed, "ZeroDivisionError: a value"),
        ("reduce ours", {}, InputError, "cannot be reduced"),
        ("", {"queue": "nowhere"}, EngineError, "unknown queue: nowhere"),
        ("", {"task_python": "/nowhere/python"}, EngineError, "the node has no program /nowhere/python"),
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


def test_a_task_that_is_killed_again_and_again_is_named_with_its_host_and_log(client: Cluster, tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"map task \d+, attempt \d on .*container_.*code 137.*yarn logs -application"
    ):
        train(tmp_path, Exercise(n_rounds=1, fail="kill"), jobconf={"mapreduce.map.maxattempts": "2"})
    assert client.containers() is not None


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
