"""Runs that are, or were: found by their directories and by the tags of their jobs, followed, ended, swept.

Floor 4.  The directory (`mrml.runs.directory`) says what a run is, how far it came and who drives it; the
ResourceManager says which of its jobs run.  Either is enough to tell of a run what it knows.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mrml import names
from mrml.engines.hadoop.client import end_clients
from mrml.engines.hadoop.probe import PROBE
from mrml.engines.hadoop.yarn import RUN_TAG, Application, ResourceManager, configuration, home
from mrml.errors import ConfigError, EngineError, MrmlError
from mrml.fs.folder import ASIDE, Folder
from mrml.runs.batch.records import FOLDER, MODEL
from mrml.runs.batch.watch import FINISHED, RUNNING, STOPPED, is_steps, watched
from mrml.runs.directory import MEMBERS, SUCCESS
from mrml.runs.fit import Checkpoint
from mrml.runs.lease import fence, holder, runs_here

log = logging.getLogger(__name__)

#: of a run whose directory is not known: none of its jobs runs now
ENDED = "ended"
#: directories below a root in which runs are looked for
DEPTH = 3
POLL_S = 1.0
#: how long a driver may take to end its job and itself before it is killed
GRACE_S = 30.0
#: what an attempt leaves that was killed: ``_NAME.HEX.tmp``, ``.NAME.HEX.tmp``, ``_NAME.HEX.old``
_ASIDE = re.compile(rf"[_.].+\.[0-9a-f]{{12}}({re.escape(ASIDE)}|\.old)")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Run(NamedTuple):
    """What is known of a run; ``output`` is empty where nothing tells of it, ``driver`` where nobody drives it,
    ``round`` None where only jobs are known, and those tell of none; ``steps`` are those of a run of steps; ``workers``
    who computes, and at what time that was so, of a run over resident tasks that is driven."""

    id: str
    output: str
    state: str
    algorithm: str
    round: int | None
    driver: dict[str, Any]
    jobs: tuple[Application, ...]
    steps: Mapping[str, str] = {}
    workers: Mapping[str, Any] = {}

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        keys = ("pid", "host", "since")
        jobs = [
            {"id": a.id, "round": a.round, "state": a.state, "final": a.final, "url": a.tracking_url} for a in self.jobs
        ]
        driver = {k: self.driver.get(k) for k in keys} if self.driver else None
        return {**self._asdict(), "driver": driver, "jobs": jobs, "steps": dict(self.steps),
                "workers": dict(self.workers)}  # fmt: skip


def manager(needed: bool = False) -> ResourceManager | None:
    """The ResourceManager of the configuration; where none is configured, or it does not answer, None, or if it is
    ``needed`` what is said of that."""
    try:
        found = ResourceManager.of(configuration())
        found.metrics()
    except (ConfigError, EngineError) as error:
        if needed:
            raise
        if isinstance(error, EngineError):
            log.warning("%s; the jobs of runs are not known", error)
        return None
    return found


def is_directory(name: str) -> bool:
    """Whether a run goes by this name as a directory, and not as an id of which only the ResourceManager knows."""
    folder = Folder(name)
    return (folder / "_run").exists() or is_steps(folder)


def look(output: str, jobs: ResourceManager | None) -> Run:
    """The run of an output directory; ConfigError where there is none."""
    folder = Folder(output)
    if is_steps(folder):
        return _look_at_steps(folder, jobs)
    own = folder / "_run"
    if not own.exists("run_id.json"):
        raise ConfigError(output, "has no run", "give the --output of a training")
    run_id = str(own.read_json("run_id.json").get("run", ""))
    driver = holder(own)
    state = RUNNING if driver else FINISHED if folder.exists(SUCCESS) else STOPPED
    found = jobs.by_tag(f"{RUN_TAG}{run_id}") if jobs else []
    return Run(run_id, output, state, *_progress(own), driver, tuple(found), {}, _workers(own, driver))


def _look_at_steps(folder: Folder, jobs: ResourceManager | None) -> Run:
    """Its algorithm and rounds are those of its training; every job of it carries its own id."""
    told = watched(folder)
    found = jobs.by_tag(f"{RUN_TAG}{told.id}") if jobs else []
    learned = _progress(folder / MODEL / "_run")
    workers = _workers(folder / MODEL / "_run", told.driver)
    return Run(told.id, folder.path, told.state, *learned, told.driver, tuple(found), told.steps, workers)


def _workers(own: Folder, driver: Mapping[str, Any]) -> dict[str, Any]:
    return own.read_json(MEMBERS) if driver and own.exists(MEMBERS) else {}


def _progress(own: Folder) -> tuple[str, int]:
    """The algorithm of a run directory, and the rounds that are done."""
    identity = own.read_json("identity.json") if own.exists("identity.json") else {}
    algorithm = identity.get("algorithm")
    name = names.short(str(algorithm.get("class", ""))) if isinstance(algorithm, dict) else ""
    return name, max(Checkpoint((own / "checkpoint").path).rounds(), default=0)


def find(root: str, jobs: ResourceManager | None) -> list[Run]:
    """The runs whose directories lie below a root, which may be one itself."""
    return [look(path, jobs) for path in _outputs(Folder(root), DEPTH)]


def known(jobs: ResourceManager) -> list[Run]:
    """The runs of this user whose jobs the ResourceManager remembers, the newest first."""
    by_run: dict[str, list[Application]] = {}
    for app in jobs.of_user(getpass.getuser()):
        if app.run.startswith(PROBE):
            continue
        by_run.setdefault(app.run, []).append(app)
    return [_by_jobs(run_id, apps, jobs) for run_id, apps in by_run.items()]


def named(name: str, jobs: ResourceManager | None) -> Run:
    """A run by its directory, or by its id where jobs of it are known."""
    if is_directory(name):
        return look(name, jobs)
    apps = jobs.by_tag(f"{RUN_TAG}{name.removeprefix(RUN_TAG)}") if jobs and "/" not in name else []
    if not apps:
        raise ConfigError(name, "is neither the directory of a run nor the id of one", "`mrml runs list` shows the ids")
    assert jobs is not None
    return _by_jobs(apps[0].run, apps, jobs)


def follow(output: str, jobs: ResourceManager | None, tell: Callable[[str], None]) -> Run:
    """Tell of steps, rounds and jobs until nobody drives the run any more."""
    told: set[str] = set()
    while True:
        run = look(output, jobs)
        lines = [f"step {name}: {outcome}" for name, outcome in run.steps.items() if outcome != "to do"]
        lines += [f"round {run.round} is done"] if run.round else []
        lines += [f"{a.id}, {_what(a)}: {a.state}" for a in reversed(run.jobs) if not a.ended]
        for line in lines:
            if line not in told:
                told.add(line)
                tell(line)
        if run.state != RUNNING:
            return run
        time.sleep(POLL_S)


def _what(app: Application) -> str:
    return f"round {app.round}" if app.round.isdigit() else app.round or "a job"


def end(run: Run, jobs: ResourceManager | None) -> dict[str, Any]:
    """End a run in order: its driver, which ends its job; then whatever of its jobs is left.

    EngineError where the driver is on another host and no lease reaches it.
    """
    driver = _end_driver(run)
    end_clients(RUN_TAG + run.id)
    left = [a.id for a in (jobs.by_tag(RUN_TAG + run.id) if jobs else []) if not a.ended]
    for app in left:
        assert jobs is not None
        jobs.kill(app)
    if driver == "elsewhere":
        who = f"process {run.driver.get('pid')} on {run.driver.get('host')}"
        raise EngineError(run.output, f"is driven by {who}, which cannot be ended from here", "kill it there")
    return {"run": run.id, "driver": driver, "jobs": left}


def abandon(run_id: str) -> None:
    """End the jobs of a run that goes on without them or not at all, and remove what they staged.

    Nothing happens where no cluster is configured.  EngineError when a job does not end.
    """
    jobs, tag = manager(), RUN_TAG + run_id
    if jobs is None:
        return
    if end_clients(tag):
        time.sleep(POLL_S)  # what a client asked for with its last breath appears a moment later
    known, until = jobs.by_tag(tag), time.monotonic() + GRACE_S
    while left := [a for a in jobs.by_tag(tag) if not a.ended]:
        if time.monotonic() > until:
            finding = f"a job of the run before this one, did not end within {GRACE_S:.0f} s"
            raise EngineError(left[0].id, finding, f"end it: yarn application -kill {left[0].id}")
        for app in left:
            log.info("%s, round %s of the run before this one, is ended", app.id, app.round)
            jobs.kill(app.id)
        time.sleep(POLL_S)
    if known:
        Folder(f"{home(configuration())}/{tag}").remove()


class Leftover(NamedTuple):
    """Something that a run left behind: where, how old in seconds, and what it was."""

    path: str
    age_s: float
    what: str


def leftovers(root: str, keep_s: float, jobs: ResourceManager | None) -> Iterator[Leftover]:
    """What no run needs that was last touched more than ``keep_s`` ago: staging folders, and files written aside.

    Of a run whose jobs go on, nothing.
    """
    if jobs is not None:
        folder = Folder(home(configuration()))
        for name in folder.names():
            age = _age(folder / name) if name.startswith(RUN_TAG) else 0.0
            if age > keep_s and all(a.ended for a in jobs.by_tag(name)):
                yield Leftover(folder.join(name), age, "staging of a run")
    below = [Folder(path) for path in _outputs(Folder(root), DEPTH)] if root else []
    models = [folder / MODEL for folder in below if is_steps(folder)]
    for folder in [Folder(root), *below, *models] if root else []:
        for name in folder.names():
            if _ASIDE.fullmatch(name) and (age := _age(folder / name)) > keep_s:
                yield Leftover(folder.join(name), age, "written aside, and never finished")


def remove(left: Leftover) -> None:
    """Remove one; it is no error if another process removed it first."""
    with contextlib.suppress(FileNotFoundError):
        Folder(left.path).remove()


def seconds_of(text: str) -> float:
    """``7d`` in seconds; ConfigError for what is no time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if found is None:
        raise ConfigError("runs, keep", f"{text!r} is not a time", "write 30m, 12h, 7d or 2w")
    return float(found[1]) * _UNITS[found[2]]


def _outputs(folder: Folder, depth: int) -> Iterator[str]:
    """Directories of runs, by name; the training of a run of steps is no run of its own."""
    if (folder / "_run").exists("run_id.json") or is_steps(folder):
        yield folder.path
    elif depth and folder.isdir():
        for name in folder.names():
            if not name.startswith((".", "_")) and folder.fs.isdir(folder.join(name)):
                yield from _outputs(folder / name, depth - 1)


def _by_jobs(run_id: str, apps: list[Application], jobs: ResourceManager) -> Run:
    """The run of some jobs: by its directory, if they name one that is there for us to see and is still that run's."""
    output = next((a.output for a in apps if a.output), "")
    with contextlib.suppress(OSError, MrmlError):
        if output and (found := look(output, jobs)).id == run_id:
            return found
    done = [max(int(a.round) - (not a.succeeded), 0) for a in apps if a.round.isdigit()]
    state = RUNNING if any(not a.ended for a in apps) else ENDED  # who drives it, nobody here can tell
    return Run(run_id, output, state, "", max(done, default=None), {}, tuple(apps))


def _end_driver(run: Run) -> str:
    """What became of the driver: ended, killed, fenced, elsewhere or none."""
    if not run.driver:
        return "none"
    if not runs_here(run.driver):
        output = Folder(run.output)
        if output.is_local:
            return "elsewhere"
        for folder in [output / FOLDER, output / MODEL / "_run"] if run.steps else [output / "_run"]:
            if folder.exists():
                fence(folder)
        return "fenced"
    pid, until = int(run.driver["pid"]), time.monotonic() + GRACE_S
    for number, word in ((signal.SIGTERM, "ended"), (signal.SIGKILL, "killed")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        while runs_here(run.driver) and time.monotonic() < until:
            time.sleep(0.1)
        if not runs_here(run.driver):
            return word
        until = time.monotonic() + GRACE_S
    return "killed"


def _age(folder: Folder) -> float:
    """Seconds since a folder, or an entry of it, was last changed."""
    paths = [folder.path, *(folder.join(name) for name in (folder.names() if folder.isdir() else []))]
    newest = 0.0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, folder.fs.modified(path))
    return time.time() - newest
