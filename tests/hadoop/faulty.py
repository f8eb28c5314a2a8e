"""Algorithms that die or wait where a test says so, once: the first task to come there makes the file ``here``."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrml.algorithms.clustering.kmeans import KMeans
from mrml.extend import Block, Into, State, param
from mrml.statistic import Statistic
from tests.exercise import Exercise

LIMIT_S = 150
#: bytes above what any container of the tests has
GROWTH = 1 << 30


def happen(folder: str, deed: str) -> None:
    """Die, grow, or wait for the file ``go``; what comes later goes on."""
    try:
        with open(os.open(Path(folder, "here"), os.O_CREAT | os.O_EXCL | os.O_WRONLY), "w") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    held = b"x" * (GROWTH if deed == "grow" else 0)
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and not Path(folder, "go").exists():
        if int(time.monotonic() * 20) % 20 == 0:  # a sign of life, without which nothing speculates
            print(f"reporter:status:waits at {time.monotonic():.1f}", file=sys.stderr, flush=True)
        time.sleep(0.05)
    del held


@dataclass(frozen=True)
class Faulty(Exercise):
    """Dies, grows or waits in block 3 of file 1, or in the reduction of the key ``sum``, or in both."""

    folder: str = param("", "where the files are")
    deed: str = param("hold", "hold, kill or grow")
    where: str = param("map", "map, reduce or both")

    def map(self, state: State, block: Block, into: Into) -> None:
        if self.where in ("map", "both") and (block.file, block.index) == (1, 3):
            happen(self.folder, self.deed)
        super().map(state, block, into)

    def reduce(self, state: State, key: str, statistic: Statistic) -> Any:
        if self.where in ("reduce", "both") and key == "sum":
            happen(f"{self.folder}/reduce", self.deed)
        return super().reduce(state, key, statistic)


@dataclass(frozen=True)
class Waiting(KMeans):
    """k-means whose first block waits, once, for a driver to be killed."""

    folder: str = param("", "where the files are")

    def map(self, state: State, block: Block, into: Into) -> None:
        if (block.file, block.index) == (0, 0):
            happen(self.folder, "hold")
        super().map(state, block, into)
