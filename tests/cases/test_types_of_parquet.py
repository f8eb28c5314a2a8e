"""Types of Parquet that Arrow or Python cannot compare, count or show are read, or left out with a note; no column that
is not read matters."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mrml
from mrml.cli.main import main

UTC = datetime.timezone.utc
#: values of a column ``t`` by what is odd about them
TYPES: dict[str, Any] = {
    "nanoseconds": pa.array([1, 2, 3, 4], pa.timestamp("ns")),
    "nanoseconds beyond": pa.array([2**62, 2**62 + 1, -(2**62), 0], pa.timestamp("ns")),
    "years beyond 9999": pa.array([2**59, 1, 2, 3], pa.timestamp("us")),
    "dates beyond 9999": pa.array([2**30, 1, 2, 3], pa.date32()),
    "durations": pa.array([1, 2, 3, 4], pa.duration("us")),
    "times of day": pa.array([1, 2, 3, 4], pa.time64("ns")),
    "half floats": pa.array(np.arange(4, dtype=np.float16)),
    "long decimals": pa.array([decimal.Decimal(k) / 8 for k in (1, 7, 14, 21)], pa.decimal256(60, 20)),
    "bytes": pa.array([b"\xff\xfe", b"a", b"b", b"\x80"]),
    "bytes of the same length": pa.array([b"\xff\xfe", b"ab", b"bc", b"\x80a"], pa.binary(2)),
    "texts as bytes of the same length": pa.array([b"ab", b"cd", b"ab", b"cd"], pa.binary(2)),
    "nothing": pa.nulls(4),
    "lists": pa.array([[1], [2], [], [3]]),
    "zoned": pa.array([1, 2, 3, 4], pa.timestamp("us", "Europe/Oslo")),
}


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("options", [(), ("--exclude", "t"), ("--features", "x")], ids=" ".join)
def test_a_column_of_any_type_is_read_or_left_out(name: str, options: tuple[str, ...], tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    data = write(tmp_path / "a.parquet", t=TYPES[name], x=[0.5, 1.0, 1.5, 2.5], y=[0, 1, 0, 1])
    assert main(["schema", str(data)]) == 0
    words = ["--data", str(data), "--target", "y", "--engine", "inline", "--output", str(tmp_path / "m"), *options]
    code = main(["train", "logistic", *words])
    said = capsys.readouterr().err
    assert code in ((0, 2, 3) if not options else (0,)), said
    if code:
        assert "column 't'" in said and ";" in said  # place, finding and remedy
    else:
        assert main(["predict", str(tmp_path / "m"), "--data", str(data), "--output", str(tmp_path / "p")]) == 0


def test_zones_in_one_file_and_none_in_another_are_the_same_instants(tmp_path: Path) -> None:
    instants = [datetime.datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    write(tmp_path / "a.parquet", t=pa.array(instants, pa.timestamp("us", "UTC")), y=[0.0, 1.0, 2.0, 3.0])
    naive = [moment.replace(tzinfo=None) for moment in instants]
    write(tmp_path / "b.parquet", t=pa.array(naive, pa.timestamp("us")), y=[0.0, 1.0, 2.0, 3.0])
    model = mrml.Linear().fit(tmp_path, target="y", engine="inline")
    assert model.metrics["rmse"] < 1e-6


def test_bytes_that_are_no_texts_are_left_out_with_a_note(tmp_path: Path) -> None:
    data = write(tmp_path / "a.parquet", t=TYPES["bytes"], x=[0.5, 1.0, 1.5, 2.5], y=[0, 1, 0, 1])
    notes = mrml.Logistic().fit(data, target="y", engine="inline").facts["notes"]
    assert notes == ["column 't' is left out: bytes that are no UTF-8: not read"]
