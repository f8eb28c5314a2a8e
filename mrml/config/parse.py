"""A value as the type of its field, from the text of an option or from a node of a YAML file.

The types are those of the configuration's and the algorithms' annotations: ``str``, ``int``, ``float``,
``bool``, ``tuple[T, ...]``, ``dict[str, T]`` and unions of them with or without ``None``.  Every error says
where the value was written and what would have fitted.  The standard library only.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

from mrml.errors import ConfigError

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")
_CALLED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, text last because everything is text; a plain type is a union of one."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    found = typing.get_args(annotation) if union else (annotation,)
    return tuple(sorted(found, key=lambda t: t is str))


def is_bool(annotation: Any) -> bool:
    """Whether an option of this type may stand without a value."""
    return bool in members(annotation)


def is_list(annotation: Any) -> bool:
    """Whether an option of this type may be repeated."""
    return any(typing.get_origin(t) in (tuple, dict) for t in members(annotation))


def called(annotation: Any) -> str:
    """What a value of this type is called in an error."""
    return " or ".join(_name(t) for t in members(annotation) if t is not type(None))


def from_text(text: str, annotation: Any, place: str) -> Any:
    """The value that a text of an option or an environment variable means; ConfigError naming ``place``.

    Lists are separated by commas; ``\\,`` and commas in braces are part of a name.  A dict is ``A=1,B=2`` or
    ``A:1,B:2``.  ``none`` is None where the type allows it and is not text.
    """
    for kind in members(annotation):
        if kind is type(None):
            if text.lower() in ("none", "null") and str not in members(annotation):
                return None
            continue
        try:
            return _text_as(text, kind, place)
        except ValueError:
            continue
    raise ConfigError(place, f"{text!r} is not {called(annotation)}")


def from_yaml(node: Any, annotation: Any, place: str) -> Any:
    """The value that a node of a YAML file means; ConfigError naming ``place``."""
    kinds = members(annotation)
    if node is None and type(None) in kinds:
        return None
    for kind in kinds:
        try:
            return _node_as(node, kind, place)
        except ValueError:
            continue
    remedy = "put it in quotes" if str in kinds and isinstance(node, bool | int | float) else ""
    raise ConfigError(place, f"{node!r} is not {called(annotation)}", remedy)


def split_list(text: str) -> list[str]:
    """The parts of a comma list; ``a\\,b`` and ``{a,b}`` stay whole and the empty text has none."""
    parts, depth, escaped = [""], 0, False
    for char in text:
        if char == "," and not depth and not escaped:
            parts.append("")
            continue
        if char == "\\" and not escaped:
            escaped = True
            continue
        if escaped and char != ",":
            parts[-1] += "\\"
        depth = max(0, depth + (char == "{") - (char == "}"))
        parts[-1] += char
        escaped = False
    parts[-1] += "\\" * escaped
    return parts if text else []


def _name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is tuple:
        return "a list"
    if origin is dict:
        return "a list of NAME=VALUE or NAME:VALUE"
    return _CALLED.get(kind, getattr(kind, "__name__", str(kind)))


def _text_as(text: str, kind: Any, place: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(from_text(part, inner[0], place) for part in split_list(text))
    if origin is dict:
        pairs = [part.rpartition("=" if "=" in part else ":") for part in split_list(text)]
        if not all(sign for _, sign, _ in pairs):
            raise ValueError
        return {key: from_text(value, inner[1], place) for key, _, value in pairs}
    return _SCALARS.get(kind, _unknown)(text)


def _node_as(node: Any, kind: Any, place: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        listed = node if isinstance(node, list) else [node]  # one name need not stand in brackets
        if isinstance(node, dict) or node is None:
            raise ValueError
        return tuple(from_yaml(item, inner[0], f"{place}[{i}]") for i, item in enumerate(listed))
    if origin is dict:
        if not isinstance(node, dict):
            raise ValueError
        return {str(key): from_yaml(value, inner[1], f"{place}.{key}") for key, value in node.items()}
    if isinstance(node, bool) is not (kind is bool):
        raise ValueError
    if kind is str and not isinstance(node, str):
        raise ValueError
    if not isinstance(node, str | int | float):
        raise ValueError
    return node if isinstance(node, kind) else _SCALARS.get(kind, _unknown)(str(node))


def _bool(text: str) -> bool:
    word = text.lower()
    if word not in TRUE + FALSE:
        raise ValueError
    return word in TRUE


def _int(text: str) -> int:
    """Whole numbers, ``1e6`` among them."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():  # an infinity is not an integer either
            raise
        return int(value)


def _unknown(text: str) -> Any:
    raise ValueError


_SCALARS: dict[Any, Callable[[str], Any]] = {str: str, int: _int, float: float, bool: _bool}
