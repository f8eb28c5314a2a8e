"""docs/looking.ipynb runs from top to bottom, on real data where it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
DOCS = Path(__file__).parents[1] / "docs"


def test_the_notebook_of_the_docs_runs_and_shows_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{DOCS.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    book = nbformat.read(DOCS / "looking.ipynb", as_version=4)
    kept = [{kind for out in cell.get("outputs", ()) for kind in out.get("data", ())} for cell in book.cells]
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(DOCS)}}).execute()
    shown = [{kind for out in cell.get("outputs", ()) for kind in out.get("data", ())} for cell in book.cells]
    assert shown == kept and sum("image/png" in kinds for kinds in shown) == 3
    told = "".join(out.text for cell in book.cells for out in cell.get("outputs", ()) if out.output_type == "stream")
    assert "boosting: 100%" in told and "Traceback" not in told
