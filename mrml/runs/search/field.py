"""A search before its first round: its data, its folds, and what trains the candidates of a wave."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrml.algorithm import Algorithm
from mrml.algorithms import algorithm_class
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.algorithms.search.parting import Parting
from mrml.algorithms.search.scores import METRICS_OF
from mrml.algorithms.search.search import Search
from mrml.config.sections import RunConfig, SearchConfig
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.errors import ConfigError
from mrml.names import allow
from mrml.params import unusual
from mrml.runs.search import tpe
from mrml.runs.search.folds import parting_of
from mrml.runs.search.spaces import Space, built, candidates
from mrml.runs.search.wave import Wave
from mrml.runs.search.waves import by_rows, first_wave, levels_of, rungs_of
from mrml.runs.setup import check_here, identity_of, open_training, pipeline_of, roles_of

#: fields of SearchConfig that searches begun before them do not have: left out of an identity where they are as usual
_YOUNGER = ("resource", "wave", "max_seconds", "max_model_bytes", "fold_span")


@dataclass(frozen=True)
class Tuning:
    """What is to be found: ``run`` has the data, the engine, the output and the hyperparameters that stay."""

    run: RunConfig
    search: SearchConfig
    spaces: tuple[Space, ...]

    @property
    def algorithm(self) -> type[Algorithm]:
        """Of all candidates."""
        allow(*self.run.engine.allow_import)
        return algorithm_class(self.run.algorithm, self.run.params.get("solver"))

    @property
    def folds(self) -> int:
        """Folds to judge by; 0 where rows to validate with do."""
        if self.search.folds is None:
            return 0 if self.run.data.valid else 5
        return self.search.folds


@dataclass(frozen=True)
class Field:
    """A search with its data; ``first`` is the wave that it begins with."""

    tuning: Tuning
    dataset: Dataset
    parting: Parting | None
    first: Wave

    def search(self, wave: Wave) -> Search:
        """What trains and judges the candidates of a wave; ConfigError where they cannot be trained side by side."""
        config, run = self.tuning.search, self.tuning.run
        algorithms = _algorithms(self.tuning, wave)
        for number, algorithm in zip(wave.trials, algorithms, strict=True):
            check_here(run, algorithm)
            self.dataset.shards(algorithm.shards)
            same = roles_of(algorithm, self.dataset.schema) == self.dataset.roles
            if not same or algorithm.target != algorithms[0].target:
                raise ConfigError(
                    f"trial {number}", "has another kind of target than trial 0", "search them one by one"
                )
        pipelines = tuple(pipeline_of(a, self.dataset.schema, run.data) for a in algorithms)
        rungs = rungs_of(config, len(pipelines), max(int(p.expected_rounds()) for p in pipelines))
        left_out = 0 if by_rows(config) else levels_of(config, len(pipelines)) - len(rungs)
        parting = self.parting or Parting(2, "group" if algorithms[0].grouped else "row")
        dealt: dict[str, Any] = {k: v for k, v in dataclasses.asdict(parting).items() if k != "folds"}
        return Search(
            pipelines, self.dataset.schema, self.tuning.folds, metric=config.metric or "", rungs=rungs, eta=config.eta,
            brackets=() if by_rows(config) else tuple(max(b - left_out, 0) for b in wave.brackets), share=wave.share,
            watches=bool(self.tuning.folds) and not any(f.part == "valid" for f in self.dataset.files),
            max_bytes=config.max_model_bytes, **dealt,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What a search that is taken up must have in common with its beginning."""
        config, spaces = self.tuning.search, self.tuning.spaces
        pipeline = self._pipeline(self.first)
        dated = self.parting if self.parting is not None and self.parting.by == "date" else None
        told = unusual(dataclasses.asdict(config), SearchConfig, among=_YOUNGER)
        found = {**identity_of(pipeline, self.dataset, dated), "search": {**told, "folds": self.tuning.folds}}
        if config.method != "tpe":
            return {**found, "candidates": candidates(config, spaces)}
        spaces_told = {s.name: [s.kind, *s.values] for s in spaces}
        return {**found, "spaces": spaces_told, "builds": {**found["builds"], "optuna": tpe.version()}}

    def _pipeline(self, wave: Wave) -> Pipeline:
        algorithm = _algorithms(self.tuning, dataclasses.replace(wave, trials=wave.trials[:1], params=wave.params[:1]))
        return pipeline_of(algorithm[0], self.dataset.schema, self.tuning.run.data)


def _algorithms(tuning: Tuning, wave: Wave) -> Sequence[Algorithm]:
    return built(tuning.algorithm, tuning.run.params, wave.params, wave.trials)


def opened(tuning: Tuning, engine: Engine | None = None) -> Field:
    """A search over its data, which an engine looks at where folds go by date; ConfigError where it cannot be."""
    run, config = tuning.run, tuning.search
    if config.max_seconds is not None and config.max_seconds <= 0:
        raise ConfigError("search, max_seconds", f"{config.max_seconds} leaves no time", "give more, or leave it out")
    first = first_wave(config, tuning.spaces)
    algorithm = next(itertools.islice(_algorithms(tuning, first), 1))
    _check_metric(tuning, algorithm)
    dataset, _ = open_training(run, algorithm)
    if not tuning.folds and not any(file.part == "valid" for file in dataset.files):
        raise ConfigError("search, folds", "there are no rows to judge by", "use --folds 5, or name some with --valid")
    if algorithm.target == "none":
        raise ConfigError("search", f"{run.algorithm} has no target to be judged by", "search among other algorithms")
    return Field(tuning, dataset, parting_of(config, tuning.folds, algorithm, dataset, engine), first)


def _check_metric(tuning: Tuning, algorithm: Algorithm) -> None:
    """ConfigError where models of such a target have no such metric."""
    kinds = {"binary": "classes", "classes": "classes", "numeric": "numeric"}
    known = METRICS_OF.get("ranks" if algorithm.grouped else kinds.get(algorithm.target, ""))
    metric = tuning.search.metric
    if metric and known and metric not in known:
        finding = f"models of {tuning.run.algorithm} have no {metric}"
        raise ConfigError("search, metric", finding, f"name one of {', '.join(known)}")
