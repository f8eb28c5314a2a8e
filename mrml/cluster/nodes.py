"""One JVM of a cluster, and the pair of them that stands for a machine, to be started, looked at and killed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mrml.cluster import oozie, processes, ready, settings
from mrml.cluster.processes import Container, Process
from mrml.cluster.settings import Ports

_HEAP_MB = {"namenode": 256, "datanode": 192, "resourcemanager": 384, "nodemanager": 256, "historyserver": 256,
            "oozie": 384}  # fmt: skip
_TROUBLE = re.compile(r"^\d\S+ \S+ (ERROR|FATAL) |Exiting with status [1-9]|^(Caused by: )?[\w.$]+(Exception|Error): ")


def mark(home: Path) -> str:
    """An argument on the command lines of the daemons of a folder and of no other process."""
    return f"-Dmrml.cluster={home}"


@dataclasses.dataclass
class Daemon:
    """One JVM; ``node`` counts from 1, 0 for the masters; ``process`` is None until it was started."""

    role: str
    node: int
    home: Path
    ports: Ports
    process: Process | None = None

    @property
    def name(self) -> str:
        return f"{self.role}{self.node or ''}"

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def is_ready(self) -> bool:
        return self.alive and ready.is_ready(self.role, self.node, self.ports)

    def start(self) -> None:
        """Begin the process; the log of the one before it becomes ``.log.old``."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        variables, conf, command = {}, settings.conf_folder(self.home, self.node), self.role
        if self.role == "oozie":
            variables = oozie.environment(self.home, self.ports)
            conf, command = oozie.home_of(self.home) / "conf", oozie.SERVER
        options = f"-Xmx{_HEAP_MB[self.role]}m {mark(self.home)} {variables.get('HADOOP_OPTS', '')}".strip()
        words = [f"HADOOP_OPTS={options}", f"HADOOP_CLASSPATH={variables.get('HADOOP_CLASSPATH', '')}"]
        script = ["env", *words, str(self.home / "bin/hadoop"), "--config", str(conf), command]
        self.process = processes.begin(script, self.log, self.home)

    def kill(self) -> None:
        """SIGKILL, as when the power fails."""
        if self.process is not None:
            processes.kill_all([self.process])

    def last_error(self) -> str:
        """The last line of its log that tells of an error; empty when there is none."""
        troubled = [line for line in self._lines() if _TROUBLE.search(line)]
        return " ".join(troubled[-1].split())[:300] if troubled else ""

    def last_words(self) -> str:
        """Why it ended, as far as its log tells."""
        return self.last_error() or " ".join((self._lines() or ["its log is empty"])[-1].split())[:300]

    def _lines(self) -> list[str]:
        try:
            return self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return []


@dataclasses.dataclass(frozen=True)
class Node:
    """A DataNode and a NodeManager that stand for one machine."""

    number: int
    datanode: Daemon
    nodemanager: Daemon

    @property
    def port(self) -> int:
        """What YARN's name of the node ends in: on one host, nodes differ in nothing else."""
        return self.nodemanager.ports("nodemanager", self.number)

    def containers(self) -> list[Container]:
        """The processes of its containers, also when the NodeManager is gone."""
        return processes.containers(settings.node_folder(self.datanode.home, self.number) / "local")

    def kill_containers(self) -> None:
        """SIGKILL to every process of every container, until there is none."""
        while found := self.containers():
            processes.kill_all([c.process for c in found])

    def kill_nodemanager(self, containers: bool = True) -> None:
        """SIGKILL; its containers would go on without it, so a machine that is lost takes them along."""
        self.nodemanager.kill()
        if containers:
            self.kill_containers()

    def kill_datanode(self) -> None:
        self.datanode.kill()

    def kill(self) -> None:
        """The machine is gone: DataNode, NodeManager and containers."""
        self.kill_datanode()
        self.kill_nodemanager()
