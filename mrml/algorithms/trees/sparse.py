"""Rounds of trees over columns of which most rows hold one code: cells instead of histograms.

The columns are cut into keys of 65,536.  Both children of a split are built, since cells cost a time an entry and no
parents need to be kept; columns that are not alive in a parent are left out (:mod:`mrml.kernels.trees.sparse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrml.algorithm import State, Value
from mrml.algorithms.trees import growth
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE
from mrml.algorithms.trees.quant import Quant
from mrml.algorithms.trees.settings import TreeSettings
from mrml.arrays import Array
from mrml.kernels.trees import sparse as kernel
from mrml.kernels.trees.numpy import Nodes
from mrml.kernels.trees.sparse import WORD, Alive, Cells, Layout, SparseCodes, alive_words, nothing
from mrml.kernels.trees.twin import sparse_with_numba
from mrml.statistic import Statistic

#: columns of a key
KEY_COLUMNS = 1 << 16
#: bytes of a cell
CELL_BYTES = 24
#: cells of a key that are summed in their places, 8 MB, instead of being merged block by block
DENSE_CELLS = 1 << 19
#: the narrowest types that travel
_NARROW = (np.int16, np.int32)


def is_sparse(params: Mapping[str, Any]) -> bool:
    """Whether a run counts cells, by the State's parameters."""
    return "default" in params


def layout_of(params: Mapping[str, Any]) -> Layout:
    """The places of the columns; the last one is kept, since 200,000 columns take 1 ms a round and key."""
    global _last
    if _last is None or _last[0] is not params["n_bins"] or _last[1] is not params["default"]:
        _last = params["n_bins"], params["default"], _layout(params)
    return _last[2]


_last: tuple[Array, Array, Layout] | None = None


def _layout(params: Mapping[str, Any]) -> Layout:
    ends = np.cumsum(params["n_bins"].astype(np.int64) + 1)
    offsets = np.concatenate([[0], ends])
    return Layout(offsets, params["n_bins"], params["default"].astype(np.int32), params["monotone"])


def module_of(kernels: str) -> Any:
    """The kernels of the name that the State carries."""
    if kernels == "fast":
        from mrml.kernels.trees import sparse_numba

        return sparse_numba
    return kernel


class CellSums(Statistic):
    """The cells of a key, and the totals of gradients, hessians and rows of every slot: (3, n_slots) int64."""

    exact = True

    def __init__(self, n_slots: int) -> None:
        self.totals: Array = np.zeros((3, n_slots), np.int64)
        #: gradients and hessians of all places from the first one on, while the slots are few
        self.dense: tuple[Array, Array, int] | None = None
        #: each at least half as large as all after it, so that a cell is merged a few times only
        self.parts: list[Cells] = []

    def add(self, cells: Cells) -> None:
        """Take in cells."""
        self.parts.append(cells)
        while len(self.parts) > 1 and len(self.parts[-2].place) < 2 * len(self.parts[-1].place):
            self._merge_last()

    def _merge_last(self) -> None:
        b, a = self.parts.pop(), self.parts.pop()
        self.parts.append(sparse_with_numba().merged(a, b, self.totals.shape[1]))

    def add_block(self, module: Any, x: SparseCodes, runs: slice, rows: Array, alive: Alive, places: slice) -> None:
        """Take in some runs of a block, of a key that has ``places``."""
        shape = places.stop - places.start, self.totals.shape[1]
        if shape[0] * shape[1] > DENSE_CELLS:
            self.add(module.cells(x, runs, rows, alive))
            return
        if self.dense is None:
            self.dense = np.zeros(shape, np.int64), np.zeros(shape, np.int64), places.start
        module.add_cells(x, runs, rows, alive, places.start, self.dense[0], self.dense[1])

    def _settle(self) -> None:
        if self.dense is not None:
            g, h, first = self.dense
            self.dense = None
            self.add(sparse_with_numba().cells_of(g, h, first))

    def cells(self) -> Cells:
        """All cells, merged."""
        self._settle()
        while len(self.parts) > 1:
            self._merge_last()
        return self.parts[0] if self.parts else nothing()

    def merge(self, other: CellSums) -> None:
        other._settle()
        self.totals = self.totals + other.totals
        for part in other.parts:
            self.add(part)

    def to_wire(self) -> Any:
        place, slot, g, h = self.cells()
        n_slots = self.totals.shape[1]
        narrow = slot.astype(np.uint8 if n_slots <= 256 else np.uint16 if n_slots <= 1 << 16 else np.int32)
        return {"totals": self.totals, "place": place, "slot": narrow, "g": _narrow(g), "h": _narrow(h)}

    @classmethod
    def from_wire(cls, tree: Any) -> CellSums:
        out = cls(tree["totals"].shape[1])
        out.totals = tree["totals"]
        place, slot, g, h = (tree[name] for name in ("place", "slot", "g", "h"))
        out.parts = [Cells(place, slot.astype(np.int32), g.astype(np.int64), h.astype(np.int64))]
        return out

    def n_bytes(self) -> int:
        dense = 0 if self.dense is None else 2 * self.dense[0].nbytes
        return dense + sum(CELL_BYTES * len(part.place) for part in self.parts)


def _narrow(a: Array) -> Array:
    low, high = int(a.min(initial=0)), int(a.max(initial=0))
    for kind in _NARROW:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return a.astype(kind)
    return a


class Sight:
    """What a round looks at: the columns, and which of them are alive by slot."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        plan = hist.Plan.from_wire(params["plan"])
        self.n_slots, self.layout = plan.n_slots, layout_of(params)
        self.n_columns = len(self.layout.n_bins)
        self.keys = [(k, min(k + KEY_COLUMNS, self.n_columns)) for k in range(0, self.n_columns, KEY_COLUMNS)]
        self.alive = _alive_of(params, plan)

    def fill(self, module: Any, x: SparseCodes, slots: Array, nodes: Array, q: tuple[Array, ...], into: Any) -> None:
        """Add the rows of a block, as they are in the nodes of one tree, to the statistics of all keys."""
        rows, totals = module.rows_of(slots, nodes, q, self.n_slots)
        bounds = np.searchsorted(x.column, [first for first, _ in self.keys])
        for number, (first, stop) in enumerate(zip(bounds, [*bounds[1:], len(x.place)], strict=True)):
            statistic, (one, end) = into[hist.key_of(number)], self.keys[number]
            assert isinstance(statistic, CellSums)
            statistic.totals += totals
            places = slice(int(self.layout.offsets[one]), int(self.layout.offsets[end]))
            statistic.add_block(module, x, slice(int(first), int(stop)), rows, self.alive, places)


def _alive_of(params: Mapping[str, Any], plan: hist.Plan) -> Alive:
    """Which columns the plan's pairs of children look at."""
    alive = params.get("alive")
    bit = np.zeros(plan.n_slots, np.int64)
    if alive is None or not plan.node.any():  # at roots all are looked at
        return Alive(np.empty(0, np.uint64), bit)
    known = {(tree, left): k for k, (tree, left) in enumerate(alive["pairs"].tolist())}
    lefts = plan.node - 1 + plan.node % 2  # roots are 0, left children odd
    numbers = [known[pair] for pair in zip(plan.tree.tolist(), lefts.tolist(), strict=True)]
    bit[plan.slot] = np.array(numbers) % WORD
    columns = np.split(alive["columns"], alive["ends"][:-1])
    return Alive(alive_words(columns, len(params["n_bins"])), bit)


def best_splits(settings: TreeSettings, state: State, key: str, statistic: CellSums, first_tree: int) -> Value:
    """As :func:`mrml.algorithms.trees.levels.best_splits`; ``alive`` are nodes of the plan and columns."""
    plan, layout = hist.Plan.from_wire(state["plan"]), layout_of(state.params)
    first = int(key.removeprefix(hist.PREFIX)) * KEY_COLUMNS
    stop = min(first + KEY_COLUMNS, len(layout.n_bins))
    trees = [growth.from_wire(t, NODE) for t in state["growing"]]
    order = np.argsort(plan.slot)  # slot k is node order[k] of the plan
    lower, upper = (np.array([trees[plan.tree[e]][n][plan.node[e]] for e in order]) for n in ("lower", "upper"))
    allowed = np.empty((0, 0), np.uint8)
    if settings.samples_columns:
        allowed = settings.allowed(len(layout.n_bins), first_tree, state["step"], plan.tree[order], plan.node[order])
    g, h, rows = statistic.totals
    nodes = Nodes(g, h, rows, lower, upper, allowed)
    found, (slot, column) = module_of(state["kernels"]).best_splits(
        statistic.cells(), layout, first, stop, nodes, settings.rules_for(state.params), *Quant(*state["quant"]).units
    )
    at = plan.slot
    sums = {"g": nodes.g[at], "h": nodes.h[at], "rows": nodes.rows[at]}
    alive = {"node": order[slot].astype(np.int32), "column": column}
    return {"splits": {k: v[at] for k, v in found._asdict().items()}, "sums": sums, "histograms": None, "alive": alive}


def most_pairs(params: Mapping[str, Any]) -> int:
    """How many pairs of children a round may look at: all, where a cell an entry fits."""
    if params["n_entries"] * CELL_BYTES <= hist.TASK_BYTES:
        return 1 << 30
    return max(1, hist.TASK_BYTES // (2 * CELL_BYTES * hist.width_of(params["n_bins"])))


def alive_after(params: Mapping[str, Any], queue: Array, new: int, values: Mapping[str, Value]) -> Mapping[str, Any]:
    """The columns that are alive in the parents of the pairs in ``queue`` (tree, left child, row), of which those with
    rows from ``new`` on were found in this round."""
    keys = sorted(key for key in values if key.startswith(hist.PREFIX))
    node, column = (np.concatenate([values[key]["alive"][name] for key in keys]) for name in ("node", "column"))
    order = np.argsort(node, kind="stable")
    node, column = node[order], column[order]
    before = params.get("alive")
    known = {} if before is None else {tuple(pair): k for k, pair in enumerate(before["pairs"].tolist())}
    old = [] if before is None else np.split(before["columns"], before["ends"][:-1])
    columns = []
    for tree, left, row in queue.tolist():
        if row >= new:
            low, high = np.searchsorted(node, [row - new, row - new + 1])
            columns.append(column[low:high])
        else:
            columns.append(old[known[tree, left]])
    ends = np.cumsum([len(c) for c in columns], dtype=np.int64)
    together = np.concatenate([np.empty(0, np.int32), *columns])
    together.flags.writeable = False  # so that a State takes it as it is
    return {"pairs": queue[:, :2], "columns": together, "ends": ends}
