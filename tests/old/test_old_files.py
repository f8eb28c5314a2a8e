"""Models and runs from before classes had registered names: they load, predict, leave and go on as they did."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.model import describe, load
from tests.old.make import HERE, MODELS, RUNS, Spec, options


def named(header: Any, without: tuple[str, ...] = ("class", "format")) -> Any:
    """A header without what names classes."""
    if isinstance(header, dict):
        return {k: named(v, without) for k, v in header.items() if k not in without}
    return [named(v, without) for v in header] if isinstance(header, list) else header


def same_builds(run: Path) -> bool:
    """Whether this NumPy is the one that began the run; a run of another one is refused, so it is told it is."""
    identity = json.loads((run / "identity.json").read_text())
    builds = identity["builds"]
    same = builds["numpy"] == np.__version__
    identity["builds"] = {**builds, "numpy": np.__version__}
    (run / "identity.json").write_text(json.dumps(identity))
    return bool(same)


def taken_up(name: str, tmp_path: Path) -> tuple[list[str], Path, bool]:
    """The command of a run that was stopped, where it lies now, and whether its builds are those here."""
    spec, _ = RUNS[name]
    shutil.copy(HERE / "rows.csv", tmp_path)
    output = tmp_path / "m"
    output.mkdir()
    shutil.copytree(HERE / "runs" / name / "_run", output / "_run")
    return ["train", *options(spec, tmp_path), "--output", str(output)], output, same_builds(output / "_run")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_format_1_predicts_what_it_did(name: str, tmp_path: Path) -> None:
    spec: Spec = MODELS[name]
    words = options(spec, HERE)
    offset = ["--offset", "w"] if "--offset" in words else []
    argv = ["predict", str(HERE / "models" / name), "--data", words[words.index("--data") + 1], "--engine", "inline"]
    assert main([*argv, "--output", str(tmp_path / "p"), "--format", "csv", "-q", *offset]) == 0
    found = b"".join(p.read_bytes() for p in sorted((tmp_path / "p").glob("part-*")))
    assert found == (HERE / "models" / name / "predictions.csv").read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_format_1_is_written_with_registered_names(name: str, tmp_path: Path) -> None:
    old = HERE / "models" / name
    before = json.loads((old / "model.json").read_text())
    load(old).save(tmp_path)
    after = json.loads((tmp_path / "model.json").read_text())
    assert (before["format"], after["format"]) == (1, 2)
    assert before["class"].startswith("mrml.algorithms.") and after["class"] == "mrml.pipeline-model/1"
    assert after["model"]["class"].startswith("mrml.") and after["model"]["class"].endswith("/1")
    assert named(after) == named(before)
    assert (tmp_path / "model.npz").read_bytes() == (old / "model.npz").read_bytes()


@pytest.mark.parametrize("name", ["boosting-logistic", "forest-numbers"])
def test_trees_of_format_1_leave_for_other_libraries(name: str, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    facts = mrml.load(HERE / "models" / name).export(tmp_path / "m.json", "xgboost", probe=HERE / "rows.csv")
    assert facts["checked"]["n_rows"] > 0


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_stopped_goes_on_to_the_model_it_would_have_been(name: str, tmp_path: Path) -> None:
    command, output, same = taken_up(name, tmp_path)
    assert main([*command, "-q"]) == 0
    whole = json.loads((HERE / "runs" / name / "whole.json").read_text())
    assert json.loads((output / "run.json").read_text())["rounds"] == whole["rounds"]
    if same:
        assert hashlib.sha256((output / "model.npz").read_bytes()).hexdigest() == whole["arrays"]
        found, expected = named(describe(load(output))), named(whole["header"])
        if name == "forest":  # it once told of hyperparameters of boosting that it does not have
            told = expected["model"]["params"]
            expected["model"]["params"] = {k: told[k] for k in found["model"]["params"]}
        if name == "boosting":  # level by level nobody asks for it
            expected["model"]["params"].setdefault("min_data_per_group", 100)
        if "standardise" in found["model"].get("params", {}):  # SGD always did, and had no hyperparameter for it
            expected["model"]["params"].setdefault("standardise", True)
        assert found == expected


def test_the_identity_of_a_run_that_goes_on_has_registered_names(tmp_path: Path) -> None:
    command, output, _ = taken_up("glm", tmp_path)
    assert main([*command, "-q", "--resume"]) == 0
    assert json.loads((output / "_run" / "identity.json").read_text())["algorithm"]["class"] == "mrml.logistic/1"


def test_an_old_run_of_something_else_is_refused_as_ever(tmp_path: Path) -> None:
    command, _, _ = taken_up("glm", tmp_path)
    assert main([*["softmax" if word == "logistic" else word for word in command], "-q", "--resume"]) == 2
