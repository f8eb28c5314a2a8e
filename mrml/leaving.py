"""A trained model leaves: as a file of XGBoost or LightGBM, checked in the library itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrml.algorithms.binning import Binned
from mrml.algorithms.pipeline import PipelineModel
from mrml.algorithms.trees_model import TreesModel
from mrml.config import DataConfig
from mrml.data.block import Array
from mrml.errors import ConfigError, InputError, OutputExists
from mrml.export import FORMATS, Ensemble, checked, encoded, made_rows, svg, text
from mrml.folder import Folder
from mrml.run import load_model, scoring_config

log = logging.getLogger(__name__)
#: rows that are read of ``--probe``
PROBE_ROWS = 20_000


def trees_of(model: PipelineModel, place: str = "model") -> TreesModel:
    """The boosted trees of a model; ConfigError where it has none."""
    if not isinstance(model.inner, TreesModel):
        raise ConfigError(place, f"is a {type(model.inner).__name__}, not trees", "give a model of boosting")
    return model.inner


def ensemble_of(model: PipelineModel, place: str = "model") -> Ensemble:
    """The trees of a model with what names and codes mean; ConfigError where it has none."""
    inner, fitted = trees_of(model, place), model.fitted
    assert isinstance(fitted, Binned)
    return Ensemble(
        inner.objective, inner.trees, inner.base, tuple(inner.names), tuple(fitted.cuts),
        tuple(tuple(f["levels"]) for f in fitted.levels), tuple(bool(f["other"]) for f in fitted.levels),
        tuple(inner.classes), inner.params, not model.schema.sparse,
    )  # fmt: skip


def export(
    model_dir: str, to: str, output: str, probe: DataConfig | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Write a model for another library and compare both on a probe; the facts of it.

    The file is there only when the comparison found nothing, or could not be made because the library is missing.
    """
    target = Folder(output)
    if target.exists() and not (overwrite and not target.isdir()):
        remedy = "name another file" if target.isdir() else "say --overwrite to replace it"
        raise OutputExists(output, "is there already", remedy)
    model = load_model(model_dir)
    ensemble = ensemble_of(model, model_dir)
    content = encoded(ensemble, to, target.name)
    x = made_rows(ensemble) if probe is None else probe_rows(model, probe)
    found = checked(content, to, ensemble, x, _predicted(model, ensemble, x))
    target.parent.make()
    target.parent.write(target.name, content)
    facts: dict[str, Any] = {"output": output, "format": to, "bytes": len(content), "trees": ensemble.n_trees}
    facts |= {"columns": list(ensemble.names), "classes": list(ensemble.classes), "levels": _levels(ensemble)}
    if isinstance(found, str):
        log.warning("%s was not checked: %s; `pip install %s` and export again", output, found, FORMATS[to])
        return {**facts, "checked": None}
    return {**facts, "checked": found._asdict()}


def probe_rows(model: PipelineModel, data: DataConfig) -> Array:
    """(at most 20,000, n_features) float32: the first rows of data as the trees see them."""
    dataset = scoring_config(model, data, ("feature",))
    parts, n_rows = [], 0
    with dataset.naming():
        for block in (b for split in dataset.splits(data.split_bytes) for part in split for b in dataset.read(part)):
            parts.append(np.asarray(model.design(block).X))
            n_rows += len(parts[-1])
            if n_rows >= PROBE_ROWS:
                break
    if not n_rows:
        raise InputError(", ".join(data.data), "holds no row to check the export with", "give files with rows")
    x: Array = np.concatenate(parts)[:PROBE_ROWS]
    return x


def tree_text(model_dir: str, number: int) -> list[str]:
    """A tree of a model as lines of text."""
    return list(text.lines(ensemble_of(load_model(model_dir), model_dir), number))


def plot(model_dir: str, output: str, number: int | None = None) -> None:
    """The importance of the columns, or a tree, as an SVG file; one that is there is replaced."""
    if not output.endswith(".svg"):
        raise ConfigError("plot", f"{output} is no name of an SVG file", "end it in .svg")
    model = load_model(model_dir)
    ensemble = ensemble_of(model, model_dir)
    target = model.schema.role("target")
    subject = target.name if target else "the target"
    drawn = svg.importance(trees_of(model).importance(), subject) if number is None else svg.tree(ensemble, number)
    folder = Folder(output).parent
    folder.make()
    folder.write(Folder(output).name, drawn.encode())


def _predicted(model: PipelineModel, ensemble: Ensemble, x: Array) -> Array:
    """(n_rows,) means or probabilities of the second class, or (n_rows, n_classes) probabilities."""
    return trees_of(model).means(ensemble.forest.raw_prediction(x, ensemble.base))


def _levels(ensemble: Ensemble) -> dict[str, list[str]]:
    """Of each categorical column the levels by code."""
    rare = [["(the rare levels)"] if other else [] for other in ensemble.other]
    columns = ensemble.names[ensemble.n_numeric :]
    return {c: [*texts, *more] for c, texts, more in zip(columns, ensemble.levels, rare, strict=True)}


def lines_of_levels(levels: dict[str, list[str]], shown: int = 12) -> Iterator[str]:
    """A line a column: which code is which level."""
    for column, texts in levels.items():
        some = ", ".join(f"{code} {level}" for code, level in enumerate(texts[:shown]))
        yield f"{column}: {some}" + (f", and {len(texts) - shown} more" if len(texts) > shown else "")
