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
