"""HDFS by hdfs-native: Hadoop's RPC and data-transfer protocols without a JVM.  Floor 2.

Every call runs in a thread, which a time limit and Ctrl-C leave behind: the library has neither (0.14.7), and tries a
lost NameNode again for 175 s.  A thread costs 0.1 ms, a call 0.6 ms and more.
"""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import re
from collections.abc import Callable
from typing import Any, TypeVar

import hdfs_native

from mrml.errors import EngineError
from mrml.fs.address import Connection, limited, unreachable
from mrml.fs.hdfs import CALL_LIMIT_S, Entry, HdfsFileSystem, remote_error

T = TypeVar("T")
_LISTED_AT_ONCE = 1000
_REMOTE = re.compile(r'RPCError\("([^"]*)", "((?:[^"\\]|\\.)*)', re.DOTALL)


class NativeFileSystem(HdfsFileSystem):
    """One client of one NameNode or name service."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        url = f"{connection.scheme}://{connection.authority}"
        if connection.scheme == "hdfs" and connection.addresses == (f"{connection.authority}:8020",):
            url += ":8020"  # without a port it takes any host for a name service
        self._client = self._call(hdfs_native.Client, url, None, connection.conf)

    def __str__(self) -> str:
        return f"hdfs-native {importlib.metadata.version('hdfs-native')}"

    def status(self, path: str) -> Entry:
        found = self._call(self._client.get_file_info, path)
        return Entry(path, found.length, found.isdir, found.modification_time / 1e3)

    def entries(self, path: str) -> list[Entry]:
        listing = self._call(self._client.list_status, path)
        found: list[Entry] = []
        while some := self._call(lambda: list(itertools.islice(listing, _LISTED_AT_ONCE))):
            found += [Entry(s.path, s.length, s.isdir) for s in some]
        return found

    def reader(self, path: str) -> NativeReader:
        return NativeReader(self, self._call(self._client.read, path))

    def writer(self, path: str) -> io.RawIOBase:
        options = hdfs_native.WriteOptions(overwrite=True, create_parent=True)
        return NativeWriter(self, self._call(self._client.create, path, options))

    def mkdirs(self, path: str) -> None:
        self._call(lambda: self._client.mkdirs(path, create_parent=True))

    def rename(self, source: str, target: str, replace: bool) -> None:
        self._call(self._client.rename, source, target, replace)

    def permit(self, path: str, mode: int) -> None:
        self._call(self._client.set_permission, path, mode)

    def delete(self, path: str) -> None:
        if not self._call(self._client.delete, path, True):
            raise FileNotFoundError(path)

    def _call(self, call: Callable[..., T], *arguments: Any) -> T:
        """A call with its limit and with our errors."""
        try:
            return limited(call, *arguments, limit_s=CALL_LIMIT_S)
        except (FileNotFoundError, FileExistsError, IsADirectoryError) as error:
            raise remote_error(self.connection, _NAMES[type(error)], str(error)) from None
        except TimeoutError as error:
            raise unreachable(self.connection, f"no answer in {CALL_LIMIT_S:.0f} s") from error
        except OSError as error:
            raise unreachable(self.connection, str(error)) from error
        except RuntimeError as error:
            raise self._error(str(error)) from error

    def _error(self, said: str) -> Exception:
        if remote := _REMOTE.search(said):
            return remote_error(self.connection, remote[1], remote[2])
        if "SASL" in said or "GSSAPI" in said:
            return remote_error(self.connection, "SASL", said)
        remedy = "check the DataNodes with `hdfs dfsadmin -report`, and the file with `hdfs fsck PATH`"
        return EngineError(str(self.connection), " ".join(said.split())[:300], remedy)


_NAMES: dict[type[Exception], str] = {
    FileNotFoundError: "FileNotFoundException",
    FileExistsError: "FileAlreadyExistsException",
    IsADirectoryError: "FileNotFoundException: Path is not a file",
}


class NativeReader:
    """An open file; where its blocks lie was asked once."""

    def __init__(self, fs: NativeFileSystem, file: Any) -> None:
        self._fs, self._file, self.size = fs, file, len(file)

    def read_range(self, start: int, end: int) -> bytes:
        return bytes(self._fs._call(self._file.read_range, start, end - start))


class NativeWriter(io.RawIOBase):
    """A file being written; whole when it is closed."""

    def __init__(self, fs: NativeFileSystem, file: Any) -> None:
        super().__init__()
        self._fs, self._file = fs, file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return int(self._fs._call(self._file.write, bytes(data)))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._fs._call(self._file.close)
