"""Where k-means begins that goes on from another model: its centres, by the names of the columns."""

from __future__ import annotations

import numpy as np

from mrml.algorithms.clustering.model import KMeansModel
from mrml.algorithms.pipeline.model import INIT_MODEL, begun_from
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.schema import Design


def starting_point(path: str, k: int, design: Design, standardise: bool) -> Array:
    """(k, n_features) centres in the coordinates of a run: standardised by its own columns where it standardises.

    Raises
    ------
    ConfigError
        It is no model of k-means, has another k, or other columns.
    """
    model, inner = begun_from(path, KMeansModel, "model of k-means", "name the output of `mrml train kmeans`")
    if len(inner.centres) != k:
        raise ConfigError(INIT_MODEL, f"{path} has {len(inner.centres)} centres, and this run {k}", "say the same --k")
    centres = inner.centres
    if inner.scale is not None and inner.center is not None:
        centres = centres * inner.scale + inner.center
    names = list(model.fitted.names)
    if design.names and set(design.names) != set(names):
        finding = f"{path} has other columns: {', '.join(sorted(set(names) ^ set(design.names))[:3])}"
        raise ConfigError(INIT_MODEL, finding, "begin without one")
    if design.names:
        centres = centres[:, [names.index(name) for name in design.names]]
    if centres.shape[1] != design.n_features:
        raise ConfigError(INIT_MODEL, f"{path} has {centres.shape[1]} columns, and the data {design.n_features}")
    if standardise and design.scale is not None and design.center is not None:
        centres = (centres - np.array(design.center)) / np.array(design.scale)
    return np.ascontiguousarray(centres, np.float64)
