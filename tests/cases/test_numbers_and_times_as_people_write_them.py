"""Texts like numbers or times that are read as neither are told with the option that reads them; nothing is guessed."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig
from mrml.data.formats import csv
from mrml.data.open import open_dataset
from mrml.errors import ConfigError, InputError
from mrml.schema import Column, Format

UTC = datetime.timezone.utc
DAY = datetime.date(2023, 3, 1)


def day(k: int) -> datetime.date:
    return DAY + datetime.timedelta(days=k)


def seconds(k: int) -> float:
    return datetime.datetime(2023, 3, 1, tzinfo=UTC).timestamp() + 90061 * k


def moment(k: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds(k), UTC)


def in_days(k: int) -> float:
    return float((day(k) - datetime.date(1970, 1, 1)).days)


def grouped(k: int, mark: str, decimal: str) -> str:
    return f"{k * 12345 / 100:,.2f}".translate(str.maketrans({",": mark, ".": decimal}))


#: how number k of a column is written, the options that read it, and what it is
SPELT: dict[str, tuple[Callable[[int], str], str, Callable[[int], float]]] = {
    "decimal comma": (lambda k: f"{k},5", "--decimal ','", lambda k: k + 0.5),
    "comma and points": (lambda k: grouped(k, ".", ","), "--decimal ',' --thousands \".\"", lambda k: k * 12345 / 100),
    "commas": (lambda k: grouped(k, ",", "."), '--thousands ","', lambda k: k * 12345 / 100),
    "thin spaces": (lambda k: grouped(k, "\u202f", ","), "--decimal ',' --thousands \" \"", lambda k: k * 12345 / 100),
    "Swiss": (lambda k: grouped(k, "’", "."), '--thousands "\'"', lambda k: k * 12345 / 100),
    "dollars": (lambda k: f"${k}.25", "--units '$'", lambda k: k + 0.25),
    "negative dollars": (lambda k: f"-$ {k}.25", "--units '$'", lambda k: -k - 0.25),
    "euros behind": (lambda k: f"{k},50 €", "--decimal ',' --units '€'", lambda k: k + 0.5),
    "percent": (lambda k: f"{k}%", "--units '%'", float),
    "degrees": (lambda k: f"{k}°C", "--units '°C'", float),
    "flags": (lambda k: f"{k}{'*' * (k % 30 == 7)}", "--units '*'", float),
    "day first": (lambda k: day(k).strftime("%d/%m/%Y"), "--date-format '%d/%m/%Y'", in_days),
    "month first": (lambda k: day(k).strftime("%m/%d/%Y"), "--date-format '%m/%d/%Y'", in_days),
    "points": (lambda k: day(k).strftime("%d.%m.%Y"), "--date-format '%d.%m.%Y'", in_days),
    "months by name": (lambda k: day(k).strftime("%d-%b-%Y"), "--date-format '%d-%b-%Y'", in_days),
    "clock": (lambda k: moment(k).strftime("%d/%m/%Y %H:%M:%S"), "--date-format '%d/%m/%Y %H:%M:%S'", seconds),
    "half days": (lambda k: moment(k).strftime("%m/%d/%Y %I:%M:%S %p"), "--date-format '%m/%d/%Y %I:%M:%S %p'",
                  seconds),
}  # fmt: skip


def write(path: Path, texts: list[str]) -> DataConfig:
    path.write_text("".join(["v;y\n", *(f"{text};{2 * k}\n" for k, text in enumerate(texts))]), encoding="utf-8")
    return DataConfig(data=(str(path),), target="y")


def values(config: DataConfig) -> np.ndarray:
    dataset = open_dataset(config)
    blocks = [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]
    return np.concatenate([block.X[:, 0] for block in blocks])


@pytest.mark.parametrize("name", SPELT)
def test_the_note_names_the_option_that_reads_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spell, options, value = SPELT[name]
    write(tmp_path / "a.csv", [spell(k) for k in range(200)])
    assert main(["schema", str(tmp_path / "a.csv"), "--target", "y"]) == 0
    said = capsys.readouterr().err
    assert f"note: column 'v': numbers or times that are not read as such: {options} reads them" in said
    words = ["--data", str(tmp_path / "a.csv"), "--target", "y", "--engine", "inline", "--output", str(tmp_path / "m")]
    assert main(["train", "linear", *words, *shlex.split(options)]) == 0
    assert "not read as such" not in capsys.readouterr().err
    model = mrml.load(tmp_path / "m")
    # the model reads other files alike: predict needs no option
    found = np.asarray(model.predict(tmp_path / "a.csv"))[:, -1].astype(float)
    x = np.array([value(k) for k in range(200)])
    slope, at_zero = np.polyfit(x - x[0], 2.0 * np.arange(200), 1)
    np.testing.assert_allclose(found, at_zero + slope * (x - x[0]), atol=1e-3)


@pytest.mark.parametrize("name", SPELT)
def test_the_values_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    spell, options, value = SPELT[name]
    config = write(tmp_path / "a.csv", [spell(k) for k in range(200)])
    said: dict[str, Any] = {}
    for flag, word in zip(shlex.split(options)[::2], shlex.split(options)[1::2], strict=True):
        field = flag[2:].replace("-", "_")
        said[field] = (word,) if field in ("units", "date_format") else word
    found = values(DataConfig(**{**vars(config), **said}))
    np.testing.assert_allclose(found, [value(k) for k in range(200)], rtol=1e-15)


@pytest.mark.parametrize(("text", "options"), [
    ("1.5", {"decimal": ","}), ("1.50", {"decimal": ",", "thousands": "."}), ("1,2345", {"thousands": ","}),
    ("12,34,5", {"thousands": ","}), ("31/02/2023", {"date_format": ("%d/%m/%Y",)}),
    ("1/1/23", {"date_format": ("%d/%m/%Y",)}),
    ("5 EUR", {"units": ("$",)}), ("$", {"units": ("$",)}),
])  # fmt: skip
def test_what_is_spelled_otherwise_is_a_fault_and_no_other_number(
    text: str, options: dict[str, Any], tmp_path: Path
) -> None:
    good = "01/01/2023" if "date_format" in options else "1"
    config = write(tmp_path / "a.csv", [good] * 30 + [text])
    config = DataConfig(**{**vars(config), **options})
    schema = open_dataset(DataConfig(**{**vars(write(tmp_path / "b.csv", [good] * 9)), **options})).schema
    write(tmp_path / "a.csv", [good] * 30 + [text])
    with pytest.raises(InputError, match=r"a\.csv, byte \d+, column 'v': .* is not a"):
        dataset = open_dataset(config, schema=schema)
        [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]


@pytest.mark.parametrize("options", [
    {"decimal": ",", "thousands": ","}, {"decimal": "1"}, {"thousands": "-"}, {"date_format": ("%Q",)},
    {"decimal": ",,"},
])  # fmt: skip
def test_options_that_read_nothing_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    config = write(tmp_path / "a.csv", ["1", "2"])
    with pytest.raises(ConfigError):
        open_dataset(DataConfig(**{**vars(config), **options}))


@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 999),
    st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "'")]),
)
def test_grouped_numbers_are_themselves(whole: int, rest: int, marks: tuple[str, str]) -> None:
    decimal, thousands = marks
    text = f"{whole:,}".replace(",", thousands) + f"{decimal}{rest:03d}"
    format_ = Format("csv", ";", decimal=decimal, thousands=thousands)
    found = csv.parse(f"{text}\n".encode(), ["v"], [Column("v")], format_)
    assert found.columns["v"].tolist() == [float(f"{whole}.{rest:03d}")]  # type: ignore[union-attr]


#: the same instants with and without zones, with and without fractions
INSTANTS = {
    "seven digits": [f"2023-03-01 00:00:{k:02d}.5000000" for k in range(20)],
    "zone and none": [f"2023-03-01T00:00:{k:02d}.5{'Z' if k % 2 else ''}" for k in range(20)],
    "other zones": [f"2023-03-01T02:00:{k:02d}.5+02:00" if k % 3 else f"2023-03-01 00:00:{k:02d}.5" for k in range(20)],
    "nine digits with zones": [f"2023-03-01T00:00:{k:02d}.500000000Z" for k in range(20)],
}


@pytest.mark.parametrize("name", INSTANTS)
def test_fractions_and_zones_of_any_kind_are_instants(name: str, tmp_path: Path) -> None:
    first = datetime.datetime(2023, 3, 1, tzinfo=UTC).timestamp() + 0.5
    found = values(write(tmp_path / "a.csv", INSTANTS[name]))
    np.testing.assert_array_equal(found, first + np.arange(20))


def test_a_file_with_zones_and_one_without_are_the_same_instants(tmp_path: Path) -> None:
    for part, zone in (("a", "Z"), ("b", ""), ("c", "+00:00")):
        write(tmp_path / f"{part}.csv", [f"2023-03-01T00:00:{k:02d}{zone}" for k in range(20)])
    found = values(DataConfig(data=(str(tmp_path),), target="y"))
    np.testing.assert_array_equal(found, np.tile(found[:20], 3))


@pytest.mark.parametrize("n", [5, 40, 300])
def test_a_column_of_which_every_value_differs_is_always_told(n: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    config = write(tmp_path / "a.csv", [f"item {word}" for word in rng.permutation(n)])
    assert any("column 'v'" in note and ("levels in" in note or "id?" in note) for note in open_dataset(config).notes)


@pytest.mark.parametrize(
    "names", ["a1 b2 c3", "1-2 3-4", "A B", "007a 008b", "1.2.3 1.2.4", "Q1 Q2 Q3", "Q1/2023 Q2/2023", "1st 2nd 3rd"]
)
def test_columns_that_are_names_are_not_taken_for_numbers(names: str, tmp_path: Path) -> None:
    config = write(tmp_path / "a.csv", names.split() * 20)
    assert not [note for note in open_dataset(config).notes if "not read as such" in note]
