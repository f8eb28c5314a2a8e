"""Tasks without pandas.

pyarrow looks for pandas at its first conversion and imports it where it is installed: 0.15 s of a core and 55 MB in
every process (pyarrow 26, pandas 3.1), for nothing that a task does.
"""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any


class _Absent(importlib.abc.MetaPathFinder):
    """There is no pandas."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ImportError("not for pyarrow")


def without_pandas() -> None:
    """Let pyarrow find no pandas, once and for all.

    Only in processes that are a task's: a pyarrow table has no ``to_pandas`` in them any more.  An algorithm that
    imports pandas itself gets it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow

    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        pyarrow.array([0]).to_numpy()
    finally:
        sys.meta_path.remove(absent)
