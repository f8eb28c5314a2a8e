"""Linear, logistic, softmax and Poisson regression by SGD: for tables too wide for L-BFGS to send its gradient often.

The network of :mod:`mrml.kernels.net.describe` with a wide part alone, over the standardised columns, so that one
learning rate fits all (sparse ones as they are, or with ``standardise`` divided by their deviation and not centred);
the model is that of the other solvers.  ``weight_decay`` is their ``l2``, but that it holds the intercept too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.linear.model import GLMClassifier, GLMModel
from mrml.algorithms.linear.warm_start import starting_point
from mrml.algorithms.sgd.base import SGD
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.net.describe import Net
from mrml.params import param
from mrml.schema import Design, Schema


def _fixed(value: Any) -> Any:
    """A hyperparameter that the algorithm leaves no choice in."""
    return param(value, "of the algorithm", internal=True)


@dataclass(frozen=True)
class _GLM(SGD):
    """What the four have in common."""

    huber_delta: float = _fixed(1.0)
    quantile_alpha: float = _fixed(0.5)
    tweedie_variance_power: float = _fixed(1.5)
    solver: str = param(
        "sgd", "sgd; for the others see `mrml train ALGORITHM --solver newton --help`", choices=("sgd",)
    )

    design: ClassVar[str] = "columns"

    def net(self, design: Design, n_outputs: int) -> Net:
        if not design.n_features:
            raise ConfigError("schema", "there is no feature column", "check features and exclude")
        dense = 0 if design.sparse else design.n_features
        return Net(dense, n_sparse=design.n_features - dense, wide=True, n_outputs=n_outputs)

    def begun_from(self, path: str, loss: str, net: Any, design: Design, fresh: Array) -> tuple[Array, Array]:
        coef, intercept = starting_point(path, self.objective(loss).loss.name, design, net.n_outputs)
        scale, center = (np.array(side or ()) for side in (design.scale, () if design.sparse else design.center))
        params = np.zeros_like(fresh)
        views = net.views(params)
        views["wide.sparse" if design.sparse else "wide.numeric"][...] = (coef * scale if len(scale) else coef).T
        views["output.bias"][...] = intercept + (coef @ center if len(center) else 0.0)
        return params, net.init_buffers()

    def model(self, state: State, schema: Schema) -> GLMModel:
        design = schema.design or Design()
        views = Net.from_json(state["net"]).views(state["params"])
        standard = views["wide.sparse" if design.sparse else "wide.numeric"].astype(np.float64).T
        intercept = views["output.bias"].astype(np.float64)
        coef, own = _as_is(standard, intercept, design)
        cls = GLMClassifier if design.classes else GLMModel
        hyper = {**self.told(), "l2": self.weight_decay}
        facts = {**self.facts(state), "converged": True, "sum_weight": design.sum_weight}
        return cls(self.objective(state["objective"]).loss.name, coef, own, standard, intercept,
                   design.classes, hyper, facts)  # fmt: skip


def _as_is(standard: Array, intercept: Array, design: Design) -> tuple[Array, Array]:
    """coef (n_outputs, n_features) and intercept (n_outputs,) for columns that are not standardised."""
    if design.scale is None:
        return standard.copy(), intercept.copy()
    coef: Array = standard / np.array(design.scale)
    shift = 0.0 if design.sparse or design.center is None else coef @ np.array(design.center)
    return coef, intercept - shift


@dataclass(frozen=True)
class Linear(_GLM):
    """Least squares by SGD."""

    loss: str = _fixed("squared")


@dataclass(frozen=True)
class Logistic(_GLM):
    """Logistic regression by SGD."""

    loss: str = _fixed("logistic")


@dataclass(frozen=True)
class Softmax(_GLM):
    """Multinomial logistic regression by SGD."""

    loss: str = _fixed("softmax")


@dataclass(frozen=True)
class Poisson(_GLM):
    """Poisson regression by SGD."""

    loss: str = _fixed("poisson")
