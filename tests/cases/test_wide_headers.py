"""A header longer than what is looked at first keeps all of its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrml.config.sections import DataConfig
from mrml.data.inference import sniff
from mrml.data.open import open_dataset
from mrml.errors import InputError


@pytest.mark.parametrize(("ending", "between"), [("csv", ","), ("tsv", "\t"), ("txt", ";")])
def test_every_name_of_a_long_header_is_a_column(
    ending: str, between: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniff, "HEAD_BYTES", 1 << 10)
    names = [f"a_column_with_a_long_name_{i}" for i in range(500)]
    rows = "".join(between.join(str(i * j % 7) for j in range(len(names))) + "\n" for i in range(3))
    (tmp_path / f"a.{ending}").write_text(between.join(names) + "\n" + rows)
    dataset = open_dataset(DataConfig(data=(str(tmp_path / f"a.{ending}"),), target=names[-1]))
    assert [c.name for c in dataset.schema.columns] == names


def test_a_first_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniff, "HEAD_BYTES", 1 << 10)
    monkeypatch.setattr(sniff, "MOST_HEAD_BYTES", 1 << 14)
    (tmp_path / "a.csv").write_text("x," * (1 << 14))
    with pytest.raises(InputError, match=r"a\.csv: its first line does not end within 0 MiB; is it text"):
        open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), target="y"))
