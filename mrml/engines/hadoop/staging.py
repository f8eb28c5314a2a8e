"""The folder of a run on HDFS: what its jobs read is put there once, and what one of them left is found there again."""

from __future__ import annotations

import contextlib
import uuid
from hashlib import sha256
from pathlib import Path

from mrml.errors import EngineError
from mrml.fs.base import FileSystem


def hash_of(content: bytes) -> str:
    """Twelve hex digits of SHA-256."""
    return sha256(content).hexdigest()[:12]


class Staging:
    """Files and outputs of the jobs of one run below ``path``."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self.fs, self.path = fs, path
        self._staged: dict[str, str] = {}
        self._adopted: list[str] = []

    def put(self, local: str, private: bool = False) -> str:
        """The HDFS URI of a local file, uploaded once for each content; a private one is for its owner to read."""
        content = Path(local).read_bytes()
        name = f"{Path(local).name}-{hash_of(content)}"
        folder = self.private if private else self.path
        if self._staged.get(local) != name:
            self.fs.makedirs(folder)
            if private:  # YARN keeps a file private that others may not reach
                self.fs.chmod(folder, 0o700)
            aside = f"{folder}/_{name}.{uuid.uuid4().hex[:6]}"
            with self.fs.open(aside, "wb") as file:
                file.write(content)
            if private:
                self.fs.chmod(aside, 0o600)
            self.fs.mv(aside, f"{folder}/{name}")
            self._staged[local] = name
        return f"{folder}/{name}#{Path(local).name}"

    @property
    def private(self) -> str:
        """The folder of what is for its owner to read."""
        return f"{self.path}/private"

    def output(self, attempt: str) -> str:
        """Where an attempt of a job writes."""
        return f"{self.path}/out-{attempt}"

    def finished(self, tag: str) -> str | None:
        """The output of a job that is whole: adopted by rename, once."""
        done = f"{self.path}/done-{tag}"
        if not self.fs.exists(done):
            if not self.fs.exists(self.path):
                return None
            names = [info.name.rstrip("/") for info in self.fs.ls(self.path)]
            attempts = [n for n in names if f"/out-{tag}." in n and self.fs.exists(f"{n}/_SUCCESS")]
            if not attempts:
                return None
            self.fs.mv(attempts[0], done)
        if done not in self._adopted:
            self._adopted.append(done)
        return done

    def forget_earlier(self) -> None:
        """Remove adopted outputs but the last: the State that came of those is in a checkpoint by now."""
        for path in self._adopted[:-1]:
            self.fs.rm(path, recursive=True)
            self._adopted.remove(path)

    def remove(self) -> None:
        """Remove all of it, or what can be removed."""
        with contextlib.suppress(OSError, EngineError):
            if self.fs.exists(self.path):
                self.fs.rm(self.path, recursive=True)
