"""HDFS behind the file-system interface: what both clients share (:mod:`mrml.fs.connect` chooses one).

**Names** may hold any character but ``/``: nothing is unquoted, as in Hadoop's shell.
"""

from __future__ import annotations

import fnmatch
import io
import os
import posixpath
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast

from mrml.errors import EngineError
from mrml.fs.address import (
    Connection,
)
from mrml.fs.base import Info

CALL_LIMIT_S = 120.0
#: reads of less fetch as much at once: a Parquet footer and its length are one round trip
READ_AHEAD = 64 << 10
WRITE_BUFFER = 1 << 20
URL = re.compile(r"([A-Za-z]+)://([^/]*)(/.*)?", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")


class Entry(NamedTuple):
    """A path on the cluster, without scheme and host; ``modified`` in seconds since 1970."""

    path: str
    size: int
    is_dir: bool
    modified: float = 0.0


class Reader(Protocol):
    """An open file of the cluster."""

    size: int

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes start to end, both inside the file."""


class HdfsFileSystem(ABC):
    """A :class:`mrml.fs.base.FileSystem` over the primitives of one client; paths have their scheme and host."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.prefix = str(connection)

    # what a client is asked for: paths begin with "/"; what is not there is FileNotFoundError

    @abstractmethod
    def status(self, path: str) -> Entry: ...

    @abstractmethod
    def entries(self, path: str) -> list[Entry]:
        """What a directory holds; of a file, the file."""

    @abstractmethod
    def reader(self, path: str) -> Reader: ...

    @abstractmethod
    def writer(self, path: str) -> io.RawIOBase:
        """A new file in place of the one of that name; whole when it is closed."""

    @abstractmethod
    def mkdirs(self, path: str) -> None: ...

    @abstractmethod
    def rename(self, source: str, target: str, replace: bool) -> None:
        """In one step; in place of a file of that name, or FileExistsError."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """With all that is in it."""

    @abstractmethod
    def permit(self, path: str, mode: int) -> None:
        """See ``chmod``."""

    # what mrml asks for

    def ls(self, path: str) -> list[Info]:
        plain = self._plain(path)
        found = self.entries(plain)
        if len(found) == 1 and found[0].path == plain and not found[0].is_dir:
            raise NotADirectoryError(f"{path} is a file")
        return sorted(self._info(e) for e in found)

    def info(self, path: str) -> Info:
        return self._info(self.status(self._plain(path)))._replace(name=path)

    def modified(self, path: str) -> float:
        return self.status(self._plain(path)).modified

    def exists(self, path: str) -> bool:
        try:
            self.status(self._plain(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def isdir(self, path: str) -> bool:
        return self.exists(path) and self.info(path).is_dir

    def find(self, path: str) -> list[Info]:
        if not self.exists(path):
            return []
        return sorted(self._info(e) for e in self._below(self._plain(path)))

    def glob(self, pattern: str) -> list[Info]:
        parts = [p for p in self._plain(pattern).split("/") if p]
        return sorted({self._info(e) for e in self._matches(Entry("/", 0, True), parts)})

    def open(self, path: str, mode: str = "rb") -> BinaryIO:
        if mode == "rb":
            return cast(BinaryIO, RangeFile(self.reader(self._plain(path))))
        if mode == "wb":
            return cast(BinaryIO, io.BufferedWriter(self.writer(self._plain(path)), WRITE_BUFFER))
        raise ValueError(f"mode {mode!r} is neither 'rb' nor 'wb'")

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        reader = self.reader(self._plain(path))
        first = min(start or 0, reader.size)
        last = reader.size if end is None else min(end, reader.size)
        return reader.read_range(first, last) if last > first else b""

    def makedirs(self, path: str) -> None:
        self.mkdirs(self._plain(path))

    def mv(self, source: str, target: str, replace: bool = True) -> None:
        self.rename(self._plain(source), self._plain(target), replace)

    def chmod(self, path: str, mode: int) -> None:
        self.permit(self._plain(path), mode)

    def rm(self, path: str, recursive: bool = False) -> None:
        plain = self._plain(path)
        if self.status(plain).is_dir and not recursive:
            raise IsADirectoryError(f"{path} is a directory")
        self.delete(plain)

    def _plain(self, path: str) -> str:
        """What the cluster calls it."""
        found = URL.fullmatch(path)
        return posixpath.normpath(found[3] or "/") if found else posixpath.normpath(path)

    def _info(self, entry: Entry) -> Info:
        return Info(self.prefix + entry.path, 0 if entry.is_dir else entry.size, entry.is_dir)

    def _below(self, path: str) -> Iterator[Entry]:
        """The files of a whole tree; of a file, itself."""
        for entry in self.entries(path):
            if entry.is_dir:
                yield from self._below(entry.path)
            else:
                yield entry

    def _matches(self, at: Entry, parts: list[str]) -> Iterator[Entry]:
        """What a pattern's parts match below an entry, as :func:`glob.glob` of the standard library has it."""
        if not parts:
            yield at
        elif not at.is_dir:
            return
        elif parts[0] == "**":
            if parts[1:]:
                yield from self._matches(at, parts[1:])
            for entry in self._shown(at.path):
                if not parts[1:]:
                    yield entry
                if entry.is_dir:
                    yield from self._matches(entry, parts)
        elif _MAGIC.search(parts[0]):
            for entry in self._shown(at.path, parts[0]):
                yield from self._matches(entry, parts[1:])
        else:
            plain = posixpath.join(at.path, parts[0])
            if self.exists(plain):
                yield from self._matches(self.status(plain), parts[1:])

    def _shown(self, path: str, pattern: str = "*") -> Iterator[Entry]:
        """Entries whose name matches; a leading dot only by a leading dot."""
        for entry in self.entries(path):
            name = posixpath.basename(entry.path)
            if fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith(".")):
                yield entry


class RangeFile(io.RawIOBase):
    """A seekable file of ranged reads: what is not asked for is not fetched, but for READ_AHEAD."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader, self._position, self._held, self._held_at = reader, 0, b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._reader.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        rest = max(self._reader.size - self._position, 0)
        n_bytes = rest if size is None or size < 0 else min(size, rest)
        found = self._fetch(n_bytes) if n_bytes else b""
        self._position += n_bytes
        return found

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def _fetch(self, n_bytes: int) -> bytes:
        start, end = self._position, self._position + n_bytes
        if n_bytes >= READ_AHEAD:
            return self._reader.read_range(start, end)
        if not self._held_at <= start <= end <= self._held_at + len(self._held):
            # before the end of the file: what comes before is asked for next, not what comes after
            first = max(min(start, self._reader.size - READ_AHEAD), 0)
            self._held = self._reader.read_range(first, min(first + READ_AHEAD, self._reader.size))
            self._held_at = first
        return self._held[start - self._held_at : end - self._held_at]


#: what the NameNode's exceptions are in Python
_JAVA: dict[str, type[OSError]] = {
    "FileNotFoundException": FileNotFoundError,
    "FileAlreadyExistsException": FileExistsError,
    "ParentNotDirectoryException": NotADirectoryError,
    "PathIsNotDirectoryException": NotADirectoryError,
    "AccessControlException": PermissionError,
    "SecurityException": PermissionError,
    "IOException": OSError,
    "PathIsNotEmptyDirectoryException": OSError,
    "InvalidPathException": OSError,
    "DSQuotaExceededException": OSError,
    "NSQuotaExceededException": OSError,
}


def remote_error(connection: Connection, name: str, message: str) -> Exception:
    """What an exception of the NameNode is here: an OSError about the path, or an EngineError about the cluster."""
    name = name.rpartition(".")[2]
    said = " ".join(message.split("\n")[0].split("\\n")[0].split())[:300]
    if name == "FileNotFoundException" and "Path is not a file" in message:
        return IsADirectoryError(said)
    if name in _JAVA:
        return _JAVA[name](said)
    remedy = "see the NameNode's log"
    if name == "SafeModeException":
        remedy = "wait until the NameNode has left safe mode: `hdfs dfsadmin -safemode wait`"
    if "SASL" in name or "GSSAPI" in name or "oken" in name:
        remedy = "get a ticket with kinit, or use --keytab FILE --principal NAME"
    return EngineError(str(connection), f"{name}: {said}", remedy)
