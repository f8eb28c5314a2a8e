"""Sparse columns are as they are unless the user asks: scikit-learn on the same file as oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mrml import wire
from mrml.algorithm import State
from mrml.algorithms.linear.glm import Logistic
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ResumeMismatch
from mrml.model import load
from mrml.runs import train as run
from mrml.runs.identity import brought_up
from mrml.schema import Column, Design, Format, Schema

N_ROWS, N_COLUMNS = 600, 40
NET = {"epochs": 2, "batch_size": 50}
SGDS = {
    "logistic": {"solver": "sgd", **NET},
    "mlp": {"hidden": (4,), **NET},
    "factorization-machine": {"factors": 2, **NET},
}
INLINE = EngineConfig(engine="inline")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Columns from common to rare, of which some rows are 1 and some 3."""
    r = np.random.default_rng(3)
    x = (r.random((N_ROWS, N_COLUMNS)) < 1 / (1 + np.arange(N_COLUMNS))) * r.choice([1.0, 3.0], (N_ROWS, N_COLUMNS))
    x[0, -1] = 1.0
    score = x @ r.normal(size=N_COLUMNS)
    path = tmp_path_factory.mktemp("sparse") / "rows.svm"
    dump_svmlight_file(x, (score + r.normal(size=N_ROWS) > np.median(score)).astype(int), str(path), zero_based=False)
    return path


def trained(path: Path, folder: Path, name: str, params: dict[str, Any], **data: Any) -> PipelineModel:
    config = RunConfig(name, params, DataConfig(data=(str(path),), **data), INLINE, str(folder / "m"), overwrite=True)
    run.train(config)
    model = load(folder / "m")
    assert isinstance(model, PipelineModel)
    return model


def test_logistic_on_sparse_columns_is_scikit_learns(file: Path, tmp_path: Path) -> None:
    model = trained(file, tmp_path, "logistic", {"l2": 0.01, "tol": 1e-9})
    x, y = load_svmlight_file(str(file))
    peer = LogisticRegression(C=1 / (0.01 * N_ROWS), tol=1e-10, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(model.inner.arrays()["coef"], peer.coef_, rtol=1e-4, atol=1e-5)
    assert model.inner.header()["params"]["standardise"] is False
    asked = trained(file, tmp_path, "logistic", {"l2": 0.01, "tol": 1e-9, "standardise": True})
    deviation = np.asarray(x.todense()).std(axis=0)
    scaled = LogisticRegression(C=1 / (0.01 * N_ROWS), tol=1e-10, max_iter=5000).fit(x / deviation, y)
    np.testing.assert_allclose(asked.inner.arrays()["coef"], scaled.coef_ / deviation, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SGDS)
def test_sgd_reads_sparse_columns_as_they_are_and_divides_them_where_asked(
    file: Path, tmp_path: Path, name: str
) -> None:
    plain = trained(file, tmp_path, name, SGDS[name])
    assert plain.fitted.affine == (None, None)
    asked = trained(file, tmp_path, name, {**SGDS[name], "standardise": True})
    x = load_svmlight_file(str(file))[0].toarray()
    assert asked.fitted.affine[1] == pytest.approx(x.std(axis=0), rel=1e-9)
    told = json.loads((tmp_path / "m" / "model.json").read_text())["model"]["params"]
    assert told["standardise"] is True


@pytest.mark.parametrize("name", SGDS)
def test_dense_columns_are_standardised_unless_the_user_does_not_want_it(tmp_path: Path, name: str) -> None:
    r = np.random.default_rng(0)
    x = r.normal(50, 3, 200)
    lines = [f"{v:.6f},{'yn'[int(u)]}" for v, u in zip(x, x + r.normal(size=200) > 50, strict=True)]
    (tmp_path / "a.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    center, scale = trained(tmp_path / "a.csv", tmp_path, name, SGDS[name], target="y").fitted.affine
    assert center == pytest.approx([x.mean()], rel=1e-6) and scale == pytest.approx([x.std()], rel=1e-6)
    params = {**SGDS[name], "standardise": False}
    assert trained(tmp_path / "a.csv", tmp_path, name, params, target="y").fitted.affine == (None, None)


def test_factors_find_pairs_of_rare_columns_that_division_by_their_deviation_hides(tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    p = 1 / (1 + np.arange(800.0))
    x = np.zeros((6000, 800))
    x[np.repeat(np.arange(6000), 12), r.choice(800, 72000, p=p / p.sum())] = 1.0
    score = x @ r.normal(size=800)
    y = (r.random(6000) < 1 / (1 + np.exp(-2 * (score - score.mean()) / score.std()))).astype(int)
    for name, rows in (("a.svm", slice(0, 4500)), ("b.svm", slice(4500, None))):
        dump_svmlight_file(x[rows], y[rows], str(tmp_path / name), zero_based=False)
    found = {}
    for standardise in (None, True):
        params = {"epochs": 4, "learning_rate": 0.005, "standardise": standardise}
        trained(tmp_path / "a.svm", tmp_path, "factorization-machine", params)
        metrics = run.evaluate(str(tmp_path / "m"), DataConfig(data=(str(tmp_path / "b.svm"),)), INLINE)
        found[standardise] = metrics["auc"]
    peer = LogisticRegression(C=1.0, max_iter=1000).fit(x[:4500], y[:4500]).predict_proba(x[4500:])[:, 1]
    assert found[None] > roc_auc_score(y[4500:], peer) - 0.02 > found[True]


def test_columns_that_are_missing_where_they_are_absent_are_dense() -> None:
    columns = (Column("label", "numeric", "target", "double"),)
    for absent, standardise in (("missing", True), ("zero", False), (None, False)):
        schema = Schema(columns, format=Format("libsvm", absent=absent))
        assert Logistic().decided(schema).standardise is standardise
        assert Logistic(standardise=True).decided(schema) == Logistic(standardise=True)


@pytest.mark.parametrize("name", ["mrml.mlp/1", "mrml.factorization-machine/1", "mrml.logistic-sgd/1"])
def test_a_run_from_before_sgd_could_leave_it_standardised(name: str) -> None:
    assert brought_up({"algorithm": {"class": name, "epochs": 3}})["algorithm"]["standardise"] is True
    assert brought_up({"algorithm": {"class": name, "standardise": False}})["algorithm"]["standardise"] is False


def test_a_stopped_run_that_standardised_is_not_gone_on_with_otherwise(file: Path, tmp_path: Path) -> None:
    def config(resume: bool, **params: Any) -> RunConfig:
        params = {"solver": "lbfgs", **params}
        rounds = None if resume else 4
        return RunConfig("logistic", params, DataConfig(data=(str(file),)), INLINE, str(tmp_path / "m"),
                         resume=resume, max_rounds=rounds)  # fmt: skip

    run.train(config(False, standardise=True))
    with pytest.raises(ResumeMismatch, match="standardise"):
        run.train(config(True))
    assert run.train(config(True, standardise=True))["converged"]


def test_tasks_are_not_sent_what_the_driver_remembers() -> None:
    algorithm = Logistic(solver="lbfgs")
    design = Design(n_features=3, classes=("a", "b"), class_weight_sums=(1.0, 2.0), n_rows=3, sum_weight=3.0)
    state = algorithm.init(Schema((), design=design))
    filled = State({**state.params, "memory_steps": [np.ones(5000)] * 20, "memory_changes": [np.ones(5000)] * 20})
    assert len(wire.dumps(algorithm.broadcast(filled).to_wire())) < 10000
