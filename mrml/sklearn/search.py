"""A grid search over estimators of ours: all candidates and folds side by side, one scan of the rows a round."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from mrml.api import run_sections
from mrml.arrays import Array
from mrml.config.sections import RunConfig
from mrml.errors import ConfigError, InputError
from mrml.runs import child
from mrml.sklearn.base import Base, Clusterer, Plan

try:
    from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
    from sklearn.exceptions import FitFailedWarning
    from sklearn.metrics import check_scoring
    from sklearn.model_selection import ParameterGrid, check_cv
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:  # pragma: no cover - told by the extra's absence
    raise ConfigError("mrml.sklearn", "scikit-learn is not installed", "pip install 'mrml[sklearn]'") from error

#: scikit-learn's scorers: the metric of ours, its sign, and its power
SCORERS: dict[str, tuple[str, float, float]] = {
    "accuracy": ("accuracy", 1.0, 1.0),
    "roc_auc": ("auc", 1.0, 1.0),
    "average_precision": ("pr_auc", 1.0, 1.0),
    "neg_log_loss": ("log_loss", -1.0, 1.0),
    "r2": ("r2", 1.0, 1.0),
    "neg_mean_absolute_error": ("mae", -1.0, 1.0),
    "neg_root_mean_squared_error": ("rmse", -1.0, 1.0),
    "neg_mean_squared_error": ("rmse", -1.0, 2.0),
}


def _best_has(name: str) -> Any:
    return lambda self: hasattr(getattr(self, "best_estimator_", self.estimator), name)


class GridSearchCV(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Every combination of a grid over an estimator of :mod:`mrml.sklearn`, by cross-validation, in one scan a round.

    As scikit-learn's of that name, with its folds, scores and attributes (``cv_results_`` without times); models are
    trained side by side instead of one after the other.  With ``sample_weight`` scores are weighted too.

    Parameters
    ----------
    estimator : of this module; it says where the rounds run.
    param_grid : a dict, or a list of dicts, of lists of values.
    scoring : a key of :data:`SCORERS`; None: accuracy of classes, r2 of numbers.
    cv : folds (stratified where there are classes, as scikit-learn deals them), or a splitter whose test sets hold
        every row once.
    refit : whether ``best_estimator_`` is trained on all rows.
    """

    def __init__(
        self, estimator: Any, param_grid: Any, *, scoring: Any = None, cv: Any = 5, refit: bool = True
    ) -> None:
        self.estimator, self.param_grid, self.scoring, self.cv, self.refit = estimator, param_grid, scoring, cv, refit

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> GridSearchCV:
        """Search; ValueError for what cannot be trained side by side, with what to do instead."""
        if not isinstance(self.estimator, Base) or isinstance(self.estimator, Clusterer):
            name = type(self.estimator).__name__
            raise ValueError(f"{name} is no estimator of mrml.sklearn with a target: use scikit-learn's GridSearchCV")
        metric, sign, power = self._scorer()
        self.cv_folds_ = self._folds(X, y, groups)
        candidates = list(ParameterGrid(self.param_grid))
        planned = [clone(self.estimator).set_params(**params) for params in candidates]
        trials = self._judged([one.plan(X, y, sample_weight) for one in planned])
        scores = np.array([_scores(t, metric, self.n_splits_) for t in trials])
        self._told(candidates, sign * scores**power, trials)
        if self.refit:
            own = {} if sample_weight is None else {"sample_weight": sample_weight}
            self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_).fit(X, y, **own)
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        return self

    def _scorer(self) -> tuple[str, float, float]:
        name = self.scoring or ("accuracy" if is_classifier(self.estimator) else "r2")
        if name not in SCORERS:
            raise ValueError(f"scoring {name!r} is none of {', '.join(SCORERS)}")
        return SCORERS[name]

    def _folds(self, X: Any, y: Any, groups: Any) -> Array:
        """(n_samples,) int64: the fold in whose test set each row is."""
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        fold = np.full(n, -1, np.int64)
        self.n_splits_ = 0
        for train, test in splitter.split(np.zeros(n), y, groups):
            if (fold[test] >= 0).any() or len(train) + len(test) != n:
                fold[:] = -1
                break
            fold[test], self.n_splits_ = self.n_splits_, self.n_splits_ + 1
        if (fold < 0).any():
            raise ValueError(
                "cv: each row must be in one test set and trained on else: use scikit-learn's GridSearchCV"
            )
        return fold

    def _judged(self, plans: Sequence[Plan]) -> list[dict[str, Any]]:
        first = plans[0]
        if hasattr(first.X, "tocsr"):
            raise ValueError(
                "a sparse matrix has no place for folds: give an array, or use scikit-learn's GridSearchCV"
            )
        with ExitStack() as held:
            data, engine = run_sections(held, first.X, first.y, {**first.options, **first.beside, "id": self.cv_folds_})
            config = RunConfig(first.algorithm, {}, data, engine)
            try:
                return child.judged(config, [plan.params for plan in plans], self.n_splits_)
            except (ConfigError, InputError) as error:  # scikit-learn's callers expect it
                raise ValueError(str(error)) from error

    def _told(
        self, candidates: Sequence[Mapping[str, Any]], scores: Array, trials: Sequence[Mapping[str, Any]]
    ) -> None:
        """``cv_results_`` and which is the best, of scores (n_candidates, n_splits)."""
        for trial in trials:
            if trial["state"] == "failed":
                warnings.warn(
                    f"candidate {candidates[trial['trial']]}: {trial['stop']}", FitFailedWarning, stacklevel=3
                )
        mean = scores.mean(axis=1)
        if np.isnan(mean).all():
            raise ValueError(f"no candidate could be judged; the first: {trials[0]['stop']}")
        worst = np.where(np.isnan(mean), -np.inf, mean)
        results: dict[str, Any] = {f"param_{name}": _column(candidates, name) for name in _names(candidates)}
        results["params"] = list(candidates)
        results |= {f"split{k}_test_score": scores[:, k] for k in range(self.n_splits_)}
        results |= {"mean_test_score": mean, "std_test_score": scores.std(axis=1)}
        results["rank_test_score"] = (1 + (worst[None, :] > worst[:, None]).sum(axis=1)).astype(np.int32)
        self.cv_results_, self.best_index_ = results, int(worst.argmax())
        self.best_params_, self.best_score_ = dict(candidates[self.best_index_]), float(mean[self.best_index_])

    def _best(self) -> Any:
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_

    @property
    def classes_(self) -> Array:
        """The classes of the best estimator."""
        out: Array = self._best().classes_
        return out

    @property
    def n_features_in_(self) -> int:
        """The columns of the best estimator."""
        return int(self._best().n_features_in_)

    def predict(self, X: Any) -> Array:
        """What the best estimator predicts."""
        out: Array = self._best().predict(X)
        return out

    @available_if(_best_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """(n_samples, n_classes) float64 of the best estimator."""
        out: Array = self._best().predict_proba(X)
        return out

    def score(self, X: Any, y: Any) -> float:
        """The score of the best estimator."""
        return float(check_scoring(self._best(), self.scoring)(self._best(), X, y))


def _scores(trial: Mapping[str, Any], metric: str, n_splits: int) -> list[float]:
    """A candidate's metric in each fold; NaN where there is none."""
    found = trial["metrics"].get(metric, {}).get("folds", [None] * n_splits)
    return [np.nan if value is None else float(value) for value in found]


def _names(candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for one in candidates for name in one))


def _column(candidates: Sequence[Mapping[str, Any]], name: str) -> Any:
    """A hyperparameter of all candidates, masked where a candidate has none."""
    out: Any = np.ma.MaskedArray(np.empty(len(candidates), object), mask=True)
    for k, one in enumerate(candidates):
        if name in one:
            out[k] = one[name]
    return out
