"""Work in a child that is gone, as by SIGKILL, at a chosen call of the file system."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mrml.fs.base import LocalFileSystem

#: what changes a file system
CALLS = ("open", "mv", "makedirs", "rm")


def die_at(call: int, work: Callable[[], Any]) -> int:
    """Do the work in a child that is gone at its call-th call of the file system; its exit code, 9 where it died."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = [call]

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os._exit(9)
            return original(*args, **named)

        return wrapped

    try:
        for name in CALLS:
            setattr(LocalFileSystem, name, dying(getattr(LocalFileSystem, name)))
        os._exit(int(work() or 0))
    finally:
        os._exit(1)
