"""The only loop of the project, and the checkpoints that make it resumable."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from mrml import wire
from mrml.algorithm import Algorithm, State
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.engines.task import in_task
from mrml.errors import EngineError, InputError
from mrml.fs.folder import Folder
from mrml.model import Model

#: called with the State that a round led to, or several in one go (:meth:`mrml.algorithm.Algorithm.ahead`)
OnRound = Callable[[State], None]
SUFFIX = ".state"


class Checkpoint:
    """A directory of numbered States, local or on HDFS, written aside and renamed; the last ``keep`` stay.

    A State within ``every_s`` seconds of the one written before is left out, unless it is the last one: to come back to
    an older State only costs the rounds after it.
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 2, every_s: float = 0.0) -> None:
        self.folder, self.keep, self.every_s = Folder(directory), keep, every_s
        self._written = -math.inf

    def rounds(self) -> list[int]:
        """Numbers of the States there are, in order."""
        stems = (name.removesuffix(SUFFIX) for name in self.folder.names() if name.endswith(SUFFIX))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def latest(self) -> State | None:
        """The newest State that reads back whole, or None."""
        for number in reversed(self.rounds()):
            try:
                return State.from_wire(wire.read_only(wire.loads(self.folder.read(_name(number)))))
            except OSError:
                if not self.folder.is_local:  # HDFS may be asked again
                    raise
            except EngineError:  # a torn file: the one before it is as good, it only costs a round
                continue
        return None

    def save(self, state: State, last: bool = False) -> State:
        """Write the State; return it as a resumed run would read it, so that both go on alike."""
        tree = state.to_wire()
        if last or state.stop is not None or self.due():
            self._write(state, wire.pieces(tree))
            self._written = time.monotonic()
        return State.from_wire(wire.read_only(tree))

    def due(self) -> bool:
        """Whether the next State is written."""
        return time.monotonic() - self._written >= self.every_s

    def _write(self, state: State, message: list[bytes | memoryview]) -> None:
        self.folder.make()
        self.folder.write(_name(state.round), message, sync=True)
        for number in self.rounds()[: -self.keep]:
            self.folder.remove(_name(number))


def _name(number: int) -> str:
    return f"{number:06d}{SUFFIX}"


def fit(
    algorithm: Algorithm,
    dataset: Dataset,
    engine: Engine,
    checkpoint: Checkpoint,
    on_round: OnRound | None = None,
    max_rounds: int | None = None,
    turn: Callable[[State], State] | None = None,
) -> tuple[Model, State]:
    """Run rounds until the algorithm stops, or ``max_rounds`` are done; the Model and the last State.

    ``turn`` may make another State of what a round led to, before it is kept.

    Rows of validation files travel in the same Dataset as Blocks whose ``part`` is ``valid``.
    """
    state = checkpoint.latest()
    if state is None:
        with in_task("init"):
            state = algorithm.init(dataset.schema)
        state = checkpoint.save(state)
    while state.stop is None:
        if max_rounds is not None and state.round >= max_rounds:
            checkpoint.save(state, last=True)
            stop = f"stopped after round {state.round}, at the limit of max_rounds"
            state = State(state.params, state.round, stop, converged=False)
            break
        may_go = algorithm.goes_ahead(state) and not checkpoint.due()
        after = _ahead(algorithm, state, dataset, engine, max_rounds) if may_go else None
        after = after or _round(algorithm, state, dataset, engine)
        state = checkpoint.save(after if turn is None else turn(after))
        if on_round is not None:
            on_round(state)
    with in_task("model"):
        return algorithm.model(state, dataset.schema), state


def _round(algorithm: Algorithm, state: State, dataset: Dataset, engine: Engine) -> State:
    with dataset.naming(), engine.timed():
        values = engine.round(algorithm, state, dataset)
    if not values:
        raise InputError("data", "no row was found", "look at the files with `mrml schema`")
    with in_task(f"round {state.round + 1}, update"):
        after = algorithm.update(state, values)
    if after.round != state.round + 1:
        raise EngineError("update", f"went from round {state.round} to {after.round}", "use state.next(...)")
    return after


def _ahead(
    algorithm: Algorithm, state: State, dataset: Dataset, engine: Engine, max_rounds: int | None
) -> State | None:
    """The State some rounds on where there is a shorter way; None also where that goes beyond ``max_rounds``."""
    with dataset.naming(), engine.timed():
        after = engine.ahead(algorithm, state, dataset)
    return None if after is None or (max_rounds is not None and after.round > max_rounds) else after
