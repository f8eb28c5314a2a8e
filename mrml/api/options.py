"""Options of Python calls as the sections of a run; tables in memory become files for as long as it lasts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import ConfigError, nearest
from mrml.params import check
from mrml.runs.tables import TARGET, is_table, written

Paths = str | Path | Sequence[str | Path]
#: paths, or a table in memory
Data = Any
#: roles whose columns may be given beside a table, and what they are called then
_BESIDE = {"weight": "weight", "group": "group", "offset": "offset", "time": "time", "id": ".id"}
Section = TypeVar("Section", DataConfig, EngineConfig)


def as_paths(held: ExitStack, data: Any, y: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run on data that may be tables: these are files for as long as the stack lasts."""
    given = {**options}
    cache_dir = given.get("cache_dir")
    pairs = {"data": (data, y)}
    beside: dict[str, Any] = {}
    for name, column in _BESIDE.items():  # columns that are given as such, and not by name
        if given.get(name) is not None and not isinstance(given[name], str):
            beside[column], given[name] = given[name], column
    if beside and not is_table(data):
        raise ConfigError("fit", f"data is a path, and its {next(iter(beside))} a table", "name the column")
    valid = given.get("valid")
    if isinstance(valid, tuple) and len(valid) == 2 and is_table(valid[0]):
        pairs["valid"] = valid
    elif is_table(valid):
        pairs["valid"] = (valid, None)
    for name, (table, target) in pairs.items():
        if not is_table(table):
            if target is not None:
                raise ConfigError("fit", f"{name} is a path, and its target a table", "name the column with target=")
            given[name] = table
            continue
        columns = beside if name == "data" else {}
        file = held.enter_context(written(table, {TARGET: target, **columns}, cache_dir))
        for column in file.without:
            del given[column]
        given[name] = file.path
        for option, value in file.options.items():
            if option == "categorical":
                given[option] = tuple(dict.fromkeys((*texts(given.get(option, ())), *value)))
            else:
                given.setdefault(option, value)
        if target is not None:
            given.setdefault("target", file.target)
    return given


def run_sections(held: ExitStack, data: Data, y: Any, options: Mapping[str, Any]) -> tuple[DataConfig, EngineConfig]:
    """The sections of a run on data that may be a table in memory, for as long as the stack lasts."""
    return sections_of(as_paths(held, data, y, options))


def sections_of(options: Mapping[str, Any]) -> tuple[DataConfig, EngineConfig]:
    """Options by name as the two sections; ConfigError with the nearest name for an unknown one."""
    of_data, of_engine = ({f.name for f in dataclasses.fields(cls)} for cls in (DataConfig, EngineConfig))
    _known(options, of_data | of_engine)
    return (
        section_of(DataConfig, {k: v for k, v in options.items() if k in of_data}),
        section_of(EngineConfig, {k: v for k, v in options.items() if k in of_engine}),
    )


def section_of(cls: type[Section], options: Mapping[str, Any]) -> Section:
    """Options by name as one section; ConfigError with the nearest name for an unknown one."""
    fields = dataclasses.fields(cls)
    _known(options, {f.name for f in fields})
    lists = {f.name for f in fields if f.type == "tuple[str, ...]"}
    given: dict[str, Any] = {k: texts(v) if k in lists else v for k, v in options.items()}
    section = cls(**given)
    for f in fields:
        check(f, getattr(section, f.name))
    return section


def _known(options: Mapping[str, Any], known: set[str]) -> None:
    for name in options:
        if name not in known:
            raise ConfigError("fit", f"unknown option {name!r}", nearest(name, known))


def texts(value: Any) -> tuple[str, ...]:
    """One or several texts or paths."""
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))
