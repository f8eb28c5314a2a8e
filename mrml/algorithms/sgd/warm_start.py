"""Where a network begins that goes on from another one: its parameters, by the names of columns and of levels.

Every column of numbers was ``(value - center) / scale`` of other rows for the other network, so what reads it is turned
into what reads ``a x + d`` of this run's.  What the other one did not know changes nothing at first: a new column is
read by weights of 0, and a new level is what a level never seen was.  So the first State predicts as the other network
does, but for the rounding of float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mrml.algorithms.pipeline.model import INIT_MODEL, PipelineModel, begun_from, check_same_target
from mrml.algorithms.sgd.model import NetModel
from mrml.algorithms.sgd.module_net import ModuleNet
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.net.describe import Net
from mrml.schema import Design

#: what two networks have in common beside their inputs, and the option that says it
_SHAPE = {"hidden": "--hidden", "activation": "--activation", "norm": "--norm", "wide": "--wide",
          "factors": "--factors", "n_outputs": "--loss", "sparse_dim": "--embedding"}  # fmt: skip


class Side(NamedTuple):
    """A network, and the columns that it reads."""

    net: Net
    design: Design


class _Columns(NamedTuple):
    """Of each of this run's columns the other's, -1 for none; ``a`` and ``d``: the other's value is ``a x + d``."""

    source: Array
    a: Array
    d: Array

    def of(self, weights: Array) -> Array:
        """The other's rows of weights in this run's order and units, 0 for columns that it has not."""
        return self.as_they_were(weights) * self.a[:, None]

    def as_they_were(self, weights: Array) -> Array:
        found = weights[self.source] if len(weights) else np.zeros((len(self.source), weights.shape[1]))
        return np.where(self.source[:, None] >= 0, found, 0.0)


def other_of(path: str, kind: type[Net] | type[ModuleNet] = Net) -> tuple[PipelineModel, NetModel]:
    """The model to go on from; ConfigError where it is no network of this kind."""
    remedy = "name the output of the same `mrml train ALGORITHM`"
    model, inner = begun_from(path, NetModel, "network", remedy)
    if not isinstance(inner.net, kind):
        raise ConfigError(INIT_MODEL, f"{path} is another kind of network", remedy)
    return model, inner


def starting_point(
    path: str, other: tuple[PipelineModel, NetModel], objective: str, mine: Side, fresh: Array
) -> tuple[Array, Array]:
    """Parameters (n_params,) float32 and buffers (n_buffers,) float64.

    Parameters
    ----------
    fresh : (n_params,) where the run would begin without: of it are the embeddings of columns that are new.

    Raises
    ------
    ConfigError
        The other network has another shape, loss or classes, or hashes or embeds a column otherwise.
    """
    model, inner = other
    check_same_target(path, (inner.objective, inner.classes), (objective, mine.design.classes))
    for name, option in _SHAPE.items():
        was, here = getattr(inner.net, name), getattr(mine.net, name)
        if was != here:
            said = ",".join(map(str, was)) if isinstance(was, tuple) else str(was).lower()
            raise ConfigError(INIT_MODEL, f"{path} has {name} {said}, and this run {here}", f"say {option} {said}")
    _check_tables(path, Side(inner.net, model.fitted.design), mine)
    return carried(inner.params, inner.buffers, Side(inner.net, model.fitted.design), mine, fresh)


def same_module(path: str, other: tuple[PipelineModel, NetModel], objective: str, net: ModuleNet,
                design: Design) -> tuple[Array, Array]:  # fmt: skip
    """Parameters and buffers of a module of the user's own, as they are: which of them read a column only it knows."""
    model, inner = other
    check_same_target(path, (inner.objective, inner.classes), (objective, design.classes))
    was = model.fitted.design
    if (was.names, was.tables, _levels(was)) != (design.names, design.tables, _levels(design)):
        raise ConfigError(INIT_MODEL, f"{path} has other columns or levels, which a module cannot tell apart")
    before = (getattr(inner.net, "shapes", ()), getattr(inner.net, "buffers", ()))
    if before != (net.shapes, net.buffers):
        raise ConfigError(INIT_MODEL, f"{path} has parameters of other names or shapes", "name the same --module")
    return inner.params.copy(), inner.buffers.copy()


def carried(params: Array, buffers: Array, other: Side, mine: Side, fresh: Array) -> tuple[Array, Array]:
    """The parameters and running moments of another network of the same shape, for this run's columns."""
    old = {name: view.astype(np.float64) for name, view in other.net.views(params).items()}
    new = {name: view.astype(np.float64) for name, view in mine.net.views(fresh).items()}
    numbers = _columns(other, mine)
    tables = [t for t, _ in other.design.tables]
    codes = [_codes(other.design, mine.design, k) for k in range(len(mine.net.tables))]
    levels = np.concatenate([np.empty(0, np.int64), *(
        np.where(of >= 0, of + other.net.first_level[tables.index(name)], -1) if name in tables else of
        for of, (name, _) in zip(codes, mine.design.tables, strict=True))])  # fmt: skip
    one_hot = _Columns(levels, np.ones(len(levels)), np.zeros(len(levels)))
    shift = np.zeros(0)
    for name in new:
        if name.startswith("table."):
            k = int(name[6:])
            if mine.design.tables[k][0] in tables:
                new[name] = old[f"table.{tables.index(mine.design.tables[k][0])}"][codes[k]]
        elif name == "hidden.0.weight":
            new[name] = _first_layer(old[name], numbers, other, mine)
            if mine.net.n_numeric:
                shift = numbers.d @ numbers.as_they_were(old[name][: other.net.n_numeric])
        elif name.endswith(".levels"):
            new[name] = one_hot.of(old[name]) if name in old else np.zeros_like(new[name])
        elif name.endswith((".numeric", ".sparse", "bag")):
            new[name] = numbers.of(old[name]) if name in old else np.zeros_like(new[name])
        else:
            new[name] = old[name]
    _shift_wide(old, new, numbers, one_hot)
    buffers = buffers.copy()
    if len(shift):
        _shift_hidden(new, shift, mine.net, buffers)
    out = np.empty(mine.net.n_params, np.float32)
    for slot in mine.net.slots:
        slot.view(out)[...] = new[slot.name]
    return out, buffers


def _first_layer(weights: Array, numbers: _Columns, other: Side, mine: Side) -> Array:
    """What reads the numbers, then the embeddings of each column, then the bag."""

    def parts(side: Side) -> dict[str, Array]:
        ends = np.cumsum([side.net.n_numeric, *(width for _, width in side.net.tables)])
        spans = zip(side.design.tables, ends[:-1], ends[1:], strict=True)
        return {name: np.arange(a, b) for (name, _), a, b in spans}

    was = parts(other)
    rows = [numbers.of(weights[: other.net.n_numeric])] if mine.net.n_numeric else []
    for name, at in parts(mine).items():
        rows.append(weights[was[name]] if name in was else np.zeros((len(at), weights.shape[1])))
    bag = mine.net.n_inputs - sum(map(len, rows))
    return np.concatenate([*rows, weights[len(weights) - bag :]])


def _shift_hidden(new: dict[str, Array], shift: Array, net: Net, buffers: Array) -> None:
    """``shift`` (hidden[0],) is what the first layer gave beside its bias; before batch norm, in its running mean."""
    if "hidden.0.bias" in new:
        new["hidden.0.bias"] = new["hidden.0.bias"] + shift
    else:
        first, second = net.moments(buffers)[0]
        second += shift * shift - 2.0 * shift * first
        first -= shift


def _shift_wide(old: dict[str, Array], new: dict[str, Array], numbers: _Columns, one_hot: _Columns) -> None:
    """What the wide part and the products of pairs give for ``d``, in the bias and in the weights of the wide part."""
    bias = new["output.bias"].copy()
    if "wide.numeric" in old:
        bias += numbers.d @ numbers.as_they_were(old["wide.numeric"])
    if "factors.numeric" in old and "factors.numeric" in new:
        factors = numbers.as_they_were(old["factors.numeric"])
        part = numbers.d[:, None] * factors
        total = part.sum(axis=0)
        bias += 0.5 * (total @ total - (part * part).sum())
        pairs = ((total - part) * factors).sum(axis=1)
        new["wide.numeric"] = new["wide.numeric"] + (numbers.a * pairs)[:, None]
        if "wide.levels" in new:
            of_levels = one_hot.of(old["factors.levels"]) if "factors.levels" in old else np.zeros((1, len(total)))
            new["wide.levels"] = new["wide.levels"] + (of_levels @ total)[:, None]
    new["output.bias"] = bias


def _columns(other: Side, mine: Side) -> _Columns:
    """Numbers by the names of their columns; those of LibSVM by their index, which are divided and not centred."""
    n, n_other = (side.net.n_numeric or side.net.n_sparse for side in (mine, other))
    at = np.arange(n)
    source = np.where(at < n_other, at, -1)
    if mine.design.names and other.design.names:
        known = {name: i for i, name in enumerate(other.design.names)}
        source = np.array([known.get(name, -1) for name in mine.design.names], np.int64)
    if bool(mine.net.n_sparse) != bool(other.net.n_sparse):
        source = np.full(n, -1)
    if (source < 0).all():
        return _Columns(source, np.ones(n), np.zeros(n))
    (scale, center), (was, before) = (_affine(side.design, size) for side, size in ((mine, n), (other, n_other)))
    a = np.where(source >= 0, scale / was[source], 1.0)
    return _Columns(source, a, np.where(source >= 0, (center - before[source]) / was[source], 0.0))


def _affine(design: Design, n: int) -> tuple[Array, Array]:
    """scale and center (n,) of what a network reads of its columns."""
    center = None if design.sparse else design.center
    return np.array(design.scale or np.ones(n), np.float64), np.array(center or np.zeros(n), np.float64)


def _levels(design: Design) -> dict[str, tuple[str, ...]]:
    """Names of the codes by column; hashed columns, which come last, have none."""
    return dict(zip((name for name, _ in design.tables), design.levels, strict=False))


def _codes(other: Design, mine: Design, k: int) -> Array:
    """(n_codes,) the other's code for each of a column's; for a level that it does not know its "other"."""
    name, n = mine.tables[k]
    was, here = _levels(other).get(name), _levels(mine).get(name)
    if name not in dict(other.tables):
        return np.full(n, -1)
    if was is None or here is None:
        return np.arange(n)
    known = {level: i for i, level in enumerate(was)}
    return np.array([known.get(level, len(was) - 1) for level in here], np.int64)


def _check_tables(path: str, other: Side, mine: Side) -> None:
    """ConfigError where a column is hashed on one side alone, into other buckets, or embedded in another width."""
    known = {name: size for (name, _), size in zip(other.design.tables, other.net.tables, strict=True)}
    for (name, n), (_, width) in zip(mine.design.tables, mine.net.tables, strict=True):
        if name not in known:
            continue
        hashed = [name not in _levels(side.design) for side in (other, mine)]
        if hashed[0] != hashed[1] or (hashed[0] and known[name][0] != n):
            raise ConfigError(INIT_MODEL, f"{path} reads the column {name!r} hashed otherwise", "say the same --hash")
        if known[name][1] != width:
            finding = f"{path} embeds the column {name!r} in {known[name][1]} numbers, and this run in {width}"
            raise ConfigError(INIT_MODEL, finding, "leave out --embedding")
