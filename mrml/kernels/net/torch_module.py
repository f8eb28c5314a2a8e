"""Modules of the user's in torch: gradients, predictions and steps (:mod:`mrml.algorithms.sgd.module_net`).

Dropout of a module's own draws by torch's generator, seeded for every batch by its number and its first row: what is
dropped depends on the batch alone, not on who computes it.

Floor 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.net.describe import MOMENTUM, Gradient, Inputs, Slot, weight_sum
from mrml.kernels.net.layers import Draws
from mrml.kernels.net.optimizers import Optimizer
from mrml.kernels.net.torch import moving, one_thread, tensor_of
from mrml.kernels.net.torch_losses import weighted_loss
from mrml.kernels.net.torch_steps import Rows, Steps, place_of, told_of
from mrml.kernels.random import bits
from mrml.losses import Loss

Shapes = tuple[tuple[str, tuple[int, ...]], ...]

#: rows that are scored at a time
_ROWS = 8192


class ModuleNet(Protocol):
    """What is known of a network of the user's: its sizes, its shapes, and the function that makes the module."""

    @property
    def place(self) -> str: ...
    @property
    def n_numeric(self) -> int: ...
    @property
    def tables(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def takes_codes(self) -> bool: ...
    @property
    def shapes(self) -> Shapes: ...
    @property
    def slots(self) -> tuple[Slot, ...]: ...
    @property
    def n_params(self) -> int: ...
    def made(self) -> Any: ...


def described(net: ModuleNet) -> tuple[Shapes, Shapes]:
    """Names and shapes of its parameters and of its buffers; ConfigError where the module does not fit."""
    module = made(net)
    shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters())
    if not sum(p.numel() for p in module.parameters()):
        raise ConfigError(net.place, "has no parameter", "return a module that can learn")
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32 or not parameter.requires_grad:
            what = "is frozen" if parameter.dtype == torch.float32 else f"is {parameter.dtype}"
            raise ConfigError(net.place, f"parameter {name} {what}", "learn it in float32, or register it as a buffer")
    buffers = tuple((name, tuple(b.shape)) for name, b in _floating(module))
    inputs = Inputs(np.zeros((2, net.n_numeric), np.float32), np.zeros((2, len(net.tables)), np.int32))
    with torch.no_grad():
        called(net, module.eval(), inputs, "cpu")
    return shapes, buffers


def made(net: ModuleNet, params: Array | None = None, buffers: Array | None = None) -> torch.nn.Module:
    """A module with these parameters and buffers; with its own where none are given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = net.made()
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(net.place, f"returned {type(module).__name__}", "return a torch.nn.Module")
    shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters())
    if net.shapes and shapes != net.shapes:
        finding = f"has the parameters {_listed(shapes)} here, and {_listed(net.shapes)} where the run began"
        raise ConfigError(net.place, finding, "give driver and tasks the same file of it")
    with torch.no_grad():
        if params is not None:
            for slot, parameter in zip(net.slots, module.parameters(), strict=True):
                parameter.copy_(tensor_of(slot.view(params)))
        if buffers is not None:
            _load(module, buffers)
    return module


def _listed(shapes: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or '1'}" for name, shape in shapes)


def first(net: ModuleNet, seed: int) -> tuple[Array, Array]:
    """The parameters (n_params,) float32 and buffers (n_buffers,) float64 of a module made after a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = net.made()
    params = [p.detach().float().reshape(-1) for p in module.parameters()]
    return torch.cat(params).numpy().copy(), _dumped(module)


def _floating(module: torch.nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point()]


def _dumped(module: torch.nn.Module) -> Array:
    parts = [b.detach().double().reshape(-1).cpu().numpy() for _, b in _floating(module)]
    return np.concatenate([np.empty(0), *parts])


def _load(module: torch.nn.Module, buffers: Array) -> None:
    at = 0
    for _, buffer in _floating(module):
        buffer.copy_(tensor_of(buffers[at : at + buffer.numel()]).view(buffer.shape))
        at += buffer.numel()


def called(net: ModuleNet, module: Any, inputs: Inputs, device: str, move: Any = None) -> Tensor:
    """Raw predictions (n, n_outputs) of a module; ConfigError where it raises or returns another shape."""
    move = move or moving(device, torch.float32)
    x, codes = move(inputs.x), move(inputs.codes.astype(np.int64))
    if hasattr(move, "join"):
        move.join()
    given = (x, codes) if net.takes_codes else (_matrix(net, x, codes),)
    shapes = " and ".join(str(tuple(t.shape)) for t in given)
    try:
        raw = module(*given)
    except Exception as error:  # whatever a module of the user's own does
        told = str(error).splitlines()[0] if str(error) else ""
        finding = f"raised {type(error).__name__} for a batch of shape {shapes}: {told}"
        other = "; another --batch-size may leave no batch of one row" if len(x) == 1 else ""
        raise ConfigError(net.place, finding, f"fix the module{other}") from error
    expected = (len(x), net.n_outputs)
    if isinstance(raw, Tensor) and tuple(raw.shape) == expected[:1] and net.n_outputs == 1:
        raw = raw[:, None]
    if not isinstance(raw, Tensor) or tuple(raw.shape) != expected:
        got = f"shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else type(raw).__name__
        raise ConfigError(net.place, f"returned {got} for a batch of shape {shapes}", f"return {expected}")
    return raw


def _matrix(net: ModuleNet, x: Tensor, codes: Tensor) -> Tensor:
    """(n, n_features): the numbers, then 0 and 1 for the levels of each category."""
    one_hot = [torch.nn.functional.one_hot(codes[:, k], n).to(x.dtype) for k, (n, _) in enumerate(net.tables)]
    return torch.cat([x, *one_hot], 1) if one_hot else x


def _seed(draws: Draws | None) -> None:
    if draws is not None:
        torch.manual_seed(int(bits(draws.seed, draws.step, draws.row_key[:1])[0]) >> 1)


class ModuleSteps(Steps):
    """Steps of a module, whose parameters and gradients are views of one flat vector each."""

    def __init__(self, net: ModuleNet, loss: Loss, optimizer: Optimizer, params: Array, buffers: Array, inner: Array,
                 device: str, precision: str, compiled: bool) -> None:  # fmt: skip
        super().__init__(loss, optimizer, params, inner, net.n_params, device, precision)
        self.net, self._module = net, made(net, None, buffers).to(device).train()
        for slot, parameter in zip(net.slots, self._module.parameters(), strict=True):
            part = slice(slot.offset, slot.offset + slot.size)
            parameter.data = self._flat[part].view(slot.shape)
            parameter.grad = self._grad[part].view(slot.shape)
        self._called = torch.compile(self._module) if compiled else self._module

    @property
    def buffers(self) -> Array:
        return _dumped(self._module)

    def raw(self, inputs: Inputs, draws: Draws | None) -> tuple[Tensor, Sequence[Rows]]:
        _seed(draws)
        return called(self.net, self._called, inputs, self.device, self._move), ()

    def moved(self, n_rows: int) -> None:
        return None


class ModuleKernel:
    """What :class:`mrml.kernels.net.kernel.Kernel` asks for, of a module."""

    def __init__(self, device: str, precision: str = "float32", compiled: bool = False) -> None:
        self.device, self.precision, self.compiled, self.place = device, precision, compiled, place_of(device)

    def told(self) -> str:
        return told_of(self.device)

    def gradient(self, net: ModuleNet, params: Array, buffers: Array, inputs: Inputs, y: Array, weight: Array | None,
                 offset: Array | None, loss: Loss, draws: Draws | None) -> Gradient:  # fmt: skip
        """Sums over the rows; the moments are such that their mean moves the buffers as the module has moved them."""
        one_thread(self.device)
        module = made(net, params, buffers).to(self.device).train()
        _seed(draws)
        raw = called(net, module, inputs, self.device).double()
        given = [None if a is None else tensor_of(a.astype(np.float64)).to(self.device) for a in (y, weight, offset)]
        total = weighted_loss(loss, raw, *given)
        total.backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
        dense = torch.cat([part.reshape(-1) for part in parts]).cpu().numpy()
        moments = len(y) * (buffers + (_dumped(module) - buffers) / MOMENTUM)
        return Gradient(float(total.detach()), weight_sum(y, weight), dense, (), moments, len(y))

    def predict(self, net: ModuleNet, params: Array, buffers: Array, inputs: Inputs) -> Array:
        """Raw predictions (n, n_outputs) float64."""
        one_thread(self.device)
        module = made(net, params, buffers).to(self.device).eval()
        found = [np.empty((0, net.n_outputs))]
        with torch.no_grad():
            for start in range(0, len(inputs.x), _ROWS):
                part = inputs.part(slice(start, start + _ROWS))
                found.append(called(net, module, part, self.device).double().cpu().numpy())
        return np.concatenate(found)

    def steps(self, net: ModuleNet, loss: Loss, optimizer: Optimizer, params: Array, buffers: Array,
              inner: Array) -> ModuleSteps:  # fmt: skip
        return ModuleSteps(net, loss, optimizer, params, buffers, inner, self.device, self.precision, self.compiled)
