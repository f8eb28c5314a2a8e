"""Losses as a user writes them."""

from __future__ import annotations

from typing import Any

import numpy as np


def squared(y: Any, raw: Any) -> Any:
    return raw - y, np.ones_like(raw)


def weighted(y: Any, raw: Any, weight: Any) -> Any:
    weight = np.ones_like(y) if weight is None else weight
    return (raw - y) * weight, weight


def tiny(y: Any, raw: Any) -> Any:
    return (raw - y) * 1e-7, np.full_like(raw, 1e-7)


def one_number(y: Any, raw: Any) -> Any:
    return 1.0, np.ones_like(raw)


def short(y: Any, raw: Any) -> Any:
    return raw - y, np.ones(3)


def nan(y: Any, raw: Any) -> Any:
    return np.where(y > y.min(), np.nan, 0.0), np.ones_like(raw)


def negative(y: Any, raw: Any) -> Any:
    return raw - y, -np.ones_like(raw)


def nothing(y: Any, raw: Any) -> Any:
    return None


no_function = 3
