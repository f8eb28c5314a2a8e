"""Exported networks are the model: onnxruntime, torch and safetensors predict from raw rows what mrml predicts."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the torch extra: make test-torch")

import onnx
import onnxruntime
import safetensors
import safetensors.torch
import torch

from mrml.cli.main import main
from mrml.config.sections import DataConfig
from mrml.errors import ConfigError
from mrml.export import ExportDiffers, net, net_check, net_files
from mrml.kernels.net.torch_net import module_of
from mrml.runs import export as leaving
from mrml.runs import train as run
from tests.torch import data

PLAIN: dict[str, Any] = {**data.MLP, "epochs": 1}
#: algorithm, target, hyperparameters, options of the data
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "two classes, batch norm": ("mlp", "yes", {**PLAIN, "norm": "batch", "dropout": 0.2}, {}),
    "three classes, layer norm, gelu": ("mlp", "kind", {**PLAIN, "norm": "layer", "activation": "gelu"}, {}),
    "numbers, wide and deep, tanh": ("mlp", "amount", {**PLAIN, "wide": True, "activation": "tanh"}, {}),
    "counts, a hashed column": ("mlp", "count", {**PLAIN, "loss": "poisson"}, {"hash": ("shop",), "hash_bits": 5}),
    "factors": ("factorization-machine", "yes", {"epochs": 1}, {}),
    "categories alone": ("mlp", "yes", PLAIN, {"features": ("city", "shop")}),
    "numbers alone": ("mlp", "yes", PLAIN, {"features": ("a", "b")}),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return data.made_rows(tmp_path_factory.mktemp("rows"), 600)


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, rows: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained model of each kind."""
    return made(str(request.param), rows, tmp_path_factory.mktemp("model"))


def made(name: str, rows: str, folder: Path) -> str:
    algorithm, target, params, more = MODELS[name]
    options = dict(more)
    if "features" in options:
        options["exclude"] = ()
    data.trained(rows, folder / "model", target, algorithm=algorithm, data=options, **params)
    return str(folder / "model")


def predicted(model: str, rows: str) -> Any:
    """(n, k) what the model itself says: means, or the probabilities of all classes."""
    loaded = run.load_model(model)
    dataset = run.scoring_config(loaded, DataConfig(data=(rows,), window_bytes=1 << 22), ("feature",))
    found = []
    for block in (b for split in dataset.splits(1 << 20) for part in split for b in dataset.read(part)):
        told = loaded.predict(block)
        found.append(told.y_pred[:, None] if told.probability is None else told.probability)
    return np.concatenate(found)


def raw_rows(rows: str, header: dict[str, Any]) -> dict[str, Any]:
    """What the inputs of an ONNX file are fed with, from the texts of the file and the file's own metadata."""
    with open(rows, newline="") as file:
        table = list(csv.DictReader(file))
    x = np.array([[float(row[c] or "nan") for c in header["columns"]] for row in table]).reshape(len(table), -1)
    codes = np.zeros((len(table), len(header["codes"])), np.int64)
    for j, told in enumerate(header["codes"]):
        for i, row in enumerate(table):
            codes[i, j] = code_of(row[told["column"]], told)
    return {"X": x, "codes": codes}


def code_of(text: str, told: dict[str, Any]) -> int:
    """The code of a level, as the documentation of the metadata has it."""
    if "bits" in told:
        from mrml.algorithms.pipeline.transforms import fnv1a

        return fnv1a(f"{told['column']}={text}".encode()) % (1 << told["bits"])
    if text in told["levels"]:
        return int(told["levels"].index(text))
    return len(told["levels"]) + (0 if text == "" or not told["null"] else 1)


def close(found: Any, ours: Any) -> bool:
    return bool((np.abs(found - ours) <= 1e-6 * np.maximum(1.0, np.abs(ours))).all())


def test_onnxruntime_predicts_from_raw_rows_what_the_model_predicts(model: str, rows: str, tmp_path: Path) -> None:
    facts = leaving.export(model, "onnx", str(tmp_path / "m.onnx"), DataConfig(data=(rows,)))
    assert facts["checked"]["library"] == "onnxruntime" and facts["checked"]["n_rows"] == 600
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    header = json.loads(session.get_modelmeta().custom_metadata_map["mrml"])
    given, fed = raw_rows(rows, header), {i.name: i for i in session.get_inputs()}
    numbers = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    (found,) = session.run(["prediction"], {n: given[n].astype(numbers[i.type]) for n, i in fed.items()})
    assert close(found, predicted(model, rows))
    onnx.checker.check_model(onnx.load(str(tmp_path / "m.onnx")), full_check=True)


def test_torch_loads_weights_alone_and_predicts_what_the_model_predicts(model: str, rows: str, tmp_path: Path) -> None:
    assert leaving.export(model, "torch", str(tmp_path / "m.pt"))["checked"]["library"] == "torch"
    saved = torch.load(tmp_path / "m.pt", weights_only=True)
    module, config = module_of(saved["config"]["net"]).eval(), saved["config"]
    module.load_state_dict(saved["state"])
    given = raw_rows(rows, config)
    fill, center, scale = (np.array(config[name]) for name in ("fill", "center", "scale"))
    x = (np.where(np.isnan(given["X"]), fill, given["X"]) - center) / scale
    with torch.no_grad():
        raw = module(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(given["codes"])).double()
    found = {"sigmoid": lambda z: torch.sigmoid(torch.cat([-z, z], 1)), "softmax": lambda z: z.softmax(1),
             "exp": torch.exp, "identity": lambda z: z}[config["link"]](raw)  # fmt: skip
    assert close(found.numpy(), predicted(model, rows))


def test_safetensors_holds_every_parameter_under_its_name(model: str, rows: str, tmp_path: Path) -> None:
    path = str(tmp_path / "m.safetensors")
    assert leaving.export(model, "safetensors", path, DataConfig(data=(rows,)))["checked"]["library"] == "safetensors"
    inner: Any = run.load_model(model).inner
    with safetensors.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["mrml"])["net"] == inner.net.to_json()
    tensors = safetensors.torch.load_file(path)
    for slot in inner.net.slots:
        assert tensors[slot.name].numpy().tobytes() == slot.view(inner.params).tobytes()
    module = module_of(inner.net)
    module.load_state_dict({"moments": torch.zeros(0, dtype=torch.float64), **tensors})
    assert module.flat().tobytes() == inner.params.tobytes()


@pytest.fixture(scope="module")
def one(rows: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return made("two classes, batch norm", rows, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("to", net.FORMATS)
def test_an_export_that_is_another_model_is_refused(to: str, one: str) -> None:
    export = leaving.network_of(run.load_model(one))
    x, codes = net.made_rows(export)
    inputs = net_check.Inputs(net.standardised(export, x), codes.astype(np.int32))  # type: ignore[attr-defined]
    raw = leaving.predict(export.net, export.params, export.buffers, inputs)  # type: ignore[attr-defined]
    rows = net_check.Rows(x, codes, inputs)
    assert not isinstance(net_check.checked(net_files.encoded(export, to), to, export, rows, raw), str)
    params = export.params.copy()
    params[-1] += 0.5
    params[0] += 0.5
    other = net_files.encoded(dataclasses.replace(export, params=params), to)
    with pytest.raises(ExportDiffers, match=r"reads the export as another model: its raw prediction of row \d"):
        net_check.checked(other, to, export, rows, raw)
    with pytest.raises(ExportDiffers, match="does not read the export"):
        net_check.checked(b"nonsense", to, export, rows, raw)


def test_the_same_model_makes_the_same_file(one: str) -> None:
    export = leaving.network_of(run.load_model(one))
    for to in ("onnx", "safetensors"):
        assert net_files.encoded(export, to) == net_files.encoded(export, to)


def test_the_command_tells_what_it_wrote_and_compared(one: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["export", one, "--to", "onnx", "--output", str(tmp_path / "m.onnx")]) == 0
    said = capsys.readouterr().out
    assert "parameters" in said and "checked with onnxruntime" in said and "city: 0 p, 1 q" in said
    assert main(["export", one, "--to", "onnx", "--output", str(tmp_path / "m.onnx")]) == 4


def test_what_is_no_network_or_does_not_leave_is_refused(rows: str, tmp_path: Path, one: str) -> None:
    data.trained(rows, tmp_path / "trees", "yes", algorithm="boosting", rounds=1, objective="logistic")
    with pytest.raises(ConfigError, match=r"is a TreesClassifier, not a network.*--to xgboost"):
        leaving.export(str(tmp_path / "trees"), "onnx", str(tmp_path / "m.onnx"))
    with pytest.raises(ConfigError, match="is a NetModel, not trees"):
        leaving.export(one, "xgboost", str(tmp_path / "m.json"))
    data.trained(rows, tmp_path / "bins", "yes", data={"bins": 4, "features": ("a", "b"), "exclude": ()}, **PLAIN)
    with pytest.raises(ConfigError, match="quantile bins"):
        leaving.export(str(tmp_path / "bins"), "onnx", str(tmp_path / "m.onnx"))
    assert not (tmp_path / "m.onnx").exists() and not (tmp_path / "m.json").exists()
