"""One file-system interface: a small subset of fsspec's, so that local disks and HDFS clients fit behind it.

Floor 2, the standard library only.  Paths are strings with ``/`` between their parts and no scheme:
:func:`mrml.fs.find.filesystem` takes the scheme off once, and whoever holds the pair ``(fs, path)`` never sees it
again.  Paths on HDFS (:mod:`mrml.fs.hdfs`) and of file systems that come by `register` keep theirs: the host is part of
them.
"""

from __future__ import annotations

import errno
import glob as _glob
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast

log = logging.getLogger(__name__)


class Info(NamedTuple):
    """``name`` is the full path, ``size`` its bytes (0 for a directory)."""

    name: str
    size: int
    is_dir: bool


class FileSystem(Protocol):
    """What mrml asks of a file system.  What is not there is FileNotFoundError."""

    def ls(self, path: str) -> list[Info]:
        """The entries of a directory, by name."""

    def info(self, path: str) -> Info:
        """One file or directory."""

    def modified(self, path: str) -> float:
        """When a file, or the list of a directory's entries, was last changed: seconds since 1970 by its own clock."""

    def exists(self, path: str) -> bool: ...

    def isdir(self, path: str) -> bool: ...

    def find(self, path: str) -> list[Info]:
        """All files below a directory, by name; nothing when it does not exist."""

    def glob(self, pattern: str) -> list[Info]:
        """What matches a pattern of ``*``, ``?``, ``[...]`` and ``**``, by name; no wildcard matches a leading dot."""

    def open(self, path: str, mode: str = "rb") -> BinaryIO:
        """A seekable file for ``rb``; a new one for ``wb``."""

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes start to end of a file; by default all of it."""

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it; one that exists is fine."""

    def mv(self, source: str, target: str, replace: bool = True) -> None:
        """Rename in one step.

        With ``replace`` an existing target is replaced.  Without it the source is a file, and an existing target is a
        FileExistsError: of several callers at once exactly one succeeds.
        """

    def rm(self, path: str, recursive: bool = False) -> None:
        """Remove a file, or with ``recursive`` a directory and all in it."""

    def chmod(self, path: str, mode: int) -> None:
        """Who may read, write and enter: ``0o600``."""


class LocalFileSystem:
    """The disks of this machine."""

    def ls(self, path: str) -> list[Info]:
        with os.scandir(path) as entries:
            found = [_entry(e) for e in entries]
        return sorted(info for info in found if info is not None)

    def info(self, path: str) -> Info:
        is_dir = os.path.isdir(path)
        return Info(path, 0 if is_dir else os.stat(path).st_size, is_dir)

    def modified(self, path: str) -> float:
        return os.stat(path).st_mtime

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def isdir(self, path: str) -> bool:
        return os.path.isdir(path)

    def find(self, path: str) -> list[Info]:
        if not os.path.isdir(path):
            return [self.info(path)] if os.path.exists(path) else []
        return sorted(info for p in _below(path, frozenset()) if (info := self._there(p)) is not None)

    def _there(self, path: str) -> Info | None:
        """What is at a path; None for a link to nothing or to itself, and for what somebody removed meanwhile."""
        try:
            return self.info(path)
        except OSError:
            return None

    def glob(self, pattern: str) -> list[Info]:
        return sorted(self.info(p) for p in _glob.glob(pattern, recursive=True))

    def open(self, path: str, mode: str = "rb") -> BinaryIO:
        if mode not in ("rb", "wb"):
            raise ValueError(f"mode {mode!r} is neither 'rb' nor 'wb'")
        return cast(BinaryIO, open(path, mode, opener=_plain if mode == "rb" else None))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        with open(path, "rb", opener=_plain) as file:
            file.seek(start or 0)
            return file.read() if end is None else file.read(max(end - (start or 0), 0))

    def makedirs(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def mv(self, source: str, target: str, replace: bool = True) -> None:
        if replace:
            return os.replace(source, target)
        os.link(source, target)
        os.remove(source)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def rm(self, path: str, recursive: bool = False) -> None:
        if recursive and os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def _plain(path: str, flags: int) -> int:
    """A descriptor of a file to read; OSError for pipes and devices, on which one would wait for ever."""
    found = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(found).st_mode) or stat.S_ISDIR(os.fstat(found).st_mode):
        return found  # of a directory Python says so itself
    os.close(found)
    raise OSError(errno.EINVAL, "is a pipe or a device and no file", path)


def _below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Paths of all files below a folder, through links too.

    A link to a folder that it lies in is not followed: its files would count once for each turn.  OSError for a folder
    that cannot be listed: its rows would be lost without a word.
    """
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        log.warning("%s leads back to a folder above it: not followed", folder)
        return
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isdir(path):  # of a loop of links neither this nor exists is true
            yield from _below(path, above | {(here.st_dev, here.st_ino)})
        else:
            yield path


def _entry(entry: os.DirEntry[str]) -> Info | None:
    """An entry of a directory, a link to nothing or to itself too; None for one that somebody removed meanwhile."""
    is_dir = os.path.isdir(entry.path)  # the entry's own raises for a loop of links
    try:
        return Info(entry.path, 0 if is_dir else entry.stat().st_size, is_dir)
    except OSError as error:
        if entry.is_symlink():
            return Info(entry.path, 0, False)
        if isinstance(error, FileNotFoundError):
            return None
        raise
