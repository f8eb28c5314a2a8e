"""A small round goes into its application master, where Hadoop would take it and it is quicker."""

from __future__ import annotations

import pytest

from mrml.engines.hadoop.uber import SMALL_BYTES, decide
from mrml.errors import ConfigError

SMALL = (1 << 20, 1, 1)


@pytest.mark.parametrize(
    ("mode", "size", "keys", "said"),
    [
        ("never", SMALL, {}, "never"),
        ("auto", (SMALL_BYTES + 1, 1, 1), {}, "16.0 MiB of input are more than 16 MiB"),
        ("auto", (1, 5, 1), {}, "5 splits"),
        ("auto", (1, 1, 2), {}, "2 reducers"),
        ("auto", SMALL, {"yarn.scheduler.maximum-allocation-mb": "2000"}, "2048 MB, and YARN gives at most 2000 MB"),
    ],
)
def test_what_is_large_or_not_taken_runs_in_containers(
    mode: str, size: tuple[int, int, int], keys: dict[str, str], said: str
) -> None:
    found = decide(mode, *size, keys)
    assert not found and not found.properties and said in found.reason


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"yarn.app.mapreduce.am.resource.mb": "512", "yarn.app.mapreduce.am.command-opts": "-Xmx384m"},
        {"mapreduce.map.memory.mb": "4096", "mapreduce.reduce.cpu.vcores": "2"},
        {"yarn.app.mapreduce.am.command-opts": "-Xmx1g -server", "mapreduce.task.io.sort.mb": "512"},
    ],
)
def test_its_container_is_no_smaller_than_a_tasks_and_holds_the_heap_with_the_buffer_and_a_python(
    keys: dict[str, str],
) -> None:
    found = {**keys, **decide("auto", *SMALL, keys).properties}
    memory = int(found["yarn.app.mapreduce.am.resource.mb"])
    # JobImpl.makeUberDecision of Hadoop 3.5.0
    assert memory >= max(int(found.get(f"mapreduce.{k}.memory.mb", 1024)) for k in ("map", "reduce"))
    cores = [int(found.get(f"mapreduce.{k}.cpu.vcores", 1)) for k in ("map", "reduce")]
    assert int(found["yarn.app.mapreduce.am.resource.cpu-vcores"]) >= max(cores)
    assert (
        int(found["mapreduce.job.ubertask.maxmaps"]) >= 1 and int(found["mapreduce.job.ubertask.maxbytes"]) > SMALL[0]
    )
    heap = {"-Xmx384m": 384}.get(keys.get("yarn.app.mapreduce.am.command-opts", ""), 1024)
    assert memory >= heap + 512 and int(found["mapreduce.task.io.sort.mb"]) * 4 <= heap


def test_always_is_refused_only_where_it_cannot_be() -> None:
    assert decide("always", 1 << 40, 1000, 1, {})
    with pytest.raises(ConfigError, match="2 reducers, and uber mode has one; use --uber auto"):
        decide("always", 1, 1, 2, {})


def test_a_task_that_asks_for_gpus_runs_in_a_container_of_its_own() -> None:
    keys = {"mapreduce.map.resource.yarn.io/gpu": "1"}
    assert not decide("auto", *SMALL, keys)
    assert "GPUs" in decide("auto", *SMALL, keys).reason
    with pytest.raises(ConfigError, match="GPUs"):
        decide("always", *SMALL, keys)
