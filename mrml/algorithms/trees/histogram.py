"""The histograms of a round: which nodes are looked at, and the statistic that travels.

The features are cut into blocks of 64; a block is a key, so that reducers share the work.  Of two siblings one is built
and the other is their parent minus it, exactly; parents stay with the State between rounds while they are small enough.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.kernels.trees import numpy as kernel
from mrml.statistic import Statistic

#: features of a key: the histograms of a node then take 256 KB, what a core keeps near
BLOCK_FEATURES = 64
#: bytes of histograms that a task holds
TASK_BYTES = 256 << 20
#: bytes of parents' histograms that the State carries; beyond them both children are built
PARENT_BYTES = 64 << 20
PREFIX = "histogram."


class FeatureBlock(NamedTuple):
    """Features ``first`` to ``stop`` - 1, the offsets of their histograms and the width of all."""

    first: int
    stop: int
    offsets: Array
    width: int


def key_of(block: int) -> str:
    """The key of a block of features."""
    return f"{PREFIX}{block:05d}"


def feature_blocks(n_bins: Array) -> list[FeatureBlock]:
    """The blocks of features of columns with these numbers of bins (n_features,) int32."""
    return _feature_blocks(n_bins.tobytes())


@functools.lru_cache(maxsize=8)
def _feature_blocks(n_bins: bytes) -> list[FeatureBlock]:
    """Every part of a round asks for them."""
    numbers, out = np.frombuffer(n_bins, np.int32), []
    for first in range(0, len(numbers), BLOCK_FEATURES):
        sizes = numbers[first : first + BLOCK_FEATURES].astype(np.int64) + 1
        ends = np.cumsum(sizes)
        out.append(FeatureBlock(first, first + len(sizes), ends - sizes, int(ends[-1])))
    return out


def width_of(n_bins: Array) -> int:
    """How many bins all columns have, with those of what is missing."""
    return int(n_bins.sum(dtype=np.int64)) + len(n_bins)


class Plan(NamedTuple):
    """The nodes that a round looks at, (n,) int32 each.

    ``tree``, ``node``: which one; ``slot``: where its histogram is built, or -1; ``sibling``: else the slot of its
    sibling, and ``parent`` the row of the State's parents that both come from.
    """

    tree: Array
    node: Array
    slot: Array
    sibling: Array
    parent: Array

    @property
    def n_slots(self) -> int:
        return int(self.slot.max(initial=-1)) + 1

    def slots(self, tree: int, n_nodes: int) -> Array:
        """(n_nodes,) int32: the slot of every node of a tree, or -1."""
        out = np.full(n_nodes, -1, np.int32)
        mine = self.tree == tree
        out[self.node[mine]] = self.slot[mine]
        return out

    def to_wire(self) -> dict[str, Array]:
        return dict(self._asdict())

    @staticmethod
    def from_wire(tree: Mapping[str, Array]) -> Plan:
        return Plan(**tree)


def plan_of(pairs: Array, hessians: Array) -> Plan:
    """Look at both nodes of every pair.

    ``pairs`` (n, 3): tree, left child, row of its parent or -1; ``hessians`` (n, 2) of the children.  The lighter child
    is built, the left one of two equals; without a parent both are.
    """
    columns: list[list[int]] = []
    slot = 0
    for (tree, left, parent), (hl, hr) in zip(pairs.tolist(), hessians.tolist(), strict=True):
        light = 0 if hl <= hr else 1
        for side in (0, 1):
            if side == light or parent < 0:
                columns.append([tree, left + side, slot + side * (parent < 0), -1, -1])
            else:
                columns.append([tree, left + side, -1, slot, parent])
        slot += 1 if parent >= 0 else 2
    table = np.array(columns, np.int32).reshape(-1, 5)
    return Plan(*(np.ascontiguousarray(column) for column in table.T))


def roots(n_trees: int) -> Plan:
    """Look at the roots of n trees."""
    numbers, none = np.arange(n_trees, dtype=np.int32), np.full(n_trees, -1, np.int32)
    return Plan(numbers, np.zeros(n_trees, np.int32), numbers, none, none)


def nothing() -> Plan:
    """Look at no node: a round that only scores."""
    return roots(0)


class Histogram(Statistic):
    """Sums of gradients and hessians by (node, bin) over a block of features; integers, so it needs no tree.

    ``buffer`` has ``g`` and ``h`` (n_slots, width) int64 and ``rows`` (n_slots,) int64.
    """

    exact = True

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer

    def merge(self, other: Histogram) -> None:
        self.buffer.settle()
        other.buffer.settle()
        for name in ("g", "h", "rows"):
            sums, more = getattr(self.buffer, name), getattr(other.buffer, name)
            if sums.dtype == np.int64 and sums.flags.writeable:
                np.add(sums, more, out=sums)
            else:  # as it came: widened and added in one pass
                setattr(self.buffer, name, np.add(sums, more, dtype=np.int64))

    def to_wire(self) -> Any:
        self.buffer.settle()
        return {name: _narrow(getattr(self.buffer, name)) for name in ("g", "h", "rows")}

    @classmethod
    def from_wire(cls, tree: Any) -> Histogram:
        return cls(_Sums(*(tree[name] for name in ("g", "h", "rows"))))


class _Sums:
    """A buffer that no row is added to any more; int32 where that holds the sums."""

    def __init__(self, g: Array, h: Array, rows: Array) -> None:
        self.g, self.h, self.rows = g, h, rows

    def settle(self) -> None:
        return None


def _narrow(a: Array) -> Array:
    """As int32 where it fits: half of the bytes, which is most of what a round costs."""
    if a.size and (a.max() >= 1 << 31 or a.min() < -(1 << 31)):
        return a
    return a.astype(np.int32)


def siblings(plan: Plan, built: Array, parents: Array) -> Array:
    """(n, ...) int64 of every node of the plan, from those of the slots and of the parents."""
    out: Array = np.empty((len(plan.slot), *built.shape[1:]), np.int64)
    for k, (slot, sibling, parent) in enumerate(zip(plan.slot, plan.sibling, plan.parent, strict=True)):
        out[k] = built[slot] if slot >= 0 else parents[parent]
        if slot < 0:  # row by row there are no temporary arrays of all of them
            out[k] -= built[sibling]
    out.flags.writeable = False  # so that a State takes it as it is
    return out


def empty(kernels: str, n_slots: int, width: int) -> Histogram:
    """The empty histogram of a block of features."""
    if kernels == "fast":
        from mrml.kernels.trees import numba as trees_fast

        return Histogram(trees_fast.Buffer(n_slots, width))
    return Histogram(kernel.Buffer(n_slots, width))
