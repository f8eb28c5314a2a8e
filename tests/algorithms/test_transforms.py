"""Transforms against scikit-learn, and the pipeline that carries them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.naive_bayes import GaussianNB as SklearnNB
from sklearn.preprocessing import StandardScaler

from mrml import wire
from mrml.algorithms.pipeline import transforms as tf
from mrml.algorithms.pipeline.fitted import Fitted
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.algorithms.pipeline.statistics import Levels, Moments, Quantiles
from mrml.arrays import CSR
from mrml.data.block import Block, Coded
from mrml.errors import InputError
from mrml.model import describe, load
from mrml.schema import Column, Format, Schema
from mrml.statistic import Statistic
from tests.examples.naive_bayes import GaussianNB
from tests.rounds import run

LABELS = ["no", "yes"]


def coded(values: list[str | None]) -> Coded:
    levels = list(dict.fromkeys(v for v in values if v is not None))
    return Coded(
        np.array([levels.index(v) if v is not None else -1 for v in values], np.int32), np.array(levels, dtype=str)
    )


def raw_blocks(n: int = 300, seed: int = 0, size: int = 40) -> tuple[list[Block], Schema]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(1e6, 1.0, n), rng.normal(0, 5, n), np.full(n, 3.25)])
    size_of = rng.choice(["small", "large"], n)
    x[rng.random(n) < 0.1, 1] = np.nan
    city = [None if rng.random() < 0.05 else str(c) for c in rng.choice(["oslo", "rome", "paris", "bonn"], n)]
    y = [LABELS[int(v)] for v in rng.random(n) < 0.4]
    # the second category comes before the first in the alphabet: a header sorts its keys, the design must not
    columns = (Column("a"), Column("b"), Column("c"), Column("city", "categorical", source="string"),
               Column("area", "categorical", source="string"),
               Column("y", "categorical", "target", "string"))  # fmt: skip
    blocks = []
    for index, start in enumerate(range(0, n, size)):
        part = slice(start, min(start + size, n))
        rows = np.arange(part.stop - part.start)
        blocks.append(
            Block(
                0,
                index,
                rows,
                x[part],
                {"city": coded(city[part]), "area": coded(list(size_of[part]))},
                coded(y[part]),
                n_records=len(rows),
            )
        )
    return blocks, Schema(columns)


def together(blocks: list[Block]) -> np.ndarray:
    return np.concatenate([b.X for b in blocks])


def test_standardising_is_scikit_learns_after_its_mean_imputer() -> None:
    blocks, schema = raw_blocks()
    fill = tf.Impute(schema=schema)
    scale = tf.Standardise(schema=schema)
    filled = run(fill, schema, [blocks])
    scaled = run(scale, schema, [blocks])
    x = together(blocks)
    x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    oracle = StandardScaler().fit(x)
    np.testing.assert_allclose(filled["fill"], oracle.mean_, rtol=1e-14)
    np.testing.assert_allclose(scaled["center"], oracle.mean_, rtol=1e-14)
    np.testing.assert_allclose(scaled["scale"], oracle.scale_, rtol=1e-9)
    assert scaled["scale"][2] == 1.0, "a constant column is only centred"
    imputed = [fill.model(filled, schema).transform(b) for b in blocks]
    result = together([scale.model(scaled, schema).transform(b) for b in imputed])
    np.testing.assert_allclose(result, oracle.transform(x), atol=1e-8)


@given(st.lists(st.integers(0, 300), max_size=4), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_moments_are_those_of_all_rows_whatever_the_cut(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(1e8, 1.0, (300, 2))
    x[rng.random((300, 2)) < 0.2] = np.nan
    total: Moments | None = None
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
        part = Moments(2)
        part.fill(x[start:stop], None)
        if total is None:
            total = part
        else:
            total.merge(part)
    assert total is not None and total.n_rows == 300
    np.testing.assert_allclose(total.mean, np.nanmean(x, axis=0), rtol=1e-14)
    np.testing.assert_allclose(total.m2 / total.count, np.nanvar(x, axis=0), rtol=1e-6)


def test_moments_of_sparse_columns_count_what_is_absent_as_zero() -> None:
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((60, 5)) < 0.7, 0.0, rng.normal(2, 1, (60, 5)))
    dense[:20, 3:] = 0.0
    total = Moments(0, sparse=True)
    for part in (dense[:20, :3], dense[20:]):  # the first block knows three columns only
        rows, columns = np.nonzero(part)
        one = Moments(0, sparse=True)
        one.fill(tf.from_triplets(rows, columns, part[rows, columns], len(part), part.shape[1]), None)
        total.merge(one)
    np.testing.assert_allclose(total.mean, dense.mean(axis=0))
    np.testing.assert_allclose(total.m2 / 60, dense.var(axis=0))


@pytest.mark.parametrize("statistic", [Moments(2), Levels(), Quantiles(2)])
def test_merging_an_empty_statistic_of_columns_changes_nothing(statistic: Statistic) -> None:
    rng = np.random.default_rng(2)
    if isinstance(statistic, Levels):
        statistic.add(np.array(["a", "b"]), np.array([2, 3]), 1, "x")
    else:
        statistic.fill(rng.normal(size=(50, 2)), *([None] if isinstance(statistic, Moments) else []))  # type: ignore[attr-defined]
    before = wire.dumps(statistic.to_wire())
    statistic.merge(type(statistic)(2) if not isinstance(statistic, Levels) else Levels())  # type: ignore[call-arg]
    assert wire.dumps(statistic.to_wire()) == before
    assert wire.dumps(type(statistic).from_wire(wire.loads(before)).to_wire()) == before


def test_quantiles_are_exact_for_few_values_and_close_for_many() -> None:
    rng = np.random.default_rng(3)
    x = rng.lognormal(0, 2, (200_000, 1))
    total = Quantiles(1, size=512)
    for part in np.array_split(x, 32):
        one = Quantiles(1, size=512)
        one.fill(part)
        total.merge(one)
    edges = total.edges(0, 64)
    ranks = np.searchsorted(np.sort(x[:, 0]), edges) / len(x)
    assert np.abs(ranks - np.arange(1, 64) / 64).max() < 6 / 512
    few = Quantiles(1)
    few.fill(np.array([[1.0], [1.0], [2.0], [4.0]]))
    assert few.edges(0, 8).tolist() == [1.5, 3.0]


def test_one_hot_columns_are_levels_null_and_other() -> None:
    fitted = {"column": "city", "levels": ["bonn", "oslo"], "null": True}
    assert tf.onehot_names(fitted) == ["city=bonn", "city=oslo", "city=null", "city=other"]
    piece = tf.onehot_piece(coded(["oslo", None, "lima", "bonn"]), fitted)
    assert piece.argmax(axis=1).tolist() == [1, 2, 3, 0] and (piece.sum(axis=1) == 1).all()


def test_a_null_that_training_never_saw_is_other() -> None:
    piece = tf.onehot_piece(coded(["oslo", None]), {"levels": ["oslo"], "null": False})
    assert piece.argmax(axis=1).tolist() == [0, 1]


def test_rare_levels_share_one_column_and_ties_go_by_text() -> None:
    blocks, schema = raw_blocks()
    for block in blocks:
        block.coded["city"].codes[:] = np.arange(block.n_rows) % len(block.coded["city"].levels)
    transform = tf.OneHot(schema=schema, columns=("city",), max_levels=2)
    state = run(transform, schema, [blocks[:3], blocks[3:]])
    assert len(state["onehot"][0]["levels"]) == 2


def test_hashing_is_stable_signed_and_additive() -> None:
    assert tf.fnv1a(b"city=oslo") == tf.fnv1a(b"city=oslo") != tf.fnv1a(b"city=rome")
    schema = Schema((Column("words", "text"),))
    block = Block(0, 0, np.arange(3), np.empty((3, 0)), {"words": coded(["a b a", None, "B"])})
    out = tf.hash_pieces(block, ["words"], {"words"}, 10).toarray()
    assert np.abs(out[0]).sum() == 3 and not out[1].any()
    assert np.flatnonzero(out[2]).size == 1 and np.abs(out[0][np.flatnonzero(out[2])]) == 1
    fitted = Fitted(
        schema, {"fill": np.empty(0), "classes": [], "impute": False, "hash": {"bits": 10, "columns": ["words"]}}
    )
    assert fitted.sparse and fitted.n_features == 1024


def test_bins_count_the_edges_at_most_the_value() -> None:
    codes = tf.bin_codes(np.array([[0.0], [1.0], [1.5], [np.nan]]), [np.array([1.0, 2.0])])
    assert codes[:, 0].tolist() == [0, 1, 1, 3]


def test_the_pipeline_learns_what_scikit_learn_learns_and_its_model_survives_saving(tmp_path) -> None:
    blocks, schema = raw_blocks()
    pipeline = Pipeline(algorithm=GaussianNB(var_smoothing=1e-2), schema=schema)
    state = run(pipeline, schema, [blocks[:2], blocks[2:5], blocks[5:]])
    assert state.round == 2
    model = pipeline.model(state, schema)
    assert isinstance(model, PipelineModel) and model.classes == ("no", "yes")
    design = np.concatenate([model.design(b).X for b in blocks])
    target = np.concatenate([model.targets(b) for b in blocks])
    oracle = SklearnNB(var_smoothing=1e-2).fit(design, target)
    found = np.concatenate([model.predict(b).probability for b in blocks])
    np.testing.assert_allclose(found, oracle.predict_proba(design), atol=1e-9)
    model.save(tmp_path)
    back = load(tmp_path)
    assert describe(back) == describe(model)
    np.testing.assert_array_equal(np.concatenate([back.predict(b).probability for b in blocks]), found)


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_the_cut_into_tasks_changes_no_byte_of_the_state(cut: int) -> None:
    blocks, schema = raw_blocks()
    pipeline = Pipeline(algorithm=GaussianNB(), schema=schema, max_levels=2, bins=4)
    whole = run(pipeline, schema, [blocks])
    cuts = run(pipeline, schema, [blocks[i : i + cut] for i in range(0, len(blocks), cut)][::-1])
    assert wire.dumps(whole.to_wire()) == wire.dumps(cuts.to_wire())


def test_validation_rows_do_not_move_the_transforms() -> None:
    blocks, schema = raw_blocks()
    extra = dataclasses.replace(blocks[0], file=1, part="valid", X=blocks[0].X + 100)
    pipeline = Pipeline(algorithm=GaussianNB(), schema=schema)
    alone = run(pipeline, schema, [blocks], rounds=1)
    with_valid = run(pipeline, schema, [blocks, [extra]], rounds=1)
    assert wire.dumps(alone.to_wire()) == wire.dumps(with_valid.to_wire())


def test_a_label_training_never_saw_is_an_input_error_that_names_it() -> None:
    blocks, schema = raw_blocks()
    pipeline = Pipeline(algorithm=GaussianNB(), schema=schema)
    model = pipeline.model(run(pipeline, schema, [blocks]), schema)
    with pytest.raises(InputError, match="'maybe' was not in the training data"):
        model.targets(dataclasses.replace(blocks[0], y=coded(["maybe"] * blocks[0].n_rows)))  # type: ignore[attr-defined]


def test_numeric_labels_read_as_whole_numbers_in_numeric_order() -> None:
    schema = Schema((Column("x"), Column("y", role="target")))
    y = np.array([10.0, 9.0, 2.0, 10.0])
    block = Block(0, 0, np.arange(4), np.arange(4.0)[:, None], y=y, n_records=4)
    fitted = run(Pipeline(algorithm=GaussianNB(), schema=schema), schema, [[block]], rounds=1)["fitted"]
    assert fitted["classes"] == ["2", "9", "10"]
    assert Fitted(schema, fitted).targets(block, strict=True).tolist() == [2.0, 1.0, 0.0, 2.0]


def test_sparse_columns_beyond_the_training_width_are_dropped() -> None:
    schema = Schema((Column("label", role="target"),), Format("libsvm"))
    x = CSR(np.array([0, 2, 3]), np.array([0, 2, 1], np.int32), np.array([1.0, 2.0, 3.0]), 3)
    block = Block(0, 0, np.arange(2), x, y=np.array([0.0, 1.0]), n_records=2)
    fitted = Fitted(schema, run(Pipeline(algorithm=GaussianNB(), schema=schema), schema, [[block]], rounds=1)["fitted"])
    wide = CSR(np.array([0, 2]), np.array([1, 7], np.int32), np.array([5.0, 6.0]), 8)
    assert fitted.design.n_features == 3
    assert fitted.block(Block(0, 0, np.arange(1), wide), lazy=True).X.toarray().tolist() == [[0.0, 5.0, 0.0]]
