"""Networks in NumPy: raw predictions and gradients, forward and backward by hand (formulas: :mod:`mrml.kernels.net`).

Everything is computed in the dtype of ``params``: float32, or float64 where a test asks for it; the loss in float64.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mrml.kernels.net import Array, Gradient, Inputs, Net
from mrml.losses import Loss

#: what a chunk of rows to predict may take in activations
CHUNK_BYTES = 1 << 22


class Draws(NamedTuple):
    """What dropout is drawn by: ``row_key`` (n,) uint64; ``step`` is the batch's number."""

    seed: int
    step: int
    row_key: Array


class Work:
    """Arrays that a caller keeps from batch to batch, so that none of them is made twice."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of that name, with whatever it holds from the last time."""
        kept = self._arrays.get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            kept = self._arrays[name] = np.empty(shape, dtype)
        return kept


def chunk_rows(net: Net) -> int:
    """Rows of a chunk to predict: a power of two from 64 to 1,024, by the description alone."""
    rows, width = 1024, net.n_inputs + 2 * sum(net.hidden) + net.n_outputs
    while rows > 64 and rows * width * 4 > CHUNK_BYTES:
        rows //= 2
    return rows


def predict(net: Net, params: Array, buffers: Array, inputs: Inputs) -> Array:
    """Raw predictions (n, n_outputs) float64, C-contiguous, in chunks of rows of one size."""
    raw = np.empty((len(inputs.x), net.n_outputs))
    run, rows = _Run(net, params, buffers, Work(), None), chunk_rows(net)
    for start in range(0, len(raw), rows):
        part = slice(start, min(start + rows, len(raw)))
        raw[part] = run.forward(_padded(inputs, part, rows))[: part.stop - part.start]
    return raw


def _padded(inputs: Inputs, part: slice, rows: int) -> Inputs:
    """Rows of the inputs, and rows of zeros up to ``rows``."""
    missing = rows - (part.stop - part.start)
    x = inputs.x[part]
    return Inputs(np.pad(x, ((0, missing), (0, 0))) if missing else x, inputs.codes[part], None)


def gradient(
    net: Net,
    params: Array,
    buffers: Array,
    inputs: Inputs,
    y: Array,
    weight: Array | None,
    offset: Array | None,
    loss: Loss,
    draws: Draws | None = None,
    work: Work | None = None,
) -> Gradient:
    """Loss and gradient, summed over the rows of a batch; its arrays are ``work``'s until the next batch.

    Parameters
    ----------
    params : (n_params,) float32; ``buffers`` (n_buffers,) float64.
    y, weight, offset : (n,) float64; weight and offset may be None.
    draws : what dropout is drawn by; None: nothing is dropped.
    """
    run = _Run(net, params, buffers, work or Work(), draws, training=True)
    raw = run.forward(inputs).astype(np.float64)
    if offset is not None:
        raw += offset[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        value, slope, _ = loss.evaluate(y, raw if net.n_outputs > 1 else raw[:, 0], 1)
    assert slope is not None
    total = float(len(y))
    if weight is not None:
        value, total = value * weight, float(weight.sum())
        slope = slope * (weight[:, None] if slope.ndim > 1 else weight)
    dense = run.backward(slope.reshape(raw.shape).astype(params.dtype))
    return Gradient(float(value.sum()), total, dense, (), np.zeros(net.n_buffers), len(y))


class _Run:
    """One batch forward and backward; ``a[l]`` is the input of layer l."""

    def __init__(
        self, net: Net, params: Array, buffers: Array, work: Work, draws: Draws | None, training: bool = False
    ) -> None:
        self.net, self.work, self.draws, self.training = net, work, draws, training
        self.params, self.p = params, net.views(params)
        self.a: list[Array] = []

    def scratch(self, name: str, *shape: int) -> Array:
        return self.work.array(name, shape, self.params.dtype)

    def forward(self, inputs: Inputs) -> Array:
        """Raw predictions (n, n_outputs) in the dtype of the parameters, from zero-free batches."""
        net, p, n = self.net, self.p, len(inputs.x)
        x = inputs.x.astype(self.params.dtype, copy=False)
        self.x = x
        raw = np.empty((n, net.n_outputs), self.params.dtype)
        raw[:] = p["output.bias"]
        if net.wide and net.n_numeric:
            raw += x @ p["wide.numeric"]
        if net.hidden:
            raw += self._hidden(x) @ p["output.weight"]
        return raw

    def _hidden(self, x: Array) -> Array:
        self.a = [x]
        for number, units in enumerate(self.net.hidden):
            z = self.scratch(f"z{number}", len(x), units)
            np.matmul(self.a[-1], self.p[f"hidden.{number}.weight"], out=z)
            z += self.p[f"hidden.{number}.bias"]
            np.maximum(z, 0, out=z)
            self.a.append(z)
        return self.a[-1]

    def backward(self, slope: Array) -> Array:
        """d loss / d dense parameters from d loss / d raw (n, n_outputs)."""
        dense = self.work.array("dense", (self.net.n_dense,), self.params.dtype)
        d = self.net.views(dense)
        d["output.bias"][:] = slope.sum(axis=0)
        if "wide.numeric" in d:
            np.matmul(self.x.T, slope, out=d["wide.numeric"])
        if self.net.hidden:
            np.matmul(self.a[-1].T, slope, out=d["output.weight"])
            for number, error in self._errors(slope):
                np.matmul(self.a[number].T, error, out=d[f"hidden.{number}.weight"])
                np.add.reduce(error, axis=0, out=d[f"hidden.{number}.bias"])
        return dense

    def _errors(self, slope: Array) -> Iterator[tuple[int, Array]]:
        """Layer and d loss / d z (n, units), from the last layer to the first."""
        above, weight = slope, self.p["output.weight"]
        for number in reversed(range(len(self.net.hidden))):
            error = self.scratch(f"d{number}", len(slope), self.net.hidden[number])
            np.matmul(above, weight.T, out=error)
            error *= self.a[number + 1] > 0
            yield number, error
            above, weight = error, self.p[f"hidden.{number}.weight"]
