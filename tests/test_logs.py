"""Lines for people, JSON for machines, a bar on a terminal; none of them on stdout."""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Iterator

import numpy as np
import pytest

from mrml import logs

FACTS = {
    "round": 3,
    "rounds": 100,
    "loss": 0.512345678,
    "step": 1e-3,
    "seconds": 0.42,
    "rows_per_s": 4_760_000.0,
    "eta_s": 12.3,
    "gradient": 2.5e-7,
}


def test_what_mrjob_relays_is_for_verbose_people_only() -> None:
    for verbosity, said in ((0, "error: bad\n"), (1, "Running job\nerror: bad\n")):
        stream = io.StringIO()
        logs.setup(stream, verbosity)
        mrjob = logging.getLogger("mrjob.logs.step")
        logging.getLogger("mrjob").setLevel(logging.INFO)  # as an engine does that listens
        mrjob.info("Running job")
        mrjob.error("bad")
        assert stream.getvalue() == said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    handlers, level = list(logs.log.handlers), logs.log.level
    yield
    logs.log.handlers[:], logs.log.propagate = handlers, True
    logs.log.setLevel(level)


def test_the_line_of_a_round_tells_round_loss_step_seconds_rows_per_second_and_eta() -> None:
    line = "round 3/100  loss 0.512346  step 0.001  0.42 s  4,760,000 rows/s  ETA at most 12 s  gradient 2.5e-07"
    assert logs.round_line(FACTS) == line


def test_a_line_of_trees_begins_with_them() -> None:
    facts = {"round": 31, "rounds": 600, "tree": 5.0, "trees": 100.0, "loss": 0.5, "eta_s": 3.0}
    assert logs.round_line(facts) == "tree 5/100  round 31/600  loss 0.5  ETA 3.00 s"


@pytest.mark.parametrize(("verbosity", "style", "n"), [(0, "text", 11), (1, "text", 1000), (0, "json", 1000)])
def test_a_thousand_brief_rounds_are_a_line_a_tenth(verbosity: int, style: str, n: int) -> None:
    stream = io.StringIO()
    logs.setup(stream, verbosity, style)
    progress = logs.progress()
    for k in range(1, 1001):
        progress.round({"round": k, "rounds": 1100, "tree": k // 10, "trees": 100, "eta_s": float(1000 - k)})
    told = stream.getvalue().splitlines()
    assert len(told) == n
    if n == 11:  # the first, and each tenth
        assert [int(line.split()[3].split("/")[0]) for line in told[:3]] == [1, 100, 200]
        assert told[-1].startswith("tree 100/100  round 1000/")


def test_a_round_that_comes_two_seconds_after_the_last_line_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = io.StringIO(), [0.0]
    logs.setup(stream)
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    progress = logs.progress()
    for k in range(1, 9):
        now[0] += 0.75
        progress.round({"round": k, "rounds": 1000, "eta_s": 1.0})
    assert [line.split("/")[0] for line in stream.getvalue().splitlines()] == ["round 1", "round 4", "round 7"]


def test_a_round_that_knows_little_tells_what_it_knows() -> None:
    assert logs.round_line({"round": 1, "rounds": None, "loss": None}) == "round 1"


def test_a_line_a_round_goes_to_the_stream() -> None:
    stream = io.StringIO()
    logs.setup(stream)
    progress = logs.progress()
    progress.start(
        {"n_files": 3, "n_blocks": None, "n_rows": 2000, "n_bytes": 5 << 20, "engine": "local", "workers": 2}
    )
    progress.round(FACTS)
    progress.done({})
    first, second = stream.getvalue().splitlines()
    assert logs.plan_line({"n_files": 1, "n_blocks": 2, "engine": "inline", "workers": 1}) == (
        "1 file, 2 blocks; engine inline, 1 worker"
    )
    assert first == "3 files, 2,000 rows, 5.0 MiB; engine local, 2 workers"
    assert second == logs.round_line(FACTS)


def test_a_json_line_holds_the_facts_and_is_strict() -> None:
    stream = io.StringIO()
    logs.setup(stream, style="json")
    logs.progress().round({**FACTS, "loss": math.nan, "step": np.float64(0.5)})
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["round"], line["loss"], line["step"]) == ("round", "info", 3, None, 0.5)


def test_quiet_tells_warnings_only_and_verbose_tells_all() -> None:
    for verbosity, expected in ((-1, ["warning: w"]), (0, ["i", "warning: w"]), (1, ["d", "i", "warning: w"])):
        stream = io.StringIO()
        logs.setup(stream, verbosity)
        logs.log.debug("d")
        logs.log.info("i")
        logs.log.warning("w")
        assert stream.getvalue().splitlines() == expected


def test_colour_is_there_only_when_asked_for() -> None:
    for colour in (False, True):
        stream = io.StringIO()
        logs.setup(stream, colour=colour)
        logs.log.error("e")
        assert ("\033[" in stream.getvalue()) is colour


def test_a_terminal_gets_a_bar_that_leaves_no_line_and_keeps_out_of_the_way_of_warnings() -> None:
    pytest.importorskip("tqdm")
    stream = Terminal()
    logs.setup(stream)
    progress = logs.progress()
    assert isinstance(progress, logs.Bar)
    progress.start({"n_files": 1})
    progress.round(FACTS)
    assert "loss 0.512346" in stream.getvalue()
    logging.getLogger("mrml.engines").warning("a worker died")
    assert "\rwarning: a worker died\n" in stream.getvalue() or "\nwarning: a worker died\n" in stream.getvalue()
    progress.done({})
    assert not logs.log.handlers[0].bar  # type: ignore[attr-defined]


def test_an_error_takes_a_bar_off_the_terminal() -> None:
    pytest.importorskip("tqdm")
    logs.setup(Terminal())
    logs.progress().start({})
    logs.close()
    assert not logs.log.handlers[0].bar  # type: ignore[attr-defined]


@pytest.mark.parametrize(("verbosity", "style"), [(-1, "text"), (1, "text"), (0, "json")])
def test_there_is_no_bar_where_it_would_be_in_the_way(verbosity: int, style: str) -> None:
    logs.setup(Terminal(), verbosity, style)
    assert type(logs.progress()) is logs.Lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (0.0034, "3 ms"), (0.423, "0.42 s"), (12.3, "12 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_a_duration_is_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert logs.seconds(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (4 << 20, "4.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_bytes_are_told_in_powers_of_1024(n_bytes: int, text: str) -> None:
    assert logs.size(n_bytes) == text
