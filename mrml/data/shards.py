"""What a round reads: Blocks one by one, or runs of them whole, the shards of local training.

A shard is a run of consecutive training Blocks that is fixed by the data and by the number of shards alone, never by an
engine's splits: what is learned from it does not depend on who reads it.  Floor 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from mrml.data.block import Block
from mrml.errors import ConfigError

T = TypeVar("T")


class Reads(NamedTuple):
    """``train``, ``valid``: whether those rows are read; with ``shards`` the training Blocks go as that many shards."""

    train: bool = True
    valid: bool = True
    shards: int = 0


@dataclass(frozen=True)
class Shard:
    """One of ``n_shards`` runs of training Blocks; ``blocks(k)`` reads it from its k-th Block on, as often as asked."""

    number: int
    n_shards: int
    blocks: Callable[[int], Iterator[Block]]

    def through(self, change: Callable[[Block], Block]) -> Shard:
        """The same shard, every Block changed."""
        return Shard(self.number, self.n_shards, lambda first: map(change, self.blocks(first)))


def cut(sizes: Sequence[int], n_shards: int) -> list[slice]:
    """``n_shards`` runs of consecutive units, none empty, about equal in the sum of their sizes; ConfigError for fewer.

    A unit goes where its middle lies on the scale of all bytes, as far as every shard gets one.
    """
    n = len(sizes)
    if n < n_shards:
        finding = f"{n_shards} are asked for, and the training data has {n} block{'s' * (n != 1)}"
        raise ConfigError("algorithm, shards", finding, f"use --shards {n} or fewer, or a smaller --window-bytes")
    total, before, shard = max(2 * sum(sizes), 1), 0, 0
    starts = [0]
    for unit, size in enumerate(sizes):
        wanted = (2 * before + size) * n_shards // total
        before += size
        if unit and (wanted > shard or n - unit == n_shards - 1 - shard) and shard < n_shards - 1:
            shard += 1
            starts.append(unit)
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n], strict=True)]
