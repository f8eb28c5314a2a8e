"""Which file system a path is on: local disks, HDFS, or what was registered for its scheme."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from mrml.errors import ConfigError
from mrml.fs.base import FileSystem, LocalFileSystem

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


def _local() -> FileSystem:
    return LocalFileSystem()


_MAKERS: dict[str, Callable[[], FileSystem]] = {"file": _local}


def register(scheme: str, make: Callable[[], FileSystem]) -> None:
    """Let paths that begin with ``scheme://`` be read by the file system that ``make`` returns.

    Such a file system is given the path with its scheme, since the host is part of it.
    """
    _MAKERS[scheme] = make


def filesystem(path: str | os.PathLike[str]) -> tuple[FileSystem, str]:
    """The file system of a path and the path as that file system wants it: absolute, for local disks.

    ConfigError for a scheme that nothing reads; for HDFS also what :func:`mrml.fs.connect.connect` says.
    """
    text = os.fspath(path)
    found = _SCHEME.fullmatch(text)
    if found is None:
        return _local(), os.path.abspath(text)
    scheme = found[1].lower()
    if scheme == "file":
        return _local(), os.path.abspath(_host_free(found[2]))
    if scheme in _MAKERS:
        return _MAKERS[scheme](), text
    if scheme in ("hdfs", "viewfs", "webhdfs", "swebhdfs"):
        from mrml.fs.connect import connect  # loaded where it is used: most runs read local disks

        return connect(text)
    raise ConfigError(text, f"nothing here reads {scheme}:// paths", "copy the files to a local disk or to HDFS")


def _host_free(rest: str) -> str:
    """``file:///a`` and ``file://localhost/a`` are ``/a``."""
    return rest[len("localhost") :] if rest.startswith("localhost/") else rest
