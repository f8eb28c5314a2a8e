"""Scratch folders that their owner holds a lock on, so that what a killed run left behind is swept by the next one.

The kernel's lock on a file in the folder says whether the owner lives: it is right across containers that share the
disk and do not see each other's processes, and goes with the owner however that ends.  A process id would not do: the
owner may live in another namespace, or on another host.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mrml.errors import EngineError
from mrml.logs import size

PREFIX = "mrml-scratch-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: the file that the owner holds its lock on
OWNER = "owner"
#: descriptors of the locks of this process, by folder: they go with it
_held: dict[Path, int] = {}


def full(place: Path, n_bytes: int | None = None) -> EngineError:
    """The error of a disk without room for ``n_bytes`` at a place."""
    there = next(p for p in (place, *place.parents) if p.exists())
    free = shutil.disk_usage(there).free
    needed = "" if n_bytes is None else f"{size(n_bytes)} are needed and "
    remedy = "make room there, or name another folder with --cache-dir"
    return EngineError(str(place), f"the disk is full: {needed}{size(free)} are free", remedy)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a disk is full."""
    while error is not None and not (isinstance(error, OSError) and error.errno in _FULL):
        error = error.__cause__ or error.__context__
    return error is not None


@contextlib.contextmanager
def room(place: Path, n_bytes: int | None = None) -> Iterator[None]:
    """A full disk met while ``n_bytes`` are written to a place is told as what it is."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise full(place, n_bytes) from error


def make(cache_dir: str | None) -> Path:
    """A new folder ``mrml-scratch-<pid>-*``; those whose owner is gone are removed first."""
    root = Path(cache_dir or tempfile.gettempdir())
    with room(root):
        root.mkdir(parents=True, exist_ok=True)
        return _made(root)


def _made(root: Path) -> Path:
    for old in root.glob(f"{PREFIX}*-*"):
        _sweep(old)
    # it gets its name when it is locked already: nobody sees it without its owner
    aside = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=root))
    held = os.open(aside / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: then nobody sweeps it either
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = root / f"{PREFIX}{os.getpid()}-{aside.name.removeprefix('.' + PREFIX)}"
    aside.rename(folder)
    _held[folder] = held
    return folder


def locks() -> tuple[int, ...]:
    """Descriptors of the locks of this process, which a fork lets go of.

    Else a folder would seem to have an owner for as long as a worker takes to end after its driver.
    """
    return tuple(_held.values())


def remove(folder: Path) -> None:
    """Remove a folder of this process, and give its lock back."""
    shutil.rmtree(folder, ignore_errors=True)
    held = _held.pop(folder, None)
    if held is not None:
        os.close(held)


def _sweep(old: Path) -> None:
    """Remove a folder whose lock nobody holds; what has no lock, or cannot be removed, stays."""
    try:
        lock = os.open(old / OWNER, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return  # its owner lives, or locks are not to be had here
    finally:
        os.close(lock)
