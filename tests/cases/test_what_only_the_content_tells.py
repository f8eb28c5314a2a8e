"""Formats, indices, null words and columns that a look at the data does not decide are asked for, bounded or told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig
from mrml.data.formats import libsvm
from mrml.data.open import open_dataset
from mrml.errors import InputError

TIMES = "".join(f"{k % 2} {10 + k % 2}:30\n" for k in range(60))


@pytest.mark.parametrize("lines", [TIMES, "1 9:05\n0 10:15\n", "0.5 0:00\n1.5 24:00\n"])
def test_times_of_day_are_not_taken_for_libsvm(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "times.txt"
    path.write_text(lines)
    with pytest.raises(InputError, match=r"times\.txt: holds times of day, or LibSVM's .*--format libsvm, or .*csv"):
        open_dataset(DataConfig(data=(str(path),)))
    as_csv = {"format": "csv", "delimiter": "space", "header": False, "target": "c0"}
    for options in ({"format": "libsvm"}, as_csv):
        found = open_dataset(DataConfig(data=(str(path),), **options))
        assert found.schema.format.name == options["format"]


@pytest.mark.parametrize("lines", ["1 3:30 7:1\n0 4:2\n", "1 3:0.5\n0 4:1\n", "1 30:15\n0 40:15\n", "0 1:5\n1 2:7\n"])
def test_what_is_no_time_is_libsvm_as_before(lines: str, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text(lines)
    assert open_dataset(DataConfig(data=(str(tmp_path / "rows.txt"),))).schema.format.name == "libsvm"


def test_an_index_for_which_there_is_no_memory_is_refused_before_any_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.libsvm").write_text("1 1:1\n0 2:1 2147483646:1\n")
    words = ["--data", str(tmp_path / "big.libsvm"), "--engine", "inline", "--output", str(tmp_path / "m")]
    assert main(["train", "logistic", *words]) == 3
    said = capsys.readouterr().err
    assert "big.libsvm, byte 6: columns to index 2147483646 take about 4.0 TiB, and there are " in said
    assert "number them anew" in said and libsvm._MAX_INDEX < 2147483646


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_column_that_only_later_files_have_is_told(format_: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, names in enumerate(["ay", "aby", "abcy"]):
        table = pa.table({name: rng.normal(size=20) if name != "y" else np.arange(20) % 2 for name in names})
        path = tmp_path / f"part-{number}.{format_}"
        if format_ == "parquet":
            pq.write_table(table, path)
        else:
            table.to_pandas().to_csv(path, index=False)
    model = mrml.Logistic().fit(tmp_path, target="y", engine="inline")
    told = "column {!r} is left out: part-{}.{} has it, and part-0.{} does not; give it to every file"
    expected = [told.format(name, number, format_, format_) for number, name in ((1, "b"), (2, "c"))]
    assert model.facts["notes"] == expected


DOTS = "a,c,y\n" + "".join(f"{'.' if k % 7 == 0 else k % 5},{('NA', '', 'x')[k % 3]},{k % 2}\n" for k in range(60))
NAMIBIA = "country,y\n" + "".join(f"{('NA', 'DE', '')[k % 3]},{int(k % 3 == 0)}\n" for k in range(60))


def levels(path: Path, column: str, *options: str) -> set[str | None]:
    """Of a column, with None where it is null somewhere; by the command's own options."""
    config = DataConfig(data=(str(path),), target="y", categorical=(column,), na=parse_na(*options))
    dataset = open_dataset(config)
    found: set[str | None] = set()
    for split in dataset.splits(1 << 20):
        for part in split:
            for block in dataset.read(part):
                coded = block.coded[column]
                found |= {None if code < 0 else str(coded.levels[code]) for code in coded.codes.tolist()}
    return found


def parse_na(*options: str) -> tuple[str, ...]:
    from mrml.config.sources import options as of_section
    from mrml.config.sources import resolve, section

    known = of_section(DataConfig, "data")
    settings = resolve(known, {("data", "na"): list(options)} if options else {}, {}, {}, "", {})
    found: tuple[str, ...] = section(DataConfig, "data", settings).na
    return found


def test_a_null_word_is_one_more_and_the_remedy_of_a_dot_keeps_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "dot.csv").write_text(DOTS)
    assert levels(tmp_path / "dot.csv", "c") == {None, "x"}
    assert levels(tmp_path / "dot.csv", "c", ".") == {None, "x"}
    schema = open_dataset(DataConfig(data=(str(tmp_path / "dot.csv"),), target="y", na=(".",))).schema
    assert schema.column("a").kind == "numeric"


def test_with_the_empty_text_a_list_of_null_words_is_all_of_them(tmp_path: Path) -> None:
    """So that Namibia is a country."""
    (tmp_path / "namibia.csv").write_text(NAMIBIA)
    assert levels(tmp_path / "namibia.csv", "country") == {None, "DE"}
    assert levels(tmp_path / "namibia.csv", "country", "") == {None, "DE", "NA"}
    assert levels(tmp_path / "namibia.csv", "country", ",DE") == {None, "NA"}
    model = mrml.Logistic().fit(tmp_path / "namibia.csv", target="y", na=[""], engine="inline")
    assert model.metrics["auc"] == 1.0
