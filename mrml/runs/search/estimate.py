"""What a search would take, told before it: its waves, and its seconds with and without sharing."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, State
from mrml.algorithms.search.grid import Grid
from mrml.algorithms.search.parting import taken
from mrml.algorithms.search.search import Search
from mrml.config.sections import RunConfig
from mrml.data.block import Block
from mrml.data.dataset import Dataset
from mrml.data.store import DirectoryStore
from mrml.engines.base import Shuffle
from mrml.engines.task import map_split
from mrml.errors import MrmlError
from mrml.runs.plan import JOB_SECONDS, RESIDENT_SECONDS, first_block, rows_expected
from mrml.runs.search.field import Field
from mrml.runs.search.spaces import candidates
from mrml.runs.search.wave import Done, Wave
from mrml.runs.search.waves import wave_after

#: rows, members and rounds that are tried: what a round takes is about proportional to the first two
_ROWS, _MEMBERS, _ROUNDS = 4096, 32, 4


def waves_of(field: Field) -> list[Wave]:
    """The waves of a search, as many and as large as they will be; which candidates stay, or are chosen, is not known
    yet."""
    config, spaces = field.tuning.search, field.tuning.spaces
    found = [field.first]
    if config.method == "tpe":
        drawn = candidates(dataclasses.replace(config, method="random"), spaces)
        first = len(field.first.trials)
        for k in range(first, len(drawn), config.wave):
            some = drawn[k : k + config.wave]
            found.append(Wave(tuple(range(k, k + len(some))), tuple(some)))
        return found
    done = [_stand_in(field.first)]
    while (wave := wave_after(config, spaces, done)) is not None:
        found.append(wave)
        done.append(_stand_in(wave))
    return found


def _stand_in(wave: Wave) -> Done:
    return Done(wave, [{"trial": trial, "state": "done"} for trial in wave.trials])


def seconds(run: RunConfig, field: Field, searches: Sequence[Search], facts: Mapping[str, Any]) -> dict[str, Any]:
    """About how many seconds training takes, all candidates side by side and one after the other, by a few rounds over
    some rows of the first block; nothing where such rounds say nothing."""
    tried = [_Tried.of(search, field.dataset) for search in searches]
    if not tried or None in tried:
        return {}
    n_rows = facts["n_rows"] or rows_expected(field.dataset)
    workers = max(int(facts["workers"]), 1)
    together = alone = 0.0
    for search, one in zip(searches, tried, strict=True):
        assert one is not None
        rounds = np.array([int(m.expected_rounds()) for m in search.trainer.members])
        scale = n_rows * search.share / one.rows / workers
        decoding = n_rows / one.rows * one.read / workers
        together += decoding + scale * (one.first_of_all + one.round_of_all * float(rounds.mean() - 1))
        first = decoding + scale * one.first_of_one + _beginning(run, float(rounds.mean()))
        alone += len(rounds) * first + scale * one.round_of_one * float((rounds - 1).sum())
        together += _beginning(run, float(search.expected_rounds()))
    return {"seconds_expected": round(together, 1), "seconds_one_after_the_other": round(alone, 1)}


def _beginning(run: RunConfig, rounds: float) -> float:
    """Seconds of a run before any computing."""
    if not run.engine.on_yarn:
        return 0.0
    return RESIDENT_SECONDS if run.engine.engine == "resident" else JOB_SECONDS * rounds


@dataclasses.dataclass(frozen=True)
class _Tried:
    """Seconds over ``rows``: reading them, the first round and each later one, of one member and of all."""

    rows: int
    read: float
    first_of_one: float
    round_of_one: float
    first_of_all: float
    round_of_all: float

    @staticmethod
    def of(search: Search, dataset: Dataset) -> _Tried | None:
        """By a few rounds; None where they cannot be tried on some rows alone."""
        trainer = search.trainer
        if any(member.shards for member in search.candidates):
            return None
        began = time.perf_counter()
        block, _ = first_block(dataset)
        read = time.perf_counter() - began
        if block is None or not block.n_rows:
            return None
        some = taken(block, np.arange(block.n_rows) < _ROWS)
        step = max(len(trainer.members) // _MEMBERS, 1)
        members = trainer.members[::step]
        try:
            one = _timed(Grid(members[:1], forgiving=True), some, search)
            every = _timed(Grid(members, forgiving=True), some, search)
        except MrmlError:  # told when it is run
            return None
        share, scale = some.n_rows / max(block.n_rows, 1), len(trainer.members) / len(members)
        return _Tried(some.n_rows, read * share, *one, *(s * scale for s in every))


def _timed(algorithm: Algorithm, block: Block, search: Search) -> tuple[float, float]:
    """Seconds of the first round over a block, and of a later one."""
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder:
        store = DirectoryStore(folder, alone=True)
        store.put_block(block)
        state = algorithm.init(search.schema)
        while len(took) < _ROUNDS and state.stop is None:
            began = time.perf_counter()
            kept = store.get_block(block.file, block.index)
            assert kept is not None
            state = _round(algorithm, state, kept)
            took.append(time.perf_counter() - began)
    return took[0], sum(took[1:]) / max(len(took) - 1, 1)


def _round(algorithm: Algorithm, state: State, block: Block) -> State:
    shuffle = Shuffle()
    report = map_split(algorithm, state, [block], shuffle.sink(0))
    return algorithm.update(state, shuffle.reduce(algorithm, state, report))
