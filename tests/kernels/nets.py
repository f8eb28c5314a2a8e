"""Networks, batches and finite differences for the tests of the kernels of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrml.kernels.net.describe import Gradient, Inputs, Net, SparseRows
from mrml.kernels.net.numpy import Draws, gradient
from mrml.losses import Loss, logistic

Array = npt.NDArray[Any]


@dataclass
class Batch:
    inputs: Inputs
    y: Array
    weight: Array
    offset: Array
    draws: Draws

    def rows(self, take: Array) -> Batch:
        """Some rows, by their numbers."""
        draws = Draws(self.draws.seed, self.draws.step, self.draws.row_key[take])
        inputs = Inputs(self.inputs.x[take], self.inputs.codes[take], csr_rows(self.inputs.sparse, take))
        return Batch(inputs, self.y[take], self.weight[take], self.offset[take], draws)


def csr_rows(sparse: SparseRows | None, take: Array) -> SparseRows | None:
    if sparse is None:
        return None
    parts = [np.arange(sparse.indptr[i], sparse.indptr[i + 1]) for i in take]
    entries = np.concatenate([np.empty(0, np.int64), *parts])
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return SparseRows(indptr, sparse.indices[entries], sparse.data[entries])


def make_batch(net: Net, n: int, loss: Loss = logistic, seed: int = 0, dtype: type = np.float64) -> Batch:
    """Rows whose targets the loss allows; some CSR rows are empty."""
    r = np.random.default_rng(seed)
    x = np.ascontiguousarray(r.normal(size=(n, net.n_numeric)), dtype=dtype)
    columns = [r.integers(0, levels, n) for levels, _ in net.tables]
    codes = np.array(columns, np.int32).reshape(len(columns), n).T
    lengths = r.integers(0, 5, n).clip(0, net.n_sparse)
    indices = [np.sort(r.choice(net.n_sparse, k, replace=False)) for k in lengths] if net.n_sparse else []
    flat = np.concatenate([np.empty(0), *indices]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sparse = SparseRows(indptr, flat, r.normal(size=len(flat)).astype(dtype)) if net.n_sparse else None
    y = targets(loss, n, net.n_outputs, r)
    keys = r.integers(0, 2**63, n).astype(np.uint64)
    weight, offset = r.uniform(0.5, 2.0, n), 0.3 * r.normal(size=n)
    return Batch(Inputs(x, np.ascontiguousarray(codes), sparse), y, weight, offset, Draws(5, 7, keys))


def targets(loss: Loss, n: int, n_outputs: int, r: np.random.Generator) -> Array:
    if loss.name in ("logistic", "softmax"):
        return r.integers(0, max(n_outputs, 2), n).astype(np.float64)
    if loss.name in ("poisson", "tweedie"):
        return r.poisson(1.5, n).astype(np.float64)
    return r.gamma(2.0, size=n) + 0.1


def perturbed(net: Net, seed: int = 1, scale: float = 0.3) -> Array:
    """Parameters (n_params,) float64 of which none is at a special value."""
    return net.init(seed).astype(np.float64) + scale * np.random.default_rng(seed).normal(size=net.n_params)


def compute(net: Net, params: Array, batch: Batch, loss: Loss = logistic, **more: Any) -> Gradient:
    draws = batch.draws if net.dropout else None
    rows = batch.inputs, batch.y, batch.weight, batch.offset
    return gradient(net, params, net.init_buffers(), *rows, loss, draws, **more)


def whole(net: Net, found: Gradient) -> Array:
    """The gradient (n_params,) with the untouched rows as zeros."""
    full = np.zeros(net.n_params, found.dense.dtype)
    full[: net.n_dense] = found.dense
    for slot, rows, values in found.sparse:
        slot.view(full)[rows] = values
    return full


def differences(of: Callable[[Array], float], at: Array, which: Array, step: float = 1e-5) -> Array:
    """Central differences of a function of a vector, for some of its entries."""
    slopes = []
    for i in which:
        up, down = at.copy(), at.copy()
        up[i] += step
        down[i] -= step
        slopes.append((of(up) - of(down)) / (2 * step))
    return np.array(slopes)
