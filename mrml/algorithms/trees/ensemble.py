"""What a State keeps of iterations that are done: their trees and losses, in chunks of which only the last one changes.

So a round neither walks, sends nor copies what was there before it, however many trees there are
(:func:`mrml.wire.read_only` leaves whole chunks as they are).  In the State's parameters::

    trees       {"0": {sizes, feature, bin, missing_left, left, value, [categories]}, "1": ...}   how rows move, by tree
    tree_facts  {"0": {gain, cover, rows}, "1": ...}                                   what only the model tells
    history     {"0": (n, 2) float64, "1": ...}                   training and validation loss, NaN where there is none

States of mrml 0.1 hold one array a field, with ``sizes`` beside, and pairs: they are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrml.algorithms.trees import growth
from mrml.algorithms.trees.growth import TREE_NODE
from mrml.arrays import Array

#: trees, or iterations, of a chunk
CHUNK = 32
_FACTS = ("gain", "cover", "rows")


def empty() -> dict[str, Any]:
    """The parameters before the first tree."""
    return {"trees": {}, "tree_facts": {}, "history": {}}


def of(nodes: Array, sizes: Array) -> dict[str, Any]:
    """``trees`` and ``tree_facts`` of finished trees: ``nodes`` one after the other, ``sizes`` (n_trees,)."""
    ends = np.cumsum(sizes)
    trees, facts = {}, {}
    for number, first in enumerate(range(0, len(sizes), CHUNK)):
        part = sizes[first : first + CHUNK]
        start = int(ends[first] - sizes[first])
        fields = growth.to_wire(nodes[start : start + int(part.sum())])
        facts[str(number)] = {name: fields.pop(name) for name in _FACTS}
        if not fields["categories"].any():
            del fields["categories"]
        trees[str(number)] = {"sizes": np.array(part, np.int32), **fields}
    return {"trees": trees, "tree_facts": facts}


def nodes_and_sizes(params: Mapping[str, Any]) -> tuple[Array, Array]:
    """All finished trees: nodes one after the other, and (n_trees,) int32 how many each has."""
    if "sizes" in params:
        return growth.from_wire(params["trees"], TREE_NODE), params["sizes"]
    chunks = [_whole(params, number) for number in range(len(params["trees"]))]
    sizes = [chunk["sizes"] for chunk in params["trees"].values()]
    return np.concatenate([np.zeros(0, TREE_NODE), *chunks]), np.concatenate([np.zeros(0, np.int32), *sizes])


def routes(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """``trees``, also of a State that has none of these chunks."""
    found: Mapping[str, Any] = of(*nodes_and_sizes(params))["trees"] if "sizes" in params else params["trees"]
    return found


def with_trees(params: Mapping[str, Any], done: Sequence[Array]) -> dict[str, Any]:
    """``trees`` and ``tree_facts`` with those that are done behind the others."""
    if "sizes" in params:
        params = of(*nodes_and_sizes(params))
    at = max(len(params["trees"]) - 1, 0)
    begun, sizes = np.zeros(0, TREE_NODE), np.zeros(0, np.int32)
    if params["trees"]:
        begun, sizes = _whole(params, at), params["trees"][str(at)]["sizes"]
    if len(sizes) >= CHUNK:
        begun, sizes, at = begun[:0], sizes[:0], at + 1
    fresh = of(np.concatenate([begun, *done]), np.concatenate([sizes, [len(nodes) for nodes in done]]))
    out = {}
    for name, chunks in fresh.items():
        kept = {k: v for k, v in params[name].items() if int(k) < at}
        out[name] = {**kept, **{str(at + int(k)): v for k, v in chunks.items()}}
    return out


def tree(trees: Mapping[str, Any], number: int) -> Array:
    """The nodes of one finished tree; of ``trees`` alone, as map tasks have them, the facts are 0."""
    chunk = trees[str(number // CHUNK)]
    sizes = chunk["sizes"]
    start = int(sizes[: number % CHUNK].sum())
    rows = slice(start, start + int(sizes[number % CHUNK]))
    return growth.from_wire({k: v[rows] for k, v in chunk.items() if k != "sizes"}, TREE_NODE)


def _whole(params: Mapping[str, Any], number: int) -> Array:
    """The nodes of a chunk, with their facts."""
    fields = {k: v for k, v in params["trees"][str(number)].items() if k != "sizes"}
    return growth.from_wire({**fields, **params["tree_facts"][str(number)]}, TREE_NODE)


def with_losses(params: Mapping[str, Any], train: float | None, valid: float | None) -> dict[str, Array]:
    """``history`` with the losses of one more iteration."""
    chunks = params["history"]
    if not isinstance(chunks, Mapping):
        pairs = [_pair(*pair) for pair in chunks]
        starts = enumerate(range(0, len(pairs), CHUNK))
        chunks = {str(number): np.array(pairs[start : start + CHUNK]) for number, start in starts}
    at = max(len(chunks) - 1, 0)
    begun = chunks.get(str(at), np.zeros((0, 2)))
    if len(begun) >= CHUNK:
        begun, at = begun[:0], at + 1
    return {**chunks, str(at): np.concatenate([begun, [_pair(train, valid)]])}


def losses(params: Mapping[str, Any]) -> list[list[float | None]]:
    """A pair of training and validation loss, or None, for each iteration."""
    chunks = params["history"]
    pairs = [pair for chunk in chunks.values() for pair in chunk.tolist()] if isinstance(chunks, Mapping) else chunks
    return [[None if loss is None or loss != loss else loss for loss in pair] for pair in pairs]


def _pair(train: float | None, valid: float | None) -> list[float]:
    return [np.nan if loss is None else loss for loss in (train, valid)]
