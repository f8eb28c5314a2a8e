"""What the Hadoop engine is made of and needs no cluster: records of bytes, the lease, the words for a failure."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml import logs
from mrml.engines.hadoop import diagnose as postmortem
from mrml.engines.hadoop.client import _heard
from mrml.engines.hadoop.diagnose import Attempt, Refusal, TaskRefusal, explained, refused
from mrml.engines.hadoop.follow import Following, Watched
from mrml.engines.hadoop.yarn import Application, ResourceManager, _application
from mrml.engines.streaming.engine import JobFailed
from mrml.engines.streaming.protocol import FieldsProtocol, grouped, read_raw, write_raw
from mrml.errors import EngineError, TaskFailed
from mrml.fs.base import LocalFileSystem
from mrml.runs.lease import Lease

RECORDS = st.lists(st.tuples(st.text(), st.lists(st.binary())))
ATTEMPT = Attempt("attempt_1_0002_m_000003_1", "", "container_1_0002_01_000005", "host:8042")


@given(RECORDS)
def test_records_of_bytes_read_back_as_they_were_written(records: list[tuple[str, list[bytes]]]) -> None:
    stream = io.BytesIO()
    for key, fields in records:
        write_raw(stream, key, fields)
    assert list(read_raw(io.BytesIO(stream.getvalue()))) == records


@given(st.text(), st.lists(st.binary()))
def test_a_line_holds_any_key_and_any_bytes(key: str, fields: list[bytes]) -> None:
    protocol = FieldsProtocol()
    line = protocol.write(key, fields)
    assert b"\n" not in line and b"\r" not in line
    assert protocol.read(line) == (key, fields)


def test_equal_keys_in_a_row_are_one_group() -> None:
    records = iter([("a", [b"1"]), ("a", [b"2"]), ("b", [b"3"])])
    assert [(k, list(v)) for k, v in grouped(records)] == [("a", [[b"1"], [b"2"]]), ("b", [[b"3"]])]


def test_a_record_that_is_cut_off_is_an_error() -> None:
    stream = io.BytesIO()
    write_raw(stream, "key", [b"value"])
    with pytest.raises(EngineError, match="ends before its length"):
        list(read_raw(io.BytesIO(stream.getvalue()[:-1])))


def test_a_lease_is_held_once_and_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / "_run" / "lease"
    path.parent.mkdir(parents=True)
    hold = "import sys, time; from pathlib import Path; from mrml.runs.lease import Lease;"
    hold += "lease = Lease(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(EngineError, match=f"another driver works on this run: process {other.pid} on "):
            Lease(path)
        other.kill()
        other.wait()
        with Lease(path), pytest.raises(EngineError):
            Lease(path)
        Lease(path).close()


@pytest.mark.parametrize(
    ("diagnostics", "stderr", "kind", "said"),
    [
        (
            "Container [pid=1,containerID=c] is running 1B beyond the 'PHYSICAL' memory limit. Current usage: 800 MB of"
            " 768 MB physical memory used; 3 GB of 1.6 GB virtual memory used. Killing container.",
            "", EngineError, "killed for memory, above the physical limit: 800 MB of 768 MB physical memory used",
        ),
        ("Error: ... subprocess failed with code 1", "Traceback (most recent call last):\n  File x\nKeyError: 'y'\nlog",
         TaskFailed, "host:8042 (container_1_0002_01_000005): KeyError: 'y'; yarn"),
        ("", "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'mrml'\n",
         TaskRefusal, "the interpreter on the nodes needs mrml"),
        ('Caused by: java.io.IOException: Cannot run program "/p": error=2', "", Refusal, "no program /p"),
        ('Cannot run program "environment/bin/python": error=2', "", Refusal,
         "the archive of --environment has no bin/python; make it with `mrml pack --upload`; yarn logs"),
        ("subprocess failed with code 137", "***\nlast words", EngineError, "code 137 (SIGKILL: mostly"),
        ("something else", "", EngineError, "map task 3, attempt 1 on host:8042"),
    ],
)  # fmt: skip
def test_a_failed_attempt_is_explained(diagnostics: str, stderr: str, kind: type[EngineError], said: str) -> None:
    error = explained(ATTEMPT._replace(diagnostics=diagnostics), stderr, "yarn logs ...")
    assert type(error) is kind
    assert said in str(error)


@pytest.mark.parametrize(("diagnostics", "said"), [
    ("failed 2 times due to AM Container exited with  exitCode: -1000\nFailing this attempt.Diagnostics: [2026-11-30"
     " 09:17:18.030]Failed to download resource { { hdfs://nn/e.tar.gz, 1796030164173, ARCHIVE, null },pending,[(c)],5,"
     "DOWNLOADING} org.apache.hadoop.yarn.exceptions.YarnException: Download and unpack failed",
     "hdfs://nn/e.tar.gz: the nodes cannot unpack it (application_1_0002); make it again with `mrml pack --upload`"),
    ("submitted by user root to unknown queue: nope", "queue: YARN refused the job"),
    ("The required MAP capability is more than the supported max container capability", "asks for more than a node"),
    ("AM Container exited with exitCode: 1", ""),
    ("exitCode: -1000 Failed to download resource { { hdfs://nn/f, 1, FILE, null } java.io.IOException", ""),
])  # fmt: skip
def test_what_no_other_try_would_change_is_told_apart(diagnostics: str, said: str) -> None:
    """As the ResourceManager of Hadoop 3.5.0 tells it."""
    app = Application("application_1_0002", "FAILED", "FAILED", diagnostics, "", 0, "", (), "http://node")
    assert said in str(refused(app) or "") and bool(refused(app)) == bool(said)


def test_the_attempt_that_failed_is_told_and_not_those_that_were_killed_with_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the history server of Hadoop 3.5.0 answers: a single attempt is no list."""
    app = Application(
        "application_1_0002", "FINISHED", "FAILED", "Task failed task_1_0002_m_000001", "", 0, "", (), True
    )
    failed = {"id": "attempt_1_0002_m_000001_0", "state": "FAILED", "diagnostics": 'Cannot run program "/p"'}
    tasks = [{"id": f"task_1_0002_m_00000{i}", "state": "FAILED", "type": "MAP"} for i in (0, 1)]
    answers = {
        "tasks": {"tasks": {"task": tasks}},
        "task_1_0002_m_000000/attempts": {"taskAttempts": {"taskAttempt": {"id": "x", "state": "KILLED"}}},
        "task_1_0002_m_000001/attempts": {"taskAttempts": {"taskAttempt": failed}},
    }  # fmt: skip

    def fetch(url: str, **_: float) -> bytes:
        if not url.startswith("http://history/ws/v1/history/mapreduce/jobs/job_1_0002/"):
            raise OSError("no such log")
        return json.dumps(next(v for k, v in answers.items() if url.endswith(f"/{k}"))).encode()

    monkeypatch.setattr(postmortem, "fetch", fetch)
    assert "map task 1, attempt 0 on ?" in str(error := postmortem.why(app, "http://history", False)), error
    assert "the node has no program /p" in str(error)


@pytest.mark.parametrize(
    "container", ["container_1410901177871_0042_01_000005", "container_e17_1410901177871_0042_01_000005"]
)
def test_the_log_of_a_container_is_where_yarn_keeps_it(container: str) -> None:
    asked = f"yarn logs -applicationId application_1410901177871_0042 -containerId {container}"
    assert postmortem.log_of(container, "host:8042", aggregated=True).endswith(asked)
    asked = f"curl http://host:8042/ws/v1/node/containers/{container}/logs/stderr"
    assert postmortem.log_of(container, "host:8042", aggregated=False).endswith(asked)


class Full:
    """A ResourceManager whose queue has no room."""

    def metrics(self) -> dict[str, int]:
        return {"availableMB": 256, "availableVirtualCores": 6}


def waiting() -> Following:
    """A job that waits for room, for 100 seconds at most."""
    manager: Any = Full()
    return Following(Watched("attempt", LocalFileSystem(), "", manager, 100.0, 1000.0), None)


#: as the ResourceManager of Hadoop 3.5.0 tells of one that has no room for its application master
ACCEPTED = {
    "id": "application_1_0003", "state": "ACCEPTED", "finalStatus": "UNDEFINED", "queue": "root.default",
    "diagnostics": "[Sat] Application is added to the scheduler and is not yet activated. Queue's AM resource limit"
    " exceeded.  Details : AM Partition = <DEFAULT_PARTITION>; ", "runningContainers": 0,
    "resourceRequests": [{"resourceName": "*", "numContainers": 1, "capability": {"memory": 512, "vCores": 1}}],
}  # fmt: skip
#: and of one that runs and has no room for its three map tasks
STARVING = {**ACCEPTED, "state": "RUNNING", "diagnostics": "", "runningContainers": 1, "resourceRequests": [
    {"resourceName": name, "numContainers": n, "capability": {"memory": 768, "vCores": 2}}
    for name, n in (("*", 3), ("/default-rack", 3), ("host", 1))]}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "asks"),
    [
        (ACCEPTED, "1 container of 512 MB and 1 cores together, and 256 MB and 6 cores are free in the cluster"
                   " (Queue's AM resource limit exceeded); "),
        (STARVING, "3 containers of 2304 MB and 6 cores together, and 256 MB and 6 cores are free in the cluster; "),
    ],
)  # fmt: skip
def test_a_job_that_waits_for_room_tells_every_30_seconds_what_it_asks_and_what_is_free(
    told: dict[str, Any], asks: str, caplog: pytest.LogCaptureFixture
) -> None:
    following = waiting()
    following.app = _application(told)
    with caplog.at_level("INFO", "mrml"):
        for seconds in range(0, 100, 5):
            following._check(following.began + seconds)
        assert len(caplog.messages) == 2
        assert caplog.messages[0].startswith("application_1_0003 waits in queue root.default: it asks " + asks)
        assert caplog.messages[0].endswith("or take another --queue")
        following.app = _application({**told, "state": "RUNNING", "runningContainers": 2})
        for seconds in range(100, 300, 5):
            following._check(following.began + seconds)
    assert len(caplog.messages) == 2, "it has room"


def test_a_job_that_got_no_room_within_the_limit_is_an_error() -> None:
    following = waiting()
    following.app = _application(ACCEPTED)
    following._check(following.began + 100)
    with pytest.raises(EngineError, match=r"queue root.default: waited 100 s and got no room; raise --max-wait-s"):
        following._check(following.began + 101)


class Forgetful:
    """A ResourceManager that was started again and keeps no applications."""

    def by_tag(self, tag: str) -> list[Application]:
        return []


def test_an_application_that_the_resourcemanager_forgot_is_lost_and_the_round_runs_again() -> None:
    manager: Any = Forgetful()
    following = Following(Watched("attempt", LocalFileSystem(), "", manager, 100.0, 1000.0), None)
    following._missed(None, 0.0)  # not submitted yet: nothing is missing
    following.app = _application({**ACCEPTED, "state": "RUNNING"})
    following._missed(None, 1.0)
    following._missed(following.app, 2.0)  # it was away for a moment
    following._missed(None, 3.0)
    following._missed(None, 8.0)
    with pytest.raises(JobFailed, match="application_1_0003 is lost: the ResourceManager does not know it"):
        following._missed(None, 8.1)


def test_the_resourcemanager_is_asked_where_its_configuration_says() -> None:
    keys = {"yarn.resourcemanager.hostname": "rm"}
    assert ResourceManager.of(keys).url == "http://rm:8088"
    assert ResourceManager.of({**keys, "yarn.http.policy": "HTTPS_ONLY"}).url == "https://rm:8090"
    two = {"yarn.resourcemanager.ha.rm-ids": "a, b", "yarn.resourcemanager.hostname.a": "one",
           "yarn.resourcemanager.webapp.address.b": "two:1"}  # fmt: skip
    assert ResourceManager.of(two) == ResourceManager("http://one:8088", ("http://two:1",))


def test_one_that_asks_for_kerberos_names_what_it_takes() -> None:
    class Negotiates(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Negotiate")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Negotiates) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(EngineError, match=r"Kerberos|401"):
            ResourceManager(f"http://127.0.0.1:{server.server_port}").metrics()
        server.shutdown()


@pytest.mark.parametrize(
    ("verbosity", "printed"), [(0, "error: of another\n"), (1, "error: of a client\nerror: of ano")]
)
def test_what_a_client_says_is_kept_and_printed_for_verbose_people_only(verbosity: int, printed: str) -> None:
    stream, words = io.StringIO(), deque[tuple[int, str]]()
    logs.setup(stream, verbosity)
    logger = logging.getLogger("mrjob.fs")
    with _heard(words):
        logger.error("of a client")
        other = threading.Thread(target=logger.error, args=("of another",))
        other.start()
        other.join()
    assert stream.getvalue().startswith(printed) and list(words) == [(logging.ERROR, "of a client")]
