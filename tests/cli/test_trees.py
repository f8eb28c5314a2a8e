"""What `mrml inspect` says and draws of boosted trees, and what a plan says of their jobs."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError
from mrml.runs import export as leaving
from mrml.runs import train as run

ROWS = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Trees of two columns and one that says nothing; half of the numbers of one are missing."""
    folder = tmp_path_factory.mktemp("trees")
    rng = np.random.default_rng(3)
    size, city, idle = rng.normal(size=ROWS), rng.choice(["Aachen", "<Bonn>", "Köln"], ROWS), np.zeros(ROWS)
    y = (size > 0) ^ (city == "Köln")
    lines = [f"{'' if i % 2 else format(size[i], '.4g')},{city[i]},{idle[i]},{int(y[i])}" for i in range(ROWS)]
    (folder / "rows.csv").write_text("\n".join(["size,city,idle,y", *lines]) + "\n")
    data, out = DataConfig(data=(str(folder / "rows.csv"),), target="y"), str(folder / "model")
    params = {"objective": "logistic", "rounds": 3, "max_depth": 3}
    run.train(RunConfig("boosting", params, data, EngineConfig(engine="inline"), out))
    return out


def test_inspect_tells_the_importance_of_every_column_that_splits(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", model]) == 0
    said = capsys.readouterr().out
    importance = mrml.load(model).importance()
    assert set(importance) == {"gain", "cover", "count"} and set(importance["gain"]) == {"size", "city"}
    trees = leaving.trees_of(run.load_model(model)).trees
    assert importance["count"] == {n: float((trees.feature == j).sum()) for j, n in enumerate(["size", "idle", "city"])
                                   if n in importance["count"]}  # fmt: skip
    assert re.search(r"trees +3\n", said) and re.search(r"column +gain +share +cover +splits\n", said)
    assert "1 column split nowhere" in said
    assert main(["inspect", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["importance"] == importance


def test_a_tree_as_text_routes_rows_as_the_model_does(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", model, "--tree", "1"]) == 0
    head, *lines = capsys.readouterr().out.rstrip().split("\n")
    ensemble = leaving.ensemble_of(run.load_model(model))
    tree = ensemble.tree(1)
    assert head == "tree 1 of 3" and len(lines) == len(tree.feature)
    above: dict[int, int] = {}  # the last node of each depth
    for line in lines:
        indent, answer, node, said = re.fullmatch(r"( *)(yes |no  |)\[(\d+)\] (.*)", line).groups()  # type: ignore[union-attr]
        k, depth = int(node), len(indent) // 2
        above[depth] = k
        assert k == (tree.left[above[depth - 1]] + ("no" in answer) if depth else 0)
        assert f"{tree.rows[k]:,} rows" in said
        if tree.leaf[k]:
            assert f"adds {tree.value[k]:+.6g}" in said
        elif tree.categorical[k]:
            assert said.startswith("city is ") and ("not " in said) == ("missing" in said)
        else:
            assert said.startswith(f"size < {tree.threshold[k]!s}")
            assert (" or missing" in said) == tree.missing_left[k]


@pytest.mark.parametrize("more", [[], ["--tree", "0"]], ids=["importance", "tree"])
def test_a_plot_is_an_svg_with_the_names_of_the_columns(model: str, tmp_path: Path, more: list[str]) -> None:
    path = tmp_path / "made" / "plot.svg"
    assert main(["inspect", model, "--plot", str(path), *more]) == 0
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(root.itertext())
    assert "city" in words and "size" in words and ("adds its number" in words) == bool(more)
    before = path.read_bytes()
    assert main(["inspect", model, "--plot", str(path), *more]) == 0 and path.read_bytes() == before


def test_what_cannot_be_shown_is_told(model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="numbered 0 to 2"):
        leaving.tree_text(model, 3)
    with pytest.raises(ConfigError, match=r"end it in \.svg"):
        leaving.plot(model, str(tmp_path / "plot.png"))
    assert main(["inspect", model, "--tree", "first", "-q"]) == 2


def test_the_plan_of_a_run_on_hadoop_says_what_its_jobs_cost(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,y\n1,0\n2,1\n")
    data, engine = DataConfig(data=(str(tmp_path),), target="y"), EngineConfig(engine="streaming", runner="hadoop")
    plan = run.plan(RunConfig("boosting", {"objective": "logistic"}, data, engine))
    assert plan["jobs"] == "at most 601 jobs at about 6.7 s each: 67 minutes before any computing"
    apart = dataclasses.replace(engine, uber="never")
    plan = run.plan(RunConfig("boosting", {"objective": "logistic"}, data, apart))
    assert plan["jobs"] == "at most 601 jobs at about 9.5 s each: 95 minutes before any computing"
    assert "--engine local" in plan["fewer_jobs"]
    assert "jobs" not in run.plan(RunConfig("boosting", {"objective": "logistic"}, data))
