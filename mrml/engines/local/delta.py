"""Only what has changed of a tree travels to whoever has the one before: between the rounds of one run most of a State
stays as it is.

A delta is made of dicts: ``{"is": tree}`` is a new tree, ``{"of": {key: delta}, "keys": [...]}`` a dict of which some
keys changed, ``{}`` the tree as it was.  Arrays are the same when they are the same object; they are never changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.wire import ReadOnlyDict, ReadOnlyList

Delta = dict[str, Any]


def skeleton(tree: Any) -> Any:
    """The tree with dicts and lists of its own: whoever changes those of the other one does not change this one."""
    if isinstance(tree, ReadOnlyDict | ReadOnlyList):  # of them is nothing but what cannot be changed
        return tree
    if isinstance(tree, dict):
        return {k: skeleton(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [skeleton(v) for v in tree]
    return tree


def delta(old: Any, new: Any) -> Delta:
    """What makes the new tree of the old one; see :func:`apply`."""
    if old is new and isinstance(new, ReadOnlyDict | ReadOnlyList):
        return {}
    if isinstance(new, dict) and isinstance(old, dict):
        changed = {k: found for k, v in new.items() if (found := delta(old[k], v) if k in old else {"is": v})}
        if not changed and list(new) == list(old):
            return {}
        return {"of": changed, "keys": list(new)}
    return {} if _same(old, new) else {"is": new}


def apply(old: Any, change: Delta) -> Any:
    """The new tree; what is as it was is the same object."""
    if not change:
        return old
    if "is" in change:
        return change["is"]
    return {k: apply(old.get(k), change["of"].get(k, {})) for k in change["keys"]}


def _same(old: Any, new: Any) -> bool:
    if old is new:
        return True
    if isinstance(new, list | tuple) and isinstance(old, list):
        return len(old) == len(new) and all(not delta(a, b) for a, b in zip(old, new, strict=True))
    if type(old) is not type(new) or isinstance(new, np.ndarray):
        return False
    return bool(old == new) and repr(old) == repr(new)  # 0.0 is not -0.0
