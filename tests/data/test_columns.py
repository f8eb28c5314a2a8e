"""Arrow columns to arrays, against Python's own values and the table in ``mrml.data.formats.columns``."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrml.data.formats import columns
from mrml.data.formats.columns import to_column, to_id
from mrml.data.formats.texts import parse_texts, plain_number
from mrml.errors import InputError
from mrml.schema import NA, Column

NUMBER, LEVEL = Column("x"), Column("c", "categorical", source="string")
NAN = float("nan")


def numbers(values, type_=None, column=NUMBER) -> list[float]:
    return to_column(pa.array(values, type_), column).tolist()


def texts(values, type_=None, na=()) -> list[str | None]:
    coded = to_column(values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, type_), LEVEL, na)
    assert coded.codes.dtype == np.int32 and coded.levels.dtype.kind == "U"
    return [None if c < 0 else str(coded.levels[c]) for c in coded.codes]


@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_floats_without_nulls_are_not_copied(storage):
    source = pa.array(np.arange(8), storage)
    for values in (source, pa.chunked_array([source]), source.slice(2)):
        out = to_column(values, Column("x", storage=storage))
        assert out.dtype == storage and out.flags.c_contiguous
        assert np.shares_memory(out, source.to_numpy())


@pytest.mark.parametrize("type_", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float", "double"])
@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_numbers_are_themselves_and_nulls_are_nan(type_, storage):
    column = Column("x", storage=storage)
    for values in (pa.array([1, None, 3], type_), pa.chunked_array([pa.array([1, None], type_), pa.array([3], type_)])):
        out = to_column(values, column)
        assert out.dtype == storage and out.flags.c_contiguous
        np.testing.assert_array_equal(out, [1, NAN, 3])
    assert to_column(pa.array([], type_), column).shape == (0,)


def test_booleans_are_zero_and_one_and_an_untyped_column_is_all_null():
    np.testing.assert_array_equal(numbers([True, None, False]), [1, NAN, 0])
    np.testing.assert_array_equal(numbers([None, None]), [NAN, NAN])
    assert texts([None, None]) == [None, None]


def test_half_precision_is_read():
    np.testing.assert_array_equal(numbers(np.array([0.5, 2], np.float16)), [0.5, 2])


@given(st.lists(st.dates() | st.none(), max_size=5))
def test_dates_are_days_since_1970(values):
    expected = [NAN if v is None else (v - dt.date(1970, 1, 1)).days for v in values]
    for type_ in (pa.date32(), pa.date64()):
        np.testing.assert_array_equal(numbers(values, type_), expected)


@settings(max_examples=60)
@given(st.lists(st.integers(-(2**62), 2**62) | st.none(), max_size=5), st.sampled_from([None, "UTC", "Europe/Berlin"]))
@example([-1, 10**9 + 1], None)
def test_timestamps_are_seconds_since_1970_to_the_nearest_float(ticks, zone):
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        found = numbers(ticks, pa.timestamp(unit, zone))
        for tick, x in zip(ticks, found, strict=True):
            assert math.isnan(x) if tick is None else math.isclose(x, tick / per_second, rel_tol=3e-16)


@given(st.integers(-(10**9), 10**9), st.integers(0, 999))
def test_an_instant_has_the_same_bits_in_every_unit(second, milli):
    ticks = second * 1000 + milli
    found = {numbers([ticks * 10**k], pa.timestamp(u))[0] for u, k in (("ms", 0), ("us", 3), ("ns", 6))}
    assert len(found) == 1


def test_times_and_durations_are_seconds():
    assert numbers([dt.time(1, 2, 3)], pa.time32("s")) == numbers([dt.time(1, 2, 3)], pa.time64("ns")) == [3723]
    assert numbers([dt.timedelta(hours=1)], pa.duration("ms")) == [3600]


@settings(max_examples=150)
@given(st.lists(st.integers(-(10**15) + 1, 10**15 - 1) | st.none(), max_size=6), st.integers(0, 15), st.booleans())
def test_decimals_are_the_nearest_floats(digits, scale, wide):
    values = [None if d is None else Decimal(d).scaleb(-scale) for d in digits]
    array = pa.array([None, *values], pa.decimal128(38 if wide else 15, scale)).slice(1)
    np.testing.assert_array_equal(to_column(array, NUMBER), [NAN if v is None else float(v) for v in values])


def test_arrows_own_cast_of_decimals_is_not_the_nearest_float():
    """Why decimals go through their digits; when this fails that detour may go."""
    values = [Decimal(i).scaleb(-2) for i in range(1000)]
    assert pa.array(values, pa.decimal128(18, 2)).cast(pa.float64()).to_pylist() != [float(v) for v in values]


def test_plain_texts_of_values_that_are_not_texts():
    assert texts([3, None, -1], "int8") == ["3", None, "-1"]
    assert texts([True, False, None]) == ["true", "false", None]
    assert texts([1.0, -0.0, 0.5, NAN, None, 1e20]) == ["1", "0", "0.5", None, None, "1e+20"]
    assert texts([0.1, 3], "float") == ["0.1", "3"]
    assert texts([Decimal("1.50"), Decimal("100.00"), Decimal("0.05")]) == ["1.5", "100", "0.05"]
    assert texts([dt.date(2026, 11, 20)]) == ["2026-11-20"]
    assert texts([b"a", b"\xc3\xa9"]) == ["a", "é"]


@given(st.integers(-(2**53), 2**53))
def test_a_number_is_the_same_label_as_integer_and_as_float(n):
    assert texts([n], "int64") == [plain_number(str(n))]
    if abs(n) < 10**15:
        assert texts([n], "int64") == texts([float(n)]) == [plain_number(f"{n}.0")]


@given(st.lists(st.sampled_from(["b", "a", "NA", " ", "", None, "ü", " b"]), max_size=12))
def test_levels_come_in_order_of_first_appearance_and_markers_are_null(values):
    coded = to_column(pa.array(values, pa.string()), LEVEL, NA)
    kept = [None if v is None or v.strip() in NA else v for v in values]
    assert texts(values, "string", NA) == kept
    assert coded.levels.tolist() == list(dict.fromkeys(v for v in kept if v is not None))


@given(st.lists(st.integers(0, 4) | st.none(), max_size=9), st.lists(st.integers(0, 4) | st.none(), max_size=4))
def test_dictionary_columns_are_their_values(first, second):
    for levels in (["z", "a", "a", "NA", None], [5.0, 1.5, 1.5, None, NAN]):
        dictionary = pa.array(levels)
        parts = [pa.DictionaryArray.from_arrays(pa.array(i, "int16"), dictionary) for i in (first, second)]
        together = pa.chunked_array(parts)
        plain = pa.array([None if i is None else levels[i] for i in first + second], dictionary.type)
        for values in (together, plain):
            found = to_column(values, LEVEL, ("NA",))
            expected = to_column(plain, LEVEL, ("NA",))
            np.testing.assert_array_equal(found.codes, expected.codes)
            assert found.levels.tolist() == expected.levels.tolist()
        if levels[0] == 5.0:
            np.testing.assert_array_equal(to_column(together, NUMBER), to_column(plain, NUMBER))


def test_texts_that_numpy_cannot_tell_apart_are_one_level():
    coded = to_column(pa.array(["a", "a\0", "b", "a"]), LEVEL)
    assert coded.codes.tolist() == [0, 0, 1, 0] and coded.levels.tolist() == ["a", "b"]


def test_large_and_view_strings_are_strings():
    for type_ in (pa.large_string(), pa.string_view()):
        assert texts(pa.array(["a", None, "b"]).cast(type_)) == ["a", None, "b"]


def test_texts_wanted_as_numbers_are_parsed_and_the_first_that_is_none_is_named():
    np.testing.assert_array_equal(to_column(pa.array([" 3", "", "1e2", None]), NUMBER, NA), [3, NAN, 100, NAN])
    with pytest.raises(InputError, match=r"column 'x', row 1: 'n.a.' is not a number; add na: \[\"n.a.\"\] under data"):
        to_column(pa.array(["1", "n.a.", "u"]), NUMBER, NA)


def test_a_nested_column_is_an_input_error_that_names_it():
    for values in (pa.array([[1]]), pa.array([{"a": 1}])):
        with pytest.raises(InputError, match=r"column 'x': has the type .*; leave it out with --exclude"):
            to_column(values, NUMBER)


def test_levels_that_would_not_fit_in_memory_are_refused(monkeypatch):
    monkeypatch.setattr(columns, "MAX_LEVEL_BYTES", 1000)
    assert texts(["a" * 100, "b"]) == ["a" * 100, "b"]
    with pytest.raises(InputError, match="column 'c': has 3 different texts in one block, one of them with 100"):
        texts(["a" * 100, "b", "c"])


def test_ids_are_integers_float64_or_unicode_and_never_rounded():
    assert to_id(pa.array([2**53 + 1, 2])).tolist() == [2**53 + 1, 2]
    assert to_id(pa.array([1, 2], "uint8")).dtype == np.int64
    assert to_id(pa.array([2**53 + 1, None])).tolist() == [str(2**53 + 1), ""]
    assert to_id(pa.array([2**63 + 1], "uint64")).tolist() == [2**63 + 1]
    assert to_id(pa.array([0.5], "float")).dtype == np.float64
    assert to_id(pa.array(["NA", None, "b", "NA"])).tolist() == ["NA", "", "b", "NA"]
    assert to_id(pa.array(["b", "a", "b"]).dictionary_encode()).tolist() == ["b", "a", "b"]
    assert to_id(pa.array([dt.date(2026, 1, 2), None])).tolist() == ["2026-01-02", ""]
    assert to_id(pa.array([], "string")).dtype.kind == "U"


NUMERIC = st.text("0123456789+-.eExXinfaNty() _", max_size=6) | st.floats().map(repr) | st.integers().map(str)


@settings(max_examples=300)
@given(st.lists(NUMERIC, min_size=1, max_size=5), st.sampled_from(["double", "float", "int64", "int8", "date32"]))
def test_a_text_is_a_number_exactly_where_arrow_casts_it(values, type_):
    """The patterns that sort out hopeless texts must let through every text that Arrow takes."""
    type_ = pa.type_for_alias(type_)
    parsed, bad = parse_texts(pa.array(values), type_, ())
    for i, text in enumerate(values):
        try:
            expected = pa.array([text.strip(" \t")]).cast(type_)[0]
        except pa.ArrowInvalid:
            if not pa.types.is_integer(type_):  # 3.0 and +3 are integers here, though not to Arrow
                assert bad[i]
            continue
        assert not bad[i] and repr(parsed[i].as_py()) == repr(expected.as_py())


def test_integers_may_be_written_as_floats_where_nothing_is_lost():
    parsed, bad = parse_texts(pa.array(["3.0", "+3", "1e2", "300", "-0.0", "0.5", "1e20"]), pa.int8(), ())
    assert parsed.to_pylist() == [3, 3, 100, None, 0, None, None] and pc.sum(pa.array(bad)).as_py() == 3
