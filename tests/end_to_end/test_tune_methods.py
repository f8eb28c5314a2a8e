"""``mrml tune`` by waves: rungs of rows, brackets, TPE, limits; taken up exactly wherever it was ended."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrml.algorithms.linear.glm import Logistic
from mrml.algorithms.search.parting import Parting
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import setup
from mrml.runs import train as run
from tests.algorithms.folds import LABELS, blocks, numbers, write
from tests.end_to_end.killing import ROOT, dies
from tests.end_to_end.test_folds import dated
from tests.end_to_end.test_tune import files, run_file, tuned

TREES = {"name": "boosting", "objective": "logistic", "rounds": 4, "max_depth": 2, "learning_rate": {"log": [0.01, 0.5]}}  # fmt: skip  # noqa: E501


WIDE = 1 << 20


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, float]]:
    """A folder with rows, and the scores of nine drawn candidates that all train to the end on all rows."""
    folder = tmp_path_factory.mktemp("drawn")
    facts, _ = tuned(folder, rows_file(folder, TREES, {"trials": 9, "folds": 2}))
    return folder, {t["trial"]: t["score"] for t in facts["trials"]}


def rows_file(folder: Path, algorithm: dict[str, Any], search: dict[str, Any], name: str = "tune.yaml") -> str:
    """A run file over rows in few blocks."""
    return run_file(folder, algorithm, search, name, window_bytes=WIDE)


def scores(facts: dict[str, Any], state: str) -> dict[int, float]:
    return {t["trial"]: t["score"] for t in facts["trials"] if t["state"] == state}


def test_what_is_left_by_rungs_of_rows_is_judged_as_if_trained_at_once(drawn: tuple[Path, dict[int, float]]) -> None:
    folder, expected = drawn
    search = {"method": "halving", "resource": "rows", "trials": 9, "folds": 2}
    facts, _ = tuned(folder, rows_file(folder, TREES, search, "rows.yaml"), name="by-rows")
    assert facts["waves"] == 3 and [t["rung"] for t in facts["trials"]] == [2] + [1] * 2 + [0] * 6
    assert [t.get("share") for t in facts["trials"]] == [None] + [1 / 3] * 2 + [1 / 9] * 6
    done = scores(facts, "done")
    assert done == {trial: expected[trial] for trial in done} and len(done) == 1


@pytest.mark.parametrize("resource", ["rounds", "rows"])
def test_brackets_of_hyperband_begin_at_different_rungs_and_keep_their_best(
    resource: str, drawn: tuple[Path, dict[int, float]]
) -> None:
    folder, expected = drawn
    search = {"method": "hyperband", "resource": resource, "trials": 6, "folds": 2, "eta": 2}
    facts, _ = tuned(folder, rows_file(folder, TREES, search, f"{resource}.yaml"), name=f"band-{resource}")
    done = scores(facts, "done")
    assert done == {trial: expected[trial] for trial in done}  # by rows they end on all of them
    if resource == "rounds":  # of 9; the rung at 2 would come before any tree
        assert facts["rungs"] == [3, 5] and {t["rounds"] for t in facts["trials"]} == {3, 5, 9}
    rungs = [t["rung"] for t in facts["trials"]]
    assert rungs == sorted(rungs, reverse=True) and len(set(rungs)) > 2 and len(done) > 2


def test_rungs_of_rows_are_judged_by_the_rows_to_validate_with_where_there_are(tmp_path: Path) -> None:
    valid = write(tmp_path / "valid", without=range(0, 500, 2))
    linear = {"name": "logistic", "max_iterations": 4, "l2": {"of": [1e-3, 0.1, 10.0]}}
    facts = {}
    for method in ("halving", "grid"):
        search = {"method": method, "resource": "rows", "trials": 3}
        file = run_file(tmp_path, linear, search, f"{method}.yaml", valid=[valid], window_bytes=WIDE)
        facts[method], _ = tuned(tmp_path, file, name=method)
    told, expected = facts["halving"], {t["params"]["l2"]: t["score"] for t in facts["grid"]["trials"]}
    assert (
        told["folds"] == 0 and told["waves"] == 2 and [t.get("share") for t in told["trials"]] == [None] + [1 / 3] * 2
    )
    assert told["best"]["score"] == expected[told["best"]["params"]["l2"]]
    assert all(t["score"] != expected[t["params"]["l2"]] for t in told["trials"][1:])


def test_early_stopping_goes_by_the_rows_of_the_fold(tmp_path: Path) -> None:
    trees = {**TREES, "rounds": 30, "learning_rate": {"of": [0.5]}, "early_stopping": 2}
    search = {"method": "grid", "folds": 3, "fold_by": "row"}
    facts, output = tuned(tmp_path, rows_file(tmp_path, trees, search))
    params, data = {k: v for k, v in trees.items() if k not in ("name", "learning_rate")}, {**LABELS}
    dataset, _ = setup.open_training(RunConfig("unused", {}, DataConfig(data=(str(tmp_path / "rows"),), weight="w",
                                               window_bytes=WIDE, **LABELS)), Logistic())  # fmt: skip
    rows, best = blocks(dataset), []
    for k in range(3):
        held = numbers(rows, [Parting(3).of(b) == k for b in rows])
        rest = [n for n in range(500) if n not in set(held)]
        both = (write(tmp_path / f"train{k}", without=held),), (write(tmp_path / f"valid{k}", without=rest),)
        config = DataConfig(data=both[0], valid=both[1], weight="w", window_bytes=WIDE, **data)
        alone = run.train(RunConfig("boosting", {**params, "learning_rate": 0.5}, config, EngineConfig(engine="inline"),
                                    str(tmp_path / f"m{k}")))  # fmt: skip
        told = facts["trials"][0]["metrics"]["log_loss"]["folds"][k]
        np.testing.assert_allclose(told, alone["valid"]["log_loss"], rtol=1e-12)
        best.append(int(alone["stop"].rpartition(" ")[2]))
    assert facts["best"]["refit"] == {"early_stopping": 0, "rounds": round(np.mean(best))} and max(best) < 28
    header = json.loads((output / "model" / "run.json").read_text())["config"]["params"]
    assert header["rounds"] == facts["best"]["refit"]["rounds"] and header["early_stopping"] == 0


@pytest.mark.parametrize("sync_every", ["epoch", "1"], ids=["shards", "synchronous"])
def test_networks_too_stop_by_the_rows_of_the_fold_at_their_best_epoch(tmp_path: Path, sync_every: str) -> None:
    net = {"name": "mlp", "hidden": [3], "epochs": 12, "sync_every": sync_every, "early_stopping": 1, "batch_size": 25,
           "learning_rate": {"of": [0.3]}, **({"shards": 2} if sync_every == "epoch" else {})}  # fmt: skip
    facts, output = tuned(tmp_path, run_file(tmp_path, net, {"method": "grid", "folds": 2}, window_bytes=WIDE))
    trial, refit = facts["trials"][0], facts["best"]["refit"]
    assert "the best State is that after epoch" in trial["stop"] and 1 <= refit["epochs"] <= 12
    fixed = {**net, "epochs": 1, "early_stopping": 0}  # what was best is no worse than one epoch
    file = run_file(tmp_path, fixed, {"method": "grid", "folds": 2}, "first.yaml", window_bytes=WIDE)
    first, _ = tuned(tmp_path, file, name="first")
    assert trial["score"] <= first["trials"][0]["score"]
    params = json.loads((output / "model" / "run.json").read_text())["config"]["params"]
    assert params["epochs"] == refit["epochs"] and params["early_stopping"] == 0


def test_a_search_by_folds_of_dates_is_judged_as_training_with_them(tmp_path: Path) -> None:
    rows = dated(tmp_path / "rows")
    data = {"data": str(rows), "target": "label", "time": "day", "weight": None, "exclude": []}
    search = {"method": "grid", "folds": 3, "fold_by": "date", "fold_span": 1}
    file = run_file(tmp_path, {"name": "logistic", "l2": {"of": [0.1]}}, search, data=data, window_bytes=WIDE)
    facts, _ = tuned(tmp_path, file)
    config = DataConfig(data=(str(rows),), target="label", time="day", window_bytes=WIDE)
    alone = run.train(RunConfig("logistic", {"l2": 0.1}, config, EngineConfig(engine="inline"), str(tmp_path / "m"),
                                folds=3, fold_by="date", fold_span=1))  # fmt: skip
    assert facts["best"]["metrics"]["log_loss"]["folds"] == alone["folds"]["metrics"]["log_loss"]["folds"]


def test_a_model_that_is_too_large_is_not_the_best(tmp_path: Path) -> None:
    trees = {**TREES, "rounds": {"of": [2, 12]}, "learning_rate": 0.1}
    free, _ = tuned(tmp_path, rows_file(tmp_path, trees, {"method": "grid", "folds": 2, "max_model_bytes": 1 << 30}))
    assert free["best"]["params"] == {"rounds": 12}
    limit = min(t["bytes"] for t in free["trials"])
    assert limit < free["best"]["bytes"]
    search = {"method": "grid", "folds": 2, "max_model_bytes": limit}
    held, _ = tuned(tmp_path, rows_file(tmp_path, trees, search, "held.yaml"), name="held")
    assert [(t["params"]["rounds"], t["state"]) for t in held["trials"]] == [(2, "done"), (12, "too large")]


def test_a_search_whose_time_is_over_judges_what_has_been_trained_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts, output = tuned(tmp_path, rows_file(tmp_path, TREES, {"trials": 2, "folds": 2, "max_seconds": 1e-6}))
    assert {t["rounds"] for t in facts["trials"]} == {1} and facts["best"]["stop"] == "the search has taken 1e-06 s"
    assert {t["state"] for t in facts["trials"]} == {"out of time"} and facts["out_of_time"]
    told = f"time was up: 2 candidates are judged by what they learned in 1e-06 s; the best is {facts['best']['trial']}"
    assert told in capsys.readouterr().out.splitlines()
    assert (output / "_SUCCESS").exists() and (output / "model" / "model.json").exists()


def test_a_search_by_tpe_killed_at_random_moments_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    """Two moments, and one that surely is in the middle; ``benchmarks/killed_search.py`` takes fifty."""
    pytest.importorskip("optuna")
    linear = {"name": "linear", "l2": {"log": [1e-5, 10]}, "fit_intercept": {"of": [True, False]}}
    data = {"target": "number", "exclude": ["label", "kind", "team"]}
    search = {"method": "tpe", "trials": 16, "wave": 3, "folds": 2}
    file = run_file(tmp_path, linear, search, data=data, window_bytes=WIDE)
    facts, whole = tuned(tmp_path, file, name="whole")
    assert facts["waves"] == 3 and sorted(t["trial"] for t in facts["trials"]) == list(range(16))
    output, moments = tmp_path / "killed", random.Random(3)
    words = ["tune", file, "--output", str(output)]
    assert dies(9, *words)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "mrml", "tune", file, "--output", str(output), "-q"], cwd=ROOT
        )
        time.sleep(moments.uniform(0.5, 2.0))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    if not (output / "_SUCCESS").exists():
        tuned(tmp_path, file, name="killed")
    assert (output / "trials.parquet").read_bytes() == (whole / "trials.parquet").read_bytes()
    assert files(output / "model") == files(whole / "model")
