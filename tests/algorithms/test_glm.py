"""Generalised linear models against other libraries and the laws of the contract."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from mrml import model as models
from mrml import wire
from mrml.algorithm import State, from_spec
from mrml.algorithms.linear import iteration
from mrml.algorithms.linear.glm import Linear, Logistic, Poisson, Softmax
from mrml.algorithms.linear.model import GLMModel
from mrml.algorithms.linear.newton import pseudo_inverse
from mrml.algorithms.linear.solver import GLM
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError, MrmlError
from mrml.schema import Column, Design, Schema
from mrml.statistic import Into, Partial, complete
from tests.shared import shared

ALGORITHMS: dict[str, type[GLM]] = {"linear": Linear, "logistic": Logistic, "softmax": Softmax, "poisson": Poisson}


# ---- rows, blocks, rounds


@dataclass(frozen=True)
class Rows:
    """A data set in memory: X (n, p), y, and weight and offset where it has them."""

    X: Array
    y: Array
    weight: Array | None = None
    offset: Array | None = None
    classes: tuple[str, ...] = ()

    def take(self, keep: Any) -> Rows:
        weight = None if self.weight is None else self.weight[keep]
        offset = None if self.offset is None else self.offset[keep]
        return replace(self, X=self.X[keep], y=self.y[keep], weight=weight, offset=offset)


def make(name: str, n: int = 500, p: int = 5, seed: int = 0, **changes: Any) -> Rows:
    """Columns of unlike centre and spread, the last two of them correlated."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, p))
    z[:, -1] = 0.7 * z[:, -2] + 0.7 * z[:, -1]
    X = z * np.geomspace(0.01, 50.0, p) + np.linspace(-3.0, 200.0, p)
    raw = z @ np.linspace(-0.8, 0.6, p) + 0.3
    if name == "linear":
        y = raw + rng.standard_normal(n)
    elif name == "poisson":
        y = rng.poisson(np.exp(raw)).astype(float)
    elif name == "logistic":
        y = (rng.random(n) < scipy.special.expit(raw)).astype(float)
    else:
        y = np.clip(np.round(raw + 0.7 * rng.standard_normal(n)), -1, 1) + 1
    classes = {"logistic": ("no", "yes"), "softmax": ("a", "b", "c")}.get(name, ())
    rows = Rows(X, y, rng.uniform(0.2, 3.0, n), 0.3 * rng.standard_normal(n), classes)
    return replace(rows, **changes)


def moments(rows: Rows) -> tuple[Array, Array]:
    X = rows.X.astype(np.float64)
    return X.mean(axis=0), X.std(axis=0)


def to_csr(X: Array) -> CSR:
    m = scipy.sparse.csr_array(X)
    return CSR(m.indptr.astype(np.int64), m.indices.astype(np.int32), m.data, X.shape[1])


def blocks_of(rows: Rows, size: int = 64, files: int = 3, sparse: bool = False, lazy: bool = True) -> list[Block]:
    """The rows over some files, in blocks of ``size``."""
    center, scale = moments(rows) if lazy else (None, None)
    cut = np.linspace(0, len(rows.y), files + 1).astype(int)
    out = []
    for file in range(files):
        for index, start in enumerate(range(cut[file], cut[file + 1], size)):
            part = rows.take(slice(start, min(start + size, cut[file + 1])))
            X = to_csr(part.X) if sparse else np.ascontiguousarray(part.X)
            place = {"center": center, "scale": scale, "weight": part.weight, "offset": part.offset}
            out.append(Block(file, index, np.arange(len(part.y)), X, y=part.y, **place))
    return out


def schema_of(rows: Rows, lazy: bool = True) -> Schema:
    center, scale = moments(rows)
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    sums = tuple(float(weight[rows.y == k].sum()) for k in range(len(rows.classes)))
    p = rows.X.shape[1]
    units = {"center": tuple(center.tolist()), "scale": tuple(scale.tolist())} if lazy else {}
    design = Design(
        tuple(f"x{j}" for j in range(p)), p, classes=rows.classes, class_weight_sums=sums,
        n_rows=len(rows.y), sum_weight=float(weight.sum()), **units,
    )  # fmt: skip
    return Schema((Column("target", role="target"),), design=design)


def map_round(algorithm: GLM, state: State, tasks: Sequence[Sequence[Block]]) -> dict[str, Any]:
    """One round, each sequence of blocks mapped by a task of its own; statistics travel as bytes."""
    parts: dict[str, list[Any]] = {}
    for task in tasks:
        open_: dict[tuple[str, int], Partial] = {}
        for block in task:
            into = Into(lambda key: algorithm.statistic(state, key), {})
            algorithm.map(state, block, into)
            for key, statistic in into.fresh.items():
                open_.setdefault((key, block.file), Partial(block.file, block.index)).push(block.index, statistic)
        for (key, _), partial in open_.items():
            for node, s in partial.parts():
                parts.setdefault(key, []).append((node, type(s).from_wire(wire.loads(wire.dumps(s.to_wire())))))
    return {key: complete(found) for key, found in parts.items()}


def solve(algorithm: GLM, schema: Schema, tasks: Sequence[Sequence[Block]]) -> State:
    state = algorithm.init(schema)
    while state.stop is None:
        state = algorithm.update(state, map_round(algorithm, state, tasks))
    return state


def fit(algorithm: GLM, rows: Rows, **how: Any) -> GLMModel:
    schema = schema_of(rows, how.get("lazy", True))
    return algorithm.model(solve(algorithm, schema, [blocks_of(rows, **how)]), schema)


def bytes_of(model: models.Model) -> bytes:
    return json.dumps(models.describe(model), sort_keys=True).encode() + wire.dumps(model.arrays())


# ---- the oracle: the objective written down naively, minimised by scipy


def naive_objective(name: str, algorithm: GLM, rows: Rows) -> Callable[[Array], float]:
    """Of the flat (n_outputs, n_features + 1) coefficients of the standardised columns, and the intercepts."""
    center, scale = moments(rows)
    X = rows.X.astype(np.float64)
    Z = (X - center) / scale if algorithm.standardise is not False or algorithm.fit_intercept else X / scale
    y, n = rows.y, len(rows.y)
    weight = np.ones(n) if rows.weight is None else rows.weight
    if getattr(algorithm, "class_weight", "none") == "balanced":
        sums = np.array([weight[y == k].sum() for k in range(len(rows.classes))])
        weight = weight * (sums.sum() / (len(sums) * sums))[y.astype(int)]
    offset = np.zeros(n) if rows.offset is None else rows.offset
    k = len(rows.classes) if name == "softmax" else 1
    penalty = algorithm.l2 * (np.ones_like(scale) if algorithm.standardise is not False else 1 / scale**2)

    def objective(flat: Array) -> float:
        theta = flat.reshape(k, -1)
        raw = Z @ theta[:, :-1].T + theta[:, -1] * algorithm.fit_intercept + offset[:, None]
        if name == "linear":
            loss = 0.5 * (raw[:, 0] - y) ** 2
        elif name == "logistic":
            loss = np.logaddexp(0, raw[:, 0]) - y * raw[:, 0]
        elif name == "poisson":
            loss = np.exp(raw[:, 0]) - y * raw[:, 0]
        else:
            loss = scipy.special.logsumexp(raw, axis=1) - raw[np.arange(n), y.astype(int)]
        return float((weight * loss).sum() / weight.sum() + 0.5 * (penalty * theta[:, :-1] ** 2).sum())

    return objective


def optimum(objective: Callable[[Array], float], size: int) -> Array:
    """The minimum, by BFGS and Newton's method on differences taken with complex-free central steps."""
    step = 1e-4

    def gradient(x: Array) -> Array:
        sides = [[objective(x + s * step * e) for s in (-2, -1, 1, 2)] for e in np.eye(size)]
        return np.array([(a - 8 * b + 8 * c - d) / (12 * step) for a, b, c, d in sides])

    found = scipy.optimize.minimize(objective, np.zeros(size), jac=gradient, method="BFGS", options={"gtol": 1e-8})
    return np.asarray(found.x)


def check_optimal(name: str, algorithm: GLM, rows: Rows, **how: Any) -> None:
    """Objective within 1e-9 relative and coefficients within 1e-5 of the oracle's."""
    model = fit(algorithm, rows, **how)
    objective = naive_objective(name, algorithm, rows)
    k, p = model.coef.shape
    best = optimum(objective, k * (p + 1))
    if algorithm.standardise is not False or algorithm.fit_intercept:
        intercept = model.standard_intercept * algorithm.fit_intercept
    else:
        intercept = np.zeros(k)
    mine = np.column_stack([model.standard_coef, intercept])
    assert model.facts["converged"]
    assert abs(objective(mine.ravel()) - objective(best)) <= 1e-9 * abs(objective(best))
    np.testing.assert_allclose(model.facts["objective"], objective(mine.ravel()), rtol=1e-12)
    theirs = best.reshape(k, -1)
    if name == "softmax":
        theirs = theirs - theirs.mean(axis=0) if algorithm.l2 == 0 else theirs
        mine[:, -1] -= mine[:, -1].mean()
        theirs[:, -1] -= theirs[:, -1].mean()
    free = slice(None) if algorithm.fit_intercept else slice(-1)
    np.testing.assert_allclose(mine[:, free], theirs[:, free], atol=1e-5)


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "plain": ({"l2": 0.0}, {"weight": None, "offset": None}, {}),
    "weights": ({"l2": 0.0}, {"offset": None}, {}),
    "offset and l2": ({"l2": 0.05}, {"weight": None}, {}),
    "columns as they are": ({"l2": 0.05, "standardise": False}, {}, {}),
    "no intercept": ({"l2": 0.01, "fit_intercept": False}, {}, {}),
    "no intercept, columns as they are": ({"l2": 0.01, "fit_intercept": False, "standardise": False}, {}, {}),
    "sparse": ({"l2": 0.02}, {}, {"sparse": True}),
}


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_optimum_is_that_of_the_formula(name: str, solver: str, variant: str) -> None:
    options, changes, how = VARIANTS[variant]
    rows = make(name, n=240, p=3, **changes)
    if how.get("sparse"):
        rows = replace(rows, X=np.where(np.random.default_rng(4).random(rows.X.shape) < 0.4, rows.X, 0.0))
    if name == "softmax":
        rows = replace(rows, offset=None)
    check_optimal(name, ALGORITHMS[name](solver=solver, tol=1e-7, **options), rows, size=32, **how)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_balanced_classes_weigh_the_same(name: str, solver: str) -> None:
    rows = make(name, n=240, p=3, offset=None)
    check_optimal(name, ALGORITHMS[name](solver=solver, tol=1e-7, class_weight="balanced"), rows)  # type: ignore[call-arg]


# ---- other libraries


@pytest.mark.parametrize("storage", ["float64", "float32"])
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_optimum_is_that_of_scikit_learn(name: str, solver: str, storage: str) -> None:
    rows = make(name, n=2000, p=6, offset=None)
    rows = replace(rows, X=rows.X.astype(storage))
    l2, weight = 1e-3, rows.weight
    assert weight is not None
    model = fit(ALGORITHMS[name](solver=solver, l2=l2), rows, size=200)
    center, scale = moments(rows)
    Z = (rows.X.astype(np.float64) - center) / scale
    theirs = {
        "linear": lambda: Ridge(alpha=l2 * weight.sum(), tol=1e-12),
        "poisson": lambda: PoissonRegressor(alpha=l2, solver="newton-cholesky", tol=1e-10),
    }.get(name, lambda: LogisticRegression(C=1 / (l2 * weight.sum()), solver="newton-cholesky", tol=1e-10))()
    theirs.fit(Z, rows.y, sample_weight=weight)
    intercept = np.atleast_1d(theirs.intercept_)
    if name == "softmax":
        intercept = intercept - intercept.mean() + model.standard_intercept.mean()
    np.testing.assert_allclose(model.standard_coef, np.atleast_2d(theirs.coef_), atol=1e-5)
    np.testing.assert_allclose(model.standard_intercept, intercept, atol=1e-5)
    objective = naive_objective(name, ALGORITHMS[name](l2=l2), rows)
    best = objective(np.column_stack([np.atleast_2d(theirs.coef_), intercept]).ravel())
    assert abs(model.facts["objective"] - best) <= 1e-9 * abs(best)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", ["linear", "logistic", "poisson"])
def test_coefficients_of_the_columns_are_those_of_statsmodels(name: str, solver: str) -> None:
    rows = make(name, n=800, offset=None if name == "linear" else make(name, n=800).offset)
    family = {"linear": sm.families.Gaussian(), "logistic": sm.families.Binomial(), "poisson": sm.families.Poisson()}
    glm = sm.GLM(rows.y, sm.add_constant(rows.X), family[name], offset=rows.offset, var_weights=rows.weight)
    params = np.asarray(glm.fit(tol=1e-14, maxiter=100).params)
    model = fit(ALGORITHMS[name](solver=solver, l2=0.0, tol=1e-8), rows)
    np.testing.assert_allclose(model.coef[0], params[1:], rtol=1e-6)
    np.testing.assert_allclose(model.intercept[0], params[0], rtol=1e-6)


def test_wide_sparse_rows_are_fitted_without_becoming_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    X = scipy.sparse.random(800, 1500, density=0.01, random_state=5, format="csr").toarray()
    X[:, rng.integers(0, 1500, 10)] *= 100
    X[:, ~X.any(axis=0)] = np.eye(800, 1500)[:, ~X.any(axis=0)]
    y = (X @ rng.standard_normal(1500) + 0.3 * rng.standard_normal(800) > 0).astype(float)
    rows = Rows(X, y, rng.uniform(0.5, 2.0, 800), None, ("no", "yes"))
    monkeypatch.setattr(CSR, "toarray", None)
    model = fit(Logistic(l2=1e-2, tol=1e-7), rows, sparse=True, size=50)
    center, scale = moments(rows)
    assert rows.weight is not None
    theirs = LogisticRegression(C=1 / (1e-2 * rows.weight.sum()), tol=1e-9, max_iter=10_000)
    theirs.fit((X - center) / scale, y, sample_weight=rows.weight)
    assert model.params["solver"] == "lbfgs"
    np.testing.assert_allclose(model.standard_coef, theirs.coef_, atol=1e-5)


@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_the_scikit_learn_estimator_predicts_the_same(name: str, l2: float) -> None:
    rows = make(name, offset=None)
    model = fit(ALGORITHMS[name](l2=l2), rows)
    theirs, block = model.to_sklearn(), blocks_of(rows, size=500, files=1)[0]
    found = model.predict(block)
    if not rows.classes:
        np.testing.assert_allclose(theirs.predict(rows.X), found.y_pred, rtol=1e-12)
        return
    assert theirs.predict(rows.X).tolist() == [rows.classes[int(c)] for c in found.y_pred]
    np.testing.assert_allclose(theirs.predict_proba(rows.X), found.probability, rtol=1e-10, atol=1e-14)


def test_two_softmax_classes_become_one_logistic_difference() -> None:
    rows = make("logistic", offset=None)
    model = fit(Softmax(l2=0.01), rows)
    found = model.predict(blocks_of(rows, size=500, files=1)[0])
    np.testing.assert_allclose(model.to_sklearn().predict_proba(rows.X), found.probability, rtol=1e-10)


# ---- laws


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", list(ALGORITHMS))
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_the_model_is_the_same_bytes_over_cuts_and_resumes(name: str, solver: str, data: st.DataObject) -> None:
    rows = make(name, n=200, p=3, **({"offset": None} if name == "softmax" else {}))
    algorithm, schema = ALGORITHMS[name](solver=solver, max_iterations=6), schema_of(rows)
    blocks = blocks_of(rows, size=12)
    expected = bytes_of(algorithm.model(solve(algorithm, schema, [blocks]), schema))
    state = algorithm.init(schema)
    while state.stop is None:
        edges = sorted(data.draw(st.sets(st.integers(1, len(blocks) - 1), max_size=4)))
        cuts = [blocks[a:b] for a, b in zip([0, *edges], [*edges, len(blocks)], strict=True)]
        state = algorithm.update(state, map_round(algorithm, state, data.draw(st.permutations(cuts))))
        message = wire.dumps(state.to_wire())
        state = State.from_wire(wire.loads(message))
        assert wire.dumps(state.to_wire()) == message
    assert bytes_of(algorithm.model(state, schema)) == expected


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_row_twice_is_a_row_of_weight_two(name: str) -> None:
    rows = make(name, n=300, offset=None)
    twice = np.random.default_rng(2).random(300) < 0.4
    weighted = replace(rows, weight=np.where(twice, 2.0, 1.0))
    doubled = replace(rows, weight=None).take(np.repeat(np.arange(300), np.where(twice, 2, 1)))
    schema = schema_of(weighted)
    algorithm = ALGORITHMS[name](l2=1e-3, tol=1e-9)
    center, scale = moments(weighted)
    both = []
    for one in (weighted, doubled):
        blocks = [b.with_design(center=center, scale=scale) for b in blocks_of(one)]
        both.append(algorithm.model(solve(algorithm, schema, [blocks]), schema))
    np.testing.assert_allclose(both[0].standard_coef, both[1].standard_coef, atol=1e-9)
    np.testing.assert_allclose(both[0].standard_intercept, both[1].standard_intercept, atol=1e-9)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_an_empty_block_changes_nothing(name: str, solver: str) -> None:
    rows = make(name, n=200, offset=None)
    algorithm, schema, blocks = ALGORITHMS[name](solver=solver), schema_of(rows), blocks_of(rows)
    empty = [
        replace(b, file=9 + i, rows=b.rows[:0], X=b.X[:0], y=b.y[:0], weight=None) for i, b in enumerate(blocks[:2])
    ]
    expected = bytes_of(algorithm.model(solve(algorithm, schema, [blocks]), schema))
    with_empty = solve(algorithm, schema, [[empty[0]], [*blocks, empty[1]]])
    assert bytes_of(algorithm.model(with_empty, schema)) == expected


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@given(order=st.permutations([0, 1, 2]))
@settings(max_examples=4, deadline=None)
def test_permuting_the_classes_permutes_the_model(solver: str, order: list[int]) -> None:
    rows = make("softmax", n=200, p=3, offset=None)
    other = replace(rows, y=np.array(order, float)[rows.y.astype(int)])
    algorithm = Softmax(solver=solver, l2=1e-3, tol=1e-9)
    a, b = fit(algorithm, rows), fit(algorithm, other)
    np.testing.assert_allclose(b.standard_coef[order], a.standard_coef, atol=1e-7)
    np.testing.assert_allclose(b.standard_intercept[order], a.standard_intercept, atol=1e-7)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_collinear_and_constant_columns_change_no_prediction(name: str, solver: str) -> None:
    rows = make(name, n=300, p=3, offset=None)
    X = rows.X
    more = np.column_stack([X, X[:, 0] * 90 - X[:, 1] + 1, X[:, 2], np.full(300, 0.1)])
    algorithm = ALGORITHMS[name](l2=0.0, solver=solver, tol=1e-8)
    plain, wide = fit(algorithm, rows), None
    center, scale = moments(replace(rows, X=more))
    scale[-1] = 1.0
    schema = schema_of(replace(rows, X=more))
    assert schema.design is not None
    schema = replace(schema, design=replace(schema.design, scale=tuple(scale.tolist())))
    blocks = [b.with_design(center=center, scale=scale) for b in blocks_of(replace(rows, X=more))]
    wide = algorithm.model(solve(algorithm, schema, [blocks]), schema)
    np.testing.assert_allclose(
        wide.predict(replace(blocks[0], X=more[:64])).raw_prediction,
        plain.predict(blocks_of(rows)[0]).raw_prediction,
        atol=1e-6,
    )
    assert wide.facts["converged"] and np.abs(wide.standard_coef).max() < 10
    outputs = 2 if name == "softmax" else 1
    assert wide.facts["dropped_directions"] == 2 * outputs + len(wide.coef)
    assert wide.facts["dependent_columns"] == ["x0", "x1", "x2", "x3", "x4", "x5"]
    assert plain.facts["dropped_directions"] == 0 and plain.facts["dependent_columns"] == []


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_columns_without_centre_and_scale_are_taken_as_they_are(name: str) -> None:
    rows = make(name, offset=None)
    center, scale = moments(rows)
    z = replace(rows, X=(rows.X - center) / scale)
    algorithm = ALGORITHMS[name](l2=0.01, tol=1e-9)
    a, b = fit(algorithm, rows), fit(algorithm, z, lazy=False)
    np.testing.assert_allclose(a.standard_coef, b.coef, atol=1e-9)
    np.testing.assert_allclose(a.standard_intercept, b.intercept, atol=1e-9)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_validation_rows_are_scored_and_not_learnt_from(solver: str) -> None:
    rows = make("logistic", n=300)
    algorithm, schema, blocks = Logistic(solver=solver), schema_of(rows), blocks_of(rows)
    train, valid = blocks[:-3], [b.with_design(part="valid") for b in blocks[-3:]]
    alone, both = solve(algorithm, schema, [train]), solve(algorithm, schema, [train, valid])
    assert both["theta"].tobytes() == alone["theta"].tobytes()
    model = algorithm.model(both, schema)
    raw = np.concatenate([model.raw_prediction(b)[:, 0] for b in valid])
    y, w = np.concatenate([b.y for b in valid]), np.concatenate([b.weight for b in valid])
    expected = (w * (np.logaddexp(0, raw) - y * raw)).sum() / w.sum()
    np.testing.assert_allclose(algorithm.progress(both)["valid_loss"], expected, rtol=1e-10)
    assert "valid_loss" not in algorithm.progress(alone)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_model_comes_back_from_its_files_as_it_was(name: str, tmp_path: Path) -> None:
    rows = make(name, offset=None)
    model = fit(ALGORITHMS[name](), rows)
    model.save(tmp_path)
    again = models.load(tmp_path)
    assert bytes_of(again) == bytes_of(model)
    block = blocks_of(rows)[0]
    assert again.predict(block).y_pred.tobytes() == model.predict(block).y_pred.tobytes()


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_dense_and_sparse_rows_are_scored_alike_with_the_offset(name: str) -> None:
    rows = make(name)
    model = fit(ALGORITHMS[name](), replace(rows, offset=None))
    dense, sparse = (blocks_of(rows, size=500, files=1, sparse=s)[0] for s in (False, True))
    a, b, without = model.predict(dense), model.predict(sparse), model.predict(replace(dense, offset=None))
    np.testing.assert_allclose(a.raw_prediction, b.raw_prediction, rtol=1e-10)
    shift = rows.offset if np.ndim(a.raw_prediction) == 1 else np.asarray(rows.offset)[:, None]
    np.testing.assert_allclose(
        a.raw_prediction - np.asarray(without.raw_prediction),
        np.broadcast_to(shift, np.shape(a.raw_prediction)),
        atol=1e-9,
    )
    if a.probability is not None:
        np.testing.assert_allclose(a.probability.sum(axis=1), 1.0)
        np.testing.assert_array_equal(a.y_pred, a.probability.argmax(axis=1))


@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"fit_intercept": False, "standardise": False}])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_hessian_is_the_differences_of_the_gradient(name: str, options: dict[str, bool]) -> None:
    rows = make(name, n=120, p=3, **({"offset": None} if name == "softmax" else {}))
    algorithm = ALGORITHMS[name](solver="newton", l2=0.1, **options)
    blocks, state = [blocks_of(rows, size=50)], algorithm.init(schema_of(rows))
    start = 1e-3 * np.random.default_rng(0).standard_normal(state["theta"].shape)

    def derivatives(theta: Array) -> tuple[Array, Array]:
        here = state.next(phase="point", theta=theta)
        trials = algorithm._trials(here, map_round(algorithm, here, blocks))
        assert trials.gradient is not None and trials.hessian is not None
        return trials.gradient[0], trials.hessian

    hessian = derivatives(start)[1]
    for at in np.ndindex(*start.shape):
        step = np.zeros_like(start)
        step[at] = 1e-6
        difference = (derivatives(start + step)[0] - derivatives(start - step)[0]) / 2e-6
        np.testing.assert_allclose(hessian[at], difference, atol=1e-6 * np.abs(hessian).max())


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_newton_takes_few_rounds_and_lbfgs_not_many(name: str) -> None:
    rows = make(name, n=1000, p=6, offset=None)
    assert fit(ALGORITHMS[name](solver="newton"), rows).facts["rounds"] <= 8
    assert fit(ALGORITHMS[name](solver="lbfgs"), rows).facts["rounds"] <= 20


@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"fit_intercept": False, "standardise": False}])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_lbfgs_sets_out_as_newton_does(name: str, options: dict[str, bool]) -> None:
    rows = make(name, n=300, p=4, **({"offset": None} if name == "softmax" else {}))
    directions = []
    for solver in ("newton", "lbfgs"):
        algorithm = ALGORITHMS[name](solver=solver, l2=0.01, **options)
        state, tasks = algorithm.init(schema_of(rows)), [blocks_of(rows)]
        while state["objective"] is None:
            state = algorithm.update(state, map_round(algorithm, state, tasks))
        directions.append(state["direction"])
    np.testing.assert_allclose(directions[1], directions[0], rtol=1e-6, atol=1e-9)


def test_lbfgs_of_many_parameters_begins_with_a_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make("softmax", offset=None)
    near = fit(Softmax(solver="lbfgs", l2=1e-3, tol=1e-9), rows)
    monkeypatch.setattr(iteration, "METRIC_NUMBERS", 3 * 6 * 6 - 1)
    far = fit(Softmax(solver="lbfgs", l2=1e-3, tol=1e-9), rows)
    assert far.facts["rounds"] > near.facts["rounds"]
    np.testing.assert_allclose(far.standard_coef, near.standard_coef, atol=1e-7)


# ---- hard cases of the solvers


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_targets_of_a_million_converge_to_the_same_tolerance(solver: str) -> None:
    rows = make("linear", offset=None, weight=None)
    model = fit(Linear(solver=solver), replace(rows, y=rows.y * 1e5 + 5e5))
    exact = np.linalg.lstsq(sm.add_constant(rows.X), rows.y * 1e5 + 5e5, rcond=None)[0]
    assert model.facts["stop"].startswith("converged")
    np.testing.assert_allclose(model.coef[0], exact[1:], rtol=1e-8)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_counts_of_many_sizes_need_shorter_steps_and_get_them(solver: str) -> None:
    rng = np.random.default_rng(8)
    x = rng.standard_normal((400, 2)) * [3.0, 1.0]
    rows = Rows(x, rng.poisson(np.exp(x @ [1.5, -0.5] + 2.0)).astype(float))
    algorithm, schema, tasks = Poisson(solver=solver), schema_of(rows), [blocks_of(rows)]
    state, phases = algorithm.init(schema), []
    while state.stop is None:
        phases.append(state["phase"])
        state = algorithm.update(state, map_round(algorithm, state, tasks))
    theirs = sm.GLM(rows.y, sm.add_constant(x), sm.families.Poisson()).fit(tol=1e-12, maxiter=200)
    assert state.stop.startswith("converged")
    np.testing.assert_allclose(algorithm.model(state, schema).coef[0], theirs.params[1:], rtol=1e-5)


def test_a_step_that_overflows_is_refused_and_halved_in_one_round() -> None:
    rows = Rows(np.linspace(-1, 1, 40)[:, None], np.linspace(0, 30, 40))
    algorithm, schema, tasks = Poisson(solver="newton"), schema_of(rows), [blocks_of(rows)]
    state = algorithm.init(schema)
    for _ in range(2):
        state = algorithm.update(state, map_round(algorithm, state, tasks))
    far = state.next(direction=state["direction"] * 5000, slope=state["slope"] * 5000)
    refused = algorithm.update(far, map_round(algorithm, far, tasks))
    assert refused["phase"] == "search" and len(refused["steps"]) == 8
    end = refused
    while end.stop is None:
        end = algorithm.update(end, map_round(algorithm, end, tasks))
    assert end.stop.startswith("converged")
    np.testing.assert_allclose(end["theta"], solve(algorithm, schema, tasks)["theta"], atol=1e-5)


def test_the_lbfgs_search_tries_several_steps_with_their_gradients_in_one_round() -> None:
    rows = make("logistic", offset=None)
    algorithm, schema, tasks = Logistic(solver="lbfgs"), schema_of(rows), [blocks_of(rows)]
    state = algorithm.init(schema)
    state = algorithm.update(state, map_round(algorithm, state, tasks))
    far = state.next(direction=state["direction"] * 100, slope=state["slope"] * 100)
    refused = algorithm.update(far, map_round(algorithm, far, tasks))
    assert refused["phase"] == "search" and refused["steps"].tolist() == [0.5, 0.25, 0.125, 0.0625]
    end = refused
    while end.stop is None:
        end = algorithm.update(end, map_round(algorithm, end, tasks))
    np.testing.assert_allclose(end["theta"], solve(algorithm, schema, tasks)["theta"], atol=1e-5)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_tolerance_beyond_float64_ends_with_a_reason(name: str, solver: str) -> None:
    rows = make(name, n=200, p=3, offset=None)
    algorithm, schema = ALGORITHMS[name](solver=solver, tol=0.0, l2=0.01), schema_of(rows)
    state = solve(algorithm, schema, [blocks_of(rows)])
    assert state.converged and state.stop is not None and state.round < 150
    assert "no further step" in state.stop or "at most 0" in state.stop
    assert state["gradient_max"] < 1e-9


def test_the_limit_of_rounds_is_not_convergence() -> None:
    rows = make("logistic")
    algorithm, schema = Logistic(max_iterations=2), schema_of(rows)
    state = solve(algorithm, schema, [blocks_of(rows)])
    assert state.round == 2 and not state.converged
    assert state.stop is not None and state.stop.startswith("max_iterations 2 reached: largest gradient entry")
    assert algorithm.model(state, schema).facts["converged"] is False


def test_separable_classes_without_a_penalty_end_with_a_small_gradient() -> None:
    rows = Rows(np.linspace(-1, 1, 50)[:, None], (np.linspace(-1, 1, 50) > 0).astype(float), None, None, ("a", "b"))
    model = fit(Logistic(l2=0.0), rows)
    assert model.facts["converged"] and np.isfinite(model.coef).all()


def test_auto_takes_newton_up_to_three_hundred_parameters() -> None:
    for p, k, expected in ((299, 2, "newton"), (300, 2, "lbfgs"), (99, 3, "newton"), (100, 3, "lbfgs")):
        design = Design(n_features=p, classes=("a", "b", "c")[:k])
        algorithm = Logistic() if k == 2 else Softmax()
        assert algorithm.init(Schema((), design=design))["solver"] == expected


def test_a_pseudo_inverse_is_that_of_numpy_where_nothing_is_dropped() -> None:
    a = np.random.default_rng(3).standard_normal((20, 4))
    found = pseudo_inverse(a.T @ a)
    np.testing.assert_allclose(found.matrix, np.linalg.inv(a.T @ a), rtol=1e-10)
    assert found.dropped == 0 and not found.involved.any()
    assert pseudo_inverse(np.zeros((2, 2))).dropped == 2


def test_update_is_a_pure_function() -> None:
    rows = make("logistic")
    for solver in ("newton", "lbfgs"):
        algorithm, tasks = Logistic(solver=solver), [blocks_of(rows)]
        state = algorithm.init(schema_of(rows))
        for _ in range(4):
            before, values = wire.dumps(state.to_wire()), map_round(algorithm, state, tasks)
            following = algorithm.update(state, values)
            assert wire.dumps(state.to_wire()) == before
            assert wire.dumps(algorithm.update(state, values).to_wire()) == wire.dumps(following.to_wire())
            state = following


def test_an_algorithm_comes_back_from_its_spec() -> None:
    algorithm = Softmax(l2=0.5, solver="lbfgs", class_weight="balanced")
    assert from_spec(json.loads(json.dumps(algorithm.spec()))) == algorithm


# ---- bad input


def refused(algorithm: GLM, rows: Rows) -> MrmlError:
    with pytest.raises(MrmlError) as caught:
        fit(algorithm, rows)
    return caught.value


def spoilt(rows: Rows, **values: float) -> Rows:
    """Row 130, which is row 2 of block 2 of file 0, with these values."""
    arrays = {name: np.array(getattr(rows, name)) for name in values}
    for name, value in values.items():
        arrays[name][130] = value
    return replace(rows, **arrays)


@pytest.mark.parametrize(
    ("name", "column", "value", "finding"),
    [
        ("poisson", "y", -1.0, "its target is negative"),
        ("linear", "y", np.nan, "its target is not a finite number"),
        ("softmax", "y", 3.0, "its class is not one of the training data's"),
        ("logistic", "y", -1.0, "its class is not one of the training data's"),
        ("linear", "weight", -0.5, "its weight is negative or not a number"),
    ],
)
def test_a_bad_row_is_named(name: str, column: str, value: float, finding: str) -> None:
    rows = make(name, offset=None)
    schema = schema_of(rows)
    error = None
    try:
        solve(ALGORITHMS[name](), schema, [blocks_of(spoilt(rows, **{column: value}))])
    except InputError as caught:
        error = caught
    assert error is not None and error.place == "file 0, block 2, row 2" and finding in error.finding


@pytest.mark.parametrize("sparse", [False, True])
def test_a_missing_feature_is_named_with_its_round_and_block(sparse: bool) -> None:
    rows = make("logistic", offset=None)
    blocks = blocks_of(rows, sparse=sparse)
    x = blocks[1].X.data if sparse else blocks[1].X
    x[(3,) if sparse else (3, 1)] = np.nan
    with pytest.raises(InputError, match="file 0, block 1: round 1 met a feature or an offset that is not a finite"):
        solve(Logistic(solver="lbfgs"), schema_of(rows), [blocks])


def test_an_infinite_loss_at_the_start_says_what_to_try() -> None:
    rows = make("linear")
    error = refused(Linear(), replace(rows, offset=np.full(len(rows.y), 1e200)))
    assert error.place == "round 1" and "scale the target or the offset" in error.remedy


def test_a_target_without_a_square_is_named_with_its_row() -> None:
    rows = make("linear", offset=None)
    error = refused(Linear(), replace(rows, y=rows.y * 1e200))
    assert error.place.startswith("file 0, block 0, row ") and "scale the target" in error.remedy


@pytest.mark.parametrize(
    ("algorithm", "classes", "kind", "words"),
    [
        (Logistic(), ("a", "b", "c"), ConfigError, "use softmax"),
        (Logistic(), ("a",), InputError, "only one class, 'a'"),
        (Softmax(), ("a",), InputError, "only one class, 'a'"),
        (Logistic(), (), ConfigError, "use linear or poisson"),
        (Linear(), ("a", "b"), ConfigError, "use logistic for two classes"),
        (Poisson(), ("a", "b"), ConfigError, "needs a numeric target"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(
    algorithm: GLM, classes: tuple[str, ...], kind: type, words: str
) -> None:
    design = Design(n_features=2, classes=classes)
    with pytest.raises(kind, match=words) as caught:
        algorithm.init(Schema((Column("sort", role="target"),), design=design))
    assert str(caught.value).startswith("column 'sort': ")


def test_what_makes_no_sense_is_refused_before_any_round() -> None:
    design = Design(n_features=6000, classes=("a", "b"), class_weight_sums=(3.0, 0.0))
    with pytest.raises(ConfigError, match="Hessian of 6001 x 6001; use lbfgs"):
        Logistic(solver="newton").init(Schema((), design=design))
    with pytest.raises(InputError, match="class 'b' has no training rows to balance"):
        Logistic(class_weight="balanced").init(Schema((), design=design))
    with pytest.raises(InputError, match="no feature column"):
        Linear().init(Schema((), design=Design()))
    with pytest.raises(ConfigError, match="use logistic"):
        Softmax().init(Schema((Column("o", role="offset"),), design=design))


def test_rows_without_weight_and_counts_without_any_are_refused() -> None:
    rows = make("poisson", offset=None)
    assert "no row has a weight above 0" in str(refused(Linear(), replace(rows, weight=np.zeros(500))))
    assert "every count is 0" in str(refused(Poisson(), replace(rows, y=np.zeros(500))))


def test_a_block_of_another_width_is_refused() -> None:
    rows = make("linear", offset=None)
    model = fit(Linear(), rows)
    with pytest.raises(InputError, match="3 features, the model has 5"):
        model.predict(blocks_of(replace(rows, X=rows.X[:, :3]))[0])


# ---- real data


def digits(name: str) -> Rows:
    with open(shared("optdigits", name), newline="") as file:
        table = np.array([[float(v) for v in line] for line in csv.reader(file)])
    return Rows(table[:, :-1] / 16, table[:, -1], classes=tuple("0123456789"))


def test_optdigits_gives_the_reference_accuracy_and_log_loss() -> None:
    train, test = digits("optdigits-train.csv"), digits("optdigits-test.csv")
    scale = np.where(train.X.std(axis=0) > 0, train.X.std(axis=0), 1.0)
    schema = schema_of(train)
    assert schema.design is not None
    schema = replace(schema, design=replace(schema.design, scale=tuple(scale.tolist())))
    blocks = [b.with_design(scale=scale) for b in blocks_of(train, size=1024, files=1)]
    algorithm = Softmax(l2=1 / len(train.y), standardise=False)
    model = algorithm.model(solve(algorithm, schema, [blocks]), schema)
    found = model.predict(blocks_of(test, size=4096, files=1)[0])
    assert found.probability is not None
    assert model.params["solver"] == "lbfgs" and model.facts["converged"]
    np.testing.assert_allclose((found.y_pred == test.y).mean(), 0.94824708, atol=1e-8)
    log_loss = -np.log(found.probability[np.arange(len(test.y)), test.y.astype(int)]).mean()
    np.testing.assert_allclose(log_loss, 0.16177753, atol=1e-5)


def test_housing_gives_the_reference_r2() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared("kc-housing", "housing.parquet"))
    names = [n for n in table.column_names if n not in ("price", "above_median_price")]
    X = np.column_stack([table.column(n).to_numpy().astype(float) for n in names])
    y = np.log(table.column("price").to_numpy().astype(float))
    test = np.arange(len(y)) % 5 == 0
    model = fit(Linear(), Rows(X[~test], y[~test]), size=2048)
    predicted = model.predict(blocks_of(Rows(X[test], y[test]), size=8192, files=1)[0]).y_pred
    r2 = 1 - np.square(y[test] - predicted).sum() / np.square(y[test] - y[test].mean()).sum()
    np.testing.assert_allclose(r2, 0.652871, atol=1e-6)
