"""``mrml runs``: what runs there are, how far they came; follow one, end one, sweep what they left."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common
from mrml.errors import ConfigError, EngineError, nearest

EXAMPLE = "mrml runs list hdfs:///models"
_ABOUT = """\
Runs of `mrml train`, by their output directories and by the jobs that the ResourceManager knows.

  list [ROOT]   the runs below a directory; without one, those whose jobs the ResourceManager remembers
  show RUN      one run: its --output, or its id; its rounds, its driver, its jobs
  attach OUTPUT follow a run until nobody drives it; exit code 5 when it did not finish
  kill RUN      end its driver and its jobs, in order; giving the command of the run again goes on with it
  clean [ROOT]  what runs left that nobody needs: staging on HDFS, and below ROOT what was written aside and never
                finished; says what it would remove, and removes it with --delete"""


def parse_runs(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("runs", EXAMPLE, description=_ABOUT)
    parser.add_argument("action", metavar="ACTION", help=f"one of {', '.join(_ACTIONS)}")
    parser.add_argument("name", metavar="RUN", nargs="?", default="", help="a run, or the directory above some")
    parser.add_argument("--keep", metavar="TIME", default="7d", help="clean: leave what is younger (default 7d)")
    parser.add_argument("--delete", action="store_true", help="clean: remove it")
    args = common(parser, "print one JSON object instead of text").read(argv)
    if args.action not in _ACTIONS:
        raise ConfigError("mrml runs", f"unknown action {args.action!r}", nearest(args.action, _ACTIONS))
    if args.action in ("show", "attach", "kill") and not args.name:
        raise ConfigError(f"mrml runs {args.action}", "names no run", "give its --output, or its id")
    return args


def run_runs(args: argparse.Namespace) -> None:
    _ACTIONS[args.action](args)


def _list(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    jobs = runs.manager()
    if jobs is None and not args.name:
        raise ConfigError("mrml runs list", "neither a directory is named nor a cluster configured", "give ROOT")
    found = [r.facts() for r in (runs.find(args.name, jobs) if args.name or jobs is None else runs.known(jobs))]
    if args.json:
        return emit_json({"runs": found})
    head = ("run", "state", "rounds", "algorithm", "job", "output")
    rows = [(r["id"], r["state"], r["round"], r["algorithm"], _running(r) or "-", r["output"] or "-") for r in found]
    emit(table([head, *rows]) if rows else "no runs")


def _show(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    facts = runs.named(args.name, runs.manager()).facts()
    if args.json:
        return emit_json(facts)
    driver = facts["driver"]
    who = f"process {driver['pid']} on {driver['host']} since {driver['since']}" if driver else "none"
    lines = [("run", facts["id"]), ("state", facts["state"]), ("rounds", facts["round"]), ("driver", who)]
    lines += [(k, facts[k]) for k in ("algorithm", "output") if facts[k]]
    emit(table([(k, str(v)) for k, v in lines]))
    if facts["jobs"]:
        rows = [(j["id"], j["round"], j["state"], j["final"], j["url"]) for j in facts["jobs"]]
        emit(table([("job", "round", "state", "final", "page"), *rows]))


def _attach(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    run = runs.follow(args.name, runs.manager(), lambda line: logs.log.info("%s", line))
    emit_json(run.facts()) if args.json else emit(f"{run.output}: {run.state} after round {run.round}")
    if run.state != runs.FINISHED:
        finding = f"nobody drives this run, and it did not finish; it came to round {run.round}"
        raise EngineError(run.output, finding, "give its command again: it goes on")


def _kill(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    jobs = runs.manager()
    done = runs.end(runs.named(args.name, jobs), jobs)
    if args.json:
        return emit_json(done)
    emit(f"run {done['run']}: driver {done['driver']}; jobs ended: {', '.join(done['jobs']) or 'none was left'}")


def _clean(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    found = list(runs.leftovers(args.name, runs.seconds_of(args.keep), runs.manager()))
    for left in found if args.delete else []:
        runs.remove(left)
    if args.json:
        return emit_json({"deleted": args.delete, "leftovers": [left._asdict() for left in found]})
    rows = [(left.path, f"{left.age_s / 86400:.1f} days", left.what) for left in found]
    if rows:
        emit(table(rows))
    what = f"{logs.count(len(found), 'leftover')} older than {args.keep}"
    emit(f"{what}: removed" if args.delete else f"{what}" + "; --delete removes them" * bool(found))


def _running(facts: dict[str, Any]) -> str:
    return next((f"{j['id']} {j['state']}" for j in facts["jobs"] if j["state"] not in ("FINISHED", "KILLED")), "")


_ACTIONS = {"list": _list, "show": _show, "attach": _attach, "kill": _kill, "clean": _clean}
