"""``mrml tune``: a search among candidates, from a run file with spaces in the place of values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common, flags, load_algorithm
from mrml.cli.train import plan_text, summary_text
from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig, RunConfig, SearchConfig
from mrml.config.template import refuse_braces
from mrml.errors import ConfigError

EXAMPLE = "mrml tune conf/churn-tune.yaml --output tuned"
_ABOUT = """\
Find the best hyperparameters. FILE is a run file with search spaces instead of values; all candidates are trained at
the same time and share each pass over the data.

  algorithm:
    name: logistic
    l2: {log: [1e-6, 10]}                    a number whose logarithm is uniform
    class_weight: {of: [none, balanced]}     one of a list; also {uniform: [A, B]} and, for whole numbers, {int: [A, B]}
  search:
    method: random                           or grid, halving, hyperband, tpe
    trials: 20
    folds: 5

The output directory gets trials.parquet, the scores of every candidate, and model, the best one trained on all rows.
The same command continues an interrupted search."""
#: options of a training run that a search has too
_RUN = ("output", "resume", "overwrite")
#: trials that are shown
_SHOWN = 20


def parse_tune(argv: Sequence[str]) -> argparse.Namespace:
    known = [
        *conf.options(RunConfig, "run", only=_RUN),
        *conf.options(SearchConfig, "search"),
        *conf.options(DataConfig, "data"),
        *conf.options(EngineConfig, "engine"),
    ]
    parser = Parser("tune", EXAMPLE, description=_ABOUT)
    parser.usage = "mrml tune FILE --output DIR [options]"
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="run file (YAML) with search spaces")
    parser.add_argument("--dry-run", action="store_true", help="print the candidates and the plan; do nothing")
    parser.add_options(known)
    parser.intermixed = True
    args = common(parser, "print one JSON object instead of text").read(argv)
    args.known = known
    if not args.file:
        raise ConfigError("mrml tune", "names no run file", f"for example: {EXAMPLE}")
    return args


def run_tune(args: argparse.Namespace) -> None:
    tuning = tuning_of(args)
    from mrml.engines.hadoop.kerberos import ticket
    from mrml.runs.search import tune

    if not tuning.run.output and not args.dry_run:
        raise ConfigError("mrml tune", "no output", "give --output DIR")
    with ticket(tuning.run.engine):
        if args.dry_run:
            facts = tune.plan(tuning)
            return emit_json(facts) if args.json else emit(plan_text(facts))
        summary = tune.tune(tuning, logs.progress())
    return emit_json(summary) if args.json else emit(tuned_text(tuning.run, summary))


def tuned_text(run: RunConfig, summary: dict[str, Any]) -> str:
    """The candidates, best first, and the model of the best one."""
    by = f"{summary['folds']} folds" if summary["folds"] else "the rows to validate with"
    n = logs.count(summary["candidates"], "candidate")
    head = f"{summary['algorithm']}: {n} by {summary['metric']} of {by}, {logs.count(summary['rounds'], 'round')}"
    trials, best = summary["trials"], summary["best"]
    names = list(best["params"])
    rows: list[Sequence[Any]] = [("trial", *names, summary["metric"], "std", "rounds", "")]
    rows += [_row(trial, names) for trial in trials[:_SHOWN]]
    parts = [f"{head} in {logs.seconds(summary['seconds'])}", table(rows)]
    if len(trials) > _SHOWN:
        parts.append(f"  and {len(trials) - _SHOWN} more")
    if summary["out_of_time"]:
        parts.append(f"time was up: {summary['stop']}")
    parts.append(f"trials {summary['output']}/trials.parquet")
    return "\n".join([*parts, summary_text(run, summary["model"])])


def _row(trial: dict[str, Any], names: Sequence[str]) -> Sequence[Any]:
    why = "" if trial["state"] == "done" else trial["state"]
    if why == "failed":
        why = str(trial["stop"])
    return (
        trial["trial"],
        *(trial["params"][name] for name in names),
        trial["score"],
        trial["std"],
        trial["rounds"],
        why,
    )


def tuning_of(args: argparse.Namespace) -> Any:
    """What the file, the environment and the options say."""
    from mrml.runs.search.field import Tuning
    from mrml.runs.search.spaces import is_space, spaces_of, split

    tree = conf.read_file(args.file)
    refuse_braces(tree, args.file)
    name, solver = conf.algorithm_name(None, {}, tree), conf.solver_name([], {}, tree)
    if is_space((tree.get("algorithm") or {}).get("name")):
        remedy = "name one; a search for each tells which is the best"
        raise ConfigError(f"{args.file}, algorithm.name", "one search is among candidates of one algorithm", remedy)
    if not name:
        raise ConfigError(args.file, "names no algorithm", "write algorithm: with name: and hyperparameters")
    tree, nodes = split(tree)
    algorithm = load_algorithm(name, solver)
    spaces = spaces_of(algorithm, nodes, args.file)
    searched = [space.name for space in spaces]
    run = conf.options(RunConfig, "run", only=("algorithm",))
    known = [*run, *args.known, *conf.options(algorithm, "algorithm", without=searched)]
    absent: dict[str, str] = dict(getattr(algorithm, "no_counterpart", {}))
    settings = conf.resolve(known, flags(args), os.environ, tree, args.file, absent)
    config = conf.run_config(settings)
    if any(":" in str(config.params.get(name, "")) for name in ("objective", "module")):
        conf.see_current_directory()
    conf.allow_imports(config.engine.allow_import)
    if not config.data.data:
        raise ConfigError("mrml tune", "no data", "write data: in the file, or give --data")
    if config.resume and config.overwrite:
        raise ConfigError("mrml tune", "--resume and --overwrite exclude each other", "give one of them")
    return Tuning(config, conf.section(SearchConfig, "search", settings), tuple(spaces))
