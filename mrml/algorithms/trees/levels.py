"""A round of growing trees: the best split of every node where a key is reduced, then the nodes to look at next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrml.algorithm import State, Value
from mrml.algorithms.trees import growth, sparse
from mrml.algorithms.trees import histogram as hist
from mrml.algorithms.trees.growth import NODE
from mrml.algorithms.trees.quant import Quant
from mrml.algorithms.trees.rows import module_of
from mrml.algorithms.trees.settings import MAX_NODES, TreeSettings
from mrml.algorithms.trees.sparse import CellSums
from mrml.arrays import Array
from mrml.kernels.trees.numpy import Columns, Nodes, Splits


def best_splits(settings: TreeSettings, state: State, key: str, statistic: hist.Histogram | CellSums, first_tree: int
                ) -> Value:  # fmt: skip
    """The best split of every node over the features of a key, with their sums, and the histograms where they serve."""
    if isinstance(statistic, CellSums):
        return sparse.best_splits(settings, state, key, statistic, first_tree)
    plan, trees = hist.Plan.from_wire(state["plan"]), [growth.from_wire(t, NODE) for t in state["growing"]]
    return looked(settings, state.params, plan, trees, key, statistic, first_tree)


def looked(settings: TreeSettings, params: Mapping[str, Any], plan: hist.Plan, trees: list[Array], key: str,
           statistic: hist.Histogram, first_tree: int) -> dict[str, Any]:  # fmt: skip
    """The same, of a plan and trees that are at hand."""
    features = hist.feature_blocks(params["n_bins"])[int(key.removeprefix(hist.PREFIX))]
    statistic.buffer.settle()
    built = statistic.buffer
    parents = params["parents"].get(key) or {"g": built.g[:0], "h": built.h[:0], "rows": built.rows[:0]}
    g, h, rows = (hist.siblings(plan, getattr(built, n), parents[n]) for n in ("g", "h", "rows"))
    first = slice(0, int(params["n_bins"][features.first]) + 1)
    inside = slice(features.first, features.stop)
    lower, upper = (np.array([trees[t][n][k] for t, k in zip(plan.tree, plan.node, strict=True)])
                    for n in ("lower", "upper"))  # fmt: skip
    allowed = settings.allowed(len(params["n_bins"]), first_tree, params["step"], plan.tree, plan.node)
    nodes = Nodes(g[:, first].sum(axis=1), h[:, first].sum(axis=1), rows, lower, upper,
                  allowed[:, inside])  # fmt: skip
    columns = Columns(features.offsets, params["n_bins"][inside], params["categorical"][inside],
                      params["monotone"][inside])  # fmt: skip
    units = Quant(*params["quant"]).units
    best = module_of(params["kernels"]).best_splits(g, h, columns, nodes, settings.rules_for(params), *units)
    found = best._replace(feature=np.where(best.feature >= 0, best.feature + features.first, -1).astype(np.int32))
    sums = {"g": nodes.g, "h": nodes.h, "rows": rows}
    depth = [trees[t]["depth"][k] for t, k in zip(plan.tree, plan.node, strict=True)]
    deeper = min(depth, default=0) + 1 < settings.depth_limit
    kept = {"g": g, "h": h, "rows": rows} if deeper and _keeps(params, plan) else None
    return {"splits": dict(found._asdict()), "sums": sums, "histograms": kept}


def _keeps(params: Mapping[str, Any], plan: hist.Plan) -> bool:
    """Whether the histograms of this round's nodes come back: what both children's would be subtracted from."""
    width = hist.width_of(params["n_bins"])
    return 16 * width * len(plan.tree) <= hist.PARENT_BYTES


def grow(settings: TreeSettings, params: dict[str, Any], values: Mapping[str, Value]) -> None:
    """Split nodes by what was found and choose the ones to look at next."""
    plan, trees = hist.Plan.from_wire(params["plan"]), [growth.from_wire(t, NODE) for t in params["growing"]]
    plan = grown(settings, params, plan, trees, values)
    params["growing"], params["plan"] = [growth.to_wire(t) for t in trees], plan.to_wire()


def grown(settings: TreeSettings, params: dict[str, Any], plan: hist.Plan, trees: list[Array],
          values: Mapping[str, Value]) -> hist.Plan:  # fmt: skip
    """The same with the trees at hand, which grow in their list; the nodes to look at next."""
    keys = sorted(key for key in values if key.startswith(hist.PREFIX))
    splits, sums = _best([values[key] for key in keys])
    units = Quant(*params["quant"]).units
    pairs = [params["queue"]]
    for number, nodes in enumerate(trees):
        mine = np.flatnonzero(plan.tree == number)
        found = Splits(*(a[mine] for a in splits))
        growth.look(nodes, plan.node[mine], found, sums["g"][mine], sums["h"][mine], sums["rows"][mine])
        growth.choose(nodes, settings.min_split_gain, settings.max_leaves)
        trees[number], parents = growth.branch(nodes, params["monotone"], settings.rules, *units)
        if len(parents):
            row = np.empty(len(nodes), np.int64)
            row[plan.node[mine]] = mine
            new = np.empty((len(parents), 3), np.int64)
            new[:, 0], new[:, 1], new[:, 2] = number, trees[number]["left"][parents], row[parents] + _NEW
            pairs.append(new)
    queue = np.concatenate(pairs)
    queue = queue[_open(settings, trees, queue, units[1])]
    kept = values[keys[0]]["histograms"] is not None
    queue, most = _first(settings, params, trees, queue) if kept else (queue, len(queue))
    return _next(params, trees, queue, most, values, keys)


def _open(settings: TreeSettings, trees: list[Array], queue: Array, h_unit: float) -> Array:
    """(n,) bool: whether a pair of children is worth a look: their parent still is split, and one of them could be."""
    heavy = _of_pairs(trees, queue, "h") * h_unit >= 2 * settings.rules.min_child_weight
    found: Array = heavy[:, 0] | heavy[:, 1]
    for number, nodes in enumerate(trees):
        mine = _of_tree(trees, queue, number)
        left = queue[mine, 1]
        split = np.zeros(len(nodes), bool)
        split[nodes["left"][nodes["split"] == 1]] = True
        found[mine] &= split[left] & (nodes["depth"][left] < settings.depth_limit) & (len(nodes) + 2 <= MAX_NODES)
    return found


def _of_pairs(trees: list[Array], queue: Array, name: str) -> Array:
    """(n, 2): a field of both nodes of every pair."""
    out = np.empty((len(queue), 2), NODE[name])
    for number, nodes in enumerate(trees):
        mine = _of_tree(trees, queue, number)
        left, field = queue[mine, 1], nodes[name]
        out[mine, 0], out[mine, 1] = field[left], field[left + 1]
    return out


def _of_tree(trees: list[Array], queue: Array, number: int) -> Any:
    """Which pairs are those of a tree."""
    return queue[:, 0] == number if len(trees) > 1 else slice(None)


def _first(settings: TreeSettings, params: Mapping[str, Any], trees: list[Array], queue: Array) -> tuple[Array, int]:
    """The queue with the pairs in front that are worth a look in the next round, and how many they are.

    Which nodes are looked at together is no part of a tree, unless columns are drawn by levels or nodes, or some of
    them are bounded: then the gains of all are rounded by the formula for those (``is_free`` in the kernels).
    """
    held = 16 * len(queue) * hist.width_of(params["n_bins"])
    together = settings.column_shares[1:] != (1.0, 1.0) or params["monotone"].any()
    if not settings.max_leaves or together or held > hist.PARENT_BYTES:
        return queue, len(queue)
    now = np.zeros(len(queue), bool)
    for number, nodes in enumerate(trees):
        mine = _of_tree(trees, queue, number)
        now[mine] = growth.likely(nodes, queue[mine, 1], settings.max_leaves)
    return np.concatenate([queue[now], queue[~now]]), int(now.sum())


def _next(params: dict[str, Any], trees: list[Array], queue: Array, most: int, values: Mapping[str, Value],
          keys: list[str]) -> hist.Plan:  # fmt: skip
    """Plan the next round: at most ``most`` pairs, and as many as a task can hold, with the parents that both need."""
    if sparse.is_sparse(params):
        params["alive"] = sparse.alive_after(params, queue, _NEW, values)
        most = min(most, sparse.most_pairs(params))
    else:
        most = min(most, max(1, hist.TASK_BYTES // (48 * hist.width_of(params["n_bins"]))))
    now, later = queue[:most], queue[most:]
    parents, rows = {}, queue[:, 2].copy()
    kept = bool(keys) and values[keys[0]]["histograms"] is not None
    rows[(rows >= _NEW) & (not kept)] = -1
    used = np.sort(rows[rows >= 0])  # no two pairs have a parent in common
    for key in keys:
        new, old = values[key]["histograms"], params["parents"].get(key)
        parents[key] = {n: _rows(new, old, n, used) for n in ("g", "h", "rows")} if len(used) else {}
    rows = np.where(rows >= 0, np.searchsorted(used, rows), -1)
    now, later = now.copy(), later.copy()
    now[:, 2], later[:, 2] = rows[: len(now)], rows[len(now) :]
    params["queue"], params["parents"] = later, {k: v for k, v in parents.items() if v}
    return hist.plan_of(now, _of_pairs(trees, now, "h"))


#: rows of this round's histograms are told from kept ones by this
_NEW = 1 << 40


def _rows(new: Mapping[str, Array] | None, old: Mapping[str, Array] | None, name: str, rows: Array) -> Array:
    """Some rows of kept histograms, and of this round's, which stand behind them."""
    n_old = int(np.searchsorted(rows, _NEW))
    parts = [old[name][rows[:n_old]]] if old and n_old else []
    parts += [new[name][rows[n_old:] - _NEW]] if new and n_old < len(rows) else []
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _best(values: list[Mapping[str, Any]]) -> tuple[Splits, Mapping[str, Array]]:
    """The best split of each node over all blocks of features; the first of equals."""
    best = Splits(**{k: v.copy() for k, v in values[0]["splits"].items()})
    for value in values[1:]:
        other = Splits(**value["splits"])
        better = other.gain > best.gain
        for mine, theirs in zip(best, other, strict=True):
            mine[better] = theirs[better]
    return best, values[0]["sums"]
