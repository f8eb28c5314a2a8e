"""Histogram trees on binned columns: move rows, add up histograms, find the best splits.

Every sum is a sum of integers, so :mod:`mrml.kernels.trees.numba` (numba) gives identical results in any order, and the
sibling of a node is its parent minus the node, exactly.  Gains are float64 of those integers, computed with the same
operations in the same order by both, without fused multiply-add.

Codes are uint8: 0 to n_bins - 1 are the bins of a column, n_bins is "missing".  A column's histogram has n_bins + 1
places; the columns of a block of features lie one after the other (``offsets``).

Gains are those of Chen and Guestrin, "XGBoost" (KDD 2016), eq. 7, without the factor 1/2, as XGBoost and LightGBM
report them.  Which sets of categories are tried is told in :mod:`mrml.kernels.trees.runs`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.kernels.trees.runs import Rules as Rules
from mrml.kernels.trees.runs import Sums, are_split_off, groups, prefixes

#: rows whose packed gradients add up in one int64: 2**16 times 15 bits and a sign above 16 bits
PACKED_ROWS = 1 << 16
PACKED_G_MAX, PACKED_H_MAX = (1 << 15) - 1, (1 << 16) - 1
_LOW = np.int64(0xFFFFFFFF)
#: a gain below this share of the children's score is the rounding of two equal numbers
MIN_GAIN = 1e-12


class Step(NamedTuple):
    """How rows move on: a row of ``codes`` in node k goes to ``left[k]`` where ``goes_left[k, codes[feature[k]]]``.

    ``feature`` (n_nodes,) int32, -1 in a leaf; ``left`` (n_nodes,) int32, the right child is the next node;
    ``goes_left`` (n_nodes, 256) uint8.  A leaf is on the left of itself, and there everything goes.
    """

    feature: Array
    left: Array
    goes_left: Array


class Splits(NamedTuple):
    """The best split of each of n nodes; ``gain`` is -inf where there is none.

    ``feature``, ``bin`` (n,) int32: codes up to ``bin`` go left; ``missing_left`` (n,) bool; ``gl``, ``hl`` (n,) int64,
    sums of the left child; ``categories`` (n, 8) uint32: bits of the codes that go left, for a split of categories, for
    which ``bin`` is -1.
    """

    gain: Array
    feature: Array
    bin: Array
    missing_left: Array
    gl: Array
    hl: Array
    categories: Array


class Nodes(NamedTuple):
    """The nodes whose splits are sought: sums of gradients and hessians (n,) int64, rows (n,) int64, bounds of their
    leaf values (n,) float64, and which features each may use (n, n_features) uint8."""

    g: Array
    h: Array
    rows: Array
    lower: Array
    upper: Array
    allowed: Array


class Columns(NamedTuple):
    """The columns of a block of features.

    ``offsets`` (n_features,) int64, ``n_bins`` (n_features,) int32, ``categorical`` (n_features,) uint8, ``monotone``
    (n_features,) int8: 1 where the prediction must not fall with the column, -1 where it must not rise.
    """

    offsets: Array
    n_bins: Array
    categorical: Array
    monotone: Array


def bin_codes(x: Array, edges: Array, n_edges: Array) -> Array:
    """(n_rows, n_columns) uint8: how many edges are at most the value; one more than that can be for NaN.

    ``x`` (n_rows, n_columns) float32, ``edges`` (n_columns, 254) float32, of which the first ``n_edges`` ascend.
    """
    out = np.empty(x.shape, np.uint8)
    for j, n in enumerate(n_edges.tolist()):
        column = np.ascontiguousarray(x[:, j])
        out[:, j] = np.where(np.isnan(column), n + 1, np.searchsorted(edges[j, :n], column, side="right"))
    return out


class Places(NamedTuple):
    """Where the rows of a block stand in a growing tree: ``nodes`` (n_rows,) uint16.  The other twin has its own."""

    nodes: Array


def places(q: tuple[Array, ...]) -> Places:
    """Where the rows of a block stand in a tree that begins to grow: in its root.

    ``q`` are the tree's gradients as :meth:`Buffer.add` takes them.
    """
    return Places(np.zeros(len(q[0]), np.uint16))


def move(codes: Array, places: Places, step: Step) -> Places:
    """Where rows stand once each has moved on until it is in a leaf; the places before may be lost by it."""
    nodes = places.nodes.copy()
    while True:
        feature = step.feature[nodes]
        rows = np.flatnonzero(feature >= 0)
        if not len(rows):
            return Places(nodes)
        at = nodes[rows]
        left = step.goes_left[at, codes[rows, feature[rows]]]
        nodes[rows] = step.left[at] + 1 - left


def nodes_of(codes: Array, places: Places, step: Step) -> Array:
    """(n_rows,) uint16: the leaf that every row ends in, on from where it stands."""
    return move(codes, places, step).nodes


def add_leaves(codes: Array, places: Places, step: Step, values: Array, scores: Array) -> None:
    """Add to every score (n_rows,) float64 the value of the row's leaf, on from where it stands."""
    scores += values[nodes_of(codes, places, step)]


def add_values(codes: Array, step: Step, values: Array, scores: Array) -> None:
    """The same of rows that stand in the root."""
    add_leaves(codes, places((scores,)), step, values, scores)


def pack(g: Array, h: Array) -> Array:
    """(n,) int64: gradients of 15 bits and a sign above hessians of 16 bits."""
    out: Array = np.minimum(np.maximum(g, -PACKED_G_MAX), PACKED_G_MAX).astype(np.int64)
    out <<= np.int64(32)
    out += np.minimum(np.maximum(h, 0), PACKED_H_MAX).astype(np.int64)
    return out


def pack_scaled(g: Array, h: Array, g_scale: float, h_scale: float) -> Array:
    """:func:`pack` of gradients and hessians (n,) float64 that are first scaled and rounded to integers."""
    return pack(np.rint(g * g_scale), np.rint(h * h_scale))


def unpack(packed: Array) -> tuple[Array, Array]:
    """The sums of gradients and of hessians in packed sums."""
    return packed >> np.int64(32), packed & _LOW


class Buffer:
    """Histograms of nodes over a block of features: ``g``, ``h`` (n_slots, width), ``rows`` (n_slots,), int64."""

    def __init__(self, n_slots: int, width: int) -> None:
        self.g: Array = np.zeros((n_slots, width), np.int64)
        self.h: Array = np.zeros((n_slots, width), np.int64)
        self.rows: Array = np.zeros(n_slots, np.int64)

    def settle(self) -> None:
        """Bring what was added into ``g`` and ``h``."""

    def add(self, codes: Array, first: int, offsets: Array, q: tuple[Array, ...], slots: Array, places: Places) -> None:
        """Add rows.

        Parameters
        ----------
        codes : (n_rows, n_features) uint8, of which columns ``first`` to ``first + len(offsets)`` are counted.
        q : (packed,) int64 or (g, h) int32, each (n_rows,); a row of zeros is left out.
        slots : (n_nodes,) int32, the histogram of a node, or -1.
        places : where rows stand, of this twin's :func:`move`.
        """
        slot = slots[places.nodes]
        some = q[0] != 0 if len(q) == 1 else (q[0] != 0) | (q[1] != 0)
        keep = np.flatnonzero((slot >= 0) & some)
        g, h = unpack(q[0][keep]) if len(q) == 1 else (q[0][keep], q[1][keep])
        size, slot = len(self.rows), slot[keep].astype(np.int64) * 256
        self.rows += np.bincount(slot >> 8, minlength=size)
        ends = np.append(offsets[1:], self.g.shape[1])
        for j, (start, end) in enumerate(zip(offsets.tolist(), ends.tolist(), strict=True)):
            at = slot + codes[keep, first + j]
            for sums, values in ((self.g, g), (self.h, h)):
                # sums of integers below 2**53 are exact in float64: 24 bits times the 2**22 rows of a block
                part = np.bincount(at, values, minlength=size * 256).reshape(size, 256)
                sums[:, start:end] += part[:, : end - start].astype(np.int64)


def best_splits(
    g: Array, h: Array, columns: Columns, nodes: Nodes, rules: Rules, g_unit: float, h_unit: float
) -> Splits:
    """The best split of each node over a block of features.

    Parameters
    ----------
    g, h : (n_nodes, width) int64, histograms; times ``g_unit`` and ``h_unit`` (powers of two) they are sums.

    Ties go to the lowest feature, then the lowest bin, then missing to the left.
    """
    n = len(g)
    best = no_splits(n)
    seek = _Seek(nodes, rules, g_unit, h_unit, best)
    for j, (offset, n_bins) in enumerate(zip(columns.offsets.tolist(), columns.n_bins.tolist(), strict=True)):
        part = slice(offset, offset + n_bins + 1)
        if columns.categorical[j]:
            for node in np.flatnonzero(nodes.allowed[:, j]):
                seek.categories(int(node), j, g[node, part], h[node, part])
        else:
            seek.numbers(j, g[:, part], h[:, part], int(columns.monotone[j]))
    parent = seek.score((nodes.g * g_unit)[:, None], (nodes.h * h_unit)[:, None], np.arange(n), rules.l2)[:, 0]
    gain = best.gain - parent
    best.gain[:] = np.where(gain > MIN_GAIN * np.abs(best.gain), gain, -np.inf)
    return best


def no_splits(n: int) -> Splits:
    """The :class:`Splits` of n nodes before anything is found."""
    return Splits(
        np.full(n, -np.inf), np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.zeros(n, bool),
        np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 8), np.uint32),
    )  # fmt: skip


def is_free(nodes: Nodes, rules: Rules) -> bool:
    """Whether leaves may have any value, so that a score is ``G**2 / (H + l2)``."""
    bounded = np.isfinite(nodes.lower).any() or np.isfinite(nodes.upper).any()
    return not (bounded or rules.max_delta_step > 0)


class _Seek:
    """The search over features; ``best.gain`` holds the score of the two children until the end."""

    def __init__(self, nodes: Nodes, rules: Rules, g_unit: float, h_unit: float, best: Splits) -> None:
        self.nodes, self.rules, self.g_unit, self.h_unit, self.best = nodes, rules, g_unit, h_unit, best
        self.free = is_free(nodes, rules)

    def score(self, g: Array, h: Array, at: Array, l2: float, weight: Array | None = None) -> Array:
        """(k,) float64: what a node of these sums takes off the loss, twice."""
        out: Array
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.free and weight is None:
                t = _shrunk(g, self.rules.l1)
                out = t * t / (h + l2)
                return np.where(h + l2 > 0, out, 0.0)
            w = self.weight(g, h, at, l2) if weight is None else weight
            out = -(2.0 * g * w + (h + l2) * w * w + 2.0 * self.rules.l1 * np.abs(w))
            return out

    def weight(self, g: Array, h: Array, at: Array, l2: float) -> Array:
        """(k,) float64: the value of a leaf of these sums, before the learning rate."""
        return leaf_weight(
            g, h, l2, self.rules.l1, self.rules.max_delta_step, self.nodes.lower[at, None], self.nodes.upper[at, None]
        )

    def scores(self, gl: Array, hl: Array, at: Array, l2: float, monotone: int) -> Array:
        """(k, m) float64: what both children of candidates take off the loss; -inf where the rules forbid one."""
        gr, hr = self.nodes.g[at, None] - gl, self.nodes.h[at, None] - hl
        fl, fr = hl * self.h_unit, hr * self.h_unit
        rows = (self.nodes.rows[at] / np.maximum(self.nodes.h[at] * self.h_unit, 1e-300))[:, None]
        fit = (hl > 0) & (hr > 0) & (fl >= self.rules.min_child_weight) & (fr >= self.rules.min_child_weight)
        fit &= (fl * rows >= self.rules.min_data_in_leaf) & (fr * rows >= self.rules.min_data_in_leaf)
        out: Array = np.where(fit, self._both(gl * self.g_unit, fl, gr * self.g_unit, fr, at, l2, monotone), -np.inf)
        return out

    def offer(self, gl: Array, hl: Array, at: Array, feature: int, l2: float, monotone: int = 0) -> tuple[Array, Array]:
        """Candidates (k, m) for the nodes ``at`` (k,): which of the k improved, and by which candidate."""
        score = self.scores(gl, hl, at, l2, monotone)
        which = score.argmax(axis=1)
        k = np.arange(len(at))
        better = score[k, which] > self.best.gain[at]
        k, which, nodes = k[better], which[better], at[better]
        self.best.gain[nodes], self.best.feature[nodes] = score[k, which], feature
        self.best.gl[nodes], self.best.hl[nodes] = gl[k, which], hl[k, which]
        return k, which

    def _both(self, gl: Array, hl: Array, gr: Array, hr: Array, at: Array, l2: float, monotone: int) -> Array:
        if self.free and not monotone:
            return self.score(gl, hl, at, l2) + self.score(gr, hr, at, l2)
        wl, wr = self.weight(gl, hl, at, l2), self.weight(gr, hr, at, l2)
        score = self.score(gl, hl, at, l2, wl) + self.score(gr, hr, at, l2, wr)
        return np.where(monotone * (wr - wl) < 0, -np.inf, score)

    def numbers(self, feature: int, g: Array, h: Array, monotone: int) -> None:
        """Every cut of a numeric column, with what is missing on the left and on the right."""
        at = np.flatnonzero(self.nodes.allowed[:, feature])
        if not len(at):
            return
        n_bins = g.shape[1] - 1
        gm, hm = g[at, n_bins], h[at, n_bins]
        right = np.cumsum(g[at, :n_bins], axis=1), np.cumsum(h[at, :n_bins], axis=1)
        left = right[0] + gm[:, None], right[1] + hm[:, None]
        gl, hl = (np.stack(pair, axis=2).reshape(len(at), -1) for pair in zip(left, right, strict=True))
        k, which = self.offer(gl, hl, at, feature, self.rules.l2, monotone)
        nodes = at[k]
        missing = (gm[k] != 0) | (hm[k] != 0)
        heavier = hl[k, which] >= self.nodes.h[nodes] - hl[k, which]
        self.best.bin[nodes] = which >> 1
        self.best.missing_left[nodes] = np.where(missing, which % 2 == 0, heavier)
        self.best.categories[nodes] = 0

    def categories(self, node: int, feature: int, g: Array, h: Array) -> None:
        """Cuts of the categories in the order of their gradients; what is missing goes right."""
        n_bins = len(g) - 1
        used = np.flatnonzero(h[:n_bins] > 0)
        sums = Sums(g, h, self.g_unit, self.h_unit, int(self.nodes.h[node]), int(self.nodes.rows[node]))
        few, grouped = are_split_off(self.rules, n_bins, len(used)), self.rules.min_data_per_group > 0
        runs = [[c] for c in used.tolist()] if few else (groups if grouped else prefixes)(self.rules, used, sums)
        l2 = self.rules.l2 + (0.0 if few else self.rules.cat_l2)
        if not runs:
            return
        if (few or not grouped) and (g[n_bins] != 0 or h[n_bins] != 0):
            # also a run and what is missing on the right, the others on the left
            runs = [r for run in runs for r in (run, [c for c in used.tolist() if c not in set(run)])]
        gl, hl = (np.array([[a[run].sum() for run in runs]], np.int64) for a in (g, h))
        k, which = self.offer(gl, hl, np.array([node]), feature, l2)
        if len(k):
            self.best.bin[node], self.best.missing_left[node] = -1, False
            self.best.categories[node] = bits(runs[which[0]])


def _shrunk(g: Array, l1: float) -> Array:
    """Soft threshold."""
    if l1 == 0.0:
        return g
    out: Array = np.where(g > l1, g - l1, np.where(g < -l1, g + l1, 0.0))
    return out


def leaf_weight(
    g: Array, h: Array, l2: float | Array, l1: float, max_delta_step: float, lower: Array, upper: Array
) -> Array:
    """(n,) float64: ``-G / (H + l2)`` with its thresholds and bounds."""
    t = _shrunk(g, l1)
    w = np.where(h + l2 > 0, -t / np.where(h + l2 > 0, h + l2, 1.0), 0.0)
    if max_delta_step > 0:
        w = np.clip(w, -max_delta_step, max_delta_step)
    out: Array = np.minimum(np.maximum(w, lower), upper)
    return out


def bits(codes: list[int]) -> Array:
    """(8,) uint32: a set of codes."""
    out = np.zeros(8, np.uint32)
    for code in codes:
        out[code >> 5] |= np.uint32(1 << (code & 31))
    return out


def members(sets: Array) -> Array:
    """(n, 256) uint8: which codes are in each of the sets (n, 8) uint32."""
    return np.unpackbits(np.ascontiguousarray(sets).astype("<u4").view(np.uint8), axis=1, bitorder="little")


def step_of(feature: Array, left: Array, bin_: Array, missing_left: Array, categories: Array, n_bins: Array) -> Step:
    """The :class:`Step` of a tree's nodes; ``categories`` (n_nodes, 8) holds where ``bin_`` is -1."""
    inner = feature >= 0
    codes = np.arange(256, dtype=np.int32)
    goes = (codes[None, :] <= bin_[:, None]).astype(np.uint8)
    chosen = np.flatnonzero(inner & (bin_ < 0))
    goes[chosen] = members(categories[chosen])
    numeric = np.flatnonzero(inner & (bin_ >= 0))
    goes[numeric, n_bins[feature[numeric]]] = missing_left[numeric]
    goes[~inner] = 1
    return Step(feature.astype(np.int32), np.where(inner, left, np.arange(len(left))).astype(np.int32), goes)


def predict(x: Array, trees: Any, out: Array) -> None:
    """Add the leaves of trees to raw predictions, tree by tree.

    Parameters
    ----------
    x : (n_rows, n_features) float32, NaN missing, codes of categories as numbers.
    trees : the arrays of :class:`mrml.algorithms.trees.model.Trees`.
    out : (n_outputs, n_rows) float64, changed in place; tree k adds to row ``k % n_outputs``.
    """
    goes_left = members(trees.categories)
    for number, (start, stop) in enumerate(zip(trees.starts[:-1].tolist(), trees.starts[1:].tolist(), strict=True)):
        nodes = slice(start, stop)
        feature, threshold, left = trees.feature[nodes], trees.threshold[nodes], trees.left[nodes]
        missing_left, sets = trees.missing_left[nodes], goes_left[nodes]
        at = np.zeros(len(x), np.int64)
        rows = np.flatnonzero(feature[at] >= 0)
        while len(rows):
            k = at[rows]
            value = x[rows, feature[k]]
            with np.errstate(invalid="ignore"):
                code = np.where((value >= 0) & (value < 256), value, 255).astype(np.int64)
                goes = np.where(np.isnan(threshold[k]), sets[k, code], value < threshold[k])
            goes = np.where(np.isnan(value), missing_left[k], goes).astype(np.int64)
            at[rows] = left[k] + 1 - goes
            rows = rows[feature[at[rows]] >= 0]
        out[number % len(out)] += trees.value[nodes][at]
