"""What a user can do with the commands, done: files in, files out, nothing looked at but those and what is printed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import Place

# ---- interrupts and kills

#: logistic regression that stops in its second round while the file HOLD is there
WAITS = """
import os, time
from dataclasses import dataclass
from mrml.algorithms.glm import Logistic

@dataclass(frozen=True)
class Waits(Logistic):
    def map(self, state, block, into):
        hold = os.environ.get("HOLD", "")
        while state.round == 2 and os.path.exists(hold):
            open(hold + ".reached", "w").close()
            time.sleep(0.02)
        super().map(state, block, into)
"""
WAITING = ("train", "waits:Waits", "--data", "d", "--target", "y", "--output", "m", "-q", "--engine")


def numbers(n: int = 60, header: str = "a,b,y\n") -> str:
    return header + "".join(f"{i % 11},{(i * 7) % 13},{'yes' if (i * i) % 7 < 3 else 'no'}\n" for i in range(n))


def processes_of(place: Place) -> list[str]:
    """Command lines of the processes that have this place's temporary folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={place.tmp}\0" in (entry / "environ").read_text() + "\0" and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def none_left(place: Place) -> bool:
    """Whether they all end; they look for their driver twice a second."""
    for _ in range(300):
        if not processes_of(place):
            return True
        time.sleep(0.1)
    return False


def stopped(place: Place, number: signal.Signals, engine: tuple[str, ...], group: bool) -> tuple[int, str]:
    """Send a signal in the middle of the second round; exit code and stderr."""
    hold = place.here / "hold"
    hold.touch()
    process = place.start(*WAITING, *engine, HOLD=str(hold))
    while not (place.here / "hold.reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize(
    ("number", "engine", "group"),
    [
        (signal.SIGINT, ("inline",), False),
        (signal.SIGINT, ("local", "--workers", "2"), True),
        (signal.SIGTERM, ("local", "--workers", "2"), False),
        (signal.SIGINT, ("streaming", "-r", "local", "--workers", "2"), False),
        (signal.SIGTERM, ("streaming", "-r", "local", "--workers", "2"), True),
    ],
)
def test_an_interrupted_run_is_130_leaves_no_process_and_resumes_to_the_same_bytes(
    place: Place, number: signal.Signals, engine: tuple[str, ...], group: bool
) -> None:
    place.put({"d/a.csv": numbers(), "d/b.csv": numbers(9), "waits.py": WAITS})
    code, err = stopped(place, number, engine, group)
    assert code == 130
    assert err.endswith("error: interrupted; --resume goes on from the last checkpoint\n") and "Traceback" not in err
    assert none_left(place) and list(place.tmp.iterdir()) == []
    assert [p.name for p in (place.here / "m").iterdir()] == ["_run"]
    resumed_to_the_same_bytes(place)


def resumed_to_the_same_bytes(place: Place) -> None:
    assert place(*WAITING, "inline", "--resume").code == 0
    resumed = place.model()
    assert place(*WAITING, "inline", "--overwrite").code == 0
    assert place.model() == resumed


def test_a_killed_run_is_no_output_leaves_no_worker_and_resumes_to_the_same_bytes(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "d/b.csv": numbers(9), "waits.py": WAITS})
    code, _ = stopped(place, signal.SIGKILL, ("local", "--workers", "2"), False)
    assert code == -signal.SIGKILL and none_left(place)
    assert [p.name for p in (place.here / "m").iterdir()] == ["_run"]
    again = place(*WAITING, "inline")
    remedy = "say --overwrite to replace it, or --resume to go on"
    assert again == (4, "", f"error: m: holds a run that did not finish; {remedy}\n")
    resumed_to_the_same_bytes(place)
    assert list(place.tmp.iterdir()) == [], "the next run sweeps what a killed one left"


def test_a_model_that_was_to_be_replaced_by_a_killed_run_is_there_until_the_new_one_is(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "waits.py": WAITS})
    assert place(*WAITING, "inline").code == 0
    old = place.model()
    place.put({"d/b.csv": numbers(9)})
    hold = place.here / "hold"
    hold.touch()
    process = place.start(*WAITING, "inline", "--overwrite", HOLD=str(hold))
    while not (place.here / "hold.reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert place.model() == old
    process.kill()
    process.communicate()
    assert place.model() == old and place("inspect", "m").code == 0
    hold.unlink()
    assert place(*WAITING, "inline", "--resume").code == 0
    assert place.model() != old
