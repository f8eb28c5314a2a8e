"""What a format reader makes of a run of bytes (or of a slice of a Parquet row group).

Floor 2.  Every text reader has the same shape: ``parse(data, ..., wanted, format) -> Records``; who calls it knows
the file, so a :class:`Problem` holds only the offset within the bytes given.
"""

from __future__ import annotations

from typing import NamedTuple

from mrml.arrays import CSR, Array
from mrml.data.block import Coded

#: How many problems a run of records describes; all of them are counted.
MAX_PROBLEMS = 10


class Problem(NamedTuple):
    """One malformed record.

    ``offset`` is that of the record's first byte within the bytes given (0 for Parquet); ``column`` is empty when
    the whole record is at fault; ``finding`` and ``remedy`` are worded as in :mod:`mrml.errors`.
    """

    offset: int
    column: str
    finding: str
    remedy: str


class Records(NamedTuple):
    """The wanted columns of the well-formed records.

    n_records : all records, malformed ones included; empty lines are not records.
    rows : (n_kept,) int64, ordinals of the kept records among all records.
    columns : name -> (n_kept,) array of the column's storage dtype, NaN for null; :class:`Coded` for categorical
        and text columns; what :func:`mrml.data.formats.columns.to_id` makes of it for the id column.
    sparse : the features of LibSVM records; ``n_columns`` is this run's own largest index + 1.
    n_bad : malformed records; problems : what was wrong with the first :data:`MAX_PROBLEMS`.
    """

    n_records: int
    rows: Array
    columns: dict[str, Array | Coded]
    sparse: CSR | None
    n_bad: int
    problems: tuple[Problem, ...]
