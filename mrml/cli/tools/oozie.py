"""``mrml oozie``: a run as an application of Oozie, written, checked, submitted and looked after."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrml import logs
from mrml.cli.cluster import parse_cluster
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, check_action, common, flags
from mrml.config import sources as conf
from mrml.errors import ConfigError, EngineError, OutputExists
from mrml.tools.oozie.render import COORDINATOR, Application, Place, default_path, named, render

if TYPE_CHECKING:
    from mrml.tools.oozie.check import Checked
    from mrml.tools.oozie.rest import Oozie

EXAMPLE = "mrml oozie render run.yaml --start 2026-01-01 --output churn.oozie"
_ABOUT = """\
Schedule `mrml run FILE` with Oozie: a workflow runs it once, a coordinator runs it every day.

  render FILE    write workflow.xml, coordinator.xml (with --start), job.properties and the files they need to --output
  validate PATH  check a file or a folder: XML, transitions, forks and joins, variables; with lxml and a jar of Oozie's
                 client also against Oozie's schemas; exit code 2 if something is wrong
  submit DIR     check an application, copy it to HDFS as job.properties says, start it, print its id
  status JOB     show the state of a workflow or coordinator, with mrml's exit code and message
  kill JOB       end a workflow or coordinator, and its jobs on YARN
  rerun JOB      run a workflow again, or a day of a coordinator (--number); mrml continues where it stopped"""


def parse_oozie(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("oozie", EXAMPLE, description=_ABOUT)
    parser.intermixed = True
    parser.add_argument("action", metavar="ACTION", help=f"one of {', '.join(_ACTIONS)}")
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="a run file, a folder, or the id of a job")
    parser.add_argument("--output", metavar="DIR", help="render: folder for the files (default NAME.oozie)")
    parser.add_argument("--overwrite", action="store_true", help="render: replace existing files")
    parser.add_argument("--url", metavar="URL", default="", help="URL of the Oozie server (default $OOZIE_URL)")
    parser.add_argument(
        "--jar",
        metavar="FILE",
        help="oozie-client-*.jar with the schemas (default: found in OOZIE_HOME or the local cluster)",
    )
    parser.add_argument(
        "--no-upload", action="store_true", help="submit: do not copy; the application is already on HDFS"
    )
    parser.add_argument("--dry-run", action="store_true", help="submit: only let the server check the application")
    parser.add_argument(
        "--number", metavar="N", default="", help="rerun: number of the coordinator's action, or a range N-M"
    )
    parser.add_argument(
        "--wait", action="store_true", help="status: wait until it ends; exit code 5 unless it succeeded"
    )
    parser.add_options(_options())
    args = common(parser, "print one JSON object instead of text").read(argv)
    check_action("oozie", args.action, _ACTIONS)
    if not args.name:
        what = {"render": "the file of a `mrml run`", "validate": "a file or a folder", "submit": "a folder"}
        raise ConfigError(
            f"mrml oozie {args.action}", "names nothing", f"give {what.get(args.action, 'the id of a job')}"
        )
    return args


def run_oozie(args: argparse.Namespace) -> None:
    _ACTIONS[args.action](args)


def _render(args: argparse.Namespace) -> None:
    from mrml.tools.oozie.check import check

    app = conf.section(Application, "oozie", conf.resolve(_options(), flags(args), {}))
    run_file = Path(args.name)
    files = render(run_file, app, _place(run_file, app), sys.executable)
    folder = Path(args.output or f"{named(run_file, app)}.oozie")
    there = sorted(name for name in {*files, COORDINATOR} if (folder / name).exists())
    if there and not args.overwrite:
        raise OutputExists(str(folder / there[0]), "already exists", "use --overwrite to replace it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COORDINATOR).unlink(missing_ok=True)  # of a render before, maybe
    for name, content in files.items():
        (folder / name).write_bytes(content)
    checked = check(str(folder), _jar(args))
    if args.json:
        return emit_json({**_facts(checked), "folder": str(folder), "files": sorted(files)})
    emit(f"{folder}: {', '.join(sorted(files))}")
    _tell(checked)
    emit(f"next   mrml oozie submit {shlex.quote(str(folder))}")


def _validate(args: argparse.Namespace) -> None:
    from mrml.tools.oozie.check import check

    checked = check(args.name, _jar(args))
    emit_json(_facts(checked)) if args.json else _tell(checked)
    if checked.problems:
        raise SystemExit(ConfigError.exit_code)


def _submit(args: argparse.Namespace) -> None:
    from mrml.tools.oozie.check import check
    from mrml.tools.oozie.submit import application, upload

    oozie, folder = _oozie(args), Path(args.name)
    properties, path = application(folder, _pairs(flags(args).get(("oozie", "set"), [])))
    problems = check(str(folder), _jar(args), properties).problems
    if problems:
        more = f" (and {len(problems) - 1} more: `mrml oozie validate {folder}`)" if len(problems) > 1 else ""
        raise ConfigError(problems[0].place, problems[0].finding + more, problems[0].remedy)
    if not args.no_upload:
        upload(folder, path)
    if args.dry_run:
        oozie.dryrun(properties)
        return emit_json({"id": None, "path": path}) if args.json else emit(f"{path}: the server finds nothing wrong")
    job = oozie.submit(properties)
    emit_json({"id": job, "path": path}) if args.json else emit(job)


def _status(args: argparse.Namespace) -> None:
    from mrml.tools.oozie.rest import ENDED, facts_of

    oozie = _oozie(args)
    facts = facts_of(oozie, args.name)
    while args.wait and facts["status"] not in ENDED:
        time.sleep(1)
        facts = facts_of(oozie, args.name)
    emit_json(facts) if args.json else emit(_text(facts))
    if args.wait and facts["status"] != "SUCCEEDED":
        raise EngineError(args.name, f"{facts['status']}: {facts['message'] or 'see its actions'}", "")


def _kill(args: argparse.Namespace) -> None:
    from mrml.tools.oozie.rest import facts_of

    oozie = _oozie(args)
    before = oozie.job(args.name)["status"]
    oozie.kill(args.name)
    facts = facts_of(oozie, args.name)
    emit_json(facts) if args.json else emit(f"{args.name}: was {before}, is {facts['status']}")


def _rerun(args: argparse.Namespace) -> None:
    from mrml.tools.oozie.rest import facts_of

    oozie = _oozie(args)
    facts = facts_of(oozie, args.name)
    if (facts["kind"] == "coordinator") != bool(args.number):
        remedy = "use --number N, as `mrml oozie status` counts them" if not args.number else "leave --number out"
        raise ConfigError(f"mrml oozie rerun {args.name}", f"is a {facts['kind']}", remedy)
    oozie.rerun(args.name, args.number)
    facts = facts_of(oozie, args.name)
    emit_json(facts) if args.json else emit(f"{args.name}: is {facts['status']}")


_ACTIONS = {
    "render": _render,
    "validate": _validate,
    "submit": _submit,
    "status": _status,
    "kill": _kill,
    "rerun": _rerun,
}


def _options() -> list[conf.Option]:
    return conf.options(Application, "oozie")


def _oozie(args: argparse.Namespace) -> Oozie:
    from mrml.tools.oozie.rest import Oozie

    url = args.url or os.environ.get("OOZIE_URL", "")
    if not url:
        remedy = "use --url http://host:11000/oozie, or export OOZIE_URL; `mrml cluster up --oozie` starts a server"
        raise ConfigError(f"mrml oozie {args.action}", "no server of Oozie is named", remedy)
    return Oozie(url)


def _place(run_file: Path, app: Application) -> Place:
    """Where it will run: what is said, else what HADOOP_CONF_DIR says."""
    from mrml.engines.hadoop.yarn import configuration, home

    keys = {} if app.name_node and app.resource_manager else configuration()
    manager = app.resource_manager or keys.get("yarn.resourcemanager.address", "")
    if not manager:
        raise ConfigError("--resource-manager", "HADOOP_CONF_DIR names none", "use --resource-manager HOST:PORT")
    name_node = (app.name_node or keys.get("fs.defaultFS", "")).rstrip("/")
    path = app.path or default_path(home({"fs.defaultFS": name_node}), named(run_file, app))
    return Place(path if "://" in path else f"{name_node}/{path.lstrip('/')}", name_node, manager)


def _jar(args: argparse.Namespace) -> Path | None:
    """A jar of Oozie's client: that of the option, of OOZIE_HOME, of the development cluster."""
    if args.jar:
        return Path(args.jar)
    cluster = parse_cluster(["env"])
    places = [os.environ.get("OOZIE_HOME"), f"{cluster.folder}/oozie", cluster.cache]
    patterns = ("oozie-client-*.jar", "*/oozie-client-*.jar")
    return next((p for place in places if place for pattern in patterns for p in Path(place).glob(pattern)), None)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ConfigError("--set", f"{text!r} has no value", "write NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def _facts(checked: Checked) -> dict[str, Any]:
    return {**checked._asdict(), "problems": [p._asdict() for p in checked.problems]}


def _tell(checked: Checked) -> None:
    for problem in checked.problems:
        emit(str(problem))
    by = f"by the schemas of {checked.schemas}" if checked.by_schemas else f"not by schemas: {checked.schemas}"
    emit(f"{logs.count(len(checked.files), 'file')}: {logs.count(len(checked.problems), 'problem')}; checked {by}")


def _text(facts: Mapping[str, Any]) -> str:
    rows = [(k, str(facts[k])) for k in ("id", "name", "status", "started", "ended", "message") if facts[k]]
    rows += [(f"mrml {k}", v) for k, v in facts["outcome"].items() if v]
    text = table(rows, indent=0)
    if facts["actions"]:
        head = ("action", "status", "for", "job", "waits for")
        text += "\n\n" + table([head, *(tuple(a.values()) for a in facts["actions"])], indent=0)
    return text
