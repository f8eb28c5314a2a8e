"""Rounds of a descent method: which trial steps a round evaluates, which is taken, and when to stop.

A round evaluates the objective at ``theta + steps[t] * direction`` for all t in one pass over the data:

    start    (Poisson only) at 0, to find the intercept to begin from
    point    one step, nearly always 1; everything the solver needs
    metric   (L-BFGS only) the first point: its second derivatives too, with which every later direction begins
    chord    (Newton only) the same without a Hessian: the last one is used again
    search   after a step that was refused: several shorter ones

A step is taken when it lowers the objective enough (Armijo); or when it does not raise it by more than rounding and the
slope along the direction has fallen (the approximate Wolfe condition of Hager and Zhang, SIAM J. Optim. 16, 2005,
eq. 4.1), because near the minimum the gradient has twice the digits that the objective has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mrml.algorithm import State
from mrml.arrays import Array
from mrml.errors import InputError

ARMIJO = 1e-4
#: what rounding may add to a mean of losses, relative to it (or to 1)
ROUNDING = 1e-13
#: rounds that lower neither the objective beyond rounding nor the smallest gradient so far, before a run stops
STALLED = 5
#: no step shorter than this is tried
SHORTEST = 2.0**-24


class Trials(NamedTuple):
    """What a round found.

    theta (T, K, Q) and objective (T,); where the phase has them gradient (T, K, Q), hessian (K, Q, K, Q) and
    valid_loss (T,), the mean loss of the validation rows; weight, the sum of the training rows'.
    """

    theta: Array
    objective: Array
    gradient: Array | None = None
    hessian: Array | None = None
    valid_loss: Array | None = None
    weight: float = 0.0


def trial_points(state: State) -> Array:
    """theta + step * direction, (n_trials, n_outputs, n_free)."""
    points: Array = state["theta"] + state["steps"][:, None, None] * state["direction"]
    return points


def slack(objective: float) -> float:
    """The difference of objectives that may be rounding."""
    return ROUNDING * (abs(objective) + 1.0)


def chosen(state: State, trials: Trials) -> int | None:
    """The number of the step to take, or None; InputError when the very first point has no finite loss."""
    before = state["objective"]
    f = trials.objective
    if before is None:
        if not np.isfinite(f[0]):
            raise InputError(
                f"round {state.round + 1}",
                f"the loss is {f[0]} where the solver begins",
                "scale the target or the offset, or leave out columns with extreme values",
            )
        return 0
    good = f <= before + ARMIJO * state["steps"] * state["slope"]
    if trials.gradient is not None:
        slopes = np.einsum("tij,ij->t", trials.gradient, state["direction"])
        good |= (f <= before + slack(before)) & (slopes <= (2 * ARMIJO - 1.0) * state["slope"])
    if not good.any():
        return None
    return int(np.argmin(np.where(good, f, np.inf)))


def taken(state: State, trials: Trials, index: int) -> dict[str, Any]:
    """The parameters after a step was taken: where it led, and whether the descent still gets anywhere."""
    assert trials.gradient is not None
    f, before = float(trials.objective[index]), state["objective"]
    largest = float(np.abs(trials.gradient[index]).max())
    ahead = before is None or f < before - slack(before) or largest < state["best"]
    valid = trials.valid_loss
    return {
        "theta": trials.theta[index],
        "objective": f,
        "gradient": trials.gradient[index],
        "gradient_max": largest,
        "best": largest if state["best"] is None else min(largest, state["best"]),
        "stalled": 0 if ahead else state["stalled"] + 1,
        "step": float(state["steps"][index]) or state["step"],
        "valid_loss": None if valid is None else float(valid[index]),
        "sum_weight": trials.weight,
    }


def moved(state: State, trials: Trials, index: int) -> dict[str, Any]:
    """The parameters after a search that saw only losses: the next round takes derivatives where it led."""
    return {
        "theta": trials.theta[index],
        "objective": float(trials.objective[index]),
        "step": float(state["steps"][index]),
        "direction": np.zeros_like(state["direction"]),
        "steps": np.zeros(1),
        "slope": 0.0,
    }


def shorter(steps: Array, count: int) -> Array | None:
    """The steps to try after these: halves of the last; None when they have become too short."""
    last = float(steps[-1])
    return None if last <= SHORTEST else last * 0.5 ** np.arange(1, count + 1)


def converged(largest: float, tol: float) -> str | None:
    """The sentence of a run whose gradient is small enough."""
    if not largest <= tol:  # NaN is not
        return None
    return f"converged: largest gradient entry {largest:.3g} is at most {tol:g}"


def exhausted(largest: float, tol: float) -> str:
    """The sentence of a run that float64 carries no further."""
    return (
        f"no further step lowers the objective by more than rounding: largest gradient entry {largest:.3g}, "
        f"which is not {tol:g}"
    )


def out_of_rounds(rounds: int, largest: float | None, tol: float) -> str:
    """The sentence of a run that its limit of rounds ended."""
    found = "" if largest is None else f": largest gradient entry {largest:.3g} is above {tol:g}"
    return f"max_iterations {rounds} reached{found}"
