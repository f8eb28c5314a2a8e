"""What is made of an old tree and a delta is the new tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrml import wire
from mrml.engines.local.delta import apply, delta, skeleton
from tests.test_wire import keys, same, trees


@st.composite
def changed(draw: Any) -> tuple[Any, Any]:
    """A tree and one made of it: some parts are others, some are gone, some are the same objects."""
    old = wire.settled(draw(st.dictionaries(keys, trees, max_size=4)))
    new = {k: v for k, v in old.items() if draw(st.booleans())}
    new |= wire.settled(draw(st.dictionaries(keys, trees, max_size=2)))
    if new and draw(st.booleans()):
        new["nested"] = [{"x": draw(trees)}, dict(old)]
    return old, wire.settled(new)


@given(changed())
def test_the_old_tree_and_the_delta_are_the_new_tree(pair: Any) -> None:
    old, new = pair
    sent = wire.loads(wire.dumps(delta(skeleton(old), new)))
    assert same(apply(old, sent), new)
    assert delta(skeleton(new), new) == {}


def test_arrays_that_both_have_do_not_travel_and_stay_the_same_objects() -> None:
    large, small = np.zeros(10_000), np.zeros(3)
    old = {"a": {"large": large, "step": 1}, "b": [1, small]}
    new = {"a": {"large": large, "step": 2}, "b": [1, small], "c": 0.0}
    change = delta(skeleton(old), new)
    assert len(wire.dumps(change)) < 200
    made = apply(old, change)
    assert made["a"]["large"] is large and made["b"] is old["b"] and made["a"]["step"] == 2


def test_a_dict_that_is_changed_in_place_is_told_of() -> None:
    state = {"a": {"step": 1}}
    before = skeleton(state)
    state["a"]["step"] = 2
    assert apply(before, delta(before, state)) == {"a": {"step": 2}}


def test_a_zero_with_another_sign_is_another_number() -> None:
    assert str(apply({"a": 0.0}, delta({"a": 0.0}, {"a": -0.0}))["a"]) == "-0.0"
