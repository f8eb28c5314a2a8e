"""A grid search: estimators of ours side by side, one scan of the rows a round; any other one's candidates as tasks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from joblib import parallel_config  # type: ignore[import-untyped]
from sklearn import model_selection
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid, check_cv

from mrml.api.options import run_sections
from mrml.arrays import Array
from mrml.config.sections import RunConfig
from mrml.errors import ConfigError, InputError
from mrml.runs import child
from mrml.runs.report import notebook
from mrml.sklearn import paths
from mrml.sklearn.backend import Backend
from mrml.sklearn.base import Base, Clusterer, Plan

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


class GridSearchCV(model_selection.GridSearchCV):  # type: ignore[misc]
    """scikit-learn's search of that name, with its folds, scores and attributes, and where to compute.

    An estimator of :mod:`mrml.sklearn` with a target is trained side by side with all candidates and folds, in one scan
    of the rows a round (``cv_results_`` has no times).  With ``sample_weight`` scores are weighted too; ``scoring`` is
    a key of :data:`SCORERS`, or None for accuracy of classes and r2 of numbers; ``cv`` is a number of folds, or a
    splitter whose test sets hold every row once.

    Of any other estimator candidates and folds are calls of resident tasks: see :mod:`mrml.sklearn.backend`.

    Parameters
    ----------
    engine, runner, workers : where to compute: ``engine="resident", runner="hadoop"`` is on YARN; None: where the
        estimator says, for one of :mod:`mrml.sklearn`, else on this machine.
    engine_options : others of the section engine, such as ``{"environment": URI, "memory_mb": 4096}``.
    estimator, param_grid, scoring, cv, refit, ... : as scikit-learn has them.
    """

    def __init__(
        self, estimator: Any, param_grid: Any, *, scoring: Any = None, n_jobs: int | None = None, refit: Any = True,
        cv: Any = None, verbose: int = 0, pre_dispatch: Any = "2*n_jobs", error_score: Any = np.nan,
        return_train_score: bool = False, engine: str | None = None, runner: str | None = None,
        workers: int | None = None, engine_options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            estimator, param_grid, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose,
            pre_dispatch=pre_dispatch, error_score=error_score, return_train_score=return_train_score,
        )  # fmt: skip
        self.engine, self.runner, self.workers, self.engine_options = engine, runner, workers, engine_options

    def fit(self, X: Any, y: Any = None, **params: Any) -> GridSearchCV:
        """Search; ``params`` are scikit-learn's: ``sample_weight``, ``groups``, what metadata routing knows.

        Of an estimator of :mod:`mrml.sklearn` X may be paths, and y the name of a column there; ``params`` are then
        options of the section data, such as ``id``, and ``fold_by``.

        Raises
        ------
        ValueError
            What cannot be trained side by side, with what to do instead.
        """
        if isinstance(self.estimator, Base) and not isinstance(self.estimator, Clusterer):
            return self._on_files(X, y, params) if paths.is_path(X) else self._side_by_side(X, y, params)
        if isinstance(X, str | os.PathLike):
            raise ValueError(f"X: {os.fspath(X)!r} is a path, and paths are for estimators of mrml.sklearn: give rows")
        with parallel_config(Backend(**self._where()), n_jobs=-1):
            super().fit(X, y, **params)
        return self

    def _where(self) -> dict[str, Any]:
        """Options of the engine that are given."""
        named = {"engine": self.engine, "runner": self.runner, "workers": self.workers}
        return {**{k: v for k, v in named.items() if v is not None}, **(self.engine_options or {})}

    def _on_files(self, X: Any, y: Any, options: Mapping[str, Any]) -> GridSearchCV:
        """Search over the rows of files, whose folds are those of ``mrml tune``."""
        if not isinstance(self.cv, int | None):
            raise ValueError("cv: of files it is a number of folds; fold_by='group' and such deal them otherwise")
        given, self.n_splits_ = {**self._where(), **options}, self.cv or 5
        by = given.pop("fold_by", "auto")
        candidates = list(ParameterGrid(self.param_grid))
        plans = [paths.plan(clone(self.estimator).set_params(**params), X, y, given) for params in candidates]
        self._found(candidates, self._trials(plans, by))
        if self.refit:
            best = clone(self.estimator).set_params(**self.best_params_)
            self.best_estimator_ = paths.fitted(best, X, y, given)
            self.feature_names_in_ = self.best_estimator_.feature_names_in_
        return self

    def _found(self, candidates: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]) -> None:
        """Results, and which is the best."""
        metric, sign, power = self._scorer()
        scores = np.array([_scores(t, metric, self.n_splits_) for t in trials])
        self._told(candidates, sign * scores**power, trials)
        self.scorer_, self.multimetric_ = check_scoring(self.estimator, self.scoring), False

    def _side_by_side(self, X: Any, y: Any, params: dict[str, Any]) -> GridSearchCV:
        routed = self._get_routed_params_for_fit(params)
        own, groups = routed.estimator.fit, routed.splitter.split.get("groups")
        self._scorer()
        self.cv_folds_ = self._folds(X, y, groups)
        candidates = list(ParameterGrid(self.param_grid))
        planned = [clone(self.estimator).set_params(**params) for params in candidates]
        self._found(candidates, self._judged([one.plan(X, y, **own) for one in planned]))
        if self.refit:
            self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_).fit(X, y, **own)
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        return self

    def _repr_html_inner(self) -> str:
        """scikit-learn's diagram, and below it the best candidates."""
        found = notebook.search(self.cv_results_) if hasattr(self, "cv_results_") else ""
        return f"{super()._repr_html_inner()}{found}"

    def _repr_mimebundle_(self, **how: Any) -> dict[str, str]:
        found: dict[str, str] = super()._repr_mimebundle_(**how)
        return found | ({"text/html": self._repr_html_inner()} if "text/html" in found else {})

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
        options = {**first.options, **self._where(), "id": self.cv_folds_}
        return self._trials([plan._replace(options=options) for plan in plans], "given")

    def _trials(self, plans: Sequence[Plan], by: str) -> list[dict[str, Any]]:
        """What is found of every candidate, over rows that are dealt to folds in this way."""
        first = plans[0]
        with ExitStack() as held:
            data, engine = run_sections(held, first.X, first.y, {**first.options, **first.beside})
            config = RunConfig(first.algorithm, {}, data, engine)
            try:
                return child.judged(config, [plan.params for plan in plans], self.n_splits_, by)
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
