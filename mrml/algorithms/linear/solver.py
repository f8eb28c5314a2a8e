"""Linear, logistic, softmax and Poisson regression by Newton's method or L-BFGS.

The objective, for weights w and theta in the units of :mod:`mrml.algorithms.linear.units`::

    sum_i w_i * loss(y_i, raw_i) / sum_i w_i  +  l2 / 2 * |coef|**2

over the standardised columns, or with ``standardise`` false over the columns as they are (their penalty is then
``l2 / scale**2`` in solver units).  The intercept is never penalised.  A class weight multiplies its rows' weights.

Newton's method (IRLS; McCullagh and Nelder 1989, section 2.5) takes one round a step: loss, gradient and Hessian in
one pass; near the minimum the last Hessian serves again (the chord method) and the pass leaves it out.  L-BFGS (Nocedal
and Wright 2006, algorithm 7.4) takes one round a step too; its metric is the inverse of the Hessian at the first point
where that is small enough to be sent, else a bound of its diagonal.  Steps are tried as
:mod:`mrml.algorithms.linear.descent` says.  Converged means: the largest entry of the gradient of the objective, in
solver units, is at most ``tol``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrml import losses
from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.linear import descent
from mrml.algorithms.linear import rows as glm_rows
from mrml.algorithms.linear.descent import Trials
from mrml.algorithms.linear.lbfgs import first_metric, lbfgs_direction, remember, through_metric
from mrml.algorithms.linear.model import GLMClassifier, GLMModel
from mrml.algorithms.linear.newton import free_gauge, pseudo_inverse
from mrml.algorithms.linear.units import Units
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.kernels.glm import chunk_rows, dense_pass, sparse_pass
from mrml.params import param
from mrml.schema import Design, Schema
from mrml.statistic import Into, Statistic, Sums

#: parameters up to which ``auto`` means Newton, and beyond which a Hessian (200 MB) is refused
NEWTON_PARAMETERS, MOST_NEWTON_PARAMETERS = 300, 5000
#: numbers up to which L-BFGS keeps the inverse Hessian of the first point: 2 MB, as much as Newton of 512 parameters
METRIC_NUMBERS = 1 << 18
#: steps that a search round tries: Newton needs only their losses, L-BFGS their gradients too
NEWTON_TRIALS, LBFGS_TRIALS = 8, 4
#: a Newton step that shrinks the gradient to this share has a Hessian that the next step can use again: its error is
#: of that share's order, and a round without a Hessian takes half the time (2,000,000 x 28: 0.07 s for 0.14)
CONTRACTION = 0.1

#: the memory of L-BFGS: steps and changes of the gradient
Pairs = tuple[Array, Array]


@dataclass(frozen=True)
class GLM(Algorithm):
    """What the four have in common."""

    l2: float = param(0.0, "strength of the penalty l2/2 * |coef|^2", low=0.0)
    solver: str = param(
        "auto",
        "auto: newton up to 300 parameters, else lbfgs; sgd has hyperparameters of its own (--solver sgd --help)",
        choices=("auto", "newton", "lbfgs", "sgd"),
    )
    tol: float = param(1e-6, "largest entry of the gradient at which it has converged", low=0.0)
    max_iterations: int = param(200, "the most rounds", low=1)
    fit_intercept: bool = param(True, "fit an intercept")
    standardise: bool = param(True, "penalise coefficients of the standardised columns")  # type: ignore[misc]
    memory: int = param(20, "pairs of steps that L-BFGS remembers", low=1)

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
        glm_rows.refuse(block, ~np.isfinite(y), "its target is not a finite number", "drop or repair these rows")

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
        theta = np.zeros((k, n + self.fit_intercept))
        if self.fit_intercept:
            theta[:, -1] = self.intercepts(design, class_weight)
        return State(
            {
                "solver": solver,
                "phase": "start" if isinstance(self.loss, losses.Poisson) else _first(solver, theta),
                **_at_rest(theta, n),
                "curvature": 1.0 if isinstance(self.loss, losses.HalfSquaredError) else 0.25,
                "inverse": np.zeros((0, 0)),
                "basis": np.zeros((0, 0)),
                "memory_steps": np.zeros((0, theta.size)),
                "memory_changes": np.zeros((0, theta.size)),
                "center": np.zeros(n) if design.center is None else np.array(design.center, np.float64),
                "scale": scale,
                "penalty": self._penalty(scale),
                "class_weight": class_weight,
            }
        )

    def statistic(self, state: State, key: str) -> Statistic:
        trials = len(state["steps"])
        if key == "valid":
            return Sums(loss=np.zeros(trials), weight=0.0)
        k, n = state["theta"].shape[0], len(state["scale"])
        arrays: dict[str, Any] = {"loss": np.zeros(trials), "weight": 0.0}
        order = _order(state)
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
        order = _order(state) if block.part == "train" else 0
        sums = self._pass(state, block, y, weight, order)
        if np.isnan(sums["loss"]).any():
            glm_rows.check_finite(block, state.round)
        sums["weight"] = np.float64(block.n_rows) if weight is None else weight.sum()
        if block.part == "train" and state["phase"] == "start":
            sums["target"] = (y if weight is None else y * weight).sum()
        statistic = into[block.part]
        assert isinstance(statistic, Sums)
        statistic.add(**sums)

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        train = values.get("train")
        if train is None or not train["weight"] > 0:
            raise InputError("training data", "no row has a weight above 0", "check the data and its weight column")
        if state["phase"] == "start":
            return self._start(state, train)
        with np.errstate(over="ignore", invalid="ignore"):  # a step too far may end in infinities: it is refused
            trials = self._trials(state, values)
            index = descent.chosen(state, trials)
        if index is None:
            return self._refused(state)
        if trials.gradient is None:
            return self._next(state, {"phase": "point", **descent.moved(state, trials, index)})
        return self._taken(state, trials, index)

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
        hyper = self.spec()["params"]
        return cls(
            loss=self.loss.name,
            coef=coef,
            intercept=intercept,
            standard_coef=augmented[:, :-1].copy(),
            standard_intercept=augmented[:, -1].copy(),
            classes=design.classes,
            params={**hyper, "solver": state["solver"]},
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

    def _trials(self, state: State, values: Mapping[str, Value]) -> Trials:
        """The round's sums as means, with the penalty."""
        train, valid, penalty = values["train"], values.get("valid"), state["penalty"]
        units, theta, order = self._units(state), descent.trial_points(state), _order(state)
        weight = float(train["weight"])
        objective = train["loss"] / weight + 0.5 * (penalty * theta**2).sum(axis=(1, 2))
        gradient = hessian = valid_loss = None
        if order:
            gradient = units.free_gradient(train["gradient"]) / weight + penalty * theta
        if order > 1:
            hessian = units.free_hessian(units.without_noise(train["hessian"])) / weight
            diagonal = np.arange(len(penalty))
            for k in range(theta.shape[1] if state["phase"] != "metric" else 0):
                hessian[k, diagonal, k, diagonal] += penalty
        if valid is not None and valid["weight"] > 0:
            valid_loss = valid["loss"] / float(valid["weight"])
        return Trials(theta, objective, gradient, hessian, valid_loss, weight)

    def _start(self, state: State, train: Sums) -> State:
        """Poisson: the intercept at which the sum of means is the sum of targets, from the sums at raw = offset."""
        target, weight = float(train["target"]), float(train["weight"])
        mean = float(train["gradient"][0, 0, -1]) + target
        if not (target > 0 and 0 < mean < np.inf):
            finding = "every count is 0" if target <= 0 else "the offset makes every mean 0 or infinite"
            raise InputError("training data", finding, "check target and offset")
        theta = state["theta"].copy()
        if self.fit_intercept:
            theta[:, -1] = np.log(target / mean)
        curvature = (target if self.fit_intercept else mean) / weight
        return self._next(state, {"phase": _first(state["solver"], theta), "theta": theta, "curvature": curvature})

    def _taken(self, state: State, trials: Trials, index: int) -> State:
        new = descent.taken(state, trials, index)
        largest = new["gradient_max"]
        stop = descent.converged(largest, self.tol)
        if stop is None and new["stalled"] >= descent.STALLED:
            stop = descent.exhausted(largest, self.tol)
        pairs = state["memory_steps"], state["memory_changes"]
        if state["solver"] == "lbfgs" and state["objective"] is not None:
            step, change = new["theta"] - state["theta"], new["gradient"] - state["gradient"]
            pairs = remember(pairs[0], pairs[1], step.ravel(), change.ravel(), self.memory)
        new.update(self._direction(state, new["gradient"], trials.hessian, pairs))
        if stop is None and not new["slope"] < 0:
            stop = descent.exhausted(largest, self.tol)
        phase = "chord" if self._smooth(state, new) else "point"
        return self._next(state, {"phase": phase, "steps": np.ones(1), **new}, stop)

    def _smooth(self, state: State, new: dict[str, Any]) -> bool:
        """Whether the Hessian changes so little from here that the last one serves the next step too."""
        if state["solver"] == "lbfgs" or state["theta"].size > NEWTON_PARAMETERS:
            return False
        if isinstance(self.loss, losses.HalfSquaredError):
            return True
        before = state["gradient_max"]
        return before is not None and new["gradient_max"] <= CONTRACTION * before

    def _direction(self, state: State, gradient: Array, hessian: Array | None, pairs: Pairs) -> dict[str, Any]:
        """Where to go from a point: ``direction``, its ``slope``, and what the solver keeps."""
        k, q = gradient.shape
        flat = gradient.ravel()
        found: dict[str, Any] = {"memory_steps": pairs[0], "memory_changes": pairs[1]}
        if state["solver"] == "lbfgs":
            if hessian is not None:
                metric = first_metric(self._between_classes(state), hessian[0, :, 0], state["penalty"])
                found.update(metric._asdict(), involved=metric.involved[: len(state["scale"])])
            basis, inverse = found.get("basis", state["basis"]), found.get("inverse", state["inverse"])
            diagonal = np.tile(state["curvature"] + state["penalty"], k)

            def begin(v: Array) -> Array:
                return through_metric(basis, inverse, v) if len(basis) else v / diagonal

            direction = lbfgs_direction(flat, pairs[0], pairs[1], begin)
        else:
            inverse = state["inverse"]
            if hessian is not None:
                inverse, dropped, involved = pseudo_inverse(free_gauge(hessian).reshape(k * q, k * q))
                found["involved"] = involved.reshape(k, q)[:, : len(state["scale"])].any(axis=0)
                found.update(dropped=dropped, inverse=inverse)
            direction = -(inverse @ flat)
        return {**found, "direction": direction.reshape(k, q), "slope": float(flat @ direction)}

    def _refused(self, state: State) -> State:
        """No step of the round will do: shorter ones; then without memory; then it is over."""
        newton = state["solver"] == "newton"
        steps = descent.shorter(state["steps"], NEWTON_TRIALS if newton else LBFGS_TRIALS)
        if steps is not None:
            return self._next(state, {"phase": "search", "steps": steps})
        if not newton and len(state["memory_steps"]):
            none = np.zeros((0, state["theta"].size))
            again = self._direction(state, state["gradient"], None, (none, none))
            return self._next(state, {"phase": "point", "steps": np.ones(1), **again})
        return self._next(state, {}, descent.exhausted(state["gradient_max"], self.tol))

    def _next(self, state: State, params: dict[str, Any], stop: str | None = None) -> State:
        if stop is None and state.round + 1 >= self.max_iterations:
            largest = params.get("gradient_max", state["gradient_max"])
            stop = descent.out_of_rounds(self.max_iterations, largest, self.tol)
            return state.next(stop, converged=False, **params)
        return state.next(stop, **params)

    # ---- small parts

    def _between_classes(self, state: State) -> Array:
        """(K, K) second derivatives of the loss where all rows have the raw prediction of the intercepts."""
        if len(state["theta"]) == 1:
            return np.ones((1, 1))  # the Hessian has them
        raw = state["theta"][:, -1] * self.fit_intercept
        p = np.exp(raw - raw.max())
        p /= p.sum()
        return np.diag(p) - np.outer(p, p)

    def _units(self, state: State) -> Units:
        free = self.standardise or self.fit_intercept
        shift = np.zeros_like(state["scale"]) if free else state["center"] / state["scale"]
        return Units(state["center"], state["scale"], shift, self.fit_intercept)

    def _penalty(self, scale: Array) -> Array:
        """(n_free,) l2 of each coefficient in solver units, 0 for the intercept."""
        coef = np.full(len(scale), self.l2) if self.standardise else self.l2 / scale**2
        return np.append(coef, 0.0) if self.fit_intercept else coef

    def _solver(self, parameters: int) -> str:
        if self.solver == "newton" and parameters > MOST_NEWTON_PARAMETERS:
            finding = f"newton would need a Hessian of {parameters} x {parameters}"
            raise ConfigError("algorithm, solver", finding, "use lbfgs")
        if self.solver == "sgd":  # `locate` knows better; who builds the class itself may not
            raise ConfigError("algorithm, solver", "sgd is another class", "use mrml.algorithms.linear.sgd")
        if self.solver == "auto":
            return "newton" if parameters <= NEWTON_PARAMETERS else "lbfgs"
        return self.solver


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


def _first(solver: str, theta: Array) -> str:
    """The phase in which a solver begins."""
    return "metric" if solver == "lbfgs" and theta.size * theta.shape[1] <= METRIC_NUMBERS else "point"


def _order(state: State) -> int:
    """Derivatives a round's phase asks for."""
    if state["phase"] in ("metric", "start"):
        return 2 if state["phase"] == "metric" else 1
    if state["solver"] == "lbfgs":
        return 1
    return {"point": 2, "chord": 1, "search": 0}[state["phase"]]


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
