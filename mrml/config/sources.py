"""What a run is configured with, and where each value came from.

Defaults, then a run file (``--config``), then the environment (``MRML_*``), then the options of the command
line; later wins.  A run file is YAML::

    algorithm:                  # or just: algorithm: logistic
      name: logistic
      l2: 1e-4
    data:
      data: [part-*.csv]        # relative to where mrml runs
      target: churned
    engine:
      workers: 2
    output: models/churn

A variable is the field's name in capitals: ``MRML_ENGINE``, ``MRML_L2``.  Nothing here imports NumPy until an
algorithm is named.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from mrml.config import parse as values
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError, nearest
from mrml.names import allow
from mrml.params import check, meant, once, unknown

SECTIONS: dict[str, type] = {"data": DataConfig, "engine": EngineConfig}
PREFIX = "MRML_"
#: variables that configure no run: of the project's own tests and benchmarks, of `mrml cluster`, of what schedules runs
NOT_OURS = (
    *("MRML_BENCH_", "MRML_IDENTITY_", "MRML_TEST_", "MRML_CLUSTER", "MRML_HADOOP_CACHE"),
    *("MRML_PYTHON", "MRML_YARN_TAGS"),
)
#: options of the command line that are no fields, and so no hyperparameter may be called
RESERVED = ("config", "dry_run", "json", "help", "verbose", "quiet", "log_format", "name")
Key = tuple[str, str]


def flag_of(name: str) -> str:
    """The option of a field's name."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Option:
    """One field of a section, as the command line, the environment and the file know it."""

    section: str
    name: str
    type: Any
    field: dataclasses.Field[Any]

    @property
    def key(self) -> Key:
        return self.section, self.name

    @property
    def flag(self) -> str:
        return flag_of(self.name)

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names of the field, all as good."""
        found: tuple[str, ...] = self.field.metadata.get("aliases", ())
        return found

    @property
    def variables(self) -> list[str]:
        """Its variable, and those of its other names."""
        return [self.variable, *(PREFIX + name.upper() for name in self.aliases)]

    @property
    def default(self) -> Any:
        """The default, or dataclasses.MISSING."""
        if self.field.default_factory is not dataclasses.MISSING:
            return self.field.default_factory()
        return self.field.default

    def checked(self, value: Any, place: str) -> Any:
        """The value, by our word for it, when it is one of the field's choices and within its bounds."""
        value = meant(self.field, value)
        check(self.field, value, place)
        return value


class Setting(NamedTuple):
    """A value and where it came from: ``default``, a file, a variable, an option."""

    option: Option
    value: Any
    origin: str


Settings = dict[Key, Setting]


def options(cls: type, section: str, only: Iterable[str] = (), without: Iterable[str] = ()) -> list[Option]:
    """The options of a dataclass' fields, in their order."""
    hints = typing.get_type_hints(cls)
    chosen = [f for f in dataclasses.fields(cls) if not f.metadata.get("internal")]
    kept = [f for f in chosen if (not only or f.name in only) and f.name not in without]
    return [Option(section, f.name, hints[f.name], f) for f in kept]


def run_options(algorithm: type | None) -> list[Option]:
    """Every option of a training run; the hyperparameters only where the algorithm is known."""
    run = options(RunConfig, "run", without=("params", "data", "engine"))
    known = [*run, *options(DataConfig, "data"), *options(EngineConfig, "engine")]
    if algorithm is None:
        return known
    hyper = options(algorithm, "algorithm")
    taken = {o.name for o in known} | set(RESERVED)
    for name in (name for option in hyper for name in (option.name, *option.aliases)):
        if name in taken:
            finding = f"its hyperparameter {name!r} has the name of an option of mrml train"
            raise ConfigError(algorithm.__name__, finding, "rename the field")
    return known + hyper


_REMEDY, _SECTIONS = "give the path of a YAML file", "write sections data:, algorithm:, engine:"


def read_file(path: str) -> dict[str, Any]:
    """The sections of a run file; ConfigError when it is missing, not YAML, or has an unknown section."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            tree = yaml.safe_load(file)
        json.dumps(tree, default=str, skipkeys=True)  # which finds an alias inside of what it names
    except FileNotFoundError:
        raise ConfigError(path, "there is no such file", _REMEDY) from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror or error}", _REMEDY) from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, f"cannot be read: {error}", "save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else path
        raise ConfigError(place, f"is not YAML: {getattr(error, 'problem', error)}") from None
    except (RecursionError, ValueError):
        raise ConfigError(path, "contains itself, or sections nested too deeply", _SECTIONS) from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(path, "is not a mapping", _SECTIONS)
    if not isinstance(tree.get("algorithm", {}), dict):
        tree = {**tree, "algorithm": {"name": tree["algorithm"]}}
    return tree


def algorithm_name(flag: str | None, environ: Mapping[str, str], tree: Mapping[str, Any]) -> str:
    """The algorithm a run is for, before its options are known; empty when none is named."""
    in_file = (tree.get("algorithm") or {}).get("name")
    return str(flag or environ.get(PREFIX + "ALGORITHM") or in_file or "")


def solver_name(rest: Sequence[str], environ: Mapping[str, str], tree: Mapping[str, Any]) -> str:
    """The solver that is asked for: one of them has hyperparameters of its own."""
    flags = [word.partition("=")[2] for word in rest if word.startswith("--solver=")]
    flags += [after for word, after in pairwise(rest) if word == "--solver"]
    in_file = (tree.get("algorithm") or {}).get("solver")
    return str((flags or [""])[-1] or environ.get(PREFIX + "SOLVER") or in_file or "")


def asked(tree: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """The algorithm and the solver that a run file and the environment ask for."""
    return algorithm_name(None, environ, tree), solver_name((), environ, tree)


def resolve(
    known: Sequence[Option],
    flags: Mapping[Key, Any],
    environ: Mapping[str, str] = os.environ,
    tree: Mapping[str, Any] | None = None,
    file: str = "",
    absent: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Every known option with its value and origin.

    ``flags`` holds the texts of the command line by (section, name), a list of texts where an option may be
    repeated; ``tree`` is what :func:`read_file` made of ``file``; ``absent`` names of other libraries without a
    counterpart, and what to do instead.
    """
    in_file = _file_nodes(tree or {}, known, file, absent)
    return {option.key: _setting(option, flags, environ, in_file, file) for option in known}


def variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that are to name options."""
    return sorted(v for v in environ if v.startswith(PREFIX) and not v.startswith(NOT_OURS))


def refuse_unknown_variables(known: Sequence[Option], environ: Mapping[str, str] = os.environ) -> None:
    """ConfigError for an ``MRML_`` variable that names no option, as for an unknown key of a file."""
    names = {variable for o in known for variable in o.variables}
    strange = [v for v in variables(environ) if v not in names]
    if strange:
        raise ConfigError("environment", f"unknown variable {strange[0]!r}", nearest(strange[0], names))


def section(cls: type, name: str, settings: Settings) -> Any:
    """The dataclass of a section; fields that are no options keep their defaults."""
    return cls(**{s.option.name: s.value for key, s in settings.items() if key[0] == name})


def run_config(settings: Settings) -> RunConfig:
    """The training run that the settings describe."""
    run = {s.option.name: s.value for key, s in settings.items() if key[0] == "run"}
    params = {s.option.name: s.value for key, s in settings.items() if key[0] == "algorithm"}
    parts = {name: section(cls, name, settings) for name, cls in SECTIONS.items()}
    return RunConfig(**run, **parts, params=params)


def _setting(
    option: Option, flags: Mapping[Key, Any], environ: Mapping[str, str], in_file: Mapping[Key, Any], file: str
) -> Setting:
    value: Any
    if option.key in flags:
        place = origin = option.flag if option.name != "algorithm" else "ALGORITHM"
        whole = option.field.metadata.get("whole")
        value = tuple(flags[option.key]) if whole else _from_flag(flags[option.key], option.type, place)
        origin = f"option {origin}"
    elif found := [name for name in option.variables if name in environ]:
        once(found, dict.fromkeys(found, option.variable), "environment")
        place = found[0]
        value, origin = values.from_text(environ[place], option.type, place), f"environment {place}"
    elif option.key in in_file:
        place, origin = f"{file}, {_path_in_file(option)}", file
        value = values.from_yaml(in_file[option.key], option.type, place)
    elif option.default is dataclasses.MISSING:
        raise ConfigError(f"algorithm, {option.name}", "has no default", f"give {option.flag}")
    else:
        return Setting(option, option.default, "default")
    if option.field.metadata.get("blank") and value == () and origin != file:
        value = ("",)
    return Setting(option, option.checked(value, place), origin)


def _from_flag(given: str | list[str], annotation: Any, place: str) -> Any:
    if isinstance(given, str):
        return values.from_text(given, annotation, place)
    parts = [values.from_text(text, annotation, place) for text in given]
    if isinstance(parts[0], dict):
        return {key: value for part in parts for key, value in part.items()}
    return tuple(item for part in parts for item in part) if isinstance(parts[0], tuple) else parts[-1]


def _file_nodes(
    tree: Mapping[str, Any], known: Sequence[Option], file: str, absent: Mapping[str, str]
) -> dict[Key, Any]:
    """The nodes of a run file by option; ConfigError for an unknown key."""
    names = {path: o for o in known for path in _paths_in_file(o)}
    tops = {path.partition(".")[0] for path in names} | {*SECTIONS, "algorithm"}
    found: dict[Key, Any] = {}
    for top, node in tree.items():
        if top == "search" and top not in tops:
            raise ConfigError(file, "has a search, which only mrml tune runs", f"use mrml tune {file} --dry-run")
        if top not in tops:
            raise ConfigError(file, f"unknown key {top!r}", nearest(str(top), tops))
        nested = top in SECTIONS or top in ("algorithm", "search")
        if nested and node is not None and not isinstance(node, dict):
            raise ConfigError(f"{file}, {top}", f"{node!r} is not a section", f"indent its keys under {top}:")
        for path, leaf in {f"{top}.{k}": v for k, v in (node or {}).items()}.items() if nested else [(top, node)]:
            if path not in names:
                siblings = [p.partition(".")[2] for p in names if p.startswith(f"{top}.")]
                key = path.partition(".")[2]
                raise ConfigError(f"{file}, {top}", f"unknown key {key!r}", unknown(key, siblings, absent))
            found[names[path].key] = leaf
        if nested:
            once(node or {}, {p.partition(".")[2]: o.name for p, o in names.items()}, f"{file}, {top}")
    return found


def _paths_in_file(option: Option) -> list[str]:
    return [_path_in_file(option), *(f"{option.section}.{name}" for name in option.aliases)]


def _path_in_file(option: Option) -> str:
    if option.section == "run":
        return "algorithm.name" if option.name == "algorithm" else option.name
    return f"{option.section}.{option.name}"


def allow_imports(modules: Sequence[str]) -> None:
    """Let models name these modules of the user's own, which may lie where mrml runs."""
    if modules:
        allow(*modules)
        see_current_directory()


def see_current_directory() -> None:
    """Code of the user's own, where he names some, may lie where mrml runs; engines hand ``sys.path`` to their tasks.

    It comes last: a file there that is called as a library is not taken for it.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
