"""Which of the two twins computes what both give the same bits of."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from mrml.kernels.trees import numpy, sparse

#: rows times trees that this process has scored by NumPy: 3,000,000 take 0.27 s, and loading numba 0.3 s
_scored, _SCORED_MOST = 0, 3_000_000


def with_numba(work: int | None = None) -> Any:
    """The kernels by numba where it is installed, else by NumPy: for results that are the same bits.

    ``work`` are rows times trees to be scored; for a few numba is not loaded.
    """
    global _scored
    _scored += _SCORED_MOST if work is None else work
    if _scored < _SCORED_MOST and "numba" not in sys.modules:
        return numpy
    try:
        there = importlib.util.find_spec("numba") is not None
    except ImportError:
        there = False
    return importlib.import_module("mrml.kernels.trees.numba") if there else numpy


def sparse_with_numba() -> Any:
    """The same of the kernels of sparse columns."""
    return sparse if with_numba() is numpy else importlib.import_module("mrml.kernels.trees.sparse_numba")
