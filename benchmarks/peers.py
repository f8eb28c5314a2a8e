"""Speed beside the peers, in the same run: each measurement is a process of its own, ours and theirs in turns.

    MRML_BENCH_DATA=DIR python benchmarks/peers.py [newton] [lbfgs] [kmeans] ... [--repeat 3]

DIR holds ``d1`` (2,000,000 x 28 float32, binary) and ``d3`` (1,000,000 x 64, k = 50) as Parquet parts.  Start of the
process and imports are left out on both sides; ours includes starting the workers and writing checkpoints.
Prints a table and, last, one JSON object of medians and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("MRML_BENCH_DATA", "."))

#: name -> (ours, theirs, the most that ours may take of theirs)
BARS: dict[str, tuple[str, str, float]] = {
    "newton": ("mrml_newton", "sklearn_newton", 0.45),
    "lbfgs": ("mrml_lbfgs", "sklearn_newton", 0.6),
    "kmeans": ("mrml_kmeans_fast", "sklearn_kmeans", 0.9),
    "kmeans-numpy": ("mrml_kmeans_numpy", "sklearn_kmeans", 1.6),
    "streaming": ("mrml_streaming", "mrjob_by_hand", 1.2),
    "boosting": ("mrml_boosting", "xgboost_hist", 0.9),
    "leafwise": ("mrml_leafwise", "lightgbm_leaves", 0.95),
    "forest": ("mrml_forest", "sklearn_forest", 0.3),  # of a tenth of the rows, times ten
    "forest-xgboost": ("mrml_forest", "xgboost_forest", 1.0),
    "forest-lightgbm": ("mrml_forest", "lightgbm_forest", 1.0),
    "mlp": ("mrml_mlp", "sklearn_mlp", 0.7),
    "scoring": ("mrml_scoring", "xgboost_scoring", 1.5),
}


def _logistic(solver: str) -> dict[str, Any]:
    import tempfile

    from mrml.config.sections import DataConfig, EngineConfig, RunConfig
    from mrml.runs import setup
    from mrml.runs.fit import Checkpoint, fit

    params = {"solver": solver, "l2": 1e-6}
    data = DataConfig(data=(str(DATA / "d1/train"),), target="label")
    config = RunConfig("logistic", params, data, EngineConfig(workers=2), "unused")
    algorithm = setup.algorithm_of(config)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with setup.engine_of(config.engine, data.split_bytes) as engine:
            dataset, pipeline = setup.open_training(config, algorithm)
            _, state = fit(pipeline, dataset, engine, Checkpoint(folder))
            seconds = time.perf_counter() - began
    return {"seconds": seconds, "rounds": state.round, "stop": state.stop, "loss": pipeline.progress(state)["loss"]}


def mrml_newton() -> dict[str, Any]:
    return _logistic("newton")


def mrml_lbfgs() -> dict[str, Any]:
    return _logistic("lbfgs")


def sklearn_newton() -> dict[str, Any]:
    import numpy as np
    import pyarrow.parquet as pq
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    began = time.perf_counter()
    table = pq.read_table(DATA / "d1/train")
    y = table["label"].to_numpy()
    x = np.empty((table.num_rows, table.num_columns - 1), np.float32)
    for j in range(1, table.num_columns):
        x[:, j - 1] = table.column(j).to_numpy()
    loaded = time.perf_counter()
    x = StandardScaler(copy=False).fit_transform(x)
    model = LogisticRegression(C=1e6 / len(y), solver="newton-cholesky", tol=1e-6).fit(x, y)
    return {"seconds": time.perf_counter() - began, "load": loaded - began, "rounds": int(model.n_iter_[0])}


def _kmeans(kernels: str) -> dict[str, Any]:
    import numpy as np

    from benchmarks.kmeans_rounds import ten_iterations

    return ten_iterations(DATA / "d3/train", np.load(DATA / "d3/init.npy"), kernels)


def mrml_kmeans_fast() -> dict[str, Any]:
    return _kmeans("fast")


def mrml_kmeans_numpy() -> dict[str, Any]:
    return _kmeans("numpy")


def sklearn_kmeans() -> dict[str, Any]:
    import numpy as np
    from sklearn.cluster import KMeans

    x, init = np.load(DATA / "d3/train_x.npy"), np.load(DATA / "d3/init.npy")
    began = time.perf_counter()
    model = KMeans(len(init), init=init, n_init=1, max_iter=10, tol=0, algorithm="lloyd").fit(x)
    return {"seconds": time.perf_counter() - began, "inertia": float(model.inertia_)}


def mrml_streaming() -> dict[str, Any]:
    """A gradient round through mrjob -r local, two map tasks; those before it, which fit the transforms and begin
    L-BFGS, are not counted."""
    from mrml.config.sections import DataConfig, EngineConfig, RunConfig
    from mrml.runs import setup

    data = DataConfig(data=(str(DATA / "d1/train"),), target="label")
    config = RunConfig("logistic", {"solver": "lbfgs"}, data, EngineConfig(engine="streaming", workers=2), "unused")
    with setup.engine_of(config.engine, data.split_bytes) as engine:
        dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
        state = pipeline.init(dataset.schema)
        began = time.perf_counter()
        state = pipeline.update(state, engine.round(pipeline, state, dataset))
        first = time.perf_counter()
        state = pipeline.update(state, engine.round(pipeline, state, dataset))
        cold = time.perf_counter()
        engine.round(pipeline, state, dataset)
        return {"seconds": time.perf_counter() - cold, "reading_round": first - began}


def mrjob_by_hand() -> dict[str, Any]:
    from benchmarks.mrjob_by_hand import gradient_round

    began = time.perf_counter()
    gradient_round(sorted(map(str, (DATA / "d1/train").glob("*.parquet"))))
    return {"seconds": time.perf_counter() - began}


def measure(name: str) -> dict[str, Any]:
    """One measurement in a fresh process."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, __file__, "--one", name], stdout=subprocess.PIPE, check=True, env=env)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bars", nargs="*", default=list(BARS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one")
    args = parser.parse_args()
    if args.one:
        from benchmarks import nets, trees

        here: Callable[[], dict[str, Any]] | None = globals().get(args.one)
        module = nets if hasattr(nets, args.one) else trees
        print(json.dumps(here() if here else getattr(module, args.one)(DATA)))
        return
    summary = {}
    for bar in args.bars:
        ours, theirs, most = BARS[bar]
        runs = [(measure(ours), measure(theirs)) for _ in range(args.repeat)]
        mine = statistics.median(a["seconds"] for a, _ in runs)
        peer = statistics.median(b["seconds"] for _, b in runs)
        met = "met" if mine <= most * peer else "MISSED"
        print(
            f"{bar:13} {ours:18} {mine:7.2f} s   {theirs:15} {peer:7.2f} s   ratio {mine / peer:.2f} (bar {most}) {met}"
        )
        print("\n".join(f"{'':13} {found}" for found in runs[-1]), flush=True)
        summary[bar] = {"ours_s": mine, "peer_s": peer, "ratio": mine / peer, "bar": most}
    print(json.dumps(summary))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if "--one" in sys.argv and "mrml" in sys.argv[-1]:
        from mrml import pin

        pin.pin()  # before NumPy loads
    main()
