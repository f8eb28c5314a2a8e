"""The numba twin of :func:`mrml.kernels.trees.numpy.predict`: rows walk through trees eight at a time.

Which way a row goes cannot be guessed, so a loop that ends in a leaf costs a mispredicted branch a row and tree.  Here
every row takes as many steps as its tree is deep, a leaf leads to itself, and a step has no branch: 4 ns a row and tree
of depth 6, where the loop takes 32 and XGBoost 7 to 9.  Trees with splits of categories keep the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.kmeans_numba import _jit, _plain

#: rows that all trees pass before the next rows: their columns stay in the cache
_ROWS = 256


def predict(x: Array, trees: Any, out: Array) -> None:
    """See :func:`mrml.kernels.trees.numpy.predict`."""
    starts, inner = _plain(trees.starts), trees.feature >= 0
    left = np.where(inner, np.repeat(starts[:-1], np.diff(starts)) + trees.left, np.arange(len(inner)))
    feature = np.where(inner, trees.feature, 0)
    # in a leaf no number reaches NaN, so nothing goes right
    edges = np.where(inner, trees.threshold, np.float32(np.nan))
    sides = np.where(inner, 2 * feature + (trees.missing_left == 0), 0)
    left, feature, sides = (a.astype(np.int32) for a in (left, feature, sides))
    steps = _steps(starts, left, inner & np.isnan(trees.threshold))
    _predict(
        _plain(x), starts, steps, feature, sides, edges, left, _plain(trees.categories), _plain(trees.value), out,
    )  # fmt: skip


@_jit
def _steps(starts: Any, left: Any, sets: Any) -> Any:
    """(n_trees,) int64: how deep each tree is; -1 where it has splits of categories."""
    out, depth = np.zeros(len(starts) - 1, np.int64), np.zeros(len(left), np.int64)
    for tree in range(len(out)):
        for k in range(starts[tree], starts[tree + 1]):  # children come after their parents
            if left[k] != k:
                depth[left[k]] = depth[left[k] + 1] = depth[k] + 1
                out[tree] = max(out[tree], depth[k] + 1)
        if sets[starts[tree] : starts[tree + 1]].any():
            out[tree] = -1
    return out


@_jit
def _predict(
    x: Any, starts: Any, steps: Any, feature: Any, sides: Any, edges: Any, left: Any, categories: Any, value: Any,
    out: Any,
) -> None:  # fmt: skip
    flat, width = x.reshape(-1), x.shape[1]
    twice = np.empty(2 * _ROWS * width, x.dtype)
    for first in range(0, len(x), _ROWS):
        stop = min(first + _ROWS, len(x))
        some = flat[first * width : stop * width]
        missing = _any_missing(some)
        if missing:
            _double(some, twice)
        for tree in range(len(steps)):
            scores = out[tree % len(out), first:stop]
            if steps[tree] < 0:
                _loop(x, first, starts[tree], sides, edges, left, categories, value, scores)
            elif missing:
                _walk(twice, 2 * width, starts[tree], steps[tree], sides, edges, left, value, scores)
            else:
                _walk(some, width, starts[tree], steps[tree], feature, edges, left, value, scores)


@_jit
def _any_missing(some: Any) -> Any:
    missing = np.uint32(0)
    for i in range(len(some)):  # to its end: vector instructions
        missing |= np.uint32(some[i] != some[i])
    return missing != 0


@_jit
def _double(some: Any, out: Any) -> None:
    """Every number twice; what is missing first as one that goes left, then as one that goes right."""
    for i in range(len(some)):
        number = some[i]
        out[2 * i] = number if number == number else -np.inf
        out[2 * i + 1] = number if number == number else np.inf


@_jit
def _step(rows: Any, row: Any, k: Any, feature: Any, edges: Any, left: Any) -> Any:
    """The node after node k for the row that begins at ``row``."""
    number = rows[row + np.uint64(feature[k])]
    return np.uint64(left[k]) + np.uint64(number >= edges[k])


@_jit
def _walk(
    rows: Any, width: Any, start: Any, steps: Any, feature: Any, edges: Any, left: Any, value: Any, scores: Any
) -> None:
    """Eight rows take turns, so that one need not wait for what another one reads: with four, 8 ns a row and tree."""
    root, w = np.uint64(start), np.uint64(width)
    whole = len(scores) // 8 * 8
    for i in range(0, whole, 8):
        r0 = np.uint64(i) * w
        r1, r2, r3, r4 = r0 + w, r0 + w * np.uint64(2), r0 + w * np.uint64(3), r0 + w * np.uint64(4)
        r5, r6, r7 = r4 + w, r4 + w * np.uint64(2), r4 + w * np.uint64(3)
        a = b = c = d = e = f = g = h = root
        for _ in range(steps):
            a = _step(rows, r0, a, feature, edges, left)
            b = _step(rows, r1, b, feature, edges, left)
            c = _step(rows, r2, c, feature, edges, left)
            d = _step(rows, r3, d, feature, edges, left)
            e = _step(rows, r4, e, feature, edges, left)
            f = _step(rows, r5, f, feature, edges, left)
            g = _step(rows, r6, g, feature, edges, left)
            h = _step(rows, r7, h, feature, edges, left)
        for at, leaf in enumerate((a, b, c, d, e, f, g, h)):
            scores[i + at] += value[leaf]
    for i in range(whole, len(scores)):
        k = root
        for _ in range(steps):
            k = _step(rows, np.uint64(i) * w, k, feature, edges, left)
        scores[i] += value[k]


@_jit
def _loop(
    x: Any, first: Any, start: Any, sides: Any, edges: Any, left: Any, categories: Any, value: Any, scores: Any
) -> None:
    """A tree in which some splits ask for a category."""
    for i in range(len(scores)):
        k = start
        while left[k] != k:
            number, edge = x[first + i, sides[k] >> 1], edges[k]
            if number != number:
                right = np.int64(sides[k] & 1)
            elif edge == edge:
                right = np.int64(number >= edge)
            else:
                code = np.int64(number) if 0 <= number < 256 else 255
                right = 1 - np.int64((categories[k, code >> 5] >> np.uint32(code & 31)) & np.uint32(1))
            k = left[k] + right
        scores[i] += value[k]


def prewarm() -> None:
    """Compile everything, or load it from the cache on disk."""
    zero, one, sets = np.zeros(1, np.int32), np.zeros((1, 1), np.float32), np.zeros((1, 8), np.uint32)
    starts = _plain(np.array([0, 1]))
    steps = _steps(starts, zero, zero > 0)
    _predict(_plain(one), starts, steps, zero, zero, one[0], zero, _plain(sets), _plain(np.zeros(1)), np.zeros((1, 1)))
