"""The fingerprint sees what changes the bits of a model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mrml.kernels.fingerprint import fingerprint
from mrml.pin import VARIABLES

PRINT = "import numpy; from mrml.kernels.fingerprint import fingerprint; print(fingerprint())"


def printed(**changed: str) -> str:
    """The fingerprint of a process with these variables."""
    environment = {**os.environ, **VARIABLES, **changed}
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_pinned_processes_have_one_fingerprint() -> None:
    assert printed() == fingerprint() and len(fingerprint()) == 12


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: BLAS has one thread anyway")
def test_another_number_of_blas_threads_is_another_fingerprint_in_its_digits_too() -> None:
    found = printed(OPENBLAS_NUM_THREADS="2")
    assert found.endswith("-unpinned") and found[:12] != fingerprint()


def test_a_process_that_is_not_pinned_says_so_whatever_its_bits() -> None:
    assert printed(MKL_CBWR="") in (f"{fingerprint()}-unpinned",)
