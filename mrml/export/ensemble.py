"""Boosted trees as the writers of other libraries' formats see them.

The raw prediction of output k is ``base[k]`` and the values of the leaves of trees k, k + n_outputs, ...  A number goes
left where ``float32(x) < threshold``; a missing value where its node says; a category, written as its code, where its
code is in the node's set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.trees import numpy as kernel


@dataclass(frozen=True)
class Tree:
    """One tree: arrays of (n_nodes,); ``right`` is ``left + 1``; ``sets`` (n_nodes, 256) uint8, codes that go left."""

    feature: Array
    threshold: Array
    missing_left: Array
    left: Array
    sets: Array
    value: Array
    gain: Array
    cover: Array
    rows: Array

    @property
    def leaf(self) -> Array:
        """(n_nodes,) bool."""
        found: Array = self.feature < 0
        return found

    @property
    def categorical(self) -> Array:
        """(n_nodes,) bool: splits by a set of codes."""
        found: Array = ~self.leaf & np.isnan(self.threshold)
        return found

    @cached_property
    def means(self) -> Array:
        """(n_nodes,) float64: the value of a leaf, and of a node above the mean of its leaves by cover."""
        out = np.where(self.leaf, self.value, 0.0)
        for k in np.flatnonzero(~self.leaf)[::-1].tolist():  # children come after their parents
            a, b = self.left[k], self.left[k] + 1
            total = self.cover[a] + self.cover[b]
            share = self.cover[a] / total if total > 0 else 0.5
            out[k] = out[b] + share * (out[a] - out[b])
        return out


@dataclass(frozen=True)
class Ensemble:
    """A model of boosted trees, whatever library it goes to.

    Attributes
    ----------
    objective : mrml's name of it; ``params`` the hyperparameters of the model.
    forest : the trees, arrays as in :class:`mrml.algorithms.trees.model.Trees`.
    base : (n_outputs,) float64.
    names : of the features: numeric ones first, then categorical ones.
    edges : ascending float32 edges of each numeric feature's bins.
    levels : of each categorical feature the texts of codes 0, 1, ...
    other : of each categorical feature whether one more code stands for all rare levels.
    classes : of a classification target.
    named : False where features are LibSVM indices.
    rare : of each categorical feature the texts that share the code of ``other``.
    absent_is_missing : True where a LibSVM line that leaves an index out means that its value is missing, and not 0.
    """

    objective: str
    forest: Any
    base: Array
    names: tuple[str, ...]
    edges: tuple[Array, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    other: tuple[bool, ...] = ()
    classes: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True
    rare: tuple[tuple[str, ...], ...] = ()
    absent_is_missing: bool = False

    @property
    def n_outputs(self) -> int:
        return len(self.base)

    @property
    def n_numeric(self) -> int:
        return len(self.edges)

    @property
    def n_codes(self) -> list[int]:
        """How many codes each categorical feature has."""
        return [len(texts) + bool(other) for texts, other in zip(self.levels, self.other, strict=True)]

    @property
    def n_trees(self) -> int:
        return len(self.forest.sizes)

    def tree(self, number: int) -> Tree:
        """One tree, by its number from 0."""
        start, f = int(self.forest.starts[number]), self.forest
        at = slice(start, start + int(f.sizes[number]))
        return Tree(f.feature[at], f.threshold[at], f.missing_left[at], f.left[at],
                    kernel.members(f.categories[at]), f.value[at], f.gain[at], f.cover[at], f.rows[at])  # fmt: skip

    def trees(self) -> Iterator[Tree]:
        """All of them, in order; a model without any has one of a single leaf for each output."""
        if not self.n_trees:
            zero = np.zeros(1)
            leaf = Tree(np.full(1, -1, np.int32), np.full(1, np.nan, np.float32), np.zeros(1, np.uint8),
                        np.full(1, -1, np.int32), np.zeros((1, 256), np.uint8), zero, zero, zero, zero)  # fmt: skip
            yield from [leaf] * self.n_outputs
        for number in range(self.n_trees):
            yield self.tree(number)

    def leaves(self, x: Array) -> Array:
        """(n_rows, n_trees) int64: the node that each row of x (n_rows, n_features) float32 ends in."""
        found = [_leaves(tree, x) for tree in self.trees()]
        return np.stack(found, axis=1)


def _leaves(tree: Tree, x: Array) -> Array:
    """(n_rows,) int64, level by level, without any of the kernels that predict."""
    at = np.zeros(len(x), np.int64)
    rows = np.arange(len(x) if len(tree.feature) > 1 else 0)
    while len(rows):
        k = at[rows]
        value = x[rows, tree.feature[k]]
        code = np.where((value >= 0) & (value < 256), np.nan_to_num(value), 255).astype(np.int64)
        goes = np.where(tree.categorical[k], tree.sets[k, code] == 1, value < tree.threshold[k])
        goes = np.where(np.isnan(value), tree.missing_left[k] == 1, goes)
        at[rows] = tree.left[k] + np.where(goes, 0, 1)
        rows = rows[~tree.leaf[at[rows]]]
    return at


def plain_names(names: tuple[str, ...], forbidden: str) -> list[str]:
    """Names without characters that a format cannot hold, still all different: ``_`` stands for each of those."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    out: list[str] = []
    for name in names:
        fine = "".join("_" if c in forbidden or c.isspace() else c for c in name) or "_"
        unique = fine
        while unique in taken:
            numbers[fine] = numbers.get(fine, 1) + 1  # of many names that become one none begins to count anew
            unique = f"{fine}_{numbers[fine]}"
        taken.add(unique)
        out.append(unique)
    return out
