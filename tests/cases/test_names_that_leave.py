"""Names in any script are the library's own names of the features, and classes of integers stay integers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.export import check
from mrml.export.ensemble import plain_names
from mrml.export.stock import Scores

NAMES = ("тип", "größe", "値段", "🎈", "a b", "a_b", "naïve[1]", 'q"q', "back\\slash")


@pytest.mark.parametrize("to", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("ending", [".json", ".ubj"])
def test_names_in_any_script_are_the_library_s(to: str, ending: str, tmp_path: Path) -> None:
    library = pytest.importorskip(to)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, len(NAMES)))
    lines = [
        {name: round(v, 4) for name, v in zip(NAMES, row, strict=True)} | {"y": round(float(row.sum()), 4)} for row in x
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    words = [
        "--data",
        str(tmp_path / "a.jsonl"),
        "--target",
        "y",
        "--engine",
        "inline",
        "--output",
        str(tmp_path / "m"),
    ]
    assert main(["train", "boosting", *words, "--num-trees", "3"]) == 0
    out = tmp_path / f"model{ending}"
    assert main(["export", str(tmp_path / "m"), "--to", to, "--output", str(out)]) == 0
    if to == "xgboost":
        found = library.Booster(model_file=str(out)).feature_names
    else:
        found = library.Booster(model_file=str(out)).feature_name()
    kept = ("тип", "größe", "値段", "🎈")
    assert tuple(found[:4]) == kept and len(set(found)) == len(NAMES)


def test_a_file_whose_names_are_read_otherwise_is_refused() -> None:
    nothing = np.zeros((1, 1))
    for theirs in (("a", "\\u0442"), ("a",), ()):
        with pytest.raises(check.ExportDiffers, match=r"xgboost 9: reads the export as another model"):
            check.same_names("xgboost", Scores(nothing, nothing, nothing, "9", theirs), ["a", "т"])


def test_many_names_that_become_one_are_told_apart_without_counting_anew() -> None:
    names = tuple(f"a{'[' if k % 2 else ']'}" for k in range(20_000))
    found = plain_names(names, "[]")
    assert found[:3] == ["a_", "a__2", "a__3"] and len(set(found)) == len(names)
    assert plain_names(("a b", "a_b", "a_b_2"), "") == ["a_b", "a_b_2", "a_b_2_2"]


@pytest.mark.parametrize(
    ("texts", "kind"), [(("0", "1"), "i"), (("-1", "7"), "i"), (("false", "true"), "b"), (("n", "y"), "U")]
)
def test_classes_are_the_values_of_the_target(texts: tuple[str, str], kind: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(6)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] + 0.3 * rng.normal(size=200) > 0).astype(int)
    rows = "".join(f"{a},{b},{texts[c]}\n" for (a, b), c in zip(x.tolist(), y.tolist(), strict=True))
    (tmp_path / "a.csv").write_text("a,b,y\n" + rows)
    model = mrml.Logistic().fit(tmp_path / "a.csv", target="y", engine="inline")
    estimator = model.to_sklearn()
    assert estimator.classes_.dtype.kind == kind
    own = {"i": lambda t: int(t), "b": lambda t: t == "true", "U": str}[kind]
    labels = np.array([own(texts[c]) for c in y])
    assert estimator.score(x, labels) == pytest.approx(model.metrics["accuracy"])


@pytest.mark.parametrize("options", [{}, {"hash": ["c"], "hash_bits": 6, "standardise": False}, {"bins": 4}], ids=str)
@pytest.mark.parametrize("name", ["Logistic", "Linear", "Poisson"])
def test_a_linear_model_with_categories_takes_the_raw_frame(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    """In any order of columns and categories, with levels that training had not, and pickled."""
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {"a": rng.normal(size=300), "c": rng.choice(["u", "v", "w"], 300), "n": rng.integers(0, 9, 300)}
    )
    frame["y"] = ((frame.a + (frame.c == "u") + 0.3 * rng.normal(size=300)) > 0.5).astype(int)
    frame.to_csv(tmp_path / "a.csv", index=False)
    params = {k: v for k, v in options.items() if k == "standardise"}
    data = {k: v for k, v in options.items() if k != "standardise"}
    model = getattr(mrml, name)(**params).fit(tmp_path / "a.csv", target="y", engine="inline", **data)
    other = frame.drop(columns="y").iloc[::-1][["n", "c", "a"]].astype({"c": "object"})
    other.iloc[0, 1], other.iloc[1, 1], other.iloc[2, 2] = "never seen", None, np.nan
    other.to_csv(tmp_path / "b.csv", index=False)
    theirs = pickle.loads(pickle.dumps(model.to_sklearn()))
    expected = np.asarray(model.predict(tmp_path / "b.csv"))
    ours = expected[:, -1].astype(float)
    for c in (other["c"], pd.Categorical(other["c"], categories=["w", "never seen", "u", "v"])):
        own = other.assign(c=c)
        found = theirs.predict_proba(own)[:, 1] if name == "Logistic" else theirs.predict(own)
        np.testing.assert_allclose(found, ours, rtol=1e-6, atol=1e-9)
    if name == "Logistic":
        assert theirs.classes_.tolist() == [0, 1]
        assert theirs.score(frame, frame["y"]) == pytest.approx(model.metrics["accuracy"])
