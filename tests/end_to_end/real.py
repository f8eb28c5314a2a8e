"""Real data for the tests of quality: where it lies, and how it is cut into rows to train with and rows to test."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.shared import shared


def cut(folder: Path, head: list[str], rows: list[list[str]]) -> tuple[Path, Path]:
    """Row i is test where i % 5 == 0."""
    for name, part in (("train.csv", [r for i, r in enumerate(rows) if i % 5]), ("test.csv", rows[::5])):
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows([head, *part])
    return folder / "train.csv", folder / "test.csv"


def taxi(folder: Path) -> tuple[Path, Path]:
    """Rows that cost something; a big tip is more than a fifth of the fare."""
    with open(shared("chicago-taxi", "data.csv"), newline="") as file:
        head, *rows = csv.reader(file)
    fare, tips = head.index("fare"), head.index("tips")
    paid = [row for row in rows if row[fare] and float(row[fare]) > 0]
    return cut(folder, [*head, "big"], [[*row, str(int(float(row[tips]) > 0.2 * float(row[fare])))] for row in paid])
