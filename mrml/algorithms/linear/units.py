"""Three sets of units of a linear model's coefficients, and how sums go from one to the other.

solver    theta (n_outputs, n_free): coefficients of the standardised columns ``z = (x - center) / scale``, then the
          intercept where one is fitted.  Gradients, Hessians, tolerances and checkpoints are in these.
kernel    (n_outputs, n_features + 1): coefficients of ``x - center``, or of ``x`` as it is (sparse, so that zeros stay
          zeros; or dense and near the origin, which saves a pass over the chunk), the intercept last.
columns   coef (n_outputs, n_features) and intercept (n_outputs,) of ``x``: what a model holds.

Without an intercept the raw prediction is ``z @ theta``; or ``(x / scale) @ theta = z @ theta + shift @ theta`` with
``shift = center / scale`` when the columns are to be taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrml.arrays import Array

#: relative error of a mean, generously: a column whose spread is below this share of its centre is a constant
NOISE = 1e-14
#: centres that are at most this many spreads from 0 need not be subtracted from every row
NEAR = 64.0


@dataclass(frozen=True)
class Units:
    """``center``, ``scale``, ``shift`` (n_features,) float64; ``intercept``: whether one is fitted."""

    center: Array
    scale: Array
    shift: Array
    intercept: bool

    @property
    def near_origin(self) -> bool:
        """Whether raw predictions of ``x`` as it is lose at most two digits of float64 to the columns' centres."""
        return bool((np.abs(self.center) <= NEAR * self.scale).all())

    def augmented(self, theta: Array) -> Array:
        """(..., n_free) -> (..., n_features + 1): coefficients of z and the intercept."""
        if self.intercept:
            return theta
        return np.concatenate([theta, (theta @ self.shift)[..., None]], axis=-1)

    def to_kernel(self, theta: Array, as_is: bool) -> Array:
        """Coefficients for a kernel, (..., n_features + 1)."""
        coef: Array = self.augmented(theta).copy()
        coef[..., :-1] /= self.scale
        if as_is:
            coef[..., -1] -= coef[..., :-1] @ self.center
        return coef

    def gradient(self, kernel: Array, as_is: bool) -> Array:
        """A kernel's gradient (..., n_features + 1), with respect to the coefficients of z and the intercept."""
        out: Array = kernel.copy()
        if as_is:
            out[..., :-1] -= out[..., -1:] * self.center
        out[..., :-1] /= self.scale
        return out

    def hessian(self, kernel: Array) -> Array:
        """A dense kernel's Hessian (K, P, K, P), with respect to the coefficients of z and the intercept."""
        factor = np.append(1.0 / self.scale, 1.0)
        out: Array = kernel * factor[:, None, None] * factor
        return out

    def without_noise(self, hessian: Array) -> Array:
        """The Hessian of :meth:`hessian` with constant columns taken out of it.

        In a constant column ``x - center`` is what rounding left in the centre, and a solver would make much of it.
        """
        diagonal = np.einsum("kiki->i", hessian)
        constant = diagonal[:-1] <= diagonal[-1] * (NOISE * self.center / self.scale) ** 2
        if not constant.any():
            return hessian
        keep = np.append(~constant, True)
        return np.where(keep[:, None, None] & keep, hessian, 0.0)

    def free_gradient(self, gradient: Array) -> Array:
        """(..., n_features + 1) -> (..., n_free): the chain rule of :meth:`augmented`."""
        if self.intercept:
            return gradient
        out: Array = gradient[..., :-1] + gradient[..., -1:] * self.shift
        return out

    def free_hessian(self, hessian: Array) -> Array:
        """(K, P, K, P) -> (K, n_free, K, n_free)."""
        if self.intercept:
            return hessian
        half = self.free_gradient(hessian)
        return np.moveaxis(self.free_gradient(np.moveaxis(half, 1, -1)), -1, 1)

    def columns(self, theta: Array) -> tuple[Array, Array]:
        """Coefficients and intercepts of the columns of X."""
        coef = self.to_kernel(theta, as_is=True)
        return coef[..., :-1].copy(), coef[..., -1].copy()
