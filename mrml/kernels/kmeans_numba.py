"""numba twins of :mod:`mrml.kernels.kmeans`: the same arguments and results.

The product stays with BLAS, centres by rows, so that the search for the least score runs over rows and becomes
vector instructions without reordering any sum.  No ``fastmath`` and no threads: every addition is written down.
Compiled lazily and cached on disk; :func:`prewarm` fills the cache, so that a task never compiles.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from mrml.arrays import Float, Float64, Int64
from mrml.kernels.kmeans import Nearest, Sparse
from mrml.logs import log

F = TypeVar("F", bound=Callable[..., Any])


def _without_scipy(name: str) -> Any:
    """Import a module that would load SciPy only to look at its version, as numba does: a task pays for that."""
    hide = "scipy" not in sys.modules
    if hide:
        sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        if hide:
            del sys.modules["scipy"]


numba = _without_scipy("numba")
_without_scipy("numba.np.arraymath")  # looks for SciPy's BLAS when the first function is dispatched
_event: Any = importlib.import_module("numba.core.event")


class _Compiling(_event.Listener):  # type: ignore[misc]
    """Tells once in a process that kernels of ours are compiled: what the cache holds is not."""

    told = False

    def on_start(self, event: Any) -> None:
        if not self.told and event.data["dispatcher"].py_func.__module__.startswith("mrml."):
            self.told = True
            log.info("compiling kernels, once per installation: up to a minute", extra={"event": "compiling"})

    def on_end(self, event: Any) -> None:
        """Nothing to tell."""


_event.register("numba:compile", _Compiling())


def _jit(function: F) -> F:
    return cast(F, numba.njit(cache=True, nogil=True)(function))


def _jit_ieee(function: F) -> F:
    """As :func:`_jit`, but division by zero is an infinity, as in NumPy: Python's check of every divisor keeps a loop
    from becoming vector instructions, 10 ns a row for 0.5 where gradients are packed."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def nearest(x: Float, slopes: Float, constants: Float, scratch: Float) -> Nearest:
    """See :func:`mrml.kernels.kmeans.nearest`."""
    n, k = len(x), len(slopes)
    labels, score = np.empty(n, np.int64), np.empty(n, x.dtype)
    _least(np.matmul(slopes, x.T, out=scratch[: n * k].reshape(k, n)), np.array(constants), labels, score)
    return Nearest(labels, score)


@_jit
def _least(scores: Any, constants: Any, labels: Any, best: Any) -> None:
    """scores (k, n), constants (k,) -> labels (n,), best (n,)"""
    k, n = scores.shape
    for i in range(n):
        best[i] = scores[0, i] + constants[0]
        labels[i] = 0
    for j in range(1, k):
        for i in range(n):
            value = scores[j, i] + constants[j]
            less = value < best[i]
            best[i] = value if less else best[i]
            labels[i] = j if less else labels[i]


def nearest_sparse(x: Sparse, slopes: Float64, constants: Float64) -> Nearest:
    """See :func:`mrml.kernels.kmeans.nearest_sparse`."""
    n = len(x.indptr) - 1
    labels, score = np.empty(n, np.int64), np.empty(n)
    by_column = np.ascontiguousarray(slopes.T)
    _least_sparse(_plain(x.indptr), _plain(x.indices), _plain(x.data), by_column, np.array(constants), labels, score)
    return Nearest(labels, score)


@_jit
def _least_sparse(indptr: Any, indices: Any, data: Any, by_column: Any, constants: Any, labels: Any, best: Any) -> None:
    k = len(constants)
    row = np.empty(k)
    for i in range(len(labels)):
        row[:] = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            column, value = indices[e], data[e]
            for j in range(k):
                row[j] += by_column[column, j] * value
        row += constants
        labels[i] = np.argmin(row)
        best[i] = row[labels[i]]


def sums(x: Float, labels: Int64, weight: Float64 | None, origin: Float64, k: int) -> tuple[Float64, Float64]:
    """See :func:`mrml.kernels.kmeans.sums`; rows are added in their order."""
    total, sum_x = np.zeros(k), np.zeros((k, x.shape[1]))
    w = np.empty(0) if weight is None else np.array(weight)
    _add(_plain(x), labels, w, np.array(origin), total, sum_x)
    return total, sum_x


@_jit
def _add(x: Any, labels: Any, weight: Any, origin: Any, total: Any, sum_x: Any) -> None:
    n, d = x.shape
    weighted = len(weight) > 0
    for i in range(n):
        j = labels[i]
        if weighted:
            w = weight[i]
            total[j] += w
            for f in range(d):
                sum_x[j, f] += w * (x[i, f] - origin[f])
        else:
            total[j] += 1.0
            for f in range(d):
                sum_x[j, f] += x[i, f] - origin[f]


def sums_sparse(x: Sparse, labels: Int64, weight: Float64 | None, k: int, d: int) -> tuple[Float64, Float64]:
    """See :func:`mrml.kernels.kmeans.sums_sparse`."""
    total, sum_x = np.zeros(k), np.zeros((k, d))
    w = np.ones(len(labels)) if weight is None else np.array(weight)
    _add_sparse(_plain(x.indptr), _plain(x.indices), _plain(x.data), labels, w, total, sum_x)
    return total, sum_x


@_jit
def _add_sparse(indptr: Any, indices: Any, data: Any, labels: Any, weight: Any, total: Any, sum_x: Any) -> None:
    for i in range(len(labels)):
        j, w = labels[i], weight[i]
        total[j] += w
        for e in range(indptr[i], indptr[i + 1]):
            sum_x[j, indices[e]] += w * data[e]


def _plain(array: Any) -> Any:
    """A read-only, aligned, contiguous view: numba compiles once for each other kind it meets."""
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = np.require(array, requirements=["C", "A"])  # asked of every array it takes 4 us, and a block has ten
    view = array.view()
    view.flags.writeable = False
    return view


def prewarm() -> None:
    """Compile everything, or load it from the cache on disk."""
    labels, one = np.zeros(1, np.int64), np.zeros(1)
    for dtype in (np.float32, np.float64):
        x = np.zeros((1, 1), dtype)
        nearest(x, x, np.zeros(1, dtype), np.empty(1, dtype))
        sums(x, labels, None, one, 1)
    entry = Sparse(np.array([0, 1]), np.zeros(1, np.int32), np.zeros(1))
    nearest_sparse(entry, np.zeros((1, 1)), one)
    sums_sparse(entry, labels, None, 1, 1)
