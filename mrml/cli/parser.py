"""Options made from dataclass fields, on argparse; what argparse leaves out is here too.

Texts stay texts: :mod:`mrml.config.sources` turns them into values, so that an error names the option, and the
environment and the run file follow the same rules.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from mrml.algorithms import TABLE, algorithm_class
from mrml.cli.out import emit
from mrml.config import parse as values
from mrml.config import sources as conf
from mrml.errors import ConfigError, nearest
from mrml.params import once, unknown

_TITLES = {
    "run": "the run",
    "data": "the data",
    "engine": "where it runs",
    "algorithm": "hyperparameters",
    "limits": "limits",
    "oozie": "render: the application of Oozie",
    "search": "the search",
}
_SHORT = {"runner": ["-r"], "jobconf": ["-D"]}
_METAVARS = {
    **dict.fromkeys(("target", "weight", "id", "group", "offset"), "COL"),
    **dict.fromkeys(("output", "cache_dir", "log_dir", "oof", "path"), "DIR"),
    **dict.fromkeys(("quote", "escape", "decimal", "thousands"), "CHAR"),
    **dict.fromkeys(("schema", "environment", "keytab"), "FILE"),
    **dict.fromkeys(("start", "end", "input_start"), "TIME"),
    **dict.fromkeys(("task_python", "python"), "COMMAND"),
    **dict.fromkeys(("mlflow", "name_node", "input"), "URI"),
    "delimiter": "TEXT",
    "driver_host": "HOST",
    "driver_ports": "A-B",
    "resource_manager": "HOST:PORT",
    "principal": "NAME@REALM",
    "notify": "URL",
    "init_model": "MODEL",
    "module": "MODULE:FUNCTION",
    "monotone": "COL:1",
}
_LISTS = {
    **dict.fromkeys(("data", "valid"), "DATA"),
    "date_format": "FORMAT",
    "units": "TEXT",
    **dict.fromkeys(("set", "env"), "NAME=VALUE"),
    "jobconf": "KEY=VALUE",
    "allow_import": "MODULE",
    "file": "FILE",
    "email": "ADDRESS",
}


class Parser(argparse.ArgumentParser):
    """Errors are ConfigErrors with the nearest name; ``--max_rounds`` is ``--max-rounds``."""

    def __init__(self, command: str, example: str, **more: Any) -> None:
        super().__init__(
            prog=f"mrml {command}".strip(),
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,
        )
        self.example = example
        #: other names of options -> theirs; and names of other libraries -> what to do without
        self.renamed: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        self.intermixed = False

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """The namespace of a command line; ConfigError for what it does not know."""
        # a second word may stand behind options
        parse = self.parse_known_intermixed_args if self.intermixed else self.parse_known_args
        args, rest = parse(self.canonical(argv))
        if rest:
            self.refuse(rest[0])
        return args

    def canonical(self, argv: Sequence[str]) -> list[str]:
        """Names with dashes, and a bare boolean option given its value, so that it takes no word after it."""
        out: list[str] = []
        seen: list[str] = []
        for i, token in enumerate(argv):
            if token == "--":
                return [*out, *argv[i:]]
            name, sign, value = token.partition("=")
            if token.startswith("--"):
                name = name.replace("_", "-")
                seen.append(name)
                name = self.renamed.get(name, name)
                token = name + sign + value
            action = self._option_string_actions.get(name)
            follower = argv[i + 1].lower() if i + 1 < len(argv) else ""
            if action is not None and action.nargs == "?" and not sign and follower not in values.TRUE + values.FALSE:
                token = f"{name}=true"
            out.append(token)
        once(seen, self.renamed, self.prog)
        return out

    def refuse(self, token: str) -> NoReturn:
        """ConfigError for a word the command does not know."""
        name = token.partition("=")[0]
        if name.startswith("-"):
            remedy = unknown(name, self.names(), self.absent)
            raise ConfigError(self.prog, f"unknown option {name}", remedy)
        raise ConfigError(self.prog, f"{token!r} is an unexpected argument", f"see {self.prog} --help")

    def names(self) -> list[str]:
        """The long options, by all of their names."""
        return [name for name in self._option_string_actions if name.startswith("--")] + list(self.renamed)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(self.prog, message, f"see {self.prog} --help")

    def print_help(self, file: Any = None) -> None:
        emit(self.format_help().rstrip())

    def add_options(self, options: Iterable[conf.Option], renamed: dict[str, str] | None = None) -> None:
        """An option for each field, in a group for each section; ``renamed`` gives other flags by field name."""
        groups: dict[str, argparse._ArgumentGroup] = {}
        for option in options:
            if option.section not in groups:
                groups[option.section] = self.add_argument_group(_TITLES[option.section])
            flag = (renamed or {}).get(option.name, option.flag)
            self.renamed.update(dict.fromkeys(map(conf.flag_of, option.aliases), flag))
            groups[option.section].add_argument(*_SHORT.get(option.name, []), flag, **_argument(option))


def flags(args: argparse.Namespace) -> dict[conf.Key, Any]:
    """The texts that were given, by section and field."""
    pairs = [(tuple(name.split(".", 1)), value) for name, value in vars(args).items() if "." in name]
    return {(section, name): value for (section, name), value in pairs}


def common(parser: Parser, json_help: str = "") -> Parser:
    """The options every command has; ``--json`` where it prints a result."""
    group = parser.add_argument_group("output")
    if json_help:
        group.add_argument("--json", action="store_true", help=json_help)
    group.add_argument(
        "-v", "--verbose", action="store_true", help="print more log lines, and the traceback of an error"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="print only warnings and errors")
    group.add_argument("--log-format", choices=("text", "json"), default="text", help="format of the logs on stderr")
    return parser


def _argument(option: conf.Option) -> dict[str, Any]:
    more: dict[str, Any] = {"dest": f"{option.section}.{option.name}", "default": argparse.SUPPRESS}
    more["help"] = _help(option).replace("%", "%%")
    if values.is_bool(option.type):
        return {**more, "nargs": "?", "const": "true", "metavar": "BOOL"}
    if values.is_list(option.type):
        return {**more, "action": "append", "metavar": _LISTS.get(option.name, "A,B")}
    return {**more, "metavar": _metavar(option)}


def _metavar(option: conf.Option) -> str:
    kinds = values.members(option.type)
    return _METAVARS.get(option.name) or _listed(option) or ("N" if int in kinds else "X" if float in kinds else "NAME")


def _listed(option: conf.Option) -> str:
    """The choices of an option where they are short enough to stand for its value."""
    text = "|".join(map(str, option.field.metadata.get("choices") or ()))
    return text if len(text) <= 24 else ""


def _help(option: conf.Option) -> str:
    meta = option.field.metadata
    notes = []
    if meta.get("choices") and not _listed(option):
        notes.append("one of " + ", ".join(str(c) for c in meta["choices"]))
    if option.default is not False and option.default not in (None, "", (), {}, dataclasses.MISSING):
        notes.append(f"default {_default(option.default)}")
    if option.aliases:
        notes.append("also " + ", ".join(option.aliases))
    text = str(meta.get("help", ""))
    return f"{text} ({'; '.join(notes)})" if notes else text


def _default(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_action(command: str, action: str, known: Collection[str]) -> None:
    """ConfigError for an action that a command does not have."""
    if action not in known:
        raise ConfigError(f"mrml {command}", f"unknown action {action!r}", nearest(action, known))


def every_option() -> list[conf.Option]:
    """Every option of a training run with any algorithm of the table."""
    hyper = [option for name in TABLE for option in conf.options(load_algorithm(name), "algorithm")]
    return conf.run_options(None) + hyper


def load_algorithm(name: str, solver: str = "") -> type:
    """The class of a name of the table or of ``package.module:Class``, the current directory included."""
    if name not in TABLE and ":" in name:
        conf.see_current_directory()
    return algorithm_class(name, solver)
