"""Categories as codes: the design of networks, which look an embedding up where linear models have columns of 0 and 1.

``block.X`` holds the numbers, and ``block.coded`` of each categorical column the codes of its levels; a hashed column's
code is its bucket.  What the target is, where the algorithm leaves that open, is read off the data here: texts are
classes, and so are the numbers 0 and 1 where there is no other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.fitted import Fitted
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.schema import Design
from mrml.statistic import Statistic

FACTS = "target-facts"
#: distinct numbers of a target that are told apart: more are no two classes
_FEW = 2
_NO_LEVELS = np.empty(0, "U1")


class TargetFacts(Statistic):
    """Of a target of numbers: rows, weights, the weighted sum, the extremes, and its values with their weights while
    there are at most two."""

    def __init__(
        self,
        sum_weight: float = 0.0,
        total: float = 0.0,
        low: float = np.inf,
        high: float = -np.inf,
        values: Mapping[str, float] | None = None,
    ) -> None:
        self.sum_weight, self.total, self.low, self.high = sum_weight, total, low, high
        self.values: dict[str, float] = dict(values or {})

    def fill(self, y: Array, weight: Array | None) -> None:
        """Take the targets of one block into an empty statistic."""
        if len(y):
            w = np.ones(len(y)) if weight is None else weight
            self.sum_weight, self.total = float(w.sum()), float(w @ y)
            self.low, self.high = float(y.min()), float(y.max())
            if self.low == self.high or ((y == self.low) | (y == self.high)).all():
                labels = tf.label_codes(y)
                sums = np.bincount(labels.codes, w, minlength=len(labels.levels))
                self.values = dict(zip(labels.levels.tolist(), sums.tolist(), strict=True))

    def merge(self, other: TargetFacts) -> None:
        few = (self.values or self.low > self.high) and (other.values or other.low > other.high)
        both = {k: self.values.get(k, 0.0) + other.values.get(k, 0.0) for k in sorted({*self.values, *other.values})}
        self.values = both if few and len(both) <= _FEW else {}
        self.sum_weight, self.total = self.sum_weight + other.sum_weight, self.total + other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def two_classes(self) -> bool:
        """Whether it holds 0 and 1 and nothing else."""
        return set(self.values) == {"0", "1"}

    def to_wire(self) -> Any:
        return [self.sum_weight, self.total, self.low, self.high, self.values]

    @classmethod
    def from_wire(cls, tree: Any) -> TargetFacts:
        return cls(*tree)


class CodedFitted(Fitted):
    """Transforms from raw blocks to numbers and codes."""

    @cached_property
    def n_features(self) -> int:
        return self.n_numeric

    @cached_property
    def names(self) -> tuple[str, ...]:
        if self.schema.sparse:
            return ()
        numeric = [c.name for c in self.schema.features("numeric")]
        if not self.edges:
            return tuple(numeric)
        pairs = zip(numeric, self.edges, strict=True)
        return tuple(f"{name}[{b}]" for name, edges in pairs for b in range(len(edges) + 2))

    @cached_property
    def sparse(self) -> bool:
        return self.schema.sparse

    @cached_property
    def tables(self) -> tuple[tuple[str, int], ...]:
        """Name and number of codes of every coded column: those of one-hot columns, then the hashed ones."""
        own = [(str(f["column"]), len(tf.onehot_names(f))) for f in self.onehot]
        hashed = [(str(name), 1 << self.hash["bits"]) for name in self.hash["columns"]] if self.hash else []
        return tuple(own + hashed)

    @cached_property
    def design(self) -> Design:
        levels = tuple(tuple(tf.onehot_names(f)) for f in self.onehot)
        return dataclasses.replace(super().design, tables=self.tables, levels=levels)

    def block(self, raw: Block, lazy: bool) -> Block:
        plain = dataclasses.replace(raw, coded={})
        found = super().block(plain, lazy)
        return dataclasses.replace(found, coded=self.codes(raw)) if self.tables else found

    def codes(self, raw: Block) -> dict[str, Coded]:
        """(n_rows,) int32 codes of every coded column, kept with the block."""

        def compute(old: Any) -> dict[str, Array]:
            found = {f["column"]: tf.onehot_codes(raw.coded[f["column"]], f) for f in self.onehot}
            for name in self.hash["columns"] if self.hash else ():
                found[name] = tf.buckets(raw.coded[name], name, self.hash["bits"])  # type: ignore[index]
            return {name: codes.astype(np.int32) for name, codes in found.items()}

        kept = raw.memo(f"codes.{self.key}", 1, compute)
        return {name: Coded(kept[name], _NO_LEVELS) for name, _ in self.tables}

    def _dense(self, raw: Block) -> Array:
        return np.ascontiguousarray(self._numbers(raw).astype(np.dtype(self.dtype), copy=False))

    def _matrix(self, raw: Block) -> Array | CSR:
        if not self.sparse and not self.edges and not self.params["impute"]:
            return raw.X
        return super()._matrix(raw)
