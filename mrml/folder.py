"""A directory on any file system: what a run leaves is written aside and renamed, on local disks and on HDFS alike.

Floor 2.  A reader sees the old file or the new one, never half of one; several attempts may write one name, each
aside under a name of its own, and the last rename wins.
"""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from mrml.fs import filesystem

#: how the name of a file or directory ends that is not finished
ASIDE = ".tmp"


class Folder:
    """``path`` is a local path or a URI; ``/`` goes down.  Nothing is made before `make`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fs, found = filesystem(path)
        self.path = found.rstrip("/") or "/"

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.join(name))

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def join(self, name: str) -> str:
        """The path of an entry."""
        return f"{self.path.rstrip('/')}/{name}"

    def aside(self) -> Folder:
        """A sibling for what shall take this folder's place; its name is of no other attempt."""
        return Folder(f"{self.path.rpartition('/')[0]}/_{self.name}.{uuid.uuid4().hex[:12]}{ASIDE}")

    def exists(self, name: str = "") -> bool:
        return self.fs.exists(self.join(name) if name else self.path)

    def names(self) -> list[str]:
        """The names of what lies in it, sorted; none when it does not exist."""
        try:
            return sorted(info.name.rstrip("/").rpartition("/")[2] for info in self.fs.ls(self.path))
        except FileNotFoundError:
            return []

    def make(self) -> None:
        """Make it and those above it; one that exists is fine."""
        self.fs.makedirs(self.path)

    def read(self, name: str) -> bytes:
        return self.fs.cat_file(self.join(name))

    def write(self, name: str, content: bytes, sync: bool = False) -> None:
        """Put a file in place; with ``sync`` it is on the disk before it has its name."""
        with self.writing(name) as file:
            file.write(content)
            if sync:
                _sync(file)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A new file that gets its name when the block ends well, and is removed when it does not."""
        aside = self.join(f"_{name}.{uuid.uuid4().hex[:12]}{ASIDE}")
        try:
            with self.fs.open(aside, "wb") as file:
                yield file
            self.fs.mv(aside, self.join(name))
        except BaseException:
            with contextlib.suppress(OSError):
                self.fs.rm(aside)
            raise

    def remove(self, name: str = "") -> None:
        """Remove an entry, or the whole folder; one that is not there is fine."""
        path = self.join(name) if name else self.path
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def replace(self, target: Folder) -> None:
        """Take the place of another folder of the same file system."""
        target.remove()
        self.fs.mv(self.path, target.path)


def _sync(file: BinaryIO) -> None:
    """Local files reach the disk; a file of HDFS is whole when it is closed."""
    file.flush()
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        os.fsync(file.fileno())
