"""Growing trees in the driver: which nodes split, which are looked at next, and what a finished tree is.

``depthwise`` splits every node of a level that gains (XGBoost).  ``leafwise`` splits the leaf that gains most until
there are ``max_leaves`` (LightGBM), yet needs about as many rounds as the tree is deep: every round replays best-first
over the gains that are known.  Leaves that are not looked at yet could only take places away from those that are, so a
node which is not split in the replay never will be, and the children of those that are split are looked at next: the
ones that best-first will likely come to (:func:`likely`), and the others once it does.  When no child is left to look
at, the replay is the tree, whatever was looked at when.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.kernels.trees import numpy as kernel
from mrml.kernels.trees.numpy import Rules, Splits, Step
from mrml.kernels.trees.runs import shrinks_by_cat_l2

#: A node while its tree grows: its best split, whether it is ``split`` in the tree, its children (``left`` and the one
#: after it, -1: none), integer sums of the node and of the left child, bounds of its value.
NODE = np.dtype(
    [("feature", "i4"), ("bin", "i4"), ("missing_left", "u1"), ("categories", "u4", 8), ("split", "u1"), ("left", "i4"),
     ("depth", "i4"), ("gain", "f8"), ("g", "i8"), ("h", "i8"), ("rows", "i8"), ("gl", "i8"), ("hl", "i8"),
     ("lower", "f8"), ("upper", "f8")]
)  # fmt: skip
#: A node of a finished tree: ``feature`` is -1 in a leaf; ``value`` is what a leaf adds to the raw prediction.
TREE_NODE = np.dtype(
    [("feature", "i4"), ("bin", "i4"), ("missing_left", "u1"), ("categories", "u4", 8), ("left", "i4"), ("value", "f8"),
     ("gain", "f8"), ("cover", "f8"), ("rows", "i8")]
)  # fmt: skip


#: what a child is thought to gain of what its parent does, before it is looked at.  Of 500,000 rows, 31 leaves took 50
#: histograms in 9.95 rounds with 0, 35 in 10.0 with 0.5, 32.5 in 10.2 with 0.6 and 31 in 31 with 1.
_GUESS = 0.5
#: the place of a node that is guessed, below all others
_BELOW = 1 << 62


def to_wire(nodes: Array) -> dict[str, Array]:
    """The fields of an array of nodes."""
    assert nodes.dtype.names is not None
    return {name: np.ascontiguousarray(nodes[name]) for name in nodes.dtype.names}


def from_wire(tree: Mapping[str, Array], dtype: np.dtype[Any]) -> Array:
    """The inverse of :func:`to_wire`."""
    out = np.zeros(len(tree["feature"]), dtype)
    for name, values in tree.items():
        out[name] = values
    return out


def root() -> Array:
    """A tree of one node that was not looked at yet."""
    return np.repeat(_LEAF, 1)


_LEAF = np.zeros(1, NODE)
_LEAF["feature"] = _LEAF["left"] = -1
_LEAF["gain"], _LEAF["lower"], _LEAF["upper"] = -np.inf, -np.inf, np.inf


def look(nodes: Array, at: Array, splits: Splits, g: Array, h: Array, rows: Array) -> None:
    """Put down what was found for the nodes ``at``."""
    nodes["g"][at], nodes["h"][at], nodes["rows"][at] = g, h, rows
    for name in ("gain", "feature", "bin", "missing_left", "gl", "hl", "categories"):
        nodes[name][at] = getattr(splits, name)


def choose(nodes: Array, min_gain: float, max_leaves: int) -> None:
    """Decide which nodes are split; ``max_leaves`` 0: all that gain."""
    nodes["split"] = (nodes["feature"] >= 0) & (nodes["gain"] > 0) & (nodes["gain"] >= min_gain)
    if max_leaves:
        chosen = _best_first(nodes, max_leaves, frozenset())
        nodes["split"] = 0
        nodes["split"][chosen] = 1


def likely(nodes: Array, lefts: Array, max_leaves: int) -> Array:
    """(n,) bool: to which pairs of children, told by the left ones ``lefts`` (n,), best-first will likely come.

    None of them was looked at.  What they gain is guessed: a share of what their parents do.  At least one pair is
    likely, since nothing is guessed before it.
    """
    pairs = lefts.tolist()
    found = set(nodes["left"][_best_first(nodes, max_leaves, frozenset(pairs))].tolist())
    return np.array([left in found for left in pairs], bool)


def _best_first(nodes: Array, max_leaves: int, guessed: frozenset[int]) -> list[int]:
    """The nodes that are split one after the other, always the one that gains most of those that may be ``split``.

    Of equals it is the upper one, then the one more to the left, in whatever order nodes were looked at.  ``guessed``
    are left children of pairs that stand for leaves, and these for others.
    """
    left, gain, splits = (nodes[name].tolist() for name in ("left", "gain", "split"))
    found: list[int] = []
    heap = [(-gain[0], 1, 0)] if splits[0] else []
    for _ in range(max_leaves - 1):
        if not heap:
            break
        score, at, k = heapq.heappop(heap)
        if k < 0 or left[k] in guessed:
            for _ in range(2):
                heapq.heappush(heap, (_GUESS * score, _BELOW, -1))
        elif left[k] >= 0:
            for side in range(2):
                if splits[left[k] + side]:
                    heapq.heappush(heap, (-gain[left[k] + side], 2 * at + side, left[k] + side))
        if k >= 0:
            found.append(k)
    return found


def branch(nodes: Array, monotone: Array, rules: Rules, g_unit: float, h_unit: float) -> tuple[Array, Array]:
    """Give children to the nodes that are newly split: the nodes with them, and which were split."""
    at = np.flatnonzero((nodes["split"] == 1) & (nodes["left"] < 0))
    if not len(at):
        return nodes, at
    g, gl, h, hl, rows, depth = (nodes[name][at] for name in ("g", "gl", "h", "hl", "rows", "depth"))
    nodes["left"][at] = len(nodes) + 2 * np.arange(len(at))
    out = np.empty(len(nodes) + 2 * len(at), NODE)  # filled: to join arrays of fields takes 25 us
    out[: len(nodes)], out[len(nodes) :] = nodes, _LEAF
    pairs = out[len(nodes) :].reshape(-1, 2)
    for name, whole, left in (("g", g, gl), ("h", h, hl)):
        sums = pairs[name]
        sums[:, 0] = left
        np.subtract(whole, left, out=sums[:, 1])
    # until it is looked at: rows in proportion to hessians
    pairs["rows"] = np.rint(rows[:, None] * (pairs["h"] / np.maximum(h, 1)[:, None]))
    pairs["depth"] = depth[:, None] + 1
    if monotone.any():
        pairs["lower"], pairs["upper"] = nodes["lower"][at][:, None], nodes["upper"][at][:, None]
        _bound(pairs.reshape(-1), monotone[nodes["feature"][at]], rules, g_unit, h_unit)
    return out, at


def _bound(children: Array, sign: Array, rules: Rules, g_unit: float, h_unit: float) -> None:
    """Children of a monotone column keep to their sides of the middle, as in XGBoost."""
    w = weights(children, rules, g_unit, h_unit)
    middle = (w[::2] + w[1::2]) / 2
    for side, limits in ((0, ("lower", "upper")), (1, ("upper", "lower"))):
        part = children[side::2]
        for name, direction in zip(limits, (-1, 1), strict=True):
            here = sign == direction
            part[name][here] = middle[here]


def weights(nodes: Array, rules: Rules, g_unit: float, h_unit: float, l2: float | Array | None = None) -> Array:
    """(n,) float64: what leaves of these sums would add, before the learning rate; ``l2`` by default the rules' own."""
    g, h = nodes["g"] * g_unit, nodes["h"] * h_unit
    l2 = rules.l2 if l2 is None else l2
    out: Array = kernel.leaf_weight(g, h, l2, rules.l1, rules.max_delta_step, nodes["lower"], nodes["upper"])
    return out


def l2_of(nodes: Array, rules: Rules, n_bins: Array) -> Array:
    """(n,) float64: the L2 penalty on the value of every node of a tree, which is more below sorted categories."""
    out = np.full(len(nodes), rules.l2)
    inner = np.flatnonzero((nodes["left"] >= 0) & (nodes["feature"] >= 0))
    levels = n_bins[nodes["feature"][inner]]
    left = nodes["left"][inner[shrinks_by_cat_l2(rules, nodes["bin"][inner], levels)]]
    out[left] += rules.cat_l2
    out[left + 1] += rules.cat_l2
    return out


def finished(nodes: Array, values: Array, h_unit: float) -> Array:
    """The tree of the split nodes, level by level, children side by side; ``values`` (n,) of all nodes."""
    order, k = [0], 0
    left = np.full(len(nodes), -1, np.int32)
    while k < len(order):
        at = order[k]
        if nodes["split"][at]:
            left[at] = len(order)
            order += [int(nodes["left"][at]), int(nodes["left"][at]) + 1]
        k += 1
    kept = nodes[order]
    inner = kept["split"] == 1
    out = np.zeros(len(order), TREE_NODE)
    for name in ("bin", "missing_left", "categories", "gain"):
        out[name][inner] = kept[name][inner]
    out["feature"] = np.where(inner, kept["feature"], -1)
    out["left"], out["rows"], out["cover"] = left[order], kept["rows"], kept["h"] * h_unit
    out["value"] = np.where(inner, 0.0, values[order])
    return out


def leaf_values(nodes: Array, values: Array) -> Array:
    """(n,) float64: for every node what the leaf adds that its rows end in; below a leaf, that leaf's value."""
    out: Array = values.copy()
    cut = np.zeros(len(nodes), bool)
    for k in np.flatnonzero(nodes["left"] >= 0).tolist():  # children come after their parents
        if cut[k] or not nodes["split"][k]:
            children = slice(nodes["left"][k], nodes["left"][k] + 2)
            out[children], cut[children] = out[k], True
    return out


def leaf_of(nodes: Array) -> Array:
    """(n,) int64: for every node the leaf of the tree that its rows end in."""
    return leaf_values(nodes, np.arange(len(nodes)))


def step_of(nodes: Array, n_bins: Array) -> Step:
    """How rows move through the nodes of one tree, growing or finished."""
    feature = nodes["feature"]
    if "split" in (nodes.dtype.names or ()):
        feature = np.where(nodes["split"] == 1, feature, -1)
    out: Step = kernel.step_of(
        feature, nodes["left"], nodes["bin"], nodes["missing_left"], nodes["categories"], n_bins
    )  # fmt: skip
    return out
