"""Losses in link space: value, gradient, hessian and inverse link, pointwise.

``raw_prediction`` is the linear predictor (or the sum of trees), ``loss(y, raw)`` drops what does not
depend on it:

=================== =============================== ================== ======================
loss                value                           inverse link       y_true
=================== =============================== ================== ======================
half_squared_error  (raw - y)**2 / 2                raw                any number
logistic            log(1 + exp(raw)) - y * raw     1 / (1 + exp(-raw))  0 or 1
softmax             logsumexp(raw) - raw[y]         exp(raw_k) / sum   0 to n_classes - 1
poisson             exp(raw) - y * raw              exp(raw)           at least 0
gamma               raw + y * exp(-raw)             exp(raw)           above 0
tweedie             exp((2 - p) * raw) / (2 - p)    exp(raw)           at least 0
                    - y exp((1 - p) raw) / (1 - p)
huber               e**2 / 2 up to delta, beyond    raw                any number
                    delta * (abs(e) - delta / 2)
quantile            (1 - a) * e above, -a * e below raw                any number
absolute            abs(e)                          raw                any number
=================== =============================== ================== ======================

with e = raw - y.  The values are those of scikit-learn's ``sklearn._loss`` (HalfSquaredError, HalfBinomialLoss,
HalfMultinomialLoss, HalfPoissonLoss, HalfGammaLoss, HalfTweedieLoss, HuberLoss, PinballLoss, AbsoluteError), up to
what does not depend on ``raw``.  Where it differs: the logistic and softmax gradients keep their
relative accuracy at any raw prediction, because ``1 - p`` is never formed by subtraction.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from mrml.arrays import Array

#: value, gradient (None for order 0), curvature (None below order 2)
Evaluation = tuple[Array, "Array | None", "Array | None"]


class Loss(ABC):
    """A pointwise loss of a raw prediction.

    Shapes: ``y_true`` (n_rows,), ``raw`` (n_rows,), or (n_rows, n_classes) in any memory layout for softmax; all
    float64.  Values are (n_rows,), gradients and hessians have the shape of ``raw``.
    """

    #: name in headers
    name: ClassVar[str]

    @abstractmethod
    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        """Value, and with ``order`` 1 the gradient, and with 2 the curvature, sharing what they have in common.

        The curvature is the second derivative; for softmax it is the probabilities p, from which the
        Hessian of a row is ``diag(p) - p p'``.
        """

    @abstractmethod
    def inverse_link(self, raw: Array) -> Array:
        """The mean (n_rows,), or the probabilities (n_rows, n_classes)."""

    def value(self, y_true: Array, raw: Array) -> Array:
        """The loss of each row."""
        return self.evaluate(y_true, raw, 0)[0]

    def gradient(self, y_true: Array, raw: Array) -> Array:
        """d value / d raw."""
        gradient = self.evaluate(y_true, raw, 1)[1]
        assert gradient is not None
        return gradient

    def hessian(self, y_true: Array, raw: Array) -> Array:
        """d2 value / d raw2; for softmax its diagonal ``p * (1 - p)``."""
        curvature = self.evaluate(y_true, raw, 2)[2]
        assert curvature is not None
        return curvature


class HalfSquaredError(Loss):
    """``(raw - y)**2 / 2``."""

    name = "half_squared_error"

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        error = raw - y_true
        value = np.square(error)
        value *= 0.5
        return value, error if order else None, np.ones_like(error) if order > 1 else None

    def inverse_link(self, raw: Array) -> Array:
        return raw


class Logistic(Loss):
    """``log(1 + exp(raw)) - y * raw`` with y 0 or 1.

    With z = raw for y = 0 and -raw for y = 1 the loss is log(1 + exp(z)).  log1p(e) for e in [0, 1] is
    ``log(u) + (e - (u - 1)) / u`` with u = 1 + e: as accurate, and 3.3 ns a row where NumPy's log1p takes 5.8.
    """

    name = "logistic"

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        sign = y_true * -2.0
        sign += 1.0
        z = raw * sign
        e = np.abs(z)
        np.negative(e, out=e)
        np.exp(e, out=e)
        u = e + 1.0
        q = 1.0 / u
        value = u - 1.0
        np.subtract(e, value, out=value)
        value *= q
        np.log(u, out=u)
        value += u
        np.maximum(z, 0.0, out=u)
        value += u
        if not order:
            return value, None, None
        e *= q
        gradient = np.where(z > 0.0, q, e)
        gradient *= sign
        if order > 1:
            e *= q
        return value, gradient, e if order > 1 else None

    def inverse_link(self, raw: Array) -> Array:
        e = np.exp(-np.abs(raw))
        probability: Array = np.where(raw < 0.0, e, 1.0) / (1.0 + e)
        return probability


class Softmax(Loss):
    """``logsumexp(raw) - raw[y]`` with y a class code.

    The other classes' share is summed without the row's own, so neither the value nor the gradient of a row
    that is right by far cancels to zero.
    """

    name = "softmax"

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        rows, codes = np.arange(len(y_true)), y_true.astype(np.intp)
        top = raw.max(axis=1)
        e = raw - top[:, None]
        gap = e[rows, codes]
        np.exp(e, out=e)
        own = e[rows, codes]
        e[rows, codes] = 0.0
        others = e.sum(axis=1)
        value = np.log1p(others + (own - 1.0)) - gap
        if not order:
            return value, None, None
        total = others + own
        e /= total[:, None]
        probability = e.copy(order="K") if order > 1 else None
        if probability is not None:
            probability[rows, codes] = own / total
        e[rows, codes] = -others / total
        return value, e, probability

    def hessian(self, y_true: Array, raw: Array) -> Array:
        probability = self.inverse_link(raw)
        diagonal: Array = probability * (1.0 - probability)
        return diagonal

    def inverse_link(self, raw: Array) -> Array:
        e: Array = raw - raw.max(axis=1)[:, None]
        np.exp(e, out=e)
        e /= e.sum(axis=1)[:, None]
        return e


class Poisson(Loss):
    """``exp(raw) - y * raw``; infinite where exp overflows (raw above 709)."""

    name = "poisson"

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        mean = self.inverse_link(raw)
        value = y_true * raw
        np.subtract(mean, value, out=value)
        return value, mean - y_true if order else None, mean if order > 1 else None

    def inverse_link(self, raw: Array) -> Array:
        with np.errstate(over="ignore"):
            mean: Array = np.exp(raw)
        return mean


class Gamma(Loss):
    """``raw + y * exp(-raw)``, the likelihood of a gamma distribution with log link."""

    name = "gamma"

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        with np.errstate(over="ignore"):
            ratio = y_true * np.exp(-raw)
        return raw + ratio, 1.0 - ratio if order else None, ratio if order > 1 else None

    def inverse_link(self, raw: Array) -> Array:
        return poisson.inverse_link(raw)


class Tweedie(Loss):
    """The likelihood of a Tweedie distribution of variance ``mean**power``, 1 < power < 2, with log link."""

    name = "tweedie"

    def __init__(self, power: float = 1.5) -> None:
        self.power = power

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        one, two = 1.0 - self.power, 2.0 - self.power
        with np.errstate(over="ignore", invalid="ignore"):
            mean, share = np.exp(two * raw), y_true * np.exp(one * raw)
            value = mean / two - share / one
            return value, mean - share if order else None, two * mean - one * share if order > 1 else None

    def inverse_link(self, raw: Array) -> Array:
        return poisson.inverse_link(raw)


class _OfError(Loss):
    """A loss of ``raw - y``."""

    def inverse_link(self, raw: Array) -> Array:
        return raw


class Huber(_OfError):
    """Squared up to an error of ``delta``, linear beyond it (Huber, Ann. Math. Statist. 35, 1964)."""

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = delta

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        error = raw - y_true
        near = np.clip(error, -self.delta, self.delta)
        value = near * (error - near / 2)
        inside = (np.abs(error) <= self.delta).astype(np.float64) if order > 1 else None
        return value, near if order else None, inside


class Quantile(_OfError):
    """Pinball loss of the ``alpha`` quantile (Koenker and Bassett, Econometrica 46, 1978)."""

    name = "quantile"

    def __init__(self, alpha: float = 0.5) -> None:
        self.alpha = alpha

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        error = raw - y_true
        gradient = np.where(error >= 0, 1.0 - self.alpha, -self.alpha)
        return gradient * error, gradient if order else None, np.zeros_like(error) if order > 1 else None


class AbsoluteError(_OfError):
    """``abs(raw - y)``."""

    name = "absolute"

    def evaluate(self, y_true: Array, raw: Array, order: int = 2) -> Evaluation:
        error = raw - y_true
        return np.abs(error), np.sign(error) if order else None, np.zeros_like(error) if order > 1 else None


half_squared_error = HalfSquaredError()
logistic = Logistic()
softmax = Softmax()
poisson = Poisson()

#: by name, with their default parameters
LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        half_squared_error,
        logistic,
        softmax,
        poisson,
        Gamma(),
        Tweedie(),
        Huber(),
        Quantile(),
        AbsoluteError(),
    )
}
