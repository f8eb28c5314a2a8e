"""Gradients against finite differences and scikit-learn, factors against the double sum, predictions row by row."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier, MLPRegressor

from mrml.kernels.net.describe import MOMENTUM, Inputs, Net, SparseRows, update_buffers
from mrml.kernels.net.layers import Draws, Work, kept_units
from mrml.kernels.net.numpy import chunk_rows, gradient, predict, standardised
from mrml.kernels.net.optimizers import Optimizer
from mrml.kernels.random import GOLDEN, bits, mix
from mrml.losses import LOSSES, half_squared_error, logistic, softmax
from tests.kernels.nets import Array, compute, csr_rows, differences, make_batch, perturbed, whole

TABLES = ((5, 2), (7, 3))
EVERYTHING: dict[str, Any] = {"n_numeric": 3, "tables": TABLES, "n_sparse": 11}
NETS = {
    "linear": Net(n_numeric=3, wide=True),
    "linear in everything": Net(**EVERYTHING, wide=True),
    "factors alone": Net(**EVERYTHING, factors=4),
    "factorization machine": Net(**EVERYTHING, factors=4, wide=True),
    "plain": Net(n_numeric=3, hidden=(6, 4)),
    "one layer of everything": Net(**EVERYTHING, hidden=(6,)),
    "a bag": Net(**EVERYTHING, sparse_dim=3, hidden=(6, 4), activation="tanh"),
    "wide and deep": Net(**EVERYTHING, hidden=(6, 4), wide=True, activation="gelu"),
    "DeepFM": Net(**EVERYTHING, sparse_dim=3, hidden=(6, 4), factors=3, wide=True, activation="tanh"),
    "no numeric column": Net(tables=TABLES, n_sparse=11, hidden=(6, 4), factors=2, wide=True, activation="gelu"),
    "CSR columns alone": Net(n_sparse=11, hidden=(6, 4), activation="tanh"),
    "coded columns alone": Net(tables=TABLES, hidden=(5,), activation="gelu", wide=True),
}
LAYERS = list(itertools.product(("relu", "gelu", "tanh"), ("none", "layer", "batch"), (0.0, 0.4)))


def check_differences(net: Net, loss: Any, n: int = 24, tolerance: float = 2e-6) -> None:
    batch, params = make_batch(net, n, loss), perturbed(net)
    found = whole(net, compute(net, params, batch, loss))
    which = np.arange(net.n_params)
    expected = differences(lambda p: compute(net, p, batch, loss).loss, params, which)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_net_has_the_gradient_of_finite_differences(name: str) -> None:
    check_differences(NETS[name], logistic)


@pytest.mark.parametrize(("activation", "norm", "dropout"), LAYERS)
def test_every_layer_has_the_gradient_of_finite_differences(activation: str, norm: str, dropout: float) -> None:
    net = Net(n_numeric=3, hidden=(6, 5), activation=activation, norm=norm, dropout=dropout)
    check_differences(net, logistic, tolerance=2e-5)


def by_hand(net: Net, params: Array, x: Array, draws: Draws) -> Array:
    """Raw predictions (n,) of hidden layers, as torch.nn writes them."""
    p, a = net.views(params), x
    for i in range(len(net.hidden)):
        z = a @ p[f"hidden.{i}.weight"] + p.get(f"hidden.{i}.bias", 0.0)
        if net.norm != "none":
            axis = 0 if net.norm == "batch" else 1
            z = (z - z.mean(axis=axis, keepdims=True)) / np.sqrt(z.var(axis=axis, keepdims=True) + 1e-5)
            z = z * p[f"hidden.{i}.scale"] + p[f"hidden.{i}.shift"]
        inner = np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)
        a = {"relu": z * (z > 0), "tanh": np.tanh(z), "gelu": 0.5 * z * (1 + np.tanh(inner))}[net.activation]
        if net.dropout:
            share = round(65536 * net.dropout) / 65536
            a = a * kept_units(draws, i, net.hidden[i], net.dropout) / (1 - share)
    return (a @ p["output.weight"] + p["output.bias"])[:, 0]


@pytest.mark.parametrize(("activation", "norm", "dropout"), LAYERS)
def test_every_layer_computes_the_formula_of_torch(activation: str, norm: str, dropout: float) -> None:
    net = Net(n_numeric=3, hidden=(6, 5), activation=activation, norm=norm, dropout=dropout)
    batch, params = make_batch(net, 24), perturbed(net)
    raw = by_hand(net, params, batch.inputs.x, batch.draws) + batch.offset
    expected = float((logistic.value(batch.y, raw) * batch.weight).sum())
    np.testing.assert_allclose(compute(net, params, batch).loss, expected, rtol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_what_diverged_is_told_by_the_loss_and_not_by_warnings(activation: str) -> None:
    net = Net(n_numeric=3, hidden=(6, 5), activation=activation, norm="layer")
    batch, optimizer = make_batch(net, 24, dtype=np.float32), Optimizer("adam")
    for scale in (np.nan, 1e30):
        params = net.init(0) * np.float32(scale)
        found = compute(net, params, batch, half_squared_error)
        assert np.isnan(found.loss) or scale == 1e30  # which a norm takes off again
        optimizer.step(params, found.mean(), optimizer.init_state(net.n_params), 1, 1e30)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_has_the_gradient_of_finite_differences(name: str) -> None:
    n_outputs = 3 if name == "softmax" else 1
    net = Net(**EVERYTHING, hidden=(5,), activation="tanh", wide=True, n_outputs=n_outputs)
    check_differences(net, LOSSES[name])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_plain_net_has_the_loss_and_the_gradient_of_scikit_learn(activation: str, classes: int) -> None:
    r = np.random.default_rng(0)
    x, y = r.normal(size=(50, 7)), r.integers(0, classes, 50)
    net = Net(n_numeric=7, hidden=(6, 5), activation=activation, n_outputs=1 if classes == 2 else classes)
    params, loss = perturbed(net), logistic if classes == 2 else softmax
    found = gradient(net, params, net.init_buffers(), plain(x), y.astype(float), None, None, loss)
    one_hot = y[:, None].astype(float) if classes == 2 else np.eye(classes)[y]
    model = MLPClassifier((6, 5), activation=activation, alpha=0.0, max_iter=1)
    value, slopes = backprop(model, net, params, x, y, one_hot)
    np.testing.assert_allclose(found.loss / 50, value, rtol=1e-12)
    np.testing.assert_allclose(found.dense / 50, slopes, rtol=1e-9, atol=1e-12)


def test_a_regression_has_the_gradient_of_scikit_learn() -> None:
    r = np.random.default_rng(0)
    x, y = r.normal(size=(50, 7)), r.normal(size=50)
    net = Net(n_numeric=7, hidden=(6,))
    params = perturbed(net)
    found = gradient(net, params, net.init_buffers(), plain(x), y, None, None, half_squared_error)
    value, slopes = backprop(
        MLPRegressor(hidden_layer_sizes=(6,), alpha=0.0, max_iter=1), net, params, x, y, y[:, None]
    )
    np.testing.assert_allclose(found.loss / 50, value, rtol=1e-12)
    np.testing.assert_allclose(found.dense / 50, slopes, rtol=1e-9, atol=1e-12)


def backprop(model: Any, net: Net, params: Array, x: Array, y: Array, targets: Array) -> tuple[float, Array]:
    """scikit-learn's mean loss and gradient, in the order of the net's slots."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration converges to nothing
        model.fit(x, y)
    views = net.views(params)
    parts = [f"hidden.{i}" for i in range(len(net.hidden))] + ["output"]
    model.coefs_ = [views[f"{part}.weight"].copy() for part in parts]
    model.intercepts_ = [views[f"{part}.bias"].copy() for part in parts]
    activations = [x] + [np.empty((len(x), len(b))) for b in model.intercepts_]
    gradients = [[np.empty_like(w) for w in ws] for ws in (model.coefs_, model.intercepts_)]
    model._forward_pass(activations)
    value, coefs, intercepts = model._backprop(
        x, targets, None, activations, [np.empty_like(a) for a in activations], *gradients
    )
    pairs = zip(coefs, intercepts, strict=True)
    return value, np.concatenate([np.r_[w.ravel(), b] for w, b in pairs])


def plain(x: Array) -> Inputs:
    return Inputs(x, np.zeros((len(x), 0), np.int32))


def design(net: Net, inputs: Inputs) -> Array:
    """Every column as a number: (n, n_numeric + n_levels + n_sparse)."""
    levels = np.zeros((len(inputs.x), net.n_levels))
    for column, first in enumerate(net.first_level):
        levels[np.arange(len(levels)), first + inputs.codes[:, column]] = 1.0
    csr = np.zeros((len(inputs.x), net.n_sparse))
    if inputs.sparse is not None:
        rows = np.repeat(np.arange(len(csr)), np.diff(inputs.sparse.indptr))
        csr[rows, inputs.sparse.indices] = inputs.sparse.data
    return np.hstack([inputs.x, levels, csr])


def test_factors_are_the_double_sum_over_pairs_of_columns() -> None:
    net = NETS["factorization machine"]
    params, batch = perturbed(net), make_batch(net, 20)
    p, c = net.views(params), design(net, batch.inputs)
    v, w = (
        np.vstack([p[f"{part}.{kind}"] for kind in ("numeric", "levels", "sparse")]) for part in ("factors", "wide")
    )
    pairs = list(itertools.combinations(range(c.shape[1]), 2))
    expected = [p["output.bias"][0] + row @ w[:, 0] + sum(v[i] @ v[j] * row[i] * row[j] for i, j in pairs) for row in c]
    np.testing.assert_allclose(predict(net, params, net.init_buffers(), batch.inputs)[:, 0], expected, rtol=1e-10)


def test_the_hidden_part_reads_embeddings_and_sums_of_csr_columns() -> None:
    net = NETS["a bag"]
    params, batch = perturbed(net), make_batch(net, 20)
    p, c = net.views(params), design(net, batch.inputs)
    tables = [p[f"table.{i}"][batch.inputs.codes[:, i]] for i in range(2)]
    a = np.hstack([batch.inputs.x, *tables, c[:, -net.n_sparse :] @ p["bag"]])
    for layer in range(2):
        a = np.tanh(a @ p[f"hidden.{layer}.weight"] + p[f"hidden.{layer}.bias"])
    expected = a @ p["output.weight"] + p["output.bias"]
    np.testing.assert_allclose(predict(net, params, net.init_buffers(), batch.inputs), expected, rtol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_sparse_gradients_name_each_touched_row_once_and_in_order(name: str) -> None:
    net = NETS[name]
    found = compute(net, perturbed(net), make_batch(net, 9))
    assert [entry.slot for entry in found.sparse] == [slot for slot in net.slots if slot.sparse]
    for slot, rows, values in found.sparse:
        assert rows.dtype == np.int64 and (np.diff(rows) > 0).all()
        assert values.shape == (len(rows), slot.shape[1]) and len(rows) <= slot.shape[0]


@pytest.mark.parametrize("n_sparse", [11, 1_000_000])
def test_a_table_has_the_gradient_of_the_same_columns_given_as_numbers(n_sparse: int) -> None:
    sparse = Net(n_numeric=2, n_sparse=n_sparse, hidden=(5, 4), activation="tanh", wide=True)
    few = 11
    batch, params = make_batch(Net(n_numeric=2, n_sparse=few, wide=True), 30), perturbed(sparse)
    p = sparse.views(params)
    dense = Net(n_numeric=2 + few, hidden=(5, 4), activation="tanh", wide=True)
    same = np.zeros(dense.n_params)
    q = dense.views(same)
    for name in q:
        if name not in ("hidden.0.weight", "wide.numeric"):
            q[name][:] = p[name]
    q["hidden.0.weight"][:] = np.vstack([p["hidden.0.weight"], p["hidden.0.sparse"][:few]])
    q["wide.numeric"][:] = np.vstack([p["wide.numeric"], p["wide.sparse"][:few]])
    columns = plain(design(Net(n_numeric=2, n_sparse=few, wide=True), batch.inputs))
    expected = gradient(dense, same, np.empty(0), columns, batch.y, batch.weight, batch.offset, logistic)
    found = sparse.views(whole(sparse, compute(sparse, params, batch)))
    e = dense.views(expected.dense)
    np.testing.assert_allclose(found["hidden.0.sparse"][:few], e["hidden.0.weight"][2:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["wide.sparse"][:few], e["wide.numeric"][2:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["hidden.1.weight"], e["hidden.1.weight"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_the_gradient_of_a_batch_is_the_sum_over_its_rows_and_an_empty_batch_adds_nothing(name: str) -> None:
    net = NETS[name]
    params, batch = perturbed(net), make_batch(net, 12)
    whole_batch = compute(net, params, batch)
    rows = [compute(net, params, batch.rows(np.array([i]))) for i in range(12)]
    empty = compute(net, params, batch.rows(np.empty(0, np.int64)))
    assert empty.loss == 0.0 == empty.weight and not whole(net, empty).any()
    np.testing.assert_allclose(whole(net, whole_batch), sum(whole(net, row) for row in rows), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole_batch.loss, sum(row.loss for row in rows), rtol=1e-12)
    np.testing.assert_allclose(whole_batch.weight, sum(row.weight for row in rows), rtol=1e-12)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.filterwarnings("error")
def test_batches_of_no_row_and_of_one_are_legal(norm: str) -> None:
    net = Net(**EVERYTHING, hidden=(4, 3), norm=norm, dropout=0.5, wide=True, factors=2)
    batch, params = make_batch(net, 3), net.init(0)
    for n in (0, 1):
        found = compute(net, params, batch.rows(np.arange(n)))
        assert found.n_rows == n and np.isfinite(whole(net, found)).all()
        assert predict(net, params, net.init_buffers(), batch.rows(np.arange(n)).inputs).shape == (n, 1)
    assert not found.moments.any() or norm == "batch"


def test_weights_stand_for_repeated_rows() -> None:
    net = NETS["wide and deep"]
    params, batch = perturbed(net), make_batch(net, 10)
    times = np.array([1, 2, 3, 1, 0, 1, 2, 1, 1, 4])
    repeated = batch.rows(np.repeat(np.arange(10), times))
    batch.weight, repeated.weight = times.astype(float), np.ones(times.sum())
    one, other = compute(net, params, batch), compute(net, params, repeated)
    np.testing.assert_allclose(whole(net, one), whole(net, other), rtol=1e-9, atol=1e-12)
    assert one.weight == other.weight and np.isclose(one.loss, other.loss, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(17)), st.integers(1, 17), st.integers(0, 3), st.integers(0, 2**63))
def test_what_dropout_keeps_of_a_row_does_not_depend_on_its_batch(
    order: list[int], n: int, layer: int, step: int
) -> None:
    keys = np.random.default_rng(3).integers(0, 2**63, 17).astype(np.uint64)
    take = np.array(order[:n])
    every = kept_units(Draws(1, step, keys), layer, 13, 0.3)
    assert np.array_equal(kept_units(Draws(1, step, keys[take]), layer, 13, 0.3), every[take])
    assert np.array_equal(kept_units(Draws(1, step, keys[take]), layer, 5, 0.3), every[take, :5])


def test_what_dropout_keeps_is_the_formula_in_python_integers() -> None:
    keys = np.array([3, 2**63 + 1], np.uint64)
    found = kept_units(Draws(11, 5, keys), 2, 7, 0.4)
    for row, key in enumerate(keys.tolist()):
        state = int(bits(11, 5, np.array([key], np.uint64))[0])
        for unit in range(7):
            word = mix(state + (2 * 2**24 + unit // 4 + 1) * GOLDEN)
            assert found[row, unit] == ((word >> 16 * (unit % 4)) % 2**16 >= round(0.4 * 2**16))


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_draws_anew_for_every_step_layer_and_seed(dropout: float) -> None:
    keys = np.arange(4000, dtype=np.uint64)
    masks = [
        kept_units(Draws(seed, step, keys), layer, 64, dropout)
        for seed, step, layer in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))
    ]
    for mask in masks:
        assert abs(mask.mean() - (1 - dropout)) < 5 * np.sqrt(dropout * (1 - dropout) / mask.size)
        assert np.abs(mask.mean(axis=0) - (1 - dropout)).max() < 5 * 0.5 / np.sqrt(len(keys))
    for one, other in itertools.combinations(masks, 2):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_dropout_keeps_the_mean_of_what_a_unit_gives() -> None:
    net = Net(n_numeric=2, hidden=(64,), dropout=0.25)
    x = np.tile([[0.5, -1.0]], (4000, 1))
    params = perturbed(net)
    certain = predict(net, params, net.init_buffers(), plain(x[:1]))[0, 0]
    y, draws = np.zeros(4000), Draws(0, 0, np.arange(4000, dtype=np.uint64))
    drawn = gradient(net, params, np.empty(0), plain(x), y, None, None, half_squared_error, draws)
    error = drawn.dense[net.views(np.arange(net.n_params))["output.bias"][0]] / 4000 - certain
    spread = np.sqrt(2 * drawn.loss / 4000 - certain**2) / np.sqrt(4000)
    assert abs(error) < 4 * spread


def test_running_moments_of_batch_norm_follow_the_formula_and_score_like_it() -> None:
    net = Net(n_numeric=3, hidden=(4, 3), norm="batch", activation="tanh")
    params, batch = perturbed(net), make_batch(net, 50)
    found = compute(net, params, batch)
    z = batch.inputs.x @ net.views(params)["hidden.0.weight"]
    np.testing.assert_allclose(found.moments[:8], np.r_[z.sum(axis=0), np.square(z).sum(axis=0)], rtol=1e-10)
    buffers = net.init_buffers()
    update_buffers(buffers, found.moments, found.n_rows)
    np.testing.assert_allclose(buffers[:4], MOMENTUM * z.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(buffers[4:8], 0.9 + 0.1 * np.square(z).mean(axis=0), rtol=1e-10)
    own = found.moments / 50  # scored with a batch's own moments, a batch scores as it trained
    y = batch.y
    raw = predict(net, params, own, batch.inputs)[:, 0] + batch.offset
    np.testing.assert_allclose(float((logistic.value(y, raw) * batch.weight).sum()), found.loss, rtol=1e-9)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_what_a_row_scores_depends_on_no_other_row(norm: str) -> None:
    net = Net(**EVERYTHING, hidden=(33, 17), norm=norm, wide=True, factors=3)
    params = perturbed(net).astype(np.float32)
    n = 2 * chunk_rows(net) + 300
    batch = make_batch(net, n, dtype=np.float32)
    buffers = net.init_buffers()
    every = predict(net, params, buffers, batch.inputs)
    assert every.dtype == np.float64 and every.flags.c_contiguous
    for first in (1, 7, 13, 500, 1024, n - 1):  # rows that are not there, rows that are others
        others = np.r_[np.arange(first), np.random.default_rng(first).permutation(np.arange(first, n))]
        for take in (np.arange(first), others):
            found = predict(net, params, buffers, batch.rows(take).inputs)
            assert found[:first].tobytes() == every[:first].tobytes()


def test_float32_is_float64_up_to_its_precision_and_gives_the_same_bytes_again() -> None:
    net = Net(**EVERYTHING, hidden=(16, 8), norm="layer", dropout=0.2, wide=True, factors=3, activation="gelu")
    params, work = perturbed(net), Work()
    batch = make_batch(net, 64)
    exact = whole(net, compute(net, params, batch))
    narrow = batch.inputs._replace(x=batch.inputs.x.astype(np.float32))
    batch.inputs = narrow
    single = params.astype(np.float32)
    one, other = (whole(net, compute(net, single, batch)) for _ in range(2))
    compute(net, single, batch, work=work)
    again = whole(net, compute(net, single, batch, work=work))
    assert one.dtype == np.float32 and one.tobytes() == other.tobytes() == again.tobytes()
    np.testing.assert_allclose(one, exact, rtol=1e-4, atol=2e-6 * np.abs(exact).max())


def test_a_batch_without_its_csr_columns_reads_them_as_zeros() -> None:
    net = Net(n_numeric=2, n_sparse=5, sparse_dim=2, hidden=(4,), wide=True)
    params, x = perturbed(net), np.random.default_rng(0).normal(size=(6, 2))
    none = SparseRows(np.zeros(7, np.int64), np.empty(0, np.int32), np.empty(0))
    codes = np.zeros((6, 0), np.int32)
    found, expected = (
        gradient(net, params, np.empty(0), Inputs(x, codes, sparse), np.ones(6), None, None, logistic)
        for sparse in (None, none)
    )
    np.testing.assert_array_equal(whole(net, found), whole(net, expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_standardised_in_float64(dtype: type) -> None:
    r = np.random.default_rng(0)
    x = (1e6 + r.integers(-9, 9, (40, 3))).astype(dtype)
    rows, center, scale = r.integers(0, 40, 17), x.mean(axis=0, dtype=np.float64), np.array([2.0, 3.0, 0.1])
    found = standardised(x, rows, center, scale, Work())
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, (x[rows].astype(np.float64) - center) / scale, rtol=1e-6)
    assert np.array_equal(standardised(x, rows, None, None), x[rows].astype(np.float32))


def test_the_helper_that_takes_csr_rows_takes_those() -> None:
    sparse = SparseRows(np.array([0, 2, 2, 3]), np.array([1, 4, 0]), np.array([1.0, 2.0, 3.0]))
    taken = csr_rows(sparse, np.array([2, 1, 0]))
    assert taken is not None and taken.indptr.tolist() == [0, 1, 1, 3] and taken.indices.tolist() == [0, 1, 4]
