"""Rounds over tasks that stay for a whole run: one job of YARN, or processes of this machine, that dial the driver.

They serve the same rounds as the workers of the local engine do, over sockets: the State goes down, of it only what
changed, and Statistics come up.  It is no gang that must be complete: a round is done by whoever is there, a task that
is lost is a split done again, and one that comes late takes splits over.  Without any task the run goes on by jobs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import select
import selectors
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mrml import pin, wire
from mrml.algorithm import Algorithm, State, Value
from mrml.config.sections import EngineConfig
from mrml.data.dataset import Dataset
from mrml.data.shards import Reads
from mrml.engines import scratch
from mrml.engines.base import Engine, useful_workers
from mrml.engines.local.serving import HEAR_S, Peer, Serving, Tasks
from mrml.engines.resident.connection import Connection
from mrml.engines.resident.intake import Intake
from mrml.engines.resident.listener import Listener
from mrml.engines.resident.near import Held, Hosts, deal, holders
from mrml.engines.resident.starters import NoTasks, Processes, Starter
from mrml.engines.task import Report
from mrml.engines.write import Scoring
from mrml.errors import ConfigError, EngineError
from mrml.model import Model, carried

log = logging.getLogger(__name__)


#: how long after its start a driver of whom no task has been heard says so; a task is 7 s of Java starting
UNHEARD_S = 30.0


class ResidentEngine(Serving):
    """Tasks that stay, as the section ``engine`` of a run says."""

    name = "resident"

    def __init__(self, config: EngineConfig, split_bytes: int = 64 << 20) -> None:
        on_yarn = config.runner == "hadoop"
        if config.runner == "inline":
            raise ConfigError("engine, runner", "the inline runner has no resident tasks", "say -r local, or -r hadoop")
        n_workers = config.workers or pin.cores() if on_yarn else useful_workers(config.workers)
        super().__init__(n_workers, split_bytes)
        if config.min_workers > self.n_workers:
            finding = f"{config.min_workers} are more than the {self.n_workers} that are asked for"
            raise ConfigError("engine, min_workers", finding, "raise --workers")
        self.config = config
        self._folder = scratch.make(config.cache_dir)
        self.starter: Starter = self._starter(on_yarn)
        self._intake = Intake(self._folder)
        self._numbers = 0
        self._stores: dict[int, str] = {}
        self._listener: Listener | None = None
        self.secret = b""
        self._fallback: Engine | None = None
        self._began = False
        self._alone_until = self._checked = 0.0
        self._n_released = 0
        #: what a round reads; by datasets which hosts hold what, and by how they are cut who is near to a split
        self._reads: tuple[Dataset, Reads] | None = None
        self._held: dict[int, Sequence[Sequence[Held]]] = {}
        self._near: dict[Any, list[Hosts]] = {}
        if not on_yarn:
            self._have_started()

    def _starter(self, on_yarn: bool) -> Starter:
        if not on_yarn:
            return Processes(self.n_workers, self.split_bytes, self._folder)
        from mrml.engines.hadoop.resident import Containers

        return Containers(self.config, self.n_workers, self.split_bytes)

    def attach(self, run_id: str, output: str = "") -> None:
        self.starter.attach(run_id, output)
        self._have_started()

    def _have_started(self) -> None:
        """Listen, and have tasks started, once."""
        if self._listener is None:
            host = self.config.driver_host or self.starter.host
            self.secret = self.starter.secret()
            self._listener = Listener(host, self.config.driver_ports, self.secret)
            self.starter.start(self._listener.port, self.secret, self.config.heartbeat_timeout_s / 8)

    # ---- rounds

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        if self._fallback is None:
            self._reads = dataset, algorithm.reads(state)
            try:
                return super().round(algorithm, state, dataset)
            except NoTasks as none:
                self._fall_back(none)
            finally:
                self._intake.forget()
        assert self._fallback is not None
        try:
            return self._fallback.round(algorithm, state, dataset)
        finally:
            self.report = self._fallback.report

    def ahead(self, algorithm: Algorithm, state: State, dataset: Dataset) -> State | None:
        if self._fallback is None:
            try:
                return super().ahead(algorithm, state, dataset)
            except NoTasks as none:
                self._fall_back(none)
        return None

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        if self._fallback is None:
            self._reads = dataset, Reads()
            try:
                return self.starter.written(scoring, lambda to: super(ResidentEngine, self).write(model, dataset, to))
            except NoTasks as none:
                self._fall_back(none)
        assert self._fallback is not None
        self.report = self._fallback.write(model, dataset, scoring)
        return self.report

    def _fall_back(self, none: NoTasks) -> None:
        if self.config.fallback == "none":
            raise EngineError("resident tasks", str(none), "fix what it says, or use --fallback streaming") from none
        log.warning("there are no resident tasks: %s; the run continues with a job per round", none)
        self._fallback = self.starter.fallback()

    def members(self) -> list[dict[str, Any]]:
        """Of each task where it is, its splits, the rows that it read and the bytes that it sent in the last round, its
        seconds of reading and computing there, and how long it has been silent."""
        found, owned = [], Counter(self._owners.get("map", {}).values())
        for peer in self.peers if self._fallback is None else ():
            assert isinstance(peer, Connection)
            did = self.did.get(peer.number, Report())
            where = {name: peer.facts.get(name) for name in ("host", "pid", "container")}
            told: dict[str, float] = {"splits": owned[peer.number], "rows": did.n_rows, "bytes_up": did.n_bytes_out}
            told |= {
                "busy_s": round(did.seconds.get("map", 0.0), 3),
                "silent_s": round(time.monotonic() - peer.heard, 1),
            }
            found.append({"worker": peer.number, **where, **told})
        return found

    def place(self, number: int) -> dict[str, Any]:
        if number not in self._stores:
            # by what is in it: tasks may have blocks of a driver before this one, which had numbers of its own
            told = zlib.crc32(json.dumps(self._told[number], sort_keys=True).encode())
            self._stores[number] = f"{told:08x}"
        return {"path": [], "store": self._stores[number], "spill": ""}

    def told_model(self, model: Model) -> Any:
        return carried(model)

    def _run(self, op: str, n_tasks: int) -> list[dict[str, Any]]:
        self._have_started()
        self._gather()
        for peer in self.peers:  # what was said while nobody listened
            assert isinstance(peer, Connection)
            peer.heard = time.monotonic()
        self._deal(op)
        answers = super()._run(op, n_tasks)
        self._release()
        return answers

    def _deal(self, op: str) -> None:
        """Splits that nobody has done go to tasks on the hosts that hold them."""
        assert self._reads is not None
        dataset, reads = self._reads
        number, split_bytes = self._number(dataset), self._context["dataset"].message["split_bytes"]
        if (cut := (number, split_bytes, reads)) not in self._near:
            if number not in self._held:
                self._held[number] = self.starter.places(dataset)
            held = self._held[number]
            self._near[cut] = holders(dataset, dataset.splits(split_bytes, reads), held) if any(held) else []
        near = self._near[cut]
        share = -(-len(near) // max(self.n_workers, len(self.peers), 1))
        there = {peer.number: peer.hosts for peer in self.peers if isinstance(peer, Connection)}
        deal(self._owners.setdefault(op, {}), near, there, share)

    def _release(self) -> None:
        """Let go of tasks for which there has been no split for long, but for one: others may use their containers."""
        now = time.monotonic()
        for peer in tuple(self.peers):
            assert isinstance(peer, Connection)
            if peer.number in self.did:
                peer.busy = now
            elif now - peer.busy > self.config.idle_release_s and len(self.peers) > 1:
                log.info(
                    "worker %d had no split for %.0f s: it is let go (%s)", peer.number, now - peer.busy, peer.where
                )
                _let_go(peer)
                peer.end()
                self.peers.remove(peer)
                self._n_released += 1

    def _gather(self) -> None:
        """Before the first round, wait for as many tasks as it takes."""
        assert self._listener is not None
        until, called = time.monotonic() + self.config.max_wait_s, select.poll()
        telling = time.monotonic() + UNHEARD_S
        called.register(self._listener.wake, select.POLLIN)
        while not self._began:
            self._welcome()
            if len(self.peers) >= self.config.min_workers:
                self._began = True
                return
            self._expect(until, self.config.min_workers)
            called.poll(1000 * HEAR_S)
            if not self.peers and time.monotonic() > telling:
                telling += UNHEARD_S
                self._tell_of_the_way()

    def _tell_of_the_way(self) -> None:
        """A word where tasks run and none comes here."""
        if (n := self.starter.n_running()) and self._listener is not None:
            at = f"{self.config.driver_host or self.starter.host}:{self._listener.port}"
            remedy = "open the ports of --driver-ports A-B in the firewall, or give another --driver-host"
            log.warning("of %d tasks that run none has come to %s: %s", n, at, remedy)

    def _expect(self, until: float, n: int) -> None:
        """NoTasks where they do not come."""
        self.starter.check()
        if time.monotonic() > until:
            came = f"{len(self.peers)} of {n} tasks came" if self.peers else "no task came"
            raise NoTasks(f"{came} within {self.config.max_wait_s:.0f} s")

    def _welcome(self) -> list[Connection]:
        """Take in who has joined."""
        assert self._listener is not None
        found = []
        for sock, facts in self._listener.joined():
            peer = Connection(self._numbers, sock, facts, self.config.heartbeat_timeout_s, self._intake)
            log.info("worker %d is there: %s", peer.number, peer.where)
            self._numbers += 1
            self.peers.append(peer)
            found.append(peer)
        return found

    def watched(self, selector: selectors.BaseSelector, tasks: Tasks) -> None:
        assert self._listener is not None
        with contextlib.suppress(KeyError):  # it is there already
            selector.register(self._listener.wake, selectors.EVENT_READ, None)
        for peer in self._welcome():
            selector.register(peer, selectors.EVENT_READ, peer)
        now = time.monotonic()
        if self.peers:
            self._alone_until = now + self.config.max_wait_s
        for peer in [p for p in self.peers if isinstance(p, Connection)]:
            if now - peer.heard > self.config.heartbeat_timeout_s:
                peer.how_it_ended = f"silent for {now - peer.heard:.0f} s"
                self._lose(peer, selector, tasks)
        if not self.peers:
            self._expect(self._alone_until, 1)
        elif now - self._checked > HEAR_S:
            self._checked = now
            with contextlib.suppress(NoTasks):  # those who are there are enough
                self.starter.check()

    def close(self) -> None:
        peers, self.peers, listener, self._listener = self.peers, [], self._listener, None
        for peer in peers:
            _let_go(peer)
        if listener is not None:
            listener.close()
        if self._fallback is not None:
            self._fallback.close()
        self.starter.end(len(peers) + self._n_released)
        for peer in peers:
            peer.end()
        scratch.remove(self._folder)


def _let_go(peer: Peer) -> None:
    """Tell a task that there is nothing more to do."""
    with contextlib.suppress(OSError):
        peer.put(wire.dumps({"op": "end"}))
        peer.flush()
