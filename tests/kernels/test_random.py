"""The counter hash: known vectors, uniformity, independence of seeds, steps, keys and batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mrml.kernels.random import GOLDEN, bits, mix, rng, words

KEYS = np.arange(200_000, dtype=np.uint64)
INT64 = st.integers(-(2**63), 2**64 - 1)


def test_the_finaliser_gives_the_published_numbers_of_splitmix64() -> None:
    # seed 1234567, the first five numbers, as in Rosetta Code's and Vigna's C version
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert [mix(1234567 + i * GOLDEN) for i in range(1, 6)] == published
    state = np.array([0, 1234567], np.uint64)
    assert words(state, 0, 5)[1].tolist() == published
    assert words(state, 2, 3)[1].tolist() == published[2:]


def test_known_vectors_do_not_change() -> None:
    # from the formula of the module's docstring in Python integers
    keys = np.array([0, 5, 2**63], np.uint64)
    assert bits(7, -3, keys).tolist() == [11132770896630498387, 14007476680834429942, 13830770873030535896]


@given(INT64, INT64, st.integers(0, 2**64 - 1))
def test_the_formula_in_python_integers_gives_the_same(seed: int, step: int, key: int) -> None:
    stream = mix(mix(seed + GOLDEN) + step + GOLDEN)
    expected = mix(mix(key + GOLDEN) ^ stream)
    assert int(bits(seed, step, np.array([key], np.uint64))[0]) == expected
    assert float(rng(seed, step, np.array([key], np.uint64))[0]) == (expected >> 11) / 2**53


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.integers(0, 19))
def test_a_draw_does_not_depend_on_its_batch(keys: list[int], start: int) -> None:
    array = np.array(keys, np.uint64)
    whole = rng(3, 4, array)
    assert np.array_equal(whole[start:], rng(3, 4, array[start:]))
    assert np.array_equal(whole[::-1], rng(3, 4, array[::-1]))
    assert array.tolist() == keys


@pytest.mark.parametrize("key_shift", [0, 22, 44])
@pytest.mark.parametrize(("seed", "step"), [(0, 0), (0, 1), (1, 0), (12345, 99)])
def test_draws_are_uniform(seed: int, step: int, key_shift: int) -> None:
    u = rng(seed, step, KEYS << np.uint64(key_shift) if key_shift else KEYS)
    assert u.min() >= 0 and u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    ones = np.unpackbits(bits(seed, step, KEYS).view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(len(KEYS))


def test_neighbouring_seeds_steps_and_keys_are_independent() -> None:
    base = {(s, t): rng(s, t, KEYS) - 0.5 for s, t in itertools.product((0, 1, 2, 2**40), (0, 1, 2, 2**32))}
    bound = 5 / np.sqrt(len(KEYS)) / 12  # five sigma of the mean of a product of two uniforms about 0
    for a, b in itertools.combinations(base.values(), 2):
        assert abs((a * b).mean()) < bound
    for lag in (1, 2, 64, 4096):
        assert abs((base[0, 0][lag:] * base[0, 0][:-lag]).mean()) < bound * 1.1


@given(st.integers(0, 63), st.sampled_from(["seed", "step", "key"]))
def test_every_input_bit_flips_half_of_the_output_bits(bit: int, which: str) -> None:
    keys = KEYS[:4000]
    flipped = keys ^ np.uint64(1 << bit) if which == "key" else keys
    other = bits(7 ^ (1 << bit if which == "seed" else 0), 9 ^ (1 << bit if which == "step" else 0), flipped)
    changed = np.unpackbits((bits(7, 9, keys) ^ other).view(np.uint8)).mean()
    assert abs(changed - 0.5) < 5 * 0.5 / np.sqrt(64 * len(keys))


def test_seed_and_step_do_not_stand_for_each_other() -> None:
    assert not np.intersect1d(bits(1, 2, KEYS), bits(2, 1, KEYS)).size
    assert not np.intersect1d(bits(0, 1, KEYS), bits(1, 0, KEYS)).size
    assert len(np.unique(bits(0, 0, KEYS))) == len(KEYS)
