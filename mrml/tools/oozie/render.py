"""The files of an application of Oozie that runs ``mrml run FILE``: workflow, coordinator, script, properties.

The workflow is one shell action with captured output, and a decision on what came of it.  Oozie tells of a script that
fails only that it failed, so the script never does: exit code, verdict and message travel as captured output
(:mod:`mrml.tools.oozie.action`), and each way to fail has a node of its own.
"""

from __future__ import annotations

import datetime
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from mrml.config.sources import read_file
from mrml.config.template import filled, variables
from mrml.errors import ConfigError
from mrml.params import param
from mrml.tools.oozie.document import write_properties

SCRIPT, WORKFLOW, COORDINATOR, PROPERTIES = "mrml-run.sh", "workflow.xml", "coordinator.xml", "job.properties"
#: what a scheduler's day is: frequency of the coordinator and of its input
EVERY = {"hour": "hours(1)", "day": "days(1)", "week": "days(7)", "month": "months(1)"}
#: Oozie: names of applications; its schemas say so for workflows and coordinators
_NAME = re.compile(r"[A-Za-z][-_A-Za-z0-9]{0,38}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\dZ?)?")
_UNPACKED = "environment"
_SCRIPT_TEXT = """\
#!/bin/sh
# What the shell action runs: `mrml "$@"`. Oozie tells of a script that fails only that it failed, so this one does not
# fail: exit code, verdict and message are what it prints, and the workflow decides on them.
python=${MRML_PYTHON:-python3}
"$python" -m mrml.tools.oozie.action "$@" && exit 0
code=$?
echo "exit_code=$code"
echo "message=$python -m mrml.tools.oozie.action ended with exit code $code; see the log of the action"
"""


@dataclass(frozen=True)
class Application:
    """How a run becomes an application of Oozie."""

    name: str | None = param(None, "name of the workflow and coordinator; default: that of the run file")
    path: str | None = param(None, "folder for the application on HDFS; default: oozie/NAME in your mrml folder there")
    name_node: str | None = param(None, "HDFS, as hdfs://host:port; default: fs.defaultFS in HADOOP_CONF_DIR")
    resource_manager: str | None = param(
        None, "ResourceManager; default: yarn.resourcemanager.address in HADOOP_CONF_DIR"
    )
    set: tuple[str, ...] = param((), "set a variable of the run file; may be repeated", whole=True)
    file: tuple[str, ...] = param(
        (), "another file that the run reads, copied beside the run file; may be repeated", whole=True
    )
    python: str | None = param(
        None, "Python interpreter on the nodes, with mrml installed; default: the path of this one"
    )
    environment: str | None = param(None, "archive whose Python runs mrml: the URI printed by `mrml pack --upload`")
    env: tuple[str, ...] = param((), "set an environment variable of the run; may be repeated", whole=True)
    memory_mb: int = param(4096, "memory of the container of `mrml run`, in megabytes", low=512)
    vcores: int = param(1, "cores of that container", low=1)
    queue: str | None = param(None, "YARN queue of that container")
    refused: str = param("kill", "how the workflow ends if the gate refuses the model", choices=("kill", "end"))
    email: tuple[str, ...] = param((), "send a mail to this address when a run fails or is refused; may be repeated")
    notify: str | None = param(
        None, "URL that Oozie calls when the workflow changes state; $jobId and $status are replaced"
    )
    start: str | None = param(
        None, "first day of a coordinator, 2026-01-01 or 2026-01-01T02:00Z; default: no coordinator"
    )
    end: str | None = param(None, "end of the coordinator; default: 2099-12-31")
    every: str = param("day", "how often the coordinator runs", choices=tuple(EVERY))
    timezone: str = param("UTC", "time zone of the coordinator")
    input: str | None = param(None, "dataset to wait for: hdfs:///data/ds={{ ds }}, or with ${YEAR}, ${MONTH}, ...")
    input_start: str | None = param(None, "first day of the dataset; default: --start")
    done_flag: str = param("_SUCCESS", "file that shows that the dataset is complete")
    timeout: int = param(1440, "minutes to wait for the input of a day; -1: no limit", low=-1)
    concurrency: int = param(1, "number of days that run at the same time", low=1)
    catch_up: bool = param(True, "also run the days that have passed, one after the other; else only the last one")


class Place(NamedTuple):
    """Where the application lies and runs: its folder, the NameNode and the ResourceManager."""

    path: str
    name_node: str
    resource_manager: str


def render(run_file: Path, app: Application, place: Place, python: str) -> dict[str, bytes]:
    """The files by their names, the run file and more files among them; ConfigError for what Oozie cannot take."""
    name = named(run_file, app)
    for pair in (*app.set, *app.env):
        if "=" not in pair.lstrip("="):
            raise ConfigError("mrml oozie render", f"{pair!r} has no value", "write NAME=VALUE")
    if app.start is None and (app.input or app.end or app.input_start):
        raise ConfigError("--input", "is for a coordinator, which has a first day", "use --start 2026-01-01")
    for option, path in (("--input", app.input), ("--path", place.path)):
        if path and not re.match(r"[a-z0-9]+://|\$\{", path):
            raise ConfigError(option, f"{path!r} is not on HDFS", "write hdfs://host:port/..., or hdfs:///...")
    files = {Path(file).name: _read(Path(file)) for file in (str(run_file), *app.file)}
    _check_run(str(run_file), dict(pair.split("=", 1) for pair in app.set))
    texts = {SCRIPT: _SCRIPT_TEXT, WORKFLOW: workflow(run_file.name, sorted(files), app, name)}
    if app.start is not None:
        texts[COORDINATOR] = coordinator(app, name)
    texts[PROPERTIES] = write_properties(properties(app, name, place, python))
    if clash := sorted(set(files) & {*texts, COORDINATOR}):
        raise ConfigError(clash[0], "is the name of a file of Oozie's", "give the run file another name")
    return files | {key: text.encode() for key, text in texts.items()}


def named(run_file: Path, app: Application) -> str:
    """The name of the application."""
    name = app.name or re.sub(r"[^-_A-Za-z0-9]", "-", run_file.name.partition(".")[0])
    if not _NAME.fullmatch(name):
        remedy = "give --name: a letter, then letters, digits, - and _, at most 39 together"
        raise ConfigError("mrml oozie render", f"{name!r} is not a name for Oozie", remedy)
    return name


def workflow(run_name: str, files: Sequence[str], app: Application, name: str) -> str:
    """``workflow.xml``: the action, the decision on its outcome, and where each way ends."""
    launcher = {"memory.mb": str(app.memory_mb), "vcores": str(app.vcores), "queue": app.queue}
    arguments = ["run", run_name, "--set", "ds=${ds}"]
    arguments += [word for pair in app.set if not pair.startswith("ds=") for word in ("--set", pair)]
    python = f"{_UNPACKED}/bin/python" if app.environment else "${python}"
    shell = [
        *(f"  {_tag(key, value)}" for key, value in launcher.items() if value),
        "</launcher>",
        _tag("exec", SCRIPT),
        *(_tag("argument", word) for word in arguments),
        *(_tag("env-var", pair) for pair in (f"MRML_PYTHON={python}", *app.env)),
        *(_tag("file", f"${{wf:appPath()}}/{file}#{file}") for file in (SCRIPT, *files)),
        *([_tag("archive", f"{app.environment}#{_UNPACKED}")] if app.environment else []),
        "<capture-output/>",
    ]
    lines = "\n".join(f"      {line}" for line in shell)
    failed, refused, lost = ("mail-failed", "mail-refused", "mail-lost") if app.email else ("failed", "refused", "lost")
    if app.refused == "end":
        refused = "mail-refused" if app.email else "end"
    mails = "".join(_mail(app, name, *mail) for mail in _MAILS) if app.email else ""
    kills = "".join(_kill(node, text) for node, text in _KILLS.items() if node != "refused" or app.refused == "kill")
    return _WORKFLOW.format(
        name=quoteattr(name), shell=lines, failed=failed, refused=refused, lost=lost, mails=mails, kills=kills
    )


def coordinator(app: Application, name: str) -> str:
    """``coordinator.xml``: a day's workflow when its input is whole, or none when it does not come in time."""
    frequency = f"${{coord:{EVERY[app.every]}}}"
    controls = {
        "timeout": str(app.timeout),
        "concurrency": str(app.concurrency),
        "execution": "FIFO" if app.catch_up else "LAST_ONLY",
    }
    start = time_of(app.start or "", "--start")
    dataset = _DATASET.format(
        frequency=frequency,
        start=time_of(app.input_start, "--input-start") if app.input_start else start,
        timezone=quoteattr(app.timezone),
        uri=escape(_dataset_uri(app.input or "")),
        flag=escape(app.done_flag),
    )
    handed = {"ds": "${coord:formatTime(coord:nominalTime(), 'yyyy-MM-dd')}"}
    handed |= {"input": "${coord:dataIn('input')}"} if app.input else {}
    return _COORDINATOR.format(
        name=quoteattr(name),
        frequency=frequency,
        timezone=quoteattr(app.timezone),
        controls="\n".join(f"    {_tag(key, value)}" for key, value in controls.items()),
        dataset=dataset if app.input else "",
        handed="\n".join(f"        {_property(key, value)}" for key, value in handed.items()),
    )


def properties(app: Application, name: str, place: Place, python: str) -> dict[str, str]:
    """``job.properties``: what a submission says, and may say otherwise."""
    kind = "wf" if app.start is None else "coord"
    found = {
        f"oozie.{kind}.application.path": place.path,
        "nameNode": place.name_node,
        "resourceManager": place.resource_manager,
        "oozie.use.system.libpath": "true",
    }
    days = [pair.removeprefix("ds=") for pair in app.set if pair.startswith("ds=")]
    found |= {"ds": days[-1]} if days else {}
    if not app.environment:
        found["python"] = app.python or python
    if app.start is not None:
        found |= {"appPath": place.path, "start": time_of(app.start, "--start")}
        found["end"] = time_of(app.end or "2099-12-31", "--end")
    if app.notify:
        found |= {"oozie.wf.workflow.notification.url": app.notify}
    return found


def time_of(text: str, option: str) -> str:
    """A time as Oozie writes it; ConfigError naming the option."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        when = datetime.datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise ConfigError(option, f"{text!r} is not a day", "write 2026-01-01, or 2026-01-01T02:00Z in UTC") from None
    return when.strftime("%Y-%m-%dT%H:%MZ")


def default_path(home: str, name: str) -> str:
    """Where an application lies when nobody says: below mrml's folder of the user on HDFS."""
    return posixpath.join(home, "oozie", name)


def _check_run(path: str, given: Mapping[str, str]) -> None:
    """ConfigError for a file that is no `mrml run`, a variable that it does not know, and what would be lost."""
    tree = read_file(path)
    if "steps" not in tree:
        raise ConfigError(path, "names no steps", "it is to be a file of `mrml run`")
    values = variables({"ds": "2000-01-01", **given, **_day(given)}, tree.get("variables"), path)
    for key in ("work", "store"):
        place = str(filled(tree.get(key) or "", values, path, tree.get("variables") or {}))
        if place and not re.match(r"[a-z0-9]+://|/|\$\{", place):
            finding = f"{place!r} lies in the container, and is gone with it"
            raise ConfigError(f"{path}, {key}", finding, "write hdfs:///..., or a folder that every node has")


def _day(given: Mapping[str, str]) -> dict[str, str]:
    """A day for one that Oozie will put in."""
    return {"ds": "2000-01-01"} if given.get("ds", "").startswith("${") else {}


def _dataset_uri(text: str) -> str:
    """With Oozie's names for the parts of a day, and the NameNode, without which it takes no URI."""
    text = re.sub(r"\{\{\s*ds\s*\}\}", "${YEAR}-${MONTH}-${DAY}", text)
    text = re.sub(r"\{\{\s*ds_nodash\s*\}\}", "${YEAR}${MONTH}${DAY}", text)
    return re.sub("^hdfs:///", "${nameNode}/", text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", "name a file that is there") from error


def _tag(name: str, text: str | None) -> str:
    return f"<{name}>{escape(text or '')}</{name}>"


def _property(name: str, value: str) -> str:
    return f"<property><name>{name}</name><value>{escape(value)}</value></property>"


def _kill(node: str, text: str) -> str:
    return f'  <kill name="{node}"><message>{escape(text)}</message></kill>\n'


def _mail(app: Application, name: str, node: str, after: str, what: str, body: str) -> str:
    after = "end" if after == "refused" and app.refused == "end" else after
    return _MAIL.format(
        node=node, to=escape(", ".join(app.email)), after=after, subject=escape(f"{name}: {what}"), body=escape(body)
    )


_OUTPUT = "${wf:actionData('mrml')['%s']}"
_FAILED = f"mrml run ended with exit code {_OUTPUT % 'exit_code'}: {_OUTPUT % 'message'}"
_REFUSED = f"the gate refused the model, and what is in service stays: {_OUTPUT % 'message'}"
_LOST = "mrml run was not run to its end: ${wf:errorMessage('mrml')}"
_KILLS = {"refused": _REFUSED, "failed": _FAILED, "lost": _LOST}
_MAILS = (
    ("mail-refused", "refused", "the gate refused", _REFUSED),
    ("mail-failed", "failed", "failed", _FAILED),
    ("mail-lost", "lost", "was lost", _LOST),
)
_MAIL = """\
  <action name="{node}">
    <email xmlns="uri:oozie:email-action:0.2">
      <to>{to}</to>
      <subject>{subject}</subject>
      <body>${{wf:id()}}: {body}</body>
    </email>
    <ok to="{after}"/>
    <error to="{after}"/>
  </action>
"""
_WORKFLOW = """\
<workflow-app xmlns="uri:oozie:workflow:1.0" name={name}>
  <parameters>
    <property><name>ds</name></property>
  </parameters>
  <start to="mrml"/>
  <action name="mrml">
    <shell xmlns="uri:oozie:shell-action:1.0">
      <resource-manager>${{resourceManager}}</resource-manager>
      <name-node>${{nameNode}}</name-node>
      <launcher>
{shell}
    </shell>
    <ok to="outcome"/>
    <error to="{lost}"/>
  </action>
  <decision name="outcome">
    <switch>
      <case to="end">${{wf:actionData('mrml')['exit_code'] eq '0'}}</case>
      <case to="{refused}">${{wf:actionData('mrml')['exit_code'] eq '7'}}</case>
      <default to="{failed}"/>
    </switch>
  </decision>
{mails}{kills}  <end name="end"/>
</workflow-app>
"""
_COORDINATOR = """\
<coordinator-app xmlns="uri:oozie:coordinator:0.5" name={name} frequency="{frequency}"
                 start="${{start}}" end="${{end}}" timezone={timezone}>
  <controls>
{controls}
  </controls>
{dataset}  <action>
    <workflow>
      <app-path>${{appPath}}</app-path>
      <configuration>
{handed}
      </configuration>
    </workflow>
  </action>
</coordinator-app>
"""
_DATASET = """\
  <datasets>
    <dataset name="input" frequency="{frequency}" initial-instance="{start}" timezone={timezone}>
      <uri-template>{uri}</uri-template>
      <done-flag>{flag}</done-flag>
    </dataset>
  </datasets>
  <input-events>
    <data-in name="input" dataset="input">
      <instance>${{coord:current(0)}}</instance>
    </data-in>
  </input-events>
"""
