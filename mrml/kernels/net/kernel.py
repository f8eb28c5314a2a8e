"""Which kernel computes a network: NumPy, or torch on a device.

Floor 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.device import device_of, torch_of
from mrml.kernels.net import numpy as net_numpy
from mrml.kernels.net.describe import Gradient, Inputs, Net, Slot
from mrml.kernels.net.layers import Draws
from mrml.kernels.net.optimizers import Optimizer
from mrml.kernels.net.steps import NumpySteps
from mrml.losses import Loss

KERNELS = ("auto", "numpy", "torch")
PRECISIONS = ("float32", "bf16")


class Network(Protocol):
    """A network as a State has it: one flat vector of parameters, and what lies where in it."""

    @property
    def slots(self) -> tuple[Slot, ...]: ...

    @property
    def n_params(self) -> int: ...

    def init(self, seed: int, bias: Sequence[float] = ()) -> Array: ...

    def init_buffers(self) -> Array: ...

    def to_json(self) -> Mapping[str, Any]: ...


class Steps(Protocol):
    """A run of local steps; ``params``, ``buffers`` and ``inner`` are arrays."""

    @property
    def params(self) -> Array: ...

    @property
    def buffers(self) -> Array: ...

    @property
    def inner(self) -> Array: ...

    def step(self, inputs: Inputs, y: Array, weight: Array | None, offset: Array | None, draws: Draws | None,
             t: int, rate: float) -> float: ...  # fmt: skip

    def rest(self) -> float: ...


class Place(Protocol):
    """Where the numbers of batches lie when they shall not travel for every step: they are sliced there, and taken."""

    def put(self, x: Array) -> Any: ...

    def joined(self, parts: list[Any]) -> Any: ...


class Kernel(Protocol):
    """Gradients, raw predictions and steps of a network; ``place`` is that of the steps' numbers, None for memory.

    ``told`` names a device that is no CPU, and the most memory that was taken there.
    """

    @property
    def place(self) -> Place | None: ...

    def told(self) -> str: ...

    def gradient(self, net: Any, params: Array, buffers: Array, inputs: Inputs, y: Array, weight: Array | None,
                 offset: Array | None, loss: Loss, draws: Draws | None) -> Gradient: ...  # fmt: skip

    def predict(self, net: Any, params: Array, buffers: Array, inputs: Inputs) -> Array: ...

    def steps(
        self, net: Any, loss: Loss, optimizer: Optimizer, params: Array, buffers: Array, inner: Array
    ) -> Steps: ...


class NumpyKernel:
    """Needs nothing else, and gives the same bytes everywhere."""

    place = None

    def told(self) -> str:
        return ""

    def gradient(self, net: Net, params: Array, buffers: Array, inputs: Inputs, y: Array, weight: Array | None,
                 offset: Array | None, loss: Loss, draws: Draws | None) -> Gradient:  # fmt: skip
        return net_numpy.gradient(net, params, buffers, inputs, y, weight, offset, loss, draws)

    def predict(self, net: Net, params: Array, buffers: Array, inputs: Inputs) -> Array:
        return net_numpy.predict(net, params, buffers, inputs)

    def steps(self, net: Net, loss: Loss, optimizer: Optimizer, params: Array, buffers: Array, inner: Array) -> Steps:
        return NumpySteps(net, loss, optimizer, params.copy(), buffers.copy(), inner.copy())


class Computes(NamedTuple):
    """What computes: ``kernels`` numpy or torch, ``device`` cpu or cuda, or cuda:N where the user named one.

    ``cuda`` is dealt out where it is used: workers of one machine take its GPUs in turn.
    """

    kernels: str
    device: str
    precision: str = "float32"
    compiled: bool = False

    @property
    def waived(self) -> bool:
        """Whether a model of it need not be the same bytes again: CUDA adds in an order of its own."""
        return self.device != "cpu"

    def kernel(self) -> Kernel:
        """The kernel; ConfigError where torch or the device is not here."""
        if self.kernels == "numpy":
            return NumpyKernel()
        torch_of("algorithm, kernels torch")
        from mrml.kernels.net.torch_steps import TorchKernel

        return TorchKernel(device_of(self.device), self.precision, self.compiled)


def chosen(kernels: str, device: str, precision: str, compiled: bool) -> Computes:
    """What hyperparameters ask for: NumPy unless torch, a GPU, or what only torch does is named.

    ``--device auto`` is decided here, by the machine that plans; cuda is looked for where it computes.
    """
    if device == "auto":
        device = device_of("auto").partition(":")[0]
    if kernels == "auto":
        kernels = "torch" if device != "cpu" or precision != "float32" or compiled else "numpy"
    if kernels == "numpy":
        for name, value, plain in (("device", device, "cpu"), ("precision", precision, "float32"),
                                   ("compile", compiled, False)):  # fmt: skip
            if value != plain:
                finding = f"{str(value).lower()} is of torch, and --kernels numpy is asked for"
                raise ConfigError(f"algorithm, {name}", finding, "leave out one of them")
    return Computes(kernels, device, precision, compiled)
