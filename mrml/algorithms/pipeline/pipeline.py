"""Transforms and an algorithm as one Algorithm: the first round fits every transform, the next ones train.

So the driver has one loop, a checkpoint holds the transforms too, and the model carries them: it predicts from raw
columns.  The transforms are chosen from the schema: numbers are imputed and standardised (or binned), categories
become one-hot columns, columns of more levels than that and texts are hashed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.fitted import Fitted
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.pipeline.statistics import Levels, Moments
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard
from mrml.errors import ConfigError, InputError
from mrml.model import Model
from mrml.names import name_of
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic


@dataclass(frozen=True)
class Pipeline(Algorithm):
    """Fits the transforms in round 1 and the inner algorithm in the rounds after it."""

    #: what the transform round makes
    fitted_class: ClassVar[type[Fitted]] = Fitted

    algorithm: Any = param(None, "the algorithm that learns", internal=True)
    schema: Schema = param(Schema(()), "columns of the raw blocks", internal=True)
    max_levels: int = param(256, "one-hot encode at most this many levels of a category, the most frequent ones", low=1)
    hash_columns: tuple[str, ...] = param((), "categorical columns that are hashed", internal=True)
    hash_bits: int = param(18, "number of hashed features, as a power of two", low=1, high=24)
    bins: int = param(0, "cut numeric columns into this many quantile bins; 0: keep the numbers", low=0, high=1024)

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

    def alike(self, state: State) -> bytes | None:
        if state["fitted"] is None:
            words = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "algorithm"}
            words["schema"] = self.schema.to_json()
            told = [name_of(type(self)), words, self.algorithm.target, self.algorithm.grouped]
            return json.dumps(told, sort_keys=True).encode()
        inner = self.algorithm.alike(self._inner(state))
        return None if inner is None else self.fitted(state).digest + inner

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

    def goes_ahead(self, state: State) -> bool:
        return state["fitted"] is not None and bool(self.algorithm.goes_ahead(self._inner(state)))

    def ahead(self, state: State, blocks: Iterable[Block]) -> State | None:
        fitted, before = self.fitted(state), self._inner(state)
        inner = self.algorithm.ahead(before, (fitted.block(raw, self.algorithm.lazy) for raw in blocks))
        if inner is None:
            return None
        params, round_ = {**state.params, "inner": inner.to_wire()}, state.round + inner.round - before.round
        return State(params, round_, inner.stop, inner.converged)

    def model(self, state: State, schema: Schema) -> Model:
        if state["fitted"] is None:
            raise ConfigError("max_rounds", "one round only fits the transforms", "allow at least 2")
        fitted = self.fitted(state)
        inner = self.algorithm.model(self._inner(state), self._schema(fitted))
        return PipelineModel(fitted, inner, self.algorithm.lazy)

    @property
    def notes(self) -> tuple[str, ...]:
        """What fitting the transforms found that a user should know."""
        return tuple(self.__dict__.get("_notes", ()))

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

    def _no_rows(self) -> InputError:
        """Of data without a row that counts."""
        if self.schema.role("weight") is not None:
            finding, remedy = "no row has a weight above 0", "check the data and its weight column"
            return InputError("training data", finding, remedy)
        return InputError("data", "has no row to train on", "look at the files with `mrml schema`")

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
            raise self._no_rows()
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
