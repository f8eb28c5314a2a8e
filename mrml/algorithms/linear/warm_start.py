"""Where a linear model begins that goes on from another one: its coefficients, by the names of the columns."""

from __future__ import annotations

import numpy as np

from mrml.algorithms.linear.model import GLMModel
from mrml.algorithms.pipeline.model import begun_from, check_same_target
from mrml.arrays import Array
from mrml.schema import Design


def starting_point(path: str, loss: str, design: Design, n_outputs: int) -> tuple[Array, Array]:
    """Coefficients (n_outputs, n_features) and intercepts (n_outputs,) of the columns as they are.

    A column that the other model does not know begins at 0.

    Raises
    ------
    ConfigError
        It is no linear model of this loss, or of other classes.
    """
    model, inner = begun_from(path, GLMModel, "linear model", "name the output of the same `mrml train ALGORITHM`")
    check_same_target(path, (inner.loss, inner.classes), (loss, design.classes))
    coef = np.zeros((n_outputs, design.n_features))
    known = {name: j for j, name in enumerate(model.fitted.names)}
    if design.names and known:
        pairs = [(j, known[name]) for j, name in enumerate(design.names) if name in known]
    else:  # of LibSVM data columns are their indices
        pairs = [(j, j) for j in range(min(design.n_features, inner.coef.shape[1]))]
    mine, other = (np.array(side, np.int64) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
    coef[:, mine] = inner.coef[:, other]
    return coef, inner.intercept.copy()
