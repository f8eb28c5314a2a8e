"""DAGs for tests: one file each in the folder that Airflow reads, one run each by `dag.test`."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.airflow.conftest import MRML

ROOT = Path(__file__).parents[2]
CHURN = ROOT / "data-samples" / "churn"
EXAMPLE = ROOT / "conf" / "airflow" / "mrml_nightly.py"
FILE = ROOT / "conf" / "nightly" / "churn.yaml"
DAY = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
#: the moment that names a DAG run, so that the same one can be run again
AFTER = datetime.datetime(2026, 11, 21, 1, tzinfo=datetime.timezone.utc)

_HEAD = """
import datetime
from airflow.sdk import DAG
from mrml.airflow import MrmlOperator, MrmlTrigger
class Blind(MrmlOperator):
    "Its triggerer does not see where runs lie."
    def defer(self, *, trigger, **more):
        super().defer(trigger=MrmlTrigger("/nowhere", 0.1, 5.0, trigger.owner), **more)
with DAG({name!r}, schedule=None, start_date=datetime.datetime(2026, 1, 1)) as dag:
    {kind}(**{{"task_id": {name!r}, "retry_delay": datetime.timedelta(0), **{given}}})
"""
_RUN = """
import datetime
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({folder!r})
bag.dags[{name!r}].test(logical_date={day!r}, run_after={after!r})
"""


LIMIT_S = 120.0
#: trained for some seconds, which is long enough to be met by a kill
SLOW = """
variables: {root: , ds: }
algorithm: {name: boosting, objective: logistic, rounds: 2000}
data: {data: "{{ root }}/rows/ds={{ ds }}", target: churned, id: id}
engine: {ENGINE}
work: "{{ root }}/runs"
steps: {train: }
"""


class Ran(NamedTuple):
    """What became of a DAG run."""

    state: str
    tasks: dict[str, str]
    run: Any

    def told(self, key: str, task: str) -> Any:
        """An XCom."""
        return self.run.get_task_instance(task).xcom_pull(task_ids=task, key=key)


def made(folder: Path) -> Path:
    """The rows of one day, whole, and a holdout, as the example's file wants them below its root."""
    for place, part in (("rows/ds=2026-11-20", "part-00000.csv"), ("holdout", "part-00001.csv")):
        (folder / place).mkdir(parents=True)
        shutil.copy(CHURN / part, folder / place)
        (folder / place / "_SUCCESS").touch()
    return folder


def write(home: Path, name: str, root: Path | str, kind: str = "MrmlOperator", **given: Any) -> None:
    """A DAG of one task of a kind; what is given are the operator's arguments, such as have a repr."""
    given = {"file": str(FILE), "mrml": MRML, "set": {"ds": "{{ ds }}", "root": str(root)}, **given}
    (home / "dags" / f"{name}.py").write_text(_HEAD.format(name=name, kind=kind, given=given), encoding="utf-8")


def run(home: Path, name: str) -> Ran:
    """Run a DAG of the folder for one day, in this process."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(home / "dags"))
    assert bag.import_errors == {}
    ran = bag.dags[name].test(logical_date=DAY, run_after=AFTER)
    return Ran(str(ran.state), {t.task_id: str(t.state) for t in ran.get_task_instances()}, ran)


def start(home: Path, name: str, log: Path) -> subprocess.Popen[bytes]:
    """The same in a process of its own, whose lines go to a file."""
    code = _RUN.format(folder=str(home / "dags"), name=name, day=DAY, after=AFTER)
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, "-c", code], stdout=out, stderr=out, env=dict(os.environ))


def slow(root: Path, engine: str = "engine: local, workers: 2") -> str:
    """The file of a run that takes some seconds."""
    (root / "slow.yaml").write_text(SLOW.replace("ENGINE", engine), encoding="utf-8")
    return str(root / "slow.yaml")


def folder_of(home: Path, name: str) -> Path:
    """Where the run of a DAG leaves what it writes, once it trains."""
    found: list[Path] = []

    def trains() -> bool:
        logs = [p for p in (home / "mrml").glob(f"{name}-*/log") if "\ntree 1" in p.read_text("utf-8")]
        found.extend(p.parent for p in logs)
        return bool(found)

    until(trains)
    return found[0]


def processes_of(root: Path | str) -> list[int]:
    """Processes that live and have a folder in their command line."""
    return [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if str(root).encode() in _bytes(p)]


def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes by itself."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
