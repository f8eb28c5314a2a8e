"""Limited-memory BFGS: the direction and its memory (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4).

Where the recursion begins decides how many rounds there are: with the inverse Hessian of the first point 2,000,000 x 28
logistic rows take 7 rounds, of which one costs as much as Newton's; with a bound of its diagonal they take 32.
At that point every row has the same probabilities p, so the softmax Hessian is a Kronecker product, of
``diag(p) - p p'`` and one Gram matrix of the rows: it is inverted eigenvalue by eigenvalue of the former
(Boehning 1992, section 3, does so with a bound).

The memory is part of the State, as two lists of the last steps and the changes of the gradient along them, oldest
first: a run that is resumed goes on with the same bits.  They are arrays of their own, so that a round writes one more
and copies none: of 200,000 parameters the twenty pairs take 64 MB.  Tasks do not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mrml.algorithms.linear.newton import pseudo_inverse
from mrml.arrays import Array

#: A pair is kept when its curvature exceeds this share of the step's and the change's lengths.
CURVATURE = 1e-10

#: the memory: steps and changes of the gradient
Pairs = tuple[Sequence[Array], Sequence[Array]]


class Metric(NamedTuple):
    """The inverse of a Kronecker product and a penalty; what it drops as in
    :class:`mrml.algorithms.linear.newton.Inverse`.

    ``basis`` (K, K) the eigenvectors of the first factor in columns; ``inverse`` (K, q, q) one for each of them;
    ``involved`` (q,) bool.
    """

    basis: Array
    inverse: Array
    dropped: int
    involved: Array


def first_metric(classes: Array, gram: Array, penalty: Array) -> Metric:
    """The inverse of ``kron(classes, gram) + diag(penalty of each class)``.

    Along a vector that ``classes`` (K, K) takes to 0 (a shift of every class, which changes no probability) the gram
    (q, q) counts by its diagonal, as in :func:`mrml.algorithms.linear.newton.free_gauge`.
    """
    values, basis = np.linalg.eigh(classes)
    mean = float(values.sum()) / len(values)
    found = []
    for value in values:
        free = value <= 1e-9 * values[-1]
        found.append(pseudo_inverse((mean * np.diag(np.diag(gram)) if free else value * gram) + np.diag(penalty)))
    involved = np.any([f.involved for f in found], axis=0)
    return Metric(basis, np.stack([f.matrix for f in found]), sum(f.dropped for f in found), involved)


def through_metric(basis: Array, inverse: Array, gradient: Array) -> Array:
    """A Metric times a flat gradient (K * q,)."""
    turned = basis.T @ gradient.reshape(len(basis), -1)
    product: Array = (basis @ np.stack([one @ row for one, row in zip(inverse, turned, strict=True)])).ravel()
    return product


def lbfgs_direction(
    gradient: Array, steps: Sequence[Array], changes: Sequence[Array], begin: Callable[[Array], Array]
) -> Array:
    """The two-loop recursion.

    Parameters
    ----------
    gradient : (n,) float64.
    steps, changes : n_pairs times (n,) float64, oldest first; n_pairs may be 0.
    begin : an inverse Hessian to begin with, times a vector (n,).
    """
    q: Array = -gradient
    if not len(steps):
        return begin(q)
    products = [np.einsum("j,j", s, c) for s, c in zip(steps, changes, strict=True)]
    shares = np.empty(len(steps))
    for i in reversed(range(len(steps))):
        shares[i] = (steps[i] @ q) / products[i]
        q -= shares[i] * changes[i]
    q = begin(q)
    q *= products[-1] / (changes[-1] @ begin(changes[-1]))
    for i in range(len(steps)):
        q += (shares[i] - (changes[i] @ q) / products[i]) * steps[i]
    return q


def remember(pairs: Pairs, step: Array, change: Array, memory: int) -> Pairs:
    """The memory with one more pair, the oldest forgotten; as it was when the pair shows no curvature."""
    product = float(step @ change)
    if not product > CURVATURE * float(np.sqrt((step @ step) * (change @ change))):
        return pairs
    return [*pairs[0], step][-memory:], [*pairs[1], change][-memory:]
