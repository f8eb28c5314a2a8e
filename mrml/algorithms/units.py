"""Three sets of units of a linear model's coefficients, and how sums go from one to the other.

solver    theta (n_outputs, n_free): coefficients of the standardised columns ``z = (x - center) / scale``, then the
          intercept where one is fitted.  Gradients, Hessians, tolerances and checkpoints are in these.
kernel    (n_outputs, n_features + 1): coefficients of ``x - center`` (dense) or of ``x`` (sparse, so that zeros stay
          zeros), the intercept last.
columns   coef (n_outputs, n_features) and intercept (n_outputs,) of ``x``: what a model holds.

Without an intercept the raw prediction is ``z @ theta``; or ``(x / scale) @ theta = z @ theta + shift @ theta`` with
``shift = center / scale`` when the columns are to be taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrml.data.block import Array


@dataclass(frozen=True)
class Units:
    """``center``, ``scale``, ``shift`` (n_features,) float64; ``intercept``: whether one is fitted."""

    center: Array
    scale: Array
    shift: Array
    intercept: bool

    def augmented(self, theta: Array) -> Array:
        """(..., n_free) -> (..., n_features + 1): coefficients of z and the intercept."""
        if self.intercept:
            return theta
        return np.concatenate([theta, (theta @ self.shift)[..., None]], axis=-1)

    def to_kernel(self, theta: Array, sparse: bool) -> Array:
        """Coefficients for a kernel, (..., n_features + 1)."""
        coef: Array = self.augmented(theta).copy()
        coef[..., :-1] /= self.scale
        if sparse:
            coef[..., -1] -= coef[..., :-1] @ self.center
        return coef

    def gradient(self, kernel: Array, sparse: bool) -> Array:
        """A kernel's gradient (..., n_features + 1), with respect to the coefficients of z and the intercept."""
        out: Array = kernel.copy()
        if sparse:
            out[..., :-1] -= out[..., -1:] * self.center
        out[..., :-1] /= self.scale
        return out

    def hessian(self, kernel: Array) -> Array:
        """A dense kernel's Hessian (K, P, K, P), with respect to the coefficients of z and the intercept."""
        factor = np.append(1.0 / self.scale, 1.0)
        out: Array = kernel * factor[:, None, None] * factor
        return out

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
        coef = self.to_kernel(theta, sparse=True)
        return coef[..., :-1].copy(), coef[..., -1].copy()
