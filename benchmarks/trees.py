"""Trees beside their peers on d1, two threads each; reading the Parquet parts and binning are included.

The functions are measured by :mod:`benchmarks.peers`, each in a process of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 100
SAMPLE_ROWS = 200_000
#: of a forest: trees, their depth, and the shares of rows (a bootstrap's) and, by node, of columns that a tree sees
TREES, DEPTH, ROWS_SEEN, COLUMNS_SEEN = 20, 8, 0.632, 28**-0.5


def _ours(folder: Path, name: str, params: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Seconds of a run, the start of its workers and its checkpoints included; and the model."""
    from mrml.config.sections import DataConfig, EngineConfig, RunConfig
    from mrml.runs import setup
    from mrml.runs.directory import CHECKPOINT_S
    from mrml.runs.fit import Checkpoint, fit

    data = DataConfig(data=(str(folder / "d1/train"),), target="label")
    config = RunConfig(name, params, data, EngineConfig(workers=2), "unused")
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        with setup.engine_of(config.engine, data.split_bytes) as engine:
            dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
            model, state = fit(pipeline, dataset, engine, Checkpoint(scratch, every_s=CHECKPOINT_S))
            seconds = time.perf_counter() - began
    return {"seconds": seconds, "rounds": state.round, "auc": _auc(folder, model)}, model


def _auc(folder: Path, model: Any) -> float:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    x, y = _rows(folder, "test")
    raw = model.inner.trees.raw_prediction(x, model.inner.base)
    return float(roc_auc_score(y, raw[-1] if len(raw) == 1 else np.asarray(raw[1])))


def _rows(folder: Path, part: str) -> tuple[Any, Any]:
    """The float32 matrix and the labels of the Parquet parts."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "d1" / part)
    x = np.empty((table.num_rows, table.num_columns - 1), np.float32)
    for j in range(1, table.num_columns):
        x[:, j - 1] = table.column(j).to_numpy()
    return x, table["label"].to_numpy()


def mrml_boosting(folder: Path) -> dict[str, Any]:
    return _ours(folder, "boosting", {"objective": "logistic", "rounds": ROUNDS})[0]


def mrml_leafwise(folder: Path) -> dict[str, Any]:
    return _ours(folder, "boosting", {"objective": "logistic", "rounds": ROUNDS, "growth": "leafwise"})[0]


def mrml_forest(folder: Path) -> dict[str, Any]:
    params = {"objective": "gini", "trees": TREES, "trees_per_round": TREES, "max_depth": DEPTH}
    return _ours(folder, "forest", params)[0]


#: XGBoost's and LightGBM's trees of those settings
_DEEP = {"tree_method": "hist", "max_depth": 6, "eta": 0.1, "max_bin": 256, "nthread": 2,
         "objective": "binary:logistic"}  # fmt: skip
_WIDE = {"objective": "binary", "num_leaves": 31, "learning_rate": 0.1, "max_bin": 255, "num_threads": 2,
         "verbosity": -1}  # fmt: skip


def _xgboost(folder: Path, params: dict[str, Any], rounds: int) -> tuple[float, Any, Any]:
    import xgboost

    began = time.perf_counter()
    x, y = _rows(folder, "train")
    booster = xgboost.train(params, xgboost.DMatrix(x, y, nthread=2), rounds)
    return time.perf_counter() - began, booster, x


def _judged(folder: Path, seconds: float, predict: Callable[[Any], Any]) -> dict[str, Any]:
    """Seconds of a peer, and how good it is."""
    from sklearn.metrics import roc_auc_score

    x, y = _rows(folder, "test")
    return {"seconds": seconds, "auc": float(roc_auc_score(y, predict(x)))}


def _by_xgboost(folder: Path, params: dict[str, Any], rounds: int) -> dict[str, Any]:
    seconds, booster, _ = _xgboost(folder, params, rounds)
    return _judged(folder, seconds, booster.inplace_predict)


def _by_lightgbm(folder: Path, params: dict[str, Any], rounds: int) -> dict[str, Any]:
    import lightgbm

    began = time.perf_counter()
    booster = lightgbm.train(params, lightgbm.Dataset(*_rows(folder, "train")), rounds)
    return _judged(folder, time.perf_counter() - began, booster.predict)


def xgboost_hist(folder: Path) -> dict[str, Any]:
    return _by_xgboost(folder, _DEEP, ROUNDS)


def lightgbm_leaves(folder: Path) -> dict[str, Any]:
    return _by_lightgbm(folder, _WIDE, ROUNDS)


def sklearn_forest(folder: Path) -> dict[str, Any]:
    """On a tenth of the rows, times ten: all of them take it minutes, and it is linear and a bit in rows."""
    from sklearn.ensemble import RandomForestClassifier

    began = time.perf_counter()
    x, y = _rows(folder, "train")
    loaded = time.perf_counter()
    RandomForestClassifier(TREES, max_depth=DEPTH, n_jobs=2, random_state=0).fit(x[:SAMPLE_ROWS], y[:SAMPLE_ROWS])
    part = time.perf_counter() - loaded
    return {"seconds": loaded - began + part * len(y) / SAMPLE_ROWS, "measured_rows": SAMPLE_ROWS}


def xgboost_forest(folder: Path) -> dict[str, Any]:
    """XGBoost's own random forest: parallel trees of one iteration, each on a share of the rows."""
    params = {**_DEEP, "max_depth": DEPTH, "eta": 1.0, "lambda": 1e-5, "num_parallel_tree": TREES,
              "subsample": ROWS_SEEN, "colsample_bynode": COLUMNS_SEEN}  # fmt: skip
    return _by_xgboost(folder, params, 1)


def lightgbm_forest(folder: Path) -> dict[str, Any]:
    """LightGBM's own random forest, ``boosting=rf``; trees of as many leaves as that depth may have."""
    params = {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": ROWS_SEEN,
              "feature_fraction_bynode": COLUMNS_SEEN, "num_leaves": 2**DEPTH, "max_depth": DEPTH,
              "min_data_in_leaf": 1, "max_bin": 255, "num_threads": 2, "verbosity": -1}  # fmt: skip
    return _by_lightgbm(folder, params, TREES)


def mrml_scoring(folder: Path) -> dict[str, Any]:
    """Raw predictions of 2,000,000 rows in memory by 10 trees, ten times, on one thread."""
    import numpy as np
    import xgboost  # noqa: F401 - so that both processes hold the same libraries

    from mrml.kernels.trees import numba as trees_fast

    trees_fast.prewarm()
    params = {"objective": "logistic", "rounds": 10}
    _, model = _ours(folder, "boosting", params)
    x, _ = _rows(folder, "train")
    began = time.perf_counter()
    for _ in range(10):
        model.inner.trees.raw_prediction(x, np.zeros(1))
    return {"seconds": time.perf_counter() - began}


def xgboost_scoring(folder: Path) -> dict[str, Any]:
    """The same by XGBoost, on one thread."""
    _, booster, x = _xgboost(folder, _DEEP, 10)
    booster.set_param({"nthread": 1})
    began = time.perf_counter()
    for _ in range(10):
        booster.inplace_predict(x, predict_type="margin")
    return {"seconds": time.perf_counter() - began}
