"""The model of k-means: centres, and which is nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mrml.algorithms.clustering.rows import Rows
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.model import Model, Prediction


class KMeansModel(Model):
    """Centres (k, d) float64, in standardised coordinates where ``center`` and ``scale`` (d,) are given.

    ``sizes`` (k,) is the weight of the rows of each cluster when the centres last moved, ``inertia`` their weighted
    sum of squared distances to the centres as they are now, ``iterations`` the rounds of Lloyd.  Prediction is
    float64 by the NumPy kernels, whatever trained the model.
    """

    output: ClassVar[str] = "cluster"

    def __init__(
        self, centres: Array, sizes: Array, inertia: float | None, iterations: int,
        center: Array | None = None, scale: Array | None = None,
    ) -> None:  # fmt: skip
        self.centres, self.sizes, self.inertia, self.iterations = centres, sizes, inertia, iterations
        self.center, self.scale = center, scale

    def predict(self, block: Block) -> Prediction:
        """``y_pred`` (n_rows,) float64: the code of the nearest centre, the lower one of equals."""
        labels, _ = self._rows(block).nearest(self.centres, self.centres.mean(axis=0))
        return Prediction(labels.astype(np.float64))

    def nearest(self, block: Block) -> tuple[Array, Array]:
        """The codes (n_rows,) int64 that :meth:`predict` says, and the squared distances (n_rows,) float64 to them."""
        rows = self._rows(block)
        labels, _ = rows.nearest(self.centres, self.centres.mean(axis=0))
        return labels, rows.squared(self.centres, labels)

    def transform(self, block: Block) -> Block:
        """The block whose X (n_rows, k) float64 is the distance to every centre."""
        d2 = self._rows(block).distances(self.centres, self.centres.mean(axis=0))
        return block.with_design(X=np.sqrt(d2), center=None, scale=None)

    def _rows(self, block: Block) -> Rows:
        if isinstance(block.X, np.ndarray) and block.X.dtype == np.float32:
            block = block.with_design(X=block.X.astype(np.float64))
        return Rows(block, "numpy")

    def header(self) -> dict[str, Any]:
        return {
            "k": len(self.centres),
            "n_features": self.centres.shape[1],
            "inertia": self.inertia,
            "iterations": self.iterations,
        }

    def arrays(self) -> dict[str, Array]:
        arrays = {"centres": self.centres, "sizes": self.sizes, "center": self.center, "scale": self.scale}
        return {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> KMeansModel:
        return cls(
            arrays["centres"], arrays["sizes"], header["inertia"], header["iterations"],
            arrays.get("center"), arrays.get("scale"),
        )  # fmt: skip

    def to_sklearn(self) -> Any:
        """A fitted ``KMeans``; behind a ``StandardScaler`` when the columns are standardised."""
        from sklearn.cluster import KMeans

        centres = self.centres
        fitted = KMeans(len(centres), init=centres, n_init=1, max_iter=1).fit(centres)
        fitted.cluster_centers_, fitted.n_iter_ = centres.copy(), self.iterations
        fitted.inertia_ = self.inertia
        if self.center is None and self.scale is None:
            return fitted
        return self._pipeline(fitted)

    def _pipeline(self, fitted: Any) -> Any:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        d = self.centres.shape[1]
        scaler = StandardScaler(with_mean=self.center is not None, with_std=self.scale is not None)
        scaler.fit(np.zeros((1, d)))
        scaler.mean_ = np.zeros(d) if self.center is None else self.center
        scaler.scale_ = None if self.scale is None else self.scale
        scaler.var_ = None if self.scale is None else self.scale**2
        return make_pipeline(scaler, fitted)
