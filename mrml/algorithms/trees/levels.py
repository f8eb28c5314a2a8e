"""A round of growing trees: the best split of every node where a key is reduced, then the nodes to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrml.algorithm import State, Value
from mrml.algorithms.trees import growth
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE
from mrml.algorithms.trees.quant import Quant
from mrml.algorithms.trees.rows import module_of
from mrml.algorithms.trees.settings import MAX_NODES, TreeSettings
from mrml.arrays import Array
from mrml.kernels.trees.numpy import Columns, Nodes, Splits


def best_splits(settings: TreeSettings, state: State, key: str, statistic: hist.Histogram, first_tree: int) -> Value:
    """The best split of every node over the features of a key, with their sums, and the histograms where they serve."""
    number = int(key.removeprefix(hist.PREFIX))
    plan, features = hist.Plan.from_wire(state["plan"]), hist.feature_blocks(state["n_bins"])[number]
    statistic.buffer.settle()
    built, trees = statistic.buffer, [growth.from_wire(t, NODE) for t in state["growing"]]
    parents = state["parents"].get(key) or {"g": built.g[:0], "h": built.h[:0], "rows": built.rows[:0]}
    g, h, rows = (hist.siblings(plan, getattr(built, n), parents[n]) for n in ("g", "h", "rows"))
    first = slice(0, int(state["n_bins"][features.first]) + 1)
    inside = slice(features.first, features.stop)
    lower, upper = (np.array([trees[t][n][k] for t, k in zip(plan.tree, plan.node, strict=True)])
                    for n in ("lower", "upper"))  # fmt: skip
    allowed = settings.allowed(len(state["n_bins"]), first_tree, state["step"], plan.tree, plan.node)
    nodes = Nodes(g[:, first].sum(axis=1), h[:, first].sum(axis=1), rows, lower, upper,
                  allowed[:, inside])  # fmt: skip
    columns = Columns(features.offsets, state["n_bins"][inside], state["categorical"][inside],
                      state["monotone"][inside])  # fmt: skip
    units = Quant(*state["quant"]).units
    best = module_of(state["kernels"]).best_splits(g, h, columns, nodes, settings.rules_for(state.params), *units)
    found = best._replace(feature=np.where(best.feature >= 0, best.feature + features.first, -1).astype(np.int32))
    sums = {"g": nodes.g, "h": nodes.h, "rows": rows}
    depth = [trees[t]["depth"][k] for t, k in zip(plan.tree, plan.node, strict=True)]
    deeper = min(depth, default=0) + 1 < settings.depth_limit
    kept = {"g": g, "h": h, "rows": rows} if deeper and _keeps(state, plan) else None
    return {"splits": dict(found._asdict()), "sums": sums, "histograms": kept}


def _keeps(state: State, plan: hist.Plan) -> bool:
    """Whether the histograms of this round's nodes come back: what both children's would be subtracted from."""
    width = sum(b.width for b in hist.feature_blocks(state["n_bins"]))
    return 16 * width * len(plan.tree) <= hist.PARENT_BYTES


def grow(settings: TreeSettings, params: dict[str, Any], values: Mapping[str, Value]) -> None:
    """Split nodes by what was found and choose the ones to look at next."""
    plan = hist.Plan.from_wire(params["plan"])
    trees = [growth.from_wire(t, NODE) for t in params["growing"]]
    keys = sorted(key for key in values if key.startswith(hist.PREFIX))
    splits, sums = _best([values[key] for key in keys])
    units = Quant(*params["quant"]).units
    pairs = [params["queue"]]
    for number, nodes in enumerate(trees):
        mine = np.flatnonzero(plan.tree == number)
        found = Splits(*(a[mine] for a in splits))
        growth.look(nodes, plan.node[mine], found, sums["g"][mine], sums["h"][mine], sums["rows"][mine])
        growth.choose(nodes, settings.min_split_gain, settings.max_leaves)
        trees[number], left = growth.branch(nodes, params["monotone"], settings.rules, *units)
        parent = np.flatnonzero(np.isin(trees[number]["left"], left)) if len(left) else left
        row = {int(k): int(e) for e, k in zip(mine, plan.node[mine], strict=True)}
        at = np.array([row[int(k)] for k in parent], np.int64)
        pairs.append(np.stack([np.full(len(left), number), left, at + _NEW], axis=1).astype(np.int64))
    queue = np.concatenate(pairs)
    queue = queue[[_open(settings, trees[t], left, units[1]) for t, left, _ in queue.tolist()]]
    _next(params, trees, queue, values, keys)


def _open(settings: TreeSettings, nodes: Array, left: int, h_unit: float) -> bool:
    """Whether a pair of children is worth a look: their parent still is split, and one of them could be."""
    parent = nodes[np.flatnonzero(nodes["left"] == left)[0]]
    if not parent["split"] or nodes["depth"][left] >= settings.depth_limit or len(nodes) + 2 > MAX_NODES:
        return False
    children = nodes[left : left + 2]
    return bool((children["h"] * h_unit >= 2 * settings.rules.min_child_weight).any())


def _next(params: dict[str, Any], trees: list[Array], queue: Array, values: Mapping[str, Value],
          keys: list[str]) -> None:  # fmt: skip
    """Plan the next round: as many pairs as a task can hold, with the parents that both need."""
    width = sum(b.width for b in hist.feature_blocks(params["n_bins"]))
    most = max(1, hist.TASK_BYTES // (48 * width))
    now, later = queue[:most], queue[most:]
    parents, rows = {}, queue[:, 2].copy()
    kept = bool(keys) and values[keys[0]]["histograms"] is not None
    rows[(rows >= _NEW) & (not kept)] = -1
    used = np.unique(rows[rows >= 0])
    for key in keys:
        new, old = values[key]["histograms"], params["parents"].get(key)
        parents[key] = {n: np.stack([_row(new, old, n, int(r)) for r in used]) for n in ("g", "h", "rows")
                        } if len(used) else {}  # fmt: skip
    rows = np.where(rows >= 0, np.searchsorted(used, rows), -1)
    now, later = now.copy(), later.copy()
    now[:, 2], later[:, 2] = rows[: len(now)], rows[len(now) :]
    hessians = np.array([trees[t]["h"][left : left + 2] for t, left, _ in now.tolist()]).reshape(-1, 2)
    params["growing"] = [growth.to_wire(t) for t in trees]
    params["plan"] = hist.plan_of(now, hessians).to_wire()
    params["queue"], params["parents"] = later, {k: v for k, v in parents.items() if v}


#: rows of this round's histograms are told from kept ones by this
_NEW = 1 << 40


def _row(new: Mapping[str, Array] | None, old: Mapping[str, Array] | None, name: str, row: int) -> Array:
    source = new if row >= _NEW else old
    assert source is not None
    found: Array = source[name][row - _NEW if row >= _NEW else row]
    return found


def _best(values: list[Mapping[str, Any]]) -> tuple[Splits, Mapping[str, Array]]:
    """The best split of each node over all blocks of features; the first of equals."""
    best = Splits(**{k: v.copy() for k, v in values[0]["splits"].items()})
    for value in values[1:]:
        other = Splits(**value["splits"])
        better = other.gain > best.gain
        for mine, theirs in zip(best, other, strict=True):
            mine[better] = theirs[better]
    return best, values[0]["sums"]
