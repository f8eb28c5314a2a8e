"""Ten rounds of Lloyd on the local engine with two workers; reading the data is not counted."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any


def ten_iterations(data: Path, init: Any, kernels: str) -> dict[str, Any]:
    """Seconds of ten iterations from these centres, checkpoints included."""
    from mrml.algorithms.clustering.kmeans import KMeans
    from mrml.config.sections import DataConfig, EngineConfig, RunConfig
    from mrml.runs import setup
    from mrml.runs.fit import Checkpoint, fit

    config = RunConfig("kmeans", {}, DataConfig(data=(str(data),)), EngineConfig(workers=2), "unused")
    centres = tuple(tuple(map(float, row)) for row in init)
    algorithm = KMeans(k=len(init), centres=centres, tol=0.0, max_iterations=10, kernels=kernels)
    with tempfile.TemporaryDirectory() as folder, setup.engine_of(config.engine, config.data.split_bytes) as engine:
        dataset, pipeline = setup.open_training(config, algorithm)
        # the transform round reads and keeps the blocks; one Lloyd round warms the kernels up
        fit(pipeline, dataset, engine, Checkpoint(f"{folder}/warm"), max_rounds=2)
        checkpoint = Checkpoint(f"{folder}/run")
        state = checkpoint.save(pipeline.init(dataset.schema))
        checkpoint.save(pipeline.update(state, engine.round(pipeline, state, dataset)))
        began = time.perf_counter()
        _, state = fit(pipeline, dataset, engine, checkpoint)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "rounds": state.round, "inertia": state["inner"]["params"]["inertia"]}
