"""What a check finds, and how bad it is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mrml.errors import MrmlError

OK, WARN, FAIL = "ok", "warn", "fail"
GIB = 1 << 30


class Finding(NamedTuple):
    """``level`` ok, warn or fail; ``remedy`` is empty for ok."""

    level: str
    check: str
    text: str
    remedy: str = ""


Check = Callable[[], "Finding | list[Finding]"]


def examine(name: str, check: Check) -> list[Finding]:
    """The findings of a check; an error of it is one."""
    try:
        found = check()
    except MrmlError as error:
        return [Finding(FAIL, name, f"{error.place}: {error.finding}", error.remedy)]
    except (OSError, subprocess.SubprocessError) as error:
        return [Finding(FAIL, name, str(error), "see the log of that service")]
    return found if isinstance(found, list) else [found]


def worst(findings: Iterable[Finding]) -> str:
    """The level of the worst finding."""
    levels = {f.level for f in findings}
    return next((level for level in (FAIL, WARN) if level in levels), OK)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    began = time.monotonic()
    value = call()
    return value, time.monotonic() - began


def gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:,.1f} GiB" if n_bytes >= GIB // 10 else f"{n_bytes / (1 << 20):,.1f} MiB"
