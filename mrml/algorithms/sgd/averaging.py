"""The driver's half of SGD: what it makes of a round's gradients or differences, and when to stop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.sgd import outer as sgd_outer
from mrml.algorithms.sgd.statistics import GradientSum, Learned
from mrml.algorithms.sgd.task import DOWN, largest, refuse_nan
from mrml.errors import ConfigError
from mrml.kernels.narrow import narrowed
from mrml.kernels.net.describe import update_buffers
from mrml.kernels.net.kernel import Network
from mrml.kernels.net.optimizers import Optimizer, Schedule
from mrml.statistic import Sums


class Averaging(Algorithm):
    """The outer step; :class:`mrml.algorithms.sgd.base.SGD` has the hyperparameters and the tasks' half."""

    epochs: int
    early_stopping: int
    outer: str
    outer_rate: float | None
    outer_momentum: float
    wire: str
    seed: int

    @property
    @abstractmethod
    def synchronous(self) -> bool:
        """Whether a round is one global batch."""

    @property
    @abstractmethod
    def steps_between(self) -> int | None:
        """Steps of a shard between two averagings; None: an epoch's."""

    @abstractmethod
    def network(self, values: Mapping[str, Any]) -> Network:
        """The network that a State describes."""

    @abstractmethod
    def inner(self) -> Optimizer:
        """The optimizer of the steps."""

    @abstractmethod
    def rates(self) -> Schedule:
        """The learning rate over a shard's steps."""

    def _sent(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """What tasks start from where that is not the parameters: their narrow form, bfloat16 where that is int8.

        It is a part of the State, and so the same for every engine.
        """
        if self.wire == "float32":
            return None
        step = DOWN + 2 * params["meeting"]
        flat = {"params": params["params"], "inner": params["inner"].ravel()}
        return {name: narrowed(vector, "bf16", self.seed, step + i) for i, (name, vector) in enumerate(flat.items())}

    def to_refit(self, states: Sequence[State]) -> dict[str, Any]:
        """As many epochs as were best in the mean."""
        if not (self.early_stopping and states):
            return {}
        return {"epochs": max(round(sum(state["epoch"] for state in states) / len(states)), 1), "early_stopping": 0}

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        params = dict(state.params)
        self._judge(params, values)
        if state["phase"] == "check":
            return self._ended(state, params)
        if self.synchronous:
            self._descend(params, values["gradient"])
        else:
            self._meet(params, values["learned"])
        params["meeting"] += 1
        params["sent"] = self._sent(params)
        return self._next(state, params)

    def _judge(self, params: dict[str, Any], values: Mapping[str, Value]) -> None:
        """The loss of the State that was broadcast, on the rows to validate with; the best one is kept."""
        sums: Sums | None = values.get("valid")
        if params["has_valid"] is None:
            params["has_valid"] = sums is not None and bool(sums["weight"] > 0)
            if self.early_stopping and not params["has_valid"]:
                finding = "there are no validation rows"
                raise ConfigError("algorithm, early_stopping", finding, "name some with --valid")
        if sums is None or not params["has_valid"]:
            return
        loss = float(sums["loss"] / sums["weight"])
        refuse_nan(loss, params["meeting"], f"validation rows after epoch {params['epoch']}", params["rate"])
        params["valid_loss"], params["judged"] = loss, params["epoch"]
        if params["best"] is None or loss < params["best"]["loss"]:
            kept = {"params": params["params"], "buffers": params["buffers"]}
            params["best"] = {"loss": loss, "epoch": params["epoch"], **kept}

    def _descend(self, params: dict[str, Any], sums: GradientSum) -> None:
        """The optimizer's step by the gradient of the global batch."""
        net = self.network(params["net"])
        step, total = params["meeting"], self.epochs * params["steps"]
        params["rate"] = self.rates().rate(step, total)
        found = sums.gradient({slot.name: slot for slot in net.slots if slot.sparse})
        if found.weight > 0:
            params["loss"] = found.loss / found.weight
            refuse_nan(params["loss"], step, f"batch {step + 1}", params["rate"])
            for name in ("params", "inner", "buffers"):
                params[name] = params[name].copy()
            self.inner().step(params["params"], found.mean(), params["inner"], step + 1, params["rate"])
            refuse_nan(largest(params["params"]), step, f"batch {step + 1}", params["rate"])
            update_buffers(params["buffers"], found.moments, found.n_rows)

    def _meet(self, params: dict[str, Any], learned: Learned) -> None:
        """The outer step."""
        params["shards"] = {**params["shards"], **learned.shards}
        steps = max(facts["cursor"][3] for facts in params["shards"].values())
        params["rate"] = self.rates().rate(max(steps - 1, 0), self.epochs * params["steps"])
        if learned.weight <= 0:
            return
        params["loss"] = learned.loss / learned.weight
        mean = learned.mean()
        rate = sgd_outer.RATES[self.outer] if self.outer_rate is None else self.outer_rate
        params["params"], params["outer"] = sgd_outer.moved(
            self.outer, params["params"], mean["params"], params["outer"], rate, self.outer_momentum
        )
        if "buffers" in mean:
            params["buffers"] = mean["buffers"]
        if "inner" in mean:
            params["inner"] = mean["inner"].astype(np.float32).reshape(params["inner"].shape)

    def _next(self, state: State, params: dict[str, Any]) -> State:
        """What the next round does: more steps, a last look at the validation rows, or nothing."""
        done = (
            params["meeting"] * params["steps"]
            if self.steps_between is None
            else params["meeting"] * self.steps_between
        )
        epoch = min(done // params["steps"], self.epochs)
        params["measures"] = bool(params["has_valid"]) and epoch > params["epoch"]
        params["epoch"] = epoch
        if params["meeting"] < params["meetings"] and not self._patience_lost(params):
            return state.next(**params)
        if params["has_valid"] and params["meeting"] >= params["meetings"]:
            return state.next(**{**params, "phase": "check", "measures": True})
        return self._ended(state, params)

    def _patience_lost(self, params: Mapping[str, Any]) -> bool:
        """Whether the last epochs that were measured did not get better: between two meetings may lie several."""
        if not (self.early_stopping and params["best"]):
            return False
        return bool(params["judged"] - params["best"]["epoch"] >= self.early_stopping)

    def _ended(self, state: State, params: dict[str, Any]) -> State:
        best = params["best"]
        if best is not None:
            params |= {"params": best["params"], "buffers": best["buffers"], "valid_loss": best["loss"], "best": None}
        stop = f"all {self.epochs} epochs are done"
        if params["meeting"] < params["meetings"]:
            stop = f"the validation loss did not fall for {self.early_stopping} epochs"
        if best is not None:
            stop += f"; the best State is that after epoch {best['epoch']}"
            params["epoch"] = best["epoch"]
        return state.next(stop=stop, **params)
