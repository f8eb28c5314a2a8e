"""Where resident tasks come from: here, from this machine; :mod:`mrml.engines.hadoop.resident` has those of YARN."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.engines.local import start
from mrml.engines.resident import task
from mrml.engines.resident.letter import Letter
from mrml.engines.resident.near import Held
from mrml.engines.task import Report
from mrml.engines.write import Scoring

#: as often as YARN tries a task
MAX_ATTEMPTS = 4
#: how long a process looks for the driver that took it for dead
GRACE_S = 5.0


class NoTasks(Exception):
    """There are no tasks, and there will be none."""


class Starter(Protocol):
    """Starts tasks, and sees to them until they end."""

    #: the address of this machine that they can dial
    host: str

    def attach(self, run_id: str, output: str) -> None:
        """Told which run they serve, and where its output is to be."""

    def secret(self) -> bytes:
        """What tasks know and nobody else: a new one, or that of tasks who are there already."""

    def start(self, port: int, secret: bytes, beat_s: float) -> None:
        """Have tasks started that dial this machine, and say every ``beat_s`` seconds that they are there."""

    def check(self) -> None:
        """NoTasks where none will come any more."""

    def n_running(self) -> int:
        """How many tasks are started, as far as that is known."""

    def places(self, dataset: Dataset) -> Sequence[Sequence[Held]]:
        """Of each file, which hosts hold what of it, as far as that is known."""

    def written(self, scoring: Scoring, write: Callable[[Scoring], Report]) -> Report:
        """Write predictions where tasks can."""

    def fallback(self) -> Engine:
        """The engine that goes on without tasks."""

    def end(self, n_joined: int) -> None:
        """See that none is left of ``n_joined`` who were told to end, nor of those who never came."""


class Processes:
    """Tasks as processes of this machine; one that dies is started again, as YARN does it."""

    def __init__(self, n_tasks: int, split_bytes: int, folder: Path) -> None:
        self.host, self.n_tasks, self.split_bytes, self.folder = "127.0.0.1", n_tasks, split_bytes, folder
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self._starts = [0] * n_tasks
        self._letter = Path()

    def attach(self, run_id: str, output: str) -> None:
        return None

    def secret(self) -> bytes:
        return secrets.token_bytes(32)

    def start(self, port: int, secret: bytes, beat_s: float) -> None:
        self._letter = Letter(self.host, port, secret, GRACE_S, beat_s=beat_s).write(self.folder / "letter")
        for number in range(self.n_tasks):
            self._start(number)

    def _start(self, number: int) -> None:
        self._starts[number] += 1
        words = (os.getpid(), self._letter, number, self.folder / f"task-{number}-{self._starts[number]}")
        prints_to = sys.stderr.fileno() if _is_file(sys.stderr) else subprocess.DEVNULL
        self.running[number] = start.interpreter(task.__name__, words, subprocess.DEVNULL, prints_to)

    def check(self) -> None:
        for number, process in list(self.running.items()):
            if process.poll() is not None:
                del self.running[number]
                if process.returncode and self._starts[number] < MAX_ATTEMPTS:
                    self._start(number)
        if not self.running:
            raise NoTasks(f"every one of {self.n_tasks} tasks ended {MAX_ATTEMPTS} times")

    def n_running(self) -> int:
        return len(self.running)

    def places(self, dataset: Dataset) -> Sequence[Sequence[Held]]:
        return ()

    def written(self, scoring: Scoring, write: Callable[[Scoring], Report]) -> Report:
        return write(scoring)

    def fallback(self) -> Engine:
        from mrml.engines.streaming.engine import StreamingEngine

        return StreamingEngine("local", self.n_tasks, self.split_bytes, str(self.folder))

    def end(self, n_joined: int) -> None:
        for process in self.running.values():
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_file(stream: object) -> bool:
    try:
        return bool(stream.fileno() >= 0)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
