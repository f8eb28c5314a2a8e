"""model.plot, --plot and what a notebook shows: the pictures of the report, as figures and as files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.errors import ConfigError
from mrml.runs.report import notebook

pytest.importorskip("matplotlib")
CHURN = Path(__file__).parents[1] / "data-samples" / "churn"
RNG = np.random.default_rng(1)
X = RNG.normal(size=(300, 3))
NUMBERS, THREE = X @ [1.0, -2.0, 0.0] + RNG.normal(size=300), np.digitize(X[:, 0], [-0.5, 0.5]).astype(str)


@pytest.fixture(scope="module")
def two() -> Any:
    return mrml.Boosting(objective="logistic", rounds=3, max_depth=2).fit(
        CHURN, target="churned", id="id", engine="inline"
    )


def titles(figure: Any) -> set[str]:
    return {axes.get_title(loc="left") for axes in figure.axes} | {figure.get_suptitle()} - {""}


OF_TWO = {"roc": "ROC", "pr": "Precision and recall", "calibration": "Calibration", "confusion": "Confusion"}


@pytest.mark.parametrize("kind", OF_TWO)
def test_a_picture_of_predictions_is_of_the_rows_that_are_given(two: Any, kind: str) -> None:
    figure = two.plot(kind, CHURN)
    (title,) = titles(figure) - {""}
    assert title.startswith(OF_TWO[kind]) and figure._repr_png_()[0].startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=rf"{kind}' is a picture of rows; give some: plot\('{kind}', data\)"):
        two.plot(kind)


def test_the_roc_curve_has_the_area_that_the_metrics_say(two: Any) -> None:
    (axes,) = two.plot("roc", CHURN).axes
    x, y = axes.lines[1].get_data()
    assert np.trapezoid(y, x) == pytest.approx(two.evaluate(CHURN)["auc"], abs=5e-3)


def test_pictures_of_the_model_need_no_rows(two: Any) -> None:
    assert titles(two.plot()) == {"Share of the gain of all splits", "Loss"}
    assert titles(two.plot("loss")) - {""} == {"Loss"}
    (axes,) = two.plot("tree", tree=1).axes
    shown = {text.get_text() for text in axes.texts}
    assert "tree 1" in axes.get_title(loc="left") and sum(bool(re.fullmatch(r"[+-][0-9.e-]+", t)) for t in shown) == 4
    with pytest.raises(ConfigError, match="numbered 0 to 2"):
        two.plot("tree", tree=3)
    with pytest.raises(ConfigError, match="there is no picture 'rok'; did you mean 'roc'"):
        two.plot("rok")
    with pytest.raises(ConfigError, match="there is no picture 3; known: "):
        two.plot(3)


def test_arrays_frames_and_other_targets_have_their_pictures() -> None:
    numbers = mrml.Linear().fit(X, NUMBERS, engine="inline")
    assert titles(numbers.plot(None, X, NUMBERS)) >= {"Truth by prediction", "Errors"}
    assert titles(numbers.plot("residuals", X, NUMBERS)) - {""} == {"Errors"}
    with pytest.raises(ConfigError, match="there is no picture 'roc'; there are truth, residuals"):
        numbers.plot("roc", X, NUMBERS)
    three = mrml.Softmax().fit(X, THREE, engine="inline")
    (axes,) = three.plot("confusion", X, THREE).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]


def test_the_command_writes_the_same_pictures_as_svg(two: Any, tmp_path: Path, capsys: Any) -> None:
    model = str(tmp_path / "model")
    two.save(model)
    words = ["evaluate", model, "--data", str(CHURN), "--plot", str(tmp_path / "plots"), "--json", "-q"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(p).name for p in told["plots"]] == [f"{kind}.svg" for kind in OF_TWO] and "auc" in told
    assert main(["inspect", model, "--plot", str(tmp_path / "more"), "--tree", "0", "--json", "-q"]) == 0
    told["plots"] += json.loads(capsys.readouterr().out)["plots"]
    assert {Path(p).name for p in told["plots"]} >= {"importance.svg", "loss.svg", "tree.svg"}
    for path in told["plots"]:
        root = ET.parse(path).getroot()
        assert root.tag.endswith("svg") and root.get("width") and "var(--" not in Path(path).read_text("utf-8")
        before = Path(path).read_bytes()
    assert main(["inspect", model, "--plot", str(tmp_path / "more"), "--tree", "0", "-q"]) == 0
    assert Path(path).read_bytes() == before
    assert main(["evaluate", model, "--data", str(CHURN), "--plot", "p.png", "-q"]) == 2


def test_what_cannot_be_drawn_leaves_nothing_behind(tmp_path: Path, capsys: Any) -> None:
    assert main(["inspect", str(tmp_path / "nope"), "--plot", str(tmp_path / "plots"), "-q"]) == 3
    assert "nope" in capsys.readouterr().err and not (tmp_path / "plots").exists()
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    words = ["evaluate", str(tmp_path / "nope"), "--data", str(CHURN), "--plot", str(tmp_path / "file"), "-q"]
    assert main(words) == 4 and "is a file; name a folder" in capsys.readouterr().err


def test_coefficients_of_a_linear_model_are_a_picture_too(tmp_path: Path) -> None:
    mrml.Linear().fit(X, NUMBERS, engine="inline", output=tmp_path / "model")
    assert main(["inspect", str(tmp_path / "model"), "--plot", str(tmp_path / "c.svg"), "-q"]) == 0
    assert {"x0", "x1", "x2"} <= set(ET.parse(tmp_path / "c.svg").getroot().itertext())


def test_models_metrics_and_searches_are_tables_in_a_notebook(two: Any) -> None:
    page = two._repr_html_()
    assert "<b>boosting</b> of <code>churned</code>: 120 rows" in page and "objective=&#x27;logistic&#x27;" in page
    assert "<th" in two.metrics._repr_html_() and f">{two.metrics['auc']:.6g}<" in two.metrics._repr_html_()
    sklearn = pytest.importorskip("mrml.sklearn")
    search = sklearn.GridSearchCV(sklearn.LinearRegression(engine="inline"), {"l2": [0.0, 9.0]}, cv=2)
    assert "rank" not in search._repr_mimebundle_()["text/html"]
    found = search.fit(X, NUMBERS)._repr_mimebundle_()["text/html"]
    assert found.index("l2=0.0") < found.index("l2=9.0") < found.index("</tbody></table>")
    assert notebook.table(["a"], [["<script>"]]).count("<script>") == 0


BAR = """
import sys, IPython
class Shell: config = {"IPKernelApp": {}}
IPython.get_ipython = lambda: Shell
import mrml, numpy as np
mrml.Linear(solver="lbfgs").fit(np.arange(40.0).reshape(20, 2), np.arange(20.0) ** 2, engine="inline")
"""


@pytest.mark.parametrize("pinned", [True, False])
def test_in_a_notebook_a_fit_shows_its_rounds_whatever_process_computes(pinned: bool) -> None:
    pytest.importorskip("IPython")
    before = "import mrml.pin; mrml.pin.pin()" if pinned else "import numpy"
    environment = {"PYTHONPATH": str(CHURN.parents[1]), "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    done = subprocess.run([sys.executable, "-c", f"{before}\n{BAR}"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and re.search(r"linear: 100%\|.*round/s.*loss", done.stderr), done.stderr
    script = BAR.replace("IPython.get_ipython = lambda: Shell", "")
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{script}"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0 and done.stderr == ""
