"""Weighted rows over several files and blocks, of which some can be given weight 0 without moving a byte."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.arrays import Array
from mrml.config.sections import DataConfig, RunConfig
from mrml.data.block import Block
from mrml.data.dataset import Dataset
from mrml.runs import setup

ROWS, WINDOW = 500, 1500
NUMBERS = {"target": "number", "exclude": ("label", "kind", "team")}
LABELS = {"target": "label", "exclude": ("number", "kind", "team")}
KINDS = {"target": "kind", "exclude": ("number", "label", "team")}
POINTS: dict[str, Any] = {"exclude": ("number", "label", "kind", "team")}


def write(folder: Path, without: Collection[int] = ()) -> str:
    """500 rows in three files; those whose numbers are in ``without`` weigh 0."""
    rng = np.random.default_rng(5)
    a, b, c = rng.normal(40, 3, ROWS), rng.normal(size=ROWS), rng.integers(0, 9, ROWS)
    score = (a - 40) / 3 + b - c / 4
    label = np.where(score + rng.normal(size=ROWS) > -1, "yes", "no")
    kind = np.array(["low", "mid", "top"])[np.digitize(score + rng.normal(size=ROWS), [-1.7, 0.3])]
    city, team = rng.choice(["oslo", "røros", "rome", ""], ROWS), rng.integers(0, 40, ROWS)
    weight = np.where(np.isin(np.arange(ROWS), list(without)), 0.0, rng.uniform(0.5, 2, ROWS))
    rows = zip(a, b, c, city, label, kind, score, team, weight, strict=True)
    lines = [f"{x:.6f},{y:.6f},{z},{t},{u},{k},{s:.6f},t{m},{w:.6f}" for x, y, z, t, u, k, s, m, w in rows]
    folder.mkdir(exist_ok=True)
    for name, part in (("p0.csv", lines[:170]), ("p1.csv", lines[170:180]), ("p2.csv", lines[180:])):
        header = "a,b,c,city,label,kind,number,team,w"
        (folder / name).write_text("\n".join([header, *part]) + "\n", encoding="utf-8")
    return str(folder)


def opened(folder: str, algorithm: Algorithm, **data: Any) -> tuple[Dataset, Pipeline]:
    """The Dataset and the algorithm behind its transforms, weighted."""
    config = DataConfig(data=(folder,), weight="w", window_bytes=WINDOW, **data)
    return setup.open_training(RunConfig("unused", {}, config), algorithm)


def blocks(dataset: Dataset) -> list[Block]:
    """All of them, in order."""
    return [b for split in dataset.splits(1 << 30) for part in split for b in dataset.read(part)]


def numbers(found: list[Block], keep: list[Array]) -> list[int]:
    """The numbers, over all files, of the rows of blocks that ``keep`` (n_rows,) bool holds of each."""
    out, before = [], 0
    for block, kept in zip(found, keep, strict=True):
        out += (block.rows[kept] + before).tolist()
        before += block.n_records
    return out
