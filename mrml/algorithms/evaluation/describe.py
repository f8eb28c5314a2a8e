"""What the columns of some rows hold, so that other rows can be compared with them: two passes, exact.

The first finds levels, nulls, extremes and, of numbers, a quantile sketch (exact up to 4,096 distinct values) whose
``bins`` quantiles are the edges in which the second one counts.  Where edges of other rows are given, the first pass
counts in those too.  Every row counts once, whatever it weighs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.parts import Metrics
from mrml.algorithms.pipeline.statistics import Levels, Quantiles
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import InputError
from mrml.model import Model
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Counts, Into, Statistic

#: levels of a column that are kept with their counts, the most frequent ones
KEPT_LEVELS = 10_000


@dataclass(frozen=True)
class Describe(Algorithm):
    """Counts of every feature of the schema.

    ``against`` holds ascending edges for each numeric feature in order; or nothing.
    """

    does = "describe"

    schema: Schema = param(Schema(()), "columns of the raw blocks", internal=True)
    bins: int = param(10, "quantile bins of a numeric column", low=2, high=1000, internal=True)
    against: tuple[tuple[float, ...], ...] = param((), "edges of other rows to count in", internal=True)

    def init(self, schema: Schema) -> State:
        return State({"first": None, "edges": [np.asarray(e, np.float64) for e in self.against]})

    @property
    def _numeric(self) -> list[str]:
        return [c.name for c in self.schema.features("numeric")]

    def statistic(self, state: State, key: str) -> Statistic:
        if key.startswith("levels "):
            return Levels()
        if key == "quantiles":
            return Quantiles(len(self._numeric))
        return Counts(n_rows=0, nulls=np.zeros(len(self._numeric)), bins=np.zeros(_n_bins(state["edges"])))

    def map(self, state: State, block: Block, into: Into) -> None:
        counts, x = into["counts"], block.X
        assert isinstance(counts, Counts) and isinstance(x, np.ndarray)
        counts.add(n_rows=block.n_rows, nulls=np.isnan(x).sum(axis=0))
        if state["edges"]:
            counts.add(bins=np.concatenate([_counted(x[:, j], e) for j, e in enumerate(state["edges"])]))
        if state["first"] is not None:
            return
        quantiles = into["quantiles"]
        assert isinstance(quantiles, Quantiles)
        quantiles.fill(x)
        for name, column in block.coded.items():
            levels = into[f"levels {name}"]
            assert isinstance(levels, Levels)
            rows = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
            levels.add(column.levels, rows, int((column.codes < 0).sum()), f"column {name!r}")

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if "counts" not in values or not values["counts"]["n_rows"]:
            raise InputError("data", "has no row", "look at the files with `mrml schema`")
        bins = [a.tolist() for a in _split(values["counts"]["bins"], state["edges"])]
        if state["first"] is not None:
            return state.next(stop="described", counted=bins)
        sketch: Quantiles = values["quantiles"]
        first = {
            "n_rows": int(values["counts"]["n_rows"]),
            "nulls": values["counts"]["nulls"].tolist(),
            "ranges": [[float(v[0]), float(v[-1])] if len(v) else None for v, _ in sketch.columns],
            "against": bins,
            "levels": {
                name.partition(" ")[2]: [levels.ordered(), levels.n_null]
                for name, levels in values.items()
                if name.startswith("levels ")
            },
        }
        edges = [sketch.edges(j, self.bins) if len(v) else np.empty(0) for j, (v, _) in enumerate(sketch.columns)]
        return state.next(first=first, edges=edges)

    def model(self, state: State, schema: Schema) -> Model:
        """The profile, as its ``metrics``: see :func:`profile_of`."""
        return Metrics(profile_of(self._numeric, state))

    def expected_rounds(self) -> int:
        return 2


def profile_of(numeric: list[str], state: State) -> dict[str, Any]:
    """JSON of the columns by name.

    Numeric: nulls, range, edges (ascending; a value equal to one lies right of it), counts of the ``len(edges) + 1``
    bins, and ``against``, the counts in the edges of the other rows.  Categorical: nulls, levels with their counts,
    the most frequent KEPT_LEVELS; ``rest`` are the rows of others.
    """
    first, columns = state["first"], {}
    for j, name in enumerate(numeric):
        columns[name] = {
            "kind": "numeric", "nulls": first["nulls"][j], "range": first["ranges"][j],
            "edges": state["edges"][j].tolist(), "counts": state["counted"][j],
        }  # fmt: skip
        if first["against"]:
            columns[name]["against"] = first["against"][j]
    for name, (ordered, n_null) in first["levels"].items():
        rest = sum(n for _, n in ordered[KEPT_LEVELS:])
        columns[name] = {"kind": "categorical", "nulls": n_null, "levels": dict(ordered[:KEPT_LEVELS]), "rest": rest}
    return {"n_rows": first["n_rows"], "columns": columns}


def _counted(column: Array, edges: Array) -> Array:
    """(n_edges + 1,) int64: rows of each bin; nulls are in none."""
    found = np.searchsorted(edges, column[~np.isnan(column)], side="right")
    return np.bincount(found, minlength=len(edges) + 1)


def _n_bins(edges: list[Array]) -> int:
    return sum(len(e) + 1 for e in edges)


def _split(flat: Array, edges: list[Array]) -> list[Array]:
    return np.split(flat, np.cumsum([len(e) + 1 for e in edges])[:-1]) if edges else []
