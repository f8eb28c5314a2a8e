"""The inline engine: a true engine, in one process, that decodes a block once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mrml.engines import inline
from mrml.engines.inline import InlineEngine
from mrml.errors import TaskFailed
from tests.exercise import Exercise, make_dataset


def test_a_file_is_decoded_once_and_read_from_maps_after_that(tmp_path: Path) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise(n_rounds=2)
    with InlineEngine(2000) as engine:
        state = algorithm.init(dataset.schema)
        state = algorithm.update(state, engine.round(algorithm, state, dataset))
        for file in dataset.files:
            Path(file.path).unlink()
        state = algorithm.update(state, engine.round(algorithm, state, dataset))
    assert state.stop == "done"


def test_it_starts_neither_processes_nor_threads(tmp_path: Path) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise()
    threads = threading.active_count()
    with InlineEngine(2000) as engine:
        engine.round(algorithm, algorithm.init(dataset.schema), dataset)
        assert threading.active_count() == threads and engine.workers() == 1


def test_the_exception_itself_is_the_cause_for_a_debugger(tmp_path: Path) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise(fail="unexpected")
    with InlineEngine(2000) as engine, pytest.raises(TaskFailed) as caught:
        engine.round(algorithm, algorithm.init(dataset.schema), dataset)
    cause = caught.value.__cause__
    assert isinstance(cause, ZeroDivisionError) and cause.__traceback__ is not None


def test_an_interrupt_goes_through_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inline, "map_split", interrupted)
    dataset, algorithm = make_dataset(tmp_path), Exercise()
    with pytest.raises(KeyboardInterrupt), InlineEngine(2000, str(tmp_path / "cache")) as engine:
        engine.round(algorithm, algorithm.init(dataset.schema), dataset)
    assert list((tmp_path / "cache").iterdir()) == []
