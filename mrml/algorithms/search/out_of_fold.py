"""A model of models: every row is scored by the one that was trained without the row's fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.search.parting import Parting, taken
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.model import Model, Prediction, describe, revive

_WHOLE = "whole"


class OutOfFold(Model):
    """Scores training rows, by their keys, classes or groups, with ``models`` by the number of the fold left out.

    ``whole``, the model of all rows, says what the target is; a class that a fold's model never saw has probability 0
    in it.  With one model there is nothing to choose: it scores every row.  Rows in no fold are scored NaN.
    """

    def __init__(self, whole: PipelineModel, models: Mapping[int, PipelineModel], parting: Parting) -> None:
        self.whole, self.models, self.parting = whole, dict(models), parting

    @property
    def output(self) -> str:  # type: ignore[override]
        """ "numeric" or "classes"."""
        return self.whole.output

    @property
    def classes(self) -> tuple[str, ...]:
        """The original labels by code."""
        return self.whole.classes

    @property
    def deviance(self) -> str:
        """The name of the loss the models were trained with."""
        return self.whole.deviance

    def targets(self, block: Block) -> Array | None:
        """(n_rows,) float64 targets of a raw block: values, or codes of the classes."""
        return self.whole.targets(block)

    def predict(self, block: Block) -> Prediction:
        if len(self.models) == 1 or not block.n_rows:
            return self._translated(next(iter(self.models.values())), block)
        fold = self.parting.of(block)
        found = [self._translated(self.models[number], taken(block, fold == number)) for number in self.models]

        def joined(arrays: list[Array | None]) -> Array | None:
            there = [a for a in arrays if a is not None]
            if len(there) < len(arrays):
                return None
            out = np.full((block.n_rows, *there[0].shape[1:]), np.nan, there[0].dtype)
            for number, array in zip(self.models, there, strict=True):
                out[fold == number] = array
            return out

        y_pred = joined([f.y_pred for f in found])
        assert y_pred is not None
        probability, raw = joined([f.probability for f in found]), joined([f.raw_prediction for f in found])
        return Prediction(y_pred, probability, raw)

    def _translated(self, model: PipelineModel, block: Block) -> Prediction:
        """What a model says, in the codes of all classes; raw predictions only where every model has the same."""
        found = model.predict(block)
        if any(m.classes != self.classes for m in self.models.values()):
            found = found._replace(raw_prediction=None)
        if model.classes == self.classes:
            return found
        code = np.array([self.classes.index(label) for label in model.classes])
        probability = found.probability
        if probability is not None:
            probability = np.zeros((block.n_rows, len(self.classes)))
            probability[:, code] = found.probability
        return Prediction(code[found.y_pred.astype(np.int64)].astype(np.float64), probability, None)

    def header(self) -> dict[str, Any]:
        models = {str(number): describe(model) for number, model in self.models.items()}
        return {_WHOLE: describe(self.whole), "models": models, "parting": self.parting.told()}

    def arrays(self) -> dict[str, Array]:
        named = {_WHOLE: self.whole, **{str(number): model for number, model in self.models.items()}}
        return {f"{name}.{k}": a for name, model in named.items() for k, a in model.arrays().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> OutOfFold:
        def part(name: str, told: Mapping[str, Any]) -> Any:
            own = {k.removeprefix(f"{name}."): a for k, a in arrays.items() if k.startswith(f"{name}.")}
            return revive(told, own)

        models = {int(name): part(name, told) for name, told in header["models"].items()}
        return cls(part(_WHOLE, header[_WHOLE]), dict(sorted(models.items())), Parting(**header["parting"]))


def knowing(model: PipelineModel, classes: Sequence[str]) -> PipelineModel:
    """A model whose targets are of these classes; it says what they are, and predicts in its own."""
    fitted = type(model.fitted)(model.schema, {**model.fitted.params, "classes": list(classes)})
    return PipelineModel(fitted, model.inner, model.lazy)
