"""The Block: a run of rows that every engine cuts alike, as C-contiguous arrays.

Floor 2.  NumPy and the standard library only: this is what a task on the cluster imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from mrml.arrays import CSR, Array

#: Rows that a kernel standardises at a time: 2,048 x 28 float64 is 450 kB, inside a core's L2.
CHUNK_ROWS = 2048


class Coded(NamedTuple):
    """A column of strings: ``codes`` (n_rows,) int32 into ``levels``, -1 for null.

    ``levels`` (n_levels,) is a NumPy unicode array (dtype ``U``), in order of first appearance in the block.
    """

    codes: Array
    levels: Array


class Memo(Protocol):
    """Where an engine keeps what a block can recompute; losing it never changes a result.

    ``change`` brings what is kept from an older version to the one that is wanted, in place, and is None where there is
    nothing to change, or where others may look on.
    """

    def get(self, name: str) -> tuple[int, dict[str, Array]] | None: ...

    def put(self, name: str, version: int, arrays: dict[str, Array], volatile: bool = False) -> None: ...

    def change(self, name: str, version: int, update: Update) -> dict[str, Array] | None: ...


class NoMemo:
    """Keeps nothing."""

    def get(self, name: str) -> tuple[int, dict[str, Array]] | None:
        return None

    def put(self, name: str, version: int, arrays: dict[str, Array], volatile: bool = False) -> None:
        return None

    def change(self, name: str, version: int, update: Update) -> dict[str, Array] | None:
        return None


#: Brings arrays of an older version to the one that is wanted, in place.
Update = Callable[[int, dict[str, Array]], None]
Compute = Callable[[tuple[int, dict[str, Array]] | None], dict[str, Array]]


@dataclass(frozen=True)
class Block:
    """A run of consecutive rows of one file.

    Before transforms (as a reader makes it) ``X`` holds the numeric features in the schema's order
    (or, for LibSVM, a CSR whose ``n_columns`` is the block's own largest index + 1), NaN for null,
    and ``coded`` the categorical and text features.  After them ``X`` is the design matrix,
    ``coded`` is empty and ``y`` holds class codes for a classification target.

    Attributes
    ----------
    file, index : number of the file in the Dataset, number of the block in the file.
    rows : (n_rows,) int64, ordinal of each record in the block, malformed records counted too.
    X : (n_rows, n_features) C-contiguous float32 or float64, or :class:`CSR`.
    coded : name -> :class:`Coded` (raw blocks only).
    y : None, (n_rows,) float64, or Coded for a target of labels (raw blocks only).
    weight, offset : None or (n_rows,) float64.
    group : None, (n_rows,) int64, float64 or Coded.
    id : None or (n_rows,) array of int64, uint64, float64 or unicode.
    time : None or (n_rows,) float64, what folds by time go by (raw blocks only).
    part : "train" or "valid".
    center, scale : None or (n_features,) float64: see :class:`mrml.schema.Design`.
    n_records : records seen, malformed ones included; n_bad : how many of them were malformed;
        problems : what was wrong with the first few of those.
    """

    file: int
    index: int
    rows: Array
    X: Array | CSR
    coded: Mapping[str, Coded] = field(default_factory=dict)
    y: Array | Coded | None = None
    weight: Array | None = None
    offset: Array | None = None
    group: Array | Coded | None = None
    id: Array | None = None
    part: str = "train"
    center: Array | None = None
    scale: Array | None = None
    n_records: int = 0
    n_bad: int = 0
    problems: tuple[str, ...] = ()
    store: Memo = field(default_factory=NoMemo)
    time: Array | None = None

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    @property
    def n_features(self) -> int:
        return int(self.X.shape[1])

    @property
    def row_key(self) -> Array:
        """(n_rows,) uint64: file, block and row in 20, 22 and 22 bits; what random draws are made of.

        A window of 4 MiB holds at most 2**22 rows, so keys are unique up to a million files of 16 TiB.
        """
        base = (np.uint64(self.file & 0xFFFFF) << np.uint64(44)) | (np.uint64(self.index & 0x3FFFFF) << np.uint64(22))
        key: Array = base | self.rows.astype(np.uint64)
        return key

    def memo(self, name: str, version: int, compute: Compute, volatile: bool = False) -> dict[str, Array]:
        """Arrays kept with the block; ``compute`` may start from an older version, or from None.

        A ``volatile`` memo is kept in the memory of the process alone: for what is quicker computed than written.
        """
        kept = self.store.get(name)
        if kept is not None and kept[0] == version:
            return kept[1]
        arrays = compute(kept if kept is not None and kept[0] < version else None)
        self.store.put(name, version, arrays, volatile)
        return arrays

    def standardised(
        self, rows: int = CHUNK_ROWS, scaled: bool = True, centred: bool = True
    ) -> Iterator[tuple[slice, Array]]:
        """Runs of at most ``rows`` rows as dense float64 ``(X - center) / scale``, in order.

        The array (n, n_features) is a buffer that the caller may change and the next step overwrites.  With ``scaled``
        or ``centred`` false that step is left out: a linear kernel folds it into the coefficients and saves a pass.
        """
        n = self.n_rows
        buffer = np.empty((min(rows, n), self.n_features), np.float64)
        # Copied first and widened from cache: 6.7 ns a row of 28 float32, where widening from memory takes 10.7.
        staged = np.empty(buffer.shape, self.X.dtype)
        center = None if self.center is None or not centred else np.tile(self.center, TILE)
        factor = None if self.scale is None or not scaled else np.tile(1.0 / self.scale, TILE)
        for start in range(0, n, rows):
            part = slice(start, min(start + rows, n))
            out = buffer[: part.stop - part.start]
            if isinstance(self.X, CSR):
                out[...] = self.X.rows(part.start, part.stop).toarray()
            elif self.X.dtype == np.float64:
                out[...] = self.X[part]
            else:
                staged[: len(out)] = self.X[part]
                out[...] = staged[: len(out)]
            if center is not None:
                by_tiles(np.subtract, out, center)
            if factor is not None:
                by_tiles(np.multiply, out, factor)
            yield part, out

    def with_design(self, **changes: Any) -> Block:
        """A copy with some attributes replaced."""
        return replace(self, **changes)


#: Rows of a tile: an inner loop of 64 x 28 takes 3 ns a row where NumPy's broadcast over 28 columns takes 8.
TILE = 64


def by_tiles(operation: Callable[..., Any], out: Array, tile: Array) -> None:
    """``out = operation(out, row)`` for a row repeated ``TILE`` times in ``tile``, in place."""
    if not out.size:  # rows without numbers have no tile
        return
    whole = len(out) - len(out) % TILE
    body = out[:whole].reshape(whole // TILE, tile.size)  # there may be no column
    operation(body, tile, out=body)
    if whole < len(out):
        rest = out[whole:].reshape(-1)
        operation(rest, tile[: rest.size], out=rest)
