"""Ranking by score: exact areas under curves from counts per distinct score, a range of scores at a time.

A float64 score becomes an unsigned integer of the same order, so that ranges of scores are ranges of integers.
With p_i and n_i the positive and negative rows (or weight) of the i-th distinct score, scores descending, TP_i and FP_i
the sums of p and n down to and including i, and P, N the sums over the data::

    AUC  = sum_i n_i (TP_i - p_i + p_i / 2) / (P N)
    PR   = sum_i p_i TP_i / (TP_i + FP_i) / P

Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006), where ties count half; PR is average
precision as scikit-learn defines it.

A range needs the positives and negatives above it, and nothing else of the other ranges.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mrml.arrays import Float64, Int64, UInt64

_SIGN = np.uint64(1 << 63)


class Tally(NamedTuple):
    """Distinct scores, ascending: ``code`` (m,) uint64; ``positive``, ``negative`` (m,) float64, or rows in the
    narrowest unsigned integers that hold them.  That is mostly a byte: a row takes 10 bytes, for 24 with int64.
    """

    code: UInt64
    positive: npt.NDArray[Any]
    negative: npt.NDArray[Any]


def ordered(score: Float64) -> UInt64:
    """(n,) uint64 in the order of the scores; equal scores, -0.0 and 0.0 among them, are equal.  No NaN."""
    code: UInt64 = (np.asarray(score, np.float64) + 0.0).view(np.uint64)
    return np.where(code & _SIGN, ~code, code | _SIGN)


def tally(code: UInt64, positive: npt.NDArray[Any], negative: npt.NDArray[Any]) -> Tally:
    """Add up what has the same code, in the order in which it stands."""
    if not len(code):
        return Tally(code, positive, negative)
    order = np.argsort(code, kind="stable")
    code = code[order]
    first = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))
    return Tally(code[first], _added(positive[order], first), _added(negative[order], first))


def _added(amounts: npt.NDArray[Any], first: Int64) -> npt.NDArray[Any]:
    """Sums of runs of amounts, rows in as few bytes as they take."""
    if amounts.dtype.kind == "f":
        return np.add.reduceat(amounts, first)
    rows = np.add.reduceat(amounts, first, dtype=np.uint64)
    return rows.astype(np.min_scalar_type(int(rows.max())))


def bins(code: UInt64, lo: UInt64, hi: UInt64, width: UInt64, n_bins: int) -> Int64:
    """The bin (n,) of each code: ``range * n_bins + (code - lo) // width``, or -1 outside every range.

    Ranges lo to hi, both inclusive, are ascending and disjoint; a width fits 64 bits where n_bins is at least 2.
    """
    at = np.searchsorted(lo, code, side="right") - 1
    inside = (at >= 0) & (code <= hi[at])
    at = np.where(inside, at, 0)
    within = (code - lo[at]) // width[at]
    return np.where(inside, at * n_bins + within.astype(np.int64), -1)


def twice_area(counts: Tally, above: int) -> int:
    """``sum n (2 TP - p)`` of a range of rows, exact; ``above`` is the number of positives above the range.

    The numerator of AUC over ``2 P N``.  Counts below 2**40 do not overflow: the factor is cut in two.
    """
    p, n = (rows[::-1].astype(np.int64) for rows in (counts.positive, counts.negative))
    factor = 2 * (above + np.cumsum(p)) - p
    high, low = factor >> 20, factor & ((1 << 20) - 1)
    return (int((n * high).sum()) << 20) + int((n * low).sum())


def area(weights: Tally, above: float) -> float:
    """``sum n (TP - p / 2)`` of a range of weights, float64."""
    p, n = weights.positive[::-1], weights.negative[::-1]
    return float((n * (above + np.cumsum(p) - p / 2)).sum())


def precision(tally_: Tally, above: tuple[Any, Any]) -> list[float]:
    """``sum p TP / (TP + FP)`` of a range as an exact expansion: floats whose exact sum is that of the terms.

    ``above`` holds the positives and the negatives above the range.  ``math.fsum`` over the expansions of all ranges
    is the rounded sum of all terms, wherever the ranges begin.
    """
    p, n = (a[::-1].astype(np.float64 if a.dtype.kind == "f" else np.int64) for a in tally_[1:])
    tp, fp = above[0] + np.cumsum(p), above[1] + np.cumsum(n)
    some = p > 0
    terms = (p[some] * (tp[some] / (tp[some] + fp[some]))).tolist()
    parts: list[float] = []
    rest = math.fsum(terms)
    while rest:
        parts.append(rest)
        terms.append(-rest)
        rest = math.fsum(terms)
    return parts


def group(rows: npt.NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
    """Runs (start, stop) of neighbours with at most ``limit`` rows together; one that has more stands alone."""
    runs: list[tuple[int, int]] = []
    start, held = 0, 0
    for i, n in enumerate(rows.tolist()):
        if i > start and held + n > limit:
            runs.append((start, i))
            start, held = i, 0
        held += n
    return [*runs, (start, len(rows))] if len(rows) else runs
