"""Real rows for the demo: the breast cancer data that scikit-learn carries, as two CSV files with a header.

    python benchmarks/breast_cancer.py DIRECTORY

Every fifth row goes to ``test/``, the others to ``train/``.  569 rows, 30 measurements, malignant or benign
(W. Street, W. Wolberg, O. Mangasarian 1993).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main(folder: Path) -> None:
    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    rows = [[*map(repr, map(float, x)), data.target_names[y]] for x, y in zip(data.data, data.target, strict=True)]
    for part, kept in (("train", [r for i, r in enumerate(rows) if i % 5]), ("test", rows[::5])):
        (folder / part).mkdir(parents=True, exist_ok=True)
        with open(folder / part / "part-00000.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([[*names, "diagnosis"], *kept])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
