"""A script of scikit-learn in the docs, and its distributed forms: few lines change, and all three run."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pandas")
from tests.test_docs import ROOT, fences

SCRIPTS = list(fences(ROOT / "docs" / "python.md", "py"))


def changed(before: str, after: str) -> list[str]:
    """Lines of a script that are not in the one before it."""
    told = difflib.ndiff([line for line in before.splitlines() if line], [line for line in after.splitlines() if line])
    return [line[2:] for line in told if line.startswith("+ ")]


def ran(script: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    found: dict[str, Any] = {}
    exec(compile(script, "docs/python.md", "exec"), found)
    return found


def test_few_lines_change() -> None:
    theirs, frames, files = SCRIPTS
    assert "mrml" not in theirs and "hdfs://" in files and "hadoop" in files
    assert 0 < len(changed(theirs, frames)) <= 3
    assert 0 < len(changed(theirs, files)) <= 8


def test_all_of_them_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs, frames, files = SCRIPTS
    there = str(ROOT / "data-samples" / "churn")
    here = files.replace("hdfs:///data/churn", there).replace("resident", "local").replace("hadoop", "local")
    here = here.replace('"workers": 8', '"workers": 2')
    assert "hdfs" not in here and "hadoop" not in here
    few = {"max_iter": theirs, "rounds": frames}  # iterations: a hundred of twenty models are for people with time
    scripts = [text.replace("Classifier()", f"Classifier({name}=5)") for name, text in [*few.items(), ("rounds", here)]]
    found = [ran(script.replace("cv=5", "cv=2"), monkeypatch) for script in scripts]
    assert found[0]["search"].cv_results_["params"] == found[1]["search"].cv_results_["params"]
    assert len(found[0]["p"]) == len(found[1]["p"]) == 60 and len(found[2]["p"]) == 120
    for one in found:
        assert 0.4 < one["search"].best_score_ <= 1 and ((one["p"] >= 0) & (one["p"] <= 1)).all()


def test_estimators_on_files_are_the_models_of_those_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import mrml
    from mrml.sklearn import GridSearchCV, LinearRegression, LogisticRegression

    churn = str(ROOT / "data-samples" / "churn")
    found = LogisticRegression(engine="inline").fit(churn, "churned")
    alone = mrml.Logistic().fit(churn, target="churned", engine="inline")
    names = ("model.json", "model.npz")
    assert all(Path(found.model_.directory, n).read_bytes() == Path(alone.directory, n).read_bytes() for n in names)
    assert found.classes_.tolist() == ["no", "yes"] and found.n_features_in_ == 8
    table = alone.predict(churn)
    assert (found.predict(churn) == np.asarray(table["prediction"])).all()
    assert (found.predict_proba(churn)[:, 1] == np.asarray(table["probability_yes"])).all()
    search = GridSearchCV(LogisticRegression(engine="inline"), {"l2": [1e-3, 10.0]}, cv=3, scoring="neg_log_loss")
    search.fit(churn, "churned", id="id", fold_by="row")
    output = os.fspath(tmp_path / "m")
    folds = mrml.Logistic(**search.best_params_).fit(
        churn, target="churned", id="id", engine="inline", folds=3, fold_by="row", output=output
    )
    told = folds.facts["folds"]["metrics"]["log_loss"]["folds"]
    assert [-search.cv_results_[f"split{k}_test_score"][search.best_index_] for k in range(3)] == told
    for wrong, finding in (((churn, None), "rows of files have no y"), ((churn, [0, 1]), "rows of files have no y")):
        with pytest.raises(ValueError, match=finding):
            LinearRegression().fit(*wrong)
    with pytest.raises(ValueError, match="cv: of files it is a number of folds"):
        GridSearchCV(LogisticRegression(), {"l2": [1.0]}, cv=[([0], [1])]).fit(churn, "churned")
