"""A fold's rows are left out of everything, and which fold a row is in depends on nothing but the row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml.algorithm import Algorithm
from mrml.algorithms.clustering.kmeans import KMeans
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.linear.glm import Linear, Logistic, Softmax
from mrml.algorithms.search import times
from mrml.algorithms.search.fold import on_fold, without_fold
from mrml.algorithms.search.parting import Part, Parting, taken
from mrml.algorithms.trees.boosting import Boosting
from mrml.algorithms.trees.forest import Forest
from mrml.data.block import Block, Coded
from mrml.data.store import DirectoryStore
from mrml.errors import ConfigError, InputError
from mrml.kernels.random import bits
from mrml.schema import Schema
from tests.algorithms.folds import KINDS, LABELS, NUMBERS, POINTS, ROWS, blocks, numbers, opened, write
from tests.identity import model_bytes
from tests.rounds import run

LEARNERS: list[tuple[Algorithm, dict[str, Any]]] = [
    (Logistic(l2=1e-3), LABELS),
    (Linear(l2=0.1), NUMBERS),
    (Softmax(solver="lbfgs", max_iterations=5), KINDS),
    (KMeans(k=3, max_iterations=4), POINTS),
    (Boosting(objective="logistic", rounds=2, max_depth=3, subsample=0.7), LABELS),
    (Forest(trees=3, max_depth=3), NUMBERS),
]


def block_of(n: int, **arrays: Any) -> Block:
    return Block(3, 5, np.arange(n), np.arange(2.0 * n).reshape(n, 2), **arrays)


# ---- which fold a row is in


def test_a_row_is_in_the_fold_that_the_draw_of_its_key_says() -> None:
    block = block_of(1000)
    expected = bits(9, 1 << 40, block.row_key) % 4
    found = Parting(4, seed=9).of(block)
    assert (found == expected).all() and set(found.tolist()) == {0, 1, 2, 3}
    some = taken(block, np.arange(1000) % 3 == 1)
    assert (Parting(4, seed=9).of(some) == found[1::3]).all()


def test_folds_by_row_have_about_as_many_rows_and_another_seed_deals_anew() -> None:
    counts = np.bincount(Parting(5).of(block_of(10_000)))
    assert (abs(counts - 2000) < 5 * np.sqrt(1600)).all()
    same = (Parting(5).of(block_of(10_000)) == Parting(5, seed=1).of(block_of(10_000))).mean()
    assert abs(same - 0.2) < 0.02


def test_folds_by_class_differ_by_at_most_a_row_of_every_class_in_a_block() -> None:
    rng = np.random.default_rng(2)
    codes = rng.choice(4, 997, p=[0.7, 0.2, 0.07, 0.03]) - 1  # a null is a class too
    block = block_of(997, y=Coded(codes.astype(np.int32), np.array(["a", "b", "c"])))
    fold = Parting(5, "class").of(block)
    for code in range(-1, 3):
        counts = np.bincount(fold[codes == code], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert max(np.bincount(fold)) - min(np.bincount(fold)) <= 4
    fold = Parting(5, "class").of(block_of(997, y=codes.astype(np.float64)))
    assert np.ptp(np.bincount(fold[codes == 2], minlength=5)) <= 1


def test_rows_of_weight_0_move_no_other_row() -> None:
    rng = np.random.default_rng(3)
    weight, codes = rng.integers(0, 3, 500) * 1.0, rng.integers(0, 3, 500).astype(np.int32)
    block = block_of(500, y=Coded(codes, np.array(["a", "b", "c"])), weight=weight)
    counted = taken(block, weight > 0)
    for by in ("class", "row"):
        assert (Parting(4, by).of(block)[weight > 0] == Parting(4, by).of(counted)).all()


def test_classes_begin_in_different_folds_in_different_blocks() -> None:
    firsts = [Parting(5, "class").of(Block(0, k, np.zeros(1, np.int64), np.zeros((1, 1)), y=np.ones(1)))[0]
              for k in range(200)]  # fmt: skip
    assert min(Counter(firsts).values()) > 20 and len(set(firsts)) == 5


def test_a_group_is_in_one_fold_wherever_its_rows_lie_and_however_it_is_stored() -> None:
    texts = np.array(["7", "12", "x", "7"])
    first = block_of(4, group=Coded(np.array([0, 1, 2, -1], np.int32), texts[:3]))
    other = Block(8, 0, np.arange(2), np.zeros((2, 1)), group=Coded(np.array([1, 0], np.int32), texts[[1, 0]]))
    whole = block_of(2, group=np.array([7, 12]))
    real = block_of(2, group=np.array([7.0, 12.0]))
    deal = Parting(50, "group").of
    assert deal(first)[:2].tolist() == deal(other).tolist() == deal(whole).tolist() == deal(real).tolist()
    assert deal(first)[3] == deal(block_of(1, group=np.array([np.nan])))[0]


def test_folds_that_are_given_are_the_ids_of_the_rows() -> None:
    assert Parting(3, "given").of(block_of(4, id=np.array([2, 0, 1, 2]))).tolist() == [2, 0, 1, 2]
    for wrong in (np.array([0, 3]), np.array([-1, 0]), np.array(["0", "1"]), None):
        with pytest.raises(InputError, match="its ids are not folds, 0 to 2"):
            Parting(3, "given").of(block_of(2, id=wrong))


@settings(max_examples=20)
@given(share=st.floats(0.05, 0.95), seed=st.integers(0, 9), fold=st.sampled_from([None, 1]))
def test_a_share_holds_what_a_smaller_one_holds_and_about_as_many_rows_as_it_says(
    share: float, seed: int, fold: int | None
) -> None:
    block, parting = block_of(4000, group=np.arange(4000) // 2), Parting(3, seed=seed)
    some, fewer = (Part(parting, fold, True, s).block(block) for s in (share, share / 2))
    n = 4000 if fold is None else int((parting.of(block) != fold).sum())
    assert set(fewer.rows.tolist()) < set(some.rows.tolist())
    assert abs(some.n_rows - share * n) < 5 * np.sqrt(n * share * (1 - share))
    assert fold is None or not (parting.of(some) == fold).any()
    grouped = Part(Parting(3, "group", seed), fold, True, share).block(block)
    assert (np.unique(np.asarray(grouped.group), return_counts=True)[1] == 2).all()


@settings(max_examples=50)
@given(counts=st.lists(st.integers(1, 50), min_size=6, max_size=60), stretches=st.integers(2, 6))
def test_stretches_have_about_as_many_rows_and_share_no_time(counts: list[int], stretches: int) -> None:
    values = np.cumsum(np.arange(len(counts)) % 3 + 1.0)
    found = times.cuts(values, counts, stretches)
    assert list(found) == sorted(set(found)) and set(found) <= set(values[1:].tolist())
    rows = np.bincount(np.searchsorted(found, np.repeat(values, counts), side="right"), minlength=stretches)
    assert rows.min() > 0
    if len(counts) > 8 * stretches:  # a cut is at most half a value off, where no other is in its way
        assert abs(np.cumsum(rows) - sum(counts) * np.arange(1, stretches + 1) / stretches).max() <= max(counts)


def test_rows_without_a_time_are_refused_with_what_to_do() -> None:
    parting = Parting(2, "date", cuts=(1.0, 2.0))
    assert parting.of(block_of(4, time=np.array([0.0, 1.0, 1.5, 2.0]))).tolist() == [-1, 0, 0, 1]
    with pytest.raises(InputError, match="file 3, block 5: 1 of its rows have no time; name the column with --time"):
        parting.of(block_of(2, time=np.array([1.0, np.nan])))
    with pytest.raises(InputError, match="the rows have no time to part folds by; name it with --time"):
        parting.of(block_of(2))


@pytest.mark.parametrize("by", ["group", "class"])
def test_rows_without_what_folds_go_by_are_refused(by: str) -> None:
    with pytest.raises(InputError, match=r"file 3, block 5: the rows have no (group|target) to part folds by"):
        Parting(3, by).of(block_of(4))
    with pytest.raises(ConfigError, match="5 is none of 5"):
        Part(Parting(5), 5, without=True)


@settings(max_examples=20)
@given(folds=st.integers(2, 9), seed=st.integers(0, 99), by=st.sampled_from(["row", "class"]))
def test_every_row_is_held_by_one_fold_and_trained_on_by_all_the_others(folds: int, seed: int, by: str) -> None:
    block = block_of(300, y=np.arange(300) % 3 * 1.0, weight=np.arange(300.0))
    parting = Parting(folds, by, seed)
    held = [Part(parting, i, without=False).block(block) for i in range(folds)]
    rest = [Part(parting, i, without=True).block(block) for i in range(folds)]
    assert sorted(np.concatenate([h.rows for h in held]).tolist()) == list(range(300))
    for h, r in zip(held, rest, strict=True):
        assert sorted([*h.rows.tolist(), *r.rows.tolist()]) == list(range(300))
        assert (r.X[:, 0] == 2 * r.rows).all() and (r.weight == r.rows).all() and (r.y == r.rows % 3).all()  # type: ignore


def test_parts_of_a_kept_block_have_memos_of_their_own(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put_block(block_of(50))
    for _ in range(2):
        Part(Parting(3), 0, without=True).block(block_of(1))  # another block at hand, as between two rounds
        block = store.get_block(3, 5)
        assert block is not None
        parts = [Part(Parting(3), i, without=True).block(block) for i in range(3)]
        for k, part in enumerate(parts):
            found = part.memo("n", 1, lambda _, k=k: {"n": np.array([k])})
            assert found["n"][0] == k
    assert block.store.get("n") is None
    assert not parts[0].X.flags.writeable  # type: ignore[union-attr]


# ---- what training without a fold is


@pytest.mark.parametrize(("algorithm", "data"), LEARNERS, ids=lambda v: type(v).__name__)
def test_a_model_without_a_fold_is_the_model_of_data_without_those_rows(
    algorithm: Algorithm, data: dict[str, Any], tmp_path: Path
) -> None:
    dataset, pipeline = opened(write(tmp_path / "all"), algorithm, **data)
    rows, parting = blocks(dataset), Parting(4, seed=3)
    assert len(rows) > 12
    out = numbers(rows, [parting.of(b) == 2 for b in rows])
    assert ROWS / 6 < len(out) < ROWS / 3
    other, alone = opened(write(tmp_path / "some", without=out), algorithm, **data)
    assert sum(b.n_rows for b in blocks(other)) == ROWS - len(out)
    fold = without_fold(pipeline, 2, parting)
    found = fold.model(run(fold, dataset.schema, [rows]), dataset.schema)
    expected = alone.model(run(alone, other.schema, [blocks(other)]), other.schema)
    assert model_bytes(found, tmp_path / "found") == model_bytes(expected, tmp_path / "expected")


def test_nothing_of_a_fold_leaks_through_the_preparation_of_columns(tmp_path: Path) -> None:
    """``tag`` tells the target of one fold's rows, and only how columns are prepared could bring that to the model."""
    rng = np.random.default_rng(4)
    parting = Parting(3)
    fold = parting.of(Block(0, 0, np.arange(300), np.zeros((300, 1))))
    y = rng.integers(0, 2, 300)
    tag = np.where(fold == 1, np.where(y == 1, "one", "zero"), "none")
    size = np.where(fold == 1, 1e6 * y, rng.normal(size=300))
    lines = [f"{s!r},{t},{k}" for s, t, k in zip(size.tolist(), tag, y, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["size,tag,y", *lines]) + "\n")
    from mrml.config.sections import DataConfig, RunConfig
    from mrml.runs import setup

    config = RunConfig("logistic", {}, DataConfig(data=(str(tmp_path / "rows.csv"),), target="y"))
    dataset, pipeline = setup.open_training(config, Logistic())
    model: Any = without_fold(pipeline, 1, parting)
    model = model.model(run(model, dataset.schema, [blocks(dataset)]), dataset.schema)
    assert model.fitted.names == ("size", "tag=none", "tag=other")
    np.testing.assert_allclose(model.fitted.params["center"], size[fold != 1].mean())
    np.testing.assert_allclose(model.fitted.params["scale"], size[fold != 1].std())
    assert model.fitted.params["n_rows"] == (fold != 1).sum()
    whole: Any = pipeline.model(run(pipeline, dataset.schema, [blocks(dataset)]), dataset.schema)
    assert "tag=one" in whole.fitted.names and whole.fitted.params["scale"][0] > 1e5


# ---- judging on a fold


def test_metrics_of_a_fold_are_those_of_its_rows_alone(tmp_path: Path) -> None:
    dataset, pipeline = opened(write(tmp_path / "all"), Logistic(), **LABELS)
    rows, parting = blocks(dataset), Parting(3, "class")
    schema: Schema = dataset.schema
    model = pipeline.model(run(pipeline, schema, [rows]), schema)
    for fold in (0, 1, 2, None):
        judge = on_fold(Evaluate(scorer=model), fold, parting)
        found = judge.model(run(judge, schema, [rows]), schema).header()["metrics"]
        alone = [taken(b, parting.of(b) == fold) if fold is not None else b for b in rows]
        plain = Evaluate(scorer=model)
        expected = plain.model(run(plain, schema, [alone]), schema).header()["metrics"]
        assert found == expected and found["n_rows"] == sum(b.n_rows for b in alone)
