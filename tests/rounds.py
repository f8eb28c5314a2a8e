"""A loop over blocks in memory: what an engine does, in ten lines, for tests of algorithms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mrml import wire
from mrml.algorithm import Algorithm, State
from mrml.data.block import Block
from mrml.data.shards import Reads, Shard, cut
from mrml.engines.task import map_split, reduce_key, value_of
from mrml.schema import Schema
from mrml.statistic import Node


def run_round(algorithm: Algorithm, state: State, tasks: Iterable[Iterable[Block]]) -> State:
    """One round in which each sequence of blocks is a task."""
    parts: dict[str, list] = {}
    for source in sources(algorithm.reads(state), tasks):
        map_split(algorithm, state, source, lambda *part: _sent(parts, *part))
    values = {k: value_of(algorithm, state, k, reduce_key(algorithm, state, k, p)) for k, p in sorted(parts.items())}
    return State.from_wire(algorithm.update(state, values).to_wire())


def _sent(parts: dict[str, list], key: str, node: Node, statistic: Any) -> int:
    """Take in a node as it comes by wire."""
    message = wire.dumps(statistic)
    parts.setdefault(key, []).append((node, wire.loads(message)))
    return len(message)


def sources(reads: Reads, tasks: Iterable[Iterable[Block]]) -> list[Iterable[Block] | Shard]:
    """What the tasks of a round map: their own blocks, each when it is its turn, or the shards of all."""
    wanted = {part for part, on in (("train", reads.train and not reads.shards), ("valid", reads.valid)) if on}
    tasks = [list(blocks) for blocks in tasks] if reads.shards else list(tasks)
    found: list[Iterable[Block] | Shard] = [(b for b in blocks if b.part in wanted) for blocks in tasks]
    if reads.shards:
        train = sorted((b for blocks in tasks for b in blocks if b.part == "train"), key=lambda b: (b.file, b.index))
        for number, run in enumerate(cut([int(b.n_rows > 0) for b in train], reads.shards)):
            found.append(Shard(number, reads.shards, lambda first, some=train[run]: iter(some[first:])))
    return found


def run(algorithm: Algorithm, schema: Schema, tasks: Sequence[Sequence[Block]], rounds: int = 1000) -> State:
    """Rounds until the algorithm stops."""
    state = algorithm.init(schema)
    while state.stop is None and state.round < rounds:
        state = run_round(algorithm, state, tasks)
    return state
