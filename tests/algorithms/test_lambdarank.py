"""Lambdarank and NDCG against brute force, scikit-learn and LightGBM."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from mrml.algorithms.objectives.base import Range
from mrml.algorithms.objectives.lambdarank import GroupRuns
from mrml.algorithms.objectives.table import objective_of
from mrml.data.block import Block, Coded
from mrml.errors import ConfigError, InputError
from mrml.kernels import groups
from mrml.runs import train as run
from tests.algorithms.test_boosting import scored, trained


def brute(y: Any, s: Any, truncation: int, norm: bool) -> tuple[Any, Any]:
    """LightGBM's GetGradientsForOneQuery, loop by loop."""
    n = len(y)
    order = sorted(range(n), key=lambda i: (-s[i], i))
    best = sum((2**v - 1) / math.log2(i + 2) for i, v in enumerate(sorted(y, reverse=True)[:truncation]))
    g, h, total = np.zeros(n), np.zeros(n), 0.0
    for i in range(min(truncation, n - 1)):
        for j in range(i + 1, n):
            a, b = order[i], order[j]
            if y[a] == y[b]:
                continue
            (high, ph), (low, pl) = ((a, i), (b, j)) if y[a] > y[b] else ((b, j), (a, i))
            change = (2 ** y[high] - 2 ** y[low]) * abs(1 / math.log2(ph + 2) - 1 / math.log2(pl + 2)) / best
            if norm and s[order[0]] != s[order[-1]]:
                change /= 0.01 + abs(s[high] - s[low])
            p = 1 / (1 + math.exp(s[high] - s[low]))
            g[high], g[low] = g[high] - p * change, g[low] + p * change
            h[high], h[low] = h[high] + p * (1 - p) * change, h[low] + p * (1 - p) * change
            total += 2 * p * change
    factor = math.log2(1 + total) / total if norm and total > 0 else 1.0
    return g * factor, h * factor


@st.composite
def ranked(draw: Any) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    n = sum(sizes)
    s = rng.normal(size=n) * draw(st.sampled_from([0.0, 1.0, 5.0]))
    return rng.integers(0, 4, n).astype(float), s, np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


@settings(max_examples=80, deadline=None)
@given(ranked(), st.sampled_from([1, 3, 30]), st.booleans())
def test_gradients_are_those_of_all_pairs_and_stay_within_their_bounds(drawn: Any, truncation: int, norm: bool) -> None:
    y, s, starts = drawn
    g, h = groups.lambdarank(y, s, starts, truncation, norm)
    ends = [*starts[1:].tolist(), len(y)]
    for a, b in zip(starts.tolist(), ends, strict=True):
        if y[a:b].max() > 0:
            expected = brute(y[a:b], s[a:b], truncation, norm)
            np.testing.assert_allclose(g[a:b], expected[0], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(h[a:b], expected[1], rtol=1e-9, atol=1e-12)
    objective = objective_of("lambdarank", {"lambdarank_truncation": truncation, "lambdarank_norm": norm})
    bounds = objective.bounds(Range(0, 3, -9, 9, 0, 0, int(groups.sizes_of(starts, len(y)).max())))
    assert bounds is not None and np.abs(g).max() <= bounds.gradient and h.max() <= bounds.hessian


@settings(max_examples=60, deadline=None)
@given(ranked(), st.sampled_from([0, 1, 3]))
def test_ndcg_is_that_of_scikit_learn(drawn: Any, at: int) -> None:
    y, s, starts = drawn
    s = s + np.linspace(0, 1e-6, len(s))  # no ties, which scikit-learn averages
    found = groups.ndcg(y, s, starts, at)
    for k, (a, b) in enumerate(zip(starts.tolist(), [*starts[1:].tolist(), len(y)], strict=True)):
        if b - a > 1 and y[a:b].max() > 0:
            expected = ndcg_score([2 ** y[a:b] - 1], [s[a:b]], k=at or None)
            assert found[k] == pytest.approx(expected, rel=1e-9)
        elif y[a:b].max() == 0:
            assert found[k] == 1.0


def queries(folder: Path, n: int = 120, seed: int = 1) -> Path:
    rng = np.random.default_rng(seed)
    lines = ["q,a,b,rel"]
    for q in range(n):
        for _ in range(int(rng.integers(3, 20))):
            a, b = rng.normal(size=2)
            rel = int(np.clip(np.round(a + 0.5 * b + rng.normal(0, 0.7)), 0, 3))
            lines.append(f"q{(q * 7919) % 1000},{a:.6g},{b:.6g},{rel}")
    path = folder / f"queries{seed}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


RANK: dict[str, Any] = {"target": "rel", "group": "q"}


def test_lambdarank_ranks_as_well_as_lightgbm(tmp_path: Path) -> None:
    lgb = pytest.importorskip("lightgbm")
    train, test = queries(tmp_path), queries(tmp_path, 150, seed=2)
    params = {"objective": "lambdarank", "growth": "leafwise", "rounds": 20, "max_leaves": 7}
    model, facts = trained(tmp_path, params, data=(str(train),), window_bytes=4096, **RANK)
    found = scored(model, data=(str(test),))
    tables = [np.genfromtxt(p, delimiter=",", names=True, dtype=None, encoding="utf-8") for p in (train, test)]
    sets = []
    for table in tables:
        starts = np.flatnonzero(np.append(True, table["q"][1:] != table["q"][:-1]))
        sets.append((np.stack([table["a"], table["b"]], axis=1), table["rel"].astype(float), starts))
    (x, y, starts), (xt, yt, test_starts) = sets
    stock = lgb.train({"objective": "lambdarank", "num_leaves": 7, "verbose": -1},
                      lgb.Dataset(x, y, group=groups.sizes_of(starts, len(y))), 20)  # fmt: skip
    theirs = groups.ndcg(yt, stock.predict(xt), test_starts, 10).mean()
    assert found["ndcg"] == pytest.approx(theirs, abs=0.01)
    assert found["rmse"] is None and found["reasons"]["rmse"] == "the model ranks"
    assert facts["metrics"]["ndcg"] > found["ndcg"] - 0.05


def test_ranking_stops_early_on_ndcg(tmp_path: Path) -> None:
    params = {"objective": "lambdarank", "rounds": 40, "max_depth": 4, "early_stopping": 3, "learning_rate": 0.5}
    model, facts = trained(
        tmp_path, params, data=(str(queries(tmp_path)),), valid=(str(queries(tmp_path, 60, 3)),), **RANK
    )
    inner = run.load_model(model).inner
    best = inner.header()["facts"]["best_iteration"]
    assert "did not fall for 3" in facts["stop"]
    assert 1 - inner.header()["history"][best - 1][1] == pytest.approx(facts["valid"]["ndcg"], rel=1e-12)


def test_groups_that_do_not_stand_together_are_refused(tmp_path: Path) -> None:
    rows = queries(tmp_path).read_text().splitlines()
    (tmp_path / "mixed.csv").write_text("\n".join([*rows, rows[1]]) + "\n")
    for window in (4 << 20, 2048):  # in one block, and over many
        with pytest.raises(InputError, match=r"are not together.*sort the rows by the group column"):
            trained(tmp_path, {"objective": "lambdarank", "rounds": 1}, data=(str(tmp_path / "mixed.csv"),),
                    window_bytes=window, **RANK)  # fmt: skip
    with pytest.raises(ConfigError, match="give --group COLUMN"):
        trained(tmp_path, {"objective": "lambdarank", "rounds": 1}, data=(str(queries(tmp_path)),), target="rel",
                exclude=("q",))  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8, unique=True), st.integers(1, 7), st.booleans())
def test_runs_of_groups_merge_in_any_order_to_the_same(order: list[int], cut: int, texts: bool) -> None:
    def block(values: list[int]) -> Block:
        codes = np.repeat(np.array(values, np.int64), 2)
        group = Coded(codes.astype(np.int32), np.array([f"g{i}" for i in range(6)])) if texts else codes
        return Block(0, 0, np.arange(len(codes)), np.zeros((len(codes), 1)), group=group)

    parts = [order[:cut], order[cut:]]
    found = []
    for sequence in (parts, parts[::-1]):
        whole = GroupRuns()
        for values in sequence:
            part = GroupRuns()
            if values:
                part.fill(block(values))
            whole.merge(GroupRuns.from_wire(part.to_wire()))
        whole.check()
        found.append(whole.to_wire())
    assert found[0]["keys"].tolist() == found[1]["keys"].tolist() and found[0]["longest"] == 2
    whole.fill(block(order[:1]))
    with pytest.raises(InputError, match="are not together"):
        whole.check()
