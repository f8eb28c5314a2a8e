"""Made data to try things on: the same rows for the same seed, in memory that does not grow with them.

Rows are drawn in chunks of 65,536 from a counter generator (Philox; Salmon et al. 2011, «Parallel random
numbers: as easy as 1, 2, 3») keyed by (seed, chunk), so a row depends on its number alone and not on how many
files it is cut into.

Kinds
    binary      numeric columns in differing units; ``label`` is 1 with a logistic probability
    regression  numeric columns; ``y`` is linear in them with noise, R2 about 0.8
    clusters    points around ten centres, with no target
    mixed       an id, a date, categories, nulls, a boolean, numbers; ``churned`` is yes or no
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.params import check, param
from mrml.runs.directory import refuse_taken, written_aside

CHUNK_ROWS = 65_536
GROUP_ROWS = 262_144
#: a row group of wide rows is cut so that writing it takes no more than this
GROUP_BYTES = 128 << 20
N_CENTRES = 10
TARGETS = {"binary": "label", "regression": "y", "clusters": None, "mixed": "churned"}
_PLANS = np.array(["free", "basic", "plus", "family"])
_CITIES = np.array(["Ede", "Graz", "Lugo", "Nîmes", "Umeå", "Brno", "Cork", "Faro", "Pula", "Hel"])


@dataclass(frozen=True)
class Sample:
    """What to make."""

    rows: int = param(100_000, "rows to make", low=1)
    columns: int = param(28, "numeric feature columns", low=1)
    kind: str = param("binary", "what the rows are", choices=tuple(TARGETS))
    format: str = param("parquet", "of the files", choices=("parquet", "csv", "jsonl", "libsvm"))
    parts: int = param(4, "files to cut the rows into", low=1)
    seed: int = param(0, "of the random draws", low=0)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            check(f, getattr(self, f.name), f"sample, {f.name}")
        if self.format == "libsvm" and self.kind == "mixed":
            raise ConfigError("sample", "libsvm holds numbers only", "give --format csv, or --kind binary")


def write(sample: Sample, output: str, overwrite: bool = False) -> dict[str, Any]:
    """Make the directory ``output``: part files, then ``_SUCCESS``; facts about what was made."""
    refuse_taken(output, overwrite)
    if "://" in output:
        raise ConfigError(output, "samples are made on local disks", "put it there with `hdfs dfs -put`")
    with written_aside(output) as aside:
        n_bytes = sum(_write_part(sample, part, Path(aside.path)) for part in range(sample.parts))
    names = list(chunk(sample, 0).column_names)
    facts = {"output": output, "kind": sample.kind, "rows": sample.rows, "columns": len(names)}
    target_name = TARGETS[sample.kind] and ("label" if sample.format == "libsvm" else TARGETS[sample.kind])
    return {**facts, "parts": sample.parts, "bytes": n_bytes, "target": target_name, "names": names}


def chunk(sample: Sample, index: int) -> pa.Table:
    """Rows ``index * CHUNK_ROWS`` and on, as many as there are."""
    n_rows = min(CHUNK_ROWS, sample.rows - index * CHUNK_ROWS)
    rng = np.random.Generator(np.random.Philox(key=[sample.seed, index + 1]))
    return _KINDS[sample.kind](sample, rng, index * CHUNK_ROWS).slice(0, n_rows)


def _world(sample: Sample) -> np.random.Generator:
    """The draws that all chunks share: units, coefficients, centres."""
    return np.random.Generator(np.random.Philox(key=[sample.seed, 0]))


def _numbers(x: Array) -> dict[str, Array]:
    width = len(str(x.shape[1] - 1))
    return {f"x{j:0{width}}": np.ascontiguousarray(x[:, j], np.float32) for j in range(x.shape[1])}


def _linear(sample: Sample, rng: np.random.Generator) -> tuple[Array, Array]:
    """Columns (CHUNK_ROWS, columns) in differing units, and their linear score of variance about 1."""
    world = _world(sample)
    coef = world.standard_normal(sample.columns) / np.sqrt(sample.columns)
    unit, shift = np.exp(world.uniform(-2, 3, sample.columns)), world.normal(0, 2, sample.columns)
    z = rng.standard_normal((CHUNK_ROWS, sample.columns))
    score = np.zeros(CHUNK_ROWS)
    for j in range(sample.columns):  # column by column: the same sum on every machine
        score += z[:, j] * coef[j]
    return (z + shift) * unit, score


def _binary(sample: Sample, rng: np.random.Generator, start: int) -> pa.Table:
    x, score = _linear(sample, rng)
    label = rng.random(CHUNK_ROWS) < 1 / (1 + np.exp(-2 * score + 0.5))
    return pa.table({"label": label.astype(np.int8), **_numbers(x)})


def _regression(sample: Sample, rng: np.random.Generator, start: int) -> pa.Table:
    x, score = _linear(sample, rng)
    y = 10 + 2 * score + rng.standard_normal(CHUNK_ROWS)
    return pa.table({"y": y.astype(np.float32), **_numbers(x)})


def _clusters(sample: Sample, rng: np.random.Generator, start: int) -> pa.Table:
    centres = _world(sample).normal(0, 3, (N_CENTRES, sample.columns))
    nearest = rng.integers(0, N_CENTRES, CHUNK_ROWS)
    return pa.table(_numbers(centres[nearest] + rng.standard_normal((CHUNK_ROWS, sample.columns))))


def _mixed(sample: Sample, rng: np.random.Generator, start: int) -> pa.Table:
    n = CHUNK_ROWS
    plan = rng.choice(len(_PLANS), n, p=[0.4, 0.3, 0.2, 0.1])
    city = rng.choice(len(_CITIES), n, p=np.arange(len(_CITIES), 0, -1) / 55)
    joined = rng.integers(16_000, 19_000, n)  # days since 1970-01-01
    age = np.round(rng.normal(42, 14, n).clip(18, 90))
    income = np.round(np.exp(rng.normal(10, 0.6, n)), 2)
    active = rng.random(n) < 0.6
    visits = rng.poisson(4, n)
    score = 0.6 * (plan == 0) - 0.5 * active - 0.02 * (age - 42) - 0.15 * (visits - 4) - 0.4
    churned = rng.random(n) < 1 / (1 + np.exp(-2 * score))
    return pa.table(
        {
            "id": pa.array(np.arange(start, start + n)),
            "joined": pa.array(joined.astype("datetime64[D]")),
            "plan": pa.array(_PLANS[plan].astype(object), mask=rng.random(n) < 0.03),
            "city": pa.array(_CITIES[city].astype(object)),
            "age": pa.array(age.astype(np.int16), mask=rng.random(n) < 0.08),
            "income": pa.array(income, mask=rng.random(n) < 0.15),
            "active": pa.array(active),
            "visits": pa.array(visits.astype(np.int16)),
            "churned": pa.array(np.where(churned, "yes", "no").astype(object)),
        }
    )


_KINDS: dict[str, Callable[[Sample, np.random.Generator, int], pa.Table]] = {
    "binary": _binary,
    "regression": _regression,
    "clusters": _clusters,
    "mixed": _mixed,
}


def _part_chunks(sample: Sample, part: int) -> Iterator[pa.Table]:
    """The rows of one file, chunk by chunk."""
    start, stop = (sample.rows * i // sample.parts for i in (part, part + 1))
    for index in range(start // CHUNK_ROWS, -(-stop // CHUNK_ROWS)):
        base = index * CHUNK_ROWS
        lo, hi = max(start, base) - base, min(stop, base + CHUNK_ROWS) - base
        yield chunk(sample, index).slice(lo, hi - lo)


def _write_part(sample: Sample, part: int, folder: Path) -> int:
    """Write one file; its size in bytes."""
    path = folder / f"part-{part:05d}.{sample.format}"
    _WRITERS[sample.format](path, chunk(sample, 0).schema, _part_chunks(sample, part))
    return path.stat().st_size


def _parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """Row groups of GROUP_ROWS rows, fewer where they are wide."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False) as file:
        for group in _groups(tables):
            file.write_table(group, row_group_size=GROUP_ROWS)


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(t.num_rows for t in held) >= GROUP_ROWS or sum(t.nbytes for t in held) >= GROUP_BYTES:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _csv(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """A header in every part, as Hadoop's tools write it; null is the empty field."""
    import pyarrow.csv as pcsv

    with pcsv.CSVWriter(path, schema, write_options=pcsv.WriteOptions(quoting_style="needed")) as file:
        for table in tables:
            file.write_table(table)


def _jsonl(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """An object a line; a date is its ISO text, null is null."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for table in tables:
            for row in table.to_pylist():
                values = {k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in row.items()}
                file.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")


def _libsvm(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """Label and 1-based index:value pairs; rows without a target have the label 0."""
    labelled = schema.names[0] in TARGETS.values()
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for table in tables:
            columns = [column.to_pylist() for column in table.columns]
            y = columns.pop(0) if labelled else [0] * table.num_rows
            for label, row in zip(y, zip(*columns, strict=True), strict=True):
                pairs = " ".join(f"{j}:{value:.7g}" for j, value in enumerate(row, 1))
                file.write(f"{label:.7g} {pairs}\n")


_WRITERS: dict[str, Callable[[Path, pa.Schema, Iterator[pa.Table]], None]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _jsonl,
    "libsvm": _libsvm,
}
