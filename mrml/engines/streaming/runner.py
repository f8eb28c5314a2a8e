"""mrjob's local runner with a thread for each task where it forks a pool of processes.

A task is a process of its own anyway; what the pool adds is a fork of the driver, threads and NumPy included, for each
of them in every job.  And a signal to the process group could end a pool worker in a moment after which the driver
waits for it for ever, or leave tasks behind: here they are the driver's children, and end when it stops waiting.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mrml.engines.streaming import mrjob_compat

mrjob_compat.install()

from mrjob.local import LocalMRJobRunner, _TaskFailedException  # noqa: E402

#: a thread that is waited for without a limit would not let the main one hear a signal
POLL_S = 0.1


class LocalRunner(LocalMRJobRunner):  # type: ignore[misc]
    """Used for one job."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    def _invoke_task_func(self, task_type: str, step_num: int, task_num: int) -> Callable[..., None]:
        args = self._substep_args(step_num, task_type)
        return partial(self._run_process, args, (step_num, task_type, task_num))

    def _run_process(
        self, args: list[str], task: tuple[int, str, int], stdin: Any, stdout: Any, stderr: Any, wd: str, env: Any
    ) -> None:
        with subprocess.Popen(args, stdin=stdin, stdout=stdout, stderr=stderr, cwd=wd, env=env) as process:
            self._running.add(process)
            if self._is_over:
                process.kill()
            code = process.wait()
            self._running.discard(process)
        if code:
            reason = str(subprocess.CalledProcessError(code, args))
            step_num, kind, number = task
            raise _TaskFailedException(
                reason=reason, step_num=step_num, num_steps=self._num_steps(), task_type=kind, task_num=number
            )

    def _run_multiple(self, funcs: Iterable[Callable[[], None]], num_processes: int | None = None) -> None:
        """Run the functions on as many threads as there are cores; the first error, after all others have ended."""
        todo, errors = deque(funcs), list[BaseException]()

        def work() -> None:
            while not errors:
                try:
                    function = todo.popleft()
                except IndexError:
                    return
                try:
                    function()
                except BaseException as error:
                    errors.append(error)
                    self._end()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self._num_cores(), len(todo)))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(POLL_S)
        except BaseException:
            errors.append(SystemExit())  # the threads take no more tasks
            self._end()
            raise
        if errors:
            raise errors[0]

    def _end(self) -> None:
        """End the tasks that run."""
        self._is_over = True
        for process in tuple(self._running):
            process.kill()
