"""Starting the workers of the local engine: forked from this process where that is safe, else as new interpreters.

A forked worker has NumPy, pyarrow and mrml already, which cost a new one 0.15 s of a core: on two cores that was a
third of the time before the first round ended.  A fork copies one thread only, and the locks as the others hold
them; so this process must have no other thread than that of pyarrow's allocator, which sees to itself (jemalloc has
handlers for it).  Then what a fork inherits is nobody else's: the ends of other workers' pipes and the driver's locks
on its scratch folders are closed, and what is kept per process (clients of HDFS, names of cache files) is kept by
process id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from mrml import pin
from mrml.engines import scratch
from mrml.engines.local import worker

#: not ``-m``, which looks for every module, NumPy too, in the current directory first
_CODE = "import sys; sys.path[:] = filter(None, sys.path); from {} import main; main()"
_HARMLESS = {"jemalloc_bg_thd"}
#: this process' ends of all workers' pipes
_ends: set[BinaryIO] = set()


class Child(Protocol):
    """A process: what both ways of starting one have in common."""

    pid: int
    returncode: int | None

    def kill(self) -> None: ...

    def wait(self) -> int: ...


class Started(NamedTuple):
    """A worker and the pipes to it and from it."""

    child: Child
    stdin: BinaryIO
    #: without a buffer: an answer that lay in one would not be seen to be there
    stdout: BinaryIO

    def end(self) -> None:
        """Close, kill, reap."""
        for stream in (self.stdin, self.stdout):
            _ends.discard(stream)
            with contextlib.suppress(OSError):  # what was not sent is for nobody
                stream.close()
        self.child.kill()
        self.child.wait()


class _Forked:
    """A child by its process id, as ``subprocess.Popen`` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None  # type: int, int | None

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def may_fork() -> bool:
    """Whether the kernels of this process are pinned and no thread of it would be missing in a fork."""
    try:
        tasks = [Path(entry.path, "comm").read_text().strip() for entry in os.scandir("/proc/self/task")
                 if int(entry.name) != os.getpid()]  # fmt: skip
    except OSError:  # no Linux
        return False
    return pin.pinned() and set(tasks) <= _HARMLESS


def fork(number: int) -> Started:
    """Worker ``number``, with all that this process has imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    driver, (source, stdin), (stdout, sink) = os.getpid(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _work(driver, number, source, sink, (stdin, stdout, *(stream.fileno() for stream in _ends), *scratch.locks()))
    os.close(source)
    os.close(sink)
    return _kept(Started(_Forked(pid), os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb", 0)))


def _work(driver: int, number: int, source: int, sink: int, others: tuple[int, ...]) -> None:
    """What a forked worker does; it never comes back into the code of its driver."""
    try:
        for name in (signal.SIGINT, signal.SIGTERM):  # Python's handlers in it are the driver's
            signal.signal(name, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for end in (0, *others):  # not closed: the driver's objects would close what gets the number next
            os.dup2(nothing, end)
        worker.run(driver, number, os.fdopen(source, "rb"), os.fdopen(sink, "wb"))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def spawn(number: int) -> Started:
    """Worker ``number``, in an interpreter of its own."""
    popen = interpreter(worker.__name__, (os.getpid(), number), subprocess.PIPE, subprocess.PIPE)
    assert popen.stdin is not None and popen.stdout is not None
    stdout = os.fdopen(os.dup(popen.stdout.fileno()), "rb", 0)
    popen.stdout.close()
    return _kept(Started(popen, popen.stdin, stdout))  # type: ignore[arg-type]


def interpreter(module: str, arguments: Iterable[object], stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    """A new interpreter with pinned kernels and this one's path, in ``main`` of a module."""
    return subprocess.Popen(
        [sys.executable, "-c", _CODE.format(module), *map(str, arguments)],
        stdin=stdin,
        stdout=stdout,
        env=pin.environment() | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )


def _kept(started: Started) -> Started:
    _ends.update((started.stdin, started.stdout))
    return started
