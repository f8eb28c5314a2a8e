"""``mrml validate``: whether rows are like those of before."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common, flags
from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig
from mrml.config.steps import Limits
from mrml.errors import ConfigError, InputError

EXAMPLE = "mrml validate new/ --against model"
_ABOUT = """\
Check rows for drift from the rows that a model was trained on, column by column; exit code 3 if a limit is exceeded.

--against is a model, a store of models, a file of `mrml schema`, or other rows. The table shows the population
stability index (psi), the share of missing values now and before, of categories that were not there before (unseen),
and of numbers outside the earlier range. A schema file only knows the types and a sample."""
#: what a model's columns say already
_KNOWN = ("valid", "features", "exclude", "categorical", "schema", "window_bytes", "hash", "hash_bits", "max_levels",
          "bins", "bad_rows", "max_bad_rows", "data", "target", "weight", "offset", "group", "id")  # fmt: skip


def parse_validate(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("validate", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("data", metavar="DATA", nargs="*", help="files, directories or globs")
    parser.add_argument(
        "--against", metavar="WHAT", default="", help="a model, a store, a schema file or rows to compare with"
    )
    parser.add_options(_options())
    args = common(parser, "print one JSON object instead of text").read(argv)
    if not args.data:
        raise ConfigError("mrml validate", "names no data", "give files, directories or globs")
    if not args.against:
        raise ConfigError("mrml validate", "has nothing to compare with", "use --against MODEL, SCHEMA.yaml or DATA")
    return args


def run_validate(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from mrml.runs.batch.validate import before_of, validate

    settings = conf.resolve(_options(), flags(args))
    data = replace(conf.section(DataConfig, "data", settings), data=tuple(args.data))
    engine, limits = conf.section(EngineConfig, "engine", settings), conf.section(Limits, "limits", settings)
    try:
        facts = validate(data, engine, before_of(args.against, data, engine), limits, logs.progress())
    except InputError as error:
        if error.facts and not args.json:
            emit(text_of(error.facts))
        raise
    emit_json(facts) if args.json else emit(text_of(facts))


def text_of(facts: Any) -> str:
    """A line for each column, and what is above its limit."""
    names = ("psi", "missing", "missing_before", "unseen", "out_of_range")
    rows = [(c["column"], *(_shown(c[n]) for n in names), _word(c)) for c in facts["columns"]]
    head = f"{logs.count(facts['n_rows'], 'row')}, {facts['bad_rows']} malformed, against {facts['against']}"
    return f"{head}\n" + table([("column", "psi", "missing", "before", "unseen", "out of range", ""), *rows])


def _word(column: Any) -> str:
    return "; ".join(column["failures"]) or ("shifted" if column["shifted"] else "")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _options() -> list[conf.Option]:
    return [*conf.options(Limits, "limits"), *conf.options(DataConfig, "data", without=_KNOWN),
            *conf.options(EngineConfig, "engine")]  # fmt: skip
