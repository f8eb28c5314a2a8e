"""What tasks count reaches the driver: rows and bytes as sums, seconds by phase as shares of the clock."""

from __future__ import annotations

import itertools
import json
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.engines.base import Engine
from mrml.engines.inline import InlineEngine
from mrml.engines.local.engine import LocalEngine
from mrml.engines.streaming.engine import StreamingEngine
from mrml.engines.task import Report
from mrml.runs.fit import Checkpoint, fit
from tests.exercise import Exercise, make_dataset

PHASES = ["launch", "read", "map", "reduce"]
TIMES = st.floats(0, 1e6)
SPANS = st.lists(TIMES, min_size=2, max_size=2).map(sorted)


@given(SPANS, st.dictionaries(st.sampled_from(["map", "reduce"]), SPANS), TIMES, TIMES)
def test_phases_are_not_negative_and_add_up_to_the_round_whatever_the_clocks_say(
    whole: list[float], spans: dict[str, list[float]], read: float, mapped: float
) -> None:
    report = Report(seconds={"read": read, "map": mapped}, spans={"round": whole, **spans})
    phases = report.phases()
    assert list(phases) == PHASES and all(s >= -1e-6 for s in phases.values())
    assert sum(phases.values()) == pytest.approx(whole[1] - whole[0], abs=1e-6)


def test_a_round_of_a_known_course_is_told_as_it_went() -> None:
    report = Report(spans={"round": [100.0, 120.0]})
    report.merge(Report(seconds={"read": 3.0, "map": 4.0}, spans={"map": [106.0, 110.0]}))
    report.merge(Report(seconds={"read": 0.0, "map": 2.0}, spans={"map": [107.0, 112.0]}))
    report.merge(Report(seconds={"reduce": 1.0}, spans={"reduce": [114.0, 115.0]}))
    assert report.phases() == pytest.approx({"launch": 11.0, "read": 3.0, "map": 3.0, "reduce": 3.0})


@pytest.mark.parametrize("name", ["inline", "local", "streaming"])
def test_every_engine_tells_rows_bytes_and_where_the_time_went(tmp_path: Path, name: str) -> None:
    engine: Engine = {
        "inline": lambda: InlineEngine(4000),
        "local": lambda: LocalEngine(2, 4000),
        "streaming": lambda: StreamingEngine("inline", 2, 4000),
    }[name]()
    with engine:
        fit(Exercise(n_rounds=1, slow_s=0.01), make_dataset(tmp_path), engine, Checkpoint(tmp_path / "rounds"))
        told = engine.report
    assert told.n_rows == 730 and told.n_bytes_out > 0 and told.seconds["map"] > told.seconds["read"] > 0
    assert told.seconds["map"] > 0.2 and told.phases()["map"] > 0  # some 20 blocks of 0.01 s
    assert json.loads(json.dumps(vars(told))) == vars(told)
    took = [split["seconds"] for split in told.slowest]
    assert took == sorted(took, reverse=True) and sum(took) == pytest.approx(told.seconds["map"])  # there are five
    assert sum(split["rows"] for split in told.slowest) == 730
    spans = sorted((split["first"], split["last"]) for split in told.slowest)
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(spans))
    assert {split["host"] for split in told.slowest} == {platform.node()}


def test_of_many_splits_those_that_took_longest_are_told() -> None:
    report = Report()
    for k in (3, 9, 1, 7, 5, 8, 2):
        report.merge(Report(slowest=[{"seconds": float(k), "rows": k}]))
    assert [split["rows"] for split in report.slowest] == [9, 8, 7, 5, 3]
