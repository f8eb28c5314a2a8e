"""Why a job failed, in the words of the task that did it.

The history server knows which attempts failed, on which host and in which container; the node keeps what they wrote to
standard error.  Both by REST, with time-outs; where one does not answer, what the ResourceManager says must do.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any, NamedTuple

from mrml.engines.hadoop.environment import PYTHON
from mrml.engines.hadoop.yarn import Application, fetch
from mrml.errors import EngineError, MrmlError, TaskFailed

#: the history of a job is written a moment after its end
HISTORY_S = 30.0
_MEMORY = re.compile(r"beyond the '?(\w+)'? memory limit.*?Current usage: (.*? used)", re.DOTALL)
_MASTER = re.compile(r"\w+://([^/]+)/.*?(container_\w+)")
_CONTAINER = re.compile(r"container_(?:e\d+_)?(\d+_\d+)_\d+_\d+")
_UNPACKED = re.compile(r"Failed to download resource \{ \{ ([^\s,]+), \d+, ARCHIVE.*unpack failed", re.DOTALL)
_CODE = re.compile(r"subprocess failed with code (\d+)")
#: an application that ended so fell with its node: it is worth another try
_LOST = re.compile(r"exitCode: -100\b|lost node|timed out|exitCode: -106\b", re.IGNORECASE)


class Attempt(NamedTuple):
    """A failed attempt of a task."""

    id: str
    diagnostics: str
    container: str
    node: str

    @property
    def place(self) -> str:
        """``map task 3, attempt 0 on host:8042 (container_...)``; without an id, the application master."""
        if not self.id:
            return f"application master on {self.node} ({self.container})"
        *_, kind, task, number = self.id.split("_")
        name = {"m": "map", "r": "reduce"}.get(kind, kind)
        return f"{name} task {int(task)}, attempt {number} on {self.node} ({self.container})"


def lost(app: Application) -> bool:
    """Whether the cluster and not the job is to blame."""
    return _LOST.search(app.diagnostics) is not None


class Refusal(EngineError):
    """What another try would not change: somebody ended the application, or YARN or its nodes will never run it."""


class TaskRefusal(TaskFailed, Refusal):
    """The same, found by the task itself."""


def refused(app: Application) -> Refusal | None:
    """What is wrong with an application itself, as the ResourceManager tells it; None for any other end."""
    said = app.diagnostics
    if "unknown queue" in said or ("queue" in said and not app.launched):
        finding = f"YARN refused the job: {_short(said)}"
        return Refusal("queue", finding, "`mapred queue -list` names the queues; take one with --queue")
    if "max container capability" in said:
        finding = f"asks for more than a node has: {_short(said)}"
        return Refusal(app.id, finding, "ask for less with --memory-mb or --vcores, or with -D")
    if found := _UNPACKED.search(said):
        finding = f"the nodes cannot unpack it ({app.id})"
        remedy = "make it again with `mrml pack --upload`; if it is whole, look for room on the disks of the nodes"
        return Refusal(found[1], finding, remedy)
    if app.final == "KILLED" or app.state == "KILLED":
        return Refusal(app.id, f"was killed: {_short(said)}", "--resume continues with this round")
    return None


def why(app: Application, history: str, aggregated: bool) -> MrmlError:
    """What the user is told of an application that failed.

    Parameters
    ----------
    history : the history server's web address.
    aggregated : whether YARN collects the logs of its nodes (yarn.log-aggregation-enable).
    """
    if mistake := refused(app):
        return mistake
    attempt = _failed_attempt(app, history) if app.launched else None
    if attempt is None:
        return _of_master(app, history, aggregated)
    return explained(attempt, stderr_of(attempt, history), log_of(attempt.container, attempt.node, aggregated))


def log_of(container: str, node: str, aggregated: bool) -> str:
    """The command that shows what a container wrote; its id names its job, too."""
    found = _CONTAINER.fullmatch(container)
    if found is None or not aggregated:
        return f"the whole log: curl http://{node}/ws/v1/node/containers/{container}/logs/stderr"
    return f"the whole log: yarn logs -applicationId application_{found[1]} -containerId {container}"


def _of_master(app: Application, history: str, aggregated: bool) -> MrmlError:
    """What is known where no history was written: in uber mode a failed map mostly ends the application master too."""
    finding = f"ended {app.final or app.state}: {_short(app.diagnostics)}"
    found = _MASTER.match(app.master_logs)
    if found is None:
        return EngineError(app.id, finding, f"the whole log: yarn logs -applicationId {app.id}")
    master = Attempt("", app.diagnostics, found[2], found[1])
    stderr, logs = stderr_of(master, history), log_of(master.container, master.node, aggregated)
    if _traceback(stderr):
        return explained(master, stderr, logs)
    return EngineError(f"{app.id}, {master.place}", finding + _last_line(stderr), logs)


def explained(attempt: Attempt, stderr: str, logs: str) -> MrmlError:
    """The error of an attempt from what the node and the task itself wrote."""
    said = attempt.diagnostics
    memory = _MEMORY.search(said)
    if memory:
        finding = f"was killed for memory, above the {memory[1].lower()} limit: {memory[2]}"
        return EngineError(attempt.place, finding, f"give more: --memory-mb; {logs}")
    trace = _traceback(stderr)
    if trace:
        last = trace.rstrip().splitlines()[-1]
        if "No module named" in last:
            hint = "the interpreter on the nodes needs mrml and what it uses: see --task-python; "
            return TaskRefusal(attempt.place, last, hint + logs, trace)
        return TaskFailed(attempt.place, last, logs, trace)
    program = re.search(r'Cannot run program "([^"]+)"', said)
    if program and program[1] == PYTHON:
        finding = f"the archive of --environment has no {PYTHON.partition('/')[2]}"
        return Refusal(attempt.place, finding, f"make it with `mrml pack --upload`; {logs}")
    if program:
        finding = f"the node has no program {program[1]}"
        return Refusal(attempt.place, finding, f"name its Python with --task-python; {logs}")
    code = _CODE.search(said)
    if code:
        killed = code[1] in ("137", "9")
        finding = f"its process ended with code {code[1]}" + (" (SIGKILL: mostly a lack of memory)" if killed else "")
        return EngineError(attempt.place, f"{finding}{_last_line(stderr)}", logs)
    return EngineError(attempt.place, _short(said) + _last_line(stderr), logs)


def stderr_of(attempt: Attempt, history: str) -> str:
    """What the attempt wrote to standard error, as far as a node or the history server still has it."""
    places = (
        f"http://{attempt.node}/ws/v1/node/containers/{attempt.container}/logs/stderr",
        f"{history}/ws/v1/history/containers/{attempt.container}/logs/stderr",
    )
    for url in places:
        try:
            return fetch(url, timeout_s=5.0).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
    return ""


def _failed_attempt(app: Application, history: str) -> Attempt | None:
    """The last failed attempt of the first task that failed by itself.

    When a job fails, history calls its other tasks failed as well, whose attempts were killed.
    """
    until = time.monotonic() + HISTORY_S
    job = f"{history}/ws/v1/history/mapreduce/jobs/{app.id.replace('application', 'job', 1)}"
    while True:
        try:
            # maps first: in uber mode the reduce task fails with its map
            tasks = sorted(_rows(f"{job}/tasks", "tasks", "task"), key=lambda t: str(t["type"]) != "MAP")
            failed = (t["id"] for t in tasks if t["state"] == "FAILED")
            attempts = (_rows(f"{job}/tasks/{name}/attempts", "taskAttempts", "taskAttempt") for name in failed)
            ended = next(some for rows in attempts if (some := [a for a in rows if a["state"] == "FAILED"]))
            last = max(ended, key=lambda a: str(a["id"]))
        except (OSError, ValueError, KeyError, StopIteration):  # not all is written yet: another look
            if time.monotonic() > until:
                return None
            time.sleep(0.5)
            continue
        node = last.get("nodeHttpAddress", "?")
        return Attempt(last["id"], last.get("diagnostics", ""), last.get("assignedContainerId", "?"), node)


def _rows(url: str, outer: str, inner: str) -> list[dict[str, Any]]:
    """The entries of a list; of a list of one Hadoop's REST interface tells the one alone."""
    found = (json.loads(fetch(url, timeout_s=5.0)).get(outer) or {}).get(inner) or []
    return [found] if isinstance(found, dict) else found


def _traceback(stderr: str) -> str:
    """The last traceback of Python in a log, to its end."""
    at = stderr.rfind("Traceback (most recent call last):")
    if at < 0:
        return ""
    head, *lines = stderr[at:].splitlines()
    kept = [head]
    for line in lines:
        kept.append(line)
        if line and not line[0].isspace():
            break
    return "\n".join(kept) + "\n"


def _last_line(stderr: str) -> str:
    lines = [
        line
        for line in stderr.splitlines()
        if any(map(str.isalpha, line)) and not line.startswith(("log4j", "WARNING", "End of LogType"))
    ]
    return f"; its last words: {lines[-1][:200]}" if lines else ""


def _short(text: str) -> str:
    return " ".join(text.split())[:500] or "without a word"
