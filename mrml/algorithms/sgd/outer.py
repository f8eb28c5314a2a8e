"""The outer step: what the meeting makes of the weighted mean D of what the shards have learned.

::

    average    p += r D                                     r = 1: McMahan et al., "Communication-Efficient Learning of
                                                            Deep Networks", 2017 (FedAvg); McDonald et al., 2010
    nesterov   m = mu m - D;  p -= r (mu m - D)             Douillard et al., "DiLoCo", 2023, section 3: D = -gradient
    adam       m = b1 m + (1 - b1) D;  v = b2 v + (1 - b2) D D
               p += r m / (sqrt(v) + tau)                   Reddi et al., "Adaptive Federated Optimization", 2021,
                                                            algorithm 2 (FedAdam), v = tau**2 at first
"""

from __future__ import annotations

import numpy as np

from mrml.arrays import Array

#: by outer step: its learning rate where the user does not say, vectors that it keeps
RATES = {"average": 1.0, "nesterov": 0.7, "adam": 0.01}
KEPT = {"average": 0, "nesterov": 1, "adam": 2}
BETA1, BETA2, TAU = 0.9, 0.99, 1e-3


def first(name: str, n_params: int) -> Array:
    """(k, n_params) float64: what the outer step keeps, before the first meeting."""
    kept = np.zeros((KEPT[name], n_params))
    if name == "adam":
        kept[1] = TAU**2
    return kept


def moved(name: str, params: Array, mean: Array, kept: Array, rate: float, momentum: float) -> tuple[Array, Array]:
    """The parameters (n_params,) float32 after the meeting and what is kept; ``mean`` is D, float64."""
    if name == "nesterov":
        m = momentum * kept[0] - mean
        return _cast(params - rate * (momentum * m - mean)), m[None]
    if name == "adam":
        m = BETA1 * kept[0] + (1 - BETA1) * mean
        v = BETA2 * kept[1] + (1 - BETA2) * mean * mean
        return _cast(params + rate * m / (np.sqrt(v) + TAU)), np.stack([m, v])
    return _cast(params + rate * mean), kept


def _cast(params: Array) -> Array:
    return params.astype(np.float32)
