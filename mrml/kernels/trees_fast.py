"""numba twins of :mod:`mrml.kernels.trees`: the same arguments, identical integers and gains.

Histograms are added row by row: 1 byte a value, one packed int64 a row.  No ``fastmath``, so nothing is fused or
reordered, and no threads: cores are used by processes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.kernels import trees
from mrml.kernels.kmeans_fast import _jit, _plain
from mrml.kernels.trees import PACKED_ROWS, Array, Columns, Nodes, Rules, Splits, Step


def bin_codes(x: Array, edges: Array, n_edges: Array) -> Array:
    """See :func:`mrml.kernels.trees.bin_codes`."""
    out = np.empty(x.shape, np.uint8)
    padded = np.full((len(edges), 256), np.inf, np.float32)
    padded[:, : edges.shape[1]] = np.where(np.arange(edges.shape[1]) < n_edges[:, None], edges, np.inf)
    _bin(_plain(x), _plain(padded), _plain(n_edges), out)
    return out


@_jit
def _bin(x: Any, edges: Any, n_edges: Any, out: Any) -> None:
    n_rows, n_columns = x.shape
    for start in range(0, n_rows, 1024):  # runs of rows that stay in cache
        for j in range(n_columns):
            n = np.uint64(n_edges[j])
            for i in range(start, min(start + 1024, n_rows)):
                value = x[i, j]
                low = np.uint64(0)
                for k in range(8):  # eight halvings of 255 places, without a branch
                    half = np.uint64(128 >> k)
                    low += half if edges[j, low + half - np.uint64(1)] <= value else np.uint64(0)
                out[i, j] = min(low, n) if value == value else n + np.uint64(1)


def route(codes: Array, nodes: Array, step: Step) -> None:
    """See :func:`mrml.kernels.trees.route`."""
    _route(_plain(codes), nodes, _plain(step.feature), _plain(step.left), _plain(step.goes_left))


@_jit
def _route(codes: Any, nodes: Any, feature: Any, left: Any, goes_left: Any) -> None:
    for i in range(len(nodes)):
        node = np.int64(nodes[i])
        f = feature[node]
        while f >= 0:
            node = left[node] + 1 - goes_left[node, codes[i, f]]
            f = feature[node]
        nodes[i] = node


def add_values(codes: Array, step: Step, values: Array, scores: Array) -> None:
    """See :func:`mrml.kernels.trees.add_values`."""
    _add_values(_plain(codes), _plain(step.feature), _plain(step.left), _plain(step.goes_left), _plain(values), scores)


@_jit
def _add_values(codes: Any, feature: Any, left: Any, goes_left: Any, values: Any, scores: Any) -> None:
    for i in range(len(scores)):
        node = np.int64(0)
        f = feature[node]
        while f >= 0:
            node = left[node] + 1 - goes_left[node, codes[i, f]]
            f = feature[node]
        scores[i] += values[node]


class Buffer:
    """See :class:`mrml.kernels.trees.Buffer`; packed sums of a node are unpacked after 65,536 of its rows."""

    def __init__(self, n_slots: int, width: int) -> None:
        # pages that nothing is written to are never there
        self.g: Array = np.zeros((n_slots, width), np.int64)
        self.h: Array = np.zeros((n_slots, width), np.int64)
        self.rows: Array = np.zeros(n_slots, np.int64)
        self._packed: Array | None = None
        self._filled: Array = np.zeros(n_slots, np.int64)

    def settle(self) -> None:
        """See :meth:`mrml.kernels.trees.Buffer.settle`."""
        if self._packed is not None:
            _settle(self._packed, self._filled, self.g, self.h, self.rows)

    def add(self, codes: Array, first: int, offsets: Array, q: tuple[Array, ...], slots: Array, nodes: Array) -> None:
        """See :meth:`mrml.kernels.trees.Buffer.add`; ``slots`` by node, ``nodes`` (n_rows,) uint16."""
        at = _plain(offsets.astype(np.uint64))
        if len(q) == 1:
            if self._packed is None:
                self._packed = np.zeros_like(self.g)
            _add_packed(
                _plain(codes), first, at, _plain(q[0]), _plain(slots), _plain(nodes),
                self._packed, self._filled, self.g, self.h, self.rows,
            )  # fmt: skip
        else:
            _add_wide(
                _plain(codes),
                first,
                at,
                _plain(q[0]),
                _plain(q[1]),
                _plain(slots),
                _plain(nodes),
                self.g,
                self.h,
                self.rows,
            )


@_jit
def _settle(packed: Any, filled: Any, g: Any, h: Any, rows: Any) -> None:
    for s in range(len(filled)):
        if filled[s]:
            _settle_one(packed, filled, g, h, rows, s)


@_jit
def _settle_one(packed: Any, filled: Any, g: Any, h: Any, rows: Any, s: Any) -> None:
    for k in range(packed.shape[1]):
        value = packed[s, k]
        g[s, k] += value >> 32
        h[s, k] += value & 0xFFFFFFFF
        packed[s, k] = 0
    rows[s] += filled[s]
    filled[s] = 0


@_jit
def _add_packed(
    codes: Any, first: Any, offsets: Any, q: Any, slots: Any, nodes: Any,
    packed: Any, filled: Any, g: Any, h: Any, rows: Any,
) -> None:  # fmt: skip
    width = np.uint64(packed.shape[1])
    flat = packed.reshape(-1)
    n_features = len(offsets)
    even = n_features > 0 and width == np.uint64(256 * n_features)
    for i in range(len(nodes)):
        s = slots[nodes[i]]
        value = q[i]
        if s < 0 or value == 0:
            continue
        if filled[s] == PACKED_ROWS:
            _settle_one(packed, filled, g, h, rows, s)
        filled[s] += 1
        base = np.uint64(s) * width
        if even:  # columns of 255 bins each: without reading offsets, 0.25 ns a value for 0.33
            for j in range(n_features):
                flat[base + np.uint64(codes[i, first + j])] += value
                base += np.uint64(256)
        else:
            for j in range(n_features):
                flat[base + offsets[j] + np.uint64(codes[i, first + j])] += value


@_jit
def _add_wide(
    codes: Any, first: Any, offsets: Any, qg: Any, qh: Any, slots: Any, nodes: Any, g: Any, h: Any, rows: Any
) -> None:
    width = np.uint64(g.shape[1])
    flat_g, flat_h = g.reshape(-1), h.reshape(-1)
    n_features = len(offsets)
    for i in range(len(nodes)):
        s = slots[nodes[i]]
        if s < 0 or (qg[i] == 0 and qh[i] == 0):
            continue
        rows[s] += 1
        base = np.uint64(s) * width
        vg, vh = np.int64(qg[i]), np.int64(qh[i])
        for j in range(n_features):
            at = base + offsets[j] + np.uint64(codes[i, first + j])
            flat_g[at] += vg
            flat_h[at] += vh


def best_splits(
    g: Array, h: Array, columns: Columns, nodes: Nodes, rules: Rules, g_unit: float, h_unit: float
) -> Splits:
    """See :func:`mrml.kernels.trees.best_splits`."""
    n = len(g)
    bounded = np.isfinite(nodes.lower).any() or np.isfinite(nodes.upper).any()
    if columns.categorical.any() or columns.monotone.any() or bounded or rules.max_delta_step > 0 or rules.l1 > 0:
        return trees.best_splits(g, h, columns, nodes, rules, g_unit, h_unit)
    best = Splits(
        np.full(n, -np.inf), np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.zeros(n, bool),
        np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 8), np.uint32),
    )  # fmt: skip
    _numbers(
        _plain(g), _plain(h), _plain(columns.offsets), _plain(columns.n_bins), _plain(nodes.allowed), _plain(nodes.g),
        _plain(nodes.h), _plain(nodes.rows), rules.l2, rules.min_child_weight, rules.min_data_in_leaf, g_unit, h_unit,
        best.gain, best.feature, best.bin, best.missing_left, best.gl, best.hl,
    )  # fmt: skip
    return best


@_jit
def _score(g: Any, h: Any, l2: Any) -> Any:
    if h + l2 > 0:
        return g * g / (h + l2)
    return 0.0


@_jit
def _numbers(
    g: Any, h: Any, offsets: Any, n_bins: Any, allowed: Any, node_g: Any, node_h: Any, node_rows: Any,
    l2: Any, min_weight: Any, min_rows: Any, g_unit: Any, h_unit: Any,
    gain: Any, feature: Any, bins: Any, missing_left: Any, best_gl: Any, best_hl: Any,
) -> None:  # fmt: skip
    """The free search: numeric columns, no bounds."""
    for e in range(len(node_g)):
        total_g, total_h = node_g[e], node_h[e]
        rows = node_rows[e] / max(total_h * h_unit, 1e-300)
        best = -np.inf
        for f in range(len(offsets)):
            if not allowed[e, f]:
                continue
            o, n = offsets[f], n_bins[f]
            gm, hm = g[e, o + n], h[e, o + n]
            missing = gm != 0 or hm != 0
            sum_g, sum_h = np.int64(0), np.int64(0)
            for b in range(n):
                sum_g += g[e, o + b]
                sum_h += h[e, o + b]
                for side in range(0 if missing else 1, 2):
                    gl = sum_g + gm if side == 0 else sum_g
                    hl = sum_h + hm if side == 0 else sum_h
                    hr = total_h - hl
                    fl, fr = hl * h_unit, hr * h_unit
                    if hl <= 0 or hr <= 0 or fl < min_weight or fr < min_weight:
                        continue
                    if fl * rows < min_rows or fr * rows < min_rows:
                        continue
                    score = _score(gl * g_unit, fl, l2) + _score((total_g - gl) * g_unit, fr, l2)
                    if score > best:
                        best = score
                        feature[e], bins[e] = f, b
                        best_gl[e], best_hl[e] = gl, hl
                        missing_left[e] = side == 0 or (not missing and hl >= hr)
        if best > -np.inf:
            found = best - _score(total_g * g_unit, total_h * h_unit, l2)
            gain[e] = found if found > 1e-12 * abs(best) else -np.inf


#: rows that all trees pass before the next rows: their columns stay in the cache
_PREDICT_ROWS = 512


def predict(x: Array, trees: Any, out: Array) -> None:
    """See :func:`mrml.kernels.trees.predict`."""
    _predict(
        _plain(x), _plain(trees.starts), _plain(trees.feature), _plain(trees.threshold), _plain(trees.missing_left),
        _plain(trees.left), _plain(trees.categories), _plain(trees.value), out,
    )  # fmt: skip


@_jit
def _predict(
    x: Any,
    starts: Any,
    feature: Any,
    threshold: Any,
    missing_left: Any,
    left: Any,
    categories: Any,
    value: Any,
    out: Any,
) -> None:
    for first in range(0, len(x), _PREDICT_ROWS):
        stop = min(first + _PREDICT_ROWS, len(x))
        for tree in range(len(starts) - 1):
            start = starts[tree]
            output = tree % len(out)
            for i in range(first, stop):
                k = start
                f = feature[k]
                while f >= 0:
                    number, edge = x[i, f], threshold[k]
                    if number < edge:
                        goes = 1
                    elif number >= edge:
                        goes = 0
                    elif np.isnan(number):
                        goes = np.int64(missing_left[k])
                    else:
                        code = np.int64(number) if 0 <= number < 256 else 255
                        goes = np.int64(categories[k, code >> 5] >> np.uint32(code & 31)) & 1
                    k = start + left[k] + 1 - goes
                    f = feature[k]
                out[output, i] += value[k]


def prewarm() -> None:
    """Compile everything, or load it from the cache on disk."""
    bin_codes(np.zeros((1, 1), np.float32), np.zeros((1, 254), np.float32), np.zeros(1, np.int32))
    codes, nodes = np.zeros((1, 1), np.uint8), np.zeros(1, np.uint16)
    minus = np.full(1, -1, np.int32)
    step = Step(minus, minus, np.zeros((1, 256), np.uint8))
    route(codes, nodes, step)
    add_values(codes, step, np.zeros(1), np.zeros(1))
    buffer = Buffer(1, 2)
    zero = np.zeros(1, np.int64)
    buffer.add(codes, 0, zero, (zero,), minus, nodes)
    buffer.add(codes, 0, zero, (np.zeros(1, np.int32), np.zeros(1, np.int32)), minus, nodes)
    buffer.settle()
    columns = Columns(zero, np.ones(1, np.int32), np.zeros(1, np.uint8), np.zeros(1, np.int8))
    endless = np.full(1, np.inf)
    where = Nodes(zero, zero, zero, -endless, endless, np.ones((1, 1), np.uint8))
    x, flags, sets = np.zeros((1, 1), np.float32), np.zeros(1, np.uint8), np.zeros((1, 8), np.uint32)
    leaf = [_plain(a) for a in (x, np.zeros(2, np.int64), minus, x[0], flags, minus, sets, np.zeros(1))]
    leaf.append(np.zeros((1, 1)))
    _predict(*leaf)
    best_splits(buffer.g, buffer.h, columns, where, Rules(1.0, 0.0, 1.0, 0.0, 0.0, 10.0, 10.0, 32, 4), 1.0, 1.0)
