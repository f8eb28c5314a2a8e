"""Rows in memory, blocks of them, and SGD written out: plain loops over buffers and batches, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrml.algorithms.sgd.mlp import MLP
from mrml.algorithms.sgd.rows import SHUFFLES
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.kernels.net.describe import Inputs, Net
from mrml.kernels.net.numpy import Draws
from mrml.kernels.net.steps import NumpySteps
from mrml.kernels.random import bits
from mrml.schema import Column, Design, Schema

WIDTH = 4


def rows_of(n: int, seed: int = 0, noise: float = 0.4, weighted: bool = True) -> dict[str, Array]:
    """Columns of some centre and spread and a label that a product of two of them tells, in arrays by name."""
    r = np.random.default_rng(seed)
    z = r.normal(size=(n, WIDTH))
    y = (z[:, 0] * z[:, 1] + noise * r.normal(size=n) > 0).astype(float)
    found = {"X": z * np.linspace(1, 20, WIDTH) + 3.0, "y": y, "offset": 0.1 * r.normal(size=n)}
    return found | ({"weight": r.uniform(0.5, 2.0, n)} if weighted else {})


def blocks_of(rows: dict[str, Array], sizes: Sequence[int], file: int = 0, part: str = "train") -> list[Block]:
    """Consecutive rows of a file, in blocks of these sizes."""
    at, out = 0, []
    for index, size in enumerate(sizes):
        some = {name: np.ascontiguousarray(values[at : at + size]) for name, values in rows.items()}
        place: dict[str, Any] = {"center": np.full(WIDTH, 3.0), "scale": np.linspace(1, 20, WIDTH), "part": part}
        out.append(Block(file, index, np.arange(size), some.pop("X"), **some, **place))
        at += size
    assert at == len(rows["y"])
    return out


def schema_of(blocks: Sequence[Block]) -> Schema:
    """What the transforms would say of the training blocks."""
    train = [b for b in blocks if b.part == "train"]
    y = np.concatenate([b.y for b in train if isinstance(b.y, np.ndarray)])
    weight = np.concatenate([np.ones(b.n_rows) if b.weight is None else b.weight for b in train])
    sums = tuple(float(weight[y == k].sum()) for k in (0, 1))
    design = Design(tuple("abcd"), WIDTH, classes=("no", "yes"), class_weight_sums=sums, n_rows=len(y),
                    sum_weight=float(weight.sum()))  # fmt: skip
    return Schema((Column("target", role="target"),), design=design)


@dataclass
class Learner:
    """One learner's parameters, and the steps it has taken."""

    steps: NumpySteps
    taken: int = 0

    @staticmethod
    def of(algorithm: MLP, schema: Schema) -> Learner:
        """Where a run begins: the drawn parameters, with the log-odds of the classes as the output's bias."""
        design = schema.design or Design()
        net = Net(WIDTH, hidden=algorithm.hidden, activation=algorithm.activation, dropout=algorithm.dropout,
                  norm=algorithm.norm)  # fmt: skip
        no, yes = design.class_weight_sums
        loss, params = algorithm.objective("logistic").loss, net.init(algorithm.seed, [float(np.log(yes / no))])
        inner = algorithm.inner()
        return Learner(NumpySteps(net, loss, inner, params, net.init_buffers(), inner.init_state(net.n_params)))

    def copy(self) -> Learner:
        s = self.steps
        return Learner(NumpySteps(s.net, s.loss, s.optimizer, s.params.copy(), s.buffers.copy(), s.inner.copy()),
                       self.taken)  # fmt: skip

    def epoch(self, algorithm: MLP, blocks: Sequence[Block], epoch: int, first_t: int = 0) -> float:
        """Steps over the batches of an epoch, the optimizer's numbers counting from ``first_t``; the weight of all."""
        seen = 0.0
        for some in buffers_of(blocks, algorithm.shuffle_rows):
            x, y, weight, offset, key = joined(some)
            order = np.argsort(bits(algorithm.seed, SHUFFLES + epoch, key), kind="stable")
            for at in range(0, len(y), algorithm.batch_size):
                rows = order[at : at + algorithm.batch_size]
                inputs = Inputs(x[rows], np.empty((len(rows), 0), np.int32))
                draws = Draws(algorithm.seed, self.taken, key[rows])
                rate = algorithm.rates().rate(self.taken, 10**9)
                first_t, self.taken = first_t + 1, self.taken + 1
                self.steps.step(inputs, y[rows], weight[rows], offset[rows], draws, first_t, rate)
                seen += float(weight[rows].sum())
        return seen


def buffers_of(blocks: Sequence[Block], shuffle_rows: int) -> list[list[Block]]:
    """Runs of consecutive blocks of at least so many rows, but for the last one."""
    runs: list[list[Block]] = [[]]
    for block in blocks:
        if sum(b.n_rows for b in runs[-1]) >= shuffle_rows:
            runs.append([])
        runs[-1].append(block)
    return [run for run in runs if sum(b.n_rows for b in run)]


def joined(blocks: Sequence[Block]) -> tuple[Array, ...]:
    """x (n, p) standardised float32, y, weight, offset, row_key of all rows."""
    x = np.concatenate([((b.X - b.center) / b.scale).astype(np.float32) for b in blocks])  # type: ignore[operator]
    weight = [np.ones(b.n_rows) if b.weight is None else b.weight for b in blocks]
    offset = [np.zeros(b.n_rows) if b.offset is None else b.offset for b in blocks]
    y, key = [np.asarray(b.y) for b in blocks], [b.row_key for b in blocks]
    return x, *(np.concatenate(parts) for parts in (y, weight, offset, key))


def weighing(blocks: Sequence[Block], factor: float) -> list[Block]:
    """The same rows, every weight times a factor."""
    return [replace(b, weight=(np.ones(b.n_rows) if b.weight is None else b.weight) * factor) for b in blocks]
