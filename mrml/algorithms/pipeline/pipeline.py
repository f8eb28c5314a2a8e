"""Transforms and an algorithm as one Algorithm: the first round fits every transform, the next ones train.

So the driver has one loop, a checkpoint holds the transforms too, and the model carries them: it predicts from raw
columns.  The transforms are chosen from the schema: numbers are imputed and standardised (or binned), categories
become one-hot columns, columns of more levels than that and texts are hashed.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mrml import wire
from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.statistics import Levels, Moments
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.data.shards import Reads, Shard
from mrml.errors import ConfigError, InputError
from mrml.model import Model, Prediction, describe, revive
from mrml.params import param
from mrml.schema import Design, Schema
from mrml.statistic import Into, Statistic

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
        missing = self.schema.format.absent == "missing"
        if self.schema.sparse and not missing:
            return True
        if self.schema.sparse and self.n_features > DENSE_COLUMNS:
            finding = f"{self.n_features:,} LibSVM columns cannot be missing where they are absent"
            raise ConfigError("data, absent", finding, "say --absent zero, or use fewer columns")
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
            raise ConfigError("algorithm, standardise", "sparse columns cannot be centred", "say --standardise false")
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


@dataclass(frozen=True)
class Pipeline(Algorithm):
    """Fits the transforms in round 1 and the inner algorithm in the rounds after it."""

    #: what the transform round makes
    fitted_class: ClassVar[type[Fitted]] = Fitted

    algorithm: Any = param(None, "the algorithm that learns", internal=True)
    schema: Schema = param(Schema(()), "columns of the raw blocks", internal=True)
    max_levels: int = param(256, "most frequent levels of a category that get a column of their own", low=1)
    hash_columns: tuple[str, ...] = param((), "categorical columns that are hashed", internal=True)
    hash_bits: int = param(18, "columns of hashed features, as a power of two", low=1, high=24)
    bins: int = param(0, "quantile bins of a numeric column; 0 keeps its values", low=0, high=1024)

    @cached_property
    def transforms(self) -> tuple[tf.Transform, ...]:
        """Chosen from the schema; they share the transform round."""
        categorical = [c.name for c in self.schema.features("categorical")]
        onehot = tuple(n for n in categorical if n not in self.hash_columns)
        hashed = self.hash_columns + tuple(c.name for c in self.schema.features("text"))
        out: list[tf.Transform] = [tf.Impute(schema=self.schema), tf.Standardise(schema=self.schema)]
        if onehot:
            out.append(tf.OneHot(schema=self.schema, columns=onehot, max_levels=self.max_levels))
        if hashed:
            out.append(tf.Hash(schema=self.schema, columns=hashed, bits=self.hash_bits))
        if self.bins:
            out.append(tf.Bin(schema=self.schema, bins=self.bins))
        return tuple(out)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What the transform round gathers; equal needs of two transforms are one."""
        keys = dict.fromkeys(key for t in self.transforms for key in t.needs())
        if self.algorithm.target in ("binary", "classes"):
            keys[tf.TARGET] = None
        return tuple(keys)

    def init(self, schema: Schema) -> State:
        n_features = len([c for c in schema.columns if c.role == "feature"])
        if not n_features and not schema.sparse:
            raise InputError("schema", "no column is a feature", "give columns role feature in the schema file")
        return State({"fitted": None, "inner": None})

    def statistic(self, state: State, key: str) -> Statistic:
        if state["fitted"] is None:
            return self.empty(key)
        found: Statistic = self.algorithm.statistic(self._inner(state), key)
        return found

    def empty(self, key: str) -> Statistic:
        """The empty statistic of a key of the transform round."""
        return tf.empty(self.schema, key)

    def fill(self, key: str, block: Block, into: Into) -> None:
        """Fill the statistic of a key of the transform round from a raw block."""
        tf.fill(key, block, into[key])

    def keeps(self, state: State) -> tuple[str, ...]:
        return () if state["fitted"] is None else tuple(self.algorithm.keeps(self._inner(state)))

    def broadcast(self, state: State) -> State:
        if state["fitted"] is None:
            return state
        inner = self.algorithm.broadcast(self._inner(state)).to_wire()
        return State({**state.params, "inner": inner}, state.round, state.stop, state.converged)

    def map(self, state: State, block: Block, into: Into) -> None:
        if state["fitted"] is not None:
            self.algorithm.map(self._inner(state), self.fitted(state).block(block, self.algorithm.lazy), into)
        elif block.part == "train":
            for key in self.keys:
                self.fill(key, block, into)

    def reads(self, state: State) -> Reads:
        found: Reads = Reads() if state["fitted"] is None else self.algorithm.reads(self._inner(state))
        return found

    def map_shard(self, state: State, shard: Shard, into: Into) -> None:
        fitted = self.fitted(state)
        design = shard.through(lambda raw: fitted.block(raw, self.algorithm.lazy))
        self.algorithm.map_shard(self._inner(state), design, into)

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        if state["fitted"] is None:
            return statistic
        return self.algorithm.reduce(self._inner(state), key, statistic)

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if state["fitted"] is None:
            params = self._fit(values)
            inner = self.algorithm.init(self._schema(self.fitted_class(self.schema, params)))
        else:
            params, inner = state["fitted"], self.algorithm.update(self._inner(state), values)
        told = {"stop": inner.stop, "converged": inner.converged}
        return state.next(**told, fitted=params, inner=inner.to_wire())

    def model(self, state: State, schema: Schema) -> Model:
        if state["fitted"] is None:
            raise ConfigError("max_rounds", "one round only fits the transforms", "allow at least 2")
        fitted = self.fitted(state)
        inner = self.algorithm.model(self._inner(state), self._schema(fitted))
        return PipelineModel(fitted, inner, self.algorithm.lazy)

    def expected_rounds(self) -> int:
        return 1 + int(self.algorithm.expected_rounds())

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        inner = None if state is None or state["fitted"] is None else self._inner(state)
        return 1 + int(self.algorithm.rounds_in_all(inner, n_rows))

    def progress(self, state: State) -> dict[str, float]:
        if state["fitted"] is None:
            return {}
        found: dict[str, float] = self.algorithm.progress(self._inner(state))
        return found

    def fitted(self, state: State) -> Fitted:
        """The transforms of a State; the last one is kept, since every block of a round asks for it."""
        kept = self.__dict__.get("_kept")
        if kept is None or kept[0] is not state["fitted"]:
            kept = (state["fitted"], self.fitted_class(self.schema, state["fitted"]))
            self.__dict__["_kept"] = kept
        found: Fitted = kept[1]
        return found

    def _inner(self, state: State) -> State:
        return State.from_wire(state["inner"])

    def _schema(self, fitted: Fitted) -> Schema:
        return dataclasses.replace(self.schema, design=fitted.design)

    def _check_finite(self, moments: Moments) -> None:
        """InputError naming the first column whose numbers have no mean or no variance."""
        bad = np.flatnonzero(~(np.isfinite(moments.mean) & np.isfinite(moments.m2)))
        if len(bad):
            names = [c.name for c in self.schema.features("numeric")]
            name = repr(names[bad[0]]) if names else f"with index {bad[0] + self.schema.format.index_base}"
            finding = "holds infinity, or numbers too large to square"
            remedy = 'add na: ["inf"] under data, or leave the column out with --exclude'
            raise InputError(f"column {name}", finding, remedy)

    def _fit(self, values: Mapping[str, Value]) -> dict[str, Any]:
        moments: Moments = values["moments"] if "moments" in values else Moments()
        if moments.n_rows == 0:
            raise InputError("data", "holds no row to train on", "look at the files with `mrml schema`")
        self._check_finite(moments)
        params: dict[str, Any] = {"n_rows": moments.n_rows, "sum_weight": moments.sum_weight}
        params |= {"target": self.algorithm.target, "classes": [], "class_weight_sums": []}
        for transform in self.transforms:
            params |= transform.fitted(values)
        params["impute"] = bool((params.pop("nulls") > 0).any()) or bool(self.bins)
        if not self.algorithm.wants_scale():
            del params["center"], params["scale"]
        if tf.TARGET in values:
            levels: Levels = values[tf.TARGET]
            classes = tf.label_order(list(levels.counts))
            params["classes"] = classes
            params["class_weight_sums"] = [float(levels.counts[label]) for label in classes]
        return params


class PipelineModel(Model):
    """The transforms and the inner model: predicts from raw columns, in the labels of the training data."""

    def __init__(self, fitted: Fitted, inner: Model, lazy: bool) -> None:
        self.fitted, self.inner, self.lazy = fitted, inner, lazy

    @property
    def output(self) -> str:  # type: ignore[override]
        """What the inner model's y_pred is."""
        return self.inner.output

    @property
    def classes(self) -> tuple[str, ...]:
        """The original labels by code."""
        return self.fitted.classes

    @property
    def schema(self) -> Schema:
        """The columns it was trained on."""
        return self.fitted.schema

    @property
    def deviance(self) -> str:
        """The name of the loss it was trained with."""
        return str(getattr(self.inner, "loss", "half_squared_error"))

    def targets(self, block: Block) -> Array | None:
        """(n_rows,) float64 targets of a raw block: values, or codes of the classes."""
        return self.fitted.targets(block, strict=True)

    def design(self, block: Block) -> Block:
        """The design block of a raw block, whose target may be unknown or absent."""
        return self.fitted.prediction_block(dataclasses.replace(block, y=None), self.lazy)

    def predict(self, block: Block) -> Prediction:
        return self.inner.predict(self.design(block))

    def transform(self, block: Block) -> Block:
        return self.design(block)

    def header(self) -> dict[str, Any]:
        inner = describe(self.inner)
        transforms = self.fitted.header()
        return {"schema": self.schema.to_json(), "transforms": transforms, "lazy": self.lazy, "model": inner}

    def arrays(self) -> dict[str, Array]:
        return self.fitted.arrays() | {f"model.{k}": v for k, v in self.inner.arrays().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> PipelineModel:
        kind: type[Fitted] = Fitted
        if header["transforms"].get("kind") == "bins":
            from mrml.algorithms.pipeline.bins import Binned as kind
        elif header["transforms"].get("kind") == "codes":
            from mrml.algorithms.pipeline.codes import CodedFitted as kind
        inner = {k.removeprefix("model."): v for k, v in arrays.items() if k.startswith("model.")}
        fitted = kind.from_parts(Schema.from_json(header["schema"]), header["transforms"], arrays)
        return cls(fitted, revive(header["model"], inner), header["lazy"])

    def to_sklearn(self) -> Any:
        """The inner estimator over the design matrix, behind the transforms where they are only an affine map."""
        return self.inner.to_sklearn()
