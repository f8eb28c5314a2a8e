"""What boosting descends: gradients and hessians of a loss, where it begins, and how large they can be.

``raw`` is (n_outputs, n_rows) float64, one row for each tree of an iteration; gradients and hessians have its shape and
are those of one row of weight 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mrml.data.block import Array
from mrml.errors import ConfigError, InputError, nearest
from mrml.losses import HalfSquaredError, Logistic, Loss, Poisson, Softmax
from mrml.schema import Design

#: as XGBoost: a hessian is at least this, so that a row never loses its say
MIN_HESSIAN = 1e-16


class Bounds(NamedTuple):
    """The largest |gradient| and hessian of a row of weight 1; ``tight`` where most rows come near to them, so that 15
    and 16 bits hold what 24 hold."""

    gradient: float
    hessian: float
    tight: bool


class Range(NamedTuple):
    """What is known of the rows before their gradients are computed: extremes of the target and of raw predictions."""

    y_min: float
    y_max: float
    raw_min: float
    raw_max: float


class Objective(ABC):
    """A loss as boosting sees it."""

    name: ClassVar[str]
    #: what the target must be: "numeric", "binary" or "classes"
    target: ClassVar[str] = "numeric"
    #: the pointwise loss, for values and the inverse link
    loss: ClassVar[Loss]

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

    def values(self, y: Array, raw: Array) -> Array:
        """(n_rows,) float64: the loss of each row."""
        return self.loss.value(y, raw[0])

    def evaluate(self, y: Array, raw: Array) -> tuple[Array, Array, Array]:
        """Values, gradients and hessians at once, where they share work."""
        return self.values(y, raw), *self.gradients(y, raw)

    def inverse_link(self, raw: Array) -> Array:
        """(n_rows,) means, or (n_rows, n_outputs) probabilities."""
        return self.loss.inverse_link(raw[0])

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:  # noqa: B027 - most take any target
        """InputError where the target cannot be one of this objective."""


class SquaredObjective(Objective):
    """``(raw - y)**2 / 2``."""

    name = "squared"
    loss = HalfSquaredError()

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.array([facts["mean"]])

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return raw - y, np.ones_like(raw)

    def bounds(self, known: Range) -> Bounds:
        return Bounds(max(known.raw_max - known.y_min, known.y_max - known.raw_min), 1.0, False)


class LogisticObjective(Objective):
    """Log loss of two classes."""

    name = "logistic"
    target = "binary"
    loss = Logistic()

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        negative, positive = design.class_weight_sums
        return np.array([np.log(positive / negative)])

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return self.evaluate(y, raw)[1:]

    def evaluate(self, y: Array, raw: Array) -> tuple[Array, Array, Array]:
        values, g, h = self.loss.evaluate(y, raw[0])
        assert g is not None and h is not None
        return values, g[None], np.maximum(h, MIN_HESSIAN)[None]

    def bounds(self, known: Range) -> Bounds:
        return Bounds(1.0, 0.25, True)

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:
        if len(classes) != 2:
            _refuse_classes(self.name, classes, "two")


class SoftmaxObjective(Objective):
    """Log loss of several classes; the hessian is XGBoost's ``2 p (1 - p)``."""

    name = "softmax"
    target = "classes"
    loss = Softmax()

    def n_outputs(self, design: Design) -> int:
        return len(design.classes)

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        sums = np.array(design.class_weight_sums)
        base: Array = np.log(sums / sums.sum())
        return base

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        p = self.inverse_link(raw).T
        g = p.copy()
        g[y.astype(np.intp), np.arange(len(y))] -= 1.0
        return g, np.maximum(2.0 * p * (1.0 - p), MIN_HESSIAN)

    def bounds(self, known: Range) -> Bounds:
        return Bounds(1.0, 0.5, True)

    def values(self, y: Array, raw: Array) -> Array:
        return self.loss.value(y, raw.T)

    def inverse_link(self, raw: Array) -> Array:
        return self.loss.inverse_link(np.ascontiguousarray(raw.T))

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:
        if len(classes) < 2:
            _refuse_classes(self.name, classes, "two or more")


class PoissonObjective(Objective):
    """``exp(raw) - y raw`` of counts."""

    name = "poisson"
    loss = Poisson()

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.array([np.log(max(facts["mean"], 1e-10))])

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        mean = np.exp(raw)
        return mean - y, mean

    def bounds(self, known: Range) -> Bounds:
        most = float(np.exp(min(known.raw_max, 700.0)))
        return Bounds(max(most, known.y_max), most, False)

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:
        if facts["min"] < 0:
            finding = f"holds {facts['min']:g}, and a Poisson target is never negative"
            raise InputError("target", finding, "use --objective squared, or mend the data")


def _refuse_classes(name: str, classes: tuple[str, ...], needed: str) -> None:
    shown = ", ".join(classes[:5])
    finding = f"{name} needs {needed} classes, the target has {len(classes)} ({shown}{', ...' * (len(classes) > 5)})"
    remedy = "use --objective softmax" if len(classes) > 2 else "is it the right --target, and all of the data?"
    raise InputError("target", finding, remedy)


OBJECTIVES: dict[str, type[Objective]] = {
    o.name: o for o in (SquaredObjective, LogisticObjective, SoftmaxObjective, PoissonObjective)
}


def objective_of(name: str) -> Objective:
    """The objective of a name; ConfigError with the nearest one otherwise."""
    if name not in OBJECTIVES:
        raise ConfigError("algorithm, objective", f"{name!r} is unknown", nearest(name, OBJECTIVES))
    return OBJECTIVES[name]()
