"""Small data: whole commands, fits inside a process and bare rounds, beside the peers: medians of five, in turns.

    python benchmarks/small.py [--repeat 5]

13,949 rows x 12 columns of a CSV file: bike-sharing where ``../shared/data`` has it, else 14,000 rows that this script
makes.  Of whole commands both sides are processes from the shell, with their imports; the peers read with pandas.
Inside a process (``benchmarks/inside.py``) the peers fit a frame that is there, ours reads the file.  A round that
computes nothing has no peer.  Prints a table and, last, one JSON object.
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
ROOT = Path(__file__).resolve().parents[1]
BIKES = ROOT.parent / "shared/data/bike-sharing/hour_train.csv"
MRML = [sys.executable, "-m", "mrml"]
READ = "import pandas as pd; d = pd.read_csv('rows.csv'); X, y = d.drop(columns='y'), d['y']; "
XGBOOST = READ + f"import xgboost; xgboost.XGBRegressor(n_estimators={TREES}, max_depth=6, learning_rate=0.1, n_jobs=2)"
LIGHTGBM = READ + f"import lightgbm; lightgbm.LGBMRegressor(n_estimators={TREES}, n_jobs=2, verbose=-1)"
SKLEARN = READ + "from sklearn.linear_model import LogisticRegression; X, y = X[:120], y[:120] > y[:120].median(); "
SKLEARN += "LogisticRegression(max_iter=1000)"


def made(folder: Path) -> None:
    """The files of the commands: rows, 120 of them with two labels, 100 to score."""
    (_bikes if BIKES.exists() else _drawn)(folder / "rows.csv")
    lines = (folder / "rows.csv").read_text().splitlines()
    middle = statistics.median(float(line.rsplit(",", 1)[1]) for line in lines[1:121])
    (folder / "few.csv").write_text("\n".join([lines[0], *(f"{a},{float(b) > middle}" for a, b in
                                                (line.rsplit(",", 1) for line in lines[1:121]))]) + "\n")  # fmt: skip
    (folder / "hundred.csv").write_text("\n".join(lines[:101]) + "\n")


def _bikes(path: Path) -> None:
    """Rentals an hour, without what names the hour and what adds up to them."""
    lines = (line.split(",") for line in BIKES.read_text().splitlines())
    rows = [",".join([*line[2:14], line[16]]) for line in lines]
    path.write_text("\n".join([rows[0].replace("cnt", "y"), *rows[1:]]) + "\n")


def _drawn(path: Path) -> None:
    """Numbers and whole numbers, as tables of people have them."""
    import numpy as np

    rng = np.random.default_rng(7)
    x = np.column_stack([rng.integers(0, 24, (ROWS, 6)), rng.normal(size=(ROWS, 6)).round(4)])
    y = (10 * np.sin(x[:, 0] / 4) + x[:, 1] * (x[:, 6] > 0) + 3 * x[:, 7] * x[:, 8] + rng.normal(size=ROWS)).round(4)
    header = ",".join([*(f"x{j}" for j in range(COLUMNS)), "y"])
    np.savetxt(path, np.column_stack([x, y]), "%.10g", ",", header=header, comments="")


def inside(*words: str) -> dict[str, float]:
    """What ``benchmarks/inside.py`` measures."""
    command = [sys.executable, "-m", "benchmarks.inside", *words]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def commands() -> dict[str, tuple[list[str], list[str], str]]:
    """Name -> ours, theirs, the bar in words."""
    train = [*MRML, "train", "boosting", "--data", "rows.csv", "--target", "y", "--output", "m", "--overwrite", "-q"]
    few = [*MRML, "train", "logistic", "--data", "few.csv", "--target", "y", "--output", "f", "--overwrite", "-q"]
    predict = [*MRML, "predict", "m", "--data", "hundred.csv", "--output", "p", "--overwrite", "-q"]
    bare = [sys.executable, "-c", "pass"]
    scripts = {"x": XGBOOST, "l": LIGHTGBM, "s": SKLEARN}
    peers = {name: [sys.executable, "-c", f"{script}.fit(X, y)"] for name, script in scripts.items()}
    return {
        "100 trees of depth 6, XGBoost": (train, peers["x"], "2.0 s"),
        "100 trees leaf by leaf, LightGBM": ([*train, "--growth", "leafwise"], peers["l"], "2.0 s"),
        "logistic, 120 rows, scikit-learn": (few, peers["s"], "0.8 s"),
        "predict 100 rows, bare Python": (predict, bare, "0.5 s"),
        "version, bare Python": ([*MRML, "version"], bare, "0.15 s more"),
    }


def whole(folder: str, repeat: int) -> dict[str, dict[str, float]]:
    """Whole commands in turns; the first turn fills caches and is left out."""
    found = {}
    for name, (ours, theirs, bar) in commands().items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeat + 1):
            for side, command in zip(seconds, (ours, theirs), strict=True):
                began = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                side.append(time.perf_counter() - began)
        found[name] = _told(name, *(statistics.median(side[1:]) for side in seconds), bar)
    return found


def within(folder: str, repeat: int) -> dict[str, dict[str, float]]:
    """Fits inside a process, and rounds that compute nothing."""
    found = {}
    for name, growth in (("fit, depth 6, XGBoost", "depthwise"), ("fit, leaf by leaf, LightGBM", "leafwise")):
        took = inside(growth, f"{folder}/rows.csv", str(repeat))
        found[name] = _told(name, took["ours"], took["theirs"], "8 times theirs")
    for engine, bar in (("inline", "0.3 ms"), ("local", "1 ms")):
        name = f"idle round, 1,000 trees, {engine}"
        found[name] = inside("rounds", engine)
        print(f"{name:36}{found[name]['ms']:5.2f} ms{'':18}  {bar}")
    return found


def _told(name: str, ours: float, theirs: float, bar: str) -> dict[str, float]:
    print(f"{name:36}{ours:8.2f}{theirs:10.2f}{ours / theirs:8.2f}  {bar}")
    return {"ours": ours, "theirs": theirs, "ratio": ours / theirs}


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder))
        print(f"{'':36}{'ours s':>8}{'theirs s':>10}{'ratio':>8}  bar")
        found = {**whole(folder, repeat), **within(folder, repeat)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
