"""``mrml run``: the steps of a file, each done once.

The directory of a run lies in ``work``, and is named by its day and its id::

    2026-11-20-1f0c9a2b7d3e/model/         the new model with its run
                            steps/*.json   what each step did
                            predictions/   where the file names no other place

Whatever kills it, the same command goes on: a step that is recorded is kept, one that is not is done again, and what
it leaves takes the place of what was there.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mrml import logs
from mrml.config.steps import STEPS
from mrml.data.files import File
from mrml.engines.base import Engine
from mrml.errors import ConfigError, MrmlError, Refused, from_json, nearest, to_json
from mrml.fs.folder import Folder
from mrml.runs.batch.file import Batch
from mrml.runs.batch.night import DO, Night
from mrml.runs.batch.records import BEGUN, FOLDER, MODEL, TOLD, Records
from mrml.runs.lease import lease_on
from mrml.runs.progress import Progress, Silent
from mrml.runs.report import mlflow
from mrml.runs.setup import running
from mrml.runs.store import Store, Switch

_REPORT = "report"


def run(batch: Batch, begin: str = "", only: Sequence[str] = (), progress: Progress | None = None) -> dict[str, Any]:
    """Do the steps that are not done; what became of each.

    Parameters
    ----------
    begin : the step from which on they are done again.
    only : do no others.

    Raises
    ------
    MrmlError
        What ended a step; ``facts`` is what would have been returned.  After Refused, of the gate, the steps that
        come then are done first.
    """
    chosen = _chosen(batch, begin, only)
    with _opened(batch, begin, progress or Silent()) as night:
        steps, error = _steps(night, chosen)
        facts = _summary(night, steps)
        _tell_mlflow(night, facts)
    if error is not None:
        error.facts = facts
        raise error
    return facts


def _steps(night: Night, chosen: Sequence[str]) -> tuple[dict[str, Any], MrmlError | None]:
    """Each step in turn up to one that fails, and a report in any case; the error, or what the gate refused."""
    steps: dict[str, Any] = {}
    error: MrmlError | None = None
    for name in chosen:
        if name == _REPORT:
            # it tells of them: one step that is not as it was, and it is made again
            if any(not step.get("kept") and step["outcome"] != "skipped" for step in steps.values()):
                night.records.forget([name])
        elif error is not None and not isinstance(error, Refused):
            continue
        steps[name] = record = _step(night, name)
        if "error" in record and not (error is not None and name == _REPORT):
            error = from_json(record["error"])
    return steps, error


def plan(batch: Batch) -> dict[str, Any]:
    """What a run would do, and what of it is done already: nothing is written."""
    id, folder, inputs, _ = _placed(batch)
    records = Records(folder / FOLDER)
    kept = {name: (records.get(name) or {}).get("outcome", "to do") for name in batch.steps}
    return {"run": id, "directory": folder.path, "steps": kept, "inputs": inputs, "file": dict(batch.tree)}


def _placed(batch: Batch) -> tuple[str, Folder, list[list[Any]], list[File]]:
    """The id of the run, its directory, and the inputs as they are; ConfigError where it would overwrite one."""
    files = batch.files()
    inputs = batch.listing(files)
    batch.keep(path for path, *_ in inputs)
    id = batch.run_id(inputs)
    return id, Folder(batch.work) / f"{batch.label}-{id}", inputs, files


def _chosen(batch: Batch, begin: str, only: Sequence[str]) -> list[str]:
    for option, name in [("--from", begin)] * bool(begin) + [("--only", name) for name in only]:
        if name not in batch.steps:
            known = nearest(name, batch.steps)
            finding = f"{batch.file} has no step {name}" if name in STEPS else f"{name!r} is not a step"
            raise ConfigError(option, finding, known)
    return [name for name in batch.steps if not only or name in only]


@contextlib.contextmanager
def _opened(batch: Batch, begin: str, progress: Progress) -> Iterator[Night]:
    """The run's directory, which is nobody else's while this lasts."""
    id, folder, inputs, files = _placed(batch)
    records = Records(folder / FOLDER)
    records.folder.make()
    with contextlib.closing(lease_on(records.folder)) as lease, contextlib.ExitStack() as held:
        again = list(batch.steps)[list(batch.steps).index(begin) :] if begin else []
        records.forget(again)
        if "train" in again:
            (folder / MODEL).remove()
        compares = next((name for name in ("evaluate", "gate", "promote") if name in batch.steps), None)
        if compares in again:  # with what is in service now
            records.forget([BEGUN])
        begun = records.get(BEGUN) or records.put(BEGUN, _beginning(batch, id, inputs))
        champion = Switch(**begun["champion"]) if begun["champion"] else None
        logs.log.info("run %s in %s", id, folder)
        engine = _shared(batch, files, id, folder, held)
        yield Night(batch, id, folder, records, champion, progress, engine, begun["inputs"], lease.check)


def _shared(
    batch: Batch, files: Sequence[File], id: str, folder: Folder, held: contextlib.ExitStack
) -> Callable[[], Engine]:
    """The engine of all steps, from the first that asks for it to the end of the run."""

    @functools.cache
    def engine() -> Engine:
        found: Engine = held.enter_context(running(batch.run.engine, batch.run.data, files))
        found.attach(id, folder.path)
        return found

    return engine


def _beginning(batch: Batch, id: str, inputs: list[list[Any]]) -> dict[str, Any]:
    champion = Store(batch.store).current() if batch.store else None
    values = [f"--set={name}={value}" for name, value in batch.given.items()]
    return {
        "run": id, "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "file": batch.file,
        "command": shlex.join(["mrml", "run", batch.file, *values]), "inputs": inputs,
        "champion": champion._asdict() if champion else None, "steps": list(batch.steps),
    }  # fmt: skip


def _step(night: Night, name: str) -> dict[str, Any]:
    """What became of a step; ``kept`` where it was done before.  EngineError where another driver has taken the run."""
    night.check()
    before = night.records.get(name)
    if before is not None and before["outcome"] != "failed":
        logs.log.info("step %s: kept, %s", name, before["outcome"])
        return {**before, "kept": True}
    if name == "promote" and (night.records.get("gate") or {}).get("outcome") == "refused":
        return {"outcome": "skipped", "seconds": 0.0, "why": "the gate refused"}
    logs.log.info("step %s", name)
    began = time.time()
    try:
        facts = {"outcome": "done", **DO[name](night)}
    except MrmlError as error:
        outcome = "refused" if isinstance(error, Refused) else "failed"
        told = {**to_json(error), "exit_code": error.exit_code}
        facts = {"outcome": outcome, "error": told, **error.facts}
    night.check()  # of a run that is another driver's now nothing is recorded
    return night.records.put(name, {**facts, "began": began, "seconds": time.time() - began})


def _tell_mlflow(night: Night, facts: Mapping[str, Any]) -> None:
    """One run of MLflow's for one of ours, told again until it is told of every step as it was done last."""
    uri, model = night.batch.run.mlflow, Folder(night.model)
    done = {name: record["began"] for name in night.batch.steps if "began" in (record := night.records.get(name) or {})}
    news = {"uri": logs.masked(uri or ""), "began": done}
    if uri and model.exists("run.json") and night.records.get(TOLD) != news:
        record = model.read_json("run.json")
        metrics = {**mlflow.sides(record), "": facts["metrics"]}
        tags = {f"mrml.{name}": facts[name] for name in ("verdict", "version", "champion", "directory")}
        if mlflow.tell(uri, Folder(night.batch.file).name, night.id, record, night.folder.path, metrics, tags):
            night.records.put(TOLD, news)


def _summary(night: Night, steps: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What the command prints: of the steps that were asked for, and of the whole run as far as it is recorded."""
    found = {name: night.records.get(name) or {} for name in night.batch.steps}
    verdict = "refused" if found.get("gate", {}).get("outcome") == "refused" else None
    if found.get("promote", {}).get("outcome") == "done":
        verdict = "promoted"
    metrics = found.get("evaluate", {}).get("metrics") or found.get("train", {}).get("metrics") or {}
    return {
        "run": night.id, "directory": night.folder.path, "verdict": verdict,
        "version": found.get("promote", {}).get("version"),
        "champion": night.champion.version if night.champion else None,
        "metrics": metrics, "report": found.get(_REPORT, {}).get("report"), "steps": dict(steps),
    }  # fmt: skip
