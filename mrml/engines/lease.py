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

#: a driver on another host that did not touch its lease for so long is gone
STALE_S = 60.0
RENEW_S = 10.0
#: between a claim and its proof: longer than two writers need for theirs
CLAIM_S = 2.0


#: the name of the file in a run's folder
LEASE = "lease"


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
                raise self._taken(self._owner()) from error
        owner = self._owner()
        elsewhere = owner.get("host", platform.node()) != platform.node()
        if elsewhere and time.time() - os.fstat(self._file).st_mtime < STALE_S:
            raise self._taken(owner)
        os.ftruncate(self._file, 0)
        told = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        os.pwrite(self._file, json.dumps(told).encode(), 0)

    def _owner(self) -> dict[str, Any]:
        """Whose it is or was; nothing where the file is new or torn."""
        try:
            found: dict[str, Any] = json.loads(os.pread(self._file, 4096, 0))
        except ValueError:
            return {}
        return found

    def _taken(self, owner: dict[str, Any]) -> EngineError:
        return taken(str(self.path.parent.parent), owner)

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


class SharedLease:
    """The same on a file system that has renames but no locks, such as HDFS: the file is renewed while it is held.

    A claim is written and read again after a while, so that of two that come at once only the later writer has it.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder, self.token = folder, uuid.uuid4().hex
        owner = self._owner()
        if time.time() - owner.get("renewed", 0.0) < STALE_S:
            raise taken(folder.parent.path, owner)
        self._told = {**this_driver(), "token": self.token}
        self._write()
        time.sleep(CLAIM_S)
        owner = self._owner()
        if owner.get("token") != self.token:
            raise taken(folder.parent.path, owner)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._thread.start()

    def _owner(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.folder.read(LEASE))
        except (OSError, ValueError):
            return {}
        return found

    def _write(self) -> None:
        self.folder.write(LEASE, json.dumps({**self._told, "renewed": time.time()}).encode())

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            with contextlib.suppress(OSError, EngineError):
                self._write()

    def close(self) -> None:
        """Give it back."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join(RENEW_S)
        with contextlib.suppress(OSError, EngineError):
            self.folder.remove(LEASE)


def lease_on(folder: Folder) -> Lease | SharedLease:
    """The lease on a run's folder, wherever that lies."""
    return Lease(Path(folder.path) / LEASE) if folder.is_local else SharedLease(folder)


def this_driver() -> dict[str, Any]:
    """What a lease says of its owner."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"pid": os.getpid(), "host": platform.node(), "since": since}


def taken(place: str, owner: dict[str, Any]) -> EngineError:
    """What the second driver of a run is told."""
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('since', '?')}"
    remedy = "wait for its end, or end it and say --resume"
    return EngineError(place, f"another driver works on this run: {who}", remedy)
