"""MrmlTrigger: waits in the triggerer for a run that nobody holds a worker slot for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mrml.airflow import process
from mrml.airflow.versions import BaseTrigger, TriggerEvent

LATE = "late"


class MrmlTrigger(BaseTrigger):  # type: ignore[misc]
    """Looks at the folder of a run until it has ended, and tells its lines meanwhile.

    The triggerer needs this package installed, and the folder on a disk that it shares with the workers, at the same
    path and with locks that hold between machines (a local disk on one machine, NFS 4 between several).  One that
    does not see the folder says so at once, and the task waits in its worker.

    Parameters
    ----------
    folder : of the run, see :mod:`mrml.airflow.process`.
    poll_s : seconds between two looks.
    grace_s : how long the run may take to end when the task is killed.
    owner : the try that waits; the run of another one is not ended.
    deadline : when the task's ``execution_timeout`` is over, in seconds since 1970.
    """

    def __init__(
        self, folder: str, poll_s: float, grace_s: float, owner: str = "", deadline: float | None = None
    ) -> None:
        super().__init__()
        self.folder, self.poll_s, self.grace_s = folder, poll_s, grace_s
        self.owner, self.deadline = owner, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        given = ("folder", "poll_s", "grace_s", "owner", "deadline")
        return "mrml.airflow.MrmlTrigger", {name: getattr(self, name) for name in given}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        told, state = 0, process.RUNNING
        while state == process.RUNNING:
            state = await asyncio.to_thread(process.look, Path(self.folder))
            lines, told = await asyncio.to_thread(process.lines, Path(self.folder), told)
            for line in lines:
                process.tell(self.log, line)
            if state == process.RUNNING and self.deadline is not None and time.time() > self.deadline:
                state = LATE
            if state == process.RUNNING:
                await asyncio.sleep(self.poll_s)
        yield TriggerEvent({"state": state, "told": told, "owner": self.owner})

    async def on_kill(self) -> None:
        """Somebody ended or cleared the task: Airflow 3.3 tells it, 2.11 does not."""
        await asyncio.to_thread(process.stop, Path(self.folder), self.grace_s, self.owner)
