"""The losses of :mod:`mrml.losses` in torch, whose autograd has their gradients.  Floor 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as f

from mrml.losses import Loss


def weighted_loss(loss: Loss, raw: Tensor, y: Tensor | None, weight: Tensor | None, offset: Tensor | None) -> Tensor:
    """The sum of weight * loss of raw predictions (n, n_outputs) float64."""
    assert y is not None
    values = loss_values(loss, y, raw if offset is None else raw + offset[:, None])
    return (values if weight is None else values * weight).sum()


def loss_values(loss: Loss, y: Tensor, raw: Tensor) -> Tensor:
    """The loss of each row (n,) from raw predictions (n, n_outputs), all float64 (:mod:`mrml.losses`)."""
    if loss.name == "softmax":
        return f.cross_entropy(raw, y.long(), reduction="none")
    own = _LOSSES[loss.name](loss, y, raw[:, 0])
    return own


def _tweedie(loss: Any, y: Tensor, raw: Tensor) -> Tensor:
    one, two = 1.0 - loss.power, 2.0 - loss.power
    return torch.exp(two * raw) / two - y * torch.exp(one * raw) / one


def _huber(loss: Any, y: Tensor, raw: Tensor) -> Tensor:
    return f.huber_loss(raw, y, reduction="none", delta=loss.delta)


def _quantile(loss: Any, y: Tensor, raw: Tensor) -> Tensor:
    error = raw - y
    return torch.where(error >= 0, (1.0 - loss.alpha) * error, -loss.alpha * error)


_LOSSES: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "half_squared_error": lambda loss, y, raw: (raw - y).square() * 0.5,
    "logistic": lambda loss, y, raw: f.binary_cross_entropy_with_logits(raw, y, reduction="none"),
    "poisson": lambda loss, y, raw: torch.exp(raw) - y * raw,
    "gamma": lambda loss, y, raw: raw + y * torch.exp(-raw),
    "tweedie": _tweedie,
    "huber": _huber,
    "quantile": _quantile,
    "absolute": lambda loss, y, raw: (raw - y).abs(),
}
