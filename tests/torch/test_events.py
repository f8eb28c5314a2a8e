"""Event files are what TensorBoard's own reader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard", reason="needs tensorboard: make test-torch")

from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mrml.cli.main import main
from mrml.runs import tensorboard as events
from mrml.runs import train as run
from tests.torch import data


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return data.made_rows(tmp_path_factory.mktemp("rows"), 400)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_the_figures_of_every_round(rows: str, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    class Told(run.Silent):  # type: ignore[name-defined]
        def round(self, facts: dict[str, Any]) -> None:
            told.append(facts)

    command = ["train", "mlp", "--data", rows, "--valid", rows, "--target", "yes", "--exclude", "kind,amount,count",
               "--epochs", "3", "--engine", "inline", "--log-dir", str(tmp_path / "logs"), "-q"]  # fmt: skip
    train = run.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "train", lambda config, progress: train(config, Told()))
        assert main([*command, "--output", str(tmp_path / "model")]) == 0
    found = curves(tmp_path / "logs")
    assert {"loss", "valid_loss", "learning_rate", "rows_per_s", "seconds"} <= set(found)
    for name in ("loss", "valid_loss", "learning_rate", "rows_per_s"):
        expected = [(f["round"], f[name]) for f in told if name in f]
        assert [s for s, _ in found[name]] == [s for s, _ in expected] and len(expected) >= 3
        assert [v for _, v in found[name]] == pytest.approx([v for _, v in expected], rel=1e-6)


def test_a_run_that_is_taken_up_goes_on_behind_the_first_file(rows: str, tmp_path: Path) -> None:
    command = ["train", "mlp", "--data", rows, "--target", "yes", "--exclude", "kind,amount,count", "--epochs", "4",
               "--engine", "inline", "--log-dir", str(tmp_path / "logs"),
               "--output", str(tmp_path / "m"), "-q"]  # fmt: skip
    assert main([*command, "--max-rounds", "3"]) == 0
    assert main([*command, "--resume"]) == 0
    steps = [step for step, _ in curves(tmp_path / "logs")["loss"]]
    assert steps == sorted(set(steps)) and len(list((tmp_path / "logs").iterdir())) == 2


@given(facts=st.dictionaries(st.text("abc_/ü", min_size=1, max_size=9), st.floats(width=32), max_size=5),
       step=st.integers(0, 2**40))  # fmt: skip
def test_any_number_comes_back_as_it_is(facts: dict[str, float], step: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("logs")
    written = events.Events(str(folder), run.Silent())  # type: ignore[attr-defined]
    written.start({})
    written.round({**facts, "round": step, "seconds_in": {"map": 1.0}})
    found = curves(folder)
    assert set(found) == set(facts)
    for name, value in facts.items():
        ((at, back),) = found[name]
        assert at == step and (back == value or (back != back and value != value))
