"""Exit codes, errors on one line, interrupts, pipes: what every command does alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrml import errors
from mrml.cli.main import COMMANDS

from .conftest import Below, Done

Cli = Callable[..., Done]
SCORE = ("evaluate", "model", "--data", "d")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("MRML_")}


def process(*argv: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mrml", *argv], text=True, stderr=subprocess.PIPE, env=ENVIRONMENT, **more
    )


def test_done_is_0(mrml: Cli, below: Below) -> None:
    below.answers["evaluate"] = {"auc": 0.75, "r2": None}
    assert mrml(*SCORE) == Done(0, "  auc  0.75\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.MrmlError("p", "f", "r"), 1),
        (errors.ConfigError("p", "f", "r"), 2),
        (errors.ResumeMismatch("p", "f", "r"), 2),
        (errors.InputError("p", "f", "r"), 3),
        (errors.BadRows("p", "f", "r"), 3),
        (errors.OutputExists("p", "f", "r"), 4),
        (errors.EngineError("p", "f", "r"), 5),
        (errors.TaskFailed("p", "f", "r"), 5),
        (errors.NotConverged("p", "f", "r"), 6),
    ],
)
def test_an_error_is_its_exit_code_and_one_line(mrml: Cli, below: Below, error: Exception, code: int) -> None:
    below.raises = error
    assert mrml(*SCORE) == Done(code, "", "error: p: f; r\n")


def test_an_unexpected_exception_is_1_and_its_traceback_lies_in_a_file(mrml: Cli, below: Below) -> None:
    below.raises = ZeroDivisionError("one\ntwo")
    done = mrml(*SCORE)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith("error: unexpected ZeroDivisionError: one (traceback in ")
    path = Path(done.err.partition("traceback in ")[2].partition(";")[0])
    assert path.read_text().startswith("Traceback")
    path.unlink()


def test_a_traceback_is_shown_with_v(mrml: Cli, below: Below) -> None:
    below.raises = ZeroDivisionError("one")
    done = mrml(*SCORE, "-v")
    assert done.code == 1 and "Traceback" in done.err and "traceback in" not in done.err


def test_a_failed_task_s_own_traceback_lies_in_a_file_and_is_shown_with_v(mrml: Cli, below: Below) -> None:
    below.raises = errors.TaskFailed("split 3", "KeyError: 'x'", "", "Traceback: of the task")
    done = mrml(*SCORE)
    assert done.code == 5 and "of the task" not in done.err
    path = Path(done.err.partition("traceback in ")[2].partition(";")[0])
    assert path.read_text() == "Traceback: of the task\n"
    path.unlink()
    assert "Traceback: of the task" in mrml(*SCORE, "-v").err


def test_with_json_an_error_is_an_object_too(mrml: Cli, below: Below) -> None:
    below.raises = errors.InputError("p", "f", "r")
    done = mrml(*SCORE, "--json")
    error = {"type": "InputError", "place": "p", "finding": "f", "remedy": "r", "exit_code": 3}
    assert (done.code, json.loads(done.out)) == (3, {"error": error})
    wrong = mrml("evaluate", "--json", "--nope")
    assert wrong.code == 2 and json.loads(wrong.out)["error"]["type"] == "ConfigError"


def test_the_log_format_of_an_error_is_the_one_asked_for(mrml: Cli, below: Below) -> None:
    below.raises = errors.InputError("p", "f", "r")
    line = json.loads(mrml(*SCORE, "--log-format", "json").err)
    assert (line["event"], line["finding"], line["exit_code"]) == ("error", "f", 3)
    line = json.loads(mrml("trian", "--log-format=json").err)
    assert line["remedy"] == "did you mean 'train'?"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "mrml: unknown command 'trian'; did you mean 'train'?"),
        ([], "mrml: no command; give one of schema, train"),
        (["train", "kmeans", "--ignore", "x"], "mrml train: unknown option --ignore; did you mean '--exclude'?"),
        (
            ["train", "forest", "--init-model", "m"],
            "mrml train: unknown option --init-model; a forest does not start from a model",
        ),
        (["version", "--jsn"], "mrml version: unknown option --jsn; did you mean '--json'?"),
        (["version", "extra"], "mrml version: 'extra' is an unexpected argument; see mrml version --help"),
        (["predict"], "mrml predict: the following arguments are required: MODEL, --output"),
        (
            ["predict", "m", "--output", "o", "--format", "xml"],
            "mrml predict: argument --format: invalid choice: 'xml'",
        ),
        (["evaluate", "m", "--dta", "d"], "mrml evaluate: unknown option --dta; did you mean '--data'?"),
        (["evaluate", "m"], "model m: no data to score; give --data"),
        (["evaluate", "m", "--data"], "mrml evaluate: argument --data: expected one argument"),
        (["config"], "mrml config: no such command; it is `mrml config show`"),
    ],
)
def test_a_word_nobody_knows_is_2_with_the_nearest_name(mrml: Cli, argv: list[str], message: str) -> None:
    done = mrml(*argv)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}") and done.err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_ends_with_an_example(mrml: Cli, name: str) -> None:
    done = mrml(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-2:][0] == "example:" and f"  mrml {name}" in done.out.splitlines()[-1]


def test_the_help_names_every_command(mrml: Cli) -> None:
    done = mrml("--help")
    assert done.code == 0 and all(f"\n  {name} " in done.out for name in COMMANDS)


def test_options_of_every_command_may_stand_before_it(mrml: Cli, below: Below) -> None:
    below.raises = errors.InputError("p", "f", "r")
    assert json.loads(mrml("--log-format", "json", "-q", *SCORE).err)["event"] == "error"


def test_ctrl_c_is_130(mrml: Cli, below: Below) -> None:
    below.raises = KeyboardInterrupt()
    assert mrml(*SCORE) == Done(130, "", "error: interrupted\n")
    train = ("train", "logistic", "--data", "d", "--target", "y", "--output", "m")
    assert mrml(*train).err == "error: interrupted; the same command continues\n"
    assert mrml(*train, "--overwrite").err == "error: interrupted; the same command without --overwrite continues\n"


WAITS = """
import sys, time, types
class Below(types.ModuleType):
    def evaluate(self, *args):
        try:
            print("ready", file=sys.stderr, flush=True)
            time.sleep(60)
        finally:
            print("left in order", file=sys.stderr, flush=True)
import mrml.runs
mrml.runs.train = sys.modules["mrml.runs.train"] = Below("mrml.runs.train")
from mrml.cli.main import main
sys.exit(main(["evaluate", "model", "--data", "d"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_in_order_with_130(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], text=True, stderr=subprocess.PIPE, env=ENVIRONMENT) as run:
        assert run.stderr is not None and run.stderr.readline() == "ready\n"
        run.send_signal(number)
        assert run.stderr.read() == "left in order\nerror: interrupted\n"
    assert run.returncode == 130


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with process("train", "--help", stdout=write) as run:
        os.close(write)
        _, err = run.communicate()
    assert (run.returncode, err) == (0, "")


def test_there_is_no_colour_where_there_is_no_terminal() -> None:
    with process("trian", stdout=subprocess.PIPE) as run:
        out, err = run.communicate()
    assert "\033" not in out + err and run.returncode == 2


def test_no_color_is_heard_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from mrml.cli import main

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main._colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not main._colour()


def test_the_version_is_the_package_s(mrml: Cli) -> None:
    import mrml as package

    assert mrml("--version").out == f"mrml {package.__version__}\n"
    versions = json.loads(mrml("version", "--json").out)
    assert versions["mrml"] == package.__version__ and versions["python"] and versions["numpy"]
