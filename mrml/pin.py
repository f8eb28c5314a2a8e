"""One BLAS thread and one instruction set, chosen before NumPy loads.

Why: BLAS threads, OpenBLAS' kernels and NumPy's AVX512 dispatch each change the last bits of products, exp and
log1p; a model is the same bytes only when every process computes alike.  Pinning AVX2 cost nothing when it was
measured.  Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

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


def pinned() -> bool:
    """Whether this process is pinned: NumPy was loaded with one BLAS thread and one instruction set."""
    return all(os.environ.get(k) == v for k, v in VARIABLES.items())


def pin() -> bool:
    """Set the variables in this process; False, and nothing is set, when NumPy was loaded with others."""
    if not pinned() and "numpy" in sys.modules:
        return False
    os.environ.update(VARIABLES)
    return True


def environment() -> dict[str, str]:
    """The environment for a process that computes."""
    return {**os.environ, **VARIABLES}


def memory_bytes() -> int:
    """The memory of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not told here
        return 1 << 40


def allowed_bytes() -> int:
    """The memory of this machine, or what the cgroup of this process allows where that is less."""
    there = memory_bytes()
    for place in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2 and 1, as a container sees its own
        with contextlib.suppress(OSError, ValueError):
            there = min(there, int(Path("/sys/fs/cgroup", place).read_text()))
    return there


def cores() -> int:
    """The cores that this process may use: those of its affinity mask, and no more than its cgroup's quota."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(here, _quota(Path("/sys/fs/cgroup")))))


def _quota(root: Path) -> float:
    """CPUs that the cgroup of this process and those above it allow (cgroup v2 ``cpu.max``, v1 ``cpu.cfs_*``)."""
    least = math.inf
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            v2 = not controllers
            if v2 or "cpu" in controllers.split(","):
                folder = (root if v2 else root / "cpu") / path.lstrip("/")
                for place in [f for f in (folder, *folder.parents) if f == root or root in f.parents]:
                    least = min(least, _quota_of(place, v2))
    return least


def _quota_of(folder: Path, v2: bool) -> float:
    try:
        words = (folder / "cpu.max").read_text().split() if v2 else [
            (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]  # fmt: skip
        quota, period = float(words[0]), float(words[1])
    except (OSError, ValueError, IndexError):  # "max", or a folder that this process does not see
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


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
