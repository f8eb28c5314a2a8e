"""What stands between this machine and a run, found before the run does: one finding a line, with its remedy.

Floor 4.  Every check returns findings and raises nothing that ends the others; the checks of a cluster come in the
order in which a run would meet them, and what cannot be asked once something is unreachable is left out.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mrml import pin
from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import MrmlError
from mrml.version import __version__

OK, WARN, FAIL = "ok", "warn", "fail"
GIB = 1 << 30
#: seconds of a NameNode's answer that slow every round
SLOW_S = 1.0


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


def doctor(engine: EngineConfig, data: DataConfig) -> list[Finding]:
    """Every finding, those of this machine first."""
    checks: list[tuple[str, Check]] = [
        ("python", python),
        ("numpy pinned", pinned),
        ("scratch", lambda: scratch(engine.cache_dir or tempfile.gettempdir())),
    ]
    if engine.runner == "hadoop":
        from mrml.doctor.hadoop import checks as of_cluster

        checks += of_cluster(engine)
    if data.data:
        checks.append(("inputs", lambda: inputs(data)))
    findings: list[Finding] = []
    for name, check in checks:
        findings += examine(name, check)
    return findings


def python() -> Finding:
    """Versions here, and the kernels' fingerprint."""
    import numpy as np

    from mrml.kernels.fingerprint import fingerprint

    versions = f"{platform.python_version()}, mrml {__version__}, NumPy {np.__version__}"
    return Finding(OK, "python", f"{versions}, kernels {fingerprint()}")


def pinned() -> Finding:
    """Whether this process computes as every other does."""
    if pin.PINNED:
        return Finding(OK, "numpy pinned", "one thread, one instruction set")
    remedy = "import mrml before NumPy, or export the variables of mrml.pin"
    return Finding(WARN, "numpy pinned", "NumPy was loaded before mrml could pin it", remedy)


def scratch(folder: str) -> Finding:
    """Room for decoded blocks."""
    place = Path(folder)
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Finding(FAIL, "scratch", f"{folder} cannot be written", "name another with --cache-dir")
    free = shutil.disk_usage(place).free
    level = FAIL if free < GIB // 10 else WARN if free < 2 * GIB else OK
    return Finding(level, "scratch", f"{folder}: {gib(free)} free", "name another with --cache-dir" * (level != OK))


def inputs(data: DataConfig) -> list[Finding]:
    """Files that one task must read alone."""
    from mrml.data.files import discover

    files = discover(data.data)
    found = []
    whole = [f for f in files if not f.splittable and f.size > data.split_bytes]
    for file in whole[:5]:
        remedy = "write it as Parquet, or as several files"
        text = f"{file.name}: {file.size >> 20} MiB of {file.compression or 'one piece'} are read by one task"
        found.append(Finding(WARN, "inputs", text, remedy))
    if data.multiline:
        found.append(Finding(WARN, "inputs", "multiline: no file can be split", "write Parquet, or escape newlines"))
    if len(files) > 1000 and sum(f.size for f in files) / len(files) < 1 << 20:
        found.append(Finding(WARN, "inputs", f"{len(files)} small files", "merge them: opening each costs seconds"))
    total = sum(f.size for f in files)
    return found or [
        Finding(OK, "inputs", f"{len(files)} file{'s' * (len(files) > 1)}, {gib(total)}, all can be split")
    ]


def java_version() -> Finding:
    """The Java that Hadoop's client would start."""
    home = pin.environment().get("JAVA_HOME")
    command = shutil.which(f"{home}/bin/java") if home else shutil.which("java")
    if command is None:
        text = f"no bin/java below JAVA_HOME {home}" if home else "not found"
        return Finding(FAIL, "java", text, "install Java 17, or export JAVA_HOME")
    done = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=30)
    found = re.search(r'version "([^"]+)"', done.stderr + done.stdout)
    if done.returncode or found is None:
        return Finding(FAIL, "java", f"{command} does not run", "install Java 17, or export JAVA_HOME")
    return Finding(OK, "java", f"{found[1]}, {command}")


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    began = time.monotonic()
    value = call()
    return value, time.monotonic() - began


def gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:,.1f} GiB" if n_bytes >= GIB // 10 else f"{n_bytes / (1 << 20):,.1f} MiB"
