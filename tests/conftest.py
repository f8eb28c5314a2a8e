"""For every test: kernels pinned before NumPy loads, and no deadlines, because the machines are shared."""

from __future__ import annotations

import hypothesis

from mrml import pin

# Here, before any test module loads NumPy: what this process computes is compared with workers to the byte.
assert pin.pin(), "NumPy was loaded before mrml could pin its kernels"

# In CI hypothesis loads a profile of its own: no deadline, and the same examples every time.
hypothesis.settings.register_profile("mrml", deadline=None)
if hypothesis.settings.get_current_profile_name() != "ci":
    hypothesis.settings.load_profile("mrml")
