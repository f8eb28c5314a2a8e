"""Rows that a model is scored on in two ways: made from its own edges, leaves and categories.

Half of the values lie exactly on edges of bins, where ``<`` and ``<=`` part; the others are their neighbours in float32
and numbers between and beyond the edges; one value in ten is missing.  Then one row for each of up to 4,000 leaves, on
the last values that still lead there.
"""

from __future__ import annotations

import numpy as np

from mrml.arrays import Array
from mrml.export.ensemble import Ensemble, Tree
from mrml.kernels.random import rng

MISSING = 0.1
MAX_LEAVES = 4000
#: values of a probe: 16 MB
MAX_VALUES = 1 << 22
_EVERYTHING = np.float32(np.finfo(np.float32).max)
_SEED = 5


def made_rows(ensemble: Ensemble, n_rows: int = 2000) -> Array:
    """(n, n_features) float32, the same for the same model."""
    n_rows = max(16, min(n_rows, MAX_VALUES // max(1, len(ensemble.names))))
    x = _scattered(ensemble, n_rows)
    return np.concatenate([x, _to_leaves(ensemble, x)])


def _scattered(ensemble: Ensemble, n_rows: int) -> Array:
    rows = np.arange(n_rows, dtype=np.uint64)
    out = np.empty((n_rows, len(ensemble.names)), np.float32)
    for j, edges in enumerate(ensemble.edges):
        out[:, j] = _numbers(edges, *(rng(_SEED, 8 * j + k, rows) for k in range(3)))
    for j, n_codes in enumerate(ensemble.n_codes, len(ensemble.edges)):
        out[:, j] = np.floor(rng(_SEED, 8 * j, rows) * max(n_codes, 1))
    for j in range(out.shape[1]):
        out[rng(_SEED, 8 * j + 7, rows) < MISSING, j] = np.nan
    return out


def _numbers(edges: Array, which: Array, kind: Array, between: Array) -> Array:
    """(n,) float32 on edges, beside them, and between and beyond them, by three uniform draws a row."""
    if not len(edges):
        return np.asarray(between * 4 - 2, np.float32)
    on: Array = edges[(which * len(edges)).astype(np.int64)]
    beside = np.nextafter(on, np.where(between < 0.5, -np.inf, np.inf).astype(np.float32))
    low, high = float(edges[0]), float(edges[-1])
    wide = max(high - low, abs(low), 1e-3)
    spread = np.clip(low - wide + between * (high - low + 2 * wide), -_EVERYTHING, _EVERYTHING)
    found: Array = np.where(kind < 0.5, on, np.where(kind < 0.75, beside, spread))
    return found.astype(np.float32)


def _to_leaves(ensemble: Ensemble, x: Array) -> Array:
    """(n, n_features) float32: rows of ``x`` changed so that each ends in a leaf of its own."""
    leaves = [(number, k) for number, tree in enumerate(ensemble.trees()) for k in np.flatnonzero(tree.leaf).tolist()]
    most = max(1, min(MAX_LEAVES, MAX_VALUES // max(1, x.shape[1])))
    chosen = leaves[:: -(-len(leaves) // most)]
    out: Array = x[np.arange(len(chosen)) % len(x)].copy()
    tree, last = ensemble.tree(0) if ensemble.n_trees else next(ensemble.trees()), 0
    for row, (number, leaf) in zip(out, chosen, strict=True):
        if number != last:
            tree, last = ensemble.tree(number), number
        _lead(row, tree, leaf)
    return out


def _lead(row: Array, tree: Tree, leaf: int) -> None:
    """Change a row so that it goes from the root to a leaf, on edges where that is possible."""
    parents = np.full(len(tree.feature), -1)
    inner = np.flatnonzero(~tree.leaf)
    parents[tree.left[inner]] = parents[tree.left[inner] + 1] = inner
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    codes: dict[int, Array] = {}
    at = leaf
    while (up := int(parents[at])) >= 0:
        j, is_left = int(tree.feature[up]), at == tree.left[up]
        if tree.categorical[up]:
            codes[j] = codes.get(j, np.ones(256, bool)) & ((tree.sets[up] == 1) == is_left)
        elif is_left:
            high[j] = min(high.get(j, np.inf), float(tree.threshold[up]))
        else:
            low[j] = max(low.get(j, -np.inf), float(tree.threshold[up]))
        at = up
    for j in {*low, *high}:
        below = np.nextafter(np.float32(high.get(j, np.inf)), np.float32(-np.inf))
        value = np.float32(low[j]) if j in low else below
        row[j] = np.nan if value >= _EVERYTHING else value
    for j, allowed in codes.items():
        row[j] = np.flatnonzero(allowed)[0] if allowed[:255].any() else np.nan
