"""Texts of a run file with names in them: ``{{ ds }}``, ``{{ root }}/models`` and ``${YEAR}-${MONTH}-${DAY}``.

A name is a variable of the file, or one that is set for the run, which wins.  Of ``ds``, a day as YYYY-MM-DD, come the
names that Airflow and Oozie have for it: ds_nodash, yesterday_ds, yesterday_ds_nodash, tomorrow_ds, YEAR, MONTH, DAY.
Nothing is run as code.

``{{ env.NAME }}`` is a variable of the environment, which is written down with the rest.  ``{{ secret.NAME }}`` is one
too, or what the file holds that NAME_FILE names; it stays as it is written until :func:`revealed`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mrml import logs, pin
from mrml.errors import ConfigError, nearest

_PLACE = re.compile(r"\{\{(?P<braces>.*?)\}\}|\$\{(?P<dollar>[^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"\{\{\s*secret\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_BRACES = re.compile(r"\{\{\s*[A-Za-z_][A-Za-z0-9_.]*\s*\}\}")
_ENV = "env."
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
            raise ConfigError(f"{file}, variables", f"{name!r} is not a name", "use letters, digits and _")
    for name in given:
        if name not in {**known, "ds": ""}:
            raise ConfigError(f"--set {name}", f"{file} has no such variable", nearest(name, {*known, "ds"}))
    found = dict(given)
    for name, value in known.items():
        if name not in found and value is not None:
            if not isinstance(value, str | int | float):  # YAML reads an unquoted day as a date
                value = value.isoformat() if isinstance(value, datetime.date) else None
            if value is None:
                raise ConfigError(f"{file}, variables.{name}", "is not a text or number", "give one value")
            word = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = filled(word, {**_of_day(found, file), **found}, f"{file}, variables.{name}", known)
    return {**_of_day(found, file), **found}


def filled(node: Any, values: Mapping[str, str], place: str, known: Mapping[str, Any] | None = None) -> Any:
    """A tree of YAML with the names in its texts replaced; ConfigError naming the place of one that has no value."""
    if isinstance(node, dict):
        return {key: filled(value, values, _below(place, key), known) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, values, f"{place}[{i}]", known) for i, value in enumerate(node)]
    if not isinstance(node, str) or not _PLACE.search(node):
        return node

    def value_of(match: re.Match[str]) -> str:
        name = (match["braces"] if match["braces"] is not None else match["dollar"]).strip()
        if _SECRET.fullmatch(match[0]):
            return match[0]
        if name.startswith(_ENV):
            return _of_environment(name.removeprefix(_ENV), f"{place}: {match[0]}")
        if name in values:
            return values[name]
        if name in (known or {}) or name in _of_day({"ds": "2000-01-01"}, "") or name == "ds":
            set_it = name if name in (known or {}) else "ds"
            raise ConfigError(place, f"{match[0]} has no value", f"use --set {set_it}=VALUE")
        raise ConfigError(place, f"{match[0]} names no variable", nearest(name, {*values, *(known or {}), "ds"}))

    text = _PLACE.sub(value_of, node)
    return _WORDS.get(text, text) if _PLACE.fullmatch(node) else text


def _below(place: str, key: Any) -> str:
    return f"{place}{'.' if ', ' in place else ', '}{key}"


def _texts(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """The texts of a tree of YAML, each with its place."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _texts(value, _below(place, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _texts(value, f"{place}[{i}]")
    elif isinstance(node, str):
        yield place, node


def _of_environment(name: str, place: str) -> str:
    if not (value := pin.environment().get(name)):
        finding = f"the environment has no {name}" if value is None else f"{name} is empty in the environment"
        raise ConfigError(place, finding, f"export {name}=VALUE")
    return value


def refuse_braces(node: Any, place: str) -> None:
    """ConfigError for the first name in braces in a tree of YAML of which none is replaced."""
    for where, text in _texts(node, place):
        if found := _BRACES.search(text):
            remedy = "write the value, or give it as an option or a variable of the environment, such as MRML_L2"
            raise ConfigError(where, f"{found[0]} is replaced in the files of `mrml run` only", remedy)


def refuse_secrets(node: Any, place: str, remedy: str) -> None:
    """ConfigError for the first secret in a tree of YAML, of what is written down or seen by others."""
    for where, text in _texts(node, place):
        if found := _SECRET.search(text):
            raise ConfigError(where, f"{found[0]} would be written into files that others read", remedy)


def revealed(text: str, place: str) -> str:
    """An address with its secrets filled in, which no log shows from now on; where they are a part of it they are
    quoted as URLs need it."""
    if whole := _SECRET.fullmatch(text.strip()):
        return _secret(whole, place)

    def quoted(match: re.Match[str]) -> str:
        word = quote(_secret(match, place), safe="")
        logs.hide(word, match[0])
        return word

    return _SECRET.sub(quoted, text)


def _secret(match: re.Match[str], place: str) -> str:
    name = match[1]
    environment = pin.environment()
    path, found = environment.get(f"{name}_FILE"), environment.get(name, "")
    if not found and path:
        try:
            found = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            remedy = f"let {name}_FILE name a text file that you may read"
            raise ConfigError(place, f"{match[0]}: {path} cannot be read: {error}", remedy) from None
    if not found:
        finding = f"{match[0]} has no value: {path} is empty" if path else f"{match[0]} has no value"
        raise ConfigError(place, finding, f"export {name}, or {name}_FILE with the path of a file that holds it")
    logs.hide(found, match[0])
    return found


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
        raise ConfigError(f"{file}, variables.ds", f"{values['ds']!r} is not a day", "write YYYY-MM-DD") from None
    names = dict(zip(("YEAR", "MONTH", "DAY"), values["ds"].split("-"), strict=True))
    return {
        "ds_nodash": values["ds"].replace("-", ""), "yesterday_ds": before,
        "yesterday_ds_nodash": before.replace("-", ""), "tomorrow_ds": after, **names,
    }  # fmt: skip
