"""What goes on inside a process: fits beside the peers' own, and rounds that compute nothing.

    python -m benchmarks.inside depthwise ROWS.csv 5    seconds of ours and of XGBoost's, medians of five in turns
    python -m benchmarks.inside leafwise ROWS.csv 5     the same beside LightGBM
    python -m benchmarks.inside rounds local            milliseconds of a round with 1,000 trees in the State

Prints one JSON object.  The first fit of each side is left out: it loads what the others find loaded.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mrml import pin
from mrml.algorithm import Algorithm, State
from mrml.data.block import Block
from mrml.model import Model
from mrml.params import param
from mrml.schema import Schema
from mrml.statistic import Counts, Into, Statistic

TREES, NODES, ROUNDS = 1000, 63, 1000


def fits(growth: str, rows: str, repeat: int) -> dict[str, float]:
    """Seconds of a fit on a file and of the peer's on a frame of the same rows, in a process as a user has it."""
    import pandas as pd

    import mrml

    table = pd.read_csv(rows)
    x, y = table.drop(columns="y"), table["y"]

    def theirs() -> None:
        if growth == "depthwise":
            import xgboost

            xgboost.XGBRegressor(n_estimators=100, max_depth=6, learning_rate=0.1, n_jobs=2).fit(x, y)
        else:
            import lightgbm

            lightgbm.LGBMRegressor(n_estimators=100, n_jobs=2, verbose=-1).fit(x, y)

    def ours() -> None:
        mrml.Boosting(growth=growth).fit(rows, target="y")

    seconds = {work.__name__: [_seconds(work)] for work in (ours, theirs)}
    for _ in range(repeat):
        for work in (ours, theirs):
            seconds[work.__name__].append(_seconds(work))
    return {name: statistics.median(took[1:]) for name, took in seconds.items()}


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass(frozen=True)
class Idle(Algorithm):
    """Counts rows, and carries trees along."""

    rounds: int = param(ROUNDS, "how many it takes", low=1)

    def init(self, schema: Schema) -> State:
        import numpy as np

        from mrml.algorithms.trees import ensemble
        from mrml.algorithms.trees.growth import TREE_NODE

        nodes = np.zeros(TREES * NODES, TREE_NODE)
        nodes["value"] = np.arange(len(nodes))
        return State({**ensemble.of(nodes, np.full(TREES, NODES)), "n": 0})

    def statistic(self, state: State, key: str) -> Statistic:
        return Counts(n=0)

    def map(self, state: State, block: Block, into: Into) -> None:
        into["n"].add(n=block.n_rows)  # type: ignore[attr-defined]

    def update(self, state: State, values: Any) -> State:
        return state.next("done" if state.round + 1 >= self.rounds else None, n=int(values["n"]["n"]))

    def model(self, state: State, schema: Schema) -> Model:
        return None  # type: ignore[return-value]


def rounds(engine: str) -> dict[str, float]:
    """Milliseconds of a round, checkpoints included, without the first ten."""
    from benchmarks.inside import Idle as Named  # a worker looks for it by this name
    from mrml import names
    from mrml.config.sections import DataConfig, EngineConfig
    from mrml.data.open import open_dataset
    from mrml.runs.directory import CHECKPOINT_S
    from mrml.runs.fit import Checkpoint, fit
    from mrml.runs.setup import engine_of

    names.allow("benchmarks.inside")
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/rows.csv", "w") as file:
            file.write("x,y\n" + "1,2\n" * 1000)
        dataset = open_dataset(DataConfig(data=(file.name,), target="y"))
        with engine_of(EngineConfig(engine=engine), 64 << 20) as running:
            checkpoint = Checkpoint(f"{folder}/states", every_s=CHECKPOINT_S)
            fit(Named(), dataset, running, checkpoint, lambda state: times.append(time.perf_counter()))
    return {"ms": 1000 * (times[-1] - times[10]) / (len(times) - 11)}


def main() -> None:
    """Measure what the command line names."""
    if sys.argv[1] == "rounds":
        if not pin.pinned():  # as the command computes
            os.execve(sys.executable, [sys.executable, "-m", "benchmarks.inside", *sys.argv[1:]], pin.environment())
        print(json.dumps(rounds(sys.argv[2])))
    else:
        print(json.dumps(fits(sys.argv[1], sys.argv[2], int(sys.argv[3]))))


if __name__ == "__main__":
    main()
