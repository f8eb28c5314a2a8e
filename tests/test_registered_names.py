"""Files name classes of ours by registered names, and run nobody's code that the user has not named."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mrml
from mrml import names
from mrml.algorithm import Algorithm, from_spec
from mrml.algorithms.objectives.custom import CustomObjective
from mrml.algorithms.sgd.module_net import function_of
from mrml.algorithms.trees.boosting import Boosting
from mrml.cli.main import main
from mrml.errors import ConfigError, InputError
from mrml.model import Model, load, revive
from mrml.statistic import Statistic
from tests.old.make import HERE

#: what others are made of: no file names them
BASES = {"OneRun", "Classification", "GLM"}
#: a module that says that it was run, with an algorithm of the user's own, its model, an objective and a network
CANARY = """
import os
from pathlib import Path
Path(os.environ["CANARY"]).write_text("sang")
import numpy as np
from dataclasses import dataclass
from mrml.extend import Algorithm, Model, Prediction, State, Sums

@dataclass(frozen=True)
class Mean(Algorithm):
    "The mean of the target."
    target = "numeric"
    def init(self, schema): return State({"mean": 0.0})
    def statistic(self, state, key): return Sums(n=0.0, total=0.0)
    def map(self, state, block, into): into["all"].add(n=float(block.n_rows), total=float(block.y.sum()))
    def update(self, state, values): return state.next("done", mean=float(values["all"]["total"] / values["all"]["n"]))
    def model(self, state, schema): return MeanModel(state["mean"])

class MeanModel(Model):
    classes = ()
    def __init__(self, mean): self.mean = mean
    def predict(self, block): return Prediction(np.full(block.n_rows, self.mean))
    def header(self): return {}
    def arrays(self): return {"mean": np.array(self.mean)}
    @classmethod
    def from_parts(cls, header, arrays): return cls(float(arrays["mean"]))

def objective(y, raw): return raw - y, np.ones_like(y)
def make_net(n_features, n_outputs): return None
"""


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that is there once the module ``canary_of_mine`` was run; the current directory holds the module."""
    song = tmp_path / "song"
    (tmp_path / "canary_of_mine.py").write_text(CANARY)
    (tmp_path / "rows.csv").write_text("x,y\n" + "".join(f"{k % 7},{k % 5}\n" for k in range(60)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY", str(song))
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr(names, "_allowed", set())
    sys.modules.pop("canary_of_mine", None)
    yield song
    sys.modules.pop("canary_of_mine", None)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """mrml as a process of its own, in the current directory, which is on no path."""
    code = "import sys; sys.path.remove(''); from mrml.cli.main import main; sys.exit(main())"
    path = os.pathsep.join(p for p in (str(Path(mrml.__file__).parents[1]), os.environ.get("PYTHONPATH")) if p)
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path})  # fmt: skip


def trained(*engine: str) -> None:
    """A model of the user's own algorithm in ``m``, trained by another process."""
    done = command("train", "canary_of_mine:Mean", "--data", "rows.csv", "--target", "y", "--output", "m", *engine)
    assert done.returncode == 0, done.stderr
    Path(os.environ["CANARY"]).unlink()


def hostile(folder: Path, name: str) -> Path:
    """A model of ours whose inner class is called something else."""
    header = json.loads((HERE / "models" / "softmax" / "model.json").read_text())
    header["model"]["class"] = name
    (folder / "h").mkdir()
    (folder / "h" / "model.json").write_text(json.dumps(header))
    (folder / "h" / "model.npz").write_bytes((HERE / "models" / "softmax" / "model.npz").read_bytes())
    return folder / "h"


def subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


def test_every_class_that_files_name_has_one_registered_name() -> None:
    for module in pkgutil.walk_packages(mrml.__path__, "mrml."):
        if not module.name.endswith("__main__") and not module.name.startswith("mrml.airflow"):  # Airflow's own
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name in ("torch", "onnx"), error  # extras
    found = {f"{c.__module__}:{c.__qualname__}" for base in (Algorithm, Model, Statistic) for c in subclasses(base)
             if c.__module__.startswith("mrml.") and not inspect.isabstract(c)
             and not c.__name__.startswith("_") and c.__name__ not in BASES}  # fmt: skip
    assert sorted(found) == sorted(names.NAMES.values())


@pytest.mark.parametrize("name", names.NAMES)
def test_a_registered_name_leads_to_its_class_and_back(name: str) -> None:
    cls = names.imported(names.NAMES[name])
    assert issubclass(cls, Algorithm | Model | Statistic)
    assert names.name_of(cls) == name and names.find(name, cls, "here") is cls
    assert name.startswith("mrml.") and name.rpartition("/")[2].isdigit()


def test_what_format_1_called_a_class_leads_to_a_registered_name() -> None:
    assert set(names.FORMER.values()) <= set(names.NAMES)
    assert names.short("mrml.algorithms.glm:Logistic") == "logistic" and names.short("my.own:Thing") == "Thing"


@pytest.mark.parametrize("name", [
    "os:system", "canary_of_mine:MeanModel", "canary_of_mine:MeanModel.from_parts", "subprocess:Popen", "builtins:exec",
    "mrml.cli.main:main",
])  # fmt: skip
def test_a_model_that_names_a_module_nobody_allowed_is_refused_before_it_is_imported(
    name: str, canary: Path, tmp_path: Path
) -> None:
    module = name.partition(":")[0]
    with pytest.raises(ConfigError) as caught:
        load(hostile(tmp_path, name))
    assert f"use --allow-import {module} " in str(caught.value) and caught.value.exit_code == 2
    assert not canary.exists() and "canary_of_mine" not in sys.modules


@pytest.mark.parametrize("name", ["mrml.glm/99", "mrml.nothing/1", "os", "", ":", "os:", ":system", "mrml/1", "../x"])
def test_a_name_that_nobody_registered_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="which this mrml does not know; use the version of mrml that wrote it"
    ) as caught:
        load(hostile(tmp_path, name))
    assert caught.value.exit_code == 3


def test_an_allowed_module_still_has_to_hold_a_model(canary: Path, tmp_path: Path) -> None:
    names.allow("os")
    with pytest.raises(InputError, match="os:system is not a subclass of Model"):
        revive({"class": "os:system"}, {})


def test_a_name_of_another_kind_is_no_model() -> None:
    with pytest.raises(InputError, match="is not a subclass of Model"):
        revive({"class": "mrml.boosting/1"}, {})
    with pytest.raises(InputError, match="is not a subclass of Algorithm"):
        from_spec({"class": "mrml.trees/1", "params": {}})


COMMANDS = (
    ("predict", "m", "--data", "rows.csv", "--output", "p"),
    ("evaluate", "m", "--data", "rows.csv"),
    ("inspect", "m"),
    ("export", "m", "--to", "onnx", "--output", "m.onnx"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda w: w[0])
def test_every_command_asks_before_it_runs_a_models_code(words: tuple[str, ...], canary: Path) -> None:
    trained("--engine", "inline")
    done = command(*words)
    assert done.returncode == 2 and not canary.exists()
    assert "canary_of_mine:MeanModel" in done.stderr and "--allow-import canary_of_mine" in done.stderr
    done = command(*words, "--allow-import", "another", "--allow-import", "canary_of_mine")
    assert canary.exists()
    assert done.returncode == 0 or "is a MeanModel" in done.stderr, done.stderr  # nothing exports it


@pytest.mark.parametrize("engine", [
    ("--engine", "inline"), ("--engine", "local", "--workers", "2"), ("--engine", "streaming", "--workers", "1"),
    ("--engine", "streaming", "-r", "inline"),
], ids=" ".join)  # fmt: skip
def test_tasks_may_run_what_their_driver_may(engine: tuple[str, ...], canary: Path) -> None:
    trained(*engine)
    words = ("predict", "m", "--data", "rows.csv", "--format", "csv", *engine, "--allow-import", "canary_of_mine")
    done = command(*words, "--output", "p")
    assert done.returncode == 0, done.stderr
    assert Path("p/part-00000.csv").read_text().splitlines()[1].endswith(",2")
    assert canary.exists()


def test_the_summary_of_a_run_names_commands_that_work(canary: Path) -> None:
    done = command("train", "canary_of_mine:Mean", "--data", "rows.csv", "--target", "y", "--output", "m", "--engine",
                   "inline")  # fmt: skip
    steps = [line.split("mrml ")[1].split() for line in done.stdout.splitlines() if "mrml " in line]
    assert [step[0] for step in steps] == ["evaluate", "predict"]
    for step in steps:
        assert command(*step).returncode == 0


def test_python_asks_too(canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("--engine", "inline")
    monkeypatch.syspath_prepend(str(canary.parent))
    with pytest.raises(ConfigError, match="Python: allow_import='canary_of_mine'"):
        mrml.load("m")
    assert not canary.exists()
    found = mrml.load("m", engine="inline", allow_import="canary_of_mine")
    assert canary.exists() and found.predict("rows.csv").num_rows == 60


def test_an_objective_of_the_users_own_is_imported_only_for_who_trains_with_it(canary: Path) -> None:
    sys.path.append(str(canary.parent))
    with pytest.raises(ConfigError, match="--allow-import canary_of_mine"):
        _ = CustomObjective("canary_of_mine:objective").function
    assert not canary.exists()
    Boosting(objective="canary_of_mine:objective")
    assert CustomObjective("canary_of_mine:objective").function(np.ones(1), np.ones(1))[0].tolist() == [0.0]


def test_a_network_of_the_users_own_is_run_only_where_it_is_allowed(canary: Path) -> None:
    for source in ("", CANARY):
        with pytest.raises(ConfigError, match="--allow-import canary_of_mine"):
            function_of("canary_of_mine:make_net", source)
    assert not canary.exists()
    names.allow("canary_of_mine")
    assert function_of("canary_of_mine:make_net", CANARY)(1, 1) is None


def test_a_file_beside_the_data_that_is_called_as_a_library_is_not_run(canary: Path) -> None:
    trained("--engine", "inline")
    for library in ("numpy", "pyarrow", "yaml", "json"):
        Path(f"{library}.py").write_text("open('ran', 'w').write(__name__)\n")
    for engine in ("inline", "local"):
        words = ("predict", "m", "--data", "rows.csv", "--engine", engine, "--overwrite", "--output", "p")
        assert command(*words, "--allow-import", "canary_of_mine").returncode == 0
    assert not Path("ran").exists()


def test_a_run_that_names_no_code_of_the_users_own_does_not_look_where_it_runs(canary: Path) -> None:
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != canary.parent.resolve()]
    argv = ["train", "linear", "--data", "rows.csv", "--target", "y", "--output", "m", "--engine", "inline", "-q"]
    assert main(argv) == 0 and main(["inspect", "m", "--json"]) == 0
    assert str(canary.parent) not in sys.path
