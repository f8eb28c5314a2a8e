"""The ResourceManager's word on jobs: what state an application is in, by tag; its logs; its end.

The client process of a job cannot be trusted: it was seen to hang for ever when the node of the application master was
lost.  Everything here is the ResourceManager's REST interface with time-outs, and the standard library only.
"""

from __future__ import annotations

import getpass
import json
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
#: states after which an application changes no more
ENDED = ("FINISHED", "FAILED", "KILLED")


class Application(NamedTuple):
    """What the ResourceManager says of an application; times in milliseconds since 1970."""

    id: str
    state: str
    final: str
    diagnostics: str
    queue: str
    started_ms: int
    tracking_url: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED

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
    """``url`` of its web address: ``http://host:8088``."""

    url: str

    @staticmethod
    def of(keys: dict[str, str]) -> ResourceManager:
        """By the configuration; with high availability the first one that is named."""
        first = next(iter(keys.get("yarn.resourcemanager.ha.rm-ids", "").split(",")), "")
        suffix = f".{first}" if first else ""
        host = keys.get(f"yarn.resourcemanager.hostname{suffix}", "localhost")
        address = keys.get(f"yarn.resourcemanager.webapp.address{suffix}", f"{host}:8088")
        return ResourceManager("http://" + address.replace("${yarn.resourcemanager.hostname}", host))

    def by_tag(self, tag: str) -> list[Application]:
        """Applications that carry a tag, the newest first."""
        query = urllib.parse.urlencode({"applicationTags": tag})
        apps = (self._get(f"/ws/v1/cluster/apps?{query}").get("apps") or {}).get("app") or []
        return sorted(map(_application, apps), key=lambda a: -a.started_ms)

    def kill(self, application: str) -> None:
        """Ask for the end of an application; one that ended is left alone."""
        body = json.dumps({"state": "KILLED"}).encode()
        self._call(f"/ws/v1/cluster/apps/{application}/state", "PUT", body)

    def metrics(self) -> dict[str, Any]:
        """Free and used memory and cores of the cluster."""
        found: dict[str, Any] = self._get("/ws/v1/cluster/metrics").get("clusterMetrics", {})
        return found

    def _get(self, path: str) -> dict[str, Any]:
        return self._call(path, "GET", None)

    def _call(self, path: str, method: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            finding = f"answers {error.code} to {method} {path}"
            raise EngineError(f"ResourceManager {self.url}", finding, "look at its log") from error
        except (OSError, ValueError) as error:
            remedy = "is YARN up, and yarn.resourcemanager.webapp.address in HADOOP_CONF_DIR right?"
            raise EngineError(f"ResourceManager {self.url}", f"cannot be reached: {error}", remedy) from error
        found: dict[str, Any] = json.loads(text) if text.strip() else {}
        return found


def _application(value: dict[str, Any]) -> Application:
    return Application(
        value["id"],
        value["state"],
        value["finalStatus"],
        value.get("diagnostics", ""),
        value.get("queue", ""),
        int(value.get("startedTime", 0)),
        value.get("trackingUrl") or "",
    )
