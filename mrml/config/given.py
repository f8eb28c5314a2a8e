"""Options that are given by name, as sections of a run."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mrml.config.parse import from_text, members
from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import ConfigError, nearest
from mrml.params import check

Section = TypeVar("Section", DataConfig, EngineConfig)


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
    for name, kind in typing.get_type_hints(cls).items():  # a text of a number means what it does on the command line
        if isinstance(value := given.get(name), str) and str not in members(kind):
            given[name] = from_text(value, kind, name)
    section = cls(**given)
    for f in fields:
        check(f, getattr(section, f.name))
    return section


def _known(options: Mapping[str, Any], known: set[str]) -> None:
    for name in options:
        if name not in known:
            raise ConfigError("fit", f"unknown option {name!r}", nearest(name, known))


def texts(value: Any) -> tuple[str, ...]:
    """One text or path, or some of them."""
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))
