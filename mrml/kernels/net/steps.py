"""Steps of SGD in NumPy: parameters, buffers and optimizer state between two meetings.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mrml.arrays import Array
from mrml.kernels.net.describe import Inputs, Net, update_buffers
from mrml.kernels.net.numpy import Draws, Work, gradient
from mrml.kernels.net.optimizers import Optimizer
from mrml.losses import Loss


@dataclass
class NumpySteps:
    """A run of steps; the arrays are its own and change in place.

    ``params`` (n_params,) float32, ``buffers`` (n_buffers,) float64, ``inner`` (k, n_params) float32, the optimizer's.
    """

    net: Net
    loss: Loss
    optimizer: Optimizer
    params: Array
    buffers: Array
    inner: Array
    work: Work = field(default_factory=Work)

    def step(self, inputs: Inputs, y: Array, weight: Array | None, offset: Array | None, draws: Draws | None,
             t: int, rate: float) -> float:  # fmt: skip
        """Move by the mean gradient of a batch, step ``t`` >= 1 of the optimizer; the sum of weight * loss before."""
        found = gradient(self.net, self.params, self.buffers, inputs, y, weight, offset, self.loss, draws, self.work)
        if found.weight > 0 and np.isfinite(found.loss):
            self.optimizer.step(self.params, found.mean(), self.inner, t, rate)
            update_buffers(self.buffers, found.moments, found.n_rows)
        return found.loss

    def rest(self) -> float:
        """The losses that no step has told of: none here."""
        return 0.0
