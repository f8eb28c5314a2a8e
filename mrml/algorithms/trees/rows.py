"""The rows of a block on their way through a round of boosting: raw predictions, integer gradients, nodes.

Each is kept with the block and found again, or computed: losing it never changes a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.objectives.base import metric_rows
from mrml.algorithms.objectives.custom import CustomObjective
from mrml.algorithms.objectives.lambdarank import group_starts
from mrml.algorithms.trees import ensemble, growth
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE
from mrml.algorithms.trees.quant import Quant
from mrml.algorithms.trees.settings import MAX_NODES, TreeSettings
from mrml.algorithms.trees.sparse import Sight, is_sparse
from mrml.algorithms.trees.sparse import module_of as sparse_module_of
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.kernels.groups import sizes_of
from mrml.kernels.random import rng
from mrml.kernels.trees import numpy as kernel
from mrml.kernels.trees.numpy import Step
from mrml.kernels.trees.sparse import SparseCodes, add_values
from mrml.statistic import Into

#: rows whose gradients are computed at a time
_CHUNK_ROWS = 8192
#: the step of the draws of rows, to which the number of the tree is added
DRAW_ROWS = 0


def module_of(kernels: str) -> Any:
    """The kernels of the name that the State carries."""
    if kernels == "fast":
        from mrml.kernels.trees import numba as trees_fast

        return trees_fast
    return kernel


def raw_name(state: State) -> str:
    """The name of the memo of raw predictions."""
    return f"raw.{state['memo']}"


class Round:
    """What all blocks of a round share: how rows move, and which nodes are looked at."""

    def __init__(self, state: State) -> None:
        self.state, self.growing = state, state["growing"]
        self.kernel = module_of(state["kernels"])
        self.iteration: int = state["iteration"]
        self.sight = Sight(state.params) if is_sparse(state.params) else None
        self.blocks = [] if self.sight else hist.feature_blocks(state["n_bins"])
        self.plan = hist.Plan.from_wire(state["plan"])
        self.slots = [self.plan.slots(k, len(tree["feature"])) for k, tree in enumerate(self.growing)]

    @cached_property
    def grown(self) -> list[Array]:
        """The nodes of the growing trees."""
        return [growth.from_wire(tree, NODE) for tree in self.growing]

    @cached_property
    def steps(self) -> list[Step]:
        """How rows move through the growing trees."""
        return [_step(tree, self.state["n_bins"]) for tree in self.growing]

    @cached_property
    def last_steps(self) -> list[Step]:
        """The same of the last iteration's trees as they were when they grew."""
        return [_step(tree["nodes"], self.state["n_bins"]) for tree in self.state["last"]]

    def finished(self, number: int) -> tuple[Step, Array]:
        """How rows move through a finished tree, and the values of its nodes."""
        if number not in self._finished:
            tree = ensemble.tree(self._trees, number)
            self._finished[number] = growth.step_of(tree, self.state["n_bins"]), tree["value"]
        return self._finished[number]

    @cached_property
    def _trees(self) -> Mapping[str, Any]:
        return ensemble.routes(self.state.params)

    @cached_property
    def _finished(self) -> dict[int, tuple[Step, Array]]:
        return {}


class Rows:
    """A block on its way through a round: raw predictions, gradients, nodes; each kept and found again, or computed."""

    def __init__(self, settings: TreeSettings, round_: Round, block: Block) -> None:
        self.settings, self.round, self.state, self.block = settings, round_, round_.state, block
        self.iteration, self.name = round_.iteration, round_.state["memo"]

    def raw(self) -> Array:
        """(n_outputs, n_rows) float64: the raw predictions of all finished trees."""
        return self._raw_predictions

    @cached_property
    def _raw_predictions(self) -> Array:
        name = raw_name(self.state)
        changed = self.block.store.change(name, self.iteration, self._advance)
        return (changed or self.block.memo(name, self.iteration, self._raw))["raw"]

    def _raw(self, older: tuple[int, dict[str, Array]] | None) -> dict[str, Array]:
        if older is None:
            raw, done = np.repeat(self.state["base"][:, None], self.block.n_rows, axis=1), 0
            if self.block.offset is not None:
                raw += self.block.offset
        else:
            raw, done = older[1]["raw"].copy(), older[0]
        self._advance(done, {"raw": raw})
        return {"raw": raw}

    def _advance(self, done: int, arrays: dict[str, Array]) -> None:
        """Add the trees after the first ``done`` iterations to their raw predictions."""
        for iteration in range(done, self.iteration):
            for output, raw in enumerate(arrays["raw"]):
                self._add(iteration, output, raw)

    def _add(self, iteration: int, output: int, raw: Array) -> None:
        """Add one tree; of the last one, rows may still stand in its nodes."""
        if self.round.sight:
            return self._add_sparse(iteration, output, raw)
        if iteration == self.iteration - 1:
            found = self.block.store.get(f"places.{self.name}")
            if found is not None and found[0] // MAX_NODES == iteration + self.state["repeated"]:
                step, values = self.round.last_steps[output], self.state["last"][output]["values"]
                self.round.kernel.add_leaves(self.block.X, self._of_tree(found[1], output), step, values, raw)
                return
        step, values = self.round.finished(iteration * len(self.state["base"]) + output)
        self.round.kernel.add_values(self.block.X, step, values, raw)

    def _add_sparse(self, iteration: int, output: int, raw: Array) -> None:
        """The same, where few codes of the columns are kept."""
        nodes, (step, values) = None, self.round.finished(iteration * len(self.state["base"]) + output)
        found = self.block.store.get(f"nodes.{self.name}") if iteration == self.iteration - 1 else None
        if found is not None and found[0] // MAX_NODES == iteration + self.state["repeated"]:
            step, values = self.round.last_steps[output], self.state["last"][output]["values"]
            nodes = found[1]["nodes"][output]
        x, twin = self.block.X, sparse_module_of(self.state["kernels"])
        assert isinstance(x, SparseCodes)
        add_values(twin, x, self.state["default"], step, values, raw, nodes)

    def gradients(self) -> tuple[Array, ...]:
        """Integers (n_outputs, n_rows): packed, or gradients and hessians."""

        def compute(older: Any) -> dict[str, Array]:
            return self._evaluated()[1]

        kept = self.block.memo(self._gradients, self._version, compute, volatile=True)
        return tuple(kept[name] for name in sorted(kept))

    def evaluate(self) -> tuple[float, Array | None]:
        """The weighted sum of the losses, and extremes of gradients without bounds; gradients are kept."""
        loss, gradients, extent = self._evaluated()
        if self.block.part == "train":
            self.block.store.put(self._gradients, self._version, gradients, volatile=True)
        return loss, extent

    def sum_weight(self) -> float:
        """What the loss is divided by: rows or their weights; of groups, each by the mean of its rows."""
        weight = self.block.weight
        if self.starts is None:
            return float(self.block.n_rows) if weight is None else float(weight.sum())
        return float((self.share if weight is None else weight * self.share).sum())

    @cached_property
    def starts(self) -> Array | None:
        """(n_groups,) int64: first rows of groups, where the objective ranks."""
        return group_starts(self.block) if self.settings.loss.grouped else None

    @property
    def share(self) -> Array:
        """(n_rows,) float64: 1 over the rows of the group."""
        assert self.starts is not None
        sizes = sizes_of(self.starts, self.block.n_rows)
        return np.repeat(1.0 / sizes, sizes)

    @property
    def _gradients(self) -> str:
        return f"gradients.{self.name}"

    @property
    def _version(self) -> int:
        """Of gradients: rises with every iteration, and where the first round of one is repeated."""
        return int(self.iteration + self.state["repeated"])

    def _evaluated(self) -> tuple[float, dict[str, Array], Array | None]:
        """Loss, integers and extremes, by runs of rows that stay in cache: 25 ns a row where blocks take 50."""
        quant, block, raw, loss = Quant(*self.state["quant"]), self.block, self.raw(), self.settings.loss
        assert isinstance(block.y, np.ndarray)
        whole = self.starts is not None or isinstance(loss, CustomObjective)
        total, parts, extent = 0.0, [], None
        weights = self.weight()
        if self.state["kernels"] == "fast" and quant.packed and self.settings.loss_is_logistic:
            scales, empty = (2.0**quant.g_bits, 2.0**quant.h_bits), np.empty(0)
            share = empty if block.weight is None else block.weight
            total, q = self.round.kernel.logistic(
                block.y, raw[0], empty if weights is None else weights, share, *scales
            )
            return total, {"q0": q[None]}, None
        for start in range(0, block.n_rows, block.n_rows if whole else _CHUNK_ROWS):
            rows = slice(start, start + (block.n_rows if whole else _CHUNK_ROWS))
            values, g, h = self._rows_of(block.y[rows], raw[:, rows])
            total += float(values.sum() if block.weight is None else (values * block.weight[rows]).sum())
            if weights is not None:
                g, h = g * weights[rows], h * weights[rows]
            if isinstance(loss, CustomObjective):
                extent = np.array([np.abs(g).max(), h.max()])
                g, h = (np.clip(a, -b, b) for a, b in zip((g, h), self.state["bound"] * 2, strict=True))
            parts.append(quant.integers(g, h, self.round.kernel))
        arrays = [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]
        return total, {f"q{i}": a for i, a in enumerate(arrays)}, extent

    def _rows_of(self, y: Array, raw: Array) -> tuple[Array, Array, Array]:
        """Losses (or what the metric counts), gradients and hessians of a run of rows."""
        loss, metric = self.settings.loss, self.settings.metric
        if self.starts is not None:
            values, g, h = loss.evaluate_groups(y, raw, self.starts)
            values = values * self.share
        elif isinstance(loss, CustomObjective):
            values, (g, h) = loss.values(y, raw), loss.weighted(y, raw, self.block.weight)
        else:
            values, g, h = loss.evaluate(y, raw)
        return values if metric == "loss" else metric_rows(metric, loss, y, raw), g, h

    def weight(self) -> Array | None:
        """(n_rows,) float64, or None: what gradients are multiplied with, 0 where the tree does not see a row."""
        block, settings = self.block, self.settings
        weight = None if isinstance(settings.loss, CustomObjective) else block.weight
        if settings.scale_pos_weight != 1.0 and settings.objective == "logistic":
            scale = np.where(block.y == 1.0, settings.scale_pos_weight, 1.0)
            weight = scale if weight is None else weight * scale
        if settings.subsample < 1.0:
            drawn = rng(settings.seed, DRAW_ROWS + self.iteration, block.row_key) < settings.subsample
            weight = drawn.astype(np.float64) if weight is None else weight * drawn
        return weight

    def places(self) -> list[Any]:
        """Where rows stand in every growing tree, as the kernels know it; each has moved as far as it can."""
        version = self._version * MAX_NODES + self.state["step"]
        kept = self.block.memo(f"places.{self.name}", version, self._moved, volatile=True)
        return [self._of_tree(kept, tree) for tree in range(len(self.round.growing))]

    def _moved(self, older: tuple[int, dict[str, Array]] | None) -> dict[str, Array]:
        """The places of the round from those of one before, or from the root."""
        known = older[1] if older is not None and older[0] // MAX_NODES == self._version else None
        q, out = () if known is not None else self.gradients(), {}
        for tree, step in enumerate(self.round.steps):
            at = self.round.kernel.places(tuple(a[tree] for a in q)) if known is None else self._of_tree(known, tree)
            if step.feature[0] >= 0:
                at = self.round.kernel.move(self.block.X, at, step)
            for name, array in at._asdict().items():
                out[f"{name}.{tree}"] = array
        return out

    def _of_tree(self, arrays: Mapping[str, Array], tree: int) -> Any:
        """The places in one tree, from those in all."""
        kind = self.round.kernel.Places
        return kind(*(arrays[f"{name}.{tree}"] for name in kind._fields))

    def add_histograms(self, into: Into) -> None:
        """Add the rows to the histograms of all keys."""
        q, places = self.gradients(), self.places()
        for number, features in enumerate(self.round.blocks):
            statistic = into[hist.key_of(number)]
            assert isinstance(statistic, hist.Histogram)
            for tree, at in enumerate(places):
                slots, part = self.round.slots[tree], tuple(a[tree] for a in q)
                statistic.buffer.add(self.block.X, features.first, features.offsets, part, slots, at)

    def add_cells(self, sight: Sight, into: Into) -> None:
        """Add the rows' cells, where few codes of the columns are kept."""
        x, module, q = self.block.X, sparse_module_of(self.state["kernels"]), self.gradients()
        assert isinstance(x, SparseCodes)
        for tree, at in enumerate(self.nodes()):
            sight.fill(module, x, self.round.slots[tree], at, tuple(a[tree] for a in q), into)

    def _routed(self, older: tuple[int, dict[str, Array]] | None) -> dict[str, Array]:
        """The nodes of sparse rows in every growing tree, from those of a round before, or from the root."""
        if older is not None and older[0] // MAX_NODES == self._version:
            nodes = older[1]["nodes"].copy()
        else:
            nodes = np.zeros((len(self.round.growing), self.block.n_rows), np.uint16)
        for at, step in zip(nodes, self.round.steps, strict=True):
            if step.feature[0] >= 0:
                sparse_module_of(self.state["kernels"]).route(self.block.X, self.state["default"], at, step)
        return {"nodes": nodes}

    def nodes(self) -> list[Array]:
        """Of every growing tree (n_rows,) uint16: the node that each row is in."""
        if self.round.sight:
            version = self._version * MAX_NODES + self.state["step"]
            return list(self.block.memo(f"nodes.{self.name}", version, self._routed, volatile=True)["nodes"])
        each = zip(self.places(), self.round.steps, strict=True)
        return [self.round.kernel.nodes_of(self.block.X, places, step) for places, step in each]


def _step(tree: Mapping[str, Array], n_bins: Array) -> Step:
    feature = np.where(tree["split"] == 1, tree["feature"], -1)
    return kernel.step_of(feature, tree["left"], tree["bin"], tree["missing_left"], tree["categories"], n_bins)
