"""``mrml inspect`` and ``mrml version``: what a model is, and what computed it."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from mrml import __version__, conf, logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common

INSPECT_EXAMPLE = "mrml inspect model"
VERSION_EXAMPLE = "mrml version --json"
_PACKAGES = (
    "numpy",
    "pyarrow",
    "mrjob",
    "PyYAML",
    "numba",
    "tqdm",
    "scikit-learn",
    "xgboost-cpu",
    "lightgbm",
    "hdfs",
    "hdfs-native",
)


def parse_inspect(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("inspect", INSPECT_EXAMPLE, description="What a model is.")
    parser.add_argument("model", metavar="MODEL", help="directory that `mrml train --output` wrote")
    return common(parser, "print one JSON object instead of text").read(argv)


def parse_version(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("version", VERSION_EXAMPLE, description="Versions of mrml and of what it computes with.")
    return common(parser, "print one JSON object instead of text").read(argv)


def run_inspect(args: argparse.Namespace) -> None:
    from mrml import run

    conf.see_current_directory()
    facts = run.inspect(args.model)
    emit_json(facts) if args.json else emit(_text(facts))


def run_version(args: argparse.Namespace) -> None:
    versions: dict[str, str | None] = {
        "mrml": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    versions.update({name: _version(name) for name in _PACKAGES})
    emit_json(versions) if args.json else emit(table(list(versions.items()), indent=0))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(facts: dict[str, Any]) -> str:
    """Scalars as a table, then each list or mapping as a table of its own."""
    nested = {k: v for k, v in facts.items() if isinstance(v, dict | list | tuple) and v}
    scalars = [(k.replace("_", " "), logs.number(v)) for k, v in facts.items() if k not in nested and v not in ({}, [])]
    parts = [table(scalars, indent=0)] + [f"{k.replace('_', ' ')}\n{_nested(v)}" for k, v in nested.items()]
    return "\n".join(parts)


def _nested(value: Any) -> str:
    if isinstance(value, dict):
        return table([(k, _figures(v)) for k, v in value.items()])
    if all(isinstance(item, dict) for item in value):
        names = list(dict.fromkeys(k for item in value for k in item))
        return table([tuple(names), *(tuple(item.get(n) for n in names) for item in value)])
    return table([(_figures(item),) for item in value])


def _figures(value: Any) -> str:
    return ", ".join(map(logs.number, value)) or "-" if isinstance(value, list | tuple) else logs.number(value)
