"""What a State keeps of finished trees: in chunks, as it was in one piece, and at a cost that does not grow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml import wire
from mrml.algorithm import Algorithm, State
from mrml.algorithms.trees import ensemble, growth
from mrml.algorithms.trees.growth import TREE_NODE
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.engines.inline import InlineEngine
from mrml.engines.local.serving import Known
from mrml.runs.fit import Checkpoint, fit
from mrml.runs.setup import algorithm_of, open_training


def some_trees(seed: int, sizes: list[int]) -> list[Any]:
    rng, out = np.random.default_rng(seed), []
    for size in sizes:
        nodes = np.zeros(size, TREE_NODE)
        for name in ("feature", "bin", "left", "rows"):
            nodes[name] = rng.integers(-1, 9, size)
        for name in ("value", "gain", "cover"):
            nodes[name] = rng.normal(size=size)
        if seed % 2:
            nodes["categories"][rng.integers(size)] = rng.integers(0, 9, 8)
        out.append(nodes)
    return out


@given(st.integers(0, 9), st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=40), max_size=6), st.booleans())
def test_trees_come_out_as_they_went_in(seed: int, batches: list[list[int]], old: bool) -> None:
    """Also behind those of a State that has one array a field."""
    begun = some_trees(seed, [3, 1]) if old else []
    params: dict[str, Any] = ensemble.empty()
    if old:
        sizes = np.array([3, 1], np.int32)
        params = {"trees": growth.to_wire(np.concatenate(begun)), "sizes": sizes, "history": [[0.5, None], [0.25, 1.0]]}
    whole = list(begun)
    for number, batch in enumerate(batches):
        done = some_trees(seed + number, batch)
        params = {"history": params["history"], **ensemble.with_trees(params, done)}
        params["history"] = ensemble.with_losses(params, number / 3, None)
        params, whole = wire.read_only(params), whole + done
    nodes, counts = ensemble.nodes_and_sizes(params)
    assert nodes.tobytes() == b"".join(t.tobytes() for t in whole) and counts.tolist() == [len(t) for t in whole]
    for number, tree in enumerate(whole):
        found = ensemble.tree(ensemble.routes(params), number)
        for name in ("feature", "bin", "missing_left", "categories", "left", "value"):
            assert found[name].tobytes() == tree[name].tobytes()
    told: list[list[float | None]] = [[number / 3, None] for number in range(len(batches))]
    assert ensemble.losses(params) == ([[0.5, None], [0.25, 1.0]] if old else []) + told


def calls(work: Callable[[], Any]) -> tuple[Any, int]:
    """What it returns, and how many functions it called."""
    n = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal n
        n += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return work(), n
    finally:
        sys.setprofile(before)


class Counting(InlineEngine):
    """Counts what it costs to tell workers of a State."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: dict[int, list[int]] = {}
        self.older: Known | None = None

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Any]:
        def tell() -> Known:
            message = {"op": "state", "state": algorithm.broadcast(state).to_wire()}
            return Known(message, state.round, self.older)

        self.older, n = calls(tell)
        self.costs[state.round] = [n, len(self.older.change)]
        return super().round(algorithm, state, dataset)


class CountingCheckpoint(Checkpoint):
    """Counts what it costs to keep a State."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, every_s=1e9)
        self.costs: dict[int, int] = {}

    def save(self, state: State, last: bool = False) -> State:
        kept, self.costs[state.round] = calls(lambda: super(CountingCheckpoint, self).save(state, last))
        return kept


@pytest.mark.parametrize("growth", ["depthwise", "leafwise"])
def test_the_cost_of_a_round_does_not_depend_on_how_many_went_before(growth: str, tmp_path: Path) -> None:
    """1,000 trees: functions called and bytes sent by rounds at the same place of a chunk."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 2))
    lines = [f"{a:.3f},{b:.3f},{a * b:.3f}" for a, b in x.tolist()]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,y", *lines]))
    params = {"rounds": 1000, "max_depth": 1, "growth": growth, "max_leaves": 2, "min_data_in_leaf": 1}
    params["min_child_weight"] = 0.0
    data = DataConfig(data=(str(tmp_path / "rows.csv"),), target="y")
    config = RunConfig("boosting", params, data, EngineConfig(engine="inline"), str(tmp_path / "m"))
    dataset, pipeline = open_training(config, algorithm_of(config))
    checkpoint = CountingCheckpoint(tmp_path / "states")
    with Counting() as engine:
        _, state = fit(pipeline, dataset, engine, checkpoint)
    assert len(ensemble.nodes_and_sizes(state["inner"]["params"])[1]) == 1000
    per_tree = (state.round - 1) / 1000
    assert per_tree == 1.0

    def median(first: int, costs: Callable[[int], int]) -> float:
        return float(np.median([costs(first + k) for k in range(ensemble.CHUNK)]))

    early, late = 2 * ensemble.CHUNK + 2, 30 * ensemble.CHUNK + 2
    chunks = 28
    for costs, allowed in (
        # a look at each chunk of trees, of their facts and of losses: whether it is read-only, and of what
        (lambda k: checkpoint.costs[k], 4.5 * 3 * chunks),
        (lambda k: engine.costs[k][0], 4.5 * chunks),
    ):
        assert median(late, costs) - median(early, costs) <= allowed
    # a key of each chunk there is
    assert median(late, lambda k: engine.costs[k][1]) - median(early, lambda k: engine.costs[k][1]) <= 6 * chunks + 50
