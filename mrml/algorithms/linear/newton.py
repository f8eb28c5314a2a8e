"""The inverse of a Hessian that may be singular.

The Hessian is scaled to a unit diagonal (Jacobi), so that columns under different penalties weigh alike, and
decomposed; directions whose eigenvalue is at most ``RANK`` of the largest are dropped.  A Newton step is then the
one of least norm in the scaled units: columns that are copies of one another share their coefficient, a constant
column gets none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mrml.arrays import Array

#: Exactly collinear columns leave eigenvalues of 1e-16 to 1e-14, from rounding; a direction that is kept at 1e-12 has
#: a hundred times that.
RANK = 1e-12


class Inverse(NamedTuple):
    """``matrix`` (n, n) float64; ``dropped`` directions; ``involved`` (n,) bool, the parameters that they move."""

    matrix: Array
    dropped: int
    involved: Array


def pseudo_inverse(hessian: Array) -> Inverse:
    """The pseudo-inverse of a symmetric (n, n) hessian without negative eigenvalues."""
    diagonal = np.diag(hessian)
    root = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian / root[:, None] / root)
    keep = values > RANK * values[-1] if values[-1] > 0.0 else np.zeros(len(values), bool)
    scaled = vectors[:, keep] / np.sqrt(values[keep])
    share = np.square(vectors[:, ~keep]).sum(axis=1)
    return Inverse((scaled @ scaled.T) / root[:, None] / root, int((~keep).sum()), share > 1e-2)


def free_gauge(hessian: Array) -> Array:
    """A softmax Hessian (K, Q, K, Q) made regular along the shifts that change no probability.

    Adding the same vector to every class changes only the penalty, and the gradient has no part along it, so the
    step is the same; what is dropped afterwards are true dependencies between columns.
    """
    n_outputs, size = hessian.shape[:2]
    if n_outputs == 1:
        return hessian
    mean = np.einsum("kiki->i", hessian) / n_outputs
    regular: Array = hessian.copy()
    for k in range(n_outputs):
        for other in range(n_outputs):
            regular[k, range(size), other, range(size)] += mean
    return regular
