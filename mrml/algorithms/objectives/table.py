"""What boosting descends: gradients and hessians of a loss, where it begins, and how large they can be.

``raw`` is (n_outputs, n_rows) float64, one row for each tree of an iteration; gradients and hessians have its shape and
are those of one row of weight 1.

Whose definitions: squared, logistic, poisson, gamma and tweedie are the same in XGBoost and LightGBM; softmax takes the
factor of the library whose growth it is (``2 p (1 - p)``, or ``K / (K - 1) p (1 - p)``); huber, quantile and absolute
are LightGBM's: hessian 1, and for the latter two the leaves of a grown tree get the quantile of their rows' residuals.
lambdarank is LightGBM's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mrml import losses
from mrml.algorithms.objectives.base import MIN_HESSIAN, Bounds, Objective, Range
from mrml.algorithms.objectives.custom import CustomObjective
from mrml.algorithms.objectives.lambdarank import LambdarankObjective
from mrml.algorithms.objectives.library_names import FAMILIES, VALUES
from mrml.arrays import Array
from mrml.errors import ConfigError, InputError, nearest
from mrml.losses import Loss
from mrml.schema import Design

#: the least target whose logarithm counts
_TINY = 1e-300


class SquaredObjective(Objective):
    """``(raw - y)**2 / 2``."""

    name = "squared"
    loss: Loss = losses.half_squared_error

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.array([facts["mean"]])

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return raw - y, np.ones_like(raw)

    def gap(self, y: Array, raw: Array) -> Array:
        return raw - y

    def bounds(self, known: Range) -> Bounds:
        return Bounds(max(known.gap_max, -known.gap_min), 1.0, False)


class HuberObjective(SquaredObjective):
    """Squared up to ``huber_delta``, linear beyond it; LightGBM's, and hessian 1."""

    name = "huber"
    takes = ("huber_delta",)

    def __init__(self, huber_delta: float = 1.0) -> None:
        self.delta, self.loss = huber_delta, losses.Huber(huber_delta)

    @property
    def deviance(self) -> str:
        return f"huber:{self.delta!r}"

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.array([_quantile(facts, 0.5)])

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return np.clip(raw - y, -self.delta, self.delta), np.ones_like(raw)

    def bounds(self, known: Range) -> Bounds:
        return Bounds(min(self.delta, max(known.gap_max, -known.gap_min)), 1.0, False)


class QuantileObjective(Objective):
    """The ``quantile_alpha`` quantile."""

    name = "quantile"
    takes: ClassVar[tuple[str, ...]] = ("quantile_alpha",)

    def __init__(self, quantile_alpha: float = 0.5) -> None:
        self.alpha, self.loss = quantile_alpha, losses.Quantile(quantile_alpha)

    @property
    def renews(self) -> float | None:
        return self.alpha

    @property
    def deviance(self) -> str:
        return f"quantile:{self.alpha!r}"

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.array([_quantile(facts, self.alpha)])

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return self.loss.gradient(y, raw), np.ones_like(raw)

    def bounds(self, known: Range) -> Bounds:
        return Bounds(max(self.alpha, 1.0 - self.alpha), 1.0, False)


class AbsoluteObjective(QuantileObjective):
    """The median, by the absolute error."""

    name = "absolute"
    takes = ()

    def __init__(self) -> None:
        self.alpha, self.loss = 0.5, losses.AbsoluteError()

    @property
    def deviance(self) -> str:
        return "absolute"

    def bounds(self, known: Range) -> Bounds:
        return Bounds(1.0, 1.0, False)


class LogisticObjective(Objective):
    """Log loss of two classes."""

    name = "logistic"
    target = "binary"
    loss = losses.logistic

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        negative, positive = _shares(design)
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
    """Log loss of several classes.

    The hessian is the diagonal's ``p (1 - p)`` times what the library takes whose growth it is: XGBoost's 2 level by
    level, LightGBM's ``K / (K - 1)`` of K classes leaf by leaf (``factor_`` in its multiclass_objective.hpp).
    """

    name = "softmax"
    target = "classes"
    loss = losses.softmax
    takes = ("growth",)

    def __init__(self, growth: str = "depthwise") -> None:
        self.leafwise = growth == "leafwise"

    def n_outputs(self, design: Design) -> int:
        return len(design.classes)

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        base: Array = np.log(_shares(design))
        return base

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        p = self.inverse_link(raw).T
        g = p.copy()
        g[y.astype(np.intp), np.arange(len(y))] -= 1.0
        factor = len(p) / (len(p) - 1) if self.leafwise else 2.0
        return g, np.maximum(factor * p * (1.0 - p), MIN_HESSIAN)

    def bounds(self, known: Range) -> Bounds:
        return Bounds(1.0, 0.5, True)

    def values(self, y: Array, raw: Array) -> Array:
        return self.loss.value(y, raw.T)

    def inverse_link(self, raw: Array) -> Array:
        return self.loss.inverse_link(np.ascontiguousarray(raw.T))

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:
        if len(classes) < 2:
            _refuse_classes(self.name, classes, "two or more")


class _LogLink(Objective):
    """Targets whose mean is ``exp(raw)``."""

    least = (0.0, True)

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.array([np.log(max(facts["mean"], 1e-10))])


class PoissonObjective(_LogLink):
    """``exp(raw) - y raw`` of counts; the hessian is ``exp(raw + max_delta_step)``, XGBoost's and LightGBM's."""

    name = "poisson"
    takes = ("max_delta_step",)
    loss = losses.poisson

    def __init__(self, max_delta_step: float | None = None) -> None:
        self.max_delta_step = 0.7 if max_delta_step is None else max_delta_step

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        mean = np.exp(raw)
        return mean - y, mean * np.exp(self.max_delta_step)

    def bounds(self, known: Range) -> Bounds:
        most = _exp(known.raw_max)
        return Bounds(max(most, known.y_max), most * np.exp(self.max_delta_step), False)


class GammaObjective(_LogLink):
    """``raw + y exp(-raw)`` of amounts above 0."""

    name = "gamma"
    least = (0.0, False)
    loss = losses.Gamma()

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        ratio = y * np.exp(-raw)
        return 1.0 - ratio, ratio

    def gap(self, y: Array, raw: Array) -> Array:
        return raw - np.log(np.maximum(y, _TINY))

    def bounds(self, known: Range) -> Bounds:
        most = _exp(-known.gap_min)
        return Bounds(max(most - 1.0, 1.0), most, False)


class TweedieObjective(_LogLink):
    """A Tweedie distribution of variance ``mean**tweedie_variance_power``: sums of which many are 0."""

    name = "tweedie"
    takes = ("tweedie_variance_power",)

    def __init__(self, tweedie_variance_power: float = 1.5) -> None:
        if not 1.0 < tweedie_variance_power < 2.0:
            finding = f"{tweedie_variance_power:g} is not between 1 and 2"
            raise ConfigError("algorithm, tweedie_variance_power", finding, "1 would be poisson, and 2 gamma")
        self.power, self.loss = tweedie_variance_power, losses.Tweedie(tweedie_variance_power)

    @property
    def deviance(self) -> str:
        return f"tweedie:{self.power!r}"

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        _, g, h = self.loss.evaluate(y, raw)
        assert g is not None and h is not None
        return g, h

    def gap(self, y: Array, raw: Array) -> Array:
        return raw - np.log(np.maximum(y, _TINY)) / (self.power - 1.0)

    def bounds(self, known: Range) -> Bounds:
        one, two = self.power - 1.0, 2.0 - self.power
        share, mean = _exp(-one * known.gap_min), _exp(two * known.raw_max)
        return Bounds(max(share, mean), one * share + two * mean, False)


class GiniObjective(SoftmaxObjective):
    """Squared error of the classes' indicators, as forests split by: raw predictions are shares, of two classes that of
    the second."""

    name = "gini"
    threshold = 0.5

    def n_outputs(self, design: Design) -> int:
        return len(design.classes) if len(design.classes) > 2 else 1

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        shares = _shares(design)
        return shares if len(shares) > 2 else shares[1:]

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        codes = np.arange(len(raw))[:, None] if len(raw) > 1 else np.ones((1, 1))
        return raw - (codes == y), np.ones_like(raw)

    def bounds(self, known: Range) -> Bounds:
        return Bounds(1.0, 1.0, False)

    def inverse_link(self, raw: Array) -> Array:
        shares: Array = np.clip(raw, 0.0, 1.0)
        if len(raw) == 1:
            only: Array = shares[0]
            return only
        return np.ascontiguousarray((shares / np.maximum(shares.sum(axis=0), 1e-300)).T)


def _exp(raw: float) -> float:
    return float(np.exp(np.clip(raw, -700.0, 700.0)))


def _quantile(facts: Mapping[str, Any], share: float) -> float:
    """The nearest percentile of the target."""
    return float(facts["quantiles"][min(max(round(share * 100), 1), 99) - 1])


def _shares(design: Design) -> Array:
    """(n_classes,) float64: of the weight, by class; a class whose rows have no weight has next to nothing."""
    sums = np.array(design.class_weight_sums)
    shares: Array = np.maximum(sums / sums.sum(), 1e-16)
    return shares


def _refuse_classes(name: str, classes: tuple[str, ...], needed: str) -> None:
    shown = ", ".join(classes[:5])
    finding = f"{name} needs {needed} classes, the target has {len(classes)} ({shown}{', ...' * (len(classes) > 5)})"
    remedy = "use --objective softmax" if len(classes) > 2 else "is it the right --target, and all of the data?"
    raise InputError("target", finding, remedy)


OBJECTIVES: dict[str, type[Objective]] = {
    o.name: o
    for o in (
        SquaredObjective, LogisticObjective, SoftmaxObjective, PoissonObjective, GammaObjective, TweedieObjective,
        HuberObjective, QuantileObjective, AbsoluteObjective, LambdarankObjective,
    )
}  # fmt: skip


def objective_of(name: str, params: Mapping[str, Any] | None = None) -> Objective:
    """The objective of a name with what it takes of hyperparameters; ConfigError with the nearest one otherwise."""
    if ":" in name and name.partition(":")[0] not in FAMILIES:
        return CustomObjective(name)
    if name == GiniObjective.name:
        return GiniObjective()
    if name not in OBJECTIVES:
        known = [*OBJECTIVES, *(VALUES["objective"] if ":" in name else ())]
        remedy = f"{nearest(name, known)} (your own is my_module:my_function)"
        raise ConfigError("algorithm, objective", f"{name!r} is unknown", remedy)
    cls = OBJECTIVES[name]
    return cls(**{k: (params or {})[k] for k in cls.takes if k in (params or {})})
