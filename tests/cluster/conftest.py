"""Programs that stand for Java and Maven, and jars that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml.cluster.jars import HADOOP, OOZIE

JARS = {
    HADOOP: ("hadoop-common-3.5.0.jar", "hadoop-streaming-3.4.2.jar"),
    OOZIE: ("oozie-server-5.2.1.jar", "oozie-sharelib-oozie-5.2.1.jar", "oozie-sharelib-streaming-5.2.1.jar"),
}
Program = Callable[[str, str], Path]
#: tells a version, formats the name folder, and fails as any daemon
JAVA = """
case "$*" in
  -version) echo 'openjdk version "17.0.1"' >&2;;
  *-format*) home=$(dirname "$HADOOP_CONF_DIR"); mkdir -p "$home/data/namenode/current"
             : > "$home/data/namenode/current/VERSION";;
  *OozieDBCLI*) for word; do last=$sql; sql=$word; done; : > "$last";;
  *) DAEMON;;
esac
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """``program("mvn", script)`` puts one on a PATH that has the system's small tools and neither Java nor Maven."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "dirname", "mkdir", "sleep", "env", "cat"):
        (folder / tool).symlink_to(next(p for p in (Path("/bin", tool), Path("/usr/bin", tool)) if p.exists()))
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> Path:
        aside = folder / f".{name}"  # one that runs cannot be written to
        aside.write_text(f"#!/bin/sh\n{script}\n")
        aside.chmod(0o755)
        return aside.rename(folder / name)

    return write


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds the jars, as far as anybody can see."""
    for jars, names in JARS.items():
        folder = jars.folder(tmp_path / "cache")
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(name)
        (folder / "whole.json").write_text(json.dumps({name: len(name) for name in names}))
    return tmp_path / "cache"
