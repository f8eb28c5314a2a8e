"""One epoch of a network 28-128-64-1 over d1 in batches of 1,024, beside scikit-learn's MLPClassifier.

The functions are measured by :mod:`benchmarks.peers`, each in a process of its own.  ``seconds`` are those of the
epoch: scikit-learn's ``fit`` of standardised float32 rows in memory with two BLAS threads (which wait for each other
where anything else runs: 59 s instead of 4 on two busy cores), and the round of two shards on two workers of one thread
each, which standardises the decoded blocks as it goes.  ``whole`` has the reading too, and on our side the workers'
start, the round of the transforms and the checkpoints.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.trees import _rows

HIDDEN, BATCH = (128, 64), 1024


def mrml_mlp(folder: Path) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    from mrml.algorithm import State
    from mrml.config.sections import DataConfig, EngineConfig, RunConfig
    from mrml.runs import setup
    from mrml.runs import train as run
    from mrml.runs.fit import Checkpoint, fit

    params = {"hidden": HIDDEN, "batch_size": BATCH, "epochs": 1, "shards": 2, "learning_rate": 0.002}
    data = DataConfig(data=(str(folder / "d1/train"),), target="label")
    config = RunConfig("mlp", params, data, EngineConfig(workers=2), "unused")
    at: list[float] = []

    def told(state: State) -> None:
        at.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        with setup.engine_of(config.engine, data.split_bytes) as engine:
            dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
            model, state = fit(pipeline, dataset, engine, Checkpoint(scratch), told)
            whole = time.perf_counter() - began
    test = run.scoring_config(model, DataConfig(data=(str(folder / "d1/test"),)), ("feature", "target"))  # type: ignore[arg-type]
    blocks = [b for split in test.splits(1 << 30) for part in split for b in test.read(part)]
    scores = [(y, p) for b in blocks for y, p in zip(b.y, model.predict(b).probability[:, 1], strict=True)]  # type: ignore[arg-type, index]
    auc = float(roc_auc_score(*zip(*scores, strict=True)))
    return {"seconds": at[1] - at[0], "whole": whole, "auc": auc, "steps": state["inner"]["params"]["steps"] * 2}


def sklearn_mlp(folder: Path) -> dict[str, Any]:
    import warnings

    from sklearn.metrics import roc_auc_score
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    began = time.perf_counter()
    x, y = _rows(folder, "train")
    scaler = StandardScaler()
    x = scaler.fit_transform(x)
    loaded = time.perf_counter()
    model = MLPClassifier(HIDDEN, batch_size=BATCH, max_iter=1, alpha=0.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge
        model.fit(x, y)
    ended = time.perf_counter()
    test, labels = _rows(folder, "test")
    auc = float(roc_auc_score(labels, model.predict_proba(scaler.transform(test))[:, 1]))
    return {"seconds": ended - loaded, "whole": ended - began, "auc": auc}
