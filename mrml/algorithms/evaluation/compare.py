"""How sure the difference of two models' metrics on the same rows is: a paired bootstrap in two passes.

Rows are dealt out in units, runs of consecutive rows of a block, so that rows that lie together stay together; units
are dealt into GROUPS by a hash, and replicates draw groups with replacement (Efron and Tibshirani 1993, chapter 8; both
models see the same draw).  Sums over rows are kept by group; for areas under curves a group has the counts of each
class in BINS bins of the score, cut at quantiles of the first pass, in whole numbers.

An interval is that of the replicates' deviations from the difference in the same bins; the exact difference is
:class:`~mrml.algorithms.evaluation.evaluate.Evaluate`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.evaluation.parts import Metrics, pointwise, score_of
from mrml.algorithms.pipeline.statistics import Quantiles
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.kernels.random import bits
from mrml.model import Model
from mrml.names import name_of
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Counts, Into, Statistic, Sums

GROUPS, BINS = 200, 1024
#: units in all, about: fewer rows than that are units of one row
UNITS = 2000
#: weights are whole numbers of this part of the largest one
_WEIGHT_BITS = 20
#: replicates that are worked out at a time: 64 * 2 * 1,024 numbers are 1 MB
_CHUNK = 64
_SUMS = ("log_loss", "correct", "squared", "absolute", "deviance")


@dataclass(frozen=True)
class Compare(Algorithm):
    """Deviations of the differences of metrics, the second model's less the first one's, by a bootstrap.

    ``columns`` holds for each model the numeric columns of the blocks that it reads, ``offsets`` whether it adds those
    of the rows, or nothing.  The models travel in the State, as that of Evaluate does.
    """

    does = "compare"

    scorers: tuple[Model, ...] = param((), "the two models", internal=True)
    columns: tuple[tuple[int, ...], ...] = param((), "numeric columns of each model", internal=True)
    offsets: tuple[bool, ...] = param((), "whether each model adds the rows' offsets", internal=True)
    replicates: int = param(1000, "draws of the bootstrap", low=10, internal=True)
    seed: int = param(0, "of the draws", internal=True)

    def spec(self) -> dict[str, Any]:
        return {"class": name_of(type(self)), "params": {"replicates": self.replicates, "seed": self.seed}}

    def init(self, schema: Schema) -> State:
        members = [dict(Evaluate(scorer=scorer).init(schema).params) for scorer in self.scorers]
        ranks = [m["deviance"] if m["deviance"].startswith("lambdarank") else "" for m in members]
        kinds = [(m["output"], m["classes"], rank) for m, rank in zip(members, ranks, strict=True)]
        if kinds[0] != kinds[1] or ranks[0]:
            what = [" ".join(filter(None, (k[0], ", ".join(k[1]), k[2]))) for k in kinds]
            raise ConfigError(
                "compare", f"the models predict {what[0]} and {what[1]}", "compare models of the same target"
            )
        seen = {"columns": [np.array(c, np.int64) for c in self.columns], "offsets": list(self.offsets)}
        return State({"members": members, **seen, "edges": None, "unit_rows": 1, "weight": 1.0, "y": 0.0})

    def statistic(self, state: State, key: str) -> Statistic:
        if key == "quantiles":
            return Quantiles(4)
        if key == "counts":
            return Counts(n_rows=0)
        if key == "histogram":
            return Counts(positive=np.zeros((2, GROUPS, BINS)), negative=np.zeros((2, GROUPS, BINS)))
        names = {name: np.zeros((2, GROUPS)) for name in _SUMS}
        return Sums(**names, **{name: np.zeros(GROUPS) for name in ("weight", "y", "yy")})

    def map(self, state: State, block: Block, into: Into) -> None:
        if not block.n_rows:
            return
        scored = [Evaluate().scored(State(m), _seen(block, state, k)) for k, m in enumerate(state["members"])]
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        binary = len(state["members"][0]["classes"]) == 2
        if state["edges"] is None:
            counts, quantiles = into["counts"], into["quantiles"]
            assert isinstance(counts, Counts) and isinstance(quantiles, Quantiles)
            counts.add(n_rows=block.n_rows)
            scores = [score_of(found) if binary else np.zeros(block.n_rows) for found, _ in scored]
            quantiles.fill(np.column_stack([*scores, weight, scored[0][1]]))
            return
        group = self._groups(block, state["unit_rows"])
        self._add_sums(state, scored, group, weight, into)
        if binary:
            histogram = into["histogram"]
            assert isinstance(histogram, Counts)
            whole = np.rint(weight / state["weight"] * (1 << _WEIGHT_BITS)).astype(np.int64)
            for k, (found, y_true) in enumerate(scored):
                place = group * BINS + np.searchsorted(state["edges"][k], score_of(found), side="right")
                for name, rows in (("positive", y_true == 1), ("negative", y_true != 1)):
                    np.add.at(histogram[name][k].reshape(-1), place[rows], whole[rows])

    def _groups(self, block: Block, unit_rows: int) -> Array:
        """(n_rows,) the group of each row."""
        first = block.row_key - (block.rows % unit_rows).astype(np.uint64)
        group: Array = (bits(self.seed, 0, first) % np.uint64(GROUPS)).astype(np.int64)
        return group

    @staticmethod
    @np.errstate(over="ignore", invalid="ignore")
    def _add_sums(state: State, scored: Sequence[Any], group: Array, weight: Array, into: Into) -> None:
        sums = into["sums"]
        assert isinstance(sums, Sums)
        for k, (found, y_true) in enumerate(scored):
            member = state["members"][k]
            rows, correct = pointwise(found, y_true, member["output"], member["deviance"])
            for name, of in {**rows, **({"correct": correct} if len(correct) else {})}.items():
                sums[name][k] += np.bincount(group, weight * of, GROUPS)
        y = scored[0][1] - state["y"]
        of_group = {"weight": weight, "y": weight * y, "yy": weight * y**2}
        sums.add(**{name: np.bincount(group, of, GROUPS) for name, of in of_group.items()})

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if state["edges"] is None:
            if not values:
                raise InputError("compare", "the data has no rows", "check the input and its filters")
            n_rows, sketch = int(values["counts"]["n_rows"]), values["quantiles"]
            weights, targets = sketch.columns[2][0], sketch.columns[3][0]
            if not weights[-1] > 0:
                raise InputError("compare", "the weights of the rows sum to 0", "check the weight column")
            edges = [sketch.edges(k, BINS) for k in range(2)]
            middle, unit_rows = float(targets[len(targets) // 2]), max(1, n_rows // UNITS)
            return state.next(edges=edges, y=middle, weight=float(weights[-1]), unit_rows=unit_rows, n_rows=n_rows)
        output = state["members"][0]["output"]
        intervals = _intervals(values, output, self.replicates, self.seed)
        return state.next(stop="compared", intervals=intervals)

    def model(self, state: State, schema: Schema) -> Model:
        """Its ``metrics``: n_rows, unit_rows, and for each metric the interval of the difference's deviation."""
        told = {name: state[name] for name in ("n_rows", "unit_rows", "intervals")}
        return Metrics({**told, "replicates": self.replicates})

    def expected_rounds(self) -> int:
        return 2


def _seen(block: Block, state: State, k: int) -> Block:
    """The block with the numeric columns that model k reads, and with offsets where it adds them."""
    if state["offsets"] and not state["offsets"][k]:
        block = dataclasses.replace(block, offset=None)
    if not state["columns"] or isinstance(block.X, CSR):
        return block
    return dataclasses.replace(block, X=np.ascontiguousarray(block.X[:, state["columns"][k]]))


@np.errstate(invalid="ignore")
def _intervals(values: Mapping[str, Value], output: str, n: int, seed: int) -> dict[str, dict[str, float]]:
    """Of each metric: ``low`` and ``high``, by which the difference may be other (95 %), and ``above``, the share of
    replicates whose difference is above 0, by the binned one."""
    drawn: dict[str, list[Array]] = {}
    for start in range(0, n, _CHUNK):
        k = np.arange(start * GROUPS, min(start + _CHUNK, n) * GROUPS, dtype=np.uint64)
        picks = (bits(seed, 1, k) % np.uint64(GROUPS)).astype(np.int64).reshape(-1, GROUPS)
        times = np.stack([np.bincount(row, minlength=GROUPS) for row in picks]).astype(np.float64)
        for name, found in _figures(values, output, times).items():
            drawn.setdefault(name, []).append(found[1] - found[0])
    whole = _figures(values, output, np.ones((1, GROUPS)))
    told = {}
    for name, parts in drawn.items():
        differences, center = np.concatenate(parts), float(whole[name][1, 0] - whole[name][0, 0])
        differences = differences[np.isfinite(differences)]
        if len(differences) and np.isfinite(center):
            low, high = np.quantile(differences - center, [0.025, 0.975])
            told[name] = {"low": float(low), "high": float(high), "above": float((differences > 0).mean())}
    return told


@np.errstate(divide="ignore", over="ignore", invalid="ignore")
def _figures(values: Mapping[str, Value], output: str, times: Array) -> dict[str, Array]:
    """(2, n_draws) of each metric: of both models, where group g was drawn ``times[i, g]`` times."""
    sums, weight = values["sums"], times @ values["sums"]["weight"]
    means = {name: (times @ sums[name].T).T / weight for name in _SUMS}
    if output == "numeric":
        spread = times @ sums["yy"] / weight - (times @ sums["y"] / weight) ** 2
        return {"rmse": np.sqrt(means["squared"]), "mae": means["absolute"], "deviance": means["deviance"],
                "r2": 1 - means["squared"] / spread}  # fmt: skip
    found = {"log_loss": means["log_loss"], "deviance": 2 * means["log_loss"], "accuracy": means["correct"]}
    if "histogram" in values:
        of = [[times @ values["histogram"][sign][k] for sign in ("positive", "negative")] for k in range(2)]
        areas = [_areas(positive, negative) for positive, negative in of]
        found |= {name: np.stack([a[i] for a in areas]) for i, name in enumerate(("auc", "pr_auc"))}
    return found


@np.errstate(divide="ignore", invalid="ignore")
def _areas(positive: Array, negative: Array) -> tuple[Array, Array]:
    """(n_draws,) areas under the ROC and the precision-recall curve, of counts (n_draws, BINS) by ascending score."""
    p, n = positive.sum(axis=1), negative.sum(axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    above = np.cumsum(positive[:, ::-1], axis=1)
    precision = above / (above + np.cumsum(negative[:, ::-1], axis=1))
    terms = np.where(positive[:, ::-1] > 0, positive[:, ::-1] * precision, 0.0)
    return (positive * below).sum(axis=1) / (p * n), terms.sum(axis=1) / p
