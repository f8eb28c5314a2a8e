"""Runs in a real file store of MLflow: what is logged is what the run says, once however often it is told."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrml import pin
from mrml.cli.main import main
from mrml.runs.batch.file import read
from mrml.runs.batch.run import plan
from tests.test_batch import CHURN, DAY, night, run

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


def retries(caplog: Any) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("urllib3") and "Retrying" in r.getMessage()]


def test_a_server_that_is_not_there_loses_no_model(tmp_path: Path, capsys: Any, caplog: Any) -> None:
    output = tmp_path / "model"
    words = [f"--data={CHURN}", "--target=churned", f"--output={output}", "--mlflow=http://127.0.0.1:9"]
    assert main(["train", "logistic", *words, "-q"]) == 0
    assert "could not be updated" in capsys.readouterr().err and (output / "_SUCCESS").exists()
    assert [f"total={n}," in line for n, line in zip((1, 0), retries(caplog), strict=True)] == [True, True]
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in pin.environment()  # bounds are of our calls only


def test_a_password_in_the_address_is_refused(tmp_path: Path, capsys: Any) -> None:
    words = [f"--data={CHURN}", "--target=churned", f"--output={tmp_path / 'm'}", "--mlflow=http://me:secret@host"]
    assert main(["train", "logistic", *words, "-q"]) == 2
    told = capsys.readouterr().err
    assert "holds a password" in told and "secret" not in told and not (tmp_path / "m").exists()


def with_mlflow(night: Path, uri: str) -> None:
    path = night / "run.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text("utf-8")), "mlflow": uri}), encoding="utf-8")


def test_a_run_that_was_not_logged_is_when_it_is_said_again(
    night: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with_mlflow(night, "{{ secret.WHERE }}")
    monkeypatch.setenv("WHERE", "http://127.0.0.1:9")  # where nobody listens
    run(night, capsys=capsys)
    monkeypatch.setenv("WHERE", (tmp_path / "mlruns").as_uri())
    facts = run(night, capsys=capsys)
    assert {s["outcome"] for s in facts["steps"].values()} == {"done"} and facts["steps"]["report"]["kept"]
    (logged,) = runs((tmp_path / "mlruns").as_uri(), "run.yaml")
    ended = logged.info.end_time
    run(night, capsys=capsys)  # which was told already
    assert runs((tmp_path / "mlruns").as_uri(), "run.yaml")[0].info.end_time == ended


@pytest.mark.parametrize("from_file", [False, True])
def test_secrets_of_the_address_are_in_no_file_of_the_run_and_in_no_log(
    from_file: bool, night: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    word, quoted = "hunter2 @/:x", "hunter2%20%40%2F%3Ax"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if from_file:
        secret = night.parent / f"{night.name}.secret"  # as Docker and Kubernetes bring them
        secret.write_text(word + "\n", encoding="utf-8")
        monkeypatch.setenv("MLFLOW_PW_FILE", str(secret))
    else:
        monkeypatch.setenv("MLFLOW_PW", word)
    seen: list[str] = []
    with listening(seen) as port:
        with_mlflow(night, f"http://me:{{{{ secret.MLFLOW_PW }}}}@127.0.0.1:{port}")
        assert main(["run", str(night / "run.yaml"), DAY, "--dry-run", "--json", "-v"]) == 0
        assert main(["run", str(night / "run.yaml"), DAY, "-v"]) == 0
    assert seen and set(seen) == {"Basic " + base64.b64encode(f"me:{word}".encode()).decode()}
    told = capsys.readouterr()
    assert "could not be updated" in told.err and "{{ secret.MLFLOW_PW }}" in told.out
    files = [path for path in night.rglob("*") if path.is_file()]
    assert {"report.html", "run.json", "begun.json", "identity.json"} <= {path.name for path in files}
    for text in (told.out, told.err, *(path.read_bytes().decode("latin-1") for path in files)):
        assert word not in text and quoted not in text
    before = json.loads(json.dumps(plan_of(night)))
    monkeypatch.setenv("MLFLOW_PW", "hunter3")
    assert plan_of(night)["run"] == before["run"]  # nor does the id of the run depend on it


def plan_of(night: Path) -> dict[str, Any]:
    return plan(read(str(night / "run.yaml"), {"ds": "2026-11-20"}))


@contextlib.contextmanager
def listening(seen: list[str]) -> Iterator[int]:
    """A server that lets nobody in, and notes by what he tried."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(str(self.headers.get("Authorization")))
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
