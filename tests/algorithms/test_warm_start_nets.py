"""Networks go on from a model: what they predict first is what it predicted, whatever columns, levels and scales."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.sgd.model import NetModel
from mrml.algorithms.sgd.module_net import ModuleNet
from mrml.algorithms.sgd.warm_start import Side, carried, same_module
from mrml.arrays import Array
from mrml.cli.main import main
from mrml.errors import ConfigError
from mrml.kernels.net.describe import Inputs, Net, SparseRows
from mrml.kernels.net.numpy import predict
from mrml.schema import Design

RNG = np.random.default_rng(11)
KINDS: dict[str, dict[str, Any]] = {
    "layers": {"hidden": (5, 3)},
    "layer norm": {"hidden": (4,), "norm": "layer", "wide": True, "n_outputs": 3},
    "batch norm": {"hidden": (6, 2), "norm": "batch", "activation": "tanh"},
    "factors": {"wide": True, "factors": 3},
    "all": {"hidden": (4,), "wide": True, "factors": 2},
}
LEVELS = {
    "before": (("red", "green", "other"), ("s", "m", "null", "other")),
    "now": (("m", "l", "s", "other"), ("green", "blue", "other")),
}


def side(kind: dict[str, Any], names: str, tables: tuple[str, ...], when: str) -> Side:
    """A network over columns of numbers, each with its own centre and scale, and coded ones."""
    levels = LEVELS[when]
    sizes = tuple((name, len(of)) for name, of in zip(tables, levels, strict=True))
    design = Design(
        names=tuple(names), n_features=len(names), tables=sizes, levels=levels,
        center=tuple(RNG.normal(0, 3, len(names)).tolist()), scale=tuple(RNG.uniform(0.5, 4, len(names)).tolist()),
    )  # fmt: skip
    return Side(Net(n_numeric=len(names), tables=tuple((n, 2) for _, n in sizes), **kind), design)


def inputs(of: Side, rows: dict[str, Array]) -> Inputs:
    """Rows as a side reads them."""
    numbers = np.stack([rows[name] for name in of.design.names], axis=1)
    x = (numbers - np.array(of.design.center)) / np.array(of.design.scale)
    codes = [[levels.index(v) if v in levels else len(levels) - 1 for v in rows[name].tolist()]
             for (name, _), levels in zip(of.design.tables, of.design.levels, strict=True)]  # fmt: skip
    return Inputs(x.astype(np.float32), np.array(codes, np.int32).T.copy())


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_predictions_are_those_of_the_other_network(kind: str) -> None:
    old = side(KINDS[kind], "abc", ("colour", "size"), "before")
    new = side(KINDS[kind], "cdab", ("size", "colour"), "now")
    params = RNG.normal(0, 0.7, old.net.n_params).astype(np.float32)
    buffers = old.net.init_buffers()
    for mean, square in old.net.moments(buffers):
        mean[...] = RNG.normal(size=len(mean))
        square[...] = mean**2 + RNG.uniform(0.5, 2, len(mean))
    rows = {name: RNG.normal(1, 5, 200) for name in "abcd"}
    rows |= {"colour": RNG.choice(["red", "green", "blue"], 200), "size": RNG.choice(["s", "m", "l"], 200)}
    rows["colour"] = np.where(rows["colour"] == "red", "blue", rows["colour"])  # whose level this run does not have
    got = carried(params, buffers, old, new, new.net.init(1))
    then, now = predict(old.net, params, buffers, inputs(old, rows)), predict(new.net, *got, inputs(new, rows))
    assert np.abs(then - now).max() < 1e-4 * np.abs(then).max() and np.ptp(then) > 0.1
    plain = predict(new.net, new.net.init(1), new.net.init_buffers(), inputs(new, rows))
    assert not np.allclose(now, plain)


def test_columns_of_libsvm_are_found_by_their_index() -> None:
    sides = []
    for n in (4, 6):
        design = Design(n_features=n, sparse=True, scale=tuple(RNG.uniform(1, 3, n)))
        sides.append(Side(Net(n_sparse=n, hidden=(3,), wide=True, factors=2), design))
    old, new = sides
    params = RNG.normal(size=old.net.n_params).astype(np.float32)
    at, values = np.tile(np.arange(4), 50), RNG.normal(size=200)
    read = [
        Inputs(np.zeros((50, 0), np.float32), np.zeros((50, 0), np.int32),
               SparseRows(np.arange(0, 201, 4), at, (values / np.array(s.design.scale)[at]).astype(np.float32)))
        for s in sides
    ]  # fmt: skip
    got = carried(params, old.net.init_buffers(), old, new, new.net.init(1))
    then, now = predict(old.net, params, old.net.init_buffers(), read[0]), predict(new.net, *got, read[1])
    assert np.abs(then - now).max() < 1e-4 * np.abs(then).max()


def test_a_module_of_the_users_own_begins_from_one_of_the_same_columns_and_parameters() -> None:
    design = Design(names=("a", "b"), n_features=2)
    net = ModuleNet("m:make", "", 2, (), 1, False, shapes=(("w", (2, 1)),), buffers=(("seen", (1,)),))
    inner = NetModel(net, "squared", np.float32([3, 4]), np.array([5.0]))  # type: ignore[arg-type]
    fitted = SimpleNamespace(design=design)
    other = PipelineModel(fitted, inner, True)  # type: ignore[arg-type]
    params, buffers = same_module("m", (other, inner), "squared", net, design)
    assert params.tolist() == [3, 4] and buffers.tolist() == [5.0]
    with pytest.raises(ConfigError, match="other columns or levels"):
        same_module("m", (other, inner), "squared", net, replace(design, names=("b", "a")))
    with pytest.raises(ConfigError, match="parameters of other names or shapes"):
        same_module("m", (other, inner), "squared", replace(net, shapes=(("w", (1, 2)),)), design)
    with pytest.raises(ConfigError, match="has the loss squared, and this run huber"):
        same_module("m", (other, inner), "huber", net, design)


def table(**columns: Any) -> Any:
    return pa.table({name: pa.array(np.asarray(values)) for name, values in columns.items()})


def made(seed: int, shift: float, levels: str) -> Any:
    """Rows whose target is a function of all columns."""
    rng = np.random.default_rng(seed)
    a, b, kind = rng.normal(shift, 1 + shift, 800), rng.normal(size=800), rng.choice(list(levels), 800)
    raw = np.sin(a) + b * (kind == "p") + 0.5 * (kind == "q")
    return table(a=a, b=b, kind=kind, y=(raw + 0.2 * rng.normal(size=800) > 0.3).astype(int))


def trained(folder: Path, name: str, rows: Any, words: list[str]) -> None:
    """A model that a command in this process trains."""
    pyarrow.csv.write_csv(rows, folder / f"{name}.csv")
    where = [f"--data={folder / name}.csv", f"--output={folder / name}", "--target=y", "--engine=inline", "-q"]
    assert main(["train", *words, *where]) == 0


def probabilities(folder: Path, name: str) -> Array:
    """(n_rows,) what a model says of the first one's rows."""
    words = [f"--data={folder / 'first.csv'}", f"--output={folder / name}.scores", "--engine=inline", "-q"]
    assert main(["predict", str(folder / name), *words]) == 0
    return np.asarray(pq.read_table(folder / f"{name}.scores").column("probability_1"))


@pytest.mark.parametrize(
    "words", [["mlp", "--hidden=8"], ["factorization-machine"], ["logistic", "--solver=sgd"]], ids=lambda w: w[0]
)
def test_a_training_at_rate_0_gives_the_model_it_began_from_and_one_at_another_rate_a_better_one(
    words: list[str], tmp_path: Path
) -> None:
    first, then = made(1, 0.0, "pqr"), made(2, 0.5, "qprs")
    trained(tmp_path, "first", first, [*words, "--epochs=3", "--learning-rate=0.02"])
    warm = [*words, "--epochs=1", f"--init-model={tmp_path / 'first'}"]
    trained(tmp_path, "same", then, [*warm, "--learning-rate=0"])
    trained(tmp_path, "better", then, [*warm, "--learning-rate=0.02"])
    trained(tmp_path, "cold", then, [*words, "--epochs=1", "--learning-rate=0.02"])
    told = [probabilities(tmp_path, name) for name in ("first", "same", "better")]
    assert np.abs(told[0] - told[1]).max() < 1e-5 < np.abs(told[0] - told[2]).max()
    assert loss_of(tmp_path / "better") < loss_of(tmp_path / "cold")
    for name in ("same", "better"):
        assert str(tmp_path / "first") not in (tmp_path / name / "model.json").read_text("utf-8")


def loss_of(run_: Path) -> float:
    """What training left of its own rows."""
    return float(json.loads((run_ / "run.json").read_text("utf-8"))["metrics"]["log_loss"])


def test_a_linear_model_by_sgd_begins_from_one_by_newton(tmp_path: Path) -> None:
    rows = made(1, 0.0, "pqr")
    trained(tmp_path, "exact", rows, ["logistic", "--solver=newton"])
    begun = ["--solver=sgd", "--epochs=1", "--learning-rate=0", f"--init-model={tmp_path / 'exact'}"]
    trained(tmp_path, "warm", rows, ["logistic", *begun])
    assert loss_of(tmp_path / "warm") == pytest.approx(loss_of(tmp_path / "exact"), rel=1e-6)


@pytest.mark.parametrize(
    "words, finding",
    [
        (["mlp", "--hidden=9"], r"has hidden 8, and this run \(9,\)"),
        (["mlp", "--hidden=8", "--embedding=5"], "embeds the column 'kind' in 3 numbers, and this run in 5"),
        (["mlp", "--hidden=8", "--hash=kind"], "reads the column 'kind' hashed otherwise"),
        (["mlp", "--hidden=8", "--loss=squared"], "has the loss logistic, and this run squared"),
        (["factorization-machine"], r"has hidden 8, and this run \(\)"),
        (["logistic", "--solver=sgd"], "is not a linear model"),
    ],
    ids=str,
)
def test_a_network_of_another_shape_is_refused_with_what_to_say(
    words: list[str], finding: str, tmp_path: Path, capsys: Any
) -> None:
    trained(tmp_path, "first", made(1, 0.0, "pqr"), ["mlp", "--hidden=8", "--epochs=1"])
    more = [f"--data={tmp_path / 'first.csv'}", "--target=y", f"--init-model={tmp_path / 'first'}", "--engine=inline"]
    capsys.readouterr()
    assert main(["train", *words, *more, f"--output={tmp_path / 'second'}", "-q", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert re.search(finding, told["finding"]), told
    assert told["remedy"]


def test_a_run_that_goes_on_from_a_model_is_taken_up_where_it_was_stopped(tmp_path: Path) -> None:
    rows, words = made(1, 0.0, "pqr"), ["mlp", "--hidden=4"]
    trained(tmp_path, "first", rows, [*words, "--epochs=2"])
    warm = [*words, "--epochs=4", f"--init-model={tmp_path / 'first'}"]
    trained(tmp_path, "whole", rows, warm)
    trained(tmp_path, "parts", rows, [*warm, "--max-rounds=3"])
    (tmp_path / "parts" / "_SUCCESS").unlink()
    trained(tmp_path, "parts", rows, warm)
    parts = [(tmp_path / name / "model.npz").read_bytes() for name in ("whole", "parts")]
    assert parts[0] == parts[1]
