"""What commands print with --json, held to docs/answers.yaml."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from mrml.cli.main import COMMANDS

PATH = Path(__file__).parents[1] / "docs" / "answers.yaml"
#: options with which a command answers something else
_OTHERWISE = ("--dry-run", "--tree", "--plot")


@functools.cache
def schema() -> dict[str, Any]:
    """All of it."""
    found: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return found


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema(), "$ref": f"#/$defs/{name}"})


def name_of(argv: Sequence[str]) -> str:
    """Whose answer it is: the command, its action or the option that makes it another, if the table has one so."""
    at = next(i for i, word in enumerate(argv) if word in COMMANDS)
    names = [f"{argv[at]} {word}" for word in (*argv[at + 1 : at + 2], *_OTHERWISE) if word in argv]
    return next((name for name in names if name in schema()["$defs"]), argv[at])


def check(argv: Sequence[str], text: str) -> dict[str, Any]:
    """The object that a command answered, valid."""
    answer: dict[str, Any] = json.loads(text)
    _validator("error" if "error" in answer else name_of(argv)).validate(answer)
    return answer
