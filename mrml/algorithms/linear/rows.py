"""The rows of a linear model's blocks: which are refused, and what each weighs."""

from __future__ import annotations

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import InputError

#: targets whose squares, of some 10^7 rows together, are numbers
MOST_TARGET = 1e150


def place(block: Block) -> str:
    """Where a block lies, in words."""
    return f"file {block.file}, block {block.index}"


def refuse(block: Block, bad: Array, finding: str, remedy: str) -> None:
    """InputError naming the first row where ``bad`` (n_rows,) is true."""
    if bad.any():
        row = int(block.rows[int(np.argmax(bad))])
        raise InputError(f"{place(block)}, row {row}", finding, remedy)


def check_weights(block: Block) -> None:
    """InputError for a weight that is none."""
    if block.weight is not None:
        bad = ~((block.weight >= 0) & (block.weight < np.inf))
        refuse(block, bad, "its weight is negative or not a number", "drop or repair these rows")


def check_numbers(block: Block, y: Array) -> None:
    """InputError for a target that is none, or whose square is none."""
    refuse(block, ~np.isfinite(y), "its target is not a finite number", "drop or repair these rows")
    bad = np.abs(y) > MOST_TARGET
    if bad.any():
        finding = f"its target is {y[int(np.argmax(bad))]:g}, the square of which is beyond float64"
        refuse(block, bad, finding, "scale the target, or drop these rows")


def weights(block: Block, y: Array, class_weight: Array | None) -> Array | None:
    """(n_rows,) the rows' own weights times their classes'; None where all are 1."""
    if class_weight is None:
        return block.weight
    own: Array = class_weight[y.astype(np.intp)]
    return own if block.weight is None else own * block.weight


def check_finite(block: Block, round_: int) -> None:
    """A loss that is not a number has its reason in the rows, or else in coefficients that a search will shorten."""
    values = block.X.data if isinstance(block.X, CSR) else block.X
    if not (np.isfinite(values).all() and (block.offset is None or np.isfinite(block.offset).all())):
        finding = f"round {round_ + 1} met a feature or an offset that is not a finite number"
        raise InputError(place(block), finding, "impute or drop missing values")
