"""k-means: scikit-learn as oracle, and the laws of bits, cuts, memos and resuming."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.cluster import KMeans as Peer

from mrml import model as models
from mrml import wire
from mrml.algorithm import State, from_spec
from mrml.algorithms.clustering.kmeans import KMeans
from mrml.algorithms.clustering.model import KMeansModel
from mrml.algorithms.clustering.rows import Draw
from mrml.algorithms.moments import Moments
from mrml.arrays import CSR
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.kernels import kmeans as kernel
from mrml.kernels import kmeans_numba as fast
from mrml.schema import Design, Schema
from mrml.statistic import EXACT, Into, Partial, complete
from tests.shared import shared

SCHEMA = Schema(())
OPTDIGITS = "optdigits/optdigits-train.csv"


class Kept:
    """A memo that keeps everything."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        return self.items.get(name)

    def put(self, name: str, version: int, arrays: Any, volatile: bool = False) -> None:
        self.items[name] = (version, arrays)


def blocks(x: Any, rows: int = 64, weight: Any = None, memo: bool = False, **design: Any) -> list[Block]:
    out = []
    for index, start in enumerate(range(0, x.shape[0], rows)):
        stop = min(start + rows, x.shape[0])
        part = x.rows(start, stop) if isinstance(x, CSR) else np.ascontiguousarray(x[start:stop])
        w = None if weight is None else weight[start:stop]
        kept = {"store": Kept()} if memo else {}
        out.append(Block(0, index, np.arange(stop - start), part, weight=w, **kept, **design))
    return out


def csr(x: Any) -> CSR:
    row, column = np.nonzero(x)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(x)))]).astype(np.int64)
    return CSR(indptr, column.astype(np.int32), x[row, column], x.shape[1])


def one_round(algorithm: KMeans, state: State, data: Sequence[Block], cuts: Sequence[int] = ()) -> State:
    """A round as engines do it: tasks of consecutive blocks, parts sent as bytes, the last task first."""
    parts: dict[str, list[Any]] = {}
    bounds = sorted({0, *cuts, len(data)})
    for start, stop in reversed(list(itertools.pairwise(bounds))):
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
    return algorithm.update(state, {k: algorithm.reduce(state, k, complete(p)) for k, p in parts.items()})


def fit(algorithm: KMeans, data: Sequence[Block], cuts: Sequence[int] = (), resume: bool = False) -> State:
    state = algorithm.init(SCHEMA)
    while state.stop is None:
        state = one_round(algorithm, state, data, cuts)
        if resume:
            state = State.from_wire(wire.loads(wire.dumps(state.to_wire())))
            algorithm = from_spec(algorithm.spec())  # type: ignore[assignment]
    return state


def as_bytes(state: State) -> bytes:
    return wire.dumps(state.to_wire())


def blobs(n: int, d: int, k: int, seed: int = 0, spread: float = 4.0) -> Any:
    r = np.random.default_rng(seed)
    return r.normal(size=(k, d))[r.integers(0, k, n)] * spread + r.normal(size=(n, d))


def starting(x: Any, k: int) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, np.asarray(x[:k], np.float64).tolist()))


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_from_the_same_centres_the_rounds_are_scikit_learns(kernels: str, weighted: bool, iterations: int) -> None:
    x = blobs(1500, 6, 9, spread=1.0) + 100
    weight = np.random.default_rng(1).gamma(2, size=len(x)) if weighted else None
    mine = KMeans(k=9, tol=0, max_iterations=iterations, kernels=kernels, centres=starting(x, 9))
    state = fit(mine, blocks(x, 256, weight))
    peer = Peer(9, init=x[:9], n_init=1, max_iter=iterations, tol=0).fit(x, sample_weight=weight)
    np.testing.assert_allclose(state["centres"], peer.cluster_centers_, rtol=1e-11)
    block = blocks(x, len(x))[0]
    found = mine.model(state, SCHEMA)
    assert np.array_equal(found.predict(block).y_pred, peer.labels_)
    d2 = found.transform(block).X.min(axis=1) ** 2
    assert np.average(d2, weights=weight) * (len(x) if weight is None else weight.sum()) == pytest.approx(
        peer.inertia_, rel=1e-10
    )


def test_it_stops_in_the_round_in_which_scikit_learn_stops() -> None:
    for seed in range(5):
        x = blobs(800, 3, 6, seed, spread=1.5)
        state = fit(KMeans(k=6, centres=starting(x, 6)), blocks(x))
        peer = Peer(6, init=x[:6], n_init=1).fit(x)
        assert state["iteration"] == peer.n_iter_
        assert state.converged and state.stop


def test_the_inertia_of_centres_that_stand_still_is_scikit_learns() -> None:
    x = blobs(800, 3, 6, spread=1.5)
    state = fit(KMeans(k=6, tol=0, centres=starting(x, 6)), blocks(x))
    peer = Peer(6, init=x[:6], n_init=1, tol=0).fit(x)
    assert state["inertia"] == pytest.approx(peer.inertia_, rel=1e-12)
    assert state["loss"] == pytest.approx(peer.inertia_ / len(x), rel=1e-12)
    assert state["step"] == 0


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
def test_float32_columns_give_scikit_learns_centres_though_they_lie_far_from_zero(kernels: str) -> None:
    x = (blobs(3000, 8, 5) + 1000).astype(np.float32)
    state = fit(KMeans(k=5, tol=0, max_iterations=20, kernels=kernels, centres=starting(x, 5)), blocks(x, 512))
    peer = Peer(5, init=x[:5].astype(np.float64), n_init=1, tol=0, max_iter=20).fit(x.astype(np.float64))
    np.testing.assert_allclose(state["centres"], peer.cluster_centers_, rtol=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_optdigits_inertia_is_within_the_band_of_the_reference(seed: int) -> None:
    x = np.loadtxt(shared(OPTDIGITS), delimiter=",")[:, :64]
    state = fit(KMeans(k=10, seed=seed), blocks(x, 512))
    assert state["inertia"] <= 2525000
    assert np.allclose(state["sizes"].sum(), len(x))


def test_seeding_finds_clusters_that_lie_apart() -> None:
    x = blobs(2000, 2, 12, seed=3, spread=1.0) * 0.02 + np.random.default_rng(3).integers(0, 4, (2000, 2))
    near = Peer(16, n_init=20, random_state=0).fit(x).inertia_
    assert fit(KMeans(k=16), blocks(x, 100))["inertia"] < 1.5 * near


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 11), max_size=4),
    st.sampled_from(["kmeans||", "random"]),
    st.sampled_from(["numpy", "fast"]),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.booleans(),
)
def test_cuts_memos_and_resuming_change_no_byte(
    cuts: list[int], seeding: str, kernels: str, dtype: Any, weighted: bool, memo: bool
) -> None:
    x = blobs(340, 4, 5).astype(dtype)
    weight = np.random.default_rng(2).gamma(1, size=len(x)) if weighted else None
    algorithm = KMeans(k=5, seeding=seeding, seeding_rounds=2, max_iterations=4, kernels=kernels, seed=4)
    expected = fit(algorithm, blocks(x, 30, weight))
    assert as_bytes(fit(algorithm, blocks(x, 30, weight, memo), cuts, resume=True)) == as_bytes(expected)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 11), max_size=4), st.sampled_from(["numpy", "fast"]), st.booleans())
def test_cuts_memos_and_resuming_change_no_byte_of_restarts(cuts: list[int], kernels: str, memo: bool) -> None:
    x = blobs(340, 4, 5, spread=1.0)
    algorithm = KMeans(k=5, restarts=3, seeding_rounds=2, kernels=kernels, seed=4)
    expected = fit(algorithm, blocks(x, 30))
    assert as_bytes(fit(algorithm, blocks(x, 30, None, memo), cuts, resume=True)) == as_bytes(expected)


def test_restarts_are_the_runs_of_the_seeds_that_follow_and_the_best_is_the_model() -> None:
    x = blobs(900, 3, 12, spread=1.2)
    data = blocks(x)
    alone = [KMeans(k=12, seed=s) for s in range(5, 10)]
    runs = [fit(a, data) for a in alone]
    best = int(np.argmin([run["inertia"] for run in runs]))
    assert len({run["inertia"] for run in runs}) == 5 and best > 0
    algorithm = KMeans(k=12, seed=5, restarts=5)
    together = fit(algorithm, data)
    assert together.round == max(run.round for run in runs)  # shared rounds: no more than the longest run has
    assert f"restart {best + 1} of 5" in str(together.stop) and together.converged
    found, expected = algorithm.model(together, SCHEMA), alone[best].model(runs[best], SCHEMA)
    assert found.header() == expected.header() and np.array_equal(found.centres, expected.centres)


def test_a_restart_that_stands_still_leaves_the_rounds() -> None:
    data = blocks(blobs(900, 3, 12, spread=1.2))
    algorithm = KMeans(k=12, seed=7, restarts=5)
    state, moving = algorithm.init(SCHEMA), []
    while state.stop is None:
        kept: dict[str, Any] = {}
        into = Into(lambda key, state=state: algorithm.statistic(state, key), kept)  # type: ignore[misc]
        algorithm.map(state, data[0], into)
        moving.append(len({key.partition(" ")[0] for key in (*into.fresh, *kept)}))
        state = one_round(algorithm, state, data)
    assert moving[0] == 5 and moving == sorted(moving, reverse=True) and len(set(moving)) > 1
    assert algorithm.progress(state)["restarts"] == 0


def test_given_centres_are_one_run_whatever_the_restarts() -> None:
    data = blocks(x := blobs(200, 2, 3))
    one, many = (fit(KMeans(k=3, centres=starting(x, 3), restarts=r), data) for r in (1, 10))
    assert as_bytes(one) == as_bytes(many)


def test_one_run_has_the_state_that_it_had_before_there_were_restarts() -> None:
    assert KMeans().restarts == 1 and "runs" not in KMeans(k=2).init(SCHEMA).params


@pytest.mark.parametrize("n_clusters", [10, 20])
def test_ten_restarts_are_as_tight_as_scikit_learns_ten(n_clusters: int) -> None:
    x = np.loadtxt(shared(OPTDIGITS), delimiter=",")[:, :64]
    mine, data = [], blocks(x, 1024, memo=True)
    for seed in (0, 100, 200):
        algorithm = KMeans(k=n_clusters, seed=seed, restarts=10)
        mine.append(algorithm.model(fit(algorithm, data), SCHEMA).inertia)
    peers = [Peer(n_clusters, n_init=10, random_state=seed).fit(x).inertia_ for seed in range(3)]
    assert np.median(mine) <= 1.01 * np.median(peers)


@pytest.mark.parametrize("seeding", ["kmeans||", "random"])
def test_an_empty_block_and_validation_rows_change_nothing(seeding: str) -> None:
    x = blobs(200, 3, 4)
    data = blocks(x, 32)
    empty = Block(0, 7, np.arange(0), x[:0])
    valid = Block(0, 8, np.arange(5), x[:5] * 100, part="valid")
    algorithm = KMeans(k=4, seeding=seeding)
    assert as_bytes(fit(algorithm, [*data, empty, valid])) == as_bytes(fit(algorithm, data))


def test_rows_are_drawn_in_proportion_to_their_weight() -> None:
    x, weight = np.arange(4.0)[:, None], np.array([1.0, 2.0, 3.0, 4.0])
    drawn = np.zeros(4)
    for seed in range(1500):
        algorithm = KMeans(k=1, seed=seed, seeding="random", kernels="numpy")
        drawn[int(one_round(algorithm, algorithm.init(SCHEMA), blocks(x, 2, weight))["centres"][0, 0])] += 1
    assert stats.chisquare(drawn, 1500 * weight / 10).pvalue > 1e-3


def test_another_seed_draws_other_rows() -> None:
    data = blocks(blobs(300, 3, 4))
    found = {as_bytes(one_round(a, a.init(SCHEMA), data)) for a in (KMeans(k=4, seed=s) for s in range(5))}
    assert len(found) == 5


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("standard", [False, True])
def test_sparse_rows_give_what_dense_rows_give(kernels: str, standard: bool) -> None:
    r = np.random.default_rng(0)
    x = r.poisson(0.3, (500, 12)) * r.normal(2, 1, (500, 12))
    x[7] = 0.0
    weight = r.gamma(2, size=500)
    design = {"center": x.mean(axis=0), "scale": x.std(axis=0)} if standard else {}
    algorithm = KMeans(k=6, kernels=kernels, max_iterations=30)
    dense = fit(algorithm, blocks(x, 64, weight, **design))
    sparse = fit(algorithm, blocks(csr(x), 64, weight, **design))
    np.testing.assert_allclose(sparse["centres"], dense["centres"], rtol=1e-9, atol=1e-12)
    assert sparse["inertia"] == pytest.approx(dense["inertia"], rel=1e-10)
    model = algorithm.model(dense, SCHEMA)
    one, two = blocks(x, 500, **design)[0], blocks(csr(x), 500, **design)[0]
    assert np.array_equal(model.predict(one).y_pred, model.predict(two).y_pred)
    np.testing.assert_allclose(model.transform(one).X, model.transform(two).X, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardised_columns_are_those_of_a_standard_scaler(dtype: Any) -> None:
    x = (blobs(600, 4, 5) * [1, 10, 100, 0.1] + [0, 5, -300, 1]).astype(dtype)
    center, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    z = (x.astype(np.float64) - center) / scale
    algorithm = KMeans(k=5)
    state = fit(algorithm, blocks(x, 64, center=center, scale=scale))
    other = fit(algorithm, blocks(z, 64))
    np.testing.assert_allclose(state["centres"], other["centres"], rtol=1e-9, atol=1e-11)
    schema = Schema((), design=Design(n_features=4, center=tuple(center), scale=tuple(scale)))
    model = algorithm.model(state, schema)
    block = blocks(x, len(x), center=center, scale=scale)[0]
    assert np.array_equal(model.to_sklearn().predict(x.astype(np.float64)), model.predict(block).y_pred)


def test_a_weight_of_two_is_the_row_twice() -> None:
    x = blobs(300, 3, 4)
    weight = np.random.default_rng(0).integers(0, 4, 300).astype(np.float64)
    algorithm = KMeans(k=4, centres=starting(x[weight > 0], 4))
    weighted = fit(algorithm, blocks(x, 64, weight))
    repeated = fit(algorithm, blocks(np.repeat(x, weight.astype(int), axis=0), 64))
    np.testing.assert_allclose(weighted["centres"], repeated["centres"], rtol=1e-12)
    assert weighted["iteration"] == repeated["iteration"]


@pytest.mark.parametrize("seeding", ["kmeans||", "random"])
def test_rows_of_weight_zero_are_never_drawn(seeding: str) -> None:
    x = blobs(200, 3, 4)
    weight = np.where(np.arange(200) % 2, 1.0, 0.0)
    moved = np.where(weight[:, None] > 0, x, 1e6)
    algorithm = KMeans(k=4, seeding=seeding)
    one, two = fit(algorithm, blocks(x, 32, weight)), fit(algorithm, blocks(moved, 32, weight))
    np.testing.assert_allclose(one["centres"], two["centres"], rtol=1e-9)


def test_centres_that_lose_their_rows_move_to_the_farthest_ones() -> None:
    x = blobs(400, 2, 8, seed=5)
    far = ((1e3, 1e3), (2e3, 2e3), (3e3, 3e3))
    state = fit(KMeans(k=8, centres=starting(x, 5) + far), blocks(x, 64))
    assert (state["sizes"] > 0).all() and state["lost"] == 0
    assert state["inertia"] < 3 * Peer(8, n_init=20, random_state=0).fit(x).inertia_


def test_given_centres_beyond_the_different_rows_do_not_keep_it_running() -> None:
    x = np.repeat([[0.0], [5.0]], 20, axis=0)
    state = fit(KMeans(k=3, centres=((0.0,), (5.0,), (99.0,))), blocks(x))
    assert state.converged and state["inertia"] == 0


@pytest.mark.parametrize("seeding", ["kmeans||", "random"])
@pytest.mark.parametrize("as_csr", [False, True])
def test_fewer_different_rows_than_k_is_an_input_error_that_says_how_many(seeding: str, as_csr: bool) -> None:
    x = np.tile([[0.0, 1.0], [-0.0, 1.0], [2.0, 0.0], [3.0, 3.0]], (50, 1))
    data = blocks(csr(x) if as_csr else x)
    with pytest.raises(InputError, match=r"k is 4, but the data holds only 3 different rows.*set k to at most 3"):
        fit(KMeans(k=4, seeding=seeding), data)
    exact = fit(KMeans(k=3, seeding=seeding), data)
    assert exact["inertia"] == pytest.approx(0, abs=1e-9)
    assert sorted(exact["sizes"]) == [50, 50, 100]


def test_no_rows_no_weight_and_not_a_number_are_input_errors() -> None:
    x = blobs(50, 2, 2)
    with pytest.raises(InputError, match="has no rows"):
        fit(KMeans(k=2), blocks(x[:0]))
    with pytest.raises(InputError, match="sum to 0"):
        fit(KMeans(k=2), blocks(x, 64, np.zeros(50)))
    x[3, 1] = np.nan
    with pytest.raises(InputError, match="column 1 of the matrix: holds NaN"):
        fit(KMeans(k=2), blocks(x))


def test_hyperparameters_out_of_bounds_are_refused() -> None:
    with pytest.raises(ConfigError, match="k: 0 is out of bounds"):
        KMeans(k=0)
    with pytest.raises(ConfigError, match="'kmeans' is unknown"):
        KMeans(seeding="kmeans")
    with pytest.raises(ConfigError, match="2 centres are given, k is 3"):
        KMeans(k=3, centres=((0.0,), (1.0,)))


def test_max_iterations_ends_a_run_that_has_not_converged() -> None:
    state = fit(KMeans(k=6, max_iterations=1), blocks(blobs(300, 3, 6, spread=0.5)))
    assert not state.converged and "max_iterations (1)" in str(state.stop)
    assert state.round <= KMeans(k=6, max_iterations=1).expected_rounds()


def test_every_state_after_the_first_has_a_model() -> None:
    algorithm, data = KMeans(k=4), blocks(blobs(300, 3, 4))
    state = algorithm.init(SCHEMA)
    with pytest.raises(ConfigError, match="no model before the first round"):
        algorithm.model(state, SCHEMA)
    while state.stop is None:
        assert (algorithm.progress(state) == {}) == (state["iteration"] == 0)
        state = one_round(algorithm, state, data)
        assert algorithm.model(state, SCHEMA).centres.shape == (4, 3)


def test_a_saved_model_predicts_the_same_and_leaves_for_scikit_learn(tmp_path: Path) -> None:
    x = blobs(500, 5, 6, spread=1.0)
    algorithm, block = KMeans(k=6), blocks(x, 500)[0]
    model = algorithm.model(fit(algorithm, blocks(x)), SCHEMA)
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert isinstance(loaded, KMeansModel) and loaded.header() == model.header()
    predicted = loaded.predict(block).y_pred
    assert predicted.dtype == np.float64 and model.output == "cluster"
    assert np.array_equal(predicted, model.predict(block).y_pred)
    peer = loaded.to_sklearn()
    assert np.array_equal(predicted, peer.predict(x))
    np.testing.assert_allclose(model.transform(block).X, peer.transform(x), rtol=1e-9, atol=1e-7)


matrices = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).integers(0, 3, (12, 2)).astype(float))


@given(matrices, st.integers(1, 6), st.permutations(range(4)))
def test_a_draw_is_the_same_whatever_the_order_of_merging(x: Any, limit: int, order: list[int]) -> None:
    priority, key = x[:, 0], np.arange(12, dtype=np.uint64)

    def draw(part: Any) -> Draw:
        found = Draw(limit)
        found.offer(priority[part], key[part], lambda index: x[part][index])
        return found

    whole, merged = draw(np.arange(12)), Draw(limit)
    for i in order:
        merged.merge(draw(np.arange(3 * i, 3 * i + 3)))
    for a, b in ((whole.priority, merged.priority), (whole.key, merged.key), (whole.rows, merged.rows)):
        assert np.array_equal(a, b)
    distinct = list(dict.fromkeys(tuple(x[i]) for i in np.lexsort((key, priority))))
    assert list(map(tuple, whole.rows)) == distinct[:limit]


@given(st.integers(0, 10**6), st.integers(0, 30))
def test_moments_merge_to_those_of_all_rows(seed: int, cut: int) -> None:
    r = np.random.default_rng(seed)
    x, w = r.normal(1e8, 1, (30, 3)), r.gamma(1, size=30)
    merged = Moments()
    for part in (slice(0, cut), slice(cut, 30)):
        merged.merge(Moments.of(x[part].copy(), w[part]))
    exact = [[Fraction(v) for v in row] for row in (*x.T, w)]
    weights, total = exact[3], sum(exact[3])
    scatter = Fraction(0)
    for j in range(3):
        mean = sum(v * u for v, u in zip(exact[j], weights, strict=True)) / total
        scatter += sum(u * (v - mean) ** 2 for v, u in zip(exact[j], weights, strict=True))
        assert abs(Fraction(merged.mean[j]) + Fraction(merged.rest[j]) - mean) < 1e-14
    assert merged.scatter == pytest.approx(float(scatter), rel=1e-13)


@given(st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_kernels_are_twins(seed: int, dtype: Any, weighted: bool) -> None:
    r = np.random.default_rng(seed)
    n, d, k = int(r.integers(1, 80)), int(r.integers(1, 6)), int(r.integers(1, 7))
    x, c = r.integers(-3, 4, (n, d)).astype(dtype), r.integers(-3, 4, (k, d)).astype(dtype)
    weight = r.integers(0, 5, n).astype(np.float64) if weighted else None
    d2 = ((x[:, None].astype(float) - c) ** 2).sum(axis=2)
    constants = (c * c).sum(axis=1)
    sparse = csr(x.astype(np.float64))
    rows = kernel.Sparse(sparse.indptr, sparse.indices, sparse.data)
    for module in (kernel, fast):
        found = module.nearest(x, -2 * c, constants, np.empty(n * k + 3, dtype))
        assert np.array_equal(found.labels, d2.argmin(axis=1))
        assert np.array_equal(found.score + (x * x).sum(axis=1), d2.min(axis=1))
        also = module.nearest_sparse(rows, -2.0 * c, constants.astype(np.float64))
        assert np.array_equal(also.labels, found.labels) and np.array_equal(also.score, found.score)
        total, sums = module.sums(x, found.labels, weight, np.ones(d), k)
        w = np.ones(n) if weight is None else weight
        onehot = np.eye(k)[found.labels] * w[:, None]
        assert np.array_equal(total, onehot.sum(axis=0)) and np.array_equal(sums, onehot.T @ (x - 1.0))
        raw = module.sums_sparse(rows, found.labels, weight, k, d)
        assert np.array_equal(raw[0], total) and np.array_equal(raw[1], onehot.T @ x)
