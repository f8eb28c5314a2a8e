"""The torch kernel is the NumPy kernel: gradients, predictions and draws; as a module it goes there and back."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the torch extra: make test-torch")

from mrml.kernels.net import torch as net_torch  # noqa: E402
from mrml.kernels.net import torch_net  # noqa: E402
from mrml.kernels.net.describe import MOMENTUM, Inputs, Net, SparseRows  # noqa: E402
from mrml.kernels.net.layers import Draws, kept_units  # noqa: E402
from mrml.kernels.net.numpy import gradient, predict  # noqa: E402
from mrml.losses import LOSSES, logistic  # noqa: E402
from tests.kernels.nets import Array, make_batch, perturbed, whole  # noqa: E402
from tests.kernels.test_net_numpy import EVERYTHING, LAYERS, NETS  # noqa: E402


def both(net: Net, n: int = 24, loss: Any = logistic, dtype: type = np.float64) -> tuple[Any, Any]:
    batch, params = make_batch(net, n, loss), perturbed(net).astype(dtype)
    inputs = batch.inputs._replace(x=batch.inputs.x.astype(dtype))
    rows = (inputs, batch.y, batch.weight, batch.offset, loss, batch.draws if net.dropout else None)
    return gradient(net, params, net.init_buffers(), *rows), net_torch.gradient(net, params, net.init_buffers(), *rows)


def check(net: Net, ours: Any, theirs: Any, tolerance: float) -> None:
    mine, found = whole(net, ours), whole(net, theirs)
    np.testing.assert_allclose(found, mine, rtol=tolerance, atol=tolerance * max(np.abs(mine).max(initial=0), 1e-3))
    np.testing.assert_allclose(theirs.loss, ours.loss, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(theirs.moments, ours.moments, rtol=tolerance, atol=tolerance)
    assert theirs.weight == ours.weight and theirs.n_rows == ours.n_rows
    for one, other in zip(theirs.sparse, ours.sparse, strict=True):
        assert one.slot == other.slot and np.array_equal(one.rows, other.rows)


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_net_has_the_gradient_of_the_numpy_kernel(name: str) -> None:
    check(NETS[name], *both(NETS[name]), 1e-9)
    check(NETS[name], *both(NETS[name], dtype=np.float32), 1e-5)


@pytest.mark.parametrize(("activation", "norm", "dropout"), LAYERS)
def test_every_layer_has_the_gradient_of_the_numpy_kernel(activation: str, norm: str, dropout: float) -> None:
    net = Net(n_numeric=3, hidden=(6, 5), activation=activation, norm=norm, dropout=dropout)
    check(net, *both(net), 1e-9)
    check(net, *both(net, dtype=np.float32), 1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_has_the_gradient_of_the_numpy_kernel(name: str) -> None:
    net = Net(**EVERYTHING, hidden=(5,), activation="tanh", wide=True, n_outputs=3 if name == "softmax" else 1)
    ours, theirs = both(net, loss=LOSSES[name])
    assert np.abs(whole(net, ours) - whole(net, theirs)).max() < 1e-9 * max(1.0, np.abs(whole(net, ours)).max())


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_batches_of_no_row_and_of_one_are_legal(n: int, norm: str) -> None:
    net = Net(**EVERYTHING, hidden=(4, 3), norm=norm, dropout=0.5, wide=True, factors=2)
    check(net, *both(net, n), 1e-9)


@given(st.integers(0, 4), st.integers(1, 40), st.floats(0.0, 0.99), st.integers(0, 2**62), st.integers(0, 2**62))
def test_dropout_keeps_the_units_that_the_numpy_kernel_keeps(
    layer: int, units: int, dropout: float, seed: int, step: int
) -> None:
    keys = np.random.default_rng(seed).integers(0, 2**63, 9).astype(np.uint64) * np.uint64(2)
    draws = Draws(seed, step, keys)
    found = net_torch.kept_units(draws, layer, units, dropout, "cpu").numpy()
    assert np.array_equal(found, kept_units(draws, layer, units, dropout))


@pytest.mark.parametrize("name", NETS)
def test_a_net_scores_as_the_numpy_kernel_does(name: str) -> None:
    net = NETS[name]
    params, batch = perturbed(net).astype(np.float32), make_batch(net, 50, dtype=np.float32)
    ours = predict(net, params, net.init_buffers(), batch.inputs)
    found = net_torch.predict(net, params, net.init_buffers(), batch.inputs)
    np.testing.assert_allclose(found, ours, rtol=1e-5, atol=1e-5)


def test_rows_are_scored_alike_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    net = NETS["DeepFM"]
    batch, params = make_batch(net, 100), perturbed(net)
    every = net_torch.predict(net, params, net.init_buffers(), batch.inputs)
    monkeypatch.setattr(net_torch, "_ROWS", 7)
    np.testing.assert_allclose(net_torch.predict(net, params, net.init_buffers(), batch.inputs), every, rtol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_a_module_has_the_slots_as_its_state_and_goes_there_and_back(name: str) -> None:
    net = NETS[name]
    params = perturbed(net).astype(np.float32)
    module = torch_net.module_of(net.to_json(), params)
    state = module.state_dict()
    assert {k: tuple(v.shape) for k, v in state.items() if k != "moments"} == {s.name: s.shape for s in net.slots}
    assert module.flat().tobytes() == params.tobytes()
    other = torch_net.module_of(net)
    other.load_state_dict(state)
    assert other.flat().tobytes() == params.tobytes()


def test_a_module_scores_as_the_kernel_does_and_learns_by_torchs_own_means() -> None:
    net = Net(n_numeric=3, tables=((5, 2),), hidden=(8, 4), norm="batch", dropout=0.3, wide=True)
    params, batch = perturbed(net).astype(np.float32), make_batch(net, 64, dtype=np.float32)
    module = torch_net.module_of(net, params)
    x, codes = torch.from_numpy(batch.inputs.x), torch.from_numpy(batch.inputs.codes)
    with torch.no_grad():
        scored = module.eval()(x, codes)
    np.testing.assert_allclose(scored, predict(net, params, net.init_buffers(), batch.inputs), rtol=1e-5, atol=1e-5)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    y = torch.from_numpy(batch.y).float()
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(module.train()(x, codes)[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        before, own = module.moments.clone(), torch.from_numpy(module_moments(net, module.flat(), batch))
        module(x, codes)
    expected = before + MOMENTUM * (own - before)
    np.testing.assert_allclose(module.moments[:16], expected[:16], rtol=1e-4, atol=1e-4)


def module_moments(net: Net, params: Array, batch: Any) -> Array:
    """Means of z and z**2 over a batch, without what is dropped before the second layer."""
    one = dataclasses.replace(net, dropout=0.0)
    rows = (batch.inputs, batch.y, None, None, logistic)
    return gradient(one, params, one.init_buffers(), *rows).moments / len(batch.y)


def test_a_module_reads_csr_columns_row_by_row() -> None:
    net = Net(n_sparse=6, hidden=(4,), wide=True, factors=2)
    params = perturbed(net).astype(np.float32)
    indices, values = np.array([[0, 3], [5, 1]], np.int32), np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
    sparse = SparseRows(np.array([0, 2, 4]), indices.ravel(), values.ravel())
    inputs = Inputs(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.int32), sparse)
    pair = torch.from_numpy(indices).long(), torch.from_numpy(values)
    found = torch_net.module_of(net, params).eval()(torch.zeros(2, 0), None, pair).detach().numpy()
    np.testing.assert_allclose(found, predict(net, params, net.init_buffers(), inputs), rtol=1e-5, atol=1e-6)


_TELL = """
import hashlib, sys
import mrml, numpy as np
from mrml.kernels.net import torch as net_torch
from tests.kernels.nets import make_batch, perturbed
from mrml.kernels.net.describe import Net
from mrml.losses import logistic
net = Net(n_numeric=40, tables=((50, 8),), n_sparse=99, hidden=(64, 32), norm="batch", dropout=0.1, wide=True,
          factors=3)
b, p = make_batch(net, 512, dtype=np.float32), perturbed(net).astype(np.float32)
g = net_torch.gradient(net, p, net.init_buffers(), b.inputs, b.y, b.weight, b.offset, logistic, b.draws)
parts = [g.dense, *(s.values for s in g.sparse), g.moments]
print(hashlib.sha256(b"".join(a.tobytes() for a in parts)).hexdigest())
"""


def test_on_the_cpu_every_process_computes_the_same_bytes() -> None:
    told = {subprocess.run([sys.executable, "-c", _TELL], capture_output=True, text=True, check=True).stdout
            for _ in range(2)}  # fmt: skip
    assert len(told) == 1


def test_the_same_batch_gives_the_same_bytes_again() -> None:
    net = Net(**EVERYTHING, hidden=(16, 8), norm="layer", dropout=0.2, wide=True, factors=3, activation="gelu")
    one, other = (both(net, 64, dtype=np.float32)[1] for _ in range(2))
    assert whole(net, one).tobytes() == whole(net, other).tobytes()
