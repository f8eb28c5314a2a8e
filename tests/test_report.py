"""mrml report: one page that asks nothing of the network, whose pictures are those of the model's predictions."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_iris

from mrml.algorithm import State
from mrml.algorithms.evaluation.curves import Curves
from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig
from mrml.runs.batch.compare import curves_of
from mrml.runs.report import drawing, facts, plots
from tests.shared import shared
from tests.test_batch import CHURN, EXAMPLE, night, run

__all__ = ["night"]
BUILD = Path(__file__).parents[1] / "build" / "reports"
VOID = {"meta", "br", "path", "use", "rect", "image"}
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]  # fmt: skip


class Checked(html.parser.HTMLParser):
    """Every element is closed; what the page asks for, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.asked, self.texts, self.ids = list[str](), list[str](), list[str](), list[str]()
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in VOID else [tag]
        about = dict(attrs)
        self.ids += [about["id"] or ""] if "id" in about else []
        self.asked += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action", "onload", "onclick")]
        assert tag not in ("script", "link", "iframe", "img"), tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.ids += [about["id"] or ""] if "id" in about else []
        self.asked += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def check(path: Path) -> Checked:
    """The page, well formed, that asks for nothing but its own parts."""
    text = path.read_text("utf-8")
    page = Checked(text)
    assert all(asked.startswith("#") for asked in page.asked), page.asked
    assert len(set(page.ids)) == len(page.ids)
    assert {a[1:] for a in page.asked} <= set(page.ids)
    assert "url(http" not in text and "@import" not in text
    return page


def looked_at(path: Path, name: str, *more: str) -> None:
    """The page in a real browser: no error, and a picture of it below build/."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not on this machine: make browser")
    BUILD.mkdir(parents=True, exist_ok=True)
    picture = BUILD / f"{name}.png"
    picture.unlink(missing_ok=True)
    words = [*CHROMIUM, f"--user-data-dir={path.parent / 'profile'}", *more, f"--screenshot={picture}", path.as_uri()]
    done = subprocess.run([chromium, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and picture.stat().st_size > 20_000, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr


def train(folder: Path, algorithm: str, data: Path, *words: str) -> Path:
    assert main(["train", algorithm, f"--data={data}", f"--output={folder / 'model'}", *words, "-q"]) == 0
    return folder / "model"


def report(model: Path, *words: str) -> Checked:
    assert main(["report", str(model), f"--output={model}.html", *words, "-q"]) == 0
    return check(Path(f"{model}.html"))


def test_the_page_of_a_night_tells_its_verdict_and_is_looked_at_in_a_browser(night: Path, capsys: Any) -> None:
    first = run(night, capsys=capsys)
    tree = yaml.safe_load((night / "run.yaml").read_text("utf-8"))
    tree["steps"]["gate"] = "auc > champion.auc + 0.5 and rows > 1"
    (night / "run.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    second = run(night, code=7, capsys=capsys)
    good, bad = check(Path(first["report"])), check(Path(second["report"]))
    assert "version 1 is in service" in good.texts and "refused by the gate" in bad.texts
    assert {"auc > champion.auc + 0.5", "does not hold", "may be chance"} <= set(bad.texts)
    assert any(text.startswith(f"mrml run {night / 'run.yaml'} --set=ds=2026-11-20") for text in bad.texts)
    assert {"ROC", "Precision and recall", "Calibration", "Loss"} <= set(bad.texts)
    record = json.loads((Path(first["directory"]) / "model" / "run.json").read_text("utf-8"))
    slowest = record["slowest_splits"]
    assert slowest[0]["split"] == "part-00000.csv, block 0" and slowest[0]["rows"] == record["n_rows"]
    assert slowest[0]["seconds"] == max(split["seconds"] for split in slowest) <= record["seconds"]
    assert {"Slowest splits", "Rounds", "part-00000.csv, block 0"} <= set(good.texts)
    assert sum(f["bytes_up"] for f in record["history"]) == record["bytes_up"] > 0
    looked_at(Path(second["report"]), "refused-light", "--window-size=1100,2400")
    dark = "--blink-settings=preferredColorScheme=0"
    looked_at(Path(second["report"]), "refused-dark-phone", "--window-size=500,3200", dark)


def test_a_night_that_failed_has_a_page_too(night: Path, capsys: Any) -> None:
    tree = yaml.safe_load((night / "run.yaml").read_text("utf-8"))
    tree["steps"]["validate"] = {"min_rows": 1000}
    (night / "run.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    told = run(night, code=3, capsys=capsys)
    assert {name: step["outcome"] for name, step in told["steps"].items()} == {"validate": "failed", "report": "done"}
    page = check(Path(told["report"]))
    assert "validate failed" in page.texts and any("fewer than 1000" in text for text in page.texts)


def test_the_curves_are_those_of_the_predictions(tmp_path: Path) -> None:
    data = shared("telco-churn", "Telco-Customer-Churn.csv")
    model = train(tmp_path, "logistic", data, "--target=Churn", "--id=customerID")
    told = curves_of(str(model), DataConfig(data=(str(data),)), EngineConfig())
    weight, true = np.array(told["weight"])[::-1], np.array(told["true"])[::-1]
    hits, alarms = np.cumsum(true), np.cumsum(weight - true)
    auc = np.trapezoid([0, *hits / hits[-1]], [0, *alarms / alarms[-1]])
    metrics = json.loads((model / "run.json").read_text("utf-8"))["metrics"]
    assert auc == pytest.approx(metrics["auc"], abs=2e-3) and weight.sum() == metrics["n_rows"]
    assert set(plots.curves(told)) == {"ROC", "Precision and recall", "Calibration", "Confusion"}


def test_a_model_of_numbers_and_one_of_many_classes_have_pictures_of_their_own(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    rows = tmp_path / "iris.csv"
    names = np.array(["setosa", "versi$color", "<b>virginica</b>"])[y]
    text = "\n".join(["a,b,c,d,kind", *(",".join(map(str, (*r, n))) for r, n in zip(x, names, strict=True))])
    rows.write_text(text + "\n", encoding="utf-8")
    (tmp_path / "s").mkdir()
    softmax = train(tmp_path / "s", "softmax", rows, "--target=kind")
    page = report(softmax, f"--data={rows}")
    assert "<b>virginica</b>" in page.texts and "versi$color" in page.texts
    told = curves_of(str(softmax), DataConfig(data=(str(rows),)), EngineConfig())
    assert np.sum(told["confusion"]) == 150 and np.trace(told["confusion"]) >= 145
    linear = train(tmp_path, "linear", rows, "--target=a", "--exclude=kind")
    page = report(linear, f"--data={rows}")
    assert {"Truth by prediction", "Errors"} <= set(page.texts)
    told = curves_of(str(linear), DataConfig(data=(str(rows),)), EngineConfig())
    assert np.sum(told["errors"]) == np.sum(told["weight"]) == 150
    assert np.sum(told["true"]) == pytest.approx(x[:, 0].sum())


def test_boosted_trees_and_clusters_have_pages(tmp_path: Path) -> None:
    churn = EXAMPLE.parents[2] / "data-samples" / "churn"
    words = ["--target=churned", "--objective=logistic", "--num-trees=5"]
    (tmp_path / "b").mkdir()
    page = report(train(tmp_path / "b", "boosting", churn, *words))
    assert "Share of the gain of all splits" in page.texts
    page = report(train(tmp_path, "kmeans", EXAMPLE.parents[2] / "data-samples" / "clusters", "--k=3"))
    assert any(text.startswith("mrml train kmeans") for text in page.texts)


def test_numbers_too_large_to_be_drawn_and_too_many_classes_leave_their_pictures_out(tmp_path: Path) -> None:
    rows, huge = tmp_path / "rows.csv", tmp_path / "huge.csv"
    rows.write_text("x,y\n" + "".join(f"{i % 7},{i}\n" for i in range(60)), encoding="utf-8")
    huge.write_text("x,y\n1e308,1e308\n-1e308,-1e308\n1,2\n", encoding="utf-8")
    model = train(tmp_path, "linear", rows, "--target=y")
    assert plots.curves(curves_of(str(model), DataConfig(data=(str(huge),)), EngineConfig())) == {}
    assert plots.bars("b", "t", {"a": 1e308}) == plots.losses({"training": ([1], [1e308])}) is None
    member = {"member": {"classes": [str(k) for k in range(5000)]}, "edges": None, "errors": None}
    assert Curves().statistic(State(member), "confusion").n_bytes() == 0  # and not 200 MB


@pytest.mark.parametrize("name", ["a", "m" * 40])
def test_the_title_of_bars_begins_at_the_left_edge_however_long_their_names_are(name: str) -> None:
    """Beginning at the axes, which long names push to the right, it would be cut off."""
    picture = plots.bars("bars", "A title", {name: 1.0, "b": -1.0})
    assert picture
    drawn = drawing.element(picture)
    left = re.search(r'translate\(([0-9.]+) [0-9.]+\)">A title<|x="([0-9.]+)"[^>]*>A title<', drawn)
    assert left and float(left[1] or left[2]) < 10


@pytest.mark.filterwarnings("error")
def test_letters_that_the_drawing_font_has_not_are_no_warning() -> None:
    picture = plots.bars("bars", "A title", {"日本\t語": 1.0})
    assert picture and "日本" in drawing.element(picture)


def test_the_numbers_below_errors_of_hundreds_of_thousands_are_short() -> None:
    told = {"kind": "numbers", "weight": [1.0] * 40, "said": list(range(40)), "true": list(range(40)),
            "edges": [-400_000, 0, 800_000], "errors": [0, 5, 6, 0]}  # fmt: skip
    drawn = drawing.element(plots.curves(told)["Errors"])
    assert ">1e5<" in drawn and "00000<" not in drawn


def test_what_is_no_run_is_told(tmp_path: Path, capsys: Any) -> None:
    assert main(["report", str(tmp_path), f"--output={tmp_path}/r.html", "--json", "-q"]) == 3
    assert "has no run" in json.loads(capsys.readouterr().out)["error"]["finding"]


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("logistic", ["--l2=0.5", "--exclude=age,city"]),
        ("logistic", ["--l2=0"]),
        ("boosting", ["--objective=logistic", "--num-trees=3", "--monotone=age=1", "--l2=0"]),
    ],
)
def test_the_command_to_repeat_a_training_trains_the_same_model(
    tmp_path: Path, algorithm: str, words: list[str]
) -> None:
    import shlex

    churn = EXAMPLE.parents[2] / "data-samples" / "churn"
    model = train(tmp_path, algorithm, churn, "--target=churned", "--id=id", *words)
    command = facts.of_run(str(model))["command"]
    again = re.sub(r"--output=\S+", f"--output={tmp_path / 'again'}", command)
    assert main([*shlex.split(again)[1:], "-q"]) == 0
    for name in ("model.json", "model.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes()


@pytest.mark.parametrize(("output", "finding"), [("", "is a directory"), ("/proc/none/page.html", "cannot be written")])
def test_a_place_where_no_page_can_be_is_told(output: str, finding: str, tmp_path: Path, capsys: Any) -> None:
    model = tmp_path / "m"
    assert main(["train", "logistic", f"--data={CHURN}", "--target=churned", f"--output={model}", "-q"]) == 0
    before = sorted(model.rglob("*"))
    assert main(["report", str(model), f"--output={output or model}", "-q"]) == 2
    told = capsys.readouterr().err
    assert finding in told and (output or str(model)) in told and "Traceback" not in told
    assert sorted(model.rglob("*")) == before
