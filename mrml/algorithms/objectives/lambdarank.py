"""Lambdarank as an objective, and the check that a group's rows stand together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrml import losses
from mrml.algorithms.objectives.base import MIN_HESSIAN, Bounds, Objective, Range
from mrml.arrays import Array
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.kernels import groups
from mrml.kernels.random import bits
from mrml.schema import Design
from mrml.statistic import Statistic

#: groups beyond these are looked at by sample
KEPT_GROUPS = 1 << 16
_REMEDY = "sort the rows by the group column"


class LambdarankObjective(Objective):
    """NDCG of groups by LightGBM's lambdarank: targets are relevances, whole numbers from 0."""

    name = "lambdarank"
    least = (0.0, True)
    takes = ("lambdarank_truncation", "lambdarank_norm", "ndcg_at")
    loss = losses.half_squared_error  # for the inverse link: the raw prediction itself
    grouped = True

    def __init__(self, lambdarank_truncation: int = 30, lambdarank_norm: bool = True, ndcg_at: int = 10) -> None:
        self.truncation, self.norm, self.at = lambdarank_truncation, lambdarank_norm, ndcg_at

    @property
    def deviance(self) -> str:
        return f"lambdarank:{self.at}"

    def base(self, design: Design, facts: Mapping[str, Any]) -> Array:
        return np.zeros(1)

    def gradients(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return self.evaluate_groups(y, raw, np.zeros(1, np.int64))[1:]

    def values(self, y: Array, raw: Array) -> Array:
        return self.evaluate_groups(y, raw, np.zeros(1, np.int64))[0]

    def evaluate_groups(self, y: Array, raw: Array, starts: Array) -> tuple[Array, Array, Array]:
        lost = 1.0 - groups.ndcg(y, raw[0], starts, self.at)
        g, h = groups.lambdarank(y, raw[0], starts, self.truncation, self.norm)
        return np.repeat(lost, groups.sizes_of(starts, len(y))), g[None], np.maximum(h, MIN_HESSIAN)[None]

    def bounds(self, known: Range) -> Bounds:
        """A pair pulls by at most 1, or 100 where it is divided by 0.01 and the distance; a row is in at most the pairs
        of its group; normed, the pulls of a group sum to ``log2(1 + sum)``, of which a row has half."""
        n = max(known.max_group, 2)
        pulls = 100.0 * n * min(self.truncation, n)
        most = float(np.log2(1.0 + 2.0 * pulls)) / 2 if self.norm else float(n)
        return Bounds(most, most, False)

    def check(self, facts: Mapping[str, Any], classes: tuple[str, ...]) -> None:
        super().check(facts, classes)
        if facts.get("max", 0.0) > 31:
            finding = f"holds {facts['max']:g}, and a relevance r gains 2**r - 1"
            raise InputError("target", finding, "give relevances from 0 to 31")


def group_starts(block: Block) -> Array:
    """(n_groups,) int64: the first rows of a block's groups; InputError where a group comes twice."""
    if block.group is None:
        raise ConfigError("data, group", "lambdarank ranks within groups, and none are named", "give --group COLUMN")
    codes = block.group.codes if isinstance(block.group, Coded) else block.group
    starts = groups.starts_of(codes)
    values, first = np.unique(codes[starts], return_index=True)
    if len(values) < len(starts):
        again = int(np.setdiff1d(np.arange(len(starts)), first)[0])
        row = int(starts[again])
        shown = block.group.levels[codes[row]] if isinstance(block.group, Coded) else f"{codes[row]:g}"
        finding = f"the rows of group {str(shown)!r} are not together"
        raise InputError(f"file {block.file}, block {block.index}, row {int(block.rows[row])}", finding, _REMEDY)
    return starts


class GroupRuns(Statistic):
    """How often each group begins: of the 65,536 groups whose hashes are least, so exact and bounded.

    ``counts`` maps the hash to the runs of rows; ``longest`` is the most rows of a group.
    """

    exact = True

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.longest = 0

    def fill(self, block: Block) -> None:
        """Take the groups of a block; none straddles blocks."""
        starts = group_starts(block)
        hashes, counts = np.unique(_hashes(block.group, starts), return_counts=True)
        self._take(dict(zip(hashes[:KEPT_GROUPS].tolist(), counts.tolist(), strict=False)))
        self.longest = max(self.longest, int(groups.sizes_of(starts, block.n_rows).max(initial=0)))

    def _take(self, counts: Mapping[int, int]) -> None:
        for key, n in counts.items():
            self.counts[key] = self.counts.get(key, 0) + n
        if len(self.counts) > 2 * KEPT_GROUPS:
            self._trim()

    def _trim(self) -> None:
        self.counts = {key: self.counts[key] for key in sorted(self.counts)[:KEPT_GROUPS]}

    def merge(self, other: GroupRuns) -> None:
        self._take(other.counts)
        self.longest = max(self.longest, other.longest)

    def check(self) -> None:
        """InputError where a group begins more than once."""
        self._trim()
        if any(n > 1 for n in self.counts.values()):
            raise InputError("the group column", "the rows of a group are not together", _REMEDY)

    def to_wire(self) -> Any:
        self._trim()
        keys = sorted(self.counts)
        counts = np.array([self.counts[k] for k in keys], np.int64)
        return {"keys": np.array(keys, np.uint64), "counts": counts, "longest": self.longest}

    @classmethod
    def from_wire(cls, tree: Any) -> GroupRuns:
        out = cls()
        out.counts = dict(zip(tree["keys"].tolist(), tree["counts"].tolist(), strict=True))
        out.longest = tree["longest"]
        return out

    def n_bytes(self) -> int:
        return 100 * len(self.counts)


def _hashes(group: Array | Coded | None, starts: Array) -> Array:
    """(n_groups,) uint64."""
    if isinstance(group, Coded):
        digests = [hashlib.blake2b(level.encode(), digest_size=8).digest() for level in group.levels.tolist()]
        return np.frombuffer(b"".join(digests), "<u8")[group.codes[starts]]
    assert group is not None
    plain = group[starts].astype(np.float64) + 0.0 if group.dtype.kind == "f" else group[starts].astype(np.int64)
    return bits(0, 0, plain.view(np.uint64))
