"""One real cluster of two nodes for every test that needs Hadoop: started once, ended by its recorded processes.

Its folder depends on the checkout alone, so what a session that was killed left there is ended by the next one.
A test that kills a part of it calls ``cluster.heal()`` when it is done, or asks for the fixture ``broken``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.cluster.cluster import delete
from mrml.engines.hadoop.yarn import ResourceManager
from mrml.tools import pack

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("MRML_HADOOP_CACHE") or ROOT / ".cache" / "hadoop")
JOB_LIMIT_S = 300
#: a job takes 5 to 30 s here: the Hadoop part of the tests is to stay below 13 minutes
MOST_JOBS = 122
Run = Callable[..., str]


def skip_without_java_and_maven() -> None:
    """Whatever else is wrong is an error, and no reason to skip."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("Java is not installed: Hadoop needs Java 17")
    if not (shutil.which("mvn") or list(CACHE.glob("jars-*/whole.json"))):
        pytest.skip("Maven is not installed: Hadoop's jars come through it")


def fresh(name: str) -> Path:
    """A folder for a cluster, empty, and nothing of this name runs."""
    own = f"{ROOT}{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    folder = Path(tempfile.gettempdir(), f"mrml-{name}-{os.getuid()}-{zlib.crc32(own.encode()):08x}")
    if (folder / "cluster.json").exists():
        Cluster.open(folder).down()
        delete(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """mrml and links to what it needs: enough on this machine, and small."""
    pytest.importorskip("venv_pack", reason="the extra `pack` is not installed")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "env", symlinks=True, with_pip=False)
    site = next((folder / "env").glob("lib/python*/site-packages"))
    (site / "theirs.pth").write_text("".join(f"{p}\n" for p in sys.path if p.endswith("site-packages")))
    return pack.pack(str(folder / "env.tar.gz"), prefix=str(folder / "env")).path


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """HDFS and YARN of two nodes, and the JobHistoryServer; with MRML_TEST_CLUSTER=FOLDER one that runs already."""
    if running := os.environ.get("MRML_TEST_CLUSTER"):
        yield Cluster.open(running)
        return
    skip_without_java_and_maven()
    folder = fresh("test-cluster")
    failed = request.session.testsfailed
    with Cluster.up(2, folder, cache=CACHE, java_home=os.environ.get("JAVA_HOME", "")) as cluster:
        yield cluster
        metrics = ResourceManager(cluster.resourcemanager_url).metrics()
        assert metrics["appsSubmitted"] <= MOST_JOBS, f"{metrics['appsSubmitted']} jobs, the limit is {MOST_JOBS}"
        print(f"\n{metrics['appsSubmitted']} YARN jobs")
    assert not [d.name for d in cluster.daemons if d.alive] and not cluster.containers()
    if request.session.testsfailed == failed:  # else its logs may tell why
        delete(folder)


@pytest.fixture
def broken(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster for a test that kills a part of it; whole again for the next one."""
    yield cluster
    cluster.heal()


@pytest.fixture(scope="session")
def environment(cluster: Cluster) -> dict[str, str]:
    """Variables by which Hadoop's clients and Python's find the cluster, and all others."""
    own = cluster.environment()
    return {**os.environ, **own, "PATH": own["PATH"] + os.pathsep + os.environ["PATH"]}


@pytest.fixture
def client(cluster: Cluster, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, with that environment in this process."""
    for name, value in cluster.environment().items():  # one that got a server of Oozie later has its address too
        monkeypatch.setenv(name, environment.get(name, value))
    return cluster


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Run:
    """``run("hadoop", "fs", "-ls", "/")`` is what that printed."""

    def call(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=JOB_LIMIT_S, env=environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return call
