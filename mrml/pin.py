"""One BLAS thread and one instruction set, chosen before NumPy loads.

Why: BLAS threads, OpenBLAS' kernels and NumPy's AVX512 dispatch each change the last bits of products, exp and
log1p; a model is the same bytes only when every process computes alike.  Pinning AVX2 cost nothing when it was
measured.  Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

VARIABLES = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "MKL_CBWR": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


#: the number of this process among the workers of its machine, which share its GPUs; set by who starts them
worker = 0
#: whether this process computes with these values; `pin` finds out
PINNED = False


def pin() -> bool:
    """Set the variables in this process; False when NumPy was loaded before they had these values."""
    global PINNED
    right = all(os.environ.get(k) == v for k, v in VARIABLES.items())
    os.environ.update(VARIABLES)
    PINNED = right or "numpy" not in sys.modules
    return PINNED


def environment() -> dict[str, str]:
    """The environment for a process that computes."""
    return {**os.environ, **VARIABLES}


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """A variable of this process, and of those that it starts, for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
