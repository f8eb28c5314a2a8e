"""Networks of a user's own, and functions that make none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def plain(n_features: int, n_outputs: int) -> nn.Module:
    """The network that mlp makes of hidden 16, 8."""
    return nn.Sequential(nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, n_outputs))


def everything(n_features: int, n_outputs: int) -> nn.Module:
    """Batch norm with its counter, dropout, a buffer of its own; one output without its axis."""
    layers = [nn.Linear(n_features, 12), nn.BatchNorm1d(12), nn.GELU(), nn.Dropout(0.3), nn.Linear(12, n_outputs)]
    return nn.Sequential(*layers, *([nn.Flatten(0)] if n_outputs == 1 else []))


class Embedded(nn.Module):
    def __init__(self, n_numeric: int, n_outputs: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 3) for n in levels)
        self.top = nn.Linear(n_numeric + 3 * len(levels), n_outputs)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        parts = [x, *(table(codes[:, k]) for k, table in enumerate(self.tables))]
        result: Tensor = self.top(torch.cat(parts, 1))
        return result


embedded = Embedded
not_a_function = 3


def wide(n_features: int, n_outputs: int) -> nn.Module:
    return nn.Linear(n_features, n_outputs + 2)


def narrow(n_features: int, n_outputs: int) -> nn.Module:
    return nn.Linear(n_features + 1, n_outputs)


def nothing(n_features: int, n_outputs: int) -> Any:
    return None


def fixed(n_features: int, n_outputs: int) -> nn.Module:
    return nn.Flatten()


def frozen(n_features: int, n_outputs: int) -> nn.Module:
    return nn.Linear(n_features, n_outputs).requires_grad_(False)


def broken(n_features: int, n_outputs: int) -> nn.Module:
    raise RuntimeError("no such file: weights.pt")
