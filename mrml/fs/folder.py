"""A directory on any file system: what a run leaves is written aside and renamed, on local disks and on HDFS alike.

Floor 2.  A reader sees the old file or the new one, never half of one; several attempts may write one name, each
aside under a name of its own, and the last rename wins.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import posixpath
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from mrml.errors import EngineError, InputError
from mrml.fs.base import LocalFileSystem
from mrml.fs.find import filesystem

log = logging.getLogger(__name__)

#: how the name of a file or directory ends that is not finished
ASIDE = ".tmp"
#: how long a write to HDFS is tried again, and the pause between two tries
RETRY_S, PAUSE_S = 60.0, 1.0
#: errors that another try does not mend
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/]*")


class Folder:
    """``path`` is a local path or a URI; ``/`` goes down.  Nothing is made before `make`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fs, found = filesystem(path)
        host = _HOST.match(found)
        self._host = host[0] if host else ""
        self.path = self._host + (found[len(self._host) :].rstrip("/") or "/")

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.join(name))

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Folder:
        """The folder above; the root is above itself."""
        return Folder(self._host + posixpath.dirname(self.path[len(self._host) :]))

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def join(self, name: str) -> str:
        """The path of an entry."""
        return f"{self.path.rstrip('/')}/{name}"

    def sibling(self, ending: str) -> Folder:
        """A hidden folder beside it; its name is of no other attempt."""
        return self.parent / f"_{self.name}.{uuid.uuid4().hex[:12]}{ending}"

    def exists(self, name: str = "") -> bool:
        return self.fs.exists(self.join(name) if name else self.path)

    def names(self) -> list[str]:
        """The names of what lies in it, sorted; none when it does not exist."""
        try:
            return sorted(info.name.rstrip("/").rpartition("/")[2] for info in self.fs.ls(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def make(self) -> None:
        """Make it and those above it; one that exists is fine."""
        self.fs.makedirs(self.path)

    def read(self, name: str) -> bytes:
        return self.fs.cat_file(self.join(name))

    def read_json(self, name: str) -> dict[str, Any]:
        """The object of a file of JSON.

        InputError for one that is damaged, or no file; FileNotFoundError where there is none.
        """
        try:
            found = json.loads(self.read(name))
        except FileNotFoundError:
            raise
        except RecursionError:
            found, finding = None, "is nested too deeply"
        except (ValueError, OSError) as error:
            said = error.strerror or str(error) if isinstance(error, OSError) else f"is not JSON: {error}"
            found, finding = None, said
        else:
            finding = "has no JSON object"
        if not isinstance(found, dict):
            raise InputError(
                self.join(name), f"cannot be read: {finding}", "copy it again, or start again with --overwrite"
            )
        return found

    def write(self, name: str, content: bytes | Sequence[bytes | memoryview], sync: bool = False) -> None:
        """Put a file in place, of bytes or of pieces; with ``sync`` it is on the disk before it has its name.

        On HDFS a write that fails is tried again for RETRY_S: a DataNode may be lost, or the NameNode start again.

        Raises
        ------
        EngineError : where no try of a remote write went well; OSError as the local disk says.
        """
        until = time.monotonic() + RETRY_S
        while True:
            try:
                return self._write(name, content, sync)
            except (EngineError, OSError) as error:
                if self.is_local or isinstance(error, _FINAL):
                    raise
                if time.monotonic() > until:
                    finding = f"could not be written for {RETRY_S:.0f} s: {error}"
                    remedy = "see what `mrml doctor -r hadoop` says of HDFS; then the same command continues"
                    raise EngineError(self.join(name), finding, remedy) from error
                log.warning("writing %s failed (%s); retrying", self.join(name), error)
                time.sleep(PAUSE_S)

    def create(self, name: str, content: bytes, sync: bool = False) -> None:
        """Put a new file in place; FileExistsError, to all but one of those who come at once, where there is one."""
        aside = f".{name}.{uuid.uuid4().hex[:12]}{ASIDE}"
        self.write(aside, content, sync)
        try:
            self.fs.mv(self.join(aside), self.join(name), replace=False)
        except BaseException:
            self.remove(aside)
            raise

    def _write(self, name: str, content: bytes | Sequence[bytes | memoryview], sync: bool) -> None:
        pieces = [content] if isinstance(content, bytes) else content
        with self.writing(name) as file:
            for piece in pieces if self.is_local else [b"".join(pieces)]:  # a write to HDFS may be a request
                file.write(piece)
            if sync:
                _sync(file)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A new file that gets its name when the block ends well, and is removed when it does not."""
        aside = self.join(f".{name}.{uuid.uuid4().hex[:12]}{ASIDE}")
        try:
            with self.fs.open(aside, "wb") as file:
                yield file
            self.fs.mv(aside, self.join(name))
        except BaseException:
            with contextlib.suppress(OSError, EngineError):
                self.fs.rm(aside)
            raise

    def remove(self, name: str = "") -> None:
        """Remove an entry, or the whole folder; one that is not there is fine."""
        path = self.join(name) if name else self.path
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def isdir(self) -> bool:
        return self.fs.isdir(self.path)

    def move(self, target: Folder) -> None:
        """Rename it to a name of the same file system that is free."""
        self.fs.mv(self.path, target.path)


def _sync(file: BinaryIO) -> None:
    """Local files reach the disk; a file of HDFS is whole when it is closed."""
    file.flush()
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        os.fsync(file.fileno())
