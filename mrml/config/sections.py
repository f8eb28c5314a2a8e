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
_SPAN = "folds by date: train on this many periods before a fold (rolling window); 0: on all of them (expanding)"


@dataclass(frozen=True)
class DataConfig:
    """Section ``data``: where the rows are and how they are read."""

    data: tuple[str, ...] = param((), "files, directories or globs to read")
    valid: tuple[str, ...] = param((), "validation data, read like the training data")
    target: str | None = param(None, "column to predict")
    weight: str | None = param(None, "column of row weights")
    id: str | None = param(None, "column that identifies a row; copied to the predictions, never a feature")
    group: str | None = param(None, "column of groups: ranking groups, and rows that stay in one fold")
    offset: str | None = param(None, "column that is added to the raw prediction, such as log(exposure)")
    time: str | None = param(None, "column of dates or times for --fold-by date; never a feature")
    features: tuple[str, ...] = param((), "use only these columns as features")
    exclude: tuple[str, ...] = param((), "columns that are not used as features")
    categorical: tuple[str, ...] = param((), "numeric columns to treat as categories")
    schema: str | None = param(None, "schema file written by `mrml schema`; default: inferred from the data")
    format: str | None = param(None, "csv, tsv, jsonl, libsvm or parquet; default: from the file names")
    delimiter: str | None = param(None, "text between fields, one or several characters; default: inferred")
    quote: str | None = param(None, 'quote character; none: quotes have no meaning; default: "')
    escape: str | None = param(None, "escape character before quotes and delimiters inside a field, such as \\")
    trim: bool = param(False, "strip spaces around the fields of text files")
    decimal: str | None = param(None, "decimal separator of numbers in CSV; default: a point")
    thousands: str | None = param(None, "thousands separator of numbers in CSV; default: none")
    units: tuple[str, ...] = param(
        (), "unit before or after numbers in CSV that is ignored, such as %; may be repeated", whole=True
    )
    date_format: tuple[str, ...] = param(
        (), "format of dates or times in CSV, such as %d/%m/%Y (Python's strptime); may be repeated", whole=True
    )
    encoding: str | None = param(None, "encoding of text files, such as cp1252 or latin-1; default: utf-8")
    skip_lines: int | None = param(None, "lines to skip at the start of every CSV file", low=0)
    columns: tuple[str, ...] = param((), "column names of CSV files that have no header, or to replace it")
    header: bool | None = param(None, "whether text files begin with column names; default: inferred")
    multiline: bool = param(False, "allow newlines inside quotes; the file is then not split")
    na: tuple[str, ...] = param(
        (), "more texts that mean null; if the empty text is one of them, they replace the usual ones", blank=True
    )
    index_base: int | None = param(None, "first LibSVM index, 0 or 1; default: inferred")
    absent: str | None = param(
        None,
        "value of indices that a LibSVM line leaves out; default: zero, for trees missing",
        choices=("zero", "missing"),
    )
    bad_rows: str = param("fail", "what to do with malformed rows", choices=("fail", "skip"))
    max_bad_rows: int = param(1000, "with --bad-rows skip: fail if there are more malformed rows", low=0)
    hash: tuple[str, ...] = param((), "categorical columns to hash instead of one-hot encoding them")
    hash_bits: int = param(18, "number of hashed features, as a power of two", low=1, high=24)
    max_levels: int = param(256, "one-hot encode at most this many levels of a category, the most frequent ones", low=1)
    bins: int = param(0, "cut numeric columns into this many quantile bins; 0: keep the numbers", low=0, high=1024)
    window_bytes: int = param(
        4 << 20, "bytes of text in a block; another value changes the last digits of a model", low=64
    )
    split_bytes: int = param(64 << 20, "bytes that one map task reads, at least a block", low=64)


@dataclass(frozen=True)
class SearchConfig:
    """Section ``search``: which candidates there are, and how the best of them is found."""

    method: str = param(
        "random",
        "how candidates are chosen: grid, every combination; random; halving, random and only the best are trained to "
        "the end; hyperband, halving with several rates; tpe, by the scores of earlier ones (Optuna)",
        choices=("grid", "random", "halving", "hyperband", "tpe"),
    )
    trials: int = param(20, "number of candidates (not of a grid)", low=1)
    resource: str = param(
        "rounds",
        "halving, hyperband: what the survivors get more of; rows: they are trained again on more rows",
        choices=("rounds", "rows"),
    )
    wave: int = param(5, "tpe: candidates trained at the same time before the next are chosen", low=1)
    max_seconds: float | None = param(
        None, "time limit of the search in seconds; then the best candidate so far is taken"
    )
    max_model_bytes: int = param(0, "largest size of the best model in bytes; 0: no limit", low=0)
    points: int = param(5, "grid: number of values of a range", low=2)
    metric: str | None = param(
        None,
        "metric to compare candidates by; default: log_loss for classes, rmse for numbers, ndcg for rankings",
        choices=("auc", "pr_auc", "accuracy", "log_loss", "rmse", "mae", "r2", "deviance", "ndcg"),
    )
    folds: int | None = param(
        None, "number of folds; 0: use the --valid rows; default: 0 if there are --valid rows, else 5", low=0
    )
    fold_by: str = param("auto", "how rows are assigned to folds, as in mrml train", choices=FOLD_BY)
    fold_seed: int = param(0, "seed of the assignment to folds")
    fold_span: int = param(0, _SPAN, low=0)
    eta: float = param(3.0, "halving, hyperband: one of this many survives, and gets this many times as much", low=1.5)
    seed: int = param(0, "random seed of the candidates")


@dataclass(frozen=True)
class EngineConfig:
    """Section ``engine``: where the rounds run.  Nothing here changes a model."""

    engine: str = param(
        "auto",
        "where rounds run; auto: inline for small data, else local; with -r hadoop: resident",
        choices=("auto", "inline", "local", "streaming", "resident"),
    )
    runner: str = param(
        "local",
        "runner of the streaming and resident engines: hadoop is a cluster",
        choices=("inline", "local", "hadoop"),
    )
    workers: int | None = param(None, "number of workers; default: one per core", low=1)
    min_workers: int = param(1, "resident: start the first round when this many tasks are running", low=1)
    driver_host: str | None = param(
        None,
        "resident: address of this machine that tasks connect to; default: that of the route to the ResourceManager",
    )
    driver_ports: str | None = param(
        None, "resident: range of ports on this machine to listen on; default: any free port"
    )
    heartbeat_timeout_s: float = param(
        30.0, "resident: seconds without a heartbeat after which a task is considered lost", low=1.0
    )
    idle_release_s: float = param(
        60.0, "resident: release the container of a task that has had no split for this many seconds", low=0.0
    )
    fallback: str = param(
        "streaming",
        "resident: if all tasks are lost, continue with a job per round (streaming), or end with exit code 5 (none)",
        choices=("streaming", "none"),
    )
    cache_dir: str | None = param(None, "scratch folder for decoded blocks; default: the system's temporary folder")
    task_python: str | None = param(
        None, "hadoop: Python interpreter on the nodes, with mrml installed; default: the path of this one"
    )
    environment: str | None = param(
        None, "hadoop: archive made by `mrml pack`, a file or an HDFS URI; tasks run its Python"
    )
    feed: str = param(
        "direct",
        "hadoop, streaming engine: tasks read from HDFS (direct), or Hadoop feeds them lines of text (stream)",
        choices=("direct", "stream"),
    )
    uber: str = param(
        "auto",
        "hadoop, streaming engine: run a job inside its application master, 3 s faster; auto: up to 16 MiB of input",
        choices=("auto", "never", "always"),
    )
    reducers: int = param(1, "hadoop, streaming engine: reduce tasks of a job", low=1)
    queue: str | None = param(None, "hadoop: YARN queue; default: the cluster's")
    memory_mb: int | None = param(
        None, "hadoop: megabytes of a task's container, Java and Python together; default: the cluster's", low=1
    )
    vcores: int | None = param(None, "hadoop: cores of a task's container; default: the cluster's", low=1)
    gpus_per_task: int | None = param(None, "hadoop: GPUs (yarn.io/gpu) of a task's container; default: none", low=1)
    priority: str | None = param(
        None, "hadoop: priority of the jobs: VERY_LOW, LOW, NORMAL, HIGH, VERY_HIGH or an integer"
    )
    jobconf: tuple[str, ...] = param((), "hadoop: a Hadoop property of the jobs; may be repeated", whole=True)
    max_wait_s: float = param(
        3600.0, "hadoop: seconds to wait for free resources in the queue", low=0.0, aliases=("max_wait",)
    )
    round_timeout_s: float = param(86400.0, "hadoop: seconds after which a job is ended as too slow", low=0.0)
    keytab: str | None = param(None, "Kerberos: keytab to renew tickets from during the run")
    principal: str | None = param(None, "Kerberos: principal of the keytab")
    allow_import: tuple[str, ...] = param((), "module of your own that a model may import; may be repeated", whole=True)
    strict_identity: bool = param(
        False, "fail if processes compute different last bits (fingerprints), instead of warning"
    )

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

    algorithm: str = param("", "name of an algorithm, or package.module:Class")
    params: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    output: str = param("", "directory for the model; it must not exist, or must hold this run, interrupted")
    max_rounds: int | None = param(None, "stop after this many rounds; --resume continues", low=1)
    resume: bool = param(
        False, "continue from the last checkpoint in the output directory; a finished run is printed again"
    )
    overwrite: bool = param(False, "replace an existing output")
    strict: bool = param(False, "end with exit code 6 if the run does not converge")
    log_dir: str | None = param(None, "write event files for TensorBoard to this folder")
    mlflow: str | None = param(
        None, "MLflow server or folder to log the run to; credentials come from MLflow's environment variables"
    )
    folds: int = param(
        0,
        "cross-validation: also train one model without each of this many folds, in the same passes over the data",
        low=0,
    )
    fold_by: str = param(
        "auto",
        "how rows are assigned to folds: row, at random; class, stratified; group, whole groups; date, by time, each "
        "judged by a model of what comes before it; auto: group if there is a --group, else class if the target is "
        "classes",
        choices=FOLD_BY,
    )
    fold_seed: int = param(0, "seed of the assignment to folds")
    fold_span: int = param(0, _SPAN, low=0)
    oof: str | None = param(None, "with --folds: directory for out-of-fold predictions")

    def __post_init__(self) -> None:
        for name, section in (("run", self), ("data", self.data), ("engine", self.engine)):
            for f in dataclasses.fields(section):
                check(f, getattr(section, f.name), f"{name}, {f.name}")
