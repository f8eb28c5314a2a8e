"""LibSVM text against scikit-learn's reader, and the rules line by line."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from mrml.data.formats import libsvm
from mrml.data.formats.libsvm import parse
from mrml.data.formats.lines import find_records
from mrml.errors import InputError
from mrml.schema import Column, Format
from tests.shared import shared

LABEL, QID, WEIGHT = Column("label", role="target"), Column("qid", role="group"), Column("weight", role="weight")
ONE, ZERO = Format("libsvm"), Format("libsvm", index_base=0)


def dense(records) -> list[list[float]]:
    return records.sparse.toarray().tolist()


def test_indices_become_zero_based_and_absent_ones_are_not_stored():
    r = parse(b"1 1:0.5 3:2\n-1 2:1e3\n0\n", [LABEL], ONE)
    assert r.columns["label"].tolist() == [1, -1, 0] and r.rows.tolist() == [0, 1, 2] and r.n_bad == 0
    assert dense(r) == [[0.5, 0, 2], [0, 1000, 0], [0, 0, 0]]
    X = r.sparse
    assert (X.indptr.dtype, X.indices.dtype, X.data.dtype, X.n_columns) == (np.int64, np.int32, np.float64, 3)
    assert parse(b"1 0:5 2:6\n", [LABEL], ZERO).sparse.indices.tolist() == [0, 2]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_and_none_on_the_last_line_give_the_same_rows(end):
    for last in (b"", end):
        r = parse(end.join([b"1 1:2", b"", b"  ", b"x 1:1", b"# note", b"2\t2:3 "]) + last, [LABEL], ONE)
        assert (r.n_records, r.rows.tolist(), r.columns["label"].tolist()) == (3, [0, 2], [1, 2])
        assert r.problems == ((7 + 3 * len(end), "label", "'x' is not a number", "LibSVM data holds numbers only"),)


def test_comments_end_a_line_and_may_hold_anything():
    r = parse(b"1 1:2 # 3:4 qid:9 \xff : x\n#a\n2 1:3#:\n", [LABEL], ONE)
    assert dense(r) == [[2], [3]] and r.n_records == 2


def test_query_ids_are_a_column_where_they_are_wanted():
    data = b"3 qid:10 1:1\n2 qid:10 2:1\n1 1:5\n"
    r = parse(data, [LABEL, QID], ONE)
    np.testing.assert_array_equal(r.columns["qid"], [10, 10, np.nan])
    assert dense(r) == [[1, 0], [0, 1], [5, 0]] == dense(parse(data, [LABEL], ONE))
    bad = parse(b"1 1:1 qid:3\n1 qid:a 1:1\n1qid:3 1:1\n1 1qid:3\n1 qid:1\n", [LABEL, QID], ONE)
    assert bad.rows.tolist() == [4] and bad.n_bad == 4


def test_a_word_that_ends_with_qid_is_no_query_id_beside_one_that_is():
    r = parse(b"1 qid:1 1:1\n1 1qid:3 1:1\n", [LABEL, QID], ONE)
    assert r.rows.tolist() == [0] and r.problems[0].finding == "'1qid:3' is not index:value"


def test_weights_after_the_label_are_taken_only_where_they_are_wanted():
    data = b"1:0.5 1:2\n0 2:3\n1:2 qid:4 1:1\n"
    r = parse(data, [LABEL, WEIGHT, QID], ONE)
    assert r.columns["weight"].tolist() == [0.5, 1, 2] and r.columns["label"].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(r.columns["qid"], [np.nan, np.nan, 4])
    r = parse(data, [LABEL], ONE)
    assert r.rows.tolist() == [1] and r.problems[0].finding == "is missing: the line begins with '1:0.5'"


def test_labels_may_be_categories_and_read_alike_however_they_are_written():
    r = parse(b"+1 1:1\n1.0 1:1\n-1 1:1\n", [Column("label", "categorical", "target")], ONE)
    assert r.columns["label"].levels.tolist() == ["1", "-1"] and r.columns["label"].codes.tolist() == [0, 0, 1]


def test_indices_out_of_order_are_sorted_and_one_that_comes_twice_is_bad():
    r = parse(b"1 3:3 1:1 2:2\n0 2:1 1:4 2:5\n1 2:7\n", [LABEL], ONE)
    assert dense(r) == [[1, 2, 3], [0, 7, 0]] and r.rows.tolist() == [0, 2]
    assert r.problems[0][:3] == (14, "", "index '2' comes twice")


def test_an_index_below_the_base_names_the_option():
    r = parse(b"1 0:3\n1 1:1\n", [LABEL], ONE)
    assert r.problems == ((0, "", "index '0' is below 1", "set index_base: 0 under data"),)


MALFORMED = (
    "1 2;1 :2;1 2:;1 2: 3;1 2 :3;1 1:2:3;1 a:1;1 1:b;1 1.5:1;1 -1:1;1 1::2;1 2147483647:1;1 nan:1;1 inf:1;cat 1:1;"
    "1,2 1:1;1: 2:3;:1 2:3;:;1 é:1;1 1_0:1;0x1 1:1;1 1:1 1.0:1;qid:1 1:1;1 qid:1 qid:1;"
    "\ufeff1 1:1;1:2:3 4:5;1 1qid:3;1qid:3 1:1"
)


@pytest.mark.parametrize("line", [m.encode() for m in MALFORMED.split(";")] + [b"1 \xff:1"])
def test_a_malformed_line_is_dropped_and_the_others_kept(line):
    for wanted in ([LABEL], [LABEL, QID, WEIGHT]):
        r = parse(b"1 1:1\n" + line + b"\n0 2:2\n", wanted, ONE)
        assert r.rows.tolist() == [0, 2] and r.n_bad == 1 and r.problems[0].offset == 6
        assert dense(r) == [[1, 0], [0, 2]] and r.problems[0].finding
        assert parse(line + b"\n0 2:2\n", wanted, ONE).rows.tolist() == [1]


def test_a_value_that_is_nan_is_kept_as_missing():
    r = parse(b"1 1:nan 2:-inf\n", [LABEL], ONE)
    np.testing.assert_array_equal(r.sparse.data, [np.nan, -np.inf])


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b" \n# only a comment\n"])
def test_bytes_without_records_give_empty_columns(data):
    r = parse(data, [LABEL], ONE)
    assert r.n_records == len(r.rows) == len(r.columns["label"]) == 0 and r.sparse.shape == (0, 0)


def test_at_most_ten_problems_are_described_and_all_are_counted():
    r = parse(b"x\n" * 600 + b"1 1:1\n", [LABEL], ONE)
    assert (r.n_bad, len(r.problems), r.rows.tolist()) == (600, 10, [600])


def test_a_column_libsvm_cannot_have_is_named():
    with pytest.raises(InputError, match=r"'labl'.*did you mean 'label'"):
        parse(b"1\n", [Column("labl")], ONE)


# ---- laws ----

WANTED = [[LABEL], [LABEL, WEIGHT], [LABEL, QID, WEIGHT]]
WORD = st.sampled_from(["1", "2", "3", "1.5", "-1", "x", "nan", "qid", "0", "+2", "1e400", "1_0", "9999999999", "inf"])
PAIR = st.one_of(st.tuples(WORD, WORD).map(":".join), WORD, st.sampled_from(["qid:1", "1:", ":1", "1:2:3", ":", "#a"]))
LINE = st.lists(PAIR, max_size=4).map(" ".join) | st.sampled_from(["1 qid:1 1:2", "1:2 qid:3", "1 1:2 2:3", "# 1:1"])
DATA = st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r\n", "\r", " \n\n"])).map("".join), max_size=6).map("".join)


@settings(max_examples=400)
@given(
    DATA.map(str.encode),
    st.sampled_from([[LABEL], [LABEL, WEIGHT], [LABEL, QID, WEIGHT]]),
    st.sampled_from([ONE, ZERO]),
)
@example(b"1 2:\n 3:1\n", [LABEL], ONE)
def test_lines_parsed_together_are_the_lines_parsed_one_by_one(data, wanted, format):
    whole = parse(data, wanted, format)
    spans = find_records(data)
    parts = [parse(data[s:n], wanted, format) for s, n in zip(spans.starts, spans.nexts, strict=True)]
    offsets = [int(s) for s, p in zip(spans.starts, parts, strict=True) if p.n_records]
    parts = [p for p in parts if p.n_records]
    assert whole.n_records == len(parts) and whole.n_bad == sum(p.n_bad for p in parts)
    assert whole.rows.tolist() == [i for i, p in enumerate(parts) if not p.n_bad]
    alone = [q._replace(offset=o) for o, p in zip(offsets, parts, strict=True) for q in p.problems]
    assert list(whole.problems) == alone[:10]
    for c in wanted:
        np.testing.assert_array_equal(whole.columns[c.name], np.concatenate([[], *(p.columns[c.name] for p in parts)]))
    np.testing.assert_array_equal(whole.sparse.data, np.concatenate([[], *(p.sparse.data for p in parts)]))
    np.testing.assert_array_equal(whole.sparse.indices, np.concatenate([[], *(p.sparse.indices for p in parts)]))
    np.testing.assert_array_equal(np.diff(whole.sparse.indptr), [len(p.sparse.data) for p in parts if not p.n_bad])


@settings(max_examples=200)
@given(DATA.map(lambda s: re.sub("#.*", "", s).encode()), st.booleans())
def test_the_slow_path_finds_the_lines_that_the_fast_path_refuses(data, weighted):
    spans = find_records(data)
    for s, e in zip(spans.starts, spans.ends, strict=True):
        line = data[s:e].strip(b" \t")
        if line:
            refused = libsvm._fast(line + b"\n", weighted, 1) is None
            assert refused == (libsvm._fault(line, weighted, 1) is not None)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_what_scikit_learn_writes_is_read_as_it_reads_it(seed, zero_based, with_qid):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rng.integers(1, 20), 7)) * (rng.random((1, 7)) < 0.6)
    y, qid = rng.integers(-1, 2, len(X)), np.sort(rng.integers(0, 5, len(X))) if with_qid else None
    file = io.BytesIO()
    dump_svmlight_file(X, y, file, zero_based=zero_based, query_id=qid, comment="made here")
    check(file.getvalue(), zero_based, with_qid)


def check(data: bytes, zero_based: bool, with_qid: bool = False) -> None:
    expected = load_svmlight_file(io.BytesIO(data), zero_based=zero_based, query_id=with_qid)
    r = parse(data, [LABEL, QID] if with_qid else [LABEL], ZERO if zero_based else ONE)
    X = expected[0]
    assert r.n_bad == 0 and r.n_records == X.shape[0]
    for found, known in ((r.sparse.indptr, X.indptr), (r.sparse.indices, X.indices), (r.sparse.data, X.data)):
        np.testing.assert_array_equal(found, known)
    np.testing.assert_array_equal(r.columns["label"], expected[1])
    if with_qid:
        np.testing.assert_array_equal(r.columns["qid"], expected[2])


@pytest.mark.parametrize(
    "name", ["agaricus/agaricus.txt.train", "agaricus/agaricus.txt.test", "dna/dna.scale", "dna/dna.scale.t"]
)
def test_real_data_reads_as_scikit_learn_reads_it(name):
    check(shared(name).read_bytes(), zero_based=False)
