"""Processes that outlive the command that started them: begun, found again, ended (Linux: /proc).

A process is its number and the tick it started at, so that a number that was given away again is never taken for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class Process(NamedTuple):
    """``started`` is in clock ticks since the machine came up; 0 when it had ended before it could be read."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return self.started != 0 and _started(self.pid) == self.started

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        try:
            pages = int((_PROC / str(self.pid) / "statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def signal(self, number: int) -> None:
        """Send a signal, if it is still the same process."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def begin(command: Sequence[str], log: Path, cwd: Path) -> Process:
    """Start a process in a session of its own, its output in ``log``.

    The shell between ends at once, so the process is nobody's child and leaves no zombie in a long-lived caller.
    """
    shell = subprocess.run(
        ["/bin/sh", "-c", 'log=$1; shift; "$@" >>"$log" 2>&1 & echo $!', "sh", str(log), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=cwd,
        check=True,
        text=True,
    )
    pid = int(shell.stdout)
    return Process(pid, _started(pid))


def end(processes: Sequence[Process], patience_s: float) -> None:
    """SIGTERM to all, and SIGKILL to those that have not ended in time."""
    for process in processes:
        process.signal(signal.SIGTERM)
    if not wait_ended(processes, patience_s):
        for process in processes:
            process.signal(signal.SIGKILL)
        wait_ended(processes, patience_s)


def wait_ended(processes: Sequence[Process], limit_s: float) -> bool:
    """Whether all ended within some seconds."""
    until = time.monotonic() + limit_s
    while any(p.alive for p in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


class Container(NamedTuple):
    """A process of a YARN container; ``id`` is the container's, empty for the shells that NodeManager wraps it in."""

    process: Process
    id: str
    command: str

    @property
    def application(self) -> str:
        """``container_e17_1700000000000_0004_01_000002`` is of ``application_1700000000000_0004``."""
        parts = [p for p in self.id.split("_")[1:] if not p.startswith("e")]
        return "_".join(["application", *parts[:2]]) if self.id else ""

    @property
    def is_master(self) -> bool:
        """Whether it is the application master."""
        return "MRAppMaster" in self.command


def containers(local: Path) -> list[Container]:
    """The processes of all containers of the NodeManager with this local directory, also when it is gone.

    What a container starts inherits LOCAL_DIRS and CONTAINER_ID; the shells before it name their script.
    """
    found = []
    for process, argv, environ in _each():
        variables = dict(pair.split("=", 1) for pair in environ if pair.startswith(("LOCAL_DIRS=", "CONTAINER_ID=")))
        if variables.get("LOCAL_DIRS", "").startswith(f"{local}/"):
            found.append(Container(process, variables.get("CONTAINER_ID", ""), " ".join(argv)))
        elif any(a.startswith(f"{local}/") and a.endswith((".sh", ".tmp")) for a in argv):
            found.append(Container(process, "", " ".join(argv)))
    return found


def marked(argument: str) -> list[Process]:
    """The processes that were started with this word in HADOOP_OPTS or among their arguments."""
    found = []
    for process, argv, environ in _each():
        words = [*argv, *(pair for pair in environ if pair.startswith("HADOOP_OPTS="))]
        if any(argument in word.split() for word in words):
            found.append(process)
    return found


def kill_all(found: Iterable[Process]) -> None:
    """SIGKILL; nothing is asked to end in order."""
    processes = list(found)
    for process in processes:
        process.signal(signal.SIGKILL)
    wait_ended(processes, 10)


def _each() -> Iterator[tuple[Process, list[str], list[str]]]:
    """Every process that may be read: itself, its arguments, its environment when it began."""
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            argv = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
            environ = os.fsdecode((folder / "environ").read_bytes()).split("\0")
        except OSError:  # of somebody else, or gone
            continue
        process = Process(int(folder.name), _started(int(folder.name)))
        if process.started:
            yield process, argv, environ


def _started(pid: int) -> int:
    """When a process started, in clock ticks; 0 when there is none or only its zombie (proc(5), fields 3 and 22).

    The first thread of a JVM that is killed is a zombie while others still hold its ports.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        ended = fields[0] in "ZX" and len(list((_PROC / str(pid) / "task").iterdir())) <= 1
    except OSError:
        return 0
    return 0 if ended else int(fields[19])
