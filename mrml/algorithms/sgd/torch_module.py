"""Any ``torch.nn.Module`` of the user's own by SGD: the same shards, local steps and meetings as :mod:`.mlp`.

What the function is given and must return: :mod:`mrml.algorithms.sgd.module_net`.  torch is needed where it learns
and where it scores; a model holds the function's path and the parameters, not its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrml.algorithm import State
from mrml.algorithms.sgd.base import SGD
from mrml.algorithms.sgd.model import NetModel
from mrml.algorithms.sgd.module_net import ModuleNet, function_of
from mrml.algorithms.sgd.warm_start import other_of, same_module
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.device import device_of, torch_of
from mrml.kernels.net.describe import Inputs
from mrml.kernels.net.kernel import Computes, Kernel
from mrml.params import param
from mrml.schema import Design, Schema


@dataclass(frozen=True)
class TorchModule(SGD):
    """A torch.nn.Module of your own."""

    module: str = param(
        "", "function that returns the torch.nn.Module; called with the numbers of inputs and outputs", code=True
    )
    kernels: str = param("torch", "implementation", choices=("torch",))

    def check_here(self) -> None:
        function_of(self.module, "")
        super().check_here()

    def kernel(self, computes: Computes) -> Kernel:
        found: Kernel = _kernel(self.module, computes)
        return found

    def network(self, values: Mapping[str, Any]) -> Any:
        return ModuleNet.from_json(values)

    def net(self, design: Design, n_outputs: int) -> Any:
        if design.sparse:
            finding = "LibSVM columns are no matrix that a module of torch reads"
            raise ConfigError("algorithm, module", finding, "train mlp, or give the data as columns")
        return ModuleNet.of(self.module, design.n_features, [n for _, n in design.tables], n_outputs)

    def begun_from(self, path: str, loss: str, net: Any, design: Design, fresh: Array) -> tuple[Array, Array]:
        return same_module(path, other_of(path, ModuleNet), loss, net, design)

    def model(self, state: State, schema: Schema) -> ModuleModel:
        design = schema.design or Design()
        return ModuleModel(
            ModuleNet.from_json({**state["net"], "source": ""}), state["objective"], state["params"],  # type: ignore[arg-type]
            state["buffers"], design.classes, self.told(), self.facts(state),
        )  # fmt: skip


def _kernel(path: str, computes: Computes) -> Any:
    torch_of(f"module {path}")
    from mrml.kernels.net.torch_module import ModuleKernel

    return ModuleKernel(device_of(computes.device), computes.precision, computes.compiled)


@dataclass(frozen=True)
class ModuleModel(NetModel):
    """The parameters of a module, whose code is imported where it scores, on the CPU."""

    def _raw(self, inputs: Inputs) -> Array:
        found: Array = _kernel(self._path, Computes("torch", "cpu")).predict(
            self.net, self.params, self.buffers, inputs
        )
        return found

    @property
    def _path(self) -> str:
        return str(self.net.path)  # type: ignore[attr-defined]

    def module(self) -> Any:
        """The module with its learned parameters, on the CPU, ready to predict."""
        torch_of(f"module {self._path}")
        from mrml.kernels.net.torch_module import made

        return made(self.net, self.params, self.buffers).eval()  # type: ignore[arg-type]

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> ModuleModel:
        net: Any = ModuleNet.from_json(header["net"])
        facts = (tuple(header["classes"]), header["params"], header["facts"])
        return cls(net, header["objective"], arrays["params"], arrays["buffers"], *facts)
