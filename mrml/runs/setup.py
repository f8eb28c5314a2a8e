"""What a run is made of: its engine, its algorithm, its Dataset, and what a resumed run must have in common."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, build
from mrml.algorithms import algorithm_class
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.algorithms.search.parting import Parting
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.data.files import File
from mrml.data.open import open_dataset
from mrml.engines.base import Engine
from mrml.errors import ConfigError, InputError
from mrml.names import allow
from mrml.runs.choose import chosen
from mrml.schema import Schema
from mrml.version import __version__


def engine_of(config: EngineConfig, split_bytes: int) -> Engine:
    """The engine that a configuration names, to be used in a with-block; ``auto`` was chosen for before."""
    if config.engine == "inline":
        from mrml.engines.inline import InlineEngine

        return InlineEngine(split_bytes, config.cache_dir)
    if config.engine == "local":
        from mrml.engines.local.engine import LocalEngine

        return LocalEngine(config.workers, split_bytes, config.cache_dir)
    if config.engine == "resident":
        from mrml.engines.resident.engine import ResidentEngine

        return ResidentEngine(config, split_bytes)
    if config.runner == "hadoop":
        from mrml.engines.hadoop.engine import HadoopEngine

        return HadoopEngine(config, split_bytes)
    from mrml.engines.streaming.engine import StreamingEngine

    return StreamingEngine(config.runner, config.workers, split_bytes, config.cache_dir)


#: how an engine is to be started, or one that runs already
On = EngineConfig | Engine


@contextlib.contextmanager
def running(engine: On, data: DataConfig, files: Sequence[File] = ()) -> Iterator[Engine]:
    """An engine that runs already, or one that suits the data for as long as the block lasts."""
    if isinstance(engine, Engine):
        yield engine
        return
    with engine_of(chosen(engine, data, files)[0], data.split_bytes) as started:
        yield started


def algorithm_of(config: RunConfig) -> Algorithm:
    """The algorithm with its hyperparameters; ConfigError for unknown names."""
    allow(*config.engine.allow_import)
    return build(algorithm_class(config.algorithm, config.params.get("solver")), config.params)


def check_here(config: RunConfig, algorithm: Algorithm) -> None:
    """Refuse a run that this machine cannot compute; on a cluster the tasks say so themselves."""
    if not config.engine.on_yarn:
        algorithm.check_here()


def pipeline_of(algorithm: Algorithm, schema: Schema, data: DataConfig) -> Pipeline:
    """The algorithm behind the transforms that the schema asks for."""
    for name in data.hash:
        if schema.column(name).kind != "categorical":
            raise ConfigError(
                "data, hash", f"column {name!r} is {schema.column(name).kind}", "hash categorical columns"
            )
    cls: type[Pipeline] = Pipeline
    if algorithm.design == "bins":
        from mrml.algorithms.pipeline.binned_pipeline import BinnedPipeline as cls
    elif algorithm.design == "codes":
        from mrml.algorithms.pipeline.coded_pipeline import CodedPipeline as cls
    elif algorithm.design == "columns":
        from mrml.algorithms.pipeline.coded_pipeline import FactsPipeline as cls
    return cls(
        algorithm=algorithm.decided(schema),
        schema=schema,
        max_levels=data.max_levels,
        hash_columns=data.hash,
        hash_bits=data.hash_bits,
        bins=data.bins,
    )


def roles_of(algorithm: Algorithm, schema: Schema) -> tuple[str, ...]:
    """The roles whose columns are read for training."""
    if algorithm.target != "none" and schema.role("target") is None:
        raise ConfigError(
            "data, target", f"{type(algorithm).__name__.lower()} needs one", "name it with --target COLUMN"
        )
    target = schema.role("target")
    if algorithm.target == "numeric" and target is not None and target.kind != "numeric":
        finding = f"is {target.kind}, and {type(algorithm).__name__.lower()} needs numbers"
        own = {f.name for f in dataclasses.fields(algorithm)}  # type: ignore[arg-type]
        say = next((f"use --{name}" for name in ("objective", "loss") if name in own), "use")
        remedy = f"{say} logistic for two classes, softmax for more, or name another --target"
        raise ConfigError(f"column {target.name!r}", finding, remedy)
    # weight and group also where no column has the role: a side file may stand in for it
    roles = ["feature", "weight", "offset", "group"]
    roles += ["time"] if schema.role("time") is not None else []
    return (*roles, *(["target"] if algorithm.target != "none" else []))


def open_training(config: RunConfig, algorithm: Algorithm) -> tuple[Dataset, Pipeline]:
    """The Dataset of a run, and its algorithm as a Pipeline."""
    data = config.data
    if not data.data:
        raise ConfigError("data", "no input is named", "use --data PATH")
    dataset = open_dataset(data)
    schema = dataset.schema
    if schema.format.name == "parquet" and not any(sum(f.row_groups) for f in dataset.files if f.part == "train"):
        raise InputError(", ".join(data.data), "has no row", "give files with rows")
    dataset.shards(algorithm.shards)  # refused here, before any round, where there are more than blocks
    dataset = dataclasses.replace(dataset, roles=roles_of(algorithm, schema))
    return dataset, pipeline_of(algorithm, schema, data)


def identity_of(pipeline: Pipeline, dataset: Dataset, parting: Parting | None = None) -> dict[str, Any]:
    """What a resumed run must have in common with its beginning; ``parting``: how it deals rows to folds."""
    params = dict(pipeline.spec()["params"])
    algorithm, schema = params.pop("algorithm")["algorithm"], params.pop("schema")["schema"]
    return {
        "algorithm": {"class": algorithm["class"], **algorithm["params"]},
        "schema": schema,
        "transforms": params,
        "folds": None if parting is None else parting.told(),
        "inputs": [[f.part, f.name, f.size] for f in dataset.files],
        "builds": {"mrml": __version__, "numpy": np.__version__},
    }
