"""Following a job to its end: its ``_SUCCESS`` in HDFS, the ResourceManager's word, the client, the clock."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from mrml.engines.hadoop.client import Client
from mrml.engines.hadoop.yarn import WAITING, Application, ResourceManager
from mrml.engines.streaming.engine import JobFailed
from mrml.errors import EngineError
from mrml.fs.base import FileSystem

log = logging.getLogger(__name__)

POLL_S = 0.1
#: how often the ResourceManager is asked while HDFS is polled for the end
ASK_S = 0.5
#: how long a client may take to submit, or after its end its application to appear
SUBMIT_S, APPEAR_S = 180.0, 3.0
#: how long the ResourceManager may be away while a job runs: it restarts
PATIENCE_S = 120.0
#: how long an application that the ResourceManager knew may be missing there before it is taken for lost
MISSING_S = 5.0
#: how often a waiting round says what it waits for
TELL_S = 30.0
#: YARN's own word on why it waits
_REASON = re.compile(r"not yet activated\. (.*?)\.?\s+Details")
_REMEDY = (
    "wait for others to end, ask less (--memory-mb; -D yarn.app.mapreduce.am.resource.mb=N), or take another --queue"
)


@dataclass(frozen=True)
class Watched:
    """Where one attempt of a job is seen: its tag, its output on HDFS, who is asked, and for how many seconds."""

    attempt: str
    fs: FileSystem
    output: str
    resource_manager: ResourceManager
    max_wait_s: float
    round_timeout_s: float
    #: how often HDFS is asked for its end
    poll_s: float = POLL_S


class Following:
    """Watches one attempt of a job."""

    def __init__(self, job: Watched, client: Client | None) -> None:
        self.job, self.client = job, client
        self.app: Application | None = None
        self.missing: float | None = None
        self.began = self.heard = self.told = self.asked = time.monotonic()

    def end(self) -> Application | None:
        """The application when it has ended; None when its output is there before that is said."""
        while True:
            if self._written():
                return None
            self._ask()
            if self.app is not None and self.app.ended:
                return None if self._written() else self.app
            self._check(time.monotonic())
            if self.client is None or not self.client.alive:
                time.sleep(self.job.poll_s)
            else:
                self.client.wait(self.job.poll_s)

    def _written(self) -> bool:
        """The marker is the last thing that a job's commit writes: no need to wait for the rest of its end."""
        try:
            return self.job.fs.exists(f"{self.job.output}/_SUCCESS")
        except (OSError, EngineError):
            return False

    def _ask(self) -> None:
        now = time.monotonic()
        if now - self.asked < ASK_S:
            return
        try:
            found = next(iter(self.job.resource_manager.by_tag(self.job.attempt)), None)
            self.heard = now
            self._missed(found, now)
            self.app = found or self.app
        except EngineError:
            if now - self.heard > PATIENCE_S:
                raise
        self.asked = time.monotonic()

    def _missed(self, found: Application | None, now: float) -> None:
        """JobFailed when an application is gone from the ResourceManager, which was started again and kept none."""
        if found is not None or self.app is None:
            self.missing = None
            return
        self.missing = now if self.missing is None else self.missing
        if now - self.missing > MISSING_S:
            raise JobFailed(f"{self.app.id} is lost: the ResourceManager does not know it any more")

    def _check(self, now: float) -> None:
        """Raise when there is nothing to wait for any more."""
        launched = self.app is not None and self.app.state not in WAITING
        queue = f"queue {self.app.queue}" if self.app else "the queue"
        if self.app is None and self.client is not None:
            self._check_client(self.client, now)
        if now - self.began > self.job.round_timeout_s:
            finding = f"took longer than {self.job.round_timeout_s:.0f} s"
            raise EngineError(self.app.id if self.app else "the job", finding, "raise --round-timeout-s")
        if not launched and now - self.began > self.job.max_wait_s:
            finding = f"waited {self.job.max_wait_s:.0f} s and got no room"
            raise EngineError(queue, finding, "raise --max-wait-s, or take another queue")
        if self.app is None or not self.app.waits:
            self.told = now
        elif now - self.told > TELL_S:
            self.told = now
            with suppress(EngineError):  # it may be away for a moment
                self._tell(self.app)

    def _check_client(self, client: Client, now: float) -> None:
        """A client that ended without a job, or does not come to submit one."""
        if client.ended_at is not None and now - client.ended_at > APPEAR_S:
            if client.signalled:
                raise JobFailed("the client was killed before it submitted")
            raise EngineError("hadoop jar", client.last_words(), "fix what it says, or see its log with -v")
        if client.alive and now - self.began > SUBMIT_S:
            raise JobFailed(f"the client did not submit within {SUBMIT_S:.0f} s: {client.last_words()}")

    def _tell(self, app: Application) -> None:
        m, a = self.job.resource_manager.metrics(), app.asked
        asked = f"{a.containers} container{'s' * (a.containers != 1)} of {a.memory_mb} MB and {a.cores} cores together"
        free = f"{m.get('availableMB', '?')} MB and {m.get('availableVirtualCores', '?')} cores are free in the cluster"
        reason = _REASON.search(app.diagnostics)
        why = f" ({reason[1]})" if reason else ""
        log.info("%s waits in queue %s: it asks %s, and %s%s; %s", app.id, app.queue, asked, free, why, _REMEDY)
