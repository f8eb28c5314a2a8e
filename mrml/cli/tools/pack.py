"""``mrml pack``: the environment that runs, as an archive for the nodes of a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mrml import logs
from mrml.cli.out import emit, emit_json
from mrml.cli.parser import Parser, common

EXAMPLE = "mrml pack --upload"


def parse_pack(argv: Sequence[str]) -> argparse.Namespace:
    about = "Pack this Python environment into an archive; with --environment, tasks on a cluster use its Python."
    parser = Parser("pack", EXAMPLE, description=about)
    name = "mrml-environment.tar.gz"
    parser.add_argument("--output", metavar="FILE", default=name, help=f"archive to write (default {name})")
    parser.add_argument(
        "--upload",
        action="store_true",
        help="copy the archive to HDFS, unless the same one is there, and print its URI",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing archive")
    return common(parser, "print one JSON object instead of text").read(argv)


def run_pack(args: argparse.Namespace) -> None:
    from mrml.tools import pack

    packed = pack.pack(args.output, args.overwrite)
    facts = {**packed._asdict(), "uri": None}
    if args.upload:
        from mrml.engines.hadoop.environment import upload
        from mrml.engines.hadoop.yarn import configuration, home

        facts["uri"] = upload(args.output, home(configuration()))
    if args.json:
        return emit_json(facts)
    emit(f"{packed.path}: {logs.size(packed.bytes)}, {packed.kind} of Python {packed.python}")
    emit(f"next   mrml train ... --engine streaming -r hadoop --environment {facts['uri'] or packed.path}")
