"""``mrml oozie``: what it prints, writes and refuses; the server itself is in tests/hadoop."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Done

Cli = Callable[..., Done]
RUN = str(Path(__file__).parents[2] / "conf" / "nightly" / "churn.yaml")
PLACE = ("--set", "root=hdfs:///data/churn", "--name-node", "hdfs://n:8020", "--resource-manager", "r:8032")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "OOZIE_URL", "OOZIE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def test_render_writes_a_folder_says_what_is_in_it_and_replaces_it_only_when_asked(mrml: Cli) -> None:
    done = mrml("oozie", "render", RUN, *PLACE, "--set", "ds=2026-01-05")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0] == "churn.oozie: churn.yaml, job.properties, mrml-run.sh, workflow.xml"
    assert lines[1].startswith("1 file: 0 problems; checked not by schemas: ")
    assert lines[2] == "next   mrml oozie submit churn.oozie"
    assert "path=hdfs://n:8020/user/" in Path("churn.oozie/job.properties").read_text()
    assert mrml("oozie", "render", RUN, *PLACE).code == 4
    done = mrml("oozie", "render", RUN, *PLACE, "--start", "2026-01-01", "--overwrite", "--json")
    facts = json.loads(done.out)
    assert facts["problems"] == [] and not facts["by_schemas"] and "coordinator.xml" in facts["files"]
    assert (
        mrml("oozie", "render", RUN, *PLACE, "--overwrite").code == 0
        and not Path("churn.oozie/coordinator.xml").exists()
    )


def test_validate_tells_every_problem_with_its_place_and_ends_with_2(mrml: Cli) -> None:
    mrml("oozie", "render", RUN, *PLACE, "--output", "app")
    path = Path("app/workflow.xml")
    assert mrml("oozie", "validate", "app/workflow.xml").code == mrml("oozie", "validate", "app").code == 0
    done = mrml("oozie", "submit", "app", "--url", "http://127.0.0.1:1/oozie")  # whoever submits gives the day
    assert done.code == 2 and "${ds} has no value; write ds=... into job.properties, or give --set ds=" in done.err
    path.write_text(path.read_text().replace('to="failed"', 'to="faled"'))
    done = mrml("oozie", "validate", str(path))
    assert (
        done.code == 2 and done.out.startswith("app/workflow.xml, line ") and "'faled', which is not a node" in done.out
    )
    told = json.loads(mrml("oozie", "validate", str(path), "--json").out)
    assert [p["place"] for p in told["problems"]] == [done.out.partition(": ")[0]]


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["sbmit", "x"], 2, "unknown action 'sbmit'; did you mean 'submit'?"),
        (["submit"], 2, "names nothing; give a folder"),
        (["kill"], 2, "names nothing; give the id of a job"),
        (["render", RUN], 2, "no configuration folder of Hadoop is named"),
        (["render", RUN, *PLACE, "--refused", "stop"], 2, "'stop' is unknown"),
        (["render", RUN, *PLACE, "--memory-mb", "1"], 2, "it must be at least 512"),
        (["status", "x"], 2, "no server of Oozie is named; use --url http://host:11000/oozie, or export OOZIE_URL"),
        (["status", "x", "--url", "host:1"], 2, "'host:1' is not a URL"),
        (["status", "x", "--url", "http://127.0.0.1:1/oozie"], 5, "cannot be reached: "),
        (["submit", "nowhere", "--url", "http://127.0.0.1:1/oozie"], 2, "nowhere/job.properties: is not there"),
        (["validate", "nowhere.xml"], 2, "nowhere.xml: there is no such file"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(mrml: Cli, argv: list[str], code: int, said: str) -> None:
    done = mrml("oozie", *argv)
    assert done.code == code and said in done.err and "Traceback" not in done.err


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The URL of a server that is none of Oozie's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_is_none_of_oozies_is_told_so(mrml: Cli, elsewhere: str) -> None:
    done = mrml("oozie", "status", "x", "--url", f"{elsewhere}/oozie")
    assert done.code == 5 and "answers 404 to v2/job/x; is that the URL of an Oozie server?" in done.err
    Path("v2/job").mkdir(parents=True)
    Path("v2/job/x").write_text("<html/>")
    done = mrml("oozie", "status", "x", "--url", elsewhere)
    assert done.code == 5 and "answers no JSON" in done.err


def test_submit_refuses_before_it_touches_a_server(mrml: Cli) -> None:
    url = ("--url", "http://127.0.0.1:1/oozie")
    mrml("oozie", "render", RUN, *PLACE, "--output", "app", "--set", "ds=2026-01-05")
    done = mrml("oozie", "submit", "app", "--set", "oozie.wf.application.path=/apps/x", *url)
    assert done.code == 2 and "path '/apps/x' is not on HDFS; write hdfs://host:port/" in done.err
    done = mrml("oozie", "submit", "app", "--set", "oozie.wf.application.path", *url)
    assert done.code == 2 and "--set: 'oozie.wf.application.path' has no value" in done.err
    path = Path("app/workflow.xml")
    path.write_text(path.read_text().replace("${resourceManager}", "${manager}").replace("${nameNode}", "${node}"))
    done = mrml("oozie", "submit", "app", *url)
    assert done.code == 2 and "${manager} has no value (and 1 more: `mrml oozie validate app`)" in done.err
