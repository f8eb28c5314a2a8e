"""What the commands do: train, plan, predict, evaluate, schema, inspect."""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from mrml.algorithm import Algorithm, State
from mrml.algorithms.evaluation.clusters import EvaluateClusters, measures_clusters
from mrml.algorithms.evaluation.counting import CountRecords
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.data.inference.infer import infer, to_yaml
from mrml.data.open import open_dataset
from mrml.engines.base import Engine
from mrml.engines.task import Report
from mrml.engines.write import Scoring, sweep, write_nothing
from mrml.errors import ConfigError, NotConverged, OutputExists
from mrml.fs.folder import Folder
from mrml.model import Model, describe, load
from mrml.names import allow
from mrml.runs import manage as runs
from mrml.runs.choose import chosen
from mrml.runs.directory import SUCCESS, RunDirectory, refuse_inputs, refuse_taken, written_aside
from mrml.runs.fit import Checkpoint, fit
from mrml.runs.plan import plan_of
from mrml.runs.progress import Progress, Remembered, Silent, Watch, rounded
from mrml.runs.report import mlflow
from mrml.runs.search import folds
from mrml.runs.setup import On, algorithm_of, check_here, identity_of, open_training, running
from mrml.runs.store import resolved
from mrml.runs.tensorboard import Events
from mrml.schema import Schema
from mrml.version import versions


def train(config: RunConfig, progress: Progress | None = None, on: Engine | None = None) -> dict[str, Any]:
    """Train, evaluate and put the model in place; the summary of the run.  ``on`` is an engine that runs already."""
    if config.mlflow:
        mlflow.check(config.mlflow)
    progress = Remembered(progress or Silent())
    told = Events(config.log_dir, progress) if config.log_dir else progress
    if not config.output:
        raise ConfigError("output", "no directory is named", "use --output DIR")
    check_output(config)
    _check_oof(config)
    algorithm = algorithm_of(config)
    began = time.time()
    config, why = with_engine(config) if on is None else (config, "")
    with ExitStack() as held, running(on or config.engine, config.data) as engine:
        check_here(config, algorithm)
        dataset, pipeline = open_training(config, algorithm)
        parting = folds.parting_of(config, config.folds, algorithm, dataset, engine)
        learner = folds.with_folds(pipeline, parting) if parting else pipeline
        for place in filter(None, (config.output, config.oof)):
            refuse_inputs(place, [f.path for f in dataset.files])
        identity = identity_of(pipeline, dataset, parting)
        directory = RunDirectory(config.output, identity, config.resume, config.overwrite, runs.abandon)
        held.enter_context(directory)
        if directory.resumed and not config.engine.on_yarn:
            runs.abandon(directory.id)
        if on is None:
            engine.attach(directory.id, directory.output.path)
        told.start(plan_of(config, dataset, pipeline, engine, why))
        watch = Watch(engine, learner, config.data, config.engine.strict_identity, told)
        with directory.undone_early():
            told_of, turn = directory.telling(engine, watch), folds.turn_of(learner, parting)
            model, state = fit(learner, dataset, engine, directory.checkpoint, told_of, config.max_rounds, turn)
        model, state, out_of_fold = folds.apart(learner, model, state, parting)
        trained = time.time()
        facts: dict[str, Any] = {
            "algorithm": config.algorithm,
            "engine": {"name": engine.name, "workers": engine.workers()},
            "output": config.output,
            "rounds": state.round,
            "stop": state.stop,
            "converged": state.converged,
            **directory.counted(watch.rounds, watch.counts),
            **_collinear(model),
            "notes": [*dataset.notes, *pipeline.notes],
            "n_bytes": dataset.n_bytes,
            "bytes_up": watch.n_bytes_up,
            "seconds": trained - began,
            "seconds_in": watch.where_it_went(trained - began),
            "slowest_splits": watch.slowest_splits(dataset.files),
            "metrics": {},
            "valid": {},
        }
        if algorithm.target != "none" or measures_clusters(model):
            _measure(facts, model, dataset, engine, config)
        if out_of_fold is not None:
            facts["folds"] = folds.judged(out_of_fold, dataset, engine)
            if config.oof:
                _score(out_of_fold, folds.to_score(dataset), engine, config.data, config.oof)
        record = _record(directory, model, {**facts, "history": progress.rounds}, config, engine, watch, began)
    if config.mlflow:
        mlflow.tell(config.mlflow, config.algorithm, directory.id, record, config.output, mlflow.sides(record), {})
    told.done(facts)
    return facts


def with_engine(config: RunConfig) -> tuple[RunConfig, str]:
    """The configuration with the engine that ``auto`` is for it, and why that one."""
    engine, why = chosen(config.engine, config.data)
    return dataclasses.replace(config, engine=engine), why


def _collinear(model: Model) -> dict[str, Any]:
    """What a solver says of columns that others determine."""
    told = model.header().get("model", {}).get("facts")
    told = told if isinstance(told, dict) else {}
    return {name: told.get(name, empty) for name, empty in (("dropped_directions", 0), ("dependent_columns", []))}


def check_converged(config: RunConfig, facts: Mapping[str, Any]) -> None:
    """NotConverged where the configuration is strict and the run stopped at a limit; its model stays."""
    if config.strict and not facts["converged"]:
        raise NotConverged(config.algorithm, str(facts["stop"]), "allow more rounds, or a larger tol")


def check_output(config: RunConfig) -> None:
    """Refuse before anything is read; RunDirectory decides again with the run's identity."""
    folder = Folder(config.output)
    if folder.exists() and not folder.isdir():
        raise OutputExists(config.output, "is a file", "name a directory that does not exist")
    if folder.exists(SUCCESS) and not (config.overwrite or config.resume):
        raise OutputExists(config.output, "already exists", "use --overwrite to replace it")


def _check_oof(config: RunConfig) -> None:
    """The same of the predictions out of fold, which a run that is taken up may have left."""
    if config.oof:
        if not config.folds:
            raise ConfigError("run, oof", "without folds every row is trained on", "use --folds 5")
        if Folder(config.oof).path == Folder(config.output).path:
            raise ConfigError("run, oof", f"{config.oof} is the --output of the model", "name another directory")
        begun = Folder(config.output).exists("_run") and not Folder(config.output).exists(SUCCESS)
        refuse_taken(config.oof, config.overwrite or config.resume or begun)


def _measure(facts: dict[str, Any], model: Model, dataset: Dataset, engine: Engine, config: RunConfig) -> None:
    """Metrics on the validation rows where there are some, else on the training rows."""
    files = tuple(f for f in dataset.files if f.part == "valid")
    if files:
        valid = dataclasses.replace(dataset, files=files)
        facts["valid"] = _metrics(model, valid, engine, config.data)
    else:
        facts["metrics"] = _metrics(model, dataset, engine, config.data)


def _record(
    directory: RunDirectory,
    model: Model,
    facts: Mapping[str, Any],
    config: RunConfig,
    engine: Engine,
    watch: Watch,
    began: float,
) -> dict[str, Any]:
    told = {
        **facts,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "host": platform.node(),
        "config": dataclasses.asdict(config),
        "fingerprints": watch.fingerprints,
        "versions": versions(),
    }
    record: dict[str, Any] = json.loads(json.dumps(told))
    directory.commit(model, record)
    return record


def _metrics(
    model: Model,
    dataset: Dataset,
    engine: On,
    data: DataConfig,
    progress: Progress | None = None,
    known_only: bool = False,
) -> dict[str, Any]:
    """Exact metrics of a model over a Dataset."""
    algorithm: Algorithm = Evaluate(scorer=model, known_only=known_only)
    if measures_clusters(model):
        algorithm = EvaluateClusters(scorer=model)
    return found_by(algorithm, dataset, engine, data, progress)[0]


def found_by(
    algorithm: Algorithm, dataset: Dataset, engine: On, data: DataConfig, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an algorithm whose model is Metrics finds in a Dataset, and what its rounds counted."""
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder, running(engine, data, dataset.files) as started:
        watch = Watch(started, algorithm, data, False, progress or Silent())
        metrics, _ = fit(algorithm, dataset, started, Checkpoint(folder), watch)
    found: dict[str, Any] = metrics.header()["metrics"]
    return found, watch.counts


def plan(config: RunConfig) -> dict[str, Any]:
    """What a run would read, hold and do: nothing is written."""
    algorithm = algorithm_of(config)
    config, why = with_engine(config)
    check_here(config, algorithm)
    dataset, pipeline = open_training(config, algorithm)
    return plan_of(config, dataset, pipeline, why=why)


def scoring_config(
    model: PipelineModel, data: DataConfig, roles: tuple[str, ...], schema: Schema | None = None
) -> Dataset:
    """Other data, read as the model's columns, or as those of a schema that has them."""
    if not data.data:
        raise ConfigError("data", "no input is named", "use --data PATH")
    schema = schema or model.schema
    given = {r: getattr(data, r) for r in ("id", "weight", "offset", "target") if getattr(data, r)}
    if given:
        schema = with_roles(schema, {name: role for role, name in given.items()})
    return open_dataset(data, schema=schema, roles=roles)


def ranking_roles(model: PipelineModel) -> tuple[str, ...]:
    """The group column, where a model ranks within groups."""
    return ("group",) if model.deviance.startswith("lambdarank") else ()


def judging_roles(model: PipelineModel, weighted: bool = True) -> tuple[str, ...]:
    """The roles whose columns are read to judge a model; without weights every row counts once."""
    return ("feature", "target", *(("weight",) if weighted else ()), "offset", *ranking_roles(model))


def with_roles(schema: Schema, roles: Mapping[str, str]) -> Schema:
    """The model's schema with columns it did not know, such as an id, added in those roles."""
    from mrml.schema import Column

    for column in schema.columns:
        if column.name in roles and column.role == "feature":
            finding = f"is a feature of the model and cannot be the {roles[column.name]} too"
            raise ConfigError(f"column {column.name!r}", finding, "name a column that the model does not use")
    names = {c.name for c in schema.columns}
    extra = tuple(Column(n, "categorical" if r == "id" else "numeric", "ignore", "string" if r == "id" else "double")
                  for n, r in roles.items() if n not in names)  # fmt: skip
    # who had the role is no feature for that: the model would get a column more than it knows
    kept = tuple(dataclasses.replace(c, role="ignore") if c.role in roles.values() else c for c in schema.columns)
    return dataclasses.replace(schema, columns=kept + extra).with_roles(roles)


def load_model(path: str, engine: On | None = None) -> PipelineModel:
    """The model in a directory, which must be one that mrml trained; of a store, the one in service.

    It may name modules of the user's own that the configuration of ``engine`` allows, or that were allowed before.
    """
    if isinstance(engine, EngineConfig):
        allow(*engine.allow_import)
    model = load(resolved(path))
    if not isinstance(model, PipelineModel):
        raise ConfigError(path, "is not a model that `mrml train` wrote", "give its --output directory")
    return model


def evaluate(
    model_dir: str,
    data: DataConfig,
    engine: On,
    progress: Progress | None = None,
    weighted: bool = True,
    known_only: bool = False,
) -> dict[str, Any]:
    """Exact metrics of a model on data with a target; of clusters the inertia and the rows of each.

    With ``known_only`` rows of classes that it does not know are left out, and counted as ``left_out``.
    """
    model = load_model(model_dir, engine)
    dataset = scoring_config(model, data, judging_roles(model, weighted))
    return _metrics(model, dataset, engine, data, progress, known_only)


def predict(
    model_dir: str,
    data: DataConfig,
    engine: On,
    output: str,
    format: str = "parquet",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score data into part files: written aside, renamed when all are there."""
    refuse_taken(output, overwrite)
    model = load_model(model_dir, engine)
    dataset = scoring_config(model, data, ("feature", "id", "offset"))
    refuse_inputs(output, [f.path for f in dataset.files])
    began = time.monotonic()
    strict = isinstance(engine, EngineConfig) and engine.strict_identity
    with running(engine, data, dataset.files) as started:
        report, n_parts = _score(model, dataset, started, data, output, format, strict)
    facts = {"output": output, "n_rows": report.n_rows, "bad_rows": report.n_bad, "format": format}
    seconds, phases = time.monotonic() - began, report.phases()
    phases |= {"reduce": 0.0, "driver": max(seconds - sum(phases.values()), 0.0)}
    facts |= {"parts": n_parts, "n_bytes": dataset.n_bytes, "seconds": seconds, "seconds_in": rounded(phases)}
    if progress is not None:
        progress.done(facts)
    return facts


def _score(
    model: Model,
    dataset: Dataset,
    engine: Engine,
    data: DataConfig,
    output: str,
    format: str = "parquet",
    strict: bool = False,
) -> tuple[Report, int]:
    """Part files in the place of ``output``; what was counted, and how many parts there are."""
    with written_aside(output) as aside:
        scoring = _scoring(dataset, engine, data, aside.path, format)
        with dataset.naming(), engine.timed():
            report = engine.write(model, dataset, scoring)
        Watch(engine, CountRecords(), data, strict, Silent())(State({}))
        sweep(aside.path)
        if not aside.names():
            write_nothing(model, dataset, scoring)
        return report, len(aside.names())


def _scoring(dataset: Dataset, engine: Engine, data: DataConfig, output: str, format: str) -> Scoring:
    """Rows without an id are told by file and row number, which needs the records of every block counted."""
    names = tuple(f.name for f in dataset.files)
    if dataset.schema.role("id") is not None:
        return Scoring(output, format, names, id_type=_id_type(dataset))
    algorithm = CountRecords()
    values = engine.round(algorithm, State({}), dataset)
    counts = algorithm.update(State({}), values)["starts"] if values else {}
    return Scoring(output, format, names, counts)


def _id_type(dataset: Dataset) -> str:
    """The integer type of the id column in these files, or nothing: CSV has texts only."""
    column, format_ = dataset.schema.role("id"), dataset.schema.format.name
    assert column is not None
    source = "" if format_ in ("csv", "tsv") else column.source
    if format_ == "parquet":
        from mrml.data.formats.parquet import footer

        found = footer(dataset.files[0]).schema
        source = str(found.field(column.name).type) if column.name in found.names else source
    return "uint64" if source == "uint64" else "int64" if source.startswith(("int", "uint")) else ""


def schema(data: DataConfig) -> tuple[Schema, str, tuple[str, ...]]:
    """The inferred schema, its YAML text with what was observed, and what of that is worth a line."""
    if not data.data:
        raise ConfigError("data", "no input is named", "give files, directories or globs")
    found, report = infer(data.data, data)
    return found, to_yaml(found, report), report.matter


def inspect(model_dir: str) -> dict[str, Any]:
    """What a model's header says, with named coefficients where it has them."""
    model = load_model(model_dir)
    header = describe(model)
    inner = header["model"]
    facts: dict[str, Any] = {k: v for k, v in inner.items() if k not in ("format", "class")}
    target = model.schema.role("target")
    facts |= {
        "class": inner["class"],
        "target": None if target is None else target.name,
        "classes": list(model.classes),
    }
    facts["transforms"] = {
        k: header["transforms"][k] for k in ("n_rows", "sum_weight", "onehot", "hash") if k in header["transforms"]
    }
    if "importance" in inner:
        facts["trees"] = model.inner.shape()  # type: ignore[attr-defined]
    if "net" in inner:
        facts |= model.inner.told([name for name, _ in model.fitted.design.tables])  # type: ignore[attr-defined]
    arrays = model.inner.arrays()
    names = model.fitted.names
    if "coef" in arrays and len(names) == arrays["coef"].shape[-1]:
        facts["coefficients"] = {n: arrays["coef"][..., j].ravel().tolist() for j, n in enumerate(names)}
    if "intercept" in arrays:
        facts["intercept"] = arrays["intercept"].ravel().tolist()
    return facts
