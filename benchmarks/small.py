"""Whole commands on small data beside scripts that do the same with the peers: medians of five, in turns.

    python benchmarks/small.py [--repeat 5]

14,000 rows x 12 columns of a CSV file that this script makes.  Both sides are processes from the shell, with their
imports; the peers read with pandas.  Prints a table and, last, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS, COLUMNS, TREES = 14_000, 12, 100
MRML = [sys.executable, "-m", "mrml"]
READ = "import pandas as pd; d = pd.read_csv('rows.csv'); X, y = d.drop(columns='y'), d['y']; "
XGBOOST = READ + f"import xgboost; xgboost.XGBRegressor(n_estimators={TREES}, max_depth=6, learning_rate=0.1, n_jobs=2)"
LIGHTGBM = READ + f"import lightgbm; lightgbm.LGBMRegressor(n_estimators={TREES}, n_jobs=2, verbose=-1)"
SKLEARN = READ + "from sklearn.linear_model import LogisticRegression; LogisticRegression().fit(X[:120], y[:120] > 0)"


def made(folder: Path) -> None:
    """Numbers and whole numbers, as tables of people have them."""
    import numpy as np

    rng = np.random.default_rng(7)
    x = np.column_stack([rng.integers(0, 24, (ROWS, 6)), rng.normal(size=(ROWS, 6)).round(4)])
    y = (10 * np.sin(x[:, 0] / 4) + x[:, 1] * (x[:, 6] > 0) + 3 * x[:, 7] * x[:, 8] + rng.normal(size=ROWS)).round(4)
    header = ",".join([*(f"x{j}" for j in range(COLUMNS)), "y"])
    np.savetxt(folder / "rows.csv", np.column_stack([x, y]), "%.10g", ",", header=header, comments="")
    lines = (folder / "rows.csv").read_text().splitlines()
    (folder / "few.csv").write_text("\n".join([lines[0], *(f"{a},{float(b) > 0}" for a, b in
                                                (line.rsplit(",", 1) for line in lines[1:121]))]) + "\n")  # fmt: skip
    (folder / "hundred.csv").write_text("\n".join(lines[:101]) + "\n")


def commands() -> dict[str, tuple[list[str], list[str], str]]:
    """Name -> ours, theirs, the bar in words."""
    train = [*MRML, "train", "boosting", "--data", "rows.csv", "--target", "y", "--output", "m", "--overwrite", "-q"]
    few = [*MRML, "train", "logistic", "--data", "few.csv", "--target", "y", "--output", "f", "--overwrite", "-q"]
    predict = [*MRML, "predict", "m", "--data", "hundred.csv", "--output", "p", "--overwrite", "-q"]
    bare = [sys.executable, "-c", "pass"]
    peers = {name: [sys.executable, "-c", f"{code}.fit(X, y)"] for name, code in (("x", XGBOOST), ("l", LIGHTGBM))}
    return {
        "100 trees of depth 6, XGBoost": (train, peers["x"], "2.0 s"),
        "100 trees leaf by leaf, LightGBM": ([*train, "--growth", "leafwise"], peers["l"], "2.0 s"),
        "logistic, 120 rows, scikit-learn": (few, [sys.executable, "-c", SKLEARN], "0.8 s"),
        "predict 100 rows, bare Python": (predict, bare, "0.5 s"),
        "version, bare Python": ([*MRML, "version"], bare, "0.15 s more"),
    }


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder))
        print(f"{'whole command':36}{'ours s':>8}{'theirs s':>10}{'ratio':>8}  bar")
        for name, (ours, theirs, bar) in commands().items():
            seconds: tuple[list[float], list[float]] = ([], [])
            for turn in range(repeat + 1):
                for side, command in zip(seconds, (ours, theirs), strict=True):
                    began = time.perf_counter()
                    subprocess.run(command, cwd=folder, check=True, capture_output=True)
                    if turn:  # the first fills caches
                        side.append(time.perf_counter() - began)
            a, b = (statistics.median(side) for side in seconds)
            print(f"{name:36}{a:8.2f}{b:10.2f}{a / b:8.2f}  {bar}")
            found[name] = {"ours": a, "theirs": b, "ratio": a / b}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
