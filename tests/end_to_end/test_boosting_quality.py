"""Boosted trees on real data: within the bands of REFERENCE.md around stock XGBoost and LightGBM, at their settings."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run
from tests.shared import shared

from .real import cut, taxi

INLINE = EngineConfig(engine="inline")
GROWTHS = ("depthwise", "leafwise")


class Set(NamedTuple):
    """``figure`` is the metric of the test rows; ``stock`` what XGBoost and LightGBM reach, ``band`` what is fair."""

    objective: str
    figure: str
    stock: tuple[float, float]
    band: float
    data: dict[str, Any]
    files: Callable[[Path], tuple[Path, Path]]


def _given(where: str, train: str, test: str) -> Callable[[Path], tuple[Path, Path]]:
    return lambda folder: (shared(where, train), shared(where, test))


def _higgs(folder: Path) -> tuple[Path, Path]:
    """The reference scores the test rows without their weights."""
    (folder / "binary.test").write_bytes(shared("higgs-7k", "binary.test").read_bytes())
    return shared("higgs-7k", "binary.train"), folder / "binary.test"


def _telco(folder: Path) -> tuple[Path, Path]:
    """A blank TotalCharges is missing."""
    with open(shared("telco-churn", "Telco-Customer-Churn.csv"), newline="") as file:
        head, *rows = csv.reader(file)
    return cut(folder, head, [[value.strip() for value in row] for row in rows])


def _housing(folder: Path) -> tuple[Path, Path]:
    table = pq.read_table(shared("kc-housing", "housing.parquet"))
    table = table.append_column("log_price", pa.array(np.log(table["price"].to_numpy())))
    test = np.arange(table.num_rows) % 5 == 0
    for name, keep in (("train.parquet", ~test), ("test.parquet", test)):
        pq.write_table(table.filter(pa.array(keep)), folder / name)
    return folder / "train.parquet", folder / "test.parquet"


BIKE = {"target": "cnt", "exclude": ("instant", "dteday", "casual", "registered")}
HOUSING = {"target": "log_price", "exclude": ("price", "above_median_price")}
SETS = {
    "higgs-7k": Set("logistic", "auc", (0.8289, 0.8364), 0.81, {"target": "c0"}, _higgs),
    "telco-churn": Set("logistic", "auc", (0.8193, 0.8180), 0.81, {"target": "Churn", "id": "customerID"}, _telco),
    "bike-sharing": Set(
        "squared", "rmse", (71.21, 65.69), 80.0, BIKE, _given("bike-sharing", "hour_train.csv", "hour_test.csv")
    ),
    "optdigits": Set(
        "softmax", "accuracy", (0.9560, 0.9644), 0.945, {"target": "c64"},
        _given("optdigits", "optdigits-train.csv", "optdigits-test.csv"),
    ),
    "kc-housing": Set("squared", "r2", (0.6902, 0.6902), 0.68, HOUSING, _housing),
    "dna": Set(
        "softmax", "accuracy", (0.9536, 0.9578), 0.945, {"target": "label"}, _given("dna", "dna.scale", "dna.scale.t")
    ),
    "chicago-taxi": Set("logistic", "auc", (0.9547, 0.9539), 0.95, {"target": "big", "exclude": ("tips",)}, taxi),
}  # fmt: skip


def measured(name: str, growth: str, folder: Path, engine: EngineConfig = INLINE) -> float:
    """The figure of the test rows after 100 iterations at the settings of the reference."""
    of = SETS[name]
    train, test = of.files(folder)
    out = str(folder / f"model-{growth}")
    params = {"objective": of.objective, "growth": growth}
    run.train(RunConfig("boosting", params, DataConfig(data=(str(train),), **of.data), engine, out))
    return float(run.evaluate(out, DataConfig(data=(str(test),)), engine)[of.figure])


@pytest.mark.slow
@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("name", SETS)
def test_a_model_is_as_good_as_that_of_the_stock_library(name: str, growth: str, tmp_path: Path) -> None:
    of, figure = SETS[name], measured(name, growth, tmp_path)
    assert figure <= of.band if of.figure == "rmse" else figure >= of.band
