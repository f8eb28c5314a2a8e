"""Two models on the same rows: exact metrics, and how sure their differences are."""

from __future__ import annotations

import dataclasses
from typing import Any

from mrml.algorithms.evaluation.compare import Compare
from mrml.algorithms.evaluation.curves import Curves
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.config.sections import DataConfig
from mrml.errors import ConfigError
from mrml.fs.folder import Folder
from mrml.names import allow
from mrml.runs.progress import Progress
from mrml.runs.setup import On, running
from mrml.runs.train import evaluate, found_by, load_model, ranking_roles, scoring_config
from mrml.schema import Schema

#: metrics of which less is better
LESS = ("log_loss", "rmse", "mae", "deviance")


def compare(models: tuple[str, str], data: DataConfig, engine: On, progress: Progress | None = None) -> dict[str, Any]:
    """Metrics of both, the second one's less the first one's, and intervals (95 %) of that difference.

    Raises
    ------
    ConfigError
        They predict different things, or read a column differently.
    """
    first, second = (directory_of(model) for model in models)
    exact = [evaluate(model, data, engine, progress) for model in (first, second)]
    intervals = uncertainty((first, second), data, engine, progress)
    return {"models": [first, second], "n_rows": exact[0]["n_rows"], **joined(exact[0], exact[1], intervals)}


def uncertainty(
    models: tuple[str, str], data: DataConfig, engine: On, progress: Progress | None = None
) -> dict[str, Any]:
    """What a bootstrap says of two models: see :class:`~mrml.algorithms.evaluation.compare.Compare`; of two that rank
    nothing."""
    allow(*getattr(engine, "allow_import", ()))
    loaded = [load_model(model) for model in models]
    if all(ranking_roles(model) for model in loaded):  # whose metric is of whole groups, and draws are of rows
        return {"intervals": {}, "replicates": 0, "unit_rows": 1}
    shared = _union(loaded)
    roles = ("feature", "target", "weight", "offset", *ranking_roles(loaded[0]))
    dataset = scoring_config(loaded[0], data, roles, shared)
    numeric = [c.name for c in dataset.schema.features("numeric")]
    columns = tuple(tuple(numeric.index(c.name) for c in m.schema.features("numeric")) for m in loaded)
    algorithm = Compare(scorers=tuple(loaded), columns=() if shared.sparse else columns)
    with running(engine, data, dataset.files) as started:
        return found_by(algorithm, dataset, started, data, progress)[0]


def curves_of(model: str, data: DataConfig, engine: On, progress: Progress | None = None) -> dict[str, Any]:
    """What a report draws of a model's predictions: see :mod:`mrml.algorithms.evaluation.curves`."""
    allow(*getattr(engine, "allow_import", ()))
    loaded = load_model(directory_of(model))
    roles = ("feature", "target", "weight", "offset", *ranking_roles(loaded))
    dataset = scoring_config(loaded, data, roles)
    with running(engine, data, dataset.files) as started:
        return found_by(Curves(scorer=loaded), dataset, started, data, progress)[0]


def joined(first: dict[str, Any], second: dict[str, Any], intervals: dict[str, Any]) -> dict[str, Any]:
    """Metrics by name: of both, ``difference``, ``low`` and ``high``, and ``better``: whether the second one is, for
    sure, None where the interval holds 0."""
    found = {}
    for name, value in second.items():
        if name in ("n_rows", "weight", "rows", "reasons") or value is None or first.get(name) is None:
            continue
        about: dict[str, Any] = {"first": first[name], "second": value, "difference": value - first[name]}
        if sure := intervals["intervals"].get(name):
            low, high = about["difference"] + sure["low"], about["difference"] + sure["high"]
            better = None if low <= 0 <= high else (high < 0) == (name in LESS)
            about |= {"low": low, "high": high, "better": better}
        found[name] = about
    return {"metrics": found, **{k: intervals[k] for k in ("replicates", "unit_rows")}}


def directory_of(name: str) -> str:
    """The directory of a model, also of the one that a run of steps has made."""
    folder = Folder(name)
    return (folder / "model").path if (folder / "model").exists("model.json") else name


def _union(models: list[PipelineModel]) -> Schema:
    """The schema of the first with the columns that only the second one knows."""
    first, second = (m.schema for m in models)
    known = {c.name: c for c in first.columns}
    extra = []
    for column in second.columns:
        mine = known.get(column.name)
        if mine is None or mine.role == "ignore":
            extra.append(column)
        elif column.role == "feature" and (mine.role, mine.kind) != (column.role, column.kind):
            finding = f"is {mine.kind} ({mine.role}) for one model and {column.kind} ({column.role}) for the other"
            raise ConfigError(f"column {column.name!r}", finding, "compare models that read it alike")
    names = {c.name for c in extra}
    kept = tuple(c for c in first.columns if c.name not in names)
    return dataclasses.replace(first, columns=kept + tuple(extra))
