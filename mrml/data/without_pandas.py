"""Keeps pandas out of a process that did not ask for it.

pyarrow imports pandas, where it is installed, at the first array that it makes of Python values: 0.4 s and 40 MB a
process (pyarrow 26, pandas 2.3).  It looks once; whoever asks it for a DataFrame later gets one all the same.
"""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any


class _Absent(importlib.abc.MetaPathFinder):
    """Says that there is no pandas."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of this process until it is asked for", name=name)


def keep_pandas_out() -> None:
    """Let pyarrow look for pandas once and find none, unless somebody imported it before."""
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(absent)
