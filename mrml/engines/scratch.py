"""Scratch folders that name their owner, so that what a killed run left behind is swept by the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "mrml-scratch-"


def make(cache_dir: str | None) -> Path:
    """A new folder ``mrml-scratch-<pid>-*``; those whose process is gone are removed first."""
    root = Path(cache_dir or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob(f"{PREFIX}*-*"):
        pid = old.name[len(PREFIX) :].split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
