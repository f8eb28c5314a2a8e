"""``mrml report``: a run as one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mrml import logs
from mrml.cli.out import emit, emit_json
from mrml.cli.parser import Parser, common
from mrml.cli.score import scoring_options, scoring_sections

EXAMPLE = "mrml report model --data holdout/ --output report.html"
_ABOUT = """\
Write a report about a run: one self-contained HTML page with the configuration, the result of the gate, metrics,
curves, losses, column importances, drift, and where the time went: seconds and bytes of rounds, and the slowest splits.

RUN is the --output of `mrml train`, or the directory of a `mrml run`. With --data, the curves and the standard errors
of coefficients are computed on those rows."""


def parse_report(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("report", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("model", metavar="RUN", help="directory of a run")
    parser.add_argument("--output", metavar="FILE", required=True, help="file to write; an existing one is replaced")
    parser.add_options(scoring_options(), {"format": "--input-format"})
    return common(parser, "print one JSON object instead of text").read(argv)


def run_report(args: argparse.Namespace) -> None:
    from mrml.runs.report import drawing, page

    drawing.require("jinja2", "matplotlib")
    page.refuse_directory(args.output)
    curves, coefficients = None, []
    if "data.data" in vars(args):
        from mrml.runs.batch.compare import curves_of, standard_errors_of

        data, engine = scoring_sections(args)
        curves = curves_of(args.model, data, engine, logs.progress())
        coefficients = standard_errors_of(args.model, data, engine, logs.progress())
    path = page.write(args.model, args.output, curves, coefficients)
    emit_json({"report": path}) if args.json else emit(path)
