"""The transforms of a model as a step of a scikit-learn Pipeline, which takes the raw data frame.

The step is a FunctionTransformer of :func:`design_of`, so that who unpickles it needs mrml; its numbers are those that
the model itself computes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from mrml.algorithms.pipeline.fitted import Fitted
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.data.formats.columns import to_column
from mrml.errors import InputError
from mrml.schema import Column, Schema


def pipeline_of(fitted: Fitted, lazy: bool, estimator: Any) -> Any:
    """A Pipeline of the transforms and a fitted estimator."""
    parts = {"schema": fitted.schema.to_json(), "header": fitted.header(), "arrays": fitted.arrays(), "lazy": lazy}
    transformer = importlib.import_module("sklearn.preprocessing").FunctionTransformer
    step = transformer(design_of, kw_args={"parts": parts}).fit(None)
    return importlib.import_module("sklearn.pipeline").Pipeline([("columns", step), ("model", estimator)])


def design_of(frame: Any, parts: Mapping[str, Any]) -> Any:
    """The design matrix (n_rows, n_features) of a data frame that has the features by name; sparse where it is.

    InputError naming a column that is missing, or a value that is none of its type.
    """
    fitted = Fitted.from_parts(Schema.from_json(parts["schema"]), parts["header"], parts["arrays"])
    schema = fitted.schema
    values = {c.name: _values(frame, c, schema.format.na) for kind in ("numeric", "categorical", "text")
              for c in schema.features(kind)}  # fmt: skip
    numbers = [v for v in values.values() if not isinstance(v, Coded)]
    x = np.stack(numbers, axis=1) if numbers else np.zeros((len(frame), 0))
    coded = {name: v for name, v in values.items() if isinstance(v, Coded)}
    block = Block(0, 0, np.arange(len(frame)), np.ascontiguousarray(x, schema.numeric_dtype), coded)
    out = fitted.prediction_block(block, parts["lazy"]).X
    if not isinstance(out, CSR):
        return out
    return importlib.import_module("scipy.sparse").csr_matrix((out.data, out.indices, out.indptr), out.shape)


def _values(frame: Any, column: Column, na: tuple[str, ...]) -> Array | Coded:
    if column.name not in frame:
        raise InputError(f"column {column.name!r}", "is not in the data frame", "give the columns by their names")
    return to_column(pa.array(frame[column.name], from_pandas=True), column, na)
