"""Two models on the same rows: exact metrics, and how sure their differences are."""

from __future__ import annotations

import dataclasses
from typing import Any

from mrml.algorithms.evaluation.clusters import measures_clusters
from mrml.algorithms.evaluation.compare import Compare
from mrml.algorithms.evaluation.curves import Curves
from mrml.algorithms.evaluation.parts import FIGURES, RISING
from mrml.algorithms.evaluation.standard_errors import StandardErrors, has_standard_errors
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.config.sections import DataConfig
from mrml.errors import ConfigError
from mrml.fs.folder import Folder
from mrml.runs.batch.records import MODEL
from mrml.runs.progress import Progress
from mrml.runs.setup import On
from mrml.runs.train import evaluate, found_by, judging_roles, load_model, ranking_roles, scoring_config
from mrml.schema import Schema

#: of models whose figures are not of rows, or of other rows for each
NO_INTERVALS: dict[str, Any] = {"intervals": {}, "replicates": 0, "unit_rows": 0}


def compare(models: tuple[str, str], data: DataConfig, engine: On, progress: Progress | None = None) -> dict[str, Any]:
    """Metrics of both, the second one's less the first one's, and intervals (95 %) of that difference.

    Raises
    ------
    ConfigError
        They predict different things, or read a column differently.
    """
    first, second = (directory_of(model) for model in models)
    data, weighted = agreed((first, second), data, engine)
    exact = [evaluate(model, data, engine, progress, weighted) for model in (first, second)]
    intervals = uncertainty((first, second), data, engine, progress, weighted)
    return {"models": [first, second], "n_rows": exact[0]["n_rows"], **joined(exact[0], exact[1], intervals)}


def agreed(models: tuple[str, str], data: DataConfig, engine: On) -> tuple[DataConfig, bool]:
    """The rows with the weights of the second model where nothing else is said, and whether rows weigh at all: metrics
    of two models are comparable over the same weights only.  ConfigError where their targets are two columns."""
    first, second = (load_model(model, engine).schema for model in models)
    targets = [column and column.name for column in (first.role("target"), second.role("target"))]
    if not data.target and None not in targets and targets[0] != targets[1]:
        finding = f"the models predict the columns {targets[0]!r} and {targets[1]!r}"
        raise ConfigError("compare", finding, "compare models of the same target, or name it with --target")
    column = second.role("weight")
    weight = data.weight or (column.name if column else None)
    return dataclasses.replace(data, weight=weight), weight is not None or first.role("weight") is None


def uncertainty(
    models: tuple[str, str], data: DataConfig, engine: On, progress: Progress | None = None, weighted: bool = True
) -> dict[str, Any]:
    """What a bootstrap says of two models: see :class:`~mrml.algorithms.evaluation.compare.Compare`.

    Nothing of models that rank, whose figures are of groups and not of rows, and of clusters, which have no target.
    """
    loaded = [load_model(model, engine) for model in models]
    if all(map(measures_clusters, loaded)):
        return NO_INTERVALS
    if loaded[0].deviance == loaded[1].deviance and ranking_roles(loaded[0]):
        return NO_INTERVALS
    shared = _union(loaded, data)
    dataset = scoring_config(loaded[0], data, judging_roles(loaded[0], weighted), shared)
    numeric = [c.name for c in dataset.schema.features("numeric")]
    columns = tuple(tuple(numeric.index(c.name) for c in m.schema.features("numeric")) for m in loaded)
    alone = shared.role("offset") is not None and not data.offset  # one model may have none
    algorithm = Compare(
        scorers=tuple(loaded),
        columns=() if shared.sparse else columns,
        offsets=tuple(not alone or m.schema.role("offset") is not None for m in loaded),
    )
    return found_by(algorithm, dataset, engine, data, progress)[0]


def curves_of(model: str, data: DataConfig, engine: On, progress: Progress | None = None) -> dict[str, Any]:
    """What a report draws of a model's predictions: see :mod:`mrml.algorithms.evaluation.curves`."""
    loaded = load_model(directory_of(model), engine)
    dataset = scoring_config(loaded, data, judging_roles(loaded))
    return found_by(Curves(scorer=loaded), dataset, engine, data, progress)[0]


def standard_errors_of(
    model: str, data: DataConfig, engine: On, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """The coefficients of a linear model, and how sure the rows it was trained on make them; nothing of others."""
    loaded = load_model(directory_of(model), engine)
    if not has_standard_errors(loaded):
        return []
    dataset = scoring_config(loaded, data, ("feature", "target", "weight", "offset"))
    told: list[dict[str, Any]] = found_by(StandardErrors(scorer=loaded), dataset, engine, data, progress)[0][
        "coefficients"
    ]
    return told


def joined(first: dict[str, Any], second: dict[str, Any], intervals: dict[str, Any]) -> dict[str, Any]:
    """Metrics by name: of both, ``difference``, ``low`` and ``high``, and ``better``: whether the second one is, for
    sure, None where the interval holds 0."""
    found = {}
    for name, value in second.items():
        if name in (*FIGURES, "rows", "clusters") or value is None or first.get(name) is None:
            continue
        about: dict[str, Any] = {"first": first[name], "second": value, "difference": value - first[name]}
        if sure := intervals["intervals"].get(name):
            low, high = about["difference"] + sure["low"], about["difference"] + sure["high"]
            better = None if low <= 0 <= high else (low > 0) == (name in RISING)
            about |= {"low": low, "high": high, "better": better}
        found[name] = about
    return {"metrics": found, **{k: intervals[k] for k in ("replicates", "unit_rows")}}


def directory_of(name: str) -> str:
    """The directory of a model, also of the one that a run of steps has made."""
    folder = Folder(name)
    return (folder / MODEL).path if (folder / MODEL).exists("model.json") else name


def _union(models: list[PipelineModel], data: DataConfig) -> Schema:
    """The schema of the first with the columns that only the second one knows."""
    first, second = (m.schema for m in models)
    offsets = [column.name for schema in (first, second) if (column := schema.role("offset"))]
    if len(set(offsets)) > 1 and not data.offset:
        raise ConfigError("compare", f"the models add the columns {' and '.join(offsets)}", "name one with --offset")
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
