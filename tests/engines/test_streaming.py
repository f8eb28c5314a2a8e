"""The streaming engine: its records, its inputs, jobs that fail, and what its tasks import."""

from __future__ import annotations

import gzip
import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.data.dataset import Dataset
from mrml.engines.local.engine import LocalEngine
from mrml.engines.streaming import engine as streaming
from mrml.engines.streaming.engine import MAX_ATTEMPTS, JobFailed, StreamingEngine
from mrml.engines.streaming.protocol import ERROR, KEY, REPORT, FieldsProtocol
from mrml.errors import EngineError
from tests.contract.test_engines import by_hand, drive
from tests.exercise import Exercise, make_dataset

SPLIT_BYTES = 2000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("streaming"))


@pytest.fixture(scope="module")
def inline() -> Iterator[StreamingEngine]:
    with StreamingEngine("inline", 3, SPLIT_BYTES) as engine:
        yield engine


# ---- records and inputs


@given(st.text(), st.lists(st.binary(max_size=20)))
def test_a_record_is_one_line_whatever_is_in_it(key: str, bodies: list[bytes]) -> None:
    line = FieldsProtocol().write(KEY + key, bodies)
    assert b"\n" not in line and b"\r" not in line and line.isascii()
    assert FieldsProtocol().read(line) == (KEY + key, bodies)


@given(st.text())
def test_no_key_is_one_of_the_engines_own_words(key: str) -> None:
    assert KEY + key not in (ERROR, REPORT)


@given(n_splits=st.integers(0, 40), n_tasks=st.integers(1, 12))
def test_every_split_is_the_input_of_one_task(
    tmp_path_factory: pytest.TempPathFactory, n_splits: int, n_tasks: int
) -> None:
    with StreamingEngine("inline", n_tasks, cache_dir=str(tmp_path_factory.getbasetemp() / "inputs")) as engine:
        tasks = [gzip.decompress(Path(p).read_bytes()).decode().split() for p in engine._inputs(n_splits)]
    assert [int(n) for task in tasks for n in task] == list(range(n_splits))
    assert len(tasks) == max(1, min(n_tasks, n_splits))
    assert n_splits == 0 or max(map(len, tasks)) - min(map(len, tasks)) <= 1


# ---- jobs


def test_a_job_that_fails_runs_again_and_says_so(
    inline: StreamingEngine, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    genuine, failures = inline._run_job, ["the first", "the second"]

    def failing(args: list[str]) -> list[tuple[str, list[str]]]:
        if failures:
            raise JobFailed(failures.pop(0))
        return genuine(args)  # type: ignore[return-value]

    monkeypatch.setattr(inline, "_run_job", failing)
    algorithm = Exercise(n_rounds=1)
    with caplog.at_level(logging.WARNING):
        assert drive(inline, algorithm, dataset) == by_hand(algorithm, dataset)
    told = [r.getMessage() for r in caplog.records if r.name == streaming.__name__]
    assert told == [f"the job failed ({which}): retrying" for which in ("the first", "the second")]


def test_a_job_that_fails_three_times_is_an_engine_error(
    inline: StreamingEngine, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(args: list[str]) -> list[tuple[str, list[str]]]:
        raise JobFailed("step 1 failed")

    monkeypatch.setattr(inline, "_run_job", failing)
    assert MAX_ATTEMPTS == 3
    with pytest.raises(EngineError, match=r"mrjob -r inline: the job failed 3 times: step 1 failed; run with -v"):
        drive(inline, Exercise(), dataset)


def test_a_killed_task_costs_its_job_a_second_run_and_no_bit(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = Exercise(n_rounds=1, fail="kill", flag=str(tmp_path / "flag"))
    with StreamingEngine("local", 2, SPLIT_BYTES) as engine, caplog.at_level(logging.WARNING, streaming.__name__):
        found = drive(engine, algorithm, dataset)
    assert found == by_hand(algorithm, dataset)
    assert "SIGKILL" in caplog.text and "retrying" in caplog.text


def test_a_configuration_of_mrjob_is_not_read(
    inline: StreamingEngine, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mrjob.conf").write_text("runners: {inline: {setup: [exit 1], no_such_option: 1}}")
    monkeypatch.setenv("MRJOB_CONF", str(tmp_path / "mrjob.conf"))
    algorithm = Exercise(n_rounds=1)
    assert drive(inline, algorithm, dataset) == by_hand(algorithm, dataset)


def test_a_notebook_s_standard_error_without_a_buffer_will_do(
    inline: StreamingEngine, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    algorithm = Exercise(n_rounds=1)
    assert drive(inline, algorithm, dataset) == by_hand(algorithm, dataset)


# ---- what is imported

HEAVY = ("sklearn", "scipy", "pandas", "xgboost", "torch", "statsmodels", "lightgbm", "matplotlib")


def test_the_driver_imports_mrjob_only_for_a_job() -> None:
    told = "import mrml.engines.streaming.engine, sys; print(any(m.partition('.')[0] == 'mrjob' for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["local", "streaming"])
def test_a_task_imports_no_library_of_machine_learning(dataset: Dataset, name: str, tmp_path: Path) -> None:
    algorithm = Exercise(n_rounds=1, fail="nothing, but tell", flag=str(tmp_path / "modules"))
    engine = LocalEngine(1, SPLIT_BYTES) if name == "local" else StreamingEngine("local", 1, SPLIT_BYTES)
    with engine:
        drive(engine, algorithm, dataset)
    loaded = {m.partition(".")[0] for m in (tmp_path / "modules").read_text().split()}
    assert {"numpy", "pyarrow"} <= loaded and ("mrjob" in loaded) == (name == "streaming")
    assert not loaded.intersection(HEAVY)


def test_an_algorithm_that_asks_for_pandas_in_a_task_gets_it() -> None:
    pytest.importorskip("pandas")
    done = subprocess.run([sys.executable, "-c", ASKS_FOR_PANDAS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]


ASKS_FOR_PANDAS = """
import sys
from mrml.data.without_pandas import keep_pandas_out
keep_pandas_out()
import pyarrow
pyarrow.array([1.5]).to_numpy()
print("pandas" in sys.modules)
import pandas
print(pandas.Series([1]).sum())
"""
