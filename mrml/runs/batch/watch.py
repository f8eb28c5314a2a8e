"""A run of steps, seen from outside: how far it is, by the records of its steps.

It reads what :mod:`.run` writes and imports nothing of what does the steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mrml.fs.folder import Folder
from mrml.runs.batch.records import BEGUN, FOLDER, TOLD, Records
from mrml.runs.lease import holder

#: how a run of steps ended: all were done; all but what the gate lets through; one failed
FINISHED, REFUSED, FAILED = "finished", "refused", "failed"
#: it is driven, or it was left in the middle
RUNNING, STOPPED = "running", "stopped"


class Steps(NamedTuple):
    """``steps`` are outcomes by name, in order: done, refused, failed, skipped, or to do."""

    id: str
    state: str
    steps: dict[str, str]
    driver: dict[str, Any]


def is_steps(folder: Folder) -> bool:
    """Whether a directory is that of a run of steps."""
    return (folder / FOLDER).exists(f"{BEGUN}.json")


def watched(folder: Folder) -> Steps:
    """What the records of a run of steps say."""
    records = Records(folder / FOLDER)
    begun = records.get(BEGUN) or {}
    steps = {name: str((records.get(name) or {}).get("outcome", "to do")) for name in _names(records, begun)}
    if steps.get("gate") == "refused" and "promote" in steps:
        steps["promote"] = "skipped"
    driver = holder(records.folder)
    return Steps(str(begun.get("run", "")), _state(steps, driver), steps, driver)


def _names(records: Records, begun: dict[str, Any]) -> list[str]:
    """The steps that are asked for; of runs that began before that was recorded, those that are recorded."""
    recorded = [name.removesuffix(".json") for name in records.folder.names() if name.endswith(".json")]
    return [str(name) for name in begun.get("steps") or sorted(recorded) if name not in (BEGUN, TOLD)]


def _state(steps: dict[str, str], driver: dict[str, Any]) -> str:
    if driver:
        return RUNNING
    outcomes = set(steps.values())
    if "failed" in outcomes:
        return FAILED
    if not outcomes or "to do" in outcomes:
        return STOPPED
    return REFUSED if "refused" in outcomes else FINISHED
