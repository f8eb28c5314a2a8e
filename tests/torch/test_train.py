"""Training by the torch kernel: what the NumPy kernel learns, the same bytes on every engine of one machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra: make test-torch")

from mrml.algorithms.sgd.mlp import MLP  # noqa: E402
from mrml.cli.main import main  # noqa: E402
from mrml.config.sections import DataConfig, EngineConfig, RunConfig  # noqa: E402
from mrml.errors import Diverged  # noqa: E402
from mrml.kernels.net import torch_steps as net_torch_steps  # noqa: E402
from mrml.runs import train as run  # noqa: E402
from mrml.schema import Column, Design, Schema  # noqa: E402
from tests.torch import data  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "an epoch a meeting": {"shards": 3, "dropout": 0.2, "norm": "batch"},
    "ten steps a meeting": {"sync_every": "10", "shards": 2, "inner_state": "keep", "outer": "nesterov"},
    "a global batch a round": {"sync_every": "1", "epochs": 1, "norm": "layer", "activation": "gelu", "dropout": 0.1},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return data.made_rows(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("name", SHAPES)
def test_torch_on_the_cpu_learns_what_numpy_learns(name: str, rows: str, tmp_path: Path) -> None:
    told = {}
    for kernels in ("numpy", "torch"):
        params = {**data.MLP, **SHAPES[name], "kernels": kernels}
        data.trained(rows, tmp_path / kernels, "yes", **params)
        model: Any = run.load_model(str(tmp_path / kernels)).inner
        told[kernels] = (model.params, model.buffers, model.facts["loss"])
    np.testing.assert_allclose(told["torch"][2], told["numpy"][2], rtol=1e-3)
    for one, other in zip(told["torch"][:2], told["numpy"][:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0.01, atol=2e-3)


@pytest.mark.parametrize("name", ["an epoch a meeting", "a global batch a round"])
def test_torch_on_the_cpu_gives_the_same_bytes_on_every_engine(name: str, rows: str, tmp_path: Path) -> None:
    params = {**data.MLP, **SHAPES[name], "kernels": "torch"}
    found = {}
    for number, engine in enumerate((EngineConfig("inline"), EngineConfig("local", workers=2))):
        data.trained(rows, tmp_path / str(number), "kind", engine, **params)
        found[data.model_bytes(tmp_path / str(number))] = engine
    assert len(found) == 1


def test_a_run_that_is_stopped_and_taken_up_gives_the_same_bytes(rows: str, tmp_path: Path) -> None:
    params = {**data.MLP, **SHAPES["an epoch a meeting"], "kernels": "torch"}
    exclude = ("kind", "amount", "count")
    rest = DataConfig(data=(rows,), target="yes", weight="w", exclude=exclude, window_bytes=8192)
    config = RunConfig("mlp", params, rest, EngineConfig("inline"), str(tmp_path / "whole"))
    run.train(config)
    half = dataclasses.replace(config, output=str(tmp_path / "half"), max_rounds=2)
    run.train(half)
    run.train(dataclasses.replace(half, max_rounds=None, resume=True))
    assert data.model_bytes(tmp_path / "half") == data.model_bytes(tmp_path / "whole")


def test_a_loss_that_is_no_number_names_round_shard_and_rate(rows: str, tmp_path: Path) -> None:
    params = {**data.MLP, "kernels": "torch", "optimizer": "sgd", "learning_rate": 1e20, "loss": "squared"}
    with pytest.raises(Diverged, match=r"round \d, shard 0.*learning rate of 1e\+20.*--clip-norm"):
        data.trained(rows, tmp_path / "model", "amount", **params)


def test_cuda_without_cuda_is_exit_code_2_without_a_traceback(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    command = ["train", "mlp", "--data", rows, "--target", "yes", "--output", str(tmp_path / "model"), "--workers", "1"]
    for more in ([], ["--dry-run"]):
        assert main([*command, "--device", "cuda", *more]) == 2
        said = capsys.readouterr().err
        assert "--device cuda" in said and "--device cpu or auto" in said and "Traceback" not in said
    assert main([*command, "--device", "auto", "--epochs", "1", "-q"]) == 0


def model_of(**params: Any) -> dict[str, Any]:
    design = Design(names=("a",), n_features=1, classes=("n", "y"), class_weight_sums=(1.0, 1.0), n_rows=10)
    schema = Schema((Column("a", "numeric", "feature", "double"),), design=design)
    algorithm = MLP(**params)
    header: dict[str, Any] = algorithm.model(algorithm.init(schema), schema).header()
    return json.loads(json.dumps(header))


def test_a_model_of_cuda_says_that_its_bytes_are_waived() -> None:
    assert model_of(device="cuda")["facts"]["identity"] == "waived: CUDA"
    assert "identity" not in model_of(kernels="torch")["facts"]


@pytest.mark.parametrize("name", ["an epoch a meeting", "ten steps a meeting"])
def test_numbers_that_stay_on_the_device_are_the_same_numbers(
    name: str, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {**data.MLP, **SHAPES[name], "kernels": "torch", "shuffle_rows": 300}
    data.trained(rows, tmp_path / "moved", "yes", **params)
    moved: list[int] = []

    class Here(net_torch_steps.OnDevice):
        def put(self, x: Any) -> Any:
            moved.append(len(x))
            return super().put(x.copy())

    monkeypatch.setattr(net_torch_steps, "place_of", Here)
    data.trained(rows, tmp_path / "stay", "yes", **params)
    assert data.model_bytes(tmp_path / "stay") == data.model_bytes(tmp_path / "moved")
    assert sum(moved) == 1200  # once, for all epochs
