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

import importlib.util
import json
import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.objectives import library_names as tree_names
from mrml.algorithms.objectives.base import METRICS, Objective, Range
from mrml.algorithms.objectives.table import OBJECTIVES, objective_of
from mrml.algorithms.trees import growth
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE, TREE_NODE
from mrml.algorithms.trees.model import Trees, TreesClassifier, TreesModel
from mrml.algorithms.trees.renewal import Residuals
from mrml.algorithms.trees.rows import MAX_NODES, Quant, Round, Rows, exponent, module_of, raw_name
from mrml.algorithms.trees.warm_start import extremes, nodes_of, starting_point
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError, nearest
from mrml.kernels.random import rng
from mrml.kernels.trees.numpy import Columns, Nodes, Rules, Splits
from mrml.params import also_known, param
from mrml.schema import Bins, Design, Schema
from mrml.statistic import Into, Statistic, Sums

log = logging.getLogger(__name__)

#: steps of the draws of columns; those of rows begin at 0
_DRAW_TREE, _DRAW_LEVEL, _DRAW_NODE = 1 << 40, 2 << 40, 3 << 40


class Extremes(Statistic):
    """The least and the greatest raw prediction and gap (see ``Objective.gap``) of training rows: (2,) float64 each."""

    exact = True

    def __init__(self, low: Any = (math.inf, math.inf), high: Any = (-math.inf, -math.inf)) -> None:
        self.low, self.high = np.array(low), np.array(high)

    def merge(self, other: Extremes) -> None:
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

    def to_wire(self) -> Any:
        return [self.low, self.high]

    @classmethod
    def from_wire(cls, tree: Any) -> Extremes:
        return cls(*tree)


@also_known(tree_names.ALIASES, tree_names.VALUES)
@dataclass(frozen=True)
class Boosting(Algorithm):
    """Gradient boosted trees."""

    lazy: ClassVar[bool] = True
    design: ClassVar[str] = "bins"
    fewer_rounds: ClassVar[str] = (
        "--engine local where one machine can read the data; else shallower trees (a job a level), "
        "or fewer with a larger --learning-rate"
    )
    no_counterpart: ClassVar[Mapping[str, str]] = tree_names.ABSENT

    objective: str = param("squared", f"the loss: {', '.join(OBJECTIVES)}, or my_module:my_function", code=True)
    rounds: int = param(100, "iterations: trees, or trees a class", low=1)
    growth: str = param(
        "depthwise", "level by level as XGBoost, or best leaf first as LightGBM", choices=("depthwise", "leafwise")
    )
    max_depth: int | None = param(None, "levels of a tree, 0 any number; default 6, leafwise 0", low=0, high=15)
    max_leaves: int = param(31, "leafwise: leaves of a tree", low=2, high=8192)
    learning_rate: float = param(0.1, "what a tree's values are multiplied with", low=1e-9)
    max_bin: int = param(255, "bins of a column", low=2, high=255)
    l2: float | None = param(None, "L2 penalty on the values of leaves; default 1, leafwise 0", low=0)
    l1: float = param(0.0, "L1 penalty on the values of leaves", low=0)
    min_split_gain: float = param(0.0, "least gain of a split", low=0)
    min_child_weight: float | None = param(None, "least hessian of a leaf; default 1, leafwise 0.001", low=0)
    min_data_in_leaf: int | None = param(None, "least rows of a leaf; default 0, leafwise 20", low=0)
    max_delta_step: float | None = param(None, "largest value of a leaf, 0 no limit; default 0, poisson 0.7", low=0)
    subsample: float = param(1.0, "share of the rows that a tree sees", low=0.0, high=1.0)
    colsample_bytree: float = param(1.0, "share of the columns that a tree may use", low=0.0, high=1.0)
    colsample_bylevel: float = param(1.0, "of those, share that a level may use", low=0.0, high=1.0)
    colsample_bynode: float = param(1.0, "of those, share that a node may use", low=0.0, high=1.0)
    cat_smooth: float = param(10.0, "hessian added to that of a category before categories are sorted", low=0)
    cat_l2: float = param(10.0, "L2 penalty more for a split of sorted categories", low=0)
    max_cat_threshold: int = param(32, "most categories on the smaller side of a split", low=1, high=255)
    max_cat_to_onehot: int = param(4, "with at most this many categories one is split off", low=1, high=255)
    scale_pos_weight: float = param(1.0, "logistic: what weights of the second class are multiplied with", low=1e-9)
    huber_delta: float = param(1.0, "huber: errors above it count linearly", low=1e-9)
    quantile_alpha: float = param(0.5, "quantile: the share of rows below the prediction", low=1e-6, high=1 - 1e-6)
    tweedie_variance_power: float = param(1.5, "tweedie: between 1, poisson, and 2, gamma", low=1, high=2)
    monotone: dict[str, int] | None = param(None, "columns with which predictions rise (1) or fall (-1): A:1,B:-1")
    lambdarank_truncation: int = param(30, "lambdarank: a pair counts when one of it is among the first", low=1)
    lambdarank_norm: bool = param(True, "lambdarank: groups count alike whatever their sizes")
    ndcg_at: int = param(10, "lambdarank: places that NDCG looks at, 0 for all", low=0)
    metric: str = param("loss", "what is told and stops early: the loss, or another figure", choices=METRICS)
    init_model: str | None = param(None, "directory of a boosted model to go on from: rounds are added to its own")
    base_score: float | None = param(None, "raw prediction before the first tree; default from the target")
    early_stopping: int = param(
        0, "stop when the metric of the rows of all --valid did not fall for this many iterations", low=0
    )
    seed: int = param(0, "of the random draws")
    kernels: str = param("auto", "numba if it is there, or one of them", choices=("auto", "numpy", "fast"))

    @property
    def target(self) -> str:  # type: ignore[override]
        """What the objective wants."""
        return self.loss.target

    @property
    def grouped(self) -> bool:  # type: ignore[override]
        """Whether the objective ranks."""
        return self.loss.grouped

    @cached_property
    def loss(self) -> Objective:
        """The objective itself."""
        return objective_of(self.objective, vars(self))

    @cached_property
    def start(self) -> tuple[Any, TreesModel] | None:
        """The bins and the trees of the model to go on from; the driver alone asks."""
        return starting_point(self.init_model, self.objective) if self.init_model else None

    @property
    def loss_is_logistic(self) -> bool:
        """Whether what is descended and what is told are both the logistic loss."""
        return self.objective == "logistic" and self.metric == "loss"

    @property
    def leafwise(self) -> bool:
        """Whether leaves are split best first."""
        return self.growth == "leafwise"

    @property
    def depth_limit(self) -> int:
        """Levels of a tree; 15 where any number is meant, which is what 16 bits can tell apart."""
        given = self.max_depth if self.max_depth is not None else 0 if self.leafwise else 6
        return given or 15

    @property
    def rules(self) -> Rules:
        """Defaults are XGBoost's for depthwise, LightGBM's for leafwise growth."""

        def or_default(given: float | None, depthwise: float, leafwise: float) -> float:
            return given if given is not None else leafwise if self.leafwise else depthwise

        return Rules(
            float(or_default(self.l2, 1.0, 0.0)), float(self.l1), float(or_default(self.min_child_weight, 1.0, 1e-3)),
            float(or_default(self.min_data_in_leaf, 0, 20)),
            float(self.loss.max_delta_step if self.max_delta_step is None else self.max_delta_step),
            float(self.cat_smooth), float(self.cat_l2), self.max_cat_threshold, self.max_cat_to_onehot,
        )  # fmt: skip

    @property
    def iterations(self) -> int:
        """How often trees are grown, and added to those before."""
        return self.rounds

    @property
    def rate(self) -> float:
        """What the values of leaves are multiplied with."""
        return self.learning_rate

    def node_share(self, n_features: int) -> float:
        """The share of the columns that a node may use."""
        return self.colsample_bynode

    def growing(self, params: Mapping[str, Any]) -> int:
        """How many trees an iteration grows."""
        return len(params["base"])

    def first_number(self, state: State) -> int:
        """The number of the iteration's first tree."""
        return int(state["iteration"] * len(state["base"]))

    def widened(self, range_: list[Array], leaves: Array) -> list[Array]:
        """The extremes of raw predictions and gaps after a tree of such leaves."""
        return [range_[0] + leaves.min(), range_[1] + leaves.max()]

    def wants_scale(self) -> bool:
        return False

    def expected_rounds(self) -> int:
        levels = self.depth_limit if not self.leafwise else min(self.depth_limit, 10)
        return self.iterations * (levels + (self.loss.renews is not None)) + (1 if self.early_stopping else 0)

    def progress(self, state: State) -> dict[str, float]:
        told = {"tree": float(state["iteration"])}
        for name in ("loss", "valid_loss"):
            if state[name] is not None:
                told[name] = float(state[name])
        return told

    # ---- the beginning

    def init(self, schema: Schema) -> State:
        design = schema.design or Design()
        bins, objective = design.bins, self.loss
        if bins is None:
            raise ConfigError("boosting", "needs binned columns", "run it through the pipeline")
        objective.check(bins.target, design.classes)
        if self.metric != "loss" and (self.metric == "error") is (objective.target == "numeric"):
            needed = "numbers" if objective.target != "numeric" else "classes"
            raise ConfigError("algorithm, metric", f"{self.metric} is of {needed}, and {self.objective} is not")
        base = objective.base(design, bins.target)
        if self.base_score is not None:
            base = np.full_like(base, self.base_score)
        if self.start is not None:
            base = self.start[1].base
        kernels = _kernels(self.kernels)
        n_bins = np.array(bins.n_bins, np.int32)
        base = base.astype(np.float32).astype(np.float64)
        memo = zlib.crc32(json.dumps(self.spec(), sort_keys=True).encode() + base.tobytes() + n_bins.tobytes())
        state = State(
            {
                "kernels": kernels,
                "memo": f"{memo:08x}",
                "n_bins": n_bins,
                "monotone": self._monotone(design.names, len(bins.cuts)),
                "categorical": (np.arange(len(n_bins)) >= len(bins.cuts)).astype(np.uint8),
                "base": base,
                "facts": dict(bins.target),
                "mean_weight": design.sum_weight / max(design.n_rows, 1),
                "range": self._first_range(base, bins.target),
                "bound": np.ones(2),
                "iteration": 0,
                "first": 0,
                "repeated": 0,
                "trees": growth.to_wire(np.zeros(0, TREE_NODE)),
                "sizes": np.zeros(0, np.int32),
                "last": None,
                "loss": None,
                "valid_loss": None,
                "history": [],
                "best": 0,
            }
        )
        return self._begin(self._warm(state.params, bins) if self.start else state.params, 0)

    def _warm(self, params: Mapping[str, Any], bins: Bins) -> dict[str, Any]:
        """The parameters with the trees of the model to go on from."""
        assert self.start is not None
        trees = self.start[1].trees
        nodes = growth.to_wire(nodes_of(trees, bins.cuts))
        done = len(trees.sizes) // len(params["base"])
        low, high = params["range"]
        least, most = extremes(trees)
        memo = zlib.crc32(params["memo"].encode() + trees.value.tobytes())
        return {
            **params,
            "memo": f"{memo:08x}",
            "iteration": done,
            "first": done,
            "trees": nodes,
            "sizes": trees.sizes,
            "range": [low + least, high + most],
        }

    def _first_range(self, base: Array, facts: Mapping[str, Any]) -> list[Array]:
        """The extremes of raw predictions and gaps before the first tree, from those of the target and the offset."""
        raw = base.min() + facts["offset"][0], base.max() + facts["offset"][1]
        y = np.array([facts.get("max", 0.0), facts.get("min", 0.0)])
        return [np.array([r, g]) for r, g in zip(raw, self.loss.gap(y, np.array(raw)), strict=True)]

    def _begin(self, params: Mapping[str, Any], round_: int) -> State:
        """The State from which the next iteration's first round starts."""
        n_outputs = self.growing(params)
        fresh = {
            "step": 0,
            "renewing": False,
            "quant": list(self._quant(params)),
            "growing": [growth.to_wire(growth.root()) for _ in range(n_outputs)],
            "plan": hist.roots(n_outputs).to_wire(),
            "queue": np.zeros((0, 3), np.int64),
            "parents": {},
        }
        return State({**params, **fresh}, round_)

    def _quant(self, params: Mapping[str, Any]) -> Quant:
        facts = params["facts"]
        (raw_min, gap_min), (raw_max, gap_max) = (a.tolist() for a in params["range"])
        most_rows = facts.get("max_group", 0)
        known = Range(facts.get("min", 0.0), facts.get("max", 0.0), raw_min, raw_max, gap_min, gap_max, most_rows)
        bounds = self.loss.bounds(known)
        if bounds is None:
            return Quant(False, *(24 - exponent(float(b)) for b in params["bound"]))
        most = facts["max_weight"] * max(self.scale_pos_weight, 1.0)
        packed = bounds.tight and most <= 4 * params["mean_weight"]
        bits = (15, 16) if packed else (24, 24)
        return Quant(packed, bits[0] - exponent(bounds.gradient * most), bits[1] - exponent(bounds.hessian * most))

    # ---- up

    def keeps(self, state: State) -> tuple[str, ...]:
        """Raw predictions: without them a job would replay every tree."""
        return (raw_name(state),)

    def broadcast(self, state: State) -> State:
        """Map tasks need no histograms, and of finished trees only how rows move through them."""
        trees = {k: v for k, v in state["trees"].items() if k not in ("gain", "cover", "rows")}
        if not trees["categories"].any():
            del trees["categories"]
        return State({**state.params, "parents": {}, "trees": trees}, state.round, state.stop, state.converged)

    def statistic(self, state: State, key: str) -> Statistic:
        if key in ("train", "valid"):
            return Sums(loss=0.0, weight=0.0)
        if key in ("range", "extent"):
            return Extremes()
        if key == "residuals":
            return Residuals()
        block = hist.feature_blocks(state["n_bins"])[int(key.removeprefix(hist.PREFIX))]
        return hist.empty(state["kernels"], hist.Plan.from_wire(state["plan"]).n_slots, block.width)

    def map(self, state: State, block: Block, into: Into) -> None:
        if not block.n_rows:
            return
        rows = self.rows(state, block)
        if state["step"] == 0:
            self.measure(rows, into)
        if block.part == "train" and state["renewing"]:
            self._residuals(rows, into)
        if block.part != "train" or not rows.round.plan.n_slots:
            return
        q, nodes = rows.gradients(), rows.nodes()
        for number, features in enumerate(rows.round.blocks):
            statistic = into[hist.key_of(number)]
            assert isinstance(statistic, hist.Histogram)
            for tree, at in enumerate(nodes):
                slots = rows.round.slots[tree]
                part = tuple(a[tree] for a in q)
                statistic.buffer.add(block.X, features.first, features.offsets, part, slots, at)

    def rows(self, state: State, block: Block) -> Rows:
        """A block on its way through the round."""
        return Rows(self, self.round_of(state), block)

    def round_of(self, state: State) -> Round:
        """What all blocks of a round share; the last one is kept."""
        kept = self.__dict__.get("_kept")
        if kept is None or kept.state.params is not state.params:
            kept = self.__dict__["_kept"] = Round(state)
        found: Round = kept
        return found

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

    def _residuals(self, rows: Rows, into: Into) -> None:
        raw, y, weight = rows.raw(), rows.block.y, rows.weight()
        statistic = into["residuals"]
        assert isinstance(y, np.ndarray) and isinstance(statistic, Residuals)
        for tree, (nodes, at) in enumerate(zip(rows.round.grown, rows.nodes(), strict=True)):
            statistic.fill(tree, growth.leaf_of(nodes)[at], y - raw[tree], weight)

    # ---- reduce: the best split of every node over the features of a key

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        if not isinstance(statistic, hist.Histogram):
            return statistic
        number = int(key.removeprefix(hist.PREFIX))
        plan, features = hist.Plan.from_wire(state["plan"]), hist.feature_blocks(state["n_bins"])[number]
        statistic.buffer.settle()
        built, trees = statistic.buffer, [growth.from_wire(t, NODE) for t in state["growing"]]
        parents = state["parents"].get(key) or {"g": built.g[:0], "h": built.h[:0], "rows": built.rows[:0]}
        g, h, rows = (hist.siblings(plan, getattr(built, n), parents[n]) for n in ("g", "h", "rows"))
        first = slice(0, int(state["n_bins"][features.first]) + 1)
        inside = slice(features.first, features.stop)
        lower, upper = (np.array([trees[t][n][k] for t, k in zip(plan.tree, plan.node, strict=True)])
                        for n in ("lower", "upper"))  # fmt: skip
        nodes = Nodes(g[:, first].sum(axis=1), h[:, first].sum(axis=1), rows, lower, upper,
                      self._allowed(state, plan)[:, inside])  # fmt: skip
        columns = Columns(features.offsets, state["n_bins"][inside], state["categorical"][inside],
                          state["monotone"][inside])  # fmt: skip
        units = Quant(*state["quant"]).units
        best = module_of(state["kernels"]).best_splits(g, h, columns, nodes, self.rules, *units)
        found = best._replace(feature=np.where(best.feature >= 0, best.feature + features.first, -1).astype(np.int32))
        sums = {"g": nodes.g, "h": nodes.h, "rows": rows}
        depth = [trees[t]["depth"][k] for t, k in zip(plan.tree, plan.node, strict=True)]
        deeper = min(depth, default=0) + 1 < self.depth_limit
        kept = {"g": g, "h": h, "rows": rows} if deeper and self._keeps(state, plan) else None
        return {"splits": dict(found._asdict()), "sums": sums, "histograms": kept}

    def _keeps(self, state: State, plan: hist.Plan) -> bool:
        """Whether the histograms of this round's nodes come back: what both children's would be subtracted from."""
        width = sum(b.width for b in hist.feature_blocks(state["n_bins"]))
        return 16 * width * len(plan.tree) <= hist.PARENT_BYTES

    def _monotone(self, names: tuple[str, ...], n_numeric: int) -> Array:
        """(n_features,) int8: the sign of each column."""
        out = np.zeros(len(names), np.int8)
        for name, sign in (self.monotone or {}).items():
            place = f"algorithm, monotone, column {name!r}"
            if name not in names:
                raise ConfigError(place, "is no feature", nearest(name, names))
            if sign not in (-1, 0, 1):
                raise ConfigError(place, f"{sign} is neither 1, 0 nor -1")
            if names.index(name) >= n_numeric:
                raise ConfigError(place, "is categorical, and categories have no order", "leave it out")
            out[names.index(name)] = sign
        return out

    def _allowed(self, state: State, plan: hist.Plan) -> Array:
        """(n_nodes, n_features) uint8: the columns that each node may use."""
        n_features = len(state["n_bins"])
        allowed = np.ones((len(plan.tree), n_features), np.uint8)
        node_share = self.node_share(n_features)
        if self.colsample_bytree == self.colsample_bylevel == node_share == 1.0:
            return allowed
        for row, (tree, node) in zip(allowed, zip(plan.tree.tolist(), plan.node.tolist(), strict=True), strict=True):
            number = self.first_number(state) + tree
            some = np.arange(n_features)
            for share, step in (
                (self.colsample_bytree, _DRAW_TREE + number),
                (self.colsample_bylevel, _DRAW_LEVEL + number * MAX_NODES + state["step"]),
                (node_share, _DRAW_NODE + number * MAX_NODES + node),
            ):
                some = _sample(some, share, self.seed, step)
            row[:] = 0
            row[some] = 1
        return allowed

    # ---- down

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        params = dict(state.params)
        if state["renewing"]:
            return self._finish(params, state.round + 1, values.get("residuals"))
        if state["step"] == 0:
            if "extent" in values and not self._within(params, values["extent"].high):
                return State(params, state.round + 1)
            stop = self.told(params, values)
            if stop is not None:
                return State(params, state.round + 1, stop)
        if not any(key.startswith(hist.PREFIX) for key in values):
            raise InputError("boosting", "the training data holds no rows", "check the input and its filters")
        self._grow(params, values)
        params["renewing"] = self.loss.renews is not None and not len(hist.Plan.from_wire(params["plan"]).tree)
        if not params["renewing"] and not len(hist.Plan.from_wire(params["plan"]).tree):
            return self._finish(params, state.round + 1)
        params["step"] += 1
        return State(params, state.round + 1)

    def _within(self, params: dict[str, Any], extent: Array) -> bool:
        """Whether gradients of unknown bounds fitted; if not, the round is to be repeated with twice what was seen."""
        bound, done = params["bound"], params["iteration"]
        params["bound"] = np.maximum(2.0 * extent, 2.0**-60)
        if (extent <= bound).all() and (extent * 64 >= bound).all():
            return True
        told = "tree %d: gradients of %s reach %.3g and hessians %.3g; the round is repeated with room for twice that"
        log.info(told, done + 1, self.objective, *extent.tolist())
        params["quant"], params["repeated"] = list(self._quant(params)), params["repeated"] + 1
        return False

    def told(self, params: dict[str, Any], values: Mapping[str, Value]) -> str | None:
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
        params["history"] = [*params["history"], [params["loss"], params["valid_loss"]]]
        if not self.early_stopping:
            return f"all {done} iterations are done" if done >= last else None
        if params["valid_loss"] is None:
            raise ConfigError("algorithm, early_stopping", "there are no validation rows", "name some with --valid")
        losses = [valid for _, valid in params["history"]]
        params["best"] = params["first"] + 1 + losses.index(min(losses))
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

    def _grow(self, params: dict[str, Any], values: Mapping[str, Value]) -> None:
        """Split nodes by what was found and choose the ones to look at next."""
        plan = hist.Plan.from_wire(params["plan"])
        trees = [growth.from_wire(t, NODE) for t in params["growing"]]
        keys = sorted(key for key in values if key.startswith(hist.PREFIX))
        splits, sums = _best([values[key] for key in keys])
        units = Quant(*params["quant"]).units
        pairs = [params["queue"]]
        for number, nodes in enumerate(trees):
            mine = np.flatnonzero(plan.tree == number)
            found = Splits(*(a[mine] for a in splits))
            growth.look(nodes, plan.node[mine], found, sums["g"][mine], sums["h"][mine], sums["rows"][mine])
            growth.choose(nodes, self.min_split_gain, self.max_leaves if self.leafwise else 0)
            trees[number], left = growth.branch(nodes, params["monotone"], self.rules, *units)
            parent = np.flatnonzero(np.isin(trees[number]["left"], left)) if len(left) else left
            row = {int(k): int(e) for e, k in zip(mine, plan.node[mine], strict=True)}
            at = np.array([row[int(k)] for k in parent], np.int64)
            pairs.append(np.stack([np.full(len(left), number), left, at + _NEW], axis=1).astype(np.int64))
        queue = np.concatenate(pairs)
        queue = queue[[self._open(trees[t], left, units[1]) for t, left, _ in queue.tolist()]]
        self._next(params, trees, queue, values, keys)

    def _open(self, nodes: Array, left: int, h_unit: float) -> bool:
        """Whether a pair of children is worth a look: their parent still is split, and one of them could be."""
        parent = nodes[np.flatnonzero(nodes["left"] == left)[0]]
        if not parent["split"] or nodes["depth"][left] >= self.depth_limit or len(nodes) + 2 > MAX_NODES:
            return False
        children = nodes[left : left + 2]
        return bool((children["h"] * h_unit >= 2 * self.rules.min_child_weight).any())

    def _next(self, params: dict[str, Any], trees: list[Array], queue: Array, values: Mapping[str, Value],
              keys: list[str]) -> None:  # fmt: skip
        """Plan the next round: as many pairs as a task can hold, with the parents that both need."""
        width = sum(b.width for b in hist.feature_blocks(params["n_bins"]))
        most = max(1, hist.TASK_BYTES // (48 * width))
        now, later = queue[:most], queue[most:]
        parents, rows = {}, queue[:, 2].copy()
        kept = bool(keys) and values[keys[0]]["histograms"] is not None
        rows[(rows >= _NEW) & (not kept)] = -1
        used = np.unique(rows[rows >= 0])
        for key in keys:
            new, old = values[key]["histograms"], params["parents"].get(key)
            parents[key] = {n: np.stack([_row(new, old, n, int(r)) for r in used]) for n in ("g", "h", "rows")
                            } if len(used) else {}  # fmt: skip
        rows = np.where(rows >= 0, np.searchsorted(used, rows), -1)
        now, later = now.copy(), later.copy()
        now[:, 2], later[:, 2] = rows[: len(now)], rows[len(now) :]
        hessians = np.array([trees[t]["h"][left : left + 2] for t, left, _ in now.tolist()]).reshape(-1, 2)
        params["growing"] = [growth.to_wire(t) for t in trees]
        params["plan"] = hist.plan_of(now, hessians).to_wire()
        params["queue"], params["parents"] = later, {k: v for k, v in parents.items() if v}

    def _finish(self, params: dict[str, Any], round_: int, residuals: Residuals | None = None) -> State:
        """Give the leaves their values and begin the next iteration, or stop."""
        g_unit, h_unit = Quant(*params["quant"]).units
        last, done = [], []
        for number, tree in enumerate(params["growing"]):
            nodes = growth.from_wire(tree, NODE)
            weights = growth.weights(nodes, self.rules, g_unit, h_unit)
            if residuals is not None and self.loss.renews is not None:
                weights = residuals.quantiles(number, len(nodes), self.loss.renews)
                weights = np.clip(weights, nodes["lower"], nodes["upper"])
            weights = weights * self.rate
            # float32, which is what XGBoost's files hold
            values = growth.leaf_values(nodes, weights.astype(np.float32).astype(np.float64))
            last.append({"values": values, "nodes": _routes(tree)})
            done.append(growth.finished(nodes, values, h_unit))
        params["last"] = last
        kept = growth.from_wire(params["trees"], TREE_NODE)
        params["trees"] = growth.to_wire(np.concatenate([kept, *done]))
        params["sizes"] = np.concatenate([params["sizes"], [len(t) for t in done]]).astype(np.int32)
        leaves = np.concatenate([t["value"][t["feature"] < 0] for t in done])
        params["range"] = self.widened(params["range"], leaves)
        params["iteration"] += 1
        state = self._begin(params, round_)
        if params["iteration"] < params["first"] + self.iterations:
            return state
        if self.early_stopping:  # one more round: the validation loss of the last tree
            return State({**state.params, "plan": hist.nothing().to_wire()}, round_)
        return State(state.params, round_, f"all {params['iteration']} iterations are done")

    # ---- the end

    def model(self, state: State, schema: Schema) -> TreesModel:
        design = schema.design or Design()
        assert design.bins is not None
        n_iterations = state["best"] if self.early_stopping and state["best"] else state["iteration"]
        ends = np.cumsum(state["sizes"])
        n_trees = min(n_iterations * self.growing({**state.params, "iteration": 0}), len(state["sizes"]))
        nodes = growth.from_wire(state["trees"], TREE_NODE)[: int(ends[n_trees - 1]) if n_trees else 0]
        trees = Trees.of(nodes, state["sizes"][:n_trees], design.bins)
        cls = TreesClassifier if design.classes else TreesModel
        facts = {"iterations": state["iteration"], "best_iteration": n_iterations, "stop": state.stop}
        params = {k: v for k, v in self.spec()["params"].items() if k not in ("kernels", "init_model")}
        return cls(self.objective, trees, state["base"], design.names, design.classes, params, facts, state["history"])


#: rows of this round's histograms are told from kept ones by this
_NEW = 1 << 40


def _row(new: Mapping[str, Array] | None, old: Mapping[str, Array] | None, name: str, row: int) -> Array:
    source = new if row >= _NEW else old
    assert source is not None
    found: Array = source[name][row - _NEW if row >= _NEW else row]
    return found


def _best(values: list[Mapping[str, Any]]) -> tuple[Splits, Mapping[str, Array]]:
    """The best split of each node over all blocks of features; the first of equals."""
    best = Splits(**{k: v.copy() for k, v in values[0]["splits"].items()})
    for value in values[1:]:
        other = Splits(**value["splits"])
        better = other.gain > best.gain
        for mine, theirs in zip(best, other, strict=True):
            mine[better] = theirs[better]
    return best, values[0]["sums"]


def _routes(tree: Mapping[str, Array]) -> dict[str, Array]:
    """What of a growing tree tells rows their way."""
    return {k: tree[k] for k in ("feature", "bin", "missing_left", "categories", "split", "left")}


def _sample(some: Array, share: float, seed: int, step: int) -> Array:
    """A share of the columns, at least one, in order."""
    if share >= 1.0:
        return some
    n = max(1, round(share * len(some)))
    return np.sort(some[np.argsort(rng(seed, step, some.astype(np.uint64)), kind="stable")[:n]])


def _kernels(wanted: str) -> str:
    """``numpy`` or ``fast``, decided once a run, by the driver."""
    there = importlib.util.find_spec("numba") is not None
    if wanted == "fast" and not there:
        raise ConfigError("algorithm, kernels", "fast needs numba", "install mrml[fast] or use kernels: numpy")
    if not there or wanted == "numpy":
        return "numpy"
    module_of("fast").prewarm()
    return "fast"
