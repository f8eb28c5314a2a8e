"""What stands between this machine and a run: Python, Java, room for decoded blocks, the inputs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from mrml import pin
from mrml.config.sections import DataConfig
from mrml.tools.doctor.findings import FAIL, GIB, OK, WARN, Finding, gib
from mrml.version import __version__


def python() -> Finding:
    """Versions here, and the kernels' fingerprint."""
    import numpy as np

    from mrml.kernels.fingerprint import fingerprint

    versions = f"{platform.python_version()}, mrml {__version__}, NumPy {np.__version__}"
    return Finding(OK, "python", f"{versions}, kernels {fingerprint()}")


def pinned() -> Finding:
    """Whether this process computes as every other does."""
    if pin.pinned():
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
