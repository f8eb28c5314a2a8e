"""The cases and the engines of the identity test, and a child process that kills itself in the middle of a round."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State
from mrml.algorithms.evaluation.clusters import EvaluateClusters, measures_clusters
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.search.fold import without_fold
from mrml.algorithms.search.grid import Grid
from mrml.algorithms.search.parting import Parting
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.engines.inline import InlineEngine
from mrml.engines.local.engine import LocalEngine
from mrml.engines.local.serving import Peer, Serving
from mrml.engines.resident.connection import Connection
from mrml.engines.resident.engine import ResidentEngine
from mrml.engines.streaming.engine import StreamingEngine
from mrml.model import Model
from mrml.runs import setup
from mrml.runs.fit import Checkpoint, fit

WINDOW = 6000
ROWS = 4000


@dataclass(frozen=True)
class Case:
    """An algorithm on a data set, stopped after ``rounds``."""

    name: str
    algorithm: str
    params: dict[str, Any]
    data: dict[str, Any]
    rounds: int = 4
    evaluate: bool = False
    #: beside training on all rows train without each of so many folds
    folds: int = 0


NUMBERS = {"data": "numbers", "target": "number", "weight": "w", "exclude": ("count", "label", "kind", "city")}
MIXED = {"data": "numbers", "target": "label", "exclude": ("count", "number", "kind", "w")}
KINDS = {"data": "numbers", "target": "kind", "exclude": ("count", "label", "number", "w", "city")}
COUNTS = {"data": "numbers", "target": "count", "offset": "w", "exclude": ("label", "kind", "number", "city")}
SPARSE = {"data": "sparse.libsvm", "format": "libsvm"}
RANKS = {"data": "ranks.csv", "target": "relevance", "group": "query", "weight": "w"}
POINTS = {"data": "packed.csv.gz", "exclude": ("count", "label", "kind", "city", "number", "w")}

NORMED = {"hidden": (6, 3), "dropout": 0.2, "norm": "batch", "epochs": 3, "batch_size": 100}

CASES = (
    Case("linear-newton", "linear", {"solver": "newton"}, NUMBERS, 2),
    Case("linear-lbfgs", "linear", {"solver": "lbfgs"}, NUMBERS, 5),
    Case("logistic-newton", "logistic", {"solver": "newton"}, MIXED, 4),
    Case("logistic-lbfgs", "logistic", {"solver": "lbfgs"}, SPARSE, 5),
    Case("softmax-newton", "softmax", {"solver": "newton"}, KINDS, 3),
    Case("softmax-lbfgs", "softmax", {"solver": "lbfgs", "class_weight": "balanced"}, KINDS, 5),
    Case("poisson-newton", "poisson", {"solver": "newton"}, COUNTS, 3),
    Case("poisson-lbfgs", "poisson", {"solver": "lbfgs"}, COUNTS, 4),
    Case("boosting-depthwise", "boosting", {"rounds": 2, "max_depth": 3}, NUMBERS, 7),
    Case("boosting-leafwise", "boosting", {"growth": "leafwise", "objective": "logistic", "rounds": 2, "max_leaves": 7,
                                           "subsample": 0.8, "colsample_bynode": 0.7}, MIXED, 20),
    Case("boosting-softmax", "boosting", {"objective": "softmax", "rounds": 2, "max_depth": 2, "kernels": "numpy"},
         KINDS, 5),
    Case("boosting-sparse", "boosting", {"objective": "logistic", "rounds": 1,
         "max_bin": 20, "max_depth": 3}, SPARSE, 4),
    Case("boosting-quantile", "boosting", {"objective": "quantile", "quantile_alpha": 0.8, "rounds": 2, "max_depth": 2,
                                           "monotone": {"a": 1}, "growth": "leafwise"}, NUMBERS, 7),
    Case("boosting-lambdarank", "boosting", {"objective": "lambdarank", "rounds": 2, "max_depth": 2}, RANKS, 5),
    Case("boosting-custom", "boosting", {"objective": "tests.algorithms.my_losses:squared", "rounds": 2, "max_depth": 2,
                                         "metric": "rmse"}, NUMBERS, 6),
    Case("forest", "forest", {"trees": 5, "trees_per_round": 3, "max_depth": 3}, NUMBERS, 7),
    Case("forest-classes", "forest", {"objective": "gini", "trees": 3, "max_depth": 3}, KINDS, 4),
    Case("mlp-epoch", "mlp", {**NORMED, "shards": 5}, MIXED, 5),
    Case("mlp-epoch-nesterov", "mlp", {**NORMED, "shards": 3, "outer": "nesterov", "inner_state": "keep", "epochs": 2,
                                       "wire": "int8"}, KINDS, 4),
    Case("mlp-epoch-adam", "mlp", {**NORMED, "shards": 4, "outer": "adam", "wire": "bf16"}, NUMBERS, 4),
    Case("mlp-steps", "mlp", {**NORMED, "sync_every": "10", "shards": 2, "shuffle_rows": 300}, NUMBERS, 7),
    Case("mlp-steps-nesterov", "mlp", {**NORMED, "sync_every": "10", "shards": 7, "outer": "nesterov", "epochs": 5,
                                       "batch_size": 20}, MIXED, 6),
    Case("mlp-steps-adam", "mlp", {**NORMED, "sync_every": "10", "shards": 3, "outer": "adam",
                                   "inner_state": "restart"}, MIXED, 5),
    Case("mlp-global", "mlp", {**NORMED, "sync_every": "1", "batch_size": 700}, MIXED, 8),
    Case("factorization-machine", "factorization-machine", {"loss": "logistic", "sync_every": "7", "shards": 2,
                                                            "factors": 3}, SPARSE, 6),
    Case("kmeans", "kmeans", {"k": 4, "seed": 3, "seeding_rounds": 1}, POINTS, 5),
    Case("kmeans-random", "kmeans", {"k": 3, "seeding": "random", "standardise": True}, POINTS, 5),
    Case("kmeans-restarts", "kmeans", {"k": 4, "restarts": 3, "seeding_rounds": 1, "max_iterations": 3}, POINTS, 4),
    Case("pipeline", "logistic", {"solver": "lbfgs"}, {**MIXED, "hash": ("city",), "hash_bits": 6, "bins": 4}, 3),
    Case("folds-logistic", "logistic", {"solver": "lbfgs"}, MIXED, 4, folds=3),
    Case("folds-boosting", "boosting", {"objective": "logistic", "rounds": 2, "max_depth": 3}, MIXED, 7, folds=2),
    Case("evaluation-binary", "logistic", {}, MIXED, 4, evaluate=True),
    Case("evaluation-numeric", "linear", {}, NUMBERS, 4, evaluate=True),
    Case("evaluation-clusters", "kmeans", {"k": 3, "max_iterations": 2}, POINTS, 4, evaluate=True),
)  # fmt: skip
ENGINES = ("inline", "local-1", "local-2", "local-3", "resident-2", "streaming-inline", "streaming-local")
KILLS = ("none", "kill", "resume")


def make_data(folder: Path) -> None:
    """4,000 rows over at least 24 blocks of each form, in files of uneven size."""
    rng = np.random.default_rng(11)
    x = rng.normal([5.0, 2000.0, 0.0, -1.0], [1.0, 30.0, 2.0, 0.5], (ROWS, 4))
    score = x[:, 0] - 5 + (x[:, 1] - 2000) / 30 - x[:, 2] / 2
    label = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-score)), "yes", "no")
    kind = np.clip(np.round(score + rng.normal(0, 1, ROWS)), -1, 1).astype(int)
    count = rng.poisson(np.exp(0.2 * score))
    city = rng.choice(["oslo", "rome", "paris", "bonn", ""], ROWS)
    weight = rng.uniform(0.1, 0.3, ROWS)
    texts = np.where(rng.random((ROWS, 4)) < 0.03, "NA", np.char.mod("%.17g", x))
    header = "a,b,c,d,number,label,kind,count,city,w"
    lines = [f"{','.join(t)},{s:.17g},{y},{k},{n},{c},{w:.17g}"
             for t, s, y, k, n, c, w in zip(texts, score, label, kind, count, city, weight, strict=True)]  # fmt: skip
    (folder / "numbers").mkdir()
    for name, part in (("p0.csv", lines[:700]), ("p1.csv", lines[700:720]), ("p2.csv", lines[720:])):
        (folder / "numbers" / name).write_text("\n".join([header, *part]) + "\n")
    plain = np.char.mod("%.9g", x)
    rows = [",".join(p) + "," + line.split(",", 4)[4] for p, line in zip(plain, lines, strict=True)]
    (folder / "packed.csv.gz").write_bytes(gzip.compress("\n".join([header, *rows]).encode(), mtime=0))
    relevance, query = np.clip(np.round(score), 0, 3).astype(int), np.arange(ROWS) // 7
    ranks = [f"{a},{b},{r},{q},{w:.17g}"
             for (a, b, *_), r, q, w in zip(texts, relevance, query, weight, strict=True)]  # fmt: skip
    (folder / "ranks.csv").write_text("\n".join(["a,b,relevance,query,w", *ranks]) + "\n")
    svm = [f"{int(y == 'yes')} " + " ".join(f"{j + 1}:{v:.6g}" for j, v in enumerate(r) if (i + j) % 3)
           for i, (y, r) in enumerate(zip(label, np.repeat(x, 3, axis=1), strict=True))]  # fmt: skip
    (folder / "sparse.libsvm").write_text("\n".join(svm) + "\n")


def prepare(case: Case, folder: Path) -> tuple[Dataset, Algorithm]:
    """The Dataset and the pipeline of a case."""
    data = {**case.data, "data": (str(folder / case.data["data"]),)}
    config = RunConfig(case.algorithm, case.params, DataConfig(window_bytes=WINDOW, **data), output="unused")
    dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
    members = [without_fold(pipeline, k, Parting(case.folds, "class")) for k in range(case.folds)]
    return dataset, Grid((pipeline, *members)) if members else pipeline


class Killing(Serving):
    """Kills the worker of a split just after it got it, once."""

    victim: int | None = None

    def _start(self, peer: Peer, op: str, tasks: list[int], collect: bool = False) -> bool:
        started = super()._start(peer, op, tasks, collect)
        if self.victim in tasks:
            self.victim = None
            os.kill(peer.facts["pid"] if isinstance(peer, Connection) else peer.child.pid, signal.SIGKILL)  # type: ignore
        return started


class KillingLocal(Killing, LocalEngine):
    """Worker processes, one of which dies."""


class KillingResident(Killing, ResidentEngine):
    """Tasks that stay, but for one."""


def kill_a_task_of(folder: Path, stop: threading.Event) -> None:
    """Wait for a map task of the job below ``folder`` and kill it."""
    while not stop.is_set():
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                mine = b"--mapper" in words and str(folder).encode() in os.readlink(entry / "cwd").encode()
            except OSError:
                continue
            if mine:
                os.kill(int(entry.name), signal.SIGKILL)
                return
        time.sleep(0.003)


def engine_for(name: str, split_bytes: int) -> Engine:
    kind, _, detail = name.partition("-")
    if kind == "inline":
        return InlineEngine(split_bytes)
    if kind == "local":
        return KillingLocal(int(detail), split_bytes)
    if kind == "resident":
        return KillingResident(EngineConfig(engine="resident", workers=int(detail)), split_bytes)
    return StreamingEngine(detail, 2, split_bytes)


@dataclass
class Run:
    """One way of running a case."""

    case: Case
    engine: Engine
    folder: Path
    on_round: Callable[[State], None] | None = None
    checkpoint: Path = field(default=Path())
    #: seconds between checkpoints; where not every State is one, rounds may go in one go
    every_s: float = 0.0

    def train(self, rounds: int) -> Model:
        dataset, pipeline = prepare(self.case, self.folder)
        checkpoint = Checkpoint(self.checkpoint, every_s=self.every_s)
        model, _ = fit(pipeline, dataset, self.engine, checkpoint, self.on_round, rounds)
        if not self.case.evaluate:
            return model
        measure = EvaluateClusters(scorer=model) if measures_clusters(model) else Evaluate(scorer=model)
        return fit(measure, dataset, self.engine, Checkpoint(self.checkpoint / "evaluation"))[0]


def model_bytes(model: Model, folder: Path) -> bytes:
    """Both files of a model, as they lie on disk."""
    folder.mkdir()
    model.save(folder)
    return (folder / "model.json").read_bytes() + (folder / "model.npz").read_bytes()


def suicide(arguments: dict[str, Any]) -> None:
    """Train in this process and end it with SIGKILL while a round of the case is under way."""
    case = next(c for c in CASES if c.name == arguments["case"])
    engine = engine_for(arguments["engine"], arguments["split_bytes"])
    seen = 0
    shuffle = (
        "mrml.engines.inline.map_split" if arguments["engine"] == "inline" else "mrml.engines.streaming.job.map_split"
    )
    module_name, name = shuffle.rsplit(".", 1)
    __import__(module_name)
    module = sys.modules[module_name]
    genuine = getattr(module, name)

    def deadly(*args: Any) -> Any:
        nonlocal seen
        state = args[1]
        report = genuine(*args)
        seen += state.round == arguments["round"]
        if seen == 2 or state.round > arguments["round"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return report

    setattr(module, name, deadly)
    Run(case, engine, Path(arguments["folder"]), checkpoint=Path(arguments["checkpoint"])).train(case.rounds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    suicide(json.loads(sys.argv[1]))
