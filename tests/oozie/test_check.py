"""What the check of an application says: with Oozie's own schemas, and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrml.errors import ConfigError
from mrml.tools.oozie.check import check
from tests.oozie.workflows import RIGHT, WRONG, action, workflow

COORDINATOR = """<coordinator-app xmlns="uri:oozie:coordinator:0.5" name="c" frequency="1440" start="{start}"
 end="2026-01-03T00:00Z" timezone="UTC"><datasets><dataset name="d" frequency="1440"
 initial-instance="2026-01-01T00:00Z" timezone="UTC"><uri-template>${{nameNode}}/${{YEAR}}</uri-template>
</dataset></datasets>
<input-events><data-in name="i" dataset="{dataset}"><instance>${{coord:current(0)}}</instance></data-in></input-events>
<action><workflow><app-path>{path}</app-path>
<configuration><property><name>ds</name><value>x</value></property></configuration></workflow></action>
</coordinator-app>"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def told(path: Path, jar: Path | None = None) -> list[str]:
    return [str(p).removeprefix(f"{path}/") for p in check(str(path), jar).problems]


@pytest.mark.parametrize("name", RIGHT)
def test_sound_workflows_are_valid_by_the_schemas_too(name: str, client_jar: Path, tmp_path: Path) -> None:
    checked = check(str(write(tmp_path, workflow_xml=RIGHT[name])), client_jar)
    assert checked.by_schemas and checked.schemas == str(client_jar) and not checked.problems


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_of_the_graph_are_ours_alone_to_tell(name: str, client_jar: Path, tmp_path: Path) -> None:
    """The schemas see none of them, so that the check has the same without."""
    folder = write(tmp_path, workflow_xml=WRONG[name][0])
    assert told(folder, client_jar) == told(folder) != []


ONE = workflow(action("a", "end"), "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ONE.replace("<exec>true</exec>", ""), "line 3: Element 'shell': Missing child element(s)."),
        (ONE.replace("shell-action:1.0", "shell-action:7"), "line 3: Element"),
        (ONE.replace("<exec>", "<capture-output/><exec>"), "line 3: Element 'capture-output': This element is not"),
        (ONE.replace('"a"', '"1a"'), "line 2: Element 'start', attribute 'to': [facet 'pattern'] The value '1a'"),
    ],
)
def test_the_schemas_know_elements_their_order_and_their_types(
    text: str, message: str, client_jar: Path, tmp_path: Path
) -> None:
    folder = write(tmp_path, workflow_xml=text)
    assert told(folder) == [] and told(folder, client_jar)[0].startswith(f"workflow.xml, {message}")


def test_without_the_jar_it_is_said_that_no_schema_was_asked(tmp_path: Path) -> None:
    checked = check(str(write(tmp_path, workflow_xml=RIGHT["an action"])))
    assert not checked.by_schemas and checked.schemas == "no oozie-client-*.jar is at hand; name one with --jar"


def test_a_coordinator_needs_its_times_its_workflow_and_its_datasets(client_jar: Path, tmp_path: Path) -> None:
    right = {"start": "2026-01-01T00:00Z", "dataset": "d", "path": "hdfs://x/y"}
    assert told(write(tmp_path, coordinator_xml=COORDINATOR.format(**right)), client_jar) == []
    wrong = COORDINATOR.format(start="", dataset="e", path="")
    assert told(write(tmp_path, coordinator_xml=wrong)) == [
        'coordinator.xml, line 1: has no start; write start="..." into <coordinator-app>',
        "coordinator.xml, line 1: starts no workflow; "
        "write <action><workflow><app-path>: the folder of workflow.xml on HDFS",
        "coordinator.xml, line 5: <data-in> takes the dataset 'e', which is none; datasets are d",
    ]


def test_a_variable_without_a_value_is_told_where_oozie_would_fail_the_run(tmp_path: Path) -> None:
    run = ONE.replace("</exec>", "</exec><argument>${ds}${more}${KB} ${wf:id()}</argument>")
    coordinator = COORDINATOR.format(start="${start}", dataset="d", path="hdfs://x")
    folder = write(tmp_path, workflow_xml=run, coordinator_xml=coordinator, job_properties="nameNode=x\n")
    assert [line.partition(";")[0] for line in told(folder)] == [
        "coordinator.xml, line 1: ${start} has no value",
        "workflow.xml, line 3: ${more} has no value",
    ]
    write(folder, job_properties="nameNode=x\nstart=y\nmore=z\n")
    assert told(folder) == []
    (folder / "coordinator.xml").unlink()
    assert told(folder)[0].startswith("workflow.xml, line 3: ${ds} has no value; write ds=... into job.properties")


def test_what_is_no_application_is_told_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no \.xml; name the folder that `mrml oozie render` made"):
        check(str(tmp_path))
    with pytest.raises(ConfigError, match="there is no such file"):
        check(str(tmp_path / "none.xml"))
    write(tmp_path, a_xml="<x/>", b_xml='<workflow-app name="x"/>', c_xml="<a>")
    assert [line.partition(": ")[::2] for line in told(tmp_path)] == [
        ("c.xml, line 1", "is not XML: no element found; fix it there"),
        ("a.xml, line 1", "is a <x>; write a <workflow-app> or a <coordinator-app>"),
        ("b.xml, line 1", "has the namespace ''; write xmlns=\"uri:oozie:workflow:1.0\""),
    ]
    (tmp_path / "x.jar").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"x\.jar: cannot be read: File is not a zip file"):
        check(str(tmp_path), tmp_path / "x.jar")
