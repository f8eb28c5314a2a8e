"""``mrml inspect`` and ``mrml version``: what a model is, and what computed it."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from mrml import __version__, logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common, flags
from mrml.config import parse as values
from mrml.config import sources as conf
from mrml.config.sections import EngineConfig

INSPECT_EXAMPLE = "mrml inspect model"
VERSION_EXAMPLE = "mrml version --json"
#: columns of the table of importance
_MOST_COLUMNS = 20
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
    "torch",
    "onnx",
    "onnxruntime",
    "safetensors",
    "hdfs",
    "hdfs-native",
)


def parse_inspect(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "inspect", INSPECT_EXAMPLE, description="Show a model: hyperparameters, features, coefficients or importances."
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or a store of models")
    parser.add_argument("--tree", metavar="N", help="of boosted trees: print only this tree, numbered from 0")
    plot_help = (
        "draw the column importances or coefficients, or with --tree a tree, to this SVG file; to a folder all that "
        "there is, the losses by round too"
    )
    parser.add_argument("--plot", metavar="PLACE", help=plot_help)
    parser.add_options(_options())
    return common(parser, "print one JSON object instead of text").read(argv)


def parse_version(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("version", VERSION_EXAMPLE, description="Show the versions of mrml and its libraries.")
    return common(parser, "print one JSON object instead of text").read(argv)


def _options() -> list[conf.Option]:
    return conf.options(EngineConfig, "engine", only=("allow_import",))


def run_inspect(args: argparse.Namespace) -> None:
    from mrml.runs import train as run

    settings = conf.resolve(_options(), flags(args))
    conf.allow_imports(conf.section(EngineConfig, "engine", settings).allow_import)
    if args.tree is not None or args.plot is not None:
        return _show_trees(args)
    facts = run.inspect(args.model)
    text = _trees_text(facts) if "importance" in facts else _net_text(facts) if "layers" in facts else _text(facts)
    emit_json(facts) if args.json else emit(text)


def _show_trees(args: argparse.Namespace) -> None:
    """A tree as text, or a plot as a file."""
    from mrml.runs import export as leaving

    number: int | None = None if args.tree is None else values.from_text(args.tree, int, "--tree")
    if args.plot is None and number is not None:
        lines = leaving.tree_text(args.model, number)
        return emit_json({"tree": number, "lines": lines}) if args.json else emit("\n".join(lines))
    paths = _drawn(args, number)
    emit_json({"plot": args.plot, "plots": paths}) if args.json else emit("\n".join(paths))


def _drawn(args: argparse.Namespace, tree: int | None) -> list[str]:
    """Paths of the pictures; one of trees needs no matplotlib."""
    from mrml.runs import export as leaving

    if args.plot.endswith(".svg") and leaving.has_trees(args.model):
        leaving.plot(args.model, args.plot, tree)
        return [str(args.plot)]
    from mrml.runs.report import drawing, kinds

    drawing.require()
    one = ("importance" if tree is None else "tree") if args.plot.endswith(".svg") else None
    return kinds.write(kinds.of_model(args.model, one, tree), args.plot)


def _trees_text(facts: dict[str, Any]) -> str:
    """Facts of boosted trees, and what the columns are worth to them."""
    params = {k: v for k, v in facts["params"].items() if v is not None}
    told = {"target": facts["target"], "classes": ", ".join(facts["classes"]), "objective": facts["objective"]}
    told |= facts["trees"] | facts["facts"]
    for name, side in (("training loss", 0), ("validation loss", 1)):
        losses = [h[side] for h in facts["history"] if h[side] is not None]
        told[name] = (
            f"{logs.number(losses[0])} after one iteration, {logs.number(losses[-1])} at last" if losses else ""
        )
    kinds = facts["importance"]
    total = sum(kinds["gain"].values()) or 1.0
    rows = [(n, g, f"{g / total:.1%}", kinds["cover"][n], int(kinds["count"][n])) for n, g in kinds["gain"].items()]
    shown = table([("column", "gain", "share", "cover", "splits"), *rows[:_MOST_COLUMNS]])
    more = f"\n  and {len(rows) - _MOST_COLUMNS} more columns" if len(rows) > _MOST_COLUMNS else ""
    parts = [table([(k.replace("_", " "), logs.number(v)) for k, v in told.items() if v not in ("", None)], indent=0)]
    parts += [f"hyperparameters\n{_nested(params)}", f"importance\n{shown}{more}"]
    unused = len(facts["names"]) - len(rows)
    return "\n".join([*parts, f"{logs.count(unused, 'column')} split nowhere"] if unused else parts)


def _net_text(facts: dict[str, Any]) -> str:
    """Facts of a network: how it was trained, its layers, and the columns that it looks up."""
    params = {k: v for k, v in facts["params"].items() if v is not None}
    told = {"target": facts["target"], "classes": ", ".join(facts["classes"]), "objective": facts["objective"]}
    told |= {"parameters": facts["parameters"], "numeric columns": facts["net"]["n_numeric"]}
    told |= {"sparse columns": facts["net"]["n_sparse"] or None, **facts["facts"]}
    parts = [table([(k.replace("_", " "), logs.number(v)) for k, v in told.items() if v not in ("", None)], indent=0)]
    parts += [f"{name}\n{_nested(facts[name])}" for name in ("layers", "embeddings") if facts[name]]
    return "\n".join([*parts, f"hyperparameters\n{_nested(params)}"])


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
