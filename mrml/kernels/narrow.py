"""Float32 vectors made smaller for the wire: as bfloat16, or as 8-bit integers with a scale for every run of 256.

Rounding is stochastic (Gupta et al., "Deep Learning with Limited Numerical Precision", ICML 2015, section 3): up with
the chance of the remainder, so that the mean of many roundings is the number itself.  The draws are a function of seed,
step and place, so a vector is rounded alike whoever does it.

Floor 1: arrays in, arrays out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import EngineError
from mrml.kernels.random import bits, rng

FORMS = ("float32", "bf16", "int8")
#: numbers that share a scale
RUN = 256
#: numbers rounded at a time: the draws take 8 bytes each
_CHUNK = 1 << 16


def narrowed(vector: Array, form: str, seed: int, step: int) -> dict[str, Array]:
    """The arrays that stand for a float32 vector (n,): ``float32`` itself, ``bf16`` uint16, or ``int8`` with ``scale``.

    Numbers that are not finite stay so in bf16, and are an EngineError in int8.
    """
    if form == "float32":
        return {"float32": vector}
    if form == "bf16":
        return {"bf16": _by_chunks(vector, np.uint16, lambda part, keys: _bf16(part, bits(seed, step, keys)))}
    n_runs = -(-len(vector) // RUN)
    padded = np.zeros(n_runs * RUN, np.float32)
    padded[: len(vector)] = vector
    scale = (np.abs(padded.reshape(n_runs, RUN)).max(axis=1) / np.float32(127)).astype(np.float32)
    if not np.isfinite(scale).all():
        raise EngineError("--wire int8", "a number is not finite", "use a smaller learning rate, or --wire float32")
    unit = np.repeat(np.where(scale > 0, scale, np.float32(1)), RUN)[: len(vector)].astype(np.float64)
    steps = vector / unit
    codes = _by_chunks(steps, np.int8, lambda part, keys: np.clip(np.floor(part + rng(seed, step, keys)), -127, 127))
    return {"int8": codes, "scale": scale}


def widened(arrays: dict[str, Array]) -> Array:
    """The float32 vector (n,) that the arrays of :func:`narrowed` stand for."""
    if "bf16" in arrays:
        wide: Array = (arrays["bf16"].astype(np.uint32) << np.uint32(16)).view(np.float32)
        return wide
    if "int8" in arrays:
        codes = arrays["int8"]
        found: Array = codes.astype(np.float32) * np.repeat(arrays["scale"], RUN)[: len(codes)]
        return found
    return arrays["float32"]


def _by_chunks(vector: Array, dtype: Any, rounded: Any) -> Array:
    out = np.empty(len(vector), dtype)
    for start in range(0, len(vector), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(vector)))
        out[part] = rounded(vector[part], np.arange(part.start, part.stop, dtype=np.uint64))
    return out


def _bf16(part: Array, draws: Array) -> Array:
    """The upper 16 bits, raised by one with the chance of the lower ones; infinity and NaN keep theirs."""
    raw = np.ascontiguousarray(part, np.float32).view(np.uint32)
    up = (raw + (draws >> np.uint64(48)).astype(np.uint32)) >> np.uint32(16)
    endless = (raw & np.uint32(0x7F800000)) == np.uint32(0x7F800000)
    # NaN must keep a bit of its payload
    kept = (raw >> np.uint32(16)) | np.where(endless & ((raw & np.uint32(0xFFFF)) > 0), np.uint32(0x40), np.uint32(0))
    rounded: Array = np.where(endless, kept, up).astype(np.uint16)
    return rounded
