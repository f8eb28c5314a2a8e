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
One page of HTML about a run, which asks nothing of the network: what ran, the verdict of the gate, metrics, pictures of
the predictions, losses, what the columns are worth, how the rows differ from those before, and where the time went.

RUN is the --output of `mrml train` or the directory of a `mrml run`; with --data the pictures and the errors of
coefficients are of those rows."""


def parse_report(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("report", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("model", metavar="RUN", help="directory of a run")
    parser.add_argument("--output", metavar="FILE", required=True, help="the page; one that exists is replaced")
    parser.add_options(scoring_options(), {"format": "--input-format"})
    return common(parser, "print one JSON object instead of text").read(argv)


def run_report(args: argparse.Namespace) -> None:
    from mrml.runs.report import page, plots

    plots.require()
    page.refuse_directory(args.output)
    curves, coefficients = None, []
    if "data.data" in vars(args):
        from mrml.runs.batch.compare import curves_of, standard_errors_of

        data, engine = scoring_sections(args)
        curves = curves_of(args.model, data, engine, logs.progress())
        coefficients = standard_errors_of(args.model, data, engine, logs.progress())
    path = page.write(args.model, args.output, curves, coefficients)
    emit_json({"report": path}) if args.json else emit(path)
