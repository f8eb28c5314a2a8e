"""Networks in the formats of ONNX, safetensors and torch.

What leaves is the whole way from raw numbers to predictions: nulls imputed, columns standardised (in float64, as mrml
does), the network in float32, the inverse link in float64.  Categories go in as codes; which level has which code is in
the file's metadata.

An ONNX file has the inputs ``X`` (n, n_numeric), the numeric columns as they are in the data, nulls as NaN, and, where
there are categories, ``codes`` (n, n_tables) int64; its outputs are ``prediction`` (n, k) float64, the mean or the
probabilities of the classes, and ``raw`` (n, n_outputs) float64.

Floor 2: a :class:`NetExport` goes in, bytes come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.net.describe import Net
from mrml.kernels.random import rng

#: what a format is called -> what `pip install` calls the library that checks it
FORMATS = {"onnx": "onnxruntime", "safetensors": "safetensors", "torch": "torch"}
_PROBE_ROWS, _SEED = 512, 6


@dataclass(frozen=True)
class NetExport:
    """A network with what is around it.

    Attributes
    ----------
    link : identity, exp, sigmoid or softmax: the inverse link.
    columns : names of the numeric columns; ``fill``, ``center``, ``scale`` (n_numeric,) float64 of them.
    dtype : float32 or float64, the numbers that the model is scored on.
    levels : of each coded column its name, and ``levels`` by code with ``null`` and the code of ``other``, or ``bits``
        of a hashed one.
    """

    net: Net
    params: Array
    buffers: Array
    link: str
    columns: tuple[str, ...]
    fill: Array
    center: Array
    scale: Array
    dtype: str
    levels: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    target: str

    def header(self) -> dict[str, Any]:
        """All but the arrays, as JSON values."""
        affine = {name: getattr(self, name).tolist() for name in ("fill", "center", "scale")}
        return {"format": "mrml network 1", "net": self.net.to_json(), "link": self.link, "target": self.target,
                "classes": list(self.classes), "columns": list(self.columns), **affine,
                "codes": [dict(level) for level in self.levels]}  # fmt: skip

    def tensors(self) -> dict[str, Array]:
        """The parameters by the names of their slots, and running moments of batch norm."""
        found = {name: np.ascontiguousarray(values) for name, values in self.net.views(self.params).items()}
        return found | ({"moments": self.buffers} if len(self.buffers) else {})


def linked(link: str, raw: Array) -> Array:
    """(n, k) float64: what raw predictions (n, n_outputs) mean by an inverse link."""
    if link == "softmax":
        e = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))
    if link == "sigmoid":
        return np.concatenate([_sigmoid(-raw), _sigmoid(raw)], axis=1)
    return np.exp(raw) if link == "exp" else raw


def _sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z < 0, e, 1.0) / (1.0 + e))


def made_rows(export: NetExport) -> tuple[Array, Array]:
    """``X`` in the range of the columns, one value in ten missing, and ``codes``; the same for the same model."""
    rows, n = np.arange(_PROBE_ROWS, dtype=np.uint64), len(export.columns)
    draws = [rng(_SEED, j, rows) for j in range(2 * n + len(export.net.tables))]
    x = np.empty((_PROBE_ROWS, n), export.dtype)
    for j in range(n):
        x[:, j] = export.center[j] + export.scale[j] * (6 * draws[2 * j] - 3)
        x[draws[2 * j + 1] < 0.1, j] = np.nan
    sizes = [size for size, _ in export.net.tables]
    codes = [np.floor(u * size) for u, size in zip(draws[2 * n :], sizes, strict=True)]
    return x, np.array(codes, np.int64).reshape(len(sizes), _PROBE_ROWS).T


def standardised(export: NetExport, x: Array) -> Array:
    """(n, n_numeric) float32: raw numbers as the network reads them."""
    filled = np.where(np.isnan(x), export.fill.astype(x.dtype), x).astype(np.float64)
    return np.asarray(((filled - export.center) * (1.0 / export.scale)).astype(np.float32))
