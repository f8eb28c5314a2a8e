"""The Dataset: the same rows whatever the cut, the compression and the reader; every trap of real files."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrml.arrays import CSR
from mrml.config.sections import DataConfig
from mrml.data.block import Block, Coded
from mrml.data.dataset import Dataset, Range
from mrml.data.open import open_dataset
from mrml.data.store import DirectoryStore
from mrml.errors import InputError
from tests.shared import shared


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    elif path.suffix == ".zst":
        data = zstd(data)
    path.write_bytes(data)
    return path


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def opened(*paths: object, **options) -> Dataset:
    return open_dataset(DataConfig(data=tuple(str(p) for p in paths), **options))


def blocks(dataset: Dataset, split_bytes: int = 1 << 30) -> list[Block]:
    return [b for split in dataset.splits(split_bytes) for part in split for b in dataset.read(part)]


def remeasured(dataset: Dataset) -> Dataset:
    """The Dataset as if its files had always had their present sizes."""
    files = (dataclasses.replace(f, size=Path(f.path).stat().st_size) for f in dataset.files)
    return dataclasses.replace(dataset, files=tuple(files))


def plain(values) -> list:
    """A column as Python values, NaN as None."""
    if isinstance(values, Coded):
        return [None if c < 0 else str(values.levels[c]) for c in values.codes]
    return [None if v != v else v for v in np.asarray(values).tolist()]


def rows(found: list[Block]) -> list[tuple]:
    """Every row of some blocks: (file, X, coded, y, weight, group, id)."""
    out = []
    for b in found:
        x = b.X.toarray() if isinstance(b.X, CSR) else b.X
        extra = [plain(v) if v is not None else [None] * b.n_rows for v in (b.y, b.weight, b.group, b.id)]
        columns = [plain(c) for _, c in sorted(b.coded.items())]
        wide = [
            [v if v == v else None for v in np.trim_zeros(r, "b").tolist()] if isinstance(b.X, CSR) else plain(r)
            for r in x
        ]
        out += list(zip([b.file] * b.n_rows, wide, *columns, *extra, strict=True))
    return out


def fails(call, *words: str) -> InputError:
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return caught.value


# ---- identity of rows ----

TEXTS = st.sampled_from(["a", "bb", "ü", "a b", "12", "x" * 40])
NUMBERS = st.integers(-99, 99) | st.sampled_from([0.5, -1.25, 1e300])
RECORDS = st.lists(st.tuples(NUMBERS | st.none(), TEXTS | st.none(), st.integers(0, 1)), min_size=1, max_size=60)
END = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


def as_text(records, kind: str, end: str, last_end: bool) -> str:
    if kind in ("csv", "tsv"):
        lines = ["x,s,y", *(f"{'' if x is None else x},{'' if s is None else s},{y}" for x, s, y in records)]
        lines = [line.replace(",", "\t") if kind == "tsv" else line for line in lines]
    elif kind == "jsonl":
        lines = [json.dumps({"x": x, "s": s, "y": y}) for x, s, y in records]
    else:
        lines = [f"{y} 1:{x or 0} {3 + len(s or '')}:1" for x, s, y in records]
    return end.join(lines) + (end if last_end else "")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(RECORDS, min_size=1, max_size=3),
    st.sampled_from(["csv", "tsv", "jsonl", "libsvm"]),
    st.sampled_from(["", ".gz", ".bz2", ".zst"]),
    st.sampled_from(sorted(END)),
    st.booleans(),
    st.integers(64, 400),
    st.integers(64, 2000),
)
def test_blocks_put_together_are_the_rows_whatever_window_cut_and_compression(
    tmp_path_factory, files, kind, ending, end, last_end, window, split
):
    root = tmp_path_factory.mktemp("d")
    for i, records in enumerate(files):
        write(root / f"part-{i}.{kind}{ending}", as_text(records, kind, END[end], last_end))
    whole = opened(root, target=None if kind == "libsvm" else "y", format=kind)
    schema = dataclasses.replace(
        whole.schema,
        columns=tuple(
            dataclasses.replace(c, role="feature") if c.role == "ignore" else c for c in whole.schema.columns
        ),
    )
    expected = rows(blocks(dataclasses.replace(whole, schema=schema)))
    config = DataConfig(data=(str(root),), format=kind)
    cut = open_dataset(config, dataclasses.replace(schema, window_bytes=window))
    found = blocks(cut, split)
    assert rows(found) == expected
    assert len(expected) == sum(map(len, files))
    assert [(b.file, b.index) for b in found] == sorted((b.file, b.index) for b in found)
    assert len({k for b in found for k in b.row_key.tolist()}) == len(expected)
    if not ending:
        assert len(found) == cut.describe()["blocks"]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
def test_compressed_files_give_the_same_blocks_as_plain_ones(tmp_path, ending):
    text = "x,s,y\n" + "".join(f"{i / 7},k{i % 5},{i % 2}\n" for i in range(500))
    one = opened(write(tmp_path / "a" / "p.csv", text), target="y", window_bytes=300)
    two = opened(write(tmp_path / "b" / f"p.csv{ending}", text), target="y", window_bytes=300)
    a, b = blocks(one, 600), blocks(two, 600)
    assert len(a) == len(b) > 20 and two.describe()["blocks"] is None
    for x, y in zip(a, b, strict=True):
        assert x.index == y.index and x.X.tobytes() == y.X.tobytes() and x.rows.tobytes() == y.rows.tobytes()
        assert plain(x.coded["s"]) == plain(y.coded["s"]) and x.y.tobytes() == y.y.tobytes()


def test_any_range_of_a_compressed_file_can_be_read(tmp_path):
    dataset = opened(write(tmp_path / "p.csv.gz", "x,y\n" + "1.5,0\n" * 300), target="y", window_bytes=100)
    whole = blocks(dataset)
    found = [*dataset.read(Range(0, 0, 5)), *dataset.read(Range(0, 5, None))]
    assert [b.index for b in found] == [b.index for b in whole] and rows(found) == rows(whole)


def test_a_dataset_travels_as_json_and_a_task_reads_the_same(tmp_path):
    write(tmp_path / "k=a" / "p.csv", "x,s,y\n1,u,0\n2,v,1\n")
    write(tmp_path / "k=b" / "p.csv", "x,s,y\n3,u,0\n")
    dataset = opened(tmp_path, target="y")
    other = Dataset.from_json(json.loads(json.dumps(dataset.to_json())))
    assert other == dataset and rows(blocks(other)) == rows(blocks(dataset))


def test_x_is_c_contiguous_in_the_schemas_dtype(tmp_path):
    n = 3000
    data = {f"f{i}": np.arange(n, dtype=np.float32) + i for i in range(5)}
    pq.write_table(pa.table({**data, "y": np.arange(n)}), tmp_path / "a.parquet")
    dataset = opened(tmp_path, target="y", window_bytes=64)
    found = blocks(dataset)
    assert [b.n_rows for b in found] == [1024, 1024, 952]
    for b in found:
        assert b.X.dtype == np.float32 and b.X.flags.c_contiguous and b.y.dtype == np.float64
        assert np.array_equal(b.X, np.stack([v[b.y.astype(int)] for v in data.values()], 1))


# ---- splits ----


def ranges(dataset: Dataset, split_bytes: int) -> list[list[tuple]]:
    return [[tuple(r) for r in split] for split in dataset.splits(split_bytes)]


def test_small_files_share_a_split_and_large_ones_are_cut_between_blocks(tmp_path):
    for i in range(4):
        write(tmp_path / f"{i}.csv", "x,y\n" + "1,0\n" * 40)  # 164 bytes, 3 windows of 64
    dataset = opened(tmp_path, target="y", window_bytes=64)
    assert ranges(dataset, 10_000) == [[(0, 0, 3), (1, 0, 3), (2, 0, 3), (3, 0, 3)]]
    assert ranges(dataset, 400) == [[(0, 0, 3), (1, 0, 3)], [(2, 0, 3), (3, 0, 3)]]
    assert [len(r) for r in ranges(dataset, 64)] == [1] * 12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=1, max_size=6), st.integers(64, 3000))
def test_splits_hold_every_block_once_in_order(tmp_path_factory, files, split_bytes):
    root = tmp_path_factory.mktemp("d")
    for i, (n, packed) in enumerate(files):
        write(root / f"{i}.csv{'.gz' if packed else ''}", "x,y\n" + "1,0\n" * n)
    dataset = opened(root, target="y", window_bytes=64)
    at = {}
    for split in dataset.splits(split_bytes):
        assert split
        for r in split:
            assert r.first == at.get(r.file, 0)
            at[r.file] = r.stop
    assert at == {i: None if f.compression else f.n_blocks for i, f in enumerate(dataset.files)}


def test_parquet_is_cut_at_row_groups_unless_one_is_huge(tmp_path):
    table = pa.table({"x": np.random.default_rng(0).random(40_000), "y": np.zeros(40_000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4096, compression="none")
    dataset = opened(tmp_path, target="y", window_bytes=64)
    each = dataset.files[0].size // 40
    assert ranges(dataset, 10 * each)[0] == [(0, 0, 8)]
    assert all(r[0][1] % 4 == 0 for r in ranges(dataset, 20_000))
    assert ranges(dataset, 64)[:3] == [[(0, 0, 1)], [(0, 1, 2)], [(0, 2, 3)]]


def test_training_and_validation_files_never_share_a_split(tmp_path):
    write(tmp_path / "t" / "a.csv", "x,y\n1,0\n")
    write(tmp_path / "v" / "a.csv", "x,y\n2,1\n")
    dataset = opened(tmp_path / "t", target="y", valid=(str(tmp_path / "v"),))
    assert ranges(dataset, 10_000) == [[(0, 0, 1)], [(1, 0, 1)]]
    assert [b.part for b in blocks(dataset)] == ["train", "valid"]
    assert dataset.describe()["valid_files"] == 1


# ---- traps ----


def test_header_in_every_part_crlf_bom_markers_and_empty_parts(tmp_path):
    write(tmp_path / "part-0.csv", "\ufeffx,s,y\r\n1,a,0\r\n2,b,1")
    write(tmp_path / "part-1.csv", "")
    write(tmp_path / "part-2.csv", "x,s,y\n")
    write(tmp_path / "part-3.csv", "y,extra,s,x\n0,9,c,3\n")
    for name in ("_SUCCESS", "_committed_1", ".part-0.csv.crc", "part-0.csv.crc", "_temporary/0/part-0.csv"):
        write(tmp_path / name, "nonsense")
    dataset = opened(tmp_path, target="y")
    assert [f.name for f in dataset.files] == ["part-0.csv", "part-2.csv", "part-3.csv"]
    assert rows(blocks(dataset)) == [
        (0, [1.0], "a", 0.0, None, None, None),
        (0, [2.0], "b", 1.0, None, None, None),
        (2, [3.0], "c", 0.0, None, None, None),
    ]


def test_a_directory_of_markers_and_flight_text_reads_the_text_alone():
    dataset = opened(shared("flight-formats", "flight-data-hive"), target="c2", bad_rows="skip")
    (block,) = blocks(dataset)
    assert (block.n_rows, block.n_records, block.n_bad) == (254, 256, 2)  # two names hold commas without quotes


def test_a_column_that_one_part_lacks_is_named_with_the_part(tmp_path):
    write(tmp_path / "a.csv", "x,s,y\n1,a,0\n")
    write(tmp_path / "b.csv", "x,S,y\n1,a,0\n")
    dataset = opened(tmp_path, target="y")
    fails(lambda: blocks(dataset), "b.csv", "column 's'", "is missing")


def test_one_parquet_part_of_another_type_is_found_before_anything_is_read(tmp_path):
    pq.write_table(pa.table({"x": [1.0], "y": [0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": ["1.0"], "y": [0]}), tmp_path / "b.parquet")
    fails(lambda: opened(tmp_path, target="y"), "b.parquet", "column 'x'", "a.parquet")
    pq.write_table(pa.table({"y": [0]}), tmp_path / "b.parquet")
    fails(lambda: opened(tmp_path, target="y"), "b.parquet", "column 'x'", "is missing")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and then nothing of the kind PAR1")
    fails(lambda: opened(tmp_path, target="y"), "b.parquet", "cannot be read as Parquet")


def test_bad_values_are_errors_with_file_byte_column_and_remedy_or_are_skipped_and_counted(tmp_path):
    text = "x,y\n1,0\n" + "2,1\n" * 20 + "n/a.,1\n3,0\n"
    path = write(tmp_path / "part-7.csv", text)
    schema = opened(path, target="y").schema
    assert schema.column("x").kind == "numeric"
    error = fails(lambda: blocks(opened(path, target="y", window_bytes=64)), 'add na: ["n/a."] under data')
    assert error.place == f"part-7.csv, byte {text.index('n/a.')}, column 'x'"
    found = blocks(opened(path, target="y", bad_rows="skip", window_bytes=64))
    assert sum(b.n_bad for b in found) == 1 and sum(b.n_records for b in found) == 23
    (bad,) = [b for b in found if b.n_bad]
    assert bad.problems == (str(error),)
    ordinals = next(b.rows.tolist() for b in found if b.n_bad)
    assert len(ordinals) == bad.n_records - 1  # the malformed record keeps its ordinal


def test_bytes_that_are_not_utf8_are_bad_rows(tmp_path):
    path = write(tmp_path / "a.csv", b"s,y\na,0\n\xff\xfe\xe9,1\nb,1\na,0\n")
    fails(lambda: blocks(opened(path, target="y")), "a.csv, byte 8", "UTF-8")
    (block,) = blocks(opened(path, target="y", bad_rows="skip"))
    assert plain(block.coded["s"]) == ["a", "b", "a"] and block.rows.tolist() == [0, 2, 3]


def test_two_null_markers_a_constant_and_an_all_null_column(tmp_path):
    path = write(tmp_path / "a.csv", "x,c,e,y\n1,7,,0\nNA,7,,1\n\\N,7,,0\n 2 ,7,,1\n")
    dataset = opened(path, target="y")
    assert [c.role for c in dataset.schema.columns] == ["feature", "feature", "ignore", "target"]
    (block,) = blocks(dataset)
    assert [plain(r) for r in block.X] == [[1, 7], [None, 7], [None, 7], [2, 7]]


def test_a_row_without_a_usable_target_weight_or_offset_is_bad(tmp_path):
    text = "x,y,w,o\n1,0,1,0\n2,,1,0\n3,1,-1,0\n4,1,,0\n5,1,1,\n6,nan,1,0\n7,1,0,0\n"
    path = write(tmp_path / "a.csv", text)
    roles = {"target": "y", "weight": "w", "offset": "o"}
    (block,) = blocks(opened(path, **roles, bad_rows="skip"))
    assert block.X[:, 0].tolist() == [1] and block.n_bad == 5 and block.rows.tolist() == [0]  # the last has no weight
    for line, word in (("2,,1,0", "'y'"), ("3,1,-1,0", "'w'"), ("5,1,1,", "'o'")):
        assert any(f"byte {text.index(line)}, column {word}" in p for p in block.problems), block.problems
    fails(lambda: blocks(opened(path, **roles)), "column 'y': is null", "bad_rows: skip")


def test_a_null_label_is_a_bad_row_in_parquet_too_and_names_the_row(tmp_path):
    y = [None if i == 1500 else "ab"[i % 2] for i in range(3000)]
    pq.write_table(pa.table({"x": np.arange(3000), "y": y}), tmp_path / "a.parquet")
    fails(lambda: blocks(opened(tmp_path, target="y", window_bytes=64)), "a.parquet, row 1500, column 'y': is null")
    found = blocks(opened(tmp_path, target="y", window_bytes=64, bad_rows="skip"))
    assert sum(b.n_rows for b in found) == 2999 and found[1].y.levels.tolist() == ["a", "b"]


def test_a_quoted_newline_needs_multiline_and_then_the_file_is_read_whole(tmp_path):
    path = write(tmp_path / "a.csv", 's,y\n"a\nb",0\nc,1\n"d\r\ne",0\nc,1\n')
    fails(lambda: blocks(opened(path, target="y")), "--multiline")
    dataset = opened(path, target="y", multiline=True, window_bytes=64)
    assert not dataset.files[0].splittable and dataset.files[0].n_blocks is None
    assert [s for b in blocks(dataset, 64) for s in plain(b.coded["s"])] == ["a\nb", "c", "d\r\ne", "c"]


def test_hive_partitions_become_columns(tmp_path):
    for country, dt, x in (("A%20b", "2026-11-20", 1), ("__HIVE_DEFAULT_PARTITION__", "2026-11-21", 2)):
        write(tmp_path / f"country={country}" / f"dt={dt}" / "p.csv", f"x,y\n{x},0\n{x},1\n")
    dataset = opened(tmp_path, target="y")
    found = {c.name: (c.kind, c.source) for c in dataset.schema.columns}
    assert found["country"] == ("categorical", "string") and found["dt"] == ("numeric", "date32")
    day = (np.datetime64("2026-11-20") - np.datetime64("1970-01-01")).astype(int)
    assert [r[1:3] for r in rows(blocks(dataset))] == [
        ([1.0, float(day)], "A b"),
        ([1.0, float(day)], "A b"),
        ([2.0, float(day + 1)], None),
        ([2.0, float(day + 1)], None),
    ]


def test_partitions_of_two_tables_are_refused(tmp_path):
    write(tmp_path / "a=1" / "p.csv", "x,y\n1,0\n")
    write(tmp_path / "b=1" / "p.csv", "x,y\n1,0\n")
    fails(lambda: opened(tmp_path, target="y"), "b=1/p.csv", "one table")


def test_a_file_that_changed_since_the_run_began_is_an_error(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n1,0\n")
    dataset = opened(path, target="y")
    write(path, "x,y\n1,0\n2,1\n")
    fails(lambda: blocks(dataset), "a.csv", "when the run began")
    path.unlink()
    fails(lambda: blocks(dataset), "a.csv", "was deleted after")


def test_a_truncated_gzip_file_is_an_input_error(tmp_path):
    text = "x,y\n" + "".join(f"{i * 7919 % 1000},0\n" for i in range(5000))
    path = write(tmp_path / "a.csv.gz", text)
    dataset = opened(path, target="y")
    path.write_bytes(path.read_bytes()[:-200])
    fails(lambda: blocks(dataset), "a.csv.gz", "when the run began")
    fails(lambda: blocks(remeasured(dataset)), "a.csv.gz", "cannot be read as gz")


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
def test_compressed_members_behind_each_other_are_one_file_and_garbage_is_an_error(tmp_path, ending):
    one, two = (write(tmp_path / f"{i}{ending}", t).read_bytes() for i, t in enumerate(["x,y\n1,0\n2,", "1\n3,0\n"]))
    path = tmp_path / "d" / f"a.csv{ending}"
    path.parent.mkdir()
    path.write_bytes(one + two)
    dataset = opened(path, target="y")
    assert [b.X[:, 0].tolist() for b in blocks(dataset)] == [[1, 2, 3]]
    if ending == ".gz":  # as tapes and some writers leave it; gzip itself leaves it out
        path.write_bytes(one + two + bytes(100))
        assert [b.X[:, 0].tolist() for b in blocks(remeasured(dataset))] == [[1, 2, 3]]
    path.write_bytes(one + b"\1" * 100)
    fails(lambda: blocks(remeasured(dataset)), f"a.csv{ending}", "cannot be read as")


def test_an_empty_compressed_part_changes_nothing_but_the_numbers_of_files(tmp_path):
    write(tmp_path / "part-0.csv.gz", "")
    write(tmp_path / "part-1.csv.gz", "a,b\n1,0\n")
    dataset = opened(tmp_path, target="b")
    assert rows(blocks(dataset)) == [(1, [1.0], 0.0, None, None, None)]


# ---- groups ----

GROUPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12)), min_size=1, max_size=12)


def runs_of(groups) -> list[tuple[str, int]]:
    """(group, size) with equal neighbours put together."""
    out: list[tuple[str, int]] = []
    for g, n in groups:
        out.append((g, n + out.pop()[1]) if out and out[-1][0] == g else (g, n))
    return out


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(64, 120), st.integers(64, 500), st.sampled_from(["csv", "csv.gz", "jsonl"]), st.booleans())
def test_a_group_lies_in_the_block_it_begins_in_wherever_a_reader_starts(
    tmp_path_factory, groups, window, split, kind, some_bad
):
    flat = [g for g, n in groups for _ in range(n)]
    y = ["" if some_bad and i % 5 == 3 else 0 for i in range(len(flat))]
    if kind == "jsonl":
        text = "".join(
            json.dumps({"g": g, "x": i, "y": v or 0}) + "\n" for i, (g, v) in enumerate(zip(flat, y, strict=True))
        )
    else:
        text = "g,x,y\n" + "".join(f"{g},{i},{v}\n" for i, (g, v) in enumerate(zip(flat, y, strict=True)))
    path = write(tmp_path_factory.mktemp("d") / f"a.{kind}", text)
    dataset = opened(path, target="y", group="g", window_bytes=window, bad_rows="skip")
    found = blocks(dataset, split)
    kept = [(g, i) for i, (g, v) in enumerate(zip(flat, y, strict=True)) if v != "" or kind == "jsonl"]
    assert [(g, x) for b in found for g, x in zip(plain(b.group), b.X[:, 0], strict=True)] == kept
    assert sum(b.n_records for b in found) == len(flat)
    ends = [plain(b.group) for b in found if b.n_rows]
    assert all(a[-1] != b[0] for a, b in itertools.pairwise(ends))
    again = [b for k in range(len(found)) for b in dataset.read(Range(0, k, k + 1))]
    assert [b.row_key.tolist() for b in again] == [b.row_key.tolist() for b in found]
    assert len({k for b in found for k in b.row_key.tolist()}) == len(kept)


def test_groups_stay_whole_over_parquet_blocks(tmp_path):
    g = np.repeat(np.arange(9), [1000, 100, 2500, 1, 400, 23, 1000, 1072, 4])
    pq.write_table(pa.table({"g": g, "x": np.arange(len(g)), "y": g * 0}), tmp_path / "a.parquet", row_group_size=3000)
    dataset = opened(tmp_path, target="y", group="g", window_bytes=64)
    found = blocks(dataset, 64)
    assert np.concatenate([b.X[:, 0] for b in found]).tolist() == list(range(len(g)))
    seen = [v for b in found for v in np.unique(b.group).tolist()]
    assert seen == list(range(9)) and found[0].group.dtype == np.int64


def test_a_group_over_two_files_is_an_input_error(tmp_path):
    write(tmp_path / "a.csv", "g,x,y\nq1,1,0\nq2,2,0\n")
    write(tmp_path / "b.csv", "g,x,y\n")
    write(tmp_path / "c.csv", "g,x,y\nq2,3,0\n")
    fails(lambda: blocks(opened(tmp_path, target="y", group="g")), "c.csv", "'q2'", "a.csv", "one file")
    write(tmp_path / "c.csv", "g,x,y\nq3,3,0\n")
    assert len(rows(blocks(opened(tmp_path, target="y", group="g")))) == 3


def test_libsvm_queries_are_groups(tmp_path):
    path = write(tmp_path / "a.libsvm", "".join(f"{i % 3} qid:{i // 7} 1:{i}\n" for i in range(50)))
    found = blocks(opened(path, window_bytes=64), 64)
    assert [v for b in found for v in np.unique(b.group).tolist()] == list(range(8))
    assert [v for b in found for v in b.X.data.tolist()] == list(range(50))


# ---- side files ----


def test_weight_and_query_files_beside_the_data(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n" + "".join(f"{i},0\n" for i in range(60)))
    write(tmp_path / "a.csv.weight", "".join(f"{i / 4}\n" for i in range(60)))
    write(tmp_path / "a.csv.query", "10\n0\n25\n25\n")
    dataset = opened(path, target="y", window_bytes=64)
    found = blocks(dataset, 64)
    assert np.concatenate([b.weight for b in found]).tolist() == [i / 4 for i in range(60)]
    groups = np.concatenate([b.group for b in found])
    assert np.diff(np.flatnonzero(np.diff(groups, prepend=-1, append=-1))).tolist() == [10, 25, 25]
    assert all(len(set(a.group.tolist()) & set(b.group.tolist())) == 0 for a, b in itertools.pairwise(found))
    again = [b for k in range(len(found)) for b in dataset.read(Range(0, k, k + 1))]
    assert rows(again) == rows(found) and len(ranges(dataset, 64)) == 1


def test_groups_of_two_query_files_are_different_groups(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.csv", "x,y\n1,0\n2,0\n")
        write(tmp_path / f"{name}.csv.query", "2\n")
    a, b = blocks(opened(tmp_path, target="y"))
    assert a.group.tolist() == [0, 0] and b.group.tolist() == [1 << 32] * 2


def test_a_weight_file_of_another_length_or_missing_for_one_file_is_an_error(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n1,0\n2,1\n")
    for text, word in (("1\n", "for 1 rows"), ("1\n1\n1\n", "for 3 rows"), ("1\nx\n", "numbers")):
        write(tmp_path / "a.csv.weight", text)
        fails(lambda: blocks(opened(path, target="y")), "a.csv.weight", word)
    write(tmp_path / "b.csv", "x,y\n1,0\n2,1\n")
    fails(lambda: opened(tmp_path, target="y"), "b.csv", ".weight")


def test_a_named_weight_column_goes_before_a_weight_file(tmp_path):
    path = write(tmp_path / "a.csv", "x,w,y\n1,5,0\n2,6,1\n")
    write(tmp_path / "a.csv.weight", "1\n2\n")
    (block,) = blocks(opened(path, target="y", weight="w"))
    assert block.weight.tolist() == [5, 6]


# ---- scoring ----


def test_a_model_of_parquet_scores_csv_and_jsonl_with_its_own_columns_and_blocks(tmp_path):
    x = np.arange(4, dtype=np.float32) / 3
    pq.write_table(pa.table({"x": x, "s": list("abab"), "i": [1, 2, 3, 4], "y": list("pqpq")}), tmp_path / "a.parquet")
    model = opened(tmp_path / "a.parquet", target="y", id="i").schema
    lines = [f"{i},{s},{v!r},9" for i, s, v in zip([1, 2, 3, 4], "abab", x.tolist(), strict=True)]
    csv = write(tmp_path / "new.csv", "i;s;x;more\n".replace(";", ",") + "\n".join(lines))
    jsonl = write(
        tmp_path / "new.jsonl",
        "\n".join(
            json.dumps({"i": i, "s": s, "x": v}) for i, s, v in zip([1, 2, 3, 4], "abab", x.tolist(), strict=True)
        ),
    )
    expected = None
    for path in (tmp_path / "a.parquet", csv, jsonl):
        dataset = open_dataset(DataConfig(data=(str(path),)), model, roles=("feature", "id", "offset"))
        assert dataset.schema.columns == model.columns and dataset.schema.window_bytes == model.window_bytes
        (block,) = blocks(dataset)
        assert block.y is None and block.X.dtype == np.float32 and [int(i) for i in block.id] == [1, 2, 3, 4]
        expected = expected or block
        assert np.array_equal(block.X, expected.X) and plain(block.coded["s"]) == plain(expected.coded["s"])
    write(tmp_path / "new.csv", "i,x\n1,2\n")
    dataset = open_dataset(DataConfig(data=(str(csv),)), model, roles=("feature", "id"))
    fails(lambda: blocks(dataset), "new.csv", "column 's'", "is missing")


def test_a_libsvm_model_does_not_score_csv(tmp_path):
    model = opened(write(tmp_path / "a.libsvm", "1 1:2\n0 2:1\n")).schema
    csv = write(tmp_path / "a.csv", "x,y\n1,0\n")
    fails(lambda: open_dataset(DataConfig(data=(str(csv),)), model), "a.csv", "libsvm")


def test_a_libsvm_models_index_base_stays_its_own(tmp_path):
    model = opened(write(tmp_path / "a.libsvm", "1 0:2 1:1\n0 2:1\n")).schema
    assert model.format.index_base == 0
    new = open_dataset(DataConfig(data=(str(write(tmp_path / "b.libsvm", "1 1:5\n")),)), model)
    assert blocks(new)[0].X.toarray().tolist() == [[0, 5]]


# ---- the store ----


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_store_gives_the_blocks_of_a_range_and_decodes_them_once(tmp_path, name, monkeypatch):
    path = write(tmp_path / name, "x,s,y\n" + "".join(f"{i},k{i % 3},0\n" for i in range(200)))
    dataset = opened(path, target="y", window_bytes=128)
    store = DirectoryStore(tmp_path / "cache")
    whole = blocks(dataset)
    half = list(store.blocks(dataset, Range(0, 0, 3)))
    found = list(store.blocks(dataset, Range(0, 0, None)))
    assert rows(half) == rows(whole[:3]) and rows(found) == rows(whole) and store.n_blocks(0) == len(whole)
    monkeypatch.setattr(Dataset, "read", None)
    again = list(store.blocks(dataset, Range(0, 0, None)))
    assert rows(again) == rows(whole)
    again[2].memo("m", 1, lambda old: {"a": np.ones(2)})
    assert store.block_memo(0, 2).get("m")[0] == 1


# ---- real data ----


@pytest.mark.parametrize("year, n, total", [(2010, 255, 422269), (2011, 255, 428426), (2012, 245, 422180),
                                            (2013, 250, 417869), (2014, 241, 436855), (2015, 256, 453316)])  # fmt: skip
def test_flight_sums_are_the_same_in_every_format(year, n, total):
    base = shared("flight-formats", "flight-data")
    paths = [base / "csv" / f"{year}-summary.csv", base / "json" / f"{year}-summary.json"]
    paths += [base / "parquet" / "2010-summary.parquet"] if year == 2010 else []
    for path in paths:
        found = blocks(opened(path, target="count", window_bytes=256), 1000)
        assert sum(b.n_rows for b in found) == n and sum(b.y.sum() for b in found) == total
        assert all(b.n_bad == 0 for b in found) and (len(found) > 20 or path.suffix == ".parquet")


def test_chicago_taxi_null_counts():
    dataset = opened(shared("chicago-taxi", "data.csv"), target="fare", window_bytes=1 << 18, bad_rows="skip",
                     features=(*tuple(MISSING), "payment_type", "tips"))  # fmt: skip
    found = blocks(dataset)
    numeric = [c.name for c in dataset.schema.features("numeric")]
    X = np.concatenate([b.X[b.y > 0] for b in found])
    assert len(X) == 14975
    nulls = dict(zip(numeric, np.isnan(X).sum(0).tolist(), strict=True))
    nulls["company"] = sum((b.coded["company"].codes[b.y > 0] < 0).sum() for b in found)
    assert {k: v for k, v in nulls.items() if v} == MISSING


MISSING = {
    "pickup_community_area": 1,
    "pickup_latitude": 1,
    "pickup_longitude": 1,
    "dropoff_latitude": 472,
    "dropoff_longitude": 472,
    "pickup_census_tract": 14974,
    "dropoff_census_tract": 4223,
    "company": 5139,
    "trip_seconds": 1,
    "dropoff_community_area": 496,
}


def test_higgs_weights_come_from_the_side_file():
    (block,) = blocks(opened(shared("higgs-7k", "binary.train"), target="c0"))
    lines = shared("higgs-7k", "binary.train.weight").read_text().split()
    assert block.X.shape == (7000, 28) and block.weight.tolist() == [float(s) for s in lines]


def test_agaricus_is_libsvm_by_its_content():
    dataset = opened(shared("agaricus", "agaricus.txt.train"), window_bytes=1 << 16)
    found = blocks(dataset, 1 << 17)
    assert sum(b.n_rows for b in found) == 6513 and max(b.X.n_columns for b in found) == 126
    assert sum(len(b.X.data) for b in found) == shared("agaricus", "agaricus.txt.train").read_bytes().count(b":")
