"""The seam between the driver and whatever runs the rounds."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from mrml import pin, wire
from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.engines.task import Report, Sink, in_task, reduce_here
from mrml.engines.write import Scoring
from mrml.errors import ConfigError, EngineError
from mrml.model import Model
from mrml.statistic import Node

E = TypeVar("E", bound="Engine")


class Engine(ABC):
    """Runs rounds, used in a with-block.  ``report`` tells what the last round counted.

    An engine knows no algorithm: it maps every Split, brings equal keys together and reduces them.
    """

    name: str = ""

    def __init__(self) -> None:
        self.report = Report()
        self._datasets: list[Dataset] = []

    def _number(self, dataset: Dataset) -> int:
        """The number of this Dataset object among those the engine has met: another one numbers its files anew."""
        for number, known in enumerate(self._datasets):
            if known is dataset:
                return number
        self._datasets.append(dataset)
        return len(self._datasets) - 1

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Tells the report of what runs in the block how long all of it took."""
        whole = Report()
        with whole.spending("round"):
            yield
        self.report.merge(whole)

    def __enter__(self: E) -> E:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        """One round: the value of every key that some block filled."""

    def ahead(self, algorithm: Algorithm, state: State, dataset: Dataset) -> State | None:
        """What :meth:`Algorithm.ahead` makes of a State where one process holds every Block; None where none does."""
        return None

    @abstractmethod
    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        """Score every split into a part file of the directory ``scoring.output`` (which exists)."""

    # an engine that leaves nothing behind needs no name for it
    def attach(self, run_id: str, output: str = "") -> None:  # noqa: B027
        """Told which run it serves: what an earlier driver of that run left behind is this engine's; and where the
        run's output is to be, for people who look at what the engine has begun."""

    def workers(self) -> int:
        """How many tasks run side by side."""
        return 1

    def members(self) -> list[dict[str, Any]]:
        """Who computes, in plain values, where it is worth telling: workers that may be on other hosts."""
        return []

    def close(self) -> None:
        """End what the engine started; by default it started nothing."""
        return None


class Shuffle:
    """Brings the nodes of equal keys together; large messages stay in the files they were spilled to."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[tuple[Node, int], Callable[[], Any]]] = {}

    def add(self, key: str, node: Node, fetch: Callable[[], Any], task: int) -> None:
        """One node of a key from one task; exact nodes are told apart by their task."""
        parts = self._parts.setdefault(key, {})
        number = task if node.file < 0 else 0
        while node.file < 0 and (node, number) in parts:  # a task may send an exact statistic in several pieces
            number += 1 << 32
        if (node, number) in parts:
            raise EngineError(f"key {key!r}", f"two tasks sent {tuple(node)}", "report this as a bug")
        parts[node, number] = fetch

    def sink(self, task: int) -> Sink:
        """Takes in what a task of this process sends: as it would come by wire, without the bytes."""

        def take(key: str, node: Node, statistic: Any) -> int:
            sent = wire.settled(statistic)
            self.add(key, node, lambda: sent, task)
            return wire.n_bytes(sent)

        return take

    def reduce(self, algorithm: Algorithm, state: State, report: Report) -> dict[str, Value]:
        """The value of every key, one key in memory at a time."""
        with report.spending("reduce"):
            return self._reduce(algorithm, state)

    def _reduce(self, algorithm: Algorithm, state: State) -> dict[str, Value]:
        values = {}
        for key in sorted(self._parts):
            parts = self._parts.pop(key)
            ordered: Iterable[tuple[Node, Any]] = ((k[0], parts[k]()) for k in sorted(parts))
            with in_task(f"key {key!r}"):
                values[key] = reduce_here(algorithm, state, key, ordered)
        return values


def useful_workers(n_workers: int | None) -> int:
    """As many workers as are asked for, by default one a core; ConfigError for more than could ever pay."""
    cores = pin.cores()
    most = max(64, 8 * cores)
    if n_workers is not None and n_workers > most:
        finding = f"{n_workers} processes on {cores} core{'s' * (cores != 1)} would only take memory"
        raise ConfigError("engine, workers", finding, f"use --workers {cores}, or at most {most}")
    return n_workers or cores
