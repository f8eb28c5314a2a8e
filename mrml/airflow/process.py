"""A command that outlives the task which started it: a folder tells of it, to whoever sees the folder.

================  =====================================================================================
``command.json``  what runs: argv, cwd, how long it may take to end
``lock``          locked as long as the command or its keeper lives: a process id would say nothing
                  to another container or machine, and may be somebody else's by then
``log``           what the command writes to stderr
``out``           what it writes to stdout: with ``--json`` one object
``exit``          how it ended; not there where it was killed together with its keeper
``stop``          somebody asked for its end: the keeper sees to it, also where who asked is gone
``owner``         the try that waits for it: where a task is cleared, the end of the try before must
                  not end the run that the next one has taken over by then (seen with Airflow 3.3)
================  =====================================================================================

The keeper (:mod:`mrml.airflow.keeper`) and the command have sessions of their own.  No Airflow here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mrml.errors import ConfigError, EngineError, MrmlError

RUNNING, ENDED, LOST, UNSEEN = "running", "ended", "lost", "unseen"
KEEPER = Path(__file__).with_name("keeper.py")
POLL_S = 0.2
_LEVELS = ("warning", "error")
_NO_COMMAND = (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC)
#: longer than anybody holds the lock who only looks whether it is free
LOOK_S = 1.0
#: how much longer than its grace a command may take to be gone
KILL_S = 5.0


class Command(NamedTuple):
    """What to run: ``cwd`` None is the worker's own folder; SIGTERM becomes SIGKILL after ``grace_s`` seconds."""

    argv: Sequence[str]
    cwd: str | None
    grace_s: float


class Outcome(NamedTuple):
    """How a command ended: its exit code, the object that it printed, and its error as one sentence."""

    code: int
    result: dict[str, Any]
    error: str


def start(folder: Path, command: Command, environment: Mapping[str, str], owner: str = "") -> bool:
    """Start a command, or False: the same one runs in this folder already, and is ``owner``'s from now on.

    Another one that runs here, or one that is to end, is ended first.  EngineError where it does not end.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        free = _locked(lock, fcntl.LOCK_EX, LOOK_S)
        (folder / "owner").write_text(owner, encoding="utf-8")
        if not free:
            if _asked(folder) == command and not (folder / "stop").exists():
                return False
            if not stop(folder, command.grace_s) or not _locked(lock, fcntl.LOCK_EX, LOOK_S):
                raise EngineError(str(folder), "the previous run does not end", "end its processes")
        _clear(folder)
        (folder / "command.json").write_text(json.dumps(command._asdict()), encoding="utf-8")
        _keep(folder, lock, environment)
    finally:
        os.close(lock)
    return True


def _keep(folder: Path, lock: int, environment: Mapping[str, str]) -> None:
    argv = [sys.executable, "-IS", str(KEEPER), str(folder), str(lock)]
    with open(folder / "log", "ab") as log:
        subprocess.run(argv, check=True, env=dict(environment), pass_fds=(lock,), start_new_session=True,
                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip


def look(folder: Path) -> str:
    """RUNNING, ENDED, LOST (gone without a word), or UNSEEN: no such folder on this machine."""
    if (folder / "exit").exists():
        return ENDED
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return UNSEEN
    try:
        if not _locked(lock, fcntl.LOCK_SH):
            return RUNNING
    finally:
        os.close(lock)
    return ENDED if (folder / "exit").exists() else LOST  # it may have ended since the first look


def stop(folder: Path, grace_s: float, owner: str | None = None) -> bool:
    """End a command and wait until it is gone: False where it is not, some seconds after its grace.

    One that is not this owner's any more is let alone; None ends anybody's.
    """
    if look(folder) != RUNNING or (owner is not None and _owner(folder) != owner):
        return True
    (folder / "stop").touch()
    until = time.monotonic() + grace_s + KILL_S
    while look(folder) == RUNNING:
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def lines(folder: Path, told: int) -> tuple[list[str], int]:
    """The whole lines of the log from byte ``told`` on, and the byte after them."""
    more = look(folder) == RUNNING  # before the file is read: what has ended has written all of it
    try:
        with open(folder / "log", "rb") as file:
            file.seek(told)
            text = file.read()
    except FileNotFoundError:
        return [], told
    text = text[: text.rfind(b"\n") + 1] if more else text
    return text.decode("utf-8", "replace").splitlines(), told + len(text)


def tell(log: logging.Logger, line: str) -> None:
    """A line of mrml's, at the level that it begins with."""
    level, _, rest = line.partition(": ")
    getattr(log, level)("%s", rest) if level in _LEVELS else log.info("%s", line)


def outcome(folder: Path) -> Outcome:
    """How a command ended.  ConfigError where it could not be started, EngineError where it is gone without a word."""
    argv = _read(folder / "command.json").get("argv", ["mrml"])
    told = _read(folder / "exit")
    if not folder.exists():
        remedy = "name a folder= on a disk that workers and triggerer share, or wait in the worker: deferrable=False"
        raise EngineError(str(folder), "is not visible from this machine", remedy)
    if "code" not in told:
        finding = "its processes are gone and left no result: killed, or the machine was started again"
        raise EngineError(argv[0], finding, f"{folder / 'log'} has its last lines; a retry continues where it stopped")
    if told["code"] is None:
        kind = ConfigError if told["errno"] in _NO_COMMAND else EngineError
        raise kind(
            argv[0], f"cannot be started: {told['error']}", "give mrml= the path of the command, cwd= its folder"
        )
    result = _read(folder / "out")
    code = int(told["code"])
    return Outcome(code, result, _error(code, result, folder) if code else "")


def remove(folder: Path) -> None:
    """Forget a command that has ended, its log included."""
    shutil.rmtree(folder, ignore_errors=True)


def _error(code: int, result: Mapping[str, Any], folder: Path) -> str:
    """The error that the command told, else the last line of its log."""
    said = result.get("error")
    if isinstance(said, dict):
        return str(MrmlError(*(said.get(key, "") for key in ("place", "finding", "remedy"))))
    last = next((line for line in reversed(lines(folder, 0)[0]) if line.strip()), "it wrote nothing")
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}: {last}"


def _asked(folder: Path) -> Command:
    found = _read(folder / "command.json")
    return Command(found.get("argv", []), found.get("cwd"), found.get("grace_s", 0.0))


def _owner(folder: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (folder / "owner").read_text(encoding="utf-8")
    return ""


def _clear(folder: Path) -> None:
    for name in ("exit", "stop", "out", "log"):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """The object of a JSON file; an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _locked(lock: int, kind: int, limit_s: float = 0.0) -> bool:
    until = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
