"""What is loaded without being asked for: the price of ``mrml --help`` and of every task."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "pyarrow", "mrjob", "yaml", "sklearn", "scipy", "pandas", "numba", "xgboost", "torch", "tqdm")


def loaded(code: str) -> set[str]:
    """Heavy modules that a piece of code leaves in ``sys.modules`` of a fresh process."""
    told = f"{code}\nimport sys; print('LOADED', *[n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["version"], ["train", "--help"], ["predict", "--help"],
                                  ["sample", "--help"], ["config", "show"], ["train", "--dta"], []])  # fmt: skip
def test_help_and_usage_errors_load_neither_numpy_nor_pyarrow_nor_mrjob(argv: list[str]) -> None:
    assert loaded(f"from mrml.cli.main import main; main({argv!r})") == set()


def test_importing_mrml_loads_nothing_heavy() -> None:
    assert loaded("import mrml") == set()


def test_mrml_for_airflow_says_what_it_needs_where_airflow_is_not() -> None:
    code = "import sys; sys.modules['airflow'] = None\nimport mrml.airflow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    needs = "ImportError: mrml.airflow needs Apache Airflow, 2.10 or later: pip install apache-airflow, in the "
    assert done.stderr.splitlines()[-1].startswith(needs)


def test_a_few_rows_are_scored_by_trees_without_numba_and_many_with_it() -> None:
    """Loading numba takes longer than NumPy takes for 3,000,000 rows times trees; the bits are the same."""
    pytest.importorskip("numba")
    code = """
import numpy as np
from mrml.algorithms.trees.growth import TREE_NODE
from mrml.algorithms.trees.model import Trees
from mrml.schema import Bins
tree = np.zeros(3, TREE_NODE)
tree["feature"], tree["left"], tree["bin"], tree["value"] = [0, -1, -1], [1, -1, -1], [0, 0, 0], [0.0, 1.5, 2.5]
trees = Trees.of(np.tile(tree, 3), np.full(3, 3), Bins((np.zeros(1, np.float32),), (2,)))
x = np.random.default_rng(0).normal(size=({n}, 1)).astype(np.float32)
first = trees.raw_prediction(x, np.zeros(1))
assert (first == np.where(x[:, 0] < 0, 4.5, 7.5)).all()
for _ in range({times}):
    assert (trees.raw_prediction(x, np.zeros(1)) == first).all()
"""
    assert "numba" not in loaded(code.format(n=1000, times=10))
    assert "numba" in loaded(code.format(n=100_000, times=10))
