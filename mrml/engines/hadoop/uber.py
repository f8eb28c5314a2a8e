"""Uber mode: a small round runs inside its application master, without containers of its own.

It saves the start of a map and a reduce container, one after the other.  Its tasks run one by one and once: what fails
there fails the job, so a round whose mode was chosen here runs again in containers.

The application master's container holds its own Java heap, in which the sort buffer of the tasks lies, and one Python
beside it.  Hadoop takes the mode only where that container is at least as large as a task's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from mrml.errors import ConfigError

#: of input as stored: about a second's work for the one task that then reads it all, and uber mode saves 3 s
SMALL_BYTES = 16 << 20
#: splits that Hadoop feeds one after the other, each to a Python of its own
SMALL_SPLITS = 4
#: megabytes of a task's Python: NumPy and pyarrow, a block's text and its decoded arrays
PYTHON_MB = 512
_HEAP = re.compile(r"-Xmx(\d+)([mMgG])")


class Decision(NamedTuple):
    """``properties`` of a job in uber mode, none for one in containers; ``reason`` in words."""

    properties: dict[str, str]
    reason: str

    def __bool__(self) -> bool:
        return bool(self.properties)


def decide(mode: str, n_bytes: int, n_splits: int, n_reducers: int, keys: Mapping[str, str]) -> Decision:
    """Whether a job runs in uber mode.

    Parameters
    ----------
    mode : auto, never or always.
    n_splits : that Hadoop feeds; 1 where one task reads all.
    keys : properties of the cluster and of the job.
    """
    if mode == "never":
        return Decision({}, "in containers, as --uber never says")
    memory = _memory(keys)
    most = int(keys.get("yarn.scheduler.maximum-allocation-mb") or 8192)
    too_much = _too_much(n_reducers, memory, most, keys)
    if too_much and mode == "always":
        raise ConfigError("engine, uber", too_much, "use --uber auto")
    if not too_much and mode == "auto":
        too_much = _too_large(n_bytes, n_splits)
    if too_much:
        return Decision({}, f"in containers: {too_much}")
    return Decision(
        {
            "mapreduce.job.ubertask.enable": "true",
            "mapreduce.job.ubertask.maxmaps": str(max(n_splits, 1)),
            "mapreduce.job.ubertask.maxreduces": "1",
            "mapreduce.job.ubertask.maxbytes": str(n_bytes + SMALL_BYTES),
            "yarn.app.mapreduce.am.resource.mb": str(memory),
            "yarn.app.mapreduce.am.resource.cpu-vcores": str(_most(keys, "cpu.vcores", 1)),
            "mapreduce.task.io.sort.mb": str(_sort_mb(keys)),
        },
        f"in uber mode, in the application master of {memory} MB: "
        + ("the input is small" if mode == "auto" else "as --uber always says"),
    )


def _too_much(n_reducers: int, memory: int, most: int, keys: Mapping[str, str]) -> str:
    """What Hadoop would not take in uber mode, or not give there."""
    if int(keys.get("mapreduce.map.resource.yarn.io/gpu") or 0):
        return "a map task asks for GPUs, and the application master has none"
    if n_reducers > 1:
        return f"{n_reducers} reducers, and uber mode has one"
    if memory > most:
        return f"it would need {memory} MB, and YARN gives at most {most} MB"
    return ""


def _too_large(n_bytes: int, n_splits: int) -> str:
    """What would take longer one after the other."""
    if n_bytes > SMALL_BYTES:
        return f"{n_bytes / (1 << 20):.1f} MiB of input are more than {SMALL_BYTES >> 20} MiB"
    if n_splits > SMALL_SPLITS:
        return f"{n_splits} splits are more than {SMALL_SPLITS}"
    return ""


def _memory(keys: Mapping[str, str]) -> int:
    """Megabytes of the container: the application master's own and a Python, and no less than a task's."""
    own = int(keys.get("yarn.app.mapreduce.am.resource.mb") or 1536)
    return max(own + PYTHON_MB, _most(keys, "memory.mb", 1024))


def _most(keys: Mapping[str, str], what: str, default: int) -> int:
    """The larger of what a map and a reduce task ask."""
    asked = (int(keys.get(f"mapreduce.{kind}.{what}") or default) for kind in ("map", "reduce"))
    return max(default, *asked)


def _sort_mb(keys: Mapping[str, str]) -> int:
    """Megabytes of the sort buffer: at most a quarter of the application master's heap."""
    found = _HEAP.search(keys.get("yarn.app.mapreduce.am.command-opts", "-Xmx1024m"))
    own = int(keys.get("yarn.app.mapreduce.am.resource.mb") or 1536)
    heap = int(found[1]) * (1024 if found[2] in "gG" else 1) if found else own * 4 // 5
    return max(min(int(keys.get("mapreduce.task.io.sort.mb") or 100), heap // 4), 1)
