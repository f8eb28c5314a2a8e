"""A search killed at random moments and submitted again each time ends with the same table and model.

    python benchmarks/killed_search.py [tpe|halving|hyperband] [--kills 50]

Runs a search once to know its table and how long it takes, then kills one with SIGKILL at random moments until it was
killed so many times in all, in as many searches as that takes.  Exits 1 where a table or a model differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("trials.parquet", "model/model.json", "model/model.npz")
RUN_FILE = """\
algorithm: {{name: boosting, objective: logistic,
  rounds: 6, learning_rate: {{log: [0.02, 0.5]}}, max_depth: {{int: [1, 4]}}}}
data: {{data: {data}, target: churned, id: id}}
search: {{method: {method}, trials: 16, folds: 3}}
engine: {{engine: inline}}
"""


def started(file: str, output: Path) -> subprocess.Popen[bytes]:
    """The search, in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "mrml", "tune", file, "--output", str(output), "-q"], cwd=ROOT,
                            stdout=subprocess.DEVNULL)  # fmt: skip


def found(output: Path) -> list[bytes]:
    """What a search leaves."""
    return [(output / name).read_bytes() for name in FILES]


def killed_until_done(file: str, output: Path, longest: float, left: int, moments: random.Random) -> tuple[int, float]:
    """A search killed at most ``left`` times, until it is done; how often, and the seconds of its last process."""
    kills = 0
    while True:
        began = time.monotonic()
        process = started(file, output)
        if kills < left:
            try:
                process.wait(moments.uniform(0.3, longest))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                if (output / "_SUCCESS").exists():  # all was in place, and only its process had not ended
                    return kills, longest
                continue
        if process.wait():
            raise SystemExit(f"mrml tune ended with exit code {process.returncode}")
        return kills, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", nargs="?", choices=("tpe", "halving", "hyperband", "random"), default="tpe")
    parser.add_argument("--kills", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tune.yaml")
        file.write_text(RUN_FILE.format(data=ROOT / "data-samples" / "churn", method=args.method))
        began = time.monotonic()
        if started(str(file), Path(folder, "whole")).wait():
            raise SystemExit("the search fails")
        took, moments, kills, searches = time.monotonic() - began, random.Random(15), 0, 0
        expected = found(Path(folder, "whole"))
        while kills < args.kills:
            output = Path(folder, f"search-{searches}")
            more, last = killed_until_done(str(file), output, took, args.kills - kills, moments)
            kills, searches = kills + more, searches + 1
            took = max(min(took, last), 1.0)  # others may need the machine less by now
            if found(output) != expected:
                raise SystemExit(f"search {searches}, after {kills} kills in all: another table or model")
    print(f"{args.method}: {searches} searches of {took:.1f} s killed {kills} times gave the same table and model")


if __name__ == "__main__":
    main()
