"""Random forests from the rounds of boosting (Breiman, Machine Learning 45, 2001).

All trees of a batch grow in the same rounds.  A tree sees every row as often as a Poisson(1) draw of the tree and the
row's key says, which is the bootstrap of many rows (Oza and Russell, 2001), and each node a share of the columns.
Leaves hold means: of numbers, or of a class's indicator, whose squared error is half the Gini impurity.  Of more than
two classes each has trees of its own where scikit-learn's share one, and the shares are normalised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.objectives import library_names as tree_names
from mrml.algorithms.objectives.table import objective_of
from mrml.algorithms.trees.base import TreeAlgorithm
from mrml.algorithms.trees.quant import Quant
from mrml.algorithms.trees.rows import DRAW_ROWS, Round, Rows
from mrml.algorithms.trees.settings import TreeSettings
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.kernels.random import rng
from mrml.kernels.trees.numpy import Rules
from mrml.params import also_known, param

#: P(count <= k) of a Poisson(1) draw; 12 times is as often as a row is seen
_POISSON = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])


@also_known(tree_names.FOREST_ALIASES, tree_names.FOREST_VALUES)
@dataclass(frozen=True)
class Forest(TreeAlgorithm):
    """Random forest."""

    no_counterpart: ClassVar[Mapping[str, str]] = {
        **tree_names.ABSENT,
        "init_model": "a forest does not start from a model",
    }
    fewer_rounds: ClassVar[str] = "more --trees-per-round, or shallower trees (a job a level of a batch)"

    objective: str = param("squared", "squared for numbers, gini for classes", choices=("squared", "gini"))
    trees: int = param(100, "number of trees; with more than two classes, per class", low=1)
    trees_per_round: int = param(20, "trees grown in the same rounds", low=1)
    bootstrap: bool = param(True, "draw the rows of each tree with replacement (Poisson bootstrap)")
    max_depth: int | None = param(12, "maximum depth of a tree; 0: 15", low=0, high=15)
    min_data_in_leaf: int | None = param(1, "minimum number of rows in a leaf", low=0)
    colsample_bynode: float | None = param(
        None, "fraction of the columns used by a node; default: all, for classes the square root", low=0.0, high=1.0
    )

    max_bin: int = param(255, "maximum number of bins of a column", low=2, high=255)
    min_split_gain: float = param(0.0, "minimum gain of a split", low=0)
    colsample_bytree: float = param(1.0, "fraction of the columns used by a tree", low=0.0, high=1.0)
    colsample_bylevel: float = param(1.0, "fraction of those used by a level", low=0.0, high=1.0)
    cat_smooth: float = param(10.0, "smoothing: added to the hessian of a category before sorting", low=0)
    cat_l2: float = param(10.0, "additional L2 penalty of splits of sorted categories", low=0)
    max_cat_threshold: int = param(32, "maximum number of categories on the smaller side of a split", low=1, high=255)
    max_cat_to_onehot: int = param(
        4, "with at most this many categories, splits separate one from the rest", low=1, high=255
    )
    monotone: dict[str, int] | None = param(None, "monotone columns: predictions rise (1) or fall (-1) with them")
    seed: int = param(0, "random seed")
    kernels: str = param("auto", "fast: numba; auto: fast if it is installed", choices=("auto", "numpy", "fast"))

    @cached_property
    def settings(self) -> TreeSettings:
        """No penalty and no least hessian; of columns a node may use all for numbers, the square root for classes."""
        loss = objective_of(self.objective, vars(self))
        rules = Rules(0.0, 0.0, 0.0, float(self.min_data_in_leaf or 0), 0.0, float(self.cat_smooth),
                      float(self.cat_l2), self.max_cat_threshold, self.max_cat_to_onehot)  # fmt: skip
        node_share = 1.0 if self.colsample_bynode is None and self.objective == "squared" else self.colsample_bynode
        return TreeSettings(
            self.objective, loss, rules, self.max_depth or 15, 0, self.min_split_gain,
            (self.colsample_bytree, self.colsample_bylevel, node_share), self.monotone or {}, self.seed,
        )  # fmt: skip

    @property
    def iterations(self) -> int:
        """Batches."""
        return -(-self.trees // self.trees_per_round)

    @property
    def rate(self) -> float:
        """The mean of the trees is the sum of so much of each."""
        return 1.0 / self.trees

    def growing(self, params: Mapping[str, Any]) -> int:
        batch: int = min(self.trees_per_round, self.trees - params["iteration"] * self.trees_per_round)
        return max(batch, 0) * len(params["base"])

    def first_number(self, state: State) -> int:
        return int(state["iteration"]) * self.trees_per_round * len(state["base"])

    def range_after(self, before: list[Array], leaves: Array) -> list[Array]:
        """Every tree begins from the base: the range stays."""
        return before

    def expected_rounds(self) -> int:
        return self.iterations * self.settings.depth_limit

    def progress(self, state: State) -> dict[str, float]:
        done = min(state["iteration"] * self.trees_per_round, self.trees)
        return {"tree": float(done), "trees": float(self.trees)}

    def keeps(self, state: State) -> tuple[str, ...]:
        """No raw predictions: trees do not need them."""
        return ()

    def broadcast(self, state: State) -> State:
        """Map tasks need no finished trees."""
        return State({**super().broadcast(state).params, "trees": {}, "last": None}, state.round, state.stop)

    def rows(self, state: State, block: Block) -> Rows:
        batch = Batch(self.growing(state.params) // len(state["base"]), state["iteration"] * self.trees_per_round,
                      self.bootstrap)  # fmt: skip
        return _ForestRows(self.settings, self.round_of(state), block, batch)


class Batch(NamedTuple):
    """``n_trees`` that grow in the same rounds, the number of the first, and whether they draw their rows."""

    n_trees: int
    first: int
    bootstrap: bool


class _Times:
    """Integers of outputs, times how often each tree sees a row; made when a tree asks for its own."""

    def __init__(self, q: Array, counts: Array) -> None:
        self.q, self.counts = q, counts

    def __getitem__(self, tree: int) -> Array:
        out: Array = self.q[tree % len(self.q)] * self.counts[tree // len(self.q)]
        return out


class _ForestRows(Rows):
    """Every tree begins from the base."""

    def __init__(self, settings: TreeSettings, round_: Round, block: Block, batch: Batch) -> None:
        super().__init__(settings, round_, block)
        self.batch = batch

    def raw(self) -> Array:
        raw = np.repeat(self.state["base"][:, None], self.block.n_rows, axis=1)
        return raw if self.block.offset is None else raw + self.block.offset

    def gradients(self) -> tuple[Any, ...]:
        assert isinstance(self.block.y, np.ndarray)
        kept = self.block.memo(f"forest.{self.name}", 0, self._plain, volatile=True)
        counts = self.block.memo(f"counts.{self.name}", self.iteration, self._counts, volatile=True)["counts"]
        return tuple(_Times(kept[name], counts) for name in sorted(kept))

    def _plain(self, older: Any) -> dict[str, Array]:
        quant = Quant(*self.state["quant"])
        g, h = self.settings.loss.gradients(self.block.y, self.raw())  # type: ignore[arg-type]
        if self.block.weight is not None:
            g, h = g * self.block.weight, h * self.block.weight
        return {f"q{i}": a for i, a in enumerate(quant.integers(g, h, self.round.kernel))}

    def _counts(self, older: Any) -> dict[str, Array]:
        """(n_trees, n_rows) int32: how often each tree of the batch sees a row."""
        counts = np.ones((self.batch.n_trees, self.block.n_rows), np.int32)
        for k in range(self.batch.n_trees if self.batch.bootstrap else 0):
            draws = rng(self.settings.seed, DRAW_ROWS + self.batch.first + k, self.block.row_key)
            counts[k] = np.searchsorted(_POISSON, draws, side="right")
        return {"counts": counts}
