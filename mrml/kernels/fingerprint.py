"""A fingerprint of the kernels that compute here: the bits of a few fixed products.

Two processes whose fingerprints differ (another BLAS, another instruction set, another NumPy, more threads) may make
other last bits of a model.  Shapes are those at which threads and blocking show: OpenBLAS 0.3 solves 28 x 28 alike with
one thread and two, and 177 x 177 not.  10 ms, once per process.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from mrml import pin


@functools.lru_cache(maxsize=1)
def fingerprint() -> str:
    """Twelve hex digits over products, solves, and elementary functions of fixed matrices.

    Of a process that is not pinned (:mod:`mrml.pin`) they end in ``-unpinned``, whatever their bits.
    """
    grid = np.arange(512 * 28, dtype=np.float64).reshape(512, 28)
    a = np.sin(grid * 0.37) * np.exp(np.cos(grid))
    gram = a.T @ a
    wide = np.sin(np.arange(177 * 600, dtype=np.float64).reshape(600, 177) * 0.11)
    many = wide.T @ wide
    aside = np.frombuffer(bytes(16) + wide.tobytes(), np.float64, offset=16).reshape(wide.shape)  # starts unaligned
    values = [
        gram,
        a.T @ a[:, 0],
        a.astype(np.float32) @ a[:28].astype(np.float32).T,
        np.linalg.solve(gram + np.eye(28), a[:28, :3]),
        np.linalg.eigh(gram)[0],
        many,
        aside.T @ aside[:, 0],
        wide @ wide[0],
        np.linalg.solve(many + np.eye(177), wide[:177, :2]),
        np.linalg.eigh(many)[0],
        np.exp(a),
        np.log1p(np.abs(a)),
        np.exp(a.astype(np.float32)),
        a.sum(axis=0),
    ]
    digits = hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in values)).hexdigest()[:12]
    return digits if pin.pinned() else f"{digits}-unpinned"
