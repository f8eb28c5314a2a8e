"""What boosting and forests share: one round a level, one model to the byte.

A round: map adds up, for the nodes that are looked at, a histogram of gradients and hessians by bin for every feature;
a reducer finds the best split of every node over its features; the driver grows the trees (:mod:`.levels`).  Gradients
are rounded once to integers (:mod:`.quant`), so histograms are exact sums, the sibling is an exact difference, and the
cut into splits leaves no trace.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.objectives import library_names as tree_names
from mrml.algorithms.objectives.base import Objective
from mrml.algorithms.trees import ensemble, growth
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE
from mrml.algorithms.trees.levels import best_splits, grow
from mrml.algorithms.trees.model import Trees, TreesClassifier, TreesModel
from mrml.algorithms.trees.quant import Quant, quant_of
from mrml.algorithms.trees.renewal import Residuals
from mrml.algorithms.trees.rest import rest_of
from mrml.algorithms.trees.rows import Round, Rows, module_of
from mrml.algorithms.trees.settings import TreeSettings
from mrml.algorithms.trees.sparse import CellSums, is_sparse
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.schema import Design, Schema
from mrml.statistic import Into, Statistic, Sums

log = logging.getLogger(__name__)


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


class TreeAlgorithm(Algorithm):
    """Trees grown by rounds; a subclass says how many, on what, and what a finished one is worth."""

    lazy: ClassVar[bool] = True
    design: ClassVar[str] = "bins"
    no_counterpart: ClassVar[Mapping[str, str]] = tree_names.ABSENT

    #: ``numpy``, ``fast`` (numba), or ``auto``
    kernels: str

    @property
    @abstractmethod
    def settings(self) -> TreeSettings:
        """The rules by which trees grow."""

    @property
    @abstractmethod
    def iterations(self) -> int:
        """How often trees are grown, and added to those before."""

    @property
    @abstractmethod
    def rate(self) -> float:
        """What the values of leaves are multiplied with."""

    @abstractmethod
    def growing(self, params: Mapping[str, Any]) -> int:
        """How many trees the next iteration grows."""

    @abstractmethod
    def first_number(self, state: State) -> int:
        """The number of the iteration's first tree."""

    @abstractmethod
    def range_after(self, before: list[Array], leaves: Array) -> list[Array]:
        """The extremes of raw predictions and gaps once trees of such leaves are done."""

    @abstractmethod
    def rows(self, state: State, block: Block) -> Rows:
        """A block on its way through the round."""

    def measure(self, rows: Rows, into: Into) -> None:
        """Sum what the first round of an iteration reports of the iteration before."""

    def report(self, params: dict[str, Any], values: Mapping[str, Value]) -> str | None:
        """Take in what was measured; why to stop, if there is a reason."""

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        """Once there are trees, those left will take the rounds that they took."""
        done = 0 if state is None else state["iteration"] - state["first"]
        if state is None or not done:
            return self.expected_rounds()
        left = math.ceil((self.iterations - done) * (state.round - state["step"]) / done) - state["step"]
        return state.round + max(int(left), 0)

    @property
    def waits_for_loss(self) -> bool:
        """Whether one more round is needed for the loss of the last tree."""
        return False

    def best_iteration(self, state: State) -> int:
        """How many iterations the model has."""
        return int(state["iteration"])

    @property
    def loss(self) -> Objective:
        """The objective itself."""
        return self.settings.loss

    @property
    def target(self) -> str:  # type: ignore[override]
        """What the objective wants."""
        return self.loss.target

    def wants_scale(self) -> bool:
        return False

    def init(self, schema: Schema) -> State:
        return self.begin(self.first_params(schema.design or Design()), 0)

    def first_params(self, design: Design) -> dict[str, Any]:
        """The State's parameters before the first iteration."""
        bins, objective = design.bins, self.loss
        if bins is None:
            raise ConfigError(type(self).__name__.lower(), "needs binned columns", "run it through the pipeline")
        objective.check(bins.target, design.classes)
        base = self.first_base(objective.base(design, bins.target)).astype(np.float32).astype(np.float64)
        n_bins = np.array(bins.n_bins, np.int32)
        memo = zlib.crc32(json.dumps(self.spec(), sort_keys=True).encode() + base.tobytes() + n_bins.tobytes())
        return {
            "kernels": _kernels(self.kernels),
            "memo": f"{memo:08x}",
            "rare_categories": True,
            "n_bins": n_bins,
            "monotone": self.settings.signs(design.names, len(bins.cuts)),
            "categorical": (np.arange(len(n_bins)) >= len(bins.cuts)).astype(np.uint8),
            **({} if bins.default is None else {"default": bins.default, "n_entries": bins.n_entries}),
            "base": base,
            "facts": dict(bins.target),
            "mean_weight": design.sum_weight / max(design.n_rows, 1),
            "range": _first_range(objective, base, bins.target),
            "bound": np.ones(2),
            "iteration": 0,
            "first": 0,
            "repeated": 0,
            **ensemble.empty(),
            "last": None,
            "loss": None,
            "valid_loss": None,
            "best": 0,
            "best_loss": None,
        }

    def first_base(self, base: Array) -> Array:
        """(n_outputs,) raw predictions before the first tree, from the objective's."""
        return base

    def begin(self, params: Mapping[str, Any], round_: int) -> State:
        """The State from which the next iteration's first round starts."""
        n_outputs = self.growing(params)
        fresh = {
            "step": 0,
            "renewing": False,
            "quant": list(quant_of(self.settings, params)),
            "growing": [growth.to_wire(growth.root()) for _ in range(n_outputs)],
            "plan": hist.roots(n_outputs).to_wire(),
            "queue": np.zeros((0, 3), np.int64),
            "parents": {},
        }
        return State({**params, **fresh}, round_)

    # ---- up

    def broadcast(self, state: State) -> State:
        """Map tasks need no histograms, and of finished trees only how rows move through them."""
        unused: dict[str, Any] = {"parents": {}, "tree_facts": {}, "history": {}}
        kept = {k: v for k, v in state.params.items() if k != "sizes"}
        params = {**kept, **unused, "trees": ensemble.routes(state.params)}
        return State(params, state.round, state.stop, state.converged)

    def statistic(self, state: State, key: str) -> Statistic:
        if key in ("train", "valid"):
            return Sums(loss=0.0, weight=0.0)
        if key in ("range", "extent"):
            return Extremes()
        if key == "residuals":
            return Residuals()
        return _no_sums(state, key)

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
        if rows.round.sight:
            return rows.add_cells(rows.round.sight, into)
        rows.add_histograms(into)

    def round_of(self, state: State) -> Round:
        """What all blocks of a round share; the last one is kept."""
        kept = self.__dict__.get("_kept")
        if kept is None or kept.state.params is not state.params:
            kept = self.__dict__["_kept"] = Round(state)
        found: Round = kept
        return found

    def _residuals(self, rows: Rows, into: Into) -> None:
        raw, y, weight = rows.raw(), rows.block.y, rows.weight()
        statistic = into["residuals"]
        assert isinstance(y, np.ndarray) and isinstance(statistic, Residuals)
        for tree, (nodes, at) in enumerate(zip(rows.round.grown, rows.nodes(), strict=True)):
            statistic.fill(tree, growth.leaf_of(nodes)[at], y - raw[tree], weight)

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        if not isinstance(statistic, hist.Histogram | CellSums):
            return statistic
        return best_splits(self.settings, state, key, statistic, self.first_number(state))

    def goes_ahead(self, state: State) -> bool:
        return bool(state["step"]) and not state["renewing"]

    def ahead(self, state: State, blocks: Iterable[Block]) -> State | None:
        """The rest of an iteration, once its roots have been looked at, where rows are few."""
        params = rest_of(self.settings, state, (self.rows(state, b) for b in blocks), self.first_number(state))
        return None if params is None else self._done_growing(params, state.round + params["step"] - state["step"])

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        params = dict(state.params)
        if state["renewing"]:
            return self._finish(params, state.round + 1, values.get("residuals"))
        if state["step"] == 0:
            if "extent" in values and not _within(self.settings, params, values["extent"].high):
                return State(params, state.round + 1)
            stop = self.report(params, values)
            if stop is not None:
                return State(params, state.round + 1, stop)
        if not any(key.startswith(hist.PREFIX) for key in values):
            raise InputError("data", "the training data has no rows", "check the input and its filters")
        grow(self.settings, params, values)
        params["step"] += 1
        if len(params["plan"]["tree"]):
            return State(params, state.round + 1)
        return self._done_growing(params, state.round + 1)

    def _done_growing(self, params: dict[str, Any], round_: int) -> State:
        """The State once no node is left to look at: some leaves get their values in a round of their own."""
        params["renewing"] = self.settings.loss.renews is not None
        return State(params, round_) if params["renewing"] else self._finish(params, round_)

    def _finish(self, params: dict[str, Any], round_: int, residuals: Residuals | None = None) -> State:
        """Give the leaves their values and begin the next iteration, or stop."""
        last, done = _finished(self.settings, self.rate, params, residuals)
        forbidden = _forbidden(self.settings, params) if params["iteration"] == params["first"] else ""
        params["last"] = last
        params.update(ensemble.with_trees(params, done))
        params.pop("sizes", None)
        leaves = np.concatenate([t["value"][t["feature"] < 0] for t in done])
        params["range"] = self.range_after(params["range"], leaves)
        params["iteration"] += 1
        state = self.begin(params, round_)
        if forbidden:  # and so would be every other
            return State(state.params, round_, forbidden, converged=False)
        if params["iteration"] < params["first"] + self.iterations:
            return state
        if self.waits_for_loss:
            return State({**state.params, "plan": hist.nothing().to_wire()}, round_)
        return State(state.params, round_, f"all {params['iteration']} iterations are done")

    def model(self, state: State, schema: Schema) -> TreesModel:
        design = schema.design or Design()
        assert design.bins is not None
        n_iterations = self.best_iteration(state)
        nodes, sizes = ensemble.nodes_and_sizes(state.params)
        sizes = sizes[: n_iterations * self.growing({**state.params, "iteration": 0})]
        trees = Trees.of(nodes[: int(sizes.sum())], sizes, design.bins)
        cls = TreesClassifier if design.classes else TreesModel
        facts = {"iterations": state["iteration"], "best_iteration": n_iterations, "stop": state.stop}
        params = self.told("kernels")
        told = ensemble.losses(state.params)
        return cls(self.settings.objective, trees, state["base"], design.names, design.classes, params, facts, told)


def _within(settings: TreeSettings, params: dict[str, Any], extent: Array) -> bool:
    """Whether gradients of unknown bounds fitted; if not, the round is to be repeated with twice what was seen."""
    bound, done = params["bound"], params["iteration"]
    params["bound"] = np.maximum(2.0 * extent, 2.0**-60)
    if (extent <= bound).all() and (extent * 64 >= bound).all():
        return True
    told = "tree %d: gradients of %s reach %.3g and hessians %.3g; "
    told += "the round is repeated with room for twice that"
    log.info(told, done + 1, settings.objective, *extent.tolist())
    params["quant"], params["repeated"] = list(quant_of(settings, params)), params["repeated"] + 1
    return False


def _no_sums(state: State, key: str) -> Statistic:
    """The empty histogram, or cells, of a key."""
    n_slots = hist.Plan.from_wire(state["plan"]).n_slots
    if is_sparse(state.params):
        return CellSums(n_slots)
    block = hist.feature_blocks(state["n_bins"])[int(key.removeprefix(hist.PREFIX))]
    return hist.empty(state["kernels"], n_slots, block.width)


def _first_range(objective: Objective, base: Array, facts: Mapping[str, Any]) -> list[Array]:
    """The extremes of raw predictions and gaps before the first tree, from those of the target and the offset."""
    raw = base.min() + facts["offset"][0], base.max() + facts["offset"][1]
    y = np.array([facts.get("max", 0.0), facts.get("min", 0.0)])
    return [np.array([r, g]) for r, g in zip(raw, objective.gap(y, np.array(raw)), strict=True)]


def _finished(settings: TreeSettings, rate: float, params: Mapping[str, Any], residuals: Residuals | None
              ) -> tuple[list[dict[str, Any]], list[Array]]:  # fmt: skip
    """The trees that grew, with the values of their leaves: as rows walk them next, and as the ensemble keeps them."""
    g_unit, h_unit = Quant(*params["quant"]).units
    last, done = [], []
    for number, tree in enumerate(params["growing"]):
        nodes = growth.from_wire(tree, NODE)
        l2 = growth.l2_of(nodes, settings.rules_for(params), params["n_bins"])
        weights = growth.weights(nodes, settings.rules, g_unit, h_unit, l2)
        if residuals is not None and settings.loss.renews is not None:
            weights = residuals.quantiles(number, len(nodes), settings.loss.renews)
            weights = np.clip(weights, nodes["lower"], nodes["upper"])
        weights = weights * rate
        # float32, which is what XGBoost's files hold
        values = growth.leaf_values(nodes, weights.astype(np.float32).astype(np.float64))
        last.append({"values": values, "nodes": _routes(tree)})
        done.append(growth.finished(nodes, values, h_unit))
    return last, done


def _forbidden(settings: TreeSettings, params: Mapping[str, Any]) -> str:
    """Why no tree can ever split, where a hyperparameter forbids it; empty where one may."""
    if settings.subsample < 1.0:
        return ""
    h_unit = Quant(*params["quant"]).units[1]
    rows = max(int(tree["rows"][0]) for tree in params["growing"])
    hessian = max(float(tree["h"][0] * h_unit) for tree in params["growing"])
    least, rules = "stopped after the first tree, a single leaf as every other would be:", settings.rules
    if rows < 2 * rules.min_data_in_leaf:
        return f"{least} {rows} rows are fewer than two leaves of min_data_in_leaf {rules.min_data_in_leaf:g} take"
    if hessian < 2 * rules.min_child_weight:
        finding = f"the hessians sum to {hessian:.3g}, and two leaves of min_child_weight {rules.min_child_weight:g}"
        return f"{least} {finding} take more: lower it, or raise the weights"
    return ""


def _routes(tree: Mapping[str, Array]) -> dict[str, Array]:
    """What of a growing tree tells rows their way."""
    return {k: tree[k] for k in ("feature", "bin", "missing_left", "categories", "split", "left")}


def _kernels(wanted: str) -> str:
    """``numpy`` or ``fast``, decided once a run, by the driver."""
    there = importlib.util.find_spec("numba") is not None
    if wanted == "fast" and not there:
        raise ConfigError("algorithm, kernels", "fast needs numba", "install mrml[fast] or use kernels: numpy")
    if not there or wanted == "numpy":
        return "numpy"
    module_of("fast").prewarm()
    return "fast"
