"""Stand-ins for the three names that mrjob 0.7.4 uses and Python 3.12 and 3.13 removed.

mrjob imports ``pipes.quote``, ``distutils.spawn.find_executable`` and ``distutils.version.LooseVersion``, nothing
else of those modules.  Import this before mrjob, in the driver and in tasks.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
import types
from functools import total_ordering
from typing import Any

#: for processes that import mrjob: else setuptools is imported whole for distutils, 0.14 s of a task's 0.30
ENVIRONMENT = {"SETUPTOOLS_USE_DISTUTILS": "stdlib"}


@total_ordering
class LooseVersion:
    """Versions by their numbers, as distutils compared them: '3.10' is newer than '3.9'."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.version = [int(p) if p.isdigit() else p for p in re.split(r"(\d+)|\.", text) if p]

    def _key(self) -> list[tuple[bool, Any]]:
        return [(isinstance(p, str), p) for p in self.version]

    def __eq__(self, other: object) -> bool:
        return self._key() == _version(other)._key()

    def __lt__(self, other: object) -> bool:
        return self._key() < _version(other)._key()

    def __hash__(self) -> int:
        return hash(tuple(self._key()))


def _version(other: object) -> LooseVersion:
    return other if isinstance(other, LooseVersion) else LooseVersion(str(other))


def _module(name: str, **names: Any) -> None:
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.__dict__.update(names)
        sys.modules[name] = module


def install() -> None:
    """Register the stand-ins where the standard library no longer has the modules."""
    if importlib.util.find_spec("pipes") is None:
        _module("pipes", quote=shlex.quote)
    if importlib.util.find_spec("distutils") is None:
        _module("distutils")
        _module("distutils.spawn", find_executable=shutil.which)
        _module("distutils.version", LooseVersion=LooseVersion)
