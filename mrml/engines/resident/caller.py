"""Calls in a task: made in a process of their own, so that one that crashes, takes all memory or never lets go of
Python's lock costs that process, and the task says so.

Arrays lie in a folder that all tasks of a node share, a file each, named by their digest: they come once a node, and
calls have them as read-only memory maps.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import select
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO, cast

from mrml import pin
from mrml.engines import scratch
from mrml.engines.local import start
from mrml.engines.local.worker import Worker, end_with, receive, send
from mrml.engines.resident.letter import Letter
from mrml.engines.resident.sealed import opened, packed, signed
from mrml.errors import EngineError, TaskFailed

#: the other side has hung up
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


def shared_folder(folder: Path) -> Path:
    """The folder for all tasks of this driver on this node, whose own folder is given; made with the first array."""
    there = pin.environment().get("LOCAL_DIRS", "")  # of YARN: folders of the application on this node, a disk each
    roots = [Path(root) for root in there.split(",") if os.access(root, os.W_OK)]
    return (roots or [folder.absolute().parent])[0] / "mrml-shared"


class Calls(Worker):
    """A worker that also makes calls; ``told`` is the file of its letter, ``line`` the connection to its driver."""

    def __init__(self, folder: Path, shared: Path, told: Path) -> None:
        super().__init__(folder)
        self.shared, self.letter, self.line = shared, told.absolute(), -1
        self._coming: dict[str, Any] = {}
        self._child: subprocess.Popen[bytes] | None = None

    def on_array(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A piece of an array; with the last one it is there."""
        digest, aside = message["digest"], self.shared / f".{message['digest']}.{os.getpid()}"
        self.shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch.room(self.shared, message["n_bytes"]), open(aside, "wb" if message["first"] else "ab") as file:
            file.write(message["piece"])
        if message["first"]:
            self._coming[digest] = hashlib.sha256()
        self._coming[digest].update(message["piece"])
        if not message["last"]:
            return None
        if self._coming.pop(digest).hexdigest() != digest:
            raise EngineError("an array on its way to a task", "is not what was sent", "start the run again")
        aside.rename(self.shared / digest)
        return {"stored": digest}

    def on_forget(self, message: dict[str, Any]) -> None:
        """Arrays that no call will ask for; a call that has one mapped keeps it."""
        for digest in message["arrays"]:
            (self.shared / digest).unlink(missing_ok=True)

    def on_call(self, message: dict[str, Any]) -> dict[str, Any]:
        """Make a call: its answer, or how its process ended."""
        missing = [digest for digest in message["arrays"] if not (self.shared / digest).exists()]
        if missing:
            return {"missing": missing}
        child = self._caller()
        calls, answers = cast(BinaryIO, child.stdin), cast(BinaryIO, child.stdout)
        try:
            send(calls, message)
            self._wait(answers.fileno())
            answer: dict[str, Any] = receive(answers)
            return answer
        except (EOFError, OSError):
            self.end()
            return {"died": child.returncode}

    def _caller(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            words = (os.getpid(), self.letter, self.shared)
            self._child = start.interpreter(__name__, words, subprocess.PIPE, subprocess.PIPE)
        return self._child

    def _wait(self, answers: int) -> None:
        """Until there is something to read; OSError where the driver has hung up: nobody waits for the answer."""
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        poll.register(self.line, _GONE)
        if any(descriptor == self.line for descriptor, _ in poll.poll()):
            raise OSError("the driver has hung up")

    def end(self) -> None:
        """End the process that makes calls."""
        child, self._child = self._child, None
        if child is not None:
            # one that ends by itself, by now, says how
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.2)
            child.kill()
            child.wait()


def _mapped(path: Path) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Maps:
    """The arrays of the call before: most of them are those of the next one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.known = folder, dict[str, mmap.mmap]()

    def __call__(self, digest: str) -> mmap.mmap:
        if digest not in self.known:
            self.known[digest] = _mapped(self.folder / digest)
        return self.known[digest]

    def keep(self, digests: list[str]) -> None:
        self.known = {d: m for d, m in self.known.items() if d in digests}


def answer(secret: bytes, message: dict[str, Any], maps: _Maps) -> dict[str, Any]:
    """Make the call of a message; the message of ``(True, result)`` or ``(False, (error, traceback))``."""
    number = message["tasks"][0]
    try:
        found = True, opened(secret, f"call {number}", message, maps)()
    except BaseException as error:  # of a call that says sys.exit() too
        found = False, (error, "".join(traceback.format_exception(error)))
    maps.keep(message["arrays"])
    try:
        message = packed(found)
    except EngineError as unpicklable:
        why: Exception = unpicklable
        if not found[0]:  # an error that cannot travel is told in words
            raised, trace = found[1]
            why = TaskFailed(f"call {number}", f"{type(raised).__name__}: {raised}", "", trace)
        message = packed((False, (why, "".join(traceback.format_exception(why)))))
    return signed(secret, f"answer {number}", message)


def main() -> None:
    """Make calls as the process that a task started: its id, the file of its letter, the folder of arrays."""
    import signal

    task, told, shared = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    end_with(task)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a call prints must not end up between messages
    secret, maps = Letter.of(told.read_bytes()).secret, _Maps(shared)
    with contextlib.suppress(EOFError, OSError):
        while True:
            send(sink, answer(secret, receive(source), maps))
