"""Rows for the tests that train with torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.runs import train as run

MLP: dict[str, Any] = {"hidden": (16, 8), "epochs": 3, "batch_size": 64, "learning_rate": 0.01}


def made_rows(folder: Path, n: int = 1200) -> str:
    """Numbers with gaps and far from 0, two categories, weights; targets of two and three classes, amounts, counts."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=n), 1e5 + 10 * rng.normal(size=n)
    city, shop = rng.choice(list("pqrs"), n), rng.integers(0, 30, n)
    z = a + 0.1 * (b - 1e5) + np.isin(city, ["p", "s"]) + 0.3 * (shop % 3) + 0.5 * rng.normal(size=n)
    lines = ["a,b,city,shop,w,yes,kind,amount,count"]
    for i in range(n):
        text = "" if i % 9 == 0 else f"{a[i]:.6g}"
        level = "" if i % 13 == 0 else city[i]
        lines.append(f"{text},{b[i]:.9g},{level},s{shop[i]},{0.5 + i % 3},{'ny'[int(z[i] > 1)]},"
                     f"k{np.digitize(z[i], [0.0, 2.0])},{z[i]:.6g},{max(0, round(z[i]))}")  # fmt: skip
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def trained(
    rows: str,
    output: Path,
    target: str,
    engine: EngineConfig | None = None,
    algorithm: str = "mlp",
    data: dict[str, Any] | None = None,
    **params: Any,
) -> dict[str, Any]:
    """The summary of a run over those rows; the other targets are left out."""
    others = tuple(t for t in ("yes", "kind", "amount", "count") if t != target)
    config = DataConfig(data=(rows,), target=target, weight="w", exclude=others, window_bytes=8192)
    config = dataclasses.replace(config, **(data or {}))
    return run.train(RunConfig(algorithm, params, config, engine or EngineConfig("inline"), str(output)))


def model_bytes(output: Path) -> bytes:
    return (output / "model.json").read_bytes() + (output / "model.npz").read_bytes()
