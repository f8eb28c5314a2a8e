"""A lease on a run directory: never two drivers advance one run.

On a local disk the kernel's lock on a file is the truth: it goes with the process, however that ends.  The file says
whose it is and is touched while it is held, which is what another host goes by where a shared disk carries no locks.

HDFS has no locks, but of several drivers that move a file to one name only one comes there.  So a lease is the newest
of numbered files: each number is taken once, by one driver, and a driver that finds a newer number than its own is no
driver any more (Lamport's fencing token; see Kleppmann, How to do distributed locking, 2016).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from mrml.errors import ConfigError, EngineError, InputError
from mrml.fs.folder import Folder

log = logging.getLogger(__name__)

#: its name below ``_run``; on HDFS with a number behind it
LEASE = "lease"
#: a driver on another host that did not touch its lease for so long is gone
STALE_S = 60.0
RENEW_S = 10.0
#: how often one who waits looks whether another host's driver still renews
LOOK_S = 0.5


def lease_on(folder: Folder) -> Lease | RemoteLease:
    """The lease of a run directory: by the kernel's lock on a local disk, by a renewed file on HDFS."""
    return Lease(Path(folder.join(LEASE))) if folder.is_local else RemoteLease(folder)


def unusable(path: str, error: OSError) -> ConfigError:
    """The error of a lease that is no file."""
    return ConfigError(path, f"cannot be used: {error.strerror}", "remove it, if no driver runs there")


class Lease:
    """Holds ``path`` from its making to :meth:`close`; EngineError when another driver holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise unusable(str(path), error) from error
        try:
            self._take()
        except BaseException:
            os.close(self._file)
            raise
        self._over, self._closed = threading.Event(), False
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
            found = json.loads(os.pread(self._file, 4096, 0))
        except OSError as error:
            raise unusable(str(self.path), error) from error
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def check(self) -> None:
        """The kernel keeps it: nobody can have taken it."""

    def rest(self) -> None:
        """Renew it no more; it is still held."""
        self._over.set()

    def close(self) -> None:
        """Give it back; the file stays, empty of an owner."""
        if self._closed:
            return
        self._closed = True
        self.rest()
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
    """The newest of ``lease-1``, ``lease-2``, ... in a folder, from its making to :meth:`close`.

    EngineError when another driver holds it: one of this host that lives, or one elsewhere that renews its file.  One
    that is dead, or does not renew for ``STALE_S``, loses it to the next number.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self._renewals, self._me = folder, 0, me()
        while not self._took():
            continue
        self._over, self._closed = threading.Event(), False
        self._renewer = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._renewer.start()

    def _took(self) -> bool:
        """Try for the number after the newest; False when another one was quicker, or the newest is gone already."""
        newest = max(self._numbers(), default=0)
        if newest and not self._is_free(newest):
            return False
        self.name = f"{LEASE}-{newest + 1}"
        try:
            self._folder.create(self.name, self._told())
        except FileExistsError:
            return False
        if max(self._numbers()) != newest + 1:  # so late that this number was taken, passed and swept
            self._folder.remove(self.name)
            return False
        for number in self._numbers()[:-1]:
            self._folder.remove(f"{LEASE}-{number}")
        return True

    def _numbers(self) -> list[int]:
        ends = (n.removeprefix(f"{LEASE}-") for n in self._folder.names() if n.startswith(f"{LEASE}-"))
        return sorted(int(end) for end in ends if end.isdigit())

    def _is_free(self, number: int) -> bool:
        """Whether its owner is gone; False when the file is.  No two clocks are compared, only changes counted."""
        owner, until = self._owner(number), time.monotonic() + STALE_S
        here = runs_here(owner)
        if here is None and owner and not owner.get("free"):
            log.info("%s: waiting to see whether the driver on %s is alive", self._folder.parent, owner.get("host"))
        while owner and not owner.get("free") and here is not False and time.monotonic() < until:
            if here or self._owner(number).get("renewals", owner["renewals"]) != owner["renewals"]:
                raise taken(str(self._folder.parent), owner)
            time.sleep(LOOK_S)
        return bool(owner)

    def _owner(self, number: int) -> dict[str, Any]:
        try:
            return self._folder.read_json(f"{LEASE}-{number}")
        except FileNotFoundError:
            return {}

    def _told(self, **more: Any) -> bytes:
        return json.dumps({**self._me, "renewals": self._renewals, **more}).encode()

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            self._renewals += 1
            with contextlib.suppress(OSError, EngineError):
                self._folder.write(self.name, self._told())

    def check(self) -> None:
        """EngineError when another driver has taken the run, because this one slept, or did not reach HDFS."""
        newest = max(self._numbers(), default=0)
        if self.name != f"{LEASE}-{newest}":
            raise taken(str(self._folder.parent), self._owner(newest))

    def rest(self) -> None:
        """Renew it no more; it is still held."""
        self._over.set()
        self._renewer.join(RENEW_S)  # else a renewal under way would come after a removal

    def close(self) -> None:
        """Give it back."""
        if self._closed:
            return
        self._closed = True
        self.rest()
        with contextlib.suppress(OSError, EngineError):
            if self._folder.exists(self.name):
                self._folder.write(self.name, self._told(free=True))

    def __enter__(self) -> RemoteLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def holder(folder: Folder) -> dict[str, Any]:
    """Who drives the run of a run directory, without touching its lease; nothing when nobody does.

    Of a driver on another host only the time of its last renewal tells, by the clock of the disk.
    """
    numbers = [int(n[len(LEASE) + 1 :]) for n in folder.names() if n.startswith(f"{LEASE}-") and n[-1].isdigit()]
    name = LEASE if folder.is_local else f"{LEASE}-{max(numbers, default=0)}"
    try:
        owner = folder.read_json(name)
        here = runs_here(owner)
        renews = here or (here is None and time.time() - folder.fs.modified(folder.join(name)) < STALE_S)
    except (FileNotFoundError, InputError, ValueError):  # never held, given back or torn
        return {}
    return owner if renews and not owner.get("free") else {}


def fence(folder: Folder) -> None:
    """Take a run on HDFS from whoever drives it, and give it back: that driver finds a newer number and stops."""
    numbers = [int(n[len(LEASE) + 1 :]) for n in folder.names() if n.startswith(f"{LEASE}-") and n[-1].isdigit()]
    told = {**me(), "renewals": 0, "free": True}
    folder.write(f"{LEASE}-{max(numbers, default=0) + 1}", json.dumps(told).encode())


def me() -> dict[str, Any]:
    """Who holds a lease, for the one who finds it taken."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    pid = os.getpid()
    return {"pid": pid, "host": platform.node(), "since": since, "space": _space(), "started": _started(pid)}


def runs_here(owner: dict[str, Any]) -> bool | None:
    """Whether the process that wrote this runs; None when it is of another host or container."""
    if not owner.get("space") or owner["space"] != _space():
        return None
    return _started(int(owner["pid"])) == str(owner["started"])


def _space() -> str:
    """What numbers of processes are unique in: this boot of this host, and the container; empty where not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in clock ticks; empty when there is none, or its zombie (proc(5), fields 3 and 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def taken(output: str, owner: dict[str, Any]) -> EngineError:
    """The error of the second driver."""
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('since', '?')}"
    remedy = "wait for its end, or end it and give this command again"
    return EngineError(output, f"another driver works on this run: {who}", remedy)
