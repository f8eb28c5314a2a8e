"""Gradient boosting of histogram trees as MapReduce: one round a level, one model to the byte.

An iteration grows a tree (one a class for softmax) on the gradients of the loss at the predictions so far (Friedman,
Annals of Statistics 29, 2001; Chen and Guestrin, KDD 2016).  A round: map adds up, for the nodes that are looked at, a
histogram of gradients and hessians by bin for every feature; a reducer finds the best split of every node over its
features; the driver grows the trees.  ``depthwise`` growth is XGBoost's, ``leafwise`` LightGBM's.

Gradients are rounded once to integers, ``rint(g * 2**s)`` with s in the State: 15 bits where the loss bounds them and
weights are even, else 24 bits of a bound that follows from the predictions so far.  So histograms are exact sums, the
sibling is an exact difference, and the cut into splits leaves no trace.

The first round of an iteration also sums the loss of the iteration before, on training and validation rows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import State, Value
from mrml.algorithms.objectives import library_names as tree_names
from mrml.algorithms.objectives.base import METRICS
from mrml.algorithms.objectives.table import OBJECTIVES, objective_of
from mrml.algorithms.trees import ensemble
from mrml.algorithms.trees.base import Extremes, TreeAlgorithm
from mrml.algorithms.trees.model import TreesModel
from mrml.algorithms.trees.quant import Quant
from mrml.algorithms.trees.rows import Rows, raw_name
from mrml.algorithms.trees.settings import TreeSettings
from mrml.algorithms.trees.warm_start import extremes, nodes_of, starting_point
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.kernels.trees.numpy import Rules
from mrml.params import also_known, param
from mrml.schema import Bins, Design
from mrml.statistic import Into, Sums


@also_known(tree_names.ALIASES, tree_names.VALUES)
@dataclass(frozen=True)
class Boosting(TreeAlgorithm):
    """Gradient boosted trees."""

    fewer_rounds: ClassVar[str] = (
        "--engine resident, one job in all; --engine local where one machine can read the data; else shallower trees "
        "(a job a level), or fewer with a larger --learning-rate"
    )

    objective: str = param("squared", f"the loss: {', '.join(OBJECTIVES)}, or my_module:my_function", code=True)
    rounds: int = param(100, "number of boosting iterations: trees, or trees per class", low=1)
    growth: str = param(
        "depthwise", "by level as in XGBoost, or best leaf first as in LightGBM", choices=("depthwise", "leafwise")
    )
    max_depth: int | None = param(None, "maximum depth of a tree, 0: no limit; default: 6, leafwise 0", low=0, high=15)
    max_leaves: int = param(31, "leafwise: maximum number of leaves of a tree", low=2, high=8192)
    learning_rate: float = param(0.1, "learning rate: factor for the values of a tree", low=1e-9)
    max_bin: int = param(255, "maximum number of bins of a column", low=2, high=255)
    l2: float | None = param(None, "L2 penalty on leaf values; default: 1, leafwise 0", low=0)
    l1: float = param(0.0, "L1 penalty on leaf values", low=0)
    min_split_gain: float = param(0.0, "minimum gain of a split", low=0)
    min_child_weight: float | None = param(None, "minimum sum of hessians in a leaf; default: 1, leafwise 0.001", low=0)
    min_data_in_leaf: int | None = param(None, "minimum number of rows in a leaf; default: 0, leafwise 20", low=0)
    max_delta_step: float | None = param(None, "maximum leaf value, 0: no limit; default: 0, poisson 0.7", low=0)
    subsample: float = param(1.0, "fraction of the rows used by a tree", low=0.0, high=1.0)
    colsample_bytree: float = param(1.0, "fraction of the columns used by a tree", low=0.0, high=1.0)
    colsample_bylevel: float = param(1.0, "fraction of those used by a level", low=0.0, high=1.0)
    colsample_bynode: float = param(1.0, "fraction of those used by a node", low=0.0, high=1.0)
    cat_smooth: float = param(
        10.0, "smoothing: added to the hessian of a category before sorting; leafwise: also the minimum number of rows "
        "of a category in a node, others go right", low=0,
    )  # fmt: skip
    cat_l2: float = param(10.0, "additional L2 penalty of splits of sorted categories", low=0)
    max_cat_threshold: int = param(32, "maximum number of categories on the smaller side of a split", low=1, high=255)
    max_cat_to_onehot: int = param(
        4, "with at most this many categories, splits separate one from the rest", low=1, high=255
    )
    min_data_per_group: int = param(
        100, "leafwise: minimum number of rows between two cuts of sorted categories", low=1
    )
    scale_pos_weight: float = param(1.0, "logistic: factor for the weights of the second class", low=1e-9)
    huber_delta: float = param(1.0, "huber: errors above this count linearly", low=1e-9)
    quantile_alpha: float = param(0.5, "quantile to predict", low=1e-6, high=1 - 1e-6)
    tweedie_variance_power: float = param(1.5, "tweedie: power, from 1 (poisson) to 2 (gamma)", low=1, high=2)
    monotone: dict[str, int] | None = param(None, "monotone columns: predictions rise (1) or fall (-1) with them")
    lambdarank_truncation: int = param(30, "lambdarank: pairs with a row among the first this many count", low=1)
    lambdarank_norm: bool = param(True, "lambdarank: normalise by group, so that large groups count no more")
    ndcg_at: int = param(10, "lambdarank: number of places in NDCG, 0: all", low=0)
    metric: str = param("loss", "metric reported and used for early stopping", choices=METRICS)
    init_model: str | None = param(None, "continue from this boosted model; new trees are added to its trees")
    base_score: float | None = param(None, "raw prediction before the first tree; default: from the target")
    early_stopping: int = param(
        0, "stop after this many iterations without a better metric on the --valid rows; 0: never", low=0
    )
    seed: int = param(0, "random seed")
    kernels: str = param("auto", "fast: numba; auto: fast if it is installed", choices=("auto", "numpy", "fast"))

    @property
    def grouped(self) -> bool:  # type: ignore[override]
        """Whether the objective ranks."""
        return self.loss.grouped

    @cached_property
    def settings(self) -> TreeSettings:
        """Defaults are XGBoost's for depthwise, LightGBM's for leafwise growth."""

        def or_default(given: float | None, depthwise: float, leafwise: float) -> float:
            return float(given if given is not None else leafwise if self.leafwise else depthwise)

        loss = objective_of(self.objective, vars(self))
        rules = Rules(
            or_default(self.l2, 1.0, 0.0), float(self.l1), or_default(self.min_child_weight, 1.0, 1e-3),
            or_default(self.min_data_in_leaf, 0, 20),
            float(loss.max_delta_step if self.max_delta_step is None else self.max_delta_step),
            float(self.cat_smooth), float(self.cat_l2), self.max_cat_threshold, self.max_cat_to_onehot,
            self.min_data_per_group if self.leafwise else 0,
            0.0 if self.leafwise else or_default(self.min_child_weight, 1.0, 1e-3),
        )  # fmt: skip
        return TreeSettings(
            self.objective, loss, rules,
            # 15 levels where any number is meant, which is what 16 bits can tell apart
            int(or_default(self.max_depth, 6, 0)) or 15, self.max_leaves if self.leafwise else 0, self.min_split_gain,
            (self.colsample_bytree, self.colsample_bylevel, self.colsample_bynode), self.monotone or {}, self.seed,
            self.metric, self.subsample, self.scale_pos_weight,
        )  # fmt: skip

    @cached_property
    def start(self) -> tuple[Any, TreesModel] | None:
        """The bins and the trees of the model to go on from; the driver alone asks."""
        return starting_point(self.init_model, self.objective) if self.init_model else None

    @property
    def leafwise(self) -> bool:
        """Whether leaves are split best first."""
        return self.growth == "leafwise"

    @property
    def iterations(self) -> int:
        return self.rounds

    @property
    def rate(self) -> float:
        return self.learning_rate

    @property
    def waits_for_loss(self) -> bool:
        return bool(self.early_stopping)

    def growing(self, params: Mapping[str, Any]) -> int:
        """A tree an output."""
        return len(params["base"])

    def first_number(self, state: State) -> int:
        return int(state["iteration"] * len(state["base"]))

    def range_after(self, before: list[Array], leaves: Array) -> list[Array]:
        return [before[0] + leaves.min(), before[1] + leaves.max()]

    def best_iteration(self, state: State) -> int:
        return int(state["best"] if self.early_stopping and state["best"] else state["iteration"])

    def to_refit(self, states: Sequence[State]) -> dict[str, Any]:
        """As many iterations as were best in the mean."""
        if not (self.early_stopping and states):
            return {}
        best = [self.best_iteration(state) - int(state["first"]) for state in states]
        return {"rounds": max(round(sum(best) / len(best)), 1), "early_stopping": 0}

    def expected_rounds(self) -> int:
        levels = self.settings.depth_limit if not self.leafwise else min(self.settings.depth_limit, 10)
        return self.iterations * (levels + (self.loss.renews is not None)) + (1 if self.early_stopping else 0)

    def progress(self, state: State) -> dict[str, float]:
        told = {"tree": float(state["iteration"]), "trees": float(state["first"] + self.iterations)}
        for name in ("loss", "valid_loss"):
            if state[name] is not None:
                told[name] = float(state[name])
        return told

    def first_base(self, base: Array) -> Array:
        if self.base_score is not None:
            base = np.full_like(base, self.base_score)
        return base if self.start is None else self.start[1].base

    def first_params(self, design: Design) -> dict[str, Any]:
        if self.metric != "loss" and (self.metric == "error") is (self.loss.target == "numeric"):
            needed = "numbers" if self.loss.target != "numeric" else "classes"
            raise ConfigError("algorithm, metric", f"{self.metric} is of {needed}, and {self.objective} is not")
        params = super().first_params(design)
        return self._warm(params, design.bins) if self.start is not None and design.bins is not None else params

    def _warm(self, params: Mapping[str, Any], bins: Bins) -> dict[str, Any]:
        """The parameters with the trees of the model to go on from."""
        assert self.start is not None
        trees = self.start[1].trees
        done = len(trees.sizes) // len(params["base"])
        low, high = params["range"]
        least, most = extremes(trees)
        memo = zlib.crc32(params["memo"].encode() + trees.value.tobytes())
        return {
            **params,
            "memo": f"{memo:08x}",
            "iteration": done,
            "first": done,
            **ensemble.of(nodes_of(trees, bins.cuts), trees.sizes),
            "range": [low + least, high + most],
        }

    def keeps(self, state: State) -> tuple[str, ...]:
        """Raw predictions: without them a job would replay every tree."""
        return (raw_name(state),)

    def rows(self, state: State, block: Block) -> Rows:
        return Rows(self.settings, self.round_of(state), block)

    def measure(self, rows: Rows, into: Into) -> None:
        block = rows.block
        sums = into["train" if block.part == "train" else "valid"]
        assert isinstance(sums, Sums)
        loss, extent = rows.evaluate()
        sums.add(loss=loss, weight=rows.sum_weight())
        if extent is not None and block.part == "train":
            into["extent"].merge(Extremes([0.0, 0.0], extent))
        if block.part == "train" and not Quant(*rows.state["quant"]).packed:  # else the loss bounds its gradients
            raw = rows.raw()
            assert isinstance(block.y, np.ndarray)
            both = raw, self.loss.gap(block.y, raw)
            into["range"].merge(Extremes([a.min() for a in both], [a.max() for a in both]))

    def report(self, params: dict[str, Any], values: Mapping[str, Value]) -> str | None:
        """Take in the losses of the iteration before; why to stop, if there is a reason."""
        params["loss"] = self._mean(values.get("train"))
        params["valid_loss"] = self._mean(values.get("valid"))
        if "range" in values:
            params["range"] = [values["range"].low, values["range"].high]
        done = params["iteration"]
        if not math.isfinite(params["loss"] or 0.0):
            raise InputError("boosting", f"the loss after {done} iterations is not finite", "lower the learning rate")
        if done == params["first"]:
            return None
        last = params["first"] + self.iterations
        params["history"] = ensemble.with_losses(params, params["loss"], params["valid_loss"])
        if not self.early_stopping:
            return f"all {done} iterations are done" if done >= last else None
        if params["valid_loss"] is None:
            raise ConfigError("algorithm, early_stopping", "there are no validation rows", "name some with --valid")
        if params["best"] and params.get("best_loss") is None:  # a State of mrml 0.1
            params["best_loss"] = ensemble.losses(params)[params["best"] - params["first"] - 1][1]
        if not params["best"] or params["valid_loss"] < params["best_loss"]:
            params["best"], params["best_loss"] = done, params["valid_loss"]
        if done - params["best"] >= self.early_stopping:
            return (
                f"the validation loss did not fall for {self.early_stopping} iterations; the best is {params['best']}"
            )
        return f"all {done} iterations are done; the best is {params['best']}" if done >= last else None

    def _mean(self, sums: Any) -> float | None:
        if sums is None or not sums["weight"]:
            return None
        mean = float(sums["loss"] / sums["weight"])
        return math.sqrt(mean) if self.metric == "rmse" else mean
