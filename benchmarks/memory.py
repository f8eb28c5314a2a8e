"""Peak memory of every worker while it trains on more rows than it may hold.

    python benchmarks/memory.py [logistic|boosting] [--rows 20000000]
    python benchmarks/memory.py frame [--rows 2000000]

Makes the rows with `mrml sample`, trains with two workers, then with one; watches RssAnon (what a process allocated
itself) and VmRSS (mapped files too) of the driver and of each worker in /proc; compares the two models' bytes.  Exits 1
when a worker of logistic regression went over 512 MB, or all processes of boosting together over 1.5 GB, or the bytes
differ.  With `frame` a frame of 28 float32 columns is fitted in memory, as pandas, NumPy and Arrow hold it: exits 1
where its process grew by more than 0.3 of the frame, or the one that computes beyond what the plan says of a worker.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: what is limited, in MB, by algorithm
LIMITS = {"logistic": ("worker RssAnon", 512), "boosting": ("all RssAnon", 1536)}
MORE = {"logistic": [], "boosting": ["--objective", "logistic", "--rounds", "5"]}


def status(pid: int) -> dict[str, int]:
    """RssAnon and VmRSS in MB; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {k: int(v.split()[0]) // 1024 for k, _, v in (x.partition(":") for x in lines) if k in ("RssAnon", "VmRSS")}


def workers(parent: int) -> list[int]:
    """Process ids of the children of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(entry.parent.name))
        except (OSError, ValueError):
            continue
    return found


def watched(command: list[str]) -> dict[str, int]:
    """Run a command; the peaks over its own process and over its workers."""
    process = subprocess.Popen(command)
    peak = {"driver RssAnon": 0, "worker RssAnon": 0, "worker VmRSS": 0, "all RssAnon": 0, "all VmRSS": 0}
    while process.poll() is None:
        total = {"RssAnon": 0, "VmRSS": 0}
        for pid, name in [(process.pid, "driver"), *((w, "worker") for w in workers(process.pid))]:
            for key, value in status(pid).items():
                total[key] += value
                if f"{name} {key}" in peak:
                    peak[f"{name} {key}"] = max(peak[f"{name} {key}"], value)
        for key, value in total.items():
            peak[f"all {key}"] = max(peak[f"all {key}"], value)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return peak


#: megabytes of a process that computes, as the plan has them: itself, and blocks of a window of 4 MiB
WORKER_MB = 150 + 12 * 4
#: holds a frame of N rows as KIND, and fits it where FIT is 1
_HELD = """
import sys
import numpy as np, pandas as pd, pyarrow as pa
import mrml
kind, n, fit = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
names, rng = [f"c{j}" for j in range(28)], np.random.default_rng(0)
y = rng.integers(0, 2, n).astype(np.int8)
if kind == "arrow":
    data = pa.table({name: rng.standard_normal(n, np.float32) for name in names})
else:
    data = rng.standard_normal((n, 28), np.float32)
if kind == "pandas":
    data = pd.DataFrame(data, columns=names, copy=False)
if fit:
    print(mrml.Logistic(max_iterations=2).fit(data, y, engine="inline").facts["n_rows"], "rows fitted", flush=True)
"""


def frames(n_rows: int) -> None:
    """Fit a frame in each of its forms, and watch; exits 1 where it is not held once."""
    frame_mb, over = n_rows * 28 * 4 / (1 << 20), False
    for kind in ("numpy", "pandas", "arrow"):
        command = [sys.executable, "-c", _HELD, kind, str(n_rows)]
        before, after = watched([*command, "0"]), watched([*command, "1"])
        grew, worker = after["driver RssAnon"] - before["driver RssAnon"], after["worker RssAnon"]
        over |= grew > 0.3 * frame_mb or worker > WORKER_MB
        held = 1 + max(grew, 0) / frame_mb
        print(f"{kind}: a frame of {frame_mb:.0f} MB, held {held:.2f} times; computing took {worker} MB", flush=True)
    raise SystemExit(int(over))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", nargs="?", choices=(*LIMITS, "frame"), default="logistic")
    parser.add_argument("--rows", type=int)
    args = parser.parse_args()
    if args.algorithm == "frame":
        frames(args.rows or 2_000_000)
    args.rows = args.rows or 20_000_000
    mrml = [sys.executable, "-m", "mrml"]
    over, (which, limit) = False, LIMITS[args.algorithm]
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        subprocess.run(
            [*mrml, "sample", data, "--rows", str(args.rows), "--columns", "28", "--parts", "20"], check=True
        )
        models = []
        for count in (2, 1):
            out = f"{folder}/model-{count}"
            train = [
                *mrml,
                "train",
                args.algorithm,
                *MORE[args.algorithm],
                "--data",
                data,
                "--target",
                "label",
                "--output",
                out,
                "--workers",
                str(count),
                "-q",
            ]
            began = time.monotonic()
            peak = watched(train)
            print(f"{args.rows:,} rows, {count} workers, {time.monotonic() - began:.0f} s, peak MB: {peak}", flush=True)
            over |= peak[which] > limit
            models.append([Path(out, name).read_bytes() for name in ("model.json", "model.npz")])
    same = models[0] == models[1]
    verdict = "passed over" if over else "kept"
    print(f"models {'are the same bytes' if same else 'DIFFER'}; limit of {limit} MB {verdict}")
    raise SystemExit(int(over or not same))


if __name__ == "__main__":
    main()
