"""A Statistic: arrays with an associative merge; and the tree that fixes the order of merging.

Floating-point addition is not associative, so the order is fixed by the data and not by who computes.
The blocks of a file merge along the binary tree over their numbers: node (level, position) holds
blocks ``position * 2**level`` to ``(position + 1) * 2**level - 1``.  File roots merge along the same tree over file
numbers.  What is absent is skipped, never added as zeros.  A task sends up the few maximal nodes inside
its range; :func:`complete` finishes the tree wherever the key is reduced.  A Statistic that declares
itself ``exact`` (integers, sets) needs no tree: any order gives the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from mrml.arrays import Array

S = TypeVar("S", bound="Statistic")


class Statistic(ABC):
    """What a task computes from rows: arrays that can be merged.

    A new one is empty, and merging an empty one changes nothing.  ``merge`` may change its own arrays, but never
    those of the other.
    """

    #: any order of merging gives the same bits
    exact: ClassVar[bool] = False

    @abstractmethod
    def merge(self: S, other: S) -> None:
        """Take the other's rows in; they come after this one's own."""

    @abstractmethod
    def to_wire(self) -> Any:
        """A tree for :mod:`mrml.wire`."""

    @classmethod
    @abstractmethod
    def from_wire(cls: type[S], tree: Any) -> S:
        """The inverse of :meth:`to_wire`."""

    def n_bytes(self) -> int:
        """About how much memory it holds, for the limit on what a task keeps."""
        return 0


class Sums(Statistic):
    """Named float64 arrays that add up: ``Sums(loss=0.0, gradient=np.zeros(3))``.

    >>> s = Sums(loss=0.0, gradient=np.zeros(2))
    >>> s.add(loss=1.5, gradient=[1.0, 2.0])
    >>> s["gradient"].tolist()
    [1.0, 2.0]
    """

    dtype: ClassVar[Any] = np.float64

    def __init__(self, **arrays: Any) -> None:
        self.arrays: dict[str, Array] = {k: np.array(v, dtype=self.dtype) for k, v in arrays.items()}

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def add(self, **arrays: Any) -> None:
        """Add to the named arrays, in place."""
        for name, value in arrays.items():
            self.arrays[name] += np.asarray(value, self.dtype) if np.isscalar(value) else value

    def merge(self: S, other: S) -> None:
        assert isinstance(self, Sums) and isinstance(other, Sums)
        for name, value in other.arrays.items():
            self.arrays[name] = self.arrays[name] + value

    def to_wire(self) -> Any:
        return dict(self.arrays)

    @classmethod
    def from_wire(cls: type[S], tree: Any) -> S:
        return cls(**tree)

    def n_bytes(self) -> int:
        return sum(a.nbytes for a in self.arrays.values())


class Counts(Sums):
    """Named int64 arrays that add up: exact, so no tree is needed."""

    exact = True
    dtype = np.int64


class Node(NamedTuple):
    """A node of the merge tree: blocks ``position * 2**level`` up to the next one's, of one file."""

    file: int
    level: int
    position: int


#: where an exact statistic stands: it has no place in the tree
EXACT = Node(-1, 0, 0)

Parts = list[tuple[Node, Statistic]]


class Partial:
    """The maximal nodes of one key over the consecutive blocks that a task has read of one file.

    It works like a binary counter: at most two nodes a level stay in memory.
    """

    def __init__(self, file: int, first: int) -> None:
        self.file, self.first = file, first
        self.nodes: list[tuple[int, int, Statistic]] = []

    def push(self, index: int, statistic: Statistic) -> None:
        """Add the statistic of block ``index``; blocks come in order, absent ones are skipped."""
        self._settle(index)
        self.nodes.append((0, index, statistic))
        self._settle(index + 1)

    def _settle(self, end: int) -> None:
        """Blocks first to end - 1 are known: close every parent that lies inside them."""
        while self.nodes:
            level, index, statistic = self.nodes[-1]
            low = (index >> 1) << (level + 1)
            if low < self.first or low + (2 << level) > end:
                return
            self.nodes.pop()
            if index & 1 and self.nodes and self.nodes[-1][:2] == (level, index - 1):
                left = self.nodes.pop()[2]
                left.merge(statistic)
                statistic = left
            self.nodes.append((level + 1, index >> 1, statistic))

    def parts(self) -> Parts:
        """The nodes, first blocks first."""
        return [(Node(self.file, level, index), s) for level, index, s in self.nodes]


def complete(parts: Iterable[tuple[Node, Statistic]]) -> Statistic:
    """Merge every node of a key into one statistic, in the order that the tree fixes.

    The statistics are consumed: the first operand of a merge is changed.
    """
    files: dict[int, dict[tuple[int, int], Statistic]] = {}
    exact: Statistic | None = None
    for node, statistic in parts:
        if node.file == EXACT.file:
            exact = _join(exact, statistic)
        elif (node.level, node.position) in files.setdefault(node.file, {}):
            raise AssertionError(f"{node} came twice")
        else:
            files[node.file][node.level, node.position] = statistic
    roots = {(0, file): _fold(nodes) for file, nodes in files.items()}
    root = _fold(roots) if roots else None
    if exact is not None:
        root = _join(root, exact)
    assert root is not None, "a key without a statistic"
    return root


def _join(left: Statistic | None, right: Statistic) -> Statistic:
    if left is None:
        return right
    left.merge(right)
    return left


def _fold(nodes: dict[tuple[int, int], Statistic]) -> Statistic:
    """The root over all nodes of one tree: level by level, siblings left to right."""
    level = 0
    while len(nodes) > 1:
        for index in sorted(i for lv, i in nodes if lv == level):
            statistic = nodes.pop((level, index))
            parent = (level + 1, index >> 1)
            if parent in nodes:
                nodes[parent].merge(statistic)
            else:
                nodes[parent] = statistic
        level += 1
    return next(iter(nodes.values()))


class Into:
    """Where ``Algorithm.map`` puts its results: ``into[key]`` is the Statistic of that key."""

    def __init__(self, empty: Callable[[str], Statistic], kept: dict[str, Statistic]) -> None:
        self._empty, self._kept = empty, kept
        self.fresh: dict[str, Statistic] = {}

    def __getitem__(self, key: str) -> Statistic:
        """The Statistic of a key, of the class that ``Algorithm.statistic`` returns for it."""
        found = self.fresh.get(key) or self._kept.get(key)
        if found is None:
            found = self._empty(key)
            (self._kept if found.exact else self.fresh)[key] = found
        return found
