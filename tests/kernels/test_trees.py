"""The numba and NumPy kernels of trees give identical integers and gains, and the best split is the best."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml.algorithms.objectives.table import OBJECTIVES
from mrml.kernels.trees import numpy as trees

fast = pytest.importorskip("mrml.kernels.trees.numba", reason="the extra `fast` is not installed")
RULES = trees.Rules(1.0, 0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 32, 4)
G_UNIT, H_UNIT = 2.0**-15, 2.0**-16


def columns_of(n_bins: list[int], categorical: list[int] | None = None, monotone: list[int] | None = None) -> Any:
    sizes = np.array(n_bins, np.int64) + 1
    n = len(n_bins)
    flags = np.array(categorical or [0] * n, np.uint8)
    return trees.Columns(
        np.cumsum(sizes) - sizes, sizes.astype(np.int32) - 1, flags, np.array(monotone or [0] * n, np.int8)
    )


@st.composite
def data(draw: Any) -> tuple[Any, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_bins = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    n_rows, n_nodes = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    columns = columns_of(n_bins)
    codes = np.stack([rng.integers(0, b + 1, n_rows) for b in n_bins], axis=1).astype(np.uint8)
    g, h = rng.integers(-20000, 20000, n_rows), rng.integers(0, 60000, n_rows)
    nodes = rng.integers(0, n_nodes, n_rows).astype(np.uint16)
    return rng, columns, codes, g, h, nodes, n_nodes


def filled(module: Any, columns: Any, codes: Any, q: Any, nodes: Any, n_nodes: int) -> Any:
    """Rows are brought into leaf ``2k + 1`` of a chain of splits by a column more, that of the nodes."""
    buffer = module.Buffer(n_nodes, int((columns.n_bins + 1).sum()))
    inner = np.arange(2 * n_nodes + 1) % 2 == 0
    inner[-1] = False
    feature = np.where(inner, codes.shape[1], -1).astype(np.int32)
    goes = (np.arange(256)[None] <= np.arange(2 * n_nodes + 1)[:, None] // 2).astype(np.uint8)
    step = trees.Step(feature, np.arange(1, 2 * n_nodes + 2, dtype=np.int32), goes)
    slots = np.where(inner, -1, np.arange(2 * n_nodes + 1) // 2).astype(np.int32)
    codes = np.concatenate([codes, nodes[:, None].astype(np.uint8)], axis=1)
    for part in (slice(0, 7), slice(7, None)):
        some = tuple(a[part] for a in q)
        places = module.move(codes[part], module.places(some), step)
        buffer.add(codes[part], 0, columns.offsets, some, slots, places)
    buffer.settle()
    return buffer


def nodes_of(buffer: Any, columns: Any, lower: float = -np.inf, upper: float = np.inf) -> Any:
    n, width = len(buffer.rows), int(columns.n_bins[0]) + 1
    allowed = np.ones((n, len(columns.n_bins)), np.uint8)
    g, h = buffer.g[:, :width].sum(axis=1), buffer.h[:, :width].sum(axis=1)
    return trees.Nodes(g, h, buffer.rows, np.full(n, lower), np.full(n, upper), allowed)


@settings(max_examples=60, deadline=None)
@given(data(), st.booleans())
def test_both_kernels_add_up_the_same_integers_packed_or_not(drawn: Any, packed: bool) -> None:
    _, columns, codes, g, h, nodes, n_nodes = drawn
    q = (trees.pack(g, h),) if packed else (g.astype(np.int32), h.astype(np.int32))
    one, other = (filled(m, columns, codes, q, nodes, n_nodes) for m in (trees, fast))
    for name in ("g", "h", "rows"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    some = (g != 0) | (h != 0)
    for j, (offset, n_bins) in enumerate(zip(columns.offsets, columns.n_bins, strict=True)):
        for node, code in itertools.product(range(n_nodes), range(n_bins + 1)):
            rows = some & (nodes == node) & (codes[:, j] == code)
            assert one.g[node, offset + code] == g[rows].sum() and one.h[node, offset + code] == h[rows].sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 90), st.sampled_from([0.0, 0.4, 1.0]))
def test_rows_stand_in_the_leaves_that_splits_lead_to_however_many_rounds_a_tree_grew_in(
    seed: int, n_rows: int, seen: float
) -> None:
    """By both kernels, in runs of 16 rows, whether they have a gradient or not; and some stand there from before."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 9, (n_rows, 3)).astype(np.uint8)
    q = (np.where(rng.random(n_rows) < seen, 1, 0).astype(np.int32), np.zeros(n_rows, np.int32))
    forest = grown(rng, 1, 3, False)
    goes = (np.arange(256) <= rng.integers(0, 8, (len(forest.left), 1))).astype(np.uint8)
    expected, total = np.zeros(n_rows, np.int64), rng.normal(size=n_rows)
    with patch("mrml.kernels.trees.places.PACKED_ROWS", 16):
        places = {module: module.places(q) for module in (trees, fast)}
        for split in range(0, len(forest.left) // 2 + 1, 2):  # the splits of a tree in their order, two a round
            feature = np.where(forest.left <= 2 * split, forest.feature, -1)
            step = trees.Step(feature, forest.left, goes)
            for i, row in enumerate(codes):
                while feature[expected[i]] >= 0:
                    k = expected[i]
                    expected[i] = forest.left[k] + 1 - goes[k, row[feature[k]]]
            scores = [total.copy() for _ in places]
            for (module, stand), raw in zip(places.items(), scores, strict=True):
                module.add_leaves(codes, stand, step, forest.value, raw)  # from where they were, as at a tree's end
                places[module] = module.move(codes, stand, step)
                np.testing.assert_array_equal(module.nodes_of(codes, places[module], step), expected)
                np.testing.assert_array_equal(raw, total + forest.value[expected])


@st.composite
def rules(draw: Any) -> Any:
    return trees.Rules(
        l2=draw(st.sampled_from([0.0, 1.0])),
        l1=draw(st.sampled_from([0.0, 0.7])),
        min_child_weight=draw(st.sampled_from([0.0, 0.9])),
        min_data_in_leaf=draw(st.sampled_from([0, 5])),
        max_delta_step=draw(st.sampled_from([0.0, 0.3])),
        cat_smooth=draw(st.sampled_from([0.0, 10.0])),
        cat_l2=draw(st.sampled_from([0.0, 10.0])),
        max_cat_threshold=draw(st.sampled_from([1, 3, 32])),
        max_cat_to_onehot=draw(st.sampled_from([1, 3])),
        min_data_per_group=draw(st.sampled_from([0, 1, 8])),
        rare_weight=draw(st.sampled_from([0.0, 1.5])),
    )


@settings(max_examples=150, deadline=None)
@given(drawn=data(), rules=rules(), bounded=st.booleans(), kinds=st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=4,
                                                                        max_size=4))  # fmt: skip
def test_both_kernels_find_the_same_best_split(drawn: Any, rules: Any, bounded: bool, kinds: list[int]) -> None:
    """To the bit, whatever the columns (2: categorical, else the monotone sign), the rules and the bounds of values."""
    rng, columns, codes, g, h, nodes, n_nodes = drawn
    buffer = filled(trees, columns, codes, (trees.pack(g, h),), nodes, n_nodes)
    kinds = kinds[: len(columns.n_bins)]
    columns = columns_of(columns.n_bins.tolist(), [k == 2 for k in kinds], [k if k != 2 else 0 for k in kinds])
    where = nodes_of(buffer, columns)
    where = where._replace(allowed=(rng.random(where.allowed.shape) < 0.8).astype(np.uint8))
    if bounded:
        where = where._replace(lower=rng.uniform(-1.0, 0.0, n_nodes), upper=rng.uniform(0.0, 1.0, n_nodes))
    one, other = (m.best_splits(buffer.g, buffer.h, columns, where, rules, G_UNIT, H_UNIT) for m in (trees, fast))
    for name, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(data())
def test_the_best_split_is_the_best_of_all_splits(drawn: Any) -> None:
    """Every cut of every column, missing values on either side, by the formula and in plain Python."""
    _, columns, codes, g, h, nodes, n_nodes = drawn
    buffer = filled(trees, columns, codes, (trees.pack(g, h),), nodes, n_nodes)
    best = trees.best_splits(buffer.g, buffer.h, columns, nodes_of(buffer, columns), RULES, G_UNIT, H_UNIT)

    def score(rows: Any) -> float:
        return float((g[rows].sum() * G_UNIT) ** 2 / (h[rows].sum() * H_UNIT + 1.0))

    for node in range(n_nodes):
        here = nodes == node
        gains = [0.0]
        for j, n_bins in enumerate(columns.n_bins):
            missing = codes[:, j] == n_bins
            for cut, with_missing in itertools.product(range(n_bins), (False, True)):
                left = here & (((codes[:, j] <= cut) & ~missing) | (missing & with_missing))
                if h[left].sum() and h[here & ~left].sum():
                    gains.append(score(left) + score(here & ~left) - score(here))
        if max(gains) > 1e-9:
            assert best.gain[node] == pytest.approx(max(gains), rel=1e-9)
        else:
            assert best.gain[node] < 1e-9


def test_more_rows_than_one_packed_sum_holds_are_unpacked_in_time() -> None:
    n = 3 * trees.PACKED_ROWS + 5
    q = (np.repeat(trees.pack(np.array([1 << 20]), np.array([1 << 20])), n),)
    buffer = fast.Buffer(1, 2)
    zero = np.zeros(1, np.int64)
    buffer.add(np.zeros((n, 1), np.uint8), 0, zero, q, np.zeros(1, np.int32), fast.places(q))
    buffer.settle()
    assert buffer.g[0, 0] == n * trees.PACKED_G_MAX and buffer.h[0, 0] == n * trees.PACKED_H_MAX
    assert buffer.rows[0] == n and buffer.g[0, 1] == 0


def test_categories_are_cut_in_the_order_of_their_gradients() -> None:
    columns = columns_of([6], categorical=[1])
    g = np.array([[900, -800, 700, -600, 500, -400, 50]], np.int64) << 8
    h = np.full((1, 7), 60000, np.int64)
    where = trees.Nodes(  # type: ignore[call-arg]
        g.sum(axis=1),
        h.sum(axis=1),
        np.array([70]),
        *np.full((2, 1), [[-np.inf], [np.inf]][0]),
        np.ones((1, 1), np.uint8),
    )
    best = trees.best_splits(g, h, columns, where._replace(upper=np.array([np.inf])), RULES, G_UNIT, H_UNIT)
    goes_left = set(np.flatnonzero(trees.members(best.categories)[0]).tolist())
    assert goes_left in ({1, 3, 5}, {0, 2, 4}) and best.bin[0] == -1 and not best.missing_left[0]


def test_a_monotone_column_never_splits_against_its_sign() -> None:
    g = np.array([[5000, 3000, -3000, -5000, 0]], np.int64)
    h = np.full((1, 5), 60000, np.int64)
    h[0, 4] = 0
    for sign, found in ((1, True), (-1, False)):
        columns = columns_of([4], monotone=[sign])
        where = trees.Nodes(g.sum(axis=1), h.sum(axis=1), np.array([40]), np.array([-np.inf]), np.array([np.inf]),
                            np.ones((1, 1), np.uint8))  # fmt: skip
        best = trees.best_splits(g, h, columns, where, RULES, G_UNIT, H_UNIT)
        assert np.isfinite(best.gain[0]) == found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(0, 254))
def test_both_kernels_bin_alike_and_a_value_goes_right_of_the_edge_it_equals(seed: int, n: int, n_edges: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.zeros((2, 254), np.float32)
    edges[0, :n_edges] = np.sort(rng.normal(size=n_edges)).astype(np.float32)
    x = np.where(rng.random((n, 2)) < 0.2, np.nan, rng.normal(size=(n, 2))).astype(np.float32)
    x[0] = edges[0, n_edges // 2]
    sizes = np.array([n_edges, 0], np.int32)
    one, other = trees.bin_codes(x, edges, sizes), fast.bin_codes(x, edges, sizes)
    np.testing.assert_array_equal(one, other)
    for value, code in zip(x[:, 0], one[:, 0], strict=True):
        assert code == (n_edges + 1 if np.isnan(value) else (edges[0, :n_edges] <= value).sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9000), st.booleans())
def test_the_fused_logistic_pass_gives_the_integers_of_the_loss(seed: int, n: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    raw, y = rng.normal(0, 6, n), rng.integers(0, 2, n).astype(float)
    weights = rng.uniform(0.1, 1.0, n) if weighted else np.empty(0)
    w = weights if weighted else np.ones(n)
    values, g, h = OBJECTIVES["logistic"]().evaluate(y, raw[None])
    loss, packed = fast.logistic(y, raw, weights, weights, 2.0**15, 2.0**18)
    np.testing.assert_array_equal(packed, trees.pack_scaled(g[0] * w, h[0] * w, 2.0**15, 2.0**18))
    assert loss == pytest.approx((values * w).sum(), rel=1e-12, abs=1e-15 * n)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 3), st.booleans(), st.booleans())
def test_both_kernels_lead_a_row_to_the_same_leaves(
    seed: int, n_rows: int, n_outputs: int, missing: bool, categories: bool
) -> None:
    rng = np.random.default_rng(seed)
    forest = grown(rng, 2 * n_outputs + 1, 3, categories)
    x = rng.choice(np.array([-np.inf, -1.0, 0.0, 0.5, 1.0, 7.0, 300.0, np.inf], np.float32), (n_rows, 3))
    if missing:
        x[rng.random(x.shape) < 0.3] = np.nan
    one, other = np.zeros((2, n_outputs, n_rows))
    trees.predict(x, forest, one)
    fast.predict(x, forest, other)
    np.testing.assert_array_equal(one, other)
    for row, scores in zip(x, one.T, strict=True):
        expected = np.zeros(n_outputs)
        for tree in range(len(forest.starts) - 1):
            expected[tree % n_outputs] += forest.value[walked(forest, tree, row)]
        np.testing.assert_array_equal(scores, expected)


def grown(rng: Any, n_trees: int, n_features: int, categories: bool) -> Any:
    """Random trees of up to 15 nodes; in some of them splits ask for a category."""
    parts = []
    for _ in range(n_trees):
        left = [-1]
        for _ in range(int(rng.integers(0, 8))):
            k = int(rng.choice([i for i, at in enumerate(left) if at < 0]))
            left[k] = len(left)
            left += [-1, -1]
        at = np.array(left, np.int32)
        threshold = rng.choice(np.array([-1.0, 0.0, 0.5, 1.0], np.float32), len(at))
        threshold[(at < 0) | (categories & (rng.random(len(at)) < 0.2))] = np.nan
        feature = np.where(at < 0, -1, rng.integers(0, n_features, len(at))).astype(np.int32)
        sets = rng.integers(0, 1 << 32, (len(at), 8)).astype(np.uint32)
        parts.append(
            (feature, threshold, rng.integers(0, 2, len(at)).astype(np.uint8), at, sets, rng.normal(size=len(at)))
        )
    names = ("feature", "threshold", "missing_left", "left", "categories", "value")
    arrays = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    return SimpleNamespace(starts=np.cumsum([0] + [len(p[0]) for p in parts]), **arrays)


def walked(forest: Any, tree: int, row: Any) -> int:
    """The leaf of a row by the definition: below the threshold, or in the set, is left."""
    start = int(forest.starts[tree])
    k = start
    while forest.feature[k] >= 0:
        number, edge = float(row[forest.feature[k]]), forest.threshold[k]
        if np.isnan(number):
            left = bool(forest.missing_left[k])
        elif np.isnan(edge):
            code = int(number) if 0 <= number < 256 else 255
            left = bool(int(forest.categories[k, code >> 5]) >> (code & 31) & 1)
        else:
            left = number < edge
        k = start + int(forest.left[k]) + (not left)
    return k
