"""Exact metrics of a model on data, in bounded memory.

The rounds::

    points   sums over rows, and for two classes a histogram of the scores: rows of each class by the top 16 bits
    split    (only where a bin holds more than range_rows rows of different scores) those bins, in 1,024 bins each
    rank     ranges of the score are keys: the rows of each distinct score; a reducer sorts its own range

``rank`` takes as many ranges a round as hold round_rows rows together, so that a process that reduces every range
holds no more: 10 bytes a row, 80 MB, and whoever reduces one range at a time 3 MB.  Rows of other ranges are left out
before they are sorted, so that all these rounds together sort every row once.  Why not one round: a range's share of
the area under a curve depends on the rows above it.

Definitions are scikit-learn's: ``roc_auc_score``, ``average_precision_score``, ``log_loss`` (probabilities clipped by
the epsilon of float64), ``accuracy_score``, ``r2_score``, ``mean_tweedie_deviance``; the deviance of a classifier is
twice its log-loss.  Accuracy and AUC without weights come from integer counts.  Rows of weight zero take no part in
rankings.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from mrml import wire
from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.evaluation.parts import (  # fmt: skip
    Histogram,
    Metrics,
    ScoreCounts,
    ScoreWeights,
    grouped,
    join,
    measure_numbers,
    no_segments,
    packed,
    pointwise,
    revived,
    score_of,
)
from mrml.algorithms.moments import Moments
from mrml.algorithms.objectives.lambdarank import group_starts
from mrml.algorithms.search.parting import taken
from mrml.arrays import Array
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.kernels import groups, ranking
from mrml.model import Model, Prediction
from mrml.names import name_of
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Counts, Into, Statistic, Sums

FIRST_BINS = 1 << 16
SPLIT_BINS = 1 << 10
#: ranges split in one round: 128 * 1,024 bins of four 8-byte numbers are 4 MB
MAX_OPEN = 128
SUMS = ("weight", "correct", "log_loss", "squared", "absolute", "deviance", "ndcg", "queries")
KEYS = ("auc", "pr_auc", "log_loss", "accuracy", "rmse", "mae", "r2", "deviance")


class Scorer(Protocol):
    """What is evaluated: a Model that reads raw blocks and knows its target."""

    @property
    def output(self) -> str:
        """ "numeric" or "classes"."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of their codes; empty for numbers."""

    @property
    def deviance(self) -> str:
        """The loss whose deviance suits the model: ``half_squared_error``, ``poisson``, ..."""

    def predict(self, block: Block) -> Prediction:
        """Score a raw block."""

    def targets(self, block: Block, strict: bool = True) -> Array:
        """(n_rows,) float64: values, or codes of classes; what it does not know is an InputError, or NaN."""


@dataclass(frozen=True)
class Evaluate(Algorithm):
    """Metrics of a model: ``auc pr_auc log_loss accuracy rmse mae r2 deviance``, exact and weighted.

    The model travels in the State; :meth:`spec` leaves it out, and tasks rebuild it once per process.
    """

    does = "evaluate"

    scorer: Model | None = param(None, "the model to evaluate", internal=True)
    known_only: bool = param(False, "leave rows out whose class the model does not know, and count them", internal=True)
    range_rows: int = param(1 << 18, "rows of a range of scores", low=1, internal=True)
    round_rows: int = param(1 << 23, "rows of all ranges of one round", low=1, internal=True)
    first_bins: int = param(FIRST_BINS, "bins of the first histogram, a power of two", low=2, internal=True)

    def spec(self) -> dict[str, Any]:
        params = {"range_rows": self.range_rows, "round_rows": self.round_rows}
        return {"class": name_of(type(self)), "params": params}

    def init(self, schema: Schema) -> State:
        if self.scorer is None:
            raise ConfigError("evaluate", "no model is given", "use Evaluate(scorer=model)")
        model = cast(Scorer, self.scorer)
        if model.output not in ("numeric", "classes"):
            finding = f"a model whose output is {model.output!r} has no target to compare with"
            raise ConfigError("evaluate", finding, "evaluate a model of numbers or classes")
        scorer = packed(self.scorer)
        width = np.array([2**64 // self.first_bins], np.uint64)
        whole = np.zeros(1, np.uint64), np.array([2**64 - 1], np.uint64), width
        return State(
            {
                "phase": "points",
                "scorer": scorer,
                "memo": f"evaluate.{zlib.crc32(wire.dumps(scorer)):08x}",
                "output": model.output,
                "classes": list(model.classes),
                "deviance": model.deviance,
                "weighted": False,
                "known_only": self.known_only and model.output == "classes",
                "metrics": {},
                "reasons": {},
                "open": dict(zip(("lo", "hi", "width"), whole, strict=True)),
                "bins": self.first_bins,
                "segments": no_segments(),
                "next": 0,
                "until": 0,
                "area": 0,
                "precision": [],
            }
        )

    # ---- up

    def statistic(self, state: State, key: str) -> Statistic:
        if key == "sums":
            return Sums(**dict.fromkeys(SUMS, 0.0))
        if key == "counts":
            return Counts(n_rows=0, weighted=0, correct=0, no_probability=0, left_out=0)
        if key == "target":
            return Moments()
        if key.startswith("range "):
            return ScoreWeights() if state["weighted"] else ScoreCounts()
        n_bins = len(state["open"]["lo"]) * state["bins"]
        return Histogram(n_bins) if key == "histogram" else Sums(positive=np.zeros(n_bins), negative=np.zeros(n_bins))

    def map(self, state: State, block: Block, into: Into) -> None:
        if state.params.get("known_only") and block.n_rows:
            block = _known(state, block, into)
        if not block.n_rows:
            return
        if state["phase"] == "points":
            self._points(state, block, into)
        else:
            ranked = block.memo(state["memo"], 1, lambda _: self._ranked(state, *self.scored(state, block)))
            (self._bin if state["phase"] == "split" else self._rank)(state, block, ranked, into)

    def scored(self, state: State, block: Block) -> tuple[Prediction, Array]:
        """What the model says of a block, and the truth; InputError for a row without a target that it knows."""
        scorer = cast(Scorer, revived(state["scorer"]))
        y_true, found = scorer.targets(block), scorer.predict(block)
        n_classes = len(state["classes"]) if state["output"] == "classes" else None
        known = np.isfinite(y_true) if n_classes is None else (y_true >= 0) & (y_true < n_classes)
        if not known.all():
            raise _unknown(block, int(np.argmin(known)), state["classes"])
        scores = found.y_pred if found.probability is None else found.probability.sum(axis=1)
        if np.isnan(scores).any():
            row = int(np.argmax(np.isnan(scores)))
            raise InputError(_place(block, row), "the model predicts NaN", "look for NaN among its features")
        return found, y_true

    def _ranked(self, state: State, found: Prediction, y_true: Array) -> dict[str, Array]:
        """code (n,) uint64: the score of the second class as an ordered integer; positive (n,) bool."""
        return {"code": ranking.ordered(score_of(found)), "positive": y_true == 1}

    def _points(self, state: State, block: Block, into: Into) -> None:
        found, y_true = self.scored(state, block)
        sums, counts, target = into["sums"], into["counts"], into["target"]
        assert isinstance(sums, Sums) and isinstance(counts, Counts)
        weight = block.weight
        rows, correct = pointwise(found, y_true, state["output"], state["deviance"])
        w = np.ones(block.n_rows) if weight is None else weight
        if state["deviance"].startswith("lambdarank"):
            sums.add(**_ranked_groups(block, y_true, found.y_pred, w, int(state["deviance"].partition(":")[2])))
        sums.add(weight=float(w.sum()), **{name: float((w * of).sum()) for name, of in rows.items()})
        if state["output"] == "classes":
            sums.add(correct=float(w[correct].sum()))
            counts.add(correct=int(correct.sum()), no_probability=int(found.probability is None))
        else:
            target.merge(Moments.of(y_true[:, None].copy(), w))
        counts.add(n_rows=block.n_rows, weighted=0 if weight is None else block.n_rows)
        if self._binary(state):
            ranked = block.memo(state["memo"], 1, lambda _: self._ranked(state, found, y_true))
            self._bin(state, block, ranked, into)

    @staticmethod
    def _binary(state: State) -> bool:
        return state["output"] == "classes" and len(state["classes"]) == 2

    def _bin(self, state: State, block: Block, ranked: Mapping[str, Array], into: Into) -> None:
        code, positive, weight = _positive_weight(ranked, block.weight)
        opened = state["open"]
        index = ranking.bins(code, opened["lo"], opened["hi"], opened["width"], state["bins"])
        inside = index >= 0
        index, code, positive = index[inside], code[inside], positive[inside]
        histogram = into["histogram"]
        assert isinstance(histogram, Histogram)
        histogram.add(index, code, positive)
        if weight is not None and len(index):
            sums, weight = into["weights"], weight[inside]
            assert isinstance(sums, Sums)
            n = len(histogram.low)
            sums.add(
                positive=np.bincount(index, weight * positive, minlength=n),
                negative=np.bincount(index, weight * ~positive, minlength=n),
            )

    def _rank(self, state: State, block: Block, ranked: Mapping[str, Array], into: Into) -> None:
        first, last = state["next"], state["until"]
        code, positive, weight = _positive_weight(ranked, block.weight)
        here = (code >= state["segments"]["lo"][first]) & (code <= state["segments"]["hi"][last - 1])
        code, positive = code[here], positive[here]
        amount = np.ones(len(code), np.uint8) if weight is None else weight[here]
        none = amount.dtype.type(0)
        found = ranking.tally(code, np.where(positive, amount, none), np.where(positive, none, amount))
        starts = np.searchsorted(found.code, state["segments"]["lo"][first:last], side="left")
        stops = np.searchsorted(found.code, state["segments"]["hi"][first:last], side="right")
        for i, start, stop in zip(range(first, last), starts.tolist(), stops.tolist(), strict=True):
            if stop > start:
                scores = into[f"range {i:08d}"]
                assert isinstance(scores, ScoreCounts | ScoreWeights)
                scores.add(ranking.Tally(*(a[start:stop].copy() for a in found)))

    def reduce(self, state: State, key: str, statistic: Statistic) -> Value:
        """A range's share of both areas, from the rows (or weight) above it; other keys as they are."""
        if not isinstance(statistic, ScoreCounts | ScoreWeights):
            return statistic
        i, segments, scores = int(key.split()[1]), state["segments"], statistic.tally()
        kind = "weight" if state["weighted"] else "rows"
        above = tuple(segments[f"{sign}_{kind}"][i + 1 :].sum().item() for sign in ("positive", "negative"))
        area = ranking.area(scores, above[0]) if state["weighted"] else ranking.twice_area(scores, above[0])
        return {"area": area, "precision": ranking.precision(scores, above)}

    # ---- down

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if state["phase"] == "points":
            if not values:
                raise InputError("evaluate", "the data has no rows", "check the input and its filters")
            if "sums" not in values:
                known = "it knows " + ", ".join(map(repr, state["classes"][:10]))
                raise InputError("evaluate", "no row is of a class that the model knows", known)
            state = self._measured(state, values)
            if not self._binary(state):
                return self._done(state)
        return self._ranges(state, values) if state["phase"] == "rank" else self._segmented(state, values)

    def _measured(self, state: State, values: Mapping[str, Value]) -> State:
        sums = {k: float(v) for k, v in values["sums"].arrays.items()}
        counts = {k: int(v) for k, v in values["counts"].arrays.items()}
        weighted = counts["weighted"] > 0
        metrics: dict[str, Any] = dict.fromkeys(KEYS)
        metrics.update(n_rows=counts["n_rows"], weight=sums["weight"])
        metrics |= {"left_out": counts["left_out"]} if counts["left_out"] else {}
        reasons: dict[str, str] = {}
        if not sums["weight"] > 0:
            raise InputError("evaluate", "the weights of the rows sum to 0", "check the weight column")
        if state["output"] == "classes":
            metrics["accuracy"] = sums["correct"] / sums["weight"] if weighted else counts["correct"] / counts["n_rows"]
            if counts["no_probability"]:
                reasons["log_loss"] = reasons["deviance"] = "the model gives no probabilities"
            else:
                metrics["log_loss"] = sums["log_loss"] / sums["weight"]
                metrics["deviance"] = 2 * metrics["log_loss"]
        elif sums["queries"]:
            metrics["ndcg"] = sums["ndcg"] / sums["queries"]
            reasons = dict.fromkeys(("rmse", "mae", "r2", "deviance"), "the model ranks")
        else:
            measure_numbers(sums, values["target"], metrics, reasons)
        return _with(state, metrics=metrics, reasons=reasons, weighted=weighted)

    def _segmented(self, state: State, values: Mapping[str, Value]) -> State:
        """Bins become segments; those with too many rows are split by a round of their own."""
        segments = join(state["segments"], values.get("histogram"), values.get("weights"))
        rows = segments["positive_rows"] + segments["negative_rows"]
        wide = np.flatnonzero((rows > self.range_rows) & (segments["lo"] < segments["hi"]))[:MAX_OPEN]
        if len(wide):
            lo, hi = segments["lo"][wide], segments["hi"][wide]
            opened = {"lo": lo, "hi": hi, "width": (hi - lo) // np.uint64(SPLIT_BINS) + np.uint64(1)}
            rest = {k: np.delete(v, wide) for k, v in segments.items()}
            return state.next(phase="split", open=opened, bins=SPLIT_BINS, segments=rest)
        runs = ranking.group(rows, self.range_rows)
        state = _with(state, phase="rank", segments={k: grouped(k, v, runs) for k, v in segments.items()}, open={})
        missing = _one_class(state)
        return self._done(missing) if missing is not None else self._batch(state, 0).next()

    def _batch(self, state: State, start: int) -> State:
        """The ranges of the next round: as many as hold round_rows rows together."""
        segments = state["segments"]
        rows = (segments["positive_rows"] + segments["negative_rows"])[start:]
        sizes = np.where(segments["lo"][start:] < segments["hi"][start:], rows, 1)
        return _with(state, next=start, until=start + ranking.group(sizes, self.round_rows)[0][1])

    def _ranges(self, state: State, values: Mapping[str, Value]) -> State:
        found = [values[key] for key in sorted(values)]
        area = state["area"] + sum(v["area"] for v in found)
        precision = [*state["precision"], *(p for v in found for p in v["precision"])]
        state = _with(state, area=area, precision=precision)
        if state["until"] < len(state["segments"]["lo"]):
            return self._batch(state, state["until"]).next()
        kind = "weight" if state["weighted"] else "rows"
        p, n = (state["segments"][f"{sign}_{kind}"].sum().item() for sign in ("positive", "negative"))
        auc = area / (p * n) if state["weighted"] else area / (2 * p * n)
        return self._done(_with(state, metrics={**state["metrics"], "auc": auc, "pr_auc": math.fsum(precision) / p}))

    @staticmethod
    def _done(state: State) -> State:
        cleared = _with(state, segments=no_segments(), open={}, precision=[], area=0)
        return cleared.next("every metric is computed")

    def expected_rounds(self) -> int:
        return 2

    def model(self, state: State, schema: Schema) -> Metrics:
        return Metrics({**state["metrics"], "reasons": state["reasons"]})


# ---- small parts


def _one_class(state: State) -> State | None:
    """None when both classes have rows; otherwise the State with what can be said without a ranking."""
    there = [state["segments"][f"{sign}_rows"].sum() > 0 for sign in ("negative", "positive")]
    if all(there):
        return None
    reason = f"every row is of the class {state['classes'][int(there[1])]!r}"
    reasons = {**state["reasons"], "auc": reason}
    if there[1]:
        return _with(state, metrics={**state["metrics"], "pr_auc": 1.0}, reasons=reasons)
    return _with(state, reasons={**reasons, "pr_auc": reason})


def _known(state: State, block: Block, into: Into) -> Block:
    """The rows of classes that the model knows; the first round counts the others."""
    keep = np.isfinite(cast(Scorer, revived(state["scorer"])).targets(block, strict=False))
    if state["phase"] == "points":
        counts = into["counts"]
        assert isinstance(counts, Counts)
        counts.add(left_out=int((~keep).sum()))
    return block if keep.all() else taken(block, keep)


def _ranked_groups(block: Block, y_true: Array, scores: Array, weight: Array, at: int) -> dict[str, float]:
    """NDCG summed over a block's groups, and the groups; each counts as the mean weight of its rows."""
    starts = group_starts(block)
    of_group = np.add.reduceat(weight, starts) / groups.sizes_of(starts, block.n_rows)
    return {"ndcg": float((of_group * groups.ndcg(y_true, scores, starts, at)).sum()), "queries": float(of_group.sum())}


def _with(state: State, **params: Any) -> State:
    """The State of the same round with some parameters replaced."""
    return State({**state.params, **params}, state.round)


def _place(block: Block, row: int) -> str:
    return f"file {block.file}, block {block.index}, row {int(block.rows[row])}"


def _unknown(block: Block, row: int, classes: list[str]) -> InputError:
    y: Any = block.y
    if y is None:
        return InputError(_place(block, row), "there is no target", "evaluate data that has the target column")
    if isinstance(y, Coded):
        label = str(y.levels[y.codes[row]]) if y.codes[row] >= 0 else None
    else:
        label = None if np.isnan(y[row]) else f"{y[row]:g}"
    if label is None:
        return InputError(_place(block, row), "the target is null", "drop the rows without a target")
    finding = f"the target {label!r} is not one that the model knows"
    return InputError(_place(block, row), finding, "the model knows " + ", ".join(map(repr, classes[:10])))


def _positive_weight(ranked: Mapping[str, Array], weight: Array | None) -> tuple[Array, Array, Array | None]:
    """Codes, classes and weights of the rows that have weight."""
    if weight is None:
        return ranked["code"], ranked["positive"], None
    keep = weight > 0
    return ranked["code"][keep], ranked["positive"][keep], weight[keep]
