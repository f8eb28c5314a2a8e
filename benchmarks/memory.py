"""Peak memory of every worker while it trains on more rows than it may hold.

    python benchmarks/memory.py [logistic|boosting] [--rows 20000000]

Makes the rows with `mrml sample`, trains with two workers, then with one; watches RssAnon (what a process allocated
itself) and VmRSS (mapped files too) of the driver and of each worker in /proc; compares the two models' bytes.  Exits 1
when a worker of logistic regression went over 512 MB, or all processes of boosting together over 1.5 GB, or the bytes
differ.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", nargs="?", choices=tuple(LIMITS), default="logistic")
    parser.add_argument("--rows", type=int, default=20_000_000)
    args = parser.parse_args()
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
