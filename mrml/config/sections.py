"""What a run is: the sections data, algorithm and engine as frozen dataclasses.

One table, one truth: the command line, the YAML file, the ``MRML_*`` environment, ``mrml config show`` and
the docs are generated from the fields below and from the hyperparameters of the algorithm.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from mrml.errors import ConfigError
from mrml.params import check, param

#: Hadoop's names of mapreduce.job.priority; YARN takes whole numbers too
PRIORITIES = ("VERY_LOW", "LOW", "NORMAL", "HIGH", "VERY_HIGH")

FOLD_BY = ("auto", "row", "class", "group", "date")
_SPAN = "folds by date: train on so many stretches before a fold (rolling); 0: on all of them (expanding)"


@dataclass(frozen=True)
class DataConfig:
    """Section ``data``: where the rows are and how they are read."""

    data: tuple[str, ...] = param((), "files, directories or globs to read")
    valid: tuple[str, ...] = param((), "validation data, read like the training data")
    target: str | None = param(None, "column to predict")
    weight: str | None = param(None, "column of row weights")
    id: str | None = param(None, "column that names a row; copied to predictions")
    group: str | None = param(None, "column of groups that stay together")
    offset: str | None = param(None, "column added to the raw prediction")
    time: str | None = param(None, "column of dates or times that folds by date go by; no feature")
    features: tuple[str, ...] = param((), "only these columns are features")
    exclude: tuple[str, ...] = param((), "columns that are not features")
    categorical: tuple[str, ...] = param((), "columns of numbers that are taken as categories")
    schema: str | None = param(None, "schema file from `mrml schema`; otherwise inferred")
    format: str | None = param(None, "csv, tsv, jsonl, libsvm or parquet; otherwise from the file names")
    delimiter: str | None = param(None, "one character or several between fields; otherwise inferred")
    quote: str | None = param(None, 'one character around quoted fields; default "; none: quotes are plain characters')
    escape: str | None = param(None, "character before quotes and delimiters that are part of a text, such as \\")
    trim: bool = param(False, "take blanks around the fields of text files away")
    decimal: str | None = param(None, "decimal mark of numbers in CSV, such as a comma; default a point")
    thousands: str | None = param(None, "mark between thousands in numbers of CSV; default none")
    units: tuple[str, ...] = param(
        (), "text before or after numbers of CSV that is no part of them, such as %; may be repeated", whole=True
    )
    date_format: tuple[str, ...] = param(
        (), "how dates or times of CSV are written, such as %d/%m/%Y (Python's strptime); may be repeated", whole=True
    )
    encoding: str | None = param(None, "of text files, such as cp1252 or latin-1; default utf-8")
    skip_lines: int | None = param(None, "lines above the header, or above the first row, of every CSV file", low=0)
    columns: tuple[str, ...] = param((), "names of all fields of CSV files, without a header or in place of it")
    header: bool | None = param(None, "text files begin with column names; otherwise inferred")
    multiline: bool = param(False, "allow newlines inside quotes (the file cannot be split)")
    na: tuple[str, ...] = param(
        (), "texts that mean null, too; with the empty text among them, the only ones", blank=True
    )
    index_base: int | None = param(None, "first LibSVM index, 0 or 1; otherwise inferred")
    absent: str | None = param(
        None,
        "what an index that a LibSVM line leaves out means; default zero, for trees missing",
        choices=("zero", "missing"),
    )
    bad_rows: str = param("fail", "what a malformed row does", choices=("fail", "skip"))
    max_bad_rows: int = param(1000, "with bad_rows skip: more than this fail", low=0)
    hash: tuple[str, ...] = param((), "categorical columns that are hashed instead of one-hot")
    hash_bits: int = param(18, "columns of hashed features, as a power of two", low=1, high=24)
    max_levels: int = param(256, "most frequent levels of a category that get a column of their own", low=1)
    bins: int = param(0, "quantile bins of a numeric column; 0 keeps its values", low=0, high=1024)
    window_bytes: int = param(4 << 20, "bytes of text that make a block (part of the model's identity)", low=64)
    split_bytes: int = param(64 << 20, "bytes that one map task reads", low=64)


@dataclass(frozen=True)
class SearchConfig:
    """Section ``search``: which candidates there are, and how the best of them is found."""

    method: str = param(
        "random",
        "grid, every combination; random, drawn ones; halving, drawn ones of which only the best train to the end; "
        "hyperband, the same of several lengths of patience; tpe, chosen by the scores of those before (Optuna)",
        choices=("grid", "random", "halving", "hyperband", "tpe"),
    )
    trials: int = param(20, "candidates, but of a grid", low=1)
    resource: str = param(
        "rounds",
        "halving, hyperband: what those that go on get more of; with rows they are trained anew on a larger share",
        choices=("rounds", "rows"),
    )
    wave: int = param(5, "tpe: candidates that train side by side before the next are chosen", low=1)
    max_seconds: float | None = param(None, "of the search, after which what has been trained so far is judged")
    max_model_bytes: int = param(0, "largest model that may be the best; 0 any", low=0)
    points: int = param(5, "grid: values of a range", low=2)
    metric: str | None = param(
        None,
        "what candidates are judged by; default log_loss for classes, rmse for numbers, ndcg for rankings",
        choices=("auc", "pr_auc", "accuracy", "log_loss", "rmse", "mae", "r2", "deviance", "ndcg"),
    )
    folds: int | None = param(
        None, "folds to judge by; 0: by the rows of valid; default 0 where there are, else 5", low=0
    )
    fold_by: str = param("auto", "what deals rows to folds, as in training", choices=FOLD_BY)
    fold_seed: int = param(0, "of the draws of folds")
    fold_span: int = param(0, _SPAN, low=0)
    eta: float = param(3.0, "halving, hyperband: one of so many goes on, and gets so many times as much", low=1.5)
    seed: int = param(0, "of the draws of candidates")


@dataclass(frozen=True)
class EngineConfig:
    """Section ``engine``: where the rounds run.  Nothing here changes a model."""

    engine: str = param(
        "auto",
        "where the rounds run; auto: inline for small data on this machine, else local; with -r hadoop resident",
        choices=("auto", "inline", "local", "streaming", "resident"),
    )
    runner: str = param(
        "local", "mrjob runner of the streaming and resident engines (-r)", choices=("inline", "local", "hadoop")
    )
    workers: int | None = param(None, "worker processes; default one a core", low=1)
    min_workers: int = param(1, "resident: tasks that are there before the first round begins", low=1)
    driver_host: str | None = param(
        None, "resident: address of this machine that tasks dial; default the one that reaches the ResourceManager"
    )
    driver_ports: str | None = param(None, "resident: ports of this machine, A-B, of which a free one is taken")
    heartbeat_timeout_s: float = param(30.0, "resident: a task that is silent for so long is lost", low=1.0)
    idle_release_s: float = param(
        60.0, "resident: a task that had no split for so long is let go, and its container given back", low=0.0
    )
    fallback: str = param(
        "streaming",
        "resident: without any task the run goes on by jobs, or ends with exit code 5",
        choices=("streaming", "none"),
    )
    cache_dir: str | None = param(None, "folder for decoded blocks; default the system's temporary one")
    task_python: str | None = param(None, "hadoop: interpreter on the nodes that has mrml; default this one")
    environment: str | None = param(None, "hadoop: archive of `mrml pack`, on HDFS or here; tasks run its Python")
    feed: str = param(
        "direct",
        "hadoop: direct, tasks read their rows from HDFS; stream, Hadoop reads text where it lies and feeds it to them",
        choices=("direct", "stream"),
    )
    uber: str = param(
        "auto",
        "hadoop: a small round runs inside its application master, 3 s faster; auto: up to 16 MiB of input",
        choices=("auto", "never", "always"),
    )
    reducers: int = param(1, "hadoop: reduce tasks of a job", low=1)
    queue: str | None = param(None, "hadoop: YARN queue")
    memory_mb: int | None = param(None, "hadoop: megabytes of a task's container, for Java and Python", low=1)
    vcores: int | None = param(None, "hadoop: cores of a task's container", low=1)
    gpus_per_task: int | None = param(None, "hadoop: GPUs (yarn.io/gpu) of a map task's container", low=1)
    priority: str | None = param(None, "hadoop: VERY_LOW, LOW, NORMAL, HIGH, VERY_HIGH or a whole number")
    jobconf: tuple[str, ...] = param((), "hadoop: a property of the jobs, KEY=VALUE; may be repeated (-D)", whole=True)
    max_wait_s: float = param(3600.0, "hadoop: seconds to wait for room in the queue", low=0.0, aliases=("max_wait",))
    round_timeout_s: float = param(86400.0, "hadoop: seconds that a job may take", low=0.0)
    keytab: str | None = param(None, "Kerberos: keytab from which tickets are fetched while the run goes on")
    principal: str | None = param(None, "Kerberos: whose tickets, NAME@REALM")
    allow_import: tuple[str, ...] = param(
        (), "package.module of your own, whose code a model may name; may be repeated", whole=True
    )
    strict_identity: bool = param(False, "differing kernel fingerprints among processes are an error")

    @property
    def on_yarn(self) -> bool:
        """Whether rounds are jobs of a cluster."""
        return self.engine in ("auto", "streaming", "resident") and self.runner == "hadoop"

    def properties(self) -> dict[str, str]:
        """The properties of a job: what options have a name for, and ``jobconf``, which wins."""
        found: dict[str, str] = {}
        for kind in ("map", "reduce"):
            for key, value in (("memory.mb", self.memory_mb), ("cpu.vcores", self.vcores)):
                found |= {f"mapreduce.{kind}.{key}": str(value)} if value is not None else {}
        if self.gpus_per_task is not None:
            found["mapreduce.map.resource.yarn.io/gpu"] = str(self.gpus_per_task)
        if self.priority is not None:
            if self.priority.upper() not in PRIORITIES and not self.priority.lstrip("-").isdigit():
                remedy = f"give one of {', '.join(PRIORITIES)}, or a whole number"
                raise ConfigError("engine, priority", f"{self.priority!r} is unknown", remedy)
            found["mapreduce.job.priority"] = self.priority.upper()
        for pair in self.jobconf:
            if "=" not in pair:
                raise ConfigError("engine, jobconf", f"{pair!r} has no value", "write KEY=VALUE")
        return found | dict(pair.split("=", 1) for pair in self.jobconf)


@dataclass(frozen=True)
class RunConfig:
    """A training run."""

    algorithm: str = param("", "name from the table of algorithms, or package.module:Class")
    params: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    output: str = param("", "directory of the model; must not exist, or hold this run where it was stopped")
    max_rounds: int | None = param(None, "stop after this many rounds; --resume goes on", low=1)
    resume: bool = param(False, "go on from the last checkpoint of the output, also of a finished one")
    overwrite: bool = param(False, "replace an output that exists")
    strict: bool = param(False, "exit 6 when the run does not converge")
    log_dir: str | None = param(None, "folder for event files, from which TensorBoard draws the rounds' figures")
    mlflow: str | None = param(None, "URI of MLflow's server or folder to log the run to; credentials by its variables")
    folds: int = param(
        0, "beside the model of all rows train one without each of so many folds, in the same scans, to judge by", low=0
    )
    fold_by: str = param(
        "auto",
        "what deals rows to folds: row, a draw by its key; class, evenly of each; group, whole ones; date, stretches "
        "of time, each judged by what comes before it; auto: group where a column is one, else class where there are "
        "classes",
        choices=FOLD_BY,
    )
    fold_seed: int = param(0, "of the draws of folds")
    fold_span: int = param(0, _SPAN, low=0)
    oof: str | None = param(None, "with folds: directory for every row's prediction by the model that did not see it")

    def __post_init__(self) -> None:
        for name, section in (("run", self), ("data", self.data), ("engine", self.engine)):
            for f in dataclasses.fields(section):
                check(f, getattr(section, f.name), f"{name}, {f.name}")
