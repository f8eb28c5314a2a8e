"""Optimizers against torch.optim's documented formulas, written out for one parameter, and against scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from mrml.errors import ConfigError
from mrml.kernels.net.describe import Gradient, Net, Slot, SparseGradient
from mrml.kernels.net.optimizers import PIECE, STATES, Optimizer, Schedule
from tests.kernels.nets import Array

RATE = 0.05


def dense(g: Array) -> Gradient:
    return Gradient(0.0, 1.0, g.copy(), (), np.empty(0), 1)


def path(optimizer: Optimizer, start: Array, gradients: Array) -> Array:
    """The parameters after every step, in float64."""
    p, state = start.copy(), optimizer.init_state(len(start)).astype(np.float64)
    after = []
    for t, g in enumerate(gradients, 1):
        optimizer.step(p, dense(g), state, t, RATE)
        after.append(p.copy())
    return np.array(after)


def by_hand(o: Optimizer, p: float, gradients: list[float]) -> Iterator[float]:
    """The algorithm boxes of torch.optim.SGD, Adagrad, Adam and AdamW, for one number."""
    buffer, m, v = None, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        if o.name == "adamw":
            p -= RATE * o.weight_decay * p
        else:
            g += o.weight_decay * p
        if o.name in ("momentum", "nesterov"):
            buffer = g if buffer is None else o.momentum * buffer + g
            p -= RATE * (g + o.momentum * buffer if o.name == "nesterov" else buffer)
        elif o.name == "sgd":
            p -= RATE * g
        elif o.name == "adagrad":
            v += g * g
            p -= RATE * g / (math.sqrt(v) + o.epsilon)
        else:
            m = o.beta1 * m + (1 - o.beta1) * g
            v = o.beta2 * v + (1 - o.beta2) * g * g
            p -= RATE * (m / (1 - o.beta1**t)) / (math.sqrt(v / (1 - o.beta2**t)) + o.epsilon)
        yield p


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", STATES)
def test_a_step_is_the_formula_of_torch(name: str, weight_decay: float) -> None:
    o = Optimizer(name, momentum=0.8, beta1=0.7, beta2=0.95, epsilon=1e-3, weight_decay=weight_decay)
    r = np.random.default_rng(0)
    start, gradients = r.normal(size=5), r.normal(size=(9, 5))
    found = path(o, start, gradients)
    for i in range(5):
        np.testing.assert_allclose(found[:, i], list(by_hand(o, start[i], gradients[:, i].tolist())), rtol=1e-12)


@pytest.mark.parametrize(("name", "nesterov"), [("momentum", False), ("nesterov", True)])
def test_momentum_moves_as_scikit_learn_does(name: str, nesterov: bool) -> None:
    r = np.random.default_rng(1)
    start, gradients = r.normal(size=6), r.normal(size=(12, 6))
    params = [start.copy()]
    oracle = SGDOptimizer(params, learning_rate_init=RATE, momentum=0.9, nesterov=nesterov)
    for row, g in zip(path(Optimizer(name), start, gradients), gradients, strict=True):
        oracle.update_params(params, [g])
        np.testing.assert_allclose(row, params[0], rtol=1e-10)


def test_adam_moves_as_scikit_learn_does() -> None:
    # it adds epsilon before the bias correction, torch after it: the same where epsilon is nothing
    r = np.random.default_rng(1)
    start, gradients = r.normal(size=6), r.normal(size=(12, 6))
    params = [start.copy()]
    oracle = AdamOptimizer(params, learning_rate_init=RATE, epsilon=1e-30)
    for row, g in zip(path(Optimizer("adam", epsilon=1e-30), start, gradients), gradients, strict=True):
        oracle.update_params(params, [g])
        np.testing.assert_allclose(row, params[0], rtol=1e-10)


SLOT = Slot("table.0", (6, 3), 4, True)


def sparse(rows: Array, values: Array, n_dense: int = 4) -> Gradient:
    entry = SparseGradient(SLOT, rows, values.copy())
    return Gradient(0.0, 1.0, np.zeros(n_dense), (entry,), np.empty(0), 1)


@pytest.mark.parametrize("name", STATES)
def test_rows_that_every_batch_touches_move_as_dense_parameters_do(name: str) -> None:
    o = Optimizer(name, weight_decay=0.1)
    r = np.random.default_rng(2)
    p, q = (np.r_[np.zeros(4), r.normal(size=18)] for _ in range(2))
    q[:] = p
    s, u = (o.init_state(22).astype(np.float64) for _ in range(2))
    for t in range(1, 8):
        g = r.normal(size=(6, 3))
        o.step(p, sparse(np.arange(6), g), s, t, RATE)
        o.step(q, dense(np.r_[np.zeros(4), g.ravel()]), u, t, RATE)
    assert np.array_equal(p, q) and np.array_equal(s, u)


@pytest.mark.parametrize("name", STATES)
def test_rows_that_a_batch_does_not_touch_keep_parameters_and_state(name: str) -> None:
    o = Optimizer(name, weight_decay=0.1)
    r = np.random.default_rng(3)
    p = r.normal(size=22)
    s = r.uniform(0.1, 1.0, (STATES[name], 22))
    before, kept = p.copy(), s.copy()
    o.step(p, sparse(np.array([1, 4]), np.ones((2, 3))), s, 3, RATE)
    waits = np.ones(22, bool)
    waits[:4] = waits[4 + 3 : 4 + 6] = waits[4 + 12 : 4 + 15] = False
    assert np.array_equal(p[waits], before[waits]) and np.array_equal(s[:, waits], kept[:, waits])
    assert (p[7:10] != before[7:10]).all() and (p[16:19] != before[16:19]).all()


def test_the_correction_of_a_row_touched_late_is_that_of_the_global_step() -> None:
    o = Optimizer("adam", beta1=0.5, beta2=0.5, epsilon=1e-30)
    p, s = np.zeros(22), o.init_state(22).astype(np.float64)
    o.step(p, sparse(np.array([2]), np.ones((1, 3))), s, 3, 1.0)
    # m = v = 0.5, corrected by 1 - 0.5**3
    np.testing.assert_allclose(p[10:13], -(0.5 / 0.875) / math.sqrt(0.5 / 0.875), rtol=1e-12)


@given(st.floats(0.01, 10.0))
def test_a_clipped_gradient_has_at_most_the_norm_over_dense_and_sparse_parts(limit: float) -> None:
    r = np.random.default_rng(4)
    p = np.zeros(22)
    g, values = r.normal(size=4), r.normal(size=(2, 3))
    norm = math.sqrt(np.square(g).sum() + np.square(values).sum())
    gradient = Gradient(0.0, 1.0, g.copy(), (SparseGradient(SLOT, np.array([0, 5]), values.copy()),), np.empty(0), 1)
    Optimizer("sgd", clip_norm=limit).step(p, gradient, np.zeros((0, 22)), 1, 1.0)
    moved = -np.r_[p[:7], p[19:22]]
    np.testing.assert_allclose(moved, np.r_[g, values.ravel()] * min(1.0, limit / (norm + 1e-6)), rtol=1e-9)


@pytest.mark.parametrize("name", STATES)
def test_a_long_vector_moves_as_its_pieces_do(name: str) -> None:
    o, r = Optimizer(name, weight_decay=0.01), np.random.default_rng(5)
    p = r.normal(size=2 * PIECE + 5).astype(np.float32)
    s = r.uniform(0.1, 1.0, (STATES[name], len(p))).astype(np.float32)
    g = r.normal(size=len(p)).astype(np.float32)
    q, u = p[PIECE - 2 : PIECE + 2].copy(), s[:, PIECE - 2 : PIECE + 2].copy()
    o.step(p, dense(g), s, 2, RATE)
    o.step(q, dense(g[PIECE - 2 : PIECE + 2]), u, 2, RATE)
    assert p.dtype == np.float32 == s.dtype
    assert np.array_equal(p[PIECE - 2 : PIECE + 2], q) and np.array_equal(s[:, PIECE - 2 : PIECE + 2], u)


def test_the_mean_divides_dense_and_sparse_parts_by_the_weight() -> None:
    entry = SparseGradient(SLOT, np.array([1]), np.full((1, 3), 6.0))
    mean = Gradient(8.0, 4.0, np.full(4, 2.0), (entry,), np.empty(0), 3).mean()
    assert mean.dense.tolist() == [0.5] * 4 and mean.sparse[0].values.tolist() == [[1.5] * 3]
    assert Gradient(0.0, 0.0, np.zeros(4), (), np.empty(0), 0).mean().dense.tolist() == [0.0] * 4


@pytest.mark.parametrize("name", STATES)
def test_every_optimizer_finds_the_least_of_a_parabola(name: str) -> None:
    o, p = Optimizer(name), np.array([3.0, -2.0])
    s, goal = o.init_state(2).astype(np.float64), np.array([1.0, 0.5])
    for t in range(1, 801):
        o.step(p, dense(p - goal), s, t, 0.5 if name == "adagrad" else 0.02)
    np.testing.assert_allclose(p, goal, atol=1e-3)


def test_a_schedule_has_the_rates_of_its_formula() -> None:
    def rates(schedule: Schedule, steps: int = 8, total: int = 8) -> list[float]:
        return [round(schedule.rate(step, total), 6) for step in range(steps)]

    assert rates(Schedule(0.4)) == [0.4] * 8
    assert rates(Schedule(0.4, warmup_steps=4)) == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert rates(Schedule(0.8, "step", gamma=0.5, every=3)) == [0.8] * 3 + [0.4] * 3 + [0.2] * 2
    assert rates(Schedule(1.0, "inverse", gamma=1.0), 4) == [1.0, 0.5, 0.333333, 0.25]
    assert rates(Schedule(1.0, "inverse", gamma=1.0, warmup_steps=2), 4) == [0.5, 1.0, 1.0, 0.5]
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    assert rates(Schedule(1.0, "cosine", warmup_steps=2, floor=0.1)) == [0.5, 1.0] + [round(c, 6) for c in cosine]
    assert Schedule(1.0, "cosine", floor=0.1).rate(8, 8) == Schedule(1.0, "cosine", floor=0.1).rate(99, 8) == 0.1


@settings(max_examples=50)
@given(
    st.sampled_from(["constant", "step", "inverse", "cosine"]),
    st.integers(0, 50),
    st.integers(0, 200),
    st.integers(1, 100),
)
def test_a_rate_is_never_above_the_first_nor_below_zero(name: str, warmup: int, step: int, total: int) -> None:
    assert 0.0 <= Schedule(0.5, name, warmup_steps=warmup).rate(step, total) <= 0.5


def test_what_nobody_knows_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ConfigError, match="adamw"):
        Optimizer("rmsprop")
    with pytest.raises(ConfigError, match="cosine"):
        Schedule(name="linear")


def test_the_state_of_a_net_has_the_rows_that_its_optimizer_needs() -> None:
    net = Net(n_numeric=3, hidden=(4,))
    for name, rows in STATES.items():
        state = Optimizer(name).init_state(net.n_params)
        assert state.shape == (rows, net.n_params) and state.dtype == np.float32 and not state.any()
        assert Optimizer(name).n_state(net.n_params) == state.size
