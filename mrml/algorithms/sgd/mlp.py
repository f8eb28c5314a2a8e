"""Networks by SGD: multilayer perceptrons with embeddings, wide-and-deep, and factorization machines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from mrml.algorithm import State
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.sgd.base import SGD
from mrml.algorithms.sgd.model import NetModel
from mrml.algorithms.sgd.warm_start import Side, other_of, starting_point
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.net.describe import ACTIVATIONS, NORMS, Net
from mrml.params import param
from mrml.schema import Design, Schema


@dataclass(frozen=True)
class _Network(SGD):
    """A network is its own model."""

    def model(self, state: State, schema: Schema) -> NetModel:
        design = schema.design or Design()
        return NetModel(
            Net.from_json(state["net"]), state["objective"], state["params"], state["buffers"],
            design.classes, self.told(), self.facts(state),
        )  # fmt: skip

    def _inputs(self, design: Design) -> dict[str, Any]:
        """The sizes of a design, as a network names them."""
        if not (design.n_features or design.tables):
            raise ConfigError("schema", "there is no feature column", "check features and exclude")
        dense = 0 if design.sparse else design.n_features
        tables = tuple((n, self._width(name, n)) for name, n in design.tables)
        return {"n_numeric": dense, "n_sparse": design.n_features - dense, "tables": tables}

    def _width(self, column: str, n_levels: int) -> int:
        return 1

    @cached_property
    def other(self) -> tuple[PipelineModel, NetModel] | None:
        """The model to go on from; the driver alone asks."""
        return other_of(self.init_model) if self.init_model else None

    def begun_from(self, path: str, loss: str, net: Any, design: Design, fresh: Array) -> tuple[Array, Array]:
        assert self.other is not None
        return starting_point(path, self.other, loss, Side(net, design), fresh)


@dataclass(frozen=True)
class MLP(_Network):
    """A multilayer perceptron; categories by embeddings."""

    hidden: tuple[int, ...] = param((100,), "units of each hidden layer")
    activation: str = param("relu", "activation of the hidden units", choices=ACTIVATIONS)
    dropout: float = param(0.0, "probability that a hidden unit is dropped in a step", low=0.0, high=0.99)
    norm: str = param("none", "normalisation before the activation", choices=NORMS)
    embedding: int = param(0, "size of the embedding of a category; 0: from its number of levels, at most 50", low=0)
    wide: bool = param(False, "add a linear part beside the hidden layers (wide and deep)")

    def __post_init__(self) -> None:
        super().__post_init__()
        remedy = "use --hidden 128,64, or train logistic --solver sgd"
        if not isinstance(self.hidden, tuple | list) or not all(type(units) is int for units in self.hidden):
            raise ConfigError("algorithm, hidden", f"{self.hidden!r} are no whole numbers, one a layer", remedy)
        if not self.hidden or min(self.hidden) < 1:
            finding = "a layer has no unit" if self.hidden else "there is no hidden layer"
            raise ConfigError("algorithm, hidden", finding, remedy)

    def net(self, design: Design, n_outputs: int) -> Net:
        return Net(hidden=self.hidden, activation=self.activation, dropout=self.dropout, norm=self.norm,
                   wide=self.wide, n_outputs=n_outputs, **self._inputs(design))  # fmt: skip

    def _width(self, column: str, n_levels: int) -> int:
        """As the model to go on from has it, also where there are more levels now; else 1.6 n**0.56, as fastai's."""
        if self.other is not None and not self.embedding:
            model, inner = self.other
            known = dict(zip((name for name, _ in model.fitted.design.tables), inner.net.tables, strict=True))
            if column in known:
                return int(known[column][1])
        return self.embedding or min(50, round(1.6 * n_levels**0.56))


@dataclass(frozen=True)
class FactorizationMachine(_Network):
    """A linear model with the products of all pairs of columns, by factors (Rendle, ICDM 2010)."""

    factors: int = param(8, "number of factors per column", low=1)

    fewer_rounds: ClassVar[str] = SGD.fewer_rounds

    def net(self, design: Design, n_outputs: int) -> Net:
        if n_outputs != 1:
            raise ConfigError("algorithm, loss", "factors have one output", "train two classes, or mlp for more")
        return Net(wide=True, factors=self.factors, **self._inputs(design))
