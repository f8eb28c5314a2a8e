"""`mrml schema` says how many lines it could not read; Parquet is Parquet under any name; side files are told."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig
from mrml.data.open import open_dataset
from mrml.errors import InputError

#: a file of which some lines are none, and what is told of it
PARTLY = {
    "a.csv": ("a,b\n" + '1,2\n3,"4\n5,6,7\n' * 20, "40 of 60 lines", "a.csv, byte 8: has a quote that is still open"),
    "b.csv": ("a,b\n" + "1,2\n3\n" * 30, "30 of 60 lines", "b.csv, byte 8: has 1 field, the header names 2"),
    "c.jsonl": ('{"a": 1}\n' * 30 + "oops\n", "1 of 31 lines", "c.jsonl, byte 270: "),
    "d.tsv": ("a\tb\n" + "1\tx\n2\t\xff\n" * 10, "10 of 20 lines", "d.tsv, byte 8, column 'b': is not UTF-8"),
}


@pytest.mark.parametrize("name", PARTLY)
def test_the_schema_command_tells_what_it_could_not_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, counted, first = PARTLY[name]
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert main(["schema", str(tmp_path / name)]) == 0
    said = capsys.readouterr().err
    assert f"note: {counted} of the sample cannot be read: {first}" in said and "--bad-rows skip" in said


@pytest.mark.parametrize("text", ["a,b\n1\n2\n", 'a,b\n"1\n"2\n', "Title\n\na,b\n1,2\n3,4\n"])
def test_the_schema_command_refuses_what_holds_no_row(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert main(["schema", str(tmp_path / "a.csv")]) == 3
    said = capsys.readouterr().err
    assert "a.csv" in said and "; " in said


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.PARQUET.zst", "a.pq.bz2"])
def test_parquet_whose_name_says_compressed_is_read(name: str, tmp_path: Path) -> None:
    """As pandas writes it with ``compression="gzip"``."""
    pq.write_table(
        pa.table({"x": [0.0, 1.0, 2.0, 3.0], "y": [0.0, 2.0, 4.0, 6.0]}), tmp_path / name, compression="gzip"
    )
    for folder in (tmp_path, tmp_path / name):
        assert mrml.Linear().fit(folder, target="y", engine="inline").metrics["rmse"] < 1e-9


def test_parquet_that_is_compressed_once_more_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [0.0]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    with pytest.raises(InputError, match=r"a\.parquet\.gz: is Parquet inside gz; decompress it"):
        open_dataset(DataConfig(data=(str(tmp_path / "a.parquet.gz"),)))


@pytest.mark.parametrize(("end", "what"), [(".weight", "weights of its rows"), (".query", "sizes of its groups")])
def test_side_files_are_told(end: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n1,0\n2,1\n")
    (tmp_path / f"rows.csv{end}").write_text("1\n1\n")
    assert open_dataset(DataConfig(data=(str(tmp_path / "rows.csv"),), target="y")).notes == (
        f"rows.csv{end} is read: {what}",
    )
