"""What YARN can ever give, asked of the ResourceManager before a job is submitted: its queues, its largest container.

A job that asks for more, or in a queue that is not there, is submitted, waits, starts a Java process or two and is
refused then; to try it again changes nothing.  Where the ResourceManager does not tell, YARN refuses as it always did.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mrml.config.sections import EngineConfig
from mrml.engines.hadoop.yarn import ResourceManager
from mrml.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

#: so many queues are named to somebody who asked for another
MOST_NAMED = 30
MEMORY, CORES, GPUS = "memory-mb", "vcores", "yarn.io/gpu"
_MOST_MEMORY = "yarn.scheduler.maximum-allocation-mb"
_UNITS = {MEMORY: "MB", CORES: "cores", GPUS: "GPUs"}
#: which option asks for a resource
_OPTIONS = {MEMORY: "memory_mb", CORES: "vcores", GPUS: "gpus_per_task"}
#: properties that ask for a resource of one container (mapred-default.xml of Hadoop 3.5.0)
_ASKING = {
    **{f"mapreduce.{kind}.memory.mb": MEMORY for kind in ("map", "reduce")},
    **{f"mapreduce.{kind}.cpu.vcores": CORES for kind in ("map", "reduce")},
    **{f"mapreduce.{kind}.resource.{name}": name for kind in ("map", "reduce") for name in _UNITS},
    "yarn.app.mapreduce.am.resource.mb": MEMORY,
    "yarn.app.mapreduce.am.resource.cpu-vcores": CORES,
    **{f"yarn.app.mapreduce.am.resource.{name}": name for name in _UNITS},
}


class Limits(NamedTuple):
    """``queues`` as the scheduler tells them, none where it makes them as they are asked for; ``most`` of a resource
    that it gives to one container, by its name."""

    queues: tuple[dict[str, Any], ...] = ()
    most: Mapping[str, int] = {}


def check(config: EngineConfig, jobconf: Mapping[str, str], manager: ResourceManager) -> dict[str, str]:
    """What the ResourceManager tells of its largest container, as the property that this machine's files have of it.

    Parameters
    ----------
    jobconf : properties of the jobs, which ``config`` asks for.

    Raises
    ------
    ConfigError
        A job asks in a queue that is not there, or for more than a container can have.
    """
    name = jobconf.get("mapreduce.job.queuename", "")
    try:
        limits = _limits(manager.scheduler(), name)
        asked = {key: int(value) for key, value in jobconf.items() if key in _ASKING and value.strip().isdigit()}
        nodes = _of_nodes(manager.nodes()) if asked else {}
    except EngineError as error:  # not everybody may ask
        log.debug("%s: whether YARN can give what is asked is not known", error)
        return {}
    if name and limits.queues:
        _check_queue(name, limits.queues)
    most = {k: min(v, nodes.get(k, v)) for k, v in {**nodes, **limits.most}.items()}
    for key, amount in asked.items():
        _check_amount(config, key, amount, most)
    return {_MOST_MEMORY: str(most[MEMORY])} if MEMORY in most else {}


def queues(tree: Any) -> Iterator[dict[str, Any]]:
    """Every queue of a capacity or fair scheduler's answer."""
    if isinstance(tree, dict):
        if "queueName" in tree:
            yield tree
        for value in tree.values():
            yield from queues(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from queues(value)


def _limits(scheduler: Mapping[str, Any], queue: str) -> Limits:
    """Of the answer of ``/ws/v1/cluster/scheduler``; the fair scheduler makes queues, and so may the capacity
    scheduler below some."""
    info = scheduler.get("schedulerInfo") or {}
    if info.get("type") != "capacityScheduler":
        return Limits()
    known = tuple(queues(info))
    own = next((q for q in known if queue in _names(q)), {})
    most = {**_amounts(info.get("maximumAllocation")), **_amounts(own.get("maximumAllocation"))}
    return Limits(() if any(map(_makes_queues, known)) else known, most)


def _makes_queues(queue: Mapping[str, Any]) -> bool:
    return queue.get("autoCreationEligibility", "off") != "off" or bool(queue.get("autoCreateChildQueueEnabled"))


def _names(queue: Mapping[str, Any]) -> tuple[Any, Any]:
    """A queue of the capacity scheduler goes by its own name or by its path."""
    return queue.get("queueName"), queue.get("queuePath")


def _check_queue(name: str, known: Iterable[dict[str, Any]]) -> None:
    leaves = [q for q in known if not (q.get("queues") or {}).get("queue")]
    found = next((q for q in leaves if name in _names(q)), None)
    open_ = sorted(str(q["queueName"]) for q in leaves if q.get("state", "RUNNING") == "RUNNING")
    remedy = "take one of: " + ", ".join(open_[:MOST_NAMED]) + ", ..." * (len(open_) > MOST_NAMED)
    if found is None:
        raise ConfigError("engine, queue", f"YARN has no queue {name!r} for jobs", remedy)
    if found.get("state", "RUNNING") != "RUNNING":
        raise ConfigError("engine, queue", f"{name} is {str(found['state']).lower()}", remedy)


def _check_amount(config: EngineConfig, key: str, amount: int, most: Mapping[str, int]) -> None:
    """ConfigError where one container cannot have it."""
    name = _ASKING[key]
    has = most.get(name, amount)
    if amount <= has:
        return
    option = _OPTIONS[name]
    given = any(pair.startswith(f"{key}=") for pair in config.jobconf) or getattr(config, option) is None
    place = f"engine, jobconf, {key}" if given else f"engine, {option}"
    finding = f"asks for a container of {amount} {_UNITS[name]}, and YARN gives at most {has}"
    raise ConfigError(place, finding, f"ask for {has} or less" if has else f"no node has {name}: leave it out")


def _of_nodes(nodes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The most that any node has; also of one that is away now, since it may come back."""
    most: dict[str, int] = {}
    for node in nodes:
        used = (int(node.get("usedMemoryMB", 0)), int(node.get("usedVirtualCores", 0)))
        free = (int(node.get("availMemoryMB", 0)), int(node.get("availableVirtualCores", 0)))
        has = dict(zip((MEMORY, CORES), map(sum, zip(used, free, strict=True)), strict=True))
        has |= _amounts(node.get("totalResource"))
        most = {name: max(most.get(name, 0), has.get(name, 0)) for name in {*most, *has}}
    return most if most.get(MEMORY) else {}


def _amounts(resource: Mapping[str, Any] | None) -> dict[str, int]:
    """A resource as Hadoop 3 tells it, with all its kinds, or as Hadoop 2 does."""
    if not resource:
        return {}
    found = {name: int(resource[key]) for name, key in ((MEMORY, "memory"), (CORES, "vCores")) if key in resource}
    kinds = (resource.get("resourceInformations") or {}).get("resourceInformation") or []
    if kinds:  # whatever is not among them is not there
        found = {**dict.fromkeys(_UNITS, 0), **found}
    return found | {str(kind["name"]): int(kind["value"]) for kind in kinds}
