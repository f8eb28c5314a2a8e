"""Which engine suits some data, and why."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mrml import pin
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run
from mrml.runs.choose import SMALL_BYTES, chosen


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.csv").write_text("a,b\n1,2\n")
    return str(tmp_path / "small.csv")


@pytest.fixture
def large(tmp_path: Path) -> str:
    """Enough for two workers, of which each saves half."""
    path = tmp_path / "large.csv"
    path.touch()
    with open(path, "r+b") as file:
        file.truncate(2 * SMALL_BYTES)
    return str(path)


@pytest.mark.parametrize(
    ("cores", "options", "files", "name", "why"),
    [
        (2, {}, ("small",), "inline", "8 B are quicker in one process"),
        (2, {}, ("large",), "local", "40.0 MiB are quicker shared"),
        (2, {}, ("small", "large"), "local", "40.0 MiB are quicker shared"),
        (1, {}, ("large",), "inline", "there is one core"),
        (2, {"workers": 3}, ("small",), "local", "workers are asked for"),
        (2, {"runner": "hadoop"}, ("small",), "resident", "the runner is hadoop"),
        (2, {}, ("hdfs://host/data",), "local", "the data are not on this machine"),
        (2, {}, ("absent.csv",), "inline", "there is nothing to share"),
        (2, {"engine": "local"}, ("small",), "local", ""),
        (1, {"engine": "streaming"}, ("small",), "streaming", ""),
    ],
)
def test_small_data_stay_in_one_process_unless_something_speaks_for_more(
    cores: int, options: dict[str, object], files: tuple[str, ...], name: str, why: str,
    small: str, large: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(pin, "cores", lambda: cores)
    paths = {"small": small, "large": large}
    data = DataConfig(data=tuple(paths.get(f, f) for f in files))
    found, told = chosen(EngineConfig(**options), data)  # type: ignore[arg-type]
    assert (found.engine, told) == (name, why)


def test_validation_files_and_what_is_compressed_count(
    small: str, large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pin, "cores", lambda: 2)
    assert chosen(EngineConfig(), DataConfig(data=(small,), valid=(large,)))[0].engine == "local"
    rows = tmp_path / "rows.csv.gz"
    rows.write_bytes(gzip.compress(b"a,b\n") + bytes(SMALL_BYTES // 2))
    assert chosen(EngineConfig(), DataConfig(data=(str(rows),)))[0].engine == "local"


def test_the_plan_of_resident_tasks_tells_one_job_and_its_containers(small: str) -> None:
    engine = EngineConfig(engine="resident", runner="hadoop", workers=8, min_workers=4, memory_mb=2048)
    config = RunConfig("linear", {}, DataConfig(data=(small,), target="b"), engine, "unused")
    plan = run.plan(config)
    assert plan["driver"].startswith("at most about 662.2 MiB of memory, however much tasks send")
    told = plan["jobs"]
    assert told.startswith("one, of 8 containers of 2,048 MB that stay; with 4 of them the first round begins")
