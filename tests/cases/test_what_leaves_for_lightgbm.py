"""What LightGBM takes for 0 or for missing: its files score the receiver's own rows as the model does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mrml

lightgbm = pytest.importorskip("lightgbm")


@pytest.mark.parametrize("low", [-400, -3, 0])
def test_a_threshold_of_zero_leaves(low: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(low, 400, 2000)
    x = np.where(rng.random(2000) < 0.2, 0, x)
    y = 10.0 * (x < 0) + 3.0 * (x > 0) + rng.normal(size=2000)
    model = mrml.Boosting(rounds=5).fit(x[:, None].astype(np.float64), y, engine="inline")
    facts = model.export(tmp_path / "m.txt", "lightgbm")
    assert facts["checked"]["n_rows"] > 0
    booster = lightgbm.Booster(model_file=str(tmp_path / "m.txt"))
    ours = model.predict(x[:, None].astype(np.float64))["prediction"].to_numpy()
    for rows in (x[:, None].astype(np.float64), x[:, None].astype(np.float32)):
        assert np.allclose(booster.predict(rows), ours, atol=1e-5)


@pytest.mark.parametrize("absent", ["missing", "zero"])
@pytest.mark.parametrize("growth", ["depthwise", "leafwise"])
def test_a_model_of_libsvm_rows_scores_the_same_file_in_lightgbm(absent: str, growth: str, tmp_path: Path) -> None:
    """As a file that it reads itself, as a sparse matrix, and as a dense one of zeros."""
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(2)
    x = sparse.random(1500, 12, 0.4, "csr", random_state=3, data_rvs=lambda n: rng.normal(0.3, 1.0, n).round(3) + 1e-4)  # type: ignore[attr-defined]
    y = ((x[:, 0].toarray()[:, 0] > 0.4) | (x[:, 1].toarray()[:, 0] == 0)).astype(int)
    model = mrml.Boosting(objective="logistic", rounds=20, growth=growth).fit(x, y, absent=absent, engine="inline")
    model.export(tmp_path / "m.txt", "lightgbm")
    booster = lightgbm.Booster(model_file=str(tmp_path / "m.txt"))
    lines = []
    for row, label in zip(x, y.tolist(), strict=True):
        entries = zip(row.indices.tolist(), row.data.tolist(), strict=True)
        lines.append(" ".join([str(label), *(f"{j}:{v!r}" for j, v in entries)]))
    (tmp_path / "rows.libsvm").write_text("\n".join(lines) + "\n")
    ours = model.predict(x)["probability_1"].to_numpy()
    for rows in (x, x.toarray(), str(tmp_path / "rows.libsvm")):
        assert np.allclose(booster.predict(rows), ours, atol=1e-6), type(rows)
    assert model.metrics["auc"] > 0.9
