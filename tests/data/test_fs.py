"""The file-system interface: its local implementation under the contract, and how one is chosen."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mrml.errors import ConfigError
from mrml.fs.base import LocalFileSystem
from mrml.fs.find import filesystem, register

from .fs_contract import FileSystemContract, Place


class TestLocalDisks(FileSystemContract):
    """Local disks."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(LocalFileSystem(), str(tmp_path))


def test_find_follows_links_and_passes_over_dangling_ones(tmp_path):
    (tmp_path / "a.csv").write_text("a")
    os.symlink(tmp_path / "a.csv", tmp_path / "link.csv")
    os.symlink(tmp_path / "gone", tmp_path / "dangling.csv")
    names = {os.path.basename(i.name) for i in LocalFileSystem().find(str(tmp_path))}
    assert names == {"a.csv", "link.csv"}
    assert {os.path.basename(n): s for n, s, _ in LocalFileSystem().ls(str(tmp_path))}["dangling.csv"] == 0


def test_a_list_holds_what_stays_also_where_others_come_and_go(tmp_path: Path) -> None:
    """What vanished while it was looked at once made the whole folder seem to be gone."""
    (tmp_path / "stays").touch()
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for number in range(20):
                (tmp_path / f"goes-{number}").touch()
            for number in range(20):
                (tmp_path / f"goes-{number}").unlink()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        lists = [LocalFileSystem().ls(str(tmp_path)) for _ in range(2000)]
    finally:
        over.set()
        other.join()
    assert all(str(tmp_path / "stays") in {info.name for info in found} for found in lists)


def test_file_urls_are_local_paths(tmp_path):
    for url in (f"file://{tmp_path}", f"file://localhost{tmp_path}", str(tmp_path)):
        fs, path = filesystem(url)
        assert isinstance(fs, LocalFileSystem) and path == str(tmp_path)


def test_relative_paths_become_absolute_for_tasks_that_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert filesystem("data/")[1] == str(tmp_path / "data")


def test_a_scheme_nobody_reads_names_the_remedy():
    with pytest.raises(ConfigError, match=r"s3://bucket/a: nothing here reads s3:// paths; .*local disk") as caught:
        filesystem("s3://bucket/a")
    assert caught.value.exit_code == 2


def test_an_engine_brings_its_own_file_system(monkeypatch):
    monkeypatch.setattr("mrml.fs.find._MAKERS", {})
    fs = LocalFileSystem()
    register("hdfs", lambda: fs)
    assert filesystem("hdfs://nn/a") == (fs, "hdfs://nn/a")
