"""The loop and its checkpoints: stop anywhere, tear what you like, and the run ends with the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml import wire
from mrml.algorithm import Algorithm, State
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.engines.inline import InlineEngine
from mrml.engines.task import Report
from mrml.engines.write import Scoring
from mrml.errors import EngineError, InputError
from mrml.model import Model
from mrml.runs.fit import Checkpoint, fit
from tests.exercise import Exercise, make_dataset

ROUNDS = 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("driver"), (60, 40))


@pytest.fixture(scope="module")
def engine() -> Iterator[InlineEngine]:
    with InlineEngine(2000) as running:
        yield running


class Counting(Engine):
    """Counts the rounds that another engine runs."""

    def __init__(self, inner: Engine) -> None:
        super().__init__()
        self.inner, self.rounds = inner, 0

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Any]:
        self.rounds += 1
        return self.inner.round(algorithm, state, dataset)

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        return self.inner.write(model, dataset, scoring)


def train(engine: Engine, dataset: Dataset, folder: Path, max_rounds: int | None = None) -> tuple[bytes, State]:
    """The bytes of a model, and the last State."""
    model, state = fit(Exercise(n_rounds=ROUNDS), dataset, engine, Checkpoint(folder), None, max_rounds)
    return wire.dumps(dict(model.arrays())), state


@pytest.fixture(scope="module")
def whole(engine: Engine, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run that was never stopped ends with."""
    found, state = train(engine, dataset, tmp_path_factory.mktemp("whole"))
    assert state.stop == "done" and state.converged and state.round == ROUNDS
    return found


# ---- stopping and going on


@pytest.mark.parametrize("stops", [(1,), (2, 4), (1, 2, 3, 4, 5), (0, 3), (3, 3, 2)])
def test_stopping_after_any_rounds_and_going_on_ends_with_the_same_bytes(
    engine: Engine, dataset: Dataset, whole: bytes, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    counting, done = Counting(engine), 0
    for limit in stops:
        _, state = train(counting, dataset, tmp_path, limit)
        done = max(done, limit)
        assert state.round == done
        if done < ROUNDS:
            assert not state.converged and f"stopped after round {done}" in str(state.stop)
    found, state = train(counting, dataset, tmp_path)
    assert (found, state.stop, state.converged) == (whole, "done", True)
    assert counting.rounds == ROUNDS  # none is run twice


def test_a_finished_run_runs_no_round_again(engine: Engine, dataset: Dataset, whole: bytes, tmp_path: Path) -> None:
    train(engine, dataset, tmp_path)
    counting = Counting(engine)
    assert train(counting, dataset, tmp_path)[0] == whole and counting.rounds == 0


def test_a_stop_by_the_limit_is_not_written_down(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    train(engine, dataset, tmp_path, 2)
    kept = Checkpoint(tmp_path).latest()
    assert kept is not None and (kept.round, kept.stop) == (2, None)


def test_every_round_is_told_with_the_state_it_led_to(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    seen: list[State] = []
    fit(Exercise(n_rounds=3), dataset, engine, Checkpoint(tmp_path), seen.append)
    assert [s.round for s in seen] == [1, 2, 3] and [s.stop for s in seen] == [None, None, "done"]


# ---- torn checkpoints


def tear(path: Path, how: str) -> None:
    data = path.read_bytes()
    torn = {
        "empty": b"",
        "head": data[:5],
        "half": data[: len(data) // 2],
        "a byte short": data[:-1],
        "a bit": data[:-3] + bytes([data[-3] ^ 4]) + data[-2:],
        "zeros": bytes(len(data)),
        "longer": data + b"\0",
        "another version": data[:4] + b"\x63" + data[5:],
    }[how]
    assert torn != data
    path.write_bytes(torn)


TEARS = ("empty", "head", "half", "a byte short", "a bit", "zeros", "longer", "another version")


@pytest.mark.parametrize("how", TEARS)
def test_a_torn_newest_state_costs_a_round_and_no_bit(
    engine: Engine, dataset: Dataset, whole: bytes, tmp_path: Path, how: str
) -> None:
    train(engine, dataset, tmp_path, 3)
    tear(tmp_path / "000003.state", how)
    counting = Counting(engine)
    assert train(counting, dataset, tmp_path)[0] == whole
    assert counting.rounds == ROUNDS - 2


def test_when_every_state_is_torn_the_run_begins_anew(
    engine: Engine, dataset: Dataset, whole: bytes, tmp_path: Path
) -> None:
    train(engine, dataset, tmp_path, 3)
    for path in tmp_path.glob("*.state"):
        tear(path, "half")
    counting = Counting(engine)
    assert train(counting, dataset, tmp_path)[0] == whole and counting.rounds == ROUNDS


@settings(max_examples=40)
@given(data=st.data())
def test_no_prefix_of_a_state_is_taken_for_a_state(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "prefixes"
    checkpoint = Checkpoint(folder)
    checkpoint.save(State({"x": np.arange(7.0)}, 1))
    checkpoint.save(State({"x": np.arange(8.0)}, 2))
    newest = folder / "000002.state"
    whole = newest.read_bytes()
    newest.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    found = checkpoint.latest()
    assert found is not None and found.round == 1 and found["x"].tolist() == list(range(7))


# ---- the directory


def test_the_last_two_states_stay(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    train(engine, dataset, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000004.state", "000005.state"]
    assert Checkpoint(tmp_path).rounds() == [4, 5]
    third = Checkpoint(tmp_path / "three", keep=3)
    for number in range(6):
        third.save(State({}, number))
    assert third.rounds() == [3, 4, 5]


def test_states_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    for number in (9, 10, 999_999, 1_000_000):
        checkpoint.save(State({"n": number}, number))
    assert checkpoint.rounds() == [999_999, 1_000_000]
    newest = checkpoint.latest()
    assert newest is not None and newest["n"] == 1_000_000


def test_a_state_is_written_aside_and_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(State({"x": 1}, 1))
    monkeypatch.setattr(os, "replace", _die)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(State({"x": 2}, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["000001.state"]
    (tmp_path / ".000002.state.5f.tmp").write_bytes(b"MRML")  # what a kill leaves is nobody's State
    found = Checkpoint(tmp_path).latest()
    assert found is not None and found["x"] == 1


def _die(*args: object) -> None:
    raise KeyboardInterrupt


def test_other_files_in_the_directory_are_no_states(tmp_path: Path) -> None:
    for name in ("notes.state", "000009.state.bak", "x", ".000009.state", "-1.state"):
        (tmp_path / name).write_text("no state")
    assert Checkpoint(tmp_path).rounds() == [] and Checkpoint(tmp_path).latest() is None
    assert Checkpoint(tmp_path / "nowhere").latest() is None


def test_a_run_goes_on_with_the_state_that_a_resumed_one_would_read(tmp_path: Path) -> None:
    before = State({"tuple": (1, 2), "array": np.asfortranarray(np.ones((2, 3))), "big": np.arange(2, dtype=">f8")}, 1)
    kept = Checkpoint(tmp_path).save(before)
    read = Checkpoint(tmp_path).latest()
    assert read is not None and wire.dumps(kept.to_wire()) == wire.dumps(read.to_wire())
    assert kept["tuple"] == [1, 2] and kept["array"].flags.c_contiguous and kept["big"].dtype == "<f8"


# ---- algorithms that do not keep to the contract


@dataclass(frozen=True)
class Stuck(Exercise):
    """Its update does not advance the round."""

    by: int = 0

    def update(self, state: State, values: Mapping[str, Any]) -> State:
        return State(state.params, state.round + self.by)


@pytest.mark.parametrize("by", [0, 2, -1])
def test_an_update_that_does_not_advance_the_round_by_one_is_refused(
    engine: Engine, dataset: Dataset, tmp_path: Path, by: int
) -> None:
    with pytest.raises(EngineError, match=rf"update: went from round 0 to {by}; use state.next"):
        fit(Stuck(by=by), dataset, engine, Checkpoint(tmp_path))
    assert Checkpoint(tmp_path).rounds() == [0]


def test_data_without_a_row_is_an_input_error(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    nothing: Callable[..., dict[str, Any]] = lambda *args: {}  # noqa: E731
    silent = Counting(engine)
    silent.round = nothing  # type: ignore[method-assign]
    with pytest.raises(InputError, match="no row was found"):
        fit(Exercise(), dataset, silent, Checkpoint(tmp_path))


def test_an_algorithm_that_stops_at_once_runs_no_round(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    class Done(Exercise):
        def init(self, schema: Any) -> State:
            return State({"total": np.ones(3), "seen": []}, stop="nothing to do")

    counting = Counting(engine)
    model, state = fit(Done(), dataset, counting, Checkpoint(tmp_path))
    assert counting.rounds == 0 and state.stop == "nothing to do" and model.arrays()["total"].tolist() == [1, 1, 1]
