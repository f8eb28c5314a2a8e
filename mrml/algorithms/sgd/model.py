"""The model of a network: its description and one flat vector of parameters, scored in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mrml.algorithms.objectives.base import Objective
from mrml.algorithms.objectives.table import objective_of
from mrml.algorithms.sgd.rows import inputs_of
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import InputError
from mrml.kernels.net.describe import Inputs, Net
from mrml.kernels.net.numpy import predict
from mrml.model import Model, Prediction


@dataclass(frozen=True)
class NetModel(Model):
    """``raw = net(X, codes) + offset``, and the inverse link of the loss.

    Attributes
    ----------
    net : the description, see :mod:`mrml.kernels.net.describe`.
    objective : name of the loss.
    params : (n_params,) float32; ``buffers`` (n_buffers,) float64, running moments of batch norm.
    classes : labels in the order of their codes; empty for a numeric target.
    hyperparams : those of training.
    facts : rounds, stop, epoch, loss, valid_loss.
    """

    net: Net
    objective: str
    params: Array
    buffers: Array
    classes: tuple[str, ...] = ()
    hyperparams: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:  # type: ignore[override]
        return "classes" if self.classes else "numeric"

    @cached_property
    def _objective(self) -> Objective:
        return objective_of(self.objective, self.hyperparams)

    @property
    def link(self) -> str:
        """What turns raw predictions into means or probabilities: identity, exp, sigmoid or softmax."""
        named = {"logistic": "sigmoid", "softmax": "softmax", "poisson": "exp", "gamma": "exp", "tweedie": "exp"}
        return named.get(self._objective.loss.name, "identity")

    @property
    def loss(self) -> str:
        """The name of the loss for the deviance."""
        return self._objective.deviance

    def raw_prediction(self, block: Block) -> Array:
        """(n_rows, n_outputs) float64 in link space, offset included."""
        width = self.net.n_sparse if isinstance(block.X, CSR) else self.net.n_numeric
        if block.n_features != width or len(block.coded) != len(self.net.tables):
            finding = f"{block.n_features} numeric features, the model has {width}"
            raise InputError(f"file {block.file}, block {block.index}", finding, "score the columns it was trained on")
        raw = self._raw(inputs_of(block))
        if block.offset is not None:
            raw = raw + block.offset[:, None]
        return raw

    def _raw(self, inputs: Inputs) -> Array:
        return predict(self.net, self.params, self.buffers, inputs)

    def predict(self, block: Block) -> Prediction:
        """The mean of every row, or its class with the probabilities."""
        raw = self.raw_prediction(block)
        link = self._objective.inverse_link
        if not self.classes:
            return Prediction(link(raw.T), None, raw[:, 0])
        if raw.shape[1] > 1:
            return Prediction(raw.argmax(axis=1).astype(np.float64), link(raw.T), raw)
        probability = np.stack([link(-raw.T), link(raw.T)], axis=1)
        return Prediction((raw[:, 0] > 0.0).astype(np.float64), probability, raw[:, 0])

    def told(self, tables: Sequence[str]) -> dict[str, Any]:
        """Layers, and what it looks up; ``tables`` are the names of its coded columns."""
        looked_up = zip(tables, self.net.tables, strict=True) if self.net.hidden else ()
        embeddings = [{"column": c, "levels": n, "width": w, "parameters": n * w} for c, (n, w) in looked_up]
        return {"layers": self.shape(), "embeddings": embeddings, "parameters": len(self.params)}

    def shape(self) -> list[dict[str, Any]]:
        """Its layers from the inputs up: what each reads, gives and does, and its parameters."""
        net, sizes = self.net, dict[str, int]()
        for slot in net.slots:
            part, _, rest = slot.name.partition(".")
            name = f"hidden {int(rest[0]) + 1}" if part == "hidden" else part
            sizes[name] = sizes.get(name, 0) + slot.size
        columns = net.n_numeric + net.n_levels + net.n_sparse
        reads = [net.n_inputs + (0 if net.sparse_dim else net.n_sparse), *net.hidden]
        then = [net.norm + " norm"] * (net.norm != "none") + [net.activation]
        then += [f"dropout {net.dropout:g}"] * (net.dropout > 0)
        found = [(f"hidden {k + 1}", reads[k], units, ", ".join(then)) for k, units in enumerate(net.hidden)]
        found += [("factors", columns, net.factors, "products of pairs")] * bool(net.factors)
        found += [("wide", columns, net.n_outputs, "")] * net.wide
        found += [("output", reads[-1] if net.hidden else 0, net.n_outputs, f"link of {self.objective}")]
        names = ("layer", "reads", "gives", "then", "parameters")
        return [dict(zip(names, (*row, sizes[row[0]]), strict=True)) for row in found]

    def header(self) -> dict[str, Any]:
        return {
            "net": self.net.to_json(),
            "objective": self.objective,
            "classes": list(self.classes),
            "params": dict(self.hyperparams),
            "facts": dict(self.facts),
        }

    def arrays(self) -> dict[str, Array]:
        return {"params": self.params, "buffers": self.buffers}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> NetModel:
        return cls(
            Net.from_json(header["net"]), header["objective"], arrays["params"], arrays["buffers"],
            tuple(header["classes"]), header["params"], header["facts"],
        )  # fmt: skip
