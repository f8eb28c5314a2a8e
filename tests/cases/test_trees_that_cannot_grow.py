"""A hyperparameter that forbids every split stops the run after the first tree and is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run


def trained(folder: Path, n: int, weight: float, **params: Any) -> dict[str, Any]:
    """One column that tells the target apart, rows of equal weight."""
    lines = "".join(f"{i},{weight},{int(i >= n // 2)}\n" for i in range(n))
    (folder / "rows.csv").write_text("x,w,y\n" + lines)
    data = DataConfig(data=(str(folder / "rows.csv"),), target="y", weight="w")
    algorithm = RunConfig("boosting", {"objective": "logistic", "rounds": 20, **params}, data,
                          EngineConfig("inline"), str(folder / "m"), overwrite=True)  # fmt: skip
    return run.train(algorithm)


@pytest.mark.parametrize(("n", "weight", "params", "named"), [
    (1000, 0.001, {}, "min_child_weight 1"),
    (30, 1.0, {"growth": "leafwise"}, "min_data_in_leaf 20"),
    (300, 1.0, {"min_data_in_leaf": 200}, "min_data_in_leaf 200"),
])  # fmt: skip
def test_a_run_whose_trees_cannot_split_stops_after_the_first_and_says_why(
    n: int, weight: float, params: dict[str, Any], named: str, tmp_path: Path
) -> None:
    facts = trained(tmp_path, n, weight, **params)
    assert (
        not facts["converged"] and facts["stop"].startswith("stopped after the first tree") and named in facts["stop"]
    )
    assert len(run.load_model(str(tmp_path / "m")).inner.trees.sizes) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("n", "weight", "params"), [
    (1000, 0.001, {"min_child_weight": 0.0}),
    (30, 1.0, {"growth": "leafwise", "min_data_in_leaf": 5}),
    (1000, 1.0, {}),
])  # fmt: skip
def test_with_the_named_parameter_lowered_the_trees_grow(
    n: int, weight: float, params: dict[str, Any], tmp_path: Path
) -> None:
    facts = trained(tmp_path, n, weight, **params)
    assert facts["converged"] and facts["metrics"]["auc"] > 0.99
    assert (np.asarray(run.load_model(str(tmp_path / "m")).inner.trees.sizes) > 1).all()  # type: ignore[attr-defined]
