"""What an objective of boosting is; :mod:`mrml.algorithms.objectives.table` has them all.

``raw`` is (n_outputs, n_rows) float64, one row for each tree of an iteration; gradients and hessians have its shape and
are those of one row of weight 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.errors import InputError
from mrml.losses import Loss
from mrml.schema import Design

#: targets whose squares, of some 10^7 rows together, are numbers
MOST_TARGET = 1e150
#: as XGBoost: a hessian is at least this, so that a row never loses its say
MIN_HESSIAN = 1e-16


class Bounds(NamedTuple):
    """The largest |gradient| and hessian of a row of weight 1; ``tight`` where most rows come near to them, so that 15
    and 16 bits hold what 24 hold."""

    gradient: float
    hessian: float
    tight: bool


class Range(NamedTuple):
    """What is known of the rows before their gradients are computed: extremes of the target, of raw predictions and of
    :meth:`Objective.gap`."""

    y_min: float
    y_max: float
    raw_min: float
    raw_max: float
    gap_min: float
    gap_max: float
    #: rows of the largest group
    max_group: int = 0


class Objective(ABC):
    """A loss as boosting sees it."""

    name: ClassVar[str]
    #: what the target must be: "numeric", "binary" or "classes"
    target: ClassVar[str] = "numeric"
    #: the least target, and whether it may be that
    least: ClassVar[tuple[float, bool]] = (-np.inf, True)
    #: whether rows are judged within their group
    grouped: ClassVar[bool] = False
    #: the raw prediction above which a row of two classes is of the second
    threshold: ClassVar[float] = 0.0
    #: hyperparameters of boosting that this objective takes
    takes: ClassVar[tuple[str, ...]] = ()
    #: largest value of a leaf where the user does not say, 0 for no limit
    max_delta_step: float = 0.0
    #: the pointwise loss, for values and the inverse link
    loss: Loss

    @property
    def renews(self) -> float | None:
        """The quantile of its rows' residuals ``y - raw`` that a leaf of a grown tree gets, or None."""
        return None

    @property
    def deviance(self) -> str:
        """The name of the loss for :func:`mrml.algorithms.evaluation.parts.unit_deviance`."""
        return self.loss.name

    def n_outputs(self, design: Design) -> int:
        """Trees an iteration."""
        return 1

    @abstractmethod
    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        """(n_outputs,) float64: the raw prediction before the first tree."""

    @abstractmethod
    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Gradients and hessians."""

    @abstractmethod
    def bounds(self, known: Range) -> Bounds | None:
        """What gradients and hessians cannot exceed; None where nothing is known before they are computed."""

    def gap(self, y: Array, raw: Array) -> Array:
        """What bounds need of a row besides its raw prediction: rises with ``raw`` one to one, and falls with ``y``."""
        return raw

    def values(self, y: Array, raw: Array) -> Array:
        """(n_rows,) float64: the loss of each row."""
        return self.loss.value(y, raw[0])

    def evaluate(self, y: Array, raw: Array) -> tuple[Array, Array, Array]:
        """Values, gradients and hessians at once, where they share work."""
        return self.values(y, raw), *self.gradients(y, raw)

    def evaluate_groups(self, y: Array, raw: Array, starts: Array) -> tuple[Array, Array, Array]:
        """As ``evaluate``, of a ``grouped`` objective: groups begin at ``starts``, and a row's value is its group's."""
        raise NotImplementedError(self.name)

    def inverse_link(self, raw: Array) -> Array:
        """(n_rows,) means, or (n_rows, n_outputs) probabilities."""
        return self.loss.inverse_link(raw[0])

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:
        """InputError where the target cannot be one of this objective."""
        least, allowed = self.least
        if facts.get("min", 0.0) < least or (facts.get("min") == least and not allowed):
            finding = (
                f"holds {facts['min']:g}, and a {self.name} target is {'never negative' if allowed else 'above 0'}"
            )
            raise InputError("target", finding, "use --objective squared, or fix the data")
        far = max((facts.get(end, 0.0) for end in ("min", "max")), key=abs)
        if abs(far) > MOST_TARGET:
            finding = f"holds {far:g}, the square of which is beyond float64"
            raise InputError("target", finding, "scale the target, or leave those rows out")


#: what may be told instead of the loss
METRICS = ("loss", "rmse", "mae", "error")


def metric_rows(metric: str, objective: Objective, y: Array, raw: Array) -> Array:
    """(n_rows,) float64 whose weighted mean is the metric, of ``rmse`` its square; ``error`` is the share of rows that
    get another class."""
    found = objective.inverse_link(raw)
    if metric == "error":
        guess: Array = raw[0] > objective.threshold if len(raw) == 1 else found.argmax(axis=1)
        wrong: Array = (guess != y).astype(np.float64)
        return wrong
    away: Array = np.abs(found - y) if metric == "mae" else (found - y) ** 2
    return away
