"""Many tasks and one driver: what a round costs before anything is computed, and whether tasks may die in it.

    python benchmarks/crowd.py                # all of it; bars: exit code 1 where one is missed
    python benchmarks/crowd.py clients 2000   # so many simulated tasks against one driver, answers made beforehand
    python benchmarks/crowd.py rounds         # a round that computes nothing, with 2 and with 32 processes
    python benchmarks/crowd.py killed         # 64 processes, of which 10 are killed at random: the right bytes?

A simulated task speaks the protocol of resident tasks, hello and heartbeats included, and does no arithmetic; all of
them are one process, which takes a core of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrml import names, wire
from mrml.arrays import Array
from mrml.config.sections import EngineConfig
from mrml.data.dataset import Dataset
from mrml.data.files import File
from mrml.engines.inline import InlineEngine
from mrml.engines.resident.connection import HEARTBEAT, Connection
from mrml.engines.resident.engine import ResidentEngine
from mrml.engines.resident.hello import introduce
from mrml.engines.resident.letter import Letter
from mrml.engines.resident.starters import Starter
from mrml.engines.task import Report, kernels_here
from mrml.extend import Algorithm, Block, Into, Model, Schema, State, Sums, param
from mrml.runs.fit import Checkpoint, fit
from mrml.schema import Column, Format
from mrml.statistic import Partial, Statistic

CROWDS = (2, 32, 100, 300, 1000, 2000)
#: bars of a round that computes nothing, median milliseconds by workers, checkpoints included
BARS_MS = {2: 3.0, 32: 10.0}
WINDOW = 1 << 20
#: of simulated tasks together
BEAT_S = 5.0


@dataclass(frozen=True)
class Nothing(Algorithm):
    """Adds vectors of zeros, and sends the sum back down."""

    rounds: int = param(50, "rounds", low=1)
    entries: int = param(128, "float64 entries that travel up and down", low=1)
    slow_s: float = param(0.0, "seconds that a block takes", low=0.0)

    def init(self, schema: Schema) -> State:
        return State({"x": np.zeros(self.entries)})

    def statistic(self, state: State, key: str) -> Statistic:
        return Sums(x=np.zeros(self.entries))

    def map(self, state: State, block: Block, into: Into) -> None:
        if self.slow_s:  # sleeping for no time gives the core to somebody else
            time.sleep(self.slow_s)
        into["sum"].add(x=float(block.n_rows) / 3.0)

    def update(self, state: State, values: Mapping[str, Any]) -> State:
        stop = "done" if state.round + 1 >= self.rounds else None
        return state.next(stop, x=state["x"] + values["sum"]["x"])

    def model(self, state: State, schema: Schema) -> Model:
        return None  # type: ignore[return-value]


# ---- simulated tasks


def made_up(n_blocks: int) -> Dataset:
    """A Dataset of which no byte is there."""
    file = File("nowhere.csv", "nowhere.csv", n_blocks * WINDOW, n_blocks=n_blocks)
    return Dataset(Schema((Column("x"),), Format(), WINDOW), (file,))


class Crowd(Starter):
    """A process of simulated tasks."""

    host = "127.0.0.1"

    def __init__(self, n: int, folder: Path) -> None:
        self.n, self.folder = n, folder

    def attach(self, run_id: str, output: str) -> None: ...

    def secret(self) -> bytes:
        return os.urandom(32)

    def start(self, port: int, secret: bytes, beat_s: float) -> None:
        letter = Letter(self.host, port, secret, 0.0).write(self.folder / "letter")
        self.process = subprocess.Popen([sys.executable, __file__, "--tasks", str(letter), str(self.n)])

    def n_running(self) -> int:
        return self.n

    def places(self, dataset: Dataset) -> tuple[()]:
        return ()

    def check(self) -> None:
        assert self.process.poll() is None, "the simulated tasks have ended"

    def end(self, n_joined: int) -> None:
        self.process.wait(30)


class Crowded(ResidentEngine):
    """The driver of a crowd."""

    def __init__(self, n: int) -> None:
        self.n_crowd = n
        super().__init__(EngineConfig(engine="resident", workers=1), WINDOW)
        self.n_workers, self.config = n, dataclasses.replace(self.config, min_workers=n)

    def _starter(self, on_yarn: bool) -> Starter:
        return Crowd(self.n_crowd, self._folder)


class Task:
    """One simulated task, which sends what was made for a message."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.got = sock, bytearray()
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hear(self, answers: Answers) -> bool:
        """Answer what has come; False at the end."""
        more = self.sock.recv(1 << 20)
        self.got += more
        while len(self.got) >= 8 and len(self.got) >= (end := 8 + int.from_bytes(self.got[:8], "little")):
            message = bytes(self.got[8:end])
            del self.got[:end]
            if (answer := answers.of(message)) is None:
                return False
            if answer:
                self.sock.sendall(answer)
        return bool(more)


class Answers:
    """What to answer, made once a message: what tasks are told is the same in every round."""

    def __init__(self) -> None:
        self.made: dict[bytes, bytes | None] = {}
        self.entries, self.splits = 1, made_up(1).splits(1)

    def of(self, message: bytes) -> bytes | None:
        """The frame to send, empty for none; None where tasks are to end."""
        if message not in self.made:
            self.made[message] = self._make(wire.loads(message))
        return self.made[message]

    def _make(self, told: dict[str, Any]) -> bytes | None:
        if told["op"] == "dataset":
            self.splits = Dataset.from_json(told["dataset"]).splits(told["split_bytes"])
        elif told["op"] == "algorithm":
            self.entries = told["algorithm"]["params"]["entries"]
        elif told["op"] in ("map", "collect"):
            parts = [part for task in told["tasks"] if task >= 0 for part in self._parts(task)]
            report = Report(n_rows=len(parts), fingerprints=kernels_here())
            answer = wire.dumps({"parts": parts, "report": vars(report), "holds": False, "tasks": told["tasks"]})
            return len(answer).to_bytes(8, "little") + answer
        return None if told["op"] == "end" else b""

    def _parts(self, task: int) -> list[list[Any]]:
        (range_,) = self.splits[task]
        assert range_.stop is not None
        tree = Partial(range_.file, range_.first)
        for index in range(range_.first, range_.stop):
            tree.push(index, Sums(x=np.zeros(self.entries)))
        return [["sum", list(n), np.frombuffer(wire.dumps(s.to_wire()), np.uint8)] for n, s in tree.parts()]


def be_tasks(letter: Letter, n: int) -> None:
    """Dial ``n`` times, and answer until the driver lets all of them go."""
    tasks, answers = selectors.DefaultSelector(), Answers()
    for number in range(n):
        sock = socket.create_connection((letter.host, letter.port))
        introduce(sock, letter.secret, {"host": "simulated", "pid": os.getpid(), "number": number})
        tasks.register(sock, selectors.EVENT_READ, Task(sock))
    beaten = time.monotonic()
    while tasks.get_map():
        for key, _ in tasks.select(1.0):
            if not key.data.hear(answers):
                tasks.unregister(key.data.sock)
                key.data.sock.close()
        if time.monotonic() - beaten > BEAT_S:
            beaten = time.monotonic()
            for key in tasks.get_map().values():
                key.data.sock.sendall(HEARTBEAT)


# ---- what is measured


@contextlib.contextmanager
def undisturbed(pids: Iterable[int]) -> Iterator[None]:
    """This process and others come before all else on the machine, where the system allows that."""
    threads = [int(t) for pid in {os.getpid(), *pids} for t in os.listdir(f"/proc/{pid}/task")]

    def schedule(policy: int, priority: int) -> None:
        for thread in threads:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, policy, os.sched_param(priority))

    schedule(os.SCHED_RR, 10)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


def timed(engine: ResidentEngine, dataset: Dataset, algorithm: Nothing) -> Array:
    """Milliseconds of rounds, checkpoints included, and those in which the driver computed; the first rounds, which
    tell tasks what to do, are not counted.  Shape (2, rounds)."""
    clock: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        fit(dataclasses.replace(algorithm, rounds=5), dataset, engine, Checkpoint(f"{folder}/warm"))
        with undisturbed(there(engine)):
            fit(algorithm, dataset, engine, Checkpoint(folder),
                lambda _: clock.append((time.perf_counter(), time.thread_time())))  # fmt: skip
    return 1e3 * np.diff(np.array(clock), axis=0).T


def there(engine: ResidentEngine) -> list[int]:
    """Processes of the tasks."""
    return [p.facts["pid"] for p in engine.peers if isinstance(p, Connection)]


def clients(n: int, entries: int = 128) -> dict[str, float]:
    """A driver of ``n`` simulated tasks, in a process of its own, so that its memory is all its own."""
    with Crowded(n) as engine:
        began = time.monotonic()
        engine._have_started()
        engine._gather()
        joined = time.monotonic() - began
        rounds, computed = timed(engine, made_up(2 * n), Nothing(rounds=20, entries=entries))
        assert len(engine.peers) == n, "tasks were lost"
        descriptors = len(os.listdir("/proc/self/fd"))
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"tasks": n, "join_s": joined, "median_ms": float(np.median(rounds)),
            "p95_ms": float(np.quantile(rounds, 0.95)), "driver_ms": float(np.median(computed)),
            "driver_mib": mib, "descriptors": descriptors}  # fmt: skip


def rows(folder: Path, n_blocks: int) -> Dataset:
    """A small Dataset that is there."""
    path, line = folder / "rows.csv", b"0.25\n"
    path.write_bytes(b"x\n" + line * ((n_blocks * 64 - 2) // len(line)))
    file = File(str(path), path.name, path.stat().st_size, n_blocks=-(-path.stat().st_size // 64))
    return Dataset(Schema((Column("x"),), Format(delimiter=","), 64), (file,))


def processes(n: int) -> float:
    """Median milliseconds of a round over ``n`` tasks that are processes of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        config = EngineConfig(engine="resident", workers=n, min_workers=n)
        with ResidentEngine(config, 64) as engine:
            return float(np.median(timed(engine, rows(Path(folder), 2 * n), Nothing(rounds=100))[0]))


def killed(n: int = 64, n_killed: int = 10, seed: int = 0) -> bool:
    """Whether ``n`` processes of which some are killed at random moments end in the bytes of the inline engine."""
    draws, algorithm = random.Random(seed), Nothing(rounds=20, slow_s=0.005)
    with tempfile.TemporaryDirectory() as folder:
        dataset = rows(Path(folder), 4 * n)
        _, expected = fit(algorithm, dataset, InlineEngine(64), Checkpoint(f"{folder}/inline"))
        config = EngineConfig(engine="resident", workers=n, min_workers=n)
        with ResidentEngine(config, 64) as engine:
            gone: list[int] = []
            _, found = fit(algorithm, dataset, engine, Checkpoint(f"{folder}/resident"),
                           lambda state: _kill(engine, draws, gone, n_killed, state.round))  # fmt: skip
    same = wire.dumps(found.to_wire()) == wire.dumps(expected.to_wire())
    print(f"{n} processes, {len(gone)} of them killed: {'the same' if same else 'OTHER'} bytes", flush=True)
    return same and len(gone) == n_killed


def _kill(engine: ResidentEngine, draws: random.Random, gone: list[int], n_killed: int, round_: int) -> None:
    """One more, at some moment of the round that begins now."""
    if round_ >= 4 and len(gone) < n_killed:
        gone.append(draws.choice([pid for pid in there(engine) if pid not in gone]))
        threading.Timer(draws.uniform(0.0, 0.05), os.kill, (gone[-1], signal.SIGKILL)).start()


def alone(*words: str) -> subprocess.CompletedProcess[str]:
    """This file in a process of its own."""
    return subprocess.run([sys.executable, __file__, *words], text=True, capture_output=True, check=True)


def main(words: list[str]) -> int:
    names.allow(f"{Nothing.__module__}:Nothing")
    what, ok = words[0] if words else "", True
    if what == "--tasks":
        be_tasks(Letter.of(Path(words[1]).read_bytes()), int(words[2]))
    elif what == "clients":
        print({k: round(v, 2) for k, v in clients(*map(int, words[1:])).items()})
    if what in ("", "rounds"):
        for n, bar in BARS_MS.items():
            found = processes(n)
            ok &= found <= bar
            print(f"a round that computes nothing, {n} processes: {found:.2f} ms (bar: {bar:.0f})", flush=True)
    if what in ("", "killed"):
        ok &= killed()
    if what == "":
        for n in CROWDS:
            print(alone("clients", str(n)).stdout.strip(), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    # tasks import the algorithm by name: the same class for everybody
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks import crowd

    sys.exit(crowd.main(sys.argv[1:]))
