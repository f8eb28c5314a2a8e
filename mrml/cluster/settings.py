"""The configuration files of a cluster on one machine, and its ports.

Why a value is not Hadoop's default: everything stays on loopback; several nodes share one host; heaps are small (two
nodes fit into 24 GB with room for what runs beside them); intervals are short, so that a job of some seconds is not
mostly waiting, and so that a lost node is noticed in seconds.  Keys and defaults: core-, hdfs-, yarn- and
mapred-default.xml of Hadoop 3.5.0.
"""

from __future__ import annotations

import errno
import getpass
import socket
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from mrml.cluster.launcher import JAVA_FLAGS
from mrml.errors import ConfigError

HOST = "127.0.0.1"
NODE_MB = 6144
#: below the range that systems take the ports of outgoing connections from (32768 and up on Linux)
_LOWEST, _HIGHEST, _STEP = 20000, 32000, 100
_MASTER = ("namenode", "namenode-web", "resourcemanager", "scheduler", "tracker", "rm-admin", "resourcemanager-web",
           "history", "history-web", "history-admin")  # fmt: skip
_NODE = ("datanode", "datanode-web", "datanode-ipc", "nodemanager", "localizer", "nodemanager-web", "shuffle")
_NODE_STEP = 10
#: behind those of the ninth node
_BESIDE = {"oozie": 99, "mail": 98}

Values = Mapping[str, object]


class Ports(NamedTuple):
    """Consecutive ports from ``base``: ten of the masters, ten of each node, not all used; last, what stands beside."""

    base: int

    def __call__(self, role: str, node: int = 0) -> int:
        """The port of a role; ``node`` counts from 1, 0 for the masters."""
        if role in _BESIDE:
            return self.base + _BESIDE[role]
        names = _NODE if node else _MASTER
        return self.base + _NODE_STEP * node + names.index(role)

    def address(self, role: str, node: int = 0) -> str:
        return f"{HOST}:{self(role, node)}"

    def of(self, role: str, node: int) -> list[int]:
        """The ports that a daemon listens on."""
        names: dict[str, tuple[str, ...]] = {
            "namenode": ("namenode", "namenode-web"),
            "datanode": _NODE[:3],
            "nodemanager": _NODE[3:],
            "resourcemanager": ("resourcemanager", "scheduler", "tracker", "rm-admin", "resourcemanager-web"),
            "historyserver": ("history", "history-web", "history-admin"),
            "oozie": ("oozie",),
        }
        return [self(name, node) for name in names[role]]

    def every(self, nodes: int) -> list[int]:
        masters = [self(name) for name in (*_MASTER, *_BESIDE)]
        return masters + [self(name, i) for i in range(1, nodes + 1) for name in _NODE]


def choose_ports(folder: Path, nodes: int, base: int | None = None) -> Ports:
    """Free ports: from ``base`` on where it is given, else a range that depends on the folder.

    So a cluster mostly gets the ports it had before, and two that start at once get different ones.
    """
    if base is not None:
        refuse_taken(Ports(base).every(nodes))
        return Ports(base)
    count = (_HIGHEST - _LOWEST) // _STEP
    first = zlib.crc32(str(folder).encode()) % count
    for i in range(count):
        ports = Ports(_LOWEST + _STEP * ((first + i) % count))
        if all(is_free(port) for port in ports.every(nodes)):
            return ports
    raise ConfigError("ports", f"no free range between {_LOWEST} and {_HIGHEST}", "name one with --port-base")


def refuse_taken(ports: Iterable[int]) -> None:
    for port in ports:
        if not is_free(port):
            finding = f"port {port} on {HOST} is taken"
            raise ConfigError("--port-base", finding, "stop what listens there, or leave --port-base out")


def is_free(port: int) -> bool:
    """Whether something could listen on a port of this host."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java's servers do
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def node_folder(home: Path, node: int) -> Path:
    return home / "data" / f"node{node}"


def conf_folder(home: Path, node: int = 0) -> Path:
    """``conf`` for clients and masters, ``conf-node1`` and so on for what runs on a node."""
    return home / (f"conf-node{node}" if node else "conf")


def write_conf(home: Path, nodes: int, ports: Ports, more: Values) -> None:
    """All configuration folders; ``more`` goes into every file, so it wins over what stands here."""
    for node in range(nodes + 1):
        folder = conf_folder(home, node)
        # the jars from Maven hold no web pages, and NameNode and DataNode do not start without these folders
        for role in ("hdfs", "datanode", "secondary"):
            (folder / "webapps" / role).mkdir(parents=True, exist_ok=True)
        files = {
            "core-site.xml": _core(home, ports),
            "hdfs-site.xml": _hdfs(home, nodes, ports),
            "yarn-site.xml": _yarn(home, ports),
            "mapred-site.xml": _mapred(home, ports),
            "capacity-scheduler.xml": _SCHEDULER,
        }
        own = _node(home, node, ports) if node else {}
        for name, values in files.items():
            (folder / name).write_text(xml({**values, **own.get(name, {}), **more}))
        (folder / "log4j.properties").write_text(LOG4J)


def in_effect(home: Path) -> dict[str, str]:
    """The properties of clients and masters, of all their files; of nodes a few differ."""
    found: dict[str, str] = {}
    for path in sorted(conf_folder(home).glob("*.xml")):
        for item in ElementTree.parse(path).getroot().iter("property"):
            found[item.findtext("name", "")] = item.findtext("value") or ""
    return found


def xml(values: Values) -> str:
    """A file of Hadoop's settings."""
    lines = [
        f"  <property><name>{escape(key)}</name><value>{escape(text(value))}</value></property>"
        for key, value in values.items()
    ]
    return "\n".join(['<?xml version="1.0"?>', "<configuration>", *lines, "</configuration>", ""])


def text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _core(home: Path, ports: Ports) -> Values:
    return {
        "fs.defaultFS": f"hdfs://{ports.address('namenode')}",
        "hadoop.tmp.dir": home / "tmp",
        "hadoop.http.staticuser.user": getpass.getuser(),
        # Oozie's server submits for others, itself among them, and the daemons read this once
        f"hadoop.proxyuser.{getpass.getuser()}.hosts": "*",
        f"hadoop.proxyuser.{getpass.getuser()}.groups": "*",
        "io.file.buffer.size": 131072,
        "ipc.client.connect.max.retries": 3,
    }


def _hdfs(home: Path, nodes: int, ports: Ports) -> Values:
    return {
        "dfs.replication": min(nodes, 2),
        "dfs.namenode.name.dir": f"file://{home}/data/namenode",
        "dfs.namenode.http-address": ports.address("namenode-web"),
        "dfs.namenode.datanode.registration.ip-hostname-check": False,
        "dfs.namenode.safemode.extension": 0,
        "dfs.namenode.resource.du.reserved": 0,
        # small blocks, so that small files have several; a multiple of mrml's 4 MiB windows
        "dfs.blocksize": 16 << 20,
        "dfs.namenode.fs-limits.min-block-size": 4096,
        # a DataNode is dead 2 * 2 s + 10 * 1 s after its last sign, not 630 s
        "dfs.heartbeat.interval": 1,
        "dfs.namenode.heartbeat.recheck-interval": 2000,
        "dfs.datanode.hostname": HOST,
        # with two DataNodes there is no third one to go on with
        "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
    }


def _yarn(home: Path, ports: Ports) -> Values:
    return {
        "yarn.resourcemanager.hostname": HOST,
        "yarn.resourcemanager.address": ports.address("resourcemanager"),
        "yarn.resourcemanager.scheduler.address": ports.address("scheduler"),
        "yarn.resourcemanager.resource-tracker.address": ports.address("tracker"),
        "yarn.resourcemanager.admin.address": ports.address("rm-admin"),
        "yarn.resourcemanager.webapp.address": ports.address("resourcemanager-web"),
        "yarn.nodemanager.aux-services": "mapreduce_shuffle",
        "yarn.nodemanager.resource.memory-mb": NODE_MB,
        "yarn.nodemanager.resource.cpu-vcores": 4,
        "yarn.scheduler.minimum-allocation-mb": 128,
        "yarn.scheduler.maximum-allocation-mb": NODE_MB,
        "yarn.nodemanager.vmem-check-enabled": False,
        # true, the default, leaves it to cgroups, and without those a container may take any memory
        "yarn.nodemanager.resource.memory.enforced": False,
        # where mrjob looks for tracebacks; ids of containers are unique, so the nodes share it
        "yarn.nodemanager.log-dirs": home / "logs" / "userlogs",
        "yarn.log.server.url": f"http://{ports.address('history-web')}/jobhistory/logs",
        # the default, 90, makes a node with a full disk refuse all work
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.5",
        "yarn.application.classpath": conf_folder(home),
        "yarn.resourcemanager.connect.max-wait.ms": 20000,
        "yarn.resourcemanager.connect.retry-interval.ms": 1000,
        # a lost node is noticed in seconds, not ten minutes, and with it the containers there
        "yarn.nm.liveness-monitor.expiry-interval-ms": 10000,
        # of the masters only one that hangs: a machine that is busy or sleeps was seen to hold one up for 20 s
        "yarn.am.liveness-monitor.expiry-interval-ms": 120000,
        # 180 s by default: so long an application master waits to stop a container on a node that is gone
        "yarn.client.nodemanager-connect.max-wait-ms": 5000,
        "yarn.client.nodemanager-connect.retry-interval-ms": 500,
        "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": 100,
        "yarn.client.application-client-protocol.poll-interval-ms": 50,
        "yarn.nodemanager.sleep-delay-before-sigkill.ms": 50,
    }


def _mapred(home: Path, ports: Ports) -> Values:
    task_mb, task_opts = 768, f"-Xmx256m {JAVA_FLAGS}"
    return {
        "mapreduce.framework.name": "yarn",
        "mapreduce.application.classpath": f"{conf_folder(home)},{home}/lib/*",
        "mapreduce.jobhistory.address": ports.address("history"),
        "mapreduce.jobhistory.webapp.address": ports.address("history-web"),
        "mapreduce.jobhistory.admin.address": ports.address("history-admin"),
        "yarn.app.mapreduce.am.resource.mb": 512,
        "yarn.app.mapreduce.am.command-opts": f"-Xmx384m {JAVA_FLAGS}",
        "yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms": 100,
        # without -Xmx the JVM takes 80 % of the container, and Python shares the rest
        "mapreduce.map.memory.mb": task_mb,
        "mapreduce.map.java.opts": task_opts,
        "mapreduce.reduce.memory.mb": task_mb,
        "mapreduce.reduce.java.opts": task_opts,
        "mapreduce.task.io.sort.mb": 64,
        "mapreduce.map.speculative": False,
        "mapreduce.reduce.speculative": False,
        "mapreduce.job.reduce.slowstart.completedmaps": "1.0",
        "mapreduce.job.counters.max": 500,
        "mapreduce.jvm.add-opens-as-default": True,
        "mapreduce.client.progressmonitor.pollinterval": 100,
        "mapreduce.client.completion.pollinterval": 100,
        "mapreduce.client.submit.file.replication": 1,
    }


def _node(home: Path, node: int, ports: Ports) -> dict[str, Values]:
    """What differs from node to node, by file."""
    return {
        "hdfs-site.xml": {
            "dfs.datanode.data.dir": f"file://{node_folder(home, node)}/hdfs",
            "dfs.datanode.address": ports.address("datanode", node),
            "dfs.datanode.http.address": ports.address("datanode-web", node),
            "dfs.datanode.ipc.address": ports.address("datanode-ipc", node),
        },
        "yarn-site.xml": {
            "yarn.nodemanager.hostname": HOST,
            "yarn.nodemanager.address": ports.address("nodemanager", node),
            "yarn.nodemanager.localizer.address": ports.address("localizer", node),
            "yarn.nodemanager.webapp.address": ports.address("nodemanager-web", node),
            "yarn.nodemanager.local-dirs": node_folder(home, node) / "local",
        },
        "mapred-site.xml": {"mapreduce.shuffle.port": ports("shuffle", node)},
    }


_SCHEDULER: Values = {
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": 100,
    # a finished application master keeps its container for 5 s: at the default, 0.1, the next job would wait for it
    "yarn.scheduler.capacity.maximum-am-resource-percent": "1.0",
    "yarn.scheduler.capacity.node-locality-delay": 1,
    "yarn.scheduler.capacity.schedule-asynchronously.enable": True,
}

LOG4J = """\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
log4j.logger.http.requests=WARN
"""
