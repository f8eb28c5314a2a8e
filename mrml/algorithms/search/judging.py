"""Models of a candidate's members, and the States in which they are about to be judged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrml.algorithm import State
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.pipeline.transforms import label_order
from mrml.algorithms.search.grid import Grid
from mrml.algorithms.search.out_of_fold import OutOfFold, knowing
from mrml.algorithms.search.parting import Parting
from mrml.algorithms.search.scores import FIRST_BINS
from mrml.errors import ConfigError
from mrml.model import Model, describe
from mrml.schema import Schema


def models_of(trainer: Grid, train: State, numbers: Sequence[int], schema: Schema) -> dict[int, PipelineModel]:
    """The models of members by number; none of a member that failed, or has none yet."""
    found = {}
    for number in numbers:
        try:
            model = trainer.model_of(train, number, schema)
        except ConfigError:  # only its transforms are fitted
            continue
        if isinstance(model, PipelineModel):
            found[number] = model
    return found


def judges_of(
    models: Mapping[int, PipelineModel], numbers: Sequence[int], each: int, parting: Parting, schema: Schema
) -> dict[int, Any]:
    """The States, as trees, in which some members of one candidate are about to be judged, on the classes of all of its
    ``models``, which are ``each`` in number where none failed."""
    if not models:
        return {}
    classes = label_order(list({label for model in models.values() for label in model.classes}))
    whole = max(models.values(), key=lambda m: len(m.classes))
    if len(whole.classes) < len(classes):  # each fold holds all rows of a class
        whole = knowing(whole, classes)
    found: dict[int, Any] = {}
    for number in (n for n in numbers if n in models):
        own = models[number]
        model: Model = own if own.classes == whole.classes else OutOfFold(whole, {number % each: own}, parting)
        found[number] = Evaluate(scorer=model, first_bins=FIRST_BINS).init(schema).to_wire()
    return found


def n_bytes(model: PipelineModel) -> int:
    """About how large a model's files are: its arrays, and its header as text."""
    return sum(array.nbytes for array in model.arrays().values()) + len(json.dumps(describe(model), default=str))
