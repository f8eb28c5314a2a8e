"""A round on YARN: the bytes of the inline engine, one client JVM, and errors in the words of what failed."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mrml
from mrml import wire
from mrml.cluster import Cluster
from mrml.config.sections import EngineConfig
from mrml.engines.hadoop.engine import HadoopEngine
from mrml.engines.hadoop.yarn import fetch
from mrml.engines.inline import InlineEngine
from mrml.engines.streaming.engine import StreamingEngine
from mrml.engines.streaming.protocol import FieldsProtocol
from mrml.engines.task import value_of
from mrml.errors import ConfigError, EngineError, InputError, TaskFailed
from mrml.runs.fit import Checkpoint, fit
from tests.exercise import Exercise, make_dataset
from tests.hadoop.faulty import Faulty
from tests.identity import model_bytes

from .conftest import Run

pytestmark = pytest.mark.hadoop
#: the first failure of a task is the job's
ONCE = ("mapreduce.map.maxattempts=1",)


def train(tmp_path: Path, algorithm: Exercise, **options: Any) -> bytes:
    """The model of a run on the cluster."""
    with HadoopEngine(EngineConfig(workers=2, **{"uber": "never", **options}), 2000) as engine:
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
    monkeypatch.setattr("mrml.engines.hadoop.engine.find_hadoop", lambda: str(wrapper))
    began = time.monotonic()
    asked: dict[str, Any] = {
        "memory_mb": 700,
        "vcores": 2,
        "priority": "high",
        "jobconf": ("mapreduce.map.env=A=1,B=2",),
    }
    found = train(tmp_path, algorithm, reducers=2, **asked)
    print(f"{(time.monotonic() - began) / 2:.1f} s a round, staging and the end of the last client included")
    assert found == model_bytes(inline, tmp_path / "expected")
    assert calls.read_text().split() == ["jar", "jar"]
    assert EngineConfig(**asked).properties().items() <= last_job(client).items()


def test_a_round_is_a_plain_mrjob_job_that_knows_the_environment_only(
    client: Cluster, run: Run, tmp_path: Path
) -> None:
    algorithm, dataset = Exercise(n_rounds=1), make_dataset(tmp_path)
    state = algorithm.init(dataset.schema)
    with StreamingEngine("inline", 2, 2000, str(tmp_path)) as engine:
        task = tmp_path / "task"
        shutil.copy(engine._task(dataset, 2000, algorithm.spec()), task)
    (tmp_path / "state").write_bytes(wire.dumps(state.to_wire()))
    (tmp_path / "splits").write_text("".join(f"{n}\n" for n in range(len(dataset.splits(2000)))))
    root = Path(mrml.__file__).parents[1]
    job = ["env", f"PYTHONPATH={root}", sys.executable, str(root / "jobs/round.py"), "-r", "hadoop", "--no-conf"]
    given = ["--task", str(task), "--state", str(tmp_path / "state"), str(tmp_path / "splits")]
    told = run(*job, "--no-bootstrap-mrjob", "--python-bin", sys.executable, "--cmdenv", f"PYTHONPATH={root}", *given)
    records = [FieldsProtocol().read(line) for line in told.encode().splitlines()]
    values = {k[1:]: value_of(algorithm, state, k[1:], m) for k, (m, *_) in records if k.startswith("=")}
    with InlineEngine(2000) as inline:
        expected = algorithm.update(state, inline.round(algorithm, state, dataset))
    found = algorithm.update(state, dict(sorted(values.items())))
    assert wire.dumps(found.to_wire()) == wire.dumps(expected.to_wire())


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
        (
            *("unexpected", {"uber": "always"}, TaskFailed),
            r"split \d+, p1.csv, block 3 on \S+:\d+ \(container_\w+\): ZeroDivisionError: a value, at exercise.py line "
            r"\d+; the whole log: curl http\S+/stderr",
        ),
        ("reduce ours", {"uber": "always"}, InputError, "cannot be reduced"),
        ("", {"queue": "nowhere"}, ConfigError, "YARN has no queue 'nowhere' for jobs; take one of: default"),
        (
            "",
            {"task_python": "/nowhere/python", "jobconf": ONCE},
            EngineError,
            "the node has no program /nowhere/python",
        ),
        ("", {"jobconf": ("mapreduce.map.memory.mb=99999",)}, ConfigError, "and YARN gives at most 6144"),
        ("", {"round_timeout_s": 2.0}, EngineError, "took longer than 2 s"),
    ],
)
def test_what_fails_is_told_in_its_own_words(
    client: Cluster, tmp_path: Path, fail: str, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as found:
        train(tmp_path, Exercise(n_rounds=1, fail=fail), **options)
    assert re.search(said, str(found.value))


def test_a_task_that_is_killed_is_named_with_its_host_and_log(client: Cluster, tmp_path: Path) -> None:
    said = r"map task \d+, attempt 0 on .*container_.*code 137.*; the whole log: curl (http.*/stderr)$"
    with pytest.raises(EngineError, match=said) as found:
        train(tmp_path, Exercise(n_rounds=1, fail="kill"), jobconf=ONCE)
    (log,) = re.findall(said, str(found.value))
    assert b"End of LogType:stderr" in fetch(log)


def test_a_container_that_grows_beyond_its_memory_is_told_with_the_limit(client: Cluster, tmp_path: Path) -> None:
    (tmp_path / "meet").mkdir()
    grows = Faulty(n_rounds=1, folder=str(tmp_path / "meet"), deed="grow")
    said = r"map task \d, attempt 0 on .* was killed for memory, above the physical limit: .* of 768 MB .* used; "
    with pytest.raises(EngineError, match=said + r"give more: --memory-mb"):
        train(tmp_path, grows, jobconf=ONCE)
