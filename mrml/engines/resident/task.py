"""A task that stays: it dials its driver, proves that it belongs to the run, and serves rounds until there are no more.

It keeps what it decodes in a folder of its own.  A thread says every few seconds that it is there, since a task that
computes, and one whose host is gone, are both silent.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from mrml import pin, wire
from mrml.engines.local.worker import end_with, preload, serve
from mrml.engines.resident.caller import Calls, shared_folder
from mrml.engines.resident.connection import HEARTBEAT
from mrml.engines.resident.hello import introduce
from mrml.engines.resident.letter import Letter
from mrml.errors import EngineError, MrmlError

#: how often a task tells Hadoop that it is alive, which ends it after 600 s of silence
STATUS_S = 30.0
#: how long a driver is dialled that was never reached
DIAL_S = 20.0
#: how long what is sent may stay unanswered by the other host before the connection is lost
_UNANSWERED_MS = 60_000


def stay(told: Path, number: int, folder: Path, reports: IO[str] | None = None) -> None:
    """Serve the driver that a letter tells of; ``reports`` is Hadoop's channel for status lines.

    A connection that is lost is made again, for as long as the letter's ``grace_s`` says: to the same driver, which
    took this task for dead, or to the next one of the run, which leaves its address where the letter says.

    Raises
    ------
    EngineError
        The driver could not be reached at all, or is none of this run.
    """
    letter = Letter.of(told.read_bytes())
    shared = shared_folder(folder)
    facts = {"host": platform.node(), "pid": os.getpid(), "number": number, "shared": str(shared)} | _container()
    if reports is not None:
        threading.Thread(target=_report, args=(reports,), daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    worker, was_there = Calls(folder.absolute(), shared, told), False
    try:
        while True:
            sock = dial(letter, letter.grace_s if was_there else DIAL_S)
            introduce(sock, letter.secret, facts)
            if _served(worker, sock, letter.beat_s):
                return
            was_there = True
    except EngineError as error:
        if not was_there:
            if reports is not None:  # what YARN's pages show of this attempt
                reports.write(f"reporter:status:{error}\n")
            raise
        sys.stderr.write("the driver is gone, and no other came\n")
    finally:
        worker.end()
        shutil.rmtree(folder, ignore_errors=True)


def _served(worker: Calls, sock: socket.socket, beat_s: float) -> bool:
    """Serve until the driver lets go of this task, or the connection is lost: then False."""
    with sock:
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)
        line, worker.line = _Line(sock), sock.fileno()
        threading.Thread(target=line.beat, args=(beat_s,), daemon=True).start()
        preload()
        return serve(worker, cast(BinaryIO, sock.makefile("rb")), line.send)


def _report(reports: IO[str]) -> None:
    while True:
        reports.write("reporter:status:serves the rounds of its driver\n")
        reports.flush()
        time.sleep(STATUS_S)


class _Line:
    """What a task sends: answers, and that it is there."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.lock = sock, threading.Lock()

    def send(self, answer: dict[str, Any]) -> None:
        message = wire.dumps(answer)
        with self.lock:
            self.sock.sendall(len(message).to_bytes(8, "little"))
            self.sock.sendall(message)

    def beat(self, beat_s: float) -> None:
        while True:
            try:
                with self.lock:
                    self.sock.sendall(HEARTBEAT)
            except OSError:
                return
            time.sleep(beat_s)


def dial(letter: Letter, grace_s: float) -> socket.socket:
    """A connection to the driver, or to the one that came after it; EngineError where there is no way to either."""
    until, wait_s = time.monotonic() + grace_s, 0.1
    while True:
        host, port = letter.address()
        try:
            return socket.create_connection((host, port), timeout=5.0)
        except OSError as error:
            if time.monotonic() + wait_s > until:
                finding = f"cannot be reached from {platform.node()}: {error}"
                remedy = "open the port in the firewall (--driver-ports A-B says which), or name another --driver-host"
                raise EngineError(f"driver {host}:{port}", finding, remedy) from error
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, 2.0)


def _container() -> dict[str, str]:
    """Of YARN's container, where this is one."""
    environment = pin.environment()
    names = {"container": "CONTAINER_ID", "attempt": "mapreduce_task_attempt_id", "node": "NM_HOST"}
    return {name: environment[variable] for name, variable in names.items() if variable in environment}


def main() -> None:
    """Serve as the process that a driver on this machine started: its id, the file, a number, a folder."""
    import signal

    driver, told, number, folder = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    pin.worker = number  # workers of one machine take its GPUs in turn
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    end_with(driver)
    try:
        stay(told, number, folder)
    except MrmlError as error:
        sys.exit(f"error: {error}")
