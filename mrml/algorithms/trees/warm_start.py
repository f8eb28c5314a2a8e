"""Going on from a boosted model: its bins, its trees, its base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrml.algorithms.pipeline.model import INIT_MODEL, begun_from
from mrml.algorithms.trees.growth import TREE_NODE
from mrml.algorithms.trees.model import Trees, TreesModel
from mrml.arrays import Array
from mrml.errors import ConfigError


def starting_point(path: str, objective: str) -> tuple[Any, TreesModel]:
    """The bins and the trees of a model; ConfigError where it is none that this objective can go on from."""
    model, inner = begun_from(path, TreesModel, "model of boosted trees", "name the output of `mrml train boosting`")
    if inner.objective != objective:
        finding = f"{path} has the objective {inner.objective}, and this run {objective}"
        raise ConfigError(INIT_MODEL, finding, f"use --objective {inner.objective}")
    return model.fitted, inner


def nodes_of(trees: Trees, cuts: Sequence[Array]) -> Array:
    """The finished nodes whose bins became a model's thresholds: the inverse of :meth:`Trees.of`."""
    out = np.zeros(len(trees.feature), TREE_NODE)
    for name in ("feature", "missing_left", "left", "categories", "value", "gain", "cover", "rows"):
        out[name] = getattr(trees, name)
    inner = np.flatnonzero(trees.feature >= 0)
    for k in inner.tolist():
        numeric = not np.isnan(trees.threshold[k])
        out["bin"][k] = np.searchsorted(cuts[trees.feature[k]], trees.threshold[k]) if numeric else -1
    return out


def extremes(trees: Trees) -> tuple[float, float]:
    """What all trees together can add, at least and at most."""
    pairs = zip(trees.starts[:-1].tolist(), trees.starts[1:].tolist(), strict=True)
    leaves = [trees.value[a:b][trees.feature[a:b] < 0] for a, b in pairs]
    return sum(float(v.min()) for v in leaves), sum(float(v.max()) for v in leaves)
