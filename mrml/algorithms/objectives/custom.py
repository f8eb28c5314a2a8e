"""A loss of the user's own: a Python function by its import path.

``f(y_true, raw_prediction)`` or ``f(y_true, raw_prediction, weight)`` returns gradient and hessian, each of the shape
(n_rows,) of its arguments, float64, as XGBoost's and LightGBM's scikit-learn interfaces have it.  With two arguments
the results are multiplied with the weights, with three (``weight`` may be None) the function does that.  It is called
block by block, so a row's result must depend on that row alone.  There is no loss to show: ``--metric`` says what is.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mrml import losses, names
from mrml.algorithms.objectives.base import MIN_HESSIAN, Bounds, Objective, Range
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.schema import Design


class CustomObjective(Objective):
    """The function at ``module:name``; predictions are the raw ones, whose beginning is 0."""

    name = "custom"
    loss = losses.half_squared_error  # for the inverse link: the raw prediction itself

    def __init__(self, path: str) -> None:
        self.path = path

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself, imported when it is needed: a model predicts without it."""
        module, _, name = self.path.partition(":")
        names.require(self.path, self._place)
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever a module of the user's own does when it is imported
            finding = f"cannot be imported: {type(error).__name__}: {error}"
            raise ConfigError(self._place, finding, "give it as my_module:my_function") from error
        if not callable(found):
            raise ConfigError(self._place, "is not a function", "give it as my_module:my_function")
        result: Callable[..., Any] = found
        return result

    @property
    def _place(self) -> str:
        return f"objective {self.path}"

    @cached_property
    def takes_weight(self) -> bool:
        """Whether the function wants the weights."""
        return len(inspect.signature(self.function).parameters) >= 3

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.zeros(1)

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return self.weighted(y, raw, None)

    def weighted(self, y: Array, raw: Array, weight: Array | None) -> tuple[Array, Array]:
        """Gradients and hessians (1, n_rows), times ``weight`` (n_rows,) or None."""
        given = (y, raw[0], weight) if self.takes_weight else (y, raw[0])
        found = self.function(*(None if a is None else a.copy() for a in given))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise ConfigError(self._place, f"returned {type(found).__name__}", "return gradient, hessian")
        g, h = (self._checked(a, name, y.shape) for a, name in zip(found, ("gradient", "hessian"), strict=True))
        if (h < 0).any():
            raise ConfigError(self._place, f"returned a hessian of {h.min():g}", "return hessians of at least 0")
        if weight is not None and not self.takes_weight:
            g, h = g * weight, h * weight
        return g[None], np.maximum(h, MIN_HESSIAN)[None]

    def _checked(self, values: Any, name: str, shape: tuple[int, ...]) -> Array:
        try:
            out = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(self._place, f"returned a {name} that is not an array of numbers: {error}") from error
        if out.shape != shape:
            finding = f"returned a {name} of shape {out.shape} for rows of shape {shape}"
            raise ConfigError(self._place, finding, "return one number for each row")
        if not np.isfinite(out).all():
            row = int(np.argmin(np.isfinite(out)))
            finding = f"returned a {name} of {out[row]} for row {row} of a block"
            raise ConfigError(self._place, finding, "return finite numbers")
        return out

    def values(self, y: Array, raw: Array) -> Array:
        """Nothing is known of the loss."""
        return np.zeros(len(y))

    def bounds(self, known: Range) -> Bounds | None:
        return None
