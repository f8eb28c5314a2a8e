"""Makes the models and runs of this directory, by the code of the commit before names were registered.

``make old-models`` runs it with that commit on PYTHONPATH; what it writes is checked in.  The standard library only,
since it must not depend on the mrml that it is about.

    rows.csv, ranks.csv     the rows
    models/NAME/            what ``mrml train`` wrote, and ``predictions.csv``: what ``mrml predict`` said of the rows
    runs/NAME/_run          a run that was stopped after some rounds
    runs/NAME/whole.json    what the run ends in: model.json, and the SHA-256 of model.npz
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
N_ROWS = 240
#: so that the rows are several blocks
WINDOW = ("--window-bytes", "4096", "--engine", "inline")
COLUMNS = ("x1", "x2", "n", "city", "shop", "label", "kind", "count", "number", "w")
TARGETS = ("label", "kind", "count", "number")
#: name -> algorithm, target, options
Spec = tuple[str, str, tuple[str, ...]]
NET = ("--epochs", "3", "--batch-size", "40", "--learning-rate", "0.02")
TREES = ("--rounds", "4", "--max-depth", "3", "--min-child-weight", "5")

MODELS: dict[str, Spec] = {
    "linear-weighted": ("linear", "number", ("--weight", "w", "--hash", "shop", "--hash-bits", "4")),
    "logistic-binned": ("logistic", "label", ("--bins", "5", "--max-levels", "3", "--exclude", "w,shop")),
    "softmax": ("softmax", "kind", ("--exclude", "w,shop")),
    "poisson-offset": ("poisson", "count", ("--offset", "w", "--solver", "lbfgs", "--exclude", "shop")),
    "logistic-sgd": ("logistic", "label", ("--solver", "sgd", "--epochs", "2", "--exclude", "w")),
    "boosting-squared": ("boosting", "number", (*TREES, "--weight", "w")),
    "boosting-logistic": ("boosting", "label", (*TREES, "--objective", "logistic", "--growth", "leafwise")),
    "boosting-softmax": ("boosting", "kind", (*TREES, "--objective", "softmax")),
    "boosting-ranks": ("boosting", "relevance", (*TREES, "--objective", "lambdarank", "--group", "query")),
    "forest-classes": ("forest", "kind", ("--objective", "gini", "--num-trees", "4", "--max-depth", "4")),
    "forest-numbers": ("forest", "number", ("--num-trees", "4", "--max-depth", "4", "--exclude", "shop")),
    "kmeans": ("kmeans", "", ("--k", "3", "--features", "x1,x2,n")),
    "kmeans-categories": ("kmeans", "", ("--k", "4", "--features", "x1,city,n")),
    "kmeans-raw": ("kmeans", "", ("--k", "2", "--standardise", "false", "--features", "x1,x2", "--seeding", "random")),
    "mlp-numbers": ("mlp", "number", (*NET, "--hidden", "5,3", "--exclude", "shop")),
    "mlp-label": ("mlp", "label", (*NET, "--hidden", "4", "--shards", "2", "--norm", "batch")),
    "mlp-kind": ("mlp", "kind", (*NET, "--hidden", "4", "--hash", "shop", "--hash-bits", "4")),
    "factors-label": ("factorization-machine", "label", (*NET, "--factors", "2")),
    "factors-number": ("factorization-machine", "number", (*NET, "--factors", "3", "--exclude", "shop")),
}  # fmt: skip
#: the same, and the rounds after which it is stopped
RUNS: dict[str, tuple[Spec, int]] = {
    "glm": (("logistic", "label", ("--solver", "lbfgs", "--exclude", "shop")), 4),
    "glm-sgd": (("poisson", "count", ("--solver", "sgd", "--epochs", "4", "--exclude", "shop")), 3),
    "boosting": (("boosting", "label", (*TREES, "--objective", "logistic")), 5),
    "forest": (("forest", "kind", ("--objective", "gini", "--num-trees", "4", "--max-depth", "4")), 4),
    "kmeans": (("kmeans", "", ("--k", "4", "--features", "x1,x2,city")), 5),
    "mlp": (("mlp", "label", (*NET, "--hidden", "4", "--optimizer", "momentum")), 3),
    "factors": (("factorization-machine", "number", (*NET, "--factors", "2", "--exclude", "shop")), 3),
}


def options(spec: Spec, rows: Path) -> list[str]:
    """The command line of a training run on the rows in a directory, but for its output."""
    algorithm, target, more = spec
    others = [c for c in TARGETS if c != target]
    words = [*more]
    if "--group" not in words and "--features" not in words:  # what the others are targets of tells too much
        at = words.index("--exclude") if "--exclude" in words else len(words)
        kept = words[at + 1].split(",") if at < len(words) else []
        words[at : at + 2] = ["--exclude", ",".join([*others, *kept])]
    data = rows / ("ranks.csv" if "--group" in words else "rows.csv")
    return [algorithm, "--data", str(data), *(("--target", target) if target else ()), *words, *WINDOW]


def make(folder: Path) -> None:
    """Everything, into a directory."""
    for name, text in (("rows.csv", rows_text()), ("ranks.csv", ranks_text())):
        (folder / name).write_text(text)
    with tempfile.TemporaryDirectory() as other:  # what is written must not depend on where the rows lay
        for name in ("rows.csv", "ranks.csv"):
            shutil.copy(folder / name, other)
        for name, spec in MODELS.items():
            make_model(folder / "models" / name, options(spec, Path(other)), Path(other))
        for name, (spec, n_rounds) in RUNS.items():
            make_run(folder / "runs" / name, options(spec, Path(other)), n_rounds, Path(other))


def make_model(model: Path, words: list[str], rows: Path) -> None:
    """A model and what it predicts."""
    model.mkdir(parents=True)
    mrml("train", *words, "--output", str(rows / "m"), "--overwrite")
    for name in ("model.json", "model.npz"):
        shutil.copy(rows / "m" / name, model)
    data = words[words.index("--data") + 1]
    offset = ["--offset", "w"] if "--offset" in words else []
    mrml("predict", str(rows / "m"), "--data", data, "--output", str(rows / "p"), "--overwrite", "--format", "csv",
         "--engine", "inline", *offset)  # fmt: skip
    parts = sorted((rows / "p").glob("part-*"))
    (model / "predictions.csv").write_bytes(b"".join(p.read_bytes() for p in parts))


def make_run(run: Path, words: list[str], n_rounds: int, rows: Path) -> None:
    """A run that was stopped, and what it ends in."""
    run.mkdir(parents=True)
    mrml("train", *words, "--output", str(rows / "r"), "--overwrite", "--max-rounds", str(n_rounds))
    shutil.copytree(rows / "r" / "_run", run / "_run")
    mrml("train", *words, "--output", str(rows / "r"), "--resume")
    header = json.loads((rows / "r" / "model.json").read_text())
    facts = json.loads((rows / "r" / "run.json").read_text())
    assert facts["rounds"] > n_rounds, f"{run.name} was done after {facts['rounds']} rounds"
    digest = hashlib.sha256((rows / "r" / "model.npz").read_bytes()).hexdigest()
    whole = {"rounds": facts["rounds"], "header": header, "arrays": digest}
    (run / "whole.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")


def mrml(*words: str) -> None:
    """A command of the mrml on PYTHONPATH."""
    with tempfile.TemporaryDirectory() as here:  # "-m" looks into the current directory first
        command = [sys.executable, "-m", "mrml", *words, "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=here)


def rows_text() -> str:
    """Rows whose columns are of every kind, nulls among them."""
    draw = random.Random(7)
    lines = [",".join(COLUMNS)]
    for _ in range(N_ROWS):
        x1, x2, n, city = draw.gauss(0, 1), draw.uniform(-2, 2), draw.randrange(9), draw.choice("abcde")
        shop, w = f"s{draw.randrange(40)}", draw.uniform(0.5, 1.5)
        score = x1 - 0.5 * x2 + 0.2 * n + (1.0 if city in "ab" else -0.5) + draw.gauss(0, 0.5)
        kind = ("low", "mid", "high")[min(max(int(score + 1), 0), 2)]
        label, count = "yes" if score > 0.8 else "no", int(math.exp(min(max(score, -2.0), 2.5)))
        shown = f"{x1:.4f}" if draw.random() > 0.05 else ""
        cells = (shown, f"{x2:.4f}", n, f"c_{city}", shop, label, kind, count, f"{score:.4f}", f"{w:.3f}")
        lines.append(",".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def ranks_text() -> str:
    """Twenty queries of nine rows."""
    draw = random.Random(8)
    lines = ["query,x1,x2,city,relevance"]
    for query in range(20):
        for _ in range(9):
            x1, x2, city = draw.gauss(0, 1), draw.gauss(0, 1), draw.choice("abc")
            relevance = min(max(int(x1 + 0.5 * x2 + 1.5), 0), 3)
            lines.append(f"q{query:02d},{x1:.4f},{x2:.4f},c_{city},{relevance}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for old in ("models", "runs"):
        shutil.rmtree(HERE / old, ignore_errors=True)
    make(HERE)
