"""JSON lines against Python's json module."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrml.data.block import Coded
from mrml.data.formats import jsonl
from mrml.data.formats.jsonl import parse
from mrml.data.formats.lines import find_records
from mrml.schema import Column, Format
from tests.shared import shared

NUMBER, TEXT = Column("x"), Column("t", "categorical", source="string")
PLAIN = Format("jsonl")


def texts(column) -> list[str | None]:
    return [None if c < 0 else str(column.levels[c]) for c in column.codes]


def plain(records) -> list:
    columns = records.columns.items()
    return [(n, texts(c) if isinstance(c, Coded) else list(map(repr, c.tolist()))) for n, c in columns]


def test_missing_keys_are_null_and_extra_ones_ignored():
    r = parse(b'{"x":1,"t":"u","z":[1]}\n{"t":"v"}\r\n\n{"x":2.5,"t":null}', [NUMBER, TEXT], PLAIN)
    np.testing.assert_array_equal(r.columns["x"], [1, np.nan, 2.5])
    assert texts(r.columns["t"]) == ["u", "v", None]
    assert (r.n_records, r.rows.tolist(), r.n_bad) == (3, [0, 1, 2], 0)


def test_a_line_that_is_no_object_is_a_bad_record_with_its_offset():
    data = b'{"x":1}\n{"x":2\n[3]\n{"x":4}{"x":5}\n  \n{"x":6} \n'
    r = parse(data, [NUMBER], PLAIN)
    assert r.rows.tolist() == [0, 4] and r.columns["x"].tolist() == [1, 6] and r.n_records == 5 and r.n_bad == 3
    assert [p.offset for p in r.problems] == [8, 15, 19]
    assert [p.finding.split(" (")[0] for p in r.problems] == ["is not JSON", "is JSON but no object", "is not JSON"]


def test_a_nested_value_in_a_wanted_column_is_bad():
    r = parse(b'{"x":{"y":1}}\n{"x":[1]}\n{"x":3}\n', [NUMBER], PLAIN)
    assert [p[:3] for p in r.problems] == [
        (0, "x", "holds an object, not a value"),
        (14, "x", "holds a list, not a value"),
    ]
    assert r.columns["x"].tolist() == [3]


def test_a_value_of_another_type_is_taken_by_its_text():
    r = parse(b'{"x":"3","t":1.0}\n{"x":" NA ","t":true}\n{"x":4,"t":"NA"}\n{"x":5,"t":-0}\n', [NUMBER, TEXT], PLAIN)
    np.testing.assert_array_equal(r.columns["x"], [3, np.nan, 4, 5])
    assert texts(r.columns["t"]) == ["1", "true", None, "0"] and r.n_bad == 0
    r = parse(b'{"x":"n.a."}\n{"x":true}\n', [NUMBER], PLAIN)
    assert [p.finding for p in r.problems] == ["'n.a.' is not a number", "'true' is not a number"]
    assert r.problems[0].remedy == 'add na: ["n.a."] under data'


def test_labels_read_alike_as_integers_and_floats():
    for source in ("int64", "double"):
        r = parse(b'{"t":1}\n{"t":1.0}\n{"t":"1"}\n{"t":null}\n', [Column("t", "categorical", source=source)], PLAIN)
        assert texts(r.columns["t"]) == ["1", "1", "1", None]


def test_booleans_dates_and_timestamps_are_numbers():
    columns = [Column("b", source="bool"), Column("d", source="date32"), Column("s", source="timestamp[us]")]
    data = b'{"b":true,"d":"1970-01-02","s":"1970-01-01T00:01:00"}\n{"b":null,"d":"","s":"NA"}\n'
    r = parse(data, columns, PLAIN)
    np.testing.assert_array_equal(np.array(list(r.columns.values())), [[1, np.nan], [1, np.nan], [60, np.nan]])
    r = parse(data + b'{"d":"x"}\n{"b":1}\n', columns, PLAIN)
    assert r.rows.tolist() == [0, 1, 3] and r.problems[0].column == "d" and r.columns["b"][-1] == 1


def test_bytes_that_are_not_utf8_are_bad_where_they_are_wanted():
    data = b'{"t":"caf\xe9"}\n{"t":"a","z":"\xff"}\n{"t":"\\ud83d"}\n{"t":"\\u00e9"}\n'
    r = parse(data, [TEXT], PLAIN)
    assert texts(r.columns["t"]) == ["a", "é"]
    assert [p[:3] for p in r.problems] == [(0, "t", "is not UTF-8"), (data.index(b"\\ud83d") - 6, "t", "is not UTF-8")]


def test_bytes_that_are_not_utf8_are_found_though_arrow_lets_them_through():
    r = parse(b'{"t":"caf\xe9"}\n{"t":"b"}\n', [TEXT], PLAIN)
    assert texts(r.columns["t"]) == ["b"] and r.problems[0].finding == "is not UTF-8"


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_bytes_without_records_give_empty_columns(data):
    r = parse(data, [NUMBER, TEXT], PLAIN)
    assert r.n_records == len(r.rows) == len(r.columns["x"]) == len(r.columns["t"].codes) == 0


def test_ids_keep_their_integers():
    r = parse(b'{"i":9007199254740993}\n', [Column("i", "numeric", "id", "int64")], PLAIN)
    assert r.columns["i"].tolist() == [9007199254740993]


def test_a_line_nested_beyond_reason_is_no_traceback():
    deep = b'{"x":1,"y":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    assert parse(deep + b'{"x":"2"}\n', [NUMBER], PLAIN).rows.tolist()[-1] == 1


SCALARS = [st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4)]
VALUE = st.one_of(*SCALARS, st.sampled_from(["3", " ", "NA"]))
ODD = ['{"x":1', "[]", "1", '{"x":1}{"x":2}', " ", ' {"x":1}', '{"x":1} ', '{"x":Inf}', '{"x":-NaN}', "\ufeff{}"]
OBJECT = st.dictionaries(st.sampled_from(["x", "t", "z"]), VALUE | st.lists(VALUE, max_size=2), max_size=3)
LINE = st.one_of(OBJECT.map(json.dumps), st.sampled_from(ODD)).map(str.encode)
COLUMN = st.sampled_from([NUMBER, TEXT, Column("x", "categorical", source="int64"), Column("x", source="bool")])


@settings(max_examples=300)
@given(st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])).map(b"".join), max_size=6), COLUMN)
@example([b'{"x":1}{"x":2}\n', b'{"t":\n', b"3}\n"], NUMBER)
@example([b'{"x":1}{"x":\n', b"2}\n"], NUMBER)
@example([b'{"x":NaN}\n', b'{"x":Infinity}\n'], NUMBER)
def test_lines_parsed_together_are_the_lines_parsed_one_by_one(lines, column):
    data = b"".join(lines)
    whole = parse(data, [column], PLAIN)
    spans = find_records(data)
    parts = [parse(data[s:n], [column], PLAIN) for s, n in zip(spans.starts, spans.nexts, strict=True)]
    starts = [int(s) for s, p in zip(spans.starts, parts, strict=True) if p.n_records]
    parts = [p for p in parts if p.n_records]
    assert whole.n_records == len(parts)
    assert whole.rows.tolist() == [i for i, p in enumerate(parts) if not p.n_bad]
    together = [v for p in parts for _, values in plain(p) for v in values]
    assert [v for _, values in plain(whole) for v in values] == together
    alone = [q._replace(offset=s) for s, p in zip(starts, parts, strict=True) for q in p.problems]
    assert list(whole.problems) == alone[:10]


@settings(max_examples=150)
@given(st.lists(LINE.map(lambda b: b + b"\n"), max_size=6).map(b"".join), COLUMN)
def test_the_slow_path_gives_what_the_fast_path_gives(data, column):
    fast = parse(data, [column], PLAIN)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(jsonl, "_fast", lambda *_: None)
        slow = parse(data, [column], PLAIN)
    assert plain(fast) == plain(slow) and fast[4:] == slow[4:] and fast.rows.tolist() == slow.rows.tolist()


@given(
    st.lists(st.fixed_dictionaries({"x": st.floats() | st.none(), "t": st.text(max_size=5)}), min_size=1, max_size=6)
)
def test_what_pythons_json_module_writes_is_read_back(rows):
    r = parse("\n".join(map(json.dumps, rows)).encode(), [NUMBER, TEXT], Format("jsonl", na=()))
    np.testing.assert_array_equal(r.columns["x"], [np.nan if row["x"] is None else row["x"] for row in rows])
    kept = [row["t"] for row in rows]
    assert r.n_bad == 0 and texts(r.columns["t"]) == [t.rstrip("\0") for t in kept]


def test_flight_data_reads_as_pythons_json_module_reads_it():
    path = shared("flight-formats/flight-data/json/2015-summary.json")
    names = ("ORIGIN_COUNTRY_NAME", "DEST_COUNTRY_NAME")
    wanted = [Column("count", source="int64"), *(Column(n, "categorical", source="string") for n in names)]
    r = parse(path.read_bytes(), wanted, PLAIN)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert r.n_records == len(rows) and r.n_bad == 0
    assert r.columns["count"].tolist() == [row["count"] for row in rows]
    for n in names:
        assert texts(r.columns[n]) == [row[n] for row in rows]
