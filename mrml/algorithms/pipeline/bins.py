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
from mrml.algorithm import State
from mrml.algorithms.objectives.lambdarank import GroupRuns
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.pipeline import Fitted, Pipeline, clipped
from mrml.algorithms.pipeline.statistics import Levels
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.kernels.trees import numpy as trees
from mrml.schema import Bins, Design, Schema
from mrml.statistic import Into, Statistic

#: more distinct values than twice this are thinned out to this many
SKETCH_SIZE = 4096
MAX_LEVELS = 254
#: LibSVM columns are binned densely: 65,536 rows of more columns would take 512 MB
MAX_COLUMNS = 8192


class Summary(Statistic):
    """Rows, weights, numeric targets: sums and extremes, and the sketches of the numeric columns.

    ``columns`` holds for each column its distinct values, ascending float32, and their weights, float64; ``target`` the
    same of a numeric target, ``labels`` the weight of each label; ``offset`` the extremes of the offset.  In LibSVM
    data whose absent entries are zeros (``zeros``), a column that a part has never seen was zero in all of its rows.
    """

    def __init__(self, n_columns: int = 0, zeros: bool = False) -> None:
        self.zeros = zeros
        self.n_rows, self.sum_weight, self.max_weight, self.sum_y = 0, 0.0, 0.0, 0.0
        self.offset: list[float] = []
        self.labels: dict[str, float] = {}
        self.columns: list[tuple[Array, Array]] = [_NOTHING] * n_columns
        self.target: tuple[Array, Array] = _NOTHING

    def fill(self, block: Block, x: Array | CSR, y: Array | Coded | None) -> None:
        """Take the rows of one block into an empty statistic."""
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        self.n_rows, self.sum_weight = block.n_rows, float(weight.sum())
        self.max_weight = float(weight.max(initial=0.0))
        if block.offset is not None and block.n_rows:
            self.offset = [float(block.offset.min()), float(block.offset.max())]
        if isinstance(y, Coded):
            sums = np.bincount(y.codes[y.codes >= 0], weight[y.codes >= 0], len(y.levels))
            self.labels = dict(zip(y.levels.tolist(), sums.tolist(), strict=True))
        elif y is not None:
            self.sum_y = float((weight * y).sum())
            self.target = thinned(*distinct(y.astype(np.float64), block.weight))
        if isinstance(x, CSR):
            self.columns = [thinned(*c) for c in self._sparse(x, weight)]
        else:
            rows = np.ascontiguousarray(x.T, np.float32)
            self.columns = [thinned(*distinct(column, block.weight)) for column in rows]

    def _sparse(self, x: CSR, weight: Array) -> list[tuple[Array, Array]]:
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        order = np.argsort(x.indices, kind="stable")
        ends = np.searchsorted(x.indices[order], np.arange(x.n_columns + 1))
        out = []
        for j in range(x.n_columns):
            at = order[ends[j] : ends[j + 1]]
            column, w = x.data[at].astype(np.float32), weight[rows[at]]
            if self.zeros:
                column, w = np.append(column, np.float32(0.0)), np.append(w, self.sum_weight - w.sum())
            values, weights = distinct(column, w)
            keep = weights > 0
            out.append((values[keep], weights[keep]))
        return out

    def merge(self, other: Summary) -> None:
        n = max(len(self.columns), len(other.columns))
        pairs = zip(self._padded(n), other._padded(n), strict=True)
        self.columns = [joined(a, b) for a, b in pairs]
        self.target = joined(self.target, other.target)
        self.n_rows, self.sum_y = self.n_rows + other.n_rows, self.sum_y + other.sum_y
        self.sum_weight += other.sum_weight
        self.max_weight = max(self.max_weight, other.max_weight)
        both = self.offset + other.offset
        self.offset = [min(both), max(both)] if both else []
        self.labels = {
            label: self.labels.get(label, 0.0) + other.labels.get(label, 0.0)
            for label in {**self.labels, **other.labels}
        }

    def _padded(self, n: int) -> list[tuple[Array, Array]]:
        zero = (np.zeros(1, np.float32), np.full(1, self.sum_weight)) if self.zeros and self.sum_weight else _NOTHING
        return self.columns + [zero] * (n - len(self.columns))

    def to_wire(self) -> Any:
        plain = {k: getattr(self, k) for k in ("zeros", *_PLAIN)}
        return {**plain, "columns": [list(c) for c in self.columns], "target": list(self.target)}

    @classmethod
    def from_wire(cls, tree: Any) -> Summary:
        out = cls(0, tree["zeros"])
        out.columns, out.target = [(v, w) for v, w in tree["columns"]], (tree["target"][0], tree["target"][1])
        for name in _PLAIN:
            setattr(out, name, tree[name])
        return out

    def n_bytes(self) -> int:
        return sum(12 * len(v) for v, _ in self.columns)


_PLAIN = ("n_rows", "sum_weight", "max_weight", "sum_y", "offset", "labels")
_NOTHING: tuple[Array, Array] = (np.empty(0, np.float32), np.empty(0))


def distinct(column: Array, weight: Array | None) -> tuple[Array, Array]:
    """The distinct values in order and the weight of each; NaN is left out, -0.0 is 0.0."""
    if weight is None:
        values = np.sort(column)  # 4 ns a value; NaN comes last
        values = values[: np.searchsorted(values, np.nan)] + 0
        first = np.flatnonzero(values[1:] != values[:-1]) + 1
        first = np.concatenate([np.zeros(min(1, len(values)), np.int64), first])
        return values[first], np.diff(np.append(first, len(values))).astype(np.float64)
    keep = ~np.isnan(column)
    values, inverse = np.unique(column[keep] + 0, return_inverse=True)
    return values, np.bincount(inverse, weight[keep], len(values))


def joined(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """The sketch of the rows of two."""
    if not len(a[0]) or not len(b[0]):
        return a if len(a[0]) else b
    values, inverse = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    return thinned(values, np.bincount(inverse, np.concatenate([a[1], b[1]]), len(values)))


def thinned(values: Array, weights: Array) -> tuple[Array, Array]:
    """At most ``2 * SKETCH_SIZE`` values: otherwise ``SKETCH_SIZE`` at even ranks, each with its stretch's weight.

    Every thinning moves a rank by at most half of 1/4,096 of the weight, and rows meet one a level of the merge tree.
    """
    if len(values) <= 2 * SKETCH_SIZE:
        return values, weights
    rank = np.cumsum(weights) - weights / 2
    stretch = np.minimum((rank / rank[-1] * SKETCH_SIZE).astype(np.int64), SKETCH_SIZE - 1)
    first = np.flatnonzero(np.diff(stretch, prepend=-1))
    last = np.append(first[1:], len(values)) - 1
    middle = (first + last) // 2
    middle[0], middle[-1] = 0, len(values) - 1  # the extremes stay exact
    return values[middle], np.add.reduceat(weights, first)


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
        pieces = [trees.with_numba().bin_codes(self._numeric(raw), *self._table)]
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


@dataclasses.dataclass(frozen=True)
class BinnedPipeline(Pipeline):
    """Fits the bins in round 1 and the inner algorithm, which trains on codes, in the rounds after it."""

    fitted_class = Binned

    @property
    def absent(self) -> str:
        """What an index that a LibSVM line leaves out means: missing, as to XGBoost, unless the user said zero."""
        return self.schema.format.absent or "missing"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        texts = self.schema.features("text")
        if texts:
            finding = "is text, which trees cannot split"
            raise ConfigError(f"column {texts[0].name!r}", finding, "give it kind categorical, or leave it out")
        keys = ["summary", *(tf.LEVELS + c.name for c in self.schema.features("categorical"))]
        keys += ["groups"] if self.algorithm.grouped else []
        return tuple(keys + [tf.TARGET] * (self.algorithm.target in ("binary", "classes")))

    def empty(self, key: str) -> Statistic:
        if key == "summary":
            return Summary(len(self.schema.features("numeric")), self.schema.sparse and self.absent == "zero")
        return GroupRuns() if key == "groups" else Levels()

    def fill(self, key: str, block: Block, into: Into) -> None:
        statistic = into[key]
        if isinstance(statistic, Summary):
            y = block.y
            if self.algorithm.target != "numeric" and isinstance(y, np.ndarray):
                y = tf.label_codes(y)
            statistic.fill(block, block.X, y)
        elif isinstance(statistic, GroupRuns):
            statistic.fill(block)
        else:
            tf.fill(key, block, statistic)

    def _fit(self, values: Mapping[str, Any]) -> dict[str, Any]:
        summary: Summary = values["summary"] if "summary" in values else Summary()
        if summary.n_rows == 0:
            raise InputError("data", "holds no row to train on", "look at the files with `mrml schema`")
        if len(summary.columns) > MAX_COLUMNS:
            finding = f"{len(summary.columns):,} columns, more than the {MAX_COLUMNS:,} that trees take"
            raise InputError("data", finding, "select columns, or train a linear model")
        self._check_infinite(summary)
        max_bin = int(self.algorithm.max_bin)
        params: dict[str, Any] = {
            "absent": self.absent,
            "n_rows": summary.n_rows,
            "sum_weight": summary.sum_weight,
            "target": self.algorithm.target,
            "classes": [],
            "class_weight_sums": [],
            "cuts": [edges_of(v, w, max_bin) for v, w in summary.columns],
            "levels": [self._levels(c.name, values, max_bin) for c in self.schema.features("categorical")],
            "summary": _target_facts(summary),
        }
        if "groups" in values:
            values["groups"].check()
            params["summary"]["max_group"] = values["groups"].longest
        if tf.TARGET in values:
            levels: Levels = values[tf.TARGET]
            params["classes"] = tf.label_order(list(levels.counts))
        params |= self._going_on(params)
        if tf.TARGET in values:
            params["class_weight_sums"] = [summary.labels.get(label, 0.0) for label in params["classes"]]
        return params

    def _going_on(self, params: dict[str, Any]) -> dict[str, Any]:
        """The bins and classes of the model that training goes on from, where it does."""
        start = getattr(self.algorithm, "start", None)
        if start is None:
            return {}
        old, new = start[0], Binned(self.schema, params)
        if not self.schema.sparse and old.names != new.names:
            different = sorted({*old.names} ^ {*new.names}) or list(new.names)
            finding = f"the model to go on from has other columns: {', '.join(different[:5])}"
            raise InputError("data", finding, "give the columns that it was trained on, in their order")
        return {name: old.params[name] for name in ("absent", "cuts", "levels", "classes")}

    def keeps(self, state: State) -> tuple[str, ...]:
        if state["fitted"] is None:
            return ()
        fitted = self.fitted(state)
        assert isinstance(fitted, Binned)
        return fitted.memo, *super().keeps(state)

    def _levels(self, name: str, values: Mapping[str, Any], max_bin: int) -> dict[str, Any]:
        """The most frequent levels by their text; the others are remembered, since an unseen one is missing."""
        levels: Levels = values[tf.LEVELS + name]
        ordered = [level for level, _ in levels.ordered()]
        most = min(MAX_LEVELS, max_bin - 1)
        top = ordered if len(ordered) <= most else ordered[:most]
        rare = sorted(ordered[len(top) :])
        return {"column": name, "levels": sorted(top), "rare": rare, "other": bool(rare)}

    def _check_infinite(self, summary: Summary) -> None:
        for j, (values, _) in enumerate(summary.columns):
            if len(values) and not np.isfinite(values[[0, -1]]).all():
                names = [c.name for c in self.schema.features("numeric")]
                name = repr(names[j]) if names else f"with index {j + self.schema.format.index_base}"
                finding = "holds infinity, or numbers beyond float32"
                raise InputError(f"column {name}", finding, 'add na: ["inf"] under data, or rescale it')


def _target_facts(summary: Summary) -> dict[str, Any]:
    """What objectives need to begin: extremes, mean and quantiles of the target, the largest weight."""
    values, weights = summary.target
    facts: dict[str, Any] = {"max_weight": summary.max_weight, "offset": summary.offset or [0.0, 0.0]}
    if len(values):
        share = np.cumsum(weights) / weights.sum()
        at = np.minimum(np.searchsorted(share, np.arange(1, 100) / 100), len(values) - 1)
        facts |= {"min": float(values[0]), "max": float(values[-1]), "mean": summary.sum_y / summary.sum_weight}
        facts["quantiles"] = values[at].astype(np.float64).tolist()
    return facts
