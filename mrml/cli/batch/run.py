"""``mrml run``: the steps of a batch run, each done once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common
from mrml.config.steps import STEPS
from mrml.errors import ConfigError, MrmlError

EXAMPLE = "mrml run conf/nightly/churn.yaml --set ds=2026-11-20"
_ABOUT = f"""\
Run the steps of a nightly job: {", ".join(STEPS)}.

FILE is a run file (sections algorithm, data, engine) with these sections besides:

  variables:  NAME: DEFAULT; {{{{ NAME }}}} is replaced by it, or by --set; ds also gives {{{{ ds_nodash }}}}, ${{YEAR}}
  work:       folder in which each run gets its own directory
  store:      store of models with the version in service (see `mrml models`)
  steps:      the steps to run, each with its settings

The same file with the same inputs is the same run: given again, the command continues where it stopped and repeats
nothing that is finished. Changed inputs make a new run. If the gate refuses the new model (exit code 7), the version in
service stays, and the predictions are made with it."""


def parse_run(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("run", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("file", metavar="FILE", help="run file (YAML)")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="set a variable; may be repeated"
    )
    parser.add_argument("--from", metavar="STEP", dest="begin", default="", help="repeat this step and those after it")
    parser.add_argument(
        "--only", metavar="STEP", action="append", default=[], help="run only this step; may be repeated"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan; do nothing")
    args = common(parser, "print one JSON object instead of text").read(argv)
    if args.begin and args.only:
        raise ConfigError("mrml run", "--from and --only exclude each other", "give one of them")
    args.values = dict(_pair(text) for text in args.set)
    return args


def run_run(args: argparse.Namespace) -> None:
    from mrml.engines.hadoop.kerberos import ticket
    from mrml.runs.batch import run as batches
    from mrml.runs.batch.file import read

    batch = read(args.file, args.values)
    with ticket(batch.run.engine):
        if args.dry_run:
            facts = batches.plan(batch)
            return emit_json(facts) if args.json else emit(_plan(facts))
        try:
            facts = batches.run(batch, args.begin, args.only, logs.progress())
        except MrmlError as error:
            if error.facts and not args.json:
                emit(_text(error.facts))
            raise
    emit_json(facts) if args.json else emit(_text(facts))


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigError("--set", f"{text!r} is not NAME=VALUE", "such as --set ds=2026-11-20")
    return name, value


def _text(facts: Any) -> str:
    rows = [(name, _outcome(s), logs.seconds(s["seconds"]), _told(name, s)) for name, s in facts["steps"].items()]
    lines = [f"run {facts['run']} in {facts['directory']}", table(rows)]
    if facts["report"]:
        lines.append(f"report  {facts['report']}")
    if facts["verdict"] == "promoted":
        lines.append(f"version {facts['version']} is in service")
    return "\n".join(lines)


def _outcome(step: Any) -> str:
    return f"{step['outcome']}, kept" if step.get("kept") else str(step["outcome"])


def _told(name: str, step: Any) -> str:
    """The one thing worth knowing of a step."""
    if "error" in step:
        return str(step["error"]["finding"])
    if "metrics" in step:
        counts = ("rows", "n_rows", "weight")
        figures = [(k, v) for k, v in step["metrics"].items() if isinstance(v, int | float) and k not in counts]
        return ", ".join(f"{k} {logs.number(v)}" for k, v in figures[:2])
    return str(step.get("output") or step.get("why") or "")


def _plan(facts: dict[str, Any]) -> str:
    inputs = [(path, n_bytes) for path, n_bytes, _ in facts["inputs"]]
    return "\n".join([
        f"run {facts['run']} in {facts['directory']}", "steps", table(list(facts["steps"].items())),
        "inputs", table([("file", "bytes"), *inputs]),
    ])  # fmt: skip
