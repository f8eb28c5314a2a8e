"""Networks as graphs of ONNX: the formulas of :mod:`mrml.kernels.net.describe` around which lie imputing, standardising
and the inverse link (:mod:`mrml.export.net` says what goes in and comes out)."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.export.net import NetExport
from mrml.kernels.net.describe import EPSILON

#: operators of ONNX 1.8 (2020) are all that is used
OPSET, IR = 13, 7
_ROOT, _CUBE = math.sqrt(2.0 / math.pi), 0.044715


def to_onnx(export: NetExport) -> bytes:
    """A model of ONNX; its metadata holds the header."""
    try:
        import onnx
    except (ImportError, OSError) as error:
        remedy = "install the onnx extra: pip install 'mrml[onnx]'"
        raise ConfigError("export --to onnx", f"onnx cannot be imported here: {error}", remedy) from error
    model = onnx.helper.make_model(_Network(export, onnx).whole(), opset_imports=[onnx.helper.make_opsetid("", OPSET)],
                                   ir_version=IR, producer_name="mrml")  # fmt: skip
    onnx.helper.set_model_props(model, {"mrml": json.dumps(export.header())})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Network:
    """A graph as it grows; values are known by their names."""

    def __init__(self, export: NetExport, onnx: Any) -> None:
        self.export, self.net, self.onnx = export, export.net, onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.p = {name: self._constant(name, values) for name, values in export.net.views(export.params).items()}

    def whole(self) -> Any:
        info, kinds, net = self.onnx.helper.make_tensor_value_info, self.onnx.TensorProto, self.net
        given = []
        if net.n_numeric:
            number = kinds.FLOAT if self.export.dtype == "float32" else kinds.DOUBLE
            given.append(info("X", number, ["n", net.n_numeric]))
        if net.tables:
            given.append(info("codes", kinds.INT64, ["n", len(net.tables)]))
        self.x = self._standardised() if net.n_numeric else ""
        raw = self._do("Cast", self._raw(), out="raw", to=kinds.DOUBLE)
        self._linked(raw)
        width = 2 if self.export.link == "sigmoid" else net.n_outputs
        told = [info("prediction", kinds.DOUBLE, ["n", width]), info("raw", kinds.DOUBLE, ["n", net.n_outputs])]
        return self.onnx.helper.make_graph(self.nodes, "mrml", given, told, list(self.constants.values()))

    def _do(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"{op}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def _constant(self, name: str, values: Any) -> str:
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def _number(self, value: float) -> str:
        return self._constant(f"number {value!r}", np.array(value, np.float32))

    def _sum(self, value: str, axis: int, keep: int = 0) -> str:
        return self._do("ReduceSum", value, self._constant(f"axis {axis}", np.array([axis])), keepdims=keep)

    def _standardised(self) -> str:
        """Nulls filled in the dtype of X, standardised in float64, as float32."""
        kinds, export = self.onnx.TensorProto, self.export
        fill = self._constant("fill", export.fill.astype(export.dtype))
        x = self._do("Where", self._do("IsNaN", "X"), fill, "X")
        x = self._do("Cast", x, to=kinds.DOUBLE)
        x = self._do("Sub", x, self._constant("center", export.center))
        x = self._do("Mul", x, self._constant("1 / scale", 1.0 / export.scale))
        return self._do("Cast", x, to=kinds.FLOAT)

    def _raw(self) -> str:
        net, raw = self.net, self.p["output.bias"]
        if net.wide:
            for term in self._terms("wide"):
                raw = self._do("Add", raw, term)
        if net.factors:
            raw = self._do("Add", raw, self._pairs())
        if net.hidden:
            raw = self._do("Add", self._do("MatMul", self._hidden(), self.p["output.weight"]), raw)
        return raw

    def _levels(self, table: str) -> str:
        """The rows of a table of all levels: (n, n_tables, width)."""
        at = self._do("Add", "codes", self._constant("first level", self.net.first_level))
        return self._do("Gather", table, at, axis=0)

    def _terms(self, part: str) -> list[str]:
        terms = [self._do("MatMul", self.x, self.p[f"{part}.numeric"])] if self.net.n_numeric else []
        return terms + ([self._sum(self._levels(self.p[f"{part}.levels"]), 1)] if self.net.tables else [])

    def _pairs(self) -> str:
        """``sum_f ((sum_i V_if c_i)**2 - sum_i V_if**2 c_i**2) / 2`` (n, 1)."""
        total = self._added(self._terms("factors"))
        own = []
        if self.net.n_numeric:
            v = self.p["factors.numeric"]
            own.append(self._do("MatMul", self._do("Mul", self.x, self.x), self._do("Mul", v, v)))
        if self.net.tables:
            v = self._levels(self.p["factors.levels"])
            own.append(self._sum(self._do("Mul", v, v), 1))
        apart = self._do("Sub", self._do("Mul", total, total), self._added(own))
        return self._do("Mul", self._sum(apart, 1, keep=1), self._number(0.5))

    def _added(self, terms: list[str]) -> str:
        found = terms[0]
        for term in terms[1:]:
            found = self._do("Add", found, term)
        return found

    def _hidden(self) -> str:
        net, a = self.net, self._inputs()
        moments = net.moments(self.export.buffers)
        for layer in range(len(net.hidden)):
            z = self._do("MatMul", a, self.p[f"hidden.{layer}.weight"])
            if net.norm != "batch":
                z = self._do("Add", z, self.p[f"hidden.{layer}.bias"])
            if net.norm == "layer":
                z = self._layer_normed(z)
            elif net.norm == "batch":
                z = self._batch_normed(z, layer, *moments[layer])
            if net.norm != "none":
                z = self._do("Mul", z, self.p[f"hidden.{layer}.scale"])
                z = self._do("Add", z, self.p[f"hidden.{layer}.shift"])
            a = self._activated(z)
        return a

    def _inputs(self) -> str:
        parts = [self.x] if self.net.n_numeric else []
        for k in range(len(self.net.tables)):
            codes = self._do("Gather", "codes", self._constant(f"column {k}", np.array(k)), axis=1)
            parts.append(self._do("Gather", self.p[f"table.{k}"], codes, axis=0))
        return parts[0] if len(parts) == 1 else self._do("Concat", *parts, axis=1)

    def _layer_normed(self, z: str) -> str:
        z = self._do("Sub", z, self._do("ReduceMean", z, axes=[1], keepdims=1))
        var = self._do("ReduceMean", self._do("Mul", z, z), axes=[1], keepdims=1)
        return self._do("Div", z, self._do("Sqrt", self._do("Add", var, self._number(EPSILON))))

    def _batch_normed(self, z: str, layer: int, first: Array, second: Array) -> str:
        inverse = 1.0 / np.sqrt(np.maximum(second - np.square(first), 0.0) + EPSILON)
        z = self._do("Sub", z, self._constant(f"mean {layer}", first.astype(np.float32)))
        return self._do("Mul", z, self._constant(f"inverse {layer}", inverse.astype(np.float32)))

    def _activated(self, z: str) -> str:
        if self.net.activation != "gelu":
            return self._do("Relu" if self.net.activation == "relu" else "Tanh", z)
        cube = self._do("Mul", self._do("Mul", z, z), self._do("Mul", z, self._number(_CUBE)))
        t = self._do("Tanh", self._do("Mul", self._do("Add", z, cube), self._number(_ROOT)))
        return self._do("Mul", self._do("Mul", z, self._number(0.5)), self._do("Add", t, self._number(1.0)))

    def _linked(self, raw: str) -> None:
        link = self.export.link
        if link == "sigmoid":
            pair = self._do("Concat", self._do("Neg", raw), raw, axis=1)
            self._do("Sigmoid", pair, out="prediction")
        else:
            more = {"axis": 1} if link == "softmax" else {}
            op = {"softmax": "Softmax", "exp": "Exp", "identity": "Identity"}[link]
            self._do(op, raw, out="prediction", **more)
