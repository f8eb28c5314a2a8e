"""A tree as text, in the names of the columns and the levels of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.export.ensemble import Ensemble, Tree

#: levels that a condition names
MOST_LEVELS = 6


def checked_number(ensemble: Ensemble, number: int) -> int:
    """ConfigError where there is no tree of this number."""
    if not 0 <= number < ensemble.n_trees:
        there = f"they are numbered 0 to {ensemble.n_trees - 1}" if ensemble.n_trees else "the model has none"
        raise ConfigError("tree", f"there is no tree {number}", there)
    return number


def title(ensemble: Ensemble, number: int) -> str:
    """Which tree it is, and of which class where every class has its own."""
    head = f"tree {number} of {ensemble.n_trees}"
    if ensemble.n_outputs > 1:
        head += f", class {ensemble.classes[number % ensemble.n_outputs]}"
    return head


def condition(ensemble: Ensemble, tree: Tree, node: int) -> str:
    """What rows that go left have in common."""
    j = int(tree.feature[node])
    name, missing = ensemble.names[j], bool(tree.missing_left[node])
    if tree.categorical[node]:
        return f"{name} {_levels(ensemble, j - ensemble.n_numeric, tree.sets[node])}"
    threshold = tree.threshold[node]
    if threshold == np.finfo(np.float32).max:
        return f"{name} is {'anything' if missing else 'there'}"
    return f"{name} < {threshold!s}" + (" or missing" if missing else "")


def _levels(ensemble: Ensemble, column: int, left: Array) -> str:
    texts = [*ensemble.levels[column], *(["a rare one"] if ensemble.other[column] else [])]
    chosen = [text for code, text in enumerate(texts) if left[code]]
    others = [text for code, text in enumerate(texts) if not left[code]]
    if len(chosen) <= len(others):
        return "is " + _listed(chosen, "or")
    return "is not " + _listed([*others, "missing"], "or")


def _listed(texts: Sequence[str], word: str) -> str:
    some = list(texts[:MOST_LEVELS])
    if len(texts) > MOST_LEVELS:
        some.append(f"{len(texts) - MOST_LEVELS} more")
    return some[0] if len(some) == 1 else f"{', '.join(some[:-1])} {word} {some[-1]}"


def lines(ensemble: Ensemble, number: int) -> Iterator[str]:
    """The tree, a line a node; what goes left stands under ``yes``."""
    tree = ensemble.tree(checked_number(ensemble, number))
    yield title(ensemble, number)
    todo = [(0, 0, "")]
    while todo:
        node, depth, answer = todo.pop()
        head = "  " * depth + f"{answer}[{node}] "
        rows = f"{int(tree.rows[node]):,} rows"
        if tree.leaf[node]:
            yield f"{head}adds {tree.value[node]:+.6g}  ({rows})"
            continue
        yield f"{head}{condition(ensemble, tree, node)}  ({rows}, gain {tree.gain[node]:.6g})"
        left = int(tree.left[node])
        todo += [(left + 1, depth + 1, "no  "), (left, depth + 1, "yes ")]
