"""Inference: formats, headers, kinds, roles, and the YAML that a user edits."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml.config.sections import DataConfig
from mrml.data.inference import samples
from mrml.data.inference.infer import infer, load_yaml, to_yaml
from mrml.data.open import open_dataset
from mrml.errors import ConfigError, InputError, MrmlError
from mrml.schema import KINDS, NA, ROLES, Column, Format, Schema
from tests.shared import shared


def inferred(path: Path, text: str | bytes | None = None, **options):
    if text is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return infer([str(path)], DataConfig(**options))


def columns(schema: Schema) -> dict[str, tuple[str, str, str]]:
    return {c.name: (c.kind, c.role, c.source) for c in schema.columns}


def seen(report, name: str):
    return next(c for c in report.columns if c.name == name)


# ---- formats ----


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("a.csv", "x,y\n1,2\n", ("csv", ",", True)),
        ("a.csv", "x;y;z\n1,5;2;3\n1,6;2;3\n", ("csv", ";", True)),
        ("a.tsv", "x\ty\n1\t2\n", ("tsv", "\t", True)),
        ("a.txt", "x|y\n1|2\n", ("csv", "|", True)),
        ("a", "1\t2\t3\n1\t2\t3\n", ("tsv", "\t", False)),
        ("a.train", "1 2:1 3:0.5\n0 1:2 # note\n", ("libsvm", ",", False)),
        ("a.data", "1 qid:4 2:1\n2 qid:4 1:1e-3\n", ("libsvm", ",", False)),
        ("a.txt", '{"x": 1}\n{"x": 2}\n', ("jsonl", ",", True)),
        ("part-0", "a\x01b\n1\x012\n3\x014\n", ("csv", "\x01", True)),
        ("a.txt", "5.1 3.5 1\n4.9 3.0 2\n", ("csv", " ", False)),
        ("a.csv", '"a,b",c\n"d,e",f\n"d,e",f\n', ("csv", ",", True)),
        ("a.csv", "\ufeffx,y\n1,2\n", ("csv", ",", True)),
    ],
)
def test_formats_and_delimiters_are_known_by_name_or_content(tmp_path, name, text, expected):
    schema, _ = inferred(tmp_path / name, text)
    assert (schema.format.name, schema.format.delimiter, schema.format.header) == expected
    assert not any(c.name.startswith("\ufeff") for c in schema.columns)


def test_parquet_is_known_by_its_magic(tmp_path):
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "part-0")
    assert inferred(tmp_path / "part-0")[0].format.name == "parquet"


@pytest.mark.parametrize(
    "text, header",
    [
        ("a,b\nc,d\n", True),
        ("a,b\na,c\n", False),
        ("a,a\nb,c\n", False),
        ("a,1\nb,2\n", False),
        ("a,\nb,2\n", False),
        (",a\n0,1\n1,2\n", True),
        ("x,y\n", True),
        ("United States,Romania,15\nUnited States,Croatia,1\n", False),
    ],
)
def test_headers_are_told_from_rows(tmp_path, text, header):
    schema, _ = inferred(tmp_path / "a.csv", text)
    assert schema.format.header is header
    if not header:
        assert [c.name for c in schema.columns] == [f"c{i}" for i in range(len(schema.columns))]


def test_a_name_from_the_configuration_makes_a_line_a_header(tmp_path):
    assert inferred(tmp_path / "a.csv", "2010,b\n1,2\n", target="2010")[0].format.header


def test_options_go_before_what_is_seen(tmp_path):
    text = "a;b|1\nc;d|2\n"
    schema, _ = inferred(tmp_path / "a.csv", text, delimiter="|", header=False, na=("d",), window_bytes=99, quote="'")
    assert schema.format == Format("csv", "|", "'", False, na=(*NA, "d")) and schema.window_bytes == 99
    assert inferred(tmp_path / "a.csv", text, delimiter="tab")[0].format.delimiter == "\t"
    assert inferred(tmp_path / "a.csv", text, delimiter=";b|")[0].format.delimiter == ";b|"
    for option in ("quote", "escape"):
        with pytest.raises(ConfigError, match="not one character"):
            inferred(tmp_path / "a.csv", text, **{option: "::"})
    with pytest.raises(ConfigError, match="not one character or several"):
        inferred(tmp_path / "a.csv", text, delimiter="a\n")


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("a.orc", b"ORC", "Parquet"),
        ("a.csv.xz", b"x", "gzip"),
        ("a.csv", b"\x1f\x8b\x08x", ".gz"),
        ("a.csv", "x,y\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"PAR1xxxxPAR1", "rename"),
        ("a.parquet", b"x,y\n", "PAR1"),
        ("a.parquet.gz", b"x", "decompress"),
        ("a.json", b'[{"x": 1},\n {"x": 2}]', "one object a line"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path, name, data, words):
    with pytest.raises(InputError, match=words) as caught:
        inferred(tmp_path / name, data)
    assert name in caught.value.place


def test_two_formats_in_one_input_are_refused_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"b\.jsonl: is jsonl, and a\.csv is csv"):
        inferred(tmp_path)


# ---- kinds ----


def test_kinds_of_text_columns(tmp_path):
    n = 3000
    rows = {
        "i": [str(k % 9) for k in range(n)],
        "f": [f"{k / 7:.3f}" for k in range(n)],
        "b": ["true" if k % 2 else "False" for k in range(n)],
        "d": [str(datetime.date(2020, 1, 1) + datetime.timedelta(k)) for k in range(n)],
        "t": [f"2020-01-01 10:{k % 60:02}:00.5" for k in range(n)],
        "s": [f"level {k % 900}" for k in range(n)],
        "ident": [f"id{k}" for k in range(n)],
        "prose": [f"once there were {k} pigs" for k in range(n)],
        "none": ["" if k % 2 else "NA" for k in range(n)],
        "one": ["5"] * n,
        "mixed": ["n/a." if k % 100 == 0 else str(k) for k in range(n)],
        "codes": [f"V{k}" if k % 20 == 0 else f"{k % 50}" for k in range(n)],
    }
    text = "\n".join([",".join(rows), *(",".join(r) for r in zip(*rows.values(), strict=True))])
    schema, report = inferred(tmp_path / "a.csv", text)
    assert columns(schema) == {
        "i": ("numeric", "feature", "int64"),
        "f": ("numeric", "feature", "double"),
        "b": ("numeric", "feature", "bool"),
        "d": ("numeric", "feature", "date32"),
        "t": ("numeric", "feature", "timestamp[us]"),
        "s": ("categorical", "feature", "string"),
        "ident": ("text", "ignore", "string"),
        "prose": ("text", "ignore", "string"),
        "none": ("numeric", "ignore", "double"),
        "one": ("numeric", "feature", "int64"),
        "mixed": ("numeric", "feature", "double"),
        "codes": ("categorical", "feature", "string"),
    }
    assert {c.storage for c in schema.columns} == {"float64"}
    assert report.rows == n and report.n_bytes == len(text) and report.files == 1
    assert seen(report, "none").nulls == n and dict(seen(report, "none").markers) == {"": 1500, "NA": 1500}
    assert "every value is null" in seen(report, "none").notes and "constant" in seen(report, "one").notes
    assert any("id?" in note for note in seen(report, "ident").notes)
    assert any("several words" in note for note in seen(report, "prose").notes)
    assert seen(report, "mixed").bad == 30 and seen(report, "mixed").bad_texts == ("n/a.",)
    assert (seen(report, "i").low, seen(report, "i").high, seen(report, "i").distinct) == (0, 8, 9)
    assert seen(report, "s").top[0] == ("level 0", 4) and seen(report, "s").distinct == 900


def test_what_was_inferred_is_what_is_read(tmp_path):
    text = "b,d,t,f,y\n" + "true,2026-11-20,2026-11-20 12:00:00.5,1e3,u\n" * 3 + "0,2026-11-21,2026-11-20,nan,v\n"
    (tmp_path / "a.csv").write_text(text.replace("0,2026-11-21", "false,2026-11-21"))
    dataset = open_dataset(DataConfig(data=(str(tmp_path),), target="y"))
    (block,) = dataset.read(dataset.splits(1 << 20)[0][0])
    day = (np.datetime64("2026-11-20") - np.datetime64("1970-01-01")).astype(int)
    expected = [[1, day, day * 86400 + 43200.5, 1000]] * 3 + [[0, day + 1, day * 86400, np.nan]]
    assert np.array_equal(block.X, expected, equal_nan=True)


def test_kinds_and_storage_of_parquet_types(tmp_path):
    two = {
        "f4": pa.array([1, 2], pa.float32()),
        "f8": pa.array([1, 2], pa.float64()),
        "i1": pa.array([1, 2], pa.int8()),
        "u2": pa.array([1, 2], pa.uint16()),
        "i4": pa.array([1, 2], pa.int32()),
        "b": pa.array([True, False]),
        "d": pa.array([datetime.date(2020, 1, 1)] * 2),
        "t": pa.array([datetime.datetime(2020, 1, 1)] * 2, pa.timestamp("ms")),
        "dec": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.25")]),
        "s": pa.array(["a", "b"]),
        "digits": pa.array(["007", "008"]),
        "dict": pa.array(["a", "b"]).dictionary_encode(),
        "nested": pa.array([[1], [2]]),
        "null": pa.array([None, None], pa.float32()),
    }
    pq.write_table(pa.table(two), tmp_path / "a.parquet")
    schema, report = inferred(tmp_path)
    kinds = {c.name: (c.kind, c.role, c.storage) for c in schema.columns}
    small = ("numeric", "feature", "float32")
    wide = ("numeric", "feature", "float64")
    assert kinds == {
        **dict.fromkeys(("f4", "i1", "u2", "b"), small),
        **dict.fromkeys(("f8", "i4", "d", "t", "dec"), wide),
        **dict.fromkeys(("s", "digits", "dict"), ("categorical", "feature", "float64")),
        "nested": ("text", "ignore", "float64"),
        "null": ("numeric", "ignore", "float64"),
    }
    assert "nested" in seen(report, "nested").notes[0]
    assert report.rows == 2


def test_storage_is_float32_only_where_every_file_is(tmp_path):
    for i in range(20):
        kind = pa.float64() if i == 19 else pa.float32()
        pq.write_table(
            pa.table({"x": pa.array([1.0], kind), "z": pa.array([1.0], pa.float32())}), tmp_path / f"{i:02}.parquet"
        )
    schema, _ = inferred(tmp_path)
    assert [(c.source, c.storage) for c in schema.columns] == [("double", "float64"), ("float", "float32")]


def test_parquet_types_that_contradict_name_both_files(tmp_path):
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": ["1"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet, column 'x': is string here and double in a\.parquet"):
        inferred(tmp_path)


def test_kinds_of_json_lines(tmp_path):
    text = '{"a": 1, "b": true, "s": "u", "d": "2020-01-01"}\n{"a": 2.5, "n": {"x": 1}, "b": null}\n'
    text += '{"a": "3", "late": 1}\nbroken\n'
    schema, report = inferred(tmp_path / "a.jsonl", text)
    assert columns(schema) == {
        "a": ("numeric", "feature", "double"),
        "b": ("numeric", "feature", "bool"),
        "s": ("categorical", "feature", "string"),
        "d": ("numeric", "feature", "date32"),
        "n": ("text", "ignore", "list<item: null>"),
        "late": ("numeric", "feature", "int64"),
    }
    assert report.bad_lines == 1 and report.rows == 3 and seen(report, "late").nulls == 2


def test_json_strings_of_digits_are_strings_unless_numbers_stand_beside_them(tmp_path):
    text = '{"zip": "01234", "a": "3"}\n{"zip": "01235", "a": 4}\n{"zip": null, "a": "NA"}\n'
    schema, report = inferred(tmp_path / "a.jsonl", text)
    assert columns(schema) == {"zip": ("categorical", "feature", "string"), "a": ("numeric", "feature", "int64")}
    assert seen(report, "a").nulls == 1


def test_malformed_lines_are_counted_and_left_out(tmp_path):
    data = b'x,s\n1,a\n2\n3,b,c\n4,\xff\n5,"open\n6,b\n'
    schema, report = inferred(tmp_path / "a.csv", data)
    assert report.rows == 2 and report.bad_lines == 4 and columns(schema)["x"][2] == "int64"


def test_later_files_count_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("x,s\n1,a\n")
    (tmp_path / "b.csv").write_text("s,x\nb,2.5\n")
    schema, report = inferred(tmp_path)
    assert columns(schema)["x"] == ("numeric", "feature", "double") and seen(report, "s").distinct == 2


def test_at_most_the_sample_is_read_and_it_is_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SAMPLE_BYTES", 4000)
    for i in range(40):
        (tmp_path / f"{i:02}.csv").write_text("x\n" + f"{i}\n" * 1000)
    _, report = inferred(tmp_path)
    assert 3500 < report.n_bytes <= 4000 and report.files == 16
    assert (seen(report, "x").low, seen(report, "x").high) == (0, 15)


@pytest.mark.parametrize("text, base", [("1 0:1 2:1\n", 0), ("1 1:1 2:1\n", 1), ("1 10:1\n", 1)])
def test_the_first_libsvm_index_is_seen(tmp_path, text, base):
    schema, _ = inferred(tmp_path / "a.libsvm", text * 3)
    assert schema.format.index_base == base and schema.sparse
    assert inferred(tmp_path / "a.libsvm", text, index_base=0)[0].format.index_base == 0


def test_libsvm_has_a_label_and_queries(tmp_path):
    schema, _ = inferred(tmp_path / "a.svm", "1 qid:1 1:1\n0 qid:1 2:1\n")
    assert [(c.name, c.role) for c in schema.columns] == [("label", "target"), ("qid", "group")]
    assert [c.name for c in inferred(tmp_path / "a.svm", "1 1:1\n")[0].columns] == ["label"]
    with pytest.raises(InputError, match="known: label"):
        inferred(tmp_path / "a.svm", target="y")


# ---- roles ----

CSV = "x,s,w,g,k,o,y\n1,a,1,q,i1,0,u\n2,b,2,q,i2,0,v\n"


def test_roles_come_from_the_configuration(tmp_path):
    roles = {"target": "y", "weight": "w", "group": "g", "id": "k", "offset": "o"}
    schema, _ = inferred(tmp_path / "a.csv", CSV, **roles, exclude=("s",))
    assert {c.role: c.name for c in schema.columns} == {"feature": "x", "ignore": "s", **dict(roles.items())}
    schema, _ = inferred(tmp_path / "a.csv", CSV, target="y", features=("s",))
    assert [c.name for c in schema.columns if c.role == "feature"] == ["s"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"target": "yy"}, "column 'yy': is not in the data; did you mean 'y'"),
        ({"exclude": ("q",)}, "column 'q'"),
        ({"features": ("x", "X1")}, "'X1'"),
        ({"weight": "s"}, "cannot be the weight"),
        ({"target": "y", "weight": "y"}, "is the target already"),
    ],
)
def test_a_wrong_role_is_named(tmp_path, options, words):
    with pytest.raises(MrmlError) as caught:
        inferred(tmp_path / "a.csv", CSV, **options)
    assert words in str(caught.value) and caught.value.exit_code in (2, 3)


def test_a_target_of_texts_or_truths_is_categorical(tmp_path):
    ids = "x,y,b\n" + "".join(f"{i},id{i} and more words,{i % 2 == 0}\n" for i in range(3000))
    assert columns(inferred(tmp_path / "a.csv", ids, target="y")[0])["y"][:2] == ("categorical", "target")
    assert columns(inferred(tmp_path / "a.csv", ids, target="b")[0])["b"][:2] == ("categorical", "target")
    assert columns(inferred(tmp_path / "a.csv", ids, target="x")[0])["x"][:2] == ("numeric", "target")


# ---- YAML ----

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from(KINDS), st.sampled_from(ROLES)), max_size=5, unique_by=lambda c: c[0]),
    st.lists(NAMES, max_size=3),
    st.integers(64, 1 << 30),
)
def test_yaml_reads_back_as_the_same_schema(fields, na, window):
    schema = Schema(tuple(Column(*f) for f in fields), Format(na=tuple(na)), window)
    assert load_yaml(to_yaml(schema)) == schema


def test_yaml_says_what_was_observed_and_does_not_read_it_back(tmp_path):
    schema, report = inferred(tmp_path / "a.csv", "no,1x\n1,\n2,a\n", header=True)
    text = to_yaml(schema, report)
    assert "observed:" in text and "{text: '', count: 1}" in text
    assert load_yaml(text) == schema
    assert load_yaml(text.replace("nulls: 1", "nulls: 99")) == schema


def test_an_edited_schema_file_is_used_and_options_go_before_it(tmp_path):
    schema, report = inferred(tmp_path / "a.csv", CSV, target="y")
    text = to_yaml(schema, report).replace("{name: x, kind: numeric", "{name: x, kind: categorical")
    (tmp_path / "_s.yaml").write_text(text)
    config = DataConfig(data=(str(tmp_path / "a.csv"),), schema=str(tmp_path / "_s.yaml"), weight="w", na=("a",))
    dataset = open_dataset(config)
    assert columns(dataset.schema)["x"][0] == "categorical" and dataset.schema.role("weight").name == "w"
    assert dataset.schema.format.na == (*NA, "a")
    (block,) = dataset.read(dataset.splits(1 << 20)[0][0])
    assert block.coded["x"].levels.tolist() == ["1", "2"] and block.coded["s"].codes.tolist() == [-1, 0]


@pytest.mark.parametrize(
    "text, words",
    [
        ("columns: [{name: x, knd: numeric}]", "did you mean 'kind'"),
        ("columns: [{name: x}]\nwindow: 3", "unknown key 'window'"),
        ("columns: [{name: no}]", "quote names"),
        ("columns: [{name: x, kind: nummeric}]", "did you mean 'numeric'"),
        ("columns: [{name: x}]\nformat: {na: [null]}", "quote each"),
        ("columns: x", "no list of columns"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_schema_file_says_what_is_wrong(text, words):
    with pytest.raises(ConfigError, match=words):
        load_yaml(text)


# ---- real data ----


def test_telco_churn():
    path = shared("telco-churn", "Telco-Customer-Churn.csv")
    schema, report = inferred(path, target="Churn")
    kinds = columns(schema)
    assert kinds["customerID"][:2] == ("text", "ignore") and kinds["Churn"][:2] == ("categorical", "target")
    assert kinds["TotalCharges"] == ("numeric", "feature", "double")
    assert len(schema.features("categorical")) == 15 and len(schema.features("numeric")) == 4
    assert dict(seen(report, "TotalCharges").markers) == {" ": 11} and report.rows == 7043


def test_chicago_taxi_parquet_and_csv():
    schema, report = inferred(shared("chicago-taxi", "data.parquet"), target="tips")
    assert columns(schema)["pickup_census_tract"][:2] == ("numeric", "ignore")
    assert columns(schema)["company"][0] == columns(schema)["payment_type"][0] == "categorical"
    assert seen(report, "company").nulls == 3462
    schema, _ = inferred(shared("chicago-taxi", "data.csv"), target="tips")
    assert "constant" not in seen(report, "fare").notes and columns(schema)["fare"][2] == "double"
