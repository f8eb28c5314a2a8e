"""Standard errors of coefficients: statsmodels' without a penalty, a sandwich of formulas with one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

import mrml
from mrml.config.sections import DataConfig, EngineConfig
from mrml.runs.batch.compare import standard_errors_of

RNG = np.random.default_rng(6)
X = RNG.normal(size=(500, 3)) * [1, 20, 0.1] + [0, 100, 1]
RAW = X @ [0.7, 0.03, 3.0] - 6 + RNG.normal(size=500)
W = RNG.integers(1, 4, 500)
FAMILIES: dict[str, tuple[Any, Any]] = {
    "Linear": (RAW, sm.families.Gaussian()),
    "Logistic": ((RAW > 0).astype(float), sm.families.Binomial()),
    "Poisson": (RNG.poisson(np.exp(0.3 * RAW)).astype(float), sm.families.Poisson()),
}


def errors(name: str, tmp_path: Any, weighted: bool, engine: str = "inline", **more: Any) -> list[dict[str, Any]]:
    columns = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": FAMILIES[name][0], "w": W.astype(float)}
    path = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), path, row_group_size=128)
    given = {"target": "y", **({"weight": "w"} if weighted else {"exclude": "w"})}
    getattr(mrml, name)(**{"l2": 0.0, **more}).fit(
        path, output=tmp_path / "m", engine="inline", overwrite=True, **given
    )
    data = DataConfig(data=(str(path),), weight="w" if weighted else None)
    found: list[dict[str, Any]] = standard_errors_of(str(tmp_path / "m"), data, EngineConfig(engine=engine, workers=2))
    return found


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_without_a_penalty_they_are_statsmodels(name: str, weighted: bool, tmp_path: Any) -> None:
    y, family = FAMILIES[name]
    fitted = sm.GLM(y, sm.add_constant(X), family, freq_weights=W if weighted else None).fit(tol=1e-12)
    found = errors(name, tmp_path, weighted)
    assert [row["name"] for row in found] == ["a", "b", "c", "intercept"]
    order = [1, 2, 3, 0]
    for key, oracle in (("coefficient", fitted.params), ("standard_error", fitted.bse), ("z", fitted.tvalues)):
        assert [row[key] for row in found] == pytest.approx(oracle[order].tolist(), rel=2e-5), key
    assert [row["p"] for row in found] == pytest.approx(fitted.pvalues[order].tolist(), rel=1e-3, abs=1e-12)


def test_without_an_intercept_too(tmp_path: Any) -> None:
    fitted = sm.GLM(FAMILIES["Logistic"][0], X, sm.families.Binomial()).fit(tol=1e-12)
    found = errors("Logistic", tmp_path, False, fit_intercept=False, standardise=False)
    assert [row["standard_error"] for row in found] == pytest.approx(fitted.bse.tolist(), rel=1e-4)


def test_a_penalty_makes_them_smaller_as_its_formula_says(tmp_path: Any) -> None:
    l2, y = 0.3, FAMILIES["Linear"][0]
    found = errors("Linear", tmp_path, False, l2=l2)
    z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(500)])
    inverse = np.linalg.inv(z.T @ z + np.diag([l2 * 500] * 3 + [0.0]))
    theta = inverse @ z.T @ y
    phi = ((y - z @ theta) ** 2).sum() / (500 - 4)
    expected = np.sqrt(phi * np.diag(inverse @ z.T @ z @ inverse))[:3] / X.std(axis=0)
    assert [row["standard_error"] for row in found[:3]] == pytest.approx(expected.tolist(), rel=1e-8)


def test_they_are_the_same_by_every_engine(tmp_path: Any) -> None:
    assert errors("Logistic", tmp_path, True) == errors("Logistic", tmp_path, True, engine="local")
