"""Linear, logistic, softmax and Poisson regression by Newton's method or L-BFGS.

The objective, for weights w and theta in the units of :mod:`mrml.algorithms.linear.units`::

    sum_i w_i * loss(y_i, raw_i) / sum_i w_i  +  l2 / 2 * |coef|**2

over the standardised columns, or with ``standardise`` false over the columns as they are (their penalty is then
``l2 / scale**2`` in solver units).  Sparse columns are as they are unless it is asked for: the deviation of a rare
column is small, and to divide by it would all but free its coefficient of the penalty.  The intercept is never
penalised.  A class weight multiplies its rows' weights.

Newton's method (IRLS; McCullagh and Nelder 1989, section 2.5) takes one round a step: loss, gradient and Hessian in
one pass; near the minimum the last Hessian serves again (the chord method) and the pass leaves it out.  L-BFGS (Nocedal
and Wright 2006, algorithm 7.4) takes one round a step too; its metric is the inverse of the Hessian at the first point
where that is small enough to be sent, else a bound of its diagonal.  ``auto`` begins with the one that should cost less
and goes over to Newton where L-BFGS has spent what Newton would.  Steps are tried as
:mod:`mrml.algorithms.linear.descent` says.  Converged means: the largest entry of the gradient of the objective, in
solver units, is at most ``tol``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrml import losses, wire
from mrml.algorithm import State, Value
from mrml.algorithms.linear import descent
from mrml.algorithms.linear import rows as glm_rows
from mrml.algorithms.linear.iteration import Iteration, derivatives, first_phase
from mrml.algorithms.linear.model import GLMClassifier, GLMModel
from mrml.algorithms.linear.warm_start import starting_point
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.kernels.glm import chunk_rows, dense_pass, sparse_pass
from mrml.params import param
from mrml.schema import Design, Schema
from mrml.statistic import Into, Statistic, Sums

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GLM(Iteration):
    """What the four have in common."""

    l2: float = param(0.0, "strength of the L2 penalty, l2/2 * |coef|^2", low=0.0)
    solver: str = param(
        "auto",
        "optimizer; auto: newton up to 300 parameters, up to 1,600 if lbfgs is slow, else lbfgs; "
        "sgd has hyperparameters of its own (--solver sgd --help)",
        choices=("auto", "newton", "lbfgs", "sgd"),
    )
    tol: float = param(1e-6, "converged when no entry of the gradient is larger than this", low=0.0)
    max_iterations: int = param(200, "maximum number of rounds", low=1)
    fit_intercept: bool = param(True, "fit an intercept")
    standardise: bool | None = param(  # type: ignore[misc]
        None, "apply the penalty to standardised columns; default: unless they are sparse"
    )
    memory: int = param(20, "number of past steps that L-BFGS keeps", low=1)
    init_model: str | None = param(None, "start from the coefficients of this model of the same kind")

    lazy: ClassVar[bool] = True
    loss: ClassVar[losses.Loss]

    # ---- hooks

    def n_outputs(self, design: Design) -> int:
        """Raw predictions a row."""
        return 1

    def weights_of_classes(self, design: Design, place: str) -> Array | None:
        """(n_classes,) factors of the rows' weights, or None."""
        return None

    def intercepts(self, design: Design, class_weight: Array | None) -> Array:
        """(n_outputs,) intercepts to begin from."""
        return np.zeros(self.n_outputs(design))

    def check_design(self, schema: Schema, design: Design, place: str) -> None:
        """ConfigError or InputError when the target is not of the right kind."""
        if design.classes:
            remedy = "use logistic for two classes, softmax for more"
            raise ConfigError(place, f"{type(self).__name__.lower()} needs a numeric target, not classes", remedy)

    def check_targets(self, block: Block, y: Array, n_classes: int) -> None:
        """InputError for a target outside the loss's domain."""
        glm_rows.check_numbers(block, y)

    # ---- the contract

    def wants_scale(self) -> bool:
        """Always: the solver works in standardised units, whichever columns are penalised."""
        return True

    def expected_rounds(self) -> int:
        return self.max_iterations

    def init(self, schema: Schema) -> State:
        design = schema.design or Design()
        target = schema.role("target")
        place = f"column {target.name!r}" if target else "target"
        if not design.n_features:
            raise InputError("schema", "there is no feature column", "check features and exclude")
        self.check_design(schema, design, place)
        class_weight = self.weights_of_classes(design, place)
        n, k = design.n_features, self.n_outputs(design)
        solver = self._solver(k * (n + 1))
        scale = np.ones(n) if design.scale is None else np.array(design.scale, np.float64)
        center = np.zeros(n) if design.center is None else np.array(design.center, np.float64)
        theta = np.zeros((k, n + self.fit_intercept))
        if self.fit_intercept:
            theta[:, -1] = self.intercepts(design, class_weight)
        begun = {
            "solver": solver,
            "phase": "start" if isinstance(self.loss, losses.Poisson) else first_phase(solver, theta),
            **_at_rest(theta, n),
            "curvature": 1.0 if isinstance(self.loss, losses.HalfSquaredError) else 0.25,
            "inverse": np.zeros((0, 0)),
            "basis": np.zeros((0, 0)),
            "memory_steps": [],
            "memory_changes": [],
            "center": center,
            "scale": scale,
            "penalty": self._penalty(scale),
            "class_weight": class_weight,
        }
        return State(self._from_model(begun, design) if self.init_model else begun)

    def _from_model(self, begun: dict[str, Any], design: Design) -> dict[str, Any]:
        """The beginning at the coefficients of another model; ``cold`` is the one without it."""
        assert self.init_model is not None
        theta = np.zeros_like(begun["theta"])
        coef, intercept = starting_point(self.init_model, self.loss.name, design, len(theta))
        theta[:, : coef.shape[1]] = coef * begun["scale"]
        if self.fit_intercept:
            theta[:, -1] = intercept + coef @ begun["center"]
        phase = first_phase(begun["solver"], theta)
        return {**begun, **_at_rest(theta, coef.shape[1]), "phase": phase, "cold": begun}

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        cold = state.params.get("cold")
        if cold is None:
            return super().update(state, values)
        try:
            after = super().update(state, values)
            stuck = after.stop is not None and after.round < self.max_iterations and after["gradient_max"] > self.tol
        except InputError:  # an infinite loss at the other model's point; what the rows are to blame for comes again
            stuck = True
        if not stuck:
            return after
        log.info("the model to start from is too far off these rows: starting without it")
        return State(dict(cold), state.round + 1)

    def broadcast(self, state: State) -> State:
        """All but what the driver remembers to choose its steps by."""
        params = {**state.params, "memory_steps": [], "memory_changes": [], "inverse": np.zeros((0, 0))}
        params.pop("cold", None)
        return State(params, state.round, state.stop, state.converged)

    def statistic(self, state: State, key: str) -> Statistic:
        trials = len(state["steps"])
        if key == "valid":
            return Sums(loss=np.zeros(trials), weight=0.0)
        k, n = state["theta"].shape[0], len(state["scale"])
        arrays: dict[str, Any] = {"loss": np.zeros(trials), "weight": 0.0}
        order = derivatives(state)
        if state["phase"] == "start":
            arrays["target"] = 0.0
        if order:
            arrays["gradient"] = np.zeros((trials, k, n + 1))
        if order > 1:
            outputs = 1 if state["phase"] == "metric" else k
            arrays["hessian"] = np.zeros((outputs, n + 1, outputs, n + 1))
        return Sums(**arrays)

    def map(self, state: State, block: Block, into: Into) -> None:
        if not block.n_rows:
            return
        y = block.y
        if not isinstance(y, np.ndarray):
            raise InputError(glm_rows.place(block), "the rows have no target", "name it with target")
        if state.round == 0:
            self.check_targets(block, y, max(2, state["theta"].shape[0]))
            glm_rows.check_weights(block)
        weight = glm_rows.weights(block, y, state["class_weight"])
        order = derivatives(state) if block.part == "train" else 0
        sums = self._pass(state, block, y, weight, order)
        if np.isnan(sums["loss"]).any():
            glm_rows.check_finite(block, state.round)
        sums["weight"] = np.float64(block.n_rows) if weight is None else weight.sum()
        if block.part == "train" and state["phase"] == "start":
            sums["target"] = (y if weight is None else y * weight).sum()
        statistic = into[block.part]
        assert isinstance(statistic, Sums)
        statistic.add(**sums)

    def alike(self, state: State) -> bytes | None:
        """Penalties and tolerances are the driver's: maps see points, units and weights of classes alone."""
        spec = self.spec()
        own = {k: v for k, v in spec["params"].items() if k not in ("l2", "tol", "max_iterations", "memory")}
        names = ("solver", "phase", "center", "scale", "class_weight")
        at = [state[name] for name in names] + [state.round == 0, descent.trial_points(state)]
        return wire.dumps([spec["class"], own, at])

    def progress(self, state: State) -> dict[str, float]:
        names = {"loss": "objective", "step": "step", "gradient": "gradient_max", "valid_loss": "valid_loss"}
        found = {name: float(state[key]) for name, key in names.items() if state[key] is not None}
        return {**found, "dropped": float(state["dropped"])} if state["dropped"] else found

    def model(self, state: State, schema: Schema) -> GLMModel:
        theta = state["theta"]
        units = self._units(state)
        coef, intercept = units.columns(theta)
        augmented = units.augmented(theta)
        design = schema.design or Design()
        cls = GLMClassifier if self.target in ("binary", "classes") else GLMModel
        return cls(
            loss=self.loss.name,
            coef=coef,
            intercept=intercept,
            standard_coef=augmented[:, :-1].copy(),
            standard_intercept=augmented[:, -1].copy(),
            classes=design.classes,
            params={**self.told(), "solver": state["solver"]},
            facts=_facts(state, design),
        )

    # ---- a round's two halves

    def _pass(self, state: State, block: Block, y: Array, weight: Array | None, order: int) -> dict[str, Array]:
        """The sums of one block with respect to the coefficients of z and the intercept."""
        sparse = isinstance(block.X, CSR) and order < 2
        units = self._units(state)
        as_is = sparse or (order < 2 and units.near_origin)
        coef = units.to_kernel(descent.trial_points(state), as_is)
        if isinstance(block.X, CSR) and sparse:
            csr = (block.X.indptr, block.X.indices, block.X.data)
            sums = sparse_pass(self.loss, csr, y, weight, block.offset, coef, order)
        else:
            several = order > 1 and coef.shape[1] > 1
            gram = several and state["phase"] == "metric"
            outer = coef[0].size if several and not gram else 0
            chunks = block.standardised(chunk_rows(block.n_features, outer), scaled=False, centred=not as_is)
            sums = dense_pass(self.loss, chunks, y, weight, block.offset, coef, order, gram)
        if order:
            sums["gradient"] = units.gradient(sums["gradient"], as_is)
        if order > 1:
            sums["hessian"] = units.hessian(sums["hessian"])
        return sums

    # ---- small parts


def _at_rest(theta: Array, n_features: int) -> dict[str, Any]:
    """The parameters of a solver that knows nothing of the point theta: the next round takes it as it is."""
    return {
        "theta": theta,
        "direction": np.zeros_like(theta),
        "steps": np.zeros(1),
        "step": 0.0,
        "slope": 0.0,
        "objective": None,
        "gradient": np.zeros_like(theta),
        "gradient_max": None,
        "best": None,
        "stalled": 0,
        "valid_loss": None,
        "sum_weight": 0.0,
        "dropped": 0,
        "involved": np.zeros(n_features, bool),
    }


def _facts(state: State, design: Design) -> dict[str, Any]:
    """What a model tells of its training."""
    involved = np.flatnonzero(state["involved"]).tolist()
    return {
        "rounds": state.round,
        "stop": state.stop,
        "converged": state.converged and state.stop is not None,
        "objective": state["objective"],
        "sum_weight": state["sum_weight"],
        "gradient_max": state["gradient_max"],
        "dropped_directions": state["dropped"],
        "dependent_columns": [design.names[i] if design.names else str(i) for i in involved],
    }
