"""``mrml``: finds the command, runs it, and turns what happened into an exit code.

==== =======================================================
0    done
1    unexpected: the one case in which there is a traceback
2    usage or configuration
3    input
4    the output exists
5    the engine
6    did not converge (with ``--strict``)
7    a gate refused a model
130  interrupted (Ctrl-C or SIGTERM)
==== =======================================================
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mrml import logs, pin
from mrml.cli.out import emit_json
from mrml.cli.parser import Parser, common
from mrml.errors import ConfigError, MrmlError, TaskFailed, nearest, to_json


class Interrupted(MrmlError):
    """Ctrl-C or SIGTERM."""

    exit_code = 130


class Unexpected(TaskFailed):
    """An exception that nobody raised on purpose."""

    exit_code = MrmlError.exit_code


class Command(NamedTuple):
    """``module`` has ``parse_NAME(argv) -> namespace`` and ``run_NAME(namespace) -> None``."""

    module: str
    summary: str
    #: whether it computes, which takes kernels that are pinned
    computes: bool = False


COMMANDS = {
    "schema": Command("mrml.cli.schema", "infer the columns of data: types, nulls, categories, malformed values"),
    "train": Command("mrml.cli.train", "train a model", True),
    "tune": Command(
        "mrml.cli.search.tune", "find the best hyperparameters; all candidates share each pass over the data", True
    ),
    "predict": Command("mrml.cli.score", "score data with a model", True),
    "evaluate": Command("mrml.cli.score", "compute exact metrics of a model on data", True),
    "run": Command(
        "mrml.cli.batch.run", "run the steps of a nightly job: validate, train, gate, promote, predict", True
    ),
    "compare": Command(
        "mrml.cli.batch.compare", "compare the metrics of two models on the same rows, with intervals", True
    ),
    "report": Command("mrml.cli.batch.report", "write an HTML report about a run", True),
    "validate": Command("mrml.cli.batch.validate", "check rows for drift from the rows a model was trained on", True),
    "export": Command(
        "mrml.cli.export",
        "write a model as a file of XGBoost, LightGBM, ONNX, torch or safetensors",
        True,
    ),
    "inspect": Command("mrml.cli.model", "show a model: hyperparameters, features, coefficients"),
    "config": Command("mrml.cli.train", "config show: show every setting of a run and where it comes from"),
    "sample": Command("mrml.cli.tools.sample", "generate sample data"),
    "runs": Command("mrml.cli.runs", "manage runs: list, show, attach, kill, clean"),
    "models": Command("mrml.cli.models", "manage model versions: list, show, promote, rollback", True),
    "cluster": Command("mrml.cli.cluster", "a small Hadoop cluster on this machine: up, status, env, logs, down"),
    "pack": Command("mrml.cli.tools.pack", "pack the Python environment into an archive for the nodes of a cluster"),
    "oozie": Command("mrml.cli.tools.oozie", "schedule runs with Oozie: render, validate, submit, status, kill, rerun"),
    "doctor": Command(
        "mrml.cli.doctor", "check Java, HDFS, YARN, the nodes and the inputs, and say how to fix what fails"
    ),
    "version": Command("mrml.cli.model", "show the versions of mrml and its libraries"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS.get(_split(argv)[1])
    if not pin.pin() and command is not None and command.computes:  # a process of the user's that has loaded NumPy
        code = "import sys; sys.path[:] = {path!r}; from mrml.cli.main import main; sys.exit(main())"
        return subprocess.call([sys.executable, "-c", code.format(path=sys.path), *argv], env=pin.environment())
    logs.setup(sys.stderr, style=_style(argv), colour=_colour())
    verbose, as_json = False, "--json" in argv
    error: MrmlError
    try:
        args = parse(argv)
        verbose = args.verbose
        logs.setup(sys.stderr, verbose - args.quiet, args.log_format, _colour())
        with signals_interrupt():
            args.run(args)
        return 0
    except SystemExit as stop:  # argparse, after --help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        anew = " without --overwrite" if any(word.partition("=")[0] == "--overwrite" for word in argv) else ""
        goes_on = _split(argv)[1] in ("train", "tune", "run")
        error = Interrupted("", "interrupted", f"the same command{anew} continues" if goes_on else "")
    except MrmlError as found:
        error = found
    except (IsADirectoryError, NotADirectoryError, PermissionError) as found:  # in the place of what a run writes
        place = str(found.filename2 or found.filename or "")
        error = ConfigError(
            place, f"cannot be written or read: {found.strerror}", "check what lies there and its rights"
        )
    except Exception as found:
        text = f"unexpected {type(found).__name__}: {found}".splitlines()[0]
        error = Unexpected("", text, "", traceback.format_exc())
    logs.close()
    _report(error, verbose)
    if as_json:
        emit_json({"error": {**to_json(error), "exit_code": error.exit_code}, **error.facts})
    return error.exit_code


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The namespace of a command line, with ``run`` to call; ConfigError for an unknown word."""
    before, name, rest = _split(argv)
    if not name:
        help_parser().read(before)
        raise ConfigError("mrml", "no command", f"give one of {', '.join(COMMANDS)}, or --help")
    if name not in COMMANDS:
        raise ConfigError("mrml", f"unknown command {name!r}", nearest(name, COMMANDS))
    module: Any = importlib.import_module(COMMANDS[name].module)
    args: argparse.Namespace = getattr(module, f"parse_{name}")([*before, *rest])
    args.run = getattr(module, f"run_{name}")
    return args


def help_parser() -> Parser:
    """The parser of ``mrml`` without a command: its help, and its version."""
    from mrml import __version__

    lines = [f"  {name:10}{command.summary}" for name, command in COMMANDS.items()]
    about = "Batch machine learning as MapReduce: one program on every engine, one model to the byte."
    example = "mrml train logistic --data data/ --target y --output model"
    parser = common(Parser("", example, description="\n".join([about, "", "commands:", *lines])))
    parser.usage = "mrml COMMAND [options]; see mrml COMMAND --help"
    parser.add_argument("--version", action="version", version=f"mrml {__version__}", help="print the version")
    return parser


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, with-blocks left in order.

    In a process forked from this one (mrjob's pools) both end it without a word, but not at once: one that waits for
    work holds a lock, and left held it would hang the pool's end here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(number: int, frame: Any) -> None:
        if os.getpid() != owner:
            raise SystemExit(Interrupted.exit_code)
        raise KeyboardInterrupt

    heard = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) is not signal.SIG_IGN]  # as nohup asks
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _split(argv: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Options before the command, the command, what follows it."""
    for i, token in enumerate(argv):
        if not token.startswith("-") and (i == 0 or argv[i - 1] != "--log-format"):
            return list(argv[:i]), token, list(argv[i + 1 :])
    return list(argv), "", []


def _style(argv: Sequence[str]) -> str:
    """The log format that an error in the command line itself is told in."""
    joined = " ".join(argv)
    return "json" if "--log-format json" in joined or "--log-format=json" in joined else "text"


def _colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _report(error: MrmlError, verbose: bool) -> None:
    """An error on one line; a traceback of ours or of a task's only with -v, and in a file that the line names."""
    facts = {"place": error.place, "finding": error.finding, "remedy": error.remedy, "exit_code": error.exit_code}
    trace = error.traceback.rstrip() if isinstance(error, TaskFailed) else ""
    text = f"{error}\n{trace}" if verbose and trace else str(error)
    if trace and not verbose:
        with tempfile.NamedTemporaryFile("w", prefix="mrml-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(logs.masked(trace) + "\n")
        text = f"{error} (traceback in {file.name}; -v prints it)"
    told = error if verbose and not trace and error.__traceback__ else None  # an interrupt was never raised
    logs.log.error("%s", text, exc_info=told, extra={"event": "error", "facts": facts})
