"""Ranking within groups: NDCG and the gradients of lambdarank.

A group is a run of rows; ``starts`` (n_groups,) int64 are their first rows.  Relevance r gains ``2**r - 1``, place i
(from 0) discounts by ``1 / log2(i + 2)``; rows of equal score stand in the order of the data.

Lambdarank is LightGBM's LambdarankNDCG (Burges, "From RankNet to LambdaRank to LambdaMART", MSR-TR-2010-82), with exact
sigmoids where LightGBM looks them up in a table.  NumPy alone: exp of numba has other last bits.
"""

from __future__ import annotations

import numpy as np

from mrml.arrays import Array


def starts_of(codes: Array) -> Array:
    """(n_groups,) int64: where runs of equal values begin."""
    return np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)])


def sizes_of(starts: Array, n_rows: int) -> Array:
    """(n_groups,) int64: rows of each group."""
    return np.diff(np.append(starts, n_rows))


def _discounts(n: int) -> Array:
    out: Array = 1.0 / np.log2(np.arange(n) + 2.0)
    return out


def _best(gains: Array, at: int) -> float:
    """The most that the first ``at`` places can gain."""
    top = np.sort(gains)[::-1][:at]
    return float((top * _discounts(len(top))).sum())


def ndcg(y: Array, scores: Array, starts: Array, at: int) -> Array:
    """(n_groups,) float64: NDCG of the first ``at`` places, 0 for all; 1 for a group without a relevant row."""
    out = np.ones(len(starts))
    for k, (first, n) in enumerate(zip(starts.tolist(), sizes_of(starts, len(y)).tolist(), strict=True)):
        gains = np.exp2(y[first : first + n]) - 1.0
        best = _best(gains, at or n)
        if best > 0:
            order = np.argsort(-scores[first : first + n], kind="stable")[: at or n]
            out[k] = float((gains[order] * _discounts(len(order))).sum()) / best
    return out


def lambdarank(y: Array, scores: Array, starts: Array, truncation: int, norm: bool) -> tuple[Array, Array]:
    """Gradients and hessians (n_rows,) float64."""
    g, h = np.zeros(len(y)), np.zeros(len(y))
    for first, n in zip(starts.tolist(), sizes_of(starts, len(y)).tolist(), strict=True):
        part = slice(first, first + n)
        order = np.argsort(-scores[part], kind="stable")
        found = _pairs(y[part][order], scores[part][order], truncation, norm)
        if found is not None:
            g[first + order], h[first + order] = found
    return g, h


def _pairs(y: Array, scores: Array, truncation: int, norm: bool) -> tuple[Array, Array] | None:
    """Of one group in the order of its scores; None where no two rows can change places to any effect."""
    n, top = len(y), min(truncation, len(y) - 1)
    gains, discounts = np.exp2(y) - 1.0, _discounts(len(y))
    best = _best(gains, truncation)
    if best <= 0 or top < 1:
        return None
    sign = np.sign(y[:top, None] - y[None, :])  # 1: the row in front is the better one
    sign[np.arange(n)[None, :] <= np.arange(top)[:, None]] = 0.0
    ahead = sign * (scores[:top, None] - scores[None, :])
    change = np.abs(gains[:top, None] - gains) * np.abs(discounts[:top, None] - discounts) / best
    if norm and scores[0] != scores[-1]:
        change /= 0.01 + np.abs(ahead)
    change *= np.abs(sign)
    e = np.exp(-np.abs(ahead))
    wrong = np.where(ahead > 0, e, 1.0) / (1.0 + e)
    pull, bend = wrong * change, wrong * (1.0 - wrong) * change
    g, h = (sign * pull).sum(axis=0), bend.sum(axis=0)
    g[:top] -= (sign * pull).sum(axis=1)
    h[:top] += bend.sum(axis=1)
    total = 2.0 * pull.sum()
    factor = np.log2(1.0 + total) / total if norm and total > 0 else 1.0
    return g * factor, h * factor
