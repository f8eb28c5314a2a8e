"""A run directory loses nothing that a round has written, and takes no more processes than pay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrml import pin
from mrml.algorithm import State
from mrml.engines.base import useful_workers
from mrml.errors import ConfigError, EngineError, InputError
from mrml.runs.directory import RunDirectory


@pytest.mark.parametrize(("error", "kept"), [
    (EngineError("hdfs://host", "Failed to complete file in time"), True),
    (OSError("No space left on device"), True),
    (InputError("a.csv", "is malformed"), False),
    (ConfigError("algorithm", "cannot be"), False),
])  # fmt: skip
def test_an_early_error_removes_what_was_begun_only_where_the_user_has_to_mend_something(
    error: Exception, kept: bool, tmp_path: Path
) -> None:
    begun = RunDirectory(str(tmp_path / "m"), {"inputs": []}, False, False)
    with begun as directory, pytest.raises(type(error)), directory.undone_early():
        directory.checkpoint.save(State({}, 1))
        raise error
    assert (tmp_path / "m/_run/checkpoint/000001.state").exists() is kept
    assert (tmp_path / "m").exists() is kept
    if kept:
        with RunDirectory(str(tmp_path / "m"), {"inputs": []}, False, False) as directory:
            assert directory.resumed and directory.checkpoint.rounds() == [1]


def test_more_workers_than_could_ever_pay_are_refused_before_any_is_started() -> None:
    assert useful_workers(None) == pin.cores() and useful_workers(64) == 64
    with pytest.raises(ConfigError, match=r"engine, workers: 100000000 processes on \d+ cores? would only take memory"):
        useful_workers(100_000_000)


def test_cores_are_those_of_the_affinity_mask() -> None:
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}]); from mrml import pin; print(pin.cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"


@pytest.mark.parametrize(("text", "quota"), [("150000 100000", 1.5), ("max 100000", float("inf")), ("", float("inf"))])
def test_a_quota_of_the_cgroup_counts(text: str, quota: float, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert pin._quota_of(tmp_path, True) == quota
