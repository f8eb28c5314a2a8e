"""A server of Oozie by its REST interface, version 2 (Oozie Web Services API), with the standard library.

Bad requests are told by the header ``oozie-error-code``; a coordinator's actions come only where a length is asked for.
"""

from __future__ import annotations

import email.utils
import getpass
import json
import urllib.error
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from mrml.engines.hadoop.yarn import fetch
from mrml.errors import ConfigError, EngineError, InputError, MrmlError
from mrml.tools.oozie.document import parse, read_properties

TIMEOUT_S = 60.0
#: actions of a coordinator that are asked for, the last ones
MOST = 1000
#: states after which a workflow or a coordinator changes no more
ENDED = ("SUCCEEDED", "KILLED", "FAILED", "DONEWITHERROR")
#: states after which an action of a coordinator changes no more by itself
_DONE = ("SUCCEEDED", "SKIPPED", "KILLED", "FAILED", "TIMEDOUT")
_XML = "application/xml;charset=UTF-8"
#: error codes of Oozie 5.2.1 by what is wrong
_NO_JOB = ("E0604", "E0605", "E1020", "E1027")
_NO_APP = ("E0504", "E0505", "E0506", "E0507", "E0710", "E0711", "E1001", "E1002")
#: of a path that is not there, beside E0307, which may mean anything
_ABSENT = "app definition cannot be created"
_IMPERSONATION = "not allowed to impersonate"


@dataclass(frozen=True)
class Oozie:
    """``url`` as in OOZIE_URL, ``http://host:11000/oozie``."""

    url: str
    user: str = ""

    @property
    def place(self) -> str:
        return f"Oozie {self.url}"

    def submit(self, properties: Mapping[str, str]) -> str:
        """Start a workflow or a coordinator; its id."""
        return str(self._call("v2/jobs", "POST", self._configuration(properties), action="start")["id"])

    def dryrun(self, properties: Mapping[str, str]) -> None:
        """Let the server read the application and its properties, and start nothing; an error as of `submit`."""
        self._call("v2/jobs", "POST", self._configuration(properties), action="dryrun")

    def job(self, job: str) -> dict[str, Any]:
        """What the server says of a workflow or a coordinator, with its actions."""
        found = self._call(_path(job), "GET", None, show="info", len=str(MOST), offset="1", order="desc")
        if "coordJobId" in found:
            found["actions"] = sorted(found.get("actions") or [], key=lambda action: int(action["actionNumber"]))
        return found

    def kill(self, job: str) -> None:
        """End a workflow with the YARN applications of its actions, or a coordinator with its workflows."""
        self._call(_path(job), "PUT", None, action="kill")

    def rerun(self, job: str, action: str = "") -> None:
        """Do a workflow again from its start, or of a coordinator the action of a number, or those of ``2-4``."""
        if action:
            asked = {"action": "coord-rerun", "type": "action", "scope": action, "refresh": "true", "nocleanup": "true"}
            self._call(_path(job), "PUT", None, **asked)
            return
        document = parse(str(self.job(job).get("conf") or "<configuration/>").encode(), job)
        texts = [[e.text for e in found.children] for found in document.all("property")]
        # its action did succeed, whatever mrml said: nothing is skipped
        properties = {text[0]: text[1] for text in texts} | {"oozie.wf.rerun.skip.nodes": ","}
        body = self._configuration(properties)
        self._call(_path(job), "PUT", body, action="rerun")

    def _configuration(self, properties: Mapping[str, str]) -> bytes:
        values = {"user.name": self.user or getpass.getuser(), **properties}
        rows = [f"<property><name>{escape(k)}</name><value>{escape(v)}</value></property>" for k, v in values.items()]
        return f"<configuration>{''.join(rows)}</configuration>".encode()

    def _call(self, path: str, method: str, body: bytes | None, **query: str) -> dict[str, Any]:
        base = self.url.rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise ConfigError("--url", f"{self.url!r} is not a URL", "say http://host:11000/oozie, or export OOZIE_URL")
        words = urllib.parse.urlencode({**query, "user.name": self.user or getpass.getuser()})
        try:
            text = fetch(f"{base}/{path}?{words}", method, body, TIMEOUT_S, _XML)
            found: dict[str, Any] = json.loads(text) if text.strip() else {}
        except urllib.error.HTTPError as error:
            raise self._refused(error, path) from error
        except ValueError as error:
            raise EngineError(self.place, "answers no JSON", "is that the URL of an Oozie server?") from error
        except OSError as error:
            remedy = "is the server up, and --url or OOZIE_URL right? `mrml cluster up --oozie` starts one"
            raise EngineError(self.place, f"cannot be reached: {error}", remedy) from error
        return found

    def _refused(self, error: urllib.error.HTTPError, path: str) -> MrmlError:
        """What an answer other than 200 means, and what to do."""
        code = error.headers.get("oozie-error-code") or ""
        said = " ".join((error.headers.get("oozie-error-message") or "").split())
        if code in _NO_JOB:
            remedy = "ids are those that `mrml oozie submit` printed, and the server's pages list"
            return ConfigError(self.place, f"has no job {path.rpartition('/')[2]} ({code})", remedy)
        if _IMPERSONATION in said:
            remedy = "set hadoop.proxyuser.* for Oozie's user in core-site.xml of NameNode and ResourceManager"
            return EngineError(self.place, said, remedy)
        if code in _NO_APP or _ABSENT in said:
            remedy = "`mrml oozie submit DIR` puts a folder there; look at oozie.*.application.path in job.properties"
            return InputError(self.place, f"finds no application on HDFS: {said}", remedy)
        if code:
            return ConfigError(self.place, f"refuses: {said}", "`mrml oozie validate` may say more; fix the files")
        return EngineError(self.place, f"answers {error.code} to {path}", "is that the URL of an Oozie server?")


def _path(job: str) -> str:
    return f"v2/job/{urllib.parse.quote(job, safe='')}"


def outcome(workflow: Mapping[str, Any]) -> dict[str, str]:
    """What ``mrml run`` said in a workflow: exit_code, verdict, message and more; empty while it has said nothing."""
    for action in workflow.get("actions") or []:
        found = read_properties(action.get("data") or "")
        if "exit_code" in found:
            return found
    return {}


def message(workflow: Mapping[str, Any]) -> str:
    """Why a workflow was killed or failed, as its nodes tell; the node that ended it is the last."""
    told = [str(a["errorMessage"]) for a in workflow.get("actions") or [] if a.get("errorMessage")]
    return told[-1] if told else ""


def facts_of(oozie: Oozie, job: str) -> dict[str, Any]:
    """A workflow or a coordinator in the words of `mrml oozie status`."""
    found = oozie.job(job)
    coordinator = "coordJobId" in found
    actions = [_of_coordinator(a) if coordinator else _of_workflow(a) for a in found.get("actions") or []]
    name = found.get("coordJobName") if coordinator else found.get("appName")
    return {
        "id": job,
        "kind": "coordinator" if coordinator else "workflow",
        "name": name,
        "status": _of_days(found) if coordinator else found["status"],
        "started": _time(found.get("startTime")),
        "ended": _time(found.get("endTime")),
        "message": "" if coordinator else message(found),
        "outcome": {} if coordinator else outcome(found),
        "actions": actions,
    }


def _of_days(coordinator: Mapping[str, Any]) -> str:
    """The status of a coordinator; where all its days are there and done, the one that Oozie is to give it.

    Oozie 5.2.1 looks at the coordinators of which an action's time of change lies behind its last look.  An action that
    is written later than that time says is missed, and its coordinator stays RUNNING for good.  The rule is that of its
    ``CoordStatusTransitXCommand``.
    """
    status, actions = str(coordinator["status"]), coordinator["actions"]
    next_day, end = (coordinator.get(key) for key in ("nextMaterializedTime", "endTime"))
    states = {action["status"] for action in actions} - {"IGNORED"}
    whole = len(actions) == coordinator.get("total") and next_day and end and _time(next_day) >= _time(end)
    if not status.startswith("RUNNING") or not whole or not states or not states <= set(_DONE):
        return status
    if states <= {"SUCCEEDED", "SKIPPED"}:
        return "SUCCEEDED"
    return states.pop() if states in ({"KILLED"}, {"FAILED"}) else "DONEWITHERROR"


def _of_workflow(action: Mapping[str, Any]) -> dict[str, str]:
    return _row(action.get("name"), action["status"], "", action.get("externalId"), "")


def _of_coordinator(action: Mapping[str, Any]) -> dict[str, str]:
    """``missingDependencies`` ends in ``#`` and more of them."""
    missing = (action.get("missingDependencies") or "").partition("#")[0]
    return _row(
        action.get("actionNumber"),
        action["status"],
        _time(action.get("nominalTime")),
        action.get("externalId"),
        missing,
    )


def _time(text: str | None) -> str:
    """``Mon, 30 Nov 2026 08:08:40 GMT`` as mrml writes times."""
    return email.utils.parsedate_to_datetime(text).strftime("%Y-%m-%dT%H:%M:%SZ") if text else ""


def _row(name: Any, status: str, day: Any, job: Any, missing: str) -> dict[str, str]:
    return {"action": str(name), "status": status, "for": day or "", "job": job or "", "waits_for": missing}
