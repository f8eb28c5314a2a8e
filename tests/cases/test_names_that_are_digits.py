"""Groups and categories are names: what is spelt otherwise is another one, whatever number it could be read as."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.open import open_dataset
from mrml.runs import train as run

SPELT = {
    "leading zeros": ("007", "7"),
    "beyond float64": ("9007199254740992", "9007199254740993"),
    "beyond int64": ("18446744073709551614", "18446744073709551615"),
    "hexadecimal": ("0x1F", "31"),
    "exponents": ("1e5", "100000"),
}


def metric(folder: Path, name: str, **params: object) -> float:
    algorithm, data = params.pop("algorithm"), {"target": "y", **params}
    config = DataConfig(data=(str(folder / name),), **data)  # type: ignore[arg-type]
    settings = {"objective": algorithm, "rounds": 5, "min_child_weight": 0.0}
    facts = run.train(
        RunConfig("boosting", settings, config, EngineConfig("inline"), str(folder / "m"), overwrite=True)
    )
    return float(facts["metrics"]["auc" if algorithm == "logistic" else "ndcg"])


@pytest.mark.parametrize("names", SPELT.values(), ids=list(SPELT))
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_categories_of_digits_are_told_apart_as_they_are_spelt(
    names: tuple[str, str], ending: str, tmp_path: Path
) -> None:
    rows = [(names[i % 2], i % 2) for i in range(200)]
    if ending == "csv":
        text = "zip,y\n" + "".join(f"{a},{b}\n" for a, b in rows)
    else:
        text = "".join(json.dumps({"zip": a, "y": b}) + "\n" for a, b in rows)
    (tmp_path / f"a.{ending}").write_text(text)
    assert metric(tmp_path, f"a.{ending}", algorithm="logistic", categorical=("zip",)) == 1.0


@pytest.mark.parametrize("names", SPELT.values(), ids=list(SPELT))
def test_groups_of_digits_give_what_plain_names_give(names: tuple[str, str], tmp_path: Path) -> None:
    found = []
    for label, group in (("plain", ("a", "b")), ("digits", names)):
        lines = "".join(f"{group[i // 8 % 2]}{i // 16},{v},{r}\n" for i, (v, r) in enumerate(
            zip(np.random.default_rng(2).normal(size=160).round(3), np.random.default_rng(3).integers(0, 3, 160),
                strict=True)))  # fmt: skip
        (tmp_path / f"{label}.csv").write_text("q,x,y\n" + lines)
        found.append(metric(tmp_path, f"{label}.csv", algorithm="lambdarank", group="q"))
    assert found[0] == found[1] < 1.0


def test_a_group_of_parquet_integers_stays_an_integer(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"q": [2**53, 2**53 + 1] * 10, "x": range(20), "y": [0, 1] * 10})
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = open_dataset(DataConfig(data=(str(tmp_path / "a.parquet"),), target="y", group="q"))
    (block,) = (b for split in dataset.splits(1 << 20) for part in split for b in dataset.read(part))
    assert len(np.unique(block.group)) == 2  # type: ignore[arg-type]
