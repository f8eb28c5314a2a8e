"""What YARN can ever give is known before a job is submitted: answers as Hadoop's ResourceManagers give them."""

from __future__ import annotations

from typing import Any

import pytest

from mrml.config.sections import EngineConfig
from mrml.engines.hadoop import limits
from mrml.errors import ConfigError, EngineError


def amount(memory: int, cores: int, **more: int) -> dict[str, Any]:
    """A resource as Hadoop 3 tells it."""
    kinds = {"memory-mb": memory, "vcores": cores, **{f"yarn.io/{k}": v for k, v in more.items()}}
    told = [{"name": name, "value": value} for name, value in kinds.items()]
    return {"memory": memory, "vCores": cores, "resourceInformations": {"resourceInformation": told}}


def queue(name: str, **more: Any) -> dict[str, Any]:
    return {"queueName": name.rpartition(".")[2], "queuePath": name, "state": "RUNNING", **more}


def capacity(*queues: dict[str, Any], most: dict[str, Any] | None = None) -> dict[str, Any]:
    root = {"type": "capacityScheduler", "queueName": "root", "queuePath": "root", "queues": {"queue": list(queues)}}
    return {"schedulerInfo": {**root, "maximumAllocation": most or amount(6144, 4)}}


NODES = [{"state": "RUNNING", "usedMemoryMB": 1000, "availMemoryMB": 7192, "usedVirtualCores": 1,
          "availableVirtualCores": 7, "totalResource": amount(8192, 8)}]  # fmt: skip
TREE = (queue("root.a", queues={"queue": [queue("root.a.etl"), queue("root.a.old", state="STOPPED")]}),
        queue("root.small", maximumAllocation=amount(2048, 2)))  # fmt: skip


class Manager:
    """A ResourceManager that tells this; None: it does not answer such questions."""

    def __init__(self, scheduler: dict[str, Any] | None, nodes: list[dict[str, Any]] | None = None) -> None:
        self._scheduler, self._nodes = scheduler, NODES if nodes is None else nodes

    def scheduler(self) -> dict[str, Any]:
        if self._scheduler is None:
            raise EngineError("ResourceManager", "answers 403 to GET /ws/v1/cluster/scheduler")
        return self._scheduler

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


def check(manager: Any, **asked: Any) -> dict[str, str]:
    config = EngineConfig(engine="streaming", runner="hadoop", **asked)
    named = {"mapreduce.job.queuename": config.queue} if config.queue else {}
    return limits.check(config, {**named, **config.properties()}, manager)


@pytest.mark.parametrize(("asked", "said"), [
    ({"memory_mb": 6145}, "engine, memory_mb: asks for a container of 6145 MB, and YARN gives at most 6144; ask for "),
    ({"vcores": 5}, "engine, vcores: asks for a container of 5 cores, and YARN gives at most 4; ask for 4 or less"),
    ({"gpus_per_task": 1}, "engine, gpus_per_task: asks for a container of 1 GPUs, and YARN gives at most 0; no node "),
    ({"jobconf": ("mapreduce.reduce.memory.mb=9000",)}, "engine, jobconf, mapreduce.reduce.memory.mb: asks for"),
    ({"jobconf": ("yarn.app.mapreduce.am.resource.mb=9000",)}, "engine, jobconf, yarn.app.mapreduce.am.resource.mb"),
    ({"memory_mb": 100, "jobconf": ("mapreduce.map.memory.mb=9000",)}, "engine, jobconf, mapreduce.map.memory.mb"),
    ({"memory_mb": 4096, "queue": "small"}, "a container of 4096 MB, and YARN gives at most 2048"),
    ({"queue": "nope"}, "engine, queue: YARN has no queue 'nope' for jobs; take one of: etl, small"),
    ({"queue": "a"}, "engine, queue: YARN has no queue 'a' for jobs"),
    ({"queue": "old"}, "engine, queue: old is stopped; take one of: etl, small"),
])  # fmt: skip
def test_what_yarn_can_never_give_is_refused_with_what_it_can(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(Manager(capacity(*TREE)), **asked)
    assert said in str(refused.value) and refused.value.exit_code == 2 and refused.value.remedy


@pytest.mark.parametrize("asked", [
    {}, {"memory_mb": 6144, "vcores": 4}, {"queue": "etl"}, {"queue": "root.a.etl"},
    {"queue": "small", "memory_mb": 2048},
    {"jobconf": ("mapreduce.map.memory.mb=${other}",)},
])  # fmt: skip
def test_what_it_can_give_is_not(asked: dict[str, Any]) -> None:
    check(Manager(capacity(*TREE)), **asked)


def test_no_node_is_larger_than_the_largest_also_where_the_scheduler_would_allow_more() -> None:
    manager = Manager(capacity(*TREE, most=amount(1 << 20, 64, gpu=8)))
    assert check(manager, memory_mb=8192, vcores=8) == {"yarn.scheduler.maximum-allocation-mb": "8192"}
    with pytest.raises(ConfigError, match="gives at most 8192"):
        check(manager, memory_mb=8193)
    with pytest.raises(ConfigError, match="at most 0; no node has"):
        check(manager, gpus_per_task=1)
    both = Manager(capacity(most=amount(1 << 20, 64, gpu=8)), [*NODES, {"totalResource": amount(4096, 2, gpu=2)}])
    check(both, gpus_per_task=2)


@pytest.mark.parametrize("scheduler", [
    None,  # does not tell
    {"schedulerInfo": {"type": "fairScheduler", "rootQueue": {"queueName": "root"}}},  # makes queues
    capacity(queue("root.users", autoCreationEligibility="flexible")),
    capacity(queue("root.users", autoCreateChildQueueEnabled=True)),
])  # fmt: skip
def test_a_queue_that_the_scheduler_may_make_is_no_mistake(scheduler: dict[str, Any] | None) -> None:
    check(Manager(scheduler), queue="alice")


def test_a_cluster_of_hadoop_2_and_one_whose_nodes_are_all_away() -> None:
    old = [{k: v for k, v in NODES[0].items() if k != "totalResource"}]
    two = {"schedulerInfo": {"type": "capacityScheduler", "queueName": "root", "queues": {"queue": list(TREE)}}}
    with pytest.raises(ConfigError, match="gives at most 8192"):
        check(Manager(two, old), memory_mb=9000)
    lost = [{"state": "LOST", "usedMemoryMB": 0, "availMemoryMB": 0, "usedVirtualCores": 0, "availableVirtualCores": 0}]
    assert check(Manager(two, lost), memory_mb=9000) == {}
    assert check(Manager(two, []), memory_mb=9000) == {}
