"""The floor below, imported when a command computes: ``mrml --help`` loads no NumPy."""

from __future__ import annotations

import importlib
from typing import Any


def run() -> Any:
    """The module :mod:`mrml.run`."""
    return importlib.import_module("mrml.run")
