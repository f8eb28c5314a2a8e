"""A full scratch disk costs speed; where a round cannot go on without it, path, bytes and --cache-dir are named.

The plan tells beforehand what decoded blocks take, and what memory columns of LibSVM do.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig
from mrml.data import store
from mrml.data.open import open_dataset
from mrml.engines import scratch
from mrml.engines.inline import InlineEngine
from mrml.engines.task import task_error
from mrml.errors import EngineError
from mrml.runs.plan import scratch_bytes


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    table = rng.normal(size=(60_000, 7))
    np.savetxt(tmp_path / "a.csv", table, fmt="%.5f", delimiter=",", header="a,b,c,d,e,f,y", comments="")
    return tmp_path / "a.csv"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 KiB, where this machine lets us have one."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place]).returncode:
        pytest.skip("no right to mount a disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_what_is_written_to_a_full_disk_names_path_bytes_and_option() -> None:
    with (
        pytest.raises(EngineError) as caught,
        scratch.room(Path("/dev/full"), 3 << 20),
        open("/dev/full", "wb") as file,
    ):
        file.write(b"x" * 100_000)
    said = str(caught.value)
    assert re.match(r"/dev/full: the disk is full: 3\.0 MiB are needed and .* are free; make room .* --cache-dir", said)


def test_an_error_of_a_full_disk_anywhere_in_a_task_is_told_as_that() -> None:
    try:
        with open("/dev/full", "wb") as file:
            file.write(b"x" * 100_000)
    except OSError as error:
        told = task_error(error, "split 3")
    assert isinstance(told, EngineError) and "the disk is full" in told.finding and "--cache-dir" in told.remedy


@pytest.mark.parametrize("engine", ["local", "streaming"])
@pytest.mark.parametrize("name", ["linear", "boosting"])
def test_a_run_on_a_small_disk_ends_with_its_model_or_says_what_it_lacks(
    engine: str, name: str, rows: Path, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--num-trees", "2"] if name == "boosting" else []
    words = ["--data", str(rows), "--target", "y", "--cache-dir", str(small_disk), "--output", str(tmp_path / "m")]
    code = main(["train", name, *words, "--engine", engine, "--workers", "2", *more])
    said = capsys.readouterr().err
    assert "note: " in said and "decoded in every round; --cache-dir names another folder" in said
    assert code == 0 or (code == 5 and "the disk is full" in said and str(small_disk) in said and "--cache-dir" in said)
    if not code:
        assert main(["train", name, *words[:4], "--output", str(tmp_path / "n"), "--engine", "inline", *more]) == 0
        assert (tmp_path / "m" / "model.npz").read_bytes() == (tmp_path / "n" / "model.npz").read_bytes()


def test_blocks_leave_a_reserve_and_the_model_is_the_same(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mrml.Linear().fit(rows, target="y", engine="inline", output=tmp_path / "kept")
    monkeypatch.setattr(store, "RESERVE_BYTES", 1 << 62)
    mrml.Linear().fit(rows, target="y", engine="inline", output=tmp_path / "not-kept")
    kept, other = ((tmp_path / name / "model.npz").read_bytes() for name in ("kept", "not-kept"))
    assert kept == other


@pytest.mark.parametrize("kind", ["csv", "libsvm", "parquet"])
def test_the_plan_tells_what_decoded_blocks_take(kind: str, rows: Path, tmp_path: Path) -> None:
    path = rows
    if kind == "libsvm":
        path = tmp_path / "a.libsvm"
        path.write_text("".join(f"{k % 2} {k % 50 + 1}:1.5 {k % 70 + 60}:2.5\n" for k in range(30_000)))
    if kind == "parquet":
        import pyarrow.csv as pacsv
        import pyarrow.parquet as pq

        path = tmp_path / "a.parquet"
        pq.write_table(pacsv.read_csv(rows), path)
    config = DataConfig(data=(str(path),), target=None if kind == "libsvm" else "y")
    dataset = open_dataset(config)
    expected = scratch_bytes(dataset)
    engine = InlineEngine(str(tmp_path / "cache"))
    with engine:
        for split in dataset.splits(1 << 30):
            for part in split:
                for block in dataset.read(part):
                    store.DirectoryStore(tmp_path / "cache" / "x").put_block(block)
    taken = sum(f.stat().st_size for f in (tmp_path / "cache" / "x").rglob("*.block"))
    assert 0.8 * taken < expected < 1.2 * taken


def test_the_plan_of_sparse_data_tells_the_memory_of_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for last in (100, 1_000_000):
        (tmp_path / "a.libsvm").write_text(f"1 1:1 {last}:1\n0 2:1\n" * 20)
        words = ["--data", str(tmp_path / "a.libsvm"), "--output", str(tmp_path / "m")]
        assert main(["train", "logistic", *words, "--dry-run"]) == 0
        told = capsys.readouterr()
        line = next(line for line in (told.out + told.err).splitlines() if "memory per worker" in line)
        assert ("GiB" in line) == (last == 1_000_000)
        assert "free" in told.out + told.err
