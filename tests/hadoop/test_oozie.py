"""A `mrml run` under a real server of Oozie: workflows and coordinators come to their right ends."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from mrml.cluster import Cluster
from mrml.engines.hadoop.environment import upload
from mrml.engines.hadoop.yarn import Application, ResourceManager
from mrml.errors import ConfigError, InputError
from mrml.fs.folder import Folder
from mrml.tools.oozie.rest import ENDED, Oozie, facts_of
from tests import answers
from tests.oozie.workflows import RIGHT, WRONG

from .conftest import CACHE, JOB_LIMIT_S

pytestmark = pytest.mark.hadoop
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "conf" / "nightly" / "churn.yaml"
ROWS = ROOT / "data-samples" / "churn"
DAYS = ("2026-01-01", "2026-01-02")


class Site(NamedTuple):
    """A cluster with its server, and ``mrml`` as a shell would call it."""

    cluster: Cluster
    oozie: Oozie
    root: str
    environment: dict[str, str]

    def mrml(self, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "mrml", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=JOB_LIMIT_S, env=self.environment)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def ended(self, job: str) -> dict[str, Any]:
        """What became of a job in the end."""
        return self.seen(job, lambda facts: facts["status"] in ENDED)

    def seen(self, job: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        until = time.monotonic() + JOB_LIMIT_S
        while not holds(facts := facts_of(self.oozie, job)):
            if time.monotonic() > until:
                pytest.fail(json.dumps(facts, indent=1))
            time.sleep(0.2)
        return facts

    def applications(self) -> list[Application]:
        """All that YARN knows."""
        manager = ResourceManager(self.cluster.resourcemanager_url)
        return [
            manager.application(a["id"]) for a in (manager._get("/ws/v1/cluster/apps")["apps"] or {"app": []})["app"]
        ]


@pytest.fixture(scope="module")
def site(cluster: Cluster, environment: dict[str, str]) -> Iterator[Site]:
    """Rows of one day on HDFS, and a server beside the session's cluster."""
    if not cluster.has_oozie:
        cluster.add_oozie(CACHE)
    own = {**environment, "OOZIE_URL": cluster.oozie_url, "MRML_CLUSTER": str(cluster.folder)}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HADOOP_CONF_DIR", "HADOOP_HOME"):
            patch.setenv(name, own[name])
        root = Folder(f"{cluster.namenode_uri}/oozie")
        root.remove()
        for folder, name in (("rows/ds=2026-01-01", "part-00000.csv"), ("holdout", "part-00001.csv")):
            (root / folder).make()
            (root / folder).write(name, (ROWS / name).read_bytes())
        yield Site(cluster, Oozie(cluster.oozie_url), root.path, own)


class Daily(NamedTuple):
    """A coordinator, and what it said before any input was whole."""

    job: str
    waiting: dict[str, Any]


@pytest.fixture(scope="module")
def daily(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Daily:
    """A coordinator of two days. The first one's input becomes whole now; the second one's is waited for while others
    run: Oozie counts whole minutes and gives up when there are more than 0."""
    words = ("--start", DAYS[0], "--end", "2026-01-03", "--timeout", "0", "--concurrency", "2")
    words += ("--input", "hdfs:///oozie/rows/ds={{ ds }}")
    own = {
        "work": "{{ root }}/daily/runs",
        "store": "{{ root }}/daily/models",
        "steps": {"train": None, "promote": None},
    }
    job = submitted(site, tmp_path_factory.mktemp("daily"), "daily", *words, **own)
    waiting = site.seen(
        job, lambda facts: [a["waits_for"] for a in facts["actions"]].count("") == 0 < len(facts["actions"])
    )
    Folder(f"{site.root}/rows/ds={DAYS[0]}").write("_SUCCESS", b"")
    return Daily(job, waiting)


def submitted(site: Site, folder: Path, name: str, *words: str, **keys: Any) -> str:
    """The id of the example's run under Oozie, with other values in its file."""
    tree = {**yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")), **keys}
    (folder / "run.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    root = ("--set", f"root={site.root}", "--name", name, "--memory-mb", "1024")
    site.mrml("oozie", "render", str(folder / "run.yaml"), *root, *words, "--output", str(folder / "app"))
    return site.mrml("oozie", "submit", str(folder / "app")).strip()


def test_mistakes_of_a_graph_are_those_that_the_server_refuses(site: Site, daily: Daily) -> None:
    """But for what it takes and should not: then it is we who are stricter."""
    for name, text in {**RIGHT, **{n: text for n, (text, _, _) in WRONG.items()}}.items():
        app = Folder(f"{site.root}/graphs/{name.replace(' ', '-')}")
        app.make()
        app.write("workflow.xml", text.encode())
        code = WRONG[name][1] if name in WRONG else ""
        with pytest.raises(ConfigError, match=code) if code else contextlib.nullcontext():
            site.oozie.dryrun({"oozie.wf.application.path": app.path})


def test_a_run_comes_to_its_end_by_a_packed_environment_and_whoever_asked_is_told(
    site: Site, daily: Daily, archive: str, tmp_path: Path
) -> None:
    with listening() as (url, calls):
        notify = ("--notify", f"{url}/?job=$jobId&status=$status")
        job = submitted(
            site,
            tmp_path,
            "works",
            "--set",
            f"ds={DAYS[0]}",
            *notify,
            "--environment",
            upload(archive, f"{site.root}/mrml"),
        )
        told = answers.check(["oozie", "status"], site.mrml("oozie", "status", job, "--wait", "--json"))
    assert told["status"] == "SUCCEEDED" and told["outcome"]["exit_code"] == "0"
    assert told["outcome"]["verdict"] == "promoted" and told["outcome"]["version"] == "1"
    assert [a["action"] for a in told["actions"]] == [":start:", "mrml", "outcome", "end"]
    assert Folder(f"{site.root}/scores/ds={DAYS[0]}").exists("_SUCCESS")
    assert Folder(told["outcome"]["directory"]).exists("model/model.json")
    assert any(f"job={job}" in call and "status=SUCCEEDED" in call for call in calls)
    assert f"{job}" in site.mrml("oozie", "status", job) and "mrml verdict" in site.mrml("oozie", "status", job)


def test_a_run_that_fails_is_killed_with_its_exit_code_and_its_message_and_a_refused_one_sends_mail(
    site: Site, daily: Daily, tmp_path: Path
) -> None:
    for name in ("lost", "refused", "column"):
        (tmp_path / name).mkdir()
    day = ("--set", f"ds={DAYS[0]}")
    with receiving(site.cluster.ports("mail")) as mails:
        steps = {"train": None, "evaluate": None, "gate": "auc >= 2"}
        refused = submitted(site, tmp_path / "refused", "refused", *day, "--email", "a@b.c", steps=steps)
        data = {"data": "{{ root }}/rows/ds={{ ds }}", "target": "kündigt", "id": "id"}
        failed = submitted(site, tmp_path / "column", "failed", *day, data=data)
        lost = submitted(site, tmp_path / "lost", "lost", *day, "--queue", "nowhere")
        first, second, third = map(site.ended, (refused, failed, lost))
    assert first["status"] == "KILLED" and first["outcome"]["exit_code"] == "7"
    assert first["message"].startswith("the gate refused the model, and what is in service stays: ")
    assert "auc >= 2: does not hold" in first["message"] and [a["action"] for a in first["actions"]][-1] == "refused"
    assert len(mails) == 1 and "Subject: refused: the gate refused" in mails[0] and "To: a@b.c" in mails[0]
    assert second["status"] == "KILLED" and second["outcome"]["exit_code"] in ("2", "3")
    assert second["message"].startswith(f"mrml run ended with exit code {second['outcome']['exit_code']}: ")
    assert "'kündigt'" in second["message"]
    assert third["status"] == "KILLED" and third["outcome"] == {}
    assert third["message"].startswith("mrml run was not run to its end: ") and "nowhere" in third["message"]
    assert failed in site.mrml("oozie", "status", failed, "--wait", code=5)
    mended = yaml.safe_load((tmp_path / "column" / "run.yaml").read_text()) | {"data": {**data, "target": "churned"}}
    (tmp_path / "column" / "app" / "run.yaml").write_text(yaml.safe_dump(mended))
    site.mrml("oozie", "submit", str(tmp_path / "column" / "app"), "--dry-run")
    assert "is RUNNING" in site.mrml("oozie", "rerun", failed)
    assert site.ended(failed)["outcome"]["verdict"] == "promoted"


def test_a_killed_workflow_leaves_no_application_and_goes_on_when_submitted_again(
    site: Site, daily: Daily, tmp_path: Path
) -> None:
    before = {app.id for app in site.applications()}
    engine = {"engine": "streaming", "runner": "hadoop", "workers": 2}
    day, work = ("--set", f"ds={DAYS[0]}"), "{{ root }}/killed"
    job = submitted(site, tmp_path, "killed", *day, engine=engine, work=work)
    until = time.monotonic() + JOB_LIMIT_S

    def children() -> list[Application]:
        assert time.monotonic() < until
        return [app for app in site.applications() if app.id not in before and app.run]

    while not any(app.state == "RUNNING" for app in children()):
        time.sleep(0.3)
    assert any(tag.startswith("oozie-") for tag in children()[0].tags)
    assert "is KILLED" in site.mrml("oozie", "kill", job)
    own = facts_of(site.oozie, job)["actions"][1]["job"]
    while not all(app.ended for app in site.applications() if app.id == own or app in children()):
        time.sleep(0.3)
    assert any(app.final == "KILLED" for app in children()) and site.ended(job)["outcome"] == {}
    again = site.ended(submitted(site, tmp_path, "killed", *day, "--overwrite", work=work))  # on another engine
    assert again["status"] == "SUCCEEDED" and all(app.ended for app in children())
    assert len(Folder(f"{site.root}/killed").names()) == 1


def test_a_container_that_is_killed_is_started_again_and_the_run_goes_on(
    site: Site, daily: Daily, tmp_path: Path
) -> None:
    work = "{{ root }}/container"
    job = submitted(site, tmp_path, "container", "--set", f"ds={DAYS[0]}", work=work)
    until = time.monotonic() + JOB_LIMIT_S
    while not any("mrml run " in c.command.replace("-m mrml", "mrml") for c in site.cluster.containers()):
        assert time.monotonic() < until
        time.sleep(0.05)
    for node in site.cluster.nodes:
        node.kill_containers()
    facts = site.ended(job)
    assert facts["status"] == "SUCCEEDED" and facts["outcome"]["verdict"] == "promoted"
    assert len(Folder(f"{site.root}/container").names()) == 1
    attempts = f"/ws/v1/cluster/apps/{facts['actions'][1]['job']}/appattempts"
    assert len(ResourceManager(site.cluster.resourcemanager_url)._get(attempts)["appAttempts"]["appAttempt"]) == 2


def test_a_server_that_is_killed_in_the_middle_goes_on_with_the_same_action(
    site: Site, daily: Daily, tmp_path: Path
) -> None:
    # a server that is killed within the 2 s after an action's time-out leaves its coordinator RUNNING for good (5.2.1)
    site.ended(daily.job)
    job = submitted(site, tmp_path, "server", "--set", f"ds={DAYS[0]}", work="{{ root }}/server")

    def action(facts: dict[str, Any]) -> str:
        found = [a["job"] for a in facts["actions"] if a["action"] == "mrml" and a["status"] == "RUNNING"]
        return found[0] if found else ""

    application = action(site.seen(job, action))
    site.cluster.masters[-1].kill()
    try:
        said = site.mrml("oozie", "status", job, code=5)
        assert "cannot be reached: " in said and "`mrml cluster up --oozie` starts one" in said
    finally:
        site.cluster.heal()
    facts = site.ended(job)
    assert facts["status"] == "SUCCEEDED" and facts["outcome"]["exit_code"] == "0"
    assert [a["job"] for a in facts["actions"] if a["action"] == "mrml"] == [application]


def test_oozies_own_client_finds_the_server_and_takes_the_example(site: Site, daily: Daily) -> None:
    def oozie(*words: str) -> str:
        command = [str(site.cluster.home / "bin" / "oozie"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=site.environment).stdout

    assert "System mode: NORMAL" in oozie("admin", "-status")
    for name in ("workflow", "coordinator"):
        assert "Valid workflow-app" in oozie("validate", str(ROOT / "conf" / "oozie" / f"{name}.xml"))


def test_a_job_and_an_application_that_are_not_there_are_told_with_what_to_do(site: Site, daily: Daily) -> None:
    with pytest.raises(ConfigError, match=r"has no job 7-oozie-W \(E0604\); ids are those that `mrml oozie submit`"):
        site.oozie.job("7-oozie-W")
    with pytest.raises(ConfigError, match="has no job 7-oozie-W"):
        site.oozie.kill("7-oozie-W")
    for kind in ("wf", "coord"):
        where = f"{site.root}/nowhere"
        with pytest.raises(InputError, match=r"no application on HDFS: .*nowhere.*; `mrml oozie submit DIR` puts"):
            site.oozie.submit({f"oozie.{kind}.application.path": where})


def test_a_day_runs_when_its_input_is_whole_and_one_that_does_not_come_times_out(site: Site, daily: Daily) -> None:
    before = daily.waiting["actions"]
    assert [a["status"] for a in before] == ["WAITING"] * len(before) and not any(a["job"] for a in before)
    assert before[0]["waits_for"].endswith(f"rows/ds={DAYS[0]}/_SUCCESS")
    facts = site.ended(daily.job)
    assert facts["status"] == "DONEWITHERROR"
    first, second = facts["actions"]
    assert [a["for"] for a in (first, second)] == [f"{day}T00:00:00Z" for day in DAYS]
    assert (first["status"], second["status"], second["job"]) == ("SUCCEEDED", "TIMEDOUT", "")
    assert second["waits_for"].endswith(f"rows/ds={DAYS[1]}/_SUCCESS")
    assert f"{DAYS[0]}-" in site.ended(first["job"])["outcome"]["directory"]
    late = Folder(f"{site.root}/rows/ds={DAYS[1]}")
    late.make()
    late.write("part-00000.csv", (ROWS / "part-00001.csv").read_bytes())
    late.write("_SUCCESS", b"")
    site.mrml("oozie", "rerun", daily.job, "--number", "2")
    facts = site.ended(daily.job)
    assert facts["status"] == "SUCCEEDED" and [a["status"] for a in facts["actions"]] == ["SUCCEEDED"] * 2
    assert facts["actions"][0]["job"] == first["job"]


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """The URL of a web server, and the paths that it was asked for."""
    calls: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", calls
        time.sleep(1)
        server.shutdown()


@contextlib.contextmanager
def receiving(port: int) -> Iterator[list[str]]:
    """What a mail server on a port was given (RFC 5321, as much of it as one sender needs)."""
    mails: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().upper():
                if line.startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 yes\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield mails
        server.shutdown()
