"""What a report draws of a model's predictions, in two passes: counts in quantile bins of what it says.

Two classes: rows of each in BINS bins of the score, from which come the ROC curve, the precision-recall curve and the
calibration.  Numbers: the mean of the truth in bins of the prediction, and a histogram of the errors.  Of classes also
how often each is taken for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.evaluation.parts import Metrics, score_of
from mrml.algorithms.pipeline.statistics import Quantiles
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.model import Model
from mrml.names import name_of
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Into, Statistic, Sums

BINS, ERRORS = 200, 40
#: errors outside of these quantiles are in the outer bins of the histogram
_TAILS = (0.005, 0.995)
#: more classes than this make no table that can be read
_MOST_CLASSES = 30


@dataclass(frozen=True)
class Curves(Algorithm):
    """The counts of a model that travels in the State, as that of Evaluate does."""

    does = "evaluate"

    scorer: Model | None = param(None, "the model", internal=True)

    def spec(self) -> dict[str, Any]:
        return {"class": name_of(type(self)), "params": {}}

    def init(self, schema: Schema) -> State:
        member = dict(Evaluate(scorer=self.scorer).init(schema).params)
        return State({"member": member, "edges": None, "errors": None})

    def statistic(self, state: State, key: str) -> Statistic:
        if key == "quantiles":
            return Quantiles(2)
        n, k = (len(state["edges"]) + 1 if state["edges"] is not None else 0), _told(state["member"])
        if key == "confusion":
            return Sums(rows=np.zeros((k, k)))
        if key == "errors":
            return Sums(rows=np.zeros(len(state["errors"]) + 1))
        return Sums(**{name: np.zeros(n) for name in ("weight", "said", "true")})

    def map(self, state: State, block: Block, into: Into) -> None:
        member = state["member"]
        if not block.n_rows:
            return
        found, y_true = Evaluate().scored(State(member), block)
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        if self._kind(member) == "classes" or (member["classes"] and state["edges"] is not None):
            k, place = _told(member), np.stack([y_true, found.y_pred]).astype(np.int64)
            table = np.bincount(place[0] * k + place[1], weight, k * k).reshape(k, k) if k else np.zeros((0, 0))
            _sums(into, "confusion").add(rows=table)
        if self._kind(member) == "classes":
            return
        said = score_of(found) if member["classes"] else found.y_pred
        if state["edges"] is None:
            quantiles = into["quantiles"]
            assert isinstance(quantiles, Quantiles)
            quantiles.fill(np.column_stack([said, y_true - said]))
            return
        place, n = np.searchsorted(state["edges"], said, side="right"), len(state["edges"]) + 1
        of_bin = {"weight": weight, "said": weight * said, "true": weight * y_true}
        _sums(into, "bins").add(**{name: np.bincount(place, of, n) for name, of in of_bin.items()})
        if not member["classes"]:
            place = np.searchsorted(state["errors"], y_true - said, side="right")
            _sums(into, "errors").add(rows=np.bincount(place, weight, len(state["errors"]) + 1))

    @staticmethod
    def _kind(member: Mapping[str, Any]) -> str:
        n = len(member["classes"])
        return "numbers" if not n else "two" if n == 2 else "classes"

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        kind = self._kind(state["member"])
        if kind == "classes":
            shown = _told(state["member"]) > 0
            told = {"classes": state["member"]["classes"], "confusion": values["confusion"]["rows"].tolist()}
            return state.next(stop="counted", told=told if shown else {})
        if state["edges"] is None:
            sketch = values["quantiles"]
            low, high = _quantiles(sketch.columns[1], _TAILS)
            return state.next(edges=sketch.edges(0, BINS), errors=np.unique(np.linspace(low, high, ERRORS - 1)))
        bins = {name: values["bins"][name].tolist() for name in ("weight", "said", "true")}
        told = {"kind": kind, "classes": state["member"]["classes"], **bins}
        if kind == "numbers":
            told |= {"edges": state["errors"].tolist(), "errors": values["errors"]["rows"].tolist()}
        else:
            told |= {"confusion": values["confusion"]["rows"].tolist()}
        return state.next(stop="counted", told=told)

    def model(self, state: State, schema: Schema) -> Model:
        """Its ``metrics``: see the module."""
        return Metrics({"kind": self._kind(state["member"]), **state["told"]})

    def expected_rounds(self) -> int:
        return 2


def _told(member: Mapping[str, Any]) -> int:
    """The classes of the table; of too many none is made."""
    n = len(member["classes"])
    return n if n <= _MOST_CLASSES else 0


def _sums(into: Into, key: str) -> Sums:
    found = into[key]
    assert isinstance(found, Sums)
    return found


def _quantiles(summary: tuple[Array, Array], shares: tuple[float, float]) -> tuple[float, float]:
    values, weights = summary
    rank = (np.cumsum(weights) - weights / 2) / weights.sum()
    low, high = np.interp(shares, rank, values)
    return float(low), float(high)
