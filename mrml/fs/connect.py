"""HDFS by its address: which client, which NameNode, whose name.

``hdfs://`` and ``viewfs://`` go through hdfs-native (Hadoop's RPC protocol) where it is installed, else through WebHDFS
by the ``hdfs`` package; ``webhdfs://`` and ``swebhdfs://`` always the latter way.  Which one is said in the log, once
in a process for each address.  A client comes to life with its first call for an address and is kept.

**Addresses.**  ``hdfs://host:port/path``; ``hdfs://host/path`` is port 8020; ``hdfs:///path`` is fs.defaultFS.  A host
that the configuration knows as a name service (dfs.ha.namenodes.HOST) stands for its NameNodes: hdfs-native asks each
until one is active, and so does WebHDFS (dfs.namenode.http-address.HOST.ID).  The configuration is core-site.xml and
hdfs-site.xml in HADOOP_CONF_DIR, else in HADOOP_HOME/etc/hadoop, else in /etc/hadoop/conf.

**Who one is** is the libraries' matter.  Without security: HADOOP_USER_NAME, else the account.  With
``hadoop.security.authentication`` kerberos: hdfs-native takes the delegation tokens in HADOOP_TOKEN_FILE_LOCATION,
which YARN sets in every container, and else the Kerberos ticket (it loads libgssapi_krb5); WebHDFS takes the ticket
only (package requests-kerberos), so tasks on a secure cluster want hdfs-native.  Runs that outlive a ticket say
``--keytab FILE --principal NAME`` (:mod:`mrml.engines.hadoop.kerberos`), which holds one by kinit for the Java
client too.

**Time-outs.**  Before the first call, one of the NameNodes must take a TCP connection within CONNECT_LIMIT_S, because
hdfs-native would try a refused port again for 175 s (measured, 0.14.7), and then answer a first question within
FIRST_ANSWER_S.  Each call after that has CALL_LIMIT_S, enough for a failover.
"""

from __future__ import annotations

import functools
import logging
import os
import posixpath
from collections.abc import Iterator

from mrml import pin
from mrml.errors import ConfigError
from mrml.fs.address import (
    Connection,
    await_answer,
    await_any,
    conf_folder,
    configuration,
    rpc_addresses,
    web_addresses,
)
from mrml.fs.hdfs import URL, HdfsFileSystem

SCHEMES = ("hdfs", "viewfs", "webhdfs", "swebhdfs")

log = logging.getLogger(__name__)


def connect(path: str) -> tuple[HdfsFileSystem, str]:
    """The file system of an HDFS path, and the path with its host and nothing superfluous.

    ConfigError when the path names no host or no client is installed, EngineError when no NameNode answers.
    """
    found = URL.fullmatch(path)
    if found is None:
        raise ConfigError(path, "is not a path on HDFS", "write hdfs://host:port/path")
    scheme, authority = found[1].lower(), found[2]
    fs = _client(scheme, authority, os.getpid(), tuple(_surroundings()))
    return fs, fs.prefix + (posixpath.normpath(found[3]) if found[3] else "/")


@functools.lru_cache(maxsize=64)
def _client(scheme: str, authority: str, pid: int, surroundings: tuple[str | None, ...]) -> HdfsFileSystem:
    """The client of an address; ``pid`` and ``surroundings`` so that a forked process has one of its own.

    A changed HADOOP_CONF_DIR or HADOOP_USER_NAME needs another one too.
    """
    conf = conf_folder()
    keys = configuration(conf) if conf else {}
    if not authority:
        default = URL.fullmatch(keys.get("fs.defaultFS", ""))
        if default is None or default[1] != scheme or not default[2]:
            finding = f"names no host, and the configuration has no fs.defaultFS of {scheme}://"
            raise ConfigError(f"{scheme}:///", finding, f"write {scheme}://host:port/path, or export HADOOP_CONF_DIR")
        return _client(scheme, default[2], pid, surroundings)
    native = _native() if scheme in ("hdfs", "viewfs") else None
    if native is not None:
        connection = Connection(scheme, authority, rpc_addresses(authority, keys), keys, conf)
        if scheme == "hdfs":
            await_any(connection)
        fs = native(connection)
    else:
        if scheme == "viewfs":
            raise ConfigError("viewfs://", "needs hdfs-native", "pip install 'mrml[hdfs-native]'")
        connection = Connection(scheme, authority, web_addresses(scheme, authority, keys), keys, conf)
        await_any(connection)
        fs = _web()(connection)
    if scheme != "viewfs":
        await_answer(connection, lambda: fs.status("/"))
    log.info("%s is read and written through %s", connection, fs)
    return fs


def _native() -> type[HdfsFileSystem] | None:
    try:
        from mrml.fs.native import NativeFileSystem
    except ImportError:
        return None
    return NativeFileSystem


def _web() -> type[HdfsFileSystem]:
    try:
        from mrml.fs.webhdfs import WebFileSystem
    except ImportError as error:
        remedy = "pip install 'mrml[hdfs-native]', or 'mrml[hdfs]' for WebHDFS"
        raise ConfigError("HDFS", f"no client is installed ({error})", remedy) from error
    return WebFileSystem


def _surroundings() -> Iterator[str | None]:
    environment = pin.environment()
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "HADOOP_USER_NAME", "HADOOP_TOKEN_FILE_LOCATION", "KRB5CCNAME"):
        yield environment.get(name)
