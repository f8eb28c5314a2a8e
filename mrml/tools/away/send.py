"""Sending a run's driver to the cluster: a map-only job of one task, which runs the command; and following its log.

The job outlives whoever sent it.  It lies by its tag: the same command again follows a driver that is under way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrml import pin
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.engines.hadoop import plain
from mrml.engines.hadoop.diagnose import why
from mrml.engines.hadoop.engine import find_hadoop, find_streaming_jar, history
from mrml.engines.hadoop.environment import interpreter, shipped
from mrml.engines.hadoop.yarn import Application, ResourceManager, configuration, home
from mrml.errors import ConfigError, EngineError
from mrml.fs.folder import Folder
from mrml.params import unusual
from mrml.tools.away import inside

POLL_S = 1.0
#: how long a client may take to submit
SUBMIT_S = 180.0
#: Java of the task and of the client that submits, and the driver itself
MEMORY_MB = 2048
#: the mapper: what it is handed is drained, since Hadoop fails a task that leaves some
SCRIPT = """\
while read -r line; do :; done
exec env {environment} {python} -m {module} run.json {place} >&2
"""


class Sent:
    """A driver that is on its way, or under way, of the run whose output is to be ``config.output``."""

    def __init__(self, config: RunConfig) -> None:
        _expect_hdfs(config)
        self.config, self.keys = config, configuration()
        self.manager = ResourceManager.of(self.keys)
        self.place = Folder(f"{config.output.rstrip('/')}.driver")
        self.tag = "driver-" + hashlib.sha256(self.place.path.encode()).hexdigest()[:12]

    def application(self) -> Application | None:
        """The newest one."""
        return next(iter(self.manager.by_tag(self.tag)), None)

    def begin(self) -> Application:
        """Submit the job, unless one is under way."""
        found = self.application()
        if found is not None and not found.ended:
            return found
        self.place.remove()
        self.place.make()
        with tempfile.TemporaryDirectory(prefix="mrml-driver-") as scratch:
            return self._submitted(Path(scratch))

    def follow(self, tell: Callable[[str], None]) -> int:
        """Tell the lines of its log until it has ended; its exit code."""
        told = 0
        while True:
            app, ended = self.application(), self.place.exists(inside.ENDED)
            log = self.place.read(inside.LOG).decode("utf-8", "replace") if self.place.exists(inside.LOG) else ""
            for line in log[told:].splitlines():
                tell(line)
            told = len(log)
            if ended:
                return int(self.place.read_json(inside.ENDED)["exit_code"])
            if app is None:
                raise EngineError(self.tag, "the ResourceManager does not know it any more", "give the command again")
            if app.ended and not self.place.exists(inside.ENDED):
                aggregated = self.keys.get("yarn.log-aggregation-enable") == "true"
                raise why(app, history(self.keys), aggregated)
            time.sleep(POLL_S)

    # ---- the job

    def _submitted(self, scratch: Path) -> Application:
        engine, folder = self.config.engine, home(self.keys)
        archive = shipped(engine.environment, folder) if engine.environment else None
        (scratch / "run.json").write_text(json.dumps(run_file(self.config, archive)))
        (scratch / "driver.sh").write_text(self._script(archive))
        lines = self.place / "job"
        lines.make()
        lines.write("line", b"0\n")
        with open(scratch / "said", "w+b") as said:
            client = subprocess.Popen(self._command(scratch, archive, lines), stdin=subprocess.DEVNULL, stdout=said,
                                      stderr=said, env=pin.environment(), start_new_session=True)  # fmt: skip
            try:
                return self._appeared(client, scratch / "said")
            finally:
                client.kill()  # the application needs it no more
                client.wait()

    def _appeared(self, client: subprocess.Popen[bytes], said: Path) -> Application:
        """The application, once it has what it needs from here."""
        until = time.monotonic() + SUBMIT_S
        while client.poll() is None and time.monotonic() < until:
            with contextlib.suppress(EngineError):
                app = self.application()
                if app is not None and (app.launched or app.ended):
                    return app
            time.sleep(0.5)
        words = plain.complaints(said.read_text(errors="replace"))
        raise EngineError("hadoop jar", " ".join(words)[:400] or "submitted nothing", "see `mrml doctor -r hadoop`")

    def _script(self, archive: str | None) -> str:
        python, more = interpreter(archive, self.config.engine.task_python)
        if more:  # the nodes are this machine
            more |= {k: v for k, v in pin.environment().items() if k in _HERE}
        words = " ".join(f"{k}={shlex.quote(v)}" for k, v in {**pin.VARIABLES, **more}.items())
        place = shlex.quote(self.place.path)
        return SCRIPT.format(environment=words, python=shlex.quote(python), module=inside.__name__, place=place)

    def _command(self, scratch: Path, archive: str | None, lines: Folder) -> list[str]:
        engine = self.config.engine
        conf = {
            "mapreduce.map.memory.mb": str(MEMORY_MB),
            **({"mapreduce.job.queuename": engine.queue} if engine.queue else {}),
            **dict(pair.split("=", 1) for pair in engine.jobconf),
            "mapreduce.job.tags": self.tag,
            "mapreduce.job.name": f"mrml driver: {self.config.output}",
        }
        files = [scratch / name for name in ("driver.sh", "run.json")]
        return plain.command(
            find_hadoop(), find_streaming_jar(), conf, files, archive, lines.join("line"), lines / "out"
        )


#: what a driver on a node that is this machine is told of its Hadoop
_HERE = ("HADOOP_HOME", "HADOOP_CONF_DIR", "JAVA_HOME", "PATH")


def run_file(config: RunConfig, archive: str | None) -> dict[str, Any]:
    """The run as a run file, without what is as it is by default."""
    engine = dataclasses.replace(config.engine, environment=archive)
    found = {name: value for name, value in unusual(vars(config), RunConfig).items() if name != "params"}
    sections = {"data": unusual(vars(config.data), DataConfig), "engine": unusual(vars(engine), EngineConfig)}
    return {**found, "algorithm": {"name": config.algorithm, **config.params}, **sections}


def _expect_hdfs(config: RunConfig) -> None:
    """ConfigError for what a container would not find."""
    if config.engine.runner != "hadoop":
        raise ConfigError("--driver", "cluster needs YARN", "use -r hadoop")
    local = [p for p in (*config.data.data, *config.data.valid, config.output, config.data.schema or "",
                         config.oof or "") if p and "://" not in p]  # fmt: skip
    if local:
        finding = f"a container does not see {local[0]}"
        raise ConfigError("--driver", finding, "put it on HDFS, and name it hdfs://...")
    if named := [n for n in ("keytab", "cache_dir", "driver_host") if getattr(config.engine, n) is not None]:
        raise ConfigError("--driver", f"{named[0]} is of this machine", "leave it out, or use --driver here")
