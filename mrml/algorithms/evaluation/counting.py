"""How many records every block holds: what turns a block and an ordinal into a row number of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.model import Model
from mrml.schema import Schema
from mrml.statistic import Into, Statistic


class BlockCounts(Statistic):
    """Records of each (file, block): exact."""

    exact = True

    def __init__(self) -> None:
        self.counts: dict[tuple[int, int], int] = {}

    def merge(self, other: BlockCounts) -> None:
        self.counts.update(other.counts)

    def to_wire(self) -> Any:
        return np.array([[f, b, n] for (f, b), n in sorted(self.counts.items())], np.int64).reshape(-1, 3)

    @classmethod
    def from_wire(cls, tree: Any) -> BlockCounts:
        out = cls()
        out.counts = {(f, b): n for f, b, n in tree.tolist()}
        return out

    def starts(self) -> dict[str, Array]:
        """File number -> (n_blocks,) int64: the ordinal of each block's first record in its file."""
        files: dict[int, list[int]] = {}
        for (file, _), n in sorted(self.counts.items()):
            files.setdefault(file, []).append(n)
        return {str(f): np.cumsum([0, *counts[:-1]], dtype=np.int64) for f, counts in files.items()}


@dataclass(frozen=True)
class CountRecords(Algorithm):
    """One round; the State's ``starts`` are :meth:`BlockCounts.starts`."""

    does = "count"

    def init(self, schema: Schema) -> State:
        return State({})

    def statistic(self, state: State, key: str) -> Statistic:
        return BlockCounts()

    def map(self, state: State, block: Block, into: Into) -> None:
        counts = into["records"]
        assert isinstance(counts, BlockCounts)
        counts.counts[block.file, block.index] = block.n_records

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        return state.next(stop="counted", starts=values["records"].starts())

    def model(self, state: State, schema: Schema) -> Model:
        raise NotImplementedError("a count is not a model")
