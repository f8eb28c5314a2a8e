"""A loop over blocks in memory: what an engine does, in ten lines, for tests of algorithms."""

from __future__ import annotations

from collections.abc import Sequence

from mrml.algorithm import Algorithm, State
from mrml.data.block import Block
from mrml.engines.task import map_split, reduce_key, value_of
from mrml.schema import Schema


def run_round(algorithm: Algorithm, state: State, tasks: Sequence[Sequence[Block]]) -> State:
    """One round in which each sequence of blocks is a task."""
    parts: dict[str, list] = {}
    for blocks in tasks:
        map_split(algorithm, state, blocks, lambda key, node, m: parts.setdefault(key, []).append((node, m)))
    values = {k: value_of(algorithm, state, k, reduce_key(algorithm, state, k, p)) for k, p in sorted(parts.items())}
    return State.from_wire(algorithm.update(state, values).to_wire())


def run(algorithm: Algorithm, schema: Schema, tasks: Sequence[Sequence[Block]], rounds: int = 1000) -> State:
    """Rounds until the algorithm stops."""
    state = algorithm.init(schema)
    while state.stop is None and state.round < rounds:
        state = run_round(algorithm, state, tasks)
    return state
