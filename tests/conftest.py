"""For every test: no deadlines, because the machines that run them are shared."""

from __future__ import annotations

import hypothesis

# In CI hypothesis loads a profile of its own: no deadline, and the same examples every time.
hypothesis.settings.register_profile("mrml", deadline=None)
if hypothesis.settings.get_current_profile_name() != "ci":
    hypothesis.settings.load_profile("mrml")
