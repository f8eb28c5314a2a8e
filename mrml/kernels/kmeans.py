"""k-means over runs of rows: nearest centres, sums per centre, and k-means++ on a few weighted points.

A squared distance is ``|x|^2 - 2 x.c + |c|^2``, and the row's own term does not change which centre is nearest, so
a run of rows needs one matrix product::

    score = x @ slopes.T + constants        slopes = -2 c,  constants = |c|^2
    label = argmin(score)                   the lower centre wins a tie

Callers move rows and centres to a common origin near the data first: the formula loses digits in proportion to
|x|^2 over the distance.  :mod:`mrml.kernels.kmeans_numba` holds the numba twins of ``nearest`` and ``sums``.

Measured on one core (500,000 rows x 64 float32, k = 50): product 38 ms, constants 4, argmin 4, moving the origin 9,
sums 22 here and 5 in numba.  Sums by a one-hot product or ``add.reduceat`` took 80 ms; gathering rows by ``x[own]``
36 ms against 14 of ``take``; a fresh array for every product 80 ms against 38, most of it page faults: hence scratch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mrml.arrays import Float, Float64, Int64
from mrml.kernels.random import rng

#: Rows whose sums are taken at a time: 32,768 x 64 float64 is 16 MB at most.
SUM_ROWS = 32768
#: Products of a sparse entry and a centre held at a time: 16 MB of float64.
SPARSE_PRODUCTS = 1 << 21


class Sparse(NamedTuple):
    """Rows of a sparse matrix: ``indptr`` (n + 1,), ``indices`` (nnz,), ``data`` (nnz,) float64."""

    indptr: Int64
    indices: npt.NDArray[np.int32]
    data: Float64


class Nearest(NamedTuple):
    """``labels`` (n,) int64: the nearest centre; ``score`` (n,): its squared distance less ``|x|^2``."""

    labels: Int64
    score: Float


def chunk_rows(k: int) -> int:
    """Rows whose scores against k centres are held at a time: at most 2,048, and 1 MB of float32."""
    return max(128, min(2048, (1 << 18) // k))


def nearest(x: Float, slopes: Float, constants: Float, scratch: Float) -> Nearest:
    """The nearest centre of a run of rows.

    Parameters
    ----------
    x : (n, d) float32 or float64, about :func:`chunk_rows` rows.
    slopes, constants : (k, d) and (k,), of the dtype of x.
    scratch : (at least n * k,) of the dtype of x; overwritten.
    """
    n, k = len(x), len(slopes)
    score = np.matmul(x, slopes.T, out=scratch[: n * k].reshape(n, k))
    score += constants
    labels = score.argmin(axis=1)
    return Nearest(labels, score[np.arange(n), labels])


def nearest_sparse(x: Sparse, slopes: Float64, constants: Float64) -> Nearest:
    """The same for sparse rows, in float64; an absent entry is 0."""
    n, k = len(x.indptr) - 1, len(slopes)
    by_column = np.ascontiguousarray(slopes.T)
    labels, score = np.empty(n, np.int64), np.empty(n)
    for start, stop in _sparse_runs(x.indptr, max(1, SPARSE_PRODUCTS // k)):
        lo, hi = x.indptr[start], x.indptr[stop]
        part = np.zeros((stop - start, k))
        if hi > lo:
            filled = np.flatnonzero(np.diff(x.indptr[start : stop + 1]))
            products = by_column[x.indices[lo:hi]] * x.data[lo:hi, None]
            part[filled] = np.add.reduceat(products, x.indptr[start:stop][filled] - lo, axis=0)
        part += constants
        labels[start:stop] = part.argmin(axis=1)
        score[start:stop] = part.min(axis=1)
    return Nearest(labels, score)


def _sparse_runs(indptr: Int64, entries: int) -> list[tuple[int, int]]:
    """Runs of rows with at most so many entries each, or one row."""
    runs, start, n = [], 0, len(indptr) - 1
    while start < n:
        stop = int(np.searchsorted(indptr, indptr[start] + entries, side="right")) - 1
        stop = min(max(stop, start + 1), n)
        runs.append((start, stop))
        start = stop
    return runs


def sums(x: Float, labels: Int64, weight: Float64 | None, origin: Float64, k: int) -> tuple[Float64, Float64]:
    """Weight and weighted sum of ``x - origin`` of every centre's rows.

    Returns
    -------
    (k,) and (k, d) float64.  Rows are gathered centre by centre and summed by one product each.
    """
    d, moved = x.shape[1], bool(origin.any())
    total, sum_x = np.zeros(k), np.zeros((k, d))
    for start in range(0, len(x), SUM_ROWS):
        part = slice(start, start + SUM_ROWS)
        label, rows = labels[part], x[part]
        w = np.ones(len(rows)) if weight is None else weight[part]
        total += np.bincount(label, w, minlength=k)
        order = np.argsort(label.astype(np.uint16 if k < 65536 else np.int64), kind="stable")
        counts = np.bincount(label, minlength=k)
        ends = np.cumsum(counts)
        gathered = np.empty((counts.max(), d), x.dtype)
        wide = gathered if x.dtype == np.float64 else np.empty((counts.max(), d))
        for j in np.flatnonzero(counts):
            own = order[ends[j] - counts[j] : ends[j]]
            centred = wide[: len(own)]
            np.take(rows, own, axis=0, out=gathered[: len(own)], mode="clip")
            if wide is not gathered:
                centred[...] = gathered[: len(own)]
            if moved:
                centred -= origin
            sum_x[j] += w[own] @ centred
    return total, sum_x


def sums_sparse(x: Sparse, labels: Int64, weight: Float64 | None, k: int, d: int) -> tuple[Float64, Float64]:
    """The same of sparse rows, whose origin is 0."""
    w = np.ones(len(labels)) if weight is None else weight
    lengths = np.diff(x.indptr)
    flat = np.zeros(k * d)
    np.add.at(flat, np.repeat(labels, lengths) * d + x.indices, x.data * np.repeat(w, lengths))
    total: Float64 = np.bincount(labels, w, minlength=k).astype(np.float64, copy=False)
    return total, flat.reshape(k, d)


def distances(x: Float64, centres: Float64) -> Float64:
    """Squared distances (n, k) float64 of a few rows; both near the origin."""
    out: Float64 = x @ (-2.0 * centres.T)
    out += np.einsum("ij,ij->i", centres, centres)
    out += np.einsum("ij,ij->i", x, x)[:, None]
    np.maximum(out, 0.0, out=out)
    return out


class _Draws:
    """Uniform draws one after the other: ``rng(seed, step, 0), rng(seed, step, 1), ...``"""

    def __init__(self, seed: int, step: int) -> None:
        self.seed, self.step, self.n = seed, step, 0

    def take(self, n: int) -> Float64:
        keys = np.arange(self.n, self.n + n, dtype=np.uint64)
        self.n += n
        return rng(self.seed, self.step, keys)


def plus_plus(points: Float64, weight: Float64, k: int, draws: _Draws) -> Float64:
    """Greedy k-means++ (Arthur and Vassilvitskii, SODA 2007): k of the weighted points.

    As in scikit-learn every step draws ``2 + log(k)`` points in proportion to ``weight * distance^2`` and keeps
    the one that lowers the weighted sum most.  Points of weight zero come last, farthest first.
    """
    first = _draw(weight, draws.take(1))
    chosen = [int(first[0])]
    closest = distances(points, points[first])[:, 0]
    for _ in range(1, k):
        mass = weight * closest
        if mass.sum() > 0:
            tries = _draw(mass, draws.take(2 + int(math.log(k))))
            closer = np.minimum(distances(points, points[tries]), closest[:, None])
            best = int((weight @ closer).argmin())
            chosen.append(int(tries[best]))
            closest = closer[:, best]
        else:
            free = np.setdiff1d(np.arange(len(points)), chosen)
            chosen.append(int(free[closest[free].argmax()]))
            closest = np.minimum(closest, distances(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _draw(mass: Float64, u: Float64) -> Int64:
    """Indices drawn in proportion to mass, one for every uniform draw."""
    ends = np.cumsum(mass)
    last = int(np.flatnonzero(mass)[-1]) if mass.any() else len(mass) - 1
    drawn: Int64 = np.minimum(np.searchsorted(ends, u * ends[-1], side="right"), last)
    return drawn


def cluster(points: Float64, weight: Float64, k: int, seed: int, step: int, restarts: int, rounds: int = 50) -> Float64:
    """The best k centres of a few weighted points: restarts of k-means++ and Lloyd's rounds.

    Parameters
    ----------
    points : (n, d) float64, n >= k, all different.
    seed, step : of the draws; restart r uses ``step + r``.

    Returns
    -------
    (k, d) float64.
    """
    origin = points.mean(axis=0)
    points = points - origin
    best, least = points[:k], math.inf
    for restart in range(restarts):
        centres = plus_plus(points, weight, k, _Draws(seed, step + restart))
        centres, inertia = _lloyd(points, weight, centres, rounds)
        if inertia < least:
            best, least = centres, inertia
    found: Float64 = best + origin
    return found


def _lloyd(points: Float64, weight: Float64, centres: Float64, rounds: int) -> tuple[Float64, float]:
    inertia = math.inf
    for _ in range(rounds):
        d2 = distances(points, centres)
        labels = d2.argmin(axis=1)
        before, inertia = inertia, float(weight @ d2.min(axis=1))
        if inertia >= before:
            break
        total, sum_x = sums(points, labels, weight, np.zeros(points.shape[1]), len(centres))
        centres = np.where(total[:, None] > 0, sum_x / np.where(total > 0, total, 1.0)[:, None], centres)
    return centres, inertia
