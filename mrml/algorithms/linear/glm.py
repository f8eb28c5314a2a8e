"""Linear, logistic, softmax and Poisson regression: targets, losses and where their solver begins.

The objective and the solvers are in :mod:`mrml.algorithms.linear.solver`; conventions are scikit-learn's ``Ridge``,
``LogisticRegression`` and ``PoissonRegressor``, but for the penalty: scikit-learn's ``C`` is
``1 / (l2 * sum_weight)``, its ``alpha`` is ``l2 * sum_weight`` in Ridge and ``l2`` in PoissonRegressor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mrml import losses
from mrml.algorithms.linear.rows import refuse
from mrml.algorithms.linear.solver import GLM
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.params import param
from mrml.schema import Design, Schema

#: up to here a count and its neighbours are different float64
_MOST_COUNT = 2.0**53


@dataclass(frozen=True)
class Classification(GLM):
    """What logistic and softmax have in common."""

    l2: float = param(1e-4, "strength of the L2 penalty, l2/2 * |coef|^2", low=0.0)
    class_weight: str = param("none", "balanced: give every class the same total weight", choices=("none", "balanced"))

    def weights_of_classes(self, design: Design, place: str) -> Array | None:
        if self.class_weight == "none":
            return None
        sums = np.array(design.class_weight_sums, np.float64)
        if len(sums) != len(design.classes) or not (sums > 0).all():
            empty = [c for c, s in zip(design.classes, sums, strict=False) if not s > 0]
            finding = f"class {empty[0]!r} has no training rows to balance" if empty else "its classes are not counted"
            raise InputError(place, finding, "use class_weight none")
        balanced: Array = sums.sum() / (len(sums) * sums)
        return balanced

    def check_targets(self, block: Block, y: Array, n_classes: int) -> None:
        # Validation rows may hold a label that training never saw.
        bad = ~((y >= 0) & (y < n_classes) & (y == np.floor(y)))
        refuse(block, bad, "its class is not one of the training data's", "drop these rows")

    def shares(self, design: Design, class_weight: Array | None) -> Array:
        """(n_classes,) share of each class in the weight; equal ones where the classes are not counted."""
        sums = np.array(design.class_weight_sums, np.float64)
        if len(sums) != len(design.classes) or not sums.sum() > 0:
            return np.full(len(design.classes), 1.0 / len(design.classes))
        sums = sums if class_weight is None else sums * class_weight
        shares: Array = np.maximum(sums / sums.sum(), 1e-12)
        return shares


@dataclass(frozen=True)
class Linear(GLM):
    """Least squares, with a ridge penalty when l2 > 0."""

    target: ClassVar[str] = "numeric"
    loss: ClassVar[losses.Loss] = losses.half_squared_error


@dataclass(frozen=True)
class Poisson(GLM):
    """Counts: the mean is exp(raw prediction)."""

    target: ClassVar[str] = "numeric"
    loss: ClassVar[losses.Loss] = losses.poisson

    def check_targets(self, block: Block, y: Array, n_classes: int) -> None:
        super().check_targets(block, y, n_classes)
        refuse(block, y < 0, "its target is negative, which no count is", "use linear, or repair these rows")
        bad = y > _MOST_COUNT
        if bad.any():
            finding = f"its target is {y[int(np.argmax(bad))]:g}, too large for a count"
            refuse(block, bad, finding, "use linear, or repair these rows")


@dataclass(frozen=True)
class Logistic(Classification):
    """Two classes: the probability of the second is 1 / (1 + exp(-raw prediction))."""

    target: ClassVar[str] = "binary"
    loss: ClassVar[losses.Loss] = losses.logistic

    def check_design(self, schema: Schema, design: Design, place: str) -> None:
        _check_classes(design, place)
        if len(design.classes) > 2:
            finding = f"logistic needs a target of 2 classes, here are {len(design.classes)}"
            raise ConfigError(place, finding, "use softmax")

    def intercepts(self, design: Design, class_weight: Array | None) -> Array:
        share = self.shares(design, class_weight)
        odds: Array = np.log(share[1:] / share[:1])
        return odds


@dataclass(frozen=True)
class Softmax(Classification):
    """Two or more classes: probabilities exp(raw prediction) / their sum; every class has its coefficients."""

    target: ClassVar[str] = "classes"
    loss: ClassVar[losses.Loss] = losses.softmax

    def n_outputs(self, design: Design) -> int:
        return len(design.classes)

    def check_design(self, schema: Schema, design: Design, place: str) -> None:
        _check_classes(design, place)
        if schema.role("offset") is not None:
            finding = "an offset raises every class alike and changes nothing"
            raise ConfigError("data, offset", finding, "leave it out, or use logistic")

    def intercepts(self, design: Design, class_weight: Array | None) -> Array:
        log = np.log(self.shares(design, class_weight))
        centred: Array = log - log.mean()
        return centred


def _check_classes(design: Design, place: str) -> None:
    if not design.classes:
        raise ConfigError(place, "is numeric, not a set of classes", "use linear or poisson, or declare it categorical")
    if len(design.classes) < 2:
        raise InputError(place, f"holds only one class, {design.classes[0]!r}", "at least two are needed")
