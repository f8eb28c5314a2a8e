"""The generated parts of the docs: ``python -m mrml.cli.reference docs/*.md`` puts fresh ones in place.

A generated part stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; a test compares.  Whole pages that follow from
the program (:data:`WHOLE`) are written when Sphinx builds the docs and are not checked in.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from unittest import mock

from mrml.algorithms import TABLE
from mrml.api.estimators import stub
from mrml.cli import answers
from mrml.cli.main import COMMANDS, parse
from mrml.cli.parser import Parser, load_algorithm
from mrml.config import sources as conf
from mrml.config.sections import DataConfig
from mrml.config.steps import STEPS


def algorithms() -> str:
    """The table of algorithms with their hyperparameters and defaults."""
    lines = ["| algorithm | for | hyperparameters and defaults |", "|---|---|---|"]
    for name, entry in TABLE.items():
        hyper = conf.options(load_algorithm(name), "algorithm")
        shown = ", ".join(f"`{o.name}` {_default(o)}" for o in hyper)
        lines.append(f"| `{name}` | {_cell(entry.summary)} | {_cell(shown)} |")
    return "\n".join(lines)


def commands() -> str:
    """The table of commands."""
    rows = [f"| `mrml {name}` | {command.summary} |" for name, command in COMMANDS.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def data_options() -> str:
    """The table of the options that say where the rows are and how they are read."""
    rows = [
        f"| `{o.flag}` | {_cell(str(o.field.metadata['help']))} | {_default(o) or 'none'} |"
        for o in conf.options(DataConfig, "data")
    ]
    return "\n".join(["| option | what it is for | default |", "|---|---|---|", *rows])


def steps() -> str:
    """The table of the steps of a batch run with their keys."""
    rows = []
    for name, cls in STEPS.items():
        about = (cls.__doc__ or "").splitlines()[0].rstrip(".")
        keys = [f"`{o.name}` {o.field.metadata['help']}{_given(o)}" for o in conf.options(cls, "steps")]
        rows.append(f"| `{name}` | {about} | {_cell('; '.join(keys)) or 'none'} |")
    return "\n".join(["| step | what it does | its keys, and defaults |", "|---|---|---|", *rows])


def _given(option: conf.Option) -> str:
    value = _default(option) if option.default not in ("", ()) else ""
    return f" ({value})" if value else ""


PARTS = {
    "algorithms": algorithms,
    "answers": answers.tables,
    "commands": commands,
    "data-options": data_options,
    "steps": steps,
}


def refreshed(text: str) -> str:
    """A document with its generated parts made again."""
    for name, make in PARTS.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if end:
            text = f"{before}{begin}{make()}\n{end}{after}"
    return text


def parser_of(command: str) -> Parser:
    """The parser of a command, caught as it is about to print its help."""
    found: list[Parser] = []
    catch = mock.patch.object(Parser, "print_help", lambda self, file=None: found.append(self))
    with catch, contextlib.suppress(SystemExit):
        parse([command, "--help"])
    return found[0]


def every_option() -> str:
    """The page of all commands with all of their options."""
    parts = ["# Every option of every command", ""]
    parts += ["`mrml train ALGORITHM --help` adds the algorithm's [hyperparameters](hyperparameters.md).", ""]
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        parts += [f"## mrml {name}", "", f"{command.summary[0].upper()}{command.summary[1:]}.", ""]
        parts += ["```sh", parser.example, "```", "", "| option | what it is for |", "|---|---|"]
        parts += [_option_row(action) for action in parser._actions if action.option_strings != ["-h", "--help"]]
        parts += [""]
    return "\n".join(parts)


def _option_row(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or (action.dest if not action.choices else "WORD"))
    names = [f"`{f'{name} {value}'.strip()}`" for name in action.option_strings or [""]]
    return f"| {', '.join(names)} | {_cell(str(action.help).replace('%%', '%'))} |"


def hyperparameters() -> str:
    """The page of all algorithms with what each hyperparameter is for."""
    parts = ["# Every hyperparameter of every algorithm", ""]
    parts += ["Options of `mrml train`, keys of a run file and arguments in Python have the same names.", ""]
    for name, entry in TABLE.items():
        parts += [f"## {name}", "", f"{entry.summary[0].upper()}{entry.summary[1:]}.", ""]
        parts += ["| hyperparameter | what it is for | default | also |", "|---|---|---|---|"]
        for o in conf.options(load_algorithm(name), "algorithm"):
            choices = ", ".join(map(str, o.field.metadata.get("choices") or ()))
            about = str(o.field.metadata["help"]) + (f" (one of {choices})" if choices else "")
            also = ", ".join(f"`{alias}`" for alias in o.aliases)
            parts += [f"| `{o.name}` | {_cell(about)} | {_cell(_default(o))} | {also} |"]
        parts += [""]
    return "\n".join(parts)


#: pages of the HTML that are written at each build
WHOLE = {"options": every_option, "hyperparameters": hyperparameters}


def write_pages(folder: Path) -> None:
    """Write the pages of :data:`WHOLE` to a folder; what is there already and equal stays, for builds that go on."""
    folder.mkdir(exist_ok=True)
    for name, make in WHOLE.items():
        path, text = folder / f"{name}.md", make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def _default(option: conf.Option) -> str:
    value = option.default
    if isinstance(value, tuple) and value:
        return ",".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        text = stub() if path.suffix == ".pyi" else refreshed(path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
