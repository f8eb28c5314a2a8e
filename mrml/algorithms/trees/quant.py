"""Gradients as integers: how many bits of them are kept, so that sums of histograms are exact.

``rint(g * 2**s)``, with s in the State: 15 bits of gradients and 16 of hessians, packed into one int64, where the loss
bounds them and weights are even; else 24 bits each of a bound that follows from the predictions so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mrml.algorithms.objectives.base import Range
from mrml.algorithms.trees.settings import TreeSettings
from mrml.arrays import Array


class Quant(NamedTuple):
    """How gradients become integers: ``rint(g * 2**g_bits)``, packed into one or as two."""

    packed: bool
    g_bits: int
    h_bits: int

    @property
    def units(self) -> tuple[float, float]:
        """What one is worth."""
        return 2.0**-self.g_bits, 2.0**-self.h_bits

    def integers(self, g: Array, h: Array, module: Any) -> tuple[Array, ...]:
        """(packed,) int64 or (g, h) int32 of gradients and hessians (n_outputs, n_rows)."""
        scales = 2.0**self.g_bits, 2.0**self.h_bits
        if self.packed:
            return (np.stack([module.pack_scaled(*pair, *scales) for pair in zip(g, h, strict=True)]),)
        return np.rint(g * scales[0]).astype(np.int32), np.rint(h * scales[1]).astype(np.int32)


def exponent(bound: float) -> int:
    """The least e with ``bound <= 2**e``."""
    fraction, exponent = math.frexp(max(bound, 2.0**-900))
    return exponent - 1 if fraction == 0.5 else exponent


def quant_of(settings: TreeSettings, params: Mapping[str, Any]) -> Quant:
    """What the gradients of the next iteration are multiplied with, from the ranges in the State's parameters."""
    facts = params["facts"]
    (raw_min, gap_min), (raw_max, gap_max) = (a.tolist() for a in params["range"])
    most_rows = facts.get("max_group", 0)
    known = Range(facts.get("min", 0.0), facts.get("max", 0.0), raw_min, raw_max, gap_min, gap_max, most_rows)
    bounds = settings.loss.bounds(known)
    if bounds is None:
        return Quant(False, *(24 - exponent(float(b)) for b in params["bound"]))
    most = facts["max_weight"] * max(settings.scale_pos_weight, 1.0)
    packed = bounds.tight and most <= 4 * params["mean_weight"]
    bits = (15, 16) if packed else (24, 24)
    return Quant(packed, bits[0] - exponent(bounds.gradient * most), bits[1] - exponent(bounds.hessian * most))
