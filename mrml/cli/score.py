"""``mrml predict`` and ``mrml evaluate``: a model on data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common, every_option, flags
from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import ConfigError

PREDICT_EXAMPLE = "mrml predict model --data more/ --output predictions --format csv"
EVALUATE_EXAMPLE = "mrml evaluate model --data more/ --json"
#: what a model already knows is no option of scoring with it
_IN_THE_MODEL = ("valid", "target", "group", "features", "exclude", "categorical", "schema", "window_bytes",
                 "hash", "hash_bits", "max_levels", "bins")  # fmt: skip
_COUNTS = (("n_rows", "row"), ("parts", "part file"), ("bad_rows", "malformed row"))


def parse_predict(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser(
        "predict",
        "Predict for every row of some data. The output is part files in input order, and _SUCCESS when complete.",
        PREDICT_EXAMPLE,
    )
    parser.add_argument(
        "--output", metavar="DIR", required=True, help="directory for the predictions; it must not exist"
    )
    formats = ("parquet", "csv", "jsonl")
    parser.add_argument(
        "--format", choices=formats, default="parquet", help="file format of the predictions (default parquet)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing predictions")
    return common(parser, "print one JSON object instead of text").read(argv)


def parse_evaluate(argv: Sequence[str]) -> argparse.Namespace:
    about = "Compute exact metrics of a model on data; they are weighted if the model has a weight column."
    parser = _parser("evaluate", about, EVALUATE_EXAMPLE)
    plot_help = "draw the predictions (ROC, calibration, confusion, residuals, ...) into SVG files of a folder"
    parser.add_argument("--plot", metavar="DIR", help=plot_help)
    return common(parser, "print one JSON object instead of text").read(argv)


def run_predict(args: argparse.Namespace) -> None:
    data, engine = scoring_sections(args)
    from mrml.engines.hadoop.kerberos import ticket
    from mrml.runs import train as run

    with ticket(engine):
        facts = run.predict(args.model, data, engine, args.output, args.format, args.overwrite, logs.progress())
    if args.json:
        return emit_json(facts)
    counts = [logs.count(facts[k], word) for k, word in _COUNTS if facts.get(k)]
    took = f" in {logs.seconds(facts['seconds'])}" if "seconds" in facts else ""
    emit(f"{args.output}: {', '.join(counts)}{took}")


def run_evaluate(args: argparse.Namespace) -> None:
    data, engine = scoring_sections(args)
    from mrml.engines.hadoop.kerberos import ticket
    from mrml.runs import train as run

    if args.plot:
        from mrml.runs.report import drawing, kinds

        drawing.require()
        kinds.check_place(args.plot)
    with ticket(engine):
        metrics = run.evaluate(args.model, data, engine, logs.progress())
        plots = _plotted(args, data, engine) if args.plot else []
    if args.json:
        return emit_json({**metrics, "plots": plots} if args.plot else metrics)
    reasons, clusters = metrics.pop("reasons", {}), metrics.pop("clusters", [])
    emit(table([(name, value) for name, value in metrics.items() if value is not None]))
    for name, why in reasons.items():
        emit(f"  no {name}: {why}")
    if clusters:
        emit(table([tuple(clusters[0]), *(tuple(c.values()) for c in clusters)]))
    for path in plots:
        emit(path)


def _plotted(args: argparse.Namespace, data: Any, engine: Any) -> list[str]:
    """Paths of the pictures of the predictions."""
    from mrml.runs.batch.compare import curves_of
    from mrml.runs.report import kinds

    return kinds.write(kinds.of_rows(curves_of(args.model, data, engine, logs.progress())), args.plot)


def _parser(command: str, about: str, example: str) -> Parser:
    parser = Parser(command, example, description=about)
    parser.add_argument("model", metavar="MODEL", help="model directory, or a store of models")
    parser.add_options(scoring_options(), {"format": "--input-format"})
    parser.usage = f"mrml {command} MODEL --data DATA{' --output DIR' * (command == 'predict')} [options]"
    return parser


def scoring_options() -> list[conf.Option]:
    """The options of what scores data."""
    return [*conf.options(DataConfig, "data", without=_IN_THE_MODEL), *conf.options(EngineConfig, "engine")]


def scoring_sections(args: argparse.Namespace) -> tuple[Any, Any]:
    """Data and engine, as the options and the environment say."""
    if conf.variables():  # what train knows may be set for the train beside it; its algorithms take 0.1 s to import
        conf.refuse_unknown_variables(every_option())
    settings = conf.resolve(scoring_options(), flags(args))
    data = conf.section(DataConfig, "data", settings)
    if not data.data:
        raise ConfigError(f"model {args.model}", "no data to score", "give --data")
    engine = conf.section(EngineConfig, "engine", settings)
    conf.allow_imports(engine.allow_import)
    return data, engine
