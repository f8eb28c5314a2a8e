"""A night in Airflow with the real command: done, awaited, failed in mrml's words, refused, gone on with, ended."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from mrml.airflow import MrmlPartitionSensor, MrmlTrigger, process
from mrml.airflow.versions import AirflowException, AirflowFailException
from tests.airflow import dags
from tests.airflow.conftest import MRML

GATE = """
variables: {root: , ds: }
algorithm: logistic
data: {data: "{{ root }}/rows/ds={{ ds }}", target: churned, id: id}
work: "{{ root }}/runs"
steps: {train: , gate: auc > 2}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dags.made(tmp_path)


def night(root: Path, *words: str) -> dict[str, Any]:
    """What the command itself says of the example's night, which is kept where it was done."""
    line = [MRML, "run", str(dags.FILE), "--set=ds=2026-11-20", f"--set=root={root}", "--json", "-q", *words]
    found: dict[str, Any] = json.loads(subprocess.run(line, check=True, capture_output=True).stdout)
    return found


def test_the_example_is_a_night_that_succeeds(
    home: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for name, value in (("COMMAND", MRML), ("FILE", str(dags.FILE)), ("ROOT", str(root))):
        monkeypatch.setenv(f"AIRFLOW_VAR_MRML_{name}", value)
    shutil.copy(dags.EXAMPLE, home / "dags")
    ran = dags.run(home, "mrml_nightly")
    assert ran.state == "success" and ran.tasks == {"rows": "success", "churn": "success"}
    assert "step promote" in capfd.readouterr()[0], "mrml's lines are in the task's log"
    assert (root / "scores" / "ds=2026-11-20" / "_SUCCESS").exists()
    again, whole = night(root), ran.told("return_value", "churn")
    for key in ("run", "directory", "verdict", "version", "metrics", "report"):
        assert ran.told(key, "churn") == again[key] == whole[key], key
    assert again["verdict"] == "promoted" and {s["outcome"] for s in whole["steps"].values()} == {"done"}
    assert list((home / "mrml").iterdir()) == [], "what has ended leaves nothing"


def test_a_night_of_the_example_is_of_the_day_that_is_over(home: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    shutil.copy(dags.EXAMPLE, home / "dags")
    bag = DagBag(str(home / "dags" / dags.EXAMPLE.name))
    dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(bag.dags["mrml_nightly"]))
    since = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
    found = dag.timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=since, latest=None, catchup=True)
    )
    assert f"{found.logical_date:%Y-%m-%d %H}" == "2026-11-20 01"
    assert f"{found.run_after:%Y-%m-%d %H}" == "2026-11-21 01"
    assert dag.catchup is False and dag.max_active_runs == 1


def test_the_dag_of_the_docs_is_one(home: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (body,) = re.findall(r"^```python\n(.*?)^```", (dags.ROOT / "docs" / "airflow.md").read_text("utf-8"), re.M | re.S)
    (home / "dags" / "docs.py").write_text(body, encoding="utf-8")
    bag = DagBag(str(home / "dags" / "docs.py"))
    assert bag.import_errors == {} and bag.dags["churn"].task_ids == ["rows", "train", "judge"]
    assert bag.dags["churn"].get_task("judge").argv()[-4:-1] == ["--only=evaluate", "--only=gate", "--only=promote"]


def test_single_steps_are_tasks_of_their_own(home: Path, root: Path) -> None:
    for step, done in (("train", {"train"}), ("evaluate", {"evaluate"})):
        dags.write(home, step, root, steps=[step])
        ran = dags.run(home, step)
        assert ran.state == "success" and set(ran.told("steps", step)) == done
    assert ran.told("metrics", "evaluate") == night(root, "--only=evaluate")["metrics"]


def test_the_sensor_waits_for_the_flag_and_not_for_the_rows(root: Path) -> None:
    sensor = MrmlPartitionSensor(task_id="rows", path=f"{root}/rows/ds=2026-11-20/")
    (root / "rows" / "ds=2026-11-20" / "_SUCCESS").unlink()
    assert not sensor.poke({})
    (root / "rows" / "ds=2026-11-20" / "_SUCCESS").touch()
    assert sensor.poke({})
    assert MrmlPartitionSensor(task_id="folder", path=str(root), flag="").poke({})


def test_the_sensor_tells_a_wrong_address_at_once_and_a_namenode_that_is_away_as_something_to_try_again() -> None:
    with pytest.raises(AirflowFailException, match=r"nothing here reads s4:// paths; copy the files"):
        MrmlPartitionSensor(task_id="a", path="s4://bucket/rows").poke({})
    with pytest.raises(AirflowException, match=r"the NameNode cannot be reached|no client is installed"):
        MrmlPartitionSensor(task_id="b", path="hdfs://127.0.0.1:1/rows").poke({})


def test_airflow_needs_nothing_that_computes() -> None:
    code = "import sys, mrml.airflow, mrml.fs.connect; sys.exit(bool({'numpy', 'pyarrow', 'mrjob'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_night_without_rows_fails_at_once_in_mrmls_words(home: Path, root: Path, capfd: Any) -> None:
    shutil.rmtree(root / "rows")
    dags.write(home, "without_rows", root, retries=2)
    ran = dags.run(home, "without_rows")
    assert ran.state == "failed" and ran.run.get_task_instance("without_rows").try_number == 1
    assert "AirflowFailException: " + str(root / "rows") in capfd.readouterr()[0]


def test_a_command_that_is_not_there_is_told_with_what_to_do(home: Path, root: Path, capfd: Any) -> None:
    dags.write(home, "no_command", root, mrml=f"{root}/bin/mrml", retries=2)
    assert dags.run(home, "no_command").state == "failed"
    assert "AirflowFailException" in (told := capfd.readouterr()[0]) and "give mrml= the path of the command" in told


def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(home: Path, root: Path, capfd: Any) -> None:
    dags.write(home, "no_folder", root, folder=str(dags.FILE))
    assert dags.run(home, "no_folder").state == "failed"
    assert "name a folder= that tasks may write to" in capfd.readouterr()[0]


@pytest.mark.parametrize(("refused", "state", "dag"), [("fail", "failed", "failed"), ("skip", "skipped", "success")])
def test_a_refused_gate_fails_or_skips_as_asked_and_tells_what_it_found(
    home: Path, root: Path, capfd: Any, refused: str, state: str, dag: str
) -> None:
    (root / "gate.yaml").write_text(GATE, encoding="utf-8")
    name = f"refused_{refused}"
    dags.write(home, name, root, file=str(root / "gate.yaml"), refused=refused, retries=2)
    ran = dags.run(home, name)
    assert (ran.state, ran.tasks[name]) == (dag, state) and ran.run.get_task_instance(name).try_number == 1
    assert ran.told("verdict", name) == "refused" and 0 < ran.told("metrics", name)["auc"] <= 1
    assert "auc > 2: does not hold" in capfd.readouterr()[0]


def test_a_retry_goes_on_where_the_killed_run_was(home: Path, root: Path) -> None:
    """The first try's command is killed, keeper and all; the second one trains only what is left."""
    dags.write(home, "retried", root, file=dags.slow(root), retries=1, deferrable=True, poll_s=0.2)
    first = dags.start(home, "retried", root / "airflow.log")
    folder = dags.folder_of(home, "retried")
    for pid in dags.processes_of(root)[::-1] + dags.processes_of(folder):
        os.kill(pid, signal.SIGKILL)
    assert first.wait(dags.LIMIT_S) == 0
    log = (root / "airflow.log").read_text("utf-8")
    assert "its processes are gone and left no result" in log
    assert "continuing an unfinished run after round" in log
    assert "Marking run <DagRun retried" in log and "successful" in log


def test_the_next_try_follows_a_run_that_outlived_its_task(home: Path, root: Path, capfd: Any) -> None:
    dags.write(home, "followed", root, file=dags.slow(root))
    task = dags.start(home, "followed", root / "airflow.log")
    folder = dags.folder_of(home, "followed")
    task.kill()
    task.wait()
    assert process.look(folder) == process.RUNNING
    assert dags.run(home, "followed").state == "success"
    told = capfd.readouterr()[0]
    assert "continues: an earlier try started it" in told and told.count("step train") == 1
    assert "continuing an unfinished run" not in told, "one process did all of it"


def test_ending_the_task_ends_the_run_and_leaves_no_process(home: Path, root: Path) -> None:
    dags.write(home, "ended", root, file=dags.slow(root))
    task = dags.start(home, "ended", root / "airflow.log")
    folder = dags.folder_of(home, "ended")
    assert dags.processes_of(root)
    task.send_signal(signal.SIGTERM)
    task.wait(dags.LIMIT_S)
    assert dags.processes_of(root) == dags.processes_of(folder) == []
    assert "interrupted; the same command continues" in (root / "airflow.log").read_text("utf-8")


def test_a_night_that_waits_in_the_triggerer_succeeds(home: Path, root: Path, capfd: Any) -> None:
    dags.write(home, "deferred", root, deferrable=True, poll_s=0.2)
    ran = dags.run(home, "deferred")
    told = capfd.readouterr()[0]
    assert ran.state == "success" and "Pausing task as DEFERRED" in told and told.count("step train") == 1
    assert ran.told("return_value", "deferred")["metrics"] == night(root)["metrics"]


def test_a_deferred_run_ends_when_its_time_is_over(home: Path, root: Path, capfd: Any) -> None:
    limit = datetime.timedelta(seconds=2)
    dags.write(home, "late", root, file=dags.slow(root), deferrable=True, poll_s=0.2, execution_timeout=limit)
    assert dags.run(home, "late").state == "failed"
    assert "ended after execution_timeout, 0:00:02" in capfd.readouterr()[0]
    assert dags.processes_of(root) == []


def test_the_trigger_is_made_again_from_what_airflow_keeps_of_it_and_ends_its_run_when_it_is_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    process.start(folder, process.Command(["/bin/sleep", "600"], None, 5.0), os.environ, "me")
    path, given = MrmlTrigger(str(folder), 0.1, 5.0, "me").serialize()
    trigger = import_string(path)(**json.loads(json.dumps(given)))
    assert isinstance(trigger, MrmlTrigger) and trigger.serialize() == (path, given)
    asyncio.run(trigger.on_kill())
    assert process.look(folder) == process.ENDED
    assert [event.payload["state"] for event in asyncio.run(_events(trigger))] == [process.ENDED]


def test_where_the_triggerer_does_not_see_the_run_its_worker_waits(home: Path, root: Path, capfd: Any) -> None:
    dags.write(home, "blind", root, kind="Blind", deferrable=True)
    ran = dags.run(home, "blind")
    told = capfd.readouterr()[0]
    assert "the triggerer does not see" in told and told.count("step train") == 1
    assert ran.state == "success" and ran.told("verdict", "blind") == "promoted"


def test_a_triggerer_that_does_not_see_the_run_says_so_at_once(tmp_path: Path) -> None:
    events = asyncio.run(_events(MrmlTrigger(str(tmp_path / "elsewhere"), 0.1, 5.0)))
    assert [event.payload["state"] for event in events] == [process.UNSEEN]


async def _events(trigger: MrmlTrigger) -> list[Any]:
    return [event async for event in trigger.run()]
