"""One hidden layer in NumPy, forward and backward: dense, norm, activation, dropout (:mod:`mrml.kernels.net.describe`).

Batch norm normalises by the rows it is given ("ghost batch norm", Hoffer et al., "Train longer, generalize better",
2017), so a batch that is computed in pieces is normalised piece by piece.

Everything happens in arrays that the caller keeps: a fresh one of 512 kB costs 60 us of page faults, a pass over it 9.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.kernels.net.describe import EPSILON, Net
from mrml.kernels.random import bits, words

#: of the tanh form of GELU
_ROOT, _CUBE = math.sqrt(2.0 / math.pi), 0.044715
#: words of a row's generator that belong to one layer; four units a word
_LAYER_WORDS = 1 << 24


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
        """An array of that name: zeros, or whatever it holds from the last time."""
        kept = self._arrays.get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            kept = self._arrays[name] = np.zeros(shape, dtype)
        return kept


def kept_units(draws: Draws, layer: int, units: int, dropout: float) -> Array:
    """Which units dropout keeps: (n, units) bool, a function of seed, step, layer, unit and row key alone.

    A row's generator is SplitMix64 from the state ``bits(seed, step, row_key)``; unit u of layer l is kept where the
    16 bits from 16 (u mod 4) of its word number ``l * 2**24 + u div 4`` are at least ``rint(65536 * dropout)``.
    """
    state = bits(draws.seed, draws.step, draws.row_key)
    lanes = words(state, layer * _LAYER_WORDS, (units + 3) // 4).view(np.uint16)[:, :units]
    return np.asarray(lanes >= np.uint16(drop_below(dropout)))


def drop_below(dropout: float) -> int:
    """The least of 65,536 draws that keeps a unit."""
    return min(round(65536 * dropout), 65535)


def column_sums(a: Array) -> Array:
    """(n, width) -> (width,): BLAS, 5 us where ``add.reduce`` takes 19."""
    sums: Array = np.ones(len(a), a.dtype) @ a
    return sums


def times_transposed(error: Array, weight: Array, out: Array) -> Array:
    """``error @ weight.T``; of one column a plain product, 16 us where BLAS takes 103."""
    if error.shape[1] == 1:
        np.multiply(error, weight.T, out=out)
    else:
        np.matmul(error, weight.T, out=out)
    return out


class Layer:
    """Hidden layer ``number`` of a net for one batch.

    ``p`` are the parameters by name, ``running`` E[z] and E[z**2] of batch norm where rows are only scored.
    """

    def __init__(self, net: Net, number: int, p: dict[str, Array], work: Work) -> None:
        self.net, self.number, self.p, self._work = net, number, p, work
        self.weight = p[f"hidden.{number}.weight"]

    def _scratch(self, name: str, like: Array, dtype: Any = None) -> Array:
        return self._work.array(f"{self.number}.{name}", like.shape, dtype or like.dtype)

    def _own(self, of: dict[str, Array], name: str) -> Array:
        return of[f"hidden.{self.number}.{name}"]

    def forward(
        self, a: Array, extra: Array | None, running: tuple[Array, Array] | None = None, draws: Draws | None = None
    ) -> Array:
        """(n, units) from the layer's input (n, n_in); ``extra`` (n, units) is added to the product."""
        self.input = a
        shape = (len(a), self.weight.shape[1])
        z = np.matmul(a, self.weight, out=self._work.array(f"{self.number}.z", shape, a.dtype))
        if extra is not None:
            z += extra
        if self.net.norm != "batch":
            z += self._own(self.p, "bias")
        if self.net.norm != "none":
            z = self._normed(z, running)
        return self._dropped(self._activated(z), draws)

    def backward(self, error: Array, d: dict[str, Array]) -> Array:
        """d loss / d z from d loss / d output (n, units), which it overwrites; fills the layer's gradients ``d``."""
        if self.keep is not None:
            error *= self.keep
        error = self._through_activation(error)
        if self.net.norm != "none":
            error = self._through_norm(error, d)
        if self.net.norm != "batch":
            self._own(d, "bias")[:] = column_sums(error)
        np.matmul(self.input.T, error, out=self._own(d, "weight"))
        return error

    def _dropped(self, a: Array, draws: Draws | None) -> Array:
        self.keep: Array | None = None
        if draws is None or not self.net.dropout:
            return a
        keep = kept_units(draws, self.number, a.shape[1], self.net.dropout)
        scale = a.dtype.type(65536 / (65536 - drop_below(self.net.dropout)))
        self.keep = np.multiply(keep, scale, out=self._scratch("keep", a))
        return np.multiply(a, self.keep, out=self._scratch("dropped", a))

    def _activated(self, z: Array) -> Array:
        self.z = z
        if self.net.activation == "relu":
            self.a = self._rectified(z)
        elif self.net.activation == "tanh":
            self.a = np.tanh(z, out=z)
        else:
            t = self.t = np.square(z, out=self._scratch("t", z))
            t *= _ROOT * _CUBE
            t += _ROOT
            t *= z
            np.tanh(t, out=t)
            self.a = np.add(t, 1.0, out=self._scratch("a", z))
            self.a *= z
            self.a *= 0.5
        return self.a

    def _rectified(self, z: Array) -> Array:
        """``max(z, 0)`` in place, NaN staying NaN: beside an array of zeros 13 us, beside the number 57."""
        rows = min(len(z), 1024)
        zeros = self._work.array(f"{self.number}.zeros", (rows, z.shape[1]), z.dtype)
        for at in range(0, len(z), 1024):
            some = z[at : at + 1024]
            np.maximum(some, zeros[: len(some)], out=some)
        return z

    def _through_activation(self, error: Array) -> Array:
        s = self._scratch("s", error)
        if self.net.activation == "relu":
            error *= np.greater(self.a, 0, out=self._scratch("alive", self.a, np.bool_))
        elif self.net.activation == "tanh":
            error *= np.subtract(1.0, np.square(self.a, out=s), out=s)
        else:
            error *= self._gelu_slope(s)
        return error

    def _gelu_slope(self, s: Array) -> Array:
        """``((1 + t) + z (1 - t**2) root (1 + 3 cube z**2)) / 2``"""
        z, t = self.z, self.t
        np.square(z, out=s)
        s *= 3.0 * _CUBE * _ROOT
        s += _ROOT
        s *= z
        u = np.square(t, out=self._scratch("u", z))
        s *= np.subtract(1.0, u, out=u)
        s += t
        s += 1.0
        s *= 0.5
        return s

    def _mean(self, a: Array) -> Array:
        """Over the rows (batch norm) (1, units), or over the units (layer norm) (n, 1)."""
        if self.net.norm == "batch":
            return np.asarray(column_sums(a)[None] / a.dtype.type(max(len(a), 1)))
        return np.asarray((a @ np.ones(a.shape[1], a.dtype))[:, None] / a.dtype.type(a.shape[1]))

    def _normed(self, z: Array, running: tuple[Array, Array] | None) -> Array:
        """``scale * z_hat + shift``; keeps z_hat, the moments and 1 / sqrt(var + EPSILON)."""
        if running is not None:
            first, second = running
            var = np.maximum(second - np.square(first), 0.0)
            z -= first.astype(z.dtype)
            self.inverse = (1.0 / np.sqrt(var + EPSILON)).astype(z.dtype)
        else:
            mean = self._mean(z)
            z -= mean
            var = self._mean(np.square(z, out=self._scratch("s", z)))
            self.inverse = 1.0 / np.sqrt(var + z.dtype.type(EPSILON))
            self.moments = (mean.ravel().astype(np.float64), var.ravel().astype(np.float64))
        z *= self.inverse
        self.hat = z
        out = np.multiply(z, self._own(self.p, "scale"), out=self._scratch("normed", z))
        out += self._own(self.p, "shift")
        return out

    def _through_norm(self, error: Array, d: dict[str, Array]) -> Array:
        """``inverse * (e - mean(e) - hat * mean(e * hat))`` with e = error * scale (Ioffe and Szegedy, 2015)."""
        s = np.multiply(error, self.hat, out=self._scratch("s", error))
        self._own(d, "scale")[:] = column_sums(s)
        self._own(d, "shift")[:] = column_sums(error)
        scale = self._own(self.p, "scale")
        error *= scale
        s *= scale
        share, mean = self._mean(s), self._mean(error)
        error -= mean
        error -= np.multiply(self.hat, share, out=s)
        error *= self.inverse
        return error

    def moment_sums(self) -> list[Array]:
        """Sums over the rows of z and of z**2, each (units,) float64."""
        mean, var = self.moments
        n = len(self.input)
        return [n * mean, n * (var + np.square(mean))]
