"""mrml run: steps that are each done once, whatever kills them, and a gate before what is in service changes."""

from __future__ import annotations

import csv
import functools
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrml.cli.main import main
from mrml.errors import EngineError
from mrml.fs.folder import Folder
from mrml.model import load
from mrml.runs.batch.file import Batch, read
from mrml.runs.batch.run import plan
from mrml.runs.batch.run import run as done
from mrml.runs.directory import among
from mrml.runs.lease import RemoteLease, fence
from mrml.runs.progress import Silent
from mrml.runs.setup import running
from mrml.runs.store import Store
from tests import answers
from tests.killed import die_at

CHURN = Path(__file__).parents[1] / "data-samples" / "churn"
EXAMPLE = Path(__file__).parents[1] / "conf" / "nightly" / "churn.yaml"
#: times that a run is killed; 200 by hand
KILLS = int(os.environ.get("MRML_TEST_KILLS", "40"))
DAY = "--set=ds=2026-11-20"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """The example's file over one day of rows, below a folder of its own."""
    tree = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    tree["variables"]["root"] = str(tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    day, holdout = tmp_path / "rows" / "ds=2026-11-20", tmp_path / "holdout"
    for folder, name in ((day, "part-00000.csv"), (holdout, "part-00001.csv")):
        folder.mkdir(parents=True)
        shutil.copy(CHURN / name, folder)
    return tmp_path


def run(night: Path, *words: str, code: int = 0, capsys: Any = None) -> dict[str, Any]:
    """The JSON of a run in this process, which ends with that exit code."""
    assert main(["run", str(night / "run.yaml"), DAY, "--json", "-q", *words]) == code
    return answers.check(["run", *words], capsys.readouterr().out) if capsys else {}


def changed(night: Path, **keys: Any) -> None:
    """The file with other values."""
    path = night / "run.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text("utf-8")), **keys}), encoding="utf-8")


def outcomes(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: "kept" if step.get("kept") else step["outcome"] for name, step in facts["steps"].items()}


def test_a_night_is_done_once_and_said_again_it_is_kept(night: Path, capsys: Any) -> None:
    first = run(night, capsys=capsys)
    assert set(outcomes(first).values()) == {"done"} and first["verdict"] == "promoted" and first["version"] == 1
    scores = night / "scores" / "ds=2026-11-20"
    before = {p: p.stat().st_mtime_ns for p in [*scores.iterdir(), *(night / "models").rglob("*")]}
    again = run(night, capsys=capsys)
    assert set(outcomes(again).values()) == {"kept"} and again["run"] == first["run"]
    assert {p: p.stat().st_mtime_ns for p in [*scores.iterdir(), *(night / "models").rglob("*")]} == before
    assert again["metrics"] == first["metrics"]


def test_the_metrics_are_those_of_evaluate_and_the_model_that_of_train(night: Path, capsys: Any) -> None:
    facts = run(night, capsys=capsys)
    rows, model = str(night / "rows" / "ds=2026-11-20"), night / "alone"
    words = ["train", "logistic", "--l2=0.01", "--target=churned", "--id=id", f"--data={rows}", f"--output={model}"]
    assert main([*words, "-q"]) == 0
    for name in ("model.json", "model.npz"):
        assert (Path(facts["directory"]) / "model" / name).read_bytes() == (model / name).read_bytes()
    capsys.readouterr()
    assert main(["evaluate", str(model), f"--data={night / 'holdout'}", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert facts["metrics"] == {**told, "rows": told["n_rows"]}


def test_rows_that_differ_too_much_end_the_night_before_anything_is_learned(night: Path, capsys: Any) -> None:
    run(night, capsys=capsys)
    part = night / "rows" / "ds=2026-11-20" / "part-00000.csv"
    text = part.read_text("utf-8")
    plans = ("free", "basic", "plus", "family")
    part.write_text(functools.reduce(lambda t, plan: t.replace(f'"{plan}"', '"gold"'), plans, text), encoding="utf-8")
    facts = run(night, code=3, capsys=capsys)
    assert outcomes(facts) == {"validate": "failed", "report": "done"} and "plan: psi" in facts["error"]["finding"]
    assert facts["champion"] == 1 and facts["verdict"] is None
    assert {p.name for p in Path(facts["directory"]).iterdir()} == {"steps", "report.html"}
    by = {c["column"]: c for c in facts["steps"]["validate"]["columns"]}
    assert by["plan"]["unseen"] == 1.0 and by["age"]["psi"] == 0.0


def test_a_changed_partition_is_another_run(night: Path, capsys: Any) -> None:
    first = run(night, capsys=capsys)
    part = night / "rows" / "ds=2026-11-20" / "part-00000.csv"
    text = part.read_text("utf-8")
    part.write_text(text.replace("yes", "yEs") if "yes" in text else text[:-2] + "0\n", encoding="utf-8")
    second = run(night, "--dry-run", capsys=capsys)
    assert second["run"] != first["run"] and set(second["steps"].values()) == {"to do"}


def test_what_the_gate_refuses_changes_nothing_and_the_rows_are_scored_all_the_same(night: Path, capsys: Any) -> None:
    run(night, capsys=capsys)
    champion = load(Store(str(night / "models")).directory(1))
    steps = yaml.safe_load((night / "run.yaml").read_text("utf-8"))["steps"]
    changed(night, algorithm={"name": "logistic", "l2": 1e4}, steps={**steps, "gate": "auc > champion.auc + 0.5"})
    facts = run(night, code=7, capsys=capsys)
    assert outcomes(facts) | {"predict": "done"} == outcomes(facts)
    assert outcomes(facts)["gate"] == "refused" and outcomes(facts)["promote"] == "skipped"
    assert facts["verdict"] == "refused" and facts["error"]["exit_code"] == 7
    assert "version 1 stays in service" in facts["error"]["finding"]
    assert facts["steps"]["predict"]["version"] == 1
    assert len(Store(str(night / "models")).switches()) == 1 and champion is not None
    again = run(night, code=7, capsys=capsys)
    assert set(outcomes(again).values()) == {"kept", "skipped"} and again["error"] == facts["error"]


def test_steps_begin_anew_from_one_on_and_alone(night: Path, capsys: Any) -> None:
    run(night, "--only=validate", "--only=train", capsys=capsys)
    assert run(night, "--only=gate", code=2, capsys=capsys)["error"]["finding"] == "is not done"
    done = run(night, capsys=capsys)
    assert outcomes(done)["train"] == "kept" and outcomes(done)["evaluate"] == "done"
    again = run(night, "--from=evaluate", capsys=capsys)
    assert outcomes(again) == {"validate": "kept", "train": "kept", **dict.fromkeys(list(again["steps"])[2:], "done")}
    assert again["champion"] == 1 and again["version"] == 1  # compared with itself, and still in service
    assert run(night, "--from=tarin", code=2, capsys=capsys)["error"]["remedy"] == "did you mean 'train'?"


def test_who_went_into_service_meanwhile_is_not_replaced_unseen(night: Path, capsys: Any) -> None:
    first = run(night, "--only=train", "--only=evaluate", "--only=gate", capsys=capsys)
    other = night / "other"
    rows = night / "rows" / "ds=2026-11-20"
    assert main(["train", "logistic", f"--data={rows}", "--target=churned", f"--output={other}", "-q"]) == 0
    Store(str(night / "models")).promote(str(other))
    capsys.readouterr()
    told = run(night, code=4, capsys=capsys)["error"]
    assert "version 1 went into service meanwhile" in told["finding"] and "--from evaluate" in told["remedy"]
    facts = run(night, "--from=evaluate", capsys=capsys)
    assert facts["run"] == first["run"] and facts["champion"] == 1 and facts["version"] == 2


def other_in_service(night: Path, capsys: Any) -> None:
    """A model that somebody else has put into service."""
    rows, other = night / "rows" / "ds=2026-11-20", night / "other"
    words = [f"--data={rows}", "--target=churned", "--l2=3", f"--output={other}", "--overwrite", "-q"]
    assert main(["train", "logistic", *words]) == 0
    Store(str(night / "models")).promote(str(other))
    capsys.readouterr()


def test_the_gate_done_again_lets_nobody_past_a_model_that_the_new_one_was_not_compared_with(
    night: Path, capsys: Any
) -> None:
    run(night, "--only=train", "--only=evaluate", "--only=gate", capsys=capsys)
    other_in_service(night, capsys)
    assert "meanwhile" in run(night, "--from=gate", code=4, capsys=capsys)["error"]["finding"]
    assert len(Store(str(night / "models")).switches()) == 1


def test_without_a_comparison_the_promotion_can_be_done_again(night: Path, capsys: Any) -> None:
    changed(night, steps={"train": None, "promote": None})
    run(night, "--only=train", capsys=capsys)
    other_in_service(night, capsys)
    run(night, code=4, capsys=capsys)
    assert run(night, "--from=promote", capsys=capsys)["version"] == 2


class Meddling(Silent):
    """Does something when the training ends."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self.meddle = meddle

    def done(self, facts: dict[str, Any]) -> None:
        self.meddle()


def test_the_lineage_tells_the_rows_as_they_were_when_the_night_began(night: Path) -> None:
    batch = read(str(night / "run.yaml"), {"ds": "2026-11-20"})
    part, before = night / "rows" / "ds=2026-11-20" / "part-00000.csv", batch.listing()
    done(batch, only=["train", "evaluate", "gate", "promote"], progress=Meddling(lambda: os.utime(part, (1, 1))))
    assert Store(str(night / "models")).version(1)["lineage"]["inputs"] == before != batch.listing()


def test_the_inputs_are_listed_once_and_the_engine_is_chosen_by_that(
    night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, listed = read(str(night / "run.yaml"), {"ds": "2026-11-20"}), list[int]()
    files = batch.files()
    monkeypatch.setattr(Batch, "files", lambda self: listed.append(1) or files)  # type: ignore[func-returns-value]
    chosen_by = list[Any]()

    def noted(*given: Any) -> Any:
        chosen_by.append(given[2])
        return running(*given)

    monkeypatch.setattr("mrml.runs.batch.run.running", noted)
    done(batch, only=["train"])
    assert (len(listed), chosen_by) == (1, [files])


def test_a_driver_that_lost_the_run_records_nothing(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrml.runs.batch.run.lease_on", RemoteLease)  # as on HDFS, where no kernel keeps it
    batch = read(str(night / "run.yaml"), {"ds": "2026-11-20"})
    (steps,) = [Folder(plan(batch)["directory"]) / "steps"]
    with pytest.raises(EngineError, match="another driver"):
        done(batch, only=["train"], progress=Meddling(lambda: fence(steps)))
    assert not steps.exists("train.json")


def test_a_run_is_another_one_where_the_environment_or_the_schema_file_says_something_else(
    night: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, schema = night / "rows" / "ds=2026-11-20", night / "schema.yaml"
    plain = run(night, "--dry-run", capsys=capsys)
    monkeypatch.setenv("MRML_L2", "5")
    assert run(night, "--dry-run", capsys=capsys)["run"] != plain["run"]
    monkeypatch.delenv("MRML_L2")
    monkeypatch.setenv("MRML_WORKERS", "1")  # which changes no result
    assert run(night, "--dry-run", capsys=capsys)["run"] == plain["run"]
    assert main(["schema", str(rows), "--target=churned", "--id=id", f"--output={schema}"]) == 0
    capsys.readouterr()
    data = yaml.safe_load((night / "run.yaml").read_text("utf-8"))["data"]
    changed(night, data={"data": data["data"], "schema": str(schema)})
    before = run(night, "--dry-run", capsys=capsys)["run"]
    schema.write_text(schema.read_text("utf-8").replace("name: age, kind: numeric", "name: age, kind: categorical"))
    assert run(night, "--dry-run", capsys=capsys)["run"] != before


def test_the_first_profile_is_of_the_columns_as_the_schema_file_has_them(night: Path, capsys: Any) -> None:
    rows, schema = night / "rows" / "ds=2026-11-20", night / "schema.yaml"
    words = [str(rows), "--target=churned", "--id=id", "--categorical=age", f"--output={schema}"]
    assert main(["schema", *words]) == 0
    capsys.readouterr()
    data = yaml.safe_load((night / "run.yaml").read_text("utf-8"))["data"]
    changed(night, data={"data": data["data"], "schema": str(schema)})
    facts = run(night, "--only=validate", capsys=capsys)
    profile = json.loads((Path(facts["directory"]) / "profile.json").read_text("utf-8"))
    assert profile["columns"]["age"]["kind"] == "categorical"


def test_the_directory_of_a_run_has_a_name_that_hdfs_takes(night: Path) -> None:
    tree = (night / "run.yaml").read_text("utf-8")
    odd = night / "nightly:eu #1.yaml"
    odd.write_text(tree.replace("{{ ds }}", "2026-11-20").replace("ds: null", "other: null"), encoding="utf-8")
    assert read(str(odd), {}).label == "nightly_eu__1"


@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "logistic"},
        {"name": "boosting", "objective": "logistic", "num_trees": 3},
        {"name": "factorization-machine", "epochs": 1},
    ],
    ids=lambda algorithm: algorithm["name"],
)
def test_a_night_may_begin_from_the_model_in_service(night: Path, capsys: Any, algorithm: dict[str, Any]) -> None:
    steps = {"train": {"warm_start": True}, "promote": None}
    changed(night, algorithm=algorithm, steps=steps)
    first = run(night, capsys=capsys)
    assert first["steps"]["train"]["began_from"] is None
    changed(night, max_rounds=100)  # another run over the same rows
    second = run(night, capsys=capsys)
    store = Store(str(night / "models"))
    assert second["steps"]["train"]["began_from"] == store.directory(1)
    assert store.version(2)["lineage"]["began_from"] == store.directory(1)
    if algorithm["name"] == "logistic":
        assert second["steps"]["train"]["rounds"] < first["steps"]["train"]["rounds"]
    elif algorithm["name"] == "boosting":
        trees = [load(store.directory(n)).inner.shape()["trees"] for n in (1, 2)]  # type: ignore[attr-defined]
        assert trees[1] > trees[0] > 0
    else:
        losses = [load(store.directory(n)).inner.facts["loss"] for n in (1, 2)]  # type: ignore[attr-defined]
        assert losses[1] < losses[0]


def test_a_champion_of_before_there_was_a_profile_stops_no_night(night: Path, capsys: Any) -> None:
    other, rows = night / "other", night / "rows" / "ds=2026-11-20"
    assert main(["train", "logistic", f"--data={rows}", "--target=churned", f"--output={other}", "-q"]) == 0
    Store(str(night / "models")).promote(str(other))
    capsys.readouterr()
    assert main(["run", str(night / "run.yaml"), DAY, "--json"]) == 0
    told = capsys.readouterr()
    assert "has no profile" in told.err and json.loads(told.out)["steps"]["validate"]["against"] is None


def test_clusters_have_nights_too(night: Path, capsys: Any) -> None:
    steps = {"validate": None, "train": {"warm_start": True}, "evaluate": None, "promote": None, "report": None}
    changed(night, algorithm={"name": "kmeans", "k": 3}, steps={**steps, "gate": "inertia < 1.1 * champion.inertia"})
    facts = run(night, capsys=capsys)
    assert facts["verdict"] == "promoted" and facts["metrics"]["inertia"] > 0
    again = run(night, "--from=train", capsys=capsys)
    assert again["champion"] == 1 and again["steps"]["gate"]["clauses"][0]["holds"] is True


def test_a_class_that_the_champion_does_not_know_stops_no_night(night: Path, capsys: Any) -> None:
    steps: dict[str, Any] = dict.fromkeys(("train", "promote", "report"))
    steps["evaluate"] = {"data": str(night / "holdout")}
    changed(night, algorithm={"name": "softmax"}, steps={**steps, "gate": "accuracy >= champion.accuracy"})
    first = run(night, capsys=capsys)
    holdout = night / "holdout" / "part-00001.csv"
    known = holdout.read_text("utf-8")
    for part in (night / "rows" / "ds=2026-11-20" / "part-00000.csv", holdout):
        rows = list(csv.reader(part.read_text("utf-8").splitlines()))
        for row in rows[1::7]:
            row[rows[0].index("churned")] = "maybe"
        with part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    changed(night, steps={**steps, "gate": "accuracy >= champion.accuracy + 1"})
    facts = run(night, code=7, capsys=capsys)
    n_rows = len(known.splitlines()) - 1
    left_out = len(range(0, n_rows, 7))
    found = facts["steps"]["evaluate"]
    assert (found["metrics"]["n_rows"], found["champion"]["n_rows"]) == (n_rows, n_rows - left_out)
    (note,) = found["notes"]
    assert f"version 1 does not know the classes 'maybe': its figures leave out {left_out} of {n_rows} rows" in note
    assert "low" not in found["comparison"]["metrics"]["accuracy"] and facts["error"]["finding"].endswith("in service")
    page = Path(facts["report"]).read_text("utf-8")
    assert "does not know the classes &#39;maybe&#39;" in page
    rest = night / "rest.csv"
    maybe = [row for row in holdout.read_text("utf-8").splitlines() if "maybe" not in row]
    rest.write_text("\n".join(maybe) + "\n", encoding="utf-8")
    model = str(Path(first["directory"]) / "model")
    assert main(["evaluate", model, f"--data={rest}", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {**found["champion"], "left_out": None, "rows": None} == {**told, "left_out": None, "rows": None}
    store, new = f"--store={night / 'models'}", str(Path(facts["directory"]) / "model")
    words = ["models", "promote", new, store, f"--data={night / 'holdout'}", "-q", "--json"]
    assert main([*words, "--gate=accuracy > champion.accuracy + 1"]) == 7
    assert json.loads(capsys.readouterr().out)["clauses"][0]["values"]["champion.accuracy"] == told["accuracy"]
    assert main([*words, "--gate=accuracy > champion.accuracy - 1"]) == 0


def test_models_that_rank_have_nights_too(night: Path, capsys: Any) -> None:
    rows = ["x,relevance,query", *(f"{i * 7 % 11},{i * 7 % 4},{i // 8}" for i in range(400))]
    (night / "ranks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = {"data": str(night / "ranks.csv"), "target": "relevance", "group": "query"}
    algorithm = {"name": "boosting", "objective": "lambdarank", "num_trees": 3}
    steps = dict.fromkeys(("validate", "train", "evaluate", "promote", "report"))
    changed(night, algorithm=algorithm, data=data, steps={**steps, "gate": "ndcg >= champion.ndcg"})
    run(night, capsys=capsys)
    changed(night, max_rounds=100)  # another run over the same rows
    facts = run(night, capsys=capsys)
    assert facts["champion"] == 1 and facts["verdict"] == "promoted"
    assert facts["steps"]["evaluate"]["comparison"]["metrics"]["ndcg"]["difference"] == 0
    models = [str(Path(facts["directory"]) / "model")] * 2
    assert main(["compare", *models, f"--data={night / 'ranks.csv'}", "-q"]) == 0
    assert "no intervals of rankings" in capsys.readouterr().out


def test_what_cannot_begin_from_a_model_is_refused_before_the_night(night: Path, capsys: Any) -> None:
    changed(night, algorithm={"name": "forest"}, steps={"train": {"warm_start": True}})
    told = run(night, code=2, capsys=capsys)["error"]
    assert "begins from no model" in told["finding"] and "warm_start" in told["place"]


def told(night: Path, capsys: Any) -> list[dict[str, Any]]:
    """What `mrml runs list` tells below the night's folder, of the newest run first."""
    capsys.readouterr()
    assert main(["runs", "list", str(night), "--json"]) == 0
    runs: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    return sorted(runs, key=lambda r: -Path(r["output"], "steps", "begun.json").stat().st_mtime)


def test_mrml_runs_tells_of_a_night_as_one_run_with_its_steps(night: Path, capsys: Any) -> None:
    facts = run(night, "--only=validate", "--only=train", capsys=capsys)
    (found,) = told(night, capsys)
    assert (found["id"], found["output"], found["state"]) == (facts["run"], facts["directory"], "stopped")
    assert found["algorithm"] == "logistic" and found["round"] == facts["steps"]["train"]["rounds"]
    assert list(found["steps"]) == list(run(night, "--dry-run", capsys=capsys)["steps"])
    assert found["steps"]["train"] == "done" and found["steps"]["gate"] == "to do"
    assert main(["runs", "attach", facts["directory"]]) == 5 and capsys.readouterr()
    run(night, capsys=capsys)
    assert [r["state"] for r in told(night, capsys)] == ["finished"]
    assert main(["runs", "show", facts["directory"]]) == 0 and "step promote" in capsys.readouterr().out
    steps = yaml.safe_load((night / "run.yaml").read_text("utf-8"))["steps"]
    changed(night, steps={**steps, "gate": "auc > champion.auc + 0.5"})
    refused = run(night, code=7, capsys=capsys)
    newest = told(night, capsys)[0]
    assert newest["state"] == "refused" and newest["steps"]["promote"] == "skipped"
    assert main(["runs", "attach", refused["directory"]]) == 7
    (Path(refused["directory"]) / "steps" / "evaluate.json").write_text(json.dumps({"outcome": "failed"}))
    assert told(night, capsys)[0]["state"] == "failed"


def test_mrml_runs_kill_ends_the_driver_of_a_night_and_the_same_command_goes_on(night: Path, capsys: Any) -> None:
    hold = "import mrml.runs.batch.run as r, sys, time; from mrml.cli.main import main;"
    hold += (
        "r.DO['evaluate'] = lambda night: (print('held', flush=True), time.sleep(600)); sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", hold, "run", str(night / "run.yaml"), DAY, "-q"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "held\n"
        (found,) = told(night, capsys)
        assert (found["state"], found["driver"]["pid"]) == ("running", driver.pid)
        assert main(["runs", "kill", found["output"], "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"run": found["id"], "driver": "ended", "jobs": []}
        assert driver.wait(30) == 130
    assert told(night, capsys)[0]["state"] == "stopped"
    assert outcomes(run(night, capsys=capsys))["train"] == "kept" and told(night, capsys)[0]["state"] == "finished"


def finished(night: Path, capsys: Any) -> dict[str, bytes]:
    """The model in service and the predictions, after the run went on to its end."""
    run(night, capsys=capsys)
    store, scores = Store(str(night / "models")), night / "scores" / "ds=2026-11-20"
    (switch,), (version,) = store.switches(), store.versions()  # a number that a kill left unused stays so
    assert switch.version == version["number"]
    files = [*Path(store.directory(switch.version)).glob("model.*"), *scores.iterdir()]
    left = [p.name for p in scores.parent.iterdir()]
    assert left == ["ds=2026-11-20"], "what was begun and not finished stays beside the scores"
    return {p.name: p.read_bytes() for p in files}


def test_killed_at_any_call_of_the_file_system_the_same_command_ends_as_if_nothing_had_been(
    night: Path, capsys: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    steps = yaml.safe_load((night / "run.yaml").read_text("utf-8"))["steps"]
    changed(night, steps={name: steps[name] for name in steps if name != "report"})  # half a second, and no part of it
    kept = tmp_path_factory.mktemp("kept") / "night"
    shutil.copytree(night, kept)
    whole = finished(night, capsys)
    draw, died = random.Random(5), 0  # a run makes about 110 calls
    for call in [*range(1, 16), *(draw.randrange(16, 110) for _ in range(KILLS - 15))]:
        shutil.rmtree(night)
        shutil.copytree(kept, night)
        died += die_at(call, lambda: main(["run", str(night / "run.yaml"), DAY, "-q"])) == 9
        for switch in Store(str(night / "models")).switches():
            load(Store(str(night / "models")).directory(switch.version))
        assert finished(night, capsys) == whole, call
    assert died > 0.6 * KILLS


@pytest.mark.parametrize(
    ("keys", "finding"),
    [
        ({"output": "x"}, "'output' is not a key of a run of steps"),
        ({"steps": {"tarin": None}}, "unknown step 'tarin'"),
        ({"steps": {"train": {"data": 3}}}, "unknown key 'data'"),
        ({"steps": {"gate": "auc >"}}, "'auc >' is not an expression"),
        ({"steps": {"train": None, "gate": "acu > 0.5"}}, "'acu' is not a metric"),
        ({"steps": {}}, "names no step"),
        ({"work": None}, "has no work:"),
        ({"store": None}, "promotes, and has no store:"),
        ({"algorithm": None}, "names no algorithm"),
        ({"algorithm": {"name": "logistic", "l3": 1}}, "unknown key 'l3'"),
        ({"data": {"data": "{{ nothing }}"}}, "{{ nothing }} names no variable"),
        ({"variables": {"ds": "2026-13-01"}}, "names no variable"),
        ({"work": "{{ env.MY_UNSET_ROOT }}/runs"}, "the environment has no MY_UNSET_ROOT"),
        ({"mlflow": "http://me:{{ secret.MY_UNSET }}@host"}, "{{ secret.MY_UNSET }} has no value"),
        ({"engine": {"jobconf": ["a={{ secret.KEY }}"]}}, "{{ secret.KEY }} would be written into files"),
        ({"data": {"data": "hdfs://me:{{secret.KEY}}@host/rows"}}, "{{secret.KEY}} would be written into files"),
        ({"variables": [1]}, "is not a section"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_place(
    night: Path, capsys: Any, keys: dict[str, Any], finding: str
) -> None:
    changed(night, **keys)
    told = run(night, code=2, capsys=capsys)["error"]
    assert finding in told["finding"] and "run.yaml" in told["place"] and told["remedy"]
    assert not (night / "runs").exists() and not (night / "models").exists()


def test_values_come_from_the_environment_and_count_as_any_other(
    night: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_ROOT", str(night))
    monkeypatch.setenv("MY_L2", "0.5")
    changed(
        night, variables={"ds": None, "root": "{{ env.MY_ROOT }}"}, algorithm={"name": "logistic", "l2": "${env.MY_L2}"}
    )
    facts = run(night, "--only=train", capsys=capsys)
    assert json.loads(Path(facts["directory"], "model", "run.json").read_text("utf-8"))["config"]["params"]["l2"] == 0.5
    monkeypatch.setenv("MY_L2", "0.25")
    assert run(night, "--dry-run", capsys=capsys)["run"] != facts["run"]


@pytest.mark.parametrize(("name", "near"), [("MRML_L3", "MRML_L2"), ("MRML_OUTPUT", "")])
def test_a_variable_that_means_nothing_to_a_night_is_refused(
    name: str, near: str, night: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "5")
    told = run(night, code=2, capsys=capsys)["error"]
    assert told["place"] == "environment" and name in told["finding"] and near in told["remedy"]


@pytest.mark.parametrize("name", ["steps/train.json", "switches/000001", "000001/profile.json", "000001/version.json"])
def test_what_a_night_has_left_and_is_damaged_is_told_by_its_path(night: Path, capsys: Any, name: str) -> None:
    run(night, capsys=capsys)
    (path,) = [p for p in night.rglob(Path(name).name) if str(p).endswith(name)]
    path.write_text("{", encoding="utf-8")
    if "steps" not in name:
        changed(night, max_rounds=99)  # another run over the same rows
    told = run(night, code=3, capsys=capsys)["error"]
    assert told["place"] == str(path) and "is not JSON" in told["finding"] and told["remedy"]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
@pytest.mark.parametrize("key", ["evaluate", "validate", "train"])
def test_predictions_never_take_the_place_of_rows_that_a_step_reads(
    night: Path, capsys: Any, key: str, words: tuple[str, ...]
) -> None:
    """A folder of part files with _SUCCESS, as Spark writes them, looks like predictions of before."""
    holdout, rows = night / "holdout", night / "rows" / "ds=2026-11-20"
    (holdout / "_SUCCESS").touch()
    before = {p.name: p.read_bytes() for p in holdout.iterdir()}
    link = night / "other name"
    link.symlink_to(holdout)
    steps = {"train": None, key: {"data": f"{link}/*.csv"}, "predict": {"data": str(rows), "output": str(holdout)}}
    if key == "train":
        changed(night, data={"data": f"{link}/*.csv", "target": "churned", "id": "id"})
        steps["train"] = None
    changed(night, steps=steps)
    error = run(night, *words, code=2, capsys=capsys)["error"]
    assert "holds the input file" in error["finding"] and error["remedy"] == "name another output"
    assert {p.name: p.read_bytes() for p in holdout.iterdir()} == before and not (night / "runs").exists()


@pytest.mark.parametrize("output", ["", "runs", "models/"])
def test_predictions_never_take_the_place_of_runs_or_of_the_store(night: Path, capsys: Any, output: str) -> None:
    changed(night, steps={"train": None, "predict": {"output": f"{night}/{output}"}})
    error = run(night, code=2, capsys=capsys)["error"]
    assert "holds work" in error["finding"] or "holds store" in error["finding"]


def test_a_night_of_clusters_tells_their_inertia(night: Path, capsys: Any) -> None:
    rows = {"data": str(CHURN), "exclude": ["id", "churned"]}
    changed(night, algorithm={"name": "kmeans", "k": 2}, data=rows, steps={"train": None, "evaluate": None})
    assert main(["run", str(night / "run.yaml"), DAY, "-q"]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if "evaluate" in line)
    assert "inertia" in told and "n_rows" not in told


@pytest.mark.parametrize(
    ("text", "finding"),
    [("steps: &a {train: *a}", "contains itself"), ("[" * 5000, "contains itself"), (None, "Is a directory")],
)
def test_what_is_no_run_file_is_told_with_its_remedy(
    tmp_path: Path, capsys: Any, text: str | None, finding: str
) -> None:
    path = tmp_path / "run.yaml"
    path.mkdir() if text is None else path.write_text(text, encoding="utf-8")
    error = run(tmp_path, code=2, capsys=capsys)["error"]
    assert finding in error["finding"] and error["remedy"]


@pytest.mark.parametrize("name", ["work", "store", "predict", "report"])
def test_what_is_written_among_the_rows_is_refused_but_for_hidden_names(night: Path, capsys: Any, name: str) -> None:
    place = f"{night}/rows/../rows/ds=2026-11-20/more"
    steps = {"train": None, name: {"output": place}} if name in ("predict", "report") else {"train": None}
    changed(night, steps=steps, **({} if len(steps) > 1 else {name: place}))
    told = run(night, code=2, capsys=capsys)["error"]
    assert "lies in the input" in told["finding"] and name in told["place"]
    assert among("hdfs://name/rows/more", "hdfs://name/rows/") and not among("hdfs://name/rows2", "hdfs://name/rows")
    changed(night, steps={"train": None}, work=f"{night}/rows/ds=2026-11-20/_runs", store=None)
    assert run(night, capsys=capsys)["run"] == run(night, capsys=capsys)["run"]


def test_the_predictions_are_the_rows_in_their_order(night: Path, capsys: Any) -> None:
    run(night, capsys=capsys)
    ids = [row["id"] for row in csv.DictReader((CHURN / "part-00000.csv").open(encoding="utf-8"))]
    parts = sorted((night / "scores" / "ds=2026-11-20").glob("part-*"))
    assert [row["id"] for part in parts for row in csv.DictReader(part.open(encoding="utf-8"))] == ids
