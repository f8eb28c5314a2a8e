"""Three nights of ``mrml run`` over rows that are made here: python benchmarks/nightly.py ROOT [--conf FILE].

Night 1 trains and goes into service.  On night 2 the customers are other ones, and what is learned of them does worse
on the rows that are held out: the gate refuses it.  Night 3 is killed in the middle of its training, run again, and
goes into service.  Prints one JSON object: the exit code of each run, and what it told.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mrml.fs.folder import Folder

CONF = Path(__file__).parents[1] / "conf" / "nightly" / "demo.yaml"
MRML = [sys.executable, "-m", "mrml"]
NIGHTS = ("2026-11-20", "2026-11-21", "2026-11-22")
PLANS = np.array(["basic", "plus", "family"])


def rows(n: int, seed: int, others: bool = False) -> bytes:
    """CSV of customers; ``others`` are older, and leave for other reasons."""
    rng = np.random.default_rng(seed)
    age = rng.normal(55 if others else 40, 12, n).clip(18, 95).round()
    visits = rng.poisson(4, n)
    plan = rng.integers(0, 3, n)
    pull = (0.08 * (age - 55) if others else -0.35 * (visits - 4) + 0.9 * (plan == 0) - 0.4) + rng.logistic(size=n)
    left = np.where(pull > 0, "yes", "no")
    lines = zip(range(n), age.astype(int), visits, PLANS[plan], left, strict=True)
    return "\n".join(["customer,age,visits,plan,left", *(",".join(map(str, line)) for line in lines)]).encode() + b"\n"


def put(root: str) -> None:
    """The rows of the nights, and those held out."""
    parts = {f"rows/ds={ds}": rows(4000, seed, others=seed == 1) for seed, ds in enumerate(NIGHTS)}
    for name, content in {**parts, "holdout": rows(4000, 9)}.items():
        folder = Folder(f"{root}/{name}")
        folder.make()
        folder.write("part-00000.csv", content)
        folder.write("_SUCCESS", b"")


def night(root: str, conf: str, ds: str, kill: bool = False) -> dict[str, Any]:
    """One run; with ``kill`` it is gone, as by SIGKILL, when a tenth of its trees are there."""
    words = [*MRML, "run", conf, f"--set=root={root}", f"--set=ds={ds}", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None and process.stdout is not None
        said = []
        for line in process.stderr:
            print(f"  {ds}  {line.rstrip()}", file=sys.stderr, flush=True)
            said.append(line)
            if kill and line.startswith("tree "):
                process.kill()
        told = process.stdout.read()
    code = 128 + signal.SIGKILL if process.returncode == -signal.SIGKILL else process.returncode
    return {"night": ds, "code": code, **({} if not told else json.loads(told)), "said": said[-1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", help="a folder, local or on HDFS")
    parser.add_argument("--conf", default=str(CONF), help="the file of the run")
    args = parser.parse_args()
    put(args.root)
    plans = [(NIGHTS[0], False), (NIGHTS[1], False), (NIGHTS[2], True), (NIGHTS[2], False)]
    nights = [night(args.root, args.conf, ds, kill) for ds, kill in plans]
    print(json.dumps({"nights": nights}, indent=1))


if __name__ == "__main__":
    main()
