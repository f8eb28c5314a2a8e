"""Texts of a run file with names in them: ``{{ ds }}``, ``{{ root }}/models`` and ``${YEAR}-${MONTH}-${DAY}``.

A name is a variable of the file, or one that is set for the run, which wins.  Of ``ds``, a day as YYYY-MM-DD, come the
names that Airflow and Oozie have for it: ds_nodash, yesterday_ds, yesterday_ds_nodash, tomorrow_ds, YEAR, MONTH, DAY.
Nothing is run as code.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from mrml.errors import ConfigError, nearest

_PLACE = re.compile(r"\{\{(?P<braces>.*?)\}\}|\$\{(?P<dollar>[^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = {"true": True, "false": False}


def variables(given: Mapping[str, str], declared: Any, file: str) -> dict[str, str]:
    """Every variable by name: those that are set, those of the file, those that come of ``ds``.

    Raises
    ------
    ConfigError
        One is set that the file does not know, or a name, a day or a value is none.
    """
    if declared is not None and not isinstance(declared, dict):
        raise ConfigError(f"{file}, variables", "is not a section", "indent NAME: DEFAULT under variables:")
    known = {str(name): value for name, value in (declared or {}).items()}
    for name in {**known, **given}:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{file}, variables", f"{name!r} is no name", "use letters, digits and _")
    for name in given:
        if name not in {**known, "ds": ""}:
            raise ConfigError(f"--set {name}", f"{file} has no such variable", nearest(name, {*known, "ds"}))
    found = dict(given)
    for name, value in known.items():
        if name not in found and value is not None:
            if not isinstance(value, str | int | float):  # YAML reads an unquoted day as a date
                value = value.isoformat() if isinstance(value, datetime.date) else None
            if value is None:
                raise ConfigError(f"{file}, variables.{name}", "is no text or number", "give one value")
            word = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = filled(word, {**_of_day(found, file), **found}, f"{file}, variables.{name}", known)
    return {**_of_day(found, file), **found}


def filled(node: Any, values: Mapping[str, str], place: str, known: Mapping[str, Any] | None = None) -> Any:
    """A tree of YAML with the names in its texts replaced; ConfigError naming the place of one that has no value."""
    if isinstance(node, dict):
        sign = "." if ", " in place else ", "
        return {key: filled(value, values, f"{place}{sign}{key}", known) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, values, f"{place}[{i}]", known) for i, value in enumerate(node)]
    if not isinstance(node, str) or not _PLACE.search(node):
        return node

    def value_of(match: re.Match[str]) -> str:
        name = (match["braces"] if match["braces"] is not None else match["dollar"]).strip()
        if name in values:
            return values[name]
        if name in (known or {}) or name in _of_day({"ds": "2000-01-01"}, "") or name == "ds":
            set_it = name if name in (known or {}) else "ds"
            raise ConfigError(place, f"{match[0]} has no value", f"say --set {set_it}=VALUE")
        raise ConfigError(place, f"{match[0]} names no variable", nearest(name, {*values, *(known or {}), "ds"}))

    text = _PLACE.sub(value_of, node)
    return _WORDS.get(text, text) if _PLACE.fullmatch(node) else text


def _of_day(values: Mapping[str, str], file: str) -> dict[str, str]:
    """The names that come of ``ds``."""
    if "ds" not in values:
        return {}
    one = datetime.timedelta(days=1)
    try:
        day = datetime.date.fromisoformat(values["ds"])
        before, after = (other.isoformat() for other in (day - one, day + one))
        if day.isoformat() != values["ds"]:
            raise ValueError
    except (ValueError, OverflowError):
        raise ConfigError(f"{file}, variables.ds", f"{values['ds']!r} is no day", "write YYYY-MM-DD") from None
    names = dict(zip(("YEAR", "MONTH", "DAY"), values["ds"].split("-"), strict=True))
    return {
        "ds_nodash": values["ds"].replace("-", ""), "yesterday_ds": before,
        "yesterday_ds_nodash": before.replace("-", ""), "tomorrow_ds": after, **names,
    }  # fmt: skip
