"""Networks in torch: the formulas of :mod:`mrml.kernels.net.describe`, with gradients by autograd.

The same flat vector of parameters, the same batches and the same draws of dropout (:func:`kept_units` is that of
:mod:`mrml.kernels.net.layers`, bit by bit, on any device) give the gradients of the NumPy kernel to 1e-5.  Losses are
computed in float64, as there.  On the CPU torch gets one thread, and the same inputs give the same bytes; kernels of
CUDA add in an order of their own.

torch is an extra: this module and its sibling :mod:`mrml.kernels.net.torch_steps` import it, and who needs them imports
them where they are needed.  Floor 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as f

from mrml.arrays import Array
from mrml.kernels.net.describe import EPSILON, Gradient, Inputs, Net, SparseGradient, SparseRows, weight_sum
from mrml.kernels.net.layers import Draws, drop_below
from mrml.kernels.net.sparse import touched
from mrml.kernels.net.torch_losses import weighted_loss
from mrml.kernels.random import GOLDEN, bits
from mrml.losses import Loss

#: SplitMix64 in the signed integers that torch has
_FIRST, _SECOND, _STEP = (v - (1 << 64) for v in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, GOLDEN))
_LAYER_WORDS = 1 << 24
#: rows that are scored at a time
_ROWS = 8192

Parameters = Mapping[str, Tensor]


class Csr(NamedTuple):
    """CSR columns: entry i adds ``value[i]`` times row ``column[i]`` of a table to the batch's ``row[i]``."""

    row: Tensor
    column: Tensor
    value: Tensor


class Where(NamedTuple):
    """What a batch reads: ``x`` (n, n_numeric); of each coded column the rows (n,) of its embedding; ``levels``
    (n, n_tables), rows of the tables of all levels; ``csr`` or None."""

    x: Tensor
    tables: tuple[Tensor, ...]
    levels: Tensor
    csr: Csr | None


def one_thread(device: str) -> None:
    """On the CPU torch computes by one thread, as every kernel here: more would change the order of its sums."""
    if device == "cpu" and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


# ---- the forward pass


def forward(
    net: Net,
    p: Parameters,
    at: Where,
    keep: Callable[[int, Tensor], Tensor] | None = None,
    running: Tensor | None = None,
    moments: list[Tensor] | None = None,
) -> Tensor:
    """Raw predictions (n, n_outputs) in the dtype of the parameters.

    Parameters
    ----------
    p : the parameters by the names of the slots; of sparse slots the whole table, or the rows that ``at`` counts.
    keep : (layer, activations) -> what dropout multiplies them with; None: nothing is dropped.
    running : (n_buffers,) float64 where batch norm reads its buffers; None: it normalises by the batch.
    moments : gets sums of z and z**2 of every batch-normed layer, float64.
    """
    raw = p["output.bias"].expand(len(at.x), -1)
    if net.wide:
        raw = raw + sum(_terms(net, p, at, "wide"))
    if net.factors:
        raw = raw + _pairs(net, p, at)[:, None]
    if net.hidden:
        raw = raw + _hidden(net, p, at, keep, running, moments) @ p["output.weight"]
    return raw


def _terms(net: Net, p: Parameters, at: Where, part: str) -> list[Tensor]:
    """The products of numeric columns, levels and CSR columns with the tables of a part."""
    terms = [at.x @ p[f"{part}.numeric"]] if net.n_numeric else []
    if net.tables:
        terms.append(f.embedding(at.levels, p[f"{part}.levels"]).sum(1))
    if at.csr is not None:
        terms.append(_bag(at.csr, p[f"{part}.sparse"], len(at.x)))
    return terms


def _sum(terms: list[Tensor]) -> Tensor:
    return sum(terms[1:], terms[0])


def _bag(csr: Csr, table: Tensor, n: int) -> Tensor:
    out = torch.zeros((n, table.shape[1]), dtype=table.dtype, device=table.device)
    return out.index_add(0, csr.row, f.embedding(csr.column, table) * csr.value[:, None])


def _pairs(net: Net, p: Parameters, at: Where) -> Tensor:
    """``sum_f ((sum_i V_if c_i)**2 - sum_i V_if**2 c_i**2) / 2`` (n,)."""
    total = _sum(_terms(net, p, at, "factors"))
    squared = {name: p[name].square() for name in p if name.startswith("factors.")}
    csr = None if at.csr is None else at.csr._replace(value=at.csr.value.square())
    own = _sum(_terms(net, squared, at._replace(x=at.x.square(), csr=csr), "factors"))
    half: Tensor = (total.square() - own).sum(1) * 0.5
    return half


def _hidden(
    net: Net,
    p: Parameters,
    at: Where,
    keep: Callable[[int, Tensor], Tensor] | None,
    running: Tensor | None,
    moments: list[Tensor] | None,
) -> Tensor:
    a = _inputs(net, p, at)
    buffers = [] if running is None else net.moments(running)
    for layer in range(len(net.hidden)):
        own = {k: p[f"hidden.{layer}.{k}"] for k in ("bias", "scale", "shift") if f"hidden.{layer}.{k}" in p}
        z = a @ p[f"hidden.{layer}.weight"]
        if layer == 0 and at.csr is not None and not net.sparse_dim:
            z = z + _bag(at.csr, p["hidden.0.sparse"], len(z))
        if "bias" in own:
            z = z + own["bias"]
        if net.norm != "none":  # in float32 also where products are bfloat16
            z = z.to(own["scale"].dtype)
        if net.norm == "layer":
            z = f.layer_norm(z, (net.hidden[layer],), own["scale"], own["shift"], EPSILON)
        elif net.norm == "batch":
            z = _batch_normed(z, buffers[layer] if buffers else None, moments) * own["scale"] + own["shift"]
        a = _activated(net, z)
        if keep is not None and net.dropout:
            a = a * keep(layer, a)
    return a


def _inputs(net: Net, p: Parameters, at: Where) -> Tensor:
    """What the first hidden layer reads (n, n_inputs): numeric columns, embeddings, the bag."""
    parts = [at.x] if net.n_numeric or net.n_inputs == 0 else []
    parts += [f.embedding(rows, p[f"table.{k}"]) for k, rows in enumerate(at.tables)]
    if net.n_sparse and net.sparse_dim:
        empty = torch.zeros((len(at.x), net.sparse_dim), dtype=at.x.dtype, device=at.x.device)
        parts.append(empty if at.csr is None else _bag(at.csr, p["bag"], len(at.x)))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _activated(net: Net, z: Tensor) -> Tensor:
    if net.activation == "relu":
        return torch.relu(z)
    return torch.tanh(z) if net.activation == "tanh" else f.gelu(z, approximate="tanh")


def _batch_normed(z: Tensor, running: tuple[Any, Any] | None, moments: list[Tensor] | None) -> Tensor:
    """``(z - mean) / sqrt(var + EPSILON)`` by the buffers, or by the rows themselves."""
    if running is not None:
        first, second = running
        inverse = 1.0 / torch.sqrt((second - first.square()).clamp_min(0.0) + EPSILON)
        return (z - first.to(z.dtype)) * inverse.to(z.dtype)
    n = max(len(z), 1)
    mean = z.sum(0) / n
    centred = z - mean
    var = centred.square().sum(0) / n
    if moments is not None:
        first, second = mean.detach().double(), var.detach().double()
        moments += [len(z) * first, len(z) * (second + first.square())]
    return centred / torch.sqrt(var + EPSILON)


# ---- the draws of dropout


def kept_units(draws: Draws, layer: int, units: int, dropout: float, device: str) -> Tensor:
    """:func:`mrml.kernels.net.layers.kept_units` on a device: (n, units) bool."""
    state = bits(draws.seed, draws.step, draws.row_key)
    return keep_mask(torch.from_numpy(state.view(np.int64)).to(device), layer, units, dropout)


def keep_mask(state: Tensor, layer: int, units: int, dropout: float) -> Tensor:
    first = layer * _LAYER_WORDS + 1
    n_words = (units + 3) // 4
    number = torch.arange(first, first + n_words, device=state.device)
    z = state[:, None] + number * _STEP
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z = (z ^ _right(z, shift)) * factor
    z = z ^ _right(z, 31)
    lanes = z.view(torch.int16).view(len(state), 4 * n_words)[:, :units].to(torch.int32) & 0xFFFF
    return lanes >= drop_below(dropout)


def _right(z: Tensor, by: int) -> Tensor:
    """A shift to the right that brings in zeros."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def dropping(net: Net, draws: Draws | None, move: Callable[[Array], Tensor]) -> Callable[[int, Tensor], Tensor] | None:
    """What :func:`forward` takes as ``keep``: units dropped by our draws."""
    if draws is None or not net.dropout:
        return None
    state = move(bits(draws.seed, draws.step, draws.row_key).view(np.int64))
    scale = 65536 / (65536 - drop_below(net.dropout))
    return lambda layer, a: keep_mask(state, layer, a.shape[1], net.dropout).to(a.dtype) * scale


# ---- batches


class Batch:
    """A batch on its device; of tables of parameters the rows that it reads.

    ``touched`` are rows (n_unique,) int64 of every sparse slot by name, found on the host, where codes and indices come
    from: a device that said how many they are would have to be waited for.
    """

    def __init__(self, net: Net, inputs: Inputs, move: Callable[[Array], Tensor]) -> None:
        self.net, self.touched = net, dict[str, Array]()
        levels, tables, csr = torch.empty(0), (), None  # type: Tensor, tuple[Tensor, ...], Csr | None
        if net.tables:
            levels, tables = self._codes(inputs.codes, move)
        if inputs.sparse is not None and net.n_sparse:
            csr = self._csr(inputs.sparse, move)
        self.at = Where(move(inputs.x), tables, levels, csr)

    def _codes(self, codes: Array, move: Callable[[Array], Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        net = self.net
        rows, of = touched((codes + net.first_level).ravel(), net.n_levels)
        of = of.reshape(codes.shape)
        for name in ("wide.levels", "factors.levels"):
            self.touched[name] = rows
        ends = np.searchsorted(rows, np.append(net.first_level, net.n_levels))
        for k, (low, high) in enumerate(itertools.pairwise(ends)):
            self.touched[f"table.{k}"] = rows[low:high] - net.first_level[k]
        # shifted here: what is moved may only be computed with once the mover has joined
        own = move((of - ends[:-1]).T) if net.hidden else ()
        return move(of), tuple(own)

    def _csr(self, sparse: SparseRows, move: Callable[[Array], Tensor]) -> Csr:
        rows, of = touched(sparse.indices, self.net.n_sparse)
        for name in ("wide.sparse", "factors.sparse", "bag", "hidden.0.sparse"):
            self.touched[name] = rows
        return Csr(move(sparse.row), move(of), move(sparse.data))


def tensor_of(array: Array) -> Tensor:
    """An array as a tensor of the CPU, which shares its memory where it may be written to."""
    return torch.from_numpy(np.ascontiguousarray(array) if array.flags.writeable else np.array(array))


def moving(device: str, dtype: torch.dtype) -> Callable[[Array], Tensor]:
    """Arrays to a device, floating ones as ``dtype``; on the CPU without a copy where the dtype is right."""

    def move(array: Array) -> Tensor:
        moved = tensor_of(array).to(device)
        return moved.to(dtype) if moved.is_floating_point() else moved

    return move


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
    device: str = "cpu",
) -> Gradient:
    """:func:`mrml.kernels.net.numpy.gradient` by torch: the same arguments, the same sums, in float32 or float64."""
    one_thread(device)
    flat = tensor_of(params).to(device)
    move = moving(device, flat.dtype)
    batch = Batch(net, inputs, move)
    leaves = {s.name: _leaf(s, flat, batch.touched) for s in net.slots if not s.sparse or s.name in batch.touched}
    moments: list[Tensor] = []
    raw = forward(net, leaves, batch.at, dropping(net, draws, move), None, moments).double()
    total = weighted_loss(loss, raw, *(None if a is None else _wide(a, device) for a in (y, weight, offset)))
    if len(y):
        total.backward()
    return _gathered(net, leaves, batch, moments, float(total.detach()), y, weight)


def _leaf(slot: Any, flat: Tensor, rows: Mapping[str, Array]) -> Tensor:
    whole = flat[slot.offset : slot.offset + slot.size].view(slot.shape)
    if slot.sparse:
        whole = whole[torch.from_numpy(rows[slot.name]).to(flat.device)]
    return whole.detach().requires_grad_()


def _gathered(net: Net, leaves: Parameters, batch: Batch, moments: list[Tensor], total: float, y: Array,
              weight: Array | None) -> Gradient:  # fmt: skip
    """The gradients of the leaves as the NumPy kernel gives them."""
    by_name = {name: array_of(leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)) for name, leaf in
               leaves.items()}  # fmt: skip
    dense = np.concatenate([by_name[s.name].ravel() for s in net.slots if not s.sparse])
    nothing = np.empty(0, np.int64)
    sparse = tuple(
        SparseGradient(
            s, batch.touched.get(s.name, nothing), by_name.get(s.name, np.empty((0, s.shape[1]), np.float32))
        )
        for s in net.slots
        if s.sparse
    )
    sums = np.concatenate([array_of(m) for m in moments]) if moments and len(y) else np.zeros(net.n_buffers)
    return Gradient(total, weight_sum(y, weight), dense, sparse, sums, len(y))


def _wide(array: Array, device: str) -> Tensor:
    return tensor_of(array.astype(np.float64, copy=False)).to(device)


def array_of(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy()
    return found


# ---- as a module


def predict(net: Net, params: Array, buffers: Array, inputs: Inputs, device: str = "cpu") -> Array:
    """Raw predictions (n, n_outputs) float64, some thousand rows at a time."""
    one_thread(device)
    flat, moments = tensor_of(params).to(device), tensor_of(buffers).to(device)
    p = {s.name: flat[s.offset : s.offset + s.size].view(s.shape) for s in net.slots}
    move = moving(device, flat.dtype)
    found = [np.empty((0, net.n_outputs))]
    with torch.no_grad():
        for start in range(0, len(inputs.x), _ROWS):
            at = _whole(net, inputs.part(slice(start, start + _ROWS)), move)
            raw = forward(net, p, at, None, moments if net.n_buffers else None)
            found.append(array_of(raw.double()))
    return np.concatenate(found)


def _whole(net: Net, inputs: Inputs, move: Callable[[Array], Tensor]) -> Where:
    """A batch that reads whole tables."""
    codes, csr = move(inputs.codes.astype(np.int64)), None
    if inputs.sparse is not None and net.n_sparse:
        csr = Csr(move(inputs.sparse.row), move(inputs.sparse.indices.astype(np.int64)), move(inputs.sparse.data))
    tables = tuple(codes[:, k] for k in range(len(net.tables)))
    return Where(move(inputs.x), tables, codes + move(net.first_level), csr)
