"""Runs in a real file store of MLflow: what is logged is what the run says, once however often it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrml.cli.main import main
from tests.test_batch import CHURN, night, run

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'mrml[mlflow]'")
__all__ = ["night"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 would have a database
    return (tmp_path / "mlruns").as_uri()


def runs(store: str, experiment: str) -> list[Any]:
    client = mlflow.MlflowClient(tracking_uri=store)
    found: list[Any] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def test_a_training_is_logged_with_its_metrics_losses_and_files(store: str, tmp_path: Path) -> None:
    output = tmp_path / "model"
    words = [f"--data={CHURN}", "--target=churned", "--id=id", f"--output={output}", "--l2=0.5", f"--mlflow={store}"]
    assert main(["train", "logistic", *words, "-q"]) == 0
    (logged,) = runs(store, "logistic")
    record = json.loads((output / "run.json").read_text("utf-8"))
    assert logged.data.params["l2"] == "0.5" and logged.data.params["target"] == "churned"
    assert logged.data.metrics["train_auc"] == record["metrics"]["auc"] and logged.info.status == "FINISHED"
    client = mlflow.MlflowClient(tracking_uri=store)
    losses = {m.step: m.value for m in client.get_metric_history(logged.info.run_id, "round_loss")}
    assert losses == {f["round"]: f["loss"] for f in record["history"] if "loss" in f} and len(losses) > 2
    assert {a.path for a in client.list_artifacts(logged.info.run_id, "model")} >= {
        "model/model.json",
        "model/model.npz",
    }


def test_a_night_is_one_run_however_often_it_is_told(store: str, night: Path, capsys: Any) -> None:
    path = night / "run.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text("utf-8")), "mlflow": store}), encoding="utf-8")
    facts = run(night, capsys=capsys)
    run(night, "--from=evaluate", capsys=capsys)
    (logged,) = runs(store, "run.yaml")
    assert logged.data.tags["mrml.verdict"] == "promoted" and logged.data.tags["mrml.run"] == facts["run"]
    assert logged.data.metrics["auc"] == facts["metrics"]["auc"]
    client = mlflow.MlflowClient(tracking_uri=store)
    assert "report.html" in {a.path for a in client.list_artifacts(logged.info.run_id)}


def test_a_server_that_is_not_there_loses_no_model(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    output = tmp_path / "model"
    words = [f"--data={CHURN}", "--target=churned", f"--output={output}", "--mlflow=http://127.0.0.1:9"]
    assert main(["train", "logistic", *words, "-q"]) == 0
    assert "was not told" in capsys.readouterr().err and (output / "_SUCCESS").exists()


def test_a_password_in_the_address_is_refused(tmp_path: Path, capsys: Any) -> None:
    words = [f"--data={CHURN}", "--target=churned", f"--output={tmp_path / 'm'}", "--mlflow=http://me:secret@host"]
    assert main(["train", "logistic", *words, "-q"]) == 2
    told = capsys.readouterr().err
    assert "holds a password" in told and "secret" not in told and not (tmp_path / "m").exists()
