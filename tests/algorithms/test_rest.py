"""The rest of an iteration in one go gives the States that its rounds give, and the same is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrml import wire
from mrml.algorithm import State
from mrml.algorithms.trees import rest
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.engines.base import Engine
from mrml.engines.inline import InlineEngine
from mrml.engines.local.engine import LocalEngine
from mrml.engines.resident.engine import ResidentEngine
from mrml.runs.fit import Checkpoint, fit
from mrml.runs.progress import Remembered, Silent, Watch
from mrml.runs.setup import algorithm_of, open_training

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "depthwise": ("boosting", {"max_depth": 4}),
    "leafwise": ("boosting", {"growth": "leafwise", "max_leaves": 12, "min_data_in_leaf": 3}),
    "leafwise-drawn": ("boosting", {"growth": "leafwise", "max_leaves": 9, "subsample": 0.7, "colsample_bynode": 0.6,
                                    "colsample_bylevel": 0.8}),
    "numpy": ("boosting", {"max_depth": 3, "kernels": "numpy", "monotone": {"a": 1}, "max_delta_step": 0.5}),
    "logistic": ("boosting", {"objective": "logistic", "max_depth": 5, "min_child_weight": 3.0}),
    "softmax": ("boosting", {"objective": "softmax", "growth": "leafwise", "max_leaves": 7}),
    "quantile": ("boosting", {"objective": "quantile", "max_depth": 3}),
    "early": ("boosting", {"max_depth": 3, "early_stopping": 1, "learning_rate": 1.5, "rounds": 20}),
    "forest": ("forest", {"trees": 6, "trees_per_round": 3, "max_depth": 4}),
}  # fmt: skip


def rows(folder: Path) -> DataConfig:
    """600 rows with gaps and categories in two files of several blocks, and some to validate with."""
    rng = np.random.default_rng(4)
    x, c = rng.normal(size=(900, 3)).round(3), rng.integers(0, 9, 900)
    y = (x[:, 0] * x[:, 1] + 0.3 * c + rng.normal(size=900)).round(3)
    lines = [
        f"{a},{b},{'' if d > 1 else d},c{k},{t}" for (a, b, d), k, t in zip(x.tolist(), c, y.tolist(), strict=True)
    ]
    for name, part in (("p0", lines[:400]), ("p1", lines[400:600]), ("valid", lines[600:])):
        (folder / f"{name}.csv").write_text("\n".join(["a,b,d,c,y", *part]) + "\n")
    paths = tuple(str(folder / f"p{k}.csv") for k in range(2))
    return DataConfig(data=paths, valid=(str(folder / "valid.csv"),), target="y", window_bytes=4096)


def states(
    folder: Path, way: str, every_s: float, max_rounds: int | None = None, started: Callable[[], Engine] = InlineEngine
) -> tuple[dict[int, bytes], list[Any]]:
    """The message of every State that ``fit`` came to, by its round; and what was told of the rounds."""
    name, params = WAYS[way]
    data = rows(folder)
    if params.get("objective") in ("logistic", "softmax"):
        data = DataConfig(**{**vars(data), "target": "c", "exclude": ("y",)})
        if params["objective"] == "logistic":
            for file in (*data.data, *data.valid):
                text = Path(file).read_text()
                Path(file).write_text(text.replace(",c1,", ",c0,").translate(str.maketrans("2345678", "1111111")))
    config = RunConfig(name, {"rounds": 4, **params} if name == "boosting" else params, data,
                       EngineConfig(engine="inline"), "unused")  # fmt: skip
    dataset, pipeline = open_training(config, algorithm_of(config))
    found: dict[int, bytes] = {}
    told = Remembered(Silent())
    with started() as engine:
        watch = Watch(engine, pipeline, config.data, False, told)

        def on_round(state: State) -> None:
            found[state.round] = wire.dumps(state.to_wire())
            watch(state)

        fit(pipeline, dataset, engine, Checkpoint(folder / f"states-{every_s}", every_s=every_s), on_round, max_rounds)
    return found, told.rounds


def figures(told: list[Any]) -> list[Any]:
    """All but what it took."""
    return [{k: v for k, v in facts.items() if not k.startswith(("seconds", "bytes_up"))} for facts in told]


@pytest.mark.parametrize("way", WAYS)
def test_states_after_an_iteration_in_one_go_are_those_of_its_rounds(way: str, tmp_path: Path) -> None:
    every, told = states(tmp_path, way, 0.0)
    some, told_of_some = states(tmp_path, way, 1e9)
    assert len(some) < len(every) and max(some) == max(every)
    assert some == {number: every[number] for number in some}
    assert figures(told_of_some) == figures(told) and [f["round"] for f in told] == list(range(1, max(every) + 1))


def test_the_only_worker_goes_on_by_itself(tmp_path: Path) -> None:
    every, told = states(tmp_path, "quantile", 0.0)
    for number, started in enumerate((lambda: LocalEngine(1), one_task)):
        some, told_of_some = states(tmp_path, "quantile", 1e9 + number, started=started)
        assert len(some) < len(every) and max(some) == max(every)
        assert some == {number: every[number] for number in some}
        assert [f["loss"] for f in told_of_some[1:]] == [f["loss"] for f in told[1:]]
    several, _ = states(tmp_path, "quantile", 2e9, started=lambda: LocalEngine(2))
    assert several == every


def one_task() -> Engine:
    return ResidentEngine(EngineConfig(engine="resident", workers=1), 1 << 20)


def test_a_run_ends_at_max_rounds_also_inside_an_iteration_and_goes_on_from_there(tmp_path: Path) -> None:
    every, _ = states(tmp_path, "depthwise", 0.0)
    states(tmp_path, "depthwise", 1e9, max_rounds=8)
    after, _ = states(tmp_path, "depthwise", 1e9)
    assert min(after) == 9 and after == {number: every[number] for number in after}


def test_of_many_rows_every_round_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MOST_VALUES", 600)
    some, _ = states(tmp_path, "depthwise", 1e9)
    assert sorted(some) == list(range(1, max(some) + 1))
