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
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import State, Value
from mrml.algorithms.objectives import library_names as tree_names
from mrml.algorithms.trees import growth
from mrml.algorithms.trees.boosting import Boosting
from mrml.algorithms.trees.growth import TREE_NODE
from mrml.algorithms.trees.rows import DRAW_ROWS, Quant, Rows
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.kernels.random import rng
from mrml.params import also_known, param
from mrml.statistic import Into

#: P(count <= k) of a Poisson(1) draw; 12 times is as often as a row is seen
_POISSON = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])


def _fixed(value: Any) -> Any:
    """A hyperparameter of boosting that a forest has no use for."""
    return param(value, "of boosting", internal=True)


@also_known(tree_names.FOREST_ALIASES, tree_names.FOREST_VALUES)
@dataclass(frozen=True)
class Forest(Boosting):
    """Random forest."""

    fewer_rounds: ClassVar[str] = "more --trees-per-round, or shallower trees (a job a level of a batch)"

    objective: str = param(
        "squared", "squared: the mean of numbers; gini: the shares of classes", choices=("squared", "gini")
    )
    trees: int = param(100, "trees of the forest, for each of more than two classes", low=1)
    trees_per_round: int = param(20, "trees that grow in the same rounds", low=1)
    bootstrap: bool = param(True, "a tree sees rows as often as Poisson draws say, and not each once")
    max_depth: int | None = param(12, "levels of a tree; 0: 15, the most there are", low=0, high=15)
    min_data_in_leaf: int | None = param(1, "least rows of a leaf", low=0)
    colsample_bynode: float | None = param(  # type: ignore[assignment]
        None, "share of the columns that a node may use; default all, for classes the square root", low=0.0, high=1.0
    )

    rounds: int = _fixed(1)
    growth: str = _fixed("depthwise")
    max_leaves: int = _fixed(31)
    learning_rate: float = _fixed(1.0)
    l2: float | None = _fixed(0.0)
    l1: float = _fixed(0.0)
    min_child_weight: float | None = _fixed(0.0)
    max_delta_step: float | None = _fixed(0.0)
    subsample: float = _fixed(1.0)
    scale_pos_weight: float = _fixed(1.0)
    huber_delta: float = _fixed(1.0)
    quantile_alpha: float = _fixed(0.5)
    tweedie_variance_power: float = _fixed(1.5)
    lambdarank_truncation: int = _fixed(30)
    lambdarank_norm: bool = _fixed(True)
    ndcg_at: int = _fixed(10)
    metric: str = _fixed("loss")
    init_model: str | None = _fixed(None)
    base_score: float | None = _fixed(None)
    early_stopping: int = _fixed(0)

    @property
    def iterations(self) -> int:
        """Batches."""
        return -(-self.trees // self.trees_per_round)

    @property
    def rate(self) -> float:
        """The mean of the trees is the sum of so much of each."""
        return 1.0 / self.trees

    def node_share(self, n_features: int) -> float:
        """As scikit-learn: all columns for numbers, the square root of their number for classes."""
        if self.colsample_bynode is not None:
            return self.colsample_bynode
        return 1.0 if self.objective == "squared" else math.sqrt(n_features) / n_features

    def growing(self, params: Mapping[str, Any]) -> int:
        batch: int = min(self.trees_per_round, self.trees - params["iteration"] * self.trees_per_round)
        return max(batch, 0) * len(params["base"])

    def first_number(self, state: State) -> int:
        return int(state["iteration"]) * self.trees_per_round * len(state["base"])

    def widened(self, range_: list[Array], leaves: Array) -> list[Array]:
        """Trees do not stand on each other."""
        return range_

    def keeps(self, state: State) -> tuple[str, ...]:
        """No raw predictions: trees do not need them."""
        return ()

    def broadcast(self, state: State) -> State:
        """Map tasks need no finished trees."""
        nothing = growth.to_wire(np.zeros(0, TREE_NODE))
        return State({**super().broadcast(state).params, "trees": nothing, "last": None}, state.round, state.stop)

    def rows(self, state: State, block: Block) -> Rows:
        return _ForestRows(self, self.round_of(state), block)

    def measure(self, rows: Rows, into: Into) -> None:
        """Nothing is known of a forest before it is whole."""

    def told(self, params: dict[str, Any], values: Mapping[str, Value]) -> str | None:
        return None


class _Times:
    """Integers of outputs, times how often each tree sees a row; made when a tree asks for its own."""

    def __init__(self, q: Array, counts: Array) -> None:
        self.q, self.counts = q, counts

    def __getitem__(self, tree: int) -> Array:
        out: Array = self.q[tree % len(self.q)] * self.counts[tree // len(self.q)]
        return out


class _ForestRows(Rows):
    """Every tree begins from the base."""

    def raw(self) -> Array:
        raw = np.repeat(self.state["base"][:, None], self.block.n_rows, axis=1)
        return raw if self.block.offset is None else raw + self.block.offset

    def gradients(self) -> tuple[Any, ...]:
        assert isinstance(self.block.y, np.ndarray) and isinstance(self.algorithm, Forest)
        kept = self.block.memo(f"forest.{self.name}", 0, self._plain, volatile=True)
        counts = self.block.memo(f"counts.{self.name}", self.iteration, self._counts, volatile=True)["counts"]
        return tuple(_Times(kept[name], counts) for name in sorted(kept))

    def _plain(self, older: Any) -> dict[str, Array]:
        quant = Quant(*self.state["quant"])
        g, h = self.algorithm.loss.gradients(self.block.y, self.raw())  # type: ignore[arg-type]
        if self.block.weight is not None:
            g, h = g * self.block.weight, h * self.block.weight
        return {f"q{i}": a for i, a in enumerate(quant.integers(g, h, self.round.kernel))}

    def _counts(self, older: Any) -> dict[str, Array]:
        """(n_trees, n_rows) int32: how often each tree of the batch sees a row."""
        algorithm = self.algorithm
        assert isinstance(algorithm, Forest)
        n = algorithm.growing(self.state.params) // len(self.state["base"])
        counts = np.ones((n, self.block.n_rows), np.int32)
        for k in range(n if algorithm.bootstrap else 0):
            tree = self.iteration * algorithm.trees_per_round + k
            draws = rng(algorithm.seed, DRAW_ROWS + tree, self.block.row_key)
            counts[k] = np.searchsorted(_POISSON, draws, side="right")
        return {"counts": counts}
