"""``mrml train --folds``: the model of all rows as ever, and beside it what models say of rows they did not see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

import mrml
from mrml.algorithms.linear.glm import Logistic
from mrml.algorithms.search.parting import Parting
from mrml.arrays import Array
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError, InputError, OutputExists
from mrml.runs import train as run
from tests.algorithms.folds import LABELS, NUMBERS, WINDOW, blocks, numbers, opened, write
from tests.end_to_end.killing import dies


def config(folder: str, output: Path, params: dict[str, Any] | None = None, algorithm: str = "logistic",
           data: dict[str, Any] | None = None, **more: Any) -> RunConfig:  # fmt: skip
    columns = {"weight": "w", "window_bytes": WINDOW, **(LABELS if data is None else data)}
    engine = more.pop("engine", EngineConfig(engine="inline"))
    return RunConfig(algorithm, params or {}, DataConfig(data=(folder,), **columns), engine, str(output), **more)


def files(folder: Path) -> bytes:
    return b"".join((folder / name).read_bytes() for name in ("model.json", "model.npz"))


def predictions(folder: Path) -> Any:
    return pq.read_table(sorted(folder.glob("part-*"))).to_pandas()


def fold_of(folder: str, parting: Parting, **data: Any) -> Array:
    """The fold of every row, in the order of the files."""
    dataset, _ = opened(folder, Logistic(), **{**LABELS, **data})
    return np.concatenate([parting.of(b) for b in blocks(dataset)])


def column(folder: str, name: str) -> list[str]:
    rows = [line.split(",") for p in sorted(Path(folder).glob("*.csv")) for line in p.read_text().splitlines()]
    return [row[rows[0].index(name)] for row in rows if row != rows[0]]


@pytest.mark.parametrize(("algorithm", "params", "data"), [
    ("logistic", {"l2": 1e-3}, LABELS), ("linear", {}, NUMBERS), ("forest", {"trees": 3, "max_depth": 3}, NUMBERS),
    ("boosting", {"objective": "logistic", "rounds": 3, "max_depth": 2}, LABELS),
    ("mlp", {"hidden": (3,), "epochs": 2, "shards": 2}, LABELS),
], ids=lambda v: v if isinstance(v, str) else "")  # fmt: skip
def test_the_model_of_all_rows_is_that_of_a_run_without_folds(
    algorithm: str, params: dict[str, Any], data: dict[str, Any], tmp_path: Path
) -> None:
    rows = write(tmp_path / "rows")
    for name, more in (("plain", {}), ("folded", {"folds": 3})):
        run.train(config(rows, tmp_path / name, params, algorithm, data, **more))
    assert files(tmp_path / "plain") == files(tmp_path / "folded")
    plain, folded = (json.loads((tmp_path / n / "run.json").read_text()) for n in ("plain", "folded"))
    assert plain["metrics"] == folded["metrics"] and plain["rounds"] == folded["rounds"]
    assert "folds" not in plain and sum(folded["folds"]["rows"]) == 500


def test_metrics_are_those_of_scikit_learn_on_the_predictions_out_of_fold(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows")
    with pytest.raises(ConfigError, match="is the --output of the model; name another directory"):
        run.train(config(rows, tmp_path / "m", folds=4, oof=f"{tmp_path}/m/"))
    facts = run.train(config(rows, tmp_path / "m", folds=4, oof=str(tmp_path / "oof")))["folds"]
    found, y = predictions(tmp_path / "oof"), np.array(column(rows, "label")) == "yes"
    weight, p = np.array(column(rows, "w"), float), found["probability_yes"].to_numpy()
    assert len(found) == 500 and (found["prediction"] == np.where(p > 0.5, "yes", "no")).all()
    fold = fold_of(rows, Parting(4, "class"))
    assert facts["rows"] == np.bincount(fold).tolist() and facts["by"] == "class"
    for name, measure in (("auc", sk.roc_auc_score), ("pr_auc", sk.average_precision_score), ("log_loss", sk.log_loss)):
        told = facts["metrics"][name]
        each = [measure(y[fold == k], p[fold == k], sample_weight=weight[fold == k]) for k in range(4)]
        np.testing.assert_allclose(told["folds"], each, rtol=1e-12)
        np.testing.assert_allclose(told["mean"], np.mean(each), rtol=1e-12)
        np.testing.assert_allclose(told["std"], np.std(each, ddof=1), rtol=1e-12)
        np.testing.assert_allclose(told["out_of_fold"], measure(y, p, sample_weight=weight), rtol=1e-12)


def test_a_row_is_predicted_by_the_model_of_the_other_folds(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows")
    run.train(config(rows, tmp_path / "m", folds=3, fold_by="row", fold_seed=7, oof=str(tmp_path / "oof")))
    found = predictions(tmp_path / "oof")["probability_yes"].to_numpy()
    dataset, _ = opened(rows, Logistic(), **LABELS)
    all_blocks, parting = blocks(dataset), Parting(3, "row", 7)
    for k in range(3):
        mine = numbers(all_blocks, [parting.of(b) == k for b in all_blocks])
        run.train(config(write(tmp_path / "some", without=mine), tmp_path / f"m{k}"))
        data = DataConfig(data=(rows,))
        run.predict(str(tmp_path / f"m{k}"), data, EngineConfig(engine="inline"), str(tmp_path / f"p{k}"))
        expected = predictions(tmp_path / f"p{k}")["probability_yes"].to_numpy()
        np.testing.assert_allclose(found[mine], expected[mine], rtol=1e-12)


@pytest.mark.parametrize("by", ["row", "class"])
def test_rows_of_weight_0_have_a_prediction_too(tmp_path: Path, by: str) -> None:
    rng = np.random.default_rng(2)
    lines = [f"{x:.6f},{'no' if x < 0 else 'yes'},{w}" for x, w in zip(rng.normal(size=200), np.tile([1, 2], 100), strict=True)]  # fmt: skip  # noqa: E501
    with_zeros = [*lines[:50], "0.5,,0", "0.25,new,0", *lines[50:120], *["-0.1,yes,0"] * 9, *lines[120:]]
    (tmp_path / "rows.csv").write_text("\n".join(["x,label,w", *with_zeros]) + "\n")
    more = {"folds": 3, "fold_by": by, "oof": str(tmp_path / "oof")}
    facts = run.train(config(str(tmp_path / "rows.csv"), tmp_path / "m", data={"target": "label"}, **more))
    oof = predictions(tmp_path / "oof")
    assert oof["row"].tolist() == list(range(211)) and sum(facts["folds"]["rows"]) == 200
    assert oof["probability_yes"].between(0, 1).all()


@pytest.mark.parametrize("engine", [EngineConfig(engine="local", workers=2), EngineConfig("streaming", "inline")],
                         ids=lambda e: e.engine)  # fmt: skip
def test_every_engine_tells_the_same_of_folds(engine: EngineConfig, tmp_path: Path) -> None:
    rows, told = write(tmp_path / "rows"), {}
    for name, where in (("inline", EngineConfig(engine="inline")), ("other", engine)):
        facts = run.train(config(rows, tmp_path / name, engine=where, folds=3, oof=str(tmp_path / f"oof-{name}")))
        told[name] = facts["folds"], predictions(tmp_path / f"oof-{name}").to_csv(), files(tmp_path / name)
    assert told["inline"] == told["other"]


def dated(folder: Path, n: int = 240) -> Path:
    """Rows of thirty days, in no order, whose labels depend on x alone."""
    rng = np.random.default_rng(6)
    x, day = rng.normal(size=n), rng.integers(0, 30, n)
    label = np.where(x + rng.normal(size=n) > 0, "yes", "no")
    lines = [f"{a:.6f},2026-01-{d + 1:02d},{k}" for a, d, k in zip(x, day, label, strict=True)]
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text("\n".join(["x,day,label", *lines]) + "\n")
    return folder / "rows.csv"


@pytest.mark.parametrize(("span", "named"), [(0, True), (2, True), (0, False)])
def test_folds_by_date_are_judged_by_models_of_the_days_before_them(tmp_path: Path, span: int, named: bool) -> None:
    rows = dated(tmp_path / "rows")
    data = {"target": "label", "weight": None, **({"time": "day"} if named else {})}
    more = {"folds": 3, "fold_by": "date", "fold_span": span, "oof": str(tmp_path / "oof")}
    facts = run.train(config(str(rows), tmp_path / "m", data=data, **more))["folds"]
    run.train(config(str(rows), tmp_path / "plain", data=data))
    assert files(tmp_path / "m") == files(tmp_path / "plain")
    days, first = np.array([float(d[-2:]) for d in column(str(rows.parent), "day")]), np.array(facts["cuts"])
    days += float(np.datetime64("2025-12-31").astype(int))
    stretch, lead = np.searchsorted(first, days, side="right"), max(span, 1)
    assert len(first) == 2 + lead and np.bincount(stretch).min() >= 0.7 * len(days) / (3 + lead)
    assert facts["rows"] == [int((stretch == k + lead).sum()) for k in range(3)]
    found = predictions(tmp_path / "oof")
    assert (found["prediction"].isna() == (stretch < lead)).all() and len(found) == len(days)
    lines = rows.read_text().splitlines()
    for k in range(3):
        before = (stretch < k + lead) & (stretch >= (k if span else 0))
        alone = tmp_path / f"before{k}.csv"
        alone.write_text("\n".join([lines[0], *(ln for ln, b in zip(lines[1:], before, strict=True) if b)]) + "\n")
        run.train(config(str(alone), tmp_path / f"m{k}", data=data))
        run.predict(str(tmp_path / f"m{k}"), DataConfig(data=(str(rows),)), EngineConfig(engine="inline"),
                    str(tmp_path / f"p{k}"))  # fmt: skip
        expected = predictions(tmp_path / f"p{k}")["probability_yes"]
        here = stretch == k + lead
        np.testing.assert_allclose(found["probability_yes"][here], expected[here], rtol=1e-9)
    y, p = (np.array(column(str(rows.parent), "label")) == "yes")[stretch >= lead], found["probability_yes"].dropna()
    np.testing.assert_allclose(facts["metrics"]["auc"]["out_of_fold"], sk.roc_auc_score(y, p), rtol=1e-12)


def test_rows_to_validate_with_are_in_no_fold(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows")
    plain = run.train(config(rows, tmp_path / "plain", folds=3))
    data = {**LABELS, "valid": (rows,)}
    facts = run.train(config(rows, tmp_path / "m", data=data, folds=3, oof=str(tmp_path / "oof")))
    assert facts["folds"] == plain["folds"] and facts["valid"]["n_rows"] == 500
    assert len(predictions(tmp_path / "oof")) == 500


def test_groups_stay_whole_where_a_column_is_one(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rng = np.random.default_rng(0)
    x, team = rng.normal(size=300), np.arange(300) // 6
    lines = [f"{a:.6f},t{g},{b}" for a, g, b in zip(x, team, (x > 0).astype(int), strict=True)]
    rows.write_text("\n".join(["x,team,y", *lines]) + "\n")
    model = mrml.Logistic().fit(rows, target="y", group="team", engine="inline", folds=4, oof=str(tmp_path / "oof"))
    facts = model.facts["folds"]
    assert facts["by"] == "group" and all(n % 6 == 0 and n for n in facts["rows"]) and sum(facts["rows"]) == 300
    assert len(predictions(tmp_path / "oof")) == 300


def test_a_class_that_a_folds_model_never_saw_has_no_probability_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, kind = rng.normal(size=200), rng.choice(np.array(["a", "b"], object), 200)
    kind[5] = "once"
    lines = [f"{a:.6f},{k}" for a, k in zip(x, kind, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    data = {"target": "y", "weight": None}
    facts = run.train(config(str(tmp_path / "rows.csv"), tmp_path / "m", algorithm="softmax", data=data, folds=3,
                             oof=str(tmp_path / "oof")))  # fmt: skip
    found = predictions(tmp_path / "oof")
    assert found.loc[5, "probability_once"] == 0.0 and found.loc[5, "prediction"] in ("a", "b")
    shares = found[["probability_a", "probability_b", "probability_once"]].sum(axis=1)
    np.testing.assert_allclose(shares, 1.0)
    assert facts["folds"]["metrics"]["accuracy"]["out_of_fold"] == (found["prediction"] == kind).mean()


def test_a_run_killed_anywhere_and_submitted_again_tells_and_writes_the_same(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows")
    words = ("train", "logistic", "--data", rows, "--target", "label", "--weight", "w", "--exclude", "number,kind,team",
             "--window-bytes", str(WINDOW), "--engine", "inline", "--folds", "3", "--max-iterations", "3")  # fmt: skip

    def at(name: str) -> tuple[str, ...]:
        return (*words, "--output", str(tmp_path / name), "--oof", str(tmp_path / f"{name}.oof"))

    assert not dies(1000, *at("whole"))
    told = json.loads((tmp_path / "whole/run.json").read_text())["folds"]
    ends = 0
    for k in range(1, 20, 3):
        if not dies(k, *at(f"run{k}")):
            break
        assert not dies(1000, *at(f"run{k}"))
        ends += 1
        assert files(tmp_path / f"run{k}") == files(tmp_path / "whole")
        assert json.loads((tmp_path / f"run{k}/run.json").read_text())["folds"] == told
        assert predictions(tmp_path / f"run{k}.oof").equals(predictions(tmp_path / "whole.oof"))
    assert ends > 2  # in the rounds, the evaluations and the scoring


def test_a_run_with_other_folds_is_another_run(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows")
    run.train(config(rows, tmp_path / "m", folds=3, max_rounds=2))
    (tmp_path / "m/_SUCCESS").unlink()
    for more in ({}, {"folds": 4}, {"folds": 3, "fold_seed": 1}):
        with pytest.raises(OutputExists, match="contains an unfinished run of something else; folds"):
            run.train(config(rows, tmp_path / "m", **more))


@pytest.mark.parametrize(("more", "finding"), [
    ({"folds": 1}, "one fold leaves no rows to train on"),
    ({"folds": 1001}, "1,001 folds, of which each is a model of its own: at most 1,000; use --folds 5 or 10"),
    ({"folds": 3, "fold_by": "group"}, "no column is the group; name it with --group"),
    ({"folds": 3, "fold_by": "class", "algorithm": "linear", "data": NUMBERS}, "the target is a number"),
    ({"folds": 3, "algorithm": "kmeans", "data": {}}, "kmeans has no target to be judged by"),
    ({"folds": 3, "algorithm": "boosting", "params": {"objective": "lambdarank"}, "fold_by": "row",
      "data": {"target": "number", "group": "team", "exclude": ("label", "kind")}}, "ranks within groups"),
    ({"folds": 3, "fold_by": "date"}, "no column is a date; name the one to go by with --time"),
    ({"folds": 3, "fold_span": 2}, "folds by class have no stretches of time; use --fold-by date"),
    ({"folds": 9, "fold_by": "date", "data": {**LABELS, "exclude": ("number", "kind", "team"), "time": "c"}},
     "the rows are of 9 different times, of which 10 stretches cannot be made"),
    ({"folds": 3, "fold_by": "date", "data": {**LABELS, "time": "city"}}, "is categorical and cannot be the time"),
    ({"fold_by": "date"}, "run, fold_by: there are no folds; use --folds 5"),
    ({"fold_span": 9}, "run, fold_span: there are no folds; use --folds 5"),
    ({"oof": "oof"}, "without folds every row is trained on"),
])  # fmt: skip
def test_folds_that_cannot_be_are_refused_before_anything_is_read(
    more: dict[str, Any], finding: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, InputError), match=finding):
        run.train(config(write(tmp_path / "rows"), tmp_path / "m", **more))
    assert not (tmp_path / "m").exists()


def test_folds_without_rows_are_told_once_after_the_first_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, data = write(tmp_path / "rows"), {"target": "label", "group": "team", "exclude": ("number", "kind")}
    dataset, _ = opened(rows, Logistic(), **data)
    parting = Parting(45, "group")
    there = {int(k) for b in blocks(dataset) for k in parting.of(b)}
    finding = f"of 45 folds by group {45 - len(there)} have none of the 500 rows; give fewer folds"
    for params in ({}, {"objective": "logistic", "rounds": 2}):
        with pytest.raises(ConfigError, match=finding):
            run.train(config(rows, tmp_path / "m", params, "boosting" if params else "logistic", data, folds=45))
    assert not (tmp_path / "m").exists() and not caplog.records
