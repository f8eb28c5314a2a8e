"""The checks of `mrml doctor -r hadoop`: clients, HDFS, YARN, and the Python of the nodes.

Floor 4.  Of HDFS it asks through the file system that runs use, and the NameNode's web address for quota and free
space; of YARN the ResourceManager's REST interface; of the nodes one job.
"""

from __future__ import annotations

import json
import math
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from mrml.config.sections import EngineConfig
from mrml.engines.hadoop.engine import find_hadoop, find_streaming_jar
from mrml.engines.hadoop.environment import shipped
from mrml.engines.hadoop.limits import queues
from mrml.engines.hadoop.probe import Probe, Told, source_digest
from mrml.engines.hadoop.resident import reaching
from mrml.engines.hadoop.yarn import ResourceManager, configuration, home
from mrml.engines.resident.listener import bound
from mrml.errors import ConfigError, EngineError
from mrml.fs.folder import Folder
from mrml.kernels.fingerprint import fingerprint
from mrml.tools.doctor.findings import FAIL, GIB, OK, WARN, Check, Finding, gib, timed
from mrml.tools.doctor.machine import java_version
from mrml.version import PACKAGE, __version__

TIMEOUT_S = 10.0
#: seconds of a NameNode's answer that slow every round
SLOW_S = 1.0
#: what a task needs beside its Java process: NumPy and pyarrow, a block's text and its decoded arrays
TASK_MB = 512
#: tasks of the probe: enough that every node of a small cluster gets one
MAX_TASKS = 8


def checks(engine: EngineConfig) -> list[tuple[str, Check]]:
    """In the order in which a run meets them; after a configuration that is not there, nothing can be asked."""
    first: list[tuple[str, Check]] = [("java", java_version), ("hadoop client", client)]
    try:
        cluster = Cluster(engine, configuration())
    except (ConfigError, OSError) as error:
        finding = error
        return [*first, ("configuration", lambda: _raise(finding))]
    return [
        *first,
        ("configuration", cluster.configured),
        ("namenode", cluster.namenode),
        ("hdfs space", cluster.space),
        ("resourcemanager", cluster.resourcemanager),
        ("queue", cluster.queue),
        ("memory", cluster.memory),
        ("nodes", cluster.nodes),
    ]


def _raise(error: Exception) -> Finding:
    raise error


def client() -> Finding:
    """The command that submits, and the streaming jar."""
    command = find_hadoop()
    return Finding(OK, "hadoop client", f"{command}, {Path(find_streaming_jar()).name}")


class Cluster:
    """The checks of one cluster; ``keys`` are the properties of its configuration."""

    def __init__(self, engine: EngineConfig, keys: dict[str, str]) -> None:
        self.engine, self.jobconf = engine, engine.properties()
        self.keys = {**keys, **self.jobconf}
        self.manager = ResourceManager.of(keys)
        self.has_hdfs = self.has_yarn = False

    def configured(self) -> Finding:
        return Finding(OK, "configuration", f"{self.keys.get('fs.defaultFS')}, ResourceManager {self.manager.url}")

    # ---- HDFS

    def namenode(self) -> Finding:
        """By its port first, so that a NameNode that is down costs no long wait."""
        folder = home(self.keys)
        address = urllib.parse.urlsplit(folder)
        if address.port is not None:
            try:
                socket.create_connection((str(address.hostname), address.port), TIMEOUT_S).close()
            except OSError as error:
                text = f"{address.netloc} cannot be reached: {error}"
                return Finding(FAIL, "namenode", text, "is HDFS up, and fs.defaultFS in HADOOP_CONF_DIR right?")
        _, seconds = timed(Folder(folder).make)
        self.has_hdfs = True
        level, remedy = (WARN, "rounds will wait for it; is it overloaded?") if seconds > SLOW_S else (OK, "")
        return Finding(level, "namenode", f"{address.netloc} answers in {seconds:.2f} s; {folder} can be made", remedy)

    def space(self) -> list[Finding]:
        """Free bytes of HDFS, and what the quota of the user's folder leaves."""
        if not self.has_hdfs:
            return []
        web = self._web()
        if web is None:
            return [
                Finding(WARN, "hdfs space", "the NameNode's web address is not known", "set dfs.namenode.http-address")
            ]
        try:
            beans = get(f"{web}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystem")["beans"]
            path = urllib.parse.quote(urllib.parse.urlsplit(home(self.keys)).path.rpartition("/")[0])
            found = get(f"{web}/webhdfs/v1{path}?op=GETCONTENTSUMMARY")["ContentSummary"]
        except (OSError, ValueError, KeyError) as error:
            return [Finding(WARN, "hdfs space", f"{web} does not tell: {error}", "ask `hdfs dfs -df` and `-count -q`")]
        free = int(beans[0]["CapacityRemaining"]) if beans else 0
        level, remedy = (OK, "") if free > 10 * GIB else (WARN, "remove what is not needed, or ask for more")
        return [Finding(level, "hdfs space", f"{gib(free)} free", remedy), quota(path, found)]

    def _web(self) -> str | None:
        """With high availability, or without a key, the first address that is named."""
        named = sorted(k for k in self.keys if k.startswith("dfs.namenode.http-address"))
        return f"http://{self.keys[named[0]]}" if named else None

    # ---- YARN

    def resourcemanager(self) -> Finding:
        metrics, seconds = timed(self.manager.metrics)
        self.has_yarn = True
        nodes, lost = int(metrics.get("activeNodes", 0)), int(metrics.get("unhealthyNodes", 0))
        text = f"answers in {seconds:.2f} s; {nodes} nodes"
        if not nodes:
            return Finding(FAIL, "resourcemanager", text, "start NodeManagers, or look at their health")
        if lost:
            return Finding(WARN, "resourcemanager", f"{text}, {lost} unhealthy", "their disks may be full")
        return Finding(OK, "resourcemanager", text)

    def queue(self) -> list[Finding]:
        """It exists, is open, and what share of the cluster it may take."""
        if not self.has_yarn:
            return []
        name = self.engine.queue or self.keys.get("mapreduce.job.queuename", "default")
        known = list(queues(self.manager.scheduler()))
        found = next((q for q in known if name in (q.get("queueName"), q.get("queuePath"))), None)
        if found is None:
            names = ", ".join(sorted({str(q["queueName"]) for q in known if not q.get("queues")})) or "none"
            return [Finding(FAIL, "queue", f"{name!r} does not exist", f"give --queue one of: {names}")]
        if found.get("state", "RUNNING") != "RUNNING":
            return [Finding(FAIL, "queue", f"{name} is {found['state']}", "take another with --queue")]
        share, most = found.get("absoluteCapacity"), found.get("absoluteMaxCapacity")
        used = found.get("absoluteUsedCapacity", 0.0)
        text = f"{name}: {share:.0f} % of the cluster, at most {most:.0f} %, {used:.0f} % used" if share else name
        return [Finding(OK, "queue", text), *limits(found, *self._asked())]

    def _asked(self) -> tuple[int, int]:
        """Megabytes that a task and the application master ask."""
        task = int(self.keys.get("mapreduce.map.memory.mb", 1024))
        return task, int(self.keys.get("yarn.app.mapreduce.am.resource.mb", 1536))

    def memory(self) -> list[Finding]:
        """What a task and the application master ask, against what a node has and what is free."""
        if not self.has_yarn:
            return []
        task, master = self._asked()
        cores = int(self.keys.get("mapreduce.map.cpu.vcores", 1))
        most = int(self.keys.get("yarn.scheduler.maximum-allocation-mb", 8192))
        running = [n for n in self.manager.nodes() if n.get("state") == "RUNNING"]
        biggest = max((int(n["usedMemoryMB"]) + int(n["availMemoryMB"]) for n in running), default=0)
        free = self.manager.metrics()
        free_mb, free_cores = int(free.get("availableMB", 0)), int(free.get("availableVirtualCores", 0))
        return [asked(task, master, min(most, biggest)), room(task, cores, master, free_mb, free_cores)]

    # ---- nodes

    def nodes(self) -> list[Finding]:
        """One job tells what Python the nodes have."""
        if not (self.has_hdfs and self.has_yarn):
            return []
        folder = home(self.keys)
        archive = shipped(self.engine.environment, folder) if self.engine.environment else None
        conf = {**({"mapreduce.job.queuename": self.engine.queue} if self.engine.queue else {}), **self.jobconf}
        host = self.engine.driver_host or reaching(self.manager.url)
        n_nodes = int(self.manager.metrics().get("activeNodes", 1))
        with (
            tempfile.TemporaryDirectory(prefix="mrml-doctor-") as scratch,
            bound(host, self.engine.driver_ports) as sock,
        ):
            back = host, int(sock.getsockname()[1])
            probe = Probe(find_hadoop(), find_streaming_jar(), self.engine.task_python, archive, conf, back)
            n_tasks = max(2, min(2 * n_nodes, MAX_TASKS))
            told, seconds = timed(lambda: probe.run(self.manager, folder, Path(scratch), n_tasks))
        return [*judge(told, n_nodes, seconds), *way_back(told, *back)]


def get(url: str) -> dict[str, Any]:
    """A JSON object; OSError or ValueError where there is none."""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def limits(queue: dict[str, Any], task: int, master: int) -> list[Finding]:
    """What a queue of the capacity scheduler would not give a job, or not now; megabytes."""

    def memory(name: str) -> float:
        value = (queue.get(name) or {}).get("memory", math.inf)
        return float(value) if float(value) > 0 else math.inf

    name, found, other = queue.get("queueName"), [], "take another --queue, or ask less memory"
    held, most = int(queue.get("numApplications", 0)), int(queue.get("maxApplications", 0))
    if 0 < most <= held:
        found.append(Finding(FAIL, "queue limits", f"{name} takes {most} applications, and has them", other))
    if (gives := memory("maximumAllocation")) < max(task, master):
        text = f"{name} gives a container at most {gives:.0f} MB, and {max(task, master)} MB are asked"
        found.append(Finding(FAIL, "queue limits", text, other))
    if (gives := memory("maxEffectiveCapacity")) < task + master:
        text = f"{name} holds {gives:.0f} MB at most, and a job needs {task + master} MB"
        found.append(Finding(FAIL, "queue limits", text, other))
    used = float((queue.get("usedAMResource") or {}).get("memory", 0))
    if (left := memory("AMResourceLimit") - used) < master:
        text = f"{name} has {left:.0f} MB left for application masters, and one asks {master} MB"
        found.append(Finding(WARN, "queue limits", text, "a run waits for others to end; or take another --queue"))
    return found


def quota(path: str, summary: dict[str, Any]) -> Finding:
    """What the quotas of a folder leave; -1 means none."""
    names, space = int(summary.get("quota", -1)), int(summary.get("spaceQuota", -1))
    names_left = names - int(summary["directoryCount"]) - int(summary["fileCount"])
    space_left = space - int(summary["spaceConsumed"])
    remedy = "remove what is not needed there, or ask for more"
    if names >= 0 and names_left < 1000:
        return Finding(FAIL if names_left < 10 else WARN, "quota", f"{path}: {names_left} names are left", remedy)
    if space >= 0 and space_left < GIB:
        return Finding(WARN, "quota", f"{path}: {gib(max(space_left, 0))} are left", remedy)
    return Finding(OK, "quota", f"{path}: " + ("none" if names < 0 and space < 0 else "enough is left"))


def asked(task: int, master: int, most: int) -> Finding:
    """Whether any node could give what is asked; megabytes."""
    text = f"a task asks {task} MB, the application master {master} MB, a node gives at most {most} MB"
    if max(task, master) > most:
        key = "mapreduce.map.memory.mb" if task > most else "yarn.app.mapreduce.am.resource.mb"
        return Finding(FAIL, "memory", text, f"ask less: -D {key}={most}")
    if task < TASK_MB:
        return Finding(WARN, "memory", text, f"a task needs about {TASK_MB} MB: --memory-mb 1024")
    return Finding(OK, "memory", text)


def room(task: int, cores: int, master: int, free_mb: int, free_cores: int) -> Finding:
    """How many tasks could start now; megabytes."""
    tasks = max(min((free_mb - master) // max(task, 1), (free_cores - 1) // max(cores, 1)), 0)
    text = f"{free_mb} MB and {free_cores} cores free: {tasks} tasks side by side"
    if not tasks:
        return Finding(WARN, "room", text, "a run waits; take another --queue, or ask less memory")
    return Finding(OK, "room", text)


def judge(told: list[Told], n_nodes: int, seconds: float) -> list[Finding]:
    """What the nodes told, against each other and against this machine."""
    if not told:
        raise EngineError("probe job", "told nothing", "see its log")
    bad = {t.node: t.error for t in told if t.error}
    remedy = "give --environment what `mrml pack --upload` told, or --task-python an interpreter with mrml"
    found = [Finding(FAIL, "nodes", f"{node}: {error}", remedy) for node, error in sorted(bad.items())]
    good = [t for t in told if not t.error]
    seen = sorted({t.node for t in good})
    for one in sorted({(t.version, t.mrml, t.numpy) for t in good}):
        text = f"Python {one[0]}, mrml {one[1]}, NumPy {one[2]} on {', '.join(seen)}"
        found.append(Finding(OK, "nodes", f"{text} ({len(seen)} of {n_nodes} nodes, {seconds:.0f} s)"))
    if any((t.mrml, t.numpy) != (__version__, np.__version__) for t in good):
        text = f"the nodes have other versions than mrml {__version__}, NumPy {np.__version__} here"
        found.append(Finding(WARN, "versions", text, "pack this environment: `mrml pack --upload`"))
    elif any(t.source != source_digest(str(PACKAGE)) for t in good):
        text = f"the nodes have other files of mrml {__version__} than this machine"
        found.append(Finding(WARN, "versions", text, "pack this environment again: `mrml pack --upload`"))
    for node, free in sorted({(t.node, t.free) for t in good if 0 <= t.free < 2 * GIB}):
        level = FAIL if free < GIB // 10 else WARN
        text = f"{node} has {gib(free)} free where tasks run"
        found.append(Finding(level, "node space", text, "free its yarn.nodemanager.local-dirs"))
    prints = {t.fingerprint for t in good} | {fingerprint()}
    if good:
        by = ", ".join(sorted({f"{t.node} {t.fingerprint}" for t in good}))
        here = f"here {fingerprint()}"
        last = "models may differ in their last bits: use one build of NumPy, and nodes of one kind"
        same = Finding(OK, "kernels", f"{fingerprint()} here and on the nodes")
        found.append(same if len(prints) == 1 else Finding(WARN, "kernels", f"differ: {here}, {by}", last))
    return found


def way_back(told: list[Told], host: str, port: int) -> list[Finding]:
    """Whether tasks that stay could dial this machine, where a run over them would listen."""
    tried = [t for t in told if t.back]
    lost = {t.node: t.back for t in tried if t.back != "ok"}
    remedy = "open the ports that --driver-ports A-B names, give another --driver-host, or use --engine streaming"
    found = [
        Finding(WARN, "way back", f"{node} cannot reach this machine at {host}:{port}: {why}", remedy)
        for node, why in sorted(lost.items())
    ]
    if tried and not lost:
        found.append(Finding(OK, "way back", f"the nodes reach this machine at {host}"))
    return found
