"""What every algorithm promises, over the whole table, the transforms and the example: a new entry is tested here too.

The learners run behind the transforms, as `mrml train` runs them, over raw blocks of a small mixed CSV.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml import names, wire
from mrml.algorithm import Algorithm, State, build, from_spec, hyperparameters, load_class
from mrml.algorithms import TABLE, locate
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.arrays import Array
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.block import Block, Coded
from mrml.data.dataset import Dataset
from mrml.data.store import DirectoryStore
from mrml.errors import ConfigError
from mrml.kernels.device import torch_here
from mrml.model import Model, load
from mrml.params import check, meant
from mrml.runs import setup
from mrml.runs import train as run
from mrml.schema import Schema
from tests.rounds import run_round

EXAMPLE = "tests.examples.naive_bayes:GaussianNB"
#: modules of torch where it is installed: `make test-torch` has them
LEARNERS = (*(name for name in TABLE if name != "torch" or torch_here()), EXAMPLE)
TRANSFORMS = {"impute": tf.Impute, "standardise": tf.Standardise, "onehot": tf.OneHot, "hash": tf.Hash, "bin": tf.Bin}
#: few rounds are enough for a law
SMALL = {
    "kmeans": {"k": 3, "max_iterations": 4},
    "softmax": {"solver": "lbfgs", "max_iterations": 6},
    "boosting": {"rounds": 2, "max_depth": 3},
    "forest": {"trees": 5, "trees_per_round": 2, "max_depth": 3},
    "mlp": {"hidden": (4,), "epochs": 2, "shards": 3, "batch_size": 32},
    "torch": {"module": "tests.torch.modules:plain", "epochs": 2, "shards": 3, "batch_size": 32},
    "factorization-machine": {"factors": 2, "epochs": 2, "sync_every": "3", "batch_size": 32},
}
TARGETS = {"auto": "label", "numeric": "count", "binary": "label", "classes": "kind", "none": None}
ENTRIES = (*LEARNERS, *TRANSFORMS)
ROOT = Path(__file__).parents[2]
ROWS = 400
WINDOW = 1200


def write_rows(folder: Path) -> None:
    """400 rows with nulls in every feature, over three files and some twenty blocks."""
    rng = np.random.default_rng(3)
    a, b, c = rng.normal(2000, 30, ROWS), rng.normal(size=ROWS), rng.integers(0, 50, ROWS)
    score = (a - 2000) / 30 + b
    label = np.where(score + rng.normal(size=ROWS) > 0, "yes", "no")
    kind = np.array(["low", "mid", "high"])[np.digitize(score + rng.normal(size=ROWS), [-0.7, 0.7])]
    count, weight = rng.poisson(np.exp(0.4 * score)), rng.uniform(0.5, 2, ROWS)
    city = rng.choice(["oslo", "røros", "bergen", ""], ROWS)
    missing = rng.random(ROWS) < 0.05
    lines = [f"{x:.9g},{'NA' if m else format(y, '.9g')},{z},{t},{u},{k},{n},{w:.9g}" for x, y, z, t, u, k, n, w, m in
             zip(a, b, c, city, label, kind, count, weight, missing, strict=True)]  # fmt: skip
    for name, part in (("p0.csv", lines[:130]), ("p1.csv", lines[130:140]), ("p2.csv", lines[140:])):
        (folder / name).write_text("\n".join(["a,b,c,city,label,kind,count,w", *part]) + "\n", encoding="utf-8")


def class_of(name: str) -> type[Algorithm]:
    found: type[Algorithm] = TRANSFORMS[name] if name in TRANSFORMS else load_class(locate(name), Algorithm)
    return found


def config_of(name: str, folder: Path, output: str = "unused", engine: EngineConfig | None = None) -> RunConfig:
    """A weighted training run of a learner."""
    target = TARGETS[class_of(name)().target]
    others = tuple(t for t in TARGETS.values() if t not in (None, target))
    data = DataConfig(data=(str(folder),), target=target, weight="w", exclude=others, window_bytes=WINDOW)
    return RunConfig(name, SMALL.get(name, {}), data, engine or EngineConfig(engine="inline"), output)


@pytest.fixture(autouse=True)
def _examples_are_allowed() -> None:
    """Cases are built once for all tests of a session, and what a test allows ends with it."""
    names.allow("tests.examples.naive_bayes", "tests.torch.modules")


@dataclasses.dataclass(frozen=True)
class Case:
    """An algorithm and raw blocks for it."""

    algorithm: Algorithm
    schema: Schema
    blocks: tuple[Block, ...]

    def run(self, tasks: Sequence[Sequence[Block]]) -> State:
        state = self.algorithm.init(self.schema)
        while state.stop is None:
            state = run_round(self.algorithm, state, tasks)
        return state

    @functools.cached_property
    def expected(self) -> bytes:
        """The last State when one task reads every block."""
        return bytes_of(self.run([self.blocks]))

    @functools.cached_property
    def model(self) -> Model:
        return self.algorithm.model(State.from_wire(wire.loads(self.expected)), self.schema)


def bytes_of(state: State) -> bytes:
    return wire.dumps(state.to_wire())


def blocks_of(dataset: Dataset) -> tuple[Block, ...]:
    return tuple(b for split in dataset.splits(1 << 30) for part in split for b in dataset.read(part))


class Cases:
    """The cases by name; blocks are read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_rows(folder)
        self.kept: dict[str, Case] = {}

    def __getitem__(self, name: str) -> Case:
        if name not in self.kept:
            self.kept[name] = self._make(name)
        return self.kept[name]

    def _make(self, name: str) -> Case:
        config = config_of(name if name in LEARNERS else "linear", self.folder)
        dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
        if name in LEARNERS:
            return Case(pipeline, dataset.schema, blocks_of(dataset))
        more: dict[str, Any] = {"columns": ("city",)} if name in ("onehot", "hash") else {}
        more |= {"bits": 6} if name == "hash" else {}
        return Case(TRANSFORMS[name](schema=dataset.schema, **more), dataset.schema, blocks_of(dataset))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(tmp_path_factory.mktemp("contract"))


def taken(block: Block, keep: Array) -> Block:
    """The rows of a dense block where ``keep`` is true; their keys stay."""

    def some(value: Any) -> Any:
        if value is None:
            return None
        return Coded(value.codes[keep], value.levels) if isinstance(value, Coded) else value[keep]

    parts = {name: some(getattr(block, name)) for name in ("rows", "X", "y", "weight", "offset", "id")}
    return dataclasses.replace(block, coded={k: some(v) for k, v in block.coded.items()}, **parts)


def empty(block: Block, file: int, index: int) -> Block:
    """A block of that place without rows, as a file gives whose records all belong to its neighbours."""
    none = taken(block, np.zeros(block.n_rows, bool))
    coded = {k: Coded(v.codes, np.array([], dtype=str)) for k, v in none.coded.items()}
    y = Coded(none.y.codes, np.array([], dtype=str)) if isinstance(none.y, Coded) else none.y
    return dataclasses.replace(none, file=file, index=index, coded=coded, y=y, n_records=0)


# ---- the words: hyperparameters and specs


@pytest.mark.parametrize("name", ENTRIES)
def test_an_algorithm_comes_back_from_its_spec_as_json(cases: Cases, name: str) -> None:
    for algorithm in (cases[name].algorithm, class_of(name)()):
        told = json.dumps(algorithm.spec(), allow_nan=False)
        assert from_spec(json.loads(told)) == algorithm
        assert json.dumps(from_spec(json.loads(told)).spec()) == told


@pytest.mark.parametrize("name", ENTRIES)
def test_an_unknown_hyperparameter_is_refused_with_the_nearest_name(name: str) -> None:
    cls = class_of(name)
    for known in hyperparameters(cls):
        with pytest.raises(ConfigError) as caught:
            build(cls, {known + "x": 1})
        assert f"unknown key {known + 'x'!r}" in str(caught.value)
        assert f"did you mean {known!r}?" in str(caught.value)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_hyperparameter_has_a_help_and_a_default_within_its_bounds(name: str) -> None:
    for f in hyperparameters(class_of(name)).values():
        assert f.metadata.get("help"), f.name
        assert f.default is not dataclasses.MISSING, f.name
        check(f, f.default)


@pytest.mark.parametrize("name", ENTRIES)
def test_bounds_and_choices_of_hyperparameters_are_enforced(name: str) -> None:
    cls = class_of(name)
    for f in hyperparameters(cls).values():
        low, high, choices = (f.metadata[k] for k in ("low", "high", "choices"))
        wrong = [] if low is None else [low - 1]
        wrong += [] if high is None else [high + 1]
        wrong += ["no such choice"] if choices else []
        wrong += [float("nan")] if isinstance(f.default, float) else []
        for value in (v for v in wrong if meant(f, v) == v or v != v):  # 256 bins are XGBoost's word for 255
            with pytest.raises(ConfigError, match=f"algorithm, {f.name}"):
                build(cls, {f.name: value})
        for value in [v for v in (low, high) if v is not None] + list(choices):
            if not (name == "kmeans" and f.name == "kernels"):  # `fast` needs numba
                build(cls, {f.name: value})


# ---- the bits: States, blocks, splits


@pytest.mark.parametrize("name", ENTRIES)
def test_a_state_that_travels_after_every_round_ends_with_the_same_bytes(cases: Cases, name: str) -> None:
    case = cases[name]
    state = State.from_wire(wire.loads(bytes_of(case.algorithm.init(case.schema))))
    while state.stop is None:
        # a task far away: its own copy of the algorithm, and of the State from its bytes
        algorithm = from_spec(json.loads(json.dumps(case.algorithm.spec())))
        state = run_round(algorithm, State.from_wire(wire.loads(bytes_of(state))), [case.blocks])
        assert bytes_of(State.from_wire(wire.loads(bytes_of(state)))) == bytes_of(state)
    assert bytes_of(state) == case.expected


@pytest.mark.parametrize("name", ENTRIES)
def test_an_update_changes_neither_the_state_nor_the_blocks(cases: Cases, name: str) -> None:
    case = cases[name]
    state, rounds = case.algorithm.init(case.schema), 0
    before = [wire.dumps([b.rows, b.X, b.weight]) for b in case.blocks]
    while state.stop is None and rounds < 3:
        told = bytes_of(state)
        after = run_round(case.algorithm, state, [case.blocks])
        assert bytes_of(state) == told
        assert after.round == state.round + 1
        state, rounds = after, rounds + 1
    assert [wire.dumps([b.rows, b.X, b.weight]) for b in case.blocks] == before


@pytest.mark.parametrize("name", ENTRIES)
def test_empty_blocks_files_and_splits_change_nothing(cases: Cases, name: str) -> None:
    case = cases[name]
    last = case.blocks[-1]
    more = [empty(last, last.file, last.index + 1), empty(last, last.file + 1, 0)]
    assert bytes_of(case.run([[], [*case.blocks, *more]])) == case.expected
    assert bytes_of(case.run([case.blocks, [], more])) == case.expected


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=6)
@given(data=st.data())
def test_any_cut_into_splits_in_any_order_gives_the_same_bytes(cases: Cases, name: str, data: st.DataObject) -> None:
    case = cases[name]
    n = len(case.blocks)
    assert n >= 16
    at = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=6)))
    tasks = [case.blocks[i:j] for i, j in zip([0, *at], [*at, n], strict=True)]
    assert bytes_of(case.run(data.draw(st.permutations(tasks)))) == case.expected


@pytest.mark.parametrize("name", LEARNERS[:-1])
def test_rows_of_weight_zero_change_nothing(cases: Cases, name: str) -> None:
    """Of the algorithm; transforms take rows as they are, weighted or not, as scikit-learn's do."""
    pipeline, schema, raw = cases[name].algorithm, cases[name].schema, cases[name].blocks
    assert isinstance(pipeline, Pipeline)
    fitted = pipeline.fitted_class(schema, State.from_wire(wire.loads(cases[name].expected))["fitted"])
    design = dataclasses.replace(schema, design=fitted.design)
    blocks = [fitted.block(b, pipeline.algorithm.lazy) for b in raw]
    rng = np.random.default_rng(8)
    without = [rng.random(b.n_rows) < 0.2 for b in blocks]
    zeroed = [b.with_design(weight=np.where(w, 0.0, b.weight)) for b, w in zip(blocks, without, strict=True)]
    left = [taken(b, ~w) for b, w in zip(blocks, without, strict=True)]
    found, expected = (Case(pipeline.algorithm, design, tuple(b)).model for b in (zeroed, left))
    assert found.arrays().keys() == expected.arrays().keys()
    for key, array in found.arrays().items():
        np.testing.assert_allclose(array, expected.arrays()[key], rtol=1e-9, atol=1e-9, err_msg=key)


# ---- the model and its files


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not strict JSON")


@pytest.mark.parametrize("name", ENTRIES)
def test_a_model_is_two_files_that_come_back_byte_for_byte(cases: Cases, name: str, tmp_path: Path) -> None:
    model = cases[name].model
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        model.save(tmp_path / folder)
        model = load(tmp_path / folder)
    found = files_of(tmp_path / "a")
    assert list(found) == ["model.json", "model.npz"]
    assert found == files_of(tmp_path / "b")
    json.loads(found["model.json"], parse_constant=refuse)
    with np.load(tmp_path / "a" / "model.npz", allow_pickle=False) as arrays:
        assert all(arrays[k].dtype.kind in "biuf" for k in arrays.files)
    with zipfile.ZipFile(tmp_path / "a" / "model.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} <= {(1980, 1, 1, 0, 0, 0)}
        assert all(b"pickle" not in archive.read(entry) for entry in archive.infolist())


NUMPY_ALONE = """
import sys
FORBIDDEN = {"pyarrow", "yaml", "mrjob", "sklearn", "scipy", "numba", "pandas", "tqdm", "statsmodels"}
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} is forbidden here")
sys.meta_path.insert(0, Forbid())
from pathlib import Path
import numpy as np
from mrml import names
from mrml.data.store import DirectoryStore
from mrml.model import load
names.allow("tests.examples.naive_bayes", "tests.torch.modules")
root = Path(sys.argv[1])
for folder in sorted(p for p in root.iterdir() if p.is_dir()):
    model = load(folder / "model")
    block = DirectoryStore(folder / "store").get_block(0, 0)
    transforms = type(model).__name__ == "FittedTransform"
    x = model.transform(block).X if transforms else model.predict(block).y_pred
    np.save(folder / "found.npy", x.toarray() if hasattr(x, "toarray") else x)
"""


def test_loading_and_predicting_needs_numpy_alone(cases: Cases, tmp_path: Path) -> None:
    for i, name in enumerate(ENTRIES):
        folder = tmp_path / str(i)
        (folder / "model").mkdir(parents=True)
        cases[name].model.save(folder / "model")
        DirectoryStore(folder / "store").put_block(cases[name].blocks[0])
    done = subprocess.run([sys.executable, "-c", NUMPY_ALONE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for i, name in enumerate(ENTRIES):
        model, block = cases[name].model, cases[name].blocks[0]
        x: Any = model.transform(block).X if name in TRANSFORMS else model.predict(block).y_pred
        expected = x.toarray() if hasattr(x, "toarray") else x
        assert np.array_equal(np.load(tmp_path / str(i) / "found.npy"), expected, equal_nan=name in TRANSFORMS), name


TRAIN = """
import sys
import mrml
from mrml.runs import setup, train as run
from mrml.config.sections import EngineConfig
from pathlib import Path
from tests.contract.test_algorithms import LEARNERS, config_of
folder, output, engine = map(Path, sys.argv[1:])
for i, name in enumerate(LEARNERS):
    run.train(config_of(name, folder, str(output / str(i)), EngineConfig(engine=str(engine), workers=2)))
"""
TELLTALE = ("time", "date", "host", "engine", "worker", "pid", "user", "path", "seconds", "duration", "python")


def test_model_files_tell_neither_when_nor_where_nor_by_which_engine(cases: Cases, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": str(ROOT)}
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(cases.folder), str(there), "local"],
        cwd=there, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for i, name in enumerate(LEARNERS):
        run.train(config_of(name, cases.folder, str(here / str(i))))
        for file in ("model.json", "model.npz"):
            assert (here / str(i) / file).read_bytes() == (there / str(i) / file).read_bytes(), (name, file)
        text = (here / str(i) / "model.json").read_text(encoding="utf-8")
        assert platform.node() not in text and str(tmp_path) not in text and str(cases.folder) not in text
        assert not [k for k in keys_of(json.loads(text)) for word in TELLTALE if word in k.lower().split("_")]


def keys_of(value: Any) -> list[str]:
    """Every key of a JSON value."""
    if isinstance(value, dict):
        return [*value, *(k for v in value.values() for k in keys_of(v))]
    return [k for v in value for k in keys_of(v)] if isinstance(value, list) else []
