"""How tight the clusters of a model are on data: inertia, and the rows of each cluster.

The inertia is ``sum_i weight_i |z_i - centre of its cluster|^2`` over all rows, z standardised where the model
standardises: scikit-learn's ``inertia_``, and its ``-score(X, sample_weight=...)``.  Distances of dense rows are taken
by differences, so rows that coincide with a centre add exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.parts import Metrics, packed, revived
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.model import Model
from mrml.names import name_of
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Counts, Into, Statistic, Sums


class Clusterer(Protocol):
    """What is evaluated: the model of a pipeline whose inner model has clusters."""

    inner: Any

    def design(self, block: Block) -> Block:
        """The matrix of a raw block, without a target."""


def measures_clusters(model: Model) -> bool:
    """Whether a model has clusters with centres."""
    return model.output == "cluster" and hasattr(getattr(model, "inner", None), "nearest")


@dataclass(frozen=True)
class EvaluateClusters(Algorithm):
    """One round: the inertia of a model of clusters, and the rows and the weight of each.

    The model travels in the State; :meth:`spec` leaves it out.
    """

    does = "evaluate"

    scorer: Model | None = param(None, "the model to evaluate", internal=True)

    def spec(self) -> dict[str, Any]:
        return {"class": name_of(type(self)), "params": {}}

    def init(self, schema: Schema) -> State:
        if self.scorer is None:
            raise ConfigError("evaluate", "no model is given", "use EvaluateClusters(scorer=model)")
        return State({"scorer": packed(self.scorer), "k": int(cast(Clusterer, self.scorer).inner.header()["k"])})

    def statistic(self, state: State, key: str) -> Statistic:
        none = np.zeros(state["k"])
        return Counts(rows=none) if key == "counts" else Sums(inertia=none, weight=none)

    def map(self, state: State, block: Block, into: Into) -> None:
        if not block.n_rows:
            return
        model, k = cast(Clusterer, revived(state["scorer"])), state["k"]
        labels, squared = model.inner.nearest(model.design(block))
        counts, sums = into["counts"], into["sums"]
        assert isinstance(counts, Counts) and isinstance(sums, Sums)
        counts.add(rows=np.bincount(labels, minlength=k))
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        sums.add(inertia=_by(labels, weight * squared, k), weight=_by(labels, weight, k))

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if not values:
            raise InputError("evaluate", "the data has no rows", "check the input and its filters")
        rows, sums = values["counts"]["rows"], values["sums"]
        metrics = {
            "n_rows": int(rows.sum()),
            "weight": float(sums["weight"].sum()),
            "inertia": float(sums["inertia"].sum()),
        }
        of = zip(rows.tolist(), sums["weight"].tolist(), sums["inertia"].tolist(), strict=True)
        clusters = [{"cluster": j, "rows": n, "weight": w, "inertia": i} for j, (n, w, i) in enumerate(of)]
        return state.next("the clusters are measured", metrics={**metrics, "clusters": clusters})

    def model(self, state: State, schema: Schema) -> Metrics:
        return Metrics(state["metrics"])


def _by(labels: Array, amount: Array, k: int) -> Array:
    """(k,) float64 sums of an amount (n,) by label."""
    return np.bincount(labels, amount, minlength=k).astype(np.float64, copy=False)
