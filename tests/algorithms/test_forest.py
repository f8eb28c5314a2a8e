"""Random forests beside scikit-learn's, and the laws of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeRegressor

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run
from tests.algorithms.test_boosting import BIKE, made, numbers, scored
from tests.shared import shared


def forest(folder: Path, params: dict[str, Any], **data: Any) -> str:
    out = str(folder / "forest")
    run.train(RunConfig("forest", params, DataConfig(**data), EngineConfig(engine="inline"), out, overwrite=True))
    return out


def inner(model: str) -> Any:
    return run.load_model(model).inner


def test_one_tree_without_bootstrap_is_that_of_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 40, (300, 2)).astype(float)
    y = np.sin(x[:, 0]) + 0.1 * x[:, 1] + rng.normal(0, 0.1, 300)
    lines = [f"{a},{b},{c:.9g}" for (a, b), c in zip(x, y, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    model = forest(
        tmp_path, {"trees": 1, "bootstrap": False, "max_depth": 4}, data=(str(tmp_path / "rows.csv"),), target="y"
    )
    stock = DecisionTreeRegressor(max_depth=4).fit(x, y)
    found = inner(model)
    raw = found.trees.raw_prediction(x.astype(np.float32), found.base)[0]
    np.testing.assert_allclose(raw, stock.predict(x), atol=1e-4)


def test_trees_are_the_same_however_many_grow_at_a_time(tmp_path: Path) -> None:
    rows = {"data": (str(numbers(tmp_path)),), "target": "y", "weight": "w", "exclude": ("label", "o")}
    found = []
    for at_a_time in (1, 2, 7):
        params = {"trees": 5, "trees_per_round": at_a_time, "max_depth": 3, "colsample_bynode": 0.5}
        found.append(inner(forest(tmp_path, params, **rows)).arrays())
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)
    assert len(found[0]["trees.sizes"]) == 5
    roots = found[0]["trees.rows"][np.cumsum([0, *found[0]["trees.sizes"][:-1]])]
    assert len(set(roots.tolist())) > 1 and (abs(roots / 800 - 0.632) < 0.07).all()  # in the bag: 1 - 1/e


def test_the_shares_of_classes_sum_to_one_and_name_the_class(tmp_path: Path) -> None:
    rows = str(made(tmp_path))
    for target in ("label", "city"):
        model = run.load_model(forest(tmp_path, {"objective": "gini", "trees": 6}, data=(rows,), target=target))
        config = DataConfig(data=(rows,), target=target)
        dataset = run.scoring_config(model, config, ("feature",))
        block = next(dataset.read(dataset.splits(1 << 30)[0][0]))
        found = model.predict(block)
        assert found.probability is not None
        np.testing.assert_allclose(found.probability.sum(axis=1), 1.0)
        np.testing.assert_array_equal(found.y_pred, found.probability.argmax(axis=1))


def split_telco(folder: Path) -> tuple[str, str]:
    lines = next(shared("telco-churn").glob("*.csv")).read_text().splitlines()
    paths = folder / "train.csv", folder / "test.csv"
    for path, part in zip(paths, ([r for i, r in enumerate(lines[1:]) if i % 5], lines[1::5]), strict=True):
        path.write_text("\n".join([lines[0], *part]) + "\n")
    return str(paths[0]), str(paths[1])


@pytest.mark.slow
def test_forests_are_as_good_as_those_of_scikit_learn(tmp_path: Path) -> None:
    """telco-churn by AUC, bike-sharing by RMSE, at the same trees and depth."""
    pd = pytest.importorskip("pandas")
    train, test = split_telco(tmp_path)
    told: dict[str, Any] = {"target": "Churn", "exclude": ("customerID",)}
    model = forest(tmp_path, {"objective": "gini", "trees": 60, "max_depth": 8}, data=(train,), **told)
    found = scored(model, data=(test,))["auc"]
    frames = [pd.read_csv(p).drop(columns="customerID") for p in (train, test)]
    for frame in frames:
        frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce").fillna(0)
    both = pd.get_dummies(pd.concat(frames).drop(columns="Churn"))
    n = len(frames[0])
    stock = RandomForestClassifier(60, max_depth=8, random_state=0).fit(both[:n], frames[0]["Churn"])
    theirs = roc_auc_score(frames[1]["Churn"] == "Yes", stock.predict_proba(both[n:])[:, 1])
    assert found == pytest.approx(theirs, abs=0.01)

    bike = shared("bike-sharing")
    model = forest(tmp_path, {"trees": 40, "max_depth": 10}, data=(str(bike / "hour_train.csv"),), **BIKE)
    found = scored(model, data=(str(bike / "hour_test.csv"),))["rmse"]
    (x, y), (xt, yt) = (
        (f.drop(columns=[*BIKE["exclude"], "cnt"]), f["cnt"])
        for f in (pd.read_csv(bike / f"hour_{part}.csv") for part in ("train", "test"))
    )
    regressor = RandomForestRegressor(40, max_depth=10, random_state=0).fit(x, y)
    theirs = float(np.sqrt(((regressor.predict(xt) - yt) ** 2).mean()))
    assert found == pytest.approx(theirs, rel=0.03)
