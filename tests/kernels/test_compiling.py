"""Kernels that no cache holds are compiled, which is told: a first run stands still for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
CODE = """
import sys, numpy as np
from mrml import logs
from mrml.kernels import kmeans_numba
logs.setup(sys.stderr)
one, two = np.zeros((3, 2)), np.ones(2)
kmeans_numba.nearest(one, np.ones((2, 2)), two, np.empty(6))
"""


def test_kernels_are_told_once_that_are_compiled_and_not_that_are_cached(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    ran = [subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True)
           for _ in range(2)]  # fmt: skip
    assert [done.stderr for done in ran] == ["compiling kernels, once per installation: up to a minute\n", ""]
