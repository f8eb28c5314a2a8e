"""Categories as codes, and what a target is that nobody described."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml import wire
from mrml.algorithm import State
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.coded_pipeline import CodedPipeline
from mrml.algorithms.pipeline.codes import CodedFitted, TargetFacts
from mrml.algorithms.sgd.mlp import MLP
from mrml.arrays import CSR
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.block import Block, Coded
from mrml.data.dataset import Dataset
from mrml.errors import ConfigError, InputError, MrmlError
from mrml.runs import setup
from mrml.runs import train as run
from mrml.schema import Design
from tests.rounds import run_round

#: numbers whose sums are exact in any order
NUMBERS = st.one_of(st.sampled_from([0.0, 1.0, -0.0, 2.0, -1.0]), st.integers(-999, 999).map(lambda n: n / 8))
ROWS = st.lists(st.tuples(NUMBERS, st.integers(0, 9).map(float)), max_size=25)


# ---- facts of a target


def facts_of(rows: list[tuple[float, float]], weighted: bool = True) -> TargetFacts:
    found = TargetFacts()
    y, weight = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    found.fill(y, weight if weighted else None)
    return found


def told(facts: TargetFacts) -> list[Any]:
    return [facts.sum_weight, facts.total, facts.low, facts.high, dict(facts.values)]


def merged(*parts: TargetFacts) -> TargetFacts:
    """In order, the parts left as they are."""
    total = TargetFacts()
    for part in parts:
        total.merge(TargetFacts.from_wire(wire.loads(wire.dumps(part.to_wire()))))
    return total


@given(ROWS, st.lists(st.integers(0, 25), max_size=5), st.booleans())
def test_facts_of_a_target_do_not_depend_on_the_cut(
    rows: list[tuple[float, float]], cuts: list[int], weighted: bool
) -> None:
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    parts = [facts_of(rows[a:b], weighted) for a, b in itertools.pairwise(edges)]
    whole = facts_of(rows, weighted)
    assert told(merged(*parts)) == told(whole)
    assert set(whole.values) <= {v for y, _ in rows for v in [tf.label_codes(np.array([y])).levels[0]]}
    distinct = {y for y, _ in rows}
    assert len(whole.values) == (len(distinct) if len(distinct) <= 2 else 0)
    assert whole.two_classes == (distinct == {0.0, 1.0})
    if rows:
        assert (whole.low, whole.high) == (min(distinct), max(distinct))
        assert whole.total == sum(y * (w if weighted else 1) for y, w in rows)


@given(ROWS, ROWS, ROWS)
def test_merging_facts_is_associative_and_nothing_is_neutral(
    a: list[tuple[float, float]], b: list[tuple[float, float]], c: list[tuple[float, float]]
) -> None:
    one, two, three = facts_of(a), facts_of(b), facts_of(c)
    assert told(merged(merged(one, two), three)) == told(merged(one, merged(two, three)))
    assert told(merged(one, TargetFacts())) == told(merged(TargetFacts(), one)) == told(one)


# ---- what a target is


def dataset_of(folder: Path, text: str, **data: Any) -> tuple[Dataset, CodedPipeline]:
    (folder / "d").mkdir(exist_ok=True)
    (folder / "d" / "a.csv").write_text(text)
    config = DataConfig(data=(str(folder / "d"),), window_bytes=200, **{"target": "y", **data})
    dataset, pipeline = setup.open_training(
        RunConfig("mlp", {}, config, EngineConfig(engine="inline"), "unused"), MLP()
    )
    assert isinstance(pipeline, CodedPipeline)
    return dataset, pipeline


def blocks_of(dataset: Dataset) -> list[Block]:
    return [b for split in dataset.splits(1 << 30) for part in split for b in dataset.read(part)]


def fitted(dataset: Dataset, pipeline: CodedPipeline) -> tuple[CodedFitted, State]:
    """The transforms, and the State of the algorithm behind them."""
    state = run_round(pipeline, pipeline.init(dataset.schema), [blocks_of(dataset)])
    found = pipeline.fitted(state)
    assert isinstance(found, CodedFitted)
    return found, State.from_wire(state["inner"])


def design_of(folder: Path, values: list[Any]) -> tuple[Design, State]:
    lines = "".join(f"{i % 7},{v}\n" for i, v in enumerate(values))
    transforms, inner = fitted(*dataset_of(folder, "a,y\n" + lines))
    return transforms.design, inner


@pytest.mark.parametrize(
    ("values", "classes", "objective"),
    [
        (["no", "yes"] * 40, ("no", "yes"), "logistic"),
        (["b", "c", "a"] * 40, ("a", "b", "c"), "softmax"),
        ([1, 0, 0, 1] * 20, ("0", "1"), "logistic"),
        ([0] * 79 + [1], ("0", "1"), "logistic"),
        ([1, 2] * 40, (), "squared"),
        ([-1, 1] * 40, (), "squared"),
        ([0, 1, 2] * 40, (), "squared"),
        ([0, 0.5, 1] * 40, (), "squared"),
        ([0] * 79 + [7.5], (), "squared"),
    ],
)
def test_texts_are_classes_and_so_are_0_and_1_alone_and_other_numbers_are_numbers(
    values: list[Any], classes: tuple[str, ...], objective: str, tmp_path: Path
) -> None:
    design, inner = design_of(tmp_path, values)
    assert design.classes == classes
    assert inner["objective"] == objective
    if classes:
        assert design.class_weight_sums == tuple(float([str(v) for v in values].count(c)) for c in classes)
        assert not design.target
    else:
        assert design.target == {"mean": pytest.approx(np.mean(values)), "min": min(values), "max": max(values)}


def test_the_output_begins_at_the_mean_target_in_link_space(tmp_path: Path) -> None:
    for values, loss, bias in (
        ([0] * 60 + [1] * 20, "logistic", [np.log(20 / 60)]),
        (["a"] * 20 + ["b"] * 40 + ["c"] * 20, "softmax", np.log([1, 2, 1]) - np.log([1, 2, 1]).mean()),
        ([1, 2, 6] * 20, "poisson", [np.log(3.0)]),
        ([1, 2, 6] * 20, "absolute", [3.0]),
    ):
        lines = "".join(f"{i % 7},{v}\n" for i, v in enumerate(values))
        dataset, _ = dataset_of(tmp_path, "a,y\n" + lines)
        found, _ = fitted(dataset, setup.pipeline_of(MLP(loss=loss), dataset.schema, DataConfig()))  # type: ignore[arg-type]
        state = MLP(loss=loss, hidden=(3,)).init(dataclasses.replace(dataset.schema, design=found.design))
        net = MLP(hidden=(3,)).net(found.design, len(bias))
        np.testing.assert_allclose(net.views(state["params"])["output.bias"], bias, rtol=1e-6, atol=1e-6)


def test_the_same_target_is_found_whatever_the_blocks(tmp_path: Path) -> None:
    """The 1 comes in the last block alone."""
    for values in ([0] * 200 + [1], [0] * 200 + [2], ["u"] * 200 + ["v"]):
        text = "a,y\n" + "".join(f"{i % 7},{v}\n" for i, v in enumerate(values))
        dataset, pipeline = dataset_of(tmp_path, text)
        some = blocks_of(dataset)
        assert len(some) > 3
        alone, state = fitted(dataset, pipeline)
        apart = run_round(pipeline, pipeline.init(dataset.schema), [[b] for b in reversed(some)])
        assert pipeline.fitted(apart).params["classes"] == alone.params["classes"]
        assert wire.dumps(apart["fitted"]) == wire.dumps(dict(alone.params))
        assert state["objective"] == ("squared" if 2 in values else "logistic")


# ---- codes


def coded(values: list[str | None]) -> Coded:
    levels = list(dict.fromkeys(v for v in values if v is not None))
    codes = np.array([-1 if v is None else levels.index(v) for v in values], np.int32)
    return Coded(codes, np.array(levels, dtype=str))


def raw(column: Coded, name: str = "city", x: list[float] | None = None) -> Block:
    n = len(column.codes)
    return Block(0, 0, np.arange(n), np.array([x or [0.0] * n]).T.copy(), {name: column}, y=None)


CITIES = "a,city,y\n" + "".join(f"{i},{c},{'no' if i % 3 else 'yes'}\n" for i, c in enumerate(["u", "v", "", "u"] * 15))


def test_levels_have_their_codes_nulls_their_own_and_what_training_never_saw_the_last(tmp_path: Path) -> None:
    found, _ = fitted(*dataset_of(tmp_path, CITIES))
    assert found.tables == (("city", 4),) and found.design.tables == found.tables
    assert found.design.names == ("a",) and found.design.n_features == 1
    block = found.block(raw(coded(["v", "u", None, "w", "u"]), x=[0, 1, 2, 3, 4]), True)
    assert block.coded["city"].codes.tolist() == [1, 0, 2, 3, 0]
    assert block.coded["city"].codes.dtype == np.int32
    assert isinstance(block.X, np.ndarray) and block.X[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_null_where_training_had_none_is_a_level_that_training_never_saw(tmp_path: Path) -> None:
    found, _ = fitted(*dataset_of(tmp_path, CITIES.replace(",,", ",u,")))
    assert found.tables == (("city", 3),)
    assert found.block(raw(coded([None, "w", "v"])), True).coded["city"].codes.tolist() == [2, 2, 1]


def test_a_hashed_column_is_its_bucket_whatever_training_saw(tmp_path: Path) -> None:
    found, _ = fitted(*dataset_of(tmp_path, CITIES, hash=("city",), hash_bits=5))
    assert found.tables == (("city", 32),) and found.design.n_features == 1
    values = ["v", "u", None, "never seen", "u"]
    codes = found.block(raw(coded(values)), True).coded["city"].codes.tolist()
    expected = [tf.fnv1a(f"city={v or ''}".encode()) % 32 for v in values]
    assert codes == expected


def test_rare_levels_share_the_last_code(tmp_path: Path) -> None:
    text = "a,city,y\n" + "".join(f"{i},{c},{i % 2}\n" for i, c in enumerate(["u"] * 30 + ["v"] * 20 + ["w", "x"] * 3))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").write_text(text)
    config = DataConfig(data=(str(tmp_path / "d"),), target="y", max_levels=2)
    run_config = RunConfig("mlp", {}, config, EngineConfig(engine="inline"), "unused")
    dataset, pipeline = setup.open_training(run_config, MLP())
    assert isinstance(pipeline, CodedPipeline)
    found, _ = fitted(dataset, pipeline)
    assert found.tables == (("city", 3),)
    assert found.block(raw(coded(["w", "x", "v", "u"])), True).coded["city"].codes.tolist() == [2, 2, 1, 0]


def test_the_columns_keep_their_order_with_hashed_ones_last(tmp_path: Path) -> None:
    text = "h,a,city,b,y\n" + "".join(f"k{i % 5},{i},{'uv'[i % 2]},{i * i},{i % 2}\n" for i in range(40))
    found, inner = fitted(*dataset_of(tmp_path, text, hash=("h",), hash_bits=4))
    assert found.tables == (("city", 3), ("h", 16))
    assert found.design.names == ("a", "b")
    assert [table[0] for table in inner["net"]["tables"]] == [3, 16]


def test_bins_are_columns_of_0_and_1_beside_the_codes(tmp_path: Path) -> None:
    found, inner = fitted(*dataset_of(tmp_path, CITIES, bins=4))
    block = found.block(raw(coded(["v", "u"]), x=[0.0, 59.0]), True)
    assert isinstance(block.X, np.ndarray) and block.X.sum(axis=1).tolist() == [1, 1]
    assert found.design.n_features == block.X.shape[1] == len(found.names) == inner["net"]["n_numeric"]


def test_a_model_of_codes_predicts_from_raw_columns_after_it_was_saved(tmp_path: Path) -> None:
    _, pipeline = dataset_of(tmp_path, CITIES)
    config = DataConfig(data=(str(tmp_path / "d"),), target="y", window_bytes=200)
    params = {"hidden": (4,), "epochs": 2}
    run.train(RunConfig("mlp", params, config, EngineConfig(engine="inline"), str(tmp_path / "m")))
    model = run.load_model(str(tmp_path / "m"))
    cities = coded(["u", "v", None, "w"])
    found = model.predict(raw(cities, x=[1, 1, 1, np.nan])).probability
    assert found is not None and found.shape == (4, 2) and np.isfinite(found).all()
    assert len({round(p, 9) for p in found[:3, 1].tolist()}) == 3, "cities are told apart"
    assert pipeline.schema == model.schema


def test_a_table_of_categories_alone_has_no_numbers_and_is_learned_from(tmp_path: Path) -> None:
    text = "city,y\n" + "".join(f"{'uvw'[i % 3]},{'no' if i % 3 else 'yes'}\n" for i in range(200))
    dataset_of(tmp_path, text)
    config = DataConfig(data=(str(tmp_path / "d"),), target="y", window_bytes=200)
    params = {"factors": 2, "epochs": 30, "learning_rate": 0.1}
    out = str(tmp_path / "m")
    run.train(RunConfig("factorization-machine", params, config, EngineConfig(engine="inline"), out))
    block = Block(0, 0, np.arange(70), np.empty((70, 0)), {"city": coded(["u", "v"] * 35)})
    assert run.load_model(out).predict(block).y_pred.tolist() == [1.0, 0.0] * 35


# ---- other inputs


def test_libsvm_columns_are_read_as_they_are(tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    lines = [f"{i % 2} " + " ".join(f"{j}:{r.normal():.3f}" for j in range(1, 9) if (i + j) % 3) for i in range(60)]
    path = tmp_path / "a.svm"
    path.write_text("\n".join(lines) + "\n")
    config = DataConfig(data=(str(path),), format="libsvm", window_bytes=400)
    run_config = RunConfig("mlp", {}, config, EngineConfig(engine="inline"), "unused")
    dataset, pipeline = setup.open_training(run_config, MLP())
    assert isinstance(pipeline, CodedPipeline)
    found, inner = fitted(dataset, pipeline)
    assert found.design.classes == ("0", "1") and inner["objective"] == "logistic"
    assert found.tables == () and found.names == () and found.sparse
    net = inner["net"]
    assert (net["n_numeric"], net["n_sparse"], net["tables"]) == (0, 8, [])
    block = found.block(blocks_of(dataset)[0], True)
    assert isinstance(block.X, CSR) and block.X.n_columns == 8


def test_a_text_column_is_refused_with_what_to_do(tmp_path: Path) -> None:
    words = [" ".join(f"w{(i * 7 + k * 13) % 101}" for k in range(12)) for i in range(150)]
    text = "note,a,y\n" + "".join(f"{w} {i},{i % 7},{i % 2}\n" for i, w in enumerate(words))
    dataset, pipeline = dataset_of(tmp_path, text)
    columns = tuple(dataclasses.replace(c, kind="text") if c.name == "note" else c for c in dataset.schema.columns)
    schema = dataclasses.replace(dataset.schema, columns=columns)
    asked = dataclasses.replace(pipeline, schema=schema)
    with pytest.raises(ConfigError) as caught:
        run_round(asked, asked.init(schema), [blocks_of(dataset)])
    assert str(caught.value) == (
        "column 'note': is text, which a network of embeddings does not read; give it kind categorical and name it "
        "with --hash, or leave it out with --exclude"
    )


@pytest.mark.parametrize(
    ("values", "loss", "error", "message"),
    [
        (["yes"] * 40, "auto", InputError, "target: holds only one class, 'yes'; at least two are needed"),
        ([1] * 40, "logistic", InputError, "target: holds only one class, '1'; at least two are needed"),
        ([0, 1, 2] * 20, "logistic", ConfigError, "algorithm, loss: logistic needs a target of 2 classes, here are 3; "
         "use --loss softmax"),
        ([0, 1, -2] * 20, "poisson", InputError, "target: holds -2, and a poisson target is never negative; "
         "use squared errors, or fix the data"),
        ([0, 1, 2] * 20, "gamma", InputError, "target: holds 0, and a gamma target is above 0; "
         "use squared errors, or fix the data"),
    ],
)  # fmt: skip
def test_a_target_that_the_loss_cannot_have_is_refused(
    values: list[Any], loss: str, error: type[MrmlError], message: str, tmp_path: Path
) -> None:
    text = "a,y\n" + "".join(f"{i % 7},{v}\n" for i, v in enumerate(values))
    dataset, _ = dataset_of(tmp_path, text)
    pipeline = setup.pipeline_of(MLP(loss=loss), dataset.schema, DataConfig())
    with pytest.raises(error) as caught:
        run_round(pipeline, pipeline.init(dataset.schema), [blocks_of(dataset)])
    assert str(caught.value) == message
