"""Calls of a user's process made by resident tasks: any thread submits, one thread of the pool speaks with the tasks.

Tasks are those of the resident engine, as processes of this machine or containers of YARN.  A call whose task is lost
is made again by another; what a call needs of large arrays goes to each node once, however many tasks it has.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from mrml import pin, wire
from mrml.config.sections import EngineConfig
from mrml.engines.local.serving import MAX_ATTEMPTS, Peer, Tasks
from mrml.engines.resident.arrays import Arrays, Node, pieces
from mrml.engines.resident.connection import Connection
from mrml.engines.resident.engine import ResidentEngine
from mrml.engines.resident.sealed import opened, packed, signed
from mrml.engines.resident.starters import NoTasks
from mrml.engines.task import told
from mrml.errors import ConfigError, EngineError, TaskFailed

log = logging.getLogger(__name__)

#: how long tasks have to end
END_S = 15.0
MORE_MEMORY = "take fewer workers, or give tasks more memory (memory_mb)"


@dataclass
class Call:
    """A call on its way: how it is named where it fails, its message, and who waits for the answer."""

    number: int
    name: str
    #: whose call it is
    owner: object
    message: dict[str, Any] = field(default_factory=dict)
    future: Future[Any] = field(default_factory=Future)
    deaths: int = 0

    @property
    def arrays(self) -> list[str]:
        """Digests of what it needs beside its message."""
        found: list[str] = self.message.get("arrays", [])
        return found


class Calls(Tasks):
    """The calls of a pool, as workers are dealt tasks."""

    #: a call may take long: none waits at a task while another task is free
    ahead = 0

    def __init__(self, idle_s: float) -> None:
        super().__init__("call", 0, {})
        self.idle_s = idle_s
        self.lock, self.arrays = threading.RLock(), Arrays()
        self.calls: dict[int, Call] = {}
        #: dropped while a task makes them
        self.unwanted = set[int]()
        self.closed, self.secret = False, b""
        self._nodes: dict[tuple[str, str], Node] = {}
        self._numbers, self._last = 0, time.monotonic()
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)

    # ---- from any thread

    def add(self, name: str, call: Callable[[], Any], owner: object) -> Future[Any] | None:
        """A new call, which fails where it cannot be pickled; None where the pool has closed."""
        with self.lock:
            if self.closed:
                return None
            made = Call(self._numbers, name, owner)
            try:
                made.message |= packed(call, self.arrays.put)
            except EngineError as error:
                made.future.set_exception(error)
                return made.future
            finally:
                self.arrays.used(made.arrays)
            self.calls[made.number] = made
            self.waiting.append(made.number)
            self._numbers += 1
        self.rouse()
        return made.future

    def drop(self, owner: object = None, error: BaseException | None = None) -> None:
        """Have an owner's calls fail, or all of them; tasks that make one are let go of."""
        with self.lock:
            dropped = [call for call in self.calls.values() if owner is None or call.owner is owner]
            for call in dropped:
                if call.number in self.waiting:
                    self.waiting.remove(call.number)
                else:
                    self.unwanted.add(call.number)
        for call in dropped:  # without the lock: who waits for one may hold one of his own
            self._finish(call, error or CancelledError())
        self.rouse()

    def close(self) -> None:
        """Take no more, and have the pool's thread end."""
        with self.lock:
            self.closed = True
        self.rouse()

    def rouse(self) -> None:
        """Have the pool's thread look up."""
        with contextlib.suppress(OSError):  # full: it is awake
            self._waker.send(b"!")

    # ---- in the pool's thread

    def left(self, peers: Sequence[Peer]) -> bool:
        with contextlib.suppress(BlockingIOError):
            while self.wake.recv(1024):
                pass
        with self.lock:
            if self.calls:
                self._last = time.monotonic()
            self.closed |= time.monotonic() - self._last > self.idle_s
            return not self.closed

    def next(self, peer: Peer) -> int | None:
        with self.lock:
            there = self._node(peer).arrays
            for number in self.waiting:
                # what comes by another task of the node is not there yet
                if all(there.get(digest) in (None, peer) for digest in self.calls[number].arrays):
                    self.waiting.remove(number)
                    return number
        return None

    def messages(self, peer: Peer, tasks: list[int], collect: bool) -> Iterable[bytes]:
        node = self._node(peer)
        with self.lock:
            call = self.calls.get(tasks[0])
            if call is None:  # dropped meanwhile
                peer.tasks.remove(tasks[0])
                return
            forgets, node.forgets = [d for d in node.forgets if d not in call.arrays], []
            new = [digest for digest in call.arrays if digest not in node.arrays]
            found = [self.arrays.bytes_of(digest) for digest in new]
        if forgets:
            yield wire.dumps({"op": "forget", "tasks": [], "arrays": forgets})
        node.arrays |= dict.fromkeys(new, peer)
        for digest, raw in zip(new, found, strict=True):
            yield from pieces(digest, raw)
        yield wire.dumps({"op": "call", "tasks": tasks, **signed(self.secret, f"call {call.number}", call.message)})

    def _node(self, peer: Peer) -> Node:
        assert isinstance(peer, Connection)
        return self._nodes.setdefault((str(peer.facts.get("host")), str(peer.facts.get("shared"))), Node())

    def done(self, peer: Peer, answer: dict[str, Any]) -> None:
        if "stored" in answer:
            self._node(peer).arrays[answer["stored"]] = None
            return
        if not answer["tasks"]:  # an array could not be put down: what needs it would wait for ever
            raise told(answer)
        (number,) = answer["tasks"]
        peer.tasks.remove(number)
        self.unwanted.discard(number)
        call = self.calls.get(number)
        if call is None:
            return
        if "missing" in answer:
            for digest in answer["missing"]:
                self._node(peer).arrays.pop(digest, None)
            self._again(call, "its arrays are gone from the node")
        elif "died" in answer:
            self._again(call, f"its process ended with exit code {answer['died']}")
        elif "error" in answer:
            self._finish(call, told(answer))
        else:
            self._take(call, answer)

    def _take(self, call: Call, answer: dict[str, Any]) -> None:
        try:
            good, found = opened(self.secret, f"answer {call.number}", answer)
        except Exception as error:  # a class that is not here, or what it says
            self._finish(call, error)
            return
        if good:
            self._finish(call, None, found)
            return
        raised, trace = found
        if isinstance(raised, MemoryError):
            raised = EngineError(call.name, f"ran out of memory: {raised}".rstrip(": "), MORE_MEMORY)
        raised.__cause__ = TaskFailed(call.name, f"raised in a task:\n{trace}", "", trace)
        self._finish(call, raised)

    def lost(self, dead: Peer) -> None:
        for node in self._nodes.values():
            node.arrays = {digest: by for digest, by in node.arrays.items() if by is not dead}
        for number in dead.tasks:
            self.unwanted.discard(number)
            if (call := self.calls.get(number)) is not None:
                self._again(call, f"its task ended {dead.how_it_ended}")

    def _again(self, call: Call, why: str) -> None:
        """A call whose process or task is gone waits again, before others; it fails where that came too often."""
        call.deaths += 1
        if call.deaths >= MAX_ATTEMPTS:
            finding = f"{MAX_ATTEMPTS} processes ended on it: {why}"
            self._finish(call, EngineError(call.name, finding, f"-9 usually means out of memory: {MORE_MEMORY}"))
            return
        log.warning("%s is made again: %s", call.name, why)
        with self.lock:
            if call.number in self.calls:
                self.waiting.appendleft(call.number)

    def _finish(self, call: Call, error: BaseException | None, found: Any = None) -> None:
        with self.lock:
            if self.calls.pop(call.number, None) is None:
                return
            for digest in self.arrays.let_go(call.arrays):
                for node in self._nodes.values():
                    if digest in node.arrays:
                        del node.arrays[digest]
                        node.forgets.append(digest)
        if error is None:
            call.future.set_result(found)
        else:
            call.future.set_exception(error)


class _Calling(ResidentEngine):
    """Resident tasks that make calls instead of serving rounds."""

    def __init__(self, config: EngineConfig, calls: Calls) -> None:
        super().__init__(config)
        self.calls = calls

    def make(self) -> None:
        """Until the pool closes, or nobody has called for long."""
        self._have_started()
        self.calls.secret = self.secret
        self._gather()
        self._serve(self.calls, brief=False)

    def watched(self, selector: selectors.BaseSelector, tasks: Tasks) -> None:
        super().watched(selector, tasks)
        with contextlib.suppress(KeyError):  # it is there already
            selector.register(self.calls.wake, selectors.EVENT_READ, None)
        for peer in [p for p in self.peers if self.calls.unwanted & set(p.tasks)]:
            self._lose(peer, selector, tasks)  # the task sees it, ends its call, and dials again


class Pool:
    """Calls by resident tasks, as the section ``engine`` says; the tasks are started with the first call, and end when
    there was none for ``idle_release_s``.

    A call that raises, or that processes end on, fails alone.
    """

    def __init__(self, config: EngineConfig) -> None:
        if config.engine in ("inline", "streaming") or config.runner == "inline":
            name = config.engine if config.engine in ("inline", "streaming") else "-r inline"
            raise ConfigError("engine", f"{name} has no tasks that could stay", "say engine='resident'")
        self.config = dataclasses.replace(config, engine="resident")
        self.n_tasks = config.workers or pin.cores()
        self._lock = threading.Lock()
        self._calls: Calls | None = None
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], Any], name: str, owner: object = None) -> Future[Any]:
        """Have a call made; ``name`` says which one it is where it fails, ``owner`` whose it is."""
        with self._lock:
            while True:
                if self._calls is not None and (future := self._calls.add(name, call, owner)) is not None:
                    return future
                self._calls = Calls(self.config.idle_release_s)
                self._thread = threading.Thread(target=_run, args=(self.config, self._calls), daemon=True)
                self._thread.start()

    def drop(self, owner: object) -> None:
        """Forget the calls of an owner that are under way."""
        if self._calls is not None:
            self._calls.drop(owner)

    def close(self) -> None:
        """End the tasks; a call after that starts others."""
        if self._calls is not None and self._thread is not None:
            self._calls.close()
            self._thread.join(END_S)


#: by the process, since a fork has no thread of its parent's, and by how their tasks are started
_pools: dict[tuple[int, EngineConfig], Pool] = {}


def pool_of(config: EngineConfig) -> Pool:
    """The pool of a configuration, for as long as this process lives: who asks for the same gets the same tasks."""
    place = os.getpid(), config
    if place not in _pools:
        if not _pools:
            atexit.register(close_all)
        _pools[place] = Pool(config)
    return _pools[place]


def close_all() -> None:
    """End the tasks of every pool now, instead of when nobody has called for some minutes."""
    for (process, _), pool in list(_pools.items()):
        if process == os.getpid():
            pool.close()


def _run(config: EngineConfig, calls: Calls) -> None:
    """Make the calls of a pool, in its thread."""
    why: BaseException = CancelledError()
    try:
        with _Calling(config, calls) as engine:
            engine.make()
    except NoTasks as none:
        why = EngineError("resident tasks", str(none), "fix what it says")
    except BaseException as error:  # whoever waits for an answer hears of it
        why = error
    finally:
        calls.close()
        calls.drop(error=why)
