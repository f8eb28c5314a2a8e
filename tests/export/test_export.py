"""Exports are the model: stock XGBoost, LightGBM and treelite score them as mrml does; a damaged one is seen."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrml
from mrml import export
from mrml.algorithms.objectives.table import OBJECTIVES, objective_of
from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError, OutputExists
from mrml.export import ExportDiffers
from mrml.export.lightgbm import last_left
from mrml.runs import export as leaving
from mrml.runs import train as run

SHAPES: dict[str, dict[str, Any]] = {
    "depthwise": {"objective": "logistic", "max_depth": 4, "subsample": 0.7},
    "leafwise": {"objective": "squared", "growth": "leafwise", "max_leaves": 12, "min_data_in_leaf": 3},
    "softmax": {"objective": "softmax", "max_depth": 3, "max_cat_to_onehot": 1, "cat_smooth": 1.0},
    "poisson": {"objective": "poisson", "growth": "leafwise", "max_leaves": 6},
    "rare": {"objective": "logistic", "max_depth": 3},
}
TARGETS = {"depthwise": "yes", "leafwise": "amount", "softmax": "kind", "poisson": "count", "rare": "rare"}


def made_rows(folder: Path) -> Path:
    """Numbers with gaps, a column that says something only by being missing, few and many levels, weights."""
    rng = np.random.default_rng(11)
    n = 900
    a, b = rng.normal(size=n), rng.integers(0, 40, n)
    gap = rng.random(n) < 0.3
    city, shop = rng.choice(list("pqrstuv"), n), rng.integers(0, 400, n)
    z = a + 0.05 * b + 2 * gap + np.isin(city, ["p", "s"]) + 0.3 * (shop % 3) + rng.normal(size=n)
    kind = np.digitize(z, [0.5, 2.0, 3.5])
    lines = ["size of [a],b,gap,city,shop,w,yes,amount,kind,count,rare"]
    for i in range(n):
        text = "NA" if i % 7 == 0 else f"{a[i]:.5g}"
        level = "" if i % 11 == 0 else city[i]
        lines.append(f"{text},{b[i]},{'' if gap[i] else 1},{level},s{shop[i]},{0.5 + (i % 3)},{'yn'[int(z[i] > 2)]},"
                     f"{1000 * z[i]:.6g},k{kind[i]},{max(0, round(z[i]))},{'no' if i == 400 else 'ok'}")  # fmt: skip
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trained(shape: str, rows: Path, folder: Path) -> str:
    out = str(folder / "model")
    others = tuple(t for t in TARGETS.values() if t != TARGETS[shape])
    data = DataConfig(data=(str(rows),), target=TARGETS[shape], weight="w", exclude=others)
    run.train(RunConfig("boosting", {"rounds": 6, **SHAPES[shape]}, data, EngineConfig(engine="inline"), out))
    return out


@pytest.fixture(scope="module")
def model(shape: str, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained model of each shape."""
    return trained(shape, rows, tmp_path_factory.mktemp(shape))


@pytest.fixture(scope="module")
def one(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained model."""
    return trained("depthwise", rows, tmp_path_factory.mktemp("one"))


def matrix(model: str, rows: Path) -> Any:
    """What the trees see of the rows: numbers, then codes."""
    return leaving.probe_rows(run.load_model(model), DataConfig(data=(str(rows),)))


def predicted(model: str, rows: Path) -> np.ndarray[Any, Any]:
    """What the model itself says: means, probabilities of the second class, or of all classes."""
    loaded = run.load_model(model)
    dataset = run.scoring_config(loaded, DataConfig(data=(str(rows),)), ("feature",))
    (block,) = (b for split in dataset.splits(1 << 20) for part in split for b in dataset.read(part))
    found = loaded.predict(block)
    if found.probability is None:
        return found.y_pred
    return found.probability if found.probability.shape[1] > 2 else found.probability[:, 1]


def encoded(model: str, to: str) -> bytes:
    return export.encoded(leaving.ensemble_of(run.load_model(model)), to, "m.json")


def encoded_of(ensemble: export.Ensemble) -> bytes:
    return export.encoded(ensemble, "xgboost", "m.json")


def tolerance(model: str, ours: np.ndarray[Any, Any]) -> Any:
    return 1e-6 if run.load_model(model).classes else 1e-5 * np.maximum(1.0, np.abs(ours))


@pytest.mark.parametrize("name", ["m.json", "m.ubj"])
def test_xgboost_scores_an_export_as_the_model_scores_the_rows(
    model: str, rows: Path, tmp_path: Path, name: str
) -> None:
    xgboost = pytest.importorskip("xgboost")
    facts = leaving.export(model, "xgboost", str(tmp_path / name))
    assert facts["checked"]["n_rows"] > 1000
    booster = xgboost.Booster(model_file=str(tmp_path / name))
    x = matrix(model, rows)
    types = booster.feature_types
    data = xgboost.DMatrix(x, feature_names=booster.feature_names, feature_types=types, enable_categorical=True)
    ours = predicted(model, rows)
    assert (np.abs(booster.predict(data) - ours) <= tolerance(model, ours)).all()
    assert types == ["float"] * 3 + ["c"] * 2 and booster.feature_names[0] == "size_of__a_"


def test_lightgbm_scores_an_export_as_the_model_scores_the_rows(model: str, rows: Path, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    path = str(tmp_path / "m.txt")
    assert leaving.export(model, "lightgbm", path)["checked"]["raw"] < 1e-12
    booster = lightgbm.Booster(model_file=path)
    ours = predicted(model, rows)
    assert np.abs(booster.predict(matrix(model, rows)) - ours).max() <= 1e-12 * np.abs(ours).max()
    again = lightgbm.Booster(model_str=booster.model_to_string())
    np.testing.assert_array_equal(again.predict(matrix(model, rows)), booster.predict(matrix(model, rows)))


def test_lightgbm_takes_a_data_frame_with_the_levels_themselves(model: str, rows: Path) -> None:
    lightgbm, pandas = pytest.importorskip("lightgbm"), pytest.importorskip("pandas")
    booster = lightgbm.Booster(model_str=encoded(model, "lightgbm").decode())
    frame = pandas.read_csv(rows, dtype={"city": "category", "shop": "category"}, keep_default_na=True)
    names = list(leaving.ensemble_of(run.load_model(model)).names)
    kept = set(run.load_model(model).fitted.levels[1]["levels"])  # type: ignore[attr-defined]
    known = frame["shop"].isin(kept).to_numpy()  # the rare ones share a code that only `other` names
    ours = predicted(model, rows)[known]
    np.testing.assert_allclose(booster.predict(frame[names])[known], ours, rtol=1e-12)


def without_categories(content: bytes) -> bytes:
    """A file for treelite, which refuses XGBoost's texts of categories; its codes are the same."""
    tree = json.loads(content)
    tree["learner"]["gradient_booster"]["model"]["cats"] = {"enc": [], "feature_segments": [], "sorted_idx": []}
    return json.dumps(tree).encode()


@pytest.mark.parametrize("n_levels", [40, 400])
@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_xgboost_scores_frames_by_the_texts_of_their_categories(n_levels: int, ending: str, tmp_path: Path) -> None:
    """In any order of the frame's categories, with null and rare levels; those never seen are made missing."""
    pandas, xgboost = pytest.importorskip("pandas"), pytest.importorskip("xgboost")
    draw, n = np.random.default_rng(n_levels), 3000
    levels = np.array([f"level {i}" for i in range(n_levels)])
    frame = pandas.DataFrame({"x": draw.normal(size=n).round(3), "shop": draw.choice(levels, n)})
    frame["day"] = draw.choice(["mon", "tue", "wed"], n)
    frame.loc[draw.random(n) < 0.05, "shop"] = None
    worth = dict(zip(levels, draw.normal(size=n_levels), strict=True))
    frame["y"] = (frame["shop"].map(worth).fillna(0) + frame["x"] + draw.normal(size=n) > 0).astype(int)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    data = DataConfig(data=(str(tmp_path / "rows.csv"),), target="y")
    model = str(tmp_path / "model")
    params = {"objective": "logistic", "rounds": 10}
    run.train(RunConfig("boosting", params, data, EngineConfig(engine="inline"), model))
    leaving.export(model, "xgboost", str(tmp_path / f"file.{ending}"))
    booster = xgboost.Booster(model_file=str(tmp_path / f"file.{ending}"))
    ours = predicted(model, tmp_path / "rows.csv")
    for shuffled in (False, True):
        given = frame[booster.feature_names].copy()
        for column in ("shop", "day"):
            texts = sorted(given[column].dropna().unique())
            order = draw.permutation(texts) if shuffled else texts
            given[column] = pandas.Categorical(given[column], categories=list(order))
        theirs = booster.predict(xgboost.DMatrix(given, enable_categorical=True, nthread=1))
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
    frame["day"] = frame["day"].where(np.arange(n) % 5 > 0, "never seen")
    frame.to_csv(tmp_path / "new.csv", index=False)
    seen = frame["day"].where(frame["day"] != "never seen")
    given["day"] = pandas.Categorical(seen, categories=["wed", "mon", "tue"])
    theirs = booster.predict(xgboost.DMatrix(given, enable_categorical=True, nthread=1))
    np.testing.assert_allclose(theirs, predicted(model, tmp_path / "new.csv"), atol=1e-6)


def test_levels_beyond_ascii_are_told_since_xgboost_garbles_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("xgboost")
    lines = "".join(f"{i % 7},{'синий' if i % 3 else 'red'},{int(i % 3 == 0) ^ int(i % 11 == 0)}\n" for i in range(300))
    (tmp_path / "rows.csv").write_text("x,colour,y\n" + lines, encoding="utf-8")
    data = DataConfig(data=(str(tmp_path / "rows.csv"),), target="y")
    model = str(tmp_path / "model")
    run.train(RunConfig("boosting", {"objective": "logistic", "rounds": 2}, data, EngineConfig("inline"), model))
    told = leaving.export(model, "xgboost", str(tmp_path / "file.json"))
    assert "misreads levels beyond ASCII in the categories of a data frame (column 'colour')" in caplog.text
    file = json.loads((tmp_path / "file.json").read_bytes())["learner"]
    assert file["gradient_booster"]["model"]["cats"]["enc"] == [] and told["checked"] is not None
    assert json.loads(file["attributes"]["mrml.levels"]) == {"colour": ["red", "синий"]}


def test_treelite_reads_the_exports(model: str, rows: Path, tmp_path: Path) -> None:
    treelite = pytest.importorskip("treelite")
    x, ours = matrix(model, rows), predicted(model, rows)
    loaders = {"xgboost": treelite.frontend.load_xgboost_model, "lightgbm": treelite.frontend.load_lightgbm_model}
    for to, loader in loaders.items():
        path = tmp_path / f"{to}.json"
        content = encoded(model, to)
        path.write_bytes(without_categories(content) if to == "xgboost" else content)
        theirs = treelite.gtil.predict(loader(str(path)), x, nthread=1).reshape(ours.shape)
        assert (np.abs(theirs - ours) <= tolerance(model, ours)).all()


def damaged(content: bytes, to: str, what: str) -> bytes:
    """An export in which one thing is not the model's."""
    if to == "lightgbm":
        head, key, rest = content.decode().partition(f"\n{what}=")
        line, end, rest = rest.partition("\n")
        words = line.split(" ")
        # of equal length: tree_sizes would tell otherwise
        # missing values to the other side, where the split tells them apart from others
        at = 0 if what == "leaf_value" else words.index("10")
        words[at] = words[at].replace(".", ".9", 1)[:-1] if what == "leaf_value" else "08"
        return (head + key + " ".join(words) + end + rest).encode()
    tree = json.loads(content)
    first = tree["learner"]["gradient_booster"]["model"]["trees"][0]
    if what == "left_children":
        first["left_children"][0], first["right_children"][0] = first["right_children"][0], first["left_children"][0]
    elif what == "base_score":
        tree["learner"]["learner_model_param"]["base_score"] = "0.25"
    elif what == "leaf":
        first["split_conditions"][first["left_children"].index(-1)] += 0.01
    else:  # the next float32
        trees = tree["learner"]["gradient_booster"]["model"]["trees"]
        numbers = [(t, k) for t in trees for k, child in enumerate(t["left_children"])
                   if child >= 0 and not t["split_type"][k] and t["split_conditions"][k] < 1e30]  # fmt: skip
        t, k = numbers[0]
        t["split_conditions"][k] = float(np.nextafter(np.float32(t["split_conditions"][k]), np.float32(np.inf)))
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("to", "what"),
    [("xgboost", "leaf"), ("xgboost", "left_children"), ("xgboost", "base_score"), ("xgboost", "threshold"),
     ("lightgbm", "leaf_value"), ("lightgbm", "decision_type")],
)  # fmt: skip
def test_a_damaged_export_is_refused_and_not_written(
    one: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, what: str
) -> None:
    pytest.importorskip(to)
    whole = export.encoded
    monkeypatch.setattr(leaving, "encoded", lambda *args: damaged(whole(*args), to, what))
    with pytest.raises(ExportDiffers, match="export"):
        leaving.export(one, to, str(tmp_path / "m.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["xgboost", "lightgbm"])
def test_an_export_that_ends_early_is_refused_though_lightgbm_aborts(one: str, to: str) -> None:
    pytest.importorskip(to)
    ensemble = leaving.ensemble_of(run.load_model(one))
    whole = encoded(one, to)
    with pytest.raises(ExportDiffers, match="does not read"):
        export.checked(whole[: len(whole) // 2], to, ensemble, export.made_rows(ensemble), np.empty(0))


def test_without_the_library_an_export_is_written_with_a_plain_warning(
    one: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    monkeypatch.setattr(logging.getLogger("mrml"), "propagate", True)
    facts = leaving.export(one, "xgboost", str(tmp_path / "m.json"))
    assert facts["checked"] is None and (tmp_path / "m.json").exists()
    assert "was not checked" in caplog.text and "pip install xgboost-cpu" in caplog.text


def test_a_file_that_exists_is_replaced_only_on_request(one: str, tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text("mine")
    with pytest.raises(OutputExists, match="--overwrite"):
        leaving.export(one, "lightgbm", str(path))
    assert path.read_text() == "mine"
    leaving.export(one, "lightgbm", str(path), overwrite=True)
    assert path.read_text().startswith("tree\n")


def test_a_fitted_model_exports_itself(one: str, rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    facts = mrml.load(one).export(tmp_path / "m.txt", "lightgbm", probe=rows)
    assert facts["checked"]["n_rows"] == 900 and facts["classes"] == ["n", "y"]
    with pytest.raises(ConfigError, match="did you mean 'xgboost'"):
        mrml.load(one).export(tmp_path / "m.json", "xgbost")


def test_the_same_model_makes_the_same_file_and_the_same_probe(model: str) -> None:
    ensembles = [leaving.ensemble_of(run.load_model(model)) for _ in range(2)]
    for to, name in (("xgboost", "m.json"), ("xgboost", "m.ubj"), ("lightgbm", "m.txt")):
        assert export.encoded(ensembles[0], to, name) == export.encoded(ensembles[1], to, name)
    np.testing.assert_array_equal(*map(export.made_rows, ensembles))


def test_the_probe_reaches_every_leaf_and_lies_on_edges(model: str) -> None:
    ensemble = leaving.ensemble_of(run.load_model(model))
    x = export.made_rows(ensemble)
    ends = ensemble.leaves(x)
    for number, tree in enumerate(ensemble.trees()):
        assert set(np.unique(ends[:, number])) == set(np.flatnonzero(tree.leaf))
    for j, edges in enumerate(ensemble.edges[:2]):
        numbers = x[~np.isnan(x[:, j]), j]
        assert np.isin(numbers, edges).mean() > 0.4 and 0.02 < np.isnan(x[:, j]).mean() < 0.2


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(allow_nan=False), st.integers(-2, 2))
def test_a_float64_is_at_most_the_lightgbm_threshold_where_its_float32_is_below_ours(
    threshold: float, value: float, steps: int
) -> None:
    least = float(last_left(np.array([threshold], np.float32))[0])
    near = least
    for _ in range(abs(steps)):
        near = float(np.nextafter(near, np.inf * np.sign(steps)))
    with np.errstate(over="ignore"):
        for x in (value, near):
            assert (x <= least) == bool(np.float32(x) < np.float32(threshold))


def test_models_without_trees_are_refused_with_what_can_be_exported(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataConfig(data=(str(rows),), target="amount", features=("b",))
    out = str(tmp_path / "linear")
    run.train(RunConfig("linear", {}, data, EngineConfig(engine="inline"), out))
    with pytest.raises(ConfigError, match="boosting"):
        leaving.export(out, "xgboost", str(tmp_path / "m.json"))
    assert main(["export", out, "--to", "lightgbm", "--output", str(tmp_path / "m.txt"), "-q"]) == 2


def test_the_command_tells_columns_codes_and_classes(
    one: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xgboost")
    argv = ["export", one, "--to", "xgboost", "--output", str(tmp_path / "m.ubj"), "--probe", str(rows)]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "900 rows, the same leaf for every row and tree" in said
    assert "columns, in this order: size of [a], b, gap, city, shop" in said
    assert "city: 0 p, 1 q" in said and "shop: 0 s" in said
    assert "classes: 0 n, 1 y" in said


@pytest.mark.slow
@pytest.mark.parametrize("to", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if OBJECTIVES[name].target == "numeric"])
def test_every_objective_of_numbers_is_one_of_the_libraries(one: str, to: str, objective: str) -> None:
    """Trees of one model, as if they came from another loss: the base is in that one's space."""
    pytest.importorskip(to)
    ensemble = dataclasses.replace(leaving.ensemble_of(run.load_model(one)), objective=objective, classes=())
    ensemble = dataclasses.replace(ensemble, base=np.array([0.7]))
    x = export.made_rows(ensemble)
    raw = ensemble.forest.raw_prediction(x, ensemble.base)
    ours = objective_of(objective, ensemble.params).inverse_link(raw)
    found = export.checked(export.encoded(ensemble, to, "m.json"), to, ensemble, x, ours)
    assert not isinstance(found, str) and found.predicted < 1e-5


@pytest.mark.parametrize("raw", [-20.0, 1.9, 9.0])
def test_a_base_near_certainty_loses_nothing_in_xgboosts_float32(one: str, raw: float) -> None:
    pytest.importorskip("xgboost")
    ensemble = dataclasses.replace(leaving.ensemble_of(run.load_model(one)), base=np.array([raw]))
    x = export.made_rows(ensemble, 16)
    ours = objective_of("logistic", {}).inverse_link(ensemble.forest.raw_prediction(x, ensemble.base))
    assert not isinstance(export.checked(encoded_of(ensemble), "xgboost", ensemble, x, ours), str)
