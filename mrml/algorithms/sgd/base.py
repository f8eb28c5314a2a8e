"""Stochastic gradient descent by local steps and averaged rounds, or by one global batch a round.

*Local steps* (``sync_every`` epoch, or a number of steps): every shard (a fixed run of training Blocks, see
:mod:`mrml.data.shards`) starts from the broadcast State, takes its steps over batches of its own rows, and sends up
the difference of its parameters, weighted by the rows that it saw; the merge tree averages, and the outer step
(:mod:`mrml.algorithms.sgd.outer`) moves the State.  *Synchronous* (``sync_every`` 1): a round is one batch of rows
drawn from all Blocks, whose gradients are added up, and the optimizer's step is the driver's.

What the inner optimizer has gathered (momentum and the like) is by ``inner_state`` averaged as the parameters are,
started anew at every meeting, or kept by each shard; its count of steps is the shard's own, and starts anew with it.
Running moments of batch norm are pooled at the meeting: their weighted means.  A batch is normalised by its own rows,
in a global batch by those of a Block ("ghost batches").

With validation rows the loss of the State that was broadcast is measured in the same pass, once an epoch, and the best
State is the model's.
"""

from __future__ import annotations

import math
import re
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import State
from mrml.algorithms.objectives.base import Objective
from mrml.algorithms.objectives.table import objective_of
from mrml.algorithms.sgd import outer as sgd_outer
from mrml.algorithms.sgd.averaging import Averaging
from mrml.algorithms.sgd.rows import Cursor
from mrml.algorithms.sgd.statistics import GradientSum, Learned
from mrml.algorithms.sgd.task import Task
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard
from mrml.errors import ConfigError, InputError
from mrml.kernels.narrow import FORMS
from mrml.kernels.net.describe import Net
from mrml.kernels.net.kernel import KERNELS, PRECISIONS, Computes, Kernel, Network, chosen
from mrml.kernels.net.optimizers import STATES, Optimizer, Schedule
from mrml.params import param
from mrml.schema import Design, Schema
from mrml.statistic import Into, Statistic, Sums

LOSSES = (
    "auto", "squared", "logistic", "softmax", "poisson", "gamma", "tweedie", "huber", "quantile", "absolute"
)  # fmt: skip
#: links whose raw prediction is the logarithm of the mean
_LOG = ("poisson", "gamma", "tweedie")


@dataclass(frozen=True)
class SGD(Averaging):
    """What all models that learn by SGD have in common."""

    loss: str = param("auto", f"{', '.join(LOSSES)}; auto: logistic for two classes, softmax for more, else squared",
                      choices=LOSSES)  # fmt: skip
    epochs: int = param(10, "passes over the training rows", low=1)
    batch_size: int = param(256, "rows per optimizer step", low=1)
    sync_every: str = param("epoch", "average shards every epoch, or every N steps; 1: synchronous SGD over all rows")
    shards: int = param(1, "parts of the rows trained apart and averaged; changes the model", low=1)
    shuffle_rows: int = param(65536, "size of the shuffle buffer, in rows", low=1)
    optimizer: str = param("adam", "optimizer", choices=tuple(STATES))
    learning_rate: float = param(1e-3, "learning rate", low=0.0)
    schedule: str = param("constant", "learning rate schedule", choices=("constant", "step", "inverse", "cosine"))
    warmup_steps: int = param(0, "steps over which the learning rate rises from 0", low=0)
    decay: float = param(0.1, "decay of the learning rate: factor (step), or rate per step (inverse)", low=0.0)
    decay_every: int = param(1000, "schedule step: steps between two decays", low=1)
    momentum: float = param(0.9, "momentum of the optimizers momentum and nesterov", low=0.0, high=1.0)
    beta1: float = param(0.9, "adam, adamw: decay of the first moment", low=0.0, high=1.0)
    beta2: float = param(0.999, "adam, adamw: decay of the second moment", low=0.0, high=1.0)
    weight_decay: float = param(0.0, "weight decay: an L2 penalty; with adamw decoupled from the gradient", low=0.0)
    clip_norm: float = param(0.0, "clip gradients to this norm; 0: no clipping", low=0.0)
    outer: str = param("average", "server optimizer, applied to the averaged update", choices=tuple(sgd_outer.RATES))
    outer_rate: float | None = param(None, "server learning rate; default: average 1, nesterov 0.7, adam 0.01", low=0.0)
    outer_momentum: float = param(0.9, "momentum of the server optimizer nesterov", low=0.0, high=1.0)
    inner_state: str = param("average", "optimizer state at an averaging round", choices=("average", "restart", "keep"))
    wire: str = param("float32", "number format in which parameters are sent", choices=FORMS)
    early_stopping: int = param(0, "stop after this many epochs without a better validation loss", low=0)
    huber_delta: float = param(1.0, "huber: errors above this count linearly", low=1e-9)
    quantile_alpha: float = param(0.5, "quantile to predict", low=1e-6, high=1 - 1e-6)
    tweedie_variance_power: float = param(1.5, "tweedie: power, from 1 (poisson) to 2 (gamma)", low=1, high=2)
    kernels: str = param("auto", "implementation; auto: numpy, or torch if --device is a GPU", choices=KERNELS)
    device: str = param("cpu", "cpu, cuda, cuda:1, or auto: a GPU if there is one; all but cpu need the torch extra")
    precision: str = param("float32", "precision of matrix products in torch", choices=PRECISIONS)
    compile: bool = param(False, "compile the network with torch.compile")
    seed: int = param(0, "random seed")
    init_model: str | None = param(None, "directory of a model of the same kind and shape to start from")
    standardise: bool | None = param(  # type: ignore[misc]
        None, "centre and scale the numeric columns, sparse ones are only scaled; "
        "default: unless they are sparse",
    )  # fmt: skip

    lazy: ClassVar[bool] = True
    design: ClassVar[str] = "codes"
    fewer_rounds: ClassVar[str] = "--sync-every epoch: a job an epoch; or --engine local"

    # ---- hooks

    @abstractmethod
    def net(self, design: Design, n_outputs: int) -> Network:
        """The network over a design."""

    @abstractmethod
    def begun_from(self, path: str, loss: str, net: Any, design: Design, fresh: Array) -> tuple[Array, Array]:
        """Parameters and buffers of a model to go on from, in place of the ``fresh`` ones; ConfigError for another."""

    # ---- what the hyperparameters say

    def __post_init__(self) -> None:
        every: object = self.sync_every
        if type(every) is int:  # as good as its text
            object.__setattr__(self, "sync_every", str(every))
        super().__post_init__()
        if not re.fullmatch("epoch|[1-9][0-9]*", self.sync_every):
            finding = f"{self.sync_every!r} is neither epoch nor a number of steps"
            raise ConfigError("algorithm, sync_every", finding, "say epoch, 100 or 1")
        if self.synchronous:
            for name, plain in (("shards", 1), ("outer", "average"), ("wire", "float32"), ("inner_state", "average")):
                if getattr(self, name) != plain:
                    finding = f"{getattr(self, name)!r} is of local steps, and a global batch a round has none"
                    raise ConfigError(f"algorithm, {name}", finding, "leave it out, or use --sync-every epoch")

    @property
    def target(self) -> str:  # type: ignore[override]
        """What the loss wants."""
        return "auto" if self.loss == "auto" else objective_of(self.loss).target

    @property
    def synchronous(self) -> bool:
        """Whether a round is one global batch."""
        return self.sync_every == "1"

    @property
    def steps_between(self) -> int | None:
        """Steps of a shard between two meetings; None: an epoch's."""
        return None if self.sync_every == "epoch" else int(self.sync_every)

    @property
    def computes(self) -> Computes:
        """What computes, by the hyperparameters and this machine."""
        return chosen(self.kernels, self.device, self.precision, self.compile)

    def kernel(self, computes: Computes) -> Kernel:
        """The kernel of a State; ConfigError where it is not here."""
        return computes.kernel()

    def check_here(self) -> None:
        self.kernel(self.computes)

    def network(self, values: Mapping[str, Any]) -> Network:
        """The network that a State describes."""
        return Net.from_json(values)

    def objective(self, name: str) -> Objective:
        """The objective of a resolved name."""
        return objective_of(name, vars(self))

    def inner(self) -> Optimizer:
        """The optimizer of the steps."""
        return Optimizer(self.optimizer, self.momentum, self.beta1, self.beta2,
                         weight_decay=self.weight_decay, clip_norm=self.clip_norm)  # fmt: skip

    def rates(self) -> Schedule:
        """The learning rate over a shard's steps."""
        return Schedule(self.learning_rate, self.schedule, self.warmup_steps, self.decay, self.decay_every)

    def wants_scale(self) -> bool:
        return self.standardise is not False

    def expected_rounds(self) -> int:
        return self.rounds_in_all(None, None)

    def rounds_in_all(self, state: State | None, n_rows: int | None) -> int:
        if self.sync_every == "epoch":
            return self.epochs + 1
        n_rows = state["n_rows"] if state is not None else n_rows
        return self._meetings(self._steps(n_rows or self.batch_size)) + 1

    def _steps(self, n_rows: int) -> int:
        """Steps of an epoch, of a shard where shards learn apart."""
        return max(1, math.ceil(n_rows / (self.batch_size * (1 if self.synchronous else self.shards))))

    def _meetings(self, steps_an_epoch: int) -> int:
        """Rounds of all epochs."""
        if self.steps_between is None:
            return self.epochs
        return math.ceil(self.epochs * steps_an_epoch / self.steps_between)

    def progress(self, state: State) -> dict[str, float]:
        told = {name: float(state[name]) for name in ("loss", "valid_loss") if state[name] is not None}
        devices = sorted({facts["device"] for facts in state["shards"].values() if "device" in facts})
        device: dict[str, Any] = {"device": "; ".join(devices)} if devices else {}
        return {**told, "learning_rate": float(state["rate"]), "epoch": float(state["epoch"]), **device}

    # ---- the beginning

    def init(self, schema: Schema) -> State:
        design = schema.design or Design()
        name = self._resolved(design)
        objective = self.objective(name)
        self._check(name, objective, design)
        net = self.net(design, objective.n_outputs(design))
        params, buffers = net.init(self.seed, self._bias(name, design).tolist()), net.init_buffers()
        if self.init_model:
            params, buffers = self.begun_from(self.init_model, name, net, design, params)
        n_rows = max(int(design.n_rows), 1)
        steps = self._steps(n_rows)
        empty = self.inner().init_state(net.n_params)
        kept = {"inner": empty} if self.inner_state == "keep" else {}
        shards = {} if self.synchronous else {str(i): {"cursor": list(Cursor()), **kept} for i in range(self.shards)}
        begun = {
            "net": net.to_json(),
            "computes": list(self.computes),
            "objective": name,
            "params": params,
            "buffers": buffers,
            "inner": empty if self.inner_state == "average" else empty[:0],
            "outer": sgd_outer.first(self.outer, net.n_params),
            "shards": shards,
            "n_rows": n_rows,
            "design": f"{zlib.crc32(repr(design).encode()):08x}",
            "steps": steps,
            "meetings": self._meetings(steps),
            "meeting": 0,
            "epoch": 0,
            "phase": "train",
            "measures": True,
            "has_valid": None,
            "judged": 0,
            "loss": None,
            "valid_loss": None,
            "best": None,
            "rate": self.rates().rate(0, self.epochs * steps),
        }
        return State({**begun, "sent": self._sent(begun)})

    def _resolved(self, design: Design) -> str:
        if self.loss != "auto":
            return self.loss
        return {0: "squared", 1: "logistic", 2: "logistic"}.get(len(design.classes), "softmax")

    def _check(self, name: str, objective: Objective, design: Design) -> None:
        """ConfigError or InputError where the target cannot be one of this loss."""
        wants_classes = objective.target != "numeric"
        if wants_classes and len(design.classes) < 2:
            found = f"holds only one class, {design.classes[0]!r}" if design.classes else "has no classes"
            raise InputError("target", found, "at least two are needed")
        if objective.target == "binary" and len(design.classes) > 2:
            finding = f"{name} needs a target of 2 classes, here are {len(design.classes)}"
            raise ConfigError("algorithm, loss", finding, "use --loss softmax")
        if wants_classes:
            return
        try:
            objective.check(design.target, design.classes)
        except InputError as error:  # its remedy is an option of boosting
            raise InputError(error.place, error.finding, "use squared errors, or fix the data") from None

    def _bias(self, name: str, design: Design) -> Array:
        """(n_outputs,) where the output begins: at the mean target, in link space."""
        if design.classes:
            sums = np.maximum(np.array(design.class_weight_sums, np.float64), 1e-12)
            log = np.log(sums / sums.sum())
            found: Array = log[1:] - log[:1] if name == "logistic" else log - log.mean()
            return found
        mean = float(design.target.get("mean", 0.0))
        return np.array([math.log(max(mean, 1e-12)) if name in _LOG else mean])

    # ---- the contract

    def reads(self, state: State) -> Reads:
        if state["phase"] == "check":
            return Reads(train=False)
        return Reads(valid=bool(state["measures"]), shards=0 if self.synchronous else self.shards)

    def broadcast(self, state: State) -> State:
        """Without what is the driver's: where tasks read ``sent``, that is the parameters too."""
        own = ("best", "outer") + (("params", "inner") if state["sent"] else ())
        kept = {name: None if name in own else value for name, value in state.params.items()}
        return State(kept, state.round, state.stop, state.converged)

    def statistic(self, state: State, key: str) -> Statistic:
        if key == "valid":
            return Sums(loss=0.0, weight=0.0)
        return GradientSum() if key == "gradient" else Learned()

    def map(self, state: State, block: Block, into: Into) -> None:
        task = Task.of(self, state)
        if block.part == "valid":
            task.measure(block, into["valid"])
        elif self.synchronous and state["phase"] == "train":
            task.descend(block, into["gradient"])

    def map_shard(self, state: State, shard: Shard, into: Into) -> None:
        Task.of(self, state).learn(shard, into["learned"])

    def facts(self, state: State) -> dict[str, Any]:
        """What the model tells of its training."""
        told = ("epoch", "meeting", "loss", "valid_loss")
        waived = {"identity": "waived: CUDA"} if Computes(*state["computes"]).waived else {}
        return {"rounds": state.round, "stop": state.stop, **{name: state[name] for name in told}, **waived}
