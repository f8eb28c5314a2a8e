"""Limited-memory BFGS: the direction and its memory (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4).

The memory is part of the State, as two arrays whose rows are the last steps and the changes of the gradient along
them, oldest first: a run that is resumed goes on with the same bits.
"""

from __future__ import annotations

import numpy as np

from mrml.data.block import Array

#: A pair is kept when its curvature exceeds this share of the step's and the change's lengths.
CURVATURE = 1e-10


def lbfgs_direction(gradient: Array, steps: Array, changes: Array, diagonal: Array) -> Array:
    """The two-loop recursion.

    Parameters
    ----------
    gradient : (n,) float64.
    steps, changes : (n_pairs, n) float64, oldest first; n_pairs may be 0.
    diagonal : (n,) float64, second derivatives to begin with: a bound of the loss's, and the penalty's.
    """
    q = -gradient
    if not len(steps):
        return q / diagonal
    products = np.einsum("ij,ij->i", steps, changes)
    shares = np.empty(len(steps))
    for i in reversed(range(len(steps))):
        shares[i] = (steps[i] @ q) / products[i]
        q -= shares[i] * changes[i]
    q /= diagonal
    q *= products[-1] / (changes[-1] @ (changes[-1] / diagonal))
    for i in range(len(steps)):
        q += (shares[i] - (changes[i] @ q) / products[i]) * steps[i]
    return q


def remember(steps: Array, changes: Array, step: Array, change: Array, memory: int) -> tuple[Array, Array]:
    """The memory with one more pair, the oldest forgotten; as it was when the pair shows no curvature."""
    product = float(step @ change)
    if not product > CURVATURE * float(np.sqrt((step @ step) * (change @ change))):
        return steps, changes
    return np.vstack([steps, step])[-memory:], np.vstack([changes, change])[-memory:]
