"""Losses against 700-digit decimals, finite differences and scikit-learn."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss, HalfPoissonLoss, HalfSquaredError

from mrml.losses import LOSSES, half_squared_error, logistic, poisson, softmax

getcontext().prec = 700  # 1 + exp(-745) needs 324 digits
EXTREME = [-745.0, -300.0, -37.5, -1.0, -1e-8, -1e-20, 0.0, 1e-20, 1e-8, 1.0, 37.5, 300.0, 708.0]
raws = st.floats(-30.0, 30.0)


def close(found: float, exact: Decimal, tolerance: float = 1e-15) -> bool:
    return abs(Decimal(float(found)) - exact) <= Decimal(tolerance) * abs(exact) + Decimal("1e-320")


@pytest.mark.parametrize("y", [0.0, 1.0])
@pytest.mark.parametrize("raw", EXTREME)
def test_logistic_keeps_its_relative_accuracy_at_extreme_values(raw: float, y: float) -> None:
    value, gradient, hessian = logistic.evaluate(np.array([y]), np.array([raw]))
    z = Decimal(raw) if y == 0.0 else -Decimal(raw)
    assert gradient is not None and hessian is not None
    wrong = 1 / (1 + (-z).exp())
    assert close(value[0], (1 + z.exp()).ln(), 1e-15)
    assert close(gradient[0], wrong if y == 0.0 else -wrong, 1e-15)
    assert close(hessian[0], wrong * (1 - wrong), 2e-15)


@pytest.mark.parametrize("raw", EXTREME)
def test_the_logistic_inverse_link_is_exact_in_both_tails(raw: float) -> None:
    assert close(logistic.inverse_link(np.array([raw]))[0], 1 / (1 + (-Decimal(raw)).exp()))


@pytest.mark.parametrize("y", [0, 1, 2])
@pytest.mark.parametrize("raw", [[0.0, 0.0, 0.0], [40.0, 0.0, -3.0], [-700.0, 700.0, 1.0], [1e-9, 2e-9, 0.0]])
def test_softmax_keeps_its_accuracy_at_extreme_values(raw: list[float], y: int) -> None:
    value, gradient, probability = softmax.evaluate(np.array([float(y)]), np.array([raw]))
    assert gradient is not None and probability is not None
    e = [Decimal(r - max(raw)).exp() for r in raw]
    others = sum(e) - e[y]
    if raw[y] == max(raw):
        assert close(value[0], (1 + others).ln(), 1e-15)
    else:
        assert close(value[0], sum(e).ln() + Decimal(max(raw)) - Decimal(raw[y]), 1e-15)
    for k in range(3):
        assert close(gradient[0, k], -others / sum(e) if k == y else e[k] / sum(e), 2e-15)
        assert close(probability[0, k], e[k] / sum(e), 2e-15)


@pytest.mark.parametrize("raw", [-745.0, -1.0, 0.0, 5.0, 700.0])
def test_poisson_is_exp_raw_less_y_raw(raw: float) -> None:
    value, gradient, hessian = poisson.evaluate(np.array([3.0]), np.array([raw]))
    assert gradient is not None and hessian is not None
    mean = Decimal(raw).exp()
    assert close(value[0], mean - 3 * Decimal(raw), 1e-14)
    assert close(gradient[0], mean - 3, 1e-14)
    assert close(hessian[0], mean, 1e-15)


def test_poisson_overflows_to_infinity_without_a_warning() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert poisson.value(np.array([1.0]), np.array([1000.0]))[0] == np.inf


@pytest.mark.parametrize("name", ["half_squared_error", "logistic", "poisson"])
@given(raw=raws, y=st.integers(0, 1))
def test_gradient_and_hessian_are_the_differences_of_the_value(name: str, raw: float, y: int) -> None:
    loss, target, step = LOSSES[name], np.full(2, float(y)), 1e-5
    sides = np.array([raw - step, raw + step])
    value, gradient, hessian = loss.evaluate(target[:1], np.array([raw]))
    assert gradient is not None and hessian is not None
    size = 1.0 + abs(value[0]) + abs(gradient[0])
    np.testing.assert_allclose(
        np.diff(loss.value(target, sides))[0] / (2 * step), gradient[0], rtol=0, atol=1e-9 * size
    )
    np.testing.assert_allclose(
        np.diff(loss.gradient(target, sides))[0] / (2 * step), hessian[0], rtol=0, atol=1e-8 * size
    )


@given(raw=st.lists(raws, min_size=3, max_size=3), y=st.integers(0, 2), k=st.integers(0, 2))
def test_softmax_derivatives_are_the_differences_of_the_value(raw: list[float], y: int, k: int) -> None:
    target, step = np.full(2, float(y)), 1e-5
    sides = np.array([raw, raw])
    sides[:, k] += [-step, step]
    centre = np.array([raw])
    gradient = softmax.gradient(target[:1], centre)[0, k]
    np.testing.assert_allclose(np.diff(softmax.value(target, sides))[0] / (2 * step), gradient, atol=1e-8)
    difference = np.diff(softmax.gradient(target, sides), axis=0)[0] / (2 * step)
    p = softmax.inverse_link(centre)[0]
    np.testing.assert_allclose(difference, p * ((np.arange(3) == k) - p[k]), atol=1e-9)
    np.testing.assert_allclose(softmax.hessian(target[:1], centre)[0, k], difference[k], atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [(half_squared_error, HalfSquaredError()), (logistic, HalfBinomialLoss()), (poisson, HalfPoissonLoss())],
)
def test_values_and_derivatives_are_those_of_scikit_learn(loss, theirs) -> None:
    rng = np.random.default_rng(0)
    raw, y = 4 * rng.standard_normal(500), rng.integers(0, 2, 500).astype(float)
    value, gradient, hessian = loss.evaluate(y, raw)
    np.testing.assert_allclose(value, theirs.loss(y, raw), rtol=1e-13, atol=1e-15)
    expected = theirs.gradient_hessian(y, raw)
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(hessian, expected[1], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(loss.inverse_link(raw), theirs.link.inverse(raw), rtol=1e-14)


@pytest.mark.parametrize("order", ["C", "F"])
def test_softmax_is_that_of_scikit_learn_in_any_layout(order: str) -> None:
    rng = np.random.default_rng(1)
    raw, y = 4 * rng.standard_normal((300, 4)), rng.integers(0, 4, 300).astype(float)
    theirs = HalfMultinomialLoss(n_classes=4)
    value, gradient, probability = softmax.evaluate(y, np.array(raw, order=order))  # type: ignore[call-overload]
    np.testing.assert_allclose(value, theirs.loss(y, raw), rtol=1e-12, atol=1e-14)
    expected = theirs.gradient_proba(y, raw)
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(probability, expected[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", list(LOSSES.values()), ids=list(LOSSES))
def test_a_lower_order_leaves_out_what_is_not_asked_for(loss) -> None:
    raw, y = np.zeros((2, 3)) if loss is softmax else np.zeros(2), np.array([0.0, 1.0])
    full = loss.evaluate(y, raw, 2)
    assert loss.evaluate(y, raw, 0)[1:] == (None, None)
    assert loss.evaluate(y, raw, 1)[2] is None
    np.testing.assert_array_equal(loss.evaluate(y, raw, 0)[0], full[0])
    np.testing.assert_array_equal(loss.evaluate(y, raw, 1)[1], full[1])
