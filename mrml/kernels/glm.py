"""One pass over a block for generalised linear models: loss, gradient and Hessian of several coefficient vectors.

For trial t and class k, ``raw = X @ coef[t, k] + intercept[t, k] + offset``; with ``g`` the weighted gradient of
the loss and ``h`` its weighted curvature the sums are

    loss = sum value,   gradient = [X' g, sum g],   Hessian = [X, 1]' diag(h) [X, 1]

(McCullagh and Nelder, Generalized Linear Models, 1989, section 2.5: IRLS is Newton's method for these links).
The softmax Hessian of classes k and l is ``[X, 1]' diag(p_k (1{k=l} - p_l)) [X, 1]`` (Boehning 1992, eq. 3).

Measured on 65,536 x 28 float32, AVX2, one thread: a gradient costs 29 ns a row, the Hessian 35 more, of which the
Gram product (BLAS syrk at four fifths of the peak) is 24; no loop written by hand comes near that.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mrml.arrays import Array
from mrml.losses import Loss

Chunks = Iterable[tuple[slice, Array]]


def chunk_rows(n_features: int, n_parameters: int = 0) -> int:
    """Rows of a chunk: a power of two from 64 to 4,096 that keeps their arrays within 1 MB.

    ``n_parameters`` is the length of a row's outer product for the softmax Hessian.  It depends on the shape only:
    the order of additions follows the chunks.
    """
    rows = 4096
    while rows > 64 and rows * max(n_features, n_parameters, 1) * 8 > 1 << 20:
        rows //= 2
    return rows


def empty(coef: Array, order: int) -> dict[str, Array]:
    """Zero sums for coefficients (n_trials, n_outputs, n_features + 1); the Hessian is of one trial."""
    sums = {"loss": np.zeros(coef.shape[0])}
    if order:
        sums["gradient"] = np.zeros(coef.shape)
    if order > 1:
        sums["hessian"] = np.zeros(coef.shape[1:] * 2)
    return sums


def dense_pass(
    loss: Loss,
    chunks: Chunks,
    y: Array,
    weight: Array | None,
    offset: Array | None,
    coef: Array,
    order: int,
    gram: bool = False,
) -> dict[str, Array]:
    """The sums over chunks (rows, (n, n_features) float64), whose arrays it may overwrite.

    Parameters
    ----------
    y, weight, offset : (n_rows,) float64; weight and offset may be None.
    coef : (n_trials, n_outputs, n_features + 1) float64, the intercept last.
    order : 0 loss; 1 and gradient; 2 and Hessian (n_outputs, n_features + 1, n_outputs, n_features + 1).
    gram : in the place of a Hessian ``[X, 1]' diag(weight) [X, 1]`` (1, n_features + 1, 1, n_features + 1).
    """
    sums = empty(coef, 1 if gram else order)
    if gram:
        order, sums["hessian"] = 1, np.zeros((1, coef.shape[-1]) * 2)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, x in chunks:
            raw = _raw(x, coef, None if offset is None else offset[rows])
            w = None if weight is None else weight[rows]
            gradient, curvature = _evaluate(loss, y[rows], w, raw, order, sums["loss"])
            if gradient is not None:
                sums["gradient"][..., :-1] += _times(gradient, x).reshape(*coef.shape[:2], -1)
                sums["gradient"][..., -1] += np.add.reduce(gradient, axis=-1)
            if gram:
                curvature = (np.ones(len(x)) if w is None else w)[None]
            if curvature is not None:
                _add_hessian(sums["hessian"], x, w, curvature)
    return sums


def _raw(x: Array, coef: Array, offset: Array | None) -> Array:
    """Raw predictions (n_trials, n_outputs, n) of a chunk; one row of coefficients is a gemv."""
    flat = coef.reshape(-1, coef.shape[-1])
    if len(flat) == 1:
        raw = (x @ flat[0, :-1])[None]
        raw += flat[0, -1]
    else:
        raw = flat[:, :-1] @ x.T
        raw += flat[:, -1:]
    if offset is not None:
        raw += offset
    return raw.reshape(*coef.shape[:2], -1)


def _times(gradient: Array, x: Array) -> Array:
    flat = gradient.reshape(-1, gradient.shape[-1])
    product: Array = flat[0] @ x if len(flat) == 1 else flat @ x
    return product


def _evaluate(
    loss: Loss, y: Array, weight: Array | None, raw: Array, order: int, total: Array
) -> tuple[Array | None, Array | None]:
    """Add each trial's weighted loss to ``total``; gradient (n_trials, n_outputs, n), curvature (n_outputs, n).

    The gradient is weighted, and so is a curvature of one output; softmax probabilities are not.
    """
    gradients: list[Array] = []
    curvature = None
    for t, one in enumerate(raw):
        value, g, h = loss.evaluate(y, one[0] if len(one) == 1 else one.T, order)
        total[t] += np.add.reduce(value) if weight is None else value @ weight
        if g is not None:
            gradients.append(g.T.reshape(one.shape))
        if h is not None:
            curvature = h.T.reshape(one.shape)
    if weight is not None:
        for g in gradients:
            g *= weight
        if curvature is not None and len(curvature) == 1:
            curvature *= weight
    if not gradients:
        return None, None
    return gradients[0][None] if len(gradients) == 1 else np.stack(gradients), curvature


def _add_hessian(total: Array, x: Array, weight: Array | None, curvature: Array) -> None:
    """Add a chunk's Hessian to (n_outputs, P, n_outputs, P)."""
    if len(curvature) > 1:
        _add_softmax(total, x, weight, curvature)
        return
    hessian = total[0, :, 0]
    root = np.sqrt(curvature[0])
    np.multiply(x, root[:, None], out=x)
    hessian[:-1, :-1] += x.T @ x
    cross = root @ x
    hessian[:-1, -1] += cross
    hessian[-1, :-1] += cross
    hessian[-1, -1] += np.add.reduce(curvature[0])


def _add_softmax(total: Array, x: Array, weight: Array | None, probability: Array) -> None:
    """One syrk of the rows ``p outer [x, 1]`` gives M[k, l] = sum p_k p_l x x'.

    The Hessian is -M off the diagonal and ``sum over l != k of M[k, l]`` on it, since the probabilities add up to 1: no
    subtraction of near equals.
    """
    n_outputs, n = probability.shape
    size = x.shape[1] + 1
    outer = np.empty((n, n_outputs, size))
    p = probability.T if weight is None else probability.T * np.sqrt(weight)[:, None]
    np.multiply(p[:, :, None], x[:, None, :], out=outer[:, :, :-1])
    outer[:, :, -1] = p
    flat = outer.reshape(n, -1)
    products = (flat.T @ flat).reshape(n_outputs, size, n_outputs, size)
    for k in range(n_outputs):
        for other in range(n_outputs):
            if other != k:
                total[k, :, k] += products[k, :, other]
                total[k, :, other] -= products[k, :, other]


def sparse_pass(
    loss: Loss,
    csr: tuple[Array, Array, Array],
    y: Array,
    weight: Array | None,
    offset: Array | None,
    coef: Array,
    order: int,
) -> dict[str, Array]:
    """The same sums, to order 1, over rows in compressed form (indptr, indices, data); X is never dense."""
    indptr, indices, data = csr
    sums = empty(coef, order)
    lengths = np.diff(indptr)
    with np.errstate(over="ignore", invalid="ignore"):
        raw = np.empty((*coef.shape[:2], len(lengths)))
        for where in np.ndindex(*coef.shape[:2]):
            raw[where] = row_sums(data * coef[where][indices], indptr)
            raw[where] += coef[where][-1]
        if offset is not None:
            raw += offset
        gradient, _ = _evaluate(loss, y, weight, raw, order, sums["loss"])
        if gradient is not None:
            for where in np.ndindex(*coef.shape[:2]):
                entries = np.repeat(gradient[where], lengths)
                entries *= data
                sums["gradient"][where][:-1] = np.bincount(indices, entries, coef.shape[2] - 1)
            sums["gradient"][..., -1] = gradient.sum(axis=-1)
    return sums


def row_sums(entries: Array, indptr: Array) -> Array:
    """Sums (n_rows,) of each row's entries; 0 for a row without any."""
    sums = np.zeros(len(indptr) - 1)
    filled = indptr[1:] > indptr[:-1]
    if filled.any():
        sums[filled] = np.add.reduceat(entries, indptr[:-1][filled])
    return sums
