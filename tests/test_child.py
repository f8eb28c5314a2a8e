"""The process that computes for one whose kernels are not pinned: it stays for the next call."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrml import pin
from mrml.config.sections import RunConfig
from mrml.runs.child import _Child

MESSAGE = {"name": "train", "given": {"config": dataclasses.asdict(RunConfig("linear"))}, "allow": []}


def asked(child: _Child) -> str:
    """The place of the error that a run without an output is."""
    return str(child.answer(json.dumps(MESSAGE))["error"]["place"])


def test_a_child_stays_for_calls_from_where_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _Child.free()
    assert asked(first) == "output"
    first.stay()
    again = _Child.free()
    assert again is first and asked(again) == "output" and again.process.poll() is None
    again.stay()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    other = _Child.free()
    assert other is not first and first.process.poll() is not None
    other.end()


def test_a_child_that_died_while_it_waited_is_replaced_and_one_that_dies_in_a_call_says_how() -> None:
    first = _Child()
    first.stay()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = _Child.free()
    assert second is not first
    second.process.send_signal(signal.SIGKILL)
    assert second.answer(json.dumps(MESSAGE)) == {"ended": -signal.SIGKILL}
    second.end()


USER = """
import os, sys, mrml
from mrml import errors
from mrml.runs.child import _Child
for k in range(2):
    try:
        mrml.Linear().fit("nothing.csv", target="y", output=sys.argv[1])
    except errors.MrmlError as error:
        print(type(error).__name__, _Child.waiting[0].process.pid)
"""


def test_a_child_is_asked_again_after_an_error_and_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in pin.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USER, str(tmp_path / "m")],
        env=environment,
        capture_output=True,
        text=True,
    )
    (name, pid), again = (line.split() for line in done.stdout.splitlines())
    assert name == "InputError" and again == [name, pid] and done.stderr == ""
    assert not Path("/proc", pid).exists()
