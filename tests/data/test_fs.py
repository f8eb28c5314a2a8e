"""The file-system interface and its local implementation."""

from __future__ import annotations

import os

import pytest

from mrml.errors import ConfigError
from mrml.fs import FileSystem, LocalFileSystem, filesystem, register


@pytest.fixture
def tree(tmp_path):
    for name, text in {"b.csv": "bb", "a.csv": "a", "sub/c.csv": "ccc", "sub/.d": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return str(tmp_path)


def test_ls_is_sorted_and_tells_sizes(tree):
    fs: FileSystem = LocalFileSystem()
    assert [(os.path.basename(n), size, is_dir) for n, size, is_dir in fs.ls(tree)] == [
        ("a.csv", 1, False),
        ("b.csv", 2, False),
        ("sub", 0, True),
    ]


def test_find_goes_through_all_levels(tree):
    found = LocalFileSystem().find(tree)
    assert [os.path.relpath(i.name, tree) for i in found] == ["a.csv", "b.csv", "sub/.d", "sub/c.csv"]
    assert LocalFileSystem().find(tree + "/nothing") == []


def test_find_follows_links_and_passes_over_dangling_ones(tree):
    os.symlink(tree + "/a.csv", tree + "/link.csv")
    os.symlink(tree + "/gone", tree + "/dangling.csv")
    names = {os.path.basename(i.name) for i in LocalFileSystem().find(tree)}
    assert "link.csv" in names and "dangling.csv" not in names
    assert {os.path.basename(n): s for n, s, _ in LocalFileSystem().ls(tree)}["dangling.csv"] == 0


def test_glob_matches_by_name(tree):
    fs = LocalFileSystem()
    assert [os.path.relpath(i.name, tree) for i in fs.glob(tree + "/*.csv")] == ["a.csv", "b.csv"]
    assert [os.path.relpath(i.name, tree) for i in fs.glob(tree + "/**/*.csv")] == ["a.csv", "b.csv", "sub/c.csv"]


def test_cat_file_reads_a_range(tmp_path):
    fs = LocalFileSystem()
    with fs.open(str(tmp_path / "x"), "wb") as file:
        file.write(b"0123456789")
    path = str(tmp_path / "x")
    assert fs.cat_file(path) == b"0123456789"
    assert fs.cat_file(path, 3, 5) == b"34"
    assert fs.cat_file(path, 8) == b"89"
    assert fs.cat_file(path, 8, 99) == b"89"
    assert fs.cat_file(path, 5, 5) == b""


def test_mv_takes_the_place_of_a_file(tmp_path):
    fs = LocalFileSystem()
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    fs.mv(str(tmp_path / "new"), str(tmp_path / "old"))
    assert (tmp_path / "old").read_text() == "new" and not fs.exists(str(tmp_path / "new"))


def test_rm_takes_a_directory_only_when_asked(tree):
    fs = LocalFileSystem()
    with pytest.raises(OSError):
        fs.rm(tree + "/sub")
    fs.rm(tree + "/sub", recursive=True)
    fs.rm(tree + "/a.csv")
    fs.makedirs(tree + "/x/y")
    fs.makedirs(tree + "/x/y")
    assert fs.isdir(tree + "/x/y") and not fs.exists(tree + "/sub") and not fs.exists(tree + "/a.csv")


def test_a_file_opens_to_read_or_to_write_anew(tmp_path):
    with pytest.raises(ValueError):
        LocalFileSystem().open(str(tmp_path / "x"), "ab")


def test_file_urls_are_local_paths(tmp_path):
    for url in (f"file://{tmp_path}", f"file://localhost{tmp_path}", str(tmp_path)):
        fs, path = filesystem(url)
        assert isinstance(fs, LocalFileSystem) and path == str(tmp_path)


def test_relative_paths_become_absolute_for_tasks_that_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert filesystem("data/")[1] == str(tmp_path / "data")


@pytest.mark.parametrize("url, remedy", [("hdfs://nn:8020/a", "Hadoop engine"), ("s3://bucket/a", "local disk")])
def test_a_scheme_nobody_reads_names_the_remedy(url, remedy):
    with pytest.raises(ConfigError) as caught:
        filesystem(url)
    assert caught.value.exit_code == 2 and remedy in str(caught.value) and url in str(caught.value)


def test_an_engine_brings_its_own_file_system(monkeypatch):
    monkeypatch.setattr("mrml.fs._MAKERS", {})
    fs = LocalFileSystem()
    register("hdfs", lambda: fs)
    assert filesystem("hdfs://nn/a") == (fs, "hdfs://nn/a")
