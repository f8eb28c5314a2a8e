"""HDFS by WebHDFS, through the ``hdfs`` package.  Floor 2.

Each range is a request of its own: the NameNode sends it on to a DataNode that holds it, by that DataNode's name, so
the names of DataNodes must be known here.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import io
import posixpath
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

import hdfs
import requests

from mrml import pin
from mrml.errors import ConfigError, EngineError
from mrml.fs.address import CONNECT_LIMIT_S, Connection, is_https, unreachable
from mrml.fs.hdfs import CALL_LIMIT_S, Entry, HdfsFileSystem, remote_error

T = TypeVar("T")
#: what is written waits here until it is whole, in memory up to this many bytes
_SPOOLED = 16 << 20
_TRIES = 3


class WebFileSystem(HdfsFileSystem):
    """One client of one NameNode or name service."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        protocol = "https" if is_https(connection.scheme, connection.keys) else "http"
        urls = ";".join(f"{protocol}://{address}" for address in connection.addresses)
        limits = (CONNECT_LIMIT_S, CALL_LIMIT_S)
        if connection.secure:
            self._client = _kerberos()(urls, timeout=limits)
        else:
            user = pin.environment().get("HADOOP_USER_NAME") or getpass.getuser()
            self._client = hdfs.InsecureClient(urls, user=user, timeout=limits)

    def __str__(self) -> str:
        return f"WebHDFS, by hdfs {importlib.metadata.version('hdfs')}"

    def status(self, path: str) -> Entry:
        found = self._call(self._client._get_file_status, path).json()["FileStatus"]
        return _entry(path, found)

    def entries(self, path: str) -> list[Entry]:
        found = self._call(self._client._list_status, path).json()["FileStatuses"]["FileStatus"]
        return [_entry(posixpath.join(path, s["pathSuffix"]) if s["pathSuffix"] else path, s) for s in found]

    def reader(self, path: str) -> WebReader:
        found = self.status(path)
        if found.is_dir:
            raise IsADirectoryError(f"{path} is a directory")
        return WebReader(self, path, found.size)

    def writer(self, path: str) -> io.RawIOBase:
        if self.exists(path) and self.status(path).is_dir:
            raise IsADirectoryError(f"{path} is a directory")
        return WebWriter(self, path)

    def mkdirs(self, path: str) -> None:
        self._call(self._client._mkdirs, path)

    def rename(self, source: str, target: str, replace: bool) -> None:
        # without options it is the old call, which moves into a directory of that name
        options = "OVERWRITE" if replace else "NONE"
        self._call(lambda: self._client._rename(source, destination=target, renameoptions=options))

    def permit(self, path: str, mode: int) -> None:
        self._call(lambda: self._client._set_permission(path, permission=f"{mode:o}"))

    def delete(self, path: str) -> None:
        if not self._call(lambda: self._client._delete(path, recursive=True)).json()["boolean"]:
            raise FileNotFoundError(path)

    def range_of(self, path: str, start: int, end: int) -> bytes:
        """Bytes start to end; a connection that ends too soon is tried again."""
        for _ in range(_TRIES):
            data: bytes = self._call(self._read, path, start, end - start)
            if len(data) == end - start:
                return data
        finding = f"{path} ends after {start + len(data)} of {end} bytes"
        raise EngineError(str(self.connection), finding, "was it replaced while it was read? try again")

    def put(self, path: str, data: Any) -> None:
        self._call(lambda: self._client.write(path, data=data, overwrite=True))

    def _read(self, path: str, start: int, n_bytes: int) -> bytes:
        with self._client.read(path, offset=start, length=n_bytes) as stream:
            return bytes(stream.read())

    def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call with our errors; its limits are the client's."""
        try:
            return call(*arguments)
        except hdfs.HdfsError as error:
            raise remote_error(self.connection, error.exception or "HdfsError", error.message) from error
        except (requests.RequestException, OSError) as error:
            raise unreachable(self.connection, " ".join(str(error).split())[:300]) from error


class WebReader:
    """A file of a known size."""

    def __init__(self, fs: WebFileSystem, path: str, size: int) -> None:
        self._fs, self._path, self.size = fs, path, size

    def read_range(self, start: int, end: int) -> bytes:
        return self._fs.range_of(self._path, start, end)


class WebWriter(io.RawIOBase):
    """A file being written: sent as a whole when it is closed, so that a writer that fails leaves no half of it."""

    def __init__(self, fs: WebFileSystem, path: str) -> None:
        super().__init__()
        self._fs, self._path = fs, path
        self._spool = tempfile.SpooledTemporaryFile(_SPOOLED)  # noqa: SIM115 - closed by close

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return int(self._spool.write(bytes(data)))

    def close(self) -> None:
        if not self.closed:
            super().close()
            with self._spool:
                self._spool.seek(0)
                self._fs.put(self._path, self._spool)


def _entry(path: str, status: dict[str, Any]) -> Entry:
    return Entry(path, int(status["length"]), status["type"] == "DIRECTORY", int(status["modificationTime"]) / 1e3)


def _kerberos() -> Any:
    try:
        from hdfs.ext.kerberos import KerberosClient
    except ImportError as error:
        remedy = "pip install requests-kerberos, or 'mrml[hdfs-native]'"
        raise ConfigError("WebHDFS", f"the cluster asks for Kerberos ({error})", remedy) from error
    return KerberosClient
