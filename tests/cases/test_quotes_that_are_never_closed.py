"""With newlines in quotes allowed, a quote that was forgotten costs the lines it is in, and each is counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mrml.config.sections import DataConfig
from mrml.data.formats import lines
from mrml.data.open import open_dataset
from mrml.errors import InputError

#: by what is odd: the line that takes the place of row 999, and how its neighbours are quoted
STRAY = {
    "among quoted fields": ('7,"3,1', '{k},"{v},1"'),
    "among plain fields": ('7,"3', "{k},{v}"),
    "before quoted fields of one value": ('7,"3', '{k},"{v}"'),
    "closed too early": ('7,"3\nx"y', "{k},{v}"),
    "at a line's beginning": ('"7,3', "{k},{v}"),
    "with doubled quotes": ('7,"3 ""x"" y', "{k},{v}"),
}
LOST = {"closed too early": 2}


@pytest.mark.parametrize("name", STRAY)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_quote_that_is_not_closed_costs_its_own_line(name: str, compressed: bool, tmp_path: Path) -> None:
    stray, row = STRAY[name]
    rows = [row.format(k=k, v="uvw"[k % 3]) for k in range(2000)]
    rows[999] = stray
    data = "\n".join(["a,b", *rows, ""]).encode()
    path = tmp_path / ("a.csv.gz" if compressed else "a.csv")
    path.write_bytes(gzip.compress(data) if compressed else data)
    config = DataConfig(data=(str(path),), multiline=True, bad_rows="skip", categorical=("b",), window_bytes=4096)
    dataset = open_dataset(config)
    blocks = [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]
    kept = [int(a) for block in blocks for a in block.X[:, 0]]
    assert kept == [*range(999), *range(1000, 2000)]
    assert sum(block.n_bad for block in blocks) == LOST.get(name, 1)
    place = f"{path.name}, byte {data.index(stray.encode())}"
    (first, *_) = [problem for block in blocks for problem in block.problems]
    assert str(first).startswith(f"{place}: has a quote that is still open at its end")


def test_without_leave_to_skip_the_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,u\n2,"v\n' + "3,w\n" * 50)
    dataset = open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), multiline=True))
    with pytest.raises(
        InputError, match=r"a\.csv, byte 8: has a quote that is still open at its end; close it, or use"
    ):
        [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]


def test_a_field_may_hold_as_many_lines_as_it_has_bytes_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one byte more is a quote that nobody closed."""
    monkeypatch.setattr(lines, "MOST_QUOTED_BYTES", 1000)
    for n, expected in ((998, 3), (999, 2)):
        (tmp_path / "a.csv").write_text('a,b\n1,u\n2,"' + "v\n" * (n // 2) + "v" * (n % 2) + '"\n3,w\n')
        config = DataConfig(data=(str(tmp_path / "a.csv"),), multiline=True, bad_rows="skip", window_bytes=64)
        dataset = open_dataset(config)
        blocks = [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]
        assert sum(len(block.rows) for block in blocks) == expected
