"""Targets whose squares are no numbers are refused by row or column, and indices beyond memory by line, before any is
taken."""

from __future__ import annotations

from pathlib import Path

import pytest

import mrml
from mrml.cli.main import main

ROWS = [f"{k},{k + 1}" for k in range(50)]


def trained(path: Path, *words: str) -> int:
    engine = ["--engine", "inline", "--output", str(path.parent / "m")]
    return main(["train", *words, "--data", str(path), *engine])


@pytest.mark.parametrize("y", ["1e300", "1e151"])
@pytest.mark.parametrize("objective", ["poisson", "gamma", "tweedie", "squared", "huber", "mlp"])
def test_what_looks_at_the_target_first_refuses_one_target_without_a_square(
    objective: str, y: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *ROWS, f"3,{y}", ""]))
    words = ["mlp"] if objective == "mlp" else ["boosting", "--objective", objective]
    assert trained(tmp_path / "a.csv", *words, "--target", "y") == 3
    said = capsys.readouterr().err
    assert f"target: holds {float(y):g}, the square of which is beyond float64; " in said


@pytest.mark.parametrize(
    ("name", "y", "finding"),
    [
        ("poisson", "1e300", "its target is 1e+300"),
        ("poisson", "1e16", "its target is 1e+16, too large for a count"),
        ("linear", "1e300", "the square of which is beyond float64"),
        ("linear", "-1e200", "the square of which is beyond float64"),
    ],
)
def test_models_of_rows_name_the_row(
    name: str, y: str, finding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *ROWS, f"3,{y}", ""]))
    assert trained(tmp_path / "a.csv", name, "--target", "y") == 3
    said = capsys.readouterr().err
    assert "a.csv, block 0, row 50" in said and finding in said


def test_large_targets_that_have_squares_are_learned(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{k},{k}e100\n" for k in range(50)))
    found = mrml.Linear().fit(tmp_path / "a.csv", target="y", engine="inline")
    assert found.metrics["rmse"] < 1e90


def test_predictions_far_from_a_target_are_told_where_their_metrics_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *ROWS, ""]))
    (tmp_path / "b.csv").write_text("\n".join(["x,y", *ROWS, "3,1e300", ""]))
    model = mrml.Linear().fit(tmp_path / "a.csv", target="y", engine="inline")
    metrics = model.evaluate(tmp_path / "b.csv")
    assert metrics["rmse"] is None and "out of range" in metrics["reasons"]["rmse"]


@pytest.mark.parametrize("index", ["2147483646", "2147483647", "1e9", "99999999999999999999"])
def test_an_index_beyond_memory_is_refused_by_its_line(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.libsvm").write_text(f"1 1:1\n0 {index}:1\n")
    for command in ("schema", "train"):
        words = ["schema", str(tmp_path / "a.libsvm")]
        code = main(words) if command == "schema" else trained(tmp_path / "a.libsvm", "logistic")
        said = capsys.readouterr().err
        assert code == 3 or command == "schema", said
        assert code != 3 or "a.libsvm, byte 6: " in said
