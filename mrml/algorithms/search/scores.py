"""What metrics say: of several folds their mean and spread, and of candidates which is the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mrml.algorithm import State
from mrml.algorithms.evaluation.parts import FIGURES, RISING
from mrml.algorithms.search.grid import member_name
from mrml.errors import InputError

#: bins of the first histogram of scores: many models are judged side by side, and these take 128 KB of each
FIRST_BINS = 1 << 12
#: what is known of a member beside its metrics
_FACTS = ("round", "bytes")
#: why a candidate failed that was trained
UNJUDGED = "its models could not be judged on every fold, of which fewer have more rows each"
#: the state of a candidate whose training ended before it was done
OUT_OF_TIME = "out of time"
#: metrics that candidates are judged by
METRICS = (*RISING, "log_loss", "rmse", "mae", "deviance")
#: and those of a target: of classes, of numbers, of the relevance of rows in groups
METRICS_OF: dict[str, tuple[str, ...]] = {
    "classes": ("auc", "pr_auc", "accuracy", "log_loss", "deviance"),
    "numeric": ("rmse", "mae", "r2", "deviance"),
    "ranks": ("ndcg",),
}


def spread(values: Sequence[float | None], whole: float | None = None) -> dict[str, Any]:
    """A metric in each fold (None where a fold has none), with ``mean``, ``std`` and ``out_of_fold``."""
    there = [float(v) for v in values if v is not None]
    mean = statistics.fmean(there) if there else None
    std = statistics.stdev(there) if len(there) > 1 else None
    return {"mean": mean, "std": std, "out_of_fold": whole, "folds": list(values)}


def metrics_of(each: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The spread of every metric over evaluations; none of those that no evaluation has."""
    names = dict.fromkeys(name for one in each for name in one if name not in FIGURES)
    found = {name: spread([one.get(name) for one in each]) for name in names}
    return {name: told for name, told in found.items() if told["mean"] is not None}


def place(metric: str, trial: int, score: float | None, rung: int, too_large: bool) -> tuple[Any, ...]:
    """What candidates are sorted by, the best first: those that may be the best before those that are too large, those
    that got further before those that left earlier, of equal scores the one of the lower number."""
    sign = -1.0 if metric in RISING else 1.0
    return too_large, -rung, math.inf if score is None else sign * score, trial


@dataclass(frozen=True)
class Standing:
    """What the State of a :class:`~mrml.algorithms.search.search.Search` knows of its candidates.

    ``each``: members of a candidate; ``rungs``: how often the worse leave; ``metric``: what is judged by, empty
    for what suits the target; ``max_bytes``: of models that may be the best, 0 for any.
    """

    state: State
    candidates: int
    each: int
    rungs: int
    metric: str
    max_bytes: int = 0

    @cached_property
    def scores(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Of every candidate that was judged in all of its folds the metrics, each with its spread."""
        found, known = {}, self.state["metrics"]
        for candidate in range(self.candidates):
            each = [known[name] for name in self._names(candidate) if name in known]
            if len(each) == self.each:
                found[candidate] = metrics_of([{k: v for k, v in one.items() if k not in _FACTS} for one in each])
        return found

    @cached_property
    def judged_by(self) -> str:
        """The metric that decides; InputError where no model has it."""
        known = {name for one in self.scores.values() for name in one}
        wanted = (self.metric,) if self.metric else ("ndcg", "log_loss", "accuracy", "rmse")
        found = next((name for name in wanted if name in known), None)
        if known and found is None:
            remedy = "name one of " + ", ".join(sorted(known & set(METRICS)))
            raise InputError("search, metric", f"these models have no {wanted[0]}", remedy)
        return found or wanted[-1]

    @cached_property
    def ranking(self) -> list[int]:
        """The candidates that were judged, best first: those that got further before those that left earlier, of equal
        scores the one that was named first."""
        metric = self.judged_by
        told = {c: one.get(metric, {}).get("mean") for c, one in self.scores.items()}
        return sorted(told, key=lambda c: place(metric, c, told[c], self._rung(c), self._too_large(c)))

    def n_bytes(self, candidate: int) -> int | None:
        """Of the largest model of a candidate; None where none is asked for."""
        known = [self.state["metrics"].get(name, {}).get("bytes") for name in self._names(candidate)]
        return max((n for n in known if n is not None), default=None)

    def _too_large(self, candidate: int) -> bool:
        return bool(self.max_bytes) and (self.n_bytes(candidate) or 0) > self.max_bytes

    def results(self) -> list[dict[str, Any]]:
        """Every candidate, the best first, then those without a score: ``trial`` its number, ``state`` (done, left, too
        large, out of time or failed), ``rung`` that it reached, ``rounds``, ``stop``, ``metrics``."""
        rest = [c for c in range(self.candidates) if c not in self.scores]
        return [self._result(candidate) for candidate in [*self.ranking, *rest]]

    def _result(self, candidate: int) -> dict[str, Any]:
        train = State.from_wire(self.state["train"])
        names, metrics = self._names(candidate), self.scores.get(candidate)
        states = [State.from_wire(train["members"][name]) for name in names]
        failed = [train["failed"][name] for name in names if name in train["failed"]]
        left, large = str(candidate) in self.state["dropped"], "too large" if self._too_large(candidate) else ""
        whole = OUT_OF_TIME if candidate in self.state.params.get("cut", ()) else "done"
        return {
            "trial": candidate,
            "state": "failed" if failed or metrics is None else "left" if left else large or whole,
            "rung": self._rung(candidate),
            "rounds": max(state.round for state in states),
            "stop": failed[0] if failed else UNJUDGED if metrics is None else states[0].stop,
            "metrics": metrics or {},
            **({"bytes": self.n_bytes(candidate)} if self.max_bytes else {}),
        }

    def _names(self, candidate: int) -> list[str]:
        return [member_name(candidate * self.each + k) for k in range(self.each)]

    def _rung(self, candidate: int) -> int:
        found: int = self.state["dropped"].get(str(candidate), self.rungs)
        return found
