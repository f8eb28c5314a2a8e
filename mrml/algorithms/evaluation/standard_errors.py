"""How sure the coefficients of a linear model are: one pass over the rows that it was trained on.

With H the Hessian of the weighted sum of losses at the coefficients, P that of the penalty, and phi the dispersion (1,
or of least squares the weighted sum of squared errors by the rows' weight less the parameters), the covariance is
``phi (H + P)^-1 H (H + P)^-1``: without a penalty the inverse of the information (McCullagh and Nelder 1989, section
2.5.4), with one what is left of it (Gray 1992, eq. 2.5).  Weights count rows, as statsmodels' ``freq_weights`` do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.parts import Metrics, packed, revived
from mrml.algorithms.linear.model import GLMModel
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError
from mrml.losses import LOSSES
from mrml.model import Model
from mrml.names import name_of
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic, Sums

#: a Hessian of so many parameters is 2 MB
MOST_PARAMETERS = 500


def has_standard_errors(model: Model) -> bool:
    """Whether it is a linear model of one output, and not of too many columns."""
    inner = getattr(model, "inner", None)
    return isinstance(inner, GLMModel) and len(inner.coef) == 1 and inner.coef.shape[1] < MOST_PARAMETERS


@dataclass(frozen=True)
class StandardErrors(Algorithm):
    """The errors of a model that travels in the State, as that of Evaluate does."""

    scorer: Model | None = param(None, "the model", internal=True)

    def spec(self) -> dict[str, Any]:
        return {"class": name_of(type(self)), "params": {}}

    def init(self, schema: Schema) -> State:
        if self.scorer is None or not has_standard_errors(self.scorer):
            raise ConfigError("standard errors", "are of linear models of one output", "look at the importance instead")
        return State({"scorer": packed(self.scorer)})

    def statistic(self, state: State, key: str) -> Statistic:
        n = state["scorer"]["arrays"]["model.coef"].shape[1] + 1
        return Sums(hessian=np.zeros((n, n)), weight=0.0, squared=0.0)

    def map(self, state: State, block: Block, into: Into) -> None:
        if not block.n_rows:
            return
        model = cast(PipelineModel, revived(state["scorer"]))
        inner, y = cast(GLMModel, model.inner), model.targets(block)
        assert y is not None
        loss, design, sums = LOSSES[inner.loss], model.design(block), into["sums"]
        assert isinstance(sums, Sums)
        theta = np.append(inner.standard_coef[0], inner.standard_intercept[0])
        for rows, z in design.standardised():
            x = np.column_stack([z, np.ones(len(z))])
            raw = x @ theta + (0.0 if block.offset is None else block.offset[rows])
            weight = np.ones(len(z)) if block.weight is None else block.weight[rows]
            hessian = x.T @ (x * (weight * loss.hessian(y[rows], raw))[:, None])
            squared = (weight * (y[rows] - loss.inverse_link(raw)) ** 2).sum()
            sums.add(hessian=hessian, weight=float(weight.sum()), squared=float(squared))

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        model = cast(PipelineModel, revived(state["scorer"]))
        return state.next(stop="counted", errors=_errors(model, values["sums"]))

    def model(self, state: State, schema: Schema) -> Model:
        """Its ``metrics``: ``coefficients``, a list of name, coefficient, standard error, z and p."""
        return Metrics({"coefficients": state["errors"]})


def _errors(model: PipelineModel, sums: Sums) -> list[dict[str, Any]]:
    inner, design, weight = cast(GLMModel, model.inner), model.fitted.design, float(sums["weight"])
    n, has_intercept = inner.coef.shape[1], bool(inner.params.get("fit_intercept", True))
    scale = np.ones(n) if design.scale is None else np.array(design.scale)
    shift = np.zeros(n) if design.center is None else np.array(design.center) / scale
    # what is free moves the coefficients of standardised columns and their intercept: see linear.units
    as_they_are = inner.params.get("standardise") is False
    moves = np.eye(n + 1) if has_intercept else np.vstack([np.eye(n), shift * as_they_are])
    to_columns = np.diag(np.append(1.0 / scale, 1.0))[:, : n + has_intercept]
    if has_intercept:
        to_columns[-1, :-1] = -shift
    information = moves.T @ sums["hessian"] @ moves
    penalty = weight * np.append(_penalty(inner, scale), 0.0)[: n + has_intercept]
    inverse = np.linalg.pinv(information + np.diag(penalty), hermitian=True)
    covariance = inverse @ information @ inverse
    if inner.loss == "half_squared_error":
        covariance *= float(sums["squared"]) / max(weight - float(np.linalg.matrix_rank(information)), 1.0)
    errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", to_columns, covariance, to_columns), 0.0))
    names, values = [*(design.names or map(str, range(n))), "intercept"], [*inner.coef[0], inner.intercept[0]]
    told = [_told(name, float(v), float(e)) for name, v, e in zip(names, values, errors, strict=True)]
    return told if has_intercept else told[:-1]


def _penalty(inner: GLMModel, scale: Array) -> Array:
    """(n_features,) of each standardised coefficient, for a mean of losses."""
    l2 = float(inner.params.get("l2", 0.0))
    return l2 / scale**2 if inner.params.get("standardise") is False else np.full(len(scale), l2)


def _told(name: str, coefficient: float, error: float) -> dict[str, Any]:
    z = coefficient / error if error > 0 else None
    p = None if z is None else math.erfc(abs(z) / math.sqrt(2))
    return {"name": name, "coefficient": coefficient, "standard_error": error, "z": z, "p": p}
