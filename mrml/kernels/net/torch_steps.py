"""Steps of SGD in torch: parameters, buffers and optimizer state lie on the device between two meetings.

The formulas are those of :mod:`mrml.kernels.net.optimizers`, in place on one flat vector, which is what the parameters
of the network are views of: a step of Adam is six kernels, however many layers there are.  Of sparse slots only the
rows that a batch reads are gathered, differentiated, moved and written back; which those are is found on the host.

On a GPU nothing waits for it: batches move by pinned memory on a stream of their own, so that the next one travels
while the last one computes, and the loss is summed on the device and looked at once in ``LOOK_EVERY`` steps.

Floor 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrml.arrays import Array
from mrml.kernels.net import torch as net_torch
from mrml.kernels.net.describe import MOMENTUM, Gradient, Inputs, Net, Slot, weight_sum
from mrml.kernels.net.layers import Draws
from mrml.kernels.net.optimizers import Optimizer
from mrml.kernels.net.torch import Batch, dropping, forward, one_thread, tensor_of
from mrml.kernels.net.torch_losses import weighted_loss
from mrml.losses import Loss

#: steps on a GPU between two looks at the loss, each of which waits for it
LOOK_EVERY = 64


class OnDevice:
    """Numbers that stay on a GPU between meetings: batches are slices of what was shuffled there."""

    def __init__(self, device: str) -> None:
        self.device = device

    def put(self, x: Array) -> Tensor:
        return tensor_of(x).to(self.device)

    def joined(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)


def place_of(device: str) -> OnDevice | None:
    """Where numbers stay; on the CPU they are where they are."""
    return None if device == "cpu" else OnDevice(device)


def told_of(device: str) -> str:
    """``NVIDIA H100, at most 1,234 MiB``; nothing of the CPU."""
    if device == "cpu":
        return ""
    n_bytes = torch.cuda.max_memory_allocated(device)
    return f"{torch.cuda.get_device_name(device)}, at most {n_bytes >> 20:,} MiB"


class Pinned:
    """Arrays to a GPU by pinned memory, on a stream of their own; :meth:`join` before they are computed with.

    torch keeps pinned memory until the copies out of it are done.
    """

    def __init__(self, device: str) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self._moved: list[Tensor] = []

    def __call__(self, array: Array | Tensor) -> Tensor:
        if isinstance(array, Tensor):
            return array
        if not array.size:
            return tensor_of(array).to(self.device)
        pinned = tensor_of(array).pin_memory()
        with torch.cuda.stream(self.stream):
            moved = pinned.to(self.device, non_blocking=True)
        self._moved.append(moved)
        return moved

    def join(self) -> None:
        """The stream that computes waits for what was moved, on the device."""
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        for tensor in self._moved:
            tensor.record_stream(current)
        self._moved.clear()


class Plain:
    """Arrays as tensors of the CPU."""

    def __call__(self, array: Array | Tensor) -> Tensor:
        return array if isinstance(array, Tensor) else tensor_of(array)

    def join(self) -> None:
        return None


class Rows(NamedTuple):
    """The rows of a sparse slot that a batch moves, as a leaf whose gradient is theirs."""

    slot: Slot
    number: Tensor
    leaf: Tensor


class Steps(ABC):
    """A run of steps on a device, of whatever has its parameters in one flat vector.

    Parameters
    ----------
    params : (n_params,) float32, of which the first ``n_dense`` are dense; ``inner`` (k, n_params) float32, the
        optimizer's; both are copied.
    precision : float32, or bf16: products of matrices in bfloat16, everything else in float32 (autocast).
    """

    def __init__(self, loss: Loss, optimizer: Optimizer, params: Array, inner: Array, n_dense: int, device: str,
                 precision: str) -> None:  # fmt: skip
        one_thread(device)
        self.loss, self.optimizer, self.device, self.precision, self.n_dense = (
            loss,
            optimizer,
            device,
            precision,
            n_dense,
        )
        self._waits = device == "cpu"  # for the loss of every step, which costs nothing there
        self._move: Pinned | Plain = Plain() if self._waits else Pinned(device)
        self._flat = torch.tensor(params, device=device)
        self._state = torch.tensor(inner, device=device)
        self._grad = torch.zeros(n_dense, device=device)
        self._unseen = torch.zeros((), dtype=torch.float64, device=device)
        self._n_unseen = 0

    @abstractmethod
    def raw(self, inputs: Inputs, draws: Draws | None) -> tuple[Tensor, Sequence[Rows]]:
        """Raw predictions (n, n_outputs) of a batch, and the rows of sparse slots that they depend on."""

    @abstractmethod
    def moved(self, n_rows: int) -> None:
        """A step was taken by a batch of so many rows."""

    @property
    def params(self) -> Array:
        return _numpy(self._flat)

    @property
    def inner(self) -> Array:
        return _numpy(self._state)

    def step(self, inputs: Inputs, y: Array, weight: Array | None, offset: Array | None, draws: Draws | None,
             t: int, rate: float) -> float:  # fmt: skip
        """Move by the mean gradient of a batch, step ``t`` >= 1 of the optimizer.

        Returns
        -------
        The sum of weight * loss before the step; on a GPU 0 but for every ``LOOK_EVERY``-th step, which tells the sum
        of those since the last one.
        """
        total_weight = weight_sum(y, weight)
        if not total_weight > 0:
            return 0.0
        self._grad.zero_()
        target, *more = (
            None if a is None else self._move(a.astype(np.float64, copy=False)) for a in (y, weight, offset)
        )
        with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.precision == "bf16"):
            raw, rows = self.raw(inputs, draws)
        total = weighted_loss(self.loss, raw.double(), target, *more)
        value = float(total.detach()) if self._waits else 0.0
        if math.isfinite(value):
            (total / total_weight).backward()
            self._clip(rows)
            self._take(rows, t, rate)
            self.moved(len(inputs.x))
        return value if self._waits else self._told(total.detach())

    def rest(self) -> float:
        """The sum of weight * loss of the steps that no :meth:`step` has told of."""
        value, self._n_unseen = float(self._unseen), 0
        self._unseen.zero_()
        return value

    def _told(self, total: Tensor) -> float:
        self._unseen += total
        self._n_unseen += 1
        return self.rest() if self._n_unseen >= LOOK_EVERY else 0.0

    def _clip(self, rows: Sequence[Rows]) -> None:
        """As torch.nn.utils.clip_grad_norm_; the norm stays on the device."""
        limit = self.optimizer.clip_norm
        if not limit:
            return
        parts = [self._grad, *(r.leaf.grad for r in rows if r.leaf.grad is not None)]
        norm = torch.stack([part.double().square().sum() for part in parts]).sum().sqrt()
        factor = torch.where(norm > limit, limit / (norm + 1e-6), 1.0).float()
        for part in parts:
            part *= factor

    def _take(self, rows: Sequence[Rows], t: int, rate: float) -> None:
        with torch.no_grad():
            self._by(self._flat[: self.n_dense], self._grad, self._state[:, : self.n_dense], t, rate)
            for slot, number, leaf in rows:
                if leaf.grad is None:
                    continue
                table = self._flat[slot.offset : slot.offset + slot.size].view(slot.shape)
                kept = self._state[:, slot.offset : slot.offset + slot.size].view(-1, *slot.shape)
                p, state = leaf.detach(), kept[:, number]
                self._by(p, leaf.grad, state, t, rate)
                table[number] = p
                kept[:, number] = state

    def _by(self, p: Tensor, g: Tensor, state: Tensor, t: int, rate: float) -> None:
        """The formulas of the optimizers, in place."""
        o = self.optimizer
        if o.name == "adamw":
            p *= 1.0 - rate * o.weight_decay
        elif o.weight_decay:
            g.add_(p, alpha=o.weight_decay)
        if o.name.startswith("adam"):
            m, v = state
            m.mul_(o.beta1).add_(g, alpha=1.0 - o.beta1)
            v.mul_(o.beta2).addcmul_(g, g, value=1.0 - o.beta2)
            denominator = v.sqrt().mul_(1.0 / math.sqrt(1.0 - o.beta2**t)).add_(o.epsilon)
            p.addcdiv_(m, denominator, value=-rate / (1.0 - o.beta1**t))
        elif o.name == "adagrad":
            state[0].addcmul_(g, g)
            p.addcdiv_(g, state[0].sqrt().add_(o.epsilon), value=-rate)
        else:
            if o.name != "sgd":
                state[0].mul_(o.momentum).add_(g)
                g = g.add(state[0], alpha=o.momentum) if o.name == "nesterov" else state[0]
            p.add_(g, alpha=-rate)


class TorchSteps(Steps):
    """The steps of a :class:`Net`; the interface of :class:`mrml.kernels.net.steps.NumpySteps`."""

    def __init__(self, net: Net, loss: Loss, optimizer: Optimizer, params: Array, buffers: Array, inner: Array,
                 device: str = "cpu", precision: str = "float32", compiled: bool = False) -> None:  # fmt: skip
        super().__init__(loss, optimizer, params, inner, net.n_dense, device, precision)
        self.net = net
        self._forward: Callable[..., Tensor] = torch.compile(forward) if compiled else forward
        self._buffers = torch.tensor(buffers, device=device)
        self._moments: list[Tensor] = []
        self._dense: dict[str, Tensor] = {}
        for slot in (s for s in net.slots if not s.sparse):
            leaf = self._flat[slot.offset : slot.offset + slot.size].view(slot.shape).detach().requires_grad_()
            leaf.grad = self._grad[slot.offset : slot.offset + slot.size].view(slot.shape)
            self._dense[slot.name] = leaf

    @property
    def buffers(self) -> Array:
        return _numpy(self._buffers)

    def raw(self, inputs: Inputs, draws: Draws | None) -> tuple[Tensor, Sequence[Rows]]:
        batch = Batch(self.net, inputs, self._move)
        numbers = {name: self._move(rows) for name, rows in batch.touched.items()}
        keep = dropping(self.net, draws, self._move)
        self._move.join()
        rows = [self._rows(s, numbers[s.name]) for s in self.net.slots if s.sparse and s.name in numbers]
        p = {**self._dense, **{r.slot.name: r.leaf for r in rows}}
        self._moments = []
        return self._forward(self.net, p, batch.at, keep, None, self._moments), rows

    def _rows(self, slot: Slot, number: Tensor) -> Rows:
        table = self._flat[slot.offset : slot.offset + slot.size].view(slot.shape)
        return Rows(slot, number, table[number].requires_grad_())

    def moved(self, n_rows: int) -> None:
        if self._moments and n_rows:
            self._buffers += MOMENTUM * (torch.cat(self._moments) / n_rows - self._buffers)


class TorchKernel:
    """What :class:`mrml.kernels.net.kernel.Kernel` asks for, on a device."""

    def __init__(self, device: str, precision: str = "float32", compiled: bool = False) -> None:
        self.device, self.precision, self.compiled, self.place = device, precision, compiled, place_of(device)

    def told(self) -> str:
        return told_of(self.device)

    def gradient(self, net: Net, params: Array, buffers: Array, inputs: Inputs, y: Array, weight: Array | None,
                 offset: Array | None, loss: Loss, draws: Draws | None) -> Gradient:  # fmt: skip
        return net_torch.gradient(net, params, buffers, inputs, y, weight, offset, loss, draws, self.device)

    def predict(self, net: Net, params: Array, buffers: Array, inputs: Inputs) -> Array:
        return net_torch.predict(net, params, buffers, inputs, self.device)

    def steps(self, net: Net, loss: Loss, optimizer: Optimizer, params: Array, buffers: Array, inner: Array) -> Any:
        return TorchSteps(net, loss, optimizer, params, buffers, inner, self.device, self.precision, self.compiled)


def _numpy(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy().copy()
    return found
