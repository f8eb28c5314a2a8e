"""What a round takes with N resident tasks: simulated, checked against the real thing here, read off for N elsewhere.

    python benchmarks/scale.py [PASSES] # constants, the check for N = 1, 2, 4, 8, the table; exit code 1 beyond 25 %
    python benchmarks/scale.py table    # the table, by the constants that stand below

The simulation knows a driver that tells and hears tasks one after the other, links that carry so many bytes a second,
a latency, tasks of which some are slower than others, and two ways to reduce: by the driver, as mrml does it, and by
the tasks, each of which would take a part of every Statistic from all others.  Constants are measured on real
processes; what is checked are rounds that they were not measured on.  Work is stood in for by sleeping, since tasks of
a cluster do not share the cores of this machine; what tasks do beside it does share them, here.

Seconds are the least of several passes, of each a low quantile over rounds, on both sides of the check: what else runs
on a machine only adds to them, although processes that are measured come before others where the system allows that.
"""

from __future__ import annotations

import heapq
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

LIMIT = 0.25
CHECKED = (1, 2, 4, 8)
SMALL, LARGE = 128, 120_000
SLOW_S = 0.02
QUIET = 0.1


@dataclass(frozen=True)
class Costs:
    """Seconds, measured on 2 cores, November 2026."""

    #: of the driver: a round (update, checkpoint), a task told and heard, and a byte of Statistics taken in and merged
    round_s: float = 9.5e-4
    peer_s: float = 1.6e-4
    up_byte_s: float = 1.0e-9
    #: a byte of State: made, written and encoded by the driver
    down_byte_s: float = 1.8e-9
    #: of a task: a round, and a byte that it takes in, makes and sends
    task_s: float = 3.7e-4
    made_byte_s: float = 1.2e-9


@dataclass(frozen=True)
class Net:
    """What lies between: bytes a second of one link, seconds of a way, and how unlike tasks are (sigma of a lognormal
    factor on the seconds of each round); ``cores`` that all tasks share, or None where each has its own."""

    bytes_s: float
    latency_s: float
    spread: float
    cores: int | None = None


@dataclass(frozen=True)
class Work:
    """A round: seconds of one core in all, bytes of State that changed, bytes that a task sends up, bytes of values."""

    name: str
    map_s: float
    down: float
    up: float
    values: float


HERE = Net(bytes_s=2e9, latency_s=2e-5, spread=0.0, cores=max((os.cpu_count() or 2) - 1, 1))
#: 10 GbE within a rack
CLUSTER = Net(bytes_s=1.25e9, latency_s=1e-4, spread=0.1)
#: 1,000,000,000 rows of 28 columns: seconds as a core of this machine took for 400,000 of them, and bytes that it sent;
#: a task has two splits, of a network one shard
WORKS = (
    Work("logistic regression, of Newton", 144.0, 2e3, 1.4e4, 7e3),
    Work("k-means, 100 clusters", 250.0, 2.4e4, 4.9e4, 2.4e4),
    Work("boosting, the last level of a tree of depth 6", 23.0, 4e3, 1.8e6, 2e4),
    Work("network of 540,000 parameters, an epoch", 42_000.0, 6.5e6, 6.5e6, 6.5e6),
)
NODES = (10, 100, 1000)


def simulated(n: int, work: Work, net: Net, costs: Costs, by_tasks: bool = False, n_rounds: int = 21) -> float:
    """Median seconds of a round with ``n`` tasks."""
    draws = random.Random(n)
    return statistics.median(_round(n, work, net, costs, by_tasks, draws) for _ in range(n_rounds))


def _round(n: int, work: Work, net: Net, costs: Costs, by_tasks: bool, draws: random.Random) -> float:
    driver = costs.round_s + work.down * costs.down_byte_s
    link, cores = driver, [0.0] * (net.cores or n)
    heapq.heapify(cores)
    done = []
    for _ in range(n):
        driver += costs.peer_s / 2
        link = max(link, driver) + work.down / net.bytes_s
        free = heapq.heappop(cores)  # the time at which its core is there for it
        own = costs.task_s + (work.down + work.up) * costs.made_byte_s
        began = max(free, link + net.latency_s)
        heapq.heappush(cores, began + own)
        done.append(began + own + work.map_s / n * math.exp(draws.gauss(0.0, net.spread)))
    done.sort()
    sent = work.up
    if by_tasks and n > 1:
        sent = work.values / n
        done = [_exchanged(done, n, work, net, costs)] * n
    link = 0.0
    for at in done:
        link = max(link, at + net.latency_s) + sent / net.bytes_s
        driver = max(driver, link) + costs.peer_s / 2 + sent * costs.up_byte_s
    return driver


def _exchanged(done: Sequence[float], n: int, work: Work, net: Net, costs: Costs) -> float:
    """When every task has reduced its part of what all have sent: the last one to be done keeps the others waiting."""
    part = work.up / n
    each = part / net.bytes_s + costs.peer_s + part * costs.up_byte_s
    return max(done) + net.latency_s + (n - 1) * each + part * costs.up_byte_s


def driver_bytes(n: int, work: Work) -> float:
    """What a driver holds of a round at once: all that tasks have sent, before the keys are reduced one by one."""
    return n * work.up + work.down


# ---- the real thing

#: a round: tasks, entries of a Statistic, seconds that a block takes
Case = tuple[int, int, float]
#: what constants are measured on: rounds that compute nothing, and carry little or much
FOR_COSTS: tuple[Case, ...] = ((1, SMALL, 0.0), (4, SMALL, 0.0), (1, LARGE, 0.0), (4, LARGE, 0.0))
FOR_CHECK: tuple[Case, ...] = tuple(
    (n, entries, slow_s)
    for entries, slow_s in ((SMALL, SLOW_S), (LARGE // 3, SLOW_S / 2), (LARGE // 2, 0.0))
    for n in CHECKED
)


class Seen(NamedTuple):
    """Seconds of a round, and those of them in which the driver computed."""

    round_s: float
    driver_s: float


def real(case: Case) -> Seen:
    """A round over processes of this machine."""
    from benchmarks.crowd import Nothing, rows, timed
    from mrml.config.sections import EngineConfig
    from mrml.engines.resident.engine import ResidentEngine

    n, entries, slow_s = case
    with tempfile.TemporaryDirectory() as folder:
        config = EngineConfig(engine="resident", workers=n, min_workers=n)
        with ResidentEngine(config, 64) as engine:
            found = timed(engine, rows(Path(folder), 2 * n), Nothing(rounds=30, entries=entries, slow_s=slow_s))
    return Seen(*np.quantile(found / 1e3, QUIET, axis=1).tolist())


def seen(passes: int) -> dict[Case, Seen]:
    """Every case in turns; of each the least."""
    found: dict[Case, Seen] = {}
    for number in range(passes):
        for case in (*FOR_COSTS, *FOR_CHECK):
            one = real(case)
            before = found.get(case, one)
            found[case] = Seen(min(one.round_s, before.round_s), min(one.driver_s, before.driver_s))
        print(f"pass {number + 1}, load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def costs_of(found: dict[Case, Seen]) -> Costs:
    """The constants."""
    one, four, much, more = (found[case] for case in FOR_COSTS)
    down, up = 8.0 * (LARGE - SMALL), 16.0 * (LARGE - SMALL)
    peer_s = (four.driver_s - one.driver_s) / 3
    up_byte_s = ((more.driver_s - much.driver_s) / 3 - peer_s) / up
    down_byte_s = max((much.driver_s - one.driver_s - up * up_byte_s) / down, 0.0)
    costs = Costs(one.driver_s - peer_s + _written_s(), peer_s, up_byte_s, down_byte_s, 0.0, 0.0)
    # what is left of rounds of one task is the task's own
    costs = replace(costs, task_s=max(one.round_s - simulated(1, _carrying(1, SMALL, 0.0), HERE, costs), 0.0))
    made_s = (much.round_s - simulated(1, _carrying(1, LARGE, 0.0), HERE, costs)) / (down + up)
    return replace(costs, made_byte_s=max(made_s, 0.0))


def _carrying(n: int, entries: int, slow_s: float) -> Work:
    """What :func:`real` does: two splits a task, of each a Statistic of float64 entries."""
    return Work("", 2 * n * slow_s, 8.0 * entries, 16.0 * entries, 8.0 * entries)


def _written_s() -> float:
    """Seconds that a driver waits for the disk as it writes a checkpoint."""
    from benchmarks.crowd import undisturbed
    from mrml.algorithm import State
    from mrml.runs.fit import Checkpoint

    took = []
    with tempfile.TemporaryDirectory() as folder, undisturbed(()):
        checkpoint = Checkpoint(folder)
        for number in range(50):
            began, computed = time.perf_counter(), time.thread_time()
            checkpoint.save(State({"x": np.zeros(SMALL)}, number))
            took.append(time.perf_counter() - began - (time.thread_time() - computed))
    return float(np.quantile(took, QUIET))


def check(costs: Costs, found: dict[Case, Seen]) -> bool:
    """Whether simulated rounds take what real ones take."""
    ok = True
    print(f"{'tasks':>6} {'bytes up':>9} {'work, s':>8} {'real, ms':>9} {'simulated':>9}")
    for case in FOR_CHECK:
        work, round_s = _carrying(*case), found[case].round_s
        expected = simulated(case[0], work, HERE, costs)
        ok &= 1 - LIMIT <= (ratio := expected / round_s) <= 1 + LIMIT
        print(f"{case[0]:6} {work.up:9.2g} {work.map_s:8.2f} {1e3 * round_s:9.2f} {1e3 * expected:9.2f}  {ratio:5.2f}")
    return ok


def table(costs: Costs) -> None:
    """Seconds of a round for every work, and the bytes of Statistics that the driver takes in."""
    print("| a round | " + " | ".join(f"{n:,} nodes" for n in NODES) + " | driver, at the last |")
    print("|---|" + "---|" * (len(NODES) + 1))
    for work in WORKS:
        cells = []
        for n in NODES:
            ways = [simulated(n, work, CLUSTER, costs, by_tasks) for by_tasks in (False, True)]
            cells.append(" / ".join(f"{s:.3g}" for s in (work.map_s / n, *ways)))
        print(f"| {work.name} | {' | '.join(cells)} | {driver_bytes(NODES[-1], work) / 2**20:,.0f} MiB |")


def main(words: list[str]) -> int:
    if words[:1] == ["table"]:
        table(Costs())
        return 0
    from mrml import names

    names.allow("benchmarks.crowd:Nothing")
    found = seen(int(words[0]) if words else 3)
    costs = costs_of(found)
    print(f"{os.cpu_count()} cores; {costs}")
    ok = check(costs, found)
    table(costs)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(sys.argv[1:]))
