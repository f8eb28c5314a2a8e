"""``mrml export``: a model as a file of another library."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml.cli.out import emit, emit_json
from mrml.cli.parser import Parser, common, flags
from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig

_FORMATS = ("xgboost", "lightgbm", "onnx", "torch", "safetensors")
EXAMPLE = "mrml export model --to xgboost --output model.ubj"


def parse_export(argv: Sequence[str]) -> argparse.Namespace:
    about = (
        "Write boosted trees as a file of XGBoost or LightGBM, a network as a file of ONNX, torch or safetensors. "
        "If the library is installed, it must predict the same before the file is put in place."
    )
    parser = Parser("export", EXAMPLE, description=about)
    parser.add_argument("model", metavar="MODEL", help="model directory, or a store of models")
    parser.add_argument("--to", choices=_FORMATS, required=True, help="format of the file")
    parser.add_argument(
        "--output", metavar="FILE", required=True, help="the file to write; for xgboost .json, or .ubj for UBJSON"
    )
    probe_help = "rows to compare predictions on, at most 20,000; default: made from the model"
    parser.add_argument("--probe", metavar="DATA", action="append", default=[], help=probe_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_options(_options())
    return common(parser, "print one JSON object instead of text").read(argv)


def _options() -> list[conf.Option]:
    return conf.options(EngineConfig, "engine", only=("allow_import",))


def run_export(args: argparse.Namespace) -> None:
    from mrml.runs.export import export

    settings = conf.resolve(_options(), flags(args))
    conf.allow_imports(conf.section(EngineConfig, "engine", settings).allow_import)
    probe = DataConfig(data=tuple(args.probe)) if args.probe else None
    facts = export(args.model, args.to, args.output, probe, args.overwrite)
    emit_json(facts) if args.json else emit(_text(facts))


def _text(facts: dict[str, Any]) -> str:
    from mrml.runs.export import lines_of_levels

    what = f"{facts['trees']} trees" if "trees" in facts else f"{facts['parameters']:,} parameters"
    lines = [f"{facts['output']}: {what}, {facts['bytes']:,} bytes, for {facts['format']}"]
    if (found := facts["checked"]) is not None:
        apart = f"raw predictions within {found['raw']:.1e}, predictions within {found['predicted']:.1e}"
        lines.append(f"checked with {found['library']} {found['version']}: {found['n_rows']:,} rows, "
                     f"{'the same leaf for every row and tree, ' if 'trees' in facts else ''}{apart}")  # fmt: skip
    lines.append("columns, in this order: " + ", ".join(facts["columns"]))
    if facts["levels"]:
        lines += [
            "codes of categories (trees: missing where unknown; networks: the last code, or that of null)",
            *(f"  {k}" for k in lines_of_levels(facts["levels"])),
        ]
    if facts["classes"]:
        lines.append("classes: " + ", ".join(f"{code} {text}" for code, text in enumerate(facts["classes"])))
    return "\n".join(lines)
