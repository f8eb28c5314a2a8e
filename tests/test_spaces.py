"""Spaces of hyperparameters: what is drawn depends on the seed, the trial and the name, and lies where it should."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.algorithms.linear.glm import Logistic
from mrml.algorithms.trees.boosting import Boosting
from mrml.config.sections import SearchConfig
from mrml.errors import ConfigError
from mrml.runs.search.spaces import Space, candidates, spaces_of, split

NODES = {"l2": {"log": [1e-6, 10]}, "rounds": {"int": [5, 9]}, "subsample": {"uniform": [0.5, 1]},
         "growth": {"of": ["depthwise", "leafwise"]}, "max_leaves": {"log": [4, 256]}}  # fmt: skip


def spaces(nodes: dict[str, Any] = NODES) -> list[Space]:
    return spaces_of(Boosting, nodes, "f.yaml")


def drawn(trials: int = 300, seed: int = 0, nodes: dict[str, Any] = NODES) -> list[dict[str, Any]]:
    return candidates(SearchConfig(trials=trials, seed=seed), spaces(nodes))


def test_draws_fill_their_spaces_evenly() -> None:
    found = drawn(2000)
    logs = np.array([math.log10(c["l2"]) for c in found])
    assert logs.min() >= -6 and logs.max() <= 1
    np.testing.assert_allclose(np.histogram(logs, 7, (-6, 1))[0] / 2000, 1 / 7, atol=0.03)
    assert set(np.unique([c["rounds"] for c in found])) == {5, 6, 7, 8, 9}
    np.testing.assert_allclose(np.mean([c["growth"] == "leafwise" for c in found]), 0.5, atol=0.04)
    np.testing.assert_allclose(np.mean([c["subsample"] for c in found]), 0.75, atol=0.01)
    leaves = [c["max_leaves"] for c in found]
    assert all(type(n) is int for n in leaves) and min(leaves) == 4 and max(leaves) <= 256
    np.testing.assert_allclose(np.mean([n < 32 for n in leaves]), 0.5, atol=0.04)


def test_more_trials_keep_the_first_and_another_hyperparameter_changes_no_draw() -> None:
    assert drawn(300)[:20] == drawn(20)
    assert drawn(20, seed=1) != drawn(20)
    fewer = drawn(20, nodes={k: v for k, v in NODES.items() if k != "rounds"})
    assert [{k: v for k, v in c.items() if k != "rounds"} for c in drawn(20)] == fewer


def test_a_small_space_gives_every_candidate_once() -> None:
    nodes = {"growth": NODES["growth"], "rounds": {"int": [1, 3]}}
    found = drawn(50, nodes=nodes)
    assert len(found) == 6 == len({(c["growth"], c["rounds"]) for c in found})


def test_a_grid_has_the_ends_of_ranges_and_each_value_once() -> None:
    config = SearchConfig(method="grid", points=3)
    found = candidates(config, spaces({"l2": {"log": [0.01, 1]}, "rounds": {"int": [1, 2]}}))
    assert [(round(c["l2"], 12), c["rounds"]) for c in found] == [
        (0.01, 1), (0.01, 2), (0.1, 1), (0.1, 2), (1.0, 1), (1.0, 2),
    ]  # fmt: skip
    assert Space("n", "int", (1, 100), True).points(4) == [1, 34, 67, 100]
    with pytest.raises(ConfigError, match=r"search, method: 10,077,696 combinations, more than 10,000"):
        wide = {name: {"uniform": [0.5, 1]} for name in ("subsample", "colsample_bytree", "learning_rate", "l2", "l1",
                                                         "colsample_bylevel", "colsample_bynode", "cat_l2", "cat_smooth")}  # fmt: skip  # noqa: E501
        candidates(SearchConfig(method="grid", points=6), spaces(wide))


@given(u=st.floats(0, 1, exclude_max=True), low=st.floats(1e-9, 1e3), width=st.floats(1e-6, 1e6))
def test_a_draw_never_leaves_its_range(u: float, low: float, width: float) -> None:
    for kind in ("log", "uniform"):
        assert low <= Space("x", kind, (low, low + width)).drawn(u) <= low + width


def test_names_of_other_libraries_are_known_and_stand_for_ours() -> None:
    assert [s.name for s in spaces({"n_estimators": {"int": [10, 20]}, "eta": {"log": [0.01, 1]}})] == [
        "rounds",
        "learning_rate",
    ]


def test_what_is_no_space_stays_a_value() -> None:
    tree = {"algorithm": {"name": "boosting", "monotone": {"a": 1}, "l2": {"of": [1, 2]}}, "data": {}}
    rest, found = split(tree)
    assert rest["algorithm"] == {"name": "boosting", "monotone": {"a": 1}} and found == {"l2": {"of": [1, 2]}}
    with pytest.raises(ConfigError, match="no hyperparameter has a space"):
        spaces_of(Logistic, {}, "f.yaml")
