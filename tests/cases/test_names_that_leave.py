"""Names in any script are the library's own names of the features, and classes of integers stay integers."""

from __future__ import annotations

import json
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
