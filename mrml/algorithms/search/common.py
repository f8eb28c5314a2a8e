"""What members of a Grid have in common lies in its State once: bins of five hundred members are those of five folds.

A member's parameter that is such a tree stands in the member's State as ``{"common": DIGEST}``.  Looked for are dicts
of members that were alike in a round, which may have learned the same; from then on a parameter that stays is known by
being the same object.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mrml import wire
from mrml.algorithm import State

Trees = Mapping[str, Any]
_COMMON = "common"


def learned(states: Iterable[State]) -> tuple[dict[str, Any], dict[int, str]]:
    """Trees by digest that at least two of the States have among their parameters, and digests by their ids there."""
    found = [
        (hashlib.blake2b(wire.dumps(value), digest_size=16).hexdigest(), value)
        for state in states
        for value in state.params.values()
        if isinstance(value, dict) and value
    ]
    times = Counter(digest for digest, _ in found)
    several = [(digest, value) for digest, value in found if times[digest] > 1]
    return dict(reversed(several)), {id(value): digest for digest, value in several}


def packed(state: State, ids: Mapping[int, str]) -> dict[str, Any]:
    """A State as a tree, in which parameters of these ids are named by their digests."""
    params = {k: {_COMMON: ids[id(v)]} if id(v) in ids else v for k, v in state.params.items()}
    return {**state.to_wire(), "params": params}


def unpacked(tree: Trees, common: Trees) -> State:
    """The State of a tree."""
    params = {k: common[v[_COMMON]] if _named(v) else v for k, v in tree["params"].items()}
    return State.from_wire({**tree, "params": params})


def used(members: Trees, common: Trees) -> dict[str, Any]:
    """What the trees of members name."""
    names = {v[_COMMON] for tree in members.values() for v in tree["params"].values() if _named(v)}
    return {digest: tree for digest, tree in common.items() if digest in names}


def _named(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {_COMMON}
