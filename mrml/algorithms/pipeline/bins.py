"""Columns as at most 255 bins and one for "missing": what histogram trees train on.

One round makes a mergeable weighted quantile sketch of every numeric column (exact up to 4,096 distinct values; compare
Chen and Guestrin 2016, appendix A) and counts the levels of every categorical one.  A value x goes into the bin of the
number of edges that are at most x, so that ``x < edge`` goes left, as in XGBoost; edges are float32.  A categorical
column keeps its 254 most frequent levels, the others share one; levels that training never saw are missing.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mrml import wire
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.fitted import Fitted, clipped
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.kernels.trees.twin import with_numba
from mrml.schema import Bins, Design, Schema

MAX_LEVELS = 254
#: LibSVM columns are binned densely: 65,536 rows of more columns would take 512 MB
MAX_COLUMNS = 8192


def edges_of(values: Array, weights: Array, max_bin: int) -> Array:
    """At most ``max_bin - 1`` ascending float32 edges of a sketch.

    With no more than ``max_bin`` distinct values every one has a bin and edges lie half-way; otherwise edges are values
    at even ranks of the weight.
    """
    if len(values) <= max_bin:
        low, high = values[:-1].astype(np.float64), values[1:].astype(np.float64)
        middle = ((low + high) / 2).astype(np.float32)
        return np.where(middle > values[:-1], middle, values[1:]).astype(np.float32)
    rank = np.cumsum(weights) / weights.sum()
    cuts = np.searchsorted(rank, np.arange(1, max_bin) / max_bin, side="left") + 1
    return np.unique(values[np.clip(cuts, 1, len(values) - 1)]).astype(np.float32)


class Binned(Fitted):
    """The bins of a pipeline: from raw blocks to blocks of uint8 codes."""

    def __init__(self, schema: Schema, params: Mapping[str, Any]) -> None:
        self.schema, self.params = schema, params
        self.classes = tuple(params["classes"])
        self.cuts: list[Array] = [np.asarray(e, np.float32) for e in params["cuts"]]
        self.levels: list[Mapping[str, Any]] = list(params["levels"])

    @cached_property
    def key(self) -> str:
        return f"{zlib.crc32(wire.dumps(dict(self.params))):08x}"

    @property
    def memo(self) -> str:
        """The name of the memo of a block's codes."""
        return f"binned.{self.key}"

    @cached_property
    def names(self) -> tuple[str, ...]:
        if self.schema.sparse:
            return tuple(str(j + self.schema.format.index_base) for j in range(len(self.cuts)))
        numeric = [c.name for c in self.schema.features("numeric")]
        return tuple(numeric + [fitted["column"] for fitted in self.levels])

    @cached_property
    def n_features(self) -> int:
        return len(self.cuts) + len(self.levels)

    @cached_property
    def design(self) -> Design:
        n_levels = [len(f["levels"]) + bool(f["other"]) for f in self.levels]
        bins = Bins(
            cuts=tuple(self.cuts),
            n_bins=tuple([len(e) + 1 for e in self.cuts] + [max(n, 1) for n in n_levels]),
            levels=tuple(tuple(f["levels"]) for f in self.levels),
            target=self.params["summary"],
        )
        return Design(
            names=self.names,
            n_features=self.n_features,
            dtype="float32",
            classes=self.classes,
            class_weight_sums=tuple(self.params["class_weight_sums"]),
            n_rows=self.params["n_rows"],
            sum_weight=self.params["sum_weight"],
            bins=bins,
        )

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """The edges of numeric columns as one array, and how many each has."""
        table = np.zeros((len(self.cuts), 254), np.float32)
        for row, cuts in zip(table, self.cuts, strict=True):
            row[: len(cuts)] = cuts
        return table, np.array([len(e) for e in self.cuts], np.int32)

    def block(self, raw: Block, lazy: bool) -> Block:
        """The block of codes; beside a raw block that stays, since to put it together takes 60 us a round."""
        found = vars(raw).get("_binned")
        if found is not None and found[0] is self:
            binned: Block = found[1]
            return binned
        kept = raw.memo(self.memo, 1, lambda old: {"codes": self.codes(raw)})
        binned = dataclasses.replace(raw, X=kept["codes"], coded={}, y=self._targets(raw))
        if not any(isinstance(a, np.ndarray) and a.flags.writeable for a in (binned.X, binned.y)):  # all are maps
            vars(raw)["_binned"] = self, binned
        return binned

    def codes(self, raw: Block) -> Array:
        """(n_rows, n_features) uint8."""
        pieces = [with_numba().bin_codes(self._numeric(raw), *self._table)]
        for fitted in self.levels:
            codes = self._level_codes(raw, fitted)
            missing = max(len(fitted["levels"]) + bool(fitted["other"]), 1)
            pieces.append(np.where(codes < 0, missing, codes).astype(np.uint8)[:, None])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def values(self, raw: Block) -> Array:
        """(n_rows, n_features) float32: numbers, then codes of levels; NaN where missing."""
        pieces = [self._numeric(raw)]
        for fitted in self.levels:
            codes = self._level_codes(raw, fitted)
            pieces.append(np.where(codes < 0, np.nan, codes).astype(np.float32)[:, None])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    def _numeric(self, raw: Block) -> Array:
        x = raw.X
        if isinstance(x, CSR):
            absent = np.nan if self.params["absent"] == "missing" else 0.0
            x = clipped(x, len(self.cuts)).toarray(absent)
        with np.errstate(over="ignore"):  # a number that float32 cannot hold is an infinity, on the right of every edge
            return np.ascontiguousarray(x, np.float32)

    def _level_codes(self, raw: Block, fitted: Mapping[str, Any]) -> Array:
        """(n_rows,) int64: codes of levels, one more for the rare ones, -1 for null and unseen."""
        known = {level: i for i, level in enumerate(fitted["levels"])}
        other = len(known)
        known |= dict.fromkeys(fitted["rare"], other)
        return tf.recode(raw.coded[fitted["column"]], known, -1, -1)

    def prediction_block(self, raw: Block, lazy: bool) -> Block:
        """What the inner model predicts from: :meth:`values`."""
        return dataclasses.replace(raw, X=self.values(raw), coded={}, y=None)

    def header(self) -> dict[str, Any]:
        return {k: v for k, v in self.params.items() if k != "cuts"} | {"kind": "bins"}

    def arrays(self) -> dict[str, Array]:
        sizes = np.array([len(e) for e in self.cuts], np.int32)
        cuts = np.concatenate([np.empty(0, np.float32), *self.cuts])
        return {"transforms.cuts": cuts, "transforms.n_cuts": sizes}

    @classmethod
    def from_parts(cls, schema: Schema, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Binned:
        ends = np.cumsum(arrays["transforms.n_cuts"])
        cuts = np.split(arrays["transforms.cuts"], ends[:-1]) if len(ends) else []
        return cls(schema, {**{k: v for k, v in header.items() if k != "kind"}, "cuts": cuts})
