"""The rest of an iteration in one go, where one process holds all rows and these are few.

A round of 14,000 rows takes 0.3 ms in the kernels and 1.5 around them: the State is made of arrays, settled and taken
apart again, and so are Statistics and values.  Here the trees, the nodes to look at and the histograms stay as they are
between rounds that are otherwise the same: built, looked at (:func:`.levels.looked`) and grown (:func:`.levels.grown`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.trees import growth
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE
from mrml.algorithms.trees.levels import grown, looked
from mrml.algorithms.trees.rows import Rows, module_of
from mrml.algorithms.trees.settings import TreeSettings
from mrml.algorithms.trees.sparse import is_sparse
from mrml.arrays import Array
from mrml.kernels.trees.numpy import Step, step_of

#: values of the rows, columns and outputs of an iteration up to which it is quick: it is neither told of nor kept on
#: the way.  These take 20 ms
MOST_VALUES = 1 << 22


def rest_of(settings: TreeSettings, state: State, blocks: Iterable[Rows], first_tree: int) -> dict[str, Any] | None:
    """The State's parameters once no node is left to look at, ``step`` by as many rounds later; None where there are
    many rows, or columns are sparse."""
    if is_sparse(state.params):
        return None
    rows = _few(blocks, len(state["n_bins"]) * len(state["growing"]))
    if rows is None:
        return None
    params, here = dict(state.params), _Here(state, rows)
    plan, trees = hist.Plan.from_wire(params["plan"]), [growth.from_wire(t, NODE) for t in params["growing"]]
    while len(plan.tree):
        built = here.histograms(plan, trees)
        values = {key: looked(settings, params, plan, trees, key, built[key], first_tree) for key in built}
        plan = grown(settings, params, plan, trees, values)
        params["step"] += 1
    return {**params, "growing": [growth.to_wire(t) for t in trees], "plan": plan.to_wire()}


def _few(blocks: Iterable[Rows], width: int) -> list[Rows] | None:
    """The blocks to train on, unless there are too many values."""
    found, n_values = [], 0
    for rows in blocks:
        n_values += rows.block.n_rows * width
        if n_values > MOST_VALUES:
            return None
        if rows.block.part == "train" and rows.block.n_rows:
            found.append(rows)
    return found


class _Here:
    """The rows of all blocks, each in a node of every growing tree."""

    def __init__(self, state: State, blocks: list[Rows]) -> None:
        self.kernels, self.n_bins = state["kernels"], state["n_bins"]
        n_trees = len(state["growing"])
        self.blocks = [(rows.block.X, list(zip(*rows.gradients(), strict=True))) for rows in blocks]
        places = module_of(self.kernels).places
        self.places = [[places(part) for part in q] for _, q in self.blocks]
        #: nodes of each tree when rows moved the last time
        self.moved = [1] * n_trees

    def histograms(self, plan: hist.Plan, trees: list[Array]) -> dict[str, hist.Histogram]:
        """Those of a plan's slots, by key; rows move on to where the trees have grown."""
        features, move = hist.feature_blocks(self.n_bins), module_of(self.kernels).move
        found = {hist.key_of(k): hist.empty(self.kernels, plan.n_slots, f.width) for k, f in enumerate(features)}
        for tree, nodes in enumerate(trees):
            step, slots = self._step(tree, nodes), plan.slots(tree, len(nodes))
            for (x, q), at in zip(self.blocks, self.places, strict=True):
                if step is not None:
                    at[tree] = move(x, at[tree], step)
                for statistic, part in zip(found.values(), features, strict=True):
                    statistic.buffer.add(x, part.first, part.offsets, q[tree], slots, at[tree])
        return found

    def _step(self, tree: int, nodes: Array) -> Step | None:
        """How rows move through the nodes that got children since the last time; None where all stay."""
        at = np.flatnonzero((nodes["left"] >= self.moved[tree]) & (nodes["split"] == 1))
        self.moved[tree] = len(nodes)
        if not len(at):
            return None
        stay = np.arange(len(nodes), dtype=np.int32)
        out = Step(np.full(len(nodes), -1, np.int32), stay, np.ones((len(nodes), 256), np.uint8))
        left, categories = nodes["left"][at], nodes["categories"][at]
        new = step_of(nodes["feature"][at], left, nodes["bin"][at], nodes["missing_left"][at], categories, self.n_bins)
        for field, some in zip(out, new, strict=True):
            field[at] = some
        return out
