"""One run of steps: what each of them does.

A step leaves what it made in the run's directory, or replaces it whole where it goes, so that it may be done again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from mrml import logs
from mrml.config.gate import Gate
from mrml.config.steps import EvaluateStep, GateStep, PredictStep, ReportStep, TrainStep, ValidateStep
from mrml.engines.base import Engine
from mrml.errors import ConfigError
from mrml.fs.folder import Folder
from mrml.runs import train as runs
from mrml.runs.batch.compare import NO_INTERVALS, agreed, curves_of, joined, standard_errors_of, uncertainty
from mrml.runs.batch.file import INIT_MODEL, Batch, data_of
from mrml.runs.batch.records import MODEL, Records
from mrml.runs.batch.validate import PROFILE, before_of
from mrml.runs.batch.validate import validate as judged
from mrml.runs.directory import SUCCESS
from mrml.runs.progress import Progress
from mrml.runs.store import Store, Switch, metrics_of


@dataclasses.dataclass(frozen=True)
class Night:
    """A run that goes on.

    ``champion`` is what was in service when it began: the model it is compared with, and the one whose place it takes.
    ``engine`` gives the one that all steps share, begun by the first that needs it: of resident tasks, one job.
    ``inputs`` are the files as they were then; ``check`` is an EngineError where another driver has taken the run.
    """

    batch: Batch
    id: str
    folder: Folder
    records: Records
    champion: Switch | None
    progress: Progress
    engine: Callable[[], Engine]
    inputs: list[list[Any]]
    check: Callable[[], None]

    @property
    def model(self) -> str:
        """The directory of the new model."""
        return self.folder.join(MODEL)

    @property
    def store(self) -> Store | None:
        return Store(self.batch.store) if self.batch.store else None

    @property
    def in_service(self) -> str | None:
        """The directory of the champion."""
        return self.store.directory(self.champion.version) if self.store and self.champion else None

    def done(self, step: str) -> dict[str, Any]:
        """What an earlier step left; ConfigError where it was not done."""
        found = self.records.get(step)
        if found is None or found["outcome"] == "failed":
            raise ConfigError(f"step {step}", "is not done", f"it comes first: --only {step}, or the whole run")
        return found


def validate(night: Night) -> dict[str, Any]:
    """Compare the rows with those of the champion, and keep what they hold for the next night."""
    step, config = night.batch.steps["validate"], night.batch.run
    assert isinstance(step, ValidateStep)
    data = data_of(config.data, step.data or config.data.data, schema=config.data.schema)
    against = step.against or night.in_service
    if not step.against and against and not Folder(against).exists(PROFILE):
        found = "%s has no profile: nobody validated its rows; from the next version on there is one to compare with"
        logs.log.warning(found, against)
        against = None
    before = before_of(against, data, night.engine()) if against else None
    facts = judged(data, night.engine(), before, step, night.progress)
    night.folder.write(PROFILE, json.dumps(facts.pop("profile")).encode())
    return facts


def train(night: Night) -> dict[str, Any]:
    """The model; a training that was stopped goes on, one that is finished is kept."""
    output, config, step = night.model, night.batch.run, night.batch.steps["train"]
    assert isinstance(step, TrainStep)
    if step.warm_start and night.in_service:
        config = dataclasses.replace(config, params={**config.params, INIT_MODEL: night.in_service})
    config = dataclasses.replace(config, output=output, resume=Folder(output).exists(SUCCESS), mlflow=None)
    summary = runs.train(config, night.progress, night.engine())
    runs.check_converged(config, summary)
    if night.folder.exists(PROFILE):
        Folder(output).write(PROFILE, night.folder.read(PROFILE))
    told = ("algorithm", "n_rows", "valid_rows", "bad_rows", "rounds", "stop", "converged", "notes", "seconds_in")
    facts = {name: summary[name] for name in told if name in summary}
    if "report" in night.batch.steps:
        rows = dataclasses.replace(data_of(config.data, config.data.data), id=None)
        facts["coefficients"] = standard_errors_of(output, rows, night.engine(), night.progress)
    began_from = config.params.get(INIT_MODEL)
    return {**facts, "model": output, "began_from": began_from, "metrics": summary["valid"] or summary["metrics"]}


def evaluate(night: Night) -> dict[str, Any]:
    """Metrics of the new model, and of the champion, on the same rows."""
    night.done("train")
    step, config = night.batch.steps["evaluate"], night.batch.run
    assert isinstance(step, EvaluateStep)
    data = data_of(config.data, step.data or config.data.valid or config.data.data)
    data = dataclasses.replace(data, id=None)  # which is a feature of an older champion, maybe
    own = _rows(runs.evaluate(night.model, data, night.engine(), night.progress))
    clusters = "inertia" in own  # which have no target to be compared with, row by row
    drawn = "report" in night.batch.steps and not clusters
    told = {"curves": curves_of(night.model, data, night.engine(), night.progress)} if drawn else {}
    if not night.in_service:
        return {"metrics": own, **told}
    both = night.in_service, night.model
    data, weighted = agreed(both, data, night.batch.run.engine)
    other = _rows(runs.evaluate(night.in_service, data, night.engine(), night.progress, weighted, known_only=True))
    if clusters:
        return {"metrics": own, "champion": other}
    assert night.champion is not None
    note = _of_other_classes(both, night.champion.version, other)
    intervals = NO_INTERVALS if note else uncertainty(both, data, night.engine(), night.progress, weighted)
    notes = {"notes": [note]} if note else {}
    return {"metrics": own, "champion": other, "comparison": joined(other, own, intervals), **told, **notes}


def _of_other_classes(both: tuple[str, str], version: int, champion: Mapping[str, Any]) -> str:
    """What is to be known where the models tell other classes apart; nothing where they are the same."""
    before, now = (runs.load_model(model).classes for model in both)
    if before == now:
        return ""
    strange = ", ".join(map(repr, [c for c in now if c not in before][:5]))
    note = f"version {version} does not know the classes {strange}" if strange else f"version {version} knows others"
    if left_out := champion.get("left_out"):
        n_rows = champion["n_rows"] + left_out
        note += f": its figures leave out {left_out} of {logs.count(n_rows, 'row')}"
    note += "; without intervals, which are of models of the same classes"
    logs.log.warning("%s", note)
    return note


def gate(night: Night) -> dict[str, Any]:
    """Refused where a clause does not hold, each of which is told."""
    step = night.batch.steps["gate"]
    assert isinstance(step, GateStep)
    if "evaluate" in night.batch.steps:
        found = night.done("evaluate")
        own, other = found["metrics"], found.get("champion")
    else:
        own, other = _rows(night.done("train")["metrics"]), night.in_service and _rows(metrics_of(night.in_service))
    all_the_same = f"mrml models promote {night.model} --store {night.batch.store}"
    remedy = f"look at the report; to put it into service all the same: {all_the_same}" if night.batch.store else ""
    stays = night.champion.version if night.champion else None
    clauses = Gate(step.expression).passed(own, other, f"gate of {night.batch.file}", stays, remedy)
    return {"clauses": [clause._asdict() for clause in clauses]}


def promote(night: Night) -> dict[str, Any]:
    """Put the new model into service in the champion's place; OutputExists where another one took it meanwhile."""
    if "gate" in night.batch.steps:
        night.done("gate")
    trained = night.done("train")
    store = night.store
    assert store is not None
    lineage = {
        "run": night.id, "directory": night.folder.path, "file": night.batch.file,
        "parent": night.champion.version if night.champion else None,
        "began_from": trained["began_from"], "inputs": night.inputs,
    }  # fmt: skip
    switch = store.promote(night.model, lineage, night.champion.number if night.champion else 0)
    return {"version": switch.version, "directory": store.directory(switch.version)}


def predict(night: Night) -> dict[str, Any]:
    """Score with what is in service now, which after a refusal is the champion."""
    step, config, store = night.batch.steps["predict"], night.batch.run, night.store
    assert isinstance(step, PredictStep)
    switch = store.current() if store else None
    model = store.directory(switch.version) if store and switch else night.model
    if model == night.model:
        night.done("train")
    data = dataclasses.replace(data_of(config.data, step.data or config.data.data), target=None, weight=None)
    output = step.output or night.folder.join("predictions")
    facts = runs.predict(model, data, night.engine(), output, step.format, True, night.progress)
    return {**facts, "model": model, "version": switch.version if switch else None}


def report(night: Night) -> dict[str, Any]:
    """The page, of whatever is done."""
    from mrml.runs.report import page

    step = night.batch.steps["report"]
    assert isinstance(step, ReportStep)
    return {"report": page.write(night.folder.path, step.output or night.folder.join("report.html"))}


DO: Mapping[str, Callable[[Night], dict[str, Any]]] = {
    "validate": validate,
    "train": train,
    "evaluate": evaluate,
    "gate": gate,
    "promote": promote,
    "predict": predict,
    "report": report,
}


def _rows(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics with ``rows``, as gates may call their number."""
    return {**metrics, **({"rows": metrics["n_rows"]} if "n_rows" in metrics else {})}
