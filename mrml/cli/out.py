"""Results, on stdout: text and tables for people, one JSON object for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from mrml import logs


def emit(text: str) -> None:
    """Print a result; a reader that has seen enough (``| head``) is no error."""
    text = logs.masked(text)
    try:
        try:
            print(text, flush=True)
        except UnicodeEncodeError:  # a path that is not UTF-8, or a terminal that is not
            code = sys.stdout.encoding or "utf-8"
            print(text.encode(code, "backslashreplace").decode(code), flush=True)
    except BrokenPipeError:
        # the interpreter flushes stdout once more when it ends: let that go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit_json(value: Any) -> None:
    """Print one strict JSON object."""
    emit(json.dumps(logs.plain(value), indent=1, ensure_ascii=False, default=str))


def table(rows: Sequence[Sequence[Any]], indent: int = 2) -> str:
    """Rows as aligned columns; those that hold numbers stand to the right."""
    texts = [[logs.number(cell) for cell in row] for row in rows]
    if not texts:
        return ""
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    right = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(widths))]

    def line(row: list[str]) -> str:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        return (" " * indent + "  ".join(cells)).rstrip()

    return "\n".join(line(row) for row in texts)
