"""Narrow forms of float32 vectors: near the number, on average the number, and nothing but seed, step and place."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrml.errors import EngineError
from mrml.kernels import narrow
from mrml.kernels.narrow import FORMS, RUN, narrowed, widened

Array = npt.NDArray[np.float32]
#: bfloat16 rounds to 8 bits: the next number is at most 2**-7 of it away
BF16_STEP = 2.0**-7
#: below the largest bfloat16, above which numbers may become infinite
FINITE = st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False)
SOME = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
VECTORS = hnp.arrays(np.float32, st.integers(0, 3 * RUN), elements=FINITE)
ROUNDINGS = 4000


def there_and_back(vector: Array, form: str, seed: int = 0, step: int = 0) -> Array:
    return widened(narrowed(vector, form, seed, step))


def runs_of(vector: Array) -> list[Array]:
    return [vector[at : at + RUN] for at in range(0, len(vector), RUN)]


@given(VECTORS)
def test_float32_is_the_vector_itself(vector: Array) -> None:
    assert there_and_back(vector, "float32").tobytes() == vector.tobytes()


@given(VECTORS, st.integers(0, 99))
def test_bf16_is_the_number_below_or_the_number_above(vector: Array, seed: int) -> None:
    found = there_and_back(vector, "bf16", seed)
    assert found.dtype == np.float32
    below = (vector.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # towards zero
    above = (below.view(np.uint32) + np.uint32(0x10000)).view(np.float32)
    assert ((found == below) | (found == above)).all()
    assert (np.abs(found.astype(float) - vector) <= BF16_STEP * np.abs(vector.astype(float)) + 1e-44).all()


@given(
    hnp.arrays(np.float32, st.integers(0, 3 * RUN), elements=SOME),
    st.integers(0, 99),
)
def test_int8_is_within_a_step_of_the_number_where_a_step_is_the_largest_of_its_run_by_127(
    vector: Array, seed: int
) -> None:
    found = there_and_back(vector, "int8", seed)
    for part, back in zip(runs_of(vector), runs_of(found), strict=True):
        step = float(np.abs(part).max()) / 127
        assert (np.abs(back.astype(float) - part) <= step * (1 + 1e-6) + 3e-43).all()  # of scales below float32's


@pytest.mark.parametrize("form", ["bf16", "int8"])
def test_the_mean_of_many_roundings_is_the_number(form: str) -> None:
    """Five standard errors, of steps whose deviation is at most half of one; the seeds are fixed."""
    vector = np.random.default_rng(1).normal(size=300).astype(np.float32)
    sums = np.zeros(len(vector))
    for seed in range(ROUNDINGS):
        sums += there_and_back(vector, form, seed, step=seed % 7)
    largest = np.concatenate([np.full(len(run), np.abs(run).max()) for run in runs_of(vector)]).astype(float)
    step = BF16_STEP * np.abs(vector) if form == "bf16" else largest / 127
    error = np.abs(sums / ROUNDINGS - vector)
    assert (error <= 5 * 0.5 * step / np.sqrt(ROUNDINGS)).all()
    assert (error > 0).any(), "nothing was rounded"


@pytest.mark.parametrize("form", ["bf16", "int8"])
def test_two_steps_and_two_seeds_round_apart(form: str) -> None:
    vector = np.random.default_rng(2).normal(size=300).astype(np.float32)
    same, other_step, other_seed = (there_and_back(vector, form, *at) for at in ((3, 4), (3, 5), (4, 4)))
    assert np.array_equal(same, there_and_back(vector, form, 3, 4))
    for other in (other_step, other_seed):
        assert 0.2 < (same != other).mean() < 0.8


@given(st.lists(st.integers(-255, 255), max_size=600), st.integers(-30, 30), st.integers(0, 99))
def test_bf16_keeps_numbers_of_eight_bits_exactly(mantissas: list[int], exponent: int, seed: int) -> None:
    vector = (np.array(mantissas, np.float64) * 2.0**exponent).astype(np.float32)
    assert np.array_equal(there_and_back(vector, "bf16", seed), vector)


@given(st.lists(st.integers(-127, 127), max_size=600), st.integers(-30, 30), st.integers(0, 99))
def test_int8_keeps_whole_multiples_of_the_scale_exactly(multiples: list[int], exponent: int, seed: int) -> None:
    steps = np.array(multiples, np.float64)
    steps[::RUN] = 127  # the largest of every run tells the scale, a power of two here
    vector = (steps * 2.0**exponent).astype(np.float32)
    assert np.array_equal(there_and_back(vector, "int8", seed), vector)


@pytest.mark.parametrize("form", FORMS)
def test_zeros_stay_zeros_and_nothing_stays_nothing(form: str) -> None:
    for n in (0, 1, RUN, RUN + 1):
        found = there_and_back(np.zeros(n, np.float32), form, 1)
        assert found.shape == (n,) and found.dtype == np.float32 and not found.any()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), st.integers(0, 99))
def test_what_is_not_finite_stays_what_it_is_in_bf16_whatever_its_bits(patterns: list[int], seed: int) -> None:
    exponent = np.uint32(0x7F800000)
    vector = (np.array(patterns, np.uint32) | exponent).view(np.float32)
    found = there_and_back(vector, "bf16", seed)
    assert np.array_equal(np.isnan(found), np.isnan(vector))
    endless = np.isinf(vector)
    assert np.array_equal(found[endless], vector[endless])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_int8_refuses_what_is_not_finite(value: float) -> None:
    vector = np.zeros(3 * RUN, np.float32)
    vector[RUN + 3] = value
    with pytest.raises(EngineError, match="a number is not finite"):
        narrowed(vector, "int8", 0, 0)


@pytest.mark.parametrize("form", FORMS)
def test_the_size_of_the_pieces_that_are_rounded_at_a_time_changes_nothing(form: str) -> None:
    vector = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    expected = narrowed(vector, form, 5, 6)
    for size in (1, 255, 256, 999, 1000):
        with patch.object(narrow, "_CHUNK", size):
            found = narrowed(vector, form, 5, 6)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("form", ["bf16", "int8"])
def test_what_comes_after_a_number_does_not_change_how_it_is_rounded(form: str) -> None:
    vector = np.random.default_rng(4).normal(size=5 * RUN).astype(np.float32)
    whole, head = there_and_back(vector, form, 1), there_and_back(vector[: 2 * RUN], form, 1)
    assert np.array_equal(whole[: 2 * RUN], head)


def test_narrow_forms_take_a_half_and_a_quarter_of_the_bytes() -> None:
    vector = np.random.default_rng(5).normal(size=64 * RUN).astype(np.float32)
    n_bytes = {form: sum(a.nbytes for a in narrowed(vector, form, 0, 0).values()) for form in FORMS}
    assert n_bytes["bf16"] * 2 == n_bytes["float32"] == vector.nbytes
    assert n_bytes["int8"] == len(vector) + 4 * len(vector) // RUN
