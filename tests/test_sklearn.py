"""The estimators of mrml.sklearn are scikit-learn's own kind: its checks, its searches, its pipelines."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

import mrml.sklearn as ours  # noqa: E402

WEIGHTS = ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data")
#: why a weight is not as good as a repetition, where scikit-learn asks for all digits
SCALES = "columns are standardised by their rows, whatever these weigh, and penalised or solved on that scale"
BINS = "bins are quantiles of rows, and bootstraps draw rows, whatever these weigh"
STEPS = "batches are of so many rows"
FEW = "k above the number of different rows is refused, where scikit-learn warns"
#: estimators, small enough for all of the checks, and what is expected to fail of these, with the reason
ESTIMATORS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "LinearRegression": ({}, dict.fromkeys(WEIGHTS, SCALES)),
    "PoissonRegressor": ({}, dict.fromkeys(WEIGHTS, SCALES)),
    "LogisticRegression": ({}, dict.fromkeys(WEIGHTS, SCALES)),
    "HistGradientBoostingRegressor": ({"rounds": 12}, {}),
    "HistGradientBoostingClassifier": ({"rounds": 12}, dict.fromkeys(WEIGHTS, BINS)),
    "RandomForestRegressor": ({"trees": 12, "max_depth": 8}, dict.fromkeys(WEIGHTS, BINS)),
    "RandomForestClassifier": ({"trees": 12, "max_depth": 8}, dict.fromkeys(WEIGHTS, BINS)),
    "MLPRegressor": ({}, dict.fromkeys(WEIGHTS, STEPS)),
    "MLPClassifier": ({}, dict.fromkeys(WEIGHTS, STEPS)),
    "KMeans": ({}, dict.fromkeys(WEIGHTS, SCALES) | dict.fromkeys(
        ("check_sample_weights_shape", "check_sample_weights_not_overwritten"), FEW)),
}  # fmt: skip


def made(name: str, **params: Any) -> Any:
    return getattr(ours, name)(engine="inline", **{**ESTIMATORS[name][0], **params})


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_checks_of_scikit_learn_pass_but_those_that_have_a_reason(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(made(name), expected_failed_checks=ESTIMATORS[name][1], on_fail=None, on_skip=None)
    failed = {check["check_name"]: check["exception"] for check in found if check["status"] == "failed"}
    assert not failed and len(found) > 50


def test_every_estimator_of_the_module_is_checked() -> None:
    assert set(ours.__all__) - {"GridSearchCV", "backend"} == set(ESTIMATORS)


@pytest.fixture(scope="module")
def rows() -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 4))
    return x, np.where(x[:, 0] - x[:, 1] + 0.3 * rng.normal(size=200) > 0, "yes", "no")


def test_hyperparameters_are_those_of_the_algorithm_and_others_are_refused() -> None:
    import mrml

    params = ours.LogisticRegression(l2=0.5).get_params()
    assert params["l2"] == 0.5 and params["engine"] == "auto" and "objective" not in params
    with pytest.raises(TypeError, match="no hyperparameter 'C'"):
        ours.LogisticRegression(C=1.0)
    with pytest.raises(ValueError, match="l2"):
        ours.LogisticRegression(l2=-1.0).fit(np.zeros((4, 1)), [0, 1, 0, 1])
    assert mrml.Logistic(l2=0.5).params == {"l2": 0.5}


def test_a_search_over_our_estimator_finds_what_scikit_learns_finds(rows: tuple[Any, Any]) -> None:
    x, y = rows
    search = GridSearchCV(made("LogisticRegression"), {"l2": [1e-4, 1.0]}, cv=3, scoring="neg_log_loss").fit(x, y)
    assert search.best_params_ == {"l2": 1e-4} and search.best_estimator_.score(x, y) > 0.9
    scores = cross_val_score(make_pipeline(StandardScaler(), made("HistGradientBoostingClassifier")), x, y, cv=3)
    assert scores.mean() > 0.85


def test_coefficients_and_importances_are_those_of_scikit_learn(rows: tuple[Any, Any]) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = rows
    mine = made("LogisticRegression", l2=0.01, standardise=False, tol=1e-10).fit(x, y)
    theirs = LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-10, max_iter=1000).fit(x, y)
    assert np.allclose(mine.coef_, theirs.coef_, atol=1e-6) and np.allclose(
        mine.intercept_, theirs.intercept_, atol=1e-6
    )
    assert np.allclose(mine.predict_proba(x), theirs.predict_proba(x), atol=1e-6)
    shares = made("HistGradientBoostingClassifier").fit(x, y).feature_importances_
    assert shares.shape == (4,) and shares.sum() == pytest.approx(1.0) and set(shares.argsort()[-2:]) == {0, 1}


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 20], [False, True], [0.0, 1.0]])
def test_classes_come_back_as_they_were_given(rows: tuple[Any, Any], labels: list[Any]) -> None:
    x, y = rows
    given = np.array(labels)[(y == "yes").astype(int)]
    model = made("HistGradientBoostingClassifier").fit(x, given)
    found = model.predict(x)
    assert model.classes_.tolist() == labels and found.dtype == given.dtype and (found == given).mean() > 0.9
    assert model.predict_proba(x).shape == (200, 2)


def test_frames_keep_their_categories_and_are_scored_by_name(rows: tuple[Any, Any]) -> None:
    pd = pytest.importorskip("pandas")
    x, y = rows
    frame = pd.DataFrame(x[:, :2], columns=["a", "b"])
    frame["level"] = pd.Categorical(np.where(y == "yes", 7, 8), categories=[8, 7])
    model = made("LogisticRegression").fit(frame, y)
    assert (model.predict(frame) == y).all() and model.feature_names_in_.tolist() == ["a", "b", "level"]
    kinds = {c.name: c.kind for c in model.model_.model.schema.columns}
    assert kinds["level"] == "categorical" and kinds["a"] == "numeric"
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "level"]])


def test_class_weights_are_weights_of_rows(rows: tuple[Any, Any]) -> None:
    x, y = rows
    weighted = made("LogisticRegression", class_weight={"yes": 3.0, "no": 1.0}).fit(x, y)
    by_row = made("LogisticRegression").fit(x, y, sample_weight=np.where(y == "yes", 3.0, 1.0))
    assert np.array_equal(weighted.predict_proba(x), by_row.predict_proba(x))


def test_clones_and_pickles_are_the_same_estimators(rows: tuple[Any, Any]) -> None:
    x, y = rows
    model = made("RandomForestClassifier").fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(x), model.predict_proba(x))
    assert clone(model).get_params() == model.get_params() and not hasattr(clone(model), "model_")


def test_what_the_command_reads_is_what_the_estimator_saved(rows: tuple[Any, Any], tmp_path: Any) -> None:
    import mrml

    x, y = rows
    model = made("LogisticRegression").fit(x, y)
    model.model_.save(tmp_path / "model")
    table = mrml.load(tmp_path / "model").predict(x)
    assert table["prediction"].to_pylist() == model.predict(x).tolist()


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['sklearn'] = None\ntry: import mrml.sklearn\nexcept Exception as e: print(e)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert said == "mrml.sklearn: scikit-learn is not installed; pip install 'mrml[sklearn]'\n"


def test_importing_mrml_does_not_import_scikit_learn() -> None:
    code = "import sys, mrml, mrml.api; print([m for m in ('sklearn', 'pandas', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


RNG = np.random.default_rng(8)
GROUPS, WEIGHTED = np.arange(90) // 9, np.linspace(0.1, 3.0, 90)


@pytest.mark.usefixtures("routing")
def test_weights_and_groups_are_routed_to_who_asks_for_them() -> None:
    x, y = RNG.normal(size=(90, 2)), np.arange(90) % 2
    one, beside = made("LogisticRegression", l2=0.1), {"sample_weight": WEIGHTED, "groups": GROUPS}
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match=r"LogisticRegression\.fit"):
        cross_validate(one, x, y, params={"sample_weight": WEIGHTED})
    asks = clone(one).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    found = cross_validate(asks, x, y, cv=GroupKFold(3), params=beside, return_estimator=True)
    train, _ = next(GroupKFold(3).split(x, y, GROUPS))
    by_hand = one.fit(x[train], y[train], sample_weight=WEIGHTED[train])
    assert (found["estimator"][0].coef_ == by_hand.coef_).all()
    assert (by_hand.coef_ != clone(one).fit(x[train], y[train]).coef_).all()


@pytest.mark.usefixtures("routing")
def test_both_searches_route_alike() -> None:
    x, y = RNG.normal(size=(90, 2)), np.arange(90) % 2
    one = made("LogisticRegression").set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    mine, theirs = (
        search(one, {"l2": [1e-3, 1.0]}, cv=GroupKFold(3)).fit(x, y, sample_weight=WEIGHTED, groups=GROUPS)
        for search in (ours.GridSearchCV, GridSearchCV)
    )
    np.testing.assert_allclose(mine.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-9)
    assert (mine.best_estimator_.coef_ == theirs.best_estimator_.coef_).all()
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match=r"GridSearchCV\.fit"):
        ours.GridSearchCV(made("LogisticRegression"), {"l2": [0.1]}).fit(x, y, sample_weight=WEIGHTED)
