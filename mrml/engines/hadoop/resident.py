"""Resident tasks in containers of YARN: one map-only Streaming job for a whole run."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from mrml.config.sections import EngineConfig
from mrml.engines.base import Engine
from mrml.engines.hadoop.engine import HadoopEngine
from mrml.engines.resident.starters import NoTasks, letter
from mrml.engines.streaming.engine import JobFailed
from mrml.engines.task import Report
from mrml.engines.write import Scoring
from mrml.errors import MrmlError

#: one map task a line, none of them twice at once or after another; a container lost costs an attempt
JOBCONF = {
    "mapreduce.job.reduces": "0",
    "mapreduce.job.ubertask.enable": "false",
    "mapreduce.job.running.map.limit": "0",
    "mapreduce.map.maxattempts": "8",
}
#: how often HDFS is asked whether the job has ended
POLL_S = 1.0
#: how long the job may take to end once its tasks have
END_S = 5.0


class Containers:
    """The job, watched by a thread; ``jobs`` is the engine that submits it, and that goes on where it fails."""

    def __init__(self, config: EngineConfig, n_tasks: int, split_bytes: int) -> None:
        self.jobs, self.n_tasks = HadoopEngine(config, split_bytes), n_tasks
        self.host = _reaching(self.jobs.resource_manager.url)
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._jobconf, self._falls_back = self.jobs.jobconf, False

    def attach(self, run_id: str) -> None:
        self.jobs.attach(run_id)

    def start(self, port: int, secret: bytes) -> None:
        told = letter(self.jobs.folder / "letter", self.host, port, secret)
        lines = self.jobs.folder / "tasks.txt"
        lines.write_text("".join(f"{number}\n" for number in range(self.n_tasks)))
        self._thread = threading.Thread(target=self._run, args=(told, lines), daemon=True)
        self._thread.start()

    def _run(self, told: Path, lines: Path) -> None:
        try:
            self.jobs.jobconf = {**self._jobconf, **JOBCONF}
            self.jobs.round_timeout_s, self.jobs.poll_s = math.inf, POLL_S
            self.jobs.stay(told, lines)
        except (MrmlError, JobFailed, OSError) as error:
            self._failure = error

    def check(self) -> None:
        if self._failure is not None:
            raise NoTasks(str(self._failure))
        if self._thread is not None and not self._thread.is_alive():
            raise NoTasks("their job has ended")

    def written(self, scoring: Scoring, write: Callable[[Scoring], Report]) -> Report:
        return self.jobs.written(scoring, write)

    def fallback(self) -> Engine:
        self._end_job(0)
        self._falls_back = True
        self.jobs.as_configured()
        return self.jobs

    def end(self, n_joined: int) -> None:
        if self._falls_back:  # closed as the engine that it was
            return
        self._end_job(n_joined)
        self.jobs.close()

    def _end_job(self, n_joined: int) -> None:
        """Wait for the job to end; end it where tasks never came, which would come now."""
        if self._thread is None:
            return
        if n_joined >= self.n_tasks:
            self._thread.join(END_S)
        if self._thread.is_alive():
            self.jobs.kill(self.jobs.run_id)
            self._thread.join(END_S)


def _reaching(url: str) -> str:
    """The address of this machine from which the ResourceManager is reached: the nodes reach it there."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "localhost", parts.port or 80), timeout=10.0) as sock:
        return str(sock.getsockname()[0])
