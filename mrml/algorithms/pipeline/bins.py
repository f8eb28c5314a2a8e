"""Columns as at most 255 bins and one for "missing": what histogram trees train on.

One round makes a mergeable weighted quantile sketch of every numeric column (exact up to 4,096 distinct values; compare
Chen and Guestrin 2016, appendix A) and counts the levels of every categorical one.  A value x goes into the bin of the
number of edges that are at most x, so that ``x < edge`` goes left, as in XGBoost; edges are float32.  A categorical
column keeps its 254 most frequent levels, the others share one; levels that training never saw are missing.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mrml import wire
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.fitted import Fitted, clipped
from mrml.algorithms.pipeline.sparse_sketch import Ragged, keys_of
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.kernels.trees.sparse import SparseCodes, by_columns
from mrml.kernels.trees.twin import with_numba
from mrml.schema import Bins, Design, Schema

MAX_LEVELS = 254
#: LibSVM columns of which fewer than one in 32 entries is there, or that are more than 8,192, keep only the codes that
#: are not their column's default: a stored entry costs about what 32 of a dense row do
DENSE_SHARE, DENSE_COLUMNS = 32, 8192
#: sparse rows of more columns are scored without being spread to all of them
SPREAD_COLUMNS = 256


def cuts_of(told: Any) -> Sequence[Array]:
    """The edges of every column, float32, as parameters tell them: one by one, or all in one array."""
    if isinstance(told, Ragged):
        return told
    if isinstance(told, Mapping):
        return Ragged(np.asarray(told["values"], np.float32), np.asarray(told["sizes"], np.int32))
    return [np.asarray(edges, np.float32) for edges in told]


def _sizes(cuts: Sequence[Array]) -> Array:
    """(n_columns,) int32: the edges of each column."""
    return cuts.sizes if isinstance(cuts, Ragged) else np.array([len(e) for e in cuts], np.int32)


class Binned(Fitted):
    """The bins of a pipeline: from raw blocks to blocks of uint8 codes."""

    def __init__(self, schema: Schema, params: Mapping[str, Any]) -> None:
        self.schema, self.params = schema, params
        self.classes = tuple(params["classes"])
        self.cuts: Sequence[Array] = cuts_of(params["cuts"])
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
            return tuple(map(str, range(base := self.schema.format.index_base, base + len(self.cuts))))
        numeric = [c.name for c in self.schema.features("numeric")]
        return tuple(numeric + [fitted["column"] for fitted in self.levels])

    @cached_property
    def n_features(self) -> int:
        return len(self.cuts) + len(self.levels)

    @cached_property
    def design(self) -> Design:
        n_levels = [len(f["levels"]) + bool(f["other"]) for f in self.levels]
        bins = Bins(
            cuts=self.cuts,
            n_bins=(*(_sizes(self.cuts) + 1).tolist(), *(max(n, 1) for n in n_levels)),
            levels=tuple(tuple(f["levels"]) for f in self.levels),
            target=self.params["summary"],
            default=self._default if self.keeps_few else None,
            n_entries=self.params.get("n_entries") or 0,
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

    @property
    def keeps_few(self) -> bool:
        """Whether only the codes are kept that are not their column's default."""
        return self.params.get("n_entries") is not None

    @cached_property
    def _default(self) -> Array:
        """(n_features,) uint8: the code of an absent entry."""
        if self.params["absent"] == "missing":
            return (_sizes(self.cuts) + 1).astype(np.uint8)
        assert isinstance(self.cuts, Ragged)
        below = self.cuts.columns()[self.cuts.values <= 0]
        return np.bincount(below, minlength=len(self.cuts)).astype(np.uint8)

    @cached_property
    def _cut_keys(self) -> Array:
        """(n_cuts,) uint64: the edges of all columns in order."""
        assert isinstance(self.cuts, Ragged)
        return keys_of(self.cuts.columns(), self.cuts.values)

    def sparse_codes(self, raw: Block) -> dict[str, Array]:
        """The arrays of :class:`SparseCodes`."""
        assert isinstance(raw.X, CSR) and isinstance(self.cuts, Ragged)
        x = clipped(raw.X, len(self.cuts))
        with np.errstate(over="ignore"):
            values = x.data.astype(np.float32)
        missing = np.isnan(values)
        keys = keys_of(x.indices, np.where(missing, np.float32(0), values))
        codes = np.searchsorted(self._cut_keys, keys, side="right") - self.cuts.starts[x.indices]
        codes = np.where(missing, self.cuts.sizes[x.indices] + 1, codes).astype(np.uint8)
        keep = codes != self._default[x.indices]
        indptr = np.concatenate([[0], np.cumsum(keep)])[x.indptr].astype(np.int64)
        indices, codes = x.indices[keep], codes[keep]
        offsets = np.concatenate([[0], np.cumsum(self.cuts.sizes + np.int64(2))])
        return {"indptr": indptr, "indices": indices, "codes": codes, **by_columns(indptr, indices, codes, offsets)}

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
        x: Any
        if self.keeps_few:
            kept = raw.memo(self.memo, 1, lambda old: self.sparse_codes(raw))
            x = SparseCodes(n_columns=len(self.cuts), **kept)
        else:
            kept = raw.memo(self.memo, 1, lambda old: {"codes": self.codes(raw)})
            x = kept["codes"]
        binned = dataclasses.replace(raw, X=x, coded={}, y=self._targets(raw))
        if not any(isinstance(a, np.ndarray) and a.flags.writeable for a in (*kept.values(), binned.y)):  # all are maps
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
            x = clipped(x, len(self.cuts)).toarray(self._absent)
        with np.errstate(over="ignore"):  # a number that float32 cannot hold is an infinity, on the right of every edge
            return np.ascontiguousarray(x, np.float32)

    @property
    def _absent(self) -> float:
        return np.nan if self.params["absent"] == "missing" else 0.0

    def _level_codes(self, raw: Block, fitted: Mapping[str, Any]) -> Array:
        """(n_rows,) int64: codes of levels, one more for the rare ones, -1 for null and unseen."""
        known = {level: i for i, level in enumerate(fitted["levels"])}
        other = len(known)
        known |= dict.fromkeys(fitted["rare"], other)
        return tf.recode(raw.coded[fitted["column"]], known, -1, -1)

    def prediction_block(self, raw: Block, lazy: bool) -> Block:
        """What the inner model predicts from: :meth:`values`, and sparse rows of many columns as they are."""
        if isinstance(raw.X, CSR) and len(self.cuts) > SPREAD_COLUMNS:
            x = clipped(raw.X, len(self.cuts))
            with np.errstate(over="ignore"):
                sparse = x._replace(data=x.data.astype(np.float32), fill=self._absent)
            return dataclasses.replace(raw, X=sparse, coded={}, y=None)
        return dataclasses.replace(raw, X=self.values(raw), coded={}, y=None)

    def header(self) -> dict[str, Any]:
        return {k: v for k, v in self.params.items() if k not in ("cuts", "n_entries")} | {"kind": "bins"}

    def arrays(self) -> dict[str, Array]:
        sizes = _sizes(self.cuts)
        cuts = self.cuts.values if isinstance(self.cuts, Ragged) else [np.empty(0, np.float32), *self.cuts]
        return {"transforms.cuts": np.concatenate(cuts) if isinstance(cuts, list) else cuts, "transforms.n_cuts": sizes}

    @classmethod
    def from_parts(cls, schema: Schema, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Binned:
        cuts = {"values": arrays["transforms.cuts"], "sizes": arrays["transforms.n_cuts"]}
        return cls(schema, {**{k: v for k, v in header.items() if k != "kind"}, "cuts": cuts})
