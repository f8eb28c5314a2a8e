"""Real data of others beside the checkout; a test is skipped, with the reason, where it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"


def shared(*parts: str) -> Path:
    """A file or folder below ``../shared/data``."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"../shared/data/{'/'.join(parts)} is not on this machine")
    return path
