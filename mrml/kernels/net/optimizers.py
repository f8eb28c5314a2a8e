"""Optimizers: one step in place from a mean gradient, and schedules of their learning rate.

With g the gradient, plus ``weight_decay * parameter`` for all but adamw, and r the learning rate of step t = 1, 2, ...
(the formulas of torch.optim)::

    sgd        p -= r g
    momentum   v = mu v + g;  p -= r v
    nesterov   v = mu v + g;  p -= r (g + mu v)            (Sutskever et al., 2013, as torch and Keras write it)
    adagrad    s += g g;  p -= r g / (sqrt(s) + eps)                  (Duchi, Hazan and Singer, 2011)
    adam       m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g
               p -= r / (1 - b1**t) m / (sqrt(v / (1 - b2**t)) + eps)  (Kingma and Ba, 2015)
    adamw      p *= 1 - r weight_decay; then adam                     (Loshchilov and Hutter, 2019)

Sparse slots are updated lazily: only the rows that the batch touched move, decay, and have their state changed, with
the bias correction of the global t, as torch.optim.SparseAdam does.  A row that waits keeps its momentum as it was.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.net.describe import Gradient

#: parameters moved at a time: what a step reads and writes stays in a core's L2
PIECE = 1 << 14
#: optimizer -> vectors of the length of the parameters that it keeps
STATES = {"sgd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "adam": 2, "adamw": 2}


@dataclass(frozen=True)
class Optimizer:
    """How a gradient moves the parameters.

    Parameters
    ----------
    name : one of STATES.
    momentum : of momentum and nesterov.
    beta1, beta2, epsilon : of adam and adamw; epsilon of adagrad too.
    weight_decay : of every parameter, biases included, as torch: L2 into the gradient, decoupled for adamw.
    clip_norm : the largest norm of a gradient, dense and sparse parts together, before decay; 0: none.
    """

    name: str = "adam"
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in STATES:
            raise ConfigError("optimizer", f"none is called {self.name!r}", f"use one of {', '.join(STATES)}")

    def n_state(self, n_params: int) -> int:
        """Numbers of state."""
        return STATES[self.name] * n_params

    def init_state(self, n_params: int) -> Array:
        """(k, n_params) float32 zeros; the count of steps is the caller's."""
        return np.zeros((STATES[self.name], n_params), np.float32)

    def step(self, params: Array, gradient: Gradient, state: Array, t: int, learning_rate: float) -> None:
        """Move ``params`` (n_params,) and ``state`` (k, n_params) in place, by the mean gradient of step t >= 1.

        The gradient's arrays are overwritten.  What overflows is inf or NaN, and no warning.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            self._step(params, gradient, state, t, learning_rate)

    def _step(self, params: Array, gradient: Gradient, state: Array, t: int, learning_rate: float) -> None:
        self._clip(gradient)
        for at in range(0, len(gradient.dense), PIECE):
            part = slice(at, min(at + PIECE, len(gradient.dense)))
            self._move(params[part], gradient.dense[part], state[:, part], t, learning_rate)
        for slot, every, values in gradient.sparse:
            tables = [slot.view(vector) for vector in (params, *state)]
            some = max(1, PIECE // slot.shape[1])
            for at in range(0, len(every), some):
                rows = every[at : at + some]
                own = np.stack([np.take(table, rows, axis=0) for table in tables])
                self._move(own[0], values[at : at + some], own[1:], t, learning_rate)
                for table, moved in zip(tables, own, strict=True):
                    table[rows] = moved

    def _clip(self, gradient: Gradient) -> None:
        """Scale a gradient down to ``clip_norm`` as torch.nn.utils.clip_grad_norm_ does."""
        if not self.clip_norm:
            return
        parts = [gradient.dense, *(entry.values for entry in gradient.sparse)]
        norm = math.sqrt(sum(float(np.square(part, dtype=np.float64).sum()) for part in parts))
        if norm > self.clip_norm:
            for part in parts:
                part *= part.dtype.type(self.clip_norm / (norm + 1e-6))

    def _move(self, p: Array, g: Array, state: Array, t: int, rate: float) -> None:
        """The formulas of the module, in place; ``g`` is scratch afterwards."""
        if self.name == "adamw":
            p *= p.dtype.type(1.0 - rate * self.weight_decay)
        elif self.weight_decay:
            g += p * p.dtype.type(self.weight_decay)
        if self.name.startswith("adam"):
            self._adam(p, g, state, t, rate)
        elif self.name == "adagrad":
            state[0] += np.square(g)
            p -= p.dtype.type(rate) * g / (np.sqrt(state[0]) + p.dtype.type(self.epsilon))
        else:
            p -= p.dtype.type(rate) * self._with_momentum(g, state)

    def _with_momentum(self, g: Array, state: Array) -> Array:
        if self.name == "sgd":
            return g
        mu = g.dtype.type(self.momentum)
        v = state[0]
        v *= mu
        v += g
        if self.name == "nesterov":
            g += mu * v
            return g
        return np.asarray(v)

    def _adam(self, p: Array, g: Array, state: Array, t: int, rate: float) -> None:
        """``(sqrt(v) / root + eps)`` as torch, with root = sqrt(1 - b2**t)."""
        dtype = p.dtype.type
        m, v = state
        m *= dtype(self.beta1)
        m += dtype(1.0 - self.beta1) * g
        np.square(g, out=g)
        g *= dtype(1.0 - self.beta2)
        v *= dtype(self.beta2)
        v += g
        np.sqrt(v, out=g)
        g *= dtype(1.0 / math.sqrt(1.0 - self.beta2**t))
        g += dtype(self.epsilon)
        np.divide(m, g, out=g)
        g *= dtype(rate / (1.0 - self.beta1**t))
        p -= g


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the steps: ``learning_rate`` times a factor.

    constant 1; step ``gamma ** (step // every)``; inverse ``1 / (1 + gamma * step)``; cosine
    ``floor + (1 - floor) (1 + cos(pi * progress)) / 2`` (Loshchilov and Hutter, SGDR, 2017, eq. 5), progress from 0 to
    1 over the steps after the warm-up.  The first ``warmup_steps`` rise linearly, number k to (k + 1) / warmup_steps,
    and the others count from there.
    """

    learning_rate: float = 1e-3
    name: str = "constant"
    warmup_steps: int = 0
    gamma: float = 0.1
    every: int = 1000
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("constant", "step", "inverse", "cosine"):
            raise ConfigError("schedule", f"none is called {self.name!r}", "use constant, step, inverse or cosine")

    def rate(self, step: int, total_steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        return self.learning_rate * self._factor(step - self.warmup_steps, total_steps - self.warmup_steps)

    def _factor(self, step: int, total: int) -> float:
        if self.name == "step":
            return float(self.gamma ** (step // self.every))
        if self.name == "inverse":
            return 1.0 / (1.0 + self.gamma * step)
        if self.name == "cosine":
            progress = min(step / total, 1.0) if total > 0 else 1.0
            return self.floor + (1.0 - self.floor) * (1.0 + math.cos(math.pi * progress)) / 2
        return 1.0
