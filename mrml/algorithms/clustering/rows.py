"""What k-means asks of a block, dense or sparse, standardised or not; and what it sends up besides sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from mrml.algorithms.moments import Moments
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.errors import ConfigError
from mrml.kernels import kmeans as numpy_kernels
from mrml.kernels.kmeans import Sparse, chunk_rows
from mrml.statistic import Statistic


def _kernels(name: str) -> ModuleType:
    if name == "numpy":
        return numpy_kernels
    try:
        from mrml.kernels import kmeans_numba as kmeans_fast
    except ImportError as error:
        raise ConfigError("algorithm, kernels", "fast needs numba", "install mrml[fast] on every worker") from error
    return kmeans_fast


class Rows:
    """The rows z of a block: ``(X - center) / scale``, or X itself.

    Dense float32 that is not standardised stays float32 in distances.  Sparse rows stay sparse: the centres and the
    sums move instead.
    """

    def __init__(self, block: Block, kernels: str) -> None:
        self.block, self.n = block, block.n_rows
        self.kernels = _kernels(kernels)
        self.raw = block.center is None and block.scale is None
        self.center = np.zeros(block.n_features) if block.center is None else block.center
        self.scale = np.ones(block.n_features) if block.scale is None else block.scale

    def _chunks(self, rows: int) -> Iterator[tuple[slice, Array]]:
        """Runs of dense rows z, in float32 where they are, else float64."""
        x = self.block.X
        if not self.raw or isinstance(x, CSR):
            yield from self.block.standardised(rows)
            return
        for start in range(0, self.n, rows):
            part = slice(start, min(start + rows, self.n))
            yield part, x[part]

    def nearest(self, centres: Array, origin: Array, norms: bool = False) -> tuple[Array, Array]:
        """Labels (n,) int64 and, with norms, squared distances (n,) float64 (otherwise an empty array).

        ``centres`` (k, d) and ``origin`` (d,) are in the coordinates of z.
        """
        if isinstance(self.block.X, CSR):
            return self._nearest_sparse(self.block.X, centres, norms)
        dtype = self.block.X.dtype if self.raw else np.dtype(np.float64)
        c, o = (centres - origin).astype(dtype), origin.astype(dtype)
        slopes, constants = -2 * c, np.einsum("ij,ij->i", c, c, dtype=np.float64).astype(dtype)
        labels, d2 = np.empty(self.n, np.int64), np.empty(self.n if norms else 0)
        rows, moved = min(chunk_rows(len(c)), self.n), bool(o.any())
        scratch, about = np.empty(rows * len(c), dtype), np.empty((rows if moved else 0, len(o)), dtype)
        for part, z in self._chunks(rows):
            if moved:
                z = np.subtract(z, o, out=about[: len(z)])
            found = self.kernels.nearest(z, slopes, constants, scratch)
            labels[part] = found.labels
            if norms:
                d2[part] = np.maximum(found.score + np.einsum("ij,ij->i", z, z), 0)
        return labels, d2

    def _nearest_sparse(self, x: CSR, centres: Array, norms: bool) -> tuple[Array, Array]:
        """z.c = x.(c / scale) - center.(c / scale), so only the centres change."""
        scaled = centres / self.scale
        constants = np.einsum("ij,ij->i", centres, centres) + 2 * (scaled @ self.center)
        found = self.kernels.nearest_sparse(_sparse(x), -2 * scaled, constants)
        if not norms:
            return found.labels, np.empty(0)
        return found.labels, np.maximum(found.score + self._norms_sparse(x), 0)

    def _norms_sparse(self, x: CSR) -> Array:
        """|z|^2 (n,): that of a row without entries, and what each entry changes."""
        absent = (self.center / self.scale) ** 2
        change = ((x.data - self.center[x.indices]) / self.scale[x.indices]) ** 2 - absent[x.indices]
        norms: Array = absent.sum() + np.bincount(np.repeat(np.arange(self.n), np.diff(x.indptr)), change, self.n)
        return norms

    def distances(self, centres: Array, origin: Array) -> Array:
        """Squared distances (n, k) float64 to every centre."""
        d2 = np.empty((self.n, len(centres)))
        if isinstance(self.block.X, CSR):
            for j in range(len(centres)):
                d2[:, j] = self._nearest_sparse(self.block.X, centres[j : j + 1], norms=True)[1]
            return d2
        for part, z in self.block.standardised():
            d2[part] = numpy_kernels.distances(z - origin, centres - origin)
        return d2

    def squared(self, centres: Array, labels: Array) -> Array:
        """Squared distances (n,) float64 to the labels' centres, by differences: 0 where they coincide."""
        d2 = np.empty(self.n)
        if isinstance(self.block.X, CSR):
            return self._nearest_sparse(self.block.X, centres, norms=True)[1]
        for part, z in self.block.standardised():
            z -= centres[labels[part]]
            d2[part] = np.einsum("ij,ij->i", z, z)
        return d2

    def sums(self, labels: Array, origin: Array, k: int) -> tuple[Array, Array]:
        """Weight (k,) and weighted sums of ``z - origin`` (k, d) of each label, float64."""
        x, weight = self.block.X, self.block.weight
        if isinstance(x, CSR):
            total, sums = self.kernels.sums_sparse(_sparse(x), labels, weight, k, x.n_columns)
            return total, (sums - total[:, None] * self.center) / self.scale - total[:, None] * origin
        total, sums = self.kernels.sums(x, labels, weight, self.center + self.scale * origin, k)
        return total, sums / self.scale

    def pick(self, index: Array) -> Array:
        """Some rows z (m, d) float64, by ascending index; zero has one sign."""
        x = self.block.X
        if isinstance(x, CSR):
            keep = np.zeros(self.n, bool)
            keep[index] = True
            found = x.take(keep).toarray()
        else:
            found = x[index].astype(np.float64)
        z: Array = (found - self.center) / self.scale + 0.0
        return z

    def moments(self, into: Statistic) -> None:
        """Add weight, mean and scatter of the rows."""
        assert isinstance(into, Moments)
        w = np.ones(self.n) if self.block.weight is None else self.block.weight
        if isinstance(self.block.X, CSR):
            into.merge(self._moments_sparse(self.block.X, w))
            return
        for part, z in self.block.standardised():
            into.merge(Moments.of(z, w[part]))

    def _moments_sparse(self, x: CSR, w: Array) -> Moments:
        total, (entry_w, data) = float(w.sum()), (np.repeat(w, np.diff(x.indptr)), x.data.astype(np.float64))
        if not total > 0:
            return Moments()
        mean = np.bincount(x.indices, entry_w * data, minlength=x.n_columns) / total
        entries = np.bincount(x.indices, entry_w, minlength=x.n_columns)
        present = np.bincount(x.indices, entry_w * (data - mean[x.indices]) ** 2, minlength=x.n_columns)
        scatter = (present + np.maximum(total - entries, 0) * mean**2) / self.scale**2
        return Moments(total, (mean - self.center) / self.scale, float(scatter.sum()))


def _sparse(x: CSR) -> Sparse:
    return Sparse(x.indptr, x.indices, x.data.astype(np.float64, copy=False))


class Draw(Statistic):
    """The ``limit`` different rows of least (priority, key): priority (m,), key (m,), rows (m, d), in that order.

    Of equal rows the least stays.  A row that falls out of a part falls out of the whole, so any order of merging
    gives the same rows.
    """

    exact = True

    def __init__(self, limit: int, priority: Any = (), key: Any = (), rows: Any = None) -> None:
        self.limit = limit
        self.priority, self.key = np.asarray(priority, np.float64), np.asarray(key, np.uint64)
        self.rows: Array = np.empty((0, 0)) if rows is None else rows

    def offer(self, priority: Array, key: Array, pick: Callable[[Array], Array]) -> None:
        """Rows with these priorities (infinite: never) and keys; ``pick(index)`` makes the rows (m, d)."""
        worst = self.priority[-1] if len(self.priority) >= self.limit else np.inf
        within = np.flatnonzero((priority <= worst) & (priority < np.inf))
        take = self.limit
        while len(within):
            least = within
            if take < len(within):
                bound = np.partition(priority[within], take)[take]
                least = within[priority[within] <= bound]
            found = Draw(self.limit)
            found._keep(priority[least], key[least], pick(least))
            if len(found.rows) >= self.limit or len(least) == len(within):
                return self.merge(found)
            take *= 4

    def merge(self, other: Draw) -> None:
        if not len(self.rows) or not len(other.rows):
            if len(other.rows):
                self.priority, self.key, self.rows = other.priority, other.key, other.rows
            return
        self._keep(
            np.concatenate([self.priority, other.priority]),
            np.concatenate([self.key, other.key]),
            np.concatenate([self.rows, other.rows]),
        )

    def _keep(self, priority: Array, key: Array, rows: Array) -> None:
        keep: list[int] = []
        seen: set[bytes] = set()
        for i in np.lexsort((key, priority)):
            content = rows[i].tobytes()
            if content not in seen:
                seen.add(content)
                keep.append(int(i))
            if len(keep) == self.limit:
                break
        self.priority, self.key, self.rows = priority[keep], key[keep], rows[keep]

    def to_wire(self) -> Any:
        return {"limit": self.limit, "priority": self.priority, "key": self.key, "rows": self.rows}

    @classmethod
    def from_wire(cls, tree: Any) -> Draw:
        return cls(**tree)

    def n_bytes(self) -> int:
        return self.rows.nbytes + 16 * len(self.rows)
