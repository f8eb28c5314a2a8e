"""numba twins of :mod:`mrml.kernels.trees.numpy`: the same arguments, identical integers and gains.

No ``fastmath``, so nothing is fused or reordered, and no threads: cores are used by processes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.kmeans_numba import _jit, _jit_ieee, _plain
from mrml.kernels.trees import numpy as trees
from mrml.kernels.trees import places as trees_places
from mrml.kernels.trees import sums as trees_sums
from mrml.kernels.trees import walk as trees_walk
from mrml.kernels.trees.numpy import PACKED_G_MAX, PACKED_H_MAX, Columns, Nodes, Rules, Splits, Step
from mrml.kernels.trees.places import Places as Places
from mrml.kernels.trees.places import add_leaves as add_leaves
from mrml.kernels.trees.places import leaf_of
from mrml.kernels.trees.places import move as move
from mrml.kernels.trees.places import nodes_of as nodes_of
from mrml.kernels.trees.places import places as places
from mrml.kernels.trees.sums import Buffer as Buffer
from mrml.kernels.trees.walk import predict as predict

#: rows of a pass whose temporaries stay in the cache
_LOGISTIC_ROWS, _LANES = 8192, 256


def bin_codes(x: Array, edges: Array, n_edges: Array) -> Array:
    """See :func:`mrml.kernels.trees.numpy.bin_codes`."""
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


def add_values(codes: Array, step: Step, values: Array, scores: Array) -> None:
    """See :func:`mrml.kernels.trees.numpy.add_values`."""
    _add_values(_plain(codes).reshape(-1), codes.shape[1], step, _plain(values), scores)


@_jit
def _add_values(flat: Any, width: Any, step: Any, values: Any, scores: Any) -> None:
    for i in range(len(scores)):
        scores[i] += values[leaf_of(flat, np.uint64(i) * np.uint64(width), step)]


def pack_scaled(g: Array, h: Array, g_scale: float, h_scale: float) -> Array:
    """See :func:`mrml.kernels.trees.numpy.pack_scaled`; in one pass 2 ns a row where NumPy takes 10."""
    out = np.empty(len(g), np.int64)
    _pack_scaled(_plain(g), _plain(h), g_scale, h_scale, out)
    return out


@_jit
def _pack_scaled(g: Any, h: Any, g_scale: Any, h_scale: Any, out: Any) -> None:
    for i in range(len(out)):
        a = min(max(np.rint(g[i] * g_scale), -float(PACKED_G_MAX)), float(PACKED_G_MAX))
        b = min(max(np.rint(h[i] * h_scale), 0.0), float(PACKED_H_MAX))
        out[i] = (np.int64(a) << 32) + np.int64(b)


def logistic(
    y: Array, raw: Array, weights: Array, shares: Array, g_scale: float, h_scale: float
) -> tuple[float, Array]:
    """Loss and packed gradients of the logistic loss in one pass: 5 ns a row where NumPy takes 30.

    Parameters
    ----------
    y, raw : (n,) float64, 0 or 1 and raw predictions.
    weights, shares : (n,) float64 or empty: what gradients, and what losses, are multiplied with.

    Gradients are those of :class:`mrml.losses.Logistic` to the bit; exp stays NumPy's, which is vector code.  A sum of
    logarithms is the logarithm of a product, which 32 factors of at most 2 are far from overflowing.
    """
    out, total = np.empty(len(y), np.int64), 0.0
    y, raw, weights, shares = (_plain(a) for a in (y, raw, weights, shares))
    for start in range(0, len(y), _LOGISTIC_ROWS):
        rows = slice(start, start + _LOGISTIC_ROWS)
        e = np.abs(raw[rows])
        np.exp(np.negative(e, out=e), out=e)
        more: list[Any] = [weights[rows], g_scale, h_scale, out[rows]]
        _logistic(y[rows], raw[rows], e, *more)
        if len(shares):
            u = e + 1.0
            loss = np.log(u) + np.maximum(np.where(y[rows] == 0.0, raw[rows], -raw[rows]), 0.0)
            total += float((loss * shares[rows]).sum())
        else:
            product, linear = np.ones(_LANES), np.zeros(_LANES)
            _losses(y[rows], raw[rows], e, product, linear)
            total += float(np.log(product).sum() + linear.sum())
    return total, out


@_jit
def _losses(y: Any, raw: Any, e: Any, product: Any, linear: Any) -> None:
    """The loss of a row is log(1 + e) + max(z, 0): products of the one, sums of the other, by lanes."""
    for start in range(0, len(y), _LANES):
        for j in range(min(_LANES, len(y) - start)):
            i = start + j
            z = raw[i] if y[i] == 0.0 else -raw[i]
            product[j] *= e[i] + 1.0
            linear[j] += max(z, 0.0)


@_jit_ieee
def _logistic(y: Any, raw: Any, e: Any, weights: Any, g_scale: Any, h_scale: Any, out: Any) -> None:
    weighted = len(weights) > 0
    for i in range(len(out)):
        q = 1.0 / (e[i] + 1.0)
        p = e[i] * q
        z = raw[i] if y[i] == 0.0 else -raw[i]
        g = q if z > 0.0 else p
        g = g if y[i] == 0.0 else -g
        h = max(p * q, 1e-16)
        if weighted:
            g, h = g * weights[i], h * weights[i]
        a = min(max(np.rint(g * g_scale), -float(PACKED_G_MAX)), float(PACKED_G_MAX))
        b = min(max(np.rint(h * h_scale), 0.0), float(PACKED_H_MAX))
        out[i] = (np.int64(a) << 32) + np.int64(b)


def best_splits(
    g: Array, h: Array, columns: Columns, nodes: Nodes, rules: Rules, g_unit: float, h_unit: float
) -> Splits:
    """See :func:`mrml.kernels.trees.numpy.best_splits`."""
    best = trees.no_splits(len(g))
    numbers = *(float(r) for r in rules[:7]), *(int(r) for r in rules[7:10]), float(rules.rare_weight)
    plain = Rules(*numbers)  # type: ignore[arg-type]
    _best_splits(
        _plain(g), _plain(h), Columns(*map(_plain, columns)), Nodes(*map(_plain, nodes)), plain,
        trees.is_free(nodes, rules), g_unit, h_unit, best,
    )  # fmt: skip
    return best


@_jit
def _best_splits(
    g: Any, h: Any, columns: Any, nodes: Any, rules: Any, free: Any, g_unit: Any, h_unit: Any, best: Any
) -> None:
    for e in range(len(nodes.g)):
        rows = nodes.rows[e] / max(nodes.h[e] * h_unit, 1e-300)
        node = (nodes.g[e], nodes.h[e], rows, nodes.lower[e], nodes.upper[e], g_unit, h_unit)
        for f in range(len(columns.offsets)):
            if not nodes.allowed[e, f]:
                continue
            first, last = columns.offsets[f], columns.offsets[f] + columns.n_bins[f]
            if columns.categorical[f]:
                _categories(g[e], h[e], first, last, e, f, nodes.rows[e], node, rules, free, best)
            else:
                _numbers(g[e], h[e], first, last, e, f, columns.monotone[f], node, rules, free, best)
        if best.gain[e] > -np.inf:
            node_g, node_h = nodes.g[e] * g_unit, nodes.h[e] * h_unit
            w = _weight(node_g, node_h, rules.l2, rules, nodes.lower[e], nodes.upper[e])
            own = _score(node_g, node_h, w, rules.l2, rules.l1, free)
            found = best.gain[e] - own
            best.gain[e] = found if found > trees.MIN_GAIN * abs(best.gain[e]) else -np.inf


@_jit
def _shrunk(g: Any, l1: Any) -> Any:
    if g > l1:
        return g - l1
    return g + l1 if g < -l1 else 0.0


@_jit
def _weight(g: Any, h: Any, l2: Any, rules: Any, lower: Any, upper: Any) -> Any:
    """See :func:`mrml.kernels.trees.numpy.leaf_weight`."""
    w = -_shrunk(g, rules.l1) / (h + l2) if h + l2 > 0 else 0.0
    if rules.max_delta_step > 0:
        w = min(max(w, -rules.max_delta_step), rules.max_delta_step)
    return min(max(w, lower), upper)


@_jit
def _score(g: Any, h: Any, w: Any, l2: Any, l1: Any, free: Any) -> Any:
    if free:
        t = _shrunk(g, l1)
        return t * t / (h + l2) if h + l2 > 0 else 0.0
    return -(2.0 * g * w + (h + l2) * w * w + 2.0 * l1 * abs(w))


@_jit
def _children(gl: Any, hl: Any, node: Any, l2: Any, monotone: Any, rules: Any, free: Any) -> Any:
    """The score of both children of a candidate, or -inf; ``node`` are scalars, since arrays are slow to hand on."""
    g, h, rows, lower, upper, g_unit, h_unit = node
    hr = h - hl
    fl, fr = hl * h_unit, hr * h_unit
    if hl <= 0 or hr <= 0 or fl < rules.min_child_weight or fr < rules.min_child_weight:
        return -np.inf
    if fl * rows < rules.min_data_in_leaf or fr * rows < rules.min_data_in_leaf:
        return -np.inf
    left, right = gl * g_unit, (g - gl) * g_unit
    if free and monotone == 0 and rules.l1 == 0.0:
        return left * left / (fl + l2) + right * right / (fr + l2)
    return _children_by_rules(left, fl, right, fr, lower, upper, l2, monotone, rules, free)


@_jit
def _children_by_rules(
    left: Any, fl: Any, right: Any, fr: Any, lower: Any, upper: Any, l2: Any, monotone: Any, rules: Any, free: Any
) -> Any:
    """By itself, so that what most calls need is small enough to be compiled into the loops: 0.8 ms for 1.2 on 32 nodes
    of 28 columns."""
    if free and monotone == 0:
        return _score(left, fl, 0.0, l2, rules.l1, True) + _score(right, fr, 0.0, l2, rules.l1, True)
    wl = _weight(left, fl, l2, rules, lower, upper)
    wr = _weight(right, fr, l2, rules, lower, upper)
    if monotone * (wr - wl) < 0:
        return -np.inf
    return _score(left, fl, wl, l2, rules.l1, False) + _score(right, fr, wr, l2, rules.l1, False)


@_jit
def _numbers(
    g: Any, h: Any, first: Any, last: Any, e: Any, f: Any, monotone: Any, node: Any, rules: Any, free: Any, best: Any
) -> None:
    """Every cut of a numeric column, with what is missing on the left and on the right."""
    gm, hm = g[last], h[last]
    missing = gm != 0 or hm != 0
    sum_g, sum_h = np.int64(0), np.int64(0)
    most, found, found_g, found_h = best.gain[e], -1, sum_g, sum_h
    for k in range(first, last):
        sum_g += g[k]
        sum_h += h[k]
        for side in range(0 if missing else 1, 2):
            gl = sum_g + gm if side == 0 else sum_g
            hl = sum_h + hm if side == 0 else sum_h
            score = _children(gl, hl, node, rules.l2, monotone, rules, free)
            if score > most:
                most, found, found_g, found_h = score, 2 * (k - first) + side, gl, hl
    if found >= 0:
        best.gain[e], best.feature[e], best.bin[e] = most, f, found >> 1
        best.gl[e], best.hl[e] = found_g, found_h
        best.missing_left[e] = found & 1 == 0 or (not missing and found_h >= node[1] - found_h)
        best.categories[e, :] = 0


@_jit
def _categories(
    g: Any, h: Any, first: Any, last: Any, e: Any, f: Any, n_rows: Any, node: Any, rules: Any, free: Any, best: Any
) -> None:
    """Cuts of the categories in the order of their gradients; what is missing goes right."""
    grouped = rules.min_data_per_group > 0 and last - first > rules.max_cat_to_onehot
    least = rules.cat_smooth if grouped else 0.0
    order, n = _sorted_categories(g, h, first, last, rules.cat_smooth, rules.rare_weight, least, node)
    if grouped:
        return _groups(g, h, first, order, n, e, f, n_rows, node, rules, free, best)
    single = rules.min_data_per_group > 0 or n <= rules.max_cat_to_onehot
    if single:
        order[:n] = np.sort(order[:n])
    l2 = rules.l2 if single else rules.l2 + rules.cat_l2
    all_g, all_h = np.int64(0), np.int64(0)
    for i in range(n):
        all_g += g[first + order[i]]
        all_h += h[first + order[i]]
    missing = g[last] != 0 or h[last] != 0
    most = n if single else min(rules.max_cat_threshold, (n + 1) // 2)
    for end in range(1 if single else 2):
        gl, hl = np.int64(0), np.int64(0)
        for i in range(most):
            at = order[i] if end == 0 else order[n - 1 - i]
            gl = g[first + at] + (np.int64(0) if single else gl)
            hl = h[first + at] + (np.int64(0) if single else hl)
            for others in range(2 if missing else 1):
                tg, th = (all_g - gl, all_h - hl) if others else (gl, hl)
                score = _children(tg, th, node, l2, 0, rules, free)
                if score > best.gain[e]:
                    best.gain[e], best.feature[e], best.bin[e], best.missing_left[e] = score, f, -1, False
                    best.gl[e], best.hl[e] = tg, th
                    best.categories[e, :] = 0
                    for j in range(n):
                        inside = j == i if single else (j <= i if end == 0 else j >= n - 1 - i)
                        if inside != (others == 1):
                            best.categories[e, order[j] >> 5] |= np.uint32(1) << np.uint32(order[j] & 31)


@_jit
def _groups(
    g: Any, h: Any, first: Any, order: Any, n: Any, e: Any, f: Any, n_rows: Any, node: Any, rules: Any, free: Any,
    best: Any,
) -> None:  # fmt: skip
    """The same by LightGBM's rules: a cut after a group of rows, and what takes no part goes right too."""
    most = min(rules.max_cat_threshold, (n + 1) // 2)
    for end in range(2):
        gl, hl, left, group = np.int64(0), np.int64(0), 0.0, 0.0
        for i in range(most):
            at = first + (order[i] if end == 0 else order[n - 1 - i])
            count = np.floor(h[at] * node[6] * node[2] + 0.5)
            gl, hl, left, group = gl + g[at], hl + h[at], left + count, group + count
            if left < rules.min_data_in_leaf or hl * node[6] < rules.min_child_weight:
                continue
            if n_rows - left < max(rules.min_data_in_leaf, float(rules.min_data_per_group)):
                break
            if (node[1] - hl) * node[6] < rules.min_child_weight:
                break
            if group < rules.min_data_per_group:
                continue
            group = 0.0
            score = _children(gl, hl, node, rules.l2 + rules.cat_l2, 0, rules, free)
            if score > best.gain[e]:
                best.gain[e], best.feature[e], best.bin[e], best.missing_left[e] = score, f, -1, False
                best.gl[e], best.hl[e] = gl, hl
                best.categories[e, :] = 0
                for j in range(i + 1):
                    code = order[j] if end == 0 else order[n - 1 - j]
                    best.categories[e, code >> 5] |= np.uint32(1) << np.uint32(code & 31)


@_jit
def _sorted_categories(g: Any, h: Any, first: Any, last: Any, smooth: Any, rare: Any, least: Any, node: Any) -> Any:
    """The codes that have a hessian and ``least`` rows, in the order of their gradients, and how many they are."""
    rows, g_unit, h_unit = node[2], node[5], node[6]
    order, keys, n = np.empty(256, np.int64), np.empty(256), 0
    for code in range(last - first):
        if h[first + code] > 0 and np.floor(h[first + code] * h_unit * rows + 0.5) >= least:
            key = g[first + code] * g_unit / (h[first + code] * h_unit + smooth)
            if h[first + code] * h_unit < rare:
                key = 0.0
            place = n
            while place > 0 and keys[place - 1] > key:
                keys[place], order[place] = keys[place - 1], order[place - 1]
                place -= 1
            keys[place], order[place] = key, code
            n += 1
    return order, n


def prewarm() -> None:
    """Compile everything, or load it from the cache on disk."""
    bin_codes(np.zeros((1, 1), np.float32), np.zeros((1, 254), np.float32), np.zeros(1, np.int32))
    minus = np.full(1, -1, np.int32)
    step = Step(minus, minus, np.zeros((1, 256), np.uint8))
    add_values(np.zeros((1, 1), np.uint8), step, np.zeros(1), np.zeros(1))
    pack_scaled(np.zeros(1), np.zeros(1), 1.0, 1.0)
    logistic(np.zeros(1), np.zeros(1), np.empty(0), np.empty(0), 1.0, 1.0)
    zero, sums = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
    columns = Columns(zero, np.ones(1, np.int32), np.zeros(1, np.uint8), np.zeros(1, np.int8))
    endless = np.full(1, np.inf)
    where = Nodes(zero, zero, zero, -endless, endless, np.ones((1, 1), np.uint8))
    trees_places.prewarm()
    trees_sums.prewarm()
    trees_walk.prewarm()
    best_splits(sums, sums, columns, where, Rules(1.0, 0.0, 1.0, 0.0, 0.0, 10.0, 10.0, 32, 4), 1.0, 1.0)
