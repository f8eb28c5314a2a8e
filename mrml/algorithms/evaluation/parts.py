"""What evaluation sends up, its figures row by row, and the result."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from mrml.algorithms.moments import Moments
from mrml.arrays import Array
from mrml.kernels import ranking
from mrml.kernels.ranking import Tally
from mrml.losses import AbsoluteError, Huber, Loss, Quantile
from mrml.model import Model, Prediction, describe, revive
from mrml.statistic import Statistic, Sums

#: what an evaluation tells beside metrics, and metrics of which the greater is the better
FIGURES = ("n_rows", "weight", "left_out", "reasons")
RISING = ("auc", "pr_auc", "accuracy", "r2", "ndcg")
EPSILON = float(np.finfo(np.float64).eps)


#: the models of the States that this process has, by the identity of the part of a State that holds one
_REVIVED: dict[int, tuple[weakref.ref[Any], Model]] = {}


def packed(model: Model) -> dict[str, Any]:
    """A model as a parameter of a State."""
    return {"header": describe(model), "arrays": dict(model.arrays())}


def revived(tree: Mapping[str, Any]) -> Model:
    """The model of a State, rebuilt once for every State that a process receives, and kept as long as that is."""
    number = id(tree)
    kept = _REVIVED.get(number)
    if kept is not None and kept[0]() is tree:
        return kept[1]
    model = revive(tree["header"], tree["arrays"])
    if type(tree) is not dict:  # of plain dicts there are no weak references; a State of a round has none
        _REVIVED[number] = weakref.ref(tree, lambda _: _REVIVED.pop(number, None)), model
    return model


def pointwise(found: Prediction, y_true: Array, output: str, deviance: str) -> tuple[dict[str, Array], Array]:
    """Figures (n_rows,) float64 that add up, by name; and for classes which rows are right, bool."""
    if output == "classes":
        correct = found.y_pred == y_true
        if found.probability is None:
            return {}, correct
        own = found.probability[np.arange(len(y_true)), y_true.astype(np.int64)]
        return {"log_loss": -np.log(np.clip(own, EPSILON, 1 - EPSILON))}, correct
    error = found.y_pred - y_true
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rows = {
            "squared": error**2,
            "absolute": np.abs(error),
            "deviance": unit_deviance(deviance, y_true, found.y_pred),
        }
    return rows, np.empty(0, bool)


def score_of(found: Prediction) -> Array:
    """(n_rows,) what rows of two classes are ranked by: the probability of the second, or its raw prediction."""
    raw = found.raw_prediction
    if found.probability is not None:
        return found.probability[:, 1]
    if raw is None:
        return found.y_pred
    return raw if raw.ndim == 1 else raw[:, 1] - raw[:, 0]


def unit_deviance(name: str, y_true: Array, y_pred: Array) -> Array:
    """Twice the loss above its least value; infinite or NaN out of range; that of a normal for other names.

    A name may carry its parameter: ``tweedie:1.5``.  Poisson: ``2 (y log(y / mu) - y + mu)``; gamma:
    ``2 (log(mu / y) + y / mu - 1)``; Tweedie, huber, quantile and absolute: see :mod:`mrml.losses`.
    """
    name, _, parameter = name.partition(":")
    if name == "poisson":
        log = np.log(np.where(y_true > 0, y_true, 1.0) / y_pred)
        value = 2 * (np.where(y_true > 0, y_true * log, 0.0) - y_true + y_pred)
        return np.where((y_true >= 0) & (y_pred > 0), value, np.inf)
    if name == "gamma":
        value = 2 * (np.log(y_pred / y_true) + y_true / y_pred - 1)
        return np.where((y_true > 0) & (y_pred > 0), value, np.inf)
    if name == "tweedie":
        one, two = 1.0 - float(parameter), 2.0 - float(parameter)
        y = np.maximum(y_true, 0.0)
        value = 2 * (y**two / (one * two) - y * y_pred**one / one + y_pred**two / two)
        return np.where((y_true >= 0) & (y_pred > 0), value, np.inf)
    if name in _OF_ERROR:
        loss = _OF_ERROR[name](*map(float, filter(None, [parameter])))
        return 2 * loss.value(y_true, y_pred)
    squared: Array = (y_true - y_pred) ** 2
    return squared


_OF_ERROR: dict[str, Callable[..., Loss]] = {"huber": Huber, "quantile": Quantile, "absolute": AbsoluteError}


class Histogram(Statistic):
    """Rows of both classes, least and greatest code of each bin: exact."""

    exact = True

    def __init__(
        self, n_bins: int = 0, positive: Any = None, negative: Any = None, low: Any = None, high: Any = None
    ) -> None:
        self.positive = np.zeros(n_bins, np.int64) if positive is None else positive
        self.negative = np.zeros(n_bins, np.int64) if negative is None else negative
        self.low = np.full(n_bins, 2**64 - 1, np.uint64) if low is None else low
        self.high = np.zeros(n_bins, np.uint64) if high is None else high

    def add(self, index: Array, code: Array, positive: Array) -> None:
        """Rows with their bins (n,), codes (n,) uint64 and classes (n,) bool."""
        n = len(self.low)
        self.positive += np.bincount(index[positive], minlength=n)
        self.negative += np.bincount(index[~positive], minlength=n)
        np.minimum.at(self.low, index, code)
        np.maximum.at(self.high, index, code)

    def merge(self, other: Histogram) -> None:
        self.positive = self.positive + other.positive
        self.negative = self.negative + other.negative
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

    def to_wire(self) -> Any:
        """Filled bins only: a task fills few."""
        filled = np.flatnonzero(self.positive + self.negative)
        arrays = {k: getattr(self, k)[filled] for k in ("positive", "negative", "low", "high")}
        return {"n_bins": len(self.low), "filled": filled, **arrays}

    @classmethod
    def from_wire(cls, tree: Any) -> Histogram:
        new = cls(tree["n_bins"])
        for name in ("positive", "negative", "low", "high"):
            getattr(new, name)[tree["filled"]] = tree[name]
        return new

    def n_bytes(self) -> int:
        return 32 * len(self.low)


class _Scores(Statistic):
    """A range's distinct scores; what is added waits until it outweighs what is sorted."""

    #: the narrowest of the amounts
    dtype: ClassVar[Any] = np.uint8

    def __init__(self) -> None:
        self._parts: list[Tally] = []

    def tally(self) -> Tally:
        """Distinct scores, ascending."""
        if len(self._parts) != 1:
            empty = Tally(np.empty(0, np.uint64), np.empty(0, self.dtype), np.empty(0, self.dtype))
            columns = zip(empty, *self._parts, strict=True)
            self._parts = [ranking.tally(*(np.concatenate(column) for column in columns))]
        return self._parts[0]

    def merge(self, other: _Scores) -> None:
        self.add(other.tally())

    def add(self, found: Tally) -> None:
        """Distinct scores, ascending, of more rows."""
        raise NotImplementedError

    def to_wire(self) -> Any:
        return self.tally()._asdict()

    @classmethod
    def from_wire(cls, tree: Any) -> Any:
        new = cls()
        new._parts = [Tally(**tree)]
        return new

    def n_bytes(self) -> int:
        return sum(column.nbytes for part in self._parts for column in part)


class ScoreCounts(_Scores):
    """Rows of both classes by score: exact."""

    exact = True

    def add(self, found: Tally) -> None:
        self._parts.append(found)
        if sum(len(p.code) for p in self._parts[1:]) > len(self._parts[0].code):
            self.tally()


class ScoreWeights(_Scores):
    """Weight of both classes by score, added in the order of the tree."""

    dtype = np.float64

    def add(self, found: Tally) -> None:
        self._parts.append(found)
        self.tally()


class Metrics(Model):
    """The result: one dict of JSON values, a metric that is not apt being None, with ``reasons``."""

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        self.metrics = dict(metrics)

    def header(self) -> dict[str, Any]:
        return {"metrics": self.metrics}

    def arrays(self) -> dict[str, Array]:
        return {}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Metrics:
        return cls(header["metrics"])


def no_segments() -> dict[str, Array]:
    """No segments.  A segment: codes lo to hi that occur, and the rows and weight of both classes between them."""
    integers = {name: np.empty(0, np.int64) for name in ("positive_rows", "negative_rows")}
    floats = {name: np.empty(0) for name in ("positive_weight", "negative_weight")}
    return {"lo": np.empty(0, np.uint64), "hi": np.empty(0, np.uint64), **integers, **floats}


def join(segments: Mapping[str, Array], histogram: Histogram | None, weights: Sums | None) -> dict[str, Array]:
    """The segments and the filled bins, ascending."""
    if histogram is None:
        return dict(segments)
    filled = np.flatnonzero(histogram.positive + histogram.negative)
    zeros = np.zeros(len(filled))
    new = {
        "lo": histogram.low[filled],
        "hi": histogram.high[filled],
        "positive_rows": histogram.positive[filled],
        "negative_rows": histogram.negative[filled],
        "positive_weight": zeros if weights is None else weights["positive"][filled],
        "negative_weight": zeros if weights is None else weights["negative"][filled],
    }
    joined = {k: np.concatenate([segments[k], new[k]]) for k in new}
    order = np.argsort(joined["lo"])
    return {k: v[order] for k, v in joined.items()}


def grouped(name: str, values: Array, runs: list[tuple[int, int]]) -> Array:
    """One column of segments after runs (start, stop) of them became one each."""
    starts, stops = [a for a, _ in runs], [b - 1 for _, b in runs]
    if name in ("lo", "hi"):
        ends: Array = values[starts if name == "lo" else stops]
        return ends
    return np.add.reduceat(values, starts) if runs else values


def measure_numbers(
    sums: Mapping[str, float], target: Moments, metrics: dict[str, Any], reasons: dict[str, str]
) -> None:
    """Put the metrics of numbers into ``metrics``, and into ``reasons`` why one is missing."""
    rounding = 1e-14 * float(target.mean[0])
    noise = target.weight * (rounding * rounding)  # scatter of a constant; Python's ** would raise where it overflows
    weight, squared = sums["weight"], sums["squared"]
    metrics.update(rmse=math.sqrt(squared / weight), mae=sums["absolute"] / weight)
    if metrics["n_rows"] < 2:
        reasons["r2"] = "it needs two rows"
    else:
        metrics["r2"] = 1 - squared / target.scatter if target.scatter > noise else float(squared == 0)
    metrics["deviance"] = sums["deviance"] / weight
    for name in ("rmse", "mae", "r2", "deviance"):
        if metrics[name] is not None and not math.isfinite(metrics[name]):
            metrics[name] = None
            reasons[name] = "it is not finite: a target or a prediction is out of range"
