"""Scratch folders name their owner; what dead owners left is swept, nothing else is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrml.engines import scratch
from mrml.engines.inline import InlineEngine


def dead() -> int:
    """The id of a process that was there and is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_a_folder_names_its_owner_and_is_new_each_time(tmp_path: Path) -> None:
    one, two = scratch.make(str(tmp_path)), scratch.make(str(tmp_path))
    assert one != two and one.is_dir() and two.is_dir()
    assert one.name.startswith(f"mrml-scratch-{os.getpid()}-")


def test_folders_of_dead_owners_are_swept_and_only_those(tmp_path: Path) -> None:
    gone = tmp_path / f"mrml-scratch-{dead()}-abc" / "000000"
    gone.mkdir(parents=True)
    (gone / "0000000.block").write_bytes(b"x")
    others = [f"mrml-scratch-{os.getpid()}-mine", f"mrml-scratch-{os.getppid()}-parents", "mrml-scratch-1-init",
              "mrml-scratch-words-abc", "mrml-scratch-", "somebody-else", f"mrml-{dead()}-abc"]  # fmt: skip
    for name in others:
        (tmp_path / name).mkdir()
    made = scratch.make(str(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, made.name])


def test_a_folder_that_cannot_be_swept_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / f"mrml-scratch-{dead()}-abc"
    stuck.mkdir()
    (stuck / "file").touch()

    def refuse(path: object, **how: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "unlink", refuse)
    assert scratch.make(str(tmp_path)).is_dir()


def test_the_cache_folder_is_made_where_it_is_not(tmp_path: Path) -> None:
    with InlineEngine(cache_dir=str(tmp_path / "a" / "b")):
        assert len(list((tmp_path / "a" / "b").iterdir())) == 1
    assert list((tmp_path / "a" / "b").iterdir()) == []
