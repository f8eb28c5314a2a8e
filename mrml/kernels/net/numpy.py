"""Networks in NumPy: raw predictions and gradients, forward and backward by hand.

The formulas are in :mod:`mrml.kernels.net.describe`.

Everything is computed in the dtype of ``params``: float32, or float64 where a test asks for it; losses, and sums over
entries of tables, in float64.  With one BLAS thread and one instruction set (:mod:`mrml.pin`) the same inputs give the
same bytes.

BLAS gives a row other last bits in a product of other shape: :func:`predict` computes chunks of one number of rows from
the first row on, the last one padded.  So what a row scores depends on the row and its number in the call, and on no
other row; engines score block by block, and blocks are cut alike.  Its number matters in float32: OpenBLAS' sgemm for
AVX2 adds the first and the last six rows of twelve in another order.  (Parameters in float64 cost twice the time; there
no row of any shape that was tried changed with its place.)

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrml.arrays import Array
from mrml.kernels.net.describe import Gradient, Inputs, Net, SparseGradient, weight_sum
from mrml.kernels.net.layers import Draws, Layer, Work, column_sums, times_transposed
from mrml.kernels.net.sparse import Entries, Touched, from_codes, from_csr, sums, touched
from mrml.losses import Loss

__all__ = ["Draws", "Work", "chunk_rows", "gradient", "predict", "standardised"]

#: what a chunk of rows to predict may take in activations
CHUNK_BYTES = 1 << 22


def standardised(x: Array, rows: Array, center: Array | None, scale: Array | None, work: Work | None = None) -> Array:
    """Rows of a matrix as ``(x - center) / scale``, computed in float64: (n, n_features) float32, C-contiguous.

    Parameters
    ----------
    x : (n_rows, n_features) float32 or float64; ``rows`` (n,) indices into it.
    center, scale : (n_features,) float64 or None.
    work : holds the result until the next call.
    """
    work = work or Work()
    shape = (len(rows), x.shape[1])
    taken = np.take(x, rows, axis=0, out=work.array("taken", shape, x.dtype), mode="clip")
    if center is None and scale is None:
        return taken.astype(np.float32, copy=False)
    wide = work.array("wide", shape, np.float64)
    np.subtract(taken, 0.0 if center is None else center, out=wide)
    if scale is not None:
        wide *= 1.0 / scale
    out = work.array("x", shape, np.float32)
    out[...] = wide
    return out


def chunk_rows(net: Net) -> int:
    """Rows of a chunk to predict: a power of two from 64 to 1,024, by the description alone."""
    rows, width = 1024, net.n_inputs + 4 * sum(net.hidden) + net.n_outputs
    while rows > 64 and rows * width * 4 > CHUNK_BYTES:
        rows //= 2
    return rows


def predict(net: Net, params: Array, buffers: Array, inputs: Inputs) -> Array:
    """Raw predictions (n, n_outputs) float64, C-contiguous, in chunks of rows of one size."""
    raw = np.empty((len(inputs.x), net.n_outputs))
    rows, work, p = chunk_rows(net), Work(), net.views(params)
    for start in range(0, len(raw), rows):
        stop = min(start + rows, len(raw))
        batch = _Batch(net, p, _padded(inputs, start, stop, rows), work)
        raw[start:stop] = _Pass(batch, buffers).forward(None)[: stop - start]
    return raw


def _padded(inputs: Inputs, start: int, stop: int, rows: int) -> Inputs:
    """Rows start to stop, and rows of zeros up to ``rows``."""
    missing = rows - (stop - start)
    x, codes, sparse = inputs.part(slice(start, stop))
    if sparse is not None:
        sparse = sparse._replace(indptr=np.pad(sparse.indptr, (0, missing), mode="edge"))
    if missing:
        x, codes = np.pad(x, ((0, missing), (0, 0))), np.pad(codes, ((0, missing), (0, 0)))
    return Inputs(x, codes, sparse)


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
    """Loss and gradient, summed over the rows of a batch; its dense array is ``work``'s until the next batch.

    What overflows is inf or NaN in the loss or in the gradient, and no warning.

    Parameters
    ----------
    params : (n_params,) float32; ``buffers`` (n_buffers,) float64, which a batch does not read.
    y, weight, offset : (n,) float64; weight and offset may be None.
    draws : what dropout is drawn by; None: nothing is dropped.
    """
    batch = _Batch(net, net.views(params), inputs, work or Work())
    run = _Pass(batch)
    dense = batch.work.array("dense", (net.n_dense,), params.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        raw = run.forward(draws).astype(np.float64)
        if offset is not None:
            raw += offset[:, None]
        value, total, slope = _evaluated(loss, y, weight, raw)
        by_name = run.backward(slope.astype(params.dtype), net.views(dense))
    sparse = tuple(SparseGradient(slot, *by_name[slot.name]) for slot in net.slots if slot.sparse)
    return Gradient(value, total, dense, sparse, run.moments(), len(y))


def _evaluated(loss: Loss, y: Array, weight: Array | None, raw: Array) -> tuple[float, float, Array]:
    """Weighted loss, weight, and d loss / d raw (n, n_outputs)."""
    if not len(y):
        return 0.0, 0.0, raw
    value, slope, _ = loss.evaluate(y, raw if raw.shape[1] > 1 else raw[:, 0], 1)
    assert slope is not None
    slope = slope.reshape(raw.shape)
    total = weight_sum(y, weight)
    if weight is None:
        return float(value.sum()), total, slope
    return float((value * weight).sum()), total, slope * weight[:, None]


class _Batch:
    """Inputs of one batch, and what its columns name in the tables.

    ``entries`` and ``touched`` hold "levels" (the coded columns) and "sparse" (the CSR columns) where there are any.
    """

    def __init__(self, net: Net, p: dict[str, Array], inputs: Inputs, work: Work) -> None:
        self.net, self.p, self.work = net, p, work
        self.dtype = p["output.bias"].dtype
        self.x, self.codes = inputs.x.astype(self.dtype, copy=False), inputs.codes
        self.n_rows = len(inputs.x)
        self.entries: dict[str, Entries] = {}
        if net.tables:
            self.entries["levels"] = from_codes(inputs.codes, net.first_level)
        if inputs.sparse is not None and net.n_sparse:
            self.entries["sparse"] = from_csr(inputs.sparse, self.dtype)
        self._touched: dict[str, Touched] = {}

    def touched(self, kind: str) -> Touched:
        if kind not in self._touched:
            size = self.net.n_levels if kind == "levels" else self.net.n_sparse
            self._touched[kind] = touched(self.entries[kind].column, size)
        return self._touched[kind]

    def down(self, kind: str, table: Array, square: bool = False) -> Array:
        """Each row's sum of value * table row: (n, width)."""
        row, column, value = self.entries[kind]
        return sums(row, self.n_rows, table, column, value, square)

    def up(self, kind: str, error: Array) -> tuple[Array, Array]:
        """Touched rows of a table, and their sums of value * error (n, width) over the rows that read them."""
        row, _, value = self.entries[kind]
        rows, of = self.touched(kind)
        return rows, sums(of, len(rows), error, row, value)


#: touched rows and their gradients by the name of the slot
_Sparse = dict[str, tuple[Array, Array]]


class _Pass:
    """The parts of a network over one batch; ``running`` are the buffers where rows are only scored."""

    def __init__(self, batch: _Batch, running: Array | None = None) -> None:
        net, self.batch = batch.net, batch
        moments = [] if running is None else net.moments(running)
        self.running: Sequence[tuple[Array, Array] | None] = moments or [None] * len(net.hidden)
        self.layers = [Layer(net, number, batch.p, batch.work) for number in range(len(net.hidden))]

    def forward(self, draws: Draws | None) -> Array:
        """Raw predictions (n, n_outputs) in the dtype of the parameters."""
        batch = self.batch
        raw = np.empty((batch.n_rows, batch.net.n_outputs), batch.dtype)
        raw[...] = batch.p["output.bias"]
        if batch.net.wide:
            for term in self._terms("wide"):
                raw += term
        if batch.net.factors:
            raw[:, 0] += self._pairs()
        if self.layers:
            raw += self._hidden(draws) @ batch.p["output.weight"]
        return raw

    def backward(self, slope: Array, d: dict[str, Array]) -> _Sparse:
        """Fills the dense gradients ``d`` and returns the sparse ones, from d loss / d raw (n, n_outputs)."""
        found: _Sparse = {}
        d["output.bias"][:] = column_sums(slope)
        if self.batch.net.wide:
            found |= self._wide_back(slope, d)
        if self.batch.net.factors:
            found |= self._pairs_back(slope, d)
        if self.layers:
            found |= self._hidden_back(slope, d)
        for slot in self.batch.net.slots:
            if slot.sparse and slot.name not in found:  # a batch without CSR columns
                found[slot.name] = np.empty(0, np.int64), np.empty((0, slot.shape[1]), self.batch.dtype)
        return found

    def moments(self) -> Array:
        """(n_buffers,) float64: sums of z and z**2 over the batch."""
        if not self.batch.net.n_buffers or not self.batch.n_rows:
            return np.zeros(self.batch.net.n_buffers)
        return np.concatenate([half for layer in self.layers for half in layer.moment_sums()])

    def _terms(self, part: str) -> list[Array]:
        """The products of numeric columns, levels and CSR columns with the tables of a part."""
        batch = self.batch
        terms = [batch.x @ batch.p[f"{part}.numeric"]] if batch.net.n_numeric else []
        return terms + [batch.down(kind, batch.p[f"{part}.{kind}"]) for kind in batch.entries]

    def _wide_back(self, slope: Array, d: dict[str, Array]) -> _Sparse:
        batch = self.batch
        if batch.net.n_numeric:
            np.matmul(batch.x.T, slope, out=d["wide.numeric"])
        return {f"wide.{kind}": batch.up(kind, slope) for kind in batch.entries}

    def _pairs(self) -> Array:
        """``sum_f ((sum_i V_if c_i)**2 - sum_i V_if**2 c_i**2) / 2`` (n,) (Rendle, 2010, Lemma 3.1)."""
        batch, p = self.batch, self.batch.p
        self.total = np.zeros((batch.n_rows, batch.net.factors), batch.dtype)
        for term in self._terms("factors"):
            self.total += term
        pairs = np.square(self.total)
        if batch.net.n_numeric:
            pairs -= np.square(batch.x) @ np.square(p["factors.numeric"])
        for kind in batch.entries:
            pairs -= batch.down(kind, p[f"factors.{kind}"], square=True)
        half: Array = pairs.sum(axis=1) * batch.dtype.type(0.5)
        return half

    def _pairs_back(self, slope: Array, d: dict[str, Array]) -> _Sparse:
        """``d pairs / d V_if = c_i total_f - V_if c_i**2`` (Rendle, 2010, eq. 4), times the slope, summed."""
        batch, p, found = self.batch, self.batch.p, {}
        error = self.total * slope
        if batch.net.n_numeric:
            np.matmul(batch.x.T, error, out=d["factors.numeric"])
            d["factors.numeric"] -= p["factors.numeric"] * (np.square(batch.x).T @ slope)
        for kind, (row, _, value) in batch.entries.items():
            rows, values = batch.up(kind, error)
            squared = None if value is None else np.square(value)
            own = sums(batch.touched(kind).of, len(rows), slope, row, squared)
            found[f"factors.{kind}"] = rows, values - np.take(p[f"factors.{kind}"], rows, axis=0) * own
        return found

    def _hidden(self, draws: Draws | None) -> Array:
        a, extra = self._inputs(), None
        if "sparse" in self.batch.entries and not self.batch.net.sparse_dim:
            extra = self.batch.down("sparse", self.batch.p["hidden.0.sparse"])
        for layer, running in zip(self.layers, self.running, strict=True):
            a, extra = layer.forward(a, extra, running, draws), None
        self.top = a
        return a

    def _inputs(self) -> Array:
        """What the first hidden layer reads (n, n_inputs): numeric columns, embeddings, the bag."""
        batch, net = self.batch, self.batch.net
        if net.n_inputs == net.n_numeric:
            return batch.x
        a = batch.work.array("inputs", (batch.n_rows, net.n_inputs), batch.dtype)
        a[:, : net.n_numeric] = batch.x
        at = net.n_numeric
        for number, (_, dim) in enumerate(net.tables):
            a[:, at : at + dim] = np.take(batch.p[f"table.{number}"], batch.codes[:, number], axis=0)
            at += dim
        if net.sparse_dim and net.n_sparse:
            a[:, at:] = batch.down("sparse", batch.p["bag"]) if "sparse" in batch.entries else 0.0
        return a

    def _hidden_back(self, slope: Array, d: dict[str, Array]) -> _Sparse:
        batch = self.batch
        np.matmul(self.top.T, slope, out=d["output.weight"])
        error, weight = slope, batch.p["output.weight"]
        for layer in reversed(self.layers):
            above = batch.work.array(f"{layer.number}.error", (batch.n_rows, len(weight)), batch.dtype)
            error = layer.backward(times_transposed(error, weight, above), d)
            weight = layer.weight
        return self._inputs_back(error, weight)

    def _inputs_back(self, error: Array, weight: Array) -> _Sparse:
        """Gradients of the tables that the first hidden layer reads, from d loss / d z_0 (n, units)."""
        batch, net, found = self.batch, self.batch.net, {}
        if "sparse" in batch.entries and not net.sparse_dim:
            found["hidden.0.sparse"] = batch.up("sparse", error)
        at = net.n_numeric
        if net.n_inputs == at:
            return found
        inner = error @ weight[at:].T
        for number, (_, dim) in enumerate(net.tables):
            found[f"table.{number}"] = self._table_back(number, inner[:, at - net.n_numeric :][:, :dim])
            at += dim
        if net.sparse_dim and "sparse" in batch.entries:
            found["bag"] = batch.up("sparse", inner[:, at - net.n_numeric :])
        return found

    def _table_back(self, number: int, error: Array) -> tuple[Array, Array]:
        """One coded column's share of the touched levels."""
        batch, net = self.batch, self.batch.net
        rows, of = batch.touched("levels")
        first = int(net.first_level[number])
        lo, hi = np.searchsorted(rows, [first, first + net.tables[number][0]])
        own = of[number :: len(net.tables)] - lo
        return rows[lo:hi] - first, sums(own, hi - lo, error, np.arange(batch.n_rows), None)
