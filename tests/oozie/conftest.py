"""The schemas of Oozie, from the jar of its client."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrml.cluster.jars import OOZIE, fetch_jars
from tests.hadoop.conftest import CACHE, skip_without_java_and_maven


@pytest.fixture(scope="session")
def client_jar() -> Path:
    """Fetched once; skipped only where Maven is missing."""
    pytest.importorskip("lxml", reason="the extra `oozie` is not installed")
    skip_without_java_and_maven()
    (jar,) = fetch_jars(CACHE, OOZIE).glob("oozie-client-*.jar")
    return jar
