"""Parquet as blocks: the cut, the columns, the errors."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml.data.block import Coded
from mrml.data.files import File, discover
from mrml.data.formats import parquet
from mrml.errors import InputError
from mrml.schema import Column, Schema

COLUMNS = (
    Column("x", source="float", storage="float32"),
    Column("n", source="int64"),
    Column("s", "categorical", source="string"),
)
SCHEMA = Schema(COLUMNS, window_bytes=64)


def table(n: int) -> pa.Table:
    i = np.arange(n)
    x = pa.array(i.astype(np.float32) / 3)
    return pa.table({"x": x, "n": pa.array(i, mask=i % 7 == 3), "s": [f"l{k % 5}" for k in i], "unused": i})


def write(path, data: pa.Table, group: int = 5000, **options) -> File:
    pq.write_table(data, path, row_group_size=group, **options)
    (file,) = discover([str(path)])
    return dataclasses.replace(file, row_groups=parquet.footer(file).row_groups)


def read(file, first=0, stop=None, schema=SCHEMA, wanted=COLUMNS):
    return list(parquet.read(file, schema, wanted, first, stop))


def test_the_rows_of_a_block_are_a_power_of_two_that_takes_at_most_two_windows():
    def rows(n, window=4 << 20, storage="float32"):
        return parquet.block_rows(
            Schema(tuple(Column(f"f{i}", storage=storage) for i in range(n)), window_bytes=window)
        )

    assert rows(28) == 65536  # 28 x 4 x 65,536 = 7.3 MB
    assert rows(28, storage="float64") == 32768
    assert rows(1) == 65536 and rows(0) == 65536
    assert rows(100_000) == 1024 and rows(28, window=64) == 1024
    for n in range(1, 3000, 37):
        assert rows(n) == 1024 or rows(n) * n * 4 <= 8 << 20
        assert rows(n) == 65536 or rows(n) * 2 * n * 4 > 8 << 20


def test_ignored_columns_do_not_narrow_a_block_and_roles_read_do_not_change_it():
    columns = tuple(Column(f"f{i}", role="ignore") for i in range(1000))
    assert parquet.block_rows(Schema(columns)) == 65536


def test_blocks_are_numbered_through_the_row_groups(tmp_path):
    file = write(tmp_path / "a.parquet", table(12_000))
    assert file.row_groups == (5000, 5000, 2000)
    assert parquet.n_blocks(file.row_groups, 1024) == 12
    sizes = [r.n_records for r in read(file)]
    assert sizes == [1024] * 4 + [904] + [1024] * 4 + [904] + [1024, 976]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_blocks_put_together_are_the_file_whatever_the_range(tmp_path_factory, data):
    n, group = data.draw(st.integers(0, 9000)), data.draw(st.integers(500, 4000))
    whole = table(n)
    file = write(tmp_path_factory.mktemp("p") / "a.parquet", whole, group, use_dictionary=data.draw(st.booleans()))
    n_blocks = parquet.n_blocks(file.row_groups, 1024)
    cut = data.draw(st.integers(0, n_blocks))
    records = [*read(file, 0, cut), *read(file, cut, None)]
    assert len(records) == n_blocks
    join = {c.name: [r.columns[c.name] for r in records] for c in COLUMNS}
    assert np.array_equal(np.concatenate([*join["x"], np.empty(0)]), whole["x"].to_numpy())
    n_ = np.concatenate([*join["n"], np.empty(0)])
    assert np.array_equal(n_, whole["n"].to_numpy().astype(float), equal_nan=True)
    assert [s for c in join["s"] for s in c.levels[c.codes]] == whole["s"].to_pylist()
    assert all(r.rows.tolist() == list(range(r.n_records)) and r.n_bad == 0 for r in records)


def test_float32_columns_are_not_copied_or_widened(tmp_path):
    (records,) = read(write(tmp_path / "a.parquet", table(10)))
    assert records.columns["x"].dtype == np.float32 and records.columns["n"].dtype == np.float64
    assert isinstance(records.columns["s"], Coded)


def test_a_file_without_rows_has_no_blocks(tmp_path):
    file = write(tmp_path / "a.parquet", table(0))
    assert parquet.n_blocks(file.row_groups, 1024) == 0 and read(file) == []


def test_wanting_no_column_still_counts_rows(tmp_path):
    file = write(tmp_path / "a.parquet", table(3000))
    assert [r.n_records for r in read(file, wanted=())] == [1024, 1024, 952]


@pytest.mark.parametrize(
    "column, finding",
    [
        (Column("xx", source="float"), "missing.*did you mean 'x'"),
        (Column("s", source="double"), "is string here and double in the schema"),
        (Column("n", "categorical", source="string"), "is int64 here and string in the schema"),
        (Column("list", source="double"), "nested.*--exclude"),
        (Column("day", source="timestamp[us]"), "is date32"),
    ],
)
def test_a_wrong_column_is_an_input_error_that_names_file_and_column(tmp_path, column, finding):
    day = pa.array([datetime.date(2026, 11, 20)] * 3)
    data = table(3).append_column("list", pa.array([[1.0]] * 3)).append_column("day", day)
    file = write(tmp_path / "part-7.parquet", data)
    with pytest.raises(InputError, match=finding) as caught:
        read(file, wanted=(column,))
    assert caught.value.exit_code == 3 and caught.value.place == f"part-7.parquet, column {column.name!r}"


def test_texts_in_a_numeric_column_that_are_no_numbers_are_bad_rows(tmp_path):
    data = pa.table({"s": ["1", "x", " 2 ", None, "NA", "y"]})
    (records,) = read(write(tmp_path / "a.parquet", data), wanted=(Column("s", source="string"),))
    assert records.n_records == 6 and records.n_bad == 2 and records.rows.tolist() == [0, 2, 3, 4]
    assert np.array_equal(records.columns["s"], [1, 2, np.nan, np.nan], equal_nan=True)
    assert [(p.offset, p.column) for p in records.problems] == [(1, "s"), (5, "s")]
    assert "'x' is not a number" in records.problems[0].finding


def damaged(data: bytes, how: str) -> bytes:
    if how == "footer":
        n = int.from_bytes(data[-8:-4], "little")
        return data[: -8 - n] + b"\xff" * 100 + data[-8 - n + 100 :]
    if how == "cut":
        return data[: len(data) // 2]
    return b"PAR1" + b"\xff" * 200 + data[204:]


@pytest.mark.parametrize("how", ["footer", "cut"])
def test_a_corrupt_footer_is_an_input_error(tmp_path, how):
    path = tmp_path / "bad.parquet"
    write(path, table(1000))
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        parquet.footer(discover([str(path)])[0])
    assert caught.value.place == "bad.parquet"


def test_corrupt_pages_are_an_input_error(tmp_path):
    path = tmp_path / "bad.parquet"
    file = write(path, table(1000))
    path.write_bytes(damaged(path.read_bytes(), "pages"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(file)


def test_a_file_that_is_gone_is_an_input_error(tmp_path):
    file = write(tmp_path / "a.parquet", table(10))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(InputError, match="was deleted after the run began"):
        read(file)
