"""The model of boosted trees: every tree as rows of a few arrays, readable with NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mrml.algorithms.objectives.base import Objective
from mrml.algorithms.objectives.table import objective_of
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import InputError
from mrml.kernels.trees.twin import with_numba
from mrml.model import Model, Prediction
from mrml.schema import Bins

#: a threshold that every number is left of
EVERYTHING = np.float32(np.finfo(np.float32).max)

#: numbers that sparse rows are spread into at a time: 64 MB
_DENSE_NUMBERS = 1 << 24
#: more names than these are told in short where they are indices
_NAMES_MOST = 8192


@dataclass(frozen=True)
class Trees:
    """Trees one after the other; a node's children are ``left`` and ``left + 1`` of its own tree.

    Attributes
    ----------
    sizes : (n_trees,) int32, nodes of each.
    feature : (n_nodes,) int32, -1 in a leaf.
    threshold : (n_nodes,) float32: values below it go left; NaN in a leaf and in a split of categories.
    missing_left : (n_nodes,) uint8.
    left : (n_nodes,) int32.
    categories : (n_nodes, 8) uint32, the codes that go left.
    value : (n_nodes,) float64, what a leaf adds; each is a float32.
    gain, cover : (n_nodes,) float64; rows : (n_nodes,) int64.
    """

    sizes: Array
    feature: Array
    threshold: Array
    missing_left: Array
    left: Array
    categories: Array
    value: Array
    gain: Array
    cover: Array
    rows: Array

    @staticmethod
    def of(nodes: Array, sizes: Array, bins: Bins) -> Trees:
        """From finished nodes, whose bins become thresholds."""
        threshold = np.full(len(nodes), np.nan, np.float32)
        for k in np.flatnonzero((nodes["feature"] >= 0) & (nodes["bin"] >= 0)).tolist():
            cuts = bins.cuts[nodes["feature"][k]]
            at = nodes["bin"][k]
            threshold[k] = cuts[at] if at < len(cuts) else EVERYTHING
        names = ("feature", "missing_left", "left", "categories", "value", "gain", "cover", "rows")
        return Trees(sizes.copy(), threshold=threshold, **{n: np.ascontiguousarray(nodes[n]) for n in names})

    @property
    def starts(self) -> Array:
        """(n_trees + 1,) int64: where each tree begins."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    def arrays(self) -> dict[str, Array]:
        """The arrays by name; sets of categories only where there are any."""
        out = {k: v for k, v in vars(self).items() if k != "categories"}
        used = np.flatnonzero((self.feature >= 0) & np.isnan(self.threshold))
        return out | {"category_nodes": used.astype(np.int32), "categories": self.categories[used]}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> Trees:
        """The inverse of :meth:`arrays`."""
        sets = np.zeros((len(arrays["feature"]), 8), np.uint32)
        sets[arrays["category_nodes"]] = arrays["categories"]
        names = [n for n in Trees.__dataclass_fields__ if n != "categories"]
        return Trees(categories=sets, **{n: arrays[n] for n in names})

    def raw_prediction(self, x: Array, base: Array) -> Array:
        """(n_outputs, n_rows) float64 of x (n_rows, n_features) float32, NaN missing: ``base`` and the leaves, tree by
        tree."""
        out = np.repeat(base[:, None], len(x), axis=1)
        with_numba(len(x) * len(self.sizes)).predict(x, self, out)
        return out


@dataclass(frozen=True)
class TreesModel(Model):
    """``raw = base + sum of leaves + offset``, and the inverse link of the objective.

    Attributes
    ----------
    objective : its name.
    trees : with several outputs, tree k adds to output ``k % n_outputs``.
    base : (n_outputs,) float64.
    names : of the features; empty for LibSVM.
    history : a pair of training and validation loss for each iteration.
    """

    objective: str
    trees: Trees
    base: Array
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Sequence[float | None]] = ()

    output: ClassVar[str] = "numeric"

    @property
    def loss(self) -> str:
        """The name of the loss whose deviance suits the model."""
        return self.link.deviance

    @property
    def link(self) -> Objective:
        """What the model descended."""
        return objective_of(self.objective, self.params)

    def raw_prediction(self, block: Block) -> Array:
        """(n_outputs, n_rows) float64 in link space, offset included."""
        if block.n_features != len(self.names):
            finding = f"{block.n_features} features, the model has {len(self.names)}"
            raise InputError(f"file {block.file}, block {block.index}", finding, "score the columns it was trained on")
        x = block.X
        raw = self._by_columns(x) if isinstance(x, CSR) else self.trees.raw_prediction(x, self.base)
        return raw if block.offset is None else raw + block.offset

    def _by_columns(self, x: CSR) -> Array:
        """The same of sparse rows: only the columns that split are looked at, some rows at a time."""
        used, trees = self._narrow
        step = max(1, _DENSE_NUMBERS // max(len(used), 1))
        runs = (x.rows(k, min(k + step, x.shape[0])).columns(used) for k in range(0, x.shape[0], step))
        parts = [trees.raw_prediction(run, self.base) for run in runs]
        return np.concatenate([np.empty((len(self.base), 0)), *parts], axis=1)

    @cached_property
    def _narrow(self) -> tuple[Array, Trees]:
        """The columns that split, ascending, and the trees over them alone."""
        inner = self.trees.feature >= 0
        used = np.unique(self.trees.feature[inner])
        feature = np.where(inner, np.searchsorted(used, self.trees.feature), -1).astype(np.int32)
        return used, replace(self.trees, feature=feature)

    def means(self, raw: Array) -> Array:
        """(n_rows,) means, or (n_rows, n_outputs) probabilities, of raw predictions (n_outputs, n_rows)."""
        return self.link.inverse_link(raw)

    def predict(self, block: Block) -> Prediction:
        raw = self.raw_prediction(block)
        return Prediction(self.means(raw), None, raw[0])

    def importance(self) -> dict[str, dict[str, float]]:
        """By kind (gain, cover, count) the total of every feature that splits, the largest first."""
        t, inner = self.trees, self.trees.feature >= 0
        out = {}
        for kind, values in (("gain", t.gain), ("cover", t.cover), ("count", np.ones(len(t.gain)))):
            sums = np.bincount(t.feature[inner], values[inner], minlength=len(self.names))
            order = np.argsort(-sums, kind="stable")
            out[kind] = {self.names[j]: float(sums[j]) for j in order[sums[order] > 0].tolist()}
        return out

    def shape(self) -> dict[str, int]:
        """Figures of the trees: how many, their leaves, and the most splits from a root to a leaf."""
        t, depth = self.trees, np.zeros(len(self.trees.feature), np.int64)
        first = np.repeat(t.starts[:-1], t.sizes)
        for k in np.flatnonzero(t.feature >= 0).tolist():  # children come after their parents
            child = first[k] + t.left[k]
            depth[child : child + 2] = depth[k] + 1
        leaves = int((t.feature < 0).sum())
        return {"trees": len(t.sizes), "leaves": leaves, "deepest": int(depth.max(initial=0))}

    def header(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "names": _told_names(self.names),
            "classes": list(self.classes),
            "params": dict(self.params),
            "facts": dict(self.facts),
            "history": [list(h) for h in self.history],
            "importance": self.importance(),
        }

    def arrays(self) -> dict[str, Array]:
        return {"base": self.base} | {f"trees.{k}": v for k, v in self.trees.arrays().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> TreesModel:
        trees = Trees.from_arrays({k.removeprefix("trees."): v for k, v in arrays.items() if k.startswith("trees.")})
        return cls(
            header["objective"], trees, arrays["base"], _names_of(header["names"]), tuple(header["classes"]),
            header["params"], header["facts"], header["history"],
        )  # fmt: skip


def _told_names(names: tuple[str, ...]) -> Any:
    """The names, and of very many indices of LibSVM the first one and their number."""
    few = len(names) <= _NAMES_MOST or not (names[0].isdecimal() and names[-1] == str(int(names[0]) + len(names) - 1))
    return list(names) if few else {"first": int(names[0]), "n": len(names)}


def _names_of(told: Any) -> tuple[str, ...]:
    """The inverse of :func:`_told_names`."""
    if isinstance(told, Mapping):
        return tuple(map(str, range(told["first"], told["first"] + told["n"])))
    return tuple(told)


@dataclass(frozen=True)
class TreesClassifier(TreesModel):
    """Probabilities of the classes, and the most likely one."""

    output: ClassVar[str] = "classes"

    def predict(self, block: Block) -> Prediction:
        raw = self.raw_prediction(block)
        p = self.means(raw)
        if len(self.base) == 1:
            return Prediction((raw[0] > self.link.threshold).astype(np.float64), np.stack([1.0 - p, p], axis=1), raw[0])
        return Prediction(np.argmax(p, axis=1).astype(np.float64), p, np.ascontiguousarray(raw.T))
