"""Rounds over persistent worker processes on one machine.

Workers decode a block once and keep it as a memory map that all of them share; between rounds only the State goes
down and Statistics come up, as wire bytes over pipes.  A worker that dies is replaced and its split run again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.engines import scratch
from mrml.engines.base import useful_workers
from mrml.engines.local import start
from mrml.engines.local.serving import Peer, Serving
from mrml.engines.local.worker import put_bytes, receive
from mrml.model import Model


class Process(Peer):
    """A worker process, forked from this one or in an interpreter of its own."""

    def __init__(self, number: int, fork: bool = False) -> None:
        super().__init__(number)
        self.child, self.stdin, self.stdout = self._started = start.fork(number) if fork else start.spawn(number)

    def fileno(self) -> int:
        return self.stdout.fileno()

    def put(self, message: bytes) -> None:
        put_bytes(self.stdin, message)

    def flush(self) -> None:
        self.stdin.flush()

    def answers(self) -> Sequence[dict[str, Any]]:
        return (receive(self.stdout),)

    def end(self) -> None:
        self._started.end()
        self.how_it_ended = f"with exit code {self.child.returncode}"


class LocalEngine(Serving):
    """Worker processes, one a core by default."""

    name = "local"

    def __init__(self, n_workers: int | None = None, split_bytes: int = 64 << 20, cache_dir: str | None = None) -> None:
        super().__init__(useful_workers(n_workers), split_bytes)
        self._folder = scratch.make(cache_dir)
        self._spill = self._folder / "spill"
        self._spill.mkdir()
        # started before anything is planned: a new interpreter takes 0.15 s to import NumPy and pyarrow
        fork = start.may_fork()
        self.peers = [Process(number, fork) for number in range(self.n_workers)]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [peer.child.pid for peer in self.peers if isinstance(peer, Process)]

    def instead_of(self, peer: Peer) -> Sequence[Peer]:
        return (Process(peer.number),)

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        try:
            return super().round(algorithm, state, dataset)
        finally:
            for name in os.listdir(self._spill):  # 8 us a round, where paths take 25
                os.unlink(self._spill / name)

    def place(self, number: int) -> dict[str, Any]:
        return {"path": sys.path, "store": str(self._folder / str(number)), "spill": str(self._spill)}

    def told_model(self, model: Model) -> str:
        # a folder of its own, or the workers would take it for the model they have
        folder = self._folder / f"model-{self._version}"
        folder.mkdir()
        model.save(folder)
        return str(folder)

    def close(self) -> None:
        for peer in self.peers:
            peer.end()
        scratch.remove(self._folder)
