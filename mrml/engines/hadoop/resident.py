"""Resident tasks in containers of YARN: one map-only Streaming job for a whole run."""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mrml import wire
from mrml.config.sections import EngineConfig
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.engines.hadoop.diagnose import Refusal
from mrml.engines.hadoop.engine import HadoopEngine
from mrml.engines.hadoop.places import places
from mrml.engines.hadoop.staging import hash_of
from mrml.engines.resident.letter import Letter
from mrml.engines.resident.near import Held
from mrml.engines.resident.starters import NoTasks
from mrml.engines.streaming.engine import JobFailed
from mrml.engines.task import Report
from mrml.engines.write import Scoring
from mrml.errors import ConfigError, EngineError, InputError, MrmlError
from mrml.fs.folder import Folder

log = logging.getLogger(__name__)

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
#: how long tasks look for the next driver of their run
GRACE_S = 120.0
#: the file beside the letter in which the next driver leaves its address
_NEXT = "next"


class LeftBehind(NamedTuple):
    """A job of tasks that a driver left, as it is tagged, and what they were told."""

    tag: str
    attempt: str
    letter: Letter


class Containers:
    """The job, watched by a thread; ``jobs`` is the engine that submits it, and that goes on where it fails."""

    def __init__(self, config: EngineConfig, n_tasks: int, split_bytes: int) -> None:
        self.jobs, self.n_tasks = HadoopEngine(config, split_bytes), n_tasks
        self.host = reaching(self.jobs.resource_manager.url)
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._found: LeftBehind | None = None
        self._falls_back = False

    def attach(self, run_id: str, output: str) -> None:
        self.jobs.attach(run_id, output)

    def secret(self) -> bytes:
        """Of tasks that a driver before this one left, if they still look for the next one."""
        self._found = self._left_behind()
        return secrets.token_bytes(32) if self._found is None else self._found.letter.secret

    def start(self, port: int, secret: bytes, beat_s: float) -> None:
        lines = self.jobs.folder / "tasks.txt"
        lines.write_text("".join(f"{number}\n" for number in range(self.n_tasks)))
        if self._found is not None:
            log.info("taking over the tasks of an earlier driver of this run")
        letter = Letter(self.host, port, secret, GRACE_S, f"{self.jobs.staging.private}/{_NEXT}", beat_s)
        self._thread = threading.Thread(target=self._run, args=(letter, lines), daemon=True)
        self._thread.start()

    def _run(self, letter: Letter, lines: Path) -> None:
        try:
            self.jobs.jobconf = {**JOBCONF, **self.jobs.jobconf}
            self.jobs.round_timeout_s, self.jobs.poll_s = math.inf, POLL_S
            self._stay(letter, lines)
        except (MrmlError, JobFailed, OSError) as error:
            self._failure = error

    def _left_behind(self) -> LeftBehind | None:
        """Tasks of a driver before this one that still look for the next."""
        mine = f"{self.jobs.run_id}-resident."
        for app in self.jobs.resource_manager.by_tag(self.jobs.run_id):
            # of the job, and of this attempt at it, which is the longer one
            attempt = max((tag for tag in app.tags if tag.startswith(mine)), key=len, default=None)
            if attempt is None or app.ended:
                continue
            with contextlib.suppress(OSError, EngineError):
                tag = attempt.rpartition(".")[0]
                letter = self.jobs.fs.cat_file(f"{self.jobs.staging.private}/letter-{tag.removeprefix(mine)}")
                return LeftBehind(tag, attempt, Letter.of(letter))
        return None

    def _stay(self, letter: Letter, lines: Path) -> None:
        """Run a map-only job whose tasks serve this driver until it lets them go, a task for each of the lines; or have
        those that were found come here."""
        jobs, staging = self.jobs, self.jobs.staging
        jobs.label = "resident"
        if self._found is not None:
            jobs.end_others(self._found.tag)
            Folder(staging.private).write(_NEXT, wire.dumps({"host": letter.host, "port": letter.port}))
            jobs.watched(self._found.tag, self._found.attempt, None)
            return
        path = letter.write(jobs.folder / "letter")
        told, numbers = staging.put(str(path), private=True), staging.put(str(lines)).split("#")[0]
        tag = f"{jobs.run_id}-resident.{hash_of(path.read_bytes())}"
        jobs.end_others(tag)
        jobs.submitted(tag, ["--resident", told, numbers])

    def check(self) -> None:
        if isinstance(self._failure, Refusal | ConfigError | InputError):
            raise self._failure
        if self._failure is not None:
            raise NoTasks(str(self._failure))
        if self._thread is not None and not self._thread.is_alive():
            raise NoTasks("their job has ended")

    def n_running(self) -> int:
        with contextlib.suppress(EngineError):
            apps = self.jobs.resource_manager.by_tag(self.jobs.run_id)
            return sum(app.containers - 1 for app in apps if not app.ended and app.containers)  # without its master
        return 0

    def places(self, dataset: Dataset) -> Sequence[Sequence[Held]]:
        return places(dataset.files, self.jobs.keys)

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


def reaching(url: str) -> str:
    """The address of this machine from which the ResourceManager is reached: the nodes reach it there."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "localhost", parts.port or 80), timeout=10.0) as sock:
        return str(sock.getsockname()[0])
