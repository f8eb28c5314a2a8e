"""numba twins of :mod:`mrml.kernels.trees.sparse`: the same arguments, identical integers and gains."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.kmeans_numba import _jit, _plain
from mrml.kernels.trees import numpy as trees
from mrml.kernels.trees.numba import _children, _score, _weight
from mrml.kernels.trees.numpy import Nodes, Rules, Splits, Step
from mrml.kernels.trees.sparse import GROUP_BITS, Alive, Cells, Layout, SparseCodes
from mrml.kernels.trees.sparse import rows_of as rows_of


def cells(x: SparseCodes, runs: slice, rows: Array, alive: Alive) -> Cells:
    """See :func:`mrml.kernels.trees.sparse.cells`."""
    n = int(x.ends[runs.stop] - x.ends[runs.start])
    out = Cells(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64))
    used: Any = _cells(*_runs(x, runs), *_looked_up(rows, alive), *out)
    return Cells(*(a[:used] for a in out))


def _looked_up(rows: Array, alive: Alive) -> tuple[Any, Any, Any]:
    return _plain(rows), _plain(alive.words), _plain(alive.bit)


def _runs(x: SparseCodes, runs: slice) -> tuple[Any, Any, Any, Any]:
    return (
        _plain(x.place[runs]), _plain(x.ends[runs.start : runs.stop + 1]), _plain(x.row), _plain(x.column[runs])
    )  # fmt: skip


@_jit
def _cells(
    place: Any, ends: Any, row: Any, columns: Any, rows: Any, words: Any, bit: Any, out_place: Any, out_slot: Any,
    out_g: Any, out_h: Any,
) -> Any:  # fmt: skip
    n, some = 0, len(words) > 0
    n_slots = len(bit)
    at, seen = np.zeros(n_slots, np.int64), np.full(n_slots, -1, np.int64)
    for r in range(len(place)):
        word = words[columns[r]] if some else np.uint64(0xFFFFFFFFFFFFFFFF)
        if word == np.uint64(0):
            continue
        for k in range(ends[r], ends[r + 1]):
            i = np.uint64(row[k])
            if rows[i, 0] < 0:
                continue
            s = np.uint64(rows[i, 0])
            if (word >> np.uint64(bit[s])) & np.uint64(1) == np.uint64(0):
                continue
            if seen[s] != r:
                seen[s], at[s] = r, n
                out_place[n], out_slot[n], out_g[n], out_h[n] = place[r], s, rows[i, 1], rows[i, 2]
                n += 1
            else:
                out_g[at[s]] += rows[i, 1]
                out_h[at[s]] += rows[i, 2]
    return n


def add_cells(x: SparseCodes, runs: slice, rows: Array, alive: Alive, first_place: int, g: Array, h: Array) -> None:
    """See :func:`mrml.kernels.trees.sparse.add_cells`."""
    _add_cells(*_runs(x, runs), *_looked_up(rows, alive), first_place, g, h)


@_jit
def _add_cells(
    place: Any, ends: Any, row: Any, columns: Any, rows: Any, words: Any, bit: Any, first_place: Any, g: Any, h: Any
) -> None:
    some = len(words) > 0
    for r in range(len(place)):
        word = words[columns[r]] if some else np.uint64(0xFFFFFFFFFFFFFFFF)
        if word == np.uint64(0):
            continue
        at = np.uint64(place[r] - first_place)
        for k in range(ends[r], ends[r + 1]):
            i = np.uint64(row[k])
            if rows[i, 0] < 0:
                continue
            s = np.uint64(rows[i, 0])
            if (word >> np.uint64(bit[s])) & np.uint64(1) != np.uint64(0):
                g[at, s] += rows[i, 1]
                h[at, s] += rows[i, 2]


def cells_of(g: Array, h: Array, first_place: int) -> Cells:
    """See :func:`mrml.kernels.trees.sparse.cells_of`."""
    n = _count(g, h)
    out = Cells(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64))
    _cells_of(g, h, first_place, *out)
    return out


@_jit
def _count(g: Any, h: Any) -> Any:
    n = 0
    for place in range(len(g)):
        for slot in range(g.shape[1]):
            n += 1 if (g[place, slot] | h[place, slot]) != 0 else 0
    return n


@_jit
def _cells_of(g: Any, h: Any, first_place: Any, out_place: Any, out_slot: Any, out_g: Any, out_h: Any) -> None:
    n = 0
    for place in range(len(g)):
        for slot in range(g.shape[1]):
            if (g[place, slot] | h[place, slot]) != 0:
                out_place[n], out_slot[n], out_g[n], out_h[n] = (
                    first_place + place,
                    slot,
                    g[place, slot],
                    h[place, slot],
                )
                n += 1


def merged(a: Cells, b: Cells, n_slots: int) -> Cells:
    """See :func:`mrml.kernels.trees.sparse.merged`."""
    n = len(a.place) + len(b.place)
    out = Cells(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64))
    used = _merged(Cells(*map(_plain, a)), Cells(*map(_plain, b)), n_slots, out)
    return Cells(*(x[:used] for x in out))


@_jit
def _merged(a: Any, b: Any, n_slots: Any, out: Any) -> Any:
    at, seen = np.zeros(n_slots, np.int64), np.full(n_slots, -1, np.int64)
    i, j, n = 0, 0, 0
    while i < len(a.place) or j < len(b.place):
        of_a = j >= len(b.place) or (i < len(a.place) and a.place[i] <= b.place[j])
        place = a.place[i] if of_a else b.place[j]
        while i < len(a.place) and a.place[i] == place:
            s = a.slot[i]
            seen[s], at[s] = place, n
            out.place[n], out.slot[n], out.g[n], out.h[n] = place, s, a.g[i], a.h[i]
            n, i = n + 1, i + 1
        while j < len(b.place) and b.place[j] == place:
            s = b.slot[j]
            if seen[s] == place:
                out.g[at[s]] += b.g[j]
                out.h[at[s]] += b.h[j]
            else:
                out.place[n], out.slot[n], out.g[n], out.h[n] = place, s, b.g[j], b.h[j]
                n += 1
            j += 1
    return n


def best_splits(
    found: Cells, layout: Layout, first: int, stop: int, nodes: Nodes, rules: Rules, g_unit: float, h_unit: float
) -> tuple[Splits, tuple[Array, Array]]:
    """See :func:`mrml.kernels.trees.sparse.best_splits`."""
    n = len(nodes.g)
    best, group = trees.no_splits(n), trees.no_splits(n)
    numbers = *(float(r) for r in rules[:7]), *(int(r) for r in rules[7:10]), float(rules.rare_weight)
    plain = Rules(*numbers)  # type: ignore[arg-type]
    alive = np.empty(len(found.place), np.int32), np.empty(len(found.place), np.int32)
    arrays: list[Any] = [*map(_plain, found), *map(_plain, layout)]
    beside: list[Any] = [*map(_plain, nodes), plain, trees.is_free(nodes, rules), g_unit, h_unit, group, best, *alive]
    seek: Any = _best_splits
    used = seek(*arrays, first, *beside)
    return best, (alive[0][:used], alive[1][:used])


@_jit
def _best_splits(
    place: Any, slot: Any, g: Any, h: Any, offsets: Any, n_bins: Any, default: Any, monotone: Any, first: Any,
    node_g: Any, node_h: Any, rows: Any, lower: Any, upper: Any, allowed: Any, rules: Any, free: Any, g_unit: Any,
    h_unit: Any, group: Any, best: Any, alive_slot: Any, alive_column: Any,
) -> Any:  # fmt: skip
    """One function that calls little: handing arrays on takes 30 ns a call."""
    n, all_allowed = len(node_g), len(allowed) == 0
    own, ratio = np.zeros(n), np.zeros(n)
    for e in range(n):
        w = _weight(node_g[e] * g_unit, node_h[e] * h_unit, rules.l2, rules, lower[e], upper[e])
        own[e] = _score(node_g[e] * g_unit, node_h[e] * h_unit, w, rules.l2, rules.l1, free)
        ratio[e] = rows[e] / max(node_h[e] * h_unit, 1e-300)
    # by slot, of the column that is looked at: sums of all cells, of missing ones, of those up to a bin
    all_g, all_h = np.zeros(n, np.int64), np.zeros(n, np.int64)
    miss_g, miss_h = np.zeros(n, np.int64), np.zeros(n, np.int64)
    run_g, run_h = np.zeros(n, np.int64), np.zeros(n, np.int64)
    slots, seen, stage = np.empty(n, np.int64), np.full(n, -1, np.int64), np.zeros(n, np.int8)
    # as many as there can be, on pages that are there once written to: to let them grow cost 60 ns a column
    most = 3 * len(place)
    cut_slot, cut_code = np.empty(most, np.int64), np.empty(most, np.int64)
    cut_g, cut_h = np.empty(most, np.int64), np.empty(most, np.int64)
    last_group, column, a, n_alive = -1, first, 0, 0
    while a < len(place):
        while offsets[column + 1] <= place[a]:
            column += 1
        if column >> GROUP_BITS != last_group:
            _fold(group, best, own)
            last_group = column >> GROUP_BITS
        missing, zero, n_open, b = offsets[column] + n_bins[column], default[column], 0, a
        while b < len(place) and place[b] <= missing:
            s = slot[b]
            if seen[s] != column:
                seen[s], slots[n_open] = column, s
                n_open += 1
                all_g[s], all_h[s], miss_g[s], miss_h[s] = 0, 0, 0, 0
            all_g[s] += g[b]
            all_h[s] += h[b]
            if place[b] == missing:
                miss_g[s] += g[b]
                miss_h[s] += h[b]
            b += 1
        # stage of a slot: 0 it is not looked at, 1 nothing was seen, 2 the default is still to come, 3 it has come
        some = False
        for j in range(n_open):
            s = slots[j]
            stage[s] = 0
            if all_h[s] * h_unit >= rules.min_child_weight:
                alive_slot[n_alive], alive_column[n_alive] = s, column
                n_alive += 1
                if all_allowed or allowed[s, column]:
                    stage[s], some = 1, True
                    run_g[s], run_h[s] = 0, 0
                    if zero == n_bins[column]:
                        miss_g[s] += node_g[s] - all_g[s]
                        miss_h[s] += node_h[s] - all_h[s]
        if some:
            m, k = 0, a
            while k < b and place[k] < missing:
                this, code = place[k], place[k] - offsets[column]
                while k < b and place[k] == this:
                    s = slot[k]
                    if stage[s] == 1:
                        stage[s] = 3 if zero == n_bins[column] else 2
                        if code > 0 and zero != 0:
                            cut_slot[m], cut_code[m], cut_g[m], cut_h[m] = s, 0, 0, 0
                            m += 1
                    if stage[s] == 2 and code > zero:
                        stage[s] = 3
                        run_g[s] += node_g[s] - all_g[s]
                        run_h[s] += node_h[s] - all_h[s]
                        cut_slot[m], cut_code[m], cut_g[m], cut_h[m] = s, zero, run_g[s], run_h[s]
                        m += 1
                    if stage[s] != 0:
                        run_g[s] += g[k]
                        run_h[s] += h[k]
                        cut_slot[m], cut_code[m], cut_g[m], cut_h[m] = s, code, run_g[s], run_h[s]
                        m += 1
                    k += 1
            for j in range(n_open):
                s = slots[j]
                if zero != n_bins[column] and (stage[s] == 1 or stage[s] == 2):
                    if stage[s] == 1 and zero != 0:  # all that is stored is missing
                        cut_slot[m], cut_code[m], cut_g[m], cut_h[m] = s, 0, 0, 0
                        m += 1
                    run_g[s] += node_g[s] - all_g[s]
                    run_h[s] += node_h[s] - all_h[s]
                    cut_slot[m], cut_code[m], cut_g[m], cut_h[m] = s, zero, run_g[s], run_h[s]
                    m += 1
            for j in range(m):
                s = cut_slot[j]
                there = miss_g[s] != 0 or miss_h[s] != 0
                node = (node_g[s], node_h[s], ratio[s], lower[s], upper[s], g_unit, h_unit)
                for side in range(0 if there else 1, 2):
                    gl = cut_g[j] + (miss_g[s] if side == 0 else np.int64(0))
                    hl = cut_h[j] + (miss_h[s] if side == 0 else np.int64(0))
                    score = _children(gl, hl, node, rules.l2, monotone[column], rules, free)
                    if score > group.gain[s]:
                        group.gain[s], group.feature[s], group.bin[s] = score, column, cut_code[j]
                        group.gl[s], group.hl[s] = gl, hl
                        group.missing_left[s] = side == 0 or (not there and hl >= node_h[s] - hl)
        a = b
    _fold(group, best, own)
    return n_alive


@_jit
def _fold(group: Any, best: Any, own: Any) -> None:
    """What was found in a group of features is compared by its gain with what was found before."""
    for e in range(len(own)):
        if group.gain[e] == -np.inf:
            continue
        gain = group.gain[e] - own[e]
        if gain > trees.MIN_GAIN * abs(group.gain[e]) and gain > best.gain[e]:
            best.gain[e], best.feature[e], best.bin[e] = gain, group.feature[e], group.bin[e]
            best.missing_left[e], best.gl[e], best.hl[e] = group.missing_left[e], group.gl[e], group.hl[e]
        group.gain[e] = -np.inf


def route(x: SparseCodes, default: Array, nodes: Array, step: Step) -> None:
    """See :func:`mrml.kernels.trees.numpy.route`."""
    _route(
        _plain(x.indptr), _plain(x.indices), _plain(x.codes), _plain(default), nodes, *(_plain(a) for a in step)
    )  # fmt: skip


@_jit
def _code(indices: Any, codes: Any, low: Any, high: Any, feature: Any, default: Any) -> Any:
    """The code of a row, whose entries are ``low`` to ``high`` - 1, in a column."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < feature:
            low = middle + 1
        else:
            high = middle
    return np.int64(codes[low]) if low < end and indices[low] == feature else np.int64(default[feature])


@_jit
def _route(
    indptr: Any, indices: Any, codes: Any, default: Any, nodes: Any, feature: Any, left: Any, goes_left: Any
) -> None:
    for i in range(len(nodes)):
        node = np.int64(nodes[i])
        f = feature[node]
        while f >= 0:
            code = _code(indices, codes, indptr[i], indptr[i + 1], f, default)
            node = np.int64(left[node] + 1 - goes_left[node, code])
            f = feature[node]
        nodes[i] = node


def prewarm() -> None:
    """Compile everything, or load it from the cache on disk."""
    one, none = np.array([0, 1], np.int64), np.zeros(0, np.int32)
    code = np.zeros(1, np.uint8)
    x = SparseCodes(one, none, code[:0], 1, none, none, np.zeros(1, np.int64), none)
    layout = Layout(np.array([0, 2]), np.ones(1, np.int32), np.ones(1, np.int32), np.zeros(1, np.int8))
    alive, empty, rows = Alive(np.empty(0, np.uint64), one[:1]), slice(0, 0), np.zeros((1, 4), np.int32)
    found = merged(cells(x, empty, rows, alive), cells(x, empty, rows, alive), 1)
    sums = np.zeros((2, 1), np.int64), np.zeros((2, 1), np.int64)
    add_cells(x, empty, rows, alive, 0, *sums)
    cells_of(*sums, 0)
    zero = np.zeros(1)
    nodes = Nodes(one[:1], one[:1], one[:1], zero, zero, np.empty((0, 0), np.uint8))
    best_splits(found, layout, 0, 1, nodes, Rules(1.0, 0.0, 1.0, 0.0, 0.0, 10.0, 10.0, 32, 4), 1.0, 1.0)
    leaf = Step(np.full(1, -1, np.int32), np.zeros(1, np.int32), np.ones((1, 256), np.uint8))
    route(x._replace(indptr=np.zeros(2, np.int64)), code, np.zeros(1, np.uint16), leaf)
