"""The client of a job: the one JVM that submits, run by mrjob in a thread, and what it says."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STATUS = re.compile(r"exit status (\d+)")


class Client:
    """A submission under way.  ``mark`` is a word of its command line that no other process has."""

    def __init__(self, runner: Any, mark: str) -> None:
        self.mark = mark
        self.words: deque[tuple[int, str]] = deque(maxlen=200)
        self.ended_at: float | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(runner,), daemon=True, name=mark)
        self._thread.start()

    def _run(self, runner: Any) -> None:
        with _heard(self.words):
            try:
                runner.run()
            except Exception as error:
                self._failure = error
        self.ended_at = time.monotonic()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def end(self, grace_s: float = 0.0) -> None:
        """Kill it where it does not end by itself: a hung one keeps its pseudo-terminal forever."""
        self.wait(grace_s)
        if self.alive:
            end_clients(self.mark)

    @property
    def signalled(self) -> bool:
        """Whether a signal ended it: mrjob tells the raw status of waitpid."""
        found = _STATUS.search(str(self._failure or ""))
        status = int(found[1]) if found else 0
        return bool(status & 0x7F) or status >> 8 > 128

    def last_words(self) -> str:
        """Its error lines, or its last line."""
        said = [text for level, text in self.words if level >= logging.ERROR] or [t for _, t in self.words][-1:]
        return " ".join(" ".join(said[-2:]).split())[:600] or str(self._failure or "it said nothing")[:600]


@contextlib.contextmanager
def _heard(words: deque[tuple[int, str]]) -> Iterator[None]:
    """Keep what mrjob relays of its client's log in this thread; the error that comes of it says what matters there."""
    thread = threading.get_ident()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                words.append((record.levelno, record.getMessage()))
                record.heard = True

    logger, handler = logging.getLogger("mrjob"), Keep()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers.insert(0, handler)  # before one that hands on what nobody heard
    try:
        yield
    finally:
        logger.removeHandler(handler)


class ClientFileSystem:
    """What mrjob's runner asks of its file-system object, answered by our own client: no JVM."""

    def __init__(self, fs: Any, hadoop_bin: str) -> None:
        self._fs, self._bin = fs, hadoop_bin
        self.hadoop = self

    def get_hadoop_bin(self) -> list[str]:
        return [self._bin]

    def get_hadoop_version(self) -> str:
        return "3.0.0"  # mrjob only asks whether keys have their new names

    def mkdir(self, path: str) -> None:
        self._fs.makedirs(path)

    def put(self, src: str, path: str) -> None:
        with open(src, "rb") as source, self._fs.open(path, "wb") as target:
            shutil.copyfileobj(source, target)

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(path))

    def join(self, path: str, *paths: str) -> str:
        return "/".join([path.rstrip("/"), *paths])

    def ls(self, path: str) -> Iterator[str]:
        return (info.name for info in self._fs.find(path))

    def rm(self, path: str) -> None:
        self._fs.rm(path, recursive=True)


def end_clients(mark: str) -> int:
    """Kill the clients on this machine that submit under a tag that holds ``mark``; how many there were."""
    n_ended = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if any(w.startswith(b"mapreduce.job.tags=") and mark.encode() in w for w in words):
                os.kill(int(entry.name), signal.SIGKILL)
                n_ended += 1
    return n_ended
