"""For every test: kernels pinned before NumPy loads, and no deadlines, because the machines are shared."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from mrml import names, pin

# Here, before any test module loads NumPy: what this process computes is compared with workers to the byte.
assert pin.pin(), "NumPy was loaded before mrml could pin its kernels"

# In CI hypothesis loads a profile of its own: no deadline, and the same examples every time.
hypothesis.settings.register_profile("mrml", deadline=None)
if hypothesis.settings.get_current_profile_name() != "ci":
    hypothesis.settings.load_profile("mrml")


@pytest.fixture(autouse=True)
def _what_this_test_allows_is_its_own() -> Iterator[None]:
    """Modules that a test allows to be imported stay no longer than the test: another one refuses them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "_allowed", set(names._allowed))
        yield
