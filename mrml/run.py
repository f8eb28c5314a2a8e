"""What the commands do: train, plan, predict, evaluate, schema, inspect; and the run directory.

A model's directory holds ``model.json`` and ``model.npz`` (the model), ``run.json`` (when, where, how, with what
metrics), ``_SUCCESS`` (the marker, written last) and ``_run/`` (identity and checkpoints, for ``--resume``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

import mrml
from mrml.algorithm import Algorithm, State, build, hyperparameters, load_class
from mrml.algorithms import locate
from mrml.algorithms.counting import CountRecords
from mrml.algorithms.evaluation import Evaluate
from mrml.algorithms.pipeline import Pipeline, PipelineModel
from mrml.config import DataConfig, EngineConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.data.infer import infer, to_yaml
from mrml.driver import Checkpoint, fit
from mrml.engines.base import Engine
from mrml.engines.lease import Lease
from mrml.engines.write import Scoring
from mrml.errors import BadRows, ConfigError, EngineError, NotConverged, OutputExists, ResumeMismatch
from mrml.model import Model, describe, load
from mrml.schema import Schema

SUCCESS = "_SUCCESS"


class Progress(Protocol):
    """Told of a run while it goes on."""

    def start(self, plan: dict[str, Any]) -> None: ...

    def round(self, facts: dict[str, Any]) -> None: ...

    def done(self, facts: dict[str, Any]) -> None: ...


class Silent:
    """Tells nobody."""

    def start(self, plan: dict[str, Any]) -> None:
        return None

    def round(self, facts: dict[str, Any]) -> None:
        return None

    def done(self, facts: dict[str, Any]) -> None:
        return None


def engine_of(config: EngineConfig, split_bytes: int) -> Engine:
    """The engine of a configuration, to be used in a with-block."""
    if config.engine == "inline":
        from mrml.engines.inline import InlineEngine

        return InlineEngine(split_bytes, config.cache_dir)
    if config.engine == "local":
        from mrml.engines.local import LocalEngine

        return LocalEngine(config.workers, split_bytes, config.cache_dir)
    if config.runner == "hadoop":
        from mrml.engines.hadoop import HadoopEngine

        return HadoopEngine(
            config.workers,
            split_bytes,
            config.cache_dir,
            config.task_python,
            config.reducers,
            jobconf_of(config),
            config.queue,
            config.max_wait_s,
            config.round_timeout_s,
        )
    from mrml.engines.streaming import StreamingEngine

    return StreamingEngine(config.runner, config.workers, split_bytes, config.cache_dir)


def jobconf_of(config: EngineConfig) -> dict[str, str]:
    """The properties of ``--jobconf``; ConfigError for one without a value."""
    for pair in config.jobconf:
        if "=" not in pair:
            raise ConfigError("engine, jobconf", f"{pair!r} has no value", "write KEY=VALUE")
    return dict(pair.split("=", 1) for pair in config.jobconf)


def algorithm_of(config: RunConfig) -> Algorithm:
    """The algorithm with its hyperparameters; ConfigError for unknown names."""
    cls = load_class(locate(config.algorithm), Algorithm)
    return build(cls, config.params)


def pipeline_of(algorithm: Algorithm, schema: Schema, data: DataConfig) -> Pipeline:
    """The algorithm behind the transforms that the schema asks for."""
    for name in data.hash:
        if schema.column(name).kind != "categorical":
            raise ConfigError(
                "data, hash", f"column {name!r} is {schema.column(name).kind}", "hash categorical columns"
            )
    return Pipeline(
        algorithm=algorithm,
        schema=schema,
        max_levels=data.max_levels,
        hash_columns=data.hash,
        hash_bits=data.hash_bits,
        bins=data.bins,
    )


def roles_of(algorithm: Algorithm, schema: Schema) -> tuple[str, ...]:
    """The roles whose columns are read for training."""
    if algorithm.target != "none" and schema.role("target") is None:
        raise ConfigError(
            "data, target", f"{type(algorithm).__name__.lower()} needs one", "name it with --target COLUMN"
        )
    # weight and group also where no column has the role: a side file may stand in for it
    return ("feature", "weight", "offset", "group") + (("target",) if algorithm.target != "none" else ())


def open_training(config: RunConfig, algorithm: Algorithm) -> tuple[Dataset, Pipeline]:
    """The Dataset of a run, and its algorithm as a Pipeline."""
    data = config.data
    if not data.data:
        raise ConfigError("data", "no input is named", "say --data PATH")
    if data.target is None and data.schema is None and algorithm.target != "none":
        looks_libsvm = data.format == "libsvm"
        if not looks_libsvm and not _libsvm(data):
            raise ConfigError("data, target", "no target column is named", "say --target COLUMN")
    dataset = Dataset.open(data)
    schema = dataset.schema
    dataset = dataclasses.replace(dataset, roles=roles_of(algorithm, schema))
    return dataset, pipeline_of(algorithm, schema, data)


def _libsvm(data: DataConfig) -> bool:
    return infer(data.data, data)[0].format.name == "libsvm"


class RunDirectory:
    """``OUTPUT/_run``: who may write the output, what it was begun with, its checkpoints."""

    def __init__(self, output: str, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        self.output = Path(output)
        self.folder = self.output / "_run"
        self.checkpoint = Checkpoint(self.folder / "checkpoint")
        there = self.output.exists() and any(self.output.iterdir())
        if resume and not self.folder.exists():
            raise ResumeMismatch(str(self.output), "holds no run to resume", "leave out --resume")
        if there and not (resume or overwrite or self.folder.exists()):
            self._refuse()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lease = Lease(self.folder / "lease")
        try:
            self._begin(identity, there, resume, overwrite)
        except BaseException:
            self.close()
            raise

    def _begin(self, identity: Mapping[str, Any], there: bool, resume: bool, overwrite: bool) -> None:
        if resume:
            self._same(identity)
        elif overwrite:
            self._clear()
        elif there:
            self._refuse()
        _write_json(self.folder / "identity.json", identity)
        name = self.folder / "id"
        if not name.exists():
            _write_json(name, {"run": uuid.uuid4().hex[:12]})
        self.id: str = json.loads(name.read_text(encoding="utf-8"))["run"]

    def _refuse(self) -> None:
        done = (self.output / SUCCESS).exists()
        finding = "is there already" if done else "holds a run that did not finish"
        remedy = "say --overwrite to replace it" + ("" if done else ", or --resume to go on")
        raise OutputExists(str(self.output), finding, remedy)

    def _clear(self) -> None:
        """All that an earlier run left, but for the lease, which is held."""
        for path in self.folder.iterdir():
            if path != self.lease.path:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        """Let other drivers have the run."""
        self.lease.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _same(self, identity: Mapping[str, Any]) -> None:
        path = self.folder / "identity.json"
        if not path.exists():
            raise ResumeMismatch(str(self.output), "holds no run to resume", "leave out --resume")
        begun = json.loads(path.read_text(encoding="utf-8"))
        for key, value in json.loads(json.dumps(identity)).items():
            if begun.get(key) != value:
                finding = f"{key} is not what the run began with: {_difference(begun.get(key), value)}"
                raise ResumeMismatch("resume", finding, "give the same configuration and inputs, or a new --output")

    def commit(self, model: Model, facts: Mapping[str, Any]) -> None:
        """Put the model in place: what was there stays whole until the new files are."""
        aside = self.folder / "model"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        model.save(aside)
        _write_json(aside / "run.json", facts)
        (self.output / SUCCESS).unlink(missing_ok=True)
        for name in ("model.npz", "model.json", "run.json"):
            os.replace(aside / name, self.output / name)
        aside.rmdir()
        (self.output / SUCCESS).touch()


def _difference(old: Any, new: Any) -> str:
    """The first place in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return f"{key}: {_difference(old.get(key), new.get(key))}"
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return next(_difference(a, b) for a, b in zip(old, new, strict=True) if a != b)
    return f"{json.dumps(old)[:200]} then, {json.dumps(new)[:200]} now"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(aside, path)


def identity_of(pipeline: Pipeline, dataset: Dataset) -> dict[str, Any]:
    """What a resumed run must have in common with its beginning."""
    files = [[f.part, f.name, f.size] for f in dataset.files]
    builds = {"mrml": mrml.__version__, "numpy": np.__version__}
    spec = pipeline.spec()
    return {
        "algorithm": spec["params"]["algorithm"],
        "transforms": _without(spec["params"]),
        "inputs": files,
        "builds": builds,
    }


def _without(params: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in params.items() if k != "algorithm"}


class _Watch:
    """Turns rounds into facts for the Progress, and counts bad rows against their limit."""

    def __init__(
        self, engine: Engine, algorithm: Algorithm, config: DataConfig, strict: bool, progress: Progress
    ) -> None:
        self.engine, self.algorithm, self.config, self.strict, self.progress = (
            engine,
            algorithm,
            config,
            strict,
            progress,
        )
        self.began = self.last = time.monotonic()
        self.fingerprints: set[str] = set()
        self.n_rows = self.n_bad = self.rounds = 0
        self.problems: list[str] = []

    def __call__(self, state: State) -> None:
        now = time.monotonic()
        report = self.engine.report
        seconds, self.last = now - self.last, now
        self.rounds += 1
        self.n_rows, self.n_bad, self.problems = report.n_rows, report.n_bad, report.problems
        self._check(report.fingerprints)
        expected = self.algorithm.rounds()
        facts: dict[str, Any] = {"round": state.round, "rounds": expected, **self.algorithm.progress(state)}
        facts |= {"seconds": seconds, "rows_per_s": report.n_rows / max(seconds, 1e-9)}
        facts["eta_s"] = 0.0 if state.stop else seconds * max(expected - state.round, 0)
        self.progress.round(facts)

    def _check(self, fingerprints: list[str]) -> None:
        if self.n_bad > self.config.max_bad_rows:
            finding = f"{self.n_bad} malformed rows, the limit is {self.config.max_bad_rows}"
            first = f"; the first: {self.problems[0]}" if self.problems else ""
            raise BadRows("data", finding + first, "raise --max-bad-rows, or mend the data")
        new = set(fingerprints) - self.fingerprints
        self.fingerprints |= new
        if len(self.fingerprints) > 1 and new:
            finding = f"processes compute with different kernels: {', '.join(sorted(self.fingerprints))}"
            remedy = "use one build of NumPy everywhere, and import mrml before NumPy"
            if self.strict:
                raise EngineError("round", finding, remedy)
            import logging

            logging.getLogger(__name__).warning("%s; the model may differ in its last bits; %s", finding, remedy)


def train(config: RunConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Train, evaluate and put the model in place; the summary of the run."""
    progress = progress or Silent()
    if not config.output:
        raise ConfigError("output", "no directory is named", "say --output DIR")
    _check_output(config)
    algorithm = algorithm_of(config)
    began = time.time()
    with ExitStack() as held:
        engine = held.enter_context(engine_of(config.engine, config.data.split_bytes))
        dataset, pipeline = open_training(config, algorithm)
        identity = identity_of(pipeline, dataset)
        directory = held.enter_context(RunDirectory(config.output, identity, config.resume, config.overwrite))
        engine.attach(directory.id)
        progress.start(_plan(config, dataset, pipeline, engine))
        watch = _Watch(engine, pipeline, config.data, config.engine.strict_identity, progress)
        model, state = fit(pipeline, dataset, engine, directory.checkpoint, watch, config.max_rounds)
        trained = time.time()
        facts: dict[str, Any] = {
            "algorithm": config.algorithm,
            "output": config.output,
            "rounds": state.round,
            "stop": state.stop,
            "converged": state.converged,
            "n_rows": watch.n_rows,
            "bad_rows": watch.n_bad,
            "problems": watch.problems,
            "seconds": trained - began,
            "metrics": {},
            "valid": {},
        }
        if algorithm.target != "none":
            _measure(facts, model, dataset, engine, config)
        _record(directory, model, facts, config, engine, watch, began)
    progress.done(facts)
    return facts


def check_converged(config: RunConfig, facts: Mapping[str, Any]) -> None:
    """NotConverged where the configuration is strict and the run stopped at a limit; its model stays."""
    if config.strict and not facts["converged"]:
        raise NotConverged(config.algorithm, str(facts["stop"]), "allow more rounds, or a larger tol")


def _check_output(config: RunConfig) -> None:
    """Refuse before anything is read; RunDirectory decides again with the run's identity."""
    path = Path(config.output)
    if path.exists() and not path.is_dir():
        raise OutputExists(config.output, "is a file", "name a directory that does not exist")
    if (path / SUCCESS).exists() and not (config.overwrite or config.resume):
        raise OutputExists(config.output, "is there already", "say --overwrite to replace it")


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
    watch: _Watch,
    began: float,
) -> None:
    told = {
        **facts,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "host": platform.node(),
        "engine": {"name": engine.name, "workers": engine.workers()},
        "config": dataclasses.asdict(config),
        "fingerprints": sorted(watch.fingerprints),
        "versions": {"mrml": mrml.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    directory.commit(model, json.loads(json.dumps(told)))


def _metrics(
    model: Model, dataset: Dataset, engine: Engine, data: DataConfig, progress: Progress | None = None
) -> dict[str, Any]:
    """Exact metrics of a model over a Dataset."""
    algorithm = Evaluate(scorer=model)
    with _temporary() as folder:
        watch = _Watch(engine, algorithm, data, False, progress or Silent())
        metrics, _ = fit(algorithm, dataset, engine, Checkpoint(folder), watch)
    found: dict[str, Any] = metrics.header()["metrics"]
    return found


@contextmanager
def _temporary() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder:
        yield folder


def plan(config: RunConfig) -> dict[str, Any]:
    """What a run would read, hold and do: nothing is written."""
    algorithm = algorithm_of(config)
    dataset, pipeline = open_training(config, algorithm)
    return _plan(config, dataset, pipeline, None)


def _plan(config: RunConfig, dataset: Dataset, pipeline: Pipeline, engine: Engine | None) -> dict[str, Any]:
    blocks = [f.n_blocks for f in dataset.files]
    rows = [sum(f.row_groups) if f.row_groups else None for f in dataset.files]
    workers = engine.workers() if engine else config.engine.workers or os.cpu_count() or 1
    expected = pipeline.rounds() if config.max_rounds is None else min(pipeline.rounds(), config.max_rounds)
    columns = dataset.schema.columns
    return {
        "config": dataclasses.asdict(config),
        "files": [{"name": f.name, "bytes": f.size, "blocks": f.n_blocks, "part": f.part} for f in dataset.files],
        "n_files": len(dataset.files),
        "n_blocks": None if None in blocks else sum(b or 0 for b in blocks),
        "n_splits": len(dataset.splits(config.data.split_bytes)),
        "n_bytes": dataset.n_bytes,
        "n_rows": None if None in rows else sum(r or 0 for r in rows),
        "rounds_expected": expected,
        # a block's text and its decoded arrays, a chunk in float64, NumPy and pyarrow themselves
        "memory_per_worker": 150 * (1 << 20) + 12 * dataset.schema.window_bytes,
        "workers": 1 if config.engine.engine == "inline" else workers,
        "engine": config.engine.engine,
        "features": [c.name for c in columns if c.role == "feature"],
        "ignored": [c.name for c in columns if c.role == "ignore"],
    }


def scoring_config(model: PipelineModel, data: DataConfig, roles: tuple[str, ...]) -> Dataset:
    """Other data, read as the model's columns."""
    if not data.data:
        raise ConfigError("data", "no input is named", "say --data PATH")
    schema = model.schema
    given = {r: getattr(data, r) for r in ("id", "weight", "offset", "target") if getattr(data, r)}
    if given:
        schema = with_roles(schema, {name: role for role, name in given.items()})
    return Dataset.open(data, schema=schema, roles=roles)


def with_roles(schema: Schema, roles: Mapping[str, str]) -> Schema:
    """The model's schema with columns it did not know, such as an id, added in those roles."""
    from mrml.schema import Column

    names = {c.name for c in schema.columns}
    extra = tuple(Column(n, "categorical" if r == "id" else "numeric", "ignore", "string" if r == "id" else "double")
                  for n, r in roles.items() if n not in names)  # fmt: skip
    return dataclasses.replace(schema, columns=schema.columns + extra).with_roles(roles)


def load_model(path: str) -> PipelineModel:
    """The model in a directory, which must be one that mrml trained."""
    model = load(path)
    if not isinstance(model, PipelineModel):
        raise ConfigError(path, "is not a model that `mrml train` wrote", "give its --output directory")
    return model


def evaluate(
    model_dir: str, data: DataConfig, engine: EngineConfig, progress: Progress | None = None
) -> dict[str, Any]:
    """Exact metrics of a model on data with a target."""
    model = load_model(model_dir)
    if model.output == "cluster":
        raise ConfigError(model_dir, "clusters have no target to be evaluated against", "use mrml predict")
    dataset = scoring_config(model, data, ("feature", "target", "weight", "offset"))
    with engine_of(engine, data.split_bytes) as running:
        return _metrics(model, dataset, running, data, progress)


def predict(
    model_dir: str,
    data: DataConfig,
    engine: EngineConfig,
    output: str,
    format: str = "parquet",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score data into part files: written aside, renamed when all are there."""
    target = Path(output)
    if target.exists() and not overwrite:
        raise OutputExists(output, "is there already", "say --overwrite to replace it")
    model = load_model(model_dir)
    dataset = scoring_config(model, data, ("feature", "id", "offset"))
    aside = target.with_name(f"_{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    began = time.monotonic()
    try:
        with engine_of(engine, data.split_bytes) as running:
            scoring = _scoring(dataset, running, data, str(aside), format)
            report = running.write(model, dataset, scoring)
            _Watch(running, CountRecords(), data, engine.strict_identity, Silent())(State({}))
        (aside / SUCCESS).touch()
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    facts = {"output": output, "n_rows": report.n_rows, "bad_rows": report.n_bad, "format": format}
    facts |= {"parts": len(list(target.glob("part-*"))), "seconds": time.monotonic() - began}
    if progress is not None:
        progress.done(facts)
    return facts


def _scoring(dataset: Dataset, engine: Engine, data: DataConfig, output: str, format: str) -> Scoring:
    """Rows without an id are told by file and row number, which needs the records of every block counted."""
    names = tuple(f.name for f in dataset.files)
    if dataset.schema.role("id") is not None:
        return Scoring(output, format, names)
    algorithm = CountRecords()
    values = engine.round(algorithm, State({}), dataset)
    counts = algorithm.update(State({}), values)["starts"] if values else {}
    return Scoring(output, format, names, counts)


def schema(data: DataConfig) -> tuple[Schema, str]:
    """The inferred schema and its YAML text with what was observed."""
    if not data.data:
        raise ConfigError("data", "no input is named", "give files, directories or globs")
    found, report = infer(data.data, data)
    return found, to_yaml(found, report)


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
    arrays = model.inner.arrays()
    names = model.fitted.names
    if "coef" in arrays and len(names) == arrays["coef"].shape[-1]:
        facts["coefficients"] = {n: arrays["coef"][..., j].ravel().tolist() for j, n in enumerate(names)}
    if "intercept" in arrays:
        facts["intercept"] = arrays["intercept"].ravel().tolist()
    return facts


def hyperparameter_names(name: str) -> list[str]:
    """The hyperparameters of an algorithm of the table or of the user's own."""
    return sorted(hyperparameters(load_class(locate(name), Algorithm)))
