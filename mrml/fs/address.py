"""Where HDFS is: Hadoop's configuration, the addresses of its NameNodes, and whether one answers.  Floor 2."""

from __future__ import annotations

import queue
import socket
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mrml import pin
from mrml.errors import ConfigError, EngineError

T = TypeVar("T")
CONNECT_LIMIT_S = 8.0
#: for the first answer, by each NameNode there is: one that collects garbage may take seconds
FIRST_ANSWER_S = 20.0
_RPC_PORT, _HTTP_PORT, _HTTPS_PORT = 8020, 9870, 9871
_REMEDY = "check the address in the path and in HADOOP_CONF_DIR, and that the NameNode runs"


class Connection(NamedTuple):
    """Where a client connects to.

    ``authority`` is a host, ``host:port`` or a name service; ``addresses`` are its NameNodes, ``host:port`` each.
    """

    scheme: str
    authority: str
    addresses: tuple[str, ...]
    keys: dict[str, str]
    conf: str | None

    @property
    def secure(self) -> bool:
        return self.keys.get("hadoop.security.authentication", "simple") != "simple"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def conf_folder() -> str | None:
    """Where Hadoop's configuration is; None when it is nowhere."""
    environment = pin.environment()
    home = environment.get("HADOOP_HOME")
    guesses = [environment.get("HADOOP_CONF_DIR"), f"{home}/etc/hadoop" if home else None, "/etc/hadoop/conf"]
    return next((g for g in guesses if g and Path(g, "core-site.xml").exists()), None)


def configuration(folder: str) -> dict[str, str]:
    """The keys of core-site.xml and hdfs-site.xml."""
    keys: dict[str, str] = {}
    for name in ("core-site.xml", "hdfs-site.xml"):
        path = Path(folder, name)
        if not path.exists():
            continue
        try:
            properties = ElementTree.parse(path).getroot().iter("property")
            keys.update({p.findtext("name", "").strip(): (p.findtext("value") or "").strip() for p in properties})
        except ElementTree.ParseError as error:
            raise ConfigError(
                str(path), f"is not XML: {error}", "correct it, or point HADOOP_CONF_DIR elsewhere"
            ) from error
    return keys


def rpc_addresses(authority: str, keys: dict[str, str]) -> tuple[str, ...]:
    """The NameNodes of ``host:port``, of a host, or of a name service."""
    if names := _namenodes(authority, keys):
        return tuple(a for n in names if (a := keys.get(f"dfs.namenode.rpc-address.{authority}.{n}")))
    return (authority if ":" in authority else f"{authority}:{_RPC_PORT}",)


def web_addresses(scheme: str, authority: str, keys: dict[str, str]) -> tuple[str, ...]:
    """The web addresses of NameNodes: as a ``webhdfs`` path says, else as the configuration does, else the default."""
    if scheme != "hdfs" and ":" in authority:
        return (authority,)
    secure = is_https(scheme, keys)
    key = f"dfs.namenode.{'https' if secure else 'http'}-address"
    if names := _namenodes(authority, keys):
        return tuple(a for n in names if (a := keys.get(f"{key}.{authority}.{n}")))
    host = authority.partition(":")[0]
    own, _, port = keys.get(key, "").rpartition(":")
    # the configuration's port only where it is of this NameNode
    same = own in (host, "0.0.0.0") or keys.get("fs.defaultFS", "").rstrip("/") == f"hdfs://{authority}"
    return (f"{host}:{port if port and same else _HTTPS_PORT if secure else _HTTP_PORT}",)


def is_https(scheme: str, keys: dict[str, str]) -> bool:
    return scheme == "swebhdfs" or (scheme == "hdfs" and keys.get("dfs.http.policy") == "HTTPS_ONLY")


def _namenodes(authority: str, keys: dict[str, str]) -> list[str]:
    return [n.strip() for n in keys.get(f"dfs.ha.namenodes.{authority}", "").split(",") if n.strip()]


def await_any(connection: Connection) -> None:
    """EngineError unless one of the NameNodes takes a connection in time."""
    if not connection.addresses:
        remedy = "give dfs.namenode.rpc-address and http-address of each NameNode in hdfs-site.xml"
        raise ConfigError(str(connection), "is a name service without addresses", remedy)
    until = time.monotonic() + CONNECT_LIMIT_S
    said = ""
    for i, address in enumerate(connection.addresses):
        host, _, port = address.rpartition(":")
        limit_s = max((until - time.monotonic()) / (len(connection.addresses) - i), 0.1)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=limit_s).close()
            return
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
    raise unreachable(connection, said)


def await_answer(connection: Connection, ask: Callable[[], object]) -> None:
    """EngineError when whatever takes the connection says nothing; an answer of any kind is fine."""
    limit_s = FIRST_ANSWER_S * len(connection.addresses)
    try:
        limited(ask, limit_s=limit_s)
    except TimeoutError as error:
        said = f"it takes a connection and gives no answer for {limit_s:g} s"
        raise unreachable(connection, said) from error
    except OSError:
        return


def unreachable(connection: Connection, said: str) -> EngineError:
    """The NameNodes do not answer, or no more."""
    return EngineError(", ".join(connection.addresses), f"the NameNode cannot be reached: {said}", _REMEDY)


def limited(call: Callable[..., T], *arguments: Any, limit_s: float) -> T:
    """The result of a call; TimeoutError when it takes longer, and nobody waits for it any more."""
    results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((True, call(*arguments)))
        except BaseException as error:  # also the library's panics
            results.put((False, error))

    threading.Thread(target=run, daemon=True, name="hdfs").start()
    try:
        done, value = results.get(timeout=limit_s)
    except queue.Empty:
        raise TimeoutError(f"no answer in {limit_s} s") from None
    if done:
        result: T = value
        return result
    raise value
