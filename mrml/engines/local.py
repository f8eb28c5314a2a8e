"""Rounds over persistent worker processes on one machine.

Workers decode a block once and keep it as a memory map that all of them share; between rounds only the State goes
down and Statistics come up, as wire bytes over pipes.  A worker that dies is replaced and its split run again.
"""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from mrml import wire
from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.engines import scratch, start
from mrml.engines.base import Engine, Shuffle
from mrml.engines.task import Report, told
from mrml.engines.worker import receive, send, send_bytes
from mrml.engines.write import Scoring
from mrml.errors import EngineError
from mrml.model import Model
from mrml.statistic import Node

log = logging.getLogger(__name__)

#: as often as YARN tries a task
MAX_ATTEMPTS = 4
#: more would share the work more evenly, but each sends statistics up, which are what a round of boosting costs
SPLITS_PER_WORKER = 2
#: a signal may reach another thread: the main one, which alone handles it, looks up this often
HEAR_S = 0.2


class _Process:
    """One worker, and what it has been told."""

    def __init__(self, number: int, fork: bool = False) -> None:
        self.child, self.stdin, self.stdout = self._started = start.fork(number) if fork else start.spawn(number)
        self.told: dict[str, int] = {}
        self.task: int | None = None

    def tell(self, op: str, version: int, message: bytes) -> None:
        """Send what it must know, once."""
        if self.told.get(op) != version:
            send_bytes(self.stdin, message)
            self.told[op] = version

    def end(self) -> None:
        self._started.end()


class LocalEngine(Engine):
    """Worker processes, one a core by default."""

    name = "local"

    def __init__(self, n_workers: int | None = None, split_bytes: int = 64 << 20, cache_dir: str | None = None) -> None:
        super().__init__()
        self.n_workers = n_workers or os.cpu_count() or 1
        self.split_bytes = split_bytes
        self._folder = scratch.make(cache_dir)
        self._context: list[dict[str, Any]] = []
        #: the same as bytes, by what they are about
        self._encoded: dict[str, bytes] = {}
        self._version = 0
        self._told: dict[int, dict[str, Any]] = {}
        #: the worker that did a task last
        self._owners: dict[str, dict[int, int]] = {}
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
        spec = algorithm.spec()
        split_bytes = min(self.split_bytes, dataset.n_bytes // (SPLITS_PER_WORKER * self.n_workers) + 1)
        n_splits = len(dataset.splits(split_bytes, algorithm.reads(state)))
        self._open(dataset, split_bytes)
        self._know({"op": "algorithm", "algorithm": spec})
        self._know({"op": "state", "state": algorithm.broadcast(state).to_wire()})
        shuffle = Shuffle()

        def take(answer: dict[str, Any]) -> None:
            for key, node, body in answer["parts"]:
                shuffle.add(key, Node(*node), _fetch(body), answer["task"])

        spill = self._folder / "spill"
        try:
            self._run("map", n_splits, take)
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
        self._know({"op": "model", "model": str(folder), "scoring": scoring.to_wire()})
        self._run("write", n_splits, lambda answer: None)
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
        same = [m for m in self._context if m["op"] == message["op"]]
        if message["op"] != "state" and same and {k: v for k, v in same[0].items() if k != "version"} == message:
            return
        self._version += 1
        self._context = [m for m in self._context if m["op"] != message["op"]]
        self._context.append({**message, "version": self._version})
        self._encoded[message["op"]] = wire.dumps(message)
        self._context.sort(key=lambda m: ["dataset", "algorithm", "state", "model"].index(m["op"]))

    def _run(self, op: str, n_tasks: int, take: Callable[[dict[str, Any]], None]) -> None:
        """Run the tasks 0 to n - 1 on whichever worker is free; lost ones again."""
        try:
            self._serve(op, n_tasks, take)
        except BaseException:
            self._drain()
            raise

    def _serve(self, op: str, n_tasks: int, take: Callable[[dict[str, Any]], None]) -> None:
        self.report = Report()
        waiting = deque(range(n_tasks))
        attempts = [0] * n_tasks
        owners = self._owners.setdefault(op, {})
        done = 0
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                selector.register(process.stdout, selectors.EVENT_READ, process)
            while done < n_tasks:
                for number in range(self.n_workers):
                    # again until it took: were every worker found dead here, nothing would be left to wait for
                    while self._processes[number].task is None and waiting:
                        task = _pick(waiting, owners, number)
                        attempts[task] += 1
                        if not self._start(self._processes[number], op, task):
                            self._replace(number, selector, waiting, attempts)
                for ready, _ in selector.select(HEAR_S):
                    process = ready.data
                    try:
                        answer = receive(process.stdout)
                    except EOFError:
                        self._replace(self._processes.index(process), selector, waiting, attempts)
                        continue
                    self._finish(process, answer)
                    owners[answer["task"]] = self._processes.index(process)
                    take(answer)
                    done += 1

    def _start(self, process: _Process, op: str, task: int) -> bool:
        process.task = task
        try:
            for message in self._context:
                process.tell(message["op"], message["version"], self._encoded[message["op"]])
            send(process.stdin, {"op": op, "split": task, "task": task})
        except OSError:
            return False
        return True

    def _finish(self, process: _Process, answer: dict[str, Any]) -> None:
        if "error" in answer:
            if answer["task"] == process.task:  # otherwise it failed before its task, and will answer once more
                process.task = None
            raise told(answer)
        process.task = None
        self.report.merge(Report(**answer["report"]))

    def _replace(self, number: int, selector: selectors.BaseSelector, waiting: deque[int], attempts: list[int]) -> None:
        """Start a new worker in the place of a dead one and give its task back."""
        dead = self._processes[number]
        selector.unregister(dead.stdout)
        dead.end()
        task = dead.task
        if task is not None:
            if attempts[task] >= MAX_ATTEMPTS:
                finding = f"{MAX_ATTEMPTS} workers died on it, the last with exit code {dead.child.returncode}"
                raise EngineError(f"split {task}", finding, "-9 is mostly a lack of memory: use fewer workers")
            log.warning("worker %d died (exit code %d): split %d runs again", number, dead.child.returncode, task)
            waiting.appendleft(task)
        self._processes[number] = _Process(number)
        selector.register(self._processes[number].stdout, selectors.EVENT_READ, self._processes[number])

    def _drain(self) -> None:
        """After an error nobody waits for the other tasks: replace the busy workers, or they answer the next round."""
        for number, process in enumerate(self._processes):
            if process.task is not None:
                process.end()
                self._processes[number] = _Process(number)

    def close(self) -> None:
        for process in self._processes:
            process.end()
        shutil.rmtree(self._folder, ignore_errors=True)


def _pick(waiting: deque[int], owners: dict[int, int], worker: int) -> int:
    """The next task for a worker: one it did before, since it may remember rows; else nobody's; else another's last."""
    mine = next((t for t in waiting if owners.get(t) == worker), None)
    free = next((t for t in waiting if t not in owners), None) if mine is None else mine
    task = waiting[-1] if free is None else free
    waiting.remove(task)
    return task


def _fetch(body: Any) -> Callable[[], bytes]:
    if isinstance(body, str):
        return lambda: open(body, "rb").read()
    return lambda: body.tobytes()
