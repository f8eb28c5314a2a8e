"""``mrml predict``, ``mrml evaluate``, ``mrml schema``, ``mrml inspect``: options in, results out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml.config.sections import DataConfig, EngineConfig
from mrml.schema import Column, Schema

from .conftest import Below, Done

Cli = Callable[..., Done]


def test_predict_hands_down_what_was_said(mrml: Cli, below: Below) -> None:
    below.answers["predict"] = {"output": "o", "n_rows": 1234567, "bad_rows": 0, "parts": 2, "seconds": 0.5}
    done = mrml("predict", "m", "--data", "d,e", "--output", "o", "--format", "csv", "--input-format", "tsv",
                "--id", "i", "--engine", "inline", "--overwrite")  # fmt: skip
    assert done.out == "o: 1,234,567 rows, 2 part files in 0.50 s\n"
    (call,) = below.calls
    data = DataConfig(data=("d", "e"), format="tsv", id="i")
    assert call[:-1] == ("predict", "m", data, EngineConfig(engine="inline"), "o", "csv", True)


def test_predictions_are_parquet_and_replace_nothing_by_default(mrml: Cli, below: Below) -> None:
    assert mrml("predict", "m", "--data", "d", "--output", "o").code == 0
    assert below.calls[0][5:7] == ("parquet", False)


def test_predict_tells_one_json_object(mrml: Cli, below: Below) -> None:
    below.answers["predict"] = {"n_rows": 3}
    assert json.loads(mrml("predict", "m", "--data", "d", "--output", "o", "--json").out) == {"n_rows": 3}


def test_evaluate_prints_the_metrics_there_are(mrml: Cli, below: Below) -> None:
    below.answers["evaluate"] = {"auc": 0.123456789, "rmse": None, "n_rows": 5}
    assert mrml("evaluate", "m", "--data", "d").out == "  auc     0.123457\n  n_rows         5\n"
    assert json.loads(mrml("evaluate", "m", "--data", "d", "--json").out) == below.answers["evaluate"]


def test_the_environment_names_the_data_and_the_engine(
    mrml: Cli, below: Below, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRML_DATA", "d")
    monkeypatch.setenv("MRML_WORKERS", "3")
    assert mrml("evaluate", "m").code == 0
    assert below.calls[0][2:4] == (DataConfig(data=("d",)), EngineConfig(workers=3))


@pytest.mark.parametrize("command", [("predict", "m", "--output", "o"), ("evaluate", "m")])
def test_a_variable_that_is_mistyped_is_refused_and_one_of_training_is_not(
    mrml: Cli, below: Below, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for name, value in {"MRML_TARGET": "y", "MRML_L2": "0.1", "MRML_K": "3"}.items():
        monkeypatch.setenv(name, value)
    assert mrml(*command, "--data", "d").code == 0
    monkeypatch.setenv("MRML_WORKRES", "3")
    done = mrml(*command, "--data", "d")
    assert done.code == 2 and len(below.calls) == 1
    assert "environment: unknown variable 'MRML_WORKRES'" in done.err and "MRML_WORKERS" in done.err


@pytest.mark.parametrize("option", ["--target", "--features", "--window-bytes", "--schema"])
def test_what_the_model_knows_is_no_option_of_scoring(mrml: Cli, option: str) -> None:
    assert f"unknown option {option}" in mrml("predict", "m", "--data", "d", "--output", "o", option, "x").err


@pytest.fixture
def schema(below: Below) -> Schema:
    found = Schema((Column("a"), Column("y", role="target")))
    below.answers["schema"] = (found, "columns:\n- name: a\n", ())
    return found


def test_schema_prints_yaml_or_json(mrml: Cli, below: Below, schema: Schema) -> None:
    assert mrml("schema", "d", "e", "--target", "y").out == "columns:\n- name: a\n"
    assert below.calls[0] == ("schema", DataConfig(data=("d", "e"), target="y"))
    assert json.loads(mrml("schema", "d", "--json").out) == json.loads(json.dumps(schema.to_json()))


def test_schema_writes_a_file_and_never_over_one_that_was_edited(
    mrml: Cli, below: Below, schema: Schema, tmp_path: Path
) -> None:
    path = tmp_path / "schema.yaml"
    done = mrml("schema", "d", "--output", str(path))
    assert (done.code, done.out, path.read_text()) == (0, "", "columns:\n- name: a\n")
    assert f"schema written to {path}" in done.err
    path.write_text("edited")
    again = mrml("schema", "d", "--output", str(path))
    assert (again.code, path.read_text()) == (4, "edited")
    assert again.err == f"error: {path}: exists already; edit it, or give --overwrite\n"
    assert mrml("schema", "d", "--output", str(path), "--overwrite").code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["schema.yaml"] and path.read_text() != "edited"


def test_inspect_tells_what_the_header_says(mrml: Cli, below: Below) -> None:
    facts = {
        "algorithm": "logistic",
        "classes": ["no", "yes"],
        "hyperparameters": {"l2": 1e-4, "solver": "auto"},
        "coefficients": {"age": [0.5], "plan=free": [-1.25]},
        "features": [{"name": "age", "kind": "numeric"}, {"name": "plan", "kind": "categorical"}],
        "note": [],
    }
    below.answers["inspect"] = facts
    lines = mrml("inspect", "m").out.splitlines()
    for line in ("algorithm  logistic", "  l2      0.0001", "  plan=free  -1.25", "  plan  categorical", "classes"):
        assert line in lines
    assert "note" not in lines
    assert json.loads(mrml("inspect", "m", "--json").out) == facts
