"""The simplest engine: every task in this process, one after the other.  It is the one a debugger uses."""

from __future__ import annotations

from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.data.store import DirectoryStore
from mrml.engines import scratch
from mrml.engines.base import Engine, Shuffle
from mrml.engines.task import Report, blocks, go_ahead, in_task, map_split, source_of
from mrml.engines.write import Scoring, write_split
from mrml.model import Model


class InlineEngine(Engine):
    """Runs the splits in order; decoded blocks are kept as memory maps in a temporary folder."""

    name = "inline"

    def __init__(self, split_bytes: int = 64 << 20, cache_dir: str | None = None) -> None:
        super().__init__()
        self.split_bytes = split_bytes
        self._folder = scratch.make(cache_dir)
        self._stores: dict[int, DirectoryStore] = {}

    def _store(self, dataset: Dataset) -> DirectoryStore:
        number = self._number(dataset)
        if number not in self._stores:  # 20 us a round
            self._stores[number] = DirectoryStore(self._folder / str(number), alone=True)
        return self._stores[number]

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        self.report = Report()
        shuffle = Shuffle()
        store = self._store(dataset)
        for number in range(len(dataset.splits(self.split_bytes, algorithm.reads(state)))):
            with in_task(f"split {number}"):
                source = source_of(algorithm, state, dataset, self.split_bytes, number, store)
                self.report.merge(map_split(algorithm, state, source, shuffle.sink(number)))
        return shuffle.reduce(algorithm, state, self.report)

    def ahead(self, algorithm: Algorithm, state: State, dataset: Dataset) -> State | None:
        after, self.report = go_ahead(algorithm, state, dataset, self.split_bytes, self._store(dataset))
        return after

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        self.report = Report()
        store = self._store(dataset)
        for number, split in enumerate(dataset.splits(self.split_bytes)):
            with in_task(f"split {number}"):
                self.report.merge(write_split(model, blocks(dataset, split, store), scoring, number))
        return self.report

    def close(self) -> None:
        scratch.remove(self._folder)
