"""Going on from a model: linear models and k-means begin where it ended, columns found by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.errors import ConfigError

RNG = np.random.default_rng(4)
X = RNG.normal(size=(600, 5)) * [1, 10, 0.1, 3, 1] + [0, 50, 0, -7, 1]
RAW = X @ [0.5, 0.1, 4.0, -0.4, 0.0] - 7 + RNG.normal(size=600)
TARGETS: dict[str, Any] = {
    "Linear": RAW,
    "Logistic": (RAW > 0).astype(int),
    "Softmax": np.digitize(RAW, [-1.0, 1.0]),
    "Poisson": RNG.poisson(np.exp(0.2 * RAW.clip(-5, 5))),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_a_linear_model_that_begins_where_one_ended_is_there_at_once(name: str, solver: str, tmp_path: Path) -> None:
    cls, columns = getattr(mrml, name), [f"x{j}" for j in range(5)]
    frame = dict(zip(columns, X.T, strict=True))
    table = mrml_table({**frame, "y": TARGETS[name]})
    cold = cls(l2=1e-3, solver=solver).fit(table, target="y", output=tmp_path / "cold", engine="inline")
    again = cls(l2=1e-3, solver=solver, init_model=str(tmp_path / "cold"))
    warm = again.fit(table, target="y", output=tmp_path / "warm", engine="inline")
    assert rounds(warm) <= 3 < rounds(cold) or (name == "Linear" and rounds(warm) <= rounds(cold))
    order = mrml_table({**{c: frame[c] for c in reversed(columns)}, "extra": RNG.normal(size=600), "y": TARGETS[name]})
    other = again.fit(order, target="y", exclude="extra", output=tmp_path / "order", engine="inline")
    assert rounds(other) <= 3 or name == "Linear"
    for a, b in ((cold, warm), (cold, other)):
        left, right = (m.evaluate(table if m is not other else order)["deviance"] for m in (a, b))
        assert left == pytest.approx(right, rel=1e-7)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_linear_model_that_begins_far_off_ends_where_one_ends_that_begins_without(
    name: str, solver: str, tmp_path: Path
) -> None:
    cls, columns = getattr(mrml, name), [f"x{j}" for j in range(5)]
    there = {"y": TARGETS[name], **dict(zip(columns, X.T, strict=True))}
    here = mrml_table({"y": TARGETS[name], **dict(zip(columns, 1e5 * X.T, strict=True))})  # in another unit
    cls(l2=1e-3).fit(mrml_table(there), target="y", output=tmp_path / "there", engine="inline")
    cold = cls(l2=1e-3, solver=solver).fit(here, target="y", output=tmp_path / "cold", engine="inline")
    begun = cls(l2=1e-3, solver=solver, init_model=str(tmp_path / "there"))
    warm = begun.fit(here, target="y", output=tmp_path / "warm", engine="inline")
    assert warm.facts["converged"] and "converged" in warm.facts["stop"]
    left, right = (m.evaluate(here)["deviance"] for m in (cold, warm))
    assert left == pytest.approx(right, rel=1e-6)


def mrml_table(columns: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.table({name: pa.array(np.asarray(values)) for name, values in columns.items()})


def rounds(model: Any) -> int:
    return int(model.facts["rounds"])


def test_k_means_begins_with_the_centres_of_a_model(tmp_path: Path) -> None:
    x = np.concatenate([RNG.normal(c, 1.0, size=(200, 2)) for c in ([0, 0], [8, 0], [0, 8])])
    table = mrml_table({"a": x[:, 0], "b": x[:, 1]})
    for standardise in (False, True):
        folder = tmp_path / str(standardise)
        cold = mrml.KMeans(k=3, standardise=standardise).fit(table, output=folder / "cold", engine="inline")
        warm = mrml.KMeans(k=3, standardise=standardise, init_model=str(folder / "cold"))
        swapped = mrml_table({"b": x[:, 1], "a": x[:, 0]})
        there = warm.fit(swapped, output=folder / "warm", engine="inline")
        assert rounds(there) <= 3 < rounds(cold)
        assert there.evaluate(swapped)["inertia"] == pytest.approx(cold.evaluate(table)["inertia"], rel=1e-9)


def test_a_model_that_is_another_is_refused_with_what_to_do(tmp_path: Path) -> None:
    x, y = mrml_table({"a": X[:, 0], "y": RAW}), tmp_path / "linear"
    mrml.Linear().fit(x, target="y", output=y, engine="inline")
    classes = mrml_table({"a": X[:, 0], "y": TARGETS["Logistic"]})
    with pytest.raises(ConfigError, match="has the loss half_squared_error, and this run logistic"):
        mrml.Logistic(init_model=str(y)).fit(classes, target="y", engine="inline")
    with pytest.raises(ConfigError, match="is not a model of k-means"):
        mrml.KMeans(k=2, init_model=str(y)).fit(mrml_table({"a": X[:, 0]}), engine="inline")
    mrml.KMeans(k=2).fit(mrml_table({"a": X[:, 0]}), output=tmp_path / "k", engine="inline")
    with pytest.raises(ConfigError, match="has 2 centres, and this run 3"):
        mrml.KMeans(k=3, init_model=str(tmp_path / "k")).fit(mrml_table({"a": X[:, 0]}), engine="inline")
    with pytest.raises(ConfigError, match="has other columns"):
        mrml.KMeans(k=2, init_model=str(tmp_path / "k")).fit(mrml_table({"b": X[:, 0]}), engine="inline")


def test_a_model_says_nothing_of_where_it_began(tmp_path: Path, capsys: Any) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(["a,y", *(f"{a},{y}" for a, y in zip(X[:, 0], RAW, strict=True))]), encoding="utf-8")
    for name, more in (("cold", []), ("warm", [f"--init-model={tmp_path / 'cold'}"])):
        words = [f"--data={rows}", "--target=y", f"--output={tmp_path / name}", "-q", *more]
        assert main(["train", "linear", *words]) == 0
    assert str(tmp_path / "cold") not in (tmp_path / "warm" / "model.json").read_text("utf-8")
