"""Rounds on YARN: the streaming engine with mrjob's hadoop runner.

What differs from mrjob by itself: the State and the static task file are staged on HDFS through our own client, so that
the only JVM a round starts on this side is the one that submits; results are read the same way; and whether a job is
done is asked of the ResourceManager by the job's tag, not of the client process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrml import pin
from mrml.data.dataset import Dataset
from mrml.engines.environment import LINK, PYTHON, shipped
from mrml.engines.streaming import JobFailed, StreamingEngine
from mrml.engines.task import Report
from mrml.engines.write import Scoring, fetch
from mrml.engines.yarn import Application, ResourceManager, configuration, home
from mrml.errors import ConfigError, EngineError
from mrml.folder import Folder
from mrml.fs import LocalFileSystem, filesystem
from mrml.model import Model

log = logging.getLogger(__name__)

POLL_S = 0.2
#: how long a client may outlive its application before it is taken for hung
CLIENT_GRACE_S = 15.0
#: how often a waiting round says what it waits for
TELL_S = 30.0

#: survive a lost node in seconds rather than minutes; one attempt fewer than YARN's would be a failed round
JOBCONF = {
    "stream.map.input.ignoreKey": "true",
    "mapreduce.input.lineinputformat.linespermap": "1",
    "mapreduce.map.speculative": "false",
    "mapreduce.reduce.speculative": "false",
    "yarn.client.nodemanager-connect.max-wait-ms": "5000",
    "yarn.client.nodemanager-connect.retry-interval-ms": "500",
    "stream.jobconf.truncate.limit": "20000",
    "mapreduce.client.completion.pollinterval": "100",
    "mapreduce.client.progressmonitor.pollinterval": "100",
}


class HadoopEngine(StreamingEngine):
    """One Streaming job a round.

    Parameters
    ----------
    task_python : interpreter on the nodes that has mrml; default the running one, for a cluster on this machine.
    n_reducers : reduce tasks a job.
    jobconf : more ``-D`` keys; they win over ours.
    environment : archive of `mrml pack` whose Python runs the tasks; it wins over ``task_python``.
    queue, max_wait_s : where to ask for room, and how long to wait for it.
    """

    def __init__(
        self,
        n_tasks: int | None = None,
        split_bytes: int = 64 << 20,
        cache_dir: str | None = None,
        task_python: str | None = None,
        n_reducers: int = 1,
        jobconf: dict[str, str] | None = None,
        queue: str | None = None,
        max_wait_s: float = 3600.0,
        environment: str | None = None,
    ) -> None:
        self.keys = configuration()
        self.hadoop_bin = find_hadoop()
        super().__init__("hadoop", n_tasks, split_bytes, cache_dir)
        self.resource_manager = ResourceManager.of(self.keys)
        self.task_python, self.n_reducers, self.max_wait_s = task_python, n_reducers, max_wait_s
        self.jobconf = {**JOBCONF, **({"mapreduce.job.queuename": queue} if queue else {}), **(jobconf or {})}
        self.run_id = f"mrml-{uuid.uuid4().hex[:12]}"
        self.staging = f"{home(self.keys)}/{self.run_id}"
        self.environment = shipped(environment, home(self.keys)) if environment else None
        self.fs = filesystem(self.staging)[0]
        self.fs.makedirs(self.staging)
        self._jobs = 0
        self._staged: dict[str, str] = {}

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        """Parts go straight to HDFS; for a local directory, which the nodes do not see, they are fetched from there."""
        target = Folder(scoring.output)
        if not isinstance(target.fs, LocalFileSystem):
            return super().write(model, dataset, scoring)
        source = Folder(f"{self.staging}/parts")
        source.remove()
        source.make()
        report = super().write(model, dataset, dataclasses.replace(scoring, output=source.path))
        fetch(source, target)
        source.remove()
        return report

    # ---- staging

    def _store_path(self, number: int) -> str | None:
        """No store: tasks of a cluster share no disk."""
        return None

    def _stage(self, local: str) -> str:
        """The HDFS URI of a local file, uploaded once for each content."""
        content = Path(local).read_bytes()
        name = f"{Path(local).name}-{hash_of(content)}"
        if self._staged.get(local) != name:
            with self.fs.open(f"{self.staging}/{name}", "wb") as file:
                file.write(content)
            self._staged[local] = name
        return f"{self.staging}/{name}#{Path(local).name}"

    def _inputs(self, n_splits: int) -> list[str]:
        """One line of split numbers for each map task."""
        n_tasks = min(self.n_tasks, n_splits) or 1
        lines = [range(n_splits * t // n_tasks, n_splits * (t + 1) // n_tasks) for t in range(n_tasks)]
        path = self._folder / "splits.txt"
        path.write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
        return [self._stage(str(path)).split("#")[0]]

    # ---- a job

    def _run_job(self, args: list[str]) -> list[tuple[str, list[str]]]:
        from mrml.engines.protocol import FieldsProtocol
        from mrml.engines.streaming_job import RoundJob

        self._jobs += 1
        tag = f"{self.run_id}-{self._jobs}"
        output = f"{self.staging}/out-{self._jobs}"
        local = {args[i + 1] for i, a in enumerate(args) if a in ("--task", "--state", "--scoring")}
        staged = [self._stage(a) if a in local else a for a in args]
        n_reducers = 0 if "--scoring" in args else self.n_reducers
        job = RoundJob(args=[*self._options(), "--output-dir", output, *self._tagged(tag, n_reducers), *staged])
        job.sandbox(stdin=io.BytesIO(), stdout=io.BytesIO(), stderr=sys.stderr.buffer)
        with job.make_runner() as runner:
            runner._fs = ClientFileSystem(self.fs, self.hadoop_bin)
            self._watched(runner, tag)
        protocol = FieldsProtocol()
        lines = [line for path in self._parts(output) for line in self.fs.cat_file(path).splitlines()]
        self.fs.rm(output, recursive=True)
        return [protocol.read(line) for line in lines]

    def _parts(self, output: str) -> Iterator[str]:
        names = [info.name for info in self.fs.ls(output)]
        if not any(name.endswith("/_SUCCESS") for name in names):
            raise JobFailed("its output has no _SUCCESS")
        yield from (name for name in names if "/part-" in name)

    def _tagged(self, tag: str, n_reducers: int) -> list[str]:
        conf = {**self.jobconf, "mapreduce.job.tags": tag, "mapreduce.job.reduces": str(n_reducers)}
        return [word for k, v in sorted(conf.items()) for word in ("-D", f"{k}={v}")]

    def workers(self) -> int:
        return self.n_tasks

    def _options(self) -> list[str]:
        python = self.task_python or sys.executable
        environment = dict(pin.VARIABLES)
        archives: list[str] = []
        if self.environment is not None:
            python, archives = PYTHON, ["--archives", f"{self.environment}#{LINK}"]
        elif self.task_python is None:  # the nodes are this machine: mrml may lie outside the interpreter's packages
            environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        hadoop = ["--hadoop-bin", self.hadoop_bin, "--hadoop-streaming-jar", find_streaming_jar()]
        quiet = ["--no-conf", "--quiet", "--no-bootstrap-mrjob", "--no-check-input-paths", "--no-read-logs"]
        where = ["--local-tmp-dir", str(self._folder), "--hadoop-tmp-dir", f"{self.staging}/mrjob", "--cleanup", "NONE"]
        pythons = ["--python-bin", python, "--task-python-bin", python]
        cmdenv = [word for k, v in environment.items() for word in ("--cmdenv", f"{k}={v}")]
        return ["-r", "hadoop", *quiet, *hadoop, *where, *pythons, *archives, *cmdenv]

    def _watched(self, runner: Any, tag: str) -> None:
        """Run the client; believe the ResourceManager about how the job ends."""
        failure: list[Exception] = []

        def client() -> None:
            try:
                runner.run()
            except Exception as error:
                failure.append(error)

        thread = threading.Thread(target=client, daemon=True)
        thread.start()
        try:
            self._follow(thread, tag, failure)
        except BaseException:
            self.kill(tag)
            raise

    def _follow(self, thread: threading.Thread, tag: str, failure: list[Exception]) -> None:
        began = told = time.monotonic()
        ended_at: float | None = None
        while True:
            thread.join(POLL_S)
            found = self.resource_manager.by_tag(tag)
            app = found[0] if found else None
            now = time.monotonic()
            if app is not None and app.ended:
                ended_at = ended_at or now
                if not thread.is_alive() or now - ended_at > CLIENT_GRACE_S:
                    end_children(tag)
                    self._judge(app)
                    return
            elif not thread.is_alive():
                if app is None or failure:
                    self.kill(tag)
                    raise JobFailed(str(failure[0]) if failure else "the client ended without a job")
            elif (app is None or app.state in ("NEW", "SUBMITTED", "ACCEPTED")) and now - began > self.max_wait_s:
                finding = f"waited {self.max_wait_s:.0f} s and got no room"
                raise EngineError(
                    f"queue {app.queue if app else '?'}", finding, "raise --max-wait, or take another queue"
                )
            if app is not None and app.state == "ACCEPTED" and now - told > TELL_S:
                told = now
                self._tell(app)

    def _tell(self, app: Application) -> None:
        m = self.resource_manager.metrics()
        free = f"{m.get('availableMB', '?')} MB and {m.get('availableVirtualCores', '?')} cores free"
        log.info("%s waits in queue %s; %s; ask for less memory, or take another queue", app.id, app.queue, free)

    def _judge(self, app: Application) -> None:
        if not app.succeeded:
            logs = f"yarn logs -applicationId {app.id}"
            raise JobFailed(f"{app.id} ended {app.final or app.state}: {app.diagnostics[:500].strip()}; {logs}")

    def kill(self, tag: str) -> None:
        """End whatever runs under a tag: the client here and the application there."""
        end_children(tag)
        with contextlib.suppress(EngineError):
            for app in self.resource_manager.by_tag(tag):
                if not app.ended:
                    self.resource_manager.kill(app.id)

    def close(self) -> None:
        with contextlib.suppress(OSError, EngineError):
            self.fs.rm(self.staging, recursive=True)
        super().close()


class ClientFileSystem:
    """What mrjob's runner asks of its file-system object, answered by our own client: no JVM."""

    def __init__(self, fs: Any, hadoop_bin: str) -> None:
        self._fs, self._bin = fs, hadoop_bin
        self.hadoop = self

    def get_hadoop_bin(self) -> list[str]:
        return [self._bin]

    def get_hadoop_version(self) -> str:
        return "3.0.0"  # mrjob only asks whether keys have their new names

    def mkdir(self, path: str) -> None:
        self._fs.makedirs(path)

    def put(self, src: str, path: str) -> None:
        with open(src, "rb") as source, self._fs.open(path, "wb") as target:
            shutil.copyfileobj(source, target)

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(path))

    def join(self, path: str, *paths: str) -> str:
        return "/".join([path.rstrip("/"), *paths])

    def ls(self, path: str) -> Iterator[str]:
        return (info.name for info in self._fs.find(path))

    def rm(self, path: str) -> None:
        self._fs.rm(path, recursive=True)


def hash_of(content: bytes) -> str:
    """Twelve hex digits of SHA-256."""
    import hashlib

    return hashlib.sha256(content).hexdigest()[:12]


def find_hadoop() -> str:
    """The hadoop command of HADOOP_HOME or of the path."""
    home = pin.environment().get("HADOOP_HOME")
    found = shutil.which(f"{home}/bin/hadoop") if home else shutil.which("hadoop")
    if found is None:
        raise ConfigError("hadoop", "the hadoop command was not found", "export HADOOP_HOME, or put it on the PATH")
    return found


def find_streaming_jar() -> str:
    """hadoop-streaming*.jar below HADOOP_HOME."""
    home = Path(pin.environment().get("HADOOP_HOME") or Path(find_hadoop()).resolve().parents[1])
    places = (home / "share/hadoop/tools/lib", home / "lib", home)
    for place in places:
        for jar in sorted(place.glob("hadoop-streaming*.jar")):
            return str(jar)
    raise ConfigError("hadoop", f"no hadoop-streaming jar below {home}", "install Hadoop's tools there")


def end_children(tag: str) -> None:
    """Kill client processes of ours that submit under a tag: a hung one keeps its pseudo-terminal for ever."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes()
            if f"mapreduce.job.tags={tag}".encode() in words and b"java" in words:
                os.kill(int(entry.name), signal.SIGKILL)
