"""Runs in MLflow: parameters, metrics, losses by round, files and where it came from.

MLflow's own client does it, with what its environment says of credentials (MLFLOW_TRACKING_TOKEN and the like): none is
taken from the command line or a run file, which others can read.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mrml import logs, pin
from mrml.errors import ConfigError
from mrml.fs.folder import Folder

log = logging.getLogger(__name__)
#: the tag by which a run is found again
_RUN = "mrml.run"
#: MLflow's bounds: characters of a parameter, and metrics of one call
_LONGEST, _BATCH = 500, 1000
#: MLflow's own are 120 s and 7 attempts with doubled waits: minutes that a night would stand still for
_BOUNDS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
_FILES = ("model/model.json", "model/model.npz", "model/run.json", "model.json", "model.npz", "run.json", "report.html")


def check(uri: str) -> None:
    """ConfigError where MLflow is not installed, or the address holds a password that is not known for a secret."""
    password = urlsplit(uri).password
    if password and not logs.is_hidden(password):
        finding = "holds a password, which logs and records would hold too"
        raise ConfigError("--mlflow", finding, "export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    try:
        import mlflow
    except ImportError:
        raise ConfigError("--mlflow", "needs mlflow", "install it with: pip install 'mrml[mlflow]'") from None
    assert mlflow


def tell(
    uri: str, experiment: str, run_id: str, run: Mapping[str, Any], directory: str,
    metrics: Mapping[str, Mapping[str, Any]], tags: Mapping[str, Any],
) -> bool:  # fmt: skip
    """Log a run, or log it again in place; whether MLflow took it: else a warning, and the model is there all the same.

    Parameters
    ----------
    uri : a server, or a folder.
    experiment : the name under which runs stand together.
    run_id : one run of ours is one of MLflow's, however often it is told.
    run : the record of the training, ``run.json``.
    directory : where files to keep lie.
    metrics : by the prefix of their names: ``{"valid_": {"auc": 0.9}}``.
    tags : texts, such as the verdict.
    """
    try:
        from mlflow import MlflowClient

        with ExitStack() as held:
            for name, value in _BOUNDS.items():
                if name not in pin.environment():
                    held.enter_context(pin.variable(name, value))
            client = MlflowClient(tracking_uri=uri)
            number = _found(client, experiment, run_id)
            _log(client, number, run, metrics, {**_lineage(run), **tags})
            _artifacts(client, number, directory)
            client.set_terminated(number)
        log.info("mlflow: run %s of the experiment %s at %s", number, experiment, uri)
        return True
    except Exception as error:  # whatever a server, or a client of another version, says
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("mlflow at %s could not be updated: %s; the model is in %s nevertheless", uri, text, directory)
        return False


def _found(client: Any, name: str, run_id: str) -> str:
    """MLflow's id of our run, a new one where there is none."""
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    known = client.search_runs([number], f"tags.`{_RUN}` = '{run_id}'", max_results=1)
    if known:
        return str(known[0].info.run_id)
    return str(client.create_run(number, tags={_RUN: run_id}, run_name=run_id).info.run_id)


def _log(client: Any, number: str, run: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]],
         tags: Mapping[str, Any]) -> None:  # fmt: skip
    from mlflow.entities import Metric, Param, RunTag

    config = run.get("config", {})
    params = {"algorithm": config.get("algorithm", ""), **config.get("params", {})}
    params |= {k: v for k, v in config.get("data", {}).items() if v not in (None, "", [], ())}
    found = [Metric(_plain(prefix + name), value, 0, 0)
             for prefix, of in metrics.items() for name, value in of.items() if _is_number(value)]  # fmt: skip
    for facts in run.get("history", []):
        for name, value in facts.items():
            if name not in ("round", "seconds_in") and _is_number(value):
                found.append(Metric(_plain(f"round_{name}"), value, 0, facts["round"]))
    kept = [Param(_plain(k), str(v)[:_LONGEST]) for k, v in params.items()]
    told = [RunTag(_plain(k), str(v)) for k, v in tags.items() if v not in (None, "")]
    client.log_batch(number, params=kept, tags=told)
    for start in range(0, len(found), _BATCH):
        client.log_batch(number, metrics=found[start : start + _BATCH])


def _artifacts(client: Any, number: str, directory: str) -> None:
    """The files of the model, and the report; through a folder here where they lie on HDFS."""
    folder = Folder(directory)
    with tempfile.TemporaryDirectory(prefix="mrml-") as aside:
        for name in _FILES:
            if folder.exists(name):
                path = Path(aside, Path(name).name)
                path.write_bytes(folder.read(name))
                client.log_artifact(number, str(path), "model" if path.suffix != ".html" else None)


def _lineage(run: Mapping[str, Any]) -> dict[str, Any]:
    versions = {f"mrml.version.{name}": value for name, value in run.get("versions", {}).items()}
    return {
        "mrml.output": run.get("output"),
        "mrml.stop": run.get("stop"),
        "mrml.engine": run.get("engine"),
        **versions,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)


def sides(run: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The metrics of a training by prefix: on training rows and on validation rows."""
    named: Sequence[tuple[str, str]] = (("train_", "metrics"), ("valid_", "valid"))
    return {prefix: run[key] for prefix, key in named if run.get(key)}
