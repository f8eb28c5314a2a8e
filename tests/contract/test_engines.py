"""What every engine promises, by one algorithm that exercises everything (tests/exercise.py).

What is expected comes from a loop over blocks in memory, not from an engine.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from mrml import wire
from mrml.algorithm import Algorithm, State
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.block import Block
from mrml.data.dataset import Dataset
from mrml.data.open import open_dataset
from mrml.engines.base import Engine
from mrml.engines.inline import InlineEngine
from mrml.engines.local.engine import LocalEngine
from mrml.engines.resident.engine import ResidentEngine
from mrml.engines.streaming.engine import StreamingEngine
from mrml.engines.write import Scoring, sweep
from mrml.errors import EngineError, InputError, TaskFailed
from mrml.kernels.fingerprint import fingerprint
from mrml.runs import train as run
from tests.exercise import ODD_KEYS, Exercise, Impostor, Sparing, Totals, make_dataset
from tests.rounds import run_round

ENGINES = ("inline", "local-1", "local-2", "local-3", "resident-2", "streaming-inline", "streaming-local")
#: one of a kind, where the number of workers makes no difference
KINDS = ("inline", "local-2", "resident-2", "streaming-inline", "streaming-local")
#: without the one that takes a second a job, where its runner makes no difference
QUICK = KINDS[:-1]
SPLIT_BYTES = 2000


def make(name: str, **more: Any) -> Engine:
    kind, _, detail = name.partition("-")
    if kind == "inline":
        return InlineEngine(SPLIT_BYTES, **more)
    if kind == "local":
        return LocalEngine(int(detail), SPLIT_BYTES, **more)
    if kind == "resident":
        return ResidentEngine(EngineConfig(engine="resident", workers=int(detail), **more), SPLIT_BYTES)
    return StreamingEngine(detail, 2, SPLIT_BYTES, **more)


@pytest.fixture(scope="module")
def engines() -> Iterator[Any]:
    """Engines by name, used again and again: an error of one test must not trouble the next."""
    kept: dict[str, Engine] = {}

    def engine(name: str) -> Engine:
        if name not in kept:
            kept[name] = make(name)
        return kept[name]

    yield engine
    for e in kept.values():
        e.close()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("engines"), bad=4)


def raw_blocks(dataset: Dataset) -> list[Block]:
    return [b for split in dataset.splits(1 << 30) for part in split for b in dataset.read(part)]


def bytes_of(state: State) -> bytes:
    return wire.dumps(state.to_wire())


def drive(engine: Engine, algorithm: Algorithm, dataset: Dataset) -> bytes:
    """The last State's bytes, by rounds of an engine."""
    state = algorithm.init(dataset.schema)
    while state.stop is None:
        state = algorithm.update(state, engine.round(algorithm, state, dataset))
    return bytes_of(state)


@functools.lru_cache(maxsize=8)
def expected(algorithm: Algorithm, dataset_id: int) -> bytes:
    dataset = _DATASETS[dataset_id]
    blocks = raw_blocks(dataset)
    state = algorithm.init(dataset.schema)
    while state.stop is None:
        state = run_round(algorithm, state, [blocks])
    return bytes_of(state)


_DATASETS: dict[int, Dataset] = {}


def by_hand(algorithm: Algorithm, dataset: Dataset) -> bytes:
    """The same by a loop over blocks in memory."""
    _DATASETS[id(dataset)] = dataset
    return expected(algorithm, id(dataset))


# ---- rounds


def test_the_exercise_is_over_many_blocks_and_splits(dataset: Dataset) -> None:
    assert len(raw_blocks(dataset)) >= 20 and len(dataset.splits(SPLIT_BYTES)) >= 6
    assert len(set(ODD_KEYS)) == len(ODD_KEYS)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_ends_with_the_same_bytes(engines: Any, dataset: Dataset, name: str) -> None:
    algorithm = Exercise(n_rounds=1 if name == "streaming-local" else 3)
    assert drive(engines(name), algorithm, dataset) == by_hand(algorithm, dataset)


@pytest.mark.parametrize("name", ENGINES)
def test_large_statistics_and_many_keys_come_through(engines: Any, dataset: Dataset, name: str) -> None:
    algorithm = Exercise(n_rounds=1, large=True, n_keys=40 if name == "streaming-local" else 400)
    assert drive(engines(name), algorithm, dataset) == by_hand(algorithm, dataset)


@pytest.mark.parametrize("name", KINDS)
def test_what_an_algorithm_prints_does_no_harm_and_is_no_result(
    engines: Any, dataset: Dataset, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    found = drive(engines(name), Exercise(n_rounds=1, noisy=True), dataset)
    assert found == by_hand(Exercise(n_rounds=1, noisy=True), dataset)
    assert "printed in" not in capfd.readouterr().out


@pytest.mark.parametrize("name", QUICK)
def test_two_rounds_of_other_states_and_algorithms_do_not_mix(engines: Any, dataset: Dataset, name: str) -> None:
    engine, algorithm = engines(name), Exercise(n_rounds=2)
    first = algorithm.init(dataset.schema)
    engine.round(Sparing(), first, dataset)
    again = [algorithm.update(first, engine.round(algorithm, first, dataset)) for _ in range(2)]
    assert bytes_of(again[0]) == bytes_of(again[1])


@pytest.mark.parametrize("name", ENGINES)
def test_the_report_counts_rows_malformed_ones_and_who_computed(engines: Any, dataset: Dataset, name: str) -> None:
    engine = engines(name)
    # most splits of Sparing fill no key, and are counted all the same
    for algorithm in (Exercise(), Sparing())[name == "streaming-local" :]:
        engine.round(algorithm, algorithm.init(dataset.schema), dataset)
        report = engine.report
        assert (report.n_rows, report.n_records, report.n_bad) == (726, 730, 4)
        assert len(report.problems) == 4 and all("'oops' is not a number" in p for p in report.problems)
        assert report.fingerprints == {fingerprint(): [platform.node()]}


@pytest.mark.parametrize("name", QUICK)
def test_files_without_rows_give_the_empty_sums(engines: Any, tmp_path: Path, name: str) -> None:
    nothing = make_dataset(tmp_path, (0, 0))
    values = engines(name).round(Exercise(), Exercise().init(nothing.schema), nothing)
    assert sorted(values) == sorted({*ODD_KEYS, "sum", "exact"})
    assert values["sum"]["x"].tolist() == [0, 0, 0] and engines(name).report.n_rows == 0


@pytest.mark.parametrize("name", KINDS)
def test_data_without_a_block_gives_no_value(engines: Any, tmp_path: Path, name: str) -> None:
    none = pa.table({"x": pa.array([], pa.float64())})
    pq.write_table(none, tmp_path / "none.parquet")
    nothing = open_dataset(DataConfig(data=(str(tmp_path / "none.parquet"),)))
    assert nothing.splits(SPLIT_BYTES) == ()
    assert engines(name).round(Exercise(), Exercise().init(nothing.schema), nothing) == {}


# ---- errors


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("where", ["ours", "reduce ours"])
def test_an_error_of_ours_in_a_task_is_raised_in_the_driver_as_it_is(
    engines: Any, dataset: Dataset, name: str, where: str
) -> None:
    algorithm = Exercise(fail=where)
    with pytest.raises(InputError) as caught:
        drive(engines(name), algorithm, dataset)
    with pytest.raises(InputError) as wanted:
        by_hand(algorithm, dataset)
    assert type(caught.value) is InputError
    assert caught.value.args == wanted.value.args and str(caught.value) == str(wanted.value)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("where", "line"), [("unexpected", "in _go_wrong"), ("reduce", "in reduce")])
def test_any_other_exception_in_a_task_is_task_failed_with_its_traceback(
    engines: Any, dataset: Dataset, name: str, where: str, line: str
) -> None:
    with pytest.raises(TaskFailed) as caught, dataset.naming():
        drive(engines(name), Exercise(fail=where), dataset)
    assert "ZeroDivisionError: " in caught.value.finding
    place = r"split \d+, p1.csv, block 3" if where == "unexpected" else "key 'rare'"
    assert re.fullmatch(place, caught.value.place)
    assert "Traceback (most recent call last)" in caught.value.traceback and line in caught.value.traceback


@pytest.mark.parametrize("name", QUICK)
def test_after_an_error_the_next_round_is_right(engines: Any, dataset: Dataset, name: str) -> None:
    class Nowhere(Exercise):
        """No task can import it."""

    algorithm = Exercise(n_rounds=2)
    for bad in (Exercise(fail="ours"), Exercise(fail="unexpected"), Nowhere()):
        if name == "inline" and isinstance(bad, Nowhere):
            continue  # it imports nothing
        with pytest.raises((InputError, EngineError, run.ConfigError)):  # type: ignore[attr-defined]
            engines(name).round(bad, bad.init(dataset.schema), dataset)
        assert drive(engines(name), algorithm, dataset) == by_hand(algorithm, dataset)


# ---- one set of kernels


def impostor_config(dataset: Dataset, output: Path, strict: bool) -> RunConfig:
    data = DataConfig(data=tuple(f.path for f in dataset.files), exclude=("name",), window_bytes=512, bad_rows="skip")
    engine = EngineConfig(engine="local", workers=2, strict_identity=strict)
    return RunConfig("tests.exercise:Impostor", {"n_rounds": 1}, data, engine, str(output))


def test_two_fingerprints_in_a_round_are_a_warning_and_are_written_down(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mrml"):
        run.train(impostor_config(dataset, tmp_path / "m", strict=False))
    warnings = [r.getMessage() for r in caplog.records if "different kernels" in r.getMessage()]
    assert len(warnings) == 1
    assert fingerprint() in warnings[0] and "impostor" in warnings[0] and "use one build of NumPy" in warnings[0]
    told = json.loads((tmp_path / "m" / "run.json").read_text())
    assert told["fingerprints"] == {fingerprint(): [platform.node()], "impostor": [platform.node()]}
    assert f"{fingerprint()} on {platform.node()}" in warnings[0] and f"impostor on {platform.node()}" in warnings[0]
    assert Impostor.__name__ in (tmp_path / "m" / "run.json").read_text()


def test_with_strict_identity_they_are_an_error(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"processes compute with different kernels: .*impostor"):
        run.train(impostor_config(dataset, tmp_path / "m", strict=True))
    assert not (tmp_path / "m" / "model.json").exists()


# ---- writing


def rows_in(folder: Path, format: str) -> list[dict[str, Any]]:
    """The rows of all parts, in the order of their names."""
    assert all(p.name.startswith("part-") and p.suffix == f".{format}" for p in folder.iterdir())
    read = {"parquet": lambda p: pq.read_table(p).to_pylist(), "csv": lambda p: pacsv.read_csv(p).to_pylist(),
            "jsonl": lambda p: [json.loads(line) for line in p.read_text().splitlines()]}[format]  # fmt: skip
    return [row for p in sorted(folder.iterdir()) for row in read(p)]


def scored(dataset: Dataset, model: Totals) -> list[dict[str, Any]]:
    """What a model says of every row, without an engine."""
    out = []
    for block in raw_blocks(dataset):
        found = model.predict(block)
        assert block.id is not None and found.probability is not None
        for i in range(block.n_rows):
            no, yes = found.probability[i].tolist()
            label = Totals.classes[int(found.y_pred[i])]
            out.append({"id": str(block.id[i]), "prediction": label, "probability_no": no, "probability_yes": yes})
    return out


@pytest.mark.parametrize(
    ("name", "format"), [*((n, "parquet") for n in ENGINES[:-1]), *((n, "csv") for n in KINDS), ("inline", "jsonl")]
)
def test_every_engine_writes_the_same_rows_in_input_order(
    engines: Any, dataset: Dataset, name: str, format: str, tmp_path: Path
) -> None:
    model = Totals(np.zeros(3))
    report = engines(name).write(model, dataset, Scoring(str(tmp_path), format))
    found, wanted = rows_in(tmp_path, format), scored(dataset, model)
    assert [dict(row) for row in found] == wanted
    assert (report.n_rows, report.n_bad, list(report.fingerprints)) == (726, 4, [fingerprint()])
    assert engines(name).report is report


@pytest.mark.parametrize("name", QUICK)
def test_the_model_that_is_given_is_the_one_that_scores(
    engines: Any, dataset: Dataset, name: str, tmp_path: Path
) -> None:
    class_of = [Totals(np.zeros(3)), Totals(np.zeros(3), fail="ours")]
    engines(name).write(class_of[0], dataset, Scoring(str(tmp_path)))
    with pytest.raises(InputError, match=r"part-1.csv: cannot be scored; leave it"):
        engines(name).write(class_of[1], dataset, Scoring(str(tmp_path)))
    engines(name).write(class_of[0], dataset, Scoring(str(tmp_path)))


@pytest.mark.parametrize("name", QUICK)
def test_an_exception_in_predict_is_task_failed_with_its_traceback(
    engines: Any, dataset: Dataset, name: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskFailed, match=r"split \d+, file \d, block \d+: ZeroDivisionError: in predict") as caught:
        engines(name).write(Totals(np.zeros(3), fail="unexpected"), dataset, Scoring(str(tmp_path)))
    assert "in predict" in caught.value.traceback


@pytest.mark.parametrize("name", ["local-2", "streaming-local"])
def test_a_worker_killed_while_it_writes_loses_and_doubles_nothing(
    engines: Any, dataset: Dataset, name: str, tmp_path: Path
) -> None:
    output, flag = tmp_path / "out", tmp_path / "flag"
    output.mkdir()
    model = Totals(np.zeros(3), fail="kill", flag=str(flag))
    engines(name).write(model, dataset, Scoring(str(output), "csv"))
    assert flag.exists()
    sweep(str(output))  # as `mrml predict` does before it says _SUCCESS
    assert rows_in(output, "csv") == scored(dataset, Totals(np.zeros(3)))


# ---- side by side, and the end


@pytest.mark.parametrize("name", ["inline", "local-2", "streaming-inline"])
def test_two_engines_side_by_side_do_not_disturb_each_other(dataset: Dataset, name: str, tmp_path: Path) -> None:
    algorithms = Exercise(n_rounds=2), Exercise(n_rounds=2, n_keys=3)
    with make(name, cache_dir=str(tmp_path)) as one, make(name, cache_dir=str(tmp_path)) as two:
        states = [a.init(dataset.schema) for a in algorithms]
        for _ in range(2):
            pairs = list(zip(algorithms, states, (one, two), strict=True))
            states = [a.update(s, e.round(a, s, dataset)) for a, s, e in pairs]
        one.close()
        assert drive(two, algorithms[1], dataset) == by_hand(algorithms[1], dataset)
    for algorithm, state in zip(algorithms, states, strict=True):
        assert bytes_of(state) == by_hand(algorithm, dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "fail"), [*((n, "") for n in QUICK), *((n, "ours") for n in KINDS)])
def test_close_leaves_no_process_and_no_folder(dataset: Dataset, name: str, fail: str, tmp_path: Path) -> None:
    engine = make(name, cache_dir=str(tmp_path))
    pids = getattr(engine, "pids", [])
    algorithm = Exercise(n_rounds=1, fail=fail)
    try:
        with engine:
            assert len(list(tmp_path.iterdir())) == 1
            drive(engine, algorithm, dataset)
    except InputError:
        assert fail
    for pid in {*pids, *getattr(engine, "pids", [])}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert list(tmp_path.iterdir()) == []
    engine.close()  # a second time does no harm


@pytest.mark.parametrize("name", QUICK)
def test_another_dataset_is_another_dataset(engines: Any, dataset: Dataset, name: str, tmp_path: Path) -> None:
    """Two Datasets number their files alike; an engine that keeps blocks must not take one's for the other's."""
    other = make_dataset(tmp_path, (50, 90, 10), bad=0)
    algorithm = Exercise(n_rounds=1)
    for data in (dataset, other, dataclasses.replace(other, files=other.files[1:])):
        assert drive(engines(name), algorithm, data) == by_hand(algorithm, data)
