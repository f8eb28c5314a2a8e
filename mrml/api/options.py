"""Options of Python calls as the sections of a run; tables in memory become files for as long as it lasts."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mrml.config.given import sections_of, texts
from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import ConfigError
from mrml.runs.tables import TARGET, is_table, written

Paths = str | Path | Sequence[str | Path]
#: paths, or a table in memory
Data = Any
#: roles whose columns may be given beside a table, and what they are called then
_BESIDE = {"weight": "weight", "group": "group", "offset": "offset", "time": "time", "id": ".id"}


def as_paths(held: ExitStack, data: Any, y: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run on data that may be tables: these are files for as long as the stack lasts."""
    _check_data(data)
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


def _check_data(data: Any) -> None:
    """ConfigError for what is neither paths nor a table."""
    several = isinstance(data, list | tuple)
    if is_table(data) or all(isinstance(one, str | Path) for one in (data if several else (data,))):
        return
    if several or isinstance(data, Mapping) or not isinstance(data, Iterable):
        remedy = "give paths, a frame, an Arrow table, or numpy.asarray(rows)"
        raise ConfigError("data", f"{reprlib.repr(data)} is neither a path nor a table", remedy)


def run_sections(held: ExitStack, data: Data, y: Any, options: Mapping[str, Any]) -> tuple[DataConfig, EngineConfig]:
    """The sections of a run on data that may be a table in memory, for as long as the stack lasts."""
    return sections_of(as_paths(held, data, y, options))
