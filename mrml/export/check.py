"""An export is loaded by the library it is for, and scores the probe as the model does; or it is refused.

Compared are, for every row, the leaf of every tree, the raw prediction, and the prediction.  XGBoost adds leaves in
float32, in which its sums drift from ours by about 1.3e-6 at 100 trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrml.arrays import Array
from mrml.errors import MrmlError
from mrml.export.ensemble import Ensemble
from mrml.export.stock import Scores

#: largest differences: of raw predictions, relative where they are above 1; of probabilities
RAW, PROBABILITY = 1e-5, 1e-6
REMEDY = "nothing was written; please report it with the version of the library"


class Checked(NamedTuple):
    """What was compared, and the largest differences."""

    library: str
    version: str
    n_rows: int
    raw: float
    predicted: float


class ExportDiffers(MrmlError):
    """A library reads a file of ours as another model than it is."""


def compare(name: str, ensemble: Ensemble, x: Array, ours: Array, theirs: Scores) -> Checked:
    """Refuse what differs.

    Parameters
    ----------
    x : (n_rows, n_features) float32, what was scored.
    ours : the model's own predictions: means, or probabilities of the classes, in the library's shape.
    theirs : what the library says; its leaves are numbers of nodes.
    """
    raw = ensemble.forest.raw_prediction(x, ensemble.base).T
    leaves, version = ensemble.leaves(x), theirs.version
    if theirs.leaves.shape != leaves.shape or theirs.raw.shape != raw.shape:
        finding = f"{theirs.leaves.shape[1]} trees and {theirs.raw.shape[1]} outputs instead of {leaves.shape[1]} and"
        _refuse(name, version, f"{finding} {raw.shape[1]}")
    if (theirs.leaves != leaves).any():
        row, tree = (int(k[0]) for k in np.nonzero(theirs.leaves != leaves))
        finding = f"row {row} of the probe ends in node {theirs.leaves[row, tree]} of tree {tree}"
        _refuse(name, version, f"{finding} instead of {leaves[row, tree]}")
    off = np.abs(theirs.raw - raw) / np.maximum(1.0, np.maximum(np.abs(raw), _drift(ensemble, leaves)))
    _within(name, version, "raw prediction", off, RAW, theirs.raw, raw)
    if theirs.predicted.shape != ours.shape:
        _refuse(name, version, f"predictions of shape {theirs.predicted.shape} instead of {ours.shape}")
    apart = np.abs(theirs.predicted - ours)
    if not ensemble.classes:
        apart /= np.maximum(1.0, np.maximum(np.abs(ours), _drift(ensemble, leaves)[:, 0]))
    _within(name, version, "prediction", apart, PROBABILITY if ensemble.classes else RAW, theirs.predicted, ours)
    return Checked(name, version, len(x), float(off.max(initial=0.0)), float(apart.max(initial=0.0)))


def same_names(name: str, theirs: Scores, named: Sequence[str]) -> None:
    """Refuse a file of which the library reads other names of features than those in it."""
    for ours, found in zip(named, theirs.names, strict=False):
        if ours != found:
            _refuse(name, theirs.version, f"feature {ours!r} is {found!r} there")
    if len(named) != len(theirs.names):
        _refuse(name, theirs.version, f"{len(theirs.names)} names of features instead of {len(named)}")


def _drift(ensemble: Ensemble, leaves: Array) -> Array:
    """(n_rows, n_outputs) float64: the largest partial sum of each row, which float32 additions are as exact as."""
    n = ensemble.n_outputs
    sums = np.repeat(ensemble.base[None, :], len(leaves), axis=0)
    largest = np.abs(sums)
    for k, tree in enumerate(ensemble.trees()):
        sums[:, k % n] += tree.value[leaves[:, k]]
        np.maximum(largest, np.abs(sums), out=largest)
    return np.asarray(largest)


def _within(name: str, version: str, what: str, off: Array, limit: float, theirs: Array, ours: Array) -> None:
    if (off <= limit).all():
        return
    row = int(np.flatnonzero(~(off <= limit).reshape(len(off), -1).all(axis=1))[0])
    finding = f"{what} of row {row} of the probe is {theirs[row]} and not {ours[row]}"
    _refuse(name, version, finding)


def _refuse(name: str, version: str, finding: str) -> None:
    raise ExportDiffers(f"{name} {version}", f"reads the export as another model: {finding}", REMEDY)
