"""``mrml schema``: what the columns of some data are, as YAML to read and edit."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence

from mrml import logs
from mrml.cli.out import emit, emit_json
from mrml.cli.parser import Parser, common, flags
from mrml.config import sources as conf
from mrml.config.sections import DataConfig
from mrml.errors import ConfigError, OutputExists

EXAMPLE = "mrml schema data/ --target y --output schema.yaml"
#: what takes part only once a model is trained
_NOT_SEEN = ("data", "valid", "schema", "hash", "hash_bits", "max_levels", "bins", "split_bytes")


def parse_schema(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("schema", EXAMPLE, description="Infer the columns of data from a sample of at most 64 MB.")
    parser.add_argument("paths", metavar="DATA", nargs="+", help="files, directories or globs to read")
    parser.add_argument("--output", metavar="FILE", help="write the schema to this file instead of printing it")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_options(_options())
    parser.usage = "mrml schema DATA... [--target COL] [--output FILE] [options]"
    return common(parser, "print one JSON object instead of YAML").read(argv)


def run_schema(args: argparse.Namespace) -> None:
    if args.output and os.path.lexists(args.output) and not args.overwrite:
        raise OutputExists(args.output, "exists already", "edit it, or give --overwrite")
    texts = {**flags(args), ("data", "data"): args.paths}
    settings = conf.resolve([*conf.options(DataConfig, "data", only=("data",)), *_options()], texts)
    from mrml.runs import train as run

    schema, text, notes = run.schema(conf.section(DataConfig, "data", settings))
    logs.tell_notes(notes, "the YAML")
    if args.output:
        _write(args.output, text)
        logs.log.info("schema written to %s; edit it and give it as --schema", args.output)
    if args.json:
        emit_json(schema.to_json())
    elif not args.output:
        emit(text.rstrip())


def _options() -> list[conf.Option]:
    return conf.options(DataConfig, "data", without=_NOT_SEEN)


def _write(path: str, text: str) -> None:
    """Aside, then renamed: a reader never sees half of it."""
    aside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(aside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise ConfigError(path, f"cannot be written: {error.strerror}", "name another --output") from error
