"""XGBoost's model file, as JSON or UBJSON: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html

What was found of versions 2.1.4 and 3.2.0, by reading what they write and loading what is written here:

- ``base_score`` is in the space of predictions and not of raw ones: a probability for ``binary:logistic``, a mean for
  objectives with a log link, the raw prediction itself for the others.  From 3.1 on a vector, ``[a,b,c]``, is allowed,
  and of ``multi:softprob`` it holds raw predictions; 2.1 refuses it.  So one number is written, which all versions
  read, and what it cannot hold goes into the leaves of the first iteration: the bases of several outputs, and
  what float32 loses of a probability near 1.
- The set of a categorical split holds the codes that go right; ours those that go left.
- A code that the set's last word does not reach goes left, so that a code nobody knows must come as missing.
- From 3.1 on ``cats`` holds the texts of the categories: those of a data frame are looked up there, in whatever
  order the frame has them; one that is not there is an error or, unless it sorts last, taken for another one.  Without
  it, and in 2.1 always, the frame's own codes count.  Rare levels, which share a code of ours, get codes of their own.
  XGBoost 3.2 cuts texts beyond ASCII by characters and not by bytes, in frames too, so that nothing can be written
  that it looks up rightly: then ``cats`` stays empty.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.export.ensemble import Ensemble, Tree, plain_names

VERSION = [2, 1, 4]
#: characters that XGBoost refuses in names of features
FORBIDDEN = "[]<"
#: our objective -> its name, the key and the values of its parameters
OBJECTIVES: dict[str, tuple[str, str, dict[str, str]]] = {
    "squared": ("reg:squarederror", "reg_loss_param", {"scale_pos_weight": "1"}),
    "logistic": ("binary:logistic", "reg_loss_param", {"scale_pos_weight": "1"}),
    "softmax": ("multi:softprob", "softmax_multiclass_param", {"num_class": "{n_outputs}"}),
    "poisson": ("count:poisson", "poisson_regression_param", {"max_delta_step": "0.7"}),
    "gamma": ("reg:gamma", "reg_loss_param", {"scale_pos_weight": "1"}),
    "tweedie": ("reg:tweedie", "tweedie_regression_param", {"tweedie_variance_power": "{tweedie_variance_power}"}),
    "lambdarank": ("rank:ndcg", "lambdarank_param", {}),
}
#: without an inverse link; XGBoost's own of the kind begin in another place, and only predictions count here
PLAIN = ("squared", "absolute", "huber", "quantile", "lambdarank", "custom")
LOG_LINK = ("poisson", "gamma", "tweedie")


def document(ensemble: Ensemble) -> dict[str, Any]:
    """The model as XGBoost's tree of objects; arrays are NumPy's."""
    shift, base = _base(ensemble)
    names = names_of(ensemble)
    types = ["float"] * ensemble.n_numeric + ["c"] * len(ensemble.levels)
    categories = [[*texts, *rare] for texts, rare in zip(ensemble.levels, _rare(ensemble), strict=True)]
    n_codes = np.array([0] * ensemble.n_numeric + [len(texts) for texts in categories])
    n_levels = np.array([0] * ensemble.n_numeric + [len(texts) for texts in ensemble.levels])
    trees = [_tree(t, k, (n_levels, n_codes), shift) for k, t in enumerate(ensemble.trees())]
    n = ensemble.n_outputs
    model = {
        "cats": _categories([] if beyond_ascii(ensemble) else categories, ensemble.n_numeric),
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": list(range(0, len(trees) + 1, n)),
        "tree_info": [k % n for k in range(len(trees))],
        "trees": trees,
    }
    learner = {
        "attributes": _attributes(ensemble),
        "feature_names": names,
        "feature_types": types if names else [],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {
            "base_score": base,
            "boost_from_average": "1",
            "num_class": str(n if n > 1 else 0),
            "num_feature": str(len(ensemble.names)),
            "num_target": "1",
        },
        "objective": _objective(ensemble),
    }
    return {"learner": learner, "version": VERSION}


def names_of(ensemble: Ensemble) -> list[str]:
    """The names of the features in the file; none where the columns have none."""
    return plain_names(ensemble.names, FORBIDDEN) if ensemble.named else []


def to_json(ensemble: Ensemble) -> bytes:
    """The file as JSON; floats are the shortest texts that read as the same float32.

    As UTF-8: XGBoost reads the escapes of JSON as they stand.
    """
    found = document(ensemble)
    return json.dumps(found, default=_listed, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def to_ubj(ensemble: Ensemble) -> bytes:
    """The file as UBJSON (https://ubjson.org), arrays of numbers typed as XGBoost types them."""
    return b"".join(_ubj(document(ensemble)))


def _objective(ensemble: Ensemble) -> dict[str, Any]:
    name = "custom" if ":" in ensemble.objective else ensemble.objective  # a function of the user's own
    if name not in OBJECTIVES and name not in PLAIN:
        finding = f"has no objective like {name!r}"
        raise ConfigError("xgboost", finding, "export models of: " + ", ".join(sorted({*OBJECTIVES, *PLAIN})))
    theirs, key, params = OBJECTIVES.get(name, OBJECTIVES["squared"])
    known = {"n_outputs": ensemble.n_outputs, "tweedie_variance_power": 1.5, **ensemble.params}
    return {"name": theirs, key: {k: v.format(**known) for k, v in params.items()}}


def _attributes(ensemble: Ensemble) -> dict[str, str]:
    """What a user of the file needs to know, as texts: ``Booster.attr`` reads them."""
    out = {}
    if ensemble.classes:
        out["mrml.classes"] = json.dumps(ensemble.classes, ensure_ascii=False)
    if ensemble.levels:
        columns = ensemble.names[ensemble.n_numeric :]
        out["mrml.levels"] = json.dumps(dict(zip(columns, ensemble.levels, strict=True)), ensure_ascii=False)
    return out


def _base(ensemble: Ensemble) -> tuple[Array, str]:
    """(n_outputs,) float64 that the leaves of the first trees take on, and the text of ``base_score``."""
    base = ensemble.base
    if len(base) > 1:
        return base, "0E0"
    raw = float(base[0])
    if ensemble.objective == "logistic":
        # XGBoost's own -log(1 / p - 1) is float32: 1e-4 off at p = 0.9999
        told = np.float32(1.0 / (1.0 + math.exp(-raw))) if -12 < raw < 2 else np.float32(0.5)
        kept = -float(np.log(np.float32(1.0) / told - np.float32(1.0)))
    elif ensemble.objective in LOG_LINK:
        told = np.float32(math.exp(raw)) if abs(raw) < 80 else np.float32(1.0)
        kept = math.log(float(told))
    else:
        told = np.float32(raw)
        kept = float(told)
    rest = raw - kept
    # below that float32 sums lose more
    return np.array([rest if abs(rest) > 1e-7 * max(1.0, abs(raw)) else 0.0]), str(told).upper()


def _rare(ensemble: Ensemble) -> list[tuple[str, ...]]:
    """Of each categorical feature the texts of the codes after its levels; one without a text where none is known."""
    known = ensemble.rare or ((),) * len(ensemble.levels)
    return [texts or ("other",) if other else () for texts, other in zip(known, ensemble.other, strict=True)]


def beyond_ascii(ensemble: Ensemble) -> str:
    """The first column with a level that XGBoost's frames garble; empty where there is none."""
    columns = zip(ensemble.names[ensemble.n_numeric :], ensemble.levels, _rare(ensemble), strict=True)
    return next((name for name, *texts in columns if not all(t.isascii() for ts in texts for t in ts)), "")


def _categories(categories: list[list[str]], n_numeric: int) -> dict[str, Any]:
    """The container of categories: texts by code, and of each feature its codes in the order of the texts."""
    nothing = {"offsets": np.empty(0, np.int32), "values": np.empty(0, np.int8)}
    if not categories:
        return {"enc": [], "feature_segments": np.empty(0, np.int32), "sorted_idx": np.empty(0, np.int32)}
    enc = [{"offsets": np.cumsum([0, *map(len, texts)]).astype(np.int32),
            "values": np.frombuffer("".join(texts).encode(), np.int8)} for texts in categories]  # fmt: skip
    order = [sorted(range(len(texts)), key=texts.__getitem__) for texts in categories]
    segments = np.cumsum([0] * (n_numeric + 1) + [len(texts) for texts in categories])
    return {
        "enc": [*([nothing] * n_numeric), *enc],
        "feature_segments": segments.astype(np.int32),
        "sorted_idx": np.concatenate(order).astype(np.int32),
    }


def _tree(tree: Tree, number: int, codes: tuple[Array, Array], shift: Array) -> dict[str, Any]:
    n_levels, n_codes = codes
    n, leaf, chosen = len(tree.feature), tree.leaf, tree.categorical
    values = tree.means + (shift[number] if number < len(shift) else 0.0)
    parents = np.full(n, 2147483647, np.int32)
    inner = np.flatnonzero(~leaf)
    parents[tree.left[inner]] = parents[tree.left[inner] + 1] = inner
    condition = np.where(leaf, values, np.where(chosen, 0.0, tree.threshold)).astype(np.float32)
    nodes = np.flatnonzero(chosen)
    # a code more than there are: XGBoost reads no empty set
    sets = [_goes_right(tree.sets[k], n_levels[tree.feature[k]], n_codes[tree.feature[k]]) for k in nodes.tolist()]
    sizes = np.array([len(s) for s in sets], np.int64)
    return {
        "base_weights": values.astype(np.float32),
        "categories": np.concatenate([np.empty(0, np.int32), *sets]).astype(np.int32),
        "categories_nodes": nodes.astype(np.int32),
        "categories_segments": np.cumsum(sizes) - sizes,
        "categories_sizes": sizes,
        "default_left": np.where(leaf, 0, tree.missing_left).astype(np.uint8),
        "id": number,
        "left_children": np.where(leaf, -1, tree.left).astype(np.int32),
        "loss_changes": np.where(leaf, 0.0, tree.gain).astype(np.float32),
        "parents": parents,
        "right_children": np.where(leaf, -1, tree.left + 1).astype(np.int32),
        "split_conditions": condition,
        "split_indices": np.where(leaf, 0, tree.feature).astype(np.int32),
        "split_type": chosen.astype(np.uint8),
        "sum_hessian": tree.cover.astype(np.float32),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(len(n_codes)),
            "num_nodes": str(n),
            "size_leaf_vector": "1",
        },
    }


def _goes_right(members: Array, n_levels: int, n_codes: int) -> Array:
    """The codes that go right: those of the rare levels as their one code here, and one more than there are."""
    ours = np.arange(n_codes + 1)
    ours[n_levels:n_codes] = n_levels
    ours[n_codes] = n_levels + (n_codes > n_levels)
    return np.flatnonzero(members[ours] == 0)


def _listed(value: Any) -> Any:
    """Arrays as lists for JSON."""
    if value.dtype == np.float32:
        return [float(str(v)) for v in value]
    return value.tolist()


_UBJ_TYPES = {"float32": b"d", "int32": b"l", "int64": b"L", "uint8": b"U", "int8": b"i"}


def _ubj(value: Any) -> list[bytes]:
    """The pieces of a value; numbers are big-endian."""
    if isinstance(value, dict):
        inner = [piece for k, v in value.items() for piece in (_ubj_text(k), *_ubj(v))]
        return [b"{", *inner, b"}"]
    if isinstance(value, np.ndarray):
        kind = _UBJ_TYPES[str(value.dtype)]
        return [b"[$", kind, b"#", _ubj_size(len(value)), value.astype(value.dtype.newbyteorder(">")).tobytes()]
    if isinstance(value, list):
        return [b"[#", _ubj_size(len(value)), *(piece for item in value for piece in _ubj(item))]
    if isinstance(value, str):
        return [b"S", _ubj_text(value)]
    return [_ubj_size(value)]


def _ubj_size(value: int) -> bytes:
    return b"L" + struct.pack(">q", value)


def _ubj_text(text: str) -> bytes:
    raw = text.encode()
    return _ubj_size(len(raw)) + raw
