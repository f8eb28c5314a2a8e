"""Java, and the jars of Hadoop and of Oozie from Maven, fetched once into a cache folder.

A folder is named by the checksum of its ``pom.xml`` and renamed into place when it is whole, so that a fetch that was
interrupted is never taken for one, and a changed ``pom.xml`` is fetched anew.  Hadoop: 191 jars, 102 MB; Oozie: 40
jars, 18 MB.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from mrml.errors import EngineError


class Jars(NamedTuple):
    """``name`` for people, the ``pom`` that lists the jars, what one of them begins with, and their size together."""

    name: str
    pom: Path
    prefix: str
    size: str

    def folder(self, cache: Path) -> Path:
        """Where they lie below a cache folder."""
        return cache.absolute() / f"jars-{hashlib.sha256(self.pom.read_bytes()).hexdigest()[:12]}"


HADOOP = Jars("Hadoop", Path(__file__).with_name("pom.xml"), "hadoop-", "102 MB")
OOZIE = Jars("Oozie", Path(__file__).with_name("pom-oozie.xml"), "oozie-", "18 MB")
#: Hadoop 3.5 asks for Java 17; 21 runs its clients
JAVA_LOWEST = 17
FETCH_LIMIT_S = 1800
_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_WHOLE = "whole.json"
_UNREACHABLE = ("could not transfer", "unknown host", "connection refused", "timed out", "offline mode", "not resolve")

log = logging.getLogger(__name__)


def find_java(java_home: str = "") -> Path:
    """The ``java`` of a JAVA_HOME, or else of the PATH; EngineError when there is none or it is too old."""
    java = os.path.join(java_home, "bin", "java") if java_home else shutil.which("java")
    if java is None or not os.access(java, os.X_OK):
        finding = f"{java} is not a program" if java else "Java is not installed"
        raise EngineError("Java", finding, f"install Java {JAVA_LOWEST}, or point JAVA_HOME at one")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', told.stderr + told.stdout)
    if version is None:
        raise EngineError(java, "does not print its version", "check that `java -version` works")
    if int(version[1]) < JAVA_LOWEST:
        remedy = f"install Java {JAVA_LOWEST}, or point JAVA_HOME at one"
        raise EngineError(java, f"is Java {version[1]}, and Hadoop needs {JAVA_LOWEST} or newer", remedy)
    return Path(os.path.realpath(java))


def fetch_jars(cache: Path, jars: Jars = HADOOP) -> Path:
    """The folder of jars below ``cache``, fetched when it is not there whole."""
    folder = jars.folder(cache)
    if _is_whole(folder):
        return folder
    mvn = shutil.which("mvn")
    if mvn is None:
        finding = f"is not installed, and {jars.name}'s jars are not fetched yet"
        raise EngineError("Maven", finding, "install Maven (mvn)")
    _make_folder(folder.parent)
    begun = time.monotonic()
    log.info("fetching %s with Maven into %s: %s, once", jars.name, folder, jars.size)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=folder.parent) as scratch:
        target = Path(scratch, "jars")
        _copy_dependencies(mvn, jars, target, Path(scratch))
        sizes = {p.name: p.stat().st_size for p in sorted(target.glob("*.jar"))}
        (target / _WHOLE).write_text(json.dumps(sizes, indent=1))
        _put(target, folder)
    log.info("fetched %d jars, %.0f MB in %.0f s", len(sizes), sum(sizes.values()) / 1e6, time.monotonic() - begun)
    return folder


def _put(target: Path, folder: Path) -> None:
    """Rename what was fetched into place, unless another process was faster."""
    if _is_whole(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        target.rename(folder)
    except OSError:
        if not _is_whole(folder):
            raise


def _is_whole(folder: Path) -> bool:
    """Whether every jar is there with the size it had when Maven was done."""
    try:
        sizes = json.loads((folder / _WHOLE).read_text())
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            str(cache), f"cannot be made: {error.strerror}", "name another folder with --cache"
        ) from error


def _copy_dependencies(mvn: str, jars: Jars, target: Path, scratch: Path) -> None:
    # outside of any project, and a copy: Maven looks around where the pom lies
    pom = shutil.copy(jars.pom, scratch / "pom.xml")
    command = [mvn, "-B", "-q", "-f", str(pom), _GOAL, "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    said = scratch / "mvn.log"
    try:
        with said.open("w") as out:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=FETCH_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        finding = f"had not fetched {jars.name} after {FETCH_LIMIT_S} s"
        raise EngineError("Maven", finding, "try again: it continues") from error
    if done.returncode or not any(target.glob(f"{jars.prefix}*.jar")):
        raise _failure(said.read_text(errors="replace"), done.returncode, jars.pom)


def _failure(said: str, code: int, pom: Path) -> EngineError:
    """What Maven's output says went wrong, in one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    errors = [e.strip() for e in re.findall(r"^\[ERROR\]\s*(.+)$", plain, re.M)] or plain.strip().splitlines()[-1:]
    line = next((e for e in errors if any(u in e.lower() for u in _UNREACHABLE)), "")
    if line:
        remedy = "check the network, or the mirror and proxy in Maven's settings.xml; what was fetched is kept"
        return EngineError("Maven", f"cannot reach its repository: {line[:300]}", remedy)
    finding = f"ended with exit code {code}: {errors[0][:300] if errors else 'it said nothing'}"
    return EngineError("Maven", finding, f"run `mvn -f {pom} dependency:tree` to see it whole")
