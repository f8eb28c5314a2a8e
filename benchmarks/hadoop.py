"""What a round costs on a cluster, beside a bare ``cat | wc -l`` Streaming job on the same one, taken in turns.

    python benchmarks/hadoop.py [REPEATS]      # on the cluster of HADOOP_CONF_DIR, else on one of its own

Seconds are medians.  Where they go is read from the ResourceManager and the history server.  Exit code 1 when a round
costs more than 1.0 s above the bare job, or starts more client JVMs than one.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrml
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.engines.hadoop import engine as hadoop
from mrml.engines.hadoop.yarn import ResourceManager, configuration
from mrml.fs.folder import Folder
from mrml.runs import setup
from mrml.runs.fit import Checkpoint, fit

LIMIT_S = 1.0
N_ROWS = 20_000
WAYS: dict[str, dict[str, Any]] = {
    "round": {"uber": "never"},
    "round, --feed stream": {"uber": "never", "feed": "stream"},
    "round, --uber auto": {"uber": "auto"},
}
PHASES = ("stage and submit", "to its master", "to its first map", "maps", "reduce", "to the result")


def main(repeats: int) -> int:
    with cluster(), tempfile.TemporaryDirectory() as scratch:
        place = Folder(f"{configuration()['fs.defaultFS']}/benchmark-hadoop")
        place.remove()
        place.make()
        place.write("rows.csv", b"a,b\n" + b"".join(b"%d,%d\n" % (i * 7919 % 1000, i * i % 997) for i in range(N_ROWS)))
        bare(place)  # the first job after a start is slower
        took: dict[str, list[float]] = {"bare job": [], "bare job, uber mode": [], **{way: [] for way in WAYS}}
        parts: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        clients = 0
        for i in range(repeats):
            took["bare job"].append(bare(place))
            took["bare job, uber mode"].append(bare(place, uber=True))
            for way, options in WAYS.items():
                seconds, phases, n_clients = rounds(place, Path(scratch, f"{i}-{len(took[way])}-{len(way)}"), options)
                took[way] += seconds
                parts[way] += phases
                clients = max(clients, n_clients)
        place.remove()
    return report(took, parts, clients)


def report(took: dict[str, list[float]], parts: dict[str, list[list[float]]], clients: int) -> int:
    print(f"mrml {mrml.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; seconds, medians")
    for name, seconds in took.items():
        print(f"  {name:22} {statistics.median(seconds):6.2f}   of {', '.join(f'{s:.2f}' for s in seconds)}")
    print("where they go:")
    print("  " + " " * 22 + "".join(f"{p:>18}" for p in PHASES))
    for way, rows in parts.items():
        print(f"  {way:22}" + "".join(f"{statistics.median(c):18.2f}" for c in zip(*rows, strict=True)))
    more = statistics.median(took["round"]) - statistics.median(took["bare job"])
    more_uber = statistics.median(took["round, --uber auto"]) - statistics.median(took["bare job, uber mode"])
    print(
        f"a round costs {more:+.2f} s beside the bare job (bar: at most +{LIMIT_S:.1f}), {more_uber:+.2f} in uber mode"
    )
    print(f"client JVMs a round: {clients} (bar: 1)")
    return int(more > LIMIT_S or clients != 1)


def bare(place: Folder, uber: bool = False) -> float:
    """Seconds of ``cat | wc -l`` over two map tasks, from the command to its end."""
    output = place / "bare"
    output.remove()
    conf = {"mapreduce.job.reduces": "1", "mapreduce.job.maps": "2"}
    if uber:
        conf |= {"mapreduce.job.ubertask.enable": "true", "yarn.app.mapreduce.am.resource.mb": "1024"}
    words = [word for k, v in conf.items() for word in ("-D", f"{k}={v}")]
    job = ["-input", place.join("rows.csv"), "-output", output.path, "-mapper", "cat", "-reducer", "wc -l"]
    began = time.monotonic()
    command = [hadoop.find_hadoop(), "jar", hadoop.find_streaming_jar(), *words, *job]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return time.monotonic() - began


def rounds(place: Folder, scratch: Path, options: dict[str, Any]) -> tuple[list[float], list[list[float]], int]:
    """Seconds of two rounds of k-means, their phases, and client JVMs a round."""
    scratch.mkdir()
    data = DataConfig(data=(place.join("rows.csv"),), window_bytes=1 << 16, split_bytes=1 << 16)
    engine = EngineConfig(engine="streaming", runner="hadoop", workers=2, **options)
    config = RunConfig("kmeans", {"k": 2}, data, engine)
    dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
    edges = []
    with counted_clients(scratch) as calls, setup.engine_of(engine, data.split_bytes) as running:
        began = time.time()
        edges.append(began)
        fit(pipeline, dataset, running, Checkpoint(scratch / "rounds"), lambda _: edges.append(time.time()), 2)
        found = apps(getattr(running, "run_id", ""))
        n_clients = calls() // 2
    seconds = [b - a for a, b in itertools.pairwise(edges)]
    return (
        seconds,
        [phases(app, *edge) for app, edge in zip(found, itertools.pairwise(edges), strict=True)],
        n_clients,
    )


@contextmanager
def counted_clients(scratch: Path) -> Iterator[Callable[[], int]]:
    """How often the hadoop command is started."""
    calls, wrapper, find = scratch / "calls", scratch / "hadoop", hadoop.find_hadoop
    wrapper.write_text(f'#!/bin/sh\necho "$1" >> {calls}\nexec {find()} "$@"\n')
    wrapper.chmod(0o755)
    hadoop.find_hadoop = lambda: str(wrapper)
    try:
        yield lambda: len(calls.read_text().split())
    finally:
        hadoop.find_hadoop = find


def apps(run_id: str) -> list[str]:
    """Ids of the applications of a run, the oldest first."""
    return [app.id for app in reversed(ResourceManager.of(configuration()).by_tag(run_id))]


def phases(app: str, began: float, ended: float) -> list[float]:
    """Seconds of each of ``PHASES``."""
    keys = configuration()
    there = get(f"{ResourceManager.of(keys).url}/ws/v1/cluster/apps/{app}")["app"]
    history = f"http://{keys['mapreduce.jobhistory.webapp.address']}/ws/v1/history/mapreduce"
    base = f"{history}/jobs/{app.replace('application', 'job')}"
    job, tasks = waited(lambda: (get(base)["job"], rows(get(f"{base}/tasks")["tasks"]["task"])))
    maps = [t for t in tasks if t["type"] == "MAP"]
    reduces = [t for t in tasks if t["type"] == "REDUCE"]
    edges = [began, there["startedTime"] / 1e3, job["startTime"] / 1e3, min(t["startTime"] for t in maps) / 1e3]
    edges += [max(t["finishTime"] for t in side) / 1e3 for side in (maps, reduces)]
    edges.append(ended)
    return [b - a for a, b in itertools.pairwise(edges)]


def rows(found: Any) -> list[Any]:
    """Of a list of one, Hadoop tells the one alone."""
    return found if isinstance(found, list) else [found]


def waited(call: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """What a call returns once the history of a job is written."""
    until = time.monotonic() + limit_s
    while True:
        try:
            return call()
        except (OSError, KeyError):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def get(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster that the environment names, else one of two nodes that ends with the benchmark."""
    if os.environ.get("HADOOP_CONF_DIR"):
        yield
        return
    from mrml.cluster import Cluster

    folder = Path(tempfile.mkdtemp(prefix="mrml-benchmark-")) / "cluster"
    cache = os.environ.get("MRML_HADOOP_CACHE", ".cache/hadoop")
    with Cluster.up(2, folder, cache=Path(cache), java_home=os.environ.get("JAVA_HOME", "")) as up:
        os.environ.update(up.environment() | {"PATH": os.environ["PATH"]})
        yield
    shutil.rmtree(folder.parent)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
