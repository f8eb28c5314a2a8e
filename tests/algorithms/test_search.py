"""A search is an Algorithm: its State is the whole truth, and what it finds depends on no cut into tasks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from mrml import wire
from mrml.algorithm import State, Value, from_spec
from mrml.algorithms.linear.glm import Logistic
from mrml.algorithms.search.scores import metrics_of, spread
from mrml.algorithms.search.search import Search
from mrml.algorithms.trees.boosting import Boosting
from mrml.errors import InputError
from tests.algorithms.folds import LABELS, blocks, write
from tests.algorithms.test_grid import members_of
from tests.rounds import run, run_round


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, Any]:
    algorithms = [Boosting(objective="logistic", rounds=r, max_depth=d) for r in (3, 4) for d in (1, 2)]
    dataset, members = members_of([*algorithms, Logistic()], write(tmp_path_factory.mktemp("search") / "rows"), LABELS)
    return Search(tuple(members), dataset.schema, 2, "class", rungs=(3, 5), eta=2.0), blocks(dataset)


def test_a_search_travels_as_json_that_holds_the_schema_once(made: tuple[Search, Any]) -> None:
    search, _ = made
    told = json.dumps(search.spec(), allow_nan=False)
    assert from_spec(json.loads(told)) == search
    assert told.count('"name": "city"') == 1


def test_a_search_is_the_same_bytes_whatever_the_tasks_and_wherever_its_state_has_been(
    made: tuple[Search, Any],
) -> None:
    search, rows = made
    expected = run(search, search.schema, [rows])
    assert expected.stop is not None and expected.stop.startswith("5 candidates are judged; the best is ")
    state = search.init(search.schema)
    while state.stop is None:
        algorithm = from_spec(json.loads(json.dumps(search.spec())))
        state = State.from_wire(wire.loads(wire.dumps(state.to_wire())))
        state = run_round(algorithm, state, [rows[5:], rows[:2], rows[2:5]])
    assert wire.dumps(state.to_wire()) == wire.dumps(expected.to_wire())


def test_of_candidates_that_leave_at_a_rung_none_is_better_than_one_that_goes_on(made: tuple[Search, Any]) -> None:
    search, rows = made
    state = search.init(search.schema)
    while state["rung"] == 0:
        before, state = state, run_round(search, state, [rows])
    left = {int(c) for c, rung in state["dropped"].items() if rung == 0}
    assert len(left) == 2  # half of five go on, rounded up
    scores = search.standing(State({**before.params, "metrics": state["metrics"]}, before.round)).scores
    worst_on = max(told["log_loss"]["mean"] for c, told in scores.items() if c not in left)
    assert all(scores[c]["log_loss"]["mean"] >= worst_on for c in left)


UNLUCKY: list[float] = []


@dataclass(frozen=True)
class Unlucky(Boosting):
    """Fails on rows of this mean weight."""

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if state["mean_weight"] in UNLUCKY:
            raise InputError("here", "it cannot go on", "be lucky")
        return super().update(state, values)


def test_a_candidate_that_failed_trains_no_further_in_any_fold(made: tuple[Search, Any]) -> None:
    search, rows = made
    fails = dataclasses.replace(search.candidates[0], algorithm=Unlucky(objective="logistic", rounds=9))
    both = dataclasses.replace(search, candidates=(search.candidates[0], fails), rungs=())
    state = run_round(both, both.init(both.schema), [rows])
    UNLUCKY[:] = [both.trainer.state_of(State.from_wire(state["train"]), 2)["inner"]["params"]["mean_weight"]]
    state = run_round(both, state, [rows])
    members = State.from_wire(state["train"])["members"]
    assert members["00002"]["stop"] == "failed: here: it cannot go on; be lucky"
    assert members["00003"]["stop"] == "the candidate failed without another fold"
    assert members["00000"]["stop"] is None and members["00001"]["stop"] is None
    last = both.standing(run(both, both.schema, [rows])).results()
    assert [(r["trial"], r["state"]) for r in last] == [(0, "done"), (1, "failed")]


def test_the_spread_of_a_metric_leaves_out_folds_that_have_none() -> None:
    assert spread([1.0, None, 3.0]) == {"mean": 2.0, "std": 2.0**0.5, "out_of_fold": None, "folds": [1.0, None, 3.0]}
    assert spread([5.0])["std"] is None and spread([None])["mean"] is None
    assert list(metrics_of([{"auc": None, "rmse": 1.0, "n_rows": 3}, {"rmse": 3.0, "reasons": {}}])) == ["rmse"]
