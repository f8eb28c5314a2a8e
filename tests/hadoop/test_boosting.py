"""Trees grown on YARN: the bytes of the inline engine, with a task killed on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.engines.hadoop.engine import HadoopEngine
from mrml.engines.inline import InlineEngine
from mrml.fs.folder import Folder
from mrml.runs import setup
from mrml.runs.fit import Checkpoint, fit
from tests.identity import MIXED, kill_a_task_of, make_data, model_bytes

pytestmark = pytest.mark.hadoop


@pytest.mark.parametrize(
    ("growth", "trees", "uber", "kills"), [("depthwise", 2, "never", 1), ("leafwise", 1, "always", 0)]
)
def test_trees_of_depth_two_are_those_of_the_inline_engine(
    client: Cluster, tmp_path: Path, growth: str, trees: int, uber: str, kills: int
) -> None:
    make_data(tmp_path)
    data = DataConfig(window_bytes=60_000, **{**MIXED, "data": (str(tmp_path / "numbers"),)})
    params = {"objective": "logistic", "rounds": trees, "max_depth": 2, "growth": growth, "max_leaves": 4}
    config = RunConfig("boosting", params, data, output="unused")
    dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
    with InlineEngine() as engine:
        inline, _ = fit(pipeline, dataset, engine, Checkpoint(tmp_path / "inline"))
    stop = threading.Event()
    killers = [threading.Thread(target=kill_a_task_of, args=(client.folder, stop)) for _ in range(kills)]
    for killer in killers:
        killer.start()
    with HadoopEngine(EngineConfig(workers=2, uber=uber), 200_000) as engine:
        found, state = fit(pipeline, dataset, engine, Checkpoint(tmp_path / "rounds"))
        kept = {name.split(".")[1].partition("-")[0] for name in Folder(f"{engine.staging.path}/kept-0").names()}
    killed = not any(killer.is_alive() for killer in killers)
    stop.set()
    for killer in killers:
        killer.join()
    assert killed and kept == {"rows", "raw"}, "bins and raw predictions wait on HDFS for the next job"
    assert state.round == 1 + 2 * trees
    assert model_bytes(found, tmp_path / "model") == model_bytes(inline, tmp_path / "expected")
