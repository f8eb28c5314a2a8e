"""What a run will read, hold and do, told before it begins.  Floor 4."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mrml import pin
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.arrays import CSR
from mrml.config.sections import RunConfig
from mrml.data.block import Block, Coded
from mrml.data.dataset import Dataset, Range
from mrml.data.store import RESERVE_BYTES
from mrml.engines.base import Engine
from mrml.engines.resident.intake import MOST_BYTES
from mrml.errors import ConfigError
from mrml.logs import size

#: of a job of nothing on a YARN of this machine, submission to the end: in containers, and in uber mode
JOB_SECONDS, UBER_SECONDS = 9.5, 6.7
#: until the first task of a job is there, on the same YARN
RESIDENT_SECONDS = 6.5
#: of the driver of resident tasks: the process, and for each task (benchmarks/crowd.py)
DRIVER_BYTES, PEER_BYTES = 150 << 20, 24 << 10


def plan_of(
    config: RunConfig, dataset: Dataset, pipeline: Pipeline, engine: Engine | None = None, why: str = ""
) -> dict[str, Any]:
    """What a run would read, hold and do, in plain values; without an engine, as the configuration has it.

    ``why`` tells why ``auto`` is this engine.
    """
    blocks = [f.n_blocks for f in dataset.files]
    rows = [sum(f.row_groups) if f.row_groups else None for f in dataset.files]
    workers = engine.workers() if engine else config.engine.workers or pin.cores()
    known = None if None in rows else sum(r or 0 for r, f in zip(rows, dataset.files, strict=True) if f.part == "train")
    by_rows = known is None and pipeline.rounds_in_all(None, 1) < pipeline.rounds_in_all(None, 1 << 40)
    expected = pipeline.rounds_in_all(None, rows_expected(dataset) if by_rows and engine is None else known)
    expected = expected if config.max_rounds is None else min(expected, config.max_rounds)
    columns, advice = dataset.schema.columns, pipeline.algorithm.fewer_rounds
    on_yarn = config.engine.on_yarn
    return {
        "config": dataclasses.asdict(config),
        "files": [{"name": f.name, "bytes": f.size, "blocks": f.n_blocks, "part": f.part} for f in dataset.files],
        "n_files": len(dataset.files),
        "n_blocks": None if None in blocks else sum(b or 0 for b in blocks),
        "n_splits": len(dataset.splits(config.data.split_bytes)),
        "n_bytes": dataset.n_bytes,
        "n_rows": None if None in rows else sum(r or 0 for r in rows),
        "rounds_expected": expected,
        # a block's text and its decoded arrays, a chunk in float64, NumPy and pyarrow themselves
        "memory_bytes_per_worker": 150 * (1 << 20) + 12 * dataset.schema.window_bytes + _sparse_bytes(dataset, engine),
        **_told_of_scratch(config, dataset, engine),
        "workers": 1 if config.engine.engine == "inline" else workers,
        "engine": config.engine.engine,
        **({"engine_chosen": why} if why else {}),
        **(_told_of_yarn(config, dataset, workers, (expected, advice, by_rows)) if on_yarn else {}),
        "features": [c.name for c in columns if c.role == "feature"],
        "notes": [*dataset.notes, *_notes_of_scratch(config, dataset)],
        "ignored": [c.name for c in columns if c.role == "ignore"],
    }


def rows_expected(dataset: Dataset) -> int:
    """About the rows to train with, by those of the first block; less than there are where files are compressed."""
    block, share = first_block(dataset)
    n_bytes = sum(file.size for file in dataset.files if file.part == "train")
    return 0 if block is None else block.n_records * n_bytes // share


def first_block(dataset: Dataset) -> tuple[Block | None, int]:
    """The first block of the training data, and of how many bytes it is."""
    number = next(number for number, file in enumerate(dataset.files) if file.part == "train")
    first = dataset.files[number]
    with dataset.naming():
        block = next(dataset.read(Range(number, 0, 1)), None)
    return block, max(min(first.size, dataset.schema.window_bytes), 1)


# ---- memory and scratch


def scratch_bytes(dataset: Dataset) -> int:
    """About what decoded blocks take on disk, by the first of them; of compressed text too little."""
    block, share = first_block(dataset)
    if block is None or not block.n_records:
        return 0
    x = block.X
    arrays = [x.data, x.indices, x.indptr] if isinstance(x, CSR) else [x]
    arrays += [c.codes for c in (*block.coded.values(), block.y) if isinstance(c, Coded)]
    arrays += [a for a in (block.rows, block.y, block.weight, block.offset, block.id) if isinstance(a, np.ndarray)]
    own = sum(a.nbytes for a in arrays)
    n_rows = sum(sum(file.row_groups) for file in dataset.files)
    return own * n_rows // block.n_records if n_rows else own * dataset.n_bytes // share


def _sparse_bytes(dataset: Dataset, engine: Engine | None) -> int:
    """Of LibSVM, what coefficients and sums of every column take; looked for where only the plan is told."""
    if engine is not None or not dataset.schema.sparse:
        return 0
    from mrml.data.formats.libsvm import COLUMN_BYTES

    block, _ = first_block(dataset)
    return 0 if block is None or not isinstance(block.X, CSR) else block.X.n_columns * COLUMN_BYTES


def _folder(config: RunConfig) -> Path:
    """Where scratch will lie, as far as it is there."""
    place = Path(config.engine.cache_dir or tempfile.gettempdir()).absolute()
    return next(p for p in (place, *place.parents) if p.exists())


def _told_of_scratch(config: RunConfig, dataset: Dataset, engine: Engine | None) -> dict[str, Any]:
    """What decoded blocks will take where, where only the plan is told and tasks run on this machine."""
    if engine is not None or config.engine.on_yarn:
        return {}
    folder = _folder(config)
    free = shutil.disk_usage(folder).free
    return {"scratch_bytes": scratch_bytes(dataset), "scratch_free_bytes": free, "scratch_folder": str(folder)}


def _notes_of_scratch(config: RunConfig, dataset: Dataset) -> list[str]:
    """A note where there is too little room for the decoded blocks; looked for where it may be."""
    if config.engine.on_yarn:
        return []
    folder = _folder(config)
    free = shutil.disk_usage(folder).free
    if free > 8 * dataset.n_bytes + 2 * RESERVE_BYTES:
        return []
    needed = scratch_bytes(dataset) + RESERVE_BYTES
    if free >= needed:
        return []
    told = f"{folder} has {size(free)} free, and decoded blocks take about {size(needed)}"
    return [f"{told}: those without room are decoded in every round; --cache-dir names another folder"]


def _told_of_yarn(config: RunConfig, dataset: Dataset, workers: int, rounds: tuple[int, str, bool]) -> dict[str, Any]:
    """What it costs on a cluster; ``rounds`` are how many, how they may be fewer, and whether by an estimate."""
    if config.engine.engine != "resident":
        return _jobs(_yarn_plan(config, dataset, workers), *rounds)
    memory = f" of {config.engine.memory_mb:,} MB" if config.engine.memory_mb else ""
    begin = f"with {config.engine.min_workers} of them the first round begins, about {RESIDENT_SECONDS:.0f} s after it"
    most = DRIVER_BYTES + 2 * MOST_BYTES + workers * PEER_BYTES
    holds = f"at most about {size(most)} of memory, however much tasks send; what is more of a round lies in files"
    return {"jobs": f"one, of {workers} containers{memory} that stay; {begin} is submitted", "driver": holds}


def _yarn_plan(config: RunConfig, dataset: Dataset, workers: int) -> dict[str, Any]:
    """How a round reads its rows on YARN, where it runs, and its seconds before any computing; without a
    configuration, by Hadoop's own defaults."""
    from mrml.engines.hadoop.uber import decide
    from mrml.engines.hadoop.yarn import configuration
    from mrml.engines.streaming.feed import Feed

    engine, keys = config.engine, dict[str, str]()
    with suppress(ConfigError):
        keys = configuration()
    feed = Feed.of(dataset, workers, config.data.split_bytes) if engine.feed == "stream" else None
    n_splits = feed.n_splits if feed else 1
    uber = decide(engine.uber, dataset.n_bytes, n_splits, engine.reducers, {**keys, **engine.properties()})
    return {
        "feed": str(feed) if feed else "tasks read their blocks from HDFS",
        "round_mode": uber.reason,
        "seconds_per_job": UBER_SECONDS if uber else JOB_SECONDS,
    }


def _jobs(plan: dict[str, Any], n_jobs: int, advice: str, by_rows: bool) -> dict[str, Any]:
    """What it costs that every round is a job; ``by_rows``: by an estimate of the rows."""
    seconds = plan["seconds_per_job"]
    minutes = n_jobs * seconds / 60
    told = f"{'about' if by_rows else 'at most'} {n_jobs:,} jobs at about {seconds} s each"
    told += f": {minutes:,.0f} minutes before any computing"
    return {**plan, "jobs": told, **({"fewer_jobs": advice} if advice and minutes > 10 else {})}
