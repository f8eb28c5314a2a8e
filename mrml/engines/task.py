"""What every map and reduce task does, whatever engine runs it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrml import wire
from mrml.algorithm import Algorithm, State, Value
from mrml.data.block import Block
from mrml.data.shards import Shard
from mrml.engines import scratch
from mrml.errors import EngineError, MrmlError, TaskFailed, from_json, to_json
from mrml.kernels.fingerprint import fingerprint
from mrml.statistic import EXACT, Into, Node, Partial, Statistic, complete

if TYPE_CHECKING:
    from mrml.data.dataset import Dataset, Split
    from mrml.data.store import DirectoryStore

#: a task sends up what it holds when its statistics pass this many bytes: memory stays bounded
HELD_BYTES = 64 << 20
#: hosts that are named for a fingerprint, and splits that are told for the time they took
MOST_HOSTS, MOST_SPLITS = 10, 5

#: receives one node of one key, as ``Statistic.to_wire`` tells it; returns how many bytes go up
Sink = Callable[[str, Node, Any], int]


@dataclass
class Report:
    """What a task counted: rows, of them those to validate with, records and malformed ones, the first problems, who
    computed, and when.

    ``seconds`` are those of all tasks together: ``read`` until a block is decoded, ``map`` with reading, ``reduce``.
    ``spans`` tell when the first task of a kind began and the last one ended, in seconds since 1970 by the clocks of
    their hosts; ``round`` is the driver's own.  ``slowest`` are the splits that took longest to map: seconds, host,
    rows, and the numbers of file and block of their first and last Block.
    """

    n_rows: int = 0
    n_valid: int = 0
    n_records: int = 0
    n_bad: int = 0
    n_bytes_out: int = 0
    problems: list[str] = field(default_factory=list)
    #: of each fingerprint of kernels, some hosts that have it
    fingerprints: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    spans: dict[str, list[float]] = field(default_factory=dict)
    slowest: list[dict[str, Any]] = field(default_factory=list)

    def see(self, block: Block) -> None:
        """Count a block."""
        self.n_rows += block.n_rows
        self.n_valid += block.n_rows if block.part == "valid" else 0
        self.n_records += block.n_records
        self.n_bad += block.n_bad
        self.problems = (self.problems + list(block.problems))[:10]

    def merge(self, other: Report) -> None:
        """Add another task's figures."""
        self.n_rows += other.n_rows
        self.n_valid += other.n_valid
        self.n_records += other.n_records
        self.n_bad += other.n_bad
        self.n_bytes_out += other.n_bytes_out
        self.problems = (self.problems + other.problems)[:10]
        self.fingerprints = merged_hosts(self.fingerprints, other.fingerprints)
        for what, seconds in other.seconds.items():
            self._spend(what, seconds)
        for what, span in other.spans.items():
            self._span(what, *span)
        self.slowest = slowest(self.slowest, other.slowest)

    @contextlib.contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Seconds that go into ``what``."""
        at, began = time.time(), time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self._spend(what, seconds)
            self._span(what, at, at + seconds)

    def reading(self, source: Iterable[Block]) -> Iterator[Block]:
        """The blocks; what it takes to get them is counted as ``read``."""
        blocks, began = iter(source), time.perf_counter()
        for block in blocks:
            self._spend("read", time.perf_counter() - began)
            yield block
            began = time.perf_counter()
        self._spend("read", time.perf_counter() - began)

    def _spend(self, what: str, seconds: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def _span(self, what: str, began: float, ended: float) -> None:
        first, last = self.spans.get(what, (began, ended))
        self.spans[what] = [min(first, began), max(last, ended)]

    def phases(self) -> dict[str, float]:
        """Where the seconds of a round went by the clock; together they are all of it.

        ``launch`` is what comes before the first task and after the last one; ``read`` and ``map`` share the time of
        the maps as the tasks did; ``reduce`` is the rest until the last reducer's end, the shuffle included.
        """
        began, ended = self.spans.get("round", [0.0, 0.0])
        first, mapped = self.spans.get("map", [ended, ended])
        reduced = self.spans.get("reduce", [mapped, mapped])[1]
        first, mapped, reduced = (min(max(t, began), ended) for t in (first, mapped, reduced))
        share = self.seconds.get("read", 0.0) / max(self.seconds.get("map", 0.0), 1e-9)
        read = min(share, 1.0) * (mapped - first)
        rest = {"read": read, "map": mapped - first - read, "reduce": max(reduced - mapped, 0.0)}
        return {"launch": ended - began - sum(rest.values()), **rest}


def slowest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of splits those that took longest, the longest first."""
    return sorted([*one, *other], key=lambda split: -float(split["seconds"]))[:MOST_SPLITS]


def kernels_here() -> dict[str, list[str]]:
    """The fingerprint of this process and its host, as a Report has them."""
    return {fingerprint(): [platform.node()]}


def merged_hosts(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Hosts by fingerprint, of each the first few names."""
    prints = sorted({*one, *other})
    return {p: sorted({*one.get(p, ()), *other.get(p, ())})[:MOST_HOSTS] for p in prints}


@contextlib.contextmanager
def working_on(part: str) -> Iterator[None]:
    """An exception remembers the block or shard that it came of, for :func:`task_error`."""
    try:
        yield
    except Exception as error:
        error.mrml_part = part  # type: ignore[attr-defined]
        raise


def task_error(error: Exception, place: str) -> MrmlError:
    """What the driver raises for an error in a task: ours as it is, any other as TaskFailed with its traceback."""
    if isinstance(error, MrmlError):
        return error
    if isinstance(error, OSError) and scratch.is_full(error):
        return scratch.full(Path(error.filename or tempfile.gettempdir()))
    if part := getattr(error, "mrml_part", ""):
        place = f"{place}, {part}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    finding = f"{said}, at {os.path.basename(last.filename)} line {last.lineno}"
    return TaskFailed(place, finding, "", "".join(traceback.format_exception(error)))


def tell(error: MrmlError) -> dict[str, Any]:
    """The error as it travels; :func:`told` is the inverse."""
    return {"error": to_json(error), "traceback": getattr(error, "traceback", "")}


def told(tree: dict[str, Any]) -> MrmlError:
    """The error that a task told of."""
    error = from_json(tree["error"])
    if isinstance(error, TaskFailed):
        error.traceback = tree["traceback"]
    return error


@contextlib.contextmanager
def in_task(place: str) -> Iterator[None]:
    """A task that runs in this process fails as those in others do."""
    try:
        yield
    except Exception as error:
        found = task_error(error, place)
        if found is error:
            raise
        raise found from error


@contextlib.contextmanager
def prints_to_stderr() -> Iterator[None]:
    """What an algorithm prints is for the log: standard output carries records, messages and results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def blocks(dataset: Dataset, split: Split, store: DirectoryStore | None, first: int = 0) -> Iterator[Block]:
    """The Blocks of a split in order, without the ``first`` ones; the store's where it has them, else read and kept."""
    for part in split:
        n = None if part.stop is None else part.stop - part.first
        if n is not None and first:
            part = part._replace(first=part.first + min(first, n))
            first -= min(first, n)
        if n is None or part.first != part.stop:
            for block in dataset.read(part) if store is None else store.blocks(dataset, part):
                if first:
                    first -= 1
                else:
                    yield block


def source_of(
    algorithm: Algorithm, state: State, dataset: Dataset, split_bytes: int, number: int, store: DirectoryStore | None
) -> Iterable[Block] | Shard:
    """What task ``number`` of a round maps: the Blocks of a split, or a shard."""
    reads = algorithm.reads(state)
    split = dataset.splits(split_bytes, reads)[number]
    if number >= reads.shards:
        return blocks(dataset, split, store)
    return Shard(number, reads.shards, lambda first: blocks(dataset, split, store, first))


@prints_to_stderr()
def map_split(
    algorithm: Algorithm,
    state: State,
    source: Iterable[Block] | Shard,
    sink: Sink,
    exact: dict[str, Statistic] | None = None,
) -> Report:
    """Run the algorithm's map over the blocks, or over the shard, and send up the maximal nodes of every key.

    Given ``exact``, exact statistics go on from those in it and stay there for the next task of the same process,
    unless they grow too large; :func:`send_exact` sends them.
    """
    task = _Mapping(algorithm, state, sink, exact)
    with task.report.spending("map"):
        if isinstance(source, Shard):
            task.shard(source)
        else:
            task.blocks(source)
    if task.seen:
        took = {"seconds": task.report.seconds["map"], "host": platform.node(), "rows": task.report.n_rows}
        task.report.slowest = [{**took, "first": task.seen[0], "last": task.seen[-1]}]
    return task.report


@prints_to_stderr()
def go_ahead(
    algorithm: Algorithm, state: State, dataset: Dataset, split_bytes: int, store: DirectoryStore
) -> tuple[State | None, Report]:
    """What :meth:`Algorithm.ahead` makes of a State in a process that holds every Block."""
    report, splits = Report(fingerprints=kernels_here()), dataset.splits(split_bytes, algorithm.reads(state))

    def seen() -> Iterator[Block]:
        for block in report.reading(chain.from_iterable(blocks(dataset, split, store) for split in splits)):
            report.see(block)
            yield block

    with in_task(f"rounds after {state.round}"), report.spending("map"):
        return algorithm.ahead(state, seen()), report


def send_exact(exact: dict[str, Statistic], sink: Sink) -> Report:
    """Send up the exact statistics of the tasks that a process has done, and forget them."""
    report = Report()
    for key in sorted(exact):
        report.n_bytes_out += sink(key, EXACT, exact[key].to_wire())
    exact.clear()
    return report


class _Mapping:
    """What a map task holds until it sends it up."""

    def __init__(self, algorithm: Algorithm, state: State, sink: Sink, exact: dict[str, Statistic] | None) -> None:
        self.algorithm, self.state, self.sink = algorithm, state, sink
        self.report = Report(fingerprints=kernels_here())
        self.kept = {} if exact is None else exact
        self.stays = exact is not None
        self.partials: dict[str, Partial] = {}
        self.seen: list[list[int]] = []

    def see(self, block: Block) -> None:
        """Count a block; of the numbers of file and block the first and the last ones are kept."""
        self.report.see(block)
        self.seen = [*self.seen[:1], [block.file, block.index]]

    def blocks(self, source: Iterable[Block]) -> None:
        """Map Block by Block."""
        file, first, held = -1, 0, 0
        for block in self.report.reading(source):
            if block.file != file or held > HELD_BYTES:
                if held > HELD_BYTES:
                    self.stays = False  # all or nothing: who has sent some of its rows must send the others too
                    self.flush()
                self.flush_nodes()  # the nodes of one file; what is exact has no place in a tree and goes on
                file, first, held = block.file, block.index, 0
            self.see(block)
            into = self.into()
            with working_on(f"file {block.file}, block {block.index}"):
                self.algorithm.map(self.state, block, into)
            self.push(into, file, first, block.index)
            held = self.n_bytes()
        self.flush()

    def shard(self, shard: Shard) -> None:
        """Map a shard; the merge tree is that over the numbers of the shards."""

        def seen(block: Block) -> Block:
            self.see(block)
            return block

        into = self.into()
        read = Shard(shard.number, shard.n_shards, lambda first: self.report.reading(shard.blocks(first)))
        with working_on(f"shard {shard.number}"):
            self.algorithm.map_shard(self.state, read.through(seen), into)
        self.push(into, 0, shard.number, shard.number)
        self.flush()

    def into(self) -> Into:
        return Into(lambda key: self.algorithm.statistic(self.state, key), self.kept)

    def push(self, into: Into, file: int, first: int, index: int) -> None:
        for key, statistic in into.fresh.items():
            self.partials.setdefault(key, Partial(file, first)).push(index, statistic)

    def n_bytes(self) -> int:
        held = sum(s.n_bytes() for s in self.kept.values())
        return held + sum(s.n_bytes() for p in self.partials.values() for _, _, s in p.nodes)

    def flush_nodes(self) -> None:
        for key in sorted(self.partials):
            for node, statistic in self.partials[key].parts():
                self.emit(key, node, statistic)
        self.partials.clear()

    def flush(self) -> None:
        self.flush_nodes()
        if not self.stays:
            self.report.n_bytes_out += send_exact(self.kept, self.sink).n_bytes_out

    def emit(self, key: str, node: Node, statistic: Statistic) -> None:
        self.report.n_bytes_out += self.sink(key, node, statistic.to_wire())


def reduce_key(algorithm: Algorithm, state: State, key: str, parts: Iterable[tuple[Node, Any]]) -> bytes:
    """Complete the tree of one key, whose nodes come as sinks got them, and reduce it; the value as wire bytes."""
    return wire.dumps(_reduced(algorithm, state, key, parts))


def reduce_here(algorithm: Algorithm, state: State, key: str, parts: Iterable[tuple[Node, Any]]) -> Value:
    """What :func:`value_of` makes of :func:`reduce_key`, without the bytes."""
    return _value(algorithm, state, key, wire.settled(_reduced(algorithm, state, key, parts)))


@prints_to_stderr()
def _reduced(algorithm: Algorithm, state: State, key: str, parts: Iterable[tuple[Node, Any]]) -> dict[str, Any]:
    cls = type(algorithm.statistic(state, key))
    statistic = complete((node, cls.from_wire(tree)) for node, tree in parts)
    value = algorithm.reduce(state, key, statistic)
    if isinstance(value, Statistic):
        if type(value) is not cls:
            raise EngineError(f"key {key!r}", "reduce returned another kind of Statistic", "return it as plain values")
        return {"statistic": value.to_wire()}
    return {"value": value}


def value_of(algorithm: Algorithm, state: State, key: str, message: bytes) -> Value:
    """The inverse of what :func:`reduce_key` sends."""
    return _value(algorithm, state, key, wire.loads(message))


def _value(algorithm: Algorithm, state: State, key: str, tree: dict[str, Any]) -> Value:
    if "statistic" in tree:
        return type(algorithm.statistic(state, key)).from_wire(tree["statistic"])
    return tree["value"]
