"""A directory on any file system: a name is the old file or the new one, whoever else writes it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mrml.errors import EngineError
from mrml.fs import base as file_systems
from mrml.fs import find
from mrml.fs.base import LocalFileSystem
from mrml.fs.folder import ASIDE, Folder
from mrml.runs.directory import written_aside


class Elsewhere(LocalFileSystem):
    """Local disks under ``else://host``, as far as a test needs them."""

    root = ""

    def _local(self, path: str) -> str:
        return self.root + path.removeprefix("else://host")

    def exists(self, path: str) -> bool:
        return super().exists(self._local(path))

    def isdir(self, path: str) -> bool:
        return super().isdir(self._local(path))

    def ls(self, path: str) -> list[file_systems.Info]:
        found = super().ls(self._local(path))
        return [i._replace(name="else://host" + i.name.removeprefix(self.root)) for i in found]

    def open(self, path: str, mode: str = "rb") -> file_systems.BinaryIO:  # type: ignore[name-defined]
        return super().open(self._local(path), mode)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        return super().cat_file(self._local(path), start, end)

    def makedirs(self, path: str) -> None:
        super().makedirs(self._local(path))

    def mv(self, source: str, target: str) -> None:
        super().mv(self._local(source), self._local(target))

    def rm(self, path: str, recursive: bool = False) -> None:
        super().rm(self._local(path), recursive)


@pytest.fixture(params=["local", "else"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(Elsewhere, "root", str(tmp_path))
    monkeypatch.setitem(find._MAKERS, "else", Elsewhere)
    (tmp_path / "d").mkdir()
    return Folder(tmp_path / "d") if request.param == "local" else Folder("else://host/d/")


def test_what_is_written_is_read_and_nothing_lies_beside_it(folder: Folder) -> None:
    folder.write("a", b"1")
    folder.write("a", b"2", sync=True)
    assert folder.read("a") == b"2" and folder.names() == ["a"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(folder: Folder) -> None:
    folder.write("a", b"1")
    with pytest.raises(ZeroDivisionError), folder.writing("a") as file:
        file.write(b"2")
        raise ZeroDivisionError
    assert folder.read("a") == b"1" and folder.names() == ["a"]


def test_two_attempts_at_one_name_are_one_file(folder: Folder) -> None:
    with folder.writing("a") as first, folder.writing("a") as second:
        first.write(b"same")
        second.write(b"same")
        beside = folder.names()
        assert len(beside) == 2 and all(n.startswith(".a.") and n.endswith(ASIDE) for n in beside)
    assert folder.names() == ["a"] and folder.read("a") == b"same"


def test_a_folder_that_is_not_there_holds_nothing_and_can_be_removed(folder: Folder) -> None:
    below = folder / "x" / "y"
    assert below.names() == [] and not below.exists() and not below.isdir()
    below.remove()
    below.make()
    assert below.isdir() and folder.names() == ["x"]
    folder.remove("x")
    assert folder.names() == []


def test_a_folder_moves_with_all_it_holds(folder: Folder) -> None:
    (folder / "x").make()
    (folder / "x").write("a", b"1")
    (folder / "x").move(folder / "y")
    assert folder.names() == ["y"] and (folder / "y").read("a") == b"1"


@pytest.mark.parametrize(("path", "name", "parent"), [
    ("/a/b/", "b", "/a"), ("/a", "a", "/"), ("/", "", "/"),
    ("else://host/a/b", "b", "else://host/a"), ("else://host/a", "a", "else://host/"),
    ("else://host", "", "else://host/"),
])  # fmt: skip
def test_names_and_parents_end_at_the_root(path: str, name: str, parent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(find._MAKERS, "else", Elsewhere)
    assert (Folder(path).name, Folder(path).parent.path) == (name, parent)
    assert Folder(path).join("f") == f"{Folder(path).path.rstrip('/')}/f"


def test_a_sibling_is_hidden_and_of_no_other_attempt(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    a, b = folder.sibling(ASIDE), folder.sibling(ASIDE)
    assert a.path != b.path and a.parent.path == os.path.abspath(tmp_path) and a.name.startswith("_out.")


class Shaky:
    """A file system elsewhere that loses the first files that are written to it."""

    def __init__(self, failures: int) -> None:
        self.failures, self._fs = failures, Elsewhere()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def open(self, path: str, mode: str = "rb") -> file_systems.BinaryIO:  # type: ignore[name-defined]
        if mode == "wb" and self.failures:
            self.failures -= 1
            raise EngineError("hdfs://host", "Failed to complete file in time")
        return self._fs.open(path, mode)


@pytest.mark.parametrize("failures", [2, 1000])
def test_a_write_elsewhere_is_tried_again_and_at_last_says_which_file(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "root", str(tmp_path))
    shaky = Shaky(failures)
    monkeypatch.setitem(find._MAKERS, "else", lambda: shaky)
    monkeypatch.setattr("mrml.fs.folder.RETRY_S", 0.3)
    monkeypatch.setattr("mrml.fs.folder.PAUSE_S", 0.01)
    place = Folder("else://host")
    if failures == 2:
        place.write("a", b"1")
        assert (place.read("a"), place.names()) == (b"1", ["a"])
    else:
        with pytest.raises(EngineError, match=r"else://host/a: could not be written .* Failed to complete"):
            place.write("a", b"1")
        assert place.names() == []


@pytest.mark.parametrize("impatient", [False, True])
def test_an_attempt_that_is_interrupted_leaves_nothing_though_workers_still_write(
    impatient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, asked = tmp_path / "new" / "p", list[str]()

    def write(path: str) -> None:
        for i in range(3000):
            with contextlib.suppress(OSError):
                Path(path, f"part-{i}").touch()

    def remove(self: Folder, name: str = "") -> None:
        asked.append(name)
        if impatient and len(asked) == 1:
            raise KeyboardInterrupt  # again
        really_remove(self, name)

    really_remove = Folder.remove
    monkeypatch.setattr(Folder, "remove", remove)
    with pytest.raises(KeyboardInterrupt), written_aside(str(output)) as aside:
        worker = threading.Thread(target=write, args=(aside.path,))
        worker.start()
        raise KeyboardInterrupt
    worker.join()
    assert list(tmp_path.iterdir()) == [] and len(asked) > impatient
