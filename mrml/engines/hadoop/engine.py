"""Rounds on YARN: the streaming engine with mrjob's hadoop runner.

What differs from mrjob by itself: the State and the static task file are staged on HDFS through our own client, so that
the only JVM a round starts on this side is the one that submits; results are read the same way; and whether a job is
done is asked of HDFS and of the ResourceManager, not of the client process.

A job is named by what it computes: its tag holds the run and a hash of task, State and inputs.  So a driver that comes
after one that was killed needs no record of what that one did: output of the job that is whole is taken, an application
that runs is followed, anything else of the run is ended.  Each attempt writes to a directory of its own and is adopted
by rename.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrml import pin
from mrml.algorithm import Algorithm, State, Value
from mrml.config.sections import EngineConfig
from mrml.data.dataset import Dataset
from mrml.data.shards import Reads
from mrml.engines.hadoop import limits
from mrml.engines.hadoop.client import Client, ClientFileSystem, end_clients
from mrml.engines.hadoop.diagnose import lost, refused, why
from mrml.engines.hadoop.environment import LINK, interpreter, shipped
from mrml.engines.hadoop.follow import POLL_S, Following, Watched
from mrml.engines.hadoop.staging import Staging, hash_of
from mrml.engines.hadoop.uber import Decision, decide
from mrml.engines.hadoop.yarn import (
    RUN_TAG,
    ResourceManager,
    configuration,
    expect_namenode,
    expect_resourcemanager,
    home,
    job_name,
)
from mrml.engines.streaming import mrjob_compat
from mrml.engines.streaming.engine import JobFailed, StreamingEngine
from mrml.engines.streaming.feed import Feed, heads
from mrml.engines.streaming.protocol import Fields, FieldsProtocol
from mrml.engines.task import Report
from mrml.engines.write import Scoring, fetch
from mrml.errors import ConfigError, EngineError
from mrml.fs.find import filesystem
from mrml.fs.folder import Folder
from mrml.model import Model
from mrml.version import __version__

log = logging.getLogger(__name__)

#: how long clients and applications may take to go when a run is over
CLIENT_GRACE_S = 8.0

#: survive a lost node in seconds rather than minutes; speculation pays where nodes differ, and is harmless if forced on
JOBCONF = {
    "mapreduce.map.speculative": "false",
    "mapreduce.reduce.speculative": "false",
    "yarn.client.nodemanager-connect.max-wait-ms": "5000",
    "yarn.client.nodemanager-connect.retry-interval-ms": "500",
    "stream.jobconf.truncate.limit": "20000",
    # by default the application master asks for containers once a second, first for the maps and then for the reducers
    "yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms": "200",
    "mapreduce.client.completion.pollinterval": "100",
    "mapreduce.client.progressmonitor.pollinterval": "100",
}
#: statistics travel from map to reduce as bytes; the few values that leave the reducers are lines of text
RAWBYTES = {"stream.map.output": "rawbytes", "stream.reduce.input": "rawbytes"}


class HadoopEngine(StreamingEngine):
    """One Streaming job a round, as the section ``engine`` of a run says.

    ``task_python`` is by default the running interpreter, for a cluster on this machine; ``environment`` wins over it.
    """

    def __init__(self, config: EngineConfig, split_bytes: int = 64 << 20) -> None:
        self.keys = configuration()
        self.hadoop_bin = find_hadoop()
        super().__init__("hadoop", config.workers, split_bytes, config.cache_dir)
        self.resource_manager = ResourceManager.of(self.keys)
        self.history = history(self.keys)
        self.task_python, self.n_reducers = config.task_python, config.reducers
        self.max_wait_s, self.round_timeout_s, self.poll_s = config.max_wait_s, config.round_timeout_s, POLL_S
        queue = {"mapreduce.job.queuename": config.queue} if config.queue else {}
        self.jobconf = {**JOBCONF, **queue, **config.properties()}
        self._configured = self.jobconf, self.poll_s, self.round_timeout_s
        self._home = home(self.keys)
        expect_namenode(self.keys["fs.defaultFS"].rstrip("/"))
        self.resource_manager.metrics()  # says at once when it is not there
        expect_resourcemanager(self.keys)
        self.keys |= limits.check(config, self.jobconf, self.resource_manager)
        self.environment = shipped(config.environment, self._home) if config.environment else None
        self.fs = filesystem(self._home)[0]
        self._clients: list[Client] = []
        self._keep = self._alone = False
        self.feed, self.uber = config.feed, config.uber
        self._fed: Feed | None = None
        self._uber = Decision({}, "")
        self._kept_heads: dict[int, list[Any]] = {}
        self.label = "write"
        self.attach(uuid.uuid4().hex[:12])

    def attach(self, run_id: str, output: str = "") -> None:
        """Take the jobs and the staging folder of a run, whoever began it."""
        self.run_id, self.output, self._alone = RUN_TAG + run_id, output, False
        self.staging = Staging(self.fs, f"{self._home}/{self.run_id}")

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        # numbered as rounds are everywhere else: the first leads to the State of round 1
        self.label, self._fed = algorithm.does or str(state.round + 1), self._feed(algorithm.reads(state), dataset)
        try:
            return super().round(algorithm, state, dataset)
        finally:
            self.label, self._fed = "write", None

    def _feed(self, reads: Reads, dataset: Dataset) -> Feed | None:
        """How Hadoop feeds the tasks of a round; None where they read by themselves, as all of a shard always is."""
        fed = self.feed == "stream" and reads == Reads()
        return Feed.of(dataset, self.n_tasks, self.split_bytes) if fed else None

    def _task(self, dataset: Dataset, split_bytes: int, spec: dict[str, Any] | None) -> str:
        """The mode of a job is decided with what it reads."""
        n_splits, n_reducers = self._fed.n_splits if self._fed else 1, self.n_reducers if spec else 0
        self._uber = decide(self.uber, dataset.n_bytes, n_splits, n_reducers, {**self.keys, **self.jobconf})
        return super()._task(dataset, split_bytes, spec)

    def _dealt(self, n_splits: int) -> list[range]:
        """In uber mode one task reads all: they would run one after the other."""
        return [range(n_splits)] if self._uber else super()._dealt(n_splits)

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        return self.written(scoring, lambda to: super(HadoopEngine, self).write(model, dataset, to))

    def written(self, scoring: Scoring, write: Callable[[Scoring], Report]) -> Report:
        """Parts go straight to HDFS; for a local directory, which the nodes do not see, they are fetched from there."""
        target = Folder(scoring.output)
        if not target.is_local:
            return write(scoring)
        source = Folder(f"{self.staging.path}/parts")
        source.remove()
        source.make()
        report = write(dataclasses.replace(scoring, output=source.path))
        fetch(source, target)
        source.remove()
        return report

    # ---- staging

    def _store_path(self, number: int) -> str | None:
        """No store: tasks of a cluster share no disk."""
        return None

    def _kept_path(self, number: int) -> str | None:
        return f"{self.staging.path}/kept-{number}"

    def _heads(self, number: int, dataset: Dataset) -> list[Any]:
        if self._fed is None:
            return []
        if number not in self._kept_heads:
            self._kept_heads[number] = heads(dataset)
        return self._kept_heads[number]

    def _inputs(self, n_splits: int) -> list[str]:
        """One line of split numbers for each map task; the files themselves where Hadoop feeds them."""
        if self._fed is not None:
            return ["--fed", *self._fed.paths]
        path = self._folder / "splits.txt"
        path.write_text("".join(" ".join(map(str, numbers)) + "\n" for numbers in self._dealt(n_splits)))
        return [self.staging.put(str(path)).split("#")[0]]

    # ---- a job

    def _run_job(self, args: list[str]) -> list[tuple[str, Fields]]:
        files = {args[i + 1]: Path(args[i + 1]).name for i, a in enumerate(args) if a in ("--task", "--state")}
        files |= {args[i + 1]: "scoring" for i, a in enumerate(args) if a == "--scoring"}
        tag = _tag(f"{self.run_id}-{self.label}", files, args)
        self.end_others(tag)
        output = self.staging.finished(tag) or self._running(tag)
        if output is None:
            output = self.submitted(tag, [self.staging.put(a) if a in files else a for a in args])
        self.staging.forget_earlier()
        protocol = FieldsProtocol()
        parts = [info.name for info in self.fs.ls(output) if "/part-" in info.name]
        return [protocol.read(line) for path in parts for line in self.fs.cat_file(path).splitlines()]

    def _running(self, tag: str) -> str | None:
        """Follow the application of a driver that is gone; its output where it ends well."""
        for app in self.resource_manager.by_tag(tag):
            if not app.ended:
                log.info("%s of this run is running: following it instead of starting another", app.id)
                self.watched(tag, next(t for t in app.tags if t.startswith(f"{tag}.")), None)
                return self.staging.finished(tag)
        return None

    def end_others(self, tag: str) -> None:
        """Nothing else of this run may go on: a client that was left alone, a round of another cut.

        Once: later the only others are our own that are about to end.
        """
        if self._alone:
            return
        self._alone = True
        end_clients(self.run_id)
        for app in self.resource_manager.by_tag(self.run_id):
            if not app.ended and tag not in app.tags:
                self.resource_manager.kill(app.id)

    def submitted(self, tag: str, args: list[str]) -> str:
        attempt = f"{tag}.{uuid.uuid4().hex[:6]}"
        output = self.staging.output(attempt)
        words = [*self._options(), "--output-dir", output, *self._defined(tag, attempt, args), *args]
        with self._runner(words) as runner:
            runner._fs = ClientFileSystem(self.fs, self.hadoop_bin)
            client = Client(runner, attempt)
            self._clients.append(client)
            self.watched(tag, attempt, client)
        done = self.staging.finished(tag)
        if done is None:
            raise JobFailed("it ended well but its output has no _SUCCESS")
        return done

    def _defined(self, tag: str, attempt: str, args: list[str]) -> list[str]:
        conf = {"mapreduce.job.name": job_name(self.label, self.run_id, self.output)}
        conf |= {**self._uber.properties, **self.jobconf}
        # those of a scheduler that ends by its tag what a job of its own has begun (mrml.tools.oozie.action)
        more = pin.environment().get("MRML_YARN_TAGS", "")
        conf["mapreduce.job.tags"] = ",".join(filter(None, (self.run_id, tag, attempt, more)))
        if "--state" in args:
            conf |= {"mapreduce.job.reduces": str(self.n_reducers), **RAWBYTES}
        if self._fed is not None:
            conf |= self._fed.properties()
        return [word for k, v in sorted(conf.items()) for word in ("-D", f"{k}={v}")]

    def workers(self) -> int:
        return self.n_tasks

    def _options(self) -> list[str]:
        python, more = interpreter(self.environment, self.task_python)
        environment = {**pin.VARIABLES, **mrjob_compat.ENVIRONMENT, **more}
        archives = ["--archives", f"{self.environment}#{LINK}"] if self.environment else []
        hadoop = ["--hadoop-bin", self.hadoop_bin, "--hadoop-streaming-jar", find_streaming_jar()]
        quiet = ["--no-conf", "--quiet", "--no-bootstrap-mrjob", "--no-check-input-paths", "--no-read-logs"]
        folders = ["--local-tmp-dir", str(self._folder), "--hadoop-tmp-dir", f"{self.staging.path}/mrjob"]
        where = [*folders, "--cleanup", "NONE"]
        pythons = ["--python-bin", python, "--task-python-bin", python]
        cmdenv = [word for k, v in environment.items() for word in ("--cmdenv", f"{k}={v}")]
        return ["-r", "hadoop", *quiet, *hadoop, *where, *pythons, *archives, *cmdenv]

    # ---- tasks that stay

    @property
    def folder(self) -> Path:
        """Of this run on this machine."""
        return self._folder

    def as_configured(self) -> None:
        """Go on with a job a round after one of tasks that stayed."""
        self.jobconf, self.poll_s, self.round_timeout_s = self._configured
        self._alone, self.label = False, "write"

    # ---- until its end

    def watched(self, tag: str, attempt: str, client: Client | None) -> None:
        """Wait for the end of an attempt; whatever stops the waiting ends the attempt."""
        output, patience = self.staging.output(attempt), (self.max_wait_s, self.round_timeout_s, self.poll_s)
        try:
            app = Following(Watched(attempt, self.fs, output, self.resource_manager, *patience), client).end()
        except BaseException:
            self.kill(attempt)
            raise
        if app is not None and not app.succeeded:
            if mistake := refused(app):
                raise mistake
            if self._uber and self.uber == "auto" and app.final == "FAILED":
                self.uber, self._uber = "never", Decision({}, "in containers: a round failed in uber mode")
                raise JobFailed(f"{app.id}, in uber mode: {app.diagnostics[:300].strip()}")
            if lost(app):
                raise JobFailed(f"{app.id}: {app.diagnostics[:300].strip()}")
            raise why(app, self.history, self.keys.get("yarn.log-aggregation-enable") == "true")

    def kill(self, tag: str) -> None:
        """End whatever runs under a tag: the client here and the application there."""
        end_clients(tag)
        try:
            for _ in range(2):  # what a client asked for with its last breath appears a moment later
                for app in self.resource_manager.by_tag(tag):
                    if not app.ended:
                        self.resource_manager.kill(app.id)
                time.sleep(0.5)
        except EngineError as error:
            self._keep = True  # --resume finds it again
            log.warning("the jobs with the tag %s could not be ended: %s", tag, error)

    def close(self) -> None:
        for client in self._clients:
            client.end(CLIENT_GRACE_S)
        if self._alone and not self._keep:
            self._settle()
        if not self._keep:
            self.staging.remove()
        super().close()

    def _settle(self) -> None:
        """Wait a moment for applications whose output was there before their end; then end what is left."""
        until = time.monotonic() + CLIENT_GRACE_S
        with contextlib.suppress(EngineError):
            while not all(a.ended for a in self.resource_manager.by_tag(self.run_id)):
                if time.monotonic() > until:
                    self.kill(self.run_id)
                    return
                time.sleep(POLL_S)


def _tag(run_and_round: str, files: dict[str, str], args: list[str]) -> str:
    """The run, the round, and a hash of all that the output depends on."""
    contents = [name.encode() + Path(path).read_bytes() for path, name in sorted(files.items(), key=lambda f: f[1])]
    rest = " ".join(a for a in args if a not in files)
    if "--scoring" in args:  # its rows go elsewhere: what this output says is of no use to another job
        rest += uuid.uuid4().hex
    return f"{run_and_round}-{hash_of(b''.join([*contents, rest.encode(), __version__.encode()]))}"


def history(keys: dict[str, str]) -> str:
    """The history server's web address."""
    return "http://" + keys.get("mapreduce.jobhistory.webapp.address", "localhost:19888")


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
