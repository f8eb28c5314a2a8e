"""The file of ``mrml run``: a run file with variables, and steps around the training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from mrml.algorithm import hyperparameters
from mrml.algorithms import algorithm_class
from mrml.algorithms.evaluation.evaluate import KEYS
from mrml.config import sources as conf
from mrml.config.gate import Gate
from mrml.config.sections import DataConfig, RunConfig
from mrml.config.steps import GateStep, PredictStep, Step, TrainStep
from mrml.config.steps import read as read_steps
from mrml.config.template import filled, refuse_secrets, revealed, variables
from mrml.data.files import File, discover
from mrml.data.open import read_text
from mrml.errors import ConfigError, nearest
from mrml.fs.folder import Folder
from mrml.runs.directory import among, refuse_inputs
from mrml.runs.report import drawing, mlflow

#: the hyperparameter of algorithms that can begin from a model
INIT_MODEL = "init_model"
#: what evaluations tell, by which a gate may judge
METRICS = {*KEYS, "ndcg", "inertia", "n_rows", "rows", "weight"}
_OWN = ("variables", "work", "store", "steps")
#: what a training run has and a run of steps decides itself
_NOT_HERE = {"output": "work: names the folder of the runs", "resume": "a run goes on by itself",
             "overwrite": "a run goes on by itself; another one gets a directory of its own"}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """What is to be done.

    Attributes
    ----------
    file : the path of the file.
    given : the variables that are set for the run.
    values : every variable.
    run : the training, without an output.
    work : the folder in which each run gets a directory.
    store : the folder of the store of models, or "".
    steps : what is asked for, in order.
    tree : the file with its variables filled in.
    environment : what variables of the environment say of the training, by section and name.
    """

    file: str
    given: Mapping[str, str]
    values: Mapping[str, str]
    run: RunConfig
    work: str
    store: str
    steps: Mapping[str, Step]
    tree: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What a run is called for people: its day, or the name of its file in characters that HDFS takes too."""
        return self.values.get("ds") or re.sub(r"[^\w.-]", "_", Folder(self.file).name.rpartition(".")[0]) or "run"

    @property
    def inputs(self) -> list[tuple[str, ...]]:
        """What is given as rows, to train on and to the steps, each once."""
        of_steps = (getattr(step, "data", ()) for step in self.steps.values())
        return list(dict.fromkeys(filter(None, (self.run.data.data, self.run.data.valid, *of_steps))))

    def run_id(self, listing: list[list[Any]]) -> str:
        """Of what the run is asked to do and of what lies there for it: the same twice is one run.

        A file counts with its name, size and time of change, a schema file with what it says.  The engine, and how long
        it may wait, count not: they change no result.
        """
        told = {k: v for k, v in self.tree.items() if k not in ("engine", "variables")}
        beside: dict[str, Any] = {"environment": self.environment} if self.environment else {}
        if self.run.data.schema:
            beside["schema"] = sha256(read_text(self.run.data.schema).encode()).hexdigest()
        text = json.dumps([told, listing, *([beside] if beside else [])], sort_keys=True, default=str)
        return sha256(text.encode()).hexdigest()[:12]

    def keep(self, paths: Iterable[str]) -> None:
        """ConfigError where the predictions, which replace a folder whole, would take the place of an input file."""
        step = self.steps.get("predict")
        if isinstance(step, PredictStep) and step.output:
            refuse_inputs(step.output, paths)

    def files(self) -> list[File]:
        """Every input file once, by path.  InputError where an input holds none."""
        files = {file.path: file for given in self.inputs for file in discover(given)}
        return [files[path] for path in sorted(files)]

    def listing(self, files: Sequence[File] | None = None) -> list[list[Any]]:
        """Of every input file path, bytes, and when it was changed in seconds since 1970."""
        places = [(file, Folder(file.path)) for file in (self.files() if files is None else files)]
        return [[file.path, file.size, place.fs.modified(place.path)] for file, place in places]


def read(path: str, given: Mapping[str, str]) -> Batch:
    """The file at a path with these variables set; ConfigError naming the place of what is wrong with it."""
    tree = conf.read_file(path)
    values = variables(given, tree.get("variables"), path)
    body = {k: v for k, v in tree.items() if k != "variables"}
    body = filled(body, values, path, tree.get("variables") or {})
    for name, remedy in _NOT_HERE.items():
        if name in body:
            raise ConfigError(path, f"{name!r} is not a key of a run of steps", remedy)
    refuse_secrets({k: v for k, v in body.items() if k != "mlflow"}, path, "a secret may stand in mlflow alone")
    work, store = (_text(body.get(name), f"{path}, {name}") for name in ("work", "store"))
    if not work:
        raise ConfigError(path, "has no work:", "name the folder in which each run gets a directory")
    steps = read_steps(body.get("steps"), path)
    if "promote" in steps and not store:
        raise ConfigError(path, "promotes, and has no store:", "name the folder of the store of models")
    _check_gate(steps, path)
    run, can_begin, environment = _training({k: v for k, v in body.items() if k not in _OWN}, path)
    if run.mlflow:
        run = replace(run, mlflow=revealed(run.mlflow, f"{path}, mlflow"))
        mlflow.check(run.mlflow or "")
    train = steps.get("train")
    if isinstance(train, TrainStep) and train.warm_start and not can_begin:
        remedy = "leave it out; all but forest can"
        raise ConfigError(f"{path}, steps.train.warm_start", f"{run.algorithm} begins from no model", remedy)
    batch = Batch(path, dict(given), values, run, work, store, steps, body, environment)
    _refuse_overlap(batch)
    if "report" in steps:  # known before the night's work is done
        drawing.require("jinja2", "matplotlib")
    return batch


def _training(tree: dict[str, Any], path: str) -> tuple[RunConfig, bool, dict[str, Any]]:
    """The training, whether its algorithm can begin from a model, and what of it the environment says."""
    name, solver = conf.asked(tree)
    if not name:
        raise ConfigError(path, "names no algorithm", "write algorithm: NAME")
    if ":" in name:
        conf.see_current_directory()
    cls = algorithm_class(name, solver)
    absent = dict(getattr(cls, "no_counterpart", {}))
    known = [option for option in conf.run_options(cls) if option.name not in _NOT_HERE]
    conf.refuse_unknown_variables(known)
    settings = conf.resolve(known, {}, tree=tree, file=path, absent=absent)
    config = conf.run_config(settings)
    if not config.data.data:
        raise ConfigError(path, "names no data", "write data: below data:")
    conf.allow_imports(config.engine.allow_import)
    said = {".".join(key): s.value for key, s in settings.items() if s.origin.startswith("environment")}
    said = {name: value for name, value in said.items() if not name.startswith("engine.")}
    return config, INIT_MODEL in hyperparameters(cls), said


def _check_gate(steps: Mapping[str, Step], path: str) -> None:
    """ConfigError for a metric that no model has, before anything is trained."""
    gate = steps.get("gate")
    strange = Gate(gate.expression).metrics - METRICS if isinstance(gate, GateStep) else set()
    for name in sorted(strange):
        raise ConfigError(f"{path}, steps.gate", f"{name!r} is not a metric", nearest(name, METRICS))


def _refuse_overlap(batch: Batch) -> None:
    """What is written among the inputs would be read as rows the next time; predictions replace a folder whole."""
    outputs = {f"steps.{name}": getattr(step, "output", "") for name, step in batch.steps.items()}
    for name, path in {"work": batch.work, "store": batch.store, **outputs}.items():
        for source in (source for given in batch.inputs for source in given):
            if path and among(path, source):
                finding = f"the output {path} lies in the input {source}"
                raise ConfigError(f"{batch.file}, {name}", finding, "name another place")
    step, place = batch.steps.get("predict"), f"{batch.file}, steps.predict"
    if isinstance(step, PredictStep) and step.output:
        for key, folder in (("work", batch.work), ("store", batch.store)):
            if folder and _with_slash(folder).startswith(_with_slash(step.output)):
                raise ConfigError(place, f"the output {step.output} holds {key}: {folder}", "name another output")


def _with_slash(path: str) -> str:
    return f"{path.rstrip('/')}/"


def _text(node: Any, place: str) -> str:
    if node is None:
        return ""
    if not isinstance(node, str):
        raise ConfigError(place, f"{node!r} is not text", "put it in quotes")
    return node


def data_of(config: DataConfig, paths: tuple[str, ...], schema: str | None = None) -> DataConfig:
    """How other rows are read: as those to train on, by the schema of a model or by that of a file."""
    return replace(config, data=paths, valid=(), schema=schema)
