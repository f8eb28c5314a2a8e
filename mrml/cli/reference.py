"""The generated parts of the docs: ``python -m mrml.cli.reference docs/*.md`` puts fresh ones in place.

A generated part stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``; a test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mrml.algorithms import TABLE
from mrml.cli import answers
from mrml.cli.main import COMMANDS
from mrml.cli.parser import load_algorithm
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


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(option: conf.Option) -> str:
    value = option.default
    if isinstance(value, tuple) and value:
        return ",".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
