"""The merge tree: its order depends on the data alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml import wire
from mrml.statistic import EXACT, Counts, Into, Node, Partial, Statistic, Sums, complete


class Words(Statistic):
    """Remembers the shape of every merge, so that two orders of merging are told apart."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def merge(self, other: Words) -> None:
        self.text = f"({self.text} {other.text})"

    def to_wire(self) -> str:
        return self.text

    @classmethod
    def from_wire(cls, tree: str) -> Words:
        return cls(tree)


def naive(present: list[list[int]], heights: list[int]) -> str | None:
    """The tree by its definition, recursively: node (level, k) is its two halves, absent ones skipped."""

    def join(left: str | None, right: str | None) -> str | None:
        return left if right is None else right if left is None else f"({left} {right})"

    def node(file: int, level: int, k: int) -> str | None:
        if level == 0:
            return f"{file}.{k}" if k in present[file] else None
        return join(node(file, level - 1, 2 * k), node(file, level - 1, 2 * k + 1))

    def files(level: int, k: int) -> str | None:
        if level == 0:
            return node(k, heights[k], 0) if k < len(present) else None
        return join(files(level - 1, 2 * k), files(level - 1, 2 * k + 1))

    return files(max(len(present) - 1, 0).bit_length(), 0)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[list[int]], st.DataObject]:
    """Blocks present per file, blocks per file, and where each file is cut into tasks."""
    n_files = draw(st.integers(1, 5))
    n_blocks = [draw(st.integers(1, 20)) for _ in range(n_files)]
    present = [sorted(draw(st.sets(st.integers(0, n - 1)))) for n in n_blocks]
    cuts = [sorted(draw(st.sets(st.integers(1, n)))) for n in n_blocks]
    return present, n_blocks, cuts, draw(st.data())


@given(layouts())
def test_the_tree_is_the_same_for_every_cut_and_every_order_of_arrival(layout) -> None:
    present, n_blocks, cuts, data = layout
    expected = naive(present, [(n - 1).bit_length() for n in n_blocks])
    parts: list[tuple[Node, Statistic]] = []
    for file, (blocks, n, at) in enumerate(zip(present, n_blocks, cuts, strict=True)):
        for first, stop in zip([0, *at], [*at, n], strict=True):
            partial = Partial(file, first)
            for block in blocks:
                if first <= block < stop:
                    partial.push(block, Words(f"{file}.{block}"))
            parts += partial.parts()
    if expected is None:
        assert parts == []
        return
    found = complete(data.draw(st.permutations(parts)))
    assert isinstance(found, Words)
    assert found.text == expected


@given(st.integers(0, 1000), st.integers(1, 3000))
def test_a_task_sends_up_at_most_two_nodes_a_level(first: int, n: int) -> None:
    partial = Partial(0, first)
    for block in range(first, first + n):
        partial.push(block, Words())
    assert len(partial.nodes) <= 2 * max(n.bit_length(), 1)


def test_a_key_in_every_other_block_still_sends_few_nodes() -> None:
    partial = Partial(0, 0)
    for block in range(1, 1024, 2):
        partial.push(block, Words("x"))
    assert len(partial.nodes) == 1


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=8), st.data())
def test_an_exact_statistic_merges_in_any_order(numbers: list[int], data: st.DataObject) -> None:
    parts = [(EXACT, Counts(total=n)) for n in numbers]
    found = complete(data.draw(st.permutations(parts)))
    assert int(found["total"]) == sum(numbers)  # type: ignore[index]


def test_merging_an_empty_statistic_changes_nothing() -> None:
    s = Sums(gradient=[0.1, 0.2])
    s.merge(Sums(gradient=np.zeros(2)))
    assert s["gradient"].tolist() == [0.1, 0.2]


def test_merge_never_changes_its_right_operand() -> None:
    left, right = Sums(a=[1.0]), Sums(a=[2.0])
    left.merge(right)
    left.add(a=5.0)
    assert right["a"].tolist() == [2.0]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_sums_travel_unchanged(values: list[float]) -> None:
    s = Sums(a=values, b=values[0])
    back = Sums.from_wire(wire.loads(wire.dumps(s.to_wire())))
    assert back["a"].tobytes() == s["a"].tobytes() and back["b"].shape == ()


def test_the_same_node_twice_is_refused() -> None:
    with pytest.raises(AssertionError, match="came twice"):
        complete([(Node(0, 0, 1), Sums(a=1.0)), (Node(0, 0, 1), Sums(a=1.0))])


def test_into_gives_a_fresh_statistic_per_block_and_one_exact_statistic_per_task() -> None:
    kept: dict[str, Statistic] = {}
    first, second = Into(lambda key: Counts(n=0), kept), Into(lambda key: Counts(n=0), kept)
    assert first["a"] is second["a"]
    assert Into(lambda key: Sums(n=0), {})["a"] is not Into(lambda key: Sums(n=0), {})["a"]
