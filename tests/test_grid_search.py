"""mrml.sklearn.GridSearchCV is scikit-learn's over the same estimators and folds, in one scan a round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
import pandas as pd  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from sklearn import model_selection as theirs  # noqa: E402
from sklearn.base import clone  # noqa: E402

import mrml.sklearn as ours  # noqa: E402

RNG = np.random.default_rng(3)
X = RNG.normal(size=(240, 4))
SCORE = X[:, 0] - X[:, 1] + 0.5 * RNG.normal(size=240)
TWO, THREE = np.where(SCORE > 0, "yes", "no"), np.digitize(SCORE, [-0.7, 0.7])
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "city": pd.Categorical(np.where(X[:, 2] > 0, "oslo", "rome"))},
                     index=[f"r{k}" for k in range(240)])  # fmt: skip


def logistic(**params: Any) -> Any:
    return ours.LogisticRegression(engine="inline", **params)


def boosting(**params: Any) -> Any:
    return ours.HistGradientBoostingClassifier(engine="inline", rounds=4, max_depth=2, **params)


SHUFFLED = theirs.KFold(4, shuffle=True, random_state=1)
TREES = {"learning_rate": [0.1, 0.5], "min_data_in_leaf": [1, 20]}
PENALTIES = {"l2": [0.0, 0.5]}
CASES = [
    (logistic(), {"l2": [1e-4, 1e-2, 1.0], "class_weight": ["none", "balanced"]}, X, TWO, {"cv": 3}),
    (logistic(), {"l2": [1e-3, 1.0]}, X, THREE, {"cv": 3}),
    (logistic(), [{"l2": [0.1]}, {"solver": ["newton", "lbfgs"]}], FRAME, TWO, {"cv": 3, "scoring": "roc_auc"}),
    (boosting(), TREES, X, TWO, {"scoring": "neg_log_loss", "cv": 2}),
    (ours.LinearRegression(engine="inline"), PENALTIES, FRAME, SCORE, {"cv": SHUFFLED}),
    (ours.LinearRegression(engine="inline"), PENALTIES, X, SCORE, {"cv": 3, "scoring": "neg_mean_squared_error"}),
]


@pytest.mark.parametrize(("estimator", "grid", "x", "y", "how"), CASES, ids=lambda v: type(v).__name__)
def test_scores_ranks_and_the_best_are_those_of_scikit_learn(
    estimator: Any, grid: Any, x: Any, y: Any, how: dict[str, Any]
) -> None:
    found = ours.GridSearchCV(estimator, grid, **how).fit(x, y)
    expected = theirs.GridSearchCV(estimator, grid, **how).fit(x, y)
    assert found.n_splits_ == expected.n_splits_ and found.cv_results_["params"] == expected.cv_results_["params"]
    for name, values in expected.cv_results_.items():
        if "test_score" in name and not name.startswith("rank"):
            np.testing.assert_allclose(found.cv_results_[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
        if name.startswith(("param_", "rank")):
            assert found.cv_results_[name].tolist() == values.tolist(), name
    assert found.best_params_ == expected.best_params_ and found.best_index_ == expected.best_index_
    np.testing.assert_allclose(found.best_score_, expected.best_score_, rtol=1e-6)
    assert (found.predict(x) == expected.predict(x)).all() and found.score(x, y) == expected.score(x, y)


def test_the_best_estimator_is_the_one_that_its_hyperparameters_fit() -> None:
    found = ours.GridSearchCV(logistic(), {"l2": [1e-3, 10.0]}, cv=3).fit(X, TWO)
    alone = logistic(**found.best_params_).fit(X, TWO)
    assert (found.best_estimator_.coef_ == alone.coef_).all() and found.classes_.tolist() == ["no", "yes"]
    assert (found.predict_proba(X) == alone.predict_proba(X)).all() and found.n_features_in_ == 4
    assert not hasattr(ours.GridSearchCV(ours.LinearRegression(), {}), "predict_proba")
    assert isinstance(clone(found), ours.GridSearchCV) and not hasattr(clone(found), "best_estimator_")


def test_without_refit_there_are_results_and_no_estimator() -> None:
    found = ours.GridSearchCV(logistic(), {"l2": [0.1]}, cv=2, refit=False).fit(X, TWO)
    assert found.best_params_ == {"l2": 0.1} and not hasattr(found, "best_estimator_")
    with pytest.raises(AttributeError, match="no attribute 'predict'"):  # as scikit-learn says it
        found.predict(X)


def test_groups_are_dealt_by_the_splitter() -> None:
    groups = np.arange(240) // 12
    search = ours.GridSearchCV(logistic(), {"l2": [0.1]}, cv=theirs.GroupKFold(4)).fit(X, TWO, groups=groups)
    assert all(len(set(search.cv_folds_[groups == g])) == 1 for g in range(20))


def test_a_candidate_that_fails_is_warned_of_and_comes_last() -> None:
    grid = {"early_stopping": [0, 5]}
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="there are no validation rows"):
        found = ours.GridSearchCV(boosting(), grid, cv=2).fit(X, TWO)
    assert found.cv_results_["rank_test_score"].tolist() == [1, 2] and found.best_params_ == {"early_stopping": 0}
    assert np.isnan(found.cv_results_["mean_test_score"][1])


@pytest.mark.parametrize(("search", "x", "finding"), [
    (ours.GridSearchCV(logistic(), {"l2": [1.0]}, scoring="f1"), X, "scoring 'f1' is none of accuracy, roc_auc"),
    (ours.GridSearchCV(logistic(), {"l2": [1.0]}, cv=theirs.ShuffleSplit(3)), X, "each row must be in one test set"),
    (ours.GridSearchCV(logistic(), {"l2": [1.0]}, cv=2), csr_matrix(X), "a sparse matrix has no place for folds"),
    (ours.GridSearchCV(logistic(), {"l2": [-1.0]}, cv=2), X, "out of bounds"),
])  # fmt: skip
def test_what_cannot_be_searched_side_by_side_is_refused_with_what_to_do(search: Any, x: Any, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        search.fit(x, TWO)
