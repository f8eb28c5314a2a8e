"""Whether the daemons do their work, asked by JMX and REST.

An open port is not enough: a DataNode is ready when the NameNode may give it blocks, a NodeManager when the
ResourceManager may give it containers, and both also after they were lost and came back.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from mrml.cluster.settings import HOST, Ports

_TIMEOUT_S = 5.0
#: no proxy stands before loopback, whatever the environment says
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, method: str = "GET") -> Any:
    """The JSON answer of a daemon; None while there is none."""
    request = urllib.request.Request(url, method=method, headers={"Accept": "application/json"})
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"null")
    except (OSError, ValueError, urllib.error.URLError):
        return None


def bean(port: int, service: str, name: str) -> dict[str, Any]:
    """One JMX bean of the daemon whose pages are on a port; empty while there is none."""
    answer = ask(f"http://{HOST}:{port}/jmx?qry=Hadoop:service={service},name={name}") or {}
    beans = answer.get("beans") or [{}]
    return dict(beans[0])


def is_ready(role: str, node: int, ports: Ports) -> bool:
    """Whether a daemon does its work."""
    checks = {
        "namenode": _namenode,
        "datanode": _datanode,
        "resourcemanager": _resourcemanager,
        "nodemanager": _nodemanager,
        "historyserver": _historyserver,
        "oozie": _oozie,
    }
    return checks[role](node, ports)


def make_folder(ports: Ports, path: str, user: str, mode: str) -> bool:
    """Make a directory on HDFS by WebHDFS: a JVM less than ``hadoop fs -mkdir``, which takes 1.5 s."""
    base = f"http://{ports.address('namenode-web')}/webhdfs/v1{path}?user.name={user}"
    made = ask(f"{base}&op=MKDIRS", "PUT") or {}
    ask(f"{base}&op=SETPERMISSION&permission={mode}", "PUT")
    return bool(made.get("boolean"))


def put(ports: Ports, path: str, user: str, content: bytes) -> bool:
    """Write a small file on HDFS by WebHDFS; folders above it are made."""
    base = f"http://{ports.address('namenode-web')}/webhdfs/v1{path}?user.name={user}"
    where = ask(f"{base}&op=CREATE&overwrite=true&noredirect=true", "PUT") or {}
    try:
        request = urllib.request.Request(where.get("Location", ""), content, method="PUT")
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
            return bool(answer.status == 201)
    except (OSError, ValueError):
        return False


def _namenode(node: int, ports: Ports) -> bool:
    return bean(ports("namenode-web"), "NameNode", "FSNamesystemState").get("FSState") == "Operational"


def _datanode(node: int, ports: Ports) -> bool:
    """It says itself that it serves the NameNode, so one that was killed a second ago is not taken for alive."""
    own = bean(ports("datanode-web", node), "DataNode", "DataNodeInfo")
    actors = json.loads(own.get("BPServiceActorInfo") or "[]")
    live = json.loads(bean(ports("namenode-web"), "NameNode", "NameNodeInfo").get("LiveNodes") or "{}")
    known = {node.get("xferaddr") for node in live.values()}
    return any(a.get("ActorState") == "RUNNING" for a in actors) and ports.address("datanode", node) in known


def _resourcemanager(node: int, ports: Ports) -> bool:
    info = ask(f"http://{ports.address('resourcemanager-web')}/ws/v1/cluster/info") or {}
    return bool(info.get("clusterInfo", {}).get("state") == "STARTED")


def _nodemanager(node: int, ports: Ports) -> bool:
    """Alive by its own word, and heard by the ResourceManager since it started."""
    own = ask(f"http://{ports.address('nodemanager-web', node)}/ws/v1/node/info") or {}
    started = own.get("nodeInfo", {}).get("nmStartupTime")
    answer = ask(f"http://{ports.address('resourcemanager-web')}/ws/v1/cluster/nodes") or {}
    for known in (answer.get("nodes") or {}).get("node") or []:
        if known["id"].endswith(f":{ports('nodemanager', node)}"):
            return bool(started and known["state"] == "RUNNING" and known["lastHealthUpdate"] >= started)
    return False


def _historyserver(node: int, ports: Ports) -> bool:
    return ask(f"http://{ports.address('history-web')}/ws/v1/history/info") is not None


def _oozie(node: int, ports: Ports) -> bool:
    answer = ask(f"http://{ports.address('oozie')}/oozie/v1/admin/status") or {}
    return bool(answer.get("systemMode") == "NORMAL")
