"""Processes: begun for good, found again, ended; and never somebody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrml.cluster import processes
from mrml.cluster.processes import Container, Process

Begin = Callable[..., Process]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins processes; what a test leaves of them is killed."""
    begun: list[Process] = []

    def start(*command: str) -> Process:
        begun.append(processes.begin(command, tmp_path / "log", tmp_path))
        return begun[-1]

    yield start
    processes.kill_all(begun)


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def test_a_process_has_a_session_of_its_own_and_writes_to_its_log(begin: Begin, tmp_path: Path) -> None:
    process = begin("sh", "-c", "echo out; echo err >&2; exec sleep 60")
    assert process.alive and os.getsid(process.pid) != os.getsid(0)
    assert eventually(lambda: (tmp_path / "log").read_text() == "out\nerr\n")
    assert process.memory_mb > 0


def test_end_asks_first_and_kills_what_does_not_listen(begin: Begin, tmp_path: Path) -> None:
    polite = begin("sh", "-c", "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.05; done")
    deaf = begin("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    assert eventually(lambda: (tmp_path / "log").read_text().count("up") == 2)
    processes.end([polite, deaf], 1.0)
    assert not polite.alive and not deaf.alive and "bye" in (tmp_path / "log").read_text()


def test_a_process_whose_first_thread_has_ended_lives_on(begin: Begin, tmp_path: Path) -> None:
    """As a JVM that is killed does for a while, with its ports still taken."""
    code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); "
    process = begin(sys.executable, "-c", code + "ctypes.CDLL(None).pthread_exit(None)")
    state = Path(f"/proc/{process.pid}/stat")
    assert eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z")
    assert process.alive
    processes.kill_all([process])
    assert not process.alive


def test_a_number_that_was_given_away_again_is_another_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        stale = Process(other.pid, processes._started(other.pid) - 1)
        assert not stale.alive
        processes.end([stale], 0.1)
        processes.kill_all([stale])
        assert other.poll() is None
        other.kill()


def test_what_is_gone_is_not_alive(begin: Begin) -> None:
    process = begin("true")
    assert eventually(lambda: not process.alive)
    process.signal(signal.SIGTERM)
    assert not Process(2**22 + 1, 0).alive


def test_containers_are_known_by_their_environment_and_their_nodes_local_folder(begin: Begin, tmp_path: Path) -> None:
    name = "container_e02_1700000000000_0004_01_000001"
    lines = "import os, subprocess, sys; os.setsid(); subprocess.run(['sleep', '60'])"
    begin("env", f"LOCAL_DIRS={tmp_path}/node1/local/usercache/u", f"CONTAINER_ID={name}", sys.executable, "-c", lines)
    begin("env", f"LOCAL_DIRS={tmp_path}/node10/local/usercache/u", f"CONTAINER_ID={name}", "sleep", "60")
    begin("sh", "-c", "sleep 60; :", f"{tmp_path}/node1/local/notes.txt")
    local = tmp_path / "node1" / "local"
    assert eventually(lambda: len(processes.containers(local)) == 2)
    found = processes.containers(local)
    assert {c.id for c in found} == {name} and {c.application for c in found} == {"application_1700000000000_0004"}
    processes.kill_all([c.process for c in found])
    assert not processes.containers(local)


def test_the_application_master_is_known_by_its_class() -> None:
    process = Process(1, 1)
    master = Container(process, "container_1_2_01_000001", "java org.apache.hadoop.mapreduce.v2.app.MRAppMaster")
    assert master.is_master and master.application == "application_1_2"
    assert not Container(process, "", "java YarnChild").is_master and Container(process, "", "").application == ""


def test_a_mark_on_the_command_line_finds_a_process(begin: Begin) -> None:
    mark = f"-Dmrml.cluster=/nowhere/{os.getpid()}"
    process = begin("sh", "-c", "sleep 60; :", "sh", mark)
    assert eventually(lambda: processes.marked(mark) == [process])
    assert not processes.marked(mark + "/deeper")
