"""Devices by name, where torch is not installed; tests/torch has the rest."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mrml.cli.main import main
from mrml.errors import ConfigError
from mrml.kernels.device import device_of
from mrml.kernels.net.kernel import chosen

without_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed here")


@without_torch
def test_without_torch_there_is_the_cpu_and_numpy() -> None:
    assert device_of("cpu") == device_of("auto") == "cpu"
    assert chosen("auto", "auto", "float32", False) == ("numpy", "cpu", "float32", False)


@without_torch
@pytest.mark.parametrize("asked", [["--device", "cuda"], ["--kernels", "torch"], ["--precision", "bf16"]])
def test_torch_that_is_not_installed_is_exit_code_2_with_what_to_install(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("a,y\n1,n\n2,y\n3,n\n")
    command = ["train", "mlp", "--data", str(tmp_path), "--target", "y", "--output", str(tmp_path / "model")]
    assert main([*command, "--workers", "1", *asked]) == 2
    said = capsys.readouterr().err
    assert "needs torch" in said and "pip install 'mrml[torch]'" in said and "Traceback" not in said


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", ""])
def test_another_device_is_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match="is unknown"):
        device_of(name)


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"precision": "bf16"}, {"compiled": True}])
def test_what_only_torch_does_chooses_it_and_is_refused_beside_numpy(asked: dict[str, object]) -> None:
    given = {"device": "cpu", "precision": "float32", "compiled": False, **asked}
    assert chosen("auto", **given).kernels == "torch"  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--kernels numpy is asked for"):
        chosen("numpy", **given)  # type: ignore[arg-type]
    assert chosen("auto", "cuda:1", "float32", False).waived
