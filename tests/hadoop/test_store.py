"""A store of models on HDFS: versions, switches, and two who come at once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import mrml
from mrml.cluster import Cluster
from mrml.errors import OutputExists
from mrml.runs.store import Store, Switch

pytestmark = pytest.mark.hadoop


def test_a_store_on_hdfs_names_one_version_also_when_two_come_at_once(client: Cluster, tmp_path: Path) -> None:
    x, path = np.random.default_rng(1).normal(size=(30, 2)), "hdfs:///stores/linear"
    for k in range(4):
        mrml.Linear(l2=float(k)).fit(x, x[:, 0], output=tmp_path / f"m{k}", engine="inline")
    store = Store(path)
    assert [store.promote(str(tmp_path / f"m{k}")).version for k in (0, 1, 0)] == [1, 2, 1]
    assert store.rollback().version == 2
    found: list[Switch | OutputExists] = []

    def promote(model: str) -> None:
        try:
            found.append(Store(path).promote(model))
        except OutputExists as error:
            found.append(error)

    both = [threading.Thread(target=promote, args=(str(tmp_path / f"m{k}"),)) for k in (2, 3)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    done = [switch for switch in found if isinstance(switch, Switch)]
    switches = store.switches()
    assert done and [s.number for s in switches] == list(range(1, 5 + len(done)))
    assert store.folder.read("CURRENT").decode() == f"{switches[-1].version:06d}\n"
    source = store.version(switches[-1].version)["source"]
    assert mrml.load(path).predict(x).equals(mrml.load(source).predict(x))  # the one in service, from HDFS
