"""``mrml compare``: two models on the same rows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common
from mrml.cli.score import scoring_options, scoring_sections

EXAMPLE = "mrml compare models/old models/new --data holdout/"
_ABOUT = """\
Compare the exact metrics of two models on the same rows. The difference is the second minus the first; its 95 %
interval comes from a paired bootstrap over runs of rows.

MODEL is a model directory, a store of models, or the directory of a `mrml run`."""


def parse_compare(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("compare", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("models", metavar="MODEL", nargs=2, help="the two models")
    parser.add_options(scoring_options(), {"format": "--input-format"})
    args = common(parser, "print one JSON object instead of text").read(argv)
    args.model = args.models[0]
    return args


def run_compare(args: argparse.Namespace) -> None:
    data, engine = scoring_sections(args)
    from mrml.engines.hadoop.kerberos import ticket
    from mrml.runs.batch.compare import compare

    with ticket(engine):
        facts = compare(tuple(args.models), data, engine, logs.progress())
    emit_json(facts) if args.json else emit(text_of(facts))


def text_of(facts: Any) -> str:
    """A line for each metric."""
    rows = [(name, m["first"], m["second"], m["difference"], *_interval(m)) for name, m in facts["metrics"].items()]
    units = f"95 % of {facts['replicates']} draws of runs of {logs.count(facts['unit_rows'], 'row')}"
    units = units if facts["replicates"] else "no intervals of rankings and clusters"
    head = f"{logs.count(facts['n_rows'], 'row')}; {units}"
    return f"{head}\n" + table([("metric", "first", "second", "difference", "low", "high", ""), *rows])


def _interval(metric: Any) -> tuple[Any, Any, str]:
    if "low" not in metric:
        return "", "", ""
    word = {True: "better", False: "worse", None: "may be chance"}[metric["better"]]
    return metric["low"], metric["high"], word
