"""Categories of many levels, leaf by leaf: LightGBM at equal settings as oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run
from tests.shared import shared

lightgbm = pytest.importorskip("lightgbm")
INLINE = EngineConfig(engine="inline")


def predicted(frame: pd.DataFrame, other: pd.DataFrame, folder: Path, **params: Any) -> tuple[Any, Any]:
    """Raw predictions of the other rows by mrml and by LightGBM, both trained on the frame at the same settings."""
    frame.to_csv(folder / "a.csv", index=False)
    categories = tuple(c for c in frame if c != "y" and not pd.api.types.is_numeric_dtype(frame[c]))
    data = DataConfig(data=(str(folder / "a.csv"),), target="y", categorical=categories)
    config = RunConfig("boosting", {**params, "growth": "leafwise"}, data, INLINE, str(folder / "m"), overwrite=True)
    run.train(config)
    features = frame.columns.drop("y")
    other[features].to_csv(folder / "b.csv", index=False)
    run.predict(str(folder / "m"), DataConfig(data=(str(folder / "b.csv"),)), INLINE, str(folder / "p"), "csv", True)
    found = pd.concat(pd.read_csv(p) for p in sorted((folder / "p").glob("part-*")))
    mine = found["probability_1" if params["objective"] == "logistic" else "prediction"].to_numpy()
    names = {"max_leaves": "num_leaves", "min_data_in_leaf": "min_child_samples", "max_bin": "max_bin",
             "rounds": "n_estimators"}  # fmt: skip
    theirs = {names.get(k, k): v for k, v in params.items() if k != "objective"}
    theirs |= {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbose": -1, "min_data_in_bin": 1}
    kind = lightgbm.LGBMClassifier if params["objective"] == "logistic" else lightgbm.LGBMRegressor
    levels = {c: pd.CategoricalDtype(sorted(frame[c].dropna().unique())) for c in categories}
    peer = kind(**theirs).fit(frame[features].astype(levels), frame["y"])
    rows = other[features].astype(levels)
    return mine, peer.predict_proba(rows)[:, 1] if params["objective"] == "logistic" else peer.predict(rows)


def levels_of(r: Any, n: int, n_levels: int, flat: float = 0.8) -> Any:
    """(n,) codes of levels from frequent to rare."""
    p = (1.0 + np.arange(n_levels)) ** -flat
    return r.choice(n_levels, n, p=p / p.sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"min_data_per_group": 20, "cat_smooth": 3.0},
        {"cat_l2": 0.0, "max_cat_threshold": 12},
        {"cat_smooth": 40.0, "min_data_in_leaf": 60, "max_cat_to_onehot": 20},
    ],
)
def test_trees_of_rare_levels_are_lightgbms(tmp_path: Path, seed: int, rules: dict[str, Any]) -> None:
    """Some rows have no level, and levels that training has not seen are predicted too.

    LightGBM no longer looks at a column below a node in which it had no cut; where ``max_cat_threshold`` is small, that
    loses splits which are found here.
    """
    r = np.random.default_rng(seed)
    code, few = levels_of(r, 3000, 60), r.integers(0, 12, 3000)
    y = r.normal(size=61)[code] + 0.5 * r.normal(size=12)[few] + r.normal(size=3000)
    frame = pd.DataFrame({"c": [f"L{k:02d}" for k in code], "few": [f"F{k:02d}" for k in few], "y": y.round(6)})
    frame.loc[r.random(3000) < 0.03, "c"] = None
    other = pd.concat([frame, pd.DataFrame({"c": ["new", None], "few": ["F01", "none"], "y": [0.0, 0.0]})])
    params = {"objective": "squared", "rounds": 4, "max_leaves": 8, "learning_rate": 0.3, **rules}
    mine, theirs = predicted(frame, other, tmp_path, **params)
    np.testing.assert_allclose(mine, theirs, atol=2e-4)


def made(seed: int) -> pd.DataFrame:
    """12,000 rows of two columns of 132 and 134 levels, and four of numbers."""
    r = np.random.default_rng(seed)
    codes = [levels_of(r, 12000, n) for n in (132, 134)]
    score = sum(0.5 * r.normal(size=134)[c] for c in codes)
    x = r.normal(size=(12000, 4)).round(4)
    score = score + 0.3 * x[:, 0] + 0.3 * x[:, 1] + 0.4 * np.sin(2 * x[:, 2]) + 0.4 * np.sin(2 * x[:, 3])
    columns = {f"c{j}": [f"L{k:03d}" for k in c] for j, c in enumerate(codes)} | {f"x{j}": x[:, j] for j in range(4)}
    return pd.DataFrame({**columns, "y": (score + r.logistic(size=12000) > 0.8).astype(int)})


def test_a_hundred_and_thirty_levels_are_worth_what_they_are_to_lightgbm(tmp_path: Path) -> None:
    gaps = []
    for seed in range(5):
        frame = made(seed)
        mine, theirs = predicted(frame[:8000], frame[8000:], tmp_path, objective="logistic")
        y = frame["y"][8000:]
        gaps.append(roc_auc_score(y, mine) - roc_auc_score(y, theirs))
    assert abs(np.median(gaps)) < 0.002


def test_a_hundred_and_thirty_levels_are_worth_no_less_than_to_xgboost(tmp_path: Path) -> None:
    """Level by level: XGBoost's rule for rare levels, and LightGBM's cat_smooth and cat_l2 besides."""
    xgboost = pytest.importorskip("xgboost")
    gaps = []
    for seed in range(3):
        frame = made(seed)
        frame[:8000].to_csv(tmp_path / "a.csv", index=False)
        frame[8000:].to_csv(tmp_path / "b.csv", index=False)
        a, b = (DataConfig(data=(str(tmp_path / f"{n}.csv"),), target="y") for n in "ab")
        params = {"objective": "logistic"}
        run.train(RunConfig("boosting", params, a, INLINE, str(tmp_path / "m"), overwrite=True))
        mine = run.evaluate(str(tmp_path / "m"), b, INLINE)["auc"]
        codes = frame.astype(dict.fromkeys(("c0", "c1"), "category")).drop(columns="y")
        peer = xgboost.XGBClassifier(learning_rate=0.1, max_depth=6, enable_categorical=True, n_jobs=1)
        peer.fit(codes[:8000], frame["y"][:8000])
        gaps.append(mine - roc_auc_score(frame["y"][8000:], peer.predict_proba(codes[8000:])[:, 1]))
    assert np.median(gaps) > -0.002


def test_the_taxi_companies_are_worth_what_they_are_to_lightgbm(tmp_path: Path) -> None:
    """REFERENCE.md has 0.9539 with the two columns of texts as codes, and so do we."""
    table = pd.read_parquet(next(shared("chicago-taxi").glob("*.parquet")))
    table = table[table["fare"] > 0].reset_index(drop=True)
    y = (table["tips"] > 0.2 * table["fare"]).astype(int)
    kept = [c for c in table if c != "tips" and (pd.api.types.is_numeric_dtype(table[c]) or table[c].nunique() < 200)]
    frame = table[[c for c in kept if table[c].notna().any()]].assign(y=y)
    test = np.arange(len(frame)) % 5 == 0
    mine, theirs = predicted(frame[~test], frame[test], tmp_path, objective="logistic")
    assert roc_auc_score(y[test], mine) == pytest.approx(roc_auc_score(y[test], theirs), abs=0.002)
