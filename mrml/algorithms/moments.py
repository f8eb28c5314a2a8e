"""Weight, mean and scatter of columns, merged without cancellation.

Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", COMPSTAT 1982,
with the mean as an unevaluated sum of two floats: a mean of 1e6 rounded to one float costs the scatter of a column of
unit variance five digits, since the means of two parts differ by so much less than they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.statistic import Statistic


class Moments(Statistic):
    """``weight``; mean (d,) as ``mean + rest``; ``scatter``: weighted squared distance from the mean, all columns."""

    def __init__(self, weight: float = 0.0, mean: Any = (), scatter: float = 0.0, rest: Any = None) -> None:
        self.weight, self.mean, self.scatter = weight, np.asarray(mean, np.float64), scatter
        self.rest: Array = np.zeros_like(self.mean) if rest is None else rest

    @staticmethod
    def of(z: Array, weight: Array) -> Moments:
        """Those of rows z (n, d) float64, which are overwritten, with weight (n,) float64."""
        total = float(weight.sum())
        if not total > 0:
            return Moments()
        mean = weight @ z / total
        z -= mean
        rest = weight @ z / total
        z -= rest
        return Moments(total, mean, float(weight @ np.einsum("ij,ij->i", z, z)), rest)

    def merge(self, other: Moments) -> None:
        total = self.weight + other.weight
        if not other.weight > 0:
            return
        if not self.weight > 0:
            self.weight, self.mean, self.rest, self.scatter = other.weight, other.mean, other.rest, other.scatter
            return
        delta = (other.mean - self.mean) + (other.rest - self.rest)
        self.scatter += other.scatter + float(delta @ delta) * (self.weight * other.weight / total)
        self.mean, self.rest = _two_sum(self.mean, self.rest + delta * (other.weight / total))
        self.weight = total

    def to_wire(self) -> Any:
        return {"weight": self.weight, "mean": self.mean, "scatter": self.scatter, "rest": self.rest}

    @classmethod
    def from_wire(cls, tree: Any) -> Moments:
        return cls(**tree)

    def n_bytes(self) -> int:
        return 2 * self.mean.nbytes


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and what the rounding left out (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)
