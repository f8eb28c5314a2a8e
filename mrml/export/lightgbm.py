"""LightGBM's model file, the text that ``Booster.save_model`` writes (version v4).

- ``x <= threshold`` goes left, in float64.  The threshold written is the largest float64 that float32 rounds to below
  ours, so that float64 input takes the same way as float32 input, and as in mrml.
- There is no base score: the leaves of the first iteration take it on, as in LightGBM's own files.
- The set of a categorical split holds the codes that go left; what is missing or not in it goes right.
- LightGBM takes numbers below 1e-35, and entries that a sparse row leaves out, for 0.  Where left-out entries of our
  model's LibSVM rows are missing, 0 is written as what is missing there (``zero_as_missing``).
- ``pandas_categorical`` holds the texts of the codes, so that a data frame with categorical columns is scored by them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.export.ensemble import Ensemble, Tree, plain_names

#: characters that LightGBM refuses in names of features
FORBIDDEN = '",:[]{}'
OBJECTIVES = {
    "squared": "regression",
    "logistic": "binary sigmoid:1",
    "softmax": "multiclass num_class:{n_outputs}",
    "poisson": "poisson",
    "gamma": "gamma",
    "tweedie": "tweedie tweedie_variance_power:{tweedie_variance_power}",
    "absolute": "regression_l1",
    "huber": "huber",
    "quantile": "quantile",
    "lambdarank": "lambdarank",
    "custom": "custom",
}
_CATEGORICAL, _DEFAULT_LEFT, _ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2, 4, 8
#: LightGBM's kZeroThreshold: what is no farther from 0 is 0 to it
ZERO = 1e-35


def last_left(threshold: Array) -> Array:
    """(n,) float64: the largest that rounds to a float32 below each float32 threshold."""
    threshold = np.asarray(threshold, np.float32)
    with np.errstate(over="ignore"):  # of -FLT_MAX, which only an infinity is below
        below = np.nextafter(threshold, np.float32(-np.inf))
        middle = (below.astype(np.float64) + threshold.astype(np.float64)) / 2
        ties_left = middle.astype(np.float32) < threshold
    return np.asarray(np.where(ties_left, middle, np.nextafter(middle, -np.inf)))


def to_text(ensemble: Ensemble) -> bytes:
    """The file."""
    n, missing = ensemble.n_outputs, _ZERO_IS_MISSING if ensemble.absent_is_missing else _NAN_IS_MISSING
    trees = []
    for number, tree in enumerate(ensemble.trees()):
        shift = float(ensemble.base[number]) if number < n else 0.0
        trees.append(f"Tree={number}\n{_tree(tree, shift, missing)}\n\n\n".encode())
    head = {
        "version": "v4",
        "num_class": n,
        "num_tree_per_iteration": n,
        "label_index": 0,
        "max_feature_idx": len(ensemble.names) - 1,
        "objective": _objective(ensemble),
        "feature_names": " ".join(names_of(ensemble)),
        "feature_infos": " ".join(_infos(ensemble)),
        "tree_sizes": _spaced(len(t) for t in trees),
    }
    top = "tree\n" + "".join(f"{k}={v}\n" for k, v in head.items()) + "\n"
    categories = json.dumps(_categories(ensemble), ensure_ascii=False) if ensemble.levels else "null"
    end = (
        f"end of trees\n\n{_importance(ensemble)}\nparameters:\nend of parameters\n\npandas_categorical:{categories}\n"
    )
    return top.encode() + b"".join(trees) + end.encode()


def tellable(ensemble: Ensemble, x: Array) -> Array:
    """Rows of a probe as LightGBM can tell them apart: no numbers that it takes for 0, and none where 0 is missing."""
    near = np.abs(x) <= ZERO
    if ensemble.absent_is_missing:
        return np.where(near, np.float32(np.nan), x)
    return np.where(near & (x != 0), np.copysign(np.float32(2 * ZERO), x), x)


def leaf_numbers(tree: Tree) -> Array:
    """(n_nodes,) int64: LightGBM's number of a leaf, or of a node that splits; each kind counts from 0."""
    leaf = tree.leaf
    found: Array = np.where(leaf, np.cumsum(leaf), np.cumsum(~leaf)) - 1
    return found


def nodes_of(ensemble: Ensemble, leaves: Array) -> Array:
    """(n_rows, n_trees) int64: nodes for LightGBM's numbers of leaves."""
    out: Array = leaves.copy()
    for column, tree in zip(out.T, ensemble.trees(), strict=True):
        column[:] = np.flatnonzero(tree.leaf)[column]
    return out


def _objective(ensemble: Ensemble) -> str:
    name = "custom" if ":" in ensemble.objective else ensemble.objective  # a function of the user's own
    if name not in OBJECTIVES:
        finding = f"has no objective like {name!r}"
        raise ConfigError("lightgbm", finding, "export models of: " + ", ".join(OBJECTIVES))
    known = {"n_outputs": ensemble.n_outputs, "tweedie_variance_power": 1.5, **ensemble.params}
    return OBJECTIVES[name].format(**known)


def names_of(ensemble: Ensemble) -> list[str]:
    """The names of the features in the file."""
    if not ensemble.named:
        return [f"Column_{j}" for j in range(len(ensemble.names))]
    return plain_names(ensemble.names, FORBIDDEN)


def _infos(ensemble: Ensemble) -> list[str]:
    """Ranges of numbers, as far as the edges tell them, and codes."""
    ranges = [f"[{float(e[0])!r}:{float(e[-1])!r}]" if len(e) else "none" for e in ensemble.edges]
    return ranges + [":".join(map(str, range(n))) if n else "none" for n in ensemble.n_codes]


def _categories(ensemble: Ensemble) -> list[list[str]]:
    """The texts of the codes; the rare levels share one that no level has."""
    out = []
    for texts, other in zip(ensemble.levels, ensemble.other, strict=True):
        name = "other"
        while name in texts:
            name += "_"
        out.append([*texts, *([name] if other else [])])
    return out


def _importance(ensemble: Ensemble) -> str:
    used = ensemble.forest.feature
    counts = np.bincount(used[used >= 0], minlength=len(ensemble.names))
    order = np.argsort(-counts, kind="stable")
    names = names_of(ensemble)
    return "feature_importances:\n" + "".join(f"{names[j]}={counts[j]}\n" for j in order if counts[j])


def _tree(tree: Tree, shift: float, missing: int) -> str:
    leaf, inner = tree.leaf, ~tree.leaf
    number, left = leaf_numbers(tree), tree.left[inner]
    ids = np.where(leaf, -1 - number, number)
    chosen = tree.categorical[inner]
    sets = [_words(s) for s in tree.sets[tree.categorical]]
    values = tree.means + shift
    kind = np.where(chosen, _CATEGORICAL, missing + _DEFAULT_LEFT * (tree.missing_left[inner] == 1))
    thresholds = np.where(chosen, np.cumsum(chosen) - 1, last_left(np.where(chosen, 0, tree.threshold[inner])))
    lines: dict[str, Any] = {
        "num_leaves": int(leaf.sum()),
        "num_cat": len(sets),
        "split_feature": _spaced(tree.feature[inner].tolist()),
        "split_gain": _spaced(tree.gain[inner].tolist()),
        "threshold": _spaced(int(t) if c else t for t, c in zip(thresholds.tolist(), chosen.tolist(), strict=True)),
        "decision_type": _spaced(kind.tolist()),
        "left_child": _spaced(ids[left].tolist()),
        "right_child": _spaced(ids[left + 1].tolist()),
        "leaf_value": _spaced(values[leaf].tolist()),
        "leaf_weight": _spaced(tree.cover[leaf].tolist()),
        "leaf_count": _spaced(tree.rows[leaf].astype(np.int64).tolist()),
        "internal_value": _spaced(values[inner].tolist()),
        "internal_weight": _spaced(tree.cover[inner].tolist()),
        "internal_count": _spaced(tree.rows[inner].astype(np.int64).tolist()),
    }
    if sets:
        lines["cat_boundaries"] = _spaced(np.cumsum([0, *map(len, sets)]).tolist())
        lines["cat_threshold"] = _spaced(word for words in sets for word in words)
    lines |= {"is_linear": 0, "shrinkage": 1}
    return "\n".join(f"{k}={v}" for k, v in lines.items())


def _words(codes: Array) -> list[int]:
    """A set (256,) uint8 of codes as 32-bit words, as few as hold it."""
    words: list[int] = np.packbits(codes, bitorder="little").view("<u4").tolist()
    while len(words) > 1 and not words[-1]:
        words.pop()
    return words


def _spaced(values: Iterable[Any]) -> str:
    return " ".join(map(repr, values))
