"""Holds one command that outlives the task that started it, and says in its folder how it ended.

Run as a file, ``python -IS keeper.py FOLDER LOCK``: it imports the standard library only, neither mrml nor Airflow.
:mod:`mrml.airflow.process` tells what lies in the folder and starts it.  LOCK is the number of an open file whose lock
the command inherits too: as long as either lives, nobody else can have it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.2
#: prctl(2): the signal that a process gets when its parent is gone
_PR_SET_PDEATHSIG = 1


def main(folder: Path, lock: int) -> None:
    """Start what ``command.json`` says, wait for its end or for ``stop``, write ``exit``."""
    if os.fork():  # whoever started this has no child to wait for, and none that would be ended with it
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda number, frame: (folder / "stop").touch())
    asked = json.loads((folder / "command.json").read_text(encoding="utf-8"))
    try:
        with open(folder / "out", "wb") as out, open(folder / "log", "ab") as log:
            child = subprocess.Popen(asked["argv"], cwd=asked["cwd"], stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                     start_new_session=True, pass_fds=(lock,), preexec_fn=_ends_with_me)  # fmt: skip
    except OSError as error:
        return _write(folder, {"code": None, "errno": error.errno, "error": str(error)})
    while child.poll() is None:
        if (folder / "stop").exists():
            end(child, asked["grace_s"])
        time.sleep(POLL_S)
    _write(folder, {"code": child.returncode})


def end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """SIGTERM to the command's whole group, as Ctrl-C in a terminal would be; what is left after a while is killed."""
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    _signal(child, signal.SIGKILL)
    child.wait()


def _ends_with_me() -> None:
    """The command ends in order when its keeper is killed: nobody else could end it then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _write(folder: Path, told: dict[str, object]) -> None:
    aside = folder / "exit.tmp"
    aside.write_text(json.dumps(told), encoding="utf-8")
    os.replace(aside, folder / "exit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
