"""Pipelines that read off the data what the target is, and the one whose categories are codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.codes import FACTS, CodedFitted, TargetFacts
from mrml.algorithms.pipeline.fitted import Fitted
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.data.block import Block
from mrml.errors import ConfigError
from mrml.statistic import Into, Statistic


@dataclass(frozen=True)
class FactsPipeline(Pipeline):
    """Fits transforms, and looks at a target of numbers as well."""

    @cached_property
    def keys(self) -> tuple[str, ...]:
        keys = super().keys
        if self._by_number:
            return (*keys, FACTS)
        return keys if tf.TARGET in keys else (*keys, tf.TARGET)

    @cached_property
    def _by_number(self) -> bool:
        """Whether the target is read as numbers, whatever it turns out to be."""
        column = self.schema.role("target")
        numeric = column is None or column.kind == "numeric"
        return bool(self.algorithm.target == "numeric" or (self.algorithm.target == "auto" and numeric))

    def empty(self, key: str) -> Statistic:
        return TargetFacts() if key == FACTS else super().empty(key)

    def fill(self, key: str, block: Block, into: Into) -> None:
        if key == FACTS:
            assert isinstance(block.y, np.ndarray)
            into[key].fill(block.y, block.weight)  # type: ignore[attr-defined]
        else:
            super().fill(key, block, into)

    def _fit(self, values: Mapping[str, Any]) -> dict[str, Any]:
        params = super()._fit(values)
        if self.algorithm.target == "auto":
            params["target"] = "numeric" if self._by_number else "classes"
        facts: TargetFacts | None = values.get(FACTS)
        if facts is None:
            return params
        if self.algorithm.target == "auto" and facts.two_classes:
            counted = {"classes": ["0", "1"], "class_weight_sums": [facts.values["0"], facts.values["1"]]}
            return params | counted | {"target": "classes"}
        mean = facts.total / facts.sum_weight if facts.sum_weight > 0 else 0.0
        return params | {"facts": {"mean": mean, "min": facts.low, "max": facts.high}}


@dataclass(frozen=True)
class CodedPipeline(FactsPipeline):
    """Fits transforms that leave categories as codes."""

    fitted_class: ClassVar[type[Fitted]] = CodedFitted

    @cached_property
    def keys(self) -> tuple[str, ...]:
        texts = self.schema.features("text")
        if texts:
            finding = "is text, which a network of embeddings does not read"
            remedy = "give it kind categorical and name it with --hash, or leave it out with --exclude"
            raise ConfigError(f"column {texts[0].name!r}", finding, remedy)
        return super().keys

    def _fit(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {**super()._fit(values), "kind": "codes"}
