"""Transforms: standardise, impute, one-hot, hash, bin.  Each is an Algorithm of one round and lives in the model.

A transform asks for *columns' statistics* by key: ``moments`` and ``quantiles`` of the numeric columns,
``levels:NAME`` of a categorical one.  Transforms that ask for the same key share it, so all of them fit in one round.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.pipeline.statistics import Levels, Moments, Quantiles
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.model import Model
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic

LEVELS = "levels:"
TARGET = "target"


def empty(schema: Schema, key: str) -> Statistic:
    """The empty statistic of a key."""
    n_columns = len(schema.features("numeric"))
    if key == "moments":
        return Moments(n_columns, schema.sparse)
    if key == "quantiles":
        return Quantiles(n_columns)
    return Levels()


def fill(key: str, block: Block, statistic: Statistic) -> None:
    """Fill the statistic of a key from a raw block."""
    if isinstance(statistic, Moments):
        statistic.fill(block.X, block.weight)
    elif isinstance(statistic, Quantiles):
        statistic.fill(block.X.toarray() if isinstance(block.X, CSR) else block.X)
    elif isinstance(statistic, Levels):
        column = block.y if key == TARGET else block.coded[key[len(LEVELS) :]]
        if column is None:
            raise InputError("data", "the target column is missing", "name it with --target")
        coded = column if isinstance(column, Coded) else label_codes(column)
        counts = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.levels))
        place = "target" if key == TARGET else f"column {key[len(LEVELS) :]!r}"
        statistic.add(coded.levels, counts, int((coded.codes < 0).sum()), place)


def label_codes(y: Array) -> Coded:
    """Numeric labels as text: whole numbers without a decimal point."""
    values, codes = np.unique(y, return_inverse=True)
    texts = [str(int(v)) if v == int(v) else repr(float(v)) for v in values.tolist()]
    return Coded(codes.astype(np.int32), np.array(texts, dtype=str))


def label_order(labels: list[str]) -> list[str]:
    """Labels as numbers where all of them are, else by their text."""
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)


def recode(column: Coded, levels: Mapping[str, int], missing: int, unseen: int) -> Array:
    """(n_rows,) int64 codes of a block's column in the model's numbering."""
    table = np.array([levels.get(level, unseen) for level in column.levels.tolist()] + [missing], np.int64)
    return table[column.codes]


@dataclass(frozen=True)
class Transform(Algorithm):
    """An Algorithm of one round over raw Blocks."""

    schema: Schema = param(Schema(()), "columns of the raw blocks", internal=True)

    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The statistics it needs."""

    @abstractmethod
    def fitted(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Its parameters (a tree for the wire) from those statistics."""

    def init(self, schema: Schema) -> State:
        return State({})

    def statistic(self, state: State, key: str) -> Statistic:
        return empty(self.schema, key)

    def map(self, state: State, block: Block, into: Into) -> None:
        if block.part == "train":
            for key in self.needs():
                fill(key, block, into[key])

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        return state.next(stop="fitted in one round", **self.fitted(values))

    def model(self, state: State, schema: Schema) -> Model:
        return FittedTransform(type(self).__name__.lower(), self.schema, dict(state.params))


@dataclass(frozen=True)
class Impute(Transform):
    """A null number becomes the mean of its column; a column of nulls only becomes 0."""

    def needs(self) -> tuple[str, ...]:
        return ("moments",)

    def fitted(self, values: Mapping[str, Value]) -> dict[str, Any]:
        moments: Moments = values["moments"]
        return {"fill": moments.mean, "nulls": moments.n_rows - moments.count}


@dataclass(frozen=True)
class Standardise(Transform):
    """(x - mean) / standard deviation of the imputed column; a constant column is only centred.

    The deviation is the population's (divided by n), as in scikit-learn's StandardScaler.
    """

    def needs(self) -> tuple[str, ...]:
        return ("moments",)

    def fitted(self, values: Mapping[str, Value]) -> dict[str, Any]:
        moments: Moments = values["moments"]
        variance = moments.m2 / max(moments.n_rows, 1)
        # below this a variance is the rounding of equal values, as scikit-learn's StandardScaler judges it
        eps = np.finfo(np.float64).eps
        bound = moments.n_rows * eps * variance + (moments.n_rows * moments.mean * eps) ** 2
        constant = variance <= bound
        return {"center": moments.mean, "scale": np.where(constant, 1.0, np.sqrt(variance))}


@dataclass(frozen=True)
class OneHot(Transform):
    """A column per level, and one for rare and unseen ones.

    The ``max_levels`` most frequent levels (ties by text) get columns; the rest, and levels that training never
    saw, share the column ``other``.  Nulls are a level of their own where training has any.
    """

    max_levels: int = param(256, "most frequent levels that get a column of their own", low=1)
    columns: tuple[str, ...] = param((), "categorical columns", internal=True)

    def needs(self) -> tuple[str, ...]:
        return tuple(LEVELS + name for name in self.columns)

    def fitted(self, values: Mapping[str, Value]) -> dict[str, Any]:
        out = []  # a list, since a JSON object has no order and the order of the columns is the model's
        for name in self.columns:
            levels: Levels = values[LEVELS + name]
            top = sorted(level for level, _ in levels.ordered()[: self.max_levels])
            out.append({"column": name, "levels": top, "null": levels.n_null > 0})
        return {"onehot": out}


@dataclass(frozen=True)
class Hash(Transform):
    """Feature hashing of categorical and text columns into 2**bits columns (Weinberger et al. 2009).

    A category hashes as ``name=level``, a text as its lower-case words ``name:word``, each occurrence adding its
    sign; the hash is 32-bit FNV-1a over UTF-8, its highest bit the sign.
    """

    bits: int = param(18, "columns of the hashed features, as a power of two", low=1, high=24)
    columns: tuple[str, ...] = param((), "categorical and text columns", internal=True)

    def needs(self) -> tuple[str, ...]:
        return ()

    def fitted(self, values: Mapping[str, Value]) -> dict[str, Any]:
        return {"hash": {"bits": self.bits, "columns": list(self.columns)}}


@dataclass(frozen=True)
class Bin(Transform):
    """Numeric columns by their quantiles: at most ``bins`` bins a column, nulls in a bin of their own."""

    bins: int = param(32, "bins of a numeric column", low=2, high=1024)

    def needs(self) -> tuple[str, ...]:
        return ("quantiles",)

    def fitted(self, values: Mapping[str, Value]) -> dict[str, Any]:
        sketch: Quantiles = values["quantiles"]
        return {"edges": [sketch.edges(j, self.bins) for j in range(len(sketch.columns))]}


def bin_codes(x: Array, edges: list[Array]) -> Array:
    """(n_rows, n_columns) int64 bins: the number of edges at most the value; one past the last for null."""
    codes = np.empty(x.shape, np.int64)
    for j, edge in enumerate(edges):
        column = np.ascontiguousarray(x[:, j], np.float64)
        codes[:, j] = np.where(np.isnan(column), len(edge) + 1, np.searchsorted(edge, column, side="right"))
    return codes


def impute(x: Array, values: Array) -> Array:
    """A copy of x with its nulls replaced; x itself where it has none."""
    if not np.isnan(x.sum(dtype=np.float64)):  # a sum is quicker than a mask; an infinity only costs the check below
        return x
    return np.where(np.isnan(x), values.astype(x.dtype), x)


def hash_pieces(block: Block, columns: list[str], text: set[str], bits: int) -> CSR:
    """The hashed columns of a raw block."""
    rows, indices, signs = [], [], []
    for name in columns:
        column = block.coded[name]
        tokens, lengths = _tokens(name, column.levels, name in text)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        present = np.flatnonzero(column.codes >= 0)
        codes = column.codes[present]
        n = lengths[codes]
        at = np.repeat(starts[codes] - np.concatenate([[0], np.cumsum(n)[:-1]]), n) + np.arange(n.sum())
        rows.append(np.repeat(present, n))
        indices.append(tokens[at.astype(np.int64)] & np.uint32((1 << bits) - 1))
        signs.append(np.where(tokens[at.astype(np.int64)] >> np.uint32(31), -1.0, 1.0))
    return from_triplets(np.concatenate(rows), np.concatenate(indices), np.concatenate(signs), block.n_rows, 1 << bits)


def buckets(column: Coded, name: str, bits: int) -> Array:
    """(n_rows,) int64: the bucket of each row's level, of a null that of no text."""
    tokens, _ = _tokens(name, column.levels, False)
    null = fnv1a(f"{name}=".encode())
    found = np.append(tokens, np.uint32(null)) & np.uint32((1 << bits) - 1)
    codes: Array = found[column.codes].astype(np.int64)
    return codes


def _tokens(name: str, levels: Array, is_text: bool) -> tuple[Array, Array]:
    """(n_tokens,) uint32 hashes of all levels' tokens, (n_levels,) how many each level has."""
    words = [[f"{name}:{w}" for w in v.lower().split()] if is_text else [f"{name}={v}"] for v in levels.tolist()]
    hashes = [fnv1a(w.encode()) for level in words for w in level]
    return np.array(hashes, np.uint32), np.array([len(w) for w in words], np.int64)


def fnv1a(text: bytes) -> int:
    """32-bit FNV-1a (Fowler, Noll, Vo), finished by murmur3's mixer so that the low bits are even."""
    h = 0x811C9DC5
    for byte in text:
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


def from_triplets(rows: Array, columns: Array, values: Array, n_rows: int, n_columns: int) -> CSR:
    """The CSR of (row, column, value) entries, equal places added up."""
    place = rows.astype(np.int64) * n_columns + columns.astype(np.int64)
    unique, inverse = np.unique(place, return_inverse=True)
    data = np.bincount(inverse, values, minlength=len(unique))
    indptr = np.searchsorted(unique, np.arange(n_rows + 1, dtype=np.int64) * n_columns)
    return CSR(indptr.astype(np.int64), (unique % n_columns).astype(np.int32), data, n_columns)


class FittedTransform(Model):
    """One transform by itself: what ``model`` makes when it is run alone."""

    def __init__(self, name: str, schema: Schema, params: dict[str, Any]) -> None:
        self.name, self.schema, self.params = name, schema, params

    APPLY: ClassVar[Mapping[str, str]] = {"impute": "_impute", "standardise": "_standardise", "bin": "_bin",
                                          "onehot": "_onehot", "hash": "_hash"}  # fmt: skip

    def transform(self, block: Block) -> Block:
        out: Block = getattr(self, self.APPLY[self.name])(block)
        return out

    def _impute(self, block: Block) -> Block:
        return block.with_design(X=impute(dense(block.X), self.params["fill"]))

    def _standardise(self, block: Block) -> Block:
        x = (dense(block.X).astype(np.float64) - self.params["center"]) / self.params["scale"]
        return block.with_design(X=x)

    def _bin(self, block: Block) -> Block:
        return block.with_design(X=bin_codes(dense(block.X), self.params["edges"]).astype(np.float64))

    def _onehot(self, block: Block) -> Block:
        pieces = [onehot_piece(block.coded[fitted["column"]], fitted) for fitted in self.params["onehot"]]
        return block.with_design(X=np.concatenate(pieces, axis=1), coded={})

    def _hash(self, block: Block) -> Block:
        fitted = self.params["hash"]
        text = {c.name for c in self.schema.features("text")}
        return block.with_design(X=hash_pieces(block, fitted["columns"], text, fitted["bits"]), coded={})

    def header(self) -> dict[str, Any]:
        plain = {k: v for k, v in self.params.items() if k in ("onehot", "hash")}
        return {"transform": self.name, "schema": self.schema.to_json(), "params": plain}

    def arrays(self) -> dict[str, Array]:
        out = {k: v for k, v in self.params.items() if isinstance(v, np.ndarray)}
        return out | {f"edges.{j}": e for j, e in enumerate(self.params.get("edges", ()))}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> FittedTransform:
        params = dict(header["params"]) | {k: v for k, v in arrays.items() if not k.startswith("edges.")}
        edges = [arrays[f"edges.{j}"] for j in range(len(arrays)) if f"edges.{j}" in arrays]
        if edges:
            params["edges"] = edges
        return cls(header["transform"], Schema.from_json(header["schema"]), params)


def onehot_names(fitted: Mapping[str, Any]) -> list[str]:
    """Names of the columns of one categorical column."""
    name = fitted["column"]
    null = [f"{name}=null"] if fitted["null"] else []
    return [f"{name}={level}" for level in fitted["levels"]] + null + [f"{name}=other"]


def onehot_codes(column: Coded, fitted: Mapping[str, Any]) -> Array:
    """(n_rows,) int64: the column of each row among ``onehot_names``."""
    n = len(fitted["levels"])
    other = n + bool(fitted["null"])
    return recode(column, {v: i for i, v in enumerate(fitted["levels"])}, n, other)


def onehot_piece(column: Coded, fitted: Mapping[str, Any]) -> Array:
    """(n_rows, n_levels + null + other) float32 indicators."""
    codes = onehot_codes(column, fitted)
    out = np.zeros((len(codes), len(fitted["levels"]) + bool(fitted["null"]) + 1), np.float32)
    out[np.arange(len(codes)), codes] = 1.0
    return out


def dense(x: Array | CSR) -> Array:
    """X as a dense array; for sparse columns only where there are few."""
    if not isinstance(x, CSR):
        return x
    if x.n_columns > 4096:
        finding = f"{x.n_columns:,} sparse columns are too many for it"
        raise ConfigError("transform", finding, "leave it out, or select columns")
    return x.toarray()
