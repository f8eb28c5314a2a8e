"""Evaluation: scikit-learn and plain fractions as oracles; cuts and ranges change no byte."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from mrml import model as models
from mrml import wire
from mrml.algorithm import State, from_spec
from mrml.algorithms.evaluation.evaluate import Evaluate
from mrml.algorithms.evaluation.parts import Metrics, ScoreCounts, ScoreWeights
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.kernels import ranking
from mrml.model import Model, Prediction
from mrml.schema import Schema
from mrml.statistic import EXACT, Into, Partial, complete

SCHEMA = Schema(())
BINARY = ("no", "yes")


class Fake(Model):
    """Says what X holds: probabilities, raw predictions or values."""

    def __init__(
        self, output: str, classes: Sequence[str] = (), deviance: str = "half_squared_error", raw: bool = False
    ):
        self.output, self.classes = output, tuple(classes)  # type: ignore[misc]
        self.deviance, self.raw, self.calls = deviance, raw, 0

    def predict(self, block: Block) -> Prediction:
        self.calls += 1
        x = np.asarray(block.X, np.float64)
        if self.output == "numeric":
            return Prediction(x[:, 0])
        if self.raw:
            return Prediction((x[:, 0] > 0).astype(float), None, x[:, 0])
        p = np.stack([1 - x[:, 0], x[:, 0]], axis=1) if x.shape[1] == 1 else x
        return Prediction(p.argmax(axis=1).astype(np.float64), p)

    def targets(self, block: Block) -> Any:
        if not isinstance(block.y, Coded):
            return block.y
        known = [self.classes.index(v) if v in self.classes else -1 for v in block.y.levels]
        return np.array([*known, -1], np.float64)[block.y.codes]

    def header(self) -> dict[str, Any]:
        return {"output": self.output, "classes": self.classes, "deviance": self.deviance, "raw": self.raw}

    def arrays(self) -> dict[str, Any]:
        return {"nothing": np.zeros(1)}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Fake:
        return cls(header["output"], header["classes"], header["deviance"], header["raw"])


class Kept:
    """A memo that keeps everything."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        return self.items.get(name)

    def put(self, name: str, version: int, arrays: Any, volatile: bool = False) -> None:
        self.items[name] = (version, arrays)


def blocks(x: Any, y: Any, weight: Any = None, rows: int = 50, memo: bool = False) -> list[Block]:
    x = np.asarray(x, np.float64).reshape(len(y), -1)
    out = []
    for index, start in enumerate(range(0, len(y), rows)):
        part = slice(start, start + rows)
        n = len(y[part])
        w = None if weight is None else np.asarray(weight, np.float64)[part]
        kept = {"store": Kept()} if memo else {}
        target = np.asarray(y[part], np.float64)
        out.append(Block(0, index, np.arange(n), np.ascontiguousarray(x[part]), y=target, weight=w, **kept))
    return out


def one_round(algorithm: Evaluate, state: State, data: Sequence[Block], cuts: Sequence[int] = ()) -> State:
    """A round as engines do it: tasks of consecutive blocks, parts and State as bytes, the last task first."""
    state = State.from_wire(wire.loads(wire.dumps(state.to_wire())))
    parts: dict[str, list[Any]] = {}
    for start, stop in reversed(list(itertools.pairwise(sorted({0, *cuts, len(data)})))):
        kept: dict[str, Any] = {}
        trees: dict[str, Partial] = {}
        for block in data[start:stop]:
            into = Into(lambda key: algorithm.statistic(state, key), kept)
            algorithm.map(state, block, into)
            for key, statistic in into.fresh.items():
                trees.setdefault(key, Partial(0, data[start].index)).push(block.index, statistic)
        sent = [(key, part) for key, tree in trees.items() for part in tree.parts()]
        for key, (node, s) in sent + [(key, (EXACT, s)) for key, s in kept.items()]:
            parts.setdefault(key, []).append((node, type(s).from_wire(wire.loads(wire.dumps(s.to_wire())))))
    values = {k: algorithm.reduce(state, k, complete(p)) for k, p in parts.items()}
    return algorithm.update(state, values)


def run(model: Model, data: Sequence[Block], cuts: Sequence[int] = (), **limits: int) -> tuple[dict[str, Any], int]:
    """The metrics, and the rounds it took."""
    state = Evaluate(scorer=model, **limits).init(SCHEMA)
    task = from_spec(Evaluate(scorer=model, **limits).spec())
    assert isinstance(task, Evaluate) and task.scorer is None
    while state.stop is None:
        state = one_round(task, state, data, [c for c in cuts if c < len(data)])
    return task.model(state, SCHEMA).metrics, state.round


def close(value: Any, expected: float) -> bool:
    return value == pytest.approx(float(expected), rel=1e-12, abs=1e-300)


def scores(kind: str, n: int, seed: int) -> Any:
    r = np.random.default_rng(seed)
    return {
        "smooth": lambda: r.random(n),
        "ties": lambda: r.integers(0, 7, n) / 7,
        "float32": lambda: r.random(n, np.float32).astype(np.float64),
        "constant": lambda: np.full(n, 0.3),
        "extreme": lambda: r.choice([0.0, 5e-324, 1e-300, 1e-17, 0.5, 1 - 1e-16, 1.0], n),
        "narrow": lambda: 0.5 + r.random(n) * 1e-9,
    }[kind]()


KINDS = ["smooth", "ties", "float32", "constant", "extreme", "narrow"]


def area_by_hand(x: Any, y: Any) -> Fraction:
    """Pairs of a positive and a negative in the right order, ties half."""
    p, n = x[y == 1], x[y == 0]
    twice = int((2 * (p[:, None] > n) + (p[:, None] == n)).sum())
    return Fraction(twice, 2 * len(p) * len(n))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("limit", [1 << 20, 40])
def test_two_classes_give_scikit_learns_figures(kind: str, weighted: bool, limit: int) -> None:
    x = scores(kind, 600, 1)
    r = np.random.default_rng(2)
    y = (r.random(600) < 0.2 + 0.6 * x).astype(int)
    w = r.gamma(1, size=600) * (r.random(600) < 0.9) if weighted else None
    found, _ = run(Fake("classes", BINARY), blocks(x, y, w), range_rows=limit, round_rows=3 * limit)
    both = np.stack([1 - x, x], axis=1)
    assert close(found["auc"], peer.roc_auc_score(y, x, sample_weight=w))
    assert close(found["pr_auc"], peer.average_precision_score(y, x, sample_weight=w))
    assert close(found["log_loss"], peer.log_loss(y, both, sample_weight=w))
    assert close(found["accuracy"], peer.accuracy_score(y, both.argmax(axis=1), sample_weight=w))
    assert found["deviance"] == 2 * found["log_loss"]
    assert found["rmse"] is None and found["mae"] is None and found["r2"] is None and not found["reasons"]
    assert found["n_rows"] == 600 and close(found["weight"], 600 if w is None else w.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_and_auc_without_weights_are_the_rounded_fractions(kind: str) -> None:
    x = scores(kind, 401, 3)
    y = (np.random.default_rng(4).random(401) < 0.4).astype(int)
    found, _ = run(Fake("classes", BINARY), blocks(x, y))
    exact = area_by_hand(x, y)
    assert found["auc"] == exact.numerator / exact.denominator
    assert found["accuracy"] == int(((x > 0.5) == y).sum()) / 401


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.booleans(),
    st.lists(st.integers(1, 5), max_size=3),
    st.booleans(),
)
def test_cuts_into_splits_and_memos_change_no_byte(
    seed: int, kind: str, weighted: bool, cuts: list[int], memo: bool
) -> None:
    x = scores(kind, 180, seed)
    r = np.random.default_rng(seed)
    y, w = r.integers(0, 2, 180), r.gamma(1, size=180) if weighted else None
    limits = {"range_rows": 25, "round_rows": 60}
    whole = run(Fake("classes", BINARY), blocks(x, y, w, rows=30), **limits)
    assert run(Fake("classes", BINARY), blocks(x, y, w, rows=30, memo=memo), cuts, **limits) == whole


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(KINDS), st.integers(3, 200), st.integers(20, 400), st.integers(10, 90))
def test_neither_ranges_nor_blocks_change_a_byte_of_rankings_by_rows(
    seed: int, kind: str, range_rows: int, round_rows: int, rows: int
) -> None:
    x, y = scores(kind, 180, seed), np.random.default_rng(seed).integers(0, 2, 180)
    whole, _ = run(Fake("classes", BINARY), blocks(x, y, rows=180))
    other, _ = run(Fake("classes", BINARY), blocks(x, y, rows=rows), range_rows=range_rows, round_rows=round_rows)
    assert [other[k] for k in ("auc", "pr_auc", "accuracy")] == [whole[k] for k in ("auc", "pr_auc", "accuracy")]


def test_two_rounds_do_unless_a_bin_is_too_full() -> None:
    x, y = scores("smooth", 500, 0), np.arange(500) % 2
    assert run(Fake("classes", BINARY), blocks(x, y))[1] == 2
    assert run(Fake("classes", BINARY), blocks(x, y), range_rows=200)[1] == 2
    narrow = scores("narrow", 500, 0)
    assert run(Fake("classes", BINARY), blocks(narrow, y), range_rows=200)[1] == 3
    assert run(Fake("classes", BINARY), blocks(np.full(500, 0.3), y), range_rows=200)[1] == 2
    assert run(Fake("classes", BINARY), blocks(narrow, y), range_rows=100, round_rows=250)[1] > 3


def test_an_empty_block_changes_nothing() -> None:
    x, y = scores("smooth", 120, 0), np.arange(120) % 2
    data = blocks(x, y)
    empty = Block(0, len(data), np.arange(0), np.empty((0, 1)), y=np.empty(0))
    assert run(Fake("classes", BINARY), [*data, empty]) == run(Fake("classes", BINARY), data)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_auc_and_says_why(label: int) -> None:
    x = scores("smooth", 60, 0)
    found, _ = run(Fake("classes", BINARY), blocks(x, np.full(60, label)))
    assert found["auc"] is None
    assert found["reasons"]["auc"] == f"every row is of the class {BINARY[label]!r}"
    assert found["pr_auc"] == (1.0 if label else None)
    assert found["log_loss"] is not None


def test_raw_predictions_rank_where_there_are_no_probabilities() -> None:
    x = np.array([-np.inf, -3.0, -0.0, 0.0, 2.0, np.inf, 1e308])
    y = np.array([0, 1, 0, 1, 0, 1, 1])
    found, _ = run(Fake("classes", BINARY, raw=True), blocks(x, y))
    exact = area_by_hand(x, y)
    assert found["auc"] == exact.numerator / exact.denominator
    assert found["log_loss"] is None and found["reasons"]["log_loss"] == "the model gives no probabilities"


@pytest.mark.parametrize("weighted", [False, True])
def test_many_classes_give_scikit_learns_figures(weighted: bool) -> None:
    r = np.random.default_rng(0)
    p = r.dirichlet(np.ones(4) * 0.1, 300)
    y, w = r.integers(0, 4, 300), r.gamma(1, size=300) if weighted else None
    found, rounds = run(Fake("classes", "abcd"), blocks(p, y, w))
    assert close(found["log_loss"], peer.log_loss(y, p, sample_weight=w, labels=range(4)))
    assert close(found["accuracy"], peer.accuracy_score(y, p.argmax(axis=1), sample_weight=w))
    assert found["auc"] is None and found["pr_auc"] is None and rounds == 1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_numbers_give_scikit_learns_figures(weighted: bool, offset: float) -> None:
    r = np.random.default_rng(0)
    y = r.normal(size=700) + offset
    x, w = y + r.normal(size=700), r.gamma(1, size=700) if weighted else None
    found, rounds = run(Fake("numeric"), blocks(x, y, w))
    assert close(found["rmse"], peer.root_mean_squared_error(y, x, sample_weight=w))
    assert close(found["mae"], peer.mean_absolute_error(y, x, sample_weight=w))
    assert close(found["r2"], peer.r2_score(y, x, sample_weight=w))
    assert close(found["deviance"], peer.mean_squared_error(y, x, sample_weight=w))
    assert rounds == 1 and found["accuracy"] is None and not found["reasons"]


@pytest.mark.parametrize(("name", "power"), [("poisson", 1), ("gamma", 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_deviance_is_the_models(name: str, power: int, weighted: bool) -> None:
    r = np.random.default_rng(0)
    mu = r.gamma(2, size=500)
    y = r.poisson(mu) + (power == 2)
    w = r.gamma(1, size=500) if weighted else None
    found, _ = run(Fake("numeric", deviance=name), blocks(mu, y, w))
    assert close(found["deviance"], peer.mean_tweedie_deviance(y, mu, sample_weight=w, power=power))


def test_a_deviance_out_of_range_is_none_and_says_why() -> None:
    found, _ = run(Fake("numeric", deviance="poisson"), blocks([1.0, 0.0], [1.0, 2.0]))
    assert found["deviance"] is None and "out of range" in found["reasons"]["deviance"]
    assert found["rmse"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("value", [0.1, 5.0])
def test_a_constant_target_has_the_r2_of_scikit_learn(value: float) -> None:
    y = np.full(99, value)
    assert run(Fake("numeric"), blocks(y, y, rows=7))[0]["r2"] == 1.0
    assert run(Fake("numeric"), blocks(y + 1, y, rows=7))[0]["r2"] == 0.0
    found, _ = run(Fake("numeric"), blocks([1.0], [2.0]))
    assert found["r2"] is None and found["reasons"]["r2"] == "it needs two rows"


def test_an_integer_weight_is_the_row_so_many_times() -> None:
    x, r = scores("ties", 200, 0), np.random.default_rng(1)
    y, w = r.integers(0, 2, 200), r.integers(0, 4, 200)
    weighted, _ = run(Fake("classes", BINARY), blocks(x, y, w))
    repeated, _ = run(Fake("classes", BINARY), blocks(np.repeat(x, w), np.repeat(y, w)))
    for key in ("auc", "pr_auc", "log_loss", "accuracy"):
        assert close(weighted[key], repeated[key])


def test_a_label_the_model_does_not_know_is_named() -> None:
    levels = np.array(["yes", "maybe", "no"])
    block = Block(2, 3, np.arange(4, 8), np.zeros((4, 1)), y=Coded(np.array([0, 2, 1, -1], np.int32), levels))
    with pytest.raises(InputError, match=r"file 2, block 3, row 6: the target 'maybe' is not .*knows 'no', 'yes'"):
        run(Fake("classes", BINARY), [block])
    null = Block(2, 3, np.arange(4, 6), np.zeros((2, 1)), y=Coded(np.array([0, -1], np.int32), levels))
    with pytest.raises(InputError, match=r"row 5: the target is null"):
        run(Fake("classes", BINARY), [null])
    with pytest.raises(InputError, match=r"row 1: the target is null"):
        run(Fake("numeric"), blocks([0.0, 1.0], [1.0, np.nan]))


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(InputError, match="row 1: the model predicts NaN"):
        run(Fake("numeric"), blocks([0.0, np.nan], [1.0, 1.0]))
    with pytest.raises(InputError, match="has no rows"):
        run(Fake("numeric"), [Block(0, 0, np.arange(0), np.empty((0, 1)), y=np.empty(0))])
    with pytest.raises(InputError, match="sum to 0"):
        run(Fake("numeric"), blocks([0.0], [1.0], [0.0]))
    with pytest.raises(ConfigError, match="no model is given"):
        Evaluate().init(SCHEMA)
    with pytest.raises(ConfigError, match="'cluster' has no target"):
        Evaluate(scorer=Fake("cluster")).init(SCHEMA)


def test_the_result_is_json_and_saves_as_a_model(tmp_path: Path) -> None:
    found, _ = run(Fake("classes", BINARY), blocks(scores("smooth", 90, 0), np.arange(90) % 2))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {*found} == {
        *["auc", "pr_auc", "log_loss", "accuracy", "rmse", "mae", "r2", "deviance", "n_rows", "weight", "reasons"]
    }
    Metrics(found).save(tmp_path)
    loaded = models.load(tmp_path)
    assert isinstance(loaded, Metrics) and loaded.metrics == found


def test_a_kept_score_spares_the_second_prediction() -> None:
    model = Fake("classes", BINARY)
    algorithm, data = Evaluate(scorer=model), blocks(scores("smooth", 90, 0), np.arange(90) % 2, memo=True)
    state = one_round(algorithm, algorithm.init(SCHEMA), data)
    predict = Fake.predict
    try:
        Fake.predict = None  # type: ignore[assignment, method-assign]
        assert one_round(algorithm, state, data).stop
    finally:
        Fake.predict = predict  # type: ignore[method-assign]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
def test_codes_are_in_the_order_of_the_scores(values: list[float]) -> None:
    x = np.array(values)
    code = ranking.ordered(x)
    for a, b in itertools.pairwise(range(len(x))):
        assert (code[a] < code[b]) == (x[a] < x[b]) and (code[a] == code[b]) == (x[a] == x[b])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.integers(0, 2**64 - 1), st.integers(2, 99))
def test_a_code_falls_into_the_bin_that_holds_it(codes: list[int], lo: int, n_bins: int) -> None:
    hi = max([lo, *codes])
    width = (hi - lo) // n_bins + 1
    as_array = [np.array([v], np.uint64) for v in (lo, hi, width)]
    found = ranking.bins(np.array(codes, np.uint64), *as_array, n_bins)  # type: ignore[call-arg]
    assert found.tolist() == [(c - lo) // width if lo <= c <= hi else -1 for c in codes]
    assert found.max() < n_bins


@given(st.integers(0, 10**6), st.integers(0, 2**39))
def test_areas_of_huge_counts_are_exact(seed: int, above: int) -> None:
    r = np.random.default_rng(seed)
    p, n = r.integers(0, 2**34, (2, 20))
    counts = ranking.Tally(np.arange(20, dtype=np.uint64), p, n)
    expected, tp = 0, above
    for a, b in zip(p[::-1].tolist(), n[::-1].tolist(), strict=True):
        expected += b * (2 * tp + a)
        tp += a
    assert ranking.twice_area(counts, above) == expected


@given(st.lists(st.integers(0, 9), max_size=30), st.permutations(range(5)))
def test_score_counts_do_not_depend_on_the_order_of_merging(values: list[int], order: list[int]) -> None:
    code, one = np.array(values, np.uint64), np.ones(len(values), np.int64)
    merged = ScoreCounts()
    for i in order:
        part = ScoreCounts()
        part.add(ranking.tally(code[i::5], one[i::5], 2 * one[i::5]))
        merged.merge(part)
    distinct, counts = np.unique(code, return_counts=True)
    assert np.array_equal(merged.tally().code, distinct)
    assert np.array_equal(merged.tally().positive, counts) and np.array_equal(merged.tally().negative, 2 * counts)


def held_by_rounds(n: int, limits: dict[str, int]) -> tuple[list[int], list[int]]:
    """Of every round that ranks: the bytes of what a process that maps all rows holds, and the rows among them."""
    r = np.random.default_rng(n)
    algorithm, data = Evaluate(scorer=Fake("classes", BINARY), **limits), blocks(r.random(n), r.integers(0, 2, n))
    state, held, rows = algorithm.init(SCHEMA), [], []
    while state.stop is None:
        kept: dict[str, Any] = {}
        for block in data:
            algorithm.map(state, block, Into(lambda key, s=state: algorithm.statistic(s, key), kept))  # type: ignore[misc]
        if state["phase"] == "rank":
            tallies = [s.tally() for s in kept.values()]
            held.append(sum(s.n_bytes() for s in kept.values()))
            rows.append(sum(int(t.positive.sum()) + int(t.negative.sum()) for t in tallies))
        state = one_round(algorithm, state, data)
    return held, rows


def test_a_round_that_ranks_holds_no_more_of_many_rows_than_of_few_and_every_row_is_ranked_once() -> None:
    limits = {"range_rows": 200, "round_rows": 2000}
    for n in (4000, 16000):
        held, rows = held_by_rounds(n, limits)
        assert sum(rows) == n and max(rows) <= 2000
        assert max(held) <= 10 * 2000 and sum(held) == 10 * n
        assert len(held) <= 1.25 * n / 2000 + 1


def test_scores_of_more_rows_than_a_byte_counts_are_exact() -> None:
    x, y = np.repeat([0.25, 0.5, 0.75], [300, 70000, 3]), np.arange(70303) % 3 == 0
    found, _ = run(Fake("classes", BINARY), blocks(x, y, rows=999))
    assert close(found["auc"], peer.roc_auc_score(y, x))
    assert found["pr_auc"] == pytest.approx(peer.average_precision_score(y, x), rel=1e-12)


def test_an_empty_statistic_of_scores_changes_nothing() -> None:
    for cls in (ScoreCounts, ScoreWeights):
        full = cls()
        full.add(ranking.Tally(np.array([1, 5], np.uint64), np.ones(2, cls.dtype), np.zeros(2, cls.dtype)))
        before = wire.dumps(full.to_wire())
        full.merge(cls())
        assert wire.dumps(full.to_wire()) == before
        fresh = cls()
        fresh.merge(full)
        assert wire.dumps(fresh.to_wire()) == before


def test_the_oracle_of_areas_is_scikit_learns() -> None:
    x, y = scores("ties", 300, 5), np.random.default_rng(6).integers(0, 2, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(area_by_hand(x, y)) == pytest.approx(peer.roc_auc_score(y, x), rel=1e-14)
