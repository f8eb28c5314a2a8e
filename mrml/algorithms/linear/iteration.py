"""The driver's half of a generalised linear model: from a round's sums to the next point to look at.

What the steps are is told in :mod:`mrml.algorithms.linear.solver`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mrml import losses
from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.linear import descent
from mrml.algorithms.linear.descent import Trials
from mrml.algorithms.linear.lbfgs import Pairs, first_metric, lbfgs_direction, remember, through_metric
from mrml.algorithms.linear.newton import free_gauge, pseudo_inverse
from mrml.algorithms.linear.units import Units
from mrml.arrays import Array
from mrml.errors import ConfigError, InputError
from mrml.statistic import Sums

#: parameters up to which ``auto`` means Newton, and beyond which a Hessian (200 MB) is refused
NEWTON_PARAMETERS, MOST_NEWTON_PARAMETERS = 300, 5000
#: ``auto`` goes over from L-BFGS to Newton where that has taken a round for so many parameters: about three of Newton's
#: rounds in seconds (60,000 x 54, 7 classes: 0.72 s for 0.045), after which Newton mostly has six to go.  Up to 1,600
#: parameters that comes before the 200 rounds are over, and a task sends 20 MB
PARAMETERS_A_ROUND, MOST_AUTO_NEWTON = 8, 1600
#: numbers up to which L-BFGS keeps the inverse Hessian of the first point: 2 MB, as much as Newton of 512 parameters
METRIC_NUMBERS = 1 << 18
#: steps that a search round tries: Newton needs only their losses, L-BFGS their gradients too
NEWTON_TRIALS, LBFGS_TRIALS = 8, 4
#: a Newton step that shrinks the gradient to this share has a Hessian that the next step can use again: its error is
#: of that share's order, and a round without a Hessian takes half the time (2,000,000 x 28: 0.07 s for 0.14)
CONTRACTION = 0.1


class Iteration(Algorithm):
    """The steps of Newton and L-BFGS; :class:`mrml.algorithms.linear.solver.GLM` gathers the sums."""

    loss: ClassVar[losses.Loss]
    l2: float
    solver: str
    tol: float
    max_iterations: int
    fit_intercept: bool
    standardise: bool | None  # type: ignore[misc]
    memory: int

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

    def _trials(self, state: State, values: Mapping[str, Value]) -> Trials:
        """The round's sums as means, with the penalty."""
        train, valid, penalty = values["train"], values.get("valid"), state["penalty"]
        units, theta, order = self._units(state), descent.trial_points(state), derivatives(state)
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
        return self._next(state, {"phase": first_phase(state["solver"], theta), "theta": theta, "curvature": curvature})

    def _taken(self, state: State, trials: Trials, index: int) -> State:
        new = descent.taken(state, trials, index)
        largest = new["gradient_max"]
        stop = descent.converged(largest, self.tol)
        if stop is None and new["stalled"] >= descent.STALLED:
            stop = descent.exhausted(largest, self.tol)
        if stop is None and self._is_slow(state):
            return self._next(state, {**new, **_at_newtons_first_point(state)})
        pairs = state["memory_steps"], state["memory_changes"]
        if state["solver"] == "lbfgs" and state["objective"] is not None:
            step, change = new["theta"] - state["theta"], new["gradient"] - state["gradient"]
            pairs = remember(pairs, step.ravel(), change.ravel(), self.memory)
        new.update(self._direction(state, new["gradient"], trials.hessian, pairs))
        if stop is None and not new["slope"] < 0:
            stop = descent.exhausted(largest, self.tol)
        phase = "chord" if self._smooth(state, new) else "point"
        return self._next(state, {"phase": phase, "steps": np.ones(1), **new}, stop)

    def _is_slow(self, state: State) -> bool:
        """Whether L-BFGS, which ``auto`` began with, has taken so many rounds that Newton is the cheaper way on."""
        size = state["theta"].size
        chosen = self.solver == "auto" and state["solver"] == "lbfgs" and size <= MOST_AUTO_NEWTON
        return chosen and (state.round + 1) * PARAMETERS_A_ROUND >= size

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
        found: dict[str, Any] = {"memory_steps": list(pairs[0]), "memory_changes": list(pairs[1])}
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
            again = self._direction(state, state["gradient"], None, ([], []))
            return self._next(state, {"phase": "point", "steps": np.ones(1), **again})
        return self._next(state, {}, descent.exhausted(state["gradient_max"], self.tol))

    def _next(self, state: State, params: dict[str, Any], stop: str | None = None) -> State:
        if stop is None and state.round + 1 >= self.max_iterations:
            largest = params.get("gradient_max", state["gradient_max"])
            stop = descent.out_of_rounds(self.max_iterations, largest, self.tol)
            return state.next(stop, converged=False, **params)
        return state.next(stop, **params)

    def _between_classes(self, state: State) -> Array:
        """(K, K) second derivatives of the loss where all rows have the raw prediction of the intercepts."""
        if len(state["theta"]) == 1:
            return np.ones((1, 1))  # the Hessian has them
        raw = state["theta"][:, -1] * self.fit_intercept
        p = np.exp(raw - raw.max())
        p /= p.sum()
        return np.diag(p) - np.outer(p, p)

    def _units(self, state: State) -> Units:
        free = self.standardise is not False or self.fit_intercept
        shift = np.zeros_like(state["scale"]) if free else state["center"] / state["scale"]
        return Units(state["center"], state["scale"], shift, self.fit_intercept)

    def _penalty(self, scale: Array) -> Array:
        """(n_free,) l2 of each coefficient in solver units, 0 for the intercept."""
        coef = np.full(len(scale), self.l2) if self.standardise is not False else self.l2 / scale**2
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


def _at_newtons_first_point(state: State) -> dict[str, Any]:
    """What turns a State of L-BFGS into one of Newton, whose next round takes the point as it is."""
    none = np.zeros((0, 0))
    return {
        "solver": "newton",
        "phase": "point",
        "direction": np.zeros_like(state["direction"]),
        "steps": np.zeros(1),
        "slope": 0.0,
        "inverse": none,
        "basis": none,
        "memory_steps": [],
        "memory_changes": [],
    }


def first_phase(solver: str, theta: Array) -> str:
    """The phase in which a solver begins."""
    return "metric" if solver == "lbfgs" and theta.size * theta.shape[1] <= METRIC_NUMBERS else "point"


def derivatives(state: State) -> int:
    """Derivatives a round's phase asks for."""
    if state["phase"] in ("metric", "start"):
        return 2 if state["phase"] == "metric" else 1
    if state["solver"] == "lbfgs":
        return 1
    return {"point": 2, "chord": 1, "search": 0}[state["phase"]]
