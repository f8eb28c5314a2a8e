"""What grows trees, with every default resolved: the same for boosting and for forests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mrml.algorithms.objectives.base import Objective
from mrml.arrays import Array
from mrml.errors import ConfigError, nearest
from mrml.kernels.random import rng
from mrml.kernels.trees.numpy import Rules

#: nodes of a growing tree: rows remember theirs in 16 bits
MAX_NODES = 1 << 16
#: steps of the draws of columns; those of rows begin at 0
_DRAW_TREE, _DRAW_LEVEL, _DRAW_NODE = 1 << 40, 2 << 40, 3 << 40


@dataclass(frozen=True)
class TreeSettings:
    """The rules by which trees grow.

    objective, metric : their names; ``loss`` is the objective itself.
    depth_limit : levels of a tree, at most 15.
    max_leaves : leaves of a tree that grows best leaf first; 0: it grows level by level.
    column_shares : of all columns a tree may use, of those a level, of those a node; a node's None is the square root.
    """

    objective: str
    loss: Objective
    rules: Rules
    depth_limit: int
    max_leaves: int
    min_split_gain: float
    column_shares: tuple[float, float, float | None]
    monotone: Mapping[str, int]
    seed: int
    metric: str = "loss"
    subsample: float = 1.0
    scale_pos_weight: float = 1.0

    def rules_for(self, params: Mapping[str, Any]) -> Rules:
        """The rules of a run: one that began before there were any for rare categories goes on without them."""
        if params.get("rare_categories"):
            return self.rules
        return self.rules._replace(min_data_per_group=0, rare_weight=0.0)

    @property
    def samples_columns(self) -> bool:
        """Whether a node may use but a part of the columns."""
        return self.column_shares != (1.0, 1.0, 1.0)

    @cached_property
    def loss_is_logistic(self) -> bool:
        """Whether what is descended and what is reported are both the logistic loss."""
        return self.objective == "logistic" and self.metric == "loss"

    def signs(self, names: tuple[str, ...], n_numeric: int) -> Array:
        """(n_features,) int8: 1 where predictions may only rise with a column, -1 where only fall, else 0."""
        out = np.zeros(len(names), np.int8)
        for name, sign in self.monotone.items():
            place = f"algorithm, monotone, column {name!r}"
            if name not in names:
                raise ConfigError(place, "is not a feature", nearest(name, names))
            if sign not in (-1, 0, 1):
                raise ConfigError(place, f"{sign} is neither 1, 0 nor -1")
            if names.index(name) >= n_numeric:
                raise ConfigError(place, "is categorical, and categories have no order", "leave it out")
            out[names.index(name)] = sign
        return out

    def allowed(self, n_features: int, first_tree: int, step: int, trees: Array, nodes: Array) -> Array:
        """(n_nodes, n_features) uint8: the columns that each node may use.

        trees, nodes : (n_nodes,) the tree of the iteration and the node in it; ``first_tree`` is the number of the
            iteration's first tree, ``step`` that of the level.
        """
        allowed = np.ones((len(trees), n_features), np.uint8)
        if not self.samples_columns:
            return allowed
        tree_share, level_share, node_share = self.column_shares
        if node_share is None:
            node_share = math.sqrt(n_features) / n_features
        for row, (tree, node) in zip(allowed, zip(trees.tolist(), nodes.tolist(), strict=True), strict=True):
            number = first_tree + tree
            some = np.arange(n_features)
            for share, draw in (
                (tree_share, _DRAW_TREE + number),
                (level_share, _DRAW_LEVEL + number * MAX_NODES + step),
                (node_share, _DRAW_NODE + number * MAX_NODES + node),
            ):
                some = _sample(some, share, self.seed, draw)
            row[:] = 0
            row[some] = 1
        return allowed


def _sample(some: Array, share: float, seed: int, step: int) -> Array:
    """A share of the columns, at least one, in order."""
    if share >= 1.0:
        return some
    n = max(1, round(share * len(some)))
    return np.sort(some[np.argsort(rng(seed, step, some.astype(np.uint64)), kind="stable")[:n]])
