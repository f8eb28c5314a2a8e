"""The algorithm that ARCHITECTURE.md shows: short, and trained like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrml.algorithms.linear.glm import Logistic
from mrml.cli.main import main
from mrml.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests/examples/naive_bayes.py"


def test_the_example_is_under_60_lines_and_architecture_points_to_it() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60
    assert "tests/examples/naive_bayes.py" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_an_algorithm_of_the_users_own_trains_from_the_command_line(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    words = [
        "--data",
        "data-samples/churn",
        "--target",
        "churned",
        "--id",
        "id",
        "--engine",
        engine,
        "--var-smoothing",
        "0.01",
    ]
    assert main(["train", "tests.examples.naive_bayes:GaussianNB", *words, "--output", str(tmp_path / "m")]) == 0
    assert "auc" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "m"), "--data", "data-samples/churn", "--engine", engine]) == 0


@pytest.mark.parametrize("params", [{"l2": "abc"}, {"max_iterations": 2.5}, {"tol": True}, {"solver": 3}])
def test_a_hyperparameter_of_another_type_is_refused_in_python_too(params: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"algorithm, {next(iter(params))}: .* is not "):
        Logistic(**params)  # type: ignore[arg-type]
