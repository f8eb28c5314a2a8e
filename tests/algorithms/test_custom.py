"""A loss of the user's own makes the trees that the same loss of ours makes, and its faults are told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrml.errors import ConfigError
from mrml.runs import train as run
from tests.algorithms.test_boosting import numbers, scored, trained

DATA: dict[str, Any] = {"target": "y", "exclude": ("label", "o")}


def trees_of(model: str) -> Any:
    return run.load_model(model).inner.trees  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["squared", "weighted", "tiny"])
def test_a_loss_of_ones_own_grows_the_trees_of_ours(tmp_path: Path, name: str, caplog: Any) -> None:
    """Weights are taken by the function or put to its results; a loss far below 1 loses nothing to rounding."""
    rows = str(numbers(tmp_path))
    plain = {"rounds": 4, "max_depth": 3, "base_score": 0.0, "l2": 0.0, "min_child_weight": 0.0}
    ours, _ = trained(tmp_path, plain, data=(rows,), weight="w", **DATA)
    expected = trees_of(ours)
    with caplog.at_level(logging.INFO, "mrml"):
        custom = {**plain, "objective": f"tests.algorithms.my_losses:{name}", "metric": "rmse"}
        model, facts = trained(tmp_path, custom, data=(rows,), weight="w", window_bytes=4096, **DATA)
    found = trees_of(model)
    np.testing.assert_array_equal(found.feature, expected.feature)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-4, atol=1e-6)
    assert "the round is repeated with room for twice that" in caplog.text
    assert facts["rounds"] > 4 * 3 + 1  # one for the transforms, and one that was repeated
    history = run.load_model(model).inner.header()["history"]
    assert history[-1][0] < history[0][0]
    assert np.isfinite(scored(model, data=(rows,))["rmse"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one_number", r"returned a gradient of shape \(\) for rows of shape \(800,\)"),
        ("short", r"returned a hessian of shape \(3,\)"),
        ("nan", "returned a gradient of nan for row"),
        ("negative", "returned a hessian of -1"),
        ("nothing", "returned NoneType"),
        ("no_function", "is not a function"),
        ("not_there", "cannot be imported: AttributeError"),
    ],
)
def test_what_a_loss_of_ones_own_does_wrong_is_told_with_its_name(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"objective tests.algorithms.my_losses:{name}: {said}"):
        trained(tmp_path, {"objective": f"tests.algorithms.my_losses:{name}", "rounds": 1},
                data=(str(numbers(tmp_path)),), **DATA)  # fmt: skip


def test_a_model_predicts_without_the_function_it_was_trained_with(tmp_path: Path, monkeypatch: Any) -> None:
    rows = str(numbers(tmp_path))
    (tmp_path / "gone.py").write_text("def loss(y, raw):\n    return raw - y, 0 * raw + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    model, _ = trained(tmp_path, {"objective": "gone:loss", "rounds": 1}, data=(rows,), **DATA)
    (tmp_path / "gone.py").unlink()
    monkeypatch.delitem(__import__("sys").modules, "gone")
    assert scored(model, data=(rows,))["n_rows"] == 800
