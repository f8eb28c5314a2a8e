"""What a map task does of SGD: steps of a shard between two meetings, gradients of a global batch, validation rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.objectives.base import Objective
from mrml.algorithms.sgd.rows import (
    Batch,
    Buffer,
    Cursor,
    Resident,
    buffers,
    check_rows,
    drawn,
    global_batch,
    inputs_of,
    kept_buffers,
)
from mrml.algorithms.sgd.statistics import GradientSum, Learned
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.data.shards import Shard
from mrml.errors import Diverged
from mrml.kernels.narrow import narrowed, widened
from mrml.kernels.net.describe import weight_sum
from mrml.kernels.net.kernel import Computes, Kernel, Network, Steps
from mrml.kernels.net.numpy import Draws
from mrml.kernels.net.optimizers import Optimizer, Schedule
from mrml.losses import Loss
from mrml.statistic import Statistic, Sums

#: the ``step`` of draws that round what travels up, and what travels down
UP, DOWN = 1 << 41, 1 << 42


class Learner(Protocol):
    """What a map task asks of the algorithm: :class:`mrml.algorithms.sgd.base.SGD` has it all."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def inner_state(self) -> str: ...
    @property
    def wire(self) -> str: ...
    @property
    def shuffle_rows(self) -> int: ...

    @property
    def steps_between(self) -> int | None: ...
    def network(self, values: Mapping[str, Any]) -> Network: ...
    def kernel(self, computes: Computes) -> Kernel: ...
    def objective(self, name: str) -> Objective: ...
    def inner(self) -> Optimizer: ...
    def rates(self) -> Schedule: ...


class Task:
    """A broadcast State as map tasks use it."""

    def __init__(self, algorithm: Learner, state: State) -> None:
        self.algorithm, self.state = algorithm, state
        self.net = algorithm.network(state["net"])
        self.kernel = algorithm.kernel(Computes(*state["computes"]))
        self.loss: Loss = algorithm.objective(state["objective"]).loss
        sent = state["sent"]
        self.params = widened(sent["params"]) if sent else state["params"]
        inner = widened(sent["inner"]) if sent else state["inner"]
        self.averaged = inner.reshape(-1, self.net.n_params)
        self.rates = algorithm.rates()
        self.total = algorithm.epochs * state["steps"]

    @staticmethod
    def of(algorithm: Learner, state: State) -> Task:
        """The last one is kept: every Block of a round asks for it."""
        kept = algorithm.__dict__.get("_task")
        if kept is None or kept.state.params is not state.params:
            kept = Task(algorithm, state)
            algorithm.__dict__["_task"] = kept
        found: Task = kept
        return found

    def measure(self, block: Block, sums: Statistic) -> None:
        """The loss of the rows to validate with."""
        assert isinstance(sums, Sums) and isinstance(block.y, np.ndarray)
        check_rows(block)
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        with np.errstate(over="ignore", invalid="ignore"):  # `update` refuses a loss that is no number
            raw = self.kernel.predict(self.net, self.params, self.state["buffers"], inputs_of(block))
            if block.offset is not None:
                raw = raw + block.offset[:, None]
            value = self.loss.value(block.y, raw if raw.shape[1] > 1 else raw[:, 0])
        sums.add(loss=float(value @ weight), weight=float(weight.sum()))

    def descend(self, block: Block, sums: Statistic) -> None:
        """The gradient of a Block's rows in the global batch."""
        assert isinstance(sums, GradientSum)
        check_rows(block)
        step, per_epoch = self.state["meeting"], self.state["steps"]
        rows = global_batch(block, self.algorithm.seed, step // per_epoch, step % per_epoch, per_epoch)
        if len(rows):
            batch = drawn(block, rows)
            draws = Draws(self.algorithm.seed, step, batch.row_key)
            sums.put(self.kernel.gradient(self.net, self.params, self.state["buffers"], batch.inputs, batch.y,
                                          batch.weight, batch.offset, self.loss, draws))  # fmt: skip

    def learn(self, shard: Shard, learned: Statistic) -> None:
        """The steps of a shard until the next meeting."""
        assert isinstance(learned, Learned)
        facts = self.state["shards"][str(shard.number)]
        steps = self._steps(facts)
        cursor, weight, loss, n_rows = Cursor(*facts["cursor"]), 0.0, 0.0, 0
        local, rate = cursor.step if self.algorithm.inner_state != "restart" else 0, 0.0
        for batch, after in self._batches(shard, cursor):
            rate = self.rates.rate(cursor.step, self.total)
            draws = Draws(self.algorithm.seed, cursor.step, batch.row_key)
            local += 1
            found = steps.step(batch.inputs, batch.y, batch.weight, batch.offset, draws, local, rate)
            refuse_nan(found, self.state["meeting"], f"shard {shard.number}, step {cursor.step + 1}", rate)
            weight += weight_sum(batch.y, batch.weight)
            loss, n_rows, cursor = loss + found, n_rows + batch.n_rows, after
        loss += steps.rest()
        for found in (loss, largest(steps.params)):
            refuse_nan(found, self.state["meeting"], f"shard {shard.number}, step {cursor.step}", rate)
        if self.algorithm.steps_between is None:
            cursor = Cursor(cursor.epoch + (cursor.block > 0 or cursor.batch > 0), 0, 0, cursor.step)
        self._send(shard.number, learned, steps, weight, loss, n_rows, cursor)

    def _steps(self, facts: Mapping[str, Any]) -> Steps:
        optimizer = self.algorithm.inner()
        inner = self.averaged
        if self.algorithm.inner_state == "keep":
            inner = facts["inner"]
        elif self.algorithm.inner_state == "restart":
            inner = optimizer.init_state(self.net.n_params)
        return self.kernel.steps(self.net, self.loss, optimizer, self.params, self.state["buffers"], inner)

    def _send(self, number: int, learned: Learned, steps: Steps, weight: float, loss: float, n_rows: int,
              cursor: Cursor) -> None:  # fmt: skip
        algorithm, form = self.algorithm, self.algorithm.wire
        at = UP + (self.state["meeting"] * algorithm.shards + number) * 2
        moved = (steps.params.astype(np.float64) - self.params).astype(np.float32)
        vectors = {"params": narrowed(moved, form, algorithm.seed, at)}
        if len(steps.buffers):
            vectors["buffers"] = {"float32": steps.buffers}
        if algorithm.inner_state == "average" and steps.inner.size:
            vectors["inner"] = narrowed(steps.inner.ravel(), "float32" if form == "float32" else "bf16",
                                        algorithm.seed, at + 1)  # fmt: skip
        kept: dict[str, Any] = {"inner": steps.inner} if algorithm.inner_state == "keep" else {}
        told = self.kernel.told()
        kept |= {"device": told} if told else {}
        learned.put(number, weight, loss, n_rows, vectors, {"cursor": list(cursor), **kept})

    def _buffers(self, shard: Shard, cursor: Cursor) -> Iterator[Buffer]:
        told, design = (shard, cursor, self.algorithm.shuffle_rows, self.algorithm.seed), self.state["design"]
        resident = None if self.kernel.place is None else Resident(self.kernel.place, design)
        if self.algorithm.steps_between is None:
            return buffers(*told, resident)
        return kept_buffers(*told, design, resident)

    def _batches(self, shard: Shard, cursor: Cursor) -> Iterator[tuple[Batch, Cursor]]:
        """The batches until the next meeting, each with the cursor after it; the last one may be sooner."""
        left = self.algorithm.steps_between
        left = None if left is None else min(left, self.total - cursor.step)
        epoch, size = cursor.epoch, self.algorithm.batch_size
        while True:
            n_before = cursor.step
            for buffer in self._buffers(shard, cursor):
                begin = cursor.batch if buffer.block == cursor.block else 0
                n_batches = -(-buffer.rows.n_rows // size)
                for number in range(begin, n_batches):
                    step = cursor.step + 1
                    after = Cursor(epoch, buffer.block, number + 1, step)
                    yield buffer.rows.part(slice(number * size, (number + 1) * size)), after
                    cursor = after
                    left = None if left is None else left - 1
                    if left == 0:
                        return
            began_inside = cursor.step == n_before and (cursor.block or cursor.batch)
            if left is None or (cursor.step == n_before and not began_inside):
                return  # an epoch's end; or a shard without rows
            epoch += 1
            cursor = Cursor(epoch, 0, 0, cursor.step)


def largest(params: Array) -> float:
    """The largest parameter; no number where one of them is none: the next loss would not be one either."""
    return float(np.abs(params).max())


def refuse_nan(loss: float, meeting: int, place: str, rate: float) -> None:
    """Diverged for a loss, or a parameter, that is no number; round 1 of a run fits the transforms."""
    if not math.isfinite(loss):
        finding = f"the loss is not a number at a learning rate of {rate:g}"
        remedy = "lower --learning-rate, or use --clip-norm 1; are all features finite?"
        raise Diverged(f"round {meeting + 2}, {place}", finding, remedy)
