"""The steps of ``mrml run``, in their order, and what each is configured with.

Floor 2: the fields of these dataclasses are the keys below ``steps:`` in a run file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrml.config.gate import Gate
from mrml.config.parse import from_yaml
from mrml.config.sources import options
from mrml.errors import ConfigError, nearest
from mrml.params import param


@dataclass(frozen=True)
class Limits:
    """How far rows may differ from earlier ones; shares are between 0 and 1."""

    psi: float = param(0.25, "largest population stability index of a column; above 0.1 it is reported", low=0.0)
    unseen: float = param(0.01, "largest share of rows with a category that was not there before", low=0.0, high=1.0)
    missing: float = param(0.05, "largest increase of the share of missing values", low=0.0, high=1.0)
    out_of_range: float = param(0.01, "largest share of numbers outside the earlier range", low=0.0, high=1.0)
    bad_rows: float = param(
        0.0, "largest share of malformed rows, such as a text in a numeric column", low=0.0, high=1.0
    )
    min_rows: int = param(1, "smallest number of rows", low=0)
    unjudged: tuple[str, ...] = param((), "columns that are shown but have no limits")


@dataclass(frozen=True)
class ValidateStep(Limits):
    """Check the rows for drift from those that the model in service was trained on, before training on them."""

    data: tuple[str, ...] = param((), "rows to check; default: the training rows")
    against: str = param("", "model, schema file or rows to compare with; default: the model in service")


@dataclass(frozen=True)
class TrainStep:
    """Train `algorithm` on `data`."""

    warm_start: bool = param(False, "begin from the model in service; boosting adds its trees to those of that one")


@dataclass(frozen=True)
class EvaluateStep:
    """Compute the metrics of the new model and of the one in service on the same rows."""

    data: tuple[str, ...] = param((), "rows with a target; default: the validation rows, else the training rows")


@dataclass(frozen=True)
class GateStep:
    """Check a condition before the model is put into service."""

    expression: str = param("", "condition on metrics, such as auc >= champion.auc - 0.002 and rows > 1000")

    def __post_init__(self) -> None:
        Gate(self.expression)


@dataclass(frozen=True)
class PromoteStep:
    """Put the model into service in the store."""


@dataclass(frozen=True)
class PredictStep:
    """Predict with the model in service, or, without a store, with the new one."""

    data: tuple[str, ...] = param((), "rows to predict for; default: the training rows")
    output: str = param("", "directory for the predictions, replaced as a whole; default: in the run's directory")
    format: str = param("parquet", "file format of the predictions", choices=("parquet", "csv", "jsonl"))


@dataclass(frozen=True)
class ReportStep:
    """Write a report about the run, at the end, also if a step failed."""

    output: str = param("", "file to write; default: report.html in the run's directory")


Step = ValidateStep | TrainStep | EvaluateStep | GateStep | PromoteStep | PredictStep | ReportStep
#: the steps in their order
STEPS: dict[str, type[Step]] = {
    "validate": ValidateStep,
    "train": TrainStep,
    "evaluate": EvaluateStep,
    "gate": GateStep,
    "promote": PromoteStep,
    "predict": PredictStep,
    "report": ReportStep,
}


def read(node: Any, file: str) -> dict[str, Step]:
    """The steps of a run file, in their order; ConfigError for an unknown step or key."""
    place = f"{file}, steps"
    if not isinstance(node, dict) or not node:
        raise ConfigError(place, "names no step", f"give some of {', '.join(STEPS)}")
    for name in node:
        if name not in STEPS:
            raise ConfigError(place, f"unknown step {name!r}", nearest(str(name), STEPS))
    return {name: _step(cls, node[name], f"{place}.{name}") for name, cls in STEPS.items() if name in node}


def _step(cls: type[Step], node: Any, place: str) -> Step:
    known = {o.name: o for o in options(cls, "steps")}
    if node is None or node is True:  # the step with its defaults
        node = {}
    if isinstance(node, str) and len(known) == 1:  # the one thing that it takes
        node = {next(iter(known)): node}
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"{node!r} is not a section", f"indent its keys: {', '.join(known) or 'none'}")
    for key in node:
        if key not in known:
            raise ConfigError(place, f"unknown key {key!r}", nearest(str(key), known) if known else "it has none")
    values = {
        key: known[key].checked(from_yaml(value, known[key].type, f"{place}.{key}"), f"{place}.{key}")
        for key, value in node.items()
    }
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(place, error.finding, error.remedy) from error
