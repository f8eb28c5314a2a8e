"""Real data: the figures of REFERENCE.md, optima of other libraries, metrics of scikit-learn on what was predicted.

Every design matrix below is built from the files without mrml, and every objective is its formula written down.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from scipy.special import xlogy
from sklearn import metrics as sk
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from mrml.algorithms.pipeline.model import PipelineModel
from mrml.arrays import CSR
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.open import open_dataset
from mrml.runs import train as run
from tests.shared import shared

INLINE = EngineConfig(engine="inline")
BIKE_LEVELS = ("season", "mnth", "hr", "weekday", "weathersit")
BIKE_NUMBERS = ("yr", "holiday", "workingday", "temp", "atemp", "hum", "windspeed")


# ---- the sets, as REFERENCE.md splits and prepares them


@dataclass(frozen=True)
class Set:
    """One set: how it is trained, and the figures of REFERENCE.md with their bands."""

    name: str
    algorithm: str
    params: dict[str, Any]
    figures: dict[str, tuple[float, float]]
    data: dict[str, Any] = field(default_factory=dict)


def l2(c: float, sum_weight: float) -> float:
    """scikit-learn's C adds the losses up, mrml takes their weighted mean."""
    return 1 / (c * sum_weight)


#: sum of the 7,000 weights of binary.train.weight
HIGGS_WEIGHT = 7000.30
RAW = {"standardise": False}
SETS = (
    Set("telco", "logistic", {"l2": l2(1, 5634)},
        {"auc": (0.83545899, 1e-6), "log_loss": (0.42586012, 1e-6), "accuracy": (0.79914833, 1e-8),
         "pr_auc": (0.63508545, 1e-6)}, {"target": "Churn", "id": "customerID"}),
    Set("higgs", "logistic", {"l2": l2(1, HIGGS_WEIGHT)},
        {"auc": (0.69324045, 1e-7), "log_loss": (0.63008918, 1e-7), "accuracy": (0.662, 1e-12),
         "pr_auc": (0.69451623, 1e-7)}, {"target": "c0"}),
    Set("agaricus", "logistic", {"l2": l2(1, 6513), **RAW},
        {"auc": (1.0, 0.0), "log_loss": (0.0059175535, 1e-7), "accuracy": (1.0, 0.0), "pr_auc": (1.0, 1e-12)}),
    Set("optdigits", "softmax", {"l2": 256 * l2(1, 3823), **RAW},  # on pixels / 16, of which mrml sees the pixels
        {"accuracy": (0.94824708, 1e-8), "log_loss": (0.16177753, 1e-5)}, {"target": "c64"}),
    Set("dna", "softmax", {"l2": l2(1, 2000), **RAW},
        {"accuracy": (0.94772344, 1e-8), "log_loss": (0.16711866, 1e-5)}),
    Set("bike", "poisson", {"l2": 1e-4, **RAW},
        {"deviance": (44.327795, 1e-4), "rmse": (113.87188, 1e-4), "mae": (79.792943, 1e-4), "r2": (0.73173037, 1e-6)},
        {"target": "cnt"}),
    Set("housing", "linear", {},
        {"r2": (0.652871, 1e-6), "rmse": (0.30990565, 1e-8), "mae": (0.24669561, 1e-8)},
        {"target": "log_price", "exclude": ("price", "above_median_price")}),
)  # fmt: skip
BY_NAME = {s.name: s for s in SETS}
CLASSIFIERS = [s.name for s in SETS if s.algorithm in ("logistic", "softmax")]
NAMES = [s.name for s in SETS]


def prepare(name: str, folder: Path) -> tuple[Path, Path]:
    """The files of the training and of the test rows; those that the repository splits are taken as they are."""
    if name == "telco":
        return _telco(folder)
    if name == "housing":
        return _housing(folder)
    files = {
        "higgs": ("higgs-7k", "binary.train", "binary.test"),
        "agaricus": ("agaricus", "agaricus.txt.train", "agaricus.txt.test"),
        "optdigits": ("optdigits", "optdigits-train.csv", "optdigits-test.csv"),
        "dna": ("dna", "dna.scale", "dna.scale.t"),
        "bike": ("bike-sharing", "hour_train.csv", "hour_test.csv"),
    }
    where, train, test = files[name]
    found = shared(where, train), shared(where, test)
    if name == "higgs":  # the reference scores the test rows without their weights
        (folder / "binary.test").write_bytes(found[1].read_bytes())
        return found[0], folder / "binary.test"
    return found


def _telco(folder: Path) -> tuple[Path, Path]:
    """A blank TotalCharges is 0; row i is test where i % 5 == 0."""
    with open(shared("telco-churn", "Telco-Customer-Churn.csv"), newline="") as file:
        head, *rows = csv.reader(file)
    at = head.index("TotalCharges")
    for row in rows:
        row[at] = row[at].strip() or "0"
    for name, part in (("train.csv", [r for i, r in enumerate(rows) if i % 5]), ("test.csv", rows[::5])):
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows([head, *part])
    return folder / "train.csv", folder / "test.csv"


def _housing(folder: Path) -> tuple[Path, Path]:
    table = pq.read_table(shared("kc-housing", "housing.parquet"))
    table = table.append_column("log_price", pa.array(np.log(table["price"].to_numpy())))
    test = np.arange(table.num_rows) % 5 == 0
    for name, keep in (("train.parquet", ~test), ("test.parquet", test)):
        pq.write_table(table.filter(pa.array(keep)), folder / name)
    return folder / "train.parquet", folder / "test.parquet"


def _bike_schema(folder: Path, train: Path) -> dict[str, Any]:
    """What a user does with a schema file: numbers that are levels are said to be categorical."""
    _, text, _ = run.schema(DataConfig(data=(str(train),), target="cnt"))
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if any(f"name: {n}," in line for n in BIKE_LEVELS):
            lines[i] = line.replace("kind: numeric", "kind: categorical")
        if any(f"name: {n}," in line for n in ("instant", "dteday", "casual", "registered")):
            lines[i] = line.replace("role: feature", "role: ignore")
    (folder / "schema.yaml").write_text("\n".join(lines) + "\n")
    return {"schema": str(folder / "schema.yaml")}


@dataclass(frozen=True)
class Trained:
    """A trained set."""

    set: Set
    folder: Path
    train: Path
    test: Path
    facts: dict[str, Any]

    @property
    def directory(self) -> str:
        return str(self.folder / "model")

    @functools.cached_property
    def model(self) -> PipelineModel:
        return run.load_model(self.directory)


class Laboratory:
    """Trains every set once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kept: dict[tuple[str, str], Trained] = {}
        self.optima: dict[str, Optimum] = {}

    def trained(self, name: str, **params: Any) -> Trained:
        key = name, repr(params)
        if key not in self.kept:
            folder = self.root / f"{name}-{len(self.kept)}"
            folder.mkdir()
            self.kept[key] = self._train(BY_NAME[name], folder, params)
        return self.kept[key]

    def optimum(self, of: Trained) -> Optimum:
        """What another library finds on the same rows, once."""
        if of.set.name not in self.optima:
            self.optima[of.set.name] = OPTIMA[of.set.name](of.train)
        return self.optima[of.set.name]

    def _train(self, of: Set, folder: Path, params: dict[str, Any]) -> Trained:
        train, test = prepare(of.name, folder)
        data = {**of.data, **(_bike_schema(folder, train) if of.name == "bike" else {})}
        config = RunConfig(
            of.algorithm, {**of.params, **params}, DataConfig(data=(str(train),), **data), INLINE, str(folder / "model")
        )
        return Trained(of, folder, train, test, run.train(config))


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    yield Laboratory(tmp_path_factory.mktemp("real"))


# ---- figures


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_the_test_rows_are_those_of_the_reference(laboratory: Laboratory, name: str) -> None:
    of = laboratory.trained(name)
    assert of.facts["converged"]
    found = run.evaluate(of.directory, DataConfig(data=(str(of.test),)), INLINE)
    for metric, (expected, band) in of.set.figures.items():
        assert abs(found[metric] - expected) <= band, (metric, found[metric], expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_of_the_digits_are_as_tight_as_those_of_the_reference(tmp_path: Path, seed: int) -> None:
    train = shared("optdigits", "optdigits-train.csv")
    data = DataConfig(data=(str(train),), exclude=("c64",))
    run.train(RunConfig("kmeans", {"k": 10, "seed": seed}, data, INLINE, str(tmp_path / "m")))
    model = run.load_model(str(tmp_path / "m"))
    X = np.loadtxt(train, delimiter=",")[:, :64]
    centres = model.inner.arrays()["centres"]
    inertia = sum(float(((row - centres) ** 2).sum(axis=1).min()) for row in X)
    assert inertia <= 2_525_000
    assert math.isclose(inertia, model.inner.header()["inertia"], rel_tol=1e-9)
    assert (
        model.to_sklearn().predict(X) == predicted(str(tmp_path / "m"), train, tmp_path)["prediction"].to_numpy()
    ).all()


# ---- optima of other libraries


@dataclass(frozen=True)
class Optimum:
    """The training rows as a matrix, and the optimum that another library finds.

    ``X`` (n, d) holds the columns as they are and ``coef`` (k, d), ``intercept`` (k,) are in their units; the library
    saw ``(X - center) * unit``, and its penalty is that of these.  ``names`` are mrml's, empty where it has none.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    unit: Any = 1.0
    names: tuple[str, ...] = ()

    def objective(self, of: Set, coef: np.ndarray, intercept: np.ndarray) -> float:
        """The weighted mean loss and the penalty, by their formulas."""
        raw = self.X @ coef.T + intercept
        if of.algorithm == "linear":
            each = (self.y - raw[:, 0]) ** 2 / 2
        elif of.algorithm == "poisson":
            # with the constant that makes it half a deviance: else the mean may lie near 0 and is no yardstick
            each = np.exp(raw[:, 0]) - self.y * raw[:, 0] + xlogy(self.y, self.y) - self.y
        elif of.algorithm == "logistic":
            each = np.logaddexp(0, raw[:, 0]) - self.y * raw[:, 0]
        else:
            each = np.logaddexp.reduce(raw, axis=1) - raw[np.arange(len(raw)), self.y.astype(int)]
        strength = of.params.get("l2", 0.0) * np.square(self.penalised(of) * coef).sum() / 2
        return math.fsum(self.weight * each) / math.fsum(self.weight) + strength

    def penalised(self, of: Set) -> Any:
        """What a coefficient is multiplied by in the penalty of ``of``: mrml's l2 may be on other units."""
        return 1.0 if of.params.get("standardise") is False else 1 / self.unit


def found_by(
    fitted: Any, X: np.ndarray, y: np.ndarray, *, weight: Any = None, center: Any = 0.0, unit: Any = 1.0,
    names: Sequence[str] = (), **how: Any,
) -> Optimum:  # fmt: skip
    """What a linear model of scikit-learn finds."""
    weight = np.ones(len(y)) if weight is None else weight
    fitted.fit((X - center) * unit, y, weight)
    codes = np.searchsorted(fitted.classes_, y).astype(float) if hasattr(fitted, "classes_") else y
    coef, intercept = np.atleast_2d(fitted.coef_) * unit, np.atleast_1d(fitted.intercept_)
    return Optimum(X, codes, weight, coef, intercept - coef @ (np.zeros(X.shape[1]) + center), unit, tuple(names))


def lr() -> LogisticRegression:
    return LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=1000)


def rows_of(path: Path) -> dict[str, np.ndarray]:
    """Columns of a CSV file as texts."""
    with open(path, newline="") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, np.array(rows).T, strict=True))


def with_levels(
    columns: dict[str, np.ndarray], numbers: Sequence[str], levels: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Numbers, and a column for each level, with mrml's names."""
    pairs = [(name, level) for name in levels for level in np.unique(columns[name])]
    X = [columns[n].astype(float) for n in numbers] + [(columns[n] == level).astype(float) for n, level in pairs]
    return np.column_stack(X), [*numbers, *(f"{n}={level}" for n, level in pairs)]


def telco(train: Path) -> Optimum:
    columns = rows_of(train)
    numbers = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"]
    X, names = with_levels(columns, numbers, [n for n in columns if n not in (*numbers, "customerID", "Churn")])
    assert len(names) == 45  # as the reference says
    center, unit = np.zeros(45), np.ones(45)
    center[:4], unit[:4] = X[:, :4].mean(axis=0), 1 / X[:, :4].std(axis=0)
    return found_by(lr(), X, columns["Churn"] == "Yes", center=center, unit=unit, names=names)


def higgs(train: Path) -> Optimum:
    table, weight = np.loadtxt(train), np.loadtxt(f"{train}.weight")
    assert math.isclose(weight.sum(), HIGGS_WEIGHT, rel_tol=1e-12)
    X, names = table[:, 1:], [f"c{j + 1}" for j in range(28)]
    how = {"weight": weight, "center": X.mean(axis=0), "unit": 1 / X.std(axis=0), "names": names}
    return found_by(lr(), X, table[:, 0], **how)


def optdigits(train: Path) -> Optimum:
    table = np.loadtxt(train, delimiter=",")
    return found_by(lr(), table[:, :64], table[:, 64], unit=1 / 16, names=[f"c{j}" for j in range(64)])


def libsvm(train: Path) -> Optimum:
    X, y = load_svmlight_file(str(train), zero_based=False)
    return found_by(lr(), X.toarray(), y)


def bike(train: Path) -> Optimum:
    columns = rows_of(train)
    X, names = with_levels(columns, BIKE_NUMBERS, BIKE_LEVELS)
    fitted = PoissonRegressor(alpha=1e-4, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    return found_by(fitted, X, columns["cnt"].astype(float), names=names)


def housing(train: Path) -> Optimum:
    table = pq.read_table(train)
    names = [n for n in table.column_names if n not in ("price", "above_median_price", "log_price")]
    X = np.column_stack([table[n].to_numpy().astype(float) for n in names])
    y, center, unit = table["log_price"].to_numpy(), X.mean(axis=0), 1 / X.std(axis=0)
    params = sm.OLS(y, sm.add_constant((X - center) * unit)).fit().params
    coef = params[None, 1:] * unit
    return Optimum(X, y, np.ones(len(y)), coef, params[:1] - coef @ center, unit, tuple(names))


OPTIMA = {"telco": telco, "higgs": higgs, "agaricus": libsvm, "optdigits": optdigits, "dna": libsvm, "bike": bike,
          "housing": housing}  # fmt: skip


def of_model(model: PipelineModel, optimum: Optimum) -> tuple[np.ndarray, np.ndarray]:
    """The model's coefficients and intercepts, its columns in the order of the optimum's."""
    arrays, columns = model.inner.arrays(), model.fitted.names
    order = [columns.index(n) for n in optimum.names] if optimum.names else list(range(optimum.X.shape[1]))
    others = np.delete(arrays["coef"], order, axis=1)
    assert np.abs(others).max(initial=0) < 1e-10  # columns of levels that training never saw
    return arrays["coef"][:, order], arrays["intercept"]


@pytest.mark.parametrize("name", NAMES)
def test_the_optimum_is_that_of_another_library(laboratory: Laboratory, name: str) -> None:
    # a gradient of 1e-6, where L-BFGS ends by default, leaves coefficients of rare columns 1e-4 from where they belong
    of = laboratory.trained(name, **({"tol": 1e-8} if BY_NAME[name].algorithm == "softmax" else {}))
    optimum = laboratory.optimum(of)
    coef, intercept = of_model(of.model, optimum)
    mine, best = (optimum.objective(of.set, *at) for at in ((coef, intercept), (optimum.coef, optimum.intercept)))
    assert abs(mine - best) <= 1e-9 * best
    spread, mean = optimum.X.std(axis=0), optimum.X.mean(axis=0)
    np.testing.assert_allclose(coef * spread, optimum.coef * spread, rtol=0, atol=1e-5)
    np.testing.assert_allclose(intercept + coef @ mean, optimum.intercept + optimum.coef @ mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["optdigits", "dna"])
def test_lbfgs_with_the_default_tolerance_ends_near_that_objective(laboratory: Laboratory, name: str) -> None:
    of = laboratory.trained(name)
    assert of.model.inner.header()["params"]["solver"] == "lbfgs"
    optimum = laboratory.optimum(of)
    mine, best = (optimum.objective(of.set, *at) for at in
                  (of_model(of.model, optimum), (optimum.coef, optimum.intercept)))  # fmt: skip
    assert abs(mine - best) <= 1e-8 * best


def test_without_a_penalty_the_optimum_is_that_of_statsmodels(laboratory: Laboratory) -> None:
    of = laboratory.trained("higgs", l2=0.0)
    table, weight = np.loadtxt(of.train), np.loadtxt(f"{of.train}.weight")
    X = table[:, 1:]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    binomial = sm.GLM(table[:, 0], sm.add_constant(Z), family=sm.families.Binomial(), freq_weights=weight)
    params = binomial.fit(tol=1e-12, maxiter=100).params
    arrays = of.model.inner.arrays()
    found = np.append(arrays["standard_intercept"], arrays["standard_coef"])
    np.testing.assert_allclose(found, params, rtol=0, atol=1e-5)


# ---- metrics of scikit-learn on what was predicted


def predicted(directory: str, data: Path, folder: Path, **options: Any) -> pa.Table:
    """What `mrml predict` leaves."""
    output = folder / f"predicted-{len(list(folder.glob('predicted-*')))}"
    run.predict(directory, DataConfig(data=(str(data),), **options), INLINE, str(output))
    return pa.concat_tables([pq.read_table(p) for p in sorted(output.glob("part-*"))])


def targets(of: Trained) -> np.ndarray:
    """The targets of the test rows as the file holds them."""
    if of.set.name in ("agaricus", "dna"):
        return load_svmlight_file(str(of.test), zero_based=False)[1]
    if of.set.name == "higgs":
        return np.loadtxt(of.test)[:, 0]
    if of.set.name == "optdigits":
        return np.loadtxt(of.test, delimiter=",")[:, 64]
    if of.set.name == "housing":
        return pq.read_table(of.test)["log_price"].to_numpy()
    return rows_of(of.test)[of.set.data["target"]].astype("U8" if of.set.name == "telco" else float)


def probabilities(table: pa.Table) -> np.ndarray:
    names = [n for n in table.column_names if n.startswith("probability_")]
    return np.column_stack([table[n].to_numpy() for n in names])


def close(found: float, expected: float) -> bool:
    return math.isclose(found, float(expected), rel_tol=1e-12)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_metrics_of_a_classifier_are_scikit_learns_of_its_predictions(
    laboratory: Laboratory, name: str, tmp_path: Path
) -> None:
    of = laboratory.trained(name)
    found = run.evaluate(of.directory, DataConfig(data=(str(of.test),)), INLINE)
    table, y = predicted(of.directory, of.test, tmp_path), targets(of)
    probability = probabilities(table)
    assert close(found["log_loss"], sk.log_loss(y, probability))
    correct = int((table["prediction"].to_numpy(zero_copy_only=False) == y).sum())
    assert found["accuracy"] == correct / len(y)
    assert found["n_rows"] == len(y)
    if probability.shape[1] == 2:
        positive = y == np.unique(y)[1]
        assert found["auc"] == exact_auc(positive, probability[:, 1])
        assert close(found["auc"], sk.roc_auc_score(positive, probability[:, 1]))
        assert close(found["pr_auc"], sk.average_precision_score(positive, probability[:, 1]))


def exact_auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Pairs in the right order and half of the ties, as a fraction, rounded once."""
    a, b = score[positive], score[~positive]
    twice = sum(int((x > b).sum()) * 2 + int((x == b).sum()) for x in a)
    return float(Fraction(twice, 2 * len(a) * len(b)))


def test_weighted_metrics_are_scikit_learns_with_the_weights_of_the_side_file(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    of = laboratory.trained("higgs")
    test = shared("higgs-7k", "binary.test")
    weight, y = np.loadtxt(shared("higgs-7k", "binary.test.weight")), targets(of)
    found = run.evaluate(of.directory, DataConfig(data=(str(test),)), INLINE)
    score = probabilities(predicted(of.directory, test, tmp_path))
    how = {"sample_weight": weight}
    assert close(found["weight"], weight.sum())
    assert close(found["auc"], sk.roc_auc_score(y, score[:, 1], **how))
    assert close(found["pr_auc"], sk.average_precision_score(y, score[:, 1], **how))
    assert close(found["log_loss"], sk.log_loss(y, score, **how))
    assert close(found["accuracy"], sk.accuracy_score(y, score[:, 1] > 0.5, **how))


@pytest.mark.parametrize("name", ["bike", "housing"])
def test_metrics_of_numbers_are_scikit_learns_of_the_predictions(
    laboratory: Laboratory, name: str, tmp_path: Path
) -> None:
    of = laboratory.trained(name)
    found = run.evaluate(of.directory, DataConfig(data=(str(of.test),)), INLINE)
    y, y_pred = targets(of), predicted(of.directory, of.test, tmp_path)["prediction"].to_numpy()
    deviance = sk.mean_poisson_deviance if name == "bike" else sk.mean_squared_error
    assert close(found["rmse"], sk.root_mean_squared_error(y, y_pred))
    assert close(found["mae"], sk.mean_absolute_error(y, y_pred))
    assert close(found["r2"], sk.r2_score(y, y_pred))
    assert close(found["deviance"], deviance(y, y_pred))


# ---- what is written, and what leaves for scikit-learn


def test_predictions_come_in_input_order_with_their_ids(laboratory: Laboratory, tmp_path: Path) -> None:
    of = laboratory.trained("telco")
    table = predicted(of.directory, of.test, tmp_path)
    assert table["id"].to_pylist() == rows_of(of.test)["customerID"].tolist()
    assert set(table["prediction"].to_pylist()) == {"No", "Yes"}
    assert table.column_names == ["id", "prediction", "probability_No", "probability_Yes"]
    numbered = predicted(laboratory.trained("dna").directory, laboratory.trained("dna").test, tmp_path)
    assert numbered["row"].to_pylist() == list(range(1186)) and set(numbered["file"].to_pylist()) == {"dna.scale.t"}
    assert set(numbered["prediction"].to_pylist()) == {1, 2, 3}


@pytest.mark.parametrize("name", NAMES)
def test_the_scikit_learn_estimator_predicts_what_the_model_predicts(
    laboratory: Laboratory, name: str, tmp_path: Path
) -> None:
    of = laboratory.trained(name)
    estimator, table = of.model.to_sklearn(), predicted(of.directory, of.test, tmp_path)
    estimator = getattr(estimator, "steps", [("model", estimator)])[-1][1]  # behind the transforms of a Pipeline
    X = design_of(of)
    found = estimator.predict(X)
    if name in CLASSIFIERS:
        assert [str(v) for v in found.tolist()] == [str(v) for v in table["prediction"].to_pylist()]
        np.testing.assert_allclose(estimator.predict_proba(X), probabilities(table), rtol=1e-12, atol=1e-15)
    else:
        np.testing.assert_allclose(found, table["prediction"].to_numpy(), rtol=1e-12)


def design_of(of: Trained) -> np.ndarray:
    """The design matrix of the test rows, as the model makes it."""
    dataset = open_dataset(DataConfig(data=(str(of.test),)), schema=of.model.schema, roles=("feature",))
    ranges = [r for split in dataset.splits(1 << 30) for r in split]
    parts = [of.model.transform(block).X for r in ranges for block in dataset.read(r)]
    return np.concatenate([p.toarray() if isinstance(p, CSR) else p for p in parts]).astype(np.float64)


# ---- side files, on rows made here


def test_a_weight_file_beside_the_data_weighs_its_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = [f"{a:.6g},{b:.6g},{a - b + rng.normal():.6g}" for a, b in rng.normal(size=(200, 2))]
    weight = rng.integers(1, 4, 200)
    coefs = []
    for name, rows, beside in (("beside", lines, weight), ("twice", list(np.repeat(lines, weight)), None)):
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["a,b,y", *rows]) + "\n")
        if beside is not None:
            Path(f"{path}.weight").write_text("\n".join(map(str, beside)) + "\n")
        data = DataConfig(data=(str(path),), target="y")
        facts = run.train(RunConfig("linear", {"standardise": False}, data, INLINE, str(tmp_path / name)))
        found = run.evaluate(str(tmp_path / name), data, INLINE)
        assert facts["metrics"]["weight"] == found["weight"] == weight.sum()
        assert facts["metrics"]["rmse"] == found["rmse"]
        coefs.append(run.load_model(str(tmp_path / name)).inner.arrays()["coef"])
    np.testing.assert_allclose(coefs[0], coefs[1], rtol=1e-12)
