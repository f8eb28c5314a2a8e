"""Objectives of boosting: finite differences, sure bounds, and the gradients of XGBoost and LightGBM themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mrml.algorithms.evaluation.parts import unit_deviance
from mrml.algorithms.objectives.base import Objective, Range
from mrml.algorithms.objectives.table import OBJECTIVES, objective_of
from mrml.errors import ConfigError, InputError
from mrml.schema import Design

PARAMS = {"quantile_alpha": 0.8, "huber_delta": 3.0, "tweedie_variance_power": 1.3}
#: those of groups have a test file of their own
BY_ROW = [name for name, o in OBJECTIVES.items() if not o.grouped]
POINTWISE = [name for name in BY_ROW if OBJECTIVES[name].target == "numeric"]
#: hessians that are not the second derivative: see the module's docstring
SURROGATE = ("huber", "quantile", "absolute", "softmax", "poisson")


def target(name: str, rng: Any, n: int) -> Any:
    """(n,) targets that the objective takes."""
    if OBJECTIVES[name].target != "numeric":
        return rng.integers(0, 3 if name == "softmax" else 2, n).astype(float)
    if name in ("poisson", "gamma", "tweedie"):
        y = rng.gamma(0.5, 20.0, n)
        return y + 1e-3 if name == "gamma" else np.round(y)
    return rng.normal(0.0, 10.0, n)


def raws(name: str, rng: Any, n: int) -> Any:
    return rng.normal(0.0, 2.0, (3 if name == "softmax" else 1, n))


@pytest.mark.parametrize("name", BY_ROW)
def test_gradients_are_the_differences_of_the_values(name: str) -> None:
    rng, step = np.random.default_rng(1), 1e-6
    objective = objective_of(name, PARAMS)
    y, raw = target(name, rng, 200), raws(name, rng, 200)
    g, h = objective.gradients(y, raw)
    assert g.shape == h.shape == raw.shape and (h > 0).all()
    for k in range(len(raw)):
        sides = []
        for sign in (1, -1):
            moved = raw.copy()
            moved[k] += sign * step
            sides.append((objective.values(y, moved), objective.gradients(y, moved)[0][k]))
        np.testing.assert_allclose((sides[0][0] - sides[1][0]) / (2 * step), g[k], rtol=1e-5, atol=1e-4)
        if name not in SURROGATE:
            np.testing.assert_allclose((sides[0][1] - sides[1][1]) / (2 * step), h[k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BY_ROW)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 30.0), moved=st.floats(0.0, 3.0))
def test_no_gradient_ever_exceeds_its_bound(name: str, seed: int, scale: float, moved: float) -> None:
    """Neither from measured extremes, nor after a tree whose leaves lie in a known range was added to them."""
    rng = np.random.default_rng(seed)
    objective = objective_of(name, {"quantile_alpha": 0.1 + 0.8 * rng.random(), "huber_delta": scale})
    y, raw = target(name, rng, 50), raws(name, rng, 50) * min(scale, 5.0)
    gap = objective.gap(y, raw)
    leaves = rng.uniform(-moved, moved, raw.shape)
    known = Range(y.min(), y.max(), raw.min() + leaves.min(), raw.max() + leaves.max(), gap.min() + leaves.min(),
                  gap.max() + leaves.max())  # fmt: skip
    first = objective.gap(np.array([y.max(), y.min()]), np.array([raw.min(), raw.max()]))
    for at, facts in ((raw + leaves, known), (raw, Range(y.min(), y.max(), raw.min(), raw.max(), *first))):
        bounds = objective.bounds(facts)
        assert bounds is not None
        g, h = objective.gradients(y, at)
        assert np.abs(g).max() <= bounds.gradient * (1 + 1e-12) and h.max() <= bounds.hessian * (1 + 1e-12)


STOCK = {
    "squared": ("reg:squarederror", "regression"),
    "poisson": ("count:poisson", "poisson"),
    "gamma": ("reg:gamma", "gamma"),
    "tweedie": ("reg:tweedie", "tweedie"),
    "quantile": (None, "quantile"),
    "absolute": (None, "regression_l1"),
    "huber": (None, "huber"),
}


@pytest.mark.parametrize("name", list(STOCK))
def test_one_tree_has_the_leaves_of_xgboost_and_lightgbm(name: str) -> None:
    """A stump on one binary column: -G / (H + l2) of our gradients is what the stock libraries put into its leaves."""
    rng = np.random.default_rng(4)
    x = (np.arange(400) % 2).astype(float)[:, None]
    y = target(name, rng, 400) + x[:, 0] * 5
    params = {"tweedie_variance_power": 1.4, "quantile_alpha": 0.7, "huber_delta": 4.0}
    objective = objective_of(name, params)
    base = 1.0
    g, h = objective.gradients(y, np.full((1, 400), base))
    sides = [x[:, 0] == k for k in (0, 1)]
    if objective.renews is None:
        expected = [base - g[0, s].sum() / h[0, s].sum() for s in sides]
        limit = objective.max_delta_step or np.inf
    else:
        expected, limit = [np.quantile(y[s], objective.renews) for s in sides], np.inf
    for_xgboost, for_lightgbm = STOCK[name]
    if for_xgboost:
        xgb = pytest.importorskip("xgboost")
        data = xgb.DMatrix(x, y, base_margin=np.full(400, base))
        model = xgb.train({"objective": for_xgboost, "eta": 1.0, "lambda": 0.0, "max_depth": 1, "min_child_weight": 0,
                           "tweedie_variance_power": 1.4}, data, 1)  # fmt: skip
        found = model.predict(data, output_margin=True)
        clipped = base + np.clip(np.array(expected) - base, -limit, limit)
        np.testing.assert_allclose([found[s][0] for s in sides], clipped, rtol=1e-5)
    lgb = pytest.importorskip("lightgbm")
    tree = {"learning_rate": 1.0, "num_leaves": 2, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0,
            "boost_from_average": False, "verbose": -1, "objective": for_lightgbm, "tweedie_variance_power": 1.4,
            "alpha": 0.7 if name == "quantile" else 4.0}  # fmt: skip
    found = lgb.train(tree, lgb.Dataset(x, y, init_score=np.full(400, base)), 1).predict(x, raw_score=True) + base
    # a renewed leaf is an interpolated quantile there
    tolerance = {"rtol": 1e-5} if objective.renews is None else {"atol": 0.5}
    np.testing.assert_allclose([found[s][0] for s in sides], expected, **tolerance)


@pytest.mark.parametrize("growth", ["depthwise", "leafwise"])
def test_softmax_takes_the_hessian_of_the_library_whose_growth_it_is(growth: str) -> None:
    """A stump of each class on one binary column, from raw predictions of 0, for seven classes."""
    rng = np.random.default_rng(5)
    x = (np.arange(701) % 2).astype(float)[:, None]
    y = np.where(rng.random(701) < 0.4, 3 * x[:, 0], rng.integers(0, 7, 701)).astype(float)
    g, h = objective_of("softmax", {"growth": growth}).gradients(y, np.zeros((7, 701)))
    sides = [x[:, 0] == k for k in (0, 1)]
    expected = np.array([[-g[k, s].sum() / h[k, s].sum() for k in range(7)] for s in sides])
    if growth == "depthwise":
        xgb = pytest.importorskip("xgboost")
        data = xgb.DMatrix(x, y, base_margin=np.zeros((701, 7)))
        params = {"objective": "multi:softprob", "num_class": 7, "eta": 1.0, "lambda": 0.0, "max_depth": 1}
        found = xgb.train({**params, "min_child_weight": 0}, data, 1).predict(data, output_margin=True)
    else:
        lgb = pytest.importorskip("lightgbm")
        params = {"objective": "multiclass", "num_class": 7, "learning_rate": 1.0, "num_leaves": 2, "verbose": -1,
                  "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0, "boost_from_average": False}  # fmt: skip
        data = lgb.Dataset(x, y, init_score=np.zeros((701, 7)))
        found = lgb.train(params, data, 1).predict(x, raw_score=True)
    np.testing.assert_allclose([found[s][0] for s in sides], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", POINTWISE)
def test_the_base_is_where_the_loss_is_least(name: str) -> None:
    """Of weighted rows; huber begins at the median, where the loss is nearly least and no outlier moves it."""
    rng = np.random.default_rng(6)
    y, weight = target(name, rng, 500), rng.uniform(0.2, 3.0, 500)
    order = np.argsort(y)
    share = np.cumsum(weight[order]) / weight.sum()
    quantiles = y[order][np.searchsorted(share, np.arange(1, 100) / 100)]
    facts = {"mean": np.average(y, weights=weight), "quantiles": quantiles.tolist()}
    objective = objective_of(name, {"quantile_alpha": 0.75})

    def loss(raw: float) -> float:
        return float((weight * objective.values(y, np.full((1, 500), raw))).sum())

    base = float(objective.base(Design(), facts)[0])
    span = 3.0 if name == "huber" else 0.05 * max(abs(base), 1.0)
    assert loss(base) <= min(loss(base - span), loss(base + span))


@pytest.mark.parametrize("name", ["gamma", "poisson", "tweedie", "squared"])
def test_deviances_are_those_of_scikit_learn(name: str) -> None:
    rng = np.random.default_rng(2)
    y, pred = target(name, rng, 100), rng.gamma(2.0, 5.0, 100)
    power = {"gamma": 2.0, "poisson": 1.0, "tweedie": 1.5, "squared": 0.0}[name]
    found = unit_deviance(objective_of(name).deviance, y, pred).mean()
    assert found == pytest.approx(metrics.mean_tweedie_deviance(y, pred, power=power), rel=1e-12)


def test_the_deviance_of_a_quantile_is_twice_its_pinball_loss() -> None:
    rng = np.random.default_rng(2)
    y, pred = rng.normal(size=(2, 100))
    found = unit_deviance(objective_of("quantile", {"quantile_alpha": 0.9}).deviance, y, pred).mean()
    assert found == pytest.approx(2 * metrics.mean_pinball_loss(y, pred, alpha=0.9), rel=1e-12)
    assert unit_deviance("absolute", y, pred).mean() == pytest.approx(2 * metrics.mean_absolute_error(y, pred))
    assert unit_deviance("huber:0.5", y, pred)[0] == pytest.approx(2 * _huber(pred[0] - y[0], 0.5))


def _huber(e: float, delta: float) -> float:
    return float(e * e / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2))


@pytest.mark.parametrize(("name", "least"), [("poisson", -1.0), ("gamma", 0.0), ("tweedie", -0.5)])
def test_a_target_below_the_least_is_refused(name: str, least: float) -> None:
    with pytest.raises(InputError, match=f"holds {least:g}, and a {name} target"):
        objective_of(name).check({"min": least, "max": 5.0}, ())


def test_a_power_of_one_or_two_is_another_objective() -> None:
    for power in (1.0, 2.0):
        with pytest.raises(ConfigError, match="not between 1 and 2"):
            objective_of("tweedie", {"tweedie_variance_power": power})


def test_every_objective_is_one_and_has_a_docstring() -> None:
    for name, cls in OBJECTIVES.items():
        assert issubclass(cls, Objective) and cls.__doc__ and cls.name == name
