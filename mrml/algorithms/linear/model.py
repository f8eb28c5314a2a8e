"""The model of a generalised linear regression: coefficients in the units of ``block.X``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import InputError
from mrml.kernels.glm import row_sums
from mrml.losses import LOSSES
from mrml.model import Model, Prediction

#: rows scored at a time; fixed, since a matrix product of another height may differ in the last bit
PREDICT_ROWS = 1024


@dataclass(frozen=True)
class GLMModel(Model):
    """``raw = X @ coef.T + intercept + offset``, and the inverse link of the loss.

    Attributes
    ----------
    loss : name of the loss, a key of ``mrml.losses.LOSSES``.
    coef, intercept : (n_outputs, n_features) and (n_outputs,) float64, for X as the block holds it.
    standard_coef, standard_intercept : the same for the standardised columns, to compare them with one another.
    classes : labels in the order of their codes; empty for a numeric target.
    params : the hyperparameters, the solver resolved.
    facts : rounds, stop, converged, objective, gradient_max, sum_weight, dropped_directions, dependent_columns.
    """

    loss: str
    coef: Array
    intercept: Array
    standard_coef: Array
    standard_intercept: Array
    classes: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    output: ClassVar[str] = "numeric"

    def predict(self, block: Block) -> Prediction:
        """The mean of every row, and its raw prediction."""
        raw = self.raw_prediction(block)[:, 0]
        return Prediction(LOSSES[self.loss].inverse_link(raw), None, raw)

    def raw_prediction(self, block: Block) -> Array:
        """(n_rows, n_outputs) float64 in link space, offset included."""
        if block.n_features != self.coef.shape[1]:
            finding = f"{block.n_features} features, the model has {self.coef.shape[1]}"
            raise InputError(f"file {block.file}, block {block.index}", finding, "score the columns it was trained on")
        raw = np.empty((block.n_rows, len(self.coef)))
        for start in range(0, block.n_rows, PREDICT_ROWS):
            rows = slice(start, min(start + PREDICT_ROWS, block.n_rows))
            raw[rows] = self._products(block.X, rows)
        raw += self.intercept
        if block.offset is not None:
            raw += block.offset[:, None]
        return raw

    def _products(self, x: Array | CSR, rows: slice) -> Array:
        if isinstance(x, CSR):
            part = x.rows(rows.start, rows.stop)
            return np.stack([row_sums(part.data * coef[part.indices], part.indptr) for coef in self.coef], axis=1)
        dense: Array = x[rows].astype(np.float64) @ self.coef.T
        return dense

    def header(self) -> dict[str, Any]:
        return {
            "loss": self.loss,
            "classes": list(self.classes),
            "params": dict(self.params),
            "facts": dict(self.facts),
        }

    def arrays(self) -> dict[str, Array]:
        return {
            "coef": self.coef,
            "intercept": self.intercept,
            "standard_coef": self.standard_coef,
            "standard_intercept": self.standard_intercept,
        }

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> GLMModel:
        names = ("coef", "intercept", "standard_coef", "standard_intercept")
        kept = {name: arrays[name] for name in names}
        classes = tuple(header["classes"])
        return cls(loss=header["loss"], classes=classes, params=header["params"], facts=header["facts"], **kept)

    def to_sklearn(self) -> Any:
        """LinearRegression (or Ridge where there was a penalty), PoissonRegressor, LogisticRegression."""
        linear_model = importlib.import_module("sklearn.linear_model")
        l2 = float(self.params["l2"])
        if self.loss == "poisson":
            estimator = linear_model.PoissonRegressor(alpha=l2)
            estimator._base_loss = estimator._get_loss()
        else:
            estimator = (
                linear_model.Ridge(alpha=l2 * self.facts["sum_weight"]) if l2 else linear_model.LinearRegression()
            )
        estimator.coef_, estimator.intercept_ = self.coef[0].copy(), float(self.intercept[0])
        estimator.n_features_in_, estimator.n_iter_ = self.coef.shape[1], self.facts["rounds"]
        return estimator


class GLMClassifier(GLMModel):
    """``y_pred`` is the code of the most probable class, the first one on a tie."""

    output: ClassVar[str] = "classes"

    def predict(self, block: Block) -> Prediction:
        raw = self.raw_prediction(block)
        if raw.shape[1] > 1:
            probability = LOSSES[self.loss].inverse_link(raw)
            return Prediction(raw.argmax(axis=1).astype(np.float64), probability, raw)
        link = LOSSES[self.loss].inverse_link
        probability = np.stack([link(-raw[:, 0]), link(raw[:, 0])], axis=1)
        return Prediction((raw[:, 0] > 0.0).astype(np.float64), probability, raw[:, 0])

    def to_sklearn(self) -> Any:
        """LogisticRegression with the labels of the target; two softmax classes become one difference."""
        strength = float(self.params["l2"]) * self.facts["sum_weight"]
        linear_model = importlib.import_module("sklearn.linear_model")
        estimator = linear_model.LogisticRegression(C=1.0 / strength if strength else np.inf)
        coef, intercept = self.coef, self.intercept
        if len(coef) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        estimator.coef_, estimator.intercept_ = coef.copy(), intercept.copy()
        estimator.classes_ = np.array(self.classes)
        estimator.n_features_in_, estimator.n_iter_ = coef.shape[1], np.array([self.facts["rounds"]])
        return estimator
