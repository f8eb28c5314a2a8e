"""Histograms of columns of which most rows hold one code: sums of the others alone, and the best splits from them.

A column has a *default*, the code of what a row leaves out: missing, or the bin of zero.  Cells are kept for the other
codes of a node's rows; what the default has is the node minus its cells, exactly, since all sums are integers (what
LightGBM does for the most frequent bin).  So a round costs a time a stored entry, however many columns there are, and
its splits are those of :func:`mrml.kernels.trees.numpy.best_splits` to the bit.

One child of a split never holds the default, so it is made of cells.  Where the cells of a column in a node weigh less
than ``min_child_weight`` the column splits neither the node nor what comes below it: it is not *alive* there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.kernels.trees import numpy as trees
from mrml.kernels.trees.numpy import Nodes, Rules, Splits, Step

#: of 64 features, two to this power, scores are compared before the node's own is taken off; of those the gains are
GROUP_BITS = 6
#: bits of a word of :func:`alive_words`
WORD = 64


class SparseCodes(NamedTuple):
    """The codes of a block that are not their column's default, by rows and by columns.

    By rows ``indptr`` (n_rows + 1,) int64, ``indices`` (nnz,) int32, ascending in a row, ``codes`` (nnz,) uint8.  By
    columns the runs of equal codes of a column: ``place`` (n_runs,) int32, where a run's cell lies in the histogram of
    all columns, ascending, and ``column`` (n_runs,) int32; ``ends`` (n_runs + 1,) int64, and ``row`` (nnz,) int32, the
    rows of each run.
    """

    indptr: Array
    indices: Array
    codes: Array
    n_columns: int
    place: Array
    column: Array
    ends: Array
    row: Array

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.n_columns


class Layout(NamedTuple):
    """The columns: ``offsets`` (n_columns + 1,) int64 of their places, ``n_bins`` (n_columns,) int32, ``default``
    (n_columns,) int32 codes, ``monotone`` (n_columns,) int8."""

    offsets: Array
    n_bins: Array
    default: Array
    monotone: Array


class Cells(NamedTuple):
    """Sums by place and slot, (n,) each: ``place`` int32, ascending, ``slot`` int32, ``g`` and ``h`` int64.

    Slots of a place come in any order, each once.
    """

    place: Array
    slot: Array
    g: Array
    h: Array


class Alive(NamedTuple):
    """Which columns are looked at: ``words`` (n_columns,) uint64 hold a bit a slot, whose number is ``bit`` (n_slots,)
    int64; empty ``words``: all."""

    words: Array
    bit: Array


def by_columns(indptr: Array, indices: Array, codes: Array, offsets: Array) -> dict[str, Array]:
    """``place``, ``column``, ``ends`` and ``row`` of codes by rows."""
    places = (offsets[indices] + codes).astype(np.int32)
    order = np.argsort(places, kind="stable")
    row = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))[order]
    places = places[order]
    first = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(first, len(places)).astype(np.int64)
    return {"place": places[first], "column": indices[order[first]].astype(np.int32), "ends": ends, "row": row}


def nothing() -> Cells:
    """No cell."""
    none = np.empty(0, np.int32)
    return Cells(none, none, none.astype(np.int64), none.astype(np.int64))


def alive_words(columns: Sequence[Array], n_columns: int) -> Array:
    """(n_columns,) uint64: bit k is set where a column is in ``columns[k]``, or in one that shares the bit."""
    out = np.zeros(n_columns, np.uint64)
    for k, some in enumerate(columns):
        out[some] |= np.uint64(1 << (k % WORD))
    return out


def rows_of(slots: Array, nodes: Array, q: tuple[Array, ...], n_slots: int) -> tuple[Array, Array]:
    """Of each row its slot, gradient and hessian, side by side since they are looked up together: (n_rows, 4) int32,
    the slot -1 where the row is not looked at or q is 0; and (3, n_slots) int64 totals of gradients, hessians and rows.
    """
    g, h = trees.unpack(q[0]) if len(q) == 1 else (q[0].astype(np.int64), q[1].astype(np.int64))
    some = q[0] != 0 if len(q) == 1 else (q[0] != 0) | (q[1] != 0)
    slot = np.where(some, slots[nodes], -1).astype(np.int32)
    at = slot + 1
    sums = [np.bincount(at, a, n_slots + 1)[1:].astype(np.int64) for a in (g, h)]  # exact: below 2**53
    rows = np.zeros((len(slot), 4), np.int32)
    rows[:, 0], rows[:, 1], rows[:, 2] = slot, g, h
    return rows, np.stack([*sums, np.bincount(at, minlength=n_slots + 1)[1:]])


def cells(x: SparseCodes, runs: slice, rows: Array, alive: Alive) -> Cells:
    """The cells of some runs of a block; ``rows`` as :func:`rows_of` gives them."""
    ends = x.ends[runs.start : runs.stop + 1]
    row, lengths = x.row[ends[0] : ends[-1]], np.diff(ends)
    at = rows[row, 0]
    keep = at >= 0
    if len(alive.words):
        words = np.repeat(alive.words[x.column[runs]], lengths)
        bit = alive.bit[np.maximum(at, 0)].astype(np.uint64)
        keep &= (words >> bit) & np.uint64(1) != 0
    place, row, at = np.repeat(x.place[runs], lengths)[keep], row[keep], at[keep]
    return _summed(place, at, rows[row, 1], rows[row, 2])


def add_cells(x: SparseCodes, runs: slice, rows: Array, alive: Alive, first_place: int, g: Array, h: Array) -> None:
    """Add the cells of some runs to ``g`` and ``h`` (n_places, n_slots) int64, of places from ``first_place`` on."""
    found = cells(x, runs, rows, alive)
    g[found.place - first_place, found.slot] += found.g
    h[found.place - first_place, found.slot] += found.h


def cells_of(g: Array, h: Array, first_place: int) -> Cells:
    """The cells of what :func:`add_cells` summed."""
    place, slot = np.nonzero((g != 0) | (h != 0))
    return Cells((place + first_place).astype(np.int32), slot.astype(np.int32), g[place, slot], h[place, slot])


def _summed(place: Array, slot: Array, g: Array, h: Array) -> Cells:
    if not len(place):
        return nothing()
    key = (place.astype(np.int64) << 32) | slot
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    sums = (np.add.reduceat(a[order].astype(np.int64), first) for a in (g, h))
    return Cells((key[first] >> 32).astype(np.int32), (key[first] & 0xFFFFFFFF).astype(np.int32), *sums)


def merged(a: Cells, b: Cells, n_slots: int) -> Cells:
    """The cells of the rows of both."""
    return _summed(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))


def best_splits(
    found: Cells, layout: Layout, first: int, stop: int, nodes: Nodes, rules: Rules, g_unit: float, h_unit: float
) -> tuple[Splits, tuple[Array, Array]]:
    """The best split of each node over columns ``first`` to ``stop`` - 1, and who is alive.

    Parameters
    ----------
    found : the cells of those columns; slot k is node k.
    nodes : ``allowed`` (n_nodes, n_columns) of all columns, or empty where all are.

    Ties go to the lowest feature, then the lowest bin, then missing to the left.  ``feature`` counts from the first of
    all columns.  Who is alive: (n,) int32 nodes and columns, by column.
    """
    best = trees.no_splits(len(nodes.g))
    column = (np.searchsorted(layout.offsets, found.place, side="right") - 1).astype(np.int32)
    slot, code = found.slot.astype(np.int64), found.place - layout.offsets[column]
    pair = column.astype(np.int64) * len(nodes.g) + slot
    heavy, which = _heavy(pair, found.h, rules, h_unit)
    alive = (heavy % max(len(nodes.g), 1)).astype(np.int32), (heavy // max(len(nodes.g), 1)).astype(np.int32)
    if len(nodes.allowed):
        which &= nodes.allowed[slot, column] != 0
    if not which.any():
        return best, alive
    scan = _Scan(layout, nodes, *(a[which] for a in (slot, column, code, found.g, found.h)))
    seek = trees._Seek(nodes, rules, g_unit, h_unit, best)
    scores = _scores(seek, scan, layout.monotone[scan.column])
    own = seek.score((nodes.g * g_unit)[:, None], (nodes.h * h_unit)[:, None], np.arange(len(nodes.g)), rules.l2)[:, 0]
    _choose(scan, scores, own, nodes, layout, best)
    return best, alive


def _heavy(pair: Array, h: Array, rules: Rules, h_unit: float) -> tuple[Array, Array]:
    """The pairs of column and node that are alive, ascending, and (n_cells,) bool which cells are of one."""
    known, inverse = np.unique(pair, return_inverse=True)
    sums = np.zeros(len(known), np.int64)
    np.add.at(sums, inverse, h)
    heavy = sums * h_unit >= rules.min_child_weight
    return known[heavy], heavy[inverse]


class _Scan:
    """Candidates by node, column, bin and side, (n,) each: ``slot``, ``column``, ``code``, ``side``, ``gl``, ``hl``;
    ``missing`` where the node has some."""

    def __init__(self, layout: Layout, nodes: Nodes, *cells: Array) -> None:
        """``cells``: slot, column, code, g and h."""
        slot, column, code, g, h = cells
        n_columns = len(layout.n_bins)
        pair = slot * n_columns + column
        known, inverse = np.unique(pair, return_inverse=True)
        rest_g, rest_h = nodes.g[known // n_columns].copy(), nodes.h[known // n_columns].copy()
        np.subtract.at(rest_g, inverse, g)
        np.subtract.at(rest_h, inverse, h)
        zero = np.zeros(len(known), np.int64)
        # beside the cells what the default has, the first bin and the missing ones, which may have nothing
        pair = np.concatenate([pair, known, known, known])
        code = np.concatenate([code, layout.default[known % n_columns], zero, layout.n_bins[known % n_columns]])
        key = pair * 256 + code
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        g, h = (np.add.reduceat(np.concatenate([a, rest, zero, zero])[order], starts)
                for a, rest in ((g, rest_g), (h, rest_h)))  # fmt: skip
        pair, code = pair[order][starts], code[order][starts]
        last = np.flatnonzero(np.diff(pair, append=-1))  # the missing ones of each pair
        lengths = np.diff(last, prepend=-1)
        gm, hm = np.repeat(g[last], lengths), np.repeat(h[last], lengths)
        inside = np.ones(len(pair), bool)
        inside[last] = False
        sums = []
        for a in (g, h):
            run = np.cumsum(a)
            before = np.concatenate([[0], run[last[:-1]]])
            sums.append((run - np.repeat(before, lengths))[inside])
        gm, hm = gm[inside], hm[inside]
        self.pair = np.repeat(pair[inside], 2)
        self.slot, self.column = self.pair // n_columns, self.pair % n_columns
        self.code, self.side = np.repeat(code[inside], 2), np.tile([0, 1], int(inside.sum()))
        self.gl = np.stack([sums[0] + gm, sums[0]], axis=1).reshape(-1)
        self.hl = np.stack([sums[1] + hm, sums[1]], axis=1).reshape(-1)
        self.missing = np.repeat((gm != 0) | (hm != 0), 2)


def _scores(seek: Any, scan: _Scan, monotone: Array) -> Array:
    """(n,) float64 of both children, -inf where a candidate is not allowed."""
    out = np.full(len(scan.gl), -np.inf)
    for sign in np.unique(monotone).tolist():
        at = np.flatnonzero(monotone == sign)
        out[at] = seek.scores(scan.gl[at, None], scan.hl[at, None], scan.slot[at], seek.rules.l2, sign)[:, 0]
    return out


def _choose(scan: _Scan, scores: Array, own: Array, nodes: Nodes, layout: Layout, best: Splits) -> None:
    """The best candidate of every node, in place: of groups of features by score, and of those by gain."""
    group = scan.slot * ((len(layout.n_bins) >> GROUP_BITS) + 1) + (scan.column >> GROUP_BITS)
    at = _first_most(group, scores)
    gain = scores[at] - own[scan.slot[at]]
    good = gain > trees.MIN_GAIN * np.abs(scores[at])
    if not good.any():
        return
    at, gain = at[good], gain[good]
    which = _first_most(scan.slot[at], gain)
    at, gain = at[which], gain[which]
    slot, hl = scan.slot[at], scan.hl[at]
    best.gain[slot], best.feature[slot], best.bin[slot] = gain, scan.column[at], scan.code[at]
    best.gl[slot], best.hl[slot] = scan.gl[at], hl
    heavier = hl >= nodes.h[slot] - hl
    best.missing_left[slot] = np.where(scan.missing[at], scan.side[at] == 0, heavier)


def _first_most(groups: Array, values: Array) -> Array:
    """The place of the first of the largest values of each group; groups ascend."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    lengths = np.diff(np.append(starts, len(groups)))
    most = np.repeat(np.maximum.reduceat(values, starts), lengths)
    found = np.flatnonzero(values == most)
    return found[np.unique(groups[found], return_index=True)[1]]


def route(x: SparseCodes, default: Array, nodes: Array, step: Step) -> None:
    """See :func:`mrml.kernels.trees.numpy.route`."""
    n_rows, width = x.shape
    keys = np.repeat(np.arange(n_rows), np.diff(x.indptr)) * width + x.indices
    while True:
        feature = step.feature[nodes]
        rows = np.flatnonzero(feature >= 0)
        if not len(rows):
            return
        at, feature = nodes[rows], feature[rows]
        wanted = rows * width + feature
        place = np.searchsorted(keys, wanted)
        there = np.append(keys, -1)[place] == wanted
        code = np.where(there, np.append(x.codes, 0)[place], default[feature])
        nodes[rows] = step.left[at] + 1 - step.goes_left[at, code]


def add_values(
    twin: Any, x: SparseCodes, default: Array, step: Step, values: Array, scores: Array, nodes: Array | None = None
) -> None:
    """See :func:`mrml.kernels.trees.numpy.add_values`; rows move by ``twin``, from ``nodes`` on, which stay."""
    nodes = np.zeros(x.shape[0], np.uint16) if nodes is None else nodes.copy()
    twin.route(x, default, nodes, step)
    scores += values[nodes]
