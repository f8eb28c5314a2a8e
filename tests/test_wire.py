"""The wire format: exact, checksummed, no pickle."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrml import wire
from mrml.errors import EngineError

scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=5)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = hnp.arrays(st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|b1", "<i4"]), shapes)
keys = st.text(max_size=4).filter(lambda k: k != "__array__")
trees = st.recursive(
    scalars | arrays, lambda t: st.lists(t, max_size=4) | st.dictionaries(keys, t, max_size=4), max_leaves=12
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@given(trees)
def test_a_tree_comes_back_as_it_was_and_the_same_tree_is_the_same_bytes(tree: Any) -> None:
    message = wire.dumps(tree)
    assert same(tree, wire.loads(message))
    assert wire.dumps(wire.loads(message)) == message


@given(trees)
def test_a_tree_that_is_settled_is_what_would_come_back(tree: Any) -> None:
    settled = wire.settled(tree)
    assert same(settled, wire.loads(wire.dumps(tree)))
    for one, other in zip(leaves(wire.settled(settled)), leaves(settled), strict=True):
        assert not isinstance(one, np.ndarray) or (one is other and not one.flags.writeable)


@given(trees)
def test_a_tree_that_is_read_only_is_what_would_come_back_and_is_not_made_again(tree: Any) -> None:
    kept = wire.read_only({"a": tree})
    assert same(kept, wire.loads(wire.dumps({"a": tree})))
    assert wire.read_only(kept) is kept and wire.dumps(kept) == wire.dumps({"a": tree})
    again = wire.read_only({**kept, "b": [tree]})
    assert again["a"] is kept["a"] or not isinstance(tree, dict | list)
    assert all(a is b for a, b in zip(leaves(again["a"]), leaves(kept["a"]), strict=True) if isinstance(a, np.ndarray))


def test_what_is_read_only_refuses_to_be_changed_and_its_copies_do_not() -> None:
    kept = wire.read_only({"d": {"x": 1}, "l": [1, 2]})
    changes: list[Callable[[], Any]] = [
        lambda: kept.update(a=1),
        lambda: kept["d"].__setitem__("x", 2),
        lambda: kept["d"].pop("x"),
        lambda: kept["l"].append(3),
        lambda: kept["l"].sort(),
        lambda: kept["l"].__iadd__([3]),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="make a copy"):
            change()
    for copied in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept)), {**kept, "d": dict(kept["d"])}):
        copied["d"]["x"] = 2
    assert [*kept["l"], 3] == [1, 2, 3] and kept == {"d": {"x": 1}, "l": [1, 2]}


def test_what_is_settled_no_longer_changes_with_the_array_it_came_of() -> None:
    array = np.zeros((3, 2))
    settled = wire.settled({"a": array, "t": (array.T, np.float64(1.0)), "b": array.astype(">i4")})
    assert same(settled, wire.loads(wire.dumps({"a": array, "t": [array.T, 1.0], "b": array.astype("<i4")})))
    swapped = np.arange(3, dtype=">f8")
    assert wire.loads(wire.dumps(swapped)).tolist() == wire.settled(swapped).tolist() == [0.0, 1.0, 2.0]
    array += 1.0
    assert settled["a"].sum() == 0.0 and settled["t"][0].sum() == 0.0
    with pytest.raises(TypeError):
        wire.settled({"a": object()})


def leaves(tree: Any) -> list[Any]:
    inner = list(tree.values()) if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return [tree] if inner is None else [leaf for part in inner for leaf in leaves(part)]


@given(trees, st.data())
def test_a_damaged_message_is_refused(tree: Any, data: st.DataObject) -> None:
    message = bytearray(wire.dumps(tree))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EngineError):
        wire.loads(bytes(message))


@given(trees, st.data())
def test_a_torn_message_is_refused(tree: Any, data: st.DataObject) -> None:
    message = wire.dumps(tree)
    with pytest.raises(EngineError):
        wire.loads(message[: data.draw(st.integers(0, len(message) - 1))])


def arrays_in(tree: Any) -> list[Any]:
    if isinstance(tree, np.ndarray):
        return [tree]
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [array for part in inner for array in arrays_in(part)]


@given(trees, st.integers(0, 70), st.integers(0, 15))
def test_arrays_are_aligned_and_read_only_wherever_they_lie(tree: Any, n_header: int, shift: int) -> None:
    """What is computed from them must not depend on what travels beside them."""
    message = wire.dumps({"before": "x" * n_header, "tree": tree})
    inside = memoryview(b"-" * shift + message)[shift:]
    for found in (wire.loads(message), wire.loads(inside)):
        assert same(tree, found["tree"])
        assert all(a.flags.aligned and not a.flags.writeable for a in arrays_in(found))


def test_a_product_with_what_travelled_is_the_same_whatever_travelled_beside_it() -> None:
    """An embedding's gradient of one row was a bit off where the loss, in the header, had a digit more."""
    r = np.random.default_rng(0)
    weight, error = r.normal(size=(40, 6)).astype(np.float32), r.normal(size=(1, 6)).astype(np.float32)
    found = set()
    for n in range(16):
        back = wire.loads(wire.dumps({"loss": "1" * n, "weight": weight.ravel()}))["weight"]
        found.add((error @ back.reshape(40, 6)[3:].T).tobytes())
    assert len(found) == 1


def test_what_runs_code_does_not_travel() -> None:
    for leaf in (object(), np.array([object()]), {1: 2}, {"__array__": 1}, b"bytes"):
        with pytest.raises(TypeError):
            wire.dumps(leaf)


def test_a_fortran_array_arrives_in_c_order_with_the_same_values() -> None:
    a = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    b = wire.loads(wire.dumps(a))
    assert b.flags.c_contiguous and (a == b).all()


def test_the_header_is_readable_json() -> None:
    message = wire.dumps({"a": 1})
    assert json.loads(message[13:]) == {"a": 1}
