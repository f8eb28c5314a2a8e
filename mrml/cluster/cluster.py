"""A real Hadoop on this machine: every daemon a JVM of its own that speaks the real protocols on loopback.

::

    with Cluster.up(nodes=2, folder="cluster") as cluster:
        cluster.namenode_uri             # hdfs://127.0.0.1:PORT
        cluster.nodes[0].kill_nodemanager()
        cluster.heal()

One folder holds it all and is its HADOOP_HOME: ``bin/``, ``lib`` (a link to the fetched jars), ``conf/`` for clients
and masters, ``conf-node1/`` and so on, ``data/``, ``logs/`` with the containers' own in ``logs/userlogs/``, and
``cluster.json``, which records ports and processes and is written before the next daemon starts.  With Oozie
(``oozie=True``) its server is one more master.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrml.cluster import launcher, processes, ready, settings
from mrml.cluster import oozie as oozie_server
from mrml.cluster.jars import OOZIE, fetch_jars, find_java
from mrml.cluster.nodes import Daemon, Node, mark
from mrml.cluster.processes import Container, Process
from mrml.cluster.settings import Ports
from mrml.errors import ConfigError, EngineError

READY_LIMIT_S = 180.0
PATIENCE_S = 15.0
MOST_NODES = 9
_HDFS_FOLDERS = (("/tmp", "1777"), ("/tmp/hadoop-yarn/staging", "1777"), ("/user/{user}", "755"))
#: what neither XML, a file URL, a class path nor a comma-separated list of folders gives a meaning to
_PLAIN = re.compile(r"[\w/.+@=-]+")

log = logging.getLogger(__name__)


class Cluster:
    """A cluster as its folder records it; :meth:`up` and :meth:`open` make one."""

    def __init__(self, folder: Path, nodes: int, ports: Ports, java: Path, oozie: bool = False) -> None:
        self.folder, self.ports, self.java = folder, ports, java
        roles = ("namenode", "resourcemanager", "historyserver", *["oozie"] * oozie)
        self.masters = [Daemon(role, 0, folder, ports) for role in roles]
        self.nodes = [
            Node(i, Daemon("datanode", i, folder, ports), Daemon("nodemanager", i, folder, ports))
            for i in range(1, nodes + 1)
        ]

    @classmethod
    def up(
        cls,
        nodes: int | None = None,
        folder: str | Path = "cluster",
        *,
        cache: str | Path | None = None,
        java_home: str = "",
        port_base: int | None = None,
        more: Mapping[str, object] | None = None,
        oozie: bool = False,
        limit_s: float = READY_LIMIT_S,
    ) -> Cluster:
        """Start a cluster, or what is missing of one, and wait until it works.

        Parameters
        ----------
        nodes : DataNodes and NodeManagers; None for as many as the folder has, or two.
        cache : where the jars are or go; by default ``jars`` in the folder itself.
        java_home : by default the ``java`` on the PATH.
        port_base : the first of the ports; by default free ones are chosen.
        more : Hadoop properties that win over those of :mod:`mrml.cluster.settings`.
        oozie : with a server of Oozie; a folder that has one keeps it.
        """
        home = _checked(Path(folder).absolute(), nodes, port_base)
        home.mkdir(parents=True, exist_ok=True)
        jars = Path(cache or home / "jars")
        with _locked(home):
            before = cls._recorded(home)
            if before is not None and any(d.alive for d in before.daemons):
                cluster = before._complete(nodes, port_base, more or {})
            else:
                cluster = cls._new(home, before, nodes, jars, java_home, port_base, more)
            if oozie or cluster.has_oozie:
                _give_oozie(cluster, jars)
            cluster._start([d for d in cluster.daemons if not d.alive], limit_s)
            return cluster

    @classmethod
    def open(cls, folder: str | Path = "cluster") -> Cluster:
        """The cluster of a folder, running or not; EngineError when there never was one."""
        home = Path(folder).absolute()
        found = cls._recorded(home)
        if found is None:
            raise EngineError(str(home), "there is no cluster in this folder", "start one with `mrml cluster up`")
        return found

    @property
    def daemons(self) -> list[Daemon]:
        """All, in the order they start."""
        return [*self.masters, *(d for n in self.nodes for d in (n.datanode, n.nodemanager))]

    @property
    def home(self) -> Path:
        """HADOOP_HOME."""
        return self.folder

    @property
    def conf(self) -> Path:
        """HADOOP_CONF_DIR."""
        return settings.conf_folder(self.folder)

    @property
    def namenode_uri(self) -> str:
        return f"hdfs://{self.ports.address('namenode')}"

    @property
    def webhdfs(self) -> str:
        """As the ``hdfs`` package wants it."""
        return f"http://{self.ports.address('namenode-web')}"

    @property
    def resourcemanager_url(self) -> str:
        return f"http://{self.ports.address('resourcemanager-web')}"

    @property
    def history_url(self) -> str:
        return f"http://{self.ports.address('history-web')}"

    @property
    def has_oozie(self) -> bool:
        return self.masters[-1].role == "oozie"

    @property
    def oozie_url(self) -> str:
        """Of the server's REST interface; empty without one."""
        return oozie_server.url(self.ports) if self.has_oozie else ""

    def environment(self) -> dict[str, str]:
        """What a client needs; PATH is for its front."""
        return {
            "HADOOP_HOME": str(self.home),
            "HADOOP_CONF_DIR": str(self.conf),
            "JAVA_HOME": str(self.java.parents[1]),
            **({"OOZIE_URL": self.oozie_url} if self.has_oozie else {}),
            "PATH": str(self.home / "bin"),
        }

    def heal(self, limit_s: float = READY_LIMIT_S) -> None:
        """Start again what has died, and wait until everything works."""
        with _locked(self.folder):
            self._start([d for d in self.daemons if not d.alive], limit_s)

    def add_oozie(self, cache: str | Path, limit_s: float = READY_LIMIT_S) -> None:
        """Start a server of Oozie beside what runs."""
        with _locked(self.folder):
            _give_oozie(self, Path(cache))
            self._start([d for d in self.daemons if not d.alive], limit_s)

    def down(self, patience_s: float = PATIENCE_S) -> int:
        """End every process: containers with their NodeManagers; how many there were.  The data stays."""
        if not self.folder.exists():
            return 0
        with _locked(self.folder):
            return _end(self, patience_s)

    def containers(self) -> list[Container]:
        return [c for node in self.nodes for c in node.containers()]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.down()

    @classmethod
    def _recorded(cls, home: Path) -> Cluster | None:
        """What ``cluster.json`` says; None without one that can be read."""
        try:
            state = json.loads((home / "cluster.json").read_text())
            ports, java = Ports(state["port_base"]), Path(state["java"])
            found = cls(home, state["nodes"], ports, java, state.get("oozie", False))
            for daemon in found.daemons:
                if recorded := state["processes"].get(daemon.name):
                    daemon.process = Process(*recorded)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    @classmethod
    def _new(
        cls,
        home: Path,
        before: Cluster | None,
        nodes: int | None,
        cache: Path,
        java_home: str,
        port_base: int | None,
        more: Mapping[str, object] | None,
    ) -> Cluster:
        """A cluster of which nothing runs yet: its folders, its ports, its daemons."""
        kept = len(before.nodes) if before is not None else 0
        count = nodes or kept or 2
        if count < kept:
            finding = f"holds the data of {kept} nodes, and {count} may not have all of it"
            raise ConfigError(str(home), finding, "give as many, or remove the data with `mrml cluster down --delete`")
        java = find_java(java_home)
        jars = fetch_jars(cache)
        while strays := processes.marked(mark(home)):
            log.warning("ending %d processes that a cluster in %s left behind", len(strays), home)
            processes.kill_all(strays)
        oozie = before is not None and before.has_oozie
        cluster = cls(home, count, settings.choose_ports(home, count, port_base), java, oozie)
        (home / "logs").mkdir(exist_ok=True)
        launcher.write_launchers(home, java, jars)
        settings.write_conf(home, count, cluster.ports, more or {})
        return cluster

    def _complete(self, nodes: int | None, port_base: int | None, more: Mapping[str, object]) -> Cluster:
        """A cluster of which something runs, and may be what is asked for."""
        if nodes not in (None, len(self.nodes)):
            finding = f"runs with {len(self.nodes)} nodes, not {nodes}"
            raise ConfigError(str(self.folder), finding, "end it first with `mrml cluster down`")
        if port_base not in (None, self.ports.base):
            finding = f"runs on ports from {self.ports.base}, not {port_base}"
            raise ConfigError(str(self.folder), finding, "end it first with `mrml cluster down`")
        has = settings.in_effect(self.folder) if more else {}
        for key, value in ((k, settings.text(v)) for k, v in more.items()):
            if has.get(key) != value:
                finding = f"runs with {key}={has[key]}, not {value}" if key in has else f"runs without {key}={value}"
                raise ConfigError(str(self.folder), finding, "end it first with `mrml cluster down`")
        missing = [d for d in self.daemons if not d.alive]
        if not missing:
            log.info("the cluster in %s is up already", self.folder)
        else:
            log.info("starting again: %s", ", ".join(d.name for d in missing))
        return self

    def _start(self, daemons: Sequence[Daemon], limit_s: float) -> None:
        """Start and wait; when one fails or the user has enough, end again what this started."""
        for daemon in daemons:
            daemon.process = None  # of the one that died: what waits below is not told of it
        settings.refuse_taken(p for d in daemons for p in self.ports.of(d.role, d.node))
        for node in self.nodes:
            if node.nodemanager in daemons:
                node.kill_containers()  # of the NodeManager before this one, which knows nothing of them
        try:
            if not (self.folder / "data/namenode/current/VERSION").exists():
                _format(self)
            until = time.monotonic() + limit_s
            # a JobHistoryServer without HDFS sleeps for 10 s before it looks again; Oozie reads its sharelib once
            late = [d for d in daemons if d.role in ("historyserver", "oozie")]
            self._begin([d for d in daemons if d not in late])
            if any(d.role == "oozie" for d in late):
                oozie_server.make_schema(self.folder, self.ports)
            _wait(self, [d for d in self.daemons if d.role in ("namenode", "datanode")], until)
            _make_folders(self)
            self._begin(late)
            _wait(self, self.daemons, until)
        except BaseException:
            processes.end([d.process for d in daemons if d.process], PATIENCE_S)
            self._record()
            raise

    def _begin(self, daemons: Sequence[Daemon]) -> None:
        for daemon in daemons:
            daemon.start()
            self._record()

    def _record(self) -> None:
        """Write ``cluster.json`` in one step."""
        state: dict[str, Any] = {
            "nodes": len(self.nodes),
            "port_base": self.ports.base,
            "java": str(self.java),
            "oozie": self.has_oozie,
            "processes": {d.name: d.process for d in self.daemons if d.process},
        }
        aside = self.folder / ".cluster.json"
        aside.write_text(json.dumps(state, indent=1))
        aside.replace(self.folder / "cluster.json")


def _give_oozie(cluster: Cluster, jars: Path) -> None:
    """Everything that a server of Oozie needs; one that runs is left alone."""
    if not cluster.has_oozie:
        cluster.masters.append(Daemon("oozie", 0, cluster.folder, cluster.ports))
    if not cluster.masters[-1].alive:
        oozie_server.write_home(cluster.folder, cluster.ports, fetch_jars(jars, OOZIE))


def _wait(cluster: Cluster, waiting: Sequence[Daemon], until: float) -> None:
    """Until these daemons work; EngineError when any that was started dies, or one is not ready in time."""
    while waiting:
        for daemon in cluster.daemons:
            if daemon.process is not None and not daemon.alive:
                finding = f"died as it started: {daemon.last_words()}"
                raise EngineError(daemon.name, finding, f"see {daemon.log}")
        waiting = [d for d in waiting if not d.is_ready()]
        if waiting and time.monotonic() > until:
            finding = f"not ready in time: {waiting[0].last_words()}"
            raise EngineError(", ".join(d.name for d in waiting), finding, f"see {waiting[0].log}")
        time.sleep(0.1 if waiting else 0)


def _end(cluster: Cluster, patience_s: float) -> int:
    """NodeManagers first, because one signs off, and without a ResourceManager it tries to for 30 s.

    With a container it takes 15 s to end by itself; it keeps nothing that a SIGKILL could spoil.
    """
    running = [d for d in cluster.daemons if d.process is not None and d.alive]
    workers = [d for d in running if d.role == "nodemanager"]
    processes.end([d.process for d in workers if d.process], min(patience_s, 3.0))
    processes.end([d.process for d in running if d.process and d not in workers], patience_s)
    left = len(running)
    while strays := processes.marked(mark(cluster.folder)):  # what they started as they ended, too
        processes.end(strays, patience_s)
        left += len(strays)
    for node in cluster.nodes:
        left += len(node.containers())
        node.kill_containers()
    for daemon in cluster.daemons:
        daemon.process = None
    cluster._record()
    return left


def _make_folders(cluster: Cluster) -> None:
    """What has to be on HDFS before anybody works there."""
    user = getpass.getuser()
    for path, mode in _HDFS_FOLDERS:
        if not ready.make_folder(cluster.ports, path.format(user=user), user, mode):
            raise EngineError(cluster.webhdfs, f"cannot make {path}", f"see {cluster.masters[0].log}")
    if cluster.has_oozie and not cluster.masters[-1].alive:
        oozie_server.put_shared(cluster.folder, cluster.ports)


def _format(cluster: Cluster) -> None:
    """An empty file system."""
    command = [str(cluster.home / "bin/hdfs"), "--config", str(cluster.conf), "namenode"]
    arguments = ["-format", "-force", "-nonInteractive"]
    said = cluster.folder / "logs" / "format.log"
    with said.open("w") as out:
        done = subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if done.returncode:
        last = (said.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError("namenode -format", f"failed: {last[:300]}", f"see {said}")


def delete(folder: str | Path) -> None:
    """Remove what a cluster that is down left in its folder; the jars stay when they lie elsewhere."""
    home = Path(folder).absolute()
    if not (home / "cluster.json").exists():
        raise EngineError(str(home), "there is no cluster in this folder", "nothing was removed")
    shutil.rmtree(home)


def _checked(home: Path, nodes: int | None, port_base: int | None) -> Path:
    if nodes is not None and not 1 <= nodes <= MOST_NODES:
        raise ConfigError("--nodes", f"{nodes} is out of bounds", f"it must be at least 1 and at most {MOST_NODES}")
    highest = 65535 - 10 * (MOST_NODES + 1)
    if port_base is not None and not 1024 <= port_base <= highest:
        raise ConfigError(
            "--port-base", f"{port_base} is out of bounds", f"it must be at least 1024, at most {highest}"
        )
    if not _PLAIN.fullmatch(str(home)):
        remedy = "choose a folder whose path has letters, digits and / . _ + @ = - only"
        raise ConfigError(str(home), "holds a character that Hadoop's settings cannot carry", remedy)
    return home


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One command at a time works on a folder."""
    with (home / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            finding = "another mrml cluster command works on this folder"
            raise EngineError(str(home), finding, "wait until it is done") from error
        yield
