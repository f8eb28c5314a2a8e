"""``mrml models``: the versions of a model, and which of them is in service."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, check_action, common
from mrml.config.gate import Clause, Gate
from mrml.config.parse import from_text
from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import ConfigError, InputError

EXAMPLE = "mrml models promote model --store hdfs:///stores/churn"
_ABOUT = """\
Manage a store of models: a directory, local or on HDFS, with numbered versions, one of which is in service.

  list            list the versions, and when each was put into service
  show [VERSION]  show a version: where it comes from, its metrics, its directory; default: the one in service
  promote MODEL   copy a model into the store and put it into service; a model that is already there gets no new version
  rollback        put the previous version into service again, or the one given by --to

With --gate, a model is promoted only if an expression over metrics is true; if not, the exit code is 7 and nothing
changes: `auc >= champion.auc - 0.002 and log_loss < 0.4`. The metrics are those of training, or with --data those of
both models on the same rows. If no model is in service yet, comparisons with champion are true.

Commands that take a model also take a store, for example `mrml predict STORE`: it stands for the version in service. If
two processes promote at the same time, one succeeds and the other ends with exit code 4."""
_ACTIONS = ("list", "show", "promote", "rollback")


def parse_models(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("models", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("action", metavar="ACTION", help=f"one of {', '.join(_ACTIONS)}")
    parser.add_argument(
        "name", metavar="MODEL", nargs="?", default="", help="promote: model directory; show: number of a version"
    )
    parser.add_argument("--store", metavar="DIR", default="", help="directory of the store")
    parser.add_argument("--gate", metavar="EXPR", default="", help="promote: condition that must be true")
    parser.add_argument(
        "--data",
        metavar="DATA",
        action="append",
        default=[],
        help="promote: rows to compute the metrics of the condition on",
    )
    parser.add_argument("--to", metavar="VERSION", help="rollback: number of the version to put into service")
    args = common(parser, "print one JSON object instead of text").read(argv)
    check_action("models", args.action, _ACTIONS)
    place = f"mrml models {args.action}"
    if not args.store:
        raise ConfigError(place, "names no store", "use --store DIR")
    if args.action == "promote" and not args.name:
        raise ConfigError(place, "names no model", "give the --output of `mrml train`")
    if args.action in ("list", "rollback") and args.name:
        raise ConfigError(place, f"takes no {args.name!r}", "name a version with --to" if args.action != "list" else "")
    if (args.gate or args.data) and args.action != "promote":
        raise ConfigError(place, "has no gate", "it is of `mrml models promote`")
    if args.data and not args.gate:
        raise ConfigError(place, "has rows and no gate", "use --gate EXPR")
    args.gate = Gate(args.gate) if args.gate else None
    args.version = from_text(args.name, int, f"{place}, VERSION") if args.action == "show" and args.name else None
    args.back_to = None if args.to is None else from_text(args.to, int, "--to")
    return args


def run_models(args: argparse.Namespace) -> None:
    from mrml.runs.store import Store

    store = Store(args.store)
    if args.action in ("promote", "rollback"):
        clauses = _judged(args, store) if args.gate else []
        switch = store.promote(args.name) if args.action == "promote" else store.rollback(args.back_to)
        told = {**switch._asdict(), "directory": store.directory(switch.version)}
        told |= {"gate": [clause._asdict() for clause in clauses]} if clauses else {}
        return emit_json(told) if args.json else emit(f"version {switch.version} is in service: {told['directory']}")
    _list(args, store) if args.action == "list" else _show(args, store)


def _judged(args: argparse.Namespace, store: Any) -> list[Clause]:
    """Every clause of the gate, told; Refused where one does not hold."""
    current = store.current()
    there = None if current is None else store.directory(current.version)
    own, other = _metrics(args.name, args.data), there and _metrics(there, args.data, known_only=True)
    place, stays = f"gate of {args.store} for {args.name}", current.version if current else None
    clauses: list[Clause] = args.gate.passed(own, other, place, stays)
    return clauses


def _metrics(model: str, data: Sequence[str], known_only: bool = False) -> dict[str, Any]:
    """Those of a model: what its training left, or on these rows."""
    from mrml.runs import train as run
    from mrml.runs.store import metrics_of

    if not data:
        return metrics_of(model)
    return run.evaluate(model, DataConfig(data=tuple(data)), EngineConfig(), known_only=known_only)


def _list(args: argparse.Namespace, store: Any) -> None:
    versions, switches = store.versions(), store.switches()
    if not versions:
        finding = "has no version of a model" if store.folder.exists() else "there is no such store"
        raise InputError(args.store, finding, f"`mrml models promote MODEL --store {args.store}` puts the first one in")
    if args.json:
        return emit_json({"versions": versions, "switches": [s._asdict() for s in switches]})
    in_service = switches[-1].version if switches else None
    rows = []
    for about in versions:
        since = [s.at for s in switches if s.version == about["number"]]
        name, value = _figure(about["metrics"])
        mark = "in service" if about["number"] == in_service else ""
        rows.append((str(about["number"]), mark, since[-1] if since else "-", about["algorithm"] or "-",
                     f"{name} {value}" if name else "-", about["source"]))  # fmt: skip
    emit(table([("version", "", "put into service", "algorithm", "metric", "from"), *rows]))


def _show(args: argparse.Namespace, store: Any) -> None:
    current = store.current()
    if args.version is None and current is None:
        raise InputError(args.store, "nothing is in service", "promote a model, or name a version")
    number = args.version if args.version is not None else current.version
    about = {**store.version(number), "directory": store.directory(number)}
    history = [s._asdict() for s in store.switches() if s.version == number]
    if args.json:
        return emit_json({**about, "switches": history})
    figures = {name: v for name, v in about.pop("metrics").items() if isinstance(v, int | float)}
    metrics = [(f"metric {name}", logs.number(v)) for name, v in figures.items()]
    lineage = _lineage(about.pop("lineage", {}))
    emit(table([(k, str(v)) for k, v in about.items()] + lineage + metrics))
    emit(table([("put into service", "by", "with"), *((s["at"], s["by"], s["action"]) for s in history)]))


def _lineage(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What a version came of, as far as a line has room for it: --json tells all."""
    rows = [(name.replace("_", " "), str(facts[name])) for name in ("run", "file", "parent", "began_from")
            if facts.get(name) is not None]  # fmt: skip
    if inputs := facts.get("inputs"):
        rows.append(("inputs", f"{logs.count(len(inputs), 'file')}, {logs.size(sum(size for _, size, _ in inputs))}"))
    if versions := facts.get("versions"):
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    if params := (facts.get("config") or {}).get("params"):
        rows.append(("configuration", ", ".join(f"{k} {v}" for k, v in params.items() if v not in (None, "", []))))
    return rows


def _figure(metrics: dict[str, Any]) -> tuple[str, str]:
    """The first metric and its value."""
    return next(((name, logs.number(value)) for name, value in metrics.items() if value is not None), ("", ""))
