"""The local engine when workers die, when it dies itself, and between its rounds."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mrml import pin, wire
from mrml.data.dataset import Dataset
from mrml.engines.local import serving, start, worker
from mrml.engines.local.engine import LocalEngine
from mrml.engines.local.serving import MAX_ATTEMPTS, SPLITS_PER_WORKER
from mrml.engines.write import Scoring
from mrml.errors import EngineError
from tests.contract.test_engines import by_hand, drive
from tests.exercise import Exercise, Totals, make_dataset

ROOT = Path(__file__).parents[2]
SPLIT_BYTES = 2000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """One engine for all tests: each finds it as the one before left it."""
    with LocalEngine(2, SPLIT_BYTES) as running:
        yield running


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are shared task by task, as those that take long."""
    monkeypatch.setattr(serving, "BRIEF_S", 0.0)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == serving.__name__]


def gone(pid: int, wait_s: float = 20.0) -> bool:
    """Whether a process ends within the wait; one that nobody has reaped has ended too."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


# ---- workers that die


def survive_a_kill(engine: serving.Serving, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever does a split is killed there once, and the bytes are those that nothing would have changed."""
    algorithm = Exercise(n_rounds=3, fail="kill", flag=str(tmp_path / "flag"))
    with caplog.at_level(logging.WARNING):
        found = drive(engine, algorithm, dataset)
    (tmp_path / "flag").touch()
    assert found == by_hand(algorithm, dataset)


def test_a_worker_killed_in_a_round_costs_its_split_a_second_run_and_no_bit(
    engine: LocalEngine, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    survive_a_kill(engine, dataset, tmp_path, caplog)
    assert len(warned(caplog)) == 1 and "died (exit code -9)" in warned(caplog)[0]


@pytest.mark.parametrize("fail", ["kill", "unexpected"])
def test_what_goes_wrong_when_workers_are_told_once_what_to_do_costs_no_bit_and_is_named(
    engine: LocalEngine, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, fail: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(serving, "BRIEF_S", 1e9)
    well = Exercise(n_rounds=2)
    assert drive(engine, well, dataset) == by_hand(well, dataset)
    if fail == "unexpected":
        algorithm = Exercise(n_rounds=3, fail=fail, flag=str(tmp_path / "flag"))
        with pytest.raises(EngineError) as caught:
            drive(engine, algorithm, dataset)
        assert caught.value.place.startswith("split ")
    else:
        survive_a_kill(engine, dataset, tmp_path, caplog)
        assert len(warned(caplog)) == 1 and re.search(r": splits \d+(, \d+)+ run again$", warned(caplog)[0])
    assert drive(engine, well, dataset) == by_hand(well, dataset)


def test_a_split_on_which_every_worker_dies_ends_the_round_after_four_and_is_named(
    engine: LocalEngine, dataset: Dataset, caplog: pytest.LogCaptureFixture, one_by_one: None
) -> None:
    algorithm = Exercise(fail="kill")
    with caplog.at_level(logging.WARNING), pytest.raises(EngineError) as caught:
        engine.round(algorithm, algorithm.init(dataset.schema), dataset)
    assert MAX_ATTEMPTS == 4
    assert len(warned(caplog)) == 3
    split = caught.value.place
    assert all(message.endswith(f"{split} runs again") for message in warned(caplog))
    blocks = dataset.splits(min(SPLIT_BYTES, dataset.n_bytes // (SPLITS_PER_WORKER * engine.n_workers) + 1))[
        int(split.split()[1])
    ]
    assert any(r.file == 1 and r.first <= 3 and (r.stop is None or r.stop > 3) for r in blocks)
    assert "4 workers died on it, the last with exit code -9" in str(caught.value)
    assert drive(engine, Exercise(n_rounds=2), dataset) == by_hand(Exercise(n_rounds=2), dataset)


def test_workers_killed_between_rounds_are_replaced_and_told_everything(engine: LocalEngine, dataset: Dataset) -> None:
    algorithm = Exercise(n_rounds=3)
    state = algorithm.init(dataset.schema)
    for n_killed in range(3):
        for pid in engine.pids[:n_killed]:
            os.kill(pid, signal.SIGKILL)
        state = algorithm.update(state, engine.round(algorithm, state, dataset))
    assert wire.dumps(state.to_wire()) == by_hand(algorithm, dataset)


@pytest.mark.parametrize("when", ["next", "done"])
def test_what_a_dead_worker_held_of_its_splits_is_computed_again(
    engine: LocalEngine, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, when: str, one_by_one: None
) -> None:
    """A worker is killed that is about to send what it holds, or that has just finished a split."""
    algorithm, original, killed = Exercise(n_rounds=2, n_keys=3), getattr(serving.Tasks, when), []
    found = drive(engine, algorithm, dataset)
    n_rows = engine.report.n_rows

    def kill(tasks: serving.Tasks, process: serving.Peer, *more: object) -> object:
        answer = original(tasks, process, *more)
        if not killed and process.holds and (when == "done" or (answer is not None and answer < 0)):
            killed.append(process.holds)
            os.kill(process.child.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        return answer

    monkeypatch.setattr(serving.Tasks, when, kill)
    assert drive(engine, algorithm, dataset) == found == by_hand(algorithm, dataset)
    assert killed and engine.report.n_rows == n_rows  # those of a split that ran twice count once


def test_a_worker_sends_what_it_has_added_up_once_a_round(tmp_path: Path) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise(n_rounds=1)
    sent: list[int] = []
    with LocalEngine(2, SPLIT_BYTES) as engine, pytest.MonkeyPatch.context() as patch:
        run = engine._run

        def spy(op: str, n_tasks: int) -> list[dict[str, object]]:
            answers = run(op, n_tasks)
            sent.append(sum(part[0] == "exact" for answer in answers for part in answer["parts"]))
            return answers

        patch.setattr(engine, "_run", spy)
        assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
    assert len(sent) == 1 and sent[0] <= 2


def test_a_dataset_and_an_algorithm_that_are_known_are_not_told_again(engine: LocalEngine, dataset: Dataset) -> None:
    algorithm = Exercise(n_rounds=2)
    state = algorithm.init(dataset.schema)
    state = algorithm.update(state, engine.round(algorithm, state, dataset))
    before = {name: known.version for name, known in engine._context.items()}
    engine.round(algorithm, state, dataset)
    after = {name: known.version for name, known in engine._context.items()}
    assert after["state"] > before["state"]
    assert {k: v for k, v in after.items() if k != "state"} == {k: v for k, v in before.items() if k != "state"}


def test_a_worker_that_ends_by_itself_in_a_split_is_a_worker_that_died(
    engine: LocalEngine, dataset: Dataset, tmp_path: Path
) -> None:
    algorithm = Exercise(n_rounds=1, fail="exit", flag=str(tmp_path / "flag"))
    found = drive(engine, algorithm, dataset)
    assert found == by_hand(algorithm, dataset)


def test_an_interrupt_in_a_round_leaves_no_stale_answer(
    engine: LocalEngine, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    algorithm = Exercise(n_rounds=2)
    with monkeypatch.context() as patch:
        patch.setattr(serving.Tasks, "done", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.round(algorithm, algorithm.init(dataset.schema), dataset)
    assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)


# ---- a driver that dies

DRIVER = """
import sys, json, threading
from pathlib import Path
from mrml.engines.local.engine import LocalEngine
from tests.exercise import Exercise, make_dataset
folder = Path(sys.argv[1])
if sys.argv[3] == "spawned":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
engine = LocalEngine(2, 2000, str(folder / "cache"))
dataset = make_dataset(folder)
algorithm = Exercise(slow_s=float(sys.argv[2]))
if not algorithm.slow_s:
    engine.round(algorithm, algorithm.init(dataset.schema), dataset)
print(json.dumps(engine.pids), flush=True)
if algorithm.slow_s:
    engine.round(algorithm, algorithm.init(dataset.schema), dataset)
input()
"""


@pytest.mark.parametrize("how", ["forked", "spawned"])
@pytest.mark.parametrize("when", ["idle", "computing", "starting"])
def test_workers_end_when_their_driver_is_killed(tmp_path: Path, when: str, how: str) -> None:
    """Whatever they do, also when they have a split to compute before they could look; the next run sweeps up."""
    slow_s = 0.0 if when == "idle" else 600.0
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(slow_s), how], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        pids = json.loads(driver.stdout.readline())
        if when == "computing":
            _until_computing(tmp_path / "cache")
        elif when == "starting":
            time.sleep(0.05)  # enough to be given a split, not to import NumPy
        driver.kill()
    assert len(pids) == 2 and all(gone(pid) for pid in pids)
    left = list((tmp_path / "cache").iterdir())
    assert len(left) == 1 and left[0].name.startswith(f"mrml-scratch-{driver.pid}-")
    with LocalEngine(1, cache_dir=str(tmp_path / "cache")):
        assert not left[0].exists()


def test_a_scratch_folder_has_no_owner_once_its_driver_is_dead_though_a_forked_worker_is_not(tmp_path: Path) -> None:
    """A worker takes a while to end: the lock is not its own, or the folder would outlive the next run."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), "0.0", "forked"], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        pids = json.loads(driver.stdout.readline())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        driver.kill()
    try:
        (left,) = (tmp_path / "cache").iterdir()
        with LocalEngine(1, cache_dir=str(tmp_path / "cache")):
            assert not left.exists()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    assert all(gone(pid) for pid in pids)


def _until_computing(cache: Path) -> None:
    """Until each of two workers has decoded a block, and so is about to map it."""
    end = time.monotonic() + 60
    while time.monotonic() < end and len(list(cache.rglob("*.block"))) < 2:
        time.sleep(0.02)


# ---- how workers start

FORKING = """
import os, signal, sys, threading
from pathlib import Path
from mrml.engines.local import start
from mrml.engines.local.engine import LocalEngine
from tests.contract.test_engines import by_hand, drive
from tests.exercise import Exercise, make_dataset
print("unsent", end="")
told = [start.may_fork()]
with LocalEngine(3, 2000) as engine:
    dataset, algorithm = make_dataset(Path(sys.argv[1])), Exercise(n_rounds=2)
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\\0") for pid in engine.pids]
    told += [b"mrml.engines.local.worker" in line for line in lines]
    told.append(drive(engine, algorithm, dataset) == by_hand(algorithm, dataset))
    os.kill(engine.pids[0], signal.SIGKILL)
    told.append(drive(engine, algorithm, dataset) == by_hand(algorithm, dataset))
    engine.peers[1].stdin.close()
    told.append(engine.peers[1].child.wait())
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("", told, start.may_fork())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is an interpreter of its own")
def test_a_process_without_threads_forks_its_workers_and_each_has_its_pipes_to_itself(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKING, str(tmp_path)], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert done.stdout == "unsent [True, False, False, False, True, True, 0] False\n"


def test_a_process_that_did_not_pin_its_kernels_forks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrml.pin.pinned", lambda: False)
    assert not start.may_fork()


# ---- messages


def test_large_statistics_go_through_files_that_are_gone_after_the_round(
    engine: LocalEngine, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled: list[int] = []
    fetch = serving._fetch

    def watched(body: object) -> object:
        if isinstance(body, str):
            spilled.append(os.path.getsize(body))
        return fetch(body)

    monkeypatch.setattr(serving, "_fetch", watched)
    algorithm = Exercise(n_rounds=1, large=True)
    assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
    assert spilled and min(spilled) > worker.SPILL_BYTES
    assert list((engine._folder / "spill").iterdir()) == []


def test_spilled_files_are_gone_after_an_error_too(engine: LocalEngine, dataset: Dataset) -> None:
    algorithm = Exercise(large=True, fail="kill")
    with pytest.raises(EngineError):
        engine.round(algorithm, algorithm.init(dataset.schema), dataset)
    assert list((engine._folder / "spill").iterdir()) == []


def test_blocks_are_decoded_once_and_shared_by_all_workers(tmp_path: Path) -> None:
    dataset, algorithm = make_dataset(tmp_path), Exercise(n_rounds=2)
    with LocalEngine(2, SPLIT_BYTES) as fresh:
        state = algorithm.init(dataset.schema)
        values = fresh.round(algorithm, state, dataset)
        for file in dataset.files:
            Path(file.path).unlink()
        for pid in fresh.pids:  # new workers have nothing but the store
            os.kill(pid, signal.SIGKILL)
        again = fresh.round(algorithm, state, dataset)
    assert wire.dumps(values["sum"].to_wire()) == wire.dumps(again["sum"].to_wire())


def test_scoring_and_rounds_take_turns(engine: LocalEngine, dataset: Dataset, tmp_path: Path) -> None:
    algorithm = Exercise(n_rounds=1)
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        engine.write(Totals(np.zeros(3)), dataset, Scoring(str(tmp_path / str(i)), "csv"))
        assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
    first, second = ([p.read_bytes() for p in sorted((tmp_path / str(i)).iterdir())] for i in range(2))
    assert first == second and len(first) > 1


def test_a_frame_that_is_cut_short_is_the_end(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    with open(path, "wb") as stream:
        worker.send(stream, {"op": "state", "x": np.arange(5)})
    whole = path.read_bytes()
    with open(path, "rb") as stream:
        assert worker.receive(stream)["x"].tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(EOFError):
            worker.receive(stream)
    for cut in (0, 3, 8, 20, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with open(path, "rb") as stream, pytest.raises(EOFError):
            worker.receive(stream)


def test_workers_by_default_are_as_many_as_cores() -> None:
    with LocalEngine() as default:
        assert default.workers() == len(default.pids) == pin.cores()


def test_workers_are_numbered_and_know_it_because_their_gpus_are_dealt_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    for name in ("fork", "spawn"):
        begin = getattr(start, name)
        monkeypatch.setattr(start, name, lambda number, begin=begin: (numbers.append(number), begin(number))[1])  # type: ignore[func-returns-value]
    with LocalEngine(3):
        assert numbers == [0, 1, 2]
    told = """if True:
        import io
        from mrml.engines.local import worker
        from mrml import pin
        worker.end_with = lambda driver: None
        worker.run(0, 3, io.BytesIO(), io.BytesIO())
        raise SystemExit(pin.worker)"""
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 3


def test_a_forked_worker_is_told_its_own_number() -> None:
    told = """if True:
        from mrml.engines.local import serving, start, worker
        worker.run = lambda driver, number, source, sink: (sink.write(bytes([number])), sink.flush())
        raise SystemExit(start.fork(3).stdout.read(1)[0])"""
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 3
