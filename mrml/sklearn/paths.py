"""Estimators on files: what scikit-learn's arrays say by themselves, a path does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from mrml.api.options import run_sections
from mrml.data.block import Coded
from mrml.data.open import open_dataset
from mrml.runs.plan import first_block


def is_path(X: Any) -> bool:
    """Whether X names files, directories or globs, one or several."""
    several = isinstance(X, list | tuple) and bool(X)
    return all(isinstance(one, str | os.PathLike) for one in (X if several else (X,)))


def plan(estimator: Any, X: Any, y: Any, options: Mapping[str, Any]) -> Any:
    """The :class:`mrml.sklearn.base.Plan` that fits an estimator to the column ``y`` of files; ``options`` are of the
    sections data and engine.  ValueError where the column is not named."""
    if not isinstance(y, str):
        raise ValueError('rows of files have no y beside them: name the column, fit(path, "churned")')
    if isinstance(getattr(estimator, "class_weight", None), dict):
        raise ValueError('class_weight: of files say "balanced", or name a column of weights, fit(path, y, weight="w")')
    algorithm, decided = estimator.algorithm, dict[str, Any]()
    if _is_classifier(estimator):
        several = _n_classes(X, {**options, "target": y}) > 2
        algorithm = estimator.algorithm_of_many if several and estimator.algorithm_of_many else algorithm
        decided = estimator.many if several else estimator.two
    found = estimator.planned(X, None, None, algorithm, **decided)
    where = {k: v for k, v in found.options.items() if v is not None}
    return found._replace(options={**where, **options, "target": y})


def fitted(estimator: Any, X: Any, y: Any, options: Mapping[str, Any]) -> Any:
    """The estimator, fitted to the column ``y`` of files."""
    estimator.train(plan(estimator, X, y, options))
    schema = estimator.model_.model.schema
    names = [c.name for c in schema.columns if c.role == "feature"]
    estimator.feature_names_in_, estimator.n_features_in_ = np.array(names, object), len(names)
    estimator._of_frame, estimator._is_sparse = True, False
    if _is_classifier(estimator):
        labels = estimator.model_.model.classes
        whole = all(c.lstrip("-").isdecimal() and str(int(c)) == c for c in labels)
        estimator.classes_, estimator._named = np.array([int(c) if whole else c for c in labels]), True
    return estimator


def _is_classifier(estimator: Any) -> bool:
    return hasattr(estimator, "algorithm_of_many")


def _n_classes(X: Any, options: Mapping[str, Any]) -> int:
    """Classes in the first block; a rarer one that comes later is an error of training that says what to do."""
    with ExitStack() as held:
        data, _ = run_sections(held, X, None, options)
        block, _ = first_block(open_dataset(data))
    y = None if block is None else block.y
    return 0 if y is None else len(y.levels) if isinstance(y, Coded) else len(np.unique(y))
