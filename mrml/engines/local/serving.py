"""Rounds over workers that stay: what each must know, who does which split, what to do when one is lost.

The workers of the local engine are processes at the other end of pipes, resident tasks are at the other end of sockets;
this is all that they have in common.  A worker that is lost costs its splits a second run, by whoever is there.
"""

from __future__ import annotations

import logging
import selectors
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mrml import names, wire
from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine, Shuffle
from mrml.engines.local.delta import apply, delta, skeleton
from mrml.engines.task import Report, told
from mrml.engines.write import Scoring
from mrml.errors import EngineError
from mrml.model import Model
from mrml.statistic import Node

log = logging.getLogger(__name__)

#: as often as YARN tries a task
MAX_ATTEMPTS = 4
#: more would share the work more evenly, but each is told of and answered in every round
SPLITS_PER_WORKER = 2
#: what a worker must know, in the order in which it is told
_ORDER = ("dataset", "algorithm", "state", "model")
#: a round that took less is no longer shared task by task: each worker is told once what it did the last time
BRIEF_S = 0.05
#: tasks that wait at a worker while it does one
AHEAD = 1
#: a signal may reach another thread: the main one, which alone handles it, looks up this often
HEAR_S = 0.2


class Peer(ABC):
    """A worker: what it has been told, and what it is to do."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.told: dict[str, int] = {}
        #: what it is to do, in order: the next one waits there, so that it need not wait for the driver
        self.tasks: list[int] = []
        #: whether it will have sent all that it holds when those are done
        self.collects = False
        #: tasks of the round of which it holds something that it has not sent
        self.holds: list[int] = []

    @abstractmethod
    def fileno(self) -> int:
        """Of what is ready to be read when it has answered."""

    @abstractmethod
    def put(self, message: bytes) -> None:
        """Send a message together with what comes after it; OSError when it is gone."""

    @abstractmethod
    def flush(self) -> None:
        """Send what was put; OSError when it is gone."""

    @abstractmethod
    def answers(self) -> Iterable[dict[str, Any]]:
        """The messages that have come whole; EOFError or OSError when it is gone."""

    def tell(self, known: Known) -> None:
        """Send what it must know, once; what changed of it where it was told the one before."""
        told = self.told.get(known.op)
        if told != known.version:
            self.put(known.whole if told is None or told != known.before else known.change)
            self.told[known.op] = known.version

    @abstractmethod
    def end(self) -> None:
        """Let go of it, whatever it does."""

    #: of one that is gone, for the log
    how_it_ended = "with its connection"


class Known:
    """What every worker is told before its next task, also one that is started later; encoded once."""

    def __init__(self, message: dict[str, Any], version: int, older: Known | None) -> None:
        self.op: str = message["op"]
        self.message, self.version, self._tree = message, version, skeleton(message) if self.op == "state" else None
        self.before = None if older is None else older.version
        self._change = {} if older is None else delta(older._tree, message)

    @cached_property
    def whole(self) -> bytes:
        return wire.dumps(self.message)

    @cached_property
    def change(self) -> bytes:
        return wire.dumps({"op": "change", "change": self._change})


class Serving(Engine):
    """Rounds over :class:`Peer` objects, of which there may be others in every round."""

    def __init__(self, n_workers: int, split_bytes: int) -> None:
        super().__init__()
        self.n_workers, self.split_bytes = n_workers, split_bytes
        self.peers: list[Peer] = []
        self._context: dict[str, Known] = {}
        self._algorithm: Algorithm | None = None
        self._version = 0
        self._told: dict[int, dict[str, Any]] = {}
        #: the worker that did a task last
        self._owners: dict[str, dict[int, int]] = {}
        #: by what workers do: the seconds that all of it took the last time
        self._took: dict[str, float] = {}
        #: by the number of a worker, what it did in the last round
        self.did: dict[int, Report] = {}

    def workers(self) -> int:
        return self.n_workers

    @abstractmethod
    def place(self, number: int) -> dict[str, Any]:
        """Where a worker keeps what it decodes of dataset ``number``, and what it sends if not by message."""

    @abstractmethod
    def told_model(self, model: Model) -> Any:
        """A model as a worker is told of it."""

    def instead_of(self, peer: Peer) -> Sequence[Peer]:
        """Those that come in the place of a worker that was let go of."""
        return ()

    def watched(self, selector: selectors.BaseSelector, tasks: Tasks) -> None:
        """Called between any two looks at the workers: who comes, and who has not been heard of."""

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        shuffle, n_splits = Shuffle(), self._tell(algorithm, state, dataset)
        for answer in self._run("map", n_splits):
            for key, node, body in answer["parts"]:
                shuffle.add(key, Node(*node), _fetch(body), answer["tasks"][0])
        return shuffle.reduce(algorithm, state, self.report)

    def ahead(self, algorithm: Algorithm, state: State, dataset: Dataset) -> State | None:
        if self.n_workers > 1:
            return None
        self._tell(algorithm, state, dataset)
        change = self._run("ahead", 1)[0]["change"]
        return None if change is None else State.from_wire(apply(state.to_wire(), change))

    def _tell(self, algorithm: Algorithm, state: State, dataset: Dataset) -> int:
        """Make known what a round is of; how many splits that has."""
        split_bytes = min(self.split_bytes, dataset.n_bytes // (SPLITS_PER_WORKER * self.n_workers) + 1)
        n_splits = len(dataset.splits(split_bytes, algorithm.reads(state)))
        self._open(dataset, split_bytes)
        if algorithm is not self._algorithm:  # 1 ms a round
            self._know({"op": "algorithm", "algorithm": algorithm.spec(), "allow": names.allowed()})
            self._algorithm = algorithm
        # one worker may be to go ahead, for which it needs all of the State
        told = state if self.n_workers == 1 else algorithm.broadcast(state)
        self._know({"op": "state", "state": told.to_wire()})
        return n_splits

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        self._open(dataset, self.split_bytes)
        n_splits = len(dataset.splits(self.split_bytes))
        told = {"model": self.told_model(model), "scoring": scoring.to_wire(), "allow": names.allowed()}
        self._know({"op": "model", **told})
        self._run("write", n_splits)
        return self.report

    def _open(self, dataset: Dataset, split_bytes: int) -> None:
        """Make the dataset known to the workers."""
        number = self._number(dataset)
        if number not in self._told:  # 1.5 ms a round
            self._told[number] = dataset.to_json()
        message = {"op": "dataset", "dataset": self._told[number], "split_bytes": split_bytes}
        self._know({**message, **self.place(number)})

    def _know(self, message: dict[str, Any]) -> None:
        """Every worker is told this before its next task, also one that is started later."""
        op = message["op"]
        older = self._context.get(op)
        if op in ("dataset", "algorithm") and older is not None and older.message == message:
            return
        self._version += 1
        self._context[op] = Known(message, self._version, older if op == "state" else None)

    def _run(self, op: str, n_tasks: int) -> list[dict[str, Any]]:
        """The answers of the tasks 0 to n - 1, run on whichever worker is free; lost ones again."""
        self.report = Report()
        began = time.monotonic()
        try:
            tasks = Tasks(op, n_tasks, self._owners.setdefault(op, {}))
            brief = self._took.get(op, BRIEF_S) < BRIEF_S and not tasks.uneven(self.peers)
            answers = self._serve(tasks, brief)
        except BaseException:
            self._drain()
            raise
        self._took[op] = time.monotonic() - began
        self.did = {}
        for answer in answers:
            report = Report(**answer["report"])
            self.report.merge(report)
            self.did.setdefault(answer["by"], Report()).merge(report)
        return answers

    def _serve(self, tasks: Tasks, brief: bool) -> list[dict[str, Any]]:
        with selectors.DefaultSelector() as selector:
            for peer in self.peers:
                selector.register(peer, selectors.EVENT_READ, peer)
            while tasks.left(self.peers):
                self.watched(selector, tasks)
                batches = tasks.batches(self.peers) if brief else []
                dead = [peer for peer, batch in batches if not self._start(peer, tasks, batch, True)]
                brief = False
                for depth in range(1, tasks.ahead + 2):  # first one for everybody
                    dead += [p for p in self.peers if p not in dead and not self._dealt(p, tasks, depth)]
                for peer in dead:
                    self._lose(peer, selector, tasks)
                if dead:  # were every worker found dead here, nothing would be left to wait for
                    continue
                for ready, _ in selector.select(HEAR_S):
                    peer = ready.data
                    if peer is None or peer not in self.peers:
                        continue
                    try:
                        for answer in peer.answers():
                            tasks.done(peer, answer)
                    except (EOFError, OSError):
                        self._lose(peer, selector, tasks)
        return tasks.answers()

    def _dealt(self, peer: Peer, tasks: Tasks, depth: int) -> bool:
        """Tell a worker what to do until so many tasks are there; False when it is gone."""
        while len(peer.tasks) < depth and (task := tasks.next(peer)) is not None:
            if not self._start(peer, tasks, [task]):
                return False
        return True

    def _start(self, peer: Peer, tasks: Tasks, some: list[int], collect: bool = False) -> bool:
        """Tell a worker to do some tasks and, if it is to collect, to send all that it holds after them."""
        peer.tasks += some
        peer.collects = collect
        try:
            for name in _ORDER:
                if name in self._context:
                    peer.tell(self._context[name])
            for message in tasks.messages(peer, some, collect):
                peer.put(message)
                peer.flush()
        except OSError:
            return False
        return True

    def _lose(self, peer: Peer, selector: selectors.BaseSelector, tasks: Tasks) -> None:
        """Give the tasks of a worker that is gone to those that are there, or come in its place."""
        selector.unregister(peer)
        peer.end()
        tasks.lost(peer)
        for other in self._replace(peer):
            selector.register(other, selectors.EVENT_READ, other)

    def _drain(self) -> None:
        """After an error, let go of the busy workers: their answers would come in the next round."""
        for peer in tuple(self.peers):
            peer.holds.clear()
            if peer.tasks:
                peer.end()
                self._replace(peer)

    def _replace(self, peer: Peer) -> Sequence[Peer]:
        """Those who take the place of a worker that was let go of."""
        at, instead = self.peers.index(peer), self.instead_of(peer)
        self.peers[at : at + 1] = instead
        return instead


class Tasks:
    """The tasks of a round: which wait, which worker did each last, and what they answered."""

    ahead = AHEAD

    def __init__(self, op: str, n_tasks: int, owners: dict[int, int]) -> None:
        self.op, self.owners, self.waiting = op, owners, deque(range(n_tasks))
        self._deaths = [0] * n_tasks
        self._answers: dict[int, dict[str, Any]] = {}
        self._n_collected = 0

    def left(self, peers: Sequence[Peer]) -> bool:
        """Whether there is something to do, or to wait for."""
        return bool(self.waiting) or any(peer.tasks or peer.holds for peer in peers)

    def messages(self, peer: Peer, tasks: list[int], collect: bool) -> Iterable[bytes]:
        """What a worker is told to have tasks done."""
        op = self.op if tasks[0] >= 0 else "collect"
        yield wire.dumps({"op": op, "tasks": tasks, "collect": collect})

    def uneven(self, peers: Sequence[Peer]) -> bool:
        """Whether somebody has nothing to do where others have several tasks: he came later."""
        owned = Counter(self.owners.values())
        counts = [owned[peer.number] for peer in peers]
        return bool(counts) and min(counts) == 0 and max(counts) > 1

    def batches(self, peers: Sequence[Peer]) -> list[tuple[Peer, list[int]]]:
        """What workers did the last time, taken to be done by them at once."""
        mine: dict[int | None, list[int]] = {peer.number: [] for peer in peers if not peer.tasks}
        waiting, self.waiting = self.waiting, deque()
        for task in waiting:
            mine.get(self.owners.get(task), self.waiting).append(task)
        return [(peer, mine[peer.number]) for peer in peers if mine.get(peer.number)]

    def next(self, peer: Peer) -> int | None:
        """What to tell a worker to do: a task, or a number below -1, to send what it holds of those it did."""
        if peer.tasks and peer.tasks[-1] < 0:
            return None
        if self.waiting:
            return _pick(self.waiting, self.owners, peer.number, not peer.tasks)
        if self.op != "map" or peer.collects or not (peer.tasks or peer.holds):
            return None
        self._n_collected += 1
        return -1 - self._n_collected

    def done(self, peer: Peer, answer: dict[str, Any]) -> None:
        """Take in an answer; raises the error that it tells of."""
        done = answer["tasks"]
        for task in done:
            peer.tasks.remove(task)
        if "error" in answer:  # without tasks it failed before them, and will answer once more
            raise told(answer)
        self._answers[done[0]] = {**answer, "by": peer.number}
        for task in done:
            if task >= 0:
                self.owners[task] = peer.number
        if answer.get("holds"):
            peer.holds += done
        else:  # it has sent everything
            peer.holds.clear()
        peer.collects &= bool(peer.tasks)

    def lost(self, dead: Peer) -> None:
        """A worker is gone: what it was to do, and what it did without sending all of it, waits again."""
        left = [task for task in dead.tasks if task >= 0]
        for task in left[:1] or dead.holds:
            self._deaths[task] += 1
            if self._deaths[task] >= MAX_ATTEMPTS:
                finding = f"{MAX_ATTEMPTS} workers died on it, the last {dead.how_it_ended}"
                raise EngineError(f"split {task}", finding, "-9 usually means out of memory: use fewer workers")
        for task in reversed(dead.holds + left):
            self._answers.pop(task, None)
            self.waiting.appendleft(task)
        if dead.holds or left:
            sums = f" with the sums of {len(dead.holds)} splits, which run again" if dead.holds else ""
            rest = f": split {left[0]} runs again" if left else ""
            if dead.collects and len(left) > 1:
                rest = f": splits {', '.join(map(str, left))} run again"
            log.warning("worker %d died (%s)%s%s", dead.number, dead.how_it_ended.removeprefix("with "), sums, rest)

    def answers(self) -> list[dict[str, Any]]:
        """Every task's, and those of what workers held, in an order that no timing changes."""
        return [self._answers[task] for task in sorted(self._answers)]


def _pick(waiting: deque[int], owners: dict[int, int], worker: int, idle: bool) -> int | None:
    """The next task for a worker: one it did before, since it may remember rows; if idle, else nobody's; else another's
    last."""
    found = next((t for t in waiting if owners.get(t) == worker), None)
    if found is None and idle:
        found = next((t for t in waiting if t not in owners), waiting[-1])
    if found is not None:
        waiting.remove(found)
    return found


def _fetch(body: Any) -> Callable[[], Any]:
    """What reads a statistic that came by message or lies in a file."""
    return lambda: wire.loads(Path(body).read_bytes() if isinstance(body, str) else body)
