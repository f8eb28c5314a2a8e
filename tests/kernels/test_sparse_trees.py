"""Cells of sparse columns give the splits, the sums and the ways of rows that dense histograms give, to the bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml.algorithms.trees.sparse import CellSums
from mrml.kernels.trees import numpy as trees
from mrml.kernels.trees import sparse

fast = pytest.importorskip("mrml.kernels.trees.sparse_numba", reason="the extra `fast` is not installed")
TWINS = {"numpy": sparse, "fast": fast}
G_UNIT, H_UNIT = 2.0**-15, 2.0**-16


@dataclasses.dataclass
class Case:
    codes: Any  # (n_rows, n_columns), dense
    x: sparse.SparseCodes
    layout: sparse.Layout
    q: tuple[Any, ...]
    nodes: Any
    n_slots: int
    rules: trees.Rules
    limits: tuple[float, float]


@st.composite
def cases(draw: Any) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_bins = np.array(
        draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)) * draw(st.sampled_from([1, 20])), np.int32
    )
    n_rows, n_slots, n = draw(st.integers(1, 80)), draw(st.integers(1, 4)), len(n_bins)
    missing = draw(st.booleans())
    default = n_bins.copy() if missing else rng.integers(0, n_bins)
    codes = np.where(rng.random((n_rows, n)) < 0.3, rng.integers(0, n_bins + 1, (n_rows, n)), default).astype(np.uint8)
    rows, columns = np.nonzero(codes != default)
    offsets = np.concatenate([[0], np.cumsum(n_bins.astype(np.int64) + 1)])
    indptr = np.concatenate([[0], np.cumsum((codes != default).sum(axis=1))]).astype(np.int64)
    indices, some = columns.astype(np.int32), codes[rows, columns]
    x = sparse.SparseCodes(indptr, indices, some, n, **sparse.by_columns(indptr, indices, some, offsets))
    monotone = rng.integers(-1, 2, n).astype(np.int8) if draw(st.booleans()) else np.zeros(n, np.int8)
    q = trees.pack(rng.integers(-20000, 20000, n_rows) * (rng.random(n_rows) < 0.9), rng.integers(0, 60000, n_rows))
    least = draw(st.sampled_from([0.0, 0.5, 2.0]))
    rules = trees.Rules(
        1.0, draw(st.sampled_from([0.0, 0.2])), least, draw(st.sampled_from([0.0, 3.0])), 0.0, 10.0, 10.0, 32, 4
    )
    limits = (-0.3, 0.4) if draw(st.booleans()) else (-np.inf, np.inf)
    layout = sparse.Layout(offsets, n_bins, default.astype(np.int32), monotone)
    return Case(codes, x, layout, (q,), rng.integers(0, n_slots, n_rows).astype(np.uint16), n_slots, rules, limits)


def dense_splits(c: Case) -> tuple[Any, trees.Splits]:
    """The histograms of all columns and the splits found in them, 64 columns at a time as rounds do."""
    best, width = None, int(c.layout.offsets[-1])
    hist_g, hist_h = np.zeros((c.n_slots, width), np.int64), np.zeros((c.n_slots, width), np.int64)
    g, h = trees.unpack(c.q[0])
    for j, offset in enumerate(c.layout.offsets[:-1]):
        np.add.at(hist_g, (c.nodes, offset + c.codes[:, j]), g)
        np.add.at(hist_h, (c.nodes, offset + c.codes[:, j]), h)
    counted = np.bincount(c.nodes[c.q[0] != 0], minlength=c.n_slots)
    sums = np.bincount(c.nodes, g, c.n_slots), np.bincount(c.nodes, h, c.n_slots), counted
    sums = tuple(a.astype(np.int64) for a in sums)
    for start in range(0, len(c.layout.n_bins), 64):
        part = slice(start, start + 64)
        low, n = c.layout.offsets[start], len(c.layout.n_bins[part])
        columns = trees.Columns(
            c.layout.offsets[:-1][part] - low, c.layout.n_bins[part], np.zeros(n, np.uint8), c.layout.monotone[part]
        )
        ones = np.ones(c.n_slots)
        nodes = trees.Nodes(*sums, ones * c.limits[0], ones * c.limits[1], np.ones((c.n_slots, n), np.uint8))
        found = trees.best_splits(hist_g[:, low:], hist_h[:, low:], columns, nodes, c.rules, G_UNIT, H_UNIT)
        found.feature[found.feature >= 0] += start
        if best is None:
            best = found
        better = found.gain > best.gain
        for mine, theirs in zip(best, found, strict=True):
            mine[better] = theirs[better]
    assert best is not None
    return sums, best


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from(sorted(TWINS)), st.booleans())
def test_the_best_splits_of_cells_are_those_of_dense_histograms(c: Case, twin: str, few: bool) -> None:
    module, slots = TWINS[twin], np.arange(c.n_slots, dtype=np.int32)
    rows, totals = module.rows_of(slots, c.nodes, c.q, c.n_slots)
    everything = sparse.Alive(np.empty(0, np.uint64), np.zeros(c.n_slots, np.int64))
    statistic = CellSums(c.n_slots)
    statistic.totals += totals
    places = slice(0, int(c.layout.offsets[-1]) if few else 1 << 30)  # dense sums, or cells
    statistic.add_block(module, c.x, slice(0, len(c.x.place)), rows, everything, places)
    statistic = CellSums.from_wire(statistic.to_wire())
    sums, expected = dense_splits(c)
    assert [a.tolist() for a in statistic.totals] == [a.tolist() for a in sums]
    ones = np.ones(c.n_slots)
    g, h, n = statistic.totals
    nodes = trees.Nodes(g, h, n, ones * c.limits[0], ones * c.limits[1], np.empty((0, 0), np.uint8))
    found, (slot, column) = module.best_splits(
        statistic.cells(), c.layout, 0, len(c.layout.n_bins), nodes, c.rules, G_UNIT, H_UNIT
    )
    there = expected.gain > -np.inf
    assert found.gain.tolist() == expected.gain.tolist()
    for name in ("feature", "bin", "missing_left", "gl", "hl"):
        assert getattr(found, name)[there].tolist() == getattr(expected, name)[there].tolist(), name
    # what is not alive never splits: without it the same splits are found
    words = sparse.alive_words([column[slot == k] for k in range(c.n_slots)], len(c.layout.n_bins))
    alive = module.cells(c.x, slice(0, len(c.x.place)), rows, sparse.Alive(words, np.arange(c.n_slots)))
    again, _ = module.best_splits(alive, c.layout, 0, len(c.layout.n_bins), nodes, c.rules, G_UNIT, H_UNIT)
    assert all(a.tolist() == b.tolist() for a, b in zip(again, found, strict=True))


@settings(max_examples=30, deadline=None)
@given(cases(), st.sampled_from(sorted(TWINS)))
def test_cells_of_blocks_merge_to_those_of_all_rows_and_rows_go_the_same_ways(c: Case, twin: str) -> None:
    module, slots = TWINS[twin], np.arange(c.n_slots, dtype=np.int32)
    everything = sparse.Alive(np.empty(0, np.uint64), np.zeros(c.n_slots, np.int64))
    rows, _ = module.rows_of(slots, c.nodes, c.q, c.n_slots)
    whole = module.cells(c.x, slice(0, len(c.x.place)), rows, everything)
    half = rows.copy(), rows.copy()
    half[0][::2, 0], half[1][1::2, 0] = -1, -1
    parts = [module.cells(c.x, slice(0, len(c.x.place)), part, everything) for part in half]
    both = module.merged(*parts, c.n_slots)
    assert sorted(zip(*(a.tolist() for a in both), strict=True)) == sorted(
        zip(*(a.tolist() for a in whole), strict=True)
    )

    goes = np.random.default_rng(0).integers(0, 2, (3, 256)).astype(np.uint8)
    feature = np.array([len(c.layout.n_bins) - 1, -1, -1], np.int32)
    step, values = trees.Step(feature, np.array([1, 1, 2], np.int32), goes), np.array([0.0, 1.0, 2.0])
    step.goes_left[1:] = 1
    scores, expected = np.zeros(len(c.codes)), np.zeros(len(c.codes))
    sparse.add_values(module, c.x, c.layout.default.astype(np.uint8), step, values, scores)
    trees.add_values(c.codes, step, values, expected)
    assert scores.tolist() == expected.tolist()
