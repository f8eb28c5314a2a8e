"""Rounds over persistent worker processes on one machine.

Workers decode a block once and keep it as a memory map that all of them share; between rounds only the State goes
down and Statistics come up, as wire bytes over pipes.  A worker that dies is replaced and its split run again.
"""

from __future__ import annotations

import logging
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Any

from mrml import names, wire
from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.engines import scratch
from mrml.engines.base import Engine, Shuffle, useful_workers
from mrml.engines.local import start
from mrml.engines.local.delta import delta, skeleton
from mrml.engines.local.worker import put_bytes, receive, send
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
#: tasks that wait in a worker's pipe while it does one
AHEAD = 1
#: a signal may reach another thread: the main one, which alone handles it, looks up this often
HEAR_S = 0.2


class _Process:
    """One worker, and what it has been told."""

    def __init__(self, number: int, fork: bool = False) -> None:
        self.child, self.stdin, self.stdout = self._started = start.fork(number) if fork else start.spawn(number)
        self.told: dict[str, int] = {}
        #: what it is to do, in order: the next one waits in its pipe, so that it need not wait for the driver
        self.tasks: list[int] = []
        #: whether it will have sent all that it holds when those are done
        self.collects = False
        #: tasks of the round of which it holds something that it has not sent
        self.holds: list[int] = []

    def tell(self, known: _Known) -> None:
        """Send what it must know, once; what changed of it where it was told the one before."""
        told = self.told.get(known.op)
        if told != known.version:
            put_bytes(self.stdin, known.whole if told is None or told != known.before else known.change)
            self.told[known.op] = known.version

    def end(self) -> None:
        self._started.end()


class _Known:
    """What every worker is told before its next task, also one that is started later; encoded once."""

    def __init__(self, message: dict[str, Any], version: int, older: _Known | None) -> None:
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


class LocalEngine(Engine):
    """Worker processes, one a core by default."""

    name = "local"

    def __init__(self, n_workers: int | None = None, split_bytes: int = 64 << 20, cache_dir: str | None = None) -> None:
        super().__init__()
        self.n_workers = useful_workers(n_workers)
        self.split_bytes = split_bytes
        self._folder = scratch.make(cache_dir)
        self._context: dict[str, _Known] = {}
        self._algorithm: Algorithm | None = None
        self._version = 0
        self._told: dict[int, dict[str, Any]] = {}
        #: the worker that did a task last
        self._owners: dict[str, dict[int, int]] = {}
        #: by what workers do: the seconds that all of it took the last time
        self._took: dict[str, float] = {}
        # started before anything is planned: a new interpreter takes 0.15 s to import NumPy and pyarrow
        fork = start.may_fork()
        self._processes = [_Process(number, fork) for number in range(self.n_workers)]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [p.child.pid for p in self._processes]

    def workers(self) -> int:
        return self.n_workers

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        split_bytes = min(self.split_bytes, dataset.n_bytes // (SPLITS_PER_WORKER * self.n_workers) + 1)
        n_splits = len(dataset.splits(split_bytes, algorithm.reads(state)))
        self._open(dataset, split_bytes)
        if algorithm is not self._algorithm:  # 1 ms a round
            self._know({"op": "algorithm", "algorithm": algorithm.spec(), "allow": names.allowed()})
            self._algorithm = algorithm
        self._know({"op": "state", "state": algorithm.broadcast(state).to_wire()})
        shuffle, spill = Shuffle(), self._folder / "spill"
        try:
            for answer in self._run("map", n_splits):
                for key, node, body in answer["parts"]:
                    shuffle.add(key, Node(*node), _fetch(body), answer["tasks"][0])
            return shuffle.reduce(algorithm, state, self.report)
        finally:
            for path in spill.iterdir():
                path.unlink()

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        # a folder of its own, or the workers would take it for the model they have
        folder = self._folder / f"model-{self._version}"
        folder.mkdir()
        model.save(folder)
        self._open(dataset, self.split_bytes)
        n_splits = len(dataset.splits(self.split_bytes))
        self._know({"op": "model", "model": str(folder), "scoring": scoring.to_wire(), "allow": names.allowed()})
        self._run("write", n_splits)
        return self.report

    def _open(self, dataset: Dataset, split_bytes: int) -> None:
        """Make the dataset known to the workers."""
        number = self._number(dataset)
        spill = self._folder / "spill"
        spill.mkdir(exist_ok=True)
        if number not in self._told:  # 1.5 ms a round
            self._told[number] = dataset.to_json()
        message = {"op": "dataset", "dataset": self._told[number], "split_bytes": split_bytes, "path": sys.path}
        self._know({**message, "store": str(self._folder / str(number)), "spill": str(spill)})

    def _know(self, message: dict[str, Any]) -> None:
        """Every worker is told this before its next task, also one that is started later."""
        op = message["op"]
        older = self._context.get(op)
        if op != "state" and older is not None and older.message == message:
            return
        self._version += 1
        self._context[op] = _Known(message, self._version, older if op == "state" else None)

    def _run(self, op: str, n_tasks: int) -> list[dict[str, Any]]:
        """The answers of the tasks 0 to n - 1, run on whichever worker is free; lost ones again."""
        self.report = Report()
        began = time.monotonic()
        try:
            brief = self._took.get(op, BRIEF_S) < BRIEF_S
            answers = self._serve(_Tasks(op, n_tasks, self._owners.setdefault(op, {})), brief)
        except BaseException:
            self._drain()
            raise
        self._took[op] = time.monotonic() - began
        for answer in answers:
            self.report.merge(Report(**answer["report"]))
        return answers

    def _serve(self, tasks: _Tasks, brief: bool) -> list[dict[str, Any]]:
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                selector.register(process.stdout, selectors.EVENT_READ, process)
            while tasks.waiting or any(p.tasks or p.holds for p in self._processes):
                for number in range(self.n_workers if brief else 0):
                    batch = tasks.batch(self._processes[number], number)
                    if batch and not self._start(self._processes[number], tasks.op, batch, True):
                        self._replace(number, selector, tasks)
                brief = False
                for number in range(self.n_workers):
                    # again until it took: were every worker found dead here, nothing would be left to wait for
                    while (task := tasks.next(self._processes[number], number)) is not None:
                        if not self._start(self._processes[number], tasks.op, [task]):
                            self._replace(number, selector, tasks)
                for ready, _ in selector.select(HEAR_S):
                    process = ready.data
                    try:
                        answer = receive(process.stdout)
                    except EOFError:
                        self._replace(self._processes.index(process), selector, tasks)
                        continue
                    tasks.done(process, self._processes.index(process), answer)
        return tasks.answers()

    def _start(self, process: _Process, op: str, tasks: list[int], collect: bool = False) -> bool:
        """Tell a worker to do tasks and, if it is to collect, to send all that it holds after them."""
        process.tasks += tasks
        process.collects = collect
        try:
            for name in _ORDER:
                if name in self._context:
                    process.tell(self._context[name])
            send(process.stdin, {"op": op if tasks[0] >= 0 else "collect", "tasks": tasks, "collect": collect})
        except OSError:
            return False
        return True

    def _replace(self, number: int, selector: selectors.BaseSelector, tasks: _Tasks) -> None:
        """Start a new worker in the place of a dead one and give its tasks back."""
        dead = self._processes[number]
        selector.unregister(dead.stdout)
        dead.end()
        tasks.lost(dead, number)
        self._processes[number] = _Process(number)
        selector.register(self._processes[number].stdout, selectors.EVENT_READ, self._processes[number])

    def _drain(self) -> None:
        """After an error nobody waits for the other tasks: replace the busy workers, or they answer the next round."""
        for number, process in enumerate(self._processes):
            process.holds.clear()
            if process.tasks:
                process.end()
                self._processes[number] = _Process(number)

    def close(self) -> None:
        for process in self._processes:
            process.end()
        scratch.remove(self._folder)


class _Tasks:
    """The tasks of a round: which wait, which worker did each last, and what they answered."""

    def __init__(self, op: str, n_tasks: int, owners: dict[int, int]) -> None:
        self.op, self.owners, self.waiting = op, owners, deque(range(n_tasks))
        self._deaths = [0] * n_tasks
        self._answers: dict[int, dict[str, Any]] = {}
        self._n_collected = 0

    def batch(self, process: _Process, number: int) -> list[int]:
        """What a worker did the last time, taken to be done by it at once."""
        found = [] if process.tasks else [task for task in self.waiting if self.owners.get(task) == number]
        for task in found:
            self.waiting.remove(task)
        return found

    def next(self, process: _Process, number: int) -> int | None:
        """What to tell a worker to do: a task, or a number below -1, to send what it holds of those it did."""
        if len(process.tasks) > AHEAD or (process.tasks and process.tasks[-1] < 0):
            return None
        if self.waiting:
            return _pick(self.waiting, self.owners, number, not process.tasks)
        if self.op != "map" or process.collects or not (process.tasks or process.holds):
            return None
        self._n_collected += 1
        return -1 - self._n_collected

    def done(self, process: _Process, number: int, answer: dict[str, Any]) -> None:
        """Take in an answer; raises the error that it tells of."""
        done = answer["tasks"]
        for task in done:
            process.tasks.remove(task)
        if "error" in answer:  # without tasks it failed before them, and will answer once more
            raise told(answer)
        self._answers[done[0]] = answer
        for task in done:
            if task >= 0:
                self.owners[task] = number
        if answer.get("holds"):
            process.holds += done
        else:  # it has sent everything
            process.holds.clear()
        process.collects &= bool(process.tasks)

    def lost(self, dead: _Process, number: int) -> None:
        """A worker died: what it was to do, and what it did without sending all of it, waits again."""
        code, left = dead.child.returncode, [task for task in dead.tasks if task >= 0]
        for task in left[:1] or dead.holds:
            self._deaths[task] += 1
            if self._deaths[task] >= MAX_ATTEMPTS:
                finding = f"{MAX_ATTEMPTS} workers died on it, the last with exit code {code}"
                raise EngineError(f"split {task}", finding, "-9 is mostly a lack of memory: use fewer workers")
        for task in reversed(dead.holds + left):
            self._answers.pop(task, None)
            self.waiting.appendleft(task)
        if dead.holds or left:
            sums = f" with the sums of {len(dead.holds)} splits, which run again" if dead.holds else ""
            rest = f": split {left[0]} runs again" if left else ""
            if dead.collects and len(left) > 1:
                rest = f": splits {', '.join(map(str, left))} run again"
            log.warning("worker %d died (exit code %d)%s%s", number, code, sums, rest)

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


def _fetch(body: Any) -> Callable[[], bytes]:
    if isinstance(body, str):
        return lambda: open(body, "rb").read()
    return lambda: body.tobytes()
