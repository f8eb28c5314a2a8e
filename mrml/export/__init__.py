"""Boosted trees in the formats of XGBoost and LightGBM, each export checked in the library it is for.

Floor 2: an :class:`Ensemble` goes in, bytes come out; where they lie is the caller's business.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError, nearest
from mrml.export import check, lightgbm, stock, xgboost
from mrml.export.check import Checked, ExportDiffers
from mrml.export.ensemble import Ensemble
from mrml.export.probe import made_rows

__all__ = ["FORMATS", "Checked", "Ensemble", "ExportDiffers", "checked", "encoded", "made_rows"]


#: what a format is called -> what `pip install` calls its library
FORMATS = {"xgboost": "xgboost-cpu", "lightgbm": "lightgbm"}


def encoded(ensemble: Ensemble, to: str, file_name: str) -> bytes:
    """The bytes of the file; XGBoost's are UBJSON where its name ends in .ubj, else JSON."""
    if to not in FORMATS:
        raise ConfigError("export, to", f"{to!r} is unknown", nearest(to, FORMATS))
    if to == "lightgbm":
        return lightgbm.to_text(ensemble)
    return xgboost.to_ubj(ensemble) if file_name.endswith(".ubj") else xgboost.to_json(ensemble)


def checked(content: bytes, to: str, ensemble: Ensemble, x: Array, ours: Array) -> Checked | str:
    """What a comparison in the library itself found, or why there was none; ExportDiffers where it reads otherwise.

    Parameters
    ----------
    x : (n_rows, n_features) float32; ours : what the model predicts of it, in the library's shape.
    """
    if importlib.util.find_spec(to) is None:
        return f"{to} is not installed"
    finite = np.clip(x, -np.finfo(np.float32).max, np.finfo(np.float32).max)  # libraries refuse infinities
    try:
        theirs = stock.scores(to, content, finite)
    except stock.Unreadable as error:
        raise ExportDiffers(to, f"does not read the export: {error}", check.REMEDY) from error
    if isinstance(theirs, str):
        return theirs
    if to == "lightgbm" and theirs.leaves.shape[1] == ensemble.n_trees:
        theirs = theirs._replace(leaves=lightgbm.nodes_of(ensemble, theirs.leaves))
    named = {"xgboost": xgboost, "lightgbm": lightgbm}[to].names_of(ensemble)
    check.same_names(to, theirs, named)
    return check.compare(to, ensemble, finite, ours, theirs)
