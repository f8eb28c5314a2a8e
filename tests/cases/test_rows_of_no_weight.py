"""Rows of weight 0 are no rows: neither their class nor their nulls count, and a model without them is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrml

RNG = np.random.default_rng(6)
N = 120
X, W = RNG.normal(size=N), np.where(np.arange(N) % 3 == 2, 0.0, RNG.uniform(0.5, 2.0, N))
CLASSES = np.where(W == 0, "never", np.where(X + RNG.normal(size=N) > 0, "up", "down"))


def lines(keep: Any = slice(None), target: Any = CLASSES) -> str:
    rows = zip(X[keep].tolist(), W[keep].tolist(), target[keep].tolist(), strict=True)
    return "x,w,y\n" + "".join(f"{x!r},{w!r},{y}\n" for x, w, y in rows)


@pytest.mark.parametrize("estimator", [mrml.Logistic(), mrml.Boosting(objective="logistic", rounds=3), mrml.Softmax()],
                         ids=repr)  # fmt: skip
def test_a_class_that_has_no_weight_is_none_and_the_model_is_that_of_the_other_rows(
    estimator: Any, tmp_path: Path
) -> None:
    (tmp_path / "all.csv").write_text(lines())
    (tmp_path / "some.csv").write_text(lines(W > 0))
    found, expected = (
        estimator.fit(tmp_path / name, target="y", weight="w", engine="inline") for name in ("all.csv", "some.csv")
    )
    assert found.model.classes == ("down", "up")
    assert found.metrics == expected.metrics and found.facts["n_rows"] == int((W > 0).sum())


def test_a_target_that_is_null_where_nothing_counts_is_no_bad_row(tmp_path: Path) -> None:
    numbers = np.where(W == 0, "", np.char.mod("%.6f", 2 * X))
    (tmp_path / "rows.csv").write_text(lines(target=numbers))
    facts = mrml.Linear().fit(tmp_path / "rows.csv", target="y", weight="w", engine="inline").facts
    assert facts["bad_rows"] == 0 and facts["metrics"]["rmse"] < 1e-5


def test_the_weights_of_a_file_beside_count_as_those_of_a_column(tmp_path: Path) -> None:
    labels = np.where(W == 0, 5, (CLASSES == "up").astype(int))
    (tmp_path / "rows.libsvm").write_text("".join(f"{y} 1:{x!r}\n" for y, x in zip(labels, X.tolist(), strict=True)))
    (tmp_path / "rows.libsvm.weight").write_text("".join(f"{w!r}\n" for w in W.tolist()))
    assert mrml.Logistic().fit(tmp_path / "rows.libsvm", engine="inline").model.classes == ("0", "1")


def test_in_groups_rows_of_no_weight_stay_beside_those_that_are_ranked(tmp_path: Path) -> None:
    rows = "".join(
        f"{x!r},{w!r},{k % 4},{k // 6}\n" for k, (x, w) in enumerate(zip(X.tolist(), W.tolist(), strict=True))
    )
    (tmp_path / "rows.csv").write_text("x,w,y,q\n" + rows)
    model = mrml.Boosting(objective="lambdarank", rounds=2).fit(
        tmp_path / "rows.csv", target="y", weight="w", group="q", engine="inline"
    )
    assert model.facts["n_rows"] == N
