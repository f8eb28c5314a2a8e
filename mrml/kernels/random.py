"""Random draws that are a function of what is drawn: ``rng(seed, step, row_key)``.

A counter-based generator: no state, so a draw depends neither on the batch, nor on who computes it, nor on
what was drawn before.  With mix the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014; the constants are Stafford's variant 13) and g its golden gamma::

    mix(z):  z ^= z >> 30;  z *= 0xBF58476D1CE4E5B9;  z ^= z >> 27;  z *= 0x94D049BB133111EB;  z ^= z >> 31
    stream = mix(mix(seed + g) + step + g)
    bits   = mix(mix(row_key + g) ^ stream)            all modulo 2**64

``mix`` is a bijection of 64 bits in which every input bit flips every output bit with a chance near one half.
SplitMix64 itself is ``mix(state)`` at ``state = seed + n g``; the second ``mix`` over the key separates streams
whose keys differ by little, as row keys do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mrml.arrays import Float64, UInt64

_MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(z: int) -> int:
    """SplitMix64's finaliser of one integer, modulo 2**64."""
    z &= _MASK
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)


def _mix(z: UInt64) -> UInt64:
    """The same of every element, in place."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


def bits(seed: int, step: int, row_key: npt.NDArray[Any]) -> UInt64:
    """64 random bits for every key.

    Parameters
    ----------
    seed, step : any integers, taken modulo 2**64; ``step`` is the algorithm's own counter (the tree, the
        batch), never the engine's round.
    row_key : (n,) uint64.

    Returns
    -------
    (n,) uint64.
    """
    stream = mix(mix(seed + GOLDEN) + step + GOLDEN)
    z = np.atleast_1d(row_key).astype(np.uint64) + np.uint64(GOLDEN)
    return _mix(_mix(z) ^ np.uint64(stream))


def words(state: UInt64, first: int, count: int) -> UInt64:
    """Numbers ``first`` to ``first + count - 1``, from 0, of the SplitMix64 generators that begin at ``state`` (n,).

    Returns
    -------
    (n, count) uint64, C-contiguous.
    """
    at = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return _mix(state[:, None] + at)


def rng(seed: int, step: int, row_key: npt.NDArray[Any]) -> Float64:
    """Uniform random numbers in [0, 1), one for each key.

    A number depends only on ``seed``, ``step`` and its key (``block.row_key``), never on what was drawn before.

    Parameters
    ----------
    seed, step : int
        ``step`` is a counter of the algorithm's own, such as the number of the tree.
    row_key : array (n,) uint64

    Returns
    -------
    array (n,) float64
        The upper 53 of :func:`bits` times 2**-53 (Steele, Lea and Flood, OOPSLA 2014).

    Examples
    --------

    >>> rng(0, 1, np.arange(3, dtype=np.uint64)).round(4).tolist()
    [0.8275, 0.3625, 0.342]
    """
    draws: Float64 = (bits(seed, step, row_key) >> np.uint64(11)).astype(np.float64)
    draws *= 2.0**-53
    return draws
