"""Who is told of a run while it goes on, and what its rounds counted together.  Floor 4."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from mrml.algorithm import Algorithm, State
from mrml.config.sections import DataConfig
from mrml.data.files import File
from mrml.data.shards import Reads
from mrml.engines.base import Engine
from mrml.engines.task import merged_hosts, slowest
from mrml.errors import BadRows, EngineError

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Told of a run while it goes on."""

    def start(self, plan: dict[str, Any]) -> None: ...

    def round(self, facts: dict[str, Any]) -> None: ...

    def done(self, facts: dict[str, Any]) -> None: ...


class Silent:
    """Tells nobody."""

    def start(self, plan: dict[str, Any]) -> None:
        return None

    def round(self, facts: dict[str, Any]) -> None:
        return None

    def done(self, facts: dict[str, Any]) -> None:
        return None


class Remembered:
    """Hands on what it is told, and keeps the figures of the rounds for the run's record."""

    #: of more rounds every second one goes, and again
    MOST = 1000

    def __init__(self, told: Progress) -> None:
        self.told, self._rounds, self._every = told, list[dict[str, Any]](), 1

    def start(self, plan: dict[str, Any]) -> None:
        self.told.start(plan)

    def round(self, facts: dict[str, Any]) -> None:
        self.told.round(facts)
        if facts["round"] % self._every == 0 or facts.get("eta_s") == 0.0:
            kept = {k: v for k, v in facts.items() if k not in ("rounds", "rows_per_s", "eta_s")}
            self._rounds.append({**kept, "seconds": round(facts["seconds"], 6)})
        if len(self._rounds) > self.MOST:
            self._every *= 2
            self._rounds = [f for f in self._rounds if f["round"] % self._every == 0]

    def done(self, facts: dict[str, Any]) -> None:
        self.told.done(facts)

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """Of each round, or of every so many: its number, loss and other figures, seconds, and where they went."""
        return self._rounds


class Watch:
    """Turns rounds into facts for the Progress, and counts bad rows against their limit."""

    def __init__(
        self, engine: Engine, algorithm: Algorithm, config: DataConfig, strict: bool, progress: Progress
    ) -> None:
        self.engine, self.algorithm, self.config, self.strict, self.progress = (
            engine,
            algorithm,
            config,
            strict,
            progress,
        )
        self.began = self.last = time.monotonic()
        self.fingerprints: dict[str, list[str]] = {}
        self.rounds = self.n_bad = self.n_bytes_up = 0
        self.first = 0.0
        self.reads = Reads()
        #: what was told last
        self.told: dict[str, Any] = {}
        self.counts: dict[str, Any] = {"n_rows": 0, "valid_rows": 0, "bad_rows": 0, "problems": []}
        self.seconds_in: dict[str, float] = {}
        self.slowest: list[dict[str, Any]] = []

    def __call__(self, state: State) -> None:
        now = time.monotonic()
        report = self.engine.report
        seconds, self.last = now - self.last, now
        self.n_bad = report.n_bad
        counts = {"n_rows": report.n_rows - report.n_valid, "valid_rows": report.n_valid,
                  "bad_rows": report.n_bad, "problems": report.problems}  # fmt: skip
        if not self.rounds or self.reads == Reads():  # some rounds read some rows, or read them more than once
            self.counts = counts
        self.first = self.first if self.rounds else seconds
        n = state.round - self.told.get("round", state.round - 1)  # several, where they went in one go
        self.rounds, self.reads = self.rounds + n, self.algorithm.reads(state)
        self.n_bytes_up += report.n_bytes_out
        self.slowest = slowest(self.slowest, [{"round": state.round, **split} for split in report.slowest])
        phases = report.phases()
        phases["driver"] = max(seconds - sum(phases.values()), 0.0)
        self.seconds_in = {name: self.seconds_in.get(name, 0.0) + s for name, s in phases.items()}
        self._check(report.fingerprints)
        each: dict[str, Any] = {"seconds": seconds / n, "rows_per_s": n * report.n_rows / max(seconds, 1e-9)}
        each |= {
            "seconds_in": rounded({name: s / n for name, s in phases.items()}),
            "bytes_up": report.n_bytes_out // n,
        }
        for number in range(state.round - n + 1, state.round):
            self._tell({**self.told, "round": number, **each})
        # one more may come of what no estimate knew
        expected = max(self.algorithm.rounds_in_all(state, None), state.round + (state.stop is None))
        facts: dict[str, Any] = {"round": state.round, "rounds": expected, **self.algorithm.progress(state), **each}
        facts["bytes_up"] = report.n_bytes_out - (n - 1) * each["bytes_up"]
        if state.stop:
            facts["eta_s"] = 0.0
        elif self.rounds > 1:  # the first one also decodes: those after it are none of its like
            facts["eta_s"] = (now - self.began - self.first) / (self.rounds - 1) * max(expected - state.round, 0)
        self._tell(facts)

    def _tell(self, facts: dict[str, Any]) -> None:
        self.told = facts
        self.progress.round(facts)

    def slowest_splits(self, files: Sequence[File]) -> list[dict[str, Any]]:
        """The splits that took longest to map: round, split, rows, seconds and host."""
        told = []
        for split in self.slowest:
            (file, first), (other, last) = split["first"], split["last"]
            name = f"{files[file].name}, block {first}"
            if file != other:
                name += f" to {files[other].name}, block {last}"
            elif first != last:
                name = f"{files[file].name}, blocks {first} to {last}"
            kept = {key: split[key] for key in ("round", "rows", "host")}
            told.append({"split": name, **kept, "seconds": round(split["seconds"], 6)})
        return told

    def where_it_went(self, seconds: float) -> dict[str, float]:
        """Seconds of a run by phase; what no round took, such as looking at the files, is the driver's too."""
        tasks = {name: s for name, s in self.seconds_in.items() if name != "driver"}
        return rounded({**tasks, "driver": max(seconds - sum(tasks.values()), 0.0)})

    def _check(self, fingerprints: Mapping[str, list[str]]) -> None:
        if self.n_bad > self.config.max_bad_rows:
            finding = f"{self.n_bad} malformed row{'s' * (self.n_bad != 1)}, the limit is {self.config.max_bad_rows}"
            problems = self.counts["problems"]
            first = f"; the first: {problems[0]}" if problems else ""
            raise BadRows("data", finding + first, "raise --max-bad-rows, or fix the data")
        new = set(fingerprints) - set(self.fingerprints)
        self.fingerprints = merged_hosts(self.fingerprints, fingerprints)
        self._tell_unpinned(new)
        if len(self.fingerprints) > 1 and new:
            by = "; ".join(f"{p} on {', '.join(hosts)}" for p, hosts in self.fingerprints.items())
            finding = f"processes compute with different kernels: {by}"
            remedy = "use one build of NumPy everywhere"
            if self.strict:
                raise EngineError("round", finding, remedy)
            log.warning("%s; the model may differ in its last bits; %s", finding, remedy)

    def _tell_unpinned(self, fingerprints: Collection[str]) -> None:
        """Say which processes compute with whatever threads and instructions NumPy was loaded with."""
        hosts = [host for p in fingerprints if p.endswith("-unpinned") for host in self.fingerprints[p]]
        if not hosts:
            return
        finding = f"NumPy was loaded before mrml could pin its kernels, on {', '.join(sorted(set(hosts)))}"
        remedy = "run it by `mrml` or the classes of mrml, or export the variables of mrml.pin before Python starts"
        if self.strict:
            raise EngineError("round", finding, remedy)
        log.warning("%s; the model may differ in its last bits; %s", finding, remedy)


def rounded(phases: Mapping[str, float]) -> dict[str, float]:
    """To milliseconds."""
    return {name: round(seconds, 3) for name, seconds in phases.items()}
