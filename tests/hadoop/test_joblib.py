"""Calls of scikit-learn by resident tasks in containers of YARN."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sklearn")
from joblib import parallel_config  # type: ignore[import-untyped]

from mrml.cluster import Cluster
from mrml.sklearn.backend import Backend, close_all
from tests.test_joblib import lose_nothing

pytestmark = pytest.mark.hadoop


def test_candidates_on_yarn_lose_nothing_when_a_container_is_killed(client: Cluster, tmp_path: Path) -> None:
    try:
        with parallel_config(Backend(engine="resident", runner="hadoop", workers=2, min_workers=2), n_jobs=-1):
            lose_nothing(tmp_path)
    finally:
        close_all()
