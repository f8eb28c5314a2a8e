"""The numba twin of where rows stand in a growing tree (:func:`mrml.kernels.trees.numpy.move`).

Rows are kept node by node, as LightGBM does, but within runs of 65,536 rows, whose columns stay near.  So a round
touches the rows of the nodes that it splits and of the histograms that it builds, and no others: 14 ns a row for the
six levels of a tree, where to move every row and then to sort those of the round took 34.  A tree's places are::

    order   (n,) uint16             the rows of a run, as distances from its first one; in the end those of no gradient
    counts  (n_runs,) int64         how many nodes hold rows
    nodes   (n_runs, most) uint16   which ones, one after the other
    ends    (n_runs, most) uint32   where in the run's order the rows of each end; the last is where those without
                                    a gradient begin, which stay in the root

Rows of a node may come in any order: what is summed are integers.  So order is changed in place, and to move rows again
by the step that they were moved by changes nothing.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.kernels.kmeans_numba import _jit, _plain, numba
from mrml.kernels.trees.numpy import PACKED_ROWS, Step

#: rows between asking for a row and reading it: of histograms, with 16 it takes 0.5 ns a value for 0.4
AHEAD = 32
#: nodes whose rows wait while those beside them are parted: a level has one, and a tree at most 15 levels
_WAITING = 32


class Places(NamedTuple):
    """Where the rows of a block stand, see above."""

    order: Array
    counts: Array
    nodes: Array
    ends: Array


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def ask(typing: Any, array: Any, index: Any) -> Any:
    """Have a place of an array brought into the cache; changes nothing."""
    ir: Any = importlib.import_module("llvmlite.ir")
    cgutils: Any = importlib.import_module("numba.core.cgutils")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = builder.bitcast(builder.gep(data, [args[1]]), pointer)
        builder.call(function, [place, *(ir.Constant(number, k) for k in (0, 3, 1))])  # read, keep near, data
        return context.get_dummy_value()

    return numba.types.void(array, index), generate


def places(q: tuple[Array, ...]) -> Places:
    """See :func:`mrml.kernels.trees.numpy.places`."""
    n_runs = -(-len(q[0]) // PACKED_ROWS)
    order, ends = np.empty(len(q[0]), np.uint16), np.zeros((n_runs, 1), np.uint32)
    for run in range(n_runs):
        rows = slice(run * PACKED_ROWS, (run + 1) * PACKED_ROWS)
        ends[run] = _begin(_plain(q[0][rows]), _plain(q[-1][rows]), order[rows])
    return Places(order, np.ones(n_runs, np.int64), np.zeros((n_runs, 1), np.uint16), ends)


@_jit
def _begin(one: Any, other: Any, order: Any) -> Any:
    """Number rows, those that are 0 in both last; how many the others are."""
    zeros, n, n_zeros = np.empty(len(order) + 1, np.uint16), np.uint64(0), np.uint64(0)
    for i in range(len(order)):
        zero = np.uint64((one[i] | other[i]) == 0)
        order[n] = zeros[n_zeros] = i
        n += np.uint64(1) - zero
        n_zeros += zero
    for k in range(n_zeros):
        order[n + np.uint64(k)] = zeros[k]
    return n


def move(codes: Array, places: Places, step: Step) -> Places:
    """See :func:`mrml.kernels.trees.numpy.move`."""
    n_runs, most = len(places.counts), min(int(np.count_nonzero(step.feature < 0)), PACKED_ROWS)
    shape = n_runs, max(1, most)
    moved = Places(places.order, np.empty(n_runs, np.int64), np.empty(shape, np.uint16), np.empty(shape, np.uint32))
    _move(_plain(codes).reshape(-1), codes.shape[1], PACKED_ROWS, places, step, moved)
    return moved


@_jit
def _move(flat: Any, width: Any, run_rows: Any, places: Any, step: Any, moved: Any) -> None:
    order = places.order
    spare = np.empty(min(run_rows, len(order)) + 1, np.uint16)
    for run in range(len(places.counts)):
        first, n = run * run_rows, places.counts[run]
        stop = min(first + run_rows, len(order))
        some, nodes, ends = flat[first * width : stop * width], places.nodes[run, :n], places.ends[run, :n]
        new = moved.nodes[run], moved.ends[run]
        moved.counts[run] = _move_run(some, width, order[first:stop], nodes, ends, step, new[0], new[1], spare)


@_jit
def _move_run(
    flat: Any, width: Any, order: Any, old_nodes: Any, old_ends: Any, step: Any, nodes: Any, ends: Any, spare: Any
) -> Any:
    """Part the rows of every node until they are in leaves; how many of these hold rows."""
    begin, n = np.uint64(0), 0
    waiting, their_ends = np.empty(_WAITING, np.int64), np.empty(_WAITING, np.uint64)
    for old in range(len(old_nodes)):
        waiting[0], their_ends[0], n_waiting = old_nodes[old], old_ends[old], 1
        while n_waiting:
            node, end = waiting[n_waiting - 1], their_ends[n_waiting - 1]
            if begin == end:
                n_waiting -= 1
            elif step.feature[node] < 0:
                nodes[n], ends[n] = node, end
                begin, n, n_waiting = end, n + 1, n_waiting - 1
            else:
                middle = _part(flat, width, order, begin, end, step.feature[node], step.goes_left[node], spare)
                waiting[n_waiting - 1] = step.left[node] + 1
                waiting[n_waiting], their_ends[n_waiting] = step.left[node], middle
                n_waiting += 1
    return n


@_jit
def _part(flat: Any, width: Any, order: Any, begin: Any, end: Any, feature: Any, table: Any, spare: Any) -> Any:
    """Bring the rows that go left before the others, without a branch; where the others begin."""
    w, f, one = np.uint64(width), np.uint64(feature), np.uint64(1)
    n_left, n_right, last = begin, np.uint64(0), end - one
    for k in range(begin, end):
        i = order[np.uint64(k)]
        ask(flat, np.uint64(order[min(np.uint64(k) + np.uint64(64), last)]) * w + f)
        goes = np.uint64(table[flat[np.uint64(i) * w + f]])
        order[n_left] = spare[n_right] = i
        n_left += goes
        n_right += one - goes
    for k in range(n_right):
        order[n_left + np.uint64(k)] = spare[np.uint64(k)]
    return n_left


def nodes_of(codes: Array, places: Places, step: Step) -> Array:
    """See :func:`mrml.kernels.trees.numpy.nodes_of`."""
    out = np.zeros(len(codes))
    add_leaves(codes, places, step, np.arange(float(len(step.feature))), out)
    return out.astype(np.uint16)


def add_leaves(codes: Array, places: Places, step: Step, values: Array, scores: Array) -> None:
    """See :func:`mrml.kernels.trees.numpy.add_leaves`."""
    flat, moved = _plain(codes).reshape(-1), move(codes, places, step)
    _add_leaves(flat, codes.shape[1], PACKED_ROWS, moved, step, _plain(values), scores)


@_jit
def _add_leaves(flat: Any, width: Any, run_rows: Any, places: Any, step: Any, values: Any, scores: Any) -> None:
    for run in range(len(places.counts)):
        first, begin = run * run_rows, np.uint64(0)
        rows, some = places.order[first : first + run_rows], scores[first : first + run_rows]
        for s in range(places.counts[run]):
            value, end = values[places.nodes[run, s]], np.uint64(places.ends[run, s])
            for k in range(begin, end):
                some[rows[np.uint64(k)]] += value
            begin = end
        for k in range(begin, len(rows)):  # those without a gradient, from the root on
            i = rows[np.uint64(k)]
            some[i] += values[leaf_of(flat, (np.uint64(first) + np.uint64(i)) * np.uint64(width), step)]


@_jit
def leaf_of(flat: Any, at: Any, step: Any) -> Any:
    """The leaf that the row whose columns begin at ``at`` ends in, from the root on."""
    node = np.int64(0)
    while step.feature[node] >= 0:
        f = np.uint64(step.feature[node])
        node = step.left[node] + 1 - np.int64(step.goes_left[node, flat[at + f]])
    return node


def prewarm() -> None:
    """Compile everything, or load it from the cache on disk."""
    codes, minus = np.zeros((1, 1), np.uint8), np.full(1, -1, np.int32)
    step = Step(minus, minus, np.zeros((1, 256), np.uint8))
    for q in ((np.zeros(1, np.int64),), (np.zeros(1, np.int32), np.zeros(1, np.int32))):
        moved = move(codes, places(q), step)
    nodes_of(codes, moved, step)
    add_leaves(codes, moved, step, np.zeros(1), np.zeros(1))
