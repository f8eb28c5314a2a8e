"""One pass of the data for all members, and each member's model is byte for byte that of training it alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml import wire
from mrml.algorithm import Algorithm, State, Value, from_spec
from mrml.algorithms.clustering.kmeans import KMeans
from mrml.algorithms.linear.glm import Linear, Logistic, Poisson, Softmax
from mrml.algorithms.search.fold import without_fold
from mrml.algorithms.search.grid import Grid, GridModel
from mrml.algorithms.search.parting import Parting
from mrml.algorithms.sgd.mlp import MLP
from mrml.algorithms.trees.boosting import Boosting
from mrml.algorithms.trees.forest import Forest
from mrml.data.block import Block
from mrml.errors import InputError
from mrml.model import load
from mrml.runs.setup import pipeline_of
from mrml.statistic import Into
from tests.algorithms.folds import LABELS, NUMBERS, blocks, opened, write
from tests.identity import model_bytes
from tests.rounds import run, run_round

SOLVERS = st.sampled_from(["newton", "lbfgs"])
CLASSIFIERS = st.one_of(
    st.builds(Logistic, l2=st.floats(1e-6, 10), solver=SOLVERS, fit_intercept=st.booleans()),
    st.builds(Logistic, l2=st.floats(1e-6, 10), class_weight=st.sampled_from(["none", "balanced"])),
    st.builds(Softmax, l2=st.floats(1e-4, 10), solver=SOLVERS, max_iterations=st.integers(1, 6)),
    st.builds(KMeans, k=st.integers(1, 5), seed=st.integers(0, 9), max_iterations=st.just(3)),
    st.builds(Boosting, objective=st.just("logistic"), rounds=st.integers(1, 2), max_depth=st.integers(1, 3),
              growth=st.sampled_from(["depthwise", "leafwise"]), subsample=st.sampled_from([0.6, 1.0]),
              max_bin=st.sampled_from([20, 255])),
    st.builds(Forest, objective=st.just("gini"), trees=st.integers(1, 4), trees_per_round=st.just(2),
              max_depth=st.integers(1, 3)),
    st.builds(MLP, hidden=st.just((3,)), epochs=st.integers(1, 2), shards=st.integers(1, 3), batch_size=st.just(40)),
)  # fmt: skip
REGRESSORS = st.one_of(
    st.builds(Linear, l2=st.sampled_from([0.0, 1e-6, 0.3, 10.0]), solver=SOLVERS, standardise=st.booleans()),
    st.builds(Boosting, rounds=st.integers(1, 2), max_depth=st.integers(1, 3), learning_rate=st.floats(0.01, 1)),
    st.builds(Forest, trees=st.integers(1, 3), max_depth=st.integers(1, 3), seed=st.integers(0, 5)),
)


def members_of(algorithms: list[Algorithm], folder: str, data: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """The Dataset, and every algorithm behind the transforms that it asks for."""
    dataset, _ = opened(folder, Logistic() if data["target"] == "label" else Linear(), **data)
    from mrml.config.sections import DataConfig

    return dataset, [pipeline_of(a, dataset.schema, DataConfig()) for a in algorithms]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("grid") / "rows")


@settings(max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_member_has_the_bytes_of_training_it_alone(
    folder: str, kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, columns = (CLASSIFIERS, LABELS) if kind == "classes" else (REGRESSORS, NUMBERS)
    algorithms = data.draw(st.lists(one, min_size=1, max_size=5))
    dataset, members = members_of(algorithms, folder, columns)
    folds = data.draw(st.integers(2, 4))
    parting = Parting(folds, data.draw(st.sampled_from(["row", "class"] if kind == "classes" else ["row"])))
    members = [m if (i := data.draw(st.integers(-1, folds - 1))) < 0 else without_fold(m, i, parting) for m in members]
    grid, rows = Grid(tuple(members)), blocks(dataset)
    cut = data.draw(st.integers(1, len(rows) - 1))
    state = run(grid, dataset.schema, [rows[cut:], rows[:cut]])
    assert state.stop == f"all {len(members)} members are done"
    at = tmp_path_factory.mktemp("bytes")
    for number, member in enumerate(members):
        alone = run(member, dataset.schema, [rows])
        assert wire.dumps(grid.state_of(state, number).to_wire()) == wire.dumps(alone.to_wire())
        found = grid.model_of(state, number, dataset.schema)
        assert found is not None
        expected = model_bytes(member.model(alone, dataset.schema), at / f"alone{number}")
        assert model_bytes(found, at / f"grid{number}") == expected


@dataclass(frozen=True)
class Counted(Linear):
    """Says which blocks it mapped."""

    def map(self, state: State, block: Block, into: Into) -> None:
        CALLS.append((self.l2, state.round))
        super().map(state, block, into)


CALLS: list[tuple[float, int]] = []


def test_penalties_share_the_passes_at_the_points_that_they_share(folder: str) -> None:
    dataset, members = members_of([Counted(l2=l2, solver="newton") for l2 in (0.0, 0.1, 1.0)], folder, NUMBERS)
    rows = blocks(dataset)
    CALLS.clear()
    run(Grid(tuple(members)), dataset.schema, [rows])
    first = [l2 for l2, round_ in CALLS if round_ == 0]
    assert first == [0.0] * len(rows)  # the Hessian of all penalties at the point where they all begin
    assert {l2 for l2, round_ in CALLS if round_ == 1} == {0.0, 0.1, 1.0}


def test_transforms_are_fitted_once_for_candidates_that_want_the_same(folder: str) -> None:
    algorithms = [Logistic(l2=0.1), Logistic(l2=1.0), Boosting(objective="logistic", rounds=1)]
    dataset, members = members_of(algorithms, folder, LABELS)
    grid = Grid((*members, *(without_fold(m, 0, Parting(3)) for m in members)))
    opened_ = grid._opened(grid.init(dataset.schema))
    assert opened_.leaders == [0, 2, 3, 5]
    assert opened_.leader_of == {0: 0, 1: 0, 2: 2, 3: 3, 4: 3, 5: 5}


def test_what_members_have_in_common_is_in_the_state_once(folder: str) -> None:
    algorithms: list[Algorithm] = [Boosting(rounds=2, max_depth=1, learning_rate=r) for r in (0.1, 0.2, 0.3)]
    dataset, members = members_of(algorithms, folder, NUMBERS)
    grid, rows = Grid((*members, without_fold(members[0], 0, Parting(3)))), blocks(dataset)
    state = run_round(grid, grid.init(dataset.schema), [rows])
    while state.stop is None:
        named = [tree["params"]["fitted"] for tree in state["members"].values()]
        assert len(state["common"]) == 1 and named[0] == named[1] == named[2] == {"common": next(iter(state["common"]))}
        assert "cuts" in named[3] and "cuts" in grid.state_of(state, 1)["fitted"]  # the fold has bins of its own
        told = grid.broadcast(state)
        assert told["common"] == state["common"] and told["members"]["00001"]["params"]["fitted"] == named[1]
        state = run_round(grid, state, [rows])
    assert grid.model_of(state, 2, dataset.schema) is not None


def test_members_that_are_done_leave_and_are_sent_to_no_task(folder: str) -> None:
    algorithms: list[Algorithm] = [Boosting(rounds=1, max_depth=1), Boosting(rounds=4, max_depth=1)]
    dataset, members = members_of(algorithms, folder, NUMBERS)
    grid, rows = Grid(tuple(members)), blocks(dataset)
    state = grid.init(dataset.schema)
    while grid.state_of(state, 0).stop is None:
        assert sorted(grid.broadcast(state)["members"]) == ["00000", "00001"]
        state = run_round(grid, state, [rows])
    assert state.stop is None
    assert sorted(grid.broadcast(state)["members"]) == ["00001"]
    assert grid.progress(state)["training"] == 1.0


def test_members_that_read_shards_and_others_take_turns(folder: str) -> None:
    mlp = [MLP(hidden=(3,), epochs=2, shards=n, batch_size=40) for n in (2, 2, 3)]
    dataset, members = members_of([*mlp, Logistic()], folder, LABELS)
    grid, rows = Grid(tuple(members)), blocks(dataset)
    state = grid.init(dataset.schema)
    seen = []
    while state.stop is None:
        seen.append((grid.reads(state).shards, sorted(grid._opened(state).states)))
        state = run_round(grid, state, [rows])
    assert seen[0] == (0, [0, 1, 2, 3]) and seen[1] == (2, [0, 1])
    assert {shards for shards, _ in seen} == {0, 2, 3}


def test_a_grid_is_an_algorithm_that_travels_and_its_model_comes_back_byte_for_byte(
    folder: str, tmp_path: Path
) -> None:
    dataset, members = members_of([Logistic(), Boosting(objective="logistic", rounds=1)], folder, LABELS)
    grid = Grid((members[0], without_fold(members[1], 1, Parting(3))))
    told = json.dumps(grid.spec(), allow_nan=False)
    assert from_spec(json.loads(told)) == grid
    model = grid.model(run(grid, dataset.schema, [blocks(dataset)]), dataset.schema)
    before = model_bytes(model, tmp_path / "a")
    again = load(tmp_path / "a")
    assert isinstance(again, GridModel) and model_bytes(again, tmp_path / "b") == before


@dataclass(frozen=True)
class Failing(Linear):
    """Ends in its second round."""

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if state.round == 1:
            raise InputError("here", "the loss is infinite", "be smaller")
        return super().update(state, values)


def test_a_member_that_fails_ends_alone_only_where_it_may(folder: str) -> None:
    dataset, members = members_of([Failing(), Linear()], folder, NUMBERS)
    grid, rows = Grid(tuple(members), ("a", "b"), forgiving=True), blocks(dataset)
    state = run(grid, dataset.schema, [rows])
    assert grid.state_of(state, 0).stop == "failed: here: the loss is infinite; be smaller"
    assert state["failed"] == {"00000": "here: the loss is infinite; be smaller"} and not state.converged
    assert grid.model_of(state, 0, dataset.schema) is None
    model = grid.model(state, dataset.schema)
    assert [m is None for m in model.models] == [True, False]
    strict = dataclasses.replace(grid, forgiving=False)
    with pytest.raises(InputError, match="a, here: the loss is infinite"):
        run(strict, dataset.schema, [rows])


def test_a_limit_of_rounds_ends_every_member_as_it_would_end_it_alone(folder: str, tmp_path: Path) -> None:
    from mrml.engines.inline import InlineEngine
    from mrml.runs.fit import Checkpoint, fit

    dataset, members = members_of([Poisson(), Linear()], folder, {**NUMBERS, "target": "c", "exclude":
                                  ("label", "kind", "team", "number")})  # fmt: skip
    with InlineEngine() as engine:
        models, _ = fit(Grid(tuple(members)), dataset, engine, Checkpoint(tmp_path / "grid"), max_rounds=2)
        assert isinstance(models, GridModel)
        for number, member in enumerate(members):
            alone, _ = fit(member, dataset, engine, Checkpoint(tmp_path / str(number)), max_rounds=2)
            found = models.models[number]
            assert found is not None
            assert model_bytes(found, tmp_path / f"a{number}") == model_bytes(alone, tmp_path / f"b{number}")
