"""Rounds as Hadoop Streaming jobs through mrjob: one job a round, one map task for a run of splits.

Here the runners ``inline`` and ``local``.  The hadoop runner brings its own way of staging files and of reading
results and plugs in at ``_run_job``.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrml import names, pin, wire
from mrml.algorithm import Algorithm, State, Value
from mrml.data.dataset import Dataset
from mrml.engines import scratch
from mrml.engines.base import Engine, useful_workers
from mrml.engines.streaming import mrjob_compat
from mrml.engines.streaming.protocol import ERROR, KEY, Fields, FieldsProtocol
from mrml.engines.task import Report, told, value_of
from mrml.engines.write import Scoring
from mrml.errors import EngineError
from mrml.model import Model, carried
from mrml.version import IMPORTED_FROM

log = logging.getLogger(__name__)

#: a local runner has no task attempts: the whole job is tried again when a task's process died
MAX_ATTEMPTS = 3


class StreamingEngine(Engine):
    """One mrjob job a round.

    Parameters
    ----------
    runner : mrjob's ``-r``: inline or local.
    n_tasks : map tasks a job; default one a core.
    """

    name = "streaming"

    def __init__(
        self,
        runner: str = "local",
        n_tasks: int | None = None,
        split_bytes: int = 64 << 20,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.runner, self.split_bytes = runner, split_bytes
        self.n_tasks = useful_workers(n_tasks) if runner == "local" else n_tasks or pin.cores()
        self._folder = scratch.make(cache_dir)

    def workers(self) -> int:
        return self.n_tasks if self.runner != "inline" else 1

    def round(self, algorithm: Algorithm, state: State, dataset: Dataset) -> dict[str, Value]:
        state_path = self._folder / "state"
        self._put(state_path, wire.dumps(state.to_wire()))
        split_bytes = min(self.split_bytes, dataset.n_bytes // (2 * self.n_tasks) + 1)
        args = ["--task", self._task(dataset, split_bytes, algorithm.spec()), "--state", str(state_path)]
        values = {}
        for name, (*messages, counted) in self._job(args, len(dataset.splits(split_bytes, algorithm.reads(state)))):
            self._count(counted)
            for message in messages:  # none where a split filled no key
                key = name.removeprefix(KEY)
                values[key] = value_of(algorithm, state, key, message)
        return dict(sorted(values.items()))

    def write(self, model: Model, dataset: Dataset, scoring: Scoring) -> Report:
        path = self._folder / "scoring"
        # with its model: what a node needs comes by the distributed cache
        self._put(path, wire.dumps({"model": carried(model), "scoring": scoring.to_wire()}))
        args = ["--task", self._task(dataset, self.split_bytes, None), "--scoring", str(path)]
        for _, (counted,) in self._job(args, len(dataset.splits(self.split_bytes))):
            self._count(counted)
        return self.report

    def _count(self, counted: bytes) -> None:
        self.report.merge(Report(**json.loads(counted)))

    def _task(self, dataset: Dataset, split_bytes: int, spec: dict[str, Any] | None) -> str:
        """The file of what stays the same over the rounds of a run."""
        number = self._number(dataset)
        path = self._folder / "task"
        task = {"dataset": dataset.to_json(), "split_bytes": split_bytes, "algorithm": spec}
        task["allow"] = names.allowed()
        task |= {"store": self._store_path(number), "kept": self._kept_path(number)}
        self._put(path, wire.dumps({**task, "heads": self._heads(number, dataset)}))
        return str(path)

    def _put(self, path: Path, message: bytes) -> None:
        """A file for the tasks."""
        with scratch.room(self._folder, len(message)):
            path.write_bytes(message)

    def _heads(self, number: int, dataset: Dataset) -> list[Any]:
        """The beginnings of the files, where tasks are fed and do not read them themselves."""
        return []

    def _store_path(self, number: int) -> str | None:
        """Where the tasks keep decoded blocks of dataset ``number``; None: nowhere."""
        return str(self._folder / str(number))

    def _kept_path(self, number: int) -> str | None:
        """Where tasks that share no disk keep what blocks of dataset ``number`` have computed; None: nowhere."""
        return None

    def _job(self, args: list[str], n_splits: int) -> Iterator[tuple[str, Fields]]:
        """Run the job; its records.  What went wrong in a task is raised here."""
        self.report = Report()
        inputs = self._inputs(n_splits)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                records = self._run_job([*args, *inputs])
                break
            except JobFailed as failed:
                if scratch.is_full(failed):
                    raise scratch.full(self._folder) from failed
                if attempt == MAX_ATTEMPTS:
                    finding = f"the job failed {attempt} times: {failed}"
                    raise EngineError(
                        f"mrjob -r {self.runner}", finding, "run with -v to see the output of the tasks"
                    ) from failed
                log.warning("the job failed (%s): retrying", failed)
        for key, fields in records:
            if key == ERROR:
                raise told(json.loads(fields[0]))
            yield key, fields

    def _dealt(self, n_splits: int) -> list[range]:
        """The numbers of consecutive splits of each map task."""
        n_tasks = min(self.n_tasks, n_splits) or 1
        return [range(n_splits * t // n_tasks, n_splits * (t + 1) // n_tasks) for t in range(n_tasks)]

    def _inputs(self, n_splits: int) -> list[str]:
        """One file of split numbers for each map task; gzip, because mrjob then never cuts it further."""
        folder = self._folder / "splits"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        paths = []
        for task, numbers in enumerate(self._dealt(n_splits)):
            path = folder / f"{task:05d}.gz"
            path.write_bytes(gzip.compress("".join(f"{n}\n" for n in numbers).encode(), mtime=0))
            paths.append(str(path))
        return paths

    def _run_job(self, args: list[str]) -> list[tuple[str, Fields]]:
        """Run one mrjob job and read its output."""
        protocol = FieldsProtocol()
        with self._runner([*self._options(), *args]) as runner:
            try:
                runner.run()
            except Exception as error:  # mrjob wraps a task's end in an exception of its runner's own
                raise JobFailed(str(error)) from error
            output = b"".join(runner.cat_output())
        return [protocol.read(line) for line in output.splitlines()]

    def _runner(self, args: list[str]) -> Any:
        """mrjob's runner of a job, for a with-block."""
        from mrml.engines.streaming.job import RoundJob

        if not logging.getLogger("mrjob").handlers:  # it warns of every option that is its default
            logging.getLogger("mrjob").setLevel(logging.ERROR)
        job = RoundJob(args=args)
        job.sandbox(stdin=io.BytesIO(), stdout=io.BytesIO(), stderr=getattr(sys.stderr, "buffer", None))
        return job.make_runner()

    def _options(self) -> list[str]:
        path = os.pathsep.join([IMPORTED_FROM, *(p for p in sys.path if p)])
        environment = {**pin.VARIABLES, **mrjob_compat.ENVIRONMENT, "PYTHONPATH": path}
        local = ["--local-tmp-dir", str(self._folder)]
        if self.runner == "local":
            local += ["--no-bootstrap-mrjob", "--num-cores", str(self.n_tasks)]
            local += [word for k, v in environment.items() for word in ("--cmdenv", f"{k}={v}")]
        return ["-r", self.runner, "--no-conf", "--quiet", *local]

    def close(self) -> None:
        scratch.remove(self._folder)


class JobFailed(Exception):
    """A job ended without its output."""
