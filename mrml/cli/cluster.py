"""``mrml cluster``: a Hadoop cluster on this machine."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, check_action, common
from mrml.config.parse import from_text
from mrml.errors import ConfigError, EngineError, nearest

if TYPE_CHECKING:
    from mrml.cluster import Cluster, Daemon

EXAMPLE = "mrml cluster up --nodes 2"
_ABOUT = """\
A real Hadoop cluster on this machine for development and tests: HDFS, YARN and the JobHistoryServer, each daemon in its
own JVM, listening only on this machine. It needs Java 17 and Maven, but not root.

  up      start the cluster, or restart daemons that have died; data in HDFS is kept
  status  show the daemons with web pages, process ids and memory; exit code 5 unless all are running
  env     print shell commands that select this cluster:  eval "$(mrml cluster env)"
  logs    show recent errors; with a name (namenode, datanode1, ...), an application or a container, its log
  down    stop the cluster; with --delete, also remove its data"""
_CONTAINER_FILES = ("stderr", "stdout", "syslog")


def parse_cluster(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("cluster", EXAMPLE, description=_ABOUT)
    parser.add_argument("action", metavar="ACTION", help=f"one of {', '.join(_ACTIONS)}")
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        default="",
        help="logs: a daemon, application or container; default: all daemons",
    )
    folder = _home("XDG_STATE_HOME", ".local/state") / "mrml" / "cluster"
    group = parser.add_argument_group("the cluster")
    group.add_argument(
        "--folder",
        metavar="DIR",
        default=os.environ.get("MRML_CLUSTER") or str(folder),
        help="folder of the cluster; default: $MRML_CLUSTER, else ~/.local/state/mrml/cluster",
    )
    group.add_argument(
        "--nodes", metavar="N", help="up: number of DataNodes and NodeManagers (default: as before, else 2)"
    )
    group.add_argument("--port-base", metavar="N", help="up: first port number to use (default: free ports)")
    group.add_argument(
        "--oozie", action="store_true", help="up: also start an Oozie server, now and whenever the cluster is started"
    )
    group.add_argument(
        "-D",
        dest="more",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="up: set a Hadoop property; may be repeated",
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        default=os.environ.get("MRML_HADOOP_CACHE") or str(_home("XDG_CACHE_HOME", ".cache") / "mrml" / "hadoop"),
        help="up: folder for the jars, 106 to 124 MB; default: $MRML_HADOOP_CACHE, else ~/.cache/mrml/hadoop",
    )
    group.add_argument(
        "--delete", action="store_true", help="down: also remove the folder with all data of the cluster"
    )
    group.add_argument("--lines", metavar="N", default="40", help="logs: number of last lines (default 40)")
    args = common(parser, "print one JSON object instead of text").read(argv)
    check_action("cluster", args.action, _ACTIONS)
    if args.name and args.action != "logs":
        parser.refuse(args.name)
    return args


def run_cluster(args: argparse.Namespace) -> None:
    _ACTIONS[args.action](args)


def _up(args: argparse.Namespace) -> None:
    from mrml.cluster import Cluster

    more = dict(_property(text) for text in args.more)
    cluster = Cluster.up(
        _number(args, "nodes"),
        args.folder,
        cache=args.cache,
        java_home=os.environ.get("JAVA_HOME", ""),
        port_base=_number(args, "port_base"),
        more=more,
        oozie=args.oozie,
    )
    emit_json(_facts(cluster)) if args.json else emit(_text(cluster, args.folder))


def _status(args: argparse.Namespace) -> None:
    cluster = _open(args)
    facts = _facts(cluster)
    emit_json(facts) if args.json else emit(_text(cluster, args.folder))
    missing = [name for name, daemon in facts["daemons"].items() if daemon["state"] != "works"]
    if missing:
        finding = f"{', '.join(missing)} {'do' if len(missing) > 1 else 'does'} not work"
        raise EngineError(args.folder, finding, "`mrml cluster up` starts what is missing")


def _down(args: argparse.Namespace) -> None:
    from mrml.cluster import Cluster
    from mrml.cluster.cluster import delete

    ended = Cluster.open(args.folder).down()
    if args.delete:
        delete(args.folder)
    text = f"ended {ended} process{'es' if ended > 1 else ''}" if ended else f"nothing ran in {args.folder}"
    kept = "" if not args.delete else "; its data is removed"
    emit_json({"ended": ended, "deleted": args.delete}) if args.json else emit(text + kept)


def _env(args: argparse.Namespace) -> None:
    variables = _open(args).environment()
    if args.json:
        emit_json(variables)
        return
    front = variables.pop("PATH")
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    emit("\n".join([*lines, f'export PATH={shlex.quote(front)}:"$PATH"']))


def _logs(args: argparse.Namespace) -> None:
    cluster, lines = _open(args), from_text(args.lines, int, "--lines")
    found = _log_files(cluster, args.name) if args.name else {}
    if args.name:
        texts = {str(path): _tail(path, lines) for path in found.values()}
    else:
        texts = {str(d.log): [d.last_error() or "no error"] for d in cluster.daemons}
    if args.json:
        emit_json(texts)
    else:
        emit("\n".join(f"==> {path}\n" + "\n".join(text) for path, text in texts.items()))


_ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "up": _up,
    "status": _status,
    "env": _env,
    "logs": _logs,
    "down": _down,
}


def _open(args: argparse.Namespace) -> Cluster:
    from mrml.cluster import Cluster

    return Cluster.open(args.folder)


def _home(variable: str, default: str) -> Path:
    """The XDG base directory specification."""
    return Path(os.environ.get(variable) or Path.home() / default)


def _number(args: argparse.Namespace, name: str) -> int | None:
    text = getattr(args, name)
    return None if text is None else int(from_text(text, int, f"--{name.replace('_', '-')}"))


def _property(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise ConfigError("-D", f"{text!r} is not a property", "write -D dfs.replication=1")
    return key, value


def _facts(cluster: Cluster) -> dict[str, Any]:
    return {
        "folder": str(cluster.folder),
        "nodes": len(cluster.nodes),
        "namenode": cluster.namenode_uri,
        "webhdfs": cluster.webhdfs,
        "resourcemanager": cluster.resourcemanager_url,
        "history": cluster.history_url,
        **({"oozie": cluster.oozie_url} if cluster.has_oozie else {}),
        "environment": cluster.environment(),
        "daemons": {d.name: _daemon(d) for d in cluster.daemons},
        "containers": len({c.id for c in cluster.containers() if c.id}),
    }


def _daemon(daemon: Daemon) -> dict[str, Any]:
    state = "works" if daemon.is_ready() else "starts or hangs" if daemon.alive else "is down"
    memory = round(daemon.process.memory_mb) if daemon.process else 0
    return {"state": state, "pid": daemon.pid or None, "memory_mb": memory, "log": str(daemon.log)}


def _text(cluster: Cluster, folder: str) -> str:
    facts = _facts(cluster)
    rows = [
        (name, d["state"], str(d["pid"] or "-"), f"{d['memory_mb']} MB", d["log"])
        for name, d in facts["daemons"].items()
    ]
    total = sum(d["memory_mb"] for d in facts["daemons"].values())
    pages = [(n, facts[n]) for n in ("namenode", "webhdfs", "resourcemanager", "history", "oozie") if n in facts]
    variables = [(n, v) for n, v in facts["environment"].items() if n != "PATH"]
    more = "" if folder == _default_folder() else f" --folder {shlex.quote(folder)}"
    lines = [table([("daemon", "state", "pid", "memory", "log"), *rows], indent=0), f"memory together {total} MB", ""]
    lines += [table([*pages, *variables], indent=0), ""]
    lines += [
        "try",
        f'  eval "$(mrml cluster env{more})"',
        "  hadoop fs -put data-samples/churn /churn && hadoop fs -ls /churn",
    ]
    return "\n".join(lines)


def _default_folder() -> str:
    return str(parse_cluster(["env"]).folder)


def _log_files(cluster: Cluster, name: str) -> dict[str, Path]:
    """The logs of a daemon, of an application or of a container."""
    for daemon in cluster.daemons:
        if daemon.name == name:
            return {name: daemon.log}
    top = cluster.folder / "logs" / "userlogs"
    if re.fullmatch(r"(application|container)_[\w]+", name):
        files = [*top.glob(f"{name}/*/*"), *top.glob(f"*/{name}/*")]
        found = {str(p): p for p in sorted(files) if p.name in _CONTAINER_FILES and p.stat().st_size}
        if found:
            return found
        raise EngineError(str(top), f"has no log of {name}", "`yarn application -list -appStates ALL` shows the ids")
    raise ConfigError(
        "mrml cluster logs", f"unknown name {name!r}", nearest(name, _names(d.name for d in cluster.daemons))
    )


def _names(names: Iterable[str]) -> list[str]:
    return [*names, "application_...", "container_..."]


def _tail(path: Path, lines: int) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
