"""``mrml runs``: what runs there are, how far they came; follow one, end one, sweep what they left."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mrml import logs
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, check_action, common
from mrml.errors import ConfigError, EngineError, Refused

if TYPE_CHECKING:
    from mrml.engines.hadoop.yarn import ResourceManager
    from mrml.runs.manage import Run

EXAMPLE = "mrml runs list hdfs:///models"
#: states of jobs that change no more
_ENDED = ("FINISHED", "FAILED", "KILLED")
#: what is told of a worker, in this order
_WORKER = ("worker", "host", "pid", "container", "splits", "rows", "bytes_up", "busy_s", "silent_s")
_ABOUT = """\
Manage the runs of `mrml train`, `mrml tune` and `mrml run`. RUN is the directory of a run, or its id.

  list [ROOT]   list the runs below a directory; without one, the runs whose jobs the ResourceManager knows
  show RUN      show a run: rounds, driver, jobs, resident workers, steps of `mrml run`
  attach RUN    follow a run, given by its directory, until its driver ends; exit code 5 if it did not finish, 7 if
                the gate of `mrml run` refused its model
  kill RUN      end the driver of a run, then its jobs; the command of the run can be given again to continue
  clean [ROOT]  list what interrupted runs left behind: staging files on HDFS, and unfinished output below ROOT; with
                --delete, remove it"""


def parse_runs(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("runs", EXAMPLE, description=_ABOUT)
    parser.add_argument("action", metavar="ACTION", help=f"one of {', '.join(_ACTIONS)}")
    parser.add_argument(
        "name",
        metavar="RUN",
        nargs="?",
        default="",
        help="directory or id of a run; for list and clean, a directory above runs",
    )
    parser.add_argument(
        "--keep", metavar="TIME", default="7d", help="clean: keep what is younger than this (default 7d)"
    )
    parser.add_argument("--delete", action="store_true", help="clean: remove, instead of only listing")
    args = common(parser, "print one JSON object instead of text").read(argv)
    check_action("runs", args.action, _ACTIONS)
    if args.action in ("show", "attach", "kill") and not args.name:
        raise ConfigError(f"mrml runs {args.action}", "names no run", "give its --output, or its id")
    return args


def run_runs(args: argparse.Namespace) -> None:
    _ACTIONS[args.action](args)


def _list(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    jobs = runs.manager(needed=not args.name)
    found = [r.facts() for r in (runs.find(args.name, jobs) if args.name or jobs is None else runs.known(jobs))]
    if args.json:
        return emit_json({"runs": found})
    head = ("run", "state", "rounds", "algorithm", "job", "output")
    rows = [(r["id"], r["state"], _rounds(r), r["algorithm"] or "-", _running(r), r["output"] or "-") for r in found]
    emit(table([head, *rows]) if rows else "no runs")


def _asked(name: str) -> tuple[Run, ResourceManager | None]:
    """A run, and who knows its jobs: where an id is given nobody else knows it."""
    from mrml.runs import manage as runs

    jobs = runs.manager(needed=not runs.is_directory(name))
    return runs.named(name, jobs), jobs


def _show(args: argparse.Namespace) -> None:
    run, _ = _asked(args.name)
    facts = run.facts()
    if args.json:
        return emit_json(facts)
    driver = facts["driver"]
    who = f"process {driver['pid']} on {driver['host']} since {driver['since']}" if driver else "none"
    lines = [("run", facts["id"]), ("state", facts["state"]), ("rounds", _rounds(facts)), ("driver", who)]
    lines += [(k, facts[k]) for k in ("algorithm", "output") if facts[k]]
    lines += [(f"step {name}", outcome) for name, outcome in facts["steps"].items()]
    emit(table([(k, str(v)) for k, v in lines]))
    if facts["workers"].get("members"):
        rows = [
            tuple("-" if w.get(name) is None else str(w[name]) for name in _WORKER) for w in facts["workers"]["members"]
        ]
        emit(f"  workers, as of {facts['workers']['at']}")
        emit(table([_WORKER, *rows]))
    if facts["jobs"]:
        rows = [(j["id"], j["round"], j["state"], j["final"], j["url"]) for j in facts["jobs"]]
        emit(table([("job", "round", "state", "final", "page"), *rows]))


def _attach(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs
    from mrml.runs.batch.watch import FINISHED, REFUSED

    found, jobs = _asked(args.name)
    run = runs.follow(found.output or args.name, jobs, lambda line: logs.log.info("%s", line))
    emit_json(run.facts()) if args.json else emit(f"{run.output}: {run.state} after round {run.round}")
    if run.state == REFUSED:
        raise Refused(run.output, "the gate refused its model", "`mrml runs show` shows its steps")
    if run.state != FINISHED:
        finding = f"no driver works on this run, and it did not finish; it came to round {run.round}"
        raise EngineError(run.output, finding, "give its command again to continue")


def _kill(args: argparse.Namespace) -> None:
    from mrml.runs import manage as runs

    done = runs.end(*_asked(args.name))
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


def _rounds(facts: dict[str, Any]) -> str:
    """Where only jobs are known, those of tasks that stay tell nothing of rounds."""
    return "-" if facts["round"] is None else str(facts["round"])


def _running(facts: dict[str, Any]) -> str:
    return next((f"{j['id']} {j['state']}" for j in facts["jobs"] if j["state"] not in _ENDED), "-")


_ACTIONS = {"list": _list, "show": _show, "attach": _attach, "kill": _kill, "clean": _clean}
