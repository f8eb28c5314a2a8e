"""What commands print with --json as tables, from ``docs/answers.yaml`` (JSON Schema)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mrml.cli.main import COMMANDS

_PATH = Path(__file__).parents[2] / "docs" / "answers.yaml"
_PREFIX = "#/$defs/"

Schema = dict[str, Any]


def tables() -> str:
    """A table for every command, or the command that answers the same."""
    known: dict[str, Schema] = yaml.safe_load(_PATH.read_text(encoding="utf-8"))["$defs"]
    return "\n\n".join(_part(name, known) for name in known if name.split()[0] in COMMANDS or name == "error")


def _part(name: str, known: dict[str, Schema]) -> str:
    title = "an error" if name == "error" else f"`mrml {name}`"
    same = known[name].get("$ref", "").removeprefix(_PREFIX)
    if same.split()[:1] and same.split()[0] in COMMANDS:
        return f"**{title}** answers as `mrml {same}`."
    schema = _resolved(known[name], known)
    about = f": {schema['description']}" if "description" in schema else ""
    rows = [
        f"| `{key}` | {_type(field, known)} | {_text(field, known)} |"
        for key, field in schema.get("properties", {}).items()
    ]
    return "\n".join([f"**{title}**{about}", *(["", "| field | type | |", "|---|---|---|", *rows] if rows else [])])


def _resolved(schema: Schema, known: dict[str, Schema]) -> Schema:
    """With what it refers to, and all that it is to be besides."""
    for part in (*schema.get("allOf", ()), *([schema] if "$ref" in schema else [])):
        other = _resolved(known[part["$ref"].removeprefix(_PREFIX)], known)
        both = {**other.get("properties", {}), **schema.get("properties", {})}
        schema = {**other, **schema, **({"properties": both} if both else {})}
    return schema


def _type(field: Any, known: dict[str, Schema]) -> str:
    """``integer or null``, ``list of objects``."""
    if not isinstance(field, dict):
        return "any"
    resolved = _resolved(field, known)
    if "anyOf" in resolved:
        return " or ".join(dict.fromkeys(_type(one, known) for one in resolved["anyOf"]))
    if "enum" in resolved:
        return " or ".join(f"`{value}`" for value in resolved["enum"])
    kinds = resolved.get("type", "object")
    if kinds == "array":
        return f"list of {_type(resolved.get('items', {}), known)}"
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _text(field: Any, known: dict[str, Schema]) -> str:
    """What it is for, and of an object its fields."""
    if not isinstance(field, dict):
        return ""
    resolved = _resolved(field, known)
    inner = _resolved(resolved.get("items", resolved), known)
    names = ", ".join(f"`{key}`" for key in inner.get("properties", {}))
    about = str(resolved.get("description", "")).replace("|", "\\|")
    return ": ".join(filter(None, (about, names)))
