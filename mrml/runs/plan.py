"""What a run will read, hold and do, told before it begins.  Floor 4."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

from mrml import pin
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.config.sections import RunConfig
from mrml.data.dataset import Dataset, Range
from mrml.engines.base import Engine
from mrml.errors import ConfigError

#: of a job of nothing on a YARN of this machine, submission to the end: in containers, and in uber mode
JOB_SECONDS, UBER_SECONDS = 9.5, 6.7
#: until the first task of a job is there, on the same YARN
RESIDENT_SECONDS = 6.5


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
    expected = pipeline.rounds_in_all(None, _rows_expected(dataset) if by_rows and engine is None else known)
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
        "memory_per_worker": 150 * (1 << 20) + 12 * dataset.schema.window_bytes,
        "workers": 1 if config.engine.engine == "inline" else workers,
        "engine": config.engine.engine,
        **({"engine_chosen": why} if why else {}),
        **(_told_of_yarn(config, dataset, workers, (expected, advice, by_rows)) if on_yarn else {}),
        "features": [c.name for c in columns if c.role == "feature"],
        "notes": list(dataset.notes),
        "ignored": [c.name for c in columns if c.role == "ignore"],
    }


def _rows_expected(dataset: Dataset) -> int:
    """About the rows to train with, by those of the first block; less than there are where files are compressed."""
    files = [(number, file) for number, file in enumerate(dataset.files) if file.part == "train"]
    number, first = files[0]
    with dataset.naming():
        block = next(dataset.read(Range(number, 0, 1)), None)
    n_rows = 0 if block is None else block.n_records
    return n_rows * sum(file.size for _, file in files) // max(min(first.size, dataset.schema.window_bytes), 1)


def _told_of_yarn(config: RunConfig, dataset: Dataset, workers: int, rounds: tuple[int, str, bool]) -> dict[str, Any]:
    """What it costs on a cluster; ``rounds`` are how many, how they may be fewer, and whether by an estimate."""
    if config.engine.engine != "resident":
        return _jobs(_yarn_plan(config, dataset, workers), *rounds)
    memory = f" of {config.engine.memory_mb:,} MB" if config.engine.memory_mb else ""
    begin = f"with {config.engine.min_workers} of them the first round begins, about {RESIDENT_SECONDS:.0f} s after it"
    return {"jobs": f"one, of {workers} containers{memory} that stay; {begin} is submitted"}


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
        "a round runs": uber.reason,
        "seconds a job": UBER_SECONDS if uber else JOB_SECONDS,
    }


def _jobs(plan: dict[str, Any], n_jobs: int, advice: str, by_rows: bool) -> dict[str, Any]:
    """What it costs that every round is a job; ``by_rows``: by an estimate of the rows."""
    seconds = plan.pop("seconds a job")
    minutes = n_jobs * seconds / 60
    told = f"{'about' if by_rows else 'at most'} {n_jobs:,} jobs at about {seconds} s each"
    told += f": {minutes:,.0f} minutes before any computing"
    return {**plan, "jobs": told, **({"fewer jobs": advice} if advice and minutes > 10 else {})}
