"""The pipeline whose columns are bins: one round makes the sketches and counts the levels."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.objectives.lambdarank import GroupRuns
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.bins import DENSE_COLUMNS, DENSE_SHARE, MAX_LEVELS, Binned
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.algorithms.pipeline.sketch import Summary
from mrml.algorithms.pipeline.sparse_sketch import Ragged, SparseSummary
from mrml.algorithms.pipeline.statistics import Levels
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.logs import size
from mrml.pin import memory_bytes
from mrml.statistic import Into, Statistic

log = logging.getLogger(__name__)


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
            return (
                SparseSummary(0, self.absent == "zero")
                if self.schema.sparse
                else Summary(len(self.schema.features("numeric")))
            )
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
        summary = values["summary"] if "summary" in values else self.empty("summary")
        assert isinstance(summary, Summary)
        if summary.n_rows == 0:
            raise self._no_rows()
        self._check_infinite(summary)
        self.__dict__["_notes"] = self._too_close(summary)
        for note in self.notes:
            log.info("note: %s", note)
        max_bin = int(self.algorithm.max_bin)
        params: dict[str, Any] = {
            "absent": self.absent,
            "n_rows": summary.n_rows,
            "sum_weight": summary.sum_weight,
            "target": self.algorithm.target,
            "classes": [],
            "class_weight_sums": [],
            "cuts": summary.edges(max_bin),
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
        params |= _sparse(summary, params)
        self._check_memory(params)
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

    def _too_close(self, summary: Summary) -> tuple[str, ...]:
        """Notes on columns whose different numbers are mostly the same float32: seconds since 1970, large ids."""
        told, names = [], [c.name for c in self.schema.features("numeric")]
        for name, low, high in zip(names, *summary.extent.tolist(), strict=False):
            if not np.isfinite([low, high]).all() or low >= high:
                continue
            steps = int((high - low) / np.spacing(np.float32(max(abs(low), abs(high))))) + 1
            if steps < min(int(self.algorithm.max_bin), 64):
                finding = f"trees see float32, which has {steps} numbers from {low:.10g} to {high:.10g}"
                told.append(f"column {name!r}: {finding}; subtract {low:.10g} from it")
        return tuple(told)

    def _check_infinite(self, summary: Summary) -> None:
        if (j := summary.beyond()) is not None:
            names = [c.name for c in self.schema.features("numeric")]
            name = repr(names[j]) if names else f"with index {j + self.schema.format.index_base}"
            finding = "holds infinity, or numbers beyond float32"
            raise InputError(f"column {name}", finding, 'add na: ["inf"] under data, or rescale it')

    def _check_memory(self, params: dict[str, Any]) -> None:
        """Histograms of columns that are not sparse must fit into memory: those of two children, as a task has them."""
        if params.get("n_entries") is not None:
            return
        n_bins = Binned(self.schema, params).design.bins
        assert n_bins is not None
        needed = 96 * (sum(n_bins.n_bins) + len(n_bins.n_bins))
        if needed > memory_bytes() // 2:
            finding = f"histograms of {len(n_bins.n_bins):,} columns take {size(needed)}, too much for this machine"
            raise InputError("data", finding, "give a smaller --max-bin, select columns, or train a linear model")


def _sparse(summary: Summary, params: Mapping[str, Any]) -> dict[str, Any]:
    """The edges as a State holds them; and of columns of which most rows hold one code, how many entries there are."""
    if not isinstance(summary, SparseSummary):
        return {}
    cuts, n_columns = params["cuts"], len(params["cuts"])
    told: dict[str, Any] = {"cuts": {"values": cuts.values, "sizes": cuts.sizes}} if isinstance(cuts, Ragged) else {}
    few = summary.n_entries * DENSE_SHARE <= summary.n_rows * n_columns
    return told | ({"n_entries": summary.n_entries} if few or n_columns > DENSE_COLUMNS else {})


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
