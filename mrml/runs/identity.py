"""What a run was begun with, as this mrml would say it: records that an earlier one wrote stay good."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from mrml import names

#: its records once held fields of boosting, each at the one value that a forest has
_FOREST = "mrml.forest/1"


def brought_up(begun: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a run with the names that classes have now.

    A hyperparameter that came later was at its default when the run began.  A class of the user's own is not imported
    to be asked for its own.
    """
    algorithm = dict(begun.get("algorithm", {}))
    if "class" not in algorithm:
        return dict(begun)
    name = names.present(str(algorithm["class"]))
    if name in names.NAMES:
        fields = dataclasses.fields(names.imported(names.NAMES[name]))
        known = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
        if name == _FOREST:
            algorithm = {k: v for k, v in algorithm.items() if k in known}
        algorithm = json.loads(json.dumps(known)) | algorithm
        if algorithm.get("standardise", False) is None:  # before it was left to the columns they all were
            algorithm["standardise"] = True
    return {**begun, "algorithm": {**algorithm, "class": name}}
