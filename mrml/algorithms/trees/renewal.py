"""Leaves that get a quantile of their rows' residuals, as LightGBM's RenewTreeOutput and XGBoost's adaptive trees.

The gradient of an absolute error tells the side of a row and not the distance, so a grown tree's leaves are renewed:
one round more sketches ``y - raw`` for every leaf (exact up to 8,192 distinct residuals, like the columns' sketches).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.algorithms.pipeline.sketch import distinct, joined, thinned
from mrml.arrays import Array
from mrml.statistic import Statistic


class Residuals(Statistic):
    """By (tree, leaf) distinct residuals, ascending float64, and their weights; merged along the tree of blocks."""

    def __init__(self) -> None:
        self.leaves: dict[tuple[int, int], tuple[Array, Array]] = {}

    def fill(self, tree: int, leaf: Array, residuals: Array, weight: Array | None) -> None:
        """Take the rows of a block: ``leaf``, ``residuals``, ``weight`` (n_rows,)."""
        weight = np.ones(len(leaf)) if weight is None else weight
        order = np.argsort(leaf, kind="stable")
        order = order[weight[order] > 0]
        found, first = np.unique(leaf[order], return_index=True)
        for k, rows in zip(found.tolist(), np.split(order, first[1:]), strict=len(found) > 0):
            self.leaves[tree, int(k)] = thinned(*distinct(residuals[rows], weight[rows]))

    def merge(self, other: Residuals) -> None:
        for key, found in other.leaves.items():
            self.leaves[key] = joined(self.leaves[key], found) if key in self.leaves else found

    def quantiles(self, tree: int, n_nodes: int, share: float) -> Array:
        """(n_nodes,) float64: the least residual of a leaf that ``share`` of its weight does not exceed; else 0."""
        out = np.zeros(n_nodes)
        for (of, leaf), (values, weights) in self.leaves.items():
            if of == tree:
                ranks = np.cumsum(weights)
                out[leaf] = values[min(int(np.searchsorted(ranks, share * ranks[-1])), len(values) - 1)]
        return out

    def to_wire(self) -> Any:
        return [[list(key), *found] for key, found in sorted(self.leaves.items())]

    @classmethod
    def from_wire(cls, tree: Any) -> Residuals:
        out = cls()
        out.leaves = {(key[0], key[1]): (values, weights) for key, values, weights in tree}
        return out

    def n_bytes(self) -> int:
        return sum(16 * len(values) for values, _ in self.leaves.values())
