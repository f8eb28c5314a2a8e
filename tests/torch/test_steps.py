"""Steps in torch are those of the NumPy kernel, and torch.optim's own."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra: make test-torch")

from mrml.errors import ConfigError  # noqa: E402
from mrml.kernels import device  # noqa: E402
from mrml.kernels.net import torch as net_torch  # noqa: E402
from mrml.kernels.net.describe import Net  # noqa: E402
from mrml.kernels.net.kernel import NumpyKernel, chosen  # noqa: E402
from mrml.kernels.net.optimizers import STATES, Optimizer  # noqa: E402
from mrml.kernels.net.torch_steps import TorchKernel  # noqa: E402
from mrml.losses import half_squared_error, logistic  # noqa: E402
from tests.kernels.nets import Array, make_batch, perturbed  # noqa: E402
from tests.kernels.test_net_numpy import EVERYTHING, NETS  # noqa: E402

PLAIN = Net(n_numeric=3, hidden=(6, 4), activation="tanh")


def run(kernel: Any, net: Net, optimizer: Optimizer, n_steps: int = 7, rate: float = 0.02) -> tuple[Any, list[float]]:
    params, state = perturbed(net).astype(np.float32), optimizer.init_state(net.n_params)
    steps = kernel.steps(net, logistic, optimizer, params, net.init_buffers(), state)
    losses = []
    for t in range(1, n_steps + 1):
        b = make_batch(net, 20, seed=t, dtype=np.float32)
        losses.append(steps.step(b.inputs, b.y, b.weight, b.offset, b.draws, t, rate))
    return steps, losses


def check(net: Net, optimizer: Optimizer, rate: float = 0.02) -> None:
    (ours, mine), (found, told) = (run(k, net, optimizer, rate=rate) for k in (NumpyKernel(), TorchKernel("cpu")))
    np.testing.assert_allclose(told, mine, rtol=1e-4)
    for name in ("params", "buffers", "inner"):
        one, other = getattr(found, name), getattr(ours, name)
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", STATES)
def test_every_optimizer_takes_the_steps_of_the_numpy_kernel(name: str, weight_decay: float) -> None:
    check(NETS["DeepFM"], Optimizer(name, epsilon=1e-3, weight_decay=weight_decay))


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_net_takes_the_steps_of_the_numpy_kernel(name: str) -> None:
    check(NETS[name], Optimizer("adam", epsilon=1e-3))


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms_and_dropout_take_the_steps_of_the_numpy_kernel(norm: str) -> None:
    check(Net(**EVERYTHING, hidden=(8, 5), norm=norm, dropout=0.3), Optimizer("momentum"))


def test_a_clipped_gradient_takes_the_step_of_the_numpy_kernel() -> None:
    check(NETS["one layer of everything"], Optimizer("sgd", clip_norm=0.05), rate=1.0)


@pytest.mark.parametrize(("ours", "theirs"), [
    (Optimizer("sgd", weight_decay=0.1), lambda p: torch.optim.SGD(p, 0.02, weight_decay=0.1)),
    (Optimizer("momentum", momentum=0.8), lambda p: torch.optim.SGD(p, 0.02, momentum=0.8)),
    (Optimizer("nesterov", momentum=0.8), lambda p: torch.optim.SGD(p, 0.02, momentum=0.8, nesterov=True)),
    (Optimizer("adagrad", epsilon=1e-3), lambda p: torch.optim.Adagrad(p, 0.02, eps=1e-3)),
    (Optimizer("adam", beta1=0.8, epsilon=1e-3), lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.999), 1e-3)),
    (Optimizer("adamw", epsilon=1e-3, weight_decay=0.1),
     lambda p: torch.optim.AdamW(p, 0.02, eps=1e-3, weight_decay=0.1)),
], ids=lambda o: o.name if isinstance(o, Optimizer) else "")  # fmt: skip
def test_a_dense_net_learns_as_by_torch_optim(ours: Optimizer, theirs: Any) -> None:
    found, _ = run(TorchKernel("cpu"), PLAIN, ours)
    module = net_torch.module_of(PLAIN, perturbed(PLAIN).astype(np.float32))
    optimizer = theirs(module.parameters())
    for t in range(1, 8):
        b = make_batch(PLAIN, 20, seed=t, dtype=np.float32)
        raw = module(torch.from_numpy(b.inputs.x)).double()[:, 0] + torch.from_numpy(b.offset)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            raw, torch.from_numpy(b.y), torch.from_numpy(b.weight), reduction="sum"
        )
        optimizer.zero_grad()
        (loss / b.weight.sum()).backward()
        optimizer.step()
    np.testing.assert_allclose(found.params, module.flat(), rtol=1e-4, atol=1e-5)


def test_a_run_that_goes_on_from_its_state_is_the_run_that_never_stopped() -> None:
    net, o = NETS["DeepFM"], Optimizer("adam")
    whole, _ = run(TorchKernel("cpu"), net, o, 8)
    half, _ = run(TorchKernel("cpu"), net, o, 4)
    steps = TorchKernel("cpu").steps(net, logistic, o, half.params, half.buffers, half.inner)
    for t in range(5, 9):
        b = make_batch(net, 20, seed=t, dtype=np.float32)
        steps.step(b.inputs, b.y, b.weight, b.offset, b.draws, t, 0.02)
    assert steps.params.tobytes() == whole.params.tobytes() and steps.inner.tobytes() == whole.inner.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_told_and_moves_nothing(bad: float) -> None:
    net, o = NETS["plain"], Optimizer("adam")
    params = perturbed(net).astype(np.float32)
    steps = TorchKernel("cpu").steps(net, half_squared_error, o, params, net.init_buffers(), o.init_state(net.n_params))
    b = make_batch(net, 5, dtype=np.float32)
    b.y[2] = bad
    assert not math.isfinite(steps.step(b.inputs, b.y, None, None, None, 1, 0.1))
    assert steps.params.tobytes() == params.tobytes() and steps.rest() == 0.0


def test_rows_without_weight_move_nothing() -> None:
    net, o = NETS["plain"], Optimizer("adam", weight_decay=0.1)
    params = perturbed(net).astype(np.float32)
    steps = TorchKernel("cpu").steps(net, logistic, o, params, net.init_buffers(), o.init_state(net.n_params))
    b = make_batch(net, 5, dtype=np.float32)
    assert steps.step(b.inputs, b.y, np.zeros(5), None, None, 1, 0.1) == 0.0
    assert steps.params.tobytes() == params.tobytes()


def test_bf16_learns_what_float32_learns_up_to_its_precision() -> None:
    net = Net(n_numeric=3, hidden=(32, 16), norm="batch")
    (one, fine), (other, coarse) = (run(TorchKernel("cpu", p), net, Optimizer("adam"), 40) for p in ("float32", "bf16"))
    assert one.params.tobytes() != other.params.tobytes() and other.params.dtype == np.float32
    np.testing.assert_allclose(np.mean(coarse), np.mean(fine), rtol=0.05)


def test_a_compiled_network_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # traced, but not made into C++, which takes 50 s
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    plain, _ = run(TorchKernel("cpu"), PLAIN, Optimizer("adam"), 3)
    compiled, _ = run(TorchKernel("cpu", compiled=True), PLAIN, Optimizer("adam"), 3)
    np.testing.assert_allclose(compiled.params, plain.params, rtol=1e-4, atol=1e-5)


def losses_looked_at(monkeypatch: pytest.MonkeyPatch, every: int) -> tuple[list[float], float, Array]:
    """A run as on a GPU: nothing waits for a step."""
    from mrml.kernels.net import torch_steps as net_torch_steps

    monkeypatch.setattr(net_torch_steps, "LOOK_EVERY", every)
    o = Optimizer("adam")
    steps = TorchKernel("cpu").steps(
        PLAIN, logistic, o, perturbed(PLAIN).astype(np.float32), np.empty(0), o.init_state(PLAIN.n_params)
    )
    steps._waits = False
    told = []
    for t in range(1, 8):
        b = make_batch(PLAIN, 20, seed=t, dtype=np.float32)
        told.append(steps.step(b.inputs, b.y, b.weight, b.offset, b.draws, t, 0.02))
    return told, steps.rest(), steps.params


def test_a_device_that_is_not_waited_for_tells_every_loss_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited, every = run(TorchKernel("cpu"), PLAIN, Optimizer("adam"))
    told, rest, params = losses_looked_at(monkeypatch, 3)
    assert [bool(v) for v in told] == [False, False, True] * 2 + [False]
    assert sum(told) + rest == pytest.approx(sum(every), rel=1e-12) and rest == pytest.approx(every[-1])
    assert params.tobytes() == waited.params.tobytes()


def test_cuda_that_is_not_here_is_refused_with_a_remedy() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    for name in ("cuda", "cuda:3"):
        with pytest.raises(ConfigError, match=r"GPU.*--device cpu or auto"):
            device.device_of(name)
    assert device.device_of("auto") == device.device_of("cpu") == "cpu"
    assert chosen("auto", "auto", "float32", False).kernels == "numpy"


@pytest.mark.parametrize(("worker", "expected"), [(0, "cuda:0"), (1, "cuda:1"), (2, "cuda:2"), (3, "cuda:0")])
def test_gpus_are_dealt_out_to_workers(worker: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr("mrml.pin.worker", worker)
    assert device.device_of("cuda") == device.device_of("auto") == expected
    assert device.device_of("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match="3 GPUs are here"):
        device.device_of("cuda:3")


class Late:
    """What is moved arrives when it is waited for, as on a GPU; before that it is something else."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Any, Any]] = []

    def __call__(self, array: Array) -> Any:
        there = torch.from_numpy(np.array(array))
        self.under_way.append((torch.zeros_like(there), there))
        return self.under_way[-1][0]

    def join(self) -> None:
        for here, there in self.under_way:
            here.copy_(there)
        self.under_way.clear()


@pytest.mark.parametrize("name", [*NETS, "dropout"])
def test_nothing_is_computed_with_before_it_has_arrived(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrml.kernels.net import torch_steps as net_torch_steps

    net = NETS.get(name, Net(**EVERYTHING, hidden=(8, 5), norm="batch", dropout=0.3))
    expected, _ = run(TorchKernel("cpu"), net, Optimizer("adam"))
    monkeypatch.setattr(net_torch_steps, "Plain", Late)
    found, _ = run(TorchKernel("cpu"), net, Optimizer("adam"))
    assert found.params.tobytes() == expected.params.tobytes()
