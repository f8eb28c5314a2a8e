"""mrml compare: the differences are exact, and their intervals those of a bootstrap over rows."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as peer

from mrml.algorithms.evaluation.compare import _areas
from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig
from mrml.runs.batch.compare import compare, uncertainty
from mrml.runs.train import evaluate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 rows to hold out, and models that know one of two columns, or both, of numbers and of classes."""
    folder, rng = tmp_path_factory.mktemp("compare"), np.random.default_rng(2)
    for name, n in (("train", 500), ("rows", 4000)):
        x = rng.normal(size=(n, 2))
        y = x @ [1.0, 0.5] + rng.normal(size=n)
        c = np.where(y > 0, "yes", "no")
        w = rng.integers(1, 4, n)
        columns = zip(range(n), *x.T.round(6), y.round(6), c, w, strict=True)
        text = ["id,a,b,y,c,w", *(",".join(map(str, row)) for row in columns)]
        (folder / f"{name}.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    for name, algorithm, target, features in (("la", "logistic", "c", "a"), ("lab", "logistic", "c", "a,b"),
                                              ("ra", "linear", "y", "a"), ("rb", "linear", "y", "b")):  # fmt: skip
        words = [f"--data={folder / 'train.csv'}", f"--target={target}", f"--features={features}", "--id=id"]
        assert main(["train", algorithm, *words, f"--output={folder / name}", "-q"]) == 0
    return folder


def scores(made: Path, model: str, capsys: Any) -> list[dict[str, str]]:
    output = made / f"{model}.scores"
    words = [
        str(made / model),
        f"--data={made / 'rows.csv'}",
        f"--output={output}",
        "--format=csv",
        "--overwrite",
        "-q",
    ]
    assert main(["predict", *words]) == 0
    capsys.readouterr()
    return [row for part in sorted(output.glob("part-*")) for row in csv.DictReader(part.open(encoding="utf-8"))]


def bootstrap(figure: Any, n: int, n_rows: int) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = [figure(rng.integers(0, n_rows, n_rows)) for _ in range(n)]
    return tuple(np.quantile(drawn, [0.025, 0.975]))


def test_differences_of_classes_are_exact_and_sure_as_a_bootstrap_over_rows_says(made: Path, capsys: Any) -> None:
    rows = list(csv.DictReader((made / "rows.csv").open(encoding="utf-8")))
    y = np.array([row["c"] == "yes" for row in rows])
    p = [np.array([float(row["probability_yes"]) for row in scores(made, m, capsys)]) for m in ("la", "lab")]
    found = compare((str(made / "la"), str(made / "lab")), DataConfig(data=(str(made / "rows.csv"),)), EngineConfig())
    figures = {
        "auc": lambda s, r: peer.roc_auc_score(y[r], s[r]),
        "pr_auc": lambda s, r: peer.average_precision_score(y[r], s[r]),
        "log_loss": lambda s, r: peer.log_loss(y[r], s[r]),
        "accuracy": lambda s, r: ((s[r] > 0.5) == y[r]).mean(),
    }
    every = np.arange(len(y))
    for name, figure in figures.items():
        about = found["metrics"][name]
        assert about["difference"] == pytest.approx(figure(p[1], every) - figure(p[0], every), abs=1e-9)
        low, high = bootstrap(lambda r, f=figure: f(p[1], r) - f(p[0], r), 400, len(y))
        width = high - low
        assert about["low"] == pytest.approx(low, abs=0.2 * width), name
        assert about["high"] == pytest.approx(high, abs=0.2 * width), name
        assert about["better"] is True
    assert found["n_rows"] == 4000


def test_differences_of_numbers_too_also_where_the_models_read_other_columns(made: Path, capsys: Any) -> None:
    rows = list(csv.DictReader((made / "rows.csv").open(encoding="utf-8")))
    y = np.array([float(row["y"]) for row in rows])
    p = [np.array([float(row["prediction"]) for row in scores(made, m, capsys)]) for m in ("ra", "rb")]
    found = compare((str(made / "ra"), str(made / "rb")), DataConfig(data=(str(made / "rows.csv"),)), EngineConfig())
    figures = {
        "rmse": lambda s, r: peer.mean_squared_error(y[r], s[r]) ** 0.5,
        "mae": lambda s, r: peer.mean_absolute_error(y[r], s[r]),
        "r2": lambda s, r: peer.r2_score(y[r], s[r]),
    }
    for name, figure in figures.items():
        about, every = found["metrics"][name], np.arange(len(y))
        assert about["difference"] == pytest.approx(figure(p[1], every) - figure(p[0], every), abs=1e-9)
        low, high = bootstrap(lambda r, f=figure: f(p[1], r) - f(p[0], r), 400, len(y))
        assert about["low"] == pytest.approx(low, abs=0.2 * (high - low)), name
        assert about["better"] is False


def test_weights_count(made: Path) -> None:
    models, paths = (str(made / "la"), str(made / "lab")), (str(made / "rows.csv"),)
    plain = uncertainty(models, DataConfig(data=paths), EngineConfig())
    weighted = uncertainty(models, DataConfig(data=paths, weight="w"), EngineConfig())
    assert plain["intervals"]["auc"] != weighted["intervals"]["auc"]
    assert weighted["intervals"]["auc"]["high"] == pytest.approx(plain["intervals"]["auc"]["high"], rel=0.4)


@pytest.mark.parametrize("engine", ["local", "streaming", "resident"])
def test_intervals_are_the_same_by_every_engine_and_cut(made: Path, engine: str) -> None:
    models = str(made / "la"), str(made / "lab")
    whole = uncertainty(models, DataConfig(data=(str(made / "rows.csv"),)), EngineConfig(engine="inline"))
    data = DataConfig(data=(str(made / "rows.csv"),), split_bytes=20_000)
    config = EngineConfig(engine=engine, runner="inline" if engine == "streaming" else "local", workers=2)
    assert uncertainty(models, data, config) == whole


def test_a_model_is_as_good_as_itself(made: Path) -> None:
    model = str(made / "lab")
    found = compare((model, model), DataConfig(data=(str(made / "rows.csv"),)), EngineConfig())
    for about in found["metrics"].values():
        assert about["difference"] == about["low"] == about["high"] == 0 and about["better"] is None


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of numbers that differ in more than their columns: one reads no number, one adds offsets, one weighs."""
    folder, rng = tmp_path_factory.mktemp("odd"), np.random.default_rng(3)
    x, o, n = rng.normal(size=400).round(4), rng.normal(size=400).round(4), 400
    k, w = rng.choice(["u", "v"], n), rng.integers(1, 30, n)
    y = (x + (k == "u") + o + rng.normal(size=n)).round(4)
    text = ["x,k,o,y,w", *(",".join(map(str, row)) for row in zip(x, k, o, y, w, strict=True))]
    (folder / "rows.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    words_of = {"plain": ["--features=x"], "texts": ["--features=k"], "adds": ["--features=x", "--offset=o"],
                "weighs": ["--features=x", "--weight=w"], "other": ["--features=k", "--target=o"]}  # fmt: skip
    for name, words in words_of.items():
        words = [f"--data={folder / 'rows.csv'}", "--target=y", *words, f"--output={folder / name}", "-q"]
        assert main(["train", "linear", *words]) == 0
    return folder


@pytest.mark.parametrize("names", [("plain", "texts"), ("texts", "plain"), ("plain", "adds"), ("adds", "plain")])
def test_each_model_reads_its_own_columns_and_offsets_also_where_the_intervals_are_drawn(
    odd: Path, names: tuple[str, str], capsys: Any
) -> None:
    y = np.array([float(row["y"]) for row in csv.DictReader((odd / "rows.csv").open(encoding="utf-8"))])
    p = [np.array([float(row["prediction"]) for row in scores(odd, name, capsys)]) for name in names]
    data = DataConfig(data=(str(odd / "rows.csv"),))
    about = compare((str(odd / names[0]), str(odd / names[1])), data, EngineConfig())["metrics"]["mae"]
    errors = np.abs(y - p[1]) - np.abs(y - p[0])
    assert about["difference"] == pytest.approx(errors.mean())
    low, high = bootstrap(lambda r: errors[r].mean(), 400, len(y))
    assert [about["low"], about["high"]] == pytest.approx([low, high], abs=0.2 * (high - low))


@pytest.mark.parametrize(("names", "weighs"), [(("plain", "weighs"), True), (("weighs", "plain"), False)])
def test_both_are_judged_over_the_weights_of_the_second(odd: Path, names: tuple[str, str], weighs: bool) -> None:
    data = DataConfig(data=(str(odd / "rows.csv"),))
    models = str(odd / names[0]), str(odd / names[1])
    found = compare(models, data, EngineConfig())["metrics"]["mae"]
    judged = dataclasses.replace(data, weight="w") if weighs else data
    alone = evaluate(str(odd / "plain"), judged, EngineConfig())
    assert found["first" if weighs else "second"] == alone["mae"]
    of_sums = uncertainty(models, judged, EngineConfig(), weighted=weighs)["intervals"]["mae"]
    assert found["low"] == found["difference"] + of_sums["low"]


def test_models_of_two_columns_are_refused_before_a_row_is_read(odd: Path, capsys: Any) -> None:
    assert main(["compare", str(odd / "plain"), str(odd / "other"), f"--data={odd / 'none.csv'}", "--json", "-q"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["finding"] == "the models predict the columns 'y' and 'o'" and told["remedy"]


def test_models_of_two_targets_are_refused(made: Path, capsys: Any) -> None:
    words = [str(made / "la"), str(made / "ra"), f"--data={made / 'rows.csv'}"]
    assert main(["compare", *words, "--json", "-q"]) in (2, 3)
    assert json.loads(capsys.readouterr().out)["error"]["remedy"]


def test_areas_of_counts_are_those_of_rows() -> None:
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 5, (2, 3, 40))
    for p, n, auc, ap in zip(positive, negative, *_areas(positive, negative), strict=True):
        y = np.repeat([1, 0], [p.sum(), n.sum()])
        s = np.concatenate([np.repeat(np.arange(40), p), np.repeat(np.arange(40), n)])
        assert auc == pytest.approx(peer.roc_auc_score(y, s))
        assert ap == pytest.approx(peer.average_precision_score(y, s))


def test_two_clusterings_are_compared_by_their_inertia(made: Path, capsys: Any) -> None:
    rows = made / "x.csv"
    rows.write_text("a,b\n" + "".join(f"{i % 7},{i % 5}\n" for i in range(60)), encoding="utf-8")
    models = [str(made / f"k{k}") for k in (2, 3)]
    for k, model in zip("23", models, strict=True):
        assert main(["train", "kmeans", f"--k={k}", f"--data={rows}", f"--output={model}", "-q"]) == 0
    inertia = []
    for model in models:
        capsys.readouterr()
        assert main(["evaluate", model, f"--data={rows}", "-q", "--json"]) == 0
        inertia.append(json.loads(capsys.readouterr().out)["inertia"])
    assert main(["compare", *models, f"--data={rows}", "-q", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = {"first": inertia[0], "second": inertia[1], "difference": inertia[1] - inertia[0]}
    assert told["n_rows"] == 60 and told["metrics"] == {"inertia": expected} and inertia[1] < inertia[0]
    assert main(["compare", *models, f"--data={rows}", "-q"]) == 0
    assert "no intervals of rankings and clusters" in capsys.readouterr().out
