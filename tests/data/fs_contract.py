"""What every file system behind the interface must do, as one suite: local disks, and HDFS through either client.

A subclass has a fixture ``place``: a file system and an empty directory on it.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrml.fs.base import FileSystem

#: characters that URLs, patterns and XML give a meaning to
STRANGE = "a b%41+c#d&é=1;x"


class Place(NamedTuple):
    fs: FileSystem
    root: str

    def __call__(self, *parts: str) -> str:
        return "/".join([self.root, *parts])

    def write(self, name: str, data: bytes) -> str:
        with self.fs.open(self(name), "wb") as file:
            file.write(data)
        return self(name)

    def relative(self, infos: Any) -> list[str]:
        return [posixpath.relpath(i.name, self.root) for i in infos]


class FileSystemContract:
    """The laws."""

    @pytest.fixture
    def tree(self, place: Place) -> Place:
        place.fs.makedirs(place("sub/deep"))
        for name, data in {
            "b.csv": b"bb",
            "a.csv": b"a",
            "sub/c.csv": b"ccc",
            "sub/deep/d.csv": b"",
            "sub/.e": b"e",
        }.items():
            place.write(name, data)
        return place

    def test_what_was_written_is_read_back(self, place: Place) -> None:
        for data in (b"", b"x", bytes(range(256)) * 5000):
            path = place.write("file", data)
            assert place.fs.cat_file(path) == data and place.fs.info(path) == (path, len(data), False)
            with place.fs.open(path) as file:
                assert file.read() == data and file.read() == b""

    def test_a_file_written_again_is_the_new_one(self, place: Place) -> None:
        place.write("file", b"a long one")
        assert place.fs.cat_file(place.write("file", b"new")) == b"new"

    def test_it_tells_when_a_file_or_a_directory_changed(self, place: Place) -> None:
        before = time.time()
        place.fs.makedirs(place("sub"))
        path = place.write("sub/file", b"x")
        for changed in (path, place("sub")):
            assert abs(place.fs.modified(changed) - before) < 60
        with pytest.raises(FileNotFoundError):
            place.fs.modified(place("absent"))

    def test_ls_is_sorted_tells_sizes_and_marks_directories(self, tree: Place) -> None:
        assert [(i.name, i.size, i.is_dir) for i in tree.fs.ls(tree.root)] == [
            (tree("a.csv"), 1, False), (tree("b.csv"), 2, False), (tree("sub"), 0, True)]  # fmt: skip
        assert tree.relative(tree.fs.ls(tree("sub"))) == ["sub/.e", "sub/c.csv", "sub/deep"]

    def test_a_directory_is_no_file_and_a_file_no_directory(self, tree: Place) -> None:
        assert tree.fs.isdir(tree("sub")) and not tree.fs.isdir(tree("a.csv"))
        assert tree.fs.info(tree("sub")) == (tree("sub"), 0, True)
        with pytest.raises(NotADirectoryError):
            tree.fs.ls(tree("a.csv"))
        with pytest.raises(IsADirectoryError):
            tree.fs.open(tree("sub")).read()
        with pytest.raises(IsADirectoryError):
            tree.fs.cat_file(tree("sub"))
        with pytest.raises(OSError):
            tree.write("sub", b"")

    def test_what_is_not_there_is_file_not_found(self, place: Place) -> None:
        fs, nothing = place.fs, place("nothing")
        for call in (fs.ls, fs.info, fs.open, fs.cat_file, fs.rm, lambda p: fs.mv(p, place("x"))):
            with pytest.raises(FileNotFoundError):
                call(nothing)
        with pytest.raises(FileNotFoundError):
            fs.rm(nothing, recursive=True)
        assert not fs.exists(nothing) and not fs.isdir(nothing) and fs.find(nothing) == [] and fs.glob(nothing) == []
        assert not fs.exists(place.write("file", b"") + "/below")

    def test_find_goes_through_all_levels_and_finds_a_file_itself(self, tree: Place) -> None:
        assert tree.relative(tree.fs.find(tree.root)) == ["a.csv", "b.csv", "sub/.e", "sub/c.csv", "sub/deep/d.csv"]
        assert tree.fs.find(tree("a.csv")) == [tree.fs.info(tree("a.csv"))]

    @pytest.mark.parametrize("pattern, expected", [
        ("*.csv", ["a.csv", "b.csv"]),
        ("*", ["a.csv", "b.csv", "sub"]),
        ("[!a].csv", ["b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("*/*.csv", ["sub/c.csv"]),
        ("*/*", ["sub/c.csv", "sub/deep"]),
        ("sub/.*", ["sub/.e"]),
        ("**/*.csv", ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"]),
        ("su*/**/d.csv", ["sub/deep/d.csv"]),
        ("a.csv", ["a.csv"]),
        ("A.csv", []),
        ("a.csv/*", []),
        ("x*/y", []),
    ])  # fmt: skip
    def test_glob_matches_names_and_hides_leading_dots(self, tree: Place, pattern: str, expected: list[str]) -> None:
        assert tree.relative(tree.fs.glob(tree(pattern))) == expected

    def test_ranges_are_cut_at_the_end(self, place: Place) -> None:
        path = place.write("x", b"0123456789")
        for start, end in (
            (None, None),
            (3, 5),
            (8, None),
            (8, 99),
            (5, 5),
            (10, None),
            (12, 15),
            (7, 3),
            (None, 4),
            (0, 10),
        ):
            assert place.fs.cat_file(path, start, end) == b"0123456789"[start or 0 : end], (start, end)

    def test_an_open_file_seeks_as_a_local_one(self, place: Place) -> None:
        data = np.random.default_rng(7).bytes(300_000)
        path = place.write("x", data)
        with place.fs.open(path) as file:
            assert file.seekable() and file.readable()
            for offset, n_bytes in ((299_990, 50), (0, 10), (10, 100_000), (5, 1), (250_000, 49_999), (400_000, 5)):
                assert file.seek(offset) == offset and file.read(n_bytes) == data[offset : offset + n_bytes]
            assert file.seek(-8, 2) == 299_992 and file.read() == data[-8:] and file.tell() == 300_000
            assert file.seek(100) == 100 and file.seek(20, 1) == 120
            buffer = bytearray(7)
            assert file.readinto(buffer) == 7 and buffer == data[120:127]  # type: ignore[attr-defined]

    def test_lines_of_an_open_file_are_lines(self, place: Place) -> None:
        with place.fs.open(place.write("x", b"one\ntwo\n\nthree")) as file:
            assert list(file) == [b"one\n", b"two\n", b"\n", b"three"]

    def test_a_column_of_a_parquet_file_is_read_alone(self, place: Place) -> None:
        table = pa.table({"a": np.arange(200_000), "b": np.random.default_rng(1).random(200_000)})
        with place.fs.open(place("x.parquet"), "wb") as file:
            pq.write_table(table, file, row_group_size=50_000)
        with place.fs.open(place("x.parquet")) as file:
            found = pq.ParquetFile(file, pre_buffer=False).read_row_group(2, ["b"])
        assert found.equals(table.select(["b"]).slice(100_000, 50_000))

    def test_mv_takes_the_place_of_a_file_in_one_step(self, place: Place) -> None:
        place.write("old", b"old")
        place.fs.mv(place.write("new", b"new"), place("old"))
        assert place.fs.cat_file(place("old")) == b"new" and not place.fs.exists(place("new"))

    def test_of_many_that_move_to_a_name_that_is_free_one_comes_there(self, place: Place) -> None:
        sources = [place.write(f"new-{i}", b"%d" % i) for i in range(8)]
        came: list[int] = []

        def move(i: int) -> None:
            with contextlib.suppress(FileExistsError):
                place.fs.mv(sources[i], place("free"), replace=False)
                came.append(i)

        threads = [threading.Thread(target=move, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(came) == 1 and place.fs.cat_file(place("free")) == b"%d" % came[0]
        assert [place.fs.exists(s) for s in sources] == [i not in came for i in range(8)]

    def test_mv_moves_a_directory_whole(self, tree: Place) -> None:
        tree.fs.mv(tree("sub"), tree("other"))
        assert tree.relative(tree.fs.find(tree("other"))) == ["other/.e", "other/c.csv", "other/deep/d.csv"]
        assert not tree.fs.exists(tree("sub"))

    def test_mv_never_takes_the_place_of_a_directory_that_holds_something(self, tree: Place) -> None:
        tree.fs.makedirs(tree("aside"))
        for source in ("aside", "a.csv"):
            with pytest.raises(OSError):
                tree.fs.mv(tree(source), tree("sub"))
        assert tree.fs.exists(tree("sub/c.csv")) and tree.fs.exists(tree("a.csv"))

    def test_makedirs_makes_all_above_and_may_be_repeated(self, place: Place) -> None:
        for _ in range(2):
            place.fs.makedirs(place("x/y/z"))
        assert place.fs.isdir(place("x/y/z")) and place.fs.ls(place("x/y/z")) == []
        with pytest.raises(OSError):
            place.fs.makedirs(place.write("file", b"") + "/below")

    def test_rm_takes_a_directory_only_when_asked(self, tree: Place) -> None:
        for folder in ("sub", "sub/deep"):
            with pytest.raises(OSError):
                tree.fs.rm(tree(folder))
        tree.fs.rm(tree("sub"), recursive=True)
        tree.fs.rm(tree("a.csv"))
        tree.fs.rm(tree("b.csv"), recursive=True)
        assert tree.fs.ls(tree.root) == []

    def test_a_name_may_hold_what_urls_give_a_meaning_to(self, place: Place) -> None:
        place.fs.makedirs(place(STRANGE))
        path = place.write(f"{STRANGE}/{STRANGE}.csv", b"strange")
        assert place.fs.cat_file(path) == b"strange" and [i.name for i in place.fs.find(place.root)] == [path]
        assert [i.name for i in place.fs.glob(place("*", "*.csv"))] == [path]
        place.fs.mv(path, path + "~")
        assert place.relative(place.fs.ls(place(STRANGE))) == [f"{STRANGE}/{STRANGE}.csv~"]

    def test_many_entries_are_all_listed(self, place: Place) -> None:
        names = [f"many/{i:04d}" for i in range(1_100)]
        for name in names:
            place.fs.makedirs(place(name))
        assert place.relative(place.fs.ls(place("many"))) == names

    def test_a_file_opens_to_read_or_to_write_anew(self, place: Place) -> None:
        with pytest.raises(ValueError):
            place.fs.open(place("x"), "ab")

    def test_threads_read_one_file_system_at_once(self, place: Place) -> None:
        data = np.random.default_rng(3).bytes(200_000)
        path, found = place.write("x", data), {}

        def read(i: int) -> None:
            found[i] = place.fs.cat_file(path, i * 1000, i * 1000 + 1000)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {i: data[i * 1000 : i * 1000 + 1000] for i in range(16)}
