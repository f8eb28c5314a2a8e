"""What a task loads: NumPy, pyarrow, mrjob where mrjob starts it, and the one algorithm it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNASKED = {"sklearn", "scipy", "pandas", "xgboost", "torch", "statsmodels", "matplotlib"}
#: tells what its process holds: while it maps (workers are killed at the end), and at the end (tasks are not)
TELLS = r"""
import atexit, os, sys
from dataclasses import dataclass
from mrml.algorithms.linear.glm import Linear

def tell():
    with open(os.path.join(os.environ["TOLD"], f"{os.getpid()}"), "w") as file:
        print(" ".join(sys.argv), *sorted(n for n in sys.modules if "." not in n), sep="\n", file=file)

atexit.register(tell)

@dataclass(frozen=True)
class Tells(Linear):
    def map(self, state, block, into):
        tell()
        super().map(state, block, into)
"""


@pytest.mark.parametrize(
    ("engine", "processes"), [(("local", "--workers", "1"), 2), (("streaming", "-r", "local", "--workers", "1"), 5)]
)
def test_a_task_loads_no_library_that_nobody_asked_for(tmp_path: Path, engine: tuple[str, ...], processes: int) -> None:
    told, data = tmp_path / "told", tmp_path / "d.csv"
    told.mkdir()
    (tmp_path / "tells.py").write_text(TELLS)
    data.write_text(
        "a,b,when,y\n" + "".join(f"{i % 7},{'uv'[i % 2]},2020-01-0{1 + i % 5},{i % 3}\n" for i in range(50))
    )
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = ["train", "tells:Tells", "--data", "d.csv", "--target", "y", "--output", "m", "--max-rounds", "2"]
    subprocess.run(
        [sys.executable, "-m", "mrml", *command, "-q", "--engine", *engine],
        cwd=tmp_path, env={**os.environ, "TOLD": str(told), "PYTHONPATH": path}, check=True, capture_output=True,
    )  # fmt: skip
    holds = {p.name: set(p.read_text().split("\n")) for p in told.iterdir()}
    assert len(holds) >= processes
    for modules in holds.values():
        assert {"numpy", "mrml"} <= modules and not UNASKED & modules
    assert engine[0] == "streaming" or not any("mrjob" in modules for modules in holds.values())
