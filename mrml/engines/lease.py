"""A lease on a run directory: never two drivers advance one run.

The kernel's lock on a file is the truth on one host: it goes with the process, however that ends.  The file says whose
it is and is touched while it is held, which is what another host goes by where a shared disk carries no locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from mrml.errors import EngineError
from mrml.folder import Folder

#: its name below ``_run``
LEASE = "lease"
#: a driver on another host that did not touch its lease for so long is gone
STALE_S = 60.0
RENEW_S = 10.0
#: two drivers that begin in the same moment on HDFS see within this time whose word stayed
SETTLE_S = 1.0


def lease_on(folder: Folder) -> Lease | RemoteLease:
    """The lease of a run directory: by the kernel's lock on a local disk, by a renewed file on HDFS."""
    return Lease(Path(folder.join(LEASE))) if folder.is_local else RemoteLease(folder)


class Lease:
    """Holds ``path`` from its making to :meth:`close`; EngineError when another driver holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take()
        except BaseException:
            os.close(self._file)
            raise
        self._over = threading.Event()
        threading.Thread(target=self._renew, daemon=True, name="lease").start()

    def _take(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise taken(str(self.path.parent.parent), self._owner()) from error
        owner = self._owner()
        elsewhere = owner.get("host", platform.node()) != platform.node()
        if elsewhere and time.time() - os.fstat(self._file).st_mtime < STALE_S:
            raise taken(str(self.path.parent.parent), owner)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(me()).encode(), 0)

    def _owner(self) -> dict[str, Any]:
        """Whose it is or was; nothing where the file is new or torn."""
        try:
            found: dict[str, Any] = json.loads(os.pread(self._file, 4096, 0))
        except ValueError:
            return {}
        return found

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def close(self) -> None:
        """Give it back; the file stays, empty of an owner."""
        if self._over.is_set():
            return
        self._over.set()
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RemoteLease:
    """A file on HDFS that its owner renews: one that was not renewed for ``STALE_S`` is nobody's.

    HDFS has no lock: whoever finds it free writes a word of its own, and holds the lease when that word is still there
    a moment later.  Clocks of the hosts may differ by less than ``STALE_S``.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self._word = folder, uuid.uuid4().hex
        owner = self._owner()
        if time.time() - float(owner.get("renewed", 0)) < STALE_S:
            raise taken(str(folder.parent), owner)
        self._write()
        time.sleep(SETTLE_S)
        if (owner := self._owner()).get("word") != self._word:
            raise taken(str(folder.parent), owner)
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._renewer.start()

    def _owner(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._folder.read(LEASE))
        except (OSError, ValueError):
            return {}
        return found

    def _write(self) -> None:
        told = {**me(), "word": self._word, "renewed": time.time()}
        self._folder.write(LEASE, json.dumps(told).encode())

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            with contextlib.suppress(OSError, EngineError):
                self._write()

    def close(self) -> None:
        """Give it back."""
        if not self._over.is_set():
            self._over.set()
            self._renewer.join(RENEW_S)  # else a renewal under way would come after the removal
            with contextlib.suppress(OSError, EngineError):
                self._folder.remove(LEASE)


def me() -> dict[str, Any]:
    """Who holds a lease, for the one who finds it taken."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"pid": os.getpid(), "host": platform.node(), "since": since}


def taken(output: str, owner: dict[str, Any]) -> EngineError:
    """The error of the second driver."""
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('since', '?')}"
    remedy = "wait for its end, or end it and say --resume"
    return EngineError(output, f"another driver works on this run: {who}", remedy)
