"""What `mrml oozie render` writes: valid by Oozie's own schemas whatever is asked for, and the files in conf/oozie."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrml.config.sources import variables
from mrml.errors import ConfigError
from mrml.tools.oozie.check import Schemas, check
from mrml.tools.oozie.document import parse, read_properties
from mrml.tools.oozie.graph import findings, nodes_of
from mrml.tools.oozie.render import EVERY, Application, Place, render, time_of

ROOT = Path(__file__).parents[2]
RUN = ROOT / "conf" / "nightly" / "churn.yaml"
PLACE = Place("hdfs://n:8020/apps/churn", "hdfs://n:8020", "r:8032")
ROOTED = ("root=hdfs:///data/churn",)

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
pairs = st.lists(texts.map(lambda text: f"A={text}"), max_size=2).map(tuple)
applications = st.builds(
    Application,
    name=st.from_regex(r"\A[A-Za-z][-_A-Za-z0-9]{0,38}\Z"),
    set=st.just(ROOTED),
    env=pairs,
    environment=st.none() | st.just("hdfs:///env.tar.gz"),
    memory_mb=st.integers(512, 1 << 16),
    queue=st.none() | texts.filter(bool),
    refused=st.sampled_from(["kill", "end"]),
    email=st.just(()) | st.just(("a@b.c", "d@e.f")),
    notify=st.none() | st.just("http://x/?job=$jobId&status=$status"),
    start=st.none() | st.just("2026-01-01"),
    every=st.sampled_from(list(EVERY)),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", '"<&>']),
    timeout=st.integers(-1, 10_000),
    concurrency=st.integers(1, 9),
    catch_up=st.booleans(),
    done_flag=texts,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(applications, texts)
def test_what_is_written_is_valid_by_oozies_own_schemas_and_its_graph_is_sound(
    client_jar: Path, tmp_path: Path, app: Application, tail: str
) -> None:
    app = Application(**{**vars(app), "input": f"hdfs:///{tail}" if app.start else None})
    schemas = Schemas(client_jar)
    for name, content in render(RUN, app, PLACE, "/py").items():
        if name.endswith(".xml"):
            (tmp_path / name).write_bytes(content)
            assert schemas.problems(str(tmp_path / name)) == []
            root = parse(content, name)
            assert name == "coordinator.xml" or not findings(nodes_of(root))
            said = {e.text for e in root.walk()}
            assert f"${{nameNode}}/{tail}" in said if name == "coordinator.xml" else set(app.env) <= said


def test_the_files_in_conf_are_those_that_render_makes(client_jar: Path) -> None:
    app = Application(
        set=ROOTED,
        environment="hdfs://namenode:8020/apps/mrml-environment.tar.gz",
        env=("HADOOP_CONF_DIR=/etc/hadoop/conf",),
        email=("ops@example.com",),
        start="2026-11-01T02:00Z",
        input_start="2026-11-01",
        input="hdfs:///data/churn/rows/ds={{ ds }}",
    )
    place = Place("hdfs://namenode:8020/apps/churn", "hdfs://namenode:8020", "resourcemanager:8032")
    made = render(RUN, app, place, "")
    assert made.pop(RUN.name) == RUN.read_bytes()  # which conf/ has already
    there = {path.name: path.read_bytes() for path in (ROOT / "conf" / "oozie").iterdir()}
    assert made == there
    checked = check(str(ROOT / "conf" / "oozie"), client_jar)
    assert checked.by_schemas and not checked.problems and len(checked.files) == 2


def told(content: bytes, tag: str) -> list[str]:
    return [e.text for e in parse(content, "x").walk() if e.tag == tag]


def test_the_day_and_the_input_come_from_the_coordinator_and_without_one_from_the_submission() -> None:
    daily = render(RUN, Application(set=ROOTED, start="2026-01-01", input="hdfs:///r/{{ ds_nodash }}"), PLACE, "/py")
    assert told(daily["coordinator.xml"], "uri-template") == ["${nameNode}/r/${YEAR}${MONTH}${DAY}"]
    assert "${coord:formatTime(coord:nominalTime(), 'yyyy-MM-dd')}" in told(daily["coordinator.xml"], "value")
    given_ = read_properties(daily["job.properties"].decode())
    assert given_["oozie.coord.application.path"] == given_["appPath"] == PLACE.path and "ds" not in given_
    assert (given_["start"], given_["end"], given_["python"]) == ("2026-01-01T00:00Z", "2099-12-31T00:00Z", "/py")
    once = render(RUN, Application(set=(*ROOTED, "ds=2026-01-05")), PLACE, "/py")
    arguments = ["run", "churn.yaml", "--set", "ds=${ds}", "--set", ROOTED[0]]
    assert told(once["workflow.xml"], "argument") == told(daily["workflow.xml"], "argument") == arguments
    given_ = read_properties(once["job.properties"].decode())
    assert given_["ds"] == "2026-01-05" and given_["oozie.wf.application.path"] == PLACE.path
    assert "coordinator.xml" not in once and "oozie.coord.application.path" not in given_


def test_a_packed_environment_is_unpacked_beside_the_run_and_its_python_taken() -> None:
    made = render(RUN, Application(set=ROOTED, environment="hdfs:///e.tar.gz"), PLACE, "/py")
    assert told(made["workflow.xml"], "archive") == ["hdfs:///e.tar.gz#environment"]
    assert told(made["workflow.xml"], "env-var") == ["MRML_PYTHON=environment/bin/python"]
    assert "python" not in read_properties(made["job.properties"].decode())


def test_more_files_lie_beside_the_run(tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text("{}")
    made = render(RUN, Application(set=ROOTED, file=(str(tmp_path / "more.json"),)), PLACE, "/py")
    assert made["more.json"] == b"{}" and made["churn.yaml"] == RUN.read_bytes()
    assert "${wf:appPath()}/more.json#more.json" in told(made["workflow.xml"], "file")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"name": "1"}, "'1' is not a name for Oozie; give --name"),
        ({"set": ("x",)}, "'x' has no value; write NAME=VALUE"),
        ({"set": (*ROOTED, "rot=1")}, "has no such variable; did you mean 'root'?"),
        ({"set": ()}, "'.demo/nightly/runs' lies in the container, and is gone with it; write hdfs:///"),
        ({"input": "hdfs:///x"}, "is for a coordinator, which has a first day; use --start"),
        ({"start": "2026-13-01"}, "--start: '2026-13-01' is not a day; write 2026-01-01"),
        ({"start": "2026-01-01", "end": "soon"}, "--end: 'soon' is not a day"),
        ({"start": "2026-01-01", "input": "/data"}, "--input: '/data' is not on HDFS; write hdfs://host:port/"),
        ({"file": ("/nowhere",)}, "/nowhere: cannot be read: No such file or directory"),
    ],
)
def test_what_oozie_or_the_run_cannot_take_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        render(RUN, Application(**{"set": ROOTED, **more}), PLACE, "/py")
    assert message in str(error.value)


def test_a_file_that_is_no_run_and_a_name_of_oozies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("algorithm: logistic\n")
    with pytest.raises(ConfigError, match="names no steps; it is to be a file of `mrml run`"):
        render(tmp_path / "train.yaml", Application(), PLACE, "/py")
    shutil.copy(RUN, tmp_path / "workflow.xml")
    with pytest.raises(ConfigError, match=r"workflow\.xml: is the name of a file of Oozie's"):
        render(tmp_path / "workflow.xml", Application(set=ROOTED), PLACE, "/py")


@pytest.mark.parametrize(
    ("text", "time"), [("2026-01-02", "2026-01-02T00:00Z"), ("2026-01-02T03:04Z", "2026-01-02T03:04Z")]
)
def test_times_are_those_of_oozie(text: str, time: str) -> None:
    assert time_of(text, "--start") == time


def test_a_run_takes_what_its_action_sets() -> None:
    """A variable that names no option is refused, but for these."""
    named = {
        name
        for path in (ROOT / "mrml" / "tools" / "oozie").glob("*.py")
        for name in re.findall(r"MRML_[A-Z_]+", path.read_text())
    }
    assert "MRML_PYTHON" in named
    assert variables(dict.fromkeys(named, "")) == []
