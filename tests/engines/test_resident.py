"""Tasks that stay: who may join, what is lost when one is lost, and who goes on when the driver is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mrml import wire
from mrml.config.sections import EngineConfig
from mrml.data.dataset import Dataset
from mrml.engines.local import start
from mrml.engines.resident import engine as resident
from mrml.engines.resident import hello, listener, starters, task
from mrml.engines.resident.connection import Connection
from mrml.engines.resident.engine import ResidentEngine
from mrml.engines.resident.intake import Intake
from mrml.engines.resident.letter import Letter
from mrml.engines.resident.listener import Listener
from mrml.engines.resident.starters import Processes
from mrml.errors import ConfigError, EngineError
from tests.contract.test_engines import by_hand, drive
from tests.engines.test_local import gone, survive_a_kill
from tests.exercise import Exercise, make_dataset

ROOT = Path(__file__).parents[2]
SPLIT_BYTES = 2000


def make(**options: Any) -> ResidentEngine:
    return ResidentEngine(EngineConfig(**{"engine": "resident", "workers": 2, **options}), SPLIT_BYTES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("resident"))


@pytest.fixture
def engine() -> Iterator[ResidentEngine]:
    with make() as running:
        yield running


def processes(engine: ResidentEngine) -> Processes:
    assert isinstance(engine.starter, Processes)
    return engine.starter


def pids(engine: ResidentEngine) -> list[int]:
    return [p.facts["pid"] for p in engine.peers if isinstance(p, Connection)]


def port(engine: ResidentEngine) -> int:
    assert engine._listener is not None
    return engine._listener.port


# ---- who may join


def _speak(words: bytes) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(words)


def _hello_of(secret: bytes, **more: Any) -> Callable[[socket.socket], None]:
    def speak(sock: socket.socket) -> None:
        theirs = json.loads(sock.makefile().readline())["challenge"]
        proof = hello._proof(secret, "task", theirs, "mine")
        said = {"mrml": hello.__version__, "challenge": "mine", "proof": proof, "facts": {}, **more}  # type: ignore[attr-defined]
        sock.sendall(json.dumps(said).encode() + b"\n")

    return speak


CALLERS = {
    "silent": (_speak(b""), "said nothing for"),
    "HTTP": (_speak(b"GET / HTTP/1.1\r\n\r\n"), "is not a hello"),
    "no object": (_speak(b"[1]\n"), "is not a hello"),
    "no proof": (_speak(b'{"challenge": "x"}\n'), "is not a hello"),
    "deep": (_speak(b"[" * 4000 + b"\n"), "is not a hello"),
    "endless": (_speak(b"x" * 100_000), "hello is too long"),
    "hung up": (lambda sock: sock.shutdown(socket.SHUT_WR), "hung up"),
    "another secret": (_hello_of(b"guessed"), "does not know the secret"),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_who_does_not_prove_to_be_a_task_of_the_run_harms_nobody(
    engine: ResidentEngine, dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    caller: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(hello, "HELLO_S", 1.0)
    speak, why = CALLERS[caller]
    algorithm = Exercise(n_rounds=3)
    with caplog.at_level(logging.INFO), socket.create_connection(("127.0.0.1", port(engine))) as sock:
        speak(sock)
        assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
        until = time.monotonic() + 10
        while why not in caplog.text and time.monotonic() < until:
            time.sleep(0.02)
        sock.settimeout(5.0)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):  # it is hung up on
                pass
    assert "a caller from 127.0.0.1 is not a task of this run: " in caplog.text
    assert why in caplog.text and all(p.facts["pid"] for p in engine.peers if isinstance(p, Connection))


def test_a_task_of_another_mrml_is_told_to_get_this_one(caplog: pytest.LogCaptureFixture) -> None:
    listening = Listener("127.0.0.1", None, b"secret")
    try:
        with socket.create_connection(("127.0.0.1", listening.port)) as sock:
            _hello_of(b"secret", mrml="0.0.1")(sock)
            answer = json.loads(sock.makefile().readline())
        assert "this task 0.0.1" in answer["refused"] and "mrml pack" in answer["refused"]
        assert not listening.joined()
    finally:
        listening.close()


def test_a_task_refuses_a_driver_that_does_not_know_the_secret() -> None:
    """Or that is none at all: it says so, and what to look at."""
    mine, theirs = socket.socketpair()
    thread = threading.Thread(target=hello_as_driver, args=(theirs, b"another"))
    thread.start()
    with pytest.raises(EngineError, match="does not know the secret of this run"):
        hello.introduce(mine, b"secret", {})
    thread.join()
    mine, theirs = socket.socketpair()
    theirs.sendall(b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(EngineError, match=r"no driver of this run.*--driver-host"):
        hello.introduce(mine, b"secret", {})


def hello_as_driver(sock: socket.socket, secret: bytes) -> None:
    """Take any task."""
    sock.sendall(json.dumps({"mrml": hello.__version__, "challenge": "theirs"}).encode() + b"\n")  # type: ignore[attr-defined]
    said = json.loads(sock.makefile().readline())
    proof = hello._proof(secret, "driver", said["challenge"], "theirs")
    sock.sendall(json.dumps({"proof": proof}).encode() + b"\n")


def test_a_task_that_joined_and_talks_nonsense_is_let_go_of(engine: ResidentEngine, dataset: Dataset) -> None:
    assert engine._listener is not None
    algorithm, secret = Exercise(n_rounds=3), engine._listener._secret
    for nonsense in (struct.pack("<Q", 1 << 40), struct.pack("<Q", 5) + b"MRMLx", struct.pack("<Q", 90) + bytes(90)):
        sock = socket.create_connection(("127.0.0.1", port(engine)))
        hello.introduce(sock, secret, {"pid": 0})
        sock.sendall(nonsense)
        assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
        sock.close()


def test_the_secret_is_in_no_argument_and_no_environment_and_its_file_is_for_this_user_alone(
    engine: ResidentEngine, dataset: Dataset
) -> None:
    drive(engine, Exercise(n_rounds=1), dataset)
    assert engine._listener is not None
    path = Path(engine._folder) / "letter"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = Letter.of(path.read_bytes()).secret
    assert secret == engine._listener._secret and len(secret) == 32
    for pid in pids(engine):
        seen = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert secret not in seen and secret.hex().encode() not in seen


def test_ports_are_taken_from_the_range_and_what_is_wrong_with_it_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"no free port among {number}-{number}.*name others"):
            Listener("127.0.0.1", f"{number}-{number}", b"")
        free = Listener("127.0.0.1", f"{number}-{min(number + 50, 65535)}", b"")
        assert number < free.port <= number + 50
        free.close()
    for wrong in ("x", "5-1", "0", "1-99999", "-3"):
        with pytest.raises(ConfigError, match=r"is not a range of ports; write A-B"):
            listener._range(wrong)
    with pytest.raises(ConfigError, match=r"cannot listen at 192\.0\.2\.1"):
        Listener("192.0.2.1", None, b"")


def test_a_driver_that_cannot_be_reached_is_told_of_with_what_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    with pytest.raises(EngineError, match=rf"driver 127.0.0.1:{number}: cannot be reached .*--driver-ports"):
        task.dial(Letter("127.0.0.1", number, b"", 1.0), 0.3)
    Letter("127.0.0.1", number, b"", 1.0).write(tmp_path / "letter")
    monkeypatch.setattr(task, "DIAL_S", 0.3)
    reports = io.StringIO()
    with pytest.raises(EngineError):
        task.stay(tmp_path / "letter", 0, tmp_path / "blocks", reports)
    assert re.search(r"^reporter:status:driver 127.*--driver-ports", reports.getvalue(), re.MULTILINE)


# ---- who sends much


@pytest.mark.parametrize("most_bytes", [1, 1 << 20])
def test_what_does_not_fit_into_memory_waits_or_lies_in_files_and_the_bytes_are_the_same(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    algorithm, most, kept = Exercise(n_rounds=3, large=True, n_keys=5), [0, 0], Intake.keep

    def keep(intake: Intake, answer: dict[str, Any]) -> None:
        kept(intake, answer)
        most[:] = max(most[0], intake.held), max(most[1], len(intake._files))

    with make(workers=3, min_workers=3) as engine:
        engine._intake.most_bytes = most_bytes
        monkeypatch.setattr(Intake, "keep", keep)
        assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
        assert most[0] <= most_bytes and most[1] > 3
        assert engine._intake.coming == 0 and not list(engine._folder.glob("intake-*"))


# ---- who is lost


def test_a_task_killed_in_a_round_costs_its_splits_a_second_run_and_no_bit(
    engine: ResidentEngine, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    survive_a_kill(engine, dataset, tmp_path, caplog)
    assert "died (its connection)" in caplog.text


def test_a_task_that_is_frozen_is_silent_and_lost_and_comes_back_when_it_thaws(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = Exercise(n_rounds=4)
    with make(heartbeat_timeout_s=1.0) as engine:
        drive(engine, algorithm, dataset)
        frozen = pids(engine)[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            with caplog.at_level(logging.INFO):
                assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
            assert "died (silent for" in caplog.text and frozen not in pids(engine)
        finally:
            os.kill(frozen, signal.SIGCONT)
        until = time.monotonic() + 20
        while frozen not in pids(engine) and time.monotonic() < until:
            assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
        assert frozen in pids(engine)


def test_who_comes_late_takes_splits_over(dataset: Dataset, tmp_path: Path) -> None:
    algorithm = Exercise(n_rounds=2)
    with make(workers=1) as engine:
        drive(engine, algorithm, dataset)
        assert set(engine._owners["map"].values()) == {0}
        words = (os.getpid(), Path(engine._folder) / "letter", 1, tmp_path / "late")
        with start.interpreter(task.__name__, words, subprocess.DEVNULL, subprocess.DEVNULL) as late:
            try:
                until = time.monotonic() + 30
                while set(engine._owners["map"].values()) != {0, 1} and time.monotonic() < until:
                    assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
                assert set(engine._owners["map"].values()) == {0, 1}
                engine.close()
                assert late.wait(20) == 0  # it was let go of
            finally:
                late.kill()
        assert not (tmp_path / "late").exists()


def test_without_any_task_the_run_goes_on_by_jobs_or_says_what_to_do(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starters, "MAX_ATTEMPTS", 1)
    algorithm = Exercise(n_rounds=2)
    for fallback in ("streaming", "none"):
        with make(fallback=fallback) as engine:
            assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
            for pid in pids(engine):
                os.kill(pid, signal.SIGKILL)
            if fallback == "none":
                with pytest.raises(EngineError, match=r"every one of 2 tasks ended.*--fallback streaming") as caught:
                    drive(engine, algorithm, dataset)
                assert caught.value.exit_code == 5
            else:
                with caplog.at_level(logging.WARNING):
                    assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
                assert "the run continues with a job per round" in caplog.text


def test_a_driver_to_whom_no_task_comes_says_what_to_open(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "UNHEARD_S", 0.3)
    with make(workers=1) as engine:
        process = processes(engine).running[0]
        os.kill(process.pid, signal.SIGSTOP)
        threading.Timer(1.0, os.kill, (process.pid, signal.SIGCONT)).start()
        with caplog.at_level(logging.WARNING):
            drive(engine, Exercise(n_rounds=1), dataset)
    assert "of 1 tasks that run none has come to 127.0.0.1:" in caplog.text
    assert "--driver-ports" in caplog.text and "--driver-host" in caplog.text


def test_tasks_that_do_not_come_in_time_are_counted(dataset: Dataset) -> None:
    with make(workers=2, min_workers=2, max_wait_s=0.0, fallback="none") as engine:
        os.kill(processes(engine).running[1].pid, signal.SIGSTOP)
        try:
            with pytest.raises(EngineError, match=r"(no task|1 of 2 tasks) came within 0 s"):
                drive(engine, Exercise(n_rounds=1), dataset)
        finally:
            os.kill(processes(engine).running[1].pid, signal.SIGCONT)
    with pytest.raises(ConfigError, match="3 are more than the 2 that are asked for; raise --workers"):
        make(min_workers=3)
    with pytest.raises(ConfigError, match="the inline runner has no resident tasks; say -r local"):
        make(runner="inline")


def test_tasks_without_a_split_are_let_go_and_not_started_again(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = Exercise(n_rounds=3)
    with (
        ResidentEngine(
            EngineConfig(engine="resident", workers=3, min_workers=3, idle_release_s=0.0), SPLIT_BYTES
        ) as engine,
        caplog.at_level(logging.INFO),
    ):
        engine._gather()
        whole = dataclasses.replace(dataset, files=(dataclasses.replace(dataset.files[2], n_blocks=1),))
        there = set(pids(engine))
        assert drive(engine, algorithm, whole) == by_hand(algorithm, whole)
        (left,) = pids(engine)
        assert all(gone(pid) for pid in there - {left}) and "s: it is let go (" in caplog.text
        assert drive(engine, algorithm, dataset) == by_hand(algorithm, dataset)
        assert pids(engine) == [left]


# ---- who goes on


DRIVER = """
import sys, json
from pathlib import Path
from mrml.config.sections import EngineConfig
from mrml.engines.resident.engine import ResidentEngine
from tests.exercise import Exercise, make_dataset
folder = Path(sys.argv[1])
engine = ResidentEngine(EngineConfig(engine="resident", workers=2, cache_dir=str(folder / "cache")), 2000)
dataset, algorithm = make_dataset(folder), Exercise()
engine.round(algorithm, algorithm.init(dataset.schema), dataset)
print(json.dumps([p.facts["pid"] for p in engine.peers]), flush=True)
input()
"""


def test_tasks_on_this_machine_end_with_their_driver(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        found = json.loads(driver.stdout.readline())
        driver.kill()
    assert found and all(gone(pid) for pid in found)


def test_a_task_goes_over_to_the_next_driver_with_what_it_holds(tmp_path: Path) -> None:
    """As on YARN, where the driver's process is not its parent."""
    first = Listener("127.0.0.1", None, b"secret")
    letter = Letter("127.0.0.1", first.port, b"secret", 30.0, str(tmp_path / "next"))
    letter.write(tmp_path / "letter")
    code = "import sys; from pathlib import Path; from mrml.engines.resident.task import stay; "
    code += "stay(Path(sys.argv[1]), 7, Path(sys.argv[2]))"
    words = [sys.executable, "-c", code, str(tmp_path / "letter"), str(tmp_path / "blocks")]
    with subprocess.Popen(words, cwd=ROOT) as process:
        before = await_one(first)
        (tmp_path / "blocks" / "kept").touch()
        second = Listener("127.0.0.1", None, b"secret")
        (tmp_path / "next").write_bytes(wire.dumps({"host": "127.0.0.1", "port": second.port}))
        before.end()
        first.close()
        after = await_one(second)
        assert (after.facts["pid"], after.facts["number"]) == (process.pid, 7)
        assert (tmp_path / "blocks" / "kept").exists()
        after.put(wire.dumps({"op": "end"}))
        after.flush()
        assert process.wait(20) == 0 and not (tmp_path / "blocks").exists()
        after.end()
        second.close()


def await_one(listening: Listener) -> Connection:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for sock, facts in listening.joined():
            return Connection(0, sock, facts, 5.0, Intake(Path()))
        time.sleep(0.02)
    raise AssertionError("no task came")


def test_a_task_whose_driver_is_gone_for_good_ends_by_itself(tmp_path: Path) -> None:
    listening = Listener("127.0.0.1", None, b"secret")
    Letter("127.0.0.1", listening.port, b"secret", 0.5).write(tmp_path / "letter")
    code = "import sys; from pathlib import Path; from mrml.engines.resident.task import stay; "
    code += "stay(Path(sys.argv[1]), 0, Path(sys.argv[2]))"
    words = [sys.executable, "-c", code, str(tmp_path / "letter"), str(tmp_path / "blocks")]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        await_one(listening).end()
        listening.close()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0 and "the driver is gone, and no other came" in said


def test_a_listener_hangs_up_on_more_callers_than_it_hears_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MOST_CALLERS", 3)
    listening = Listener("127.0.0.1", None, b"secret")
    callers = [socket.create_connection(("127.0.0.1", listening.port)) for _ in range(5)]
    try:
        heard = [bool(caller.recv(1)) for caller in callers]
        assert sum(heard) == 3
    finally:
        for caller in callers:
            caller.close()
        listening.close()
    assert resident.HEAR_S < 1.0  # type: ignore[attr-defined]


def test_the_members_are_those_who_are_there_with_what_they_did_in_the_last_round(dataset: Dataset) -> None:
    algorithm = Exercise(n_rounds=3)
    with make(min_workers=2) as engine:
        assert engine.members() == []
        state = algorithm.init(dataset.schema)
        for n_left in (2, 1):
            state = algorithm.update(state, engine.round(algorithm, state, dataset))
            members = engine.members()
            assert [m["pid"] for m in members] == pids(engine) and len(members) >= n_left
            for name, whole in (("rows", engine.report.n_rows), ("bytes_up", engine.report.n_bytes_out)):
                assert sum(m[name] for m in members) == whole > 0
            assert all(m["host"] and m["busy_s"] >= 0 and m["silent_s"] >= 0 for m in members)
            os.kill(members[0]["pid"], signal.SIGKILL)
