"""``mrml sample``: made data to try things on."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json
from mrml.cli.parser import Parser, common
from mrml.config.parse import from_text

EXAMPLE = "mrml sample made --rows 2000000 --kind binary --seed 7"


def parse_sample(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("sample", EXAMPLE, description="Generate sample data; the same seed gives the same rows.")
    parser.add_argument("output", metavar="OUTPUT", help="directory for the part files; it must not exist")
    parser.add_argument("--rows", metavar="N", default="100000", help="number of rows (default 100000)")
    parser.add_argument("--columns", metavar="P", default="28", help="number of numeric feature columns (default 28)")
    kinds = ("binary", "regression", "clusters", "mixed")
    parser.add_argument("--kind", choices=kinds, default="binary", help="kind of rows (default binary)")
    formats = ("parquet", "csv", "jsonl", "libsvm")
    parser.add_argument("--format", choices=formats, default="parquet", help="file format (default parquet)")
    parser.add_argument("--parts", metavar="N", default="4", help="number of files (default 4)")
    parser.add_argument("--seed", metavar="S", default="0", help="random seed (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing sample data")
    return common(parser, "print one JSON object instead of text").read(argv)


def run_sample(args: argparse.Namespace) -> None:
    from mrml.tools.sample import Sample, write

    numbers = {n: from_text(getattr(args, n), int, f"--{n}") for n in ("rows", "columns", "parts", "seed")}
    facts = write(Sample(kind=args.kind, format=args.format, **numbers), args.output, args.overwrite)
    emit_json(facts) if args.json else emit(_text(facts))


def _text(facts: dict[str, Any]) -> str:
    output, target = facts["output"], facts["target"]
    names = {"binary": "logistic", "mixed": "logistic", "regression": "linear", "clusters": "kmeans"}
    columns = ", ".join(facts["names"][:4]) + (", ..." if len(facts["names"]) > 4 else "")
    size = f"{logs.size(facts['bytes'])} in {logs.count(facts['parts'], 'file')}"
    goal = ["--target", target] if target else []
    identity = ["--id", "id"] if "id" in facts["names"] else []
    words = ["mrml", "train", names[facts["kind"]], "--data", output, *goal, *identity, "--output", f"{output}.model"]
    head = f"{output}: {facts['rows']:,} rows x {facts['columns']} columns ({columns}), {size}"
    return f"{head}\nnext  {shlex.join(words)}"
