"""A network as a ``torch.nn.Module``: what `mrml export --to torch` hands out, and what tests compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrml.arrays import Array
from mrml.kernels.net.describe import MOMENTUM, Net
from mrml.kernels.net.torch import Csr, Where, array_of, forward


class NetModule(torch.nn.Module):
    """A network as a ``torch.nn.Module`` whose parameters are called as the slots are.

    ``forward(x, codes, csr)`` takes standardised ``x`` (n, n_numeric), ``codes`` (n, n_tables) integers where there are
    coded columns, and ``csr``, a pair (indices, values) of (n, k) tensors, or None.  In training mode batch norm
    normalises by the batch and moves its buffer, and dropout draws by torch's generator.
    """

    moments: Tensor

    def __init__(self, net: Net, params: Array | None = None, buffers: Array | None = None) -> None:
        super().__init__()
        self.net = net
        values = net.views(net.init(0) if params is None else params)
        for slot in net.slots:
            *parents, last = slot.name.split(".")
            place: torch.nn.Module = self
            for name in parents:
                if name not in dict(place.named_children()):
                    place.add_module(name, torch.nn.Module())
                place = place.get_submodule(name)
            place.register_parameter(last, torch.nn.Parameter(torch.from_numpy(values[slot.name].copy())))
        own = net.init_buffers() if buffers is None else buffers
        self.register_buffer("moments", torch.from_numpy(np.array(own, np.float64)))
        self.register_buffer("first_level", torch.from_numpy(net.first_level.copy()), persistent=False)

    def forward(self, x: Tensor, codes: Tensor | None = None, csr: tuple[Tensor, Tensor] | None = None) -> Tensor:
        net, p = self.net, dict(self.named_parameters())
        if codes is None:
            codes = torch.zeros((len(x), len(net.tables)), dtype=torch.int64, device=x.device)
        tables = tuple(codes[:, k].long() for k in range(len(net.tables)))
        at = Where(x, tables, codes.long() + self.first_level, None if csr is None else _from_rows(*csr))
        if not self.training:
            return forward(net, p, at, None, self.moments if net.n_buffers else None)
        sums: list[Tensor] = []
        raw = forward(net, p, at, self._drawn if net.dropout else None, None, sums)
        if sums and len(x):
            self.moments += MOMENTUM * (torch.cat(sums) / len(x) - self.moments)
        return raw

    def _drawn(self, layer: int, a: Tensor) -> Tensor:
        return (torch.rand_like(a) >= self.net.dropout).to(a.dtype) / (1.0 - self.net.dropout)

    def flat(self) -> Array:
        """(n_params,) float32: the vector that it was made from, as it is now."""
        own = dict(self.named_parameters())
        return np.concatenate([array_of(own[slot.name]).ravel() for slot in self.net.slots])


def _from_rows(indices: Tensor, values: Tensor) -> Csr:
    row = torch.arange(len(indices), device=indices.device)[:, None].expand_as(indices)
    return Csr(row.reshape(-1), indices.reshape(-1), values.reshape(-1))


def module_of(net: Net | Mapping[str, Any], params: Array | None = None, buffers: Array | None = None) -> NetModule:
    """The module of a description, or of its JSON as an exported file has it; with its first weights where none are
    given."""
    return NetModule(net if isinstance(net, Net) else Net.from_json(net), params, buffers)
