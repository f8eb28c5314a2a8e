"""The transforms of a pipeline once they are fitted: from raw blocks to design blocks."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mrml import wire
from mrml.algorithms.pipeline import transforms as tf
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.schema import Design, Schema

#: a design wider than this is kept sparse when it has categories
DENSE_COLUMNS = 1024


class Fitted:
    """The transforms of a pipeline: from raw blocks to design blocks.

    ``params`` is the tree that the transform round made (see ``Pipeline.update``).
    """

    def __init__(self, schema: Schema, params: Mapping[str, Any]) -> None:
        self.schema, self.params = schema, params
        self.classes: tuple[str, ...] = tuple(params["classes"])
        self.edges: list[Array] = list(params.get("edges", ()))
        self.onehot: list[Mapping[str, Any]] = list(params.get("onehot", ()))
        self.hash: Mapping[str, Any] | None = params.get("hash")
        self.fill = np.asarray(params["fill"], np.float64)

    @cached_property
    def key(self) -> str:
        """Tells these transforms from others in the names of memos."""
        return f"{zlib.crc32(wire.dumps(dict(self.params))):08x}"

    @cached_property
    def digest(self) -> bytes:
        """(32 bytes) Tells these transforms from all others."""
        return hashlib.blake2b(wire.dumps(dict(self.params)), digest_size=32).digest()

    @cached_property
    def n_numeric(self) -> int:
        """Width of the numeric piece before one-hot columns."""
        return sum(len(e) + 2 for e in self.edges) if self.edges else len(self.fill)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the design's columns; empty where they are indices or hashes."""
        if self.schema.sparse or self.hash is not None:
            return ()
        numeric = [c.name for c in self.schema.features("numeric")]
        if self.edges:
            pairs = zip(numeric, self.edges, strict=True)
            numeric = [f"{name}[{b}]" for name, edges in pairs for b in range(len(edges) + 2)]
        categorical = [name for fitted in self.onehot for name in tf.onehot_names(fitted)]
        return tuple(numeric + categorical)

    @cached_property
    def n_features(self) -> int:
        hashed = 0 if self.hash is None else 1 << self.hash["bits"]
        one_hot = sum(len(tf.onehot_names(fitted)) for fitted in self.onehot)
        return self.n_numeric + one_hot + hashed

    @cached_property
    def sparse(self) -> bool:
        if self.schema.absent_is_zero:
            return True
        if self.schema.sparse and self.n_features > DENSE_COLUMNS:
            finding = f"{self.n_features:,} LibSVM columns cannot be missing where they are absent"
            raise ConfigError("data, absent", finding, "use --absent zero, or use fewer columns")
        return self.hash is not None or (self.n_features > DENSE_COLUMNS and bool(self.onehot))

    @cached_property
    def affine(self) -> tuple[Array | None, Array | None]:
        """center and scale (n_features,), or None and None: only numeric columns are standardised."""
        if "center" not in self.params or self.edges:
            return None, None
        center, scale = np.zeros(self.n_features), np.ones(self.n_features)
        center[: self.n_numeric], scale[: self.n_numeric] = self.params["center"], self.params["scale"]
        return center, scale

    @cached_property
    def design(self) -> Design:
        """What an algorithm is told of the matrix."""
        center, scale = self.affine
        return Design(
            names=self.names,
            n_features=self.n_features,
            dtype=self.dtype,
            sparse=self.sparse,
            center=None if center is None else tuple(center.tolist()),
            scale=None if scale is None else tuple(scale.tolist()),
            classes=self.classes,
            class_weight_sums=tuple(self.params["class_weight_sums"]),
            n_rows=self.params["n_rows"],
            sum_weight=self.params["sum_weight"],
            target=self.params.get("facts", {}),
        )

    @cached_property
    def dtype(self) -> str:
        has_numbers = self.n_numeric > 0 and not self.edges
        return self.schema.numeric_dtype if has_numbers and not self.schema.sparse else "float32"

    def block(self, raw: Block, lazy: bool) -> Block:
        """The design block; ``lazy`` ones keep center and scale beside X, others are standardised."""
        x = self._matrix(raw)
        center, scale = self.affine
        out = dataclasses.replace(raw, X=x, coded={}, y=self._targets(raw), center=center, scale=scale)
        if lazy or center is None:
            return out
        if isinstance(x, CSR):
            raise ConfigError("algorithm, standardise", "sparse columns cannot be centred", "use --standardise false")
        kept = raw.memo(f"standardised.{self.key}", 1, lambda old: {"x": _standardised(out)})
        return dataclasses.replace(out, X=kept["x"], center=None, scale=None)

    def prediction_block(self, raw: Block, lazy: bool) -> Block:
        """What the inner model predicts from: as :meth:`block`, but nulls are imputed also where training had none."""
        if not isinstance(raw.X, CSR) and not self.params["impute"]:
            raw = dataclasses.replace(raw, X=tf.impute(raw.X, self.fill))
        return self.block(raw, lazy)

    def header(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {k: v for k, v in self.params.items() if k not in ("fill", "center", "scale", "edges")}

    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        found = {k: np.asarray(self.params[k]) for k in ("fill", "center", "scale") if k in self.params}
        return {f"transforms.{k}": v for k, v in found.items()} | {
            f"transforms.edges.{j}": e for j, e in enumerate(self.edges)
        }

    @classmethod
    def from_parts(cls, schema: Schema, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Fitted:
        """The inverse of :meth:`header` and :meth:`arrays`."""
        params = dict(header)
        params |= {k: arrays[f"transforms.{k}"] for k in ("fill", "center", "scale") if f"transforms.{k}" in arrays}
        edges = sorted((k for k in arrays if k.startswith("transforms.edges.")), key=lambda k: int(k.split(".")[2]))
        if edges:
            params["edges"] = [arrays[k] for k in edges]
        return cls(schema, params)

    def _matrix(self, raw: Block) -> Array | CSR:
        plain = not (self.onehot or self.hash or self.edges)
        if plain and not self.schema.sparse and not self.params["impute"]:
            return raw.X
        if self.sparse:
            kept = raw.memo(f"design.{self.key}", 1, lambda old: self._sparse(raw).arrays())
            return CSR(kept["indptr"], kept["indices"], kept["data"], self.n_features)
        return raw.memo(f"design.{self.key}", 1, lambda old: {"x": self._dense(raw)})["x"]

    def _dense(self, raw: Block) -> Array:
        pieces = [self._numbers(raw)] + [tf.onehot_piece(raw.coded[f["column"]], f) for f in self.onehot]
        dtype = np.dtype(self.dtype)
        return np.ascontiguousarray(np.concatenate([p.astype(dtype, copy=False) for p in pieces], axis=1))

    def _numbers(self, raw: Block) -> Array:
        x = raw.X
        if isinstance(x, CSR):
            absent = np.nan if self.schema.format.absent == "missing" else 0.0
            x = clipped(x, len(self.fill)).toarray(absent)
        if not self.edges:
            return tf.impute(x, self.fill)
        codes = tf.bin_codes(x, self.edges)
        widths = [len(e) + 2 for e in self.edges]
        out = np.zeros((len(x), sum(widths)), np.float32)
        out[np.arange(len(x))[:, None], codes + np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.int64)] = 1.0
        return out

    def _sparse(self, raw: Block) -> _Triplets:
        out = _Triplets(raw.n_rows, self.n_features)
        if isinstance(raw.X, CSR):
            out.csr(clipped(raw.X, len(self.fill)), 0)
            return out
        out.dense(self._numbers(raw), 0)
        at = self.n_numeric
        for fitted in self.onehot:
            codes = tf.onehot_codes(raw.coded[fitted["column"]], fitted)
            out.entries(np.arange(raw.n_rows), codes + at, np.ones(raw.n_rows))
            at += len(tf.onehot_names(fitted))
        if self.hash is not None:
            text = {c.name for c in self.schema.features("text")}
            out.csr(tf.hash_pieces(raw, list(self.hash["columns"]), text, self.hash["bits"]), at)
        return out

    def _targets(self, raw: Block) -> Array | None:
        """As ``targets``, kept with the block where labels have to be looked up."""
        if raw.y is None or not self.classes:
            return self.targets(raw, strict=True)

        def compute(old: Any) -> dict[str, Array]:
            codes = self.targets(raw, strict=True)
            assert codes is not None
            return {"codes": codes}

        return raw.memo(f"targets.{self.key}", 1, compute)["codes"]

    def targets(self, raw: Block, strict: bool) -> Array | None:
        """(n_rows,) float64 values, or class codes; an unknown label is an InputError, or NaN when not strict."""
        if raw.y is None or self.params["target"] == "none":
            return None
        if not self.classes:
            if isinstance(raw.y, Coded):
                raise InputError("target", "holds texts where numbers are needed", "is it the right --target?")
            return raw.y
        coded = raw.y if isinstance(raw.y, Coded) else tf.label_codes(raw.y)
        codes = tf.recode(coded, {label: i for i, label in enumerate(self.classes)}, -1, -2)
        if strict and (codes < 0).any():
            row = int(np.flatnonzero(codes < 0)[0])
            label = repr(str(coded.levels[coded.codes[row]])) if coded.codes[row] >= 0 else "null"
            finding = f"label {label} was not in the training data ({', '.join(self.classes[:10])})"
            target = self.schema.role("target")
            place = f"file {raw.file}, block {raw.index}, row {int(raw.rows[row])}"
            place += f", column {target.name!r}" if target else ""
            raise InputError(place, finding, "leave those rows out, or train with them")
        return np.where(codes < 0, np.nan, codes.astype(np.float64))


def _standardised(block: Block) -> Array:
    """(n_rows, n_features) float64: all runs of ``block.standardised()``, of which an empty block has none."""
    out: Array = np.empty((block.n_rows, block.n_features))
    for rows, part in block.standardised():
        out[rows] = part
    return out


class _Triplets:
    """Entries of a sparse design, gathered piece by piece."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self.n_rows, self.n_columns = n_rows, n_columns
        self.parts: list[tuple[Array, Array, Array]] = []

    def entries(self, rows: Array, columns: Array, values: Array) -> None:
        self.parts.append((rows, columns, values))

    def dense(self, x: Array, at: int) -> None:
        rows, columns = np.nonzero(x)
        self.entries(rows, columns + at, x[rows, columns].astype(np.float64))

    def csr(self, x: CSR, at: int) -> None:
        rows = np.repeat(np.arange(self.n_rows), np.diff(x.indptr))
        self.entries(rows, x.indices.astype(np.int64) + at, x.data.astype(np.float64))

    def arrays(self) -> dict[str, Array]:
        rows, columns, values = (np.concatenate(p) for p in zip(*self.parts, strict=True))
        out = tf.from_triplets(rows, columns, values, self.n_rows, self.n_columns)
        return {"indptr": out.indptr, "indices": out.indices, "data": out.data}


def clipped(x: CSR, n_columns: int) -> CSR:
    """The first ``n_columns`` columns: indices that training never saw are dropped."""
    if x.n_columns <= n_columns:
        return CSR(x.indptr, x.indices, x.data, n_columns)
    keep = x.indices < n_columns
    indptr = np.concatenate([[0], np.cumsum(keep)])[x.indptr].astype(np.int64)
    return CSR(indptr, x.indices[keep], x.data[keep], n_columns)
