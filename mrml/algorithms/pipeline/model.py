"""The model of a pipeline: the fitted transforms and the inner model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from mrml.algorithms.pipeline.bins import Binned
from mrml.algorithms.pipeline.codes import CodedFitted
from mrml.algorithms.pipeline.fitted import Fitted
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError
from mrml.model import Model, Prediction, describe, load, revive
from mrml.schema import Schema

#: transforms by the kind in a header; without one they make a matrix
_KINDS: dict[str, type[Fitted]] = {"bins": Binned, "codes": CodedFitted}


#: where a run says which model it goes on from
INIT_MODEL = "algorithm, init_model"
M = TypeVar("M", bound=Model)


class PipelineModel(Model):
    """The transforms and the inner model: predicts from raw columns, in the labels of the training data."""

    def __init__(self, fitted: Fitted, inner: Model, lazy: bool) -> None:
        self.fitted, self.inner, self.lazy = fitted, inner, lazy

    @property
    def output(self) -> str:  # type: ignore[override]
        """What the inner model's y_pred is."""
        return self.inner.output

    @property
    def classes(self) -> tuple[str, ...]:
        """The original labels by code."""
        return self.fitted.classes

    @property
    def schema(self) -> Schema:
        """The columns it was trained on."""
        return self.fitted.schema

    @property
    def deviance(self) -> str:
        """The name of the loss it was trained with."""
        return str(getattr(self.inner, "loss", "half_squared_error"))

    def targets(self, block: Block, strict: bool = True) -> Array | None:
        """(n_rows,) float64 targets of a raw block: values, or codes of the classes; a class that it does not know is
        an InputError, or NaN where that is not strict."""
        return self.fitted.targets(block, strict)

    def design(self, block: Block) -> Block:
        """The design block of a raw block, whose target may be unknown or absent."""
        return self.fitted.prediction_block(dataclasses.replace(block, y=None), self.lazy)

    def predict(self, block: Block) -> Prediction:
        return self.inner.predict(self.design(block))

    def transform(self, block: Block) -> Block:
        return self.design(block)

    def header(self) -> dict[str, Any]:
        inner = describe(self.inner)
        transforms = self.fitted.header()
        return {"schema": self.schema.to_json(), "transforms": transforms, "lazy": self.lazy, "model": inner}

    def arrays(self) -> dict[str, Array]:
        return self.fitted.arrays() | {f"model.{k}": v for k, v in self.inner.arrays().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> PipelineModel:
        kind = _KINDS.get(header["transforms"].get("kind", ""), Fitted)
        inner = {k.removeprefix("model."): v for k, v in arrays.items() if k.startswith("model.")}
        fitted = kind.from_parts(Schema.from_json(header["schema"]), header["transforms"], arrays)
        return cls(fitted, revive(header["model"], inner), header["lazy"])

    def to_sklearn(self) -> Any:
        """The inner estimator, with classes as the target's own values: integers, truths or texts.

        Of a linear model with categories (or bins, or hashes) a Pipeline, which takes the raw data frame; of others it
        is over the design matrix, behind the transforms where they are only an affine map.
        """
        estimator = self.inner.to_sklearn()
        target = self.schema.role("target")
        if target is not None and self.classes and hasattr(estimator, "classes_"):
            estimator.classes_ = _labels(self.classes, target.source)
        makes_columns = self.fitted.onehot or self.fitted.edges or self.fitted.hash
        if not makes_columns or self.schema.sparse or not hasattr(estimator, "coef_"):
            return estimator
        from mrml.algorithms.pipeline.leaving import pipeline_of

        return pipeline_of(self.fitted, self.lazy, estimator)


def begun_from(path: str, inner: type[M], called: str, remedy: str) -> tuple[PipelineModel, M]:
    """The model that a run goes on from, and its inner one; ConfigError where that is of another kind."""
    model = load(path)
    if not (isinstance(model, PipelineModel) and isinstance(model.inner, inner)):
        raise ConfigError(INIT_MODEL, f"{path} is not a {called}", remedy)
    return model, model.inner


def check_same_target(path: str, was: tuple[str, tuple[str, ...]], here: tuple[str, tuple[str, ...]]) -> None:
    """ConfigError where the model to go on from has another loss, or other classes, than this run."""
    if was[0] != here[0]:
        raise ConfigError(INIT_MODEL, f"{path} has the loss {was[0]}, and this run {here[0]}", "name one of the same")
    if was[1] != here[1]:
        finding = f"{path} has the classes {', '.join(was[1])}, and the data {', '.join(here[1])}"
        raise ConfigError(INIT_MODEL, finding, "begin without one")


def _labels(classes: tuple[str, ...], source: str) -> Array:
    """(n_classes,) the classes as values of the target's source, where each is one."""
    if source == "bool" and set(classes) <= {"true", "false"}:
        return np.array([text == "true" for text in classes])
    whole = source.startswith(("int", "uint")) and all(text.lstrip("-").isdecimal() for text in classes)
    return np.array([int(text) for text in classes]) if whole else np.array(classes)
