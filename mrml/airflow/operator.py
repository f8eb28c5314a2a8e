"""MrmlOperator: `mrml run` as a task of Airflow."""

from __future__ import annotations

import hashlib
import re
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from mrml import pin
from mrml.airflow import process
from mrml.airflow.trigger import LATE, MrmlTrigger
from mrml.airflow.versions import AirflowException, AirflowFailException, AirflowSkipException, BaseOperator, conf
from mrml.errors import ConfigError, EngineError, InputError, MrmlError, NotConverged, OutputExists, Refused

#: what a run tells, each an XCom by this name; the task's return value has them all
TOLD = ("run", "directory", "verdict", "version", "champion", "metrics", "report", "steps")
#: exit codes that would be the same again: another try of the same run is refused as this one was
FINAL = tuple(error.exit_code for error in (ConfigError, InputError, OutputExists, NotConverged, Refused))
POLL_S = 0.5


class MrmlOperator(BaseOperator):  # type: ignore[misc]
    """Runs a file of `mrml run`, or some of its steps, by the command of an environment of its own.

    Another try goes on where the one before it was: it follows a run that still lives, and else starts the same one
    again, which keeps the steps that are finished.  The run lives in processes of its own, so a lost worker does not
    end it; ending the task does, applications on YARN first.

    Parameters
    ----------
    file : the run file, templated.
    set : variables of the run file, as ``--set NAME=VALUE``; templated: ``{"ds": "{{ ds }}"}``.
    steps : the steps to run, as ``--only``; None is all of them.  Templated.
    mrml : the command: a name, a path, or words such as ``"nice mrml"``; templated.
    env : variables beside those of the worker, templated.
    cwd : the folder that relative paths begin in, templated; by default that of the worker, which Airflow chooses.
    refused : ``"fail"`` or ``"skip"`` the task where a gate refuses the model.
    deferrable : wait in the triggerer and not in a worker; by default as ``[operators] default_deferrable`` says.
        Needs workers whose processes outlive their task: LocalExecutor or CeleryExecutor, not a pod a task.
    folder : where runs that are under way leave what they write, a folder each; by default ``AIRFLOW_HOME/mrml``.
        With ``deferrable`` on a disk that workers and triggerer share (see :class:`MrmlTrigger`).
    poll_s : seconds between two looks of the triggerer.
    grace_s : how long a run may take to end after SIGTERM before it is killed.
    """

    template_fields: Sequence[str] = ("file", "set", "steps", "mrml", "env", "cwd")
    template_fields_renderers: ClassVar[dict[str, str]] = {"set": "json", "env": "json"}
    ui_color = "#dbe9d8"

    def __init__(
        self,
        *,
        file: str,
        set: Mapping[str, Any] | None = None,
        steps: Sequence[str] | None = None,
        mrml: str | Sequence[str] = "mrml",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        refused: str = "fail",
        deferrable: bool | None = None,
        folder: str | None = None,
        poll_s: float = 5.0,
        grace_s: float = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if refused not in ("fail", "skip"):
            raise ConfigError(f"MrmlOperator, refused={refused!r}", "is neither 'fail' nor 'skip'")
        self.file, self.set, self.steps, self.env, self.cwd = file, set, steps, env, cwd
        self.mrml, self.refused, self.folder = mrml, refused, folder
        self.poll_s, self.grace_s = poll_s, grace_s
        default = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = default if deferrable is None else deferrable
        self._runs_in: Path | None = None
        self._owner = ""

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Start the run, or find the one that an earlier try started, and wait for it."""
        begun = time.time()
        self._owner = uuid.uuid4().hex
        folder = self._runs_in = self._folder(context)
        command = process.Command(self.argv(), self.cwd, self.grace_s)
        try:
            new = process.start(folder, command, {**pin.environment(), **(self.env or {})}, self._owner)
        except EngineError as error:
            raise AirflowException(str(error)) from error
        except OSError as error:
            raise AirflowException(f"{folder}: {error}; name a folder= that tasks may write to") from error
        how = "runs" if new else "continues: an earlier try started it"
        self.log.info("%s %s (%s)", shlex.join(command.argv), how, folder)
        if self.deferrable:
            limit = self.execution_timeout
            deadline = begun + limit.total_seconds() if limit else None
            trigger = MrmlTrigger(str(folder), self.poll_s, self.grace_s, self._owner, deadline)
            self.defer(trigger=trigger, method_name="resume")
        self._follow(folder, 0)
        return self._end(context, folder)

    def resume(self, context: Mapping[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """What the trigger found: the end of the run, its time over, or no such folder where the triggerer is."""
        folder = self._runs_in = self._folder(context)
        self._owner = event["owner"]
        if event["state"] == LATE:
            process.stop(folder, self.grace_s, self._owner)
        if event["state"] == process.UNSEEN:
            self.log.warning(
                "the triggerer does not see %s: this worker waits instead; name a folder= on a disk that both share",
                folder,
            )
        self._follow(folder, event["told"])
        if event["state"] == LATE:
            process.remove(folder)
            raise AirflowException(f"{self.file}: ended after execution_timeout, {self.execution_timeout}")
        return self._end(context, folder)

    def on_kill(self) -> None:
        """SIGTERM to the run, which ends its applications on YARN, and SIGKILL to what is left after ``grace_s``.

        Its keeper sees to that, also where Airflow gives this process less time (version 3: 5 s).
        """
        if self._runs_in is not None:
            process.stop(self._runs_in, self.grace_s, self._owner)

    def argv(self) -> list[str]:
        """The command line."""
        words = shlex.split(self.mrml) if isinstance(self.mrml, str) else list(self.mrml)
        settings = [f"--set={name}={_word(value)}" for name, value in (self.set or {}).items()]
        return [*words, "run", self.file, *settings, *(f"--only={step}" for step in self.steps or ()), "--json"]

    def _folder(self, context: Mapping[str, Any]) -> Path:
        """One folder for all tries of one task of one DAG run."""
        task = context["ti"]
        names = (task.dag_id, task.task_id, task.run_id, str(task.map_index))
        digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
        home = self.folder or Path(pin.environment().get("AIRFLOW_HOME") or "~/airflow").expanduser() / "mrml"
        return Path(home) / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', task.task_id)[:80]}-{digest}"

    def _follow(self, folder: Path, told: int) -> None:
        """The lines of a run from byte ``told`` on in the task's log, until it has ended."""
        state = process.RUNNING
        while state == process.RUNNING:
            state = process.look(folder)
            lines, told = process.lines(folder, told)
            for line in lines:
                process.tell(self.log, line)
            time.sleep(POLL_S if state == process.RUNNING else 0)

    def _end(self, context: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """XComs of what the run told, also of one that failed; then its result or its error."""
        try:
            found = process.outcome(folder)
        except MrmlError as error:
            _raise(error.exit_code, str(error))
        process.remove(folder)
        told = _told(found.result)
        for name, value in told.items():
            context["ti"].xcom_push(key=name, value=value)
        if found.code == Refused.exit_code and self.refused == "skip":
            raise AirflowSkipException(found.error)
        if found.code:
            _raise(found.code, found.error)
        return told


def _told(result: Mapping[str, Any]) -> dict[str, Any]:
    """What goes to XComs; of steps what became of them: the rest grows with columns, and lies in the directory."""
    told = {name: result[name] for name in TOLD if name in result}
    steps = {
        name: {key: step.get(key) for key in ("outcome", "kept", "seconds")}
        for name, step in told.get("steps", {}).items()
    }
    return {**told, "steps": steps} if "steps" in told else told


def _word(value: Any) -> str:
    """A value as run files spell it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _raise(code: int, message: str) -> NoReturn:
    raise (AirflowFailException if code in FINAL else AirflowException)(message)
