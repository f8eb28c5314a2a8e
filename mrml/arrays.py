"""The arrays that travel everywhere: dense ones by their NumPy type, and compressed sparse rows.

NumPy and the standard library only: this is what a task on the cluster imports.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


class CSR(NamedTuple):
    """Compressed sparse rows.

    ``indptr`` (n_rows + 1,) int64; ``indices`` (nnz,) int32, ascending inside a row; ``data`` (nnz,)
    float32 or float64; ``n_columns`` int; ``fill`` is what absent entries are, for who tells them from zeros.
    """

    indptr: Array
    indices: Array
    data: Array
    n_columns: int
    fill: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.n_columns

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def rows(self, start: int, stop: int) -> CSR:
        """Rows start to stop, sharing the arrays."""
        lo, hi = int(self.indptr[start]), int(self.indptr[stop])
        return CSR(self.indptr[start : stop + 1] - lo, self.indices[lo:hi], self.data[lo:hi], self.n_columns, self.fill)

    def take(self, keep: Array) -> CSR:
        """The rows where the boolean array (n_rows,) is true."""
        lengths = np.diff(self.indptr)
        entries = np.repeat(keep, lengths)
        indptr = np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int64)
        return CSR(indptr, self.indices[entries], self.data[entries], self.n_columns, self.fill)

    def columns(self, which: Array) -> Array:
        """Dense (n_rows, len(which)) of the data's type: some columns, which ascend."""
        out = np.full((self.shape[0], len(which)), self.fill, self.dtype)
        at = np.minimum(np.searchsorted(which, self.indices), max(len(which) - 1, 0))
        here = which[at] == self.indices if len(which) else np.zeros(len(at), bool)
        out[np.repeat(np.arange(len(out)), np.diff(self.indptr))[here], at[here]] = self.data[here]
        return out

    def toarray(self, fill: float = 0.0) -> Array:
        """Dense (n_rows, n_columns) float64; absent entries are ``fill``."""
        out = np.full(self.shape, fill, np.float64)
        out[np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr)), self.indices] = self.data
        return out
