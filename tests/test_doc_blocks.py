"""Every shell and Python block of README and docs runs, page by page, in a folder as a fresh clone has it.

A line of the shell that is an ``mrml`` command runs in this process, since starting Python costs ten times what these
commands do; other lines run in bash.  What needs something that is not here is told apart by :data:`ELSEWHERE`, and
only read as a command line (``test_docs.py``).
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml.cli.main import main
from tests.test_docs import NEW_ALGORITHM, PAGES, ROOT

#: what a line or a block of Python says that cannot run here, and what it needs
ELSEWHERE = {
    r"hdfs://|-r hadoop|^eval|^hadoop |^mrml (cluster|pack|oozie|runs)\b": "a cluster",
    r"^(make|git|pip|python3? -m venv|(sudo )?apt-get|\.venv/bin) ": "another environment",
    r"^airflow |import .*Airflow|airflow": "Airflow",
    r"import torch|my_models|--to (onnx|safetensors|torch)": "torch",
}


def needs(text: str) -> str:
    """What a line or a block of Python needs that is not here; nothing where it runs."""
    return next((what for pattern, what in ELSEWHERE.items() if re.search(pattern, text, re.M)), "")


def blocks(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page in order: a language, ``sh`` or ``python``, and what runs of it here."""
    found = []
    for language, body in re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        pieces = body.replace("\\\n", " ").splitlines() if language == "sh" else [body]
        found += [(language, piece) for piece in pieces if piece.strip() and not needs(piece)]
    return found


def numbers(path: str, columns: dict[str, Callable[[random.Random], object]], rows: int = 300) -> None:
    """A CSV file of made rows with these columns."""
    draw = random.Random(7)
    lines = [",".join(columns), *(",".join(str(make(draw)) for make in columns.values()) for _ in range(rows))]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def bikes() -> None:
    """Hours of bikes as UCI has them, made."""
    whole = {name: lambda d: d.randrange(1, 13) for name in ("instant", "casual", "registered", "hr", "mnth", "cnt")}
    for name in ("hour_train.csv", "hour_test.csv"):
        numbers(name, {**whole, "dteday": lambda d: f"2011-01-{d.randrange(10, 29)}", "temp": lambda d: d.random()})


def networks() -> None:
    for name in ("train.csv", "test.csv"):
        numbers(name, {"fare": lambda d: d.random(), "tips": lambda d: d.random(), "company": lambda d: d.choice("abc"),
                       "big": lambda d: d.randrange(2)})  # fmt: skip
    numbers(
        "digits.csv",
        {**{f"c{i}": lambda d: d.randrange(17) for i in range(64)}, "c64": lambda d: d.randrange(10)},
        rows=4000,
    )
    draw = random.Random(7)
    lines = [f"{i % 2} {1 + draw.randrange(9)}:1 {10 + draw.randrange(9)}:1\n" for i in range(300)]
    Path("ratings.libsvm").write_text("".join(lines), encoding="utf-8")


def trained() -> None:
    """The model of README, for pages that begin with one."""
    words = "train logistic --data data-samples/churn --target churned --id id --output model --l2 0.01 -q"
    assert main(words.split()) == 0


def night() -> None:
    """The rows of one night, as docs/nightly.md lays them out."""
    rows, holdout = Path(".demo/nightly/rows/ds=2026-11-20"), Path(".demo/nightly/holdout")
    for folder, part in ((rows, "0"), (holdout, "1")):
        folder.mkdir(parents=True)
        shutil.copy(f"data-samples/churn/part-0000{part}.csv", folder)


def customers() -> None:
    shutil.copytree("data-samples/churn", "rows")


#: what lies beside the clone before a page begins
BEFORE: dict[str, Callable[[], None]] = {
    "README": night, "answers": trained, "commands": trained, "trees": bikes, "networks": networks, "tuning": customers,
}  # fmt: skip
#: what a page prints that shows that it did what it tells
SHOWS = {"README": "auc", "nightly": "version 1 is in service", "python": "auc"}
RUN = [page for page in PAGES if page != NEW_ALGORITHM and blocks(page)]


def test_what_runs_nowhere_here_is_a_page_about_what_is_not_here() -> None:
    without = {p.stem for p in PAGES if re.search(r"^```(sh|python)$", p.read_text("utf-8"), re.M)}
    assert without - {p.stem for p in RUN} == {"CONTRIBUTING", "adding-an-algorithm", "airflow", "hadoop", "oozie"}


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("data-samples", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    BEFORE.get(page.stem, lambda: None)()
    space: dict[str, object] = {}
    for language, piece in blocks(page):
        if language == "python":
            exec(compile(piece, page.name, "exec"), space)
        else:
            run_line(piece)
    assert SHOWS.get(page.stem, "") in capfd.readouterr().out


def run_line(line: str) -> None:
    """One line of the shell; what a user would see is in the failure."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["mrml"]:
        assert main(words[1:]) == 0, line
    elif words:
        subprocess.run(["bash", "-ec", line], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
