"""Clusters on data: scikit-learn as oracle, and the laws of cuts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans as Peer

from mrml.algorithms.clustering.kmeans import KMeans
from mrml.algorithms.evaluation.clusters import EvaluateClusters
from mrml.algorithms.pipeline.pipeline import Pipeline
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.model import Model
from mrml.schema import Column, Schema
from tests.algorithms.test_kmeans import as_bytes, blobs, blocks
from tests.rounds import run

COLUMNS = tuple(Column(name, "numeric", "feature", "double") for name in "abc")


def trained(data: list[Block], k: int, standardise: bool) -> Model:
    pipeline = Pipeline(KMeans(k=k, standardise=standardise), Schema(COLUMNS))
    return pipeline.model(run(pipeline, Schema(COLUMNS), [data]), Schema(COLUMNS))


def measured(model: Model, tasks: list[list[Block]]) -> Any:
    algorithm = EvaluateClusters(scorer=model)
    state = run(algorithm, Schema(COLUMNS), tasks)
    return algorithm.model(state, Schema(COLUMNS)).header()["metrics"], as_bytes(state)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_inertia_of_other_rows_is_scikit_learns_score(standardise: bool, weighted: bool, dtype: Any) -> None:
    x = (blobs(600, 3, 5) + 50).astype(dtype)
    other, weight = (blobs(300, 3, 5, seed=9) + 50).astype(dtype), np.random.default_rng(1).gamma(1, size=300)
    model = trained(blocks(x, 100), 5, standardise)
    found, _ = measured(model, [blocks(other, 64, weight if weighted else None)])
    z, w = other.astype(np.float64), weight if weighted else np.ones(300)
    if standardise:
        z = (z - x.mean(axis=0, dtype=np.float64)) / x.std(axis=0, dtype=np.float64)
    centres = model.inner.centres  # type: ignore[attr-defined]
    peer = Peer(5, init=centres, n_init=1, max_iter=1).fit(centres)
    peer.cluster_centers_ = centres
    labels = peer.predict(z)
    assert found["inertia"] == pytest.approx(-peer.score(z, sample_weight=w), rel=1e-6 if standardise else 1e-9)
    assert found["n_rows"] == 300 and found["weight"] == pytest.approx(w.sum())
    assert [c["rows"] for c in found["clusters"]] == np.bincount(labels, minlength=5).tolist()
    assert [c["weight"] for c in found["clusters"]] == pytest.approx(np.bincount(labels, w, 5))
    assert sum(c["inertia"] for c in found["clusters"]) == pytest.approx(found["inertia"])


def test_no_cut_changes_a_byte_of_it() -> None:
    data = blocks(blobs(600, 3, 5), 40)
    model = trained(data, 4, True)
    _, whole = measured(model, [data])
    for tasks in ([data[:7], data[7:]], [data[9:], data[:2], [], data[2:9]]):
        assert measured(model, tasks)[1] == whole


def test_no_rows_and_no_model_are_told() -> None:
    data = blocks(blobs(60, 3, 2), 40)
    model = trained(data, 2, False)
    empty = dataclasses.replace(data[0], rows=np.arange(0), X=data[0].X[:0])
    with pytest.raises(InputError, match="has no rows"):
        measured(model, [[empty]])
    with pytest.raises(ConfigError, match="no model is given"):
        EvaluateClusters().init(Schema(COLUMNS))
