"""The ResourceManager's word on jobs: what state an application is in, by tag; its logs; its end.

The client process of a job cannot be trusted: it was seen to hang for ever when the node of the application master was
lost.  Everything here is the ResourceManager's REST interface with time-outs, and the standard library only.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mrml import pin
from mrml.errors import ConfigError, EngineError

TIMEOUT_S = 10.0
CONNECT_S = 5.0
#: what the tag of a run begins with
RUN_TAG = "mrml-"
#: states before the application master runs, and states after which an application changes no more
WAITING = ("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED")
ENDED = ("FINISHED", "FAILED", "KILLED")


#: the name of a job that says where the output of its run is to be
_NAME = re.compile(rf"mrml .+? of {RUN_TAG}\S+: (.+)")


def job_name(does: str, run: str, output: str) -> str:
    """What YARN's pages call a job: what it does, its run, and where the output of that is to be."""
    what = f"round {does}" if does.isdigit() else does
    return f"mrml {what} of {run}" + f": {output}" * bool(output)


class Asked(NamedTuple):
    """What an application waits for: containers, and what they take together."""

    containers: int = 0
    memory_mb: int = 0
    cores: int = 0


class Application(NamedTuple):
    """What the ResourceManager says of an application; times in milliseconds since 1970."""

    id: str
    state: str
    final: str
    diagnostics: str
    queue: str
    started_ms: int
    tracking_url: str
    tags: tuple[str, ...]
    master_logs: str  # http://node:port/node/containerlogs/container_.../user, none before it is launched
    containers: int = 0
    asked: Asked = Asked()
    name: str = ""

    @property
    def launched(self) -> bool:
        return bool(self.master_logs)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def waits(self) -> bool:
        """Whether it has no room: for its application master, or beside that for any task."""
        return self.state in WAITING or (self.state == "RUNNING" and self.containers <= 1 and self.asked.containers > 0)

    @property
    def run(self) -> str:
        """The id of its run, which the shortest of its tags is; empty where it is none of mrml's."""
        own = sorted((t for t in self.tags if t.startswith(RUN_TAG)), key=len)
        return own[0].removeprefix(RUN_TAG) if own else ""

    @property
    def round(self) -> str:
        """What it does: the number of a round, or a word; ``RUN-ROUND-HASH`` among its tags, of tasks that stay
        ``RUN-resident.HASH``."""
        own = sorted((t for t in self.tags if t.startswith(RUN_TAG)), key=len)
        return own[1].removeprefix(own[0]).split("-")[1].partition(".")[0] if len(own) > 1 else ""

    @property
    def output(self) -> str:
        """Where the output of its run is to be, as its name says; empty where that says nothing."""
        found = _NAME.fullmatch(self.name)
        return found[1] if found else ""

    @property
    def succeeded(self) -> bool:
        return self.final == "SUCCEEDED"


def configuration(folder: str | None = None) -> dict[str, str]:
    """The keys of the site files below HADOOP_CONF_DIR (or HADOOP_HOME/etc/hadoop).

    ConfigError when neither names a folder that is there.
    """
    home = pin.environment().get("HADOOP_HOME")
    guesses = [folder, pin.environment().get("HADOOP_CONF_DIR"), f"{home}/etc/hadoop" if home else None]
    found = next((Path(g) for g in guesses if g and Path(g).is_dir()), None)
    if found is None:
        remedy = "export HADOOP_CONF_DIR (and HADOOP_HOME), or start a cluster with `mrml cluster up`"
        raise ConfigError("hadoop", "no configuration folder of Hadoop is named", remedy)
    keys: dict[str, str] = {}
    for name in ("core-site.xml", "hdfs-site.xml", "mapred-site.xml", "yarn-site.xml"):
        if (found / name).exists():
            for prop in ElementTree.parse(found / name).getroot().iter("property"):
                keys[prop.findtext("name", "").strip()] = (prop.findtext("value") or "").strip()
    return keys


def home(keys: dict[str, str]) -> str:
    """The folder of this user on HDFS for what mrml keeps there; ConfigError where the default is no HDFS."""
    root = keys.get("fs.defaultFS", "").rstrip("/")
    if not root.startswith("hdfs://"):
        raise ConfigError("hadoop, fs.defaultFS", f"{root!r} is not HDFS", "set it in core-site.xml")
    return f"{root}/user/{getpass.getuser()}/mrml"


@dataclass(frozen=True)
class ResourceManager:
    """``url`` of its web address, ``http://host:8088``; ``others`` stand by where it is highly available."""

    url: str
    others: tuple[str, ...] = ()

    @staticmethod
    def of(keys: dict[str, str]) -> ResourceManager:
        """By the configuration."""
        names = [n.strip() for n in keys.get("yarn.resourcemanager.ha.rm-ids", "").split(",")]
        first, *others = (_web_address(keys, f".{name}" if name else "") for name in names)
        return ResourceManager(first, tuple(others))

    def application(self, name: str) -> Application:
        """One application by its id."""
        return _application(self._get(f"/ws/v1/cluster/apps/{name}")["app"])

    def by_tag(self, tag: str) -> list[Application]:
        """Applications that carry a tag, the newest first."""
        query = urllib.parse.urlencode({"applicationTags": tag})
        apps = (self._get(f"/ws/v1/cluster/apps?{query}").get("apps") or {}).get("app") or []
        return sorted(map(_application, apps), key=lambda a: -a.started_ms)

    def of_user(self, user: str) -> list[Application]:
        """Applications of a user that mrml submitted, the newest first, as far as the ResourceManager remembers."""
        query = urllib.parse.urlencode({"user": user, "applicationTypes": "MAPREDUCE"})
        apps = map(_application, (self._get(f"/ws/v1/cluster/apps?{query}").get("apps") or {}).get("app") or [])
        return sorted((a for a in apps if a.run), key=lambda a: -a.started_ms)

    def kill(self, application: str) -> None:
        """Ask for the end of an application; one that ended is left alone."""
        body = json.dumps({"state": "KILLED"}).encode()
        self._call(f"/ws/v1/cluster/apps/{application}/state", "PUT", body)

    def metrics(self) -> dict[str, Any]:
        """Free and used memory and cores of the cluster."""
        found: dict[str, Any] = self._get("/ws/v1/cluster/metrics").get("clusterMetrics", {})
        return found

    def scheduler(self) -> dict[str, Any]:
        """The scheduler's word on itself: ``schedulerInfo`` with its queues."""
        found: dict[str, Any] = self._get("/ws/v1/cluster/scheduler").get("scheduler") or {}
        return found

    def nodes(self) -> list[dict[str, Any]]:
        """What the nodes of the cluster have, used and free."""
        found: list[dict[str, Any]] = (self._get("/ws/v1/cluster/nodes").get("nodes") or {}).get("node") or []
        return found

    def _get(self, path: str) -> dict[str, Any]:
        return self._call(path, "GET", None)

    def _call(self, path: str, method: str, body: bytes | None) -> dict[str, Any]:
        failed: EngineError | None = None
        for url in (self.url, *self.others):
            try:
                text = fetch(url + path, method, body, TIMEOUT_S)
            except urllib.error.HTTPError as error:
                finding = f"answers {error.code} to {method} {path}"
                failed = EngineError(f"ResourceManager {url}", finding, "look at its log")
            except (OSError, ValueError) as error:
                remedy = "is YARN up, and yarn.resourcemanager.webapp.address in HADOOP_CONF_DIR right?"
                failed = EngineError(f"ResourceManager {url}", f"cannot be reached: {error}", remedy)
            else:
                found: dict[str, Any] = json.loads(text) if text.strip() else {}
                return found
        assert failed is not None
        raise failed


def fetch(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
    content_type: str = "application/json",
) -> bytes:
    """What a daemon's web address answers; never through a proxy.

    EngineError when it asks for Kerberos and what that takes is not installed.
    """
    headers = {"Accept": "application/json, text/plain", "Content-Type": content_type}
    request = urllib.request.Request(url, body, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            text: bytes = answer.read()
    except urllib.error.HTTPError as error:
        if error.code != 401 or "Negotiate" not in (error.headers.get("WWW-Authenticate") or ""):
            raise
        return _negotiated(url, method, body, headers, timeout_s)
    return text


def _negotiated(url: str, method: str, body: bytes | None, headers: dict[str, str], timeout_s: float) -> bytes:
    """The same with the Kerberos ticket (SPNEGO), by requests-kerberos; OSError where it does not answer."""
    try:
        import requests
        from requests_kerberos import OPTIONAL, HTTPKerberosAuth
    except ImportError as error:
        remedy = "pip install 'mrml[kerberos]', and get a ticket with kinit or --keytab"
        raise EngineError(url.split("?")[0], f"asks for Kerberos ({error})", remedy) from error
    auth = HTTPKerberosAuth(mutual_authentication=OPTIONAL)
    session = requests.Session()
    session.trust_env = False
    answer = session.request(method, url, data=body, headers=headers, auth=auth, timeout=timeout_s)
    answer.raise_for_status()  # a RequestException is an OSError
    return bytes(answer.content)


def _web_address(keys: dict[str, str], suffix: str) -> str:
    host = keys.get(f"yarn.resourcemanager.hostname{suffix}", "localhost")
    secure = keys.get("yarn.http.policy") == "HTTPS_ONLY"
    key, port = ("webapp.https.address", 8090) if secure else ("webapp.address", 8088)
    address = keys.get(f"yarn.resourcemanager.{key}{suffix}", f"{host}:{port}")
    return f"http{'s' * secure}://" + address.replace("${yarn.resourcemanager.hostname}", host)


def _expect_listener(address: str, what: str, remedy: str) -> None:
    """EngineError when nothing listens at ``host:port``: at once, where a client of Hadoop tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise EngineError(f"{what} {address}", f"cannot be reached: {error}", remedy) from error


def expect_namenode(root: str) -> None:
    """EngineError when nothing listens at the NameNode of ``hdfs://host:port``; a name service has no port to try."""
    address = urllib.parse.urlsplit(root).netloc
    if ":" in address:
        _expect_listener(address, "NameNode", "is HDFS up, and fs.defaultFS in HADOOP_CONF_DIR right?")


def expect_resourcemanager(keys: dict[str, str]) -> None:
    """EngineError when nothing listens where jobs are submitted, which a client would try for 15 minutes."""
    names = [n.strip() for n in keys.get("yarn.resourcemanager.ha.rm-ids", "").split(",")]
    asked = [keys.get("yarn.resourcemanager.address" + (f".{name}" if name else ""), "") for name in names]
    failed: EngineError | None = None
    for address in (a for a in asked if a and "$" not in a):
        try:
            return _expect_listener(address, "ResourceManager", "is yarn.resourcemanager.address right?")
        except EngineError as error:
            failed = error
    if failed is not None:
        raise failed


def _application(value: dict[str, Any]) -> Application:
    return Application(
        value["id"],
        value["state"],
        value["finalStatus"],
        value.get("diagnostics", ""),
        value.get("queue", ""),
        int(value.get("startedTime", 0)),
        value.get("trackingUrl") or "",
        tuple((value.get("applicationTags") or "").split(",")),
        value.get("amContainerLogs") or "",
        int(value.get("runningContainers") or 0),
        _asked(value.get("resourceRequests") or []),
        value.get("name") or "",
    )


def _asked(requests: list[dict[str, Any]]) -> Asked:
    """The sum of the requests; those for a node or a rack are the same containers once more."""
    rows = [(int(r.get("numContainers", 0)), r.get("capability") or {}) for r in requests if r["resourceName"] == "*"]
    memory = sum(n * int(c.get("memory", 0)) for n, c in rows)
    return Asked(sum(n for n, _ in rows), memory, sum(n * int(c.get("vCores", 0)) for n, c in rows))
