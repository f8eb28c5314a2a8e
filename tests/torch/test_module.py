"""A torch.nn.Module of one's own learns as torch itself would have it, the same bytes on every engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra: make test-torch")

import mrml  # noqa: E402
from mrml import names  # noqa: E402
from mrml.algorithms.sgd import module_net as modules  # noqa: E402
from mrml.algorithms.sgd.module_net import ModuleNet, function_of  # noqa: E402
from mrml.cli.main import main  # noqa: E402
from mrml.config.sections import DataConfig, EngineConfig  # noqa: E402
from mrml.errors import ConfigError  # noqa: E402
from mrml.kernels.net.describe import Inputs, Net  # noqa: E402
from mrml.kernels.net.kernel import NumpyKernel  # noqa: E402
from mrml.kernels.net.optimizers import STATES, Optimizer  # noqa: E402
from mrml.kernels.net.torch_module import ModuleKernel  # noqa: E402
from mrml.losses import logistic  # noqa: E402
from mrml.runs import train as run  # noqa: E402
from tests.torch import data  # noqa: E402

HERE = "tests.torch.modules"
SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 50, "learning_rate": 0.01}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"module": f"{HERE}:plain", "shards": 3},
    "everything": {"module": f"{HERE}:everything", "shards": 2, "sync_every": "5", "inner_state": "keep"},
    "embedded": {"module": f"{HERE}:embedded", "shards": 3, "outer": "nesterov"},
    "a global batch a round": {"module": f"{HERE}:plain", "sync_every": "1", "epochs": 1},
}


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks of this directory are allowed, as they are where a run trains one."""
    monkeypatch.setattr(names, "_allowed", {HERE})


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return data.made_rows(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_module_gives_the_same_bytes_on_every_engine_and_learns(name: str, rows: str, tmp_path: Path) -> None:
    found = set()
    for engine in (EngineConfig("inline"), EngineConfig("local", workers=2)):
        facts = data.trained(rows, tmp_path / engine.engine, "yes", engine, "torch", **{**SMALL, **SHAPES[name]})
        found.add(data.model_bytes(tmp_path / engine.engine))
    assert len(found) == 1
    assert facts["metrics"]["auc"] > 0.7


def rows_of(net: Any, n: int, seed: int) -> tuple[Inputs, Any]:
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, net.n_numeric)).astype(np.float32)
    return Inputs(x, np.zeros((n, 0), np.int32)), (x[:, 0] > 0.3).astype(float)


@pytest.mark.parametrize("name", STATES)
def test_the_network_of_mlp_as_a_module_takes_the_steps_of_mlp(name: str) -> None:
    ours, theirs = Net(n_numeric=4, hidden=(16, 8)), ModuleNet.of(f"{HERE}:plain", 4, (), 1)
    o, p = Optimizer(name, epsilon=1e-3, weight_decay=0.01), ours.init(1)
    transposed = [v.T.ravel() for v in ours.views(p).values()]
    flat = np.concatenate(transposed)
    steps = ModuleKernel("cpu").steps(theirs, logistic, o, flat, np.empty(0), o.init_state(len(flat)))
    expected = NumpyKernel().steps(ours, logistic, o, p, np.empty(0), o.init_state(ours.n_params))
    for t in range(1, 6):
        inputs, y = rows_of(theirs, 30, t)
        weight = np.linspace(0.5, 2, 30)
        told, wanted = (s.step(inputs, y, weight, None, None, t, 0.02) for s in (steps, expected))
        assert told == pytest.approx(wanted, rel=1e-4)
    found = np.concatenate([v.T.ravel() for v in ours.views(expected.params).values()])
    np.testing.assert_allclose(steps.params, found, rtol=1e-3, atol=1e-5)


def test_buffers_of_batch_norm_are_averaged_over_the_blocks_of_a_global_batch() -> None:
    net = ModuleNet.of(f"{HERE}:everything", 4, (), 1)
    assert [name for name, _ in net.buffers] == ["1.running_mean", "1.running_var"]
    params, before = net.init(3), net.init_buffers()
    kernel, moved, after = ModuleKernel("cpu"), np.zeros(net.n_buffers), []
    for seed, n in ((0, 30), (1, 10)):
        inputs, y = rows_of(net, n, seed)
        moved += kernel.gradient(net, params, before, inputs, y, None, None, logistic, None).moments
        steps = kernel.steps(net, logistic, Optimizer("sgd"), params, before, np.zeros((0, net.n_params), np.float32))
        steps.step(inputs, y, None, None, None, 1, 0.1)
        after.append(n / 40 * steps.buffers)
    from mrml.kernels.net.describe import update_buffers

    found = before.copy()
    update_buffers(found, moved, 40)
    np.testing.assert_allclose(found, sum(after), rtol=1e-6)


def test_weights_begin_as_torch_makes_them_after_the_seed() -> None:
    net = ModuleNet.of(f"{HERE}:plain", 4, (), 1)
    torch.manual_seed(7)
    expected = torch.nn.utils.parameters_to_vector(function_of(net.path, "")(4, 1).parameters())
    state = torch.random.get_rng_state()
    assert (
        net.init(7).tobytes() == expected.detach().numpy().tobytes() and net.init(8).tobytes() != net.init(7).tobytes()
    )
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_model_is_the_module_with_what_it_learned(rows: str, tmp_path: Path) -> None:
    data.trained(rows, tmp_path / "model", "kind", algorithm="torch", **SMALL, **SHAPES["plain"])
    model: Any = run.load_model(str(tmp_path / "model"))
    module = model.inner.module()
    dataset = run.scoring_config(model, DataConfig(data=(rows,)), ("feature",))
    block = next(b for split in dataset.splits(1 << 20) for part in split for b in dataset.read(part))
    told, design = model.predict(block), model.design(block)
    x = np.concatenate([values.copy() for _, values in design.standardised()])
    one_hot = [
        np.eye(n)[column.codes] for (_, n), column in zip(model.fitted.tables, design.coded.values(), strict=True)
    ]
    with torch.no_grad():
        raw = module(torch.from_numpy(np.hstack([x, *one_hot]).astype(np.float32)))
    np.testing.assert_allclose(raw.softmax(1), told.probability, atol=1e-6)
    text = (tmp_path / "model" / "model.json").read_text()
    assert f"{HERE}:plain" in text and "nn.Linear" not in text


@pytest.mark.parametrize(("name", "said"), [
    ("wide", r"modules:wide: returned shape \(2, 3\) for a batch of shape \(2, \d+\); return \(2, 1\)"),
    ("narrow", r"modules:narrow: raised RuntimeError for a batch of shape \(2, \d+\): .*mat1 and mat2"),
    ("nothing", "returned NoneType; return a torch.nn.Module"),
    ("fixed", "has no parameter"),
    ("frozen", "parameter weight is frozen"),
    ("broken", "raised RuntimeError: no such file: weights.pt, called with"),
    ("not_a_function", "has no function 'not_a_function'"),
    ("absent", "has no function 'absent'"),
])  # fmt: skip
def test_a_module_that_does_not_fit_is_an_error_that_names_it(name: str, said: str, rows: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        data.trained(rows, tmp_path / "model", "yes", algorithm="torch", module=f"{HERE}:{name}")


@pytest.mark.parametrize("path", ["no_such_package.models:make", "make_net", ""])
def test_a_module_that_cannot_be_imported_is_exit_code_2(path: str, rows: str, tmp_path: Path, capsys: Any) -> None:
    command = ["train", "torch", "--data", rows, "--target", "yes", "--output", str(tmp_path / "m"), "--workers", "1"]
    assert main([*command, "--module", path]) == 2
    said = capsys.readouterr().err
    assert f"module {path}" in said and "Traceback" not in said
    assert "pack" in said or "my_package.my_module:make_net" in said


def test_a_batch_of_one_row_that_a_module_cannot_take_is_told(rows: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"raised ValueError for a batch of shape \(1, .*another --batch-size"):
        data.trained(
            rows, tmp_path / "m", "yes", algorithm="torch", module=f"{HERE}:everything", batch_size=1, epochs=1
        )


MINE = """
import torch

def make_net(n_features, n_outputs):
    return torch.nn.Linear(n_features, n_outputs)
"""


def test_a_task_that_does_not_find_the_module_runs_the_source_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    names.allow("elsewhere")
    monkeypatch.delitem(modules.sys.modules, "elsewhere", raising=False)  # type: ignore[attr-defined]
    net = dataclasses.replace(ModuleNet("elsewhere:make_net", MINE, 3, (), 1, False), shapes=())
    assert sum(p.numel() for p in net.made().parameters()) == 4
    monkeypatch.delitem(modules.sys.modules, "elsewhere")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"module elsewhere:make_net: cannot be imported here.*mrml pack"):
        function_of("elsewhere:make_net", "")
    with pytest.raises(ConfigError, match=r"sent here as one file.*No module named 'my_helpers'.*mrml pack"):
        function_of("elsewhere:make_net", "import my_helpers\n" + MINE)


def test_driver_and_task_must_have_the_same_module() -> None:
    net = ModuleNet.of(f"{HERE}:plain", 4, (), 1)
    other = dataclasses.replace(net, shapes=(("weight", (1, 4)), ("bias", (1,))))
    with pytest.raises(
        ConfigError, match=r"has the parameters 0.weight 16x4.*and weight 1x4, bias 1 where the run began"
    ):
        ModuleKernel("cpu").predict(other, np.zeros(5, np.float32), np.empty(0), rows_of(net, 2, 0)[0])


def test_the_source_travels_with_the_state_and_the_current_directory_is_seen(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_models.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(modules.sys.path))  # type: ignore[attr-defined]
    command = ["train", "torch", "--module", "my_models:make_net", "--data", rows, "--target", "yes", "--epochs", "1"]
    assert main([*command, "--exclude", "kind,amount,count", "--output", "model", "--workers", "2", "-q"]) == 0
    assert ModuleNet.of("my_models:make_net", 2, (), 1).source == MINE
    predict = ["predict", "model", "--data", rows, "--output", "predictions", "--workers", "2", "-q"]
    monkeypatch.setattr(names, "_allowed", set())
    assert main(predict) == 2
    assert main([*predict, "--allow-import", "my_models"]) == 0


def test_a_module_is_trained_from_python_as_well(rows: str) -> None:
    fitted = mrml.TorchModule(module=f"{HERE}:plain", epochs=1).fit(
        rows, target="amount", exclude=("yes", "kind", "count"), engine="inline"
    )
    assert fitted.metrics["r2"] > -1


@pytest.mark.parametrize("name", ["plain", "embedded"])
def test_a_module_sees_rows_that_have_arrived(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrml.kernels.net import torch_steps as net_torch_steps
    from tests.torch.test_steps import Late

    net, o, found = ModuleNet.of(f"{HERE}:{name}", 4, (5, 3), 1), Optimizer("adam"), []
    for mover in (net_torch_steps.Plain, Late):
        monkeypatch.setattr(net_torch_steps, "Plain", mover)
        steps = ModuleKernel("cpu").steps(net, logistic, o, net.init(1), np.empty(0), o.init_state(net.n_params))
        r = np.random.default_rng(0)
        codes = r.integers(0, 3, (20, 2)).astype(np.int32)
        steps.step(Inputs(r.normal(size=(20, 4)).astype(np.float32), codes), np.ones(20), None, None, None, 1, 0.1)
        found.append(steps.params.tobytes())
    assert found[0] == found[1]
