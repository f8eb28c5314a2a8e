"""What needs Airflow runs in an environment of its own, by `make test-airflow`: SQLite, a home that is thrown away."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: the command under test lies in another environment, as it does where Airflow is at work
MRML = str(HERE.parents[1] / ".venv" / "bin" / "mrml")
#: one a process, before Airflow is imported, which reads its configuration once
HOME = Path(tempfile.gettempdir()) / f"mrml-airflow-{os.getpid()}"

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    os.environ.update({
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    })  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.airflow)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """AIRFLOW_HOME with a database and an empty folder of DAGs."""
    (HOME / "dags").mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)
