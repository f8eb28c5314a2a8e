"""``--folds``: how rows are dealt, the run of a model with its folds, and what the folds say of it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from typing import Any, Protocol

from mrml.algorithm import Algorithm, State
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.evaluation.parts import FIGURES
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.algorithms.search.dealt import check_dealt
from mrml.algorithms.search.fold import on_fold, without_fold
from mrml.algorithms.search.grid import Grid, GridModel
from mrml.algorithms.search.out_of_fold import OutOfFold
from mrml.algorithms.search.parting import Parting
from mrml.algorithms.search.scores import FIRST_BINS, spread
from mrml.algorithms.search.times import CountTimes, cuts
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.errors import ConfigError, InputError
from mrml.model import Model
from mrml.runs.fit import Checkpoint, fit

#: models that are trained beside that of all rows
MOST_FOLDS = 1000
DAY_S = 86400.0


class Dealt(Protocol):
    """What a configuration says of folds."""

    @property
    def fold_by(self) -> str: ...

    @property
    def fold_seed(self) -> int: ...

    @property
    def fold_span(self) -> int: ...


def parting_of(
    config: Dealt, folds: int, algorithm: Algorithm, dataset: Dataset, engine: Engine | None = None
) -> Parting | None:
    """How a run deals its rows to folds, or None for no folds; ConfigError where that cannot be.

    By itself groups stay together where there is a group column, and else classes are dealt evenly.  Where folds go by
    date the engine counts the rows of each first; without one, as for a plan, stretches are not cut yet.
    """
    if not folds:
        for option, given in (("fold_by", config.fold_by != "auto"), ("fold_span", config.fold_span > 0)):
            if given:
                raise ConfigError(f"run, {option}", "there are no folds", "use --folds 5")
        return None
    name, by = type(algorithm).__name__.lower(), config.fold_by
    if folds < 2:
        raise ConfigError("run, folds", "one fold leaves no rows to train on", "use --folds 2 or more")
    if folds > MOST_FOLDS:
        finding = f"{folds:,} folds, of which each is a model of its own: at most {MOST_FOLDS:,}"
        raise ConfigError("run, folds", finding, "use --folds 5 or 10")
    n_rows = sum(sum(f.row_groups) for f in dataset.files if f.part == "train")
    if 0 < n_rows < folds:
        raise ConfigError("run, folds", f"{folds} folds of {n_rows} rows", f"use --folds {max(n_rows, 2)} or less")
    if algorithm.target == "none":
        raise ConfigError("run, folds", f"{name} has no target to be judged by", "leave out --folds")
    grouped = dataset.schema.role("group") is not None or any(f.query for f in dataset.files if f.part == "train")
    target = dataset.schema.role("target")
    classes = algorithm.target in ("binary", "classes") or (
        algorithm.target == "auto" and target is not None and target.kind != "numeric"
    )
    if by == "auto":
        by = "group" if grouped else "class" if classes else "row"
    if by == "group" and not grouped:
        raise ConfigError("run, fold_by", "no column is the group", "name it with --group")
    if by != "group" and algorithm.grouped:
        raise ConfigError("run, fold_by", f"{name} ranks within groups, which must stay whole", "use --fold-by group")
    if by == "class" and not classes and algorithm.target != "auto":
        raise ConfigError("run, fold_by", "the target is a number and has no classes", "use --fold-by row")
    if config.fold_span and by != "date":
        raise ConfigError("run, fold_span", f"folds by {by} have no stretches of time", "use --fold-by date")
    if by == "date":
        return _by_date(folds, config.fold_span, dataset, engine)
    return Parting(folds, by, config.fold_seed)


def _by_date(folds: int, span: int, dataset: Dataset, engine: Engine | None) -> Parting:
    """Folds that are stretches of about as many rows, whole days each."""
    numeric = dataset.schema.features("numeric")
    dates = [j for j, c in enumerate(numeric) if c.source.startswith(("date", "timestamp"))]
    role = dataset.schema.role("time")
    if role is None and len(dates) != 1:
        finding = f"{', '.join(numeric[j].name for j in dates)} are dates" if dates else "no column is a date"
        raise ConfigError("run, fold_by", finding, "name the one to go by with --time")
    column, source = (-1, role.source) if role else (dates[0], numeric[dates[0]].source)
    if engine is None:
        return Parting(folds, "date", 0, (), span, column)
    counting = CountTimes(column=column, step=DAY_S if source.startswith("timestamp") else 0.0)
    with dataset.naming(), engine.timed():
        values = engine.round(counting, State({}), dataset)
    if not values:
        raise InputError("data", "no row was found", "look at the files with `mrml schema`")
    state = counting.update(State({}), values)
    return Parting(folds, "date", 0, cuts(state["values"], state["counts"], folds + max(span, 1)), span, column)


def with_folds(pipeline: Pipeline, parting: Parting) -> Grid:
    """Training on all rows, and without each fold, side by side."""
    folds = [without_fold(pipeline, k, parting) for k in range(parting.folds)]
    names = ["all rows", *(f"without fold {k}" for k in range(parting.folds))]
    return Grid((pipeline, *folds), tuple(names))


def turn_of(learner: Algorithm, parting: Parting | None) -> Callable[[State], State] | None:
    """What looks, after the first round of training with folds, whether each of them has rows."""
    if parting is None:
        return None

    def turn(state: State) -> State:
        if state.round == 1:
            assert isinstance(learner, Grid)
            check_dealt(parting, learner, state, first=1)
        return state

    return turn


def apart(
    learner: Algorithm, model: Model, state: State, parting: Parting | None
) -> tuple[Model, State, OutOfFold | None]:
    """The model of all rows and its State, and where rows were dealt what scores each by the model without it."""
    if parting is None:
        return model, state, None
    assert isinstance(learner, Grid) and isinstance(model, GridModel)
    whole, *rest = model.models
    assert isinstance(whole, PipelineModel)
    models = {k: m for k, m in enumerate(rest) if isinstance(m, PipelineModel)}
    return whole, learner.state_of(state, 0), OutOfFold(whole, models, parting)


def to_score(dataset: Dataset) -> Dataset:
    """The rows that get a prediction out of fold: those to train on and those of weight 0, with their ids, without
    those to validate with."""
    files = tuple(f for f in dataset.files if f.part == "train")
    return dataclasses.replace(dataset, files=files, roles=(*dataset.roles, "id"), weightless=True)


def judged(model: OutOfFold, dataset: Dataset, engine: Engine) -> dict[str, Any]:
    """What the folds say: of every metric its value in each fold, their mean and standard deviation (of a sample), and
    its value over all out-of-fold predictions; exact, in one run for all."""
    parting = model.parting
    scorers = [model, *(OutOfFold(model.whole, {k: one}, parting) for k, one in model.models.items())]
    judges = [
        on_fold(Evaluate(scorer=scorer, first_bins=FIRST_BINS), k, parting)
        for k, scorer in zip([None, *model.models], scorers, strict=True)
    ]
    names = ["all folds", *(f"fold {k}" for k in model.models)]
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder:
        grid = Grid(tuple(judges), tuple(names), forgiving=True)  # a fold may be without rows
        found, _ = fit(grid, dataset, engine, Checkpoint(folder))
    assert isinstance(found, GridModel)
    whole, *each = [{} if m is None else m.header()["metrics"] for m in found.models]
    metrics = {name: spread([e.get(name) for e in each], whole[name]) for name in whole if name not in FIGURES}
    return {
        **parting.told(),
        "metrics": {name: told for name, told in metrics.items() if told["mean"] is not None},
        "rows": [e.get("n_rows", 0) for e in each],
    }
