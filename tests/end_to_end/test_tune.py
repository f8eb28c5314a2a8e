"""``mrml tune``: what a search finds is what trainings one by one would find, killed or not, on every engine."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run
from tests.algorithms.folds import LABELS, NUMBERS, WINDOW, write
from tests.end_to_end.killing import dies

LOGISTIC = {
    "name": "logistic",
    "max_iterations": 6,
    "l2": {"log": [1e-5, 10]},
    "class_weight": {"of": ["none", "balanced"]},
}
BOOSTING = {"name": "boosting", "objective": "logistic", "rounds": 6, "max_depth": {"int": [1, 3]},
            "learning_rate": {"log": [0.01, 0.5]}, "growth": {"of": ["depthwise", "leafwise"]}}  # fmt: skip


def run_file(folder: Path, algorithm: Mapping[str, Any], search: Mapping[str, Any], name: str = "tune.yaml",
             data: Mapping[str, Any] = LABELS, **more: Any) -> str:  # fmt: skip
    rows = str(folder / "rows")
    if not Path(rows).exists():
        write(Path(rows))
    told = {"data": rows, "weight": "w", "window_bytes": WINDOW, **{k: _listed(v) for k, v in {**data, **more}.items()}}
    tree = {"algorithm": dict(algorithm), "data": told, "search": dict(search), "engine": {"engine": "inline"}}
    (folder / name).write_text(yaml.safe_dump(tree, sort_keys=False))
    return str(folder / name)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def tuned(folder: Path, file: str, *words: str, name: str = "tuned") -> tuple[dict[str, Any], Path]:
    """What ``run.json`` tells of a search, and its directory."""
    output = folder / name
    assert main(["tune", file, "--output", str(output), "-q", *words]) == 0
    return json.loads((output / "run.json").read_text()), output


def files(folder: Path) -> bytes:
    return b"".join((folder / name).read_bytes() for name in ("model.json", "model.npz"))


def test_every_candidate_scores_what_training_it_alone_with_folds_says(tmp_path: Path) -> None:
    facts, output = tuned(tmp_path, run_file(tmp_path, LOGISTIC, {"trials": 5, "folds": 3}))
    for trial in facts["trials"]:
        data = DataConfig(data=(str(tmp_path / "rows"),), weight="w", window_bytes=WINDOW, **LABELS)
        params = {"max_iterations": 6, **trial["params"]}
        alone = run.train(RunConfig("logistic", params, data, EngineConfig(engine="inline"),
                                    str(tmp_path / f"alone{trial['trial']}"), folds=3))  # fmt: skip
        for name, told in alone["folds"]["metrics"].items():
            assert trial["metrics"][name]["folds"] == told["folds"], name
            assert (trial["metrics"][name]["mean"], trial["metrics"][name]["std"]) == (told["mean"], told["std"])
    scores = [trial["metrics"]["log_loss"]["mean"] for trial in facts["trials"]]
    assert scores == sorted(scores) == [trial["score"] for trial in facts["trials"]] and facts["metric"] == "log_loss"
    assert files(output / "model") == files(tmp_path / f"alone{facts['best']['trial']}")


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_that_lie_in_one_fold_each_are_judged_as_a_training_with_folds_judges_them(
    tmp_path: Path, seed: int
) -> None:
    labels = ["rare", *("uv"[i % 2] for i in range(58)), "scarce"]
    rows = tmp_path / "rows.csv"
    rows.write_text("x,y\n" + "".join(f"{i % 7},{y}\n" for i, y in enumerate(labels)), encoding="utf-8")
    tree = {"algorithm": {"name": "softmax", "l2": {"of": [0.1]}}, "data": {"data": str(rows), "target": "y"},
            "search": {"method": "grid", "folds": 2, "fold_by": "row", "fold_seed": seed}}  # fmt: skip
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    facts, _ = tuned(tmp_path, str(tmp_path / "tune.yaml"))
    words = ["--l2=0.1", f"--data={rows}", "--target=y", "--folds=2", "--fold-by=row", f"--fold-seed={seed}", "-q"]
    assert main(["train", "softmax", *words, f"--output={tmp_path / 'alone'}"]) == 0
    alone = json.loads((tmp_path / "alone" / "run.json").read_text())["folds"]["metrics"]
    for name in ("log_loss", "accuracy"):
        assert facts["trials"][0]["metrics"][name]["folds"] == alone[name]["folds"]


def test_trials_parquet_has_a_row_a_candidate_the_best_first(tmp_path: Path) -> None:
    facts, output = tuned(tmp_path, run_file(tmp_path, LOGISTIC, {"trials": 4, "folds": 2, "metric": "auc"}))
    table = pq.read_table(output / "trials.parquet").to_pylist()
    assert [row["rank"] for row in table] == [1, 2, 3, 4]
    assert [row["trial"] for row in table] == [trial["trial"] for trial in facts["trials"]]
    assert [row["score"] for row in table] == sorted((row["auc"] for row in table), reverse=True)
    for row, trial in zip(table, facts["trials"], strict=True):
        assert row["param_l2"] == trial["params"]["l2"] and row["param_class_weight"] == trial["params"]["class_weight"]
        assert row["auc"] == np.mean(row["auc_folds"]) and row["state"] == "done"


def test_a_grid_is_every_combination_and_penalties_share_rounds(tmp_path: Path) -> None:
    linear = {"name": "linear", "l2": {"of": [0.0, 0.1, 1.0]}, "fit_intercept": {"of": [True, False]}}
    facts, _ = tuned(tmp_path, run_file(tmp_path, linear, {"method": "grid", "folds": 4}, data=NUMBERS))
    found = {(t["params"]["l2"], t["params"]["fit_intercept"]) for t in facts["trials"]}
    assert found == set(itertools.product([0.0, 0.1, 1.0], [True, False])) and facts["metric"] == "rmse"
    assert facts["rounds"] <= 6  # of 24 members: the transforms, two of least squares, the judging


def test_candidates_are_judged_by_the_rows_to_validate_with_where_there_are(tmp_path: Path) -> None:
    valid = write(tmp_path / "valid", without=range(0, 500, 2))
    file = run_file(tmp_path, BOOSTING, {"trials": 3, "method": "random"}, valid=[valid])
    facts, output = tuned(tmp_path, file)
    assert facts["folds"] == 0 and facts["metric"] == "log_loss"
    data = DataConfig(data=(str(tmp_path / "rows"),), valid=(valid,), weight="w", window_bytes=WINDOW, **LABELS)
    for trial in facts["trials"]:
        params = {"objective": "logistic", "rounds": 6, **trial["params"]}
        alone = run.train(RunConfig("boosting", params, data, EngineConfig(engine="inline"),
                                    str(tmp_path / f"m{trial['trial']}")))  # fmt: skip
        assert trial["score"] == alone["valid"]["log_loss"] and trial["std"] is None
    assert files(output / "model") == files(tmp_path / f"m{facts['best']['trial']}")
    assert facts["model"]["valid"]["log_loss"] == facts["best"]["score"]


def test_halving_lets_the_worse_leave_and_the_best_train_to_the_end(tmp_path: Path) -> None:
    boosting = {**BOOSTING, "rounds": 12, "growth": "depthwise", "max_depth": 2}
    search = {"method": "halving", "trials": 9, "folds": 2, "eta": 3}
    facts, _ = tuned(tmp_path, run_file(tmp_path, boosting, search))
    trials = facts["trials"]
    assert facts["rungs"] == [3, 9]  # of 25 rounds: a ninth and a third
    assert [t["rung"] for t in trials] == [2] + [1] * 2 + [0] * 6
    assert [t["state"] for t in trials] == ["done"] + ["left"] * 8
    assert [t["rounds"] for t in trials] == [25, 9, 9] + [3] * 6
    for rung in (0, 1):  # those that left one rung were no better there than those that went on
        left = [t["score"] for t in trials if t["rung"] == rung]
        assert left == sorted(left)
    assert facts["rounds"] < 25 + 3 * 2 + 4


def test_a_candidate_that_fails_is_told_of_and_the_others_go_on(tmp_path: Path) -> None:
    boosting = {"name": "boosting", "objective": "logistic", "rounds": 2, "metric": {"of": ["loss", "rmse"]}}
    facts, output = tuned(tmp_path, run_file(tmp_path, boosting, {"method": "grid", "folds": 2}))
    assert [t["state"] for t in facts["trials"]] == ["done", "failed"]
    assert facts["trials"][1]["stop"].startswith("algorithm, metric: rmse is of numbers, and logistic is not")
    assert facts["trials"][1]["score"] is None and facts["best"]["params"] == {"metric": "loss"}
    assert pq.read_table(output / "trials.parquet").column("score").to_pylist()[1] is None


@pytest.mark.parametrize("engine", [("--engine", "local", "--workers", "2"), ("--engine", "streaming", "-r", "inline"),
                                    ("--engine", "resident", "--workers", "2")], ids=lambda e: e[1])  # fmt: skip
def test_every_engine_finds_the_same(engine: tuple[str, ...], tmp_path: Path) -> None:
    boosting = {**BOOSTING, "rounds": 2, "max_depth": {"int": [1, 2]}}
    file = run_file(tmp_path, boosting, {"method": "halving", "trials": 4, "folds": 2, "eta": 2})
    _, expected = tuned(tmp_path, file, name="inline")
    _, found = tuned(tmp_path, file, *engine, name="other")
    assert (found / "trials.parquet").read_bytes() == (expected / "trials.parquet").read_bytes()
    assert files(found / "model") == files(expected / "model")


def test_a_search_killed_anywhere_and_submitted_again_finds_the_same(tmp_path: Path) -> None:
    boosting = {**BOOSTING, "rounds": 2, "max_depth": {"int": [1, 2]}}
    file = run_file(tmp_path, boosting, {"method": "halving", "trials": 4, "folds": 2, "eta": 2})
    whole = tmp_path / "whole"
    assert not dies(10_000, "tune", file, "--output", str(whole))
    ends, output = 0, tmp_path / "killed"
    while dies(3, "tune", file, "--output", str(output)):  # again and again, three rounds further each time
        ends += 1
        assert ends < 40
    assert ends >= 4
    assert (output / "trials.parquet").read_bytes() == (whole / "trials.parquet").read_bytes()
    assert files(output / "model") == files(whole / "model") and (output / "_SUCCESS").exists()
    told = [json.loads((p / "run.json").read_text())["trials"] for p in (output, whole)]
    assert told[0] == told[1]


def test_another_search_in_its_place_is_refused_and_overwrite_clears_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_file(tmp_path, LOGISTIC, {"trials": 2, "folds": 2})
    _, output = tuned(tmp_path, file)
    before = files(output / "model")
    assert main(["tune", file, "--output", str(output)]) == 4
    assert tuned(tmp_path, file, "--resume")[0]["stop"].startswith("2 candidates are judged; the best is ")
    assert files(output / "model") == before
    (output / "_SUCCESS").unlink()
    assert main(["tune", file, "--output", str(output), "--trials", "3"]) == 4
    assert "contains an unfinished run of something else" in capsys.readouterr().err
    facts, _ = tuned(tmp_path, file, "--trials", "3", "--overwrite")
    assert len(facts["trials"]) == 3


def test_a_dry_run_tells_candidates_and_rounds_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_file(tmp_path, LOGISTIC, {"trials": 5, "folds": 3})
    assert main(["tune", file, "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["candidates"], facts["folds"], facts["members"]) == (5, 3, 15)
    assert facts["rounds_expected"] == 7 + 2 and facts["rounds_one_after_the_other"] == 15 * (7 + 2)
    assert facts["seconds_expected"] > 0 and facts["seconds_one_after_the_other"] > 0
    assert {p.name for p in tmp_path.iterdir()} == {"rows", "tune.yaml"}


def test_the_summary_shows_the_candidates_and_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run_file(tmp_path, LOGISTIC, {"trials": 3, "folds": 2})
    assert main(["tune", file, "--output", str(tmp_path / "t"), "-q"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("logistic: 3 candidates by log_loss of 2 folds, ")
    assert out[1].split() == ["trial", "l2", "class_weight", "log_loss", "std", "rounds"]
    assert f"model  {tmp_path}/t/model/model.json, {tmp_path}/t/model/model.npz" in out


@pytest.mark.parametrize(("algorithm", "search", "code", "finding"), [
    ({"name": "logistic", "l2": {"log": [0, 1]}}, {}, 2, "algorithm.l2: [0, 1] is not a range"),
    ({"name": "logistic", "l2": {"uniform": [1, 0]}}, {}, 2, "algorithm.l2: [1, 0] is not a range; give both ends"),
    ({"name": "logistic", "l2": {"uniform": [-1, 1]}}, {}, 2, "algorithm.l2: -1.0 is out of bounds"),
    ({"name": "logistic", "l2": {"of": "x"}}, {}, 2, "algorithm.l2: 'x' is not a list; write of: [A, B]"),
    ({"name": "logistic", "l2": {"int": [1, 2]}}, {}, 2, "algorithm.l2: is not a whole number"),
    ({"name": "logistic", "solver": {"log": [1, 2]}}, {}, 2, "list its values"),
    ({"name": "logistic", "solver": {"of": ["newtno"]}}, {}, 2, "did you mean 'newton'?"),
    ({"name": "logistic", "l22": {"of": [1]}}, {}, 2, "unknown key 'l22'; did you mean 'l2'?"),
    ({"name": "logistic", "l2": {"lgo": [0.1, 1]}}, {}, 2, "algorithm.l2: unknown 'lgo'; did you mean 'log'?"),
    ({"name": {"of": ["logistic", "boosting"]}}, {}, 2, "algorithm.name: one search is among candidates of one algori"),
    ({"name": "logistic", "l2": {"log": [1, 2]}}, {"trials": 10**6}, 2, "1,000,000 candidates, more than 10,000; give"),
    ({"name": "logistic", "l2": 1}, {}, 2, "no hyperparameter has a space"),
    ({"name": "logistic", "l2": {"of": [1]}}, {"trails": 3}, 2, "unknown key 'trails'; did you mean 'trials'?"),
    ({"name": "logistic", "l2": {"of": [1]}}, {"folds": 0}, 2, "there are no rows to judge by"),
    ({"name": "kmeans", "k": {"int": [2, 4]}}, {}, 2, "kmeans has no target to be judged by"),
    ({"name": "logistic", "l2": {"of": [1]}}, {"metric": "rmse"}, 2, "models of logistic have no rmse; name one"),
    ({"name": "boosting", "objective": {"of": ["logistic", "squared"]}}, {}, 2, "boosting needs numbers"),
    ({"l2": {"of": [1]}}, {}, 2, "names no algorithm"),
    ({"name": "logistic", "l2": {"of": [1]}}, {"max_model_bytes": 10}, 3, "model has at most 10 bytes"),
    ({"name": "logistic", "l2": {"of": [1]}}, {"max_seconds": 0}, 2, "search, max_seconds: 0.0 leaves no time"),
    ({"name": "logistic", "l2": {"of": [1]}}, {"folds": 2000}, 2, "2,000 folds, of which each is a model of its own"),
])  # fmt: skip
def test_a_search_that_cannot_be_is_an_error_with_its_place_and_a_remedy(
    algorithm: dict[str, Any], search: dict[str, Any], code: int, finding: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = run_file(tmp_path, algorithm, search)
    assert main(["tune", file, "--output", str(tmp_path / "t")]) == code
    told = capsys.readouterr().err
    assert finding in told and "Traceback" not in told


def test_folds_without_rows_end_a_search_after_its_first_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"target": "label", "group": "team", "exclude": ["number", "kind"], "window_bytes": 1 << 20}
    file = run_file(tmp_path, {"name": "logistic", "l2": {"of": [1]}}, {"folds": 45}, data=data)
    assert main(["tune", file, "--output", str(tmp_path / "t"), "-q"]) == 2
    told = "of 45 folds by group 19 have none of the 500 rows; give fewer folds, or another --fold-seed"
    assert capsys.readouterr().err == f"error: run, folds: {told}\n"
    assert not (tmp_path / "t").exists()


def test_folds_without_rows_are_told_where_rungs_are_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"target": "label", "group": "team", "exclude": ["number", "kind"], "window_bytes": 1 << 20}
    search = {"method": "halving", "resource": "rows", "trials": 3, "folds": 45}
    file = run_file(tmp_path, {"name": "logistic", "l2": {"log": [0.1, 1]}}, search, data=data)
    assert main(["tune", file, "--output", str(tmp_path / "t"), "-q"]) == 3
    told = capsys.readouterr().err.splitlines()[-1]
    assert "no candidate could be judged; the first: its models could not be judged on every fold" in told
