"""A command that outlives its task: started once, followed, ended with all it started, never lost without a word."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrml.airflow import process
from mrml.errors import ConfigError, EngineError

LIMIT_S = 30.0


def shell(script: str, grace_s: float = 20.0) -> process.Command:
    return process.Command(["/bin/sh", "-c", script], None, grace_s)


def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes by itself."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def ended(folder: Path) -> process.Outcome:
    until(lambda: process.look(folder) != process.RUNNING)
    return process.outcome(folder)


def alive(pid: int) -> bool:
    """Whether a process runs: one that is dead and not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    process.stop(tmp_path / "run", 0.0)


def test_a_command_tells_its_lines_its_result_and_its_exit_code(folder: Path) -> None:
    script = """echo 'round 1' >&2; echo '{"metrics": {"auc": 0.7}}'"""
    assert process.start(folder, shell(script), os.environ)
    assert ended(folder) == process.Outcome(0, {"metrics": {"auc": 0.7}}, "")
    assert process.lines(folder, 0) == (["round 1"], len("round 1\n"))
    assert process.lines(folder, len("round 1\n")) == ([], len("round 1\n"))


def test_an_error_is_told_in_the_commands_own_words(folder: Path) -> None:
    error = {"place": "a.csv, byte 7", "finding": "'n/a' is not a number", "remedy": "add na", "exit_code": 3}
    process.start(folder, shell(f"echo {shlex.quote(json.dumps({'error': error}))}; exit 3"), os.environ)
    assert ended(folder)[::2] == (3, "a.csv, byte 7: 'n/a' is not a number; add na")


def test_an_error_without_an_object_is_the_last_line_that_was_written(folder: Path) -> None:
    process.start(folder, shell("echo first >&2; echo 'no such option' >&2; exit 2"), os.environ)
    assert ended(folder) == process.Outcome(2, {}, "exit code 2: no such option")


def test_the_same_command_is_started_once_and_then_followed(folder: Path, tmp_path: Path) -> None:
    command = shell(f"echo . >> {tmp_path}/starts; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    assert process.start(folder, command, os.environ)
    assert not process.start(folder, command, os.environ)
    (tmp_path / "go").touch()
    assert ended(folder).code == 0
    assert (tmp_path / "starts").read_text() == ".\n"
    assert process.start(folder, command, os.environ), "what has ended is started again"
    assert ended(folder).code == 0 and (tmp_path / "starts").read_text() == ".\n.\n"


def test_another_command_in_the_folder_ends_the_one_before(folder: Path, tmp_path: Path) -> None:
    process.start(folder, shell(f"echo $$ > {tmp_path}/pid; exec sleep 600"), os.environ)
    first = pid_in(tmp_path / "pid")
    assert process.start(folder, shell("echo second >&2"), os.environ)
    assert not alive(first)
    assert ended(folder).code == 0 and process.lines(folder, 0)[0] == ["second"]


def test_a_command_outlives_the_process_that_started_it(folder: Path, tmp_path: Path) -> None:
    script = f"""while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo '{{"run": "r1"}}'"""
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom mrml.airflow import process\n"
        f"process.start(Path({str(folder)!r}), process.Command(['/bin/sh', '-c', {script!r}], None, 5.0), os.environ)\n"
        "os.killpg(0, signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], start_new_session=True, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert process.look(folder) == process.RUNNING
    (tmp_path / "go").touch()
    assert ended(folder).result == {"run": "r1"}


def test_stop_ends_a_command_and_what_it_started_and_waits_for_it(folder: Path, tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; trap 'echo in order >&2; exit 130' TERM; wait"
    process.start(folder, shell(script), os.environ)
    child = pid_in(tmp_path / "pid")
    assert process.stop(folder, 20.0)
    assert not alive(child)
    assert process.outcome(folder).code == 130 and process.lines(folder, 0)[0] == ["in order"]
    assert process.stop(folder, 20.0), "once more is not an error"


def test_a_try_that_is_over_does_not_end_the_run_that_the_next_one_has_taken_over(folder: Path) -> None:
    process.start(folder, shell("exec sleep 600"), os.environ, "first")
    assert not process.start(folder, shell("exec sleep 600"), os.environ, "second")
    assert process.stop(folder, 5.0, "first") and process.look(folder) == process.RUNNING
    assert process.stop(folder, 5.0, "second") and process.look(folder) == process.ENDED


def test_what_does_not_end_in_time_is_killed(folder: Path, tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/pid; wait"
    process.start(folder, shell(script, grace_s=0.3), os.environ)
    child = pid_in(tmp_path / "pid")
    assert process.stop(folder, 0.3)
    until(lambda: not alive(child))
    assert process.outcome(folder)[::2] == (-9, "ended by signal 9: it wrote nothing")


def test_a_run_whose_processes_died_without_a_result_says_so(folder: Path, tmp_path: Path) -> None:
    process.start(folder, shell(f"echo $PPID > {tmp_path}/keeper; exec sleep 600"), os.environ)
    os.kill(pid_in(tmp_path / "keeper"), signal.SIGKILL)  # the command ends with its keeper
    until(lambda: process.look(folder) == process.LOST)
    with pytest.raises(EngineError, match=r"processes are gone and left no result.*a retry continues"):
        process.outcome(folder)
    assert process.start(folder, shell("true"), os.environ) and ended(folder).code == 0


def test_a_command_that_cannot_be_started_is_a_mistake_in_the_configuration(folder: Path, tmp_path: Path) -> None:
    process.start(folder, process.Command([str(tmp_path / "mrml"), "run"], None, 1.0), os.environ)
    until(lambda: process.look(folder) == process.ENDED)
    with pytest.raises(ConfigError, match=r"cannot be started: .*No such file.*; give mrml= the path"):
        process.outcome(folder)


def test_a_folder_that_is_not_on_this_machine_is_told(tmp_path: Path) -> None:
    assert process.look(tmp_path / "elsewhere") == process.UNSEEN
    with pytest.raises(EngineError, match="is not visible from this machine; name a folder= on a disk"):
        process.outcome(tmp_path / "elsewhere")


def test_only_whole_lines_are_told_while_more_may_come(folder: Path, tmp_path: Path) -> None:
    script = f"printf 'a\\nbeg' >&2; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; printf 'un' >&2"
    process.start(folder, shell(script), os.environ)
    until(lambda: (folder / "log").read_text() == "a\nbeg")
    assert process.lines(folder, 0) == (["a"], 2)
    (tmp_path / "go").touch()
    assert ended(folder).code == 0
    assert process.lines(folder, 2) == (["begun"], 7)
