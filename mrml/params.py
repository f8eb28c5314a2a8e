"""Parameters that describe themselves: help, choices and bounds ride on dataclass fields.

The standard library only, so that ``mrml --help`` needs no NumPy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

from mrml.errors import ConfigError, nearest


def param(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    internal: bool = False,
    whole: bool = False,
    code: bool = False,
    blank: bool = False,
    aliases: tuple[str, ...] = (),
    values: Mapping[Any, Any] | None = None,
) -> Any:
    """Declare a hyperparameter as a dataclass field; options, run files, checks and docs follow from it.

    Parameters
    ----------
    default : the default value.
    help : what it is for, in a few words.
    choices : the allowed values; empty: any.
    low, high : inclusive bounds.
    internal : it has no option and no key in run files.
    whole : for a list: every option gives one entry, which may contain commas.
    code : a value ``module:name`` names code of the user's own.
    blank : for a list: the empty text is an entry.
    aliases : other names for it, such as those of other libraries.
    values : other words for its values -> the value.

    Returns
    -------
    dataclasses.Field
    """
    meta = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "internal": internal,
        "whole": whole,
        "code": code,
        "blank": blank,
    }
    return field(default=default, metadata={**meta, "aliases": aliases, "values": values or {}})


def also_known(aliases: Mapping[str, tuple[str, ...]], values: Mapping[str, Mapping[Any, Any]]) -> Any:
    """A class decorator that adds other libraries' names and values to the fields that the class has."""

    def name(cls: type) -> type:
        for f in dataclasses.fields(cls):
            choices = f.metadata.get("choices")
            known = {k: v for k, v in values.get(f.name, {}).items() if not choices or v in choices}
            more = {"aliases": aliases.get(f.name, ()), "values": known}
            f.metadata = MappingProxyType({**f.metadata, **more})
        return cls

    return name


def meant(f: dataclasses.Field[Any], value: Any) -> Any:
    """The value that another library's word for it stands for."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return f.metadata.get("values", {}).get(value, value)
    return value


def unusual(values: Mapping[str, Any], cls: type, among: Collection[str] | None = None) -> dict[str, Any]:
    """Values of a dataclass' fields, by name, without those that are as they are by default; with ``among`` of these
    fields alone."""
    usual = {f.name: f.default for f in dataclasses.fields(cls) if among is None or f.name in among}
    return {name: value for name, value in values.items() if name not in usual or value != usual[name]}


def by_name(fields: Mapping[str, dataclasses.Field[Any]]) -> dict[str, str]:
    """The name of the field for every name and alias."""
    names = {alias: name for name, f in fields.items() for alias in f.metadata.get("aliases", ())}
    return names | {name: name for name in fields}


def once(given: Iterable[str], names: Mapping[str, str], place: str) -> None:
    """ConfigError where two of the names given mean the same parameter."""
    seen: dict[str, str] = {}
    for word in given:
        first = seen.setdefault(names.get(word, word), word)
        if first != word:
            raise ConfigError(place, f"{first!r} and {word!r} are the same parameter", "give one of them")


#: what others call an option that is spelt quite differently here
_WORDS = {"ignore": "exclude", "drop": "exclude", "label": "target"}


def unknown(name: str, known: Iterable[str], absent: Mapping[str, str]) -> str:
    """The remedy for an unknown name, an option's or a key's."""
    if name in absent:
        return absent[name]
    known, word = set(known), name.lstrip("-")
    meant = name.removesuffix(word) + _WORDS.get(word, word)
    return f"did you mean {meant!r}?" if meant in known else nearest(name, known)


def check(f: dataclasses.Field[Any], value: Any, place: str = "") -> None:
    """ConfigError naming ``place`` when a value is not one of its field's choices or out of its bounds."""
    meta = f.metadata
    place = place or f"algorithm, {f.name}"
    if value is None and f.default is None:
        return
    if meta.get("choices") and value not in meta["choices"]:
        raise ConfigError(place, f"{value!r} is unknown", nearest(str(value), map(str, meta["choices"])))
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = meta.get("low"), meta.get("high")
        endless = isinstance(value, float) and not math.isfinite(value)
        if endless or (low is not None and value < low) or (high is not None and value > high):
            lower = f"at least {low}" if low is not None else "a finite number"
            upper = f" and at most {high}" if high is not None else ""
            raise ConfigError(place, f"{value} is out of bounds", f"it must be {lower}{upper}")


#: what a hyperparameter of each plain type may be given as
_GIVEN: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "text"),
}


def check_type(f: dataclasses.Field[Any], value: Any, annotation: Any) -> None:
    """ConfigError when a hyperparameter of a plain type is given as another one; unions and lists are not looked at."""
    if annotation not in _GIVEN:
        return
    accepted, called = _GIVEN[annotation]
    if not isinstance(value, accepted) or (isinstance(value, bool) and annotation is not bool):
        raise ConfigError(f"algorithm, {f.name}", f"{value!r} is not {called}")
