"""Scratch folders name their owner; what dead owners left is swept, nothing else is touched."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrml.engines import scratch
from mrml.engines.inline import InlineEngine

HOLD = """
import sys, time
from mrml.engines import scratch
print(scratch.make(sys.argv[1]), flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def owned(cache: Path) -> Iterator[Path]:
    """A folder of another process, which is killed at the end of the block."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(cache)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            yield Path(other.stdout.readline().strip())
        finally:
            other.kill()


def test_a_folder_names_its_owner_and_is_new_each_time(tmp_path: Path) -> None:
    one, two = scratch.make(str(tmp_path)), scratch.make(str(tmp_path))
    assert one != two and one.is_dir() and two.is_dir()
    assert one.name.startswith(f"mrml-scratch-{os.getpid()}-")


def test_folders_of_dead_owners_are_swept_and_only_those(tmp_path: Path) -> None:
    others = ["mrml-scratch-1-without-a-lock", "mrml-scratch-words-abc", "mrml-scratch-", "somebody-else"]
    for name in others:
        (tmp_path / name).mkdir()
    with owned(tmp_path) as gone:
        (gone / "0000000.block").write_bytes(b"x")
    made = scratch.make(str(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, made.name])


def test_the_folder_of_an_owner_whose_process_is_not_seen_is_left_alone(tmp_path: Path) -> None:
    with owned(tmp_path) as theirs:  # as another container sees it: its process id is nobody's here
        stranger = theirs.rename(tmp_path / f"mrml-scratch-{2**22 + 1}-theirs")
        scratch.make(str(tmp_path))
        assert stranger.is_dir()
    scratch.make(str(tmp_path))
    assert not stranger.exists()


def test_a_folder_that_cannot_be_swept_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(tmp_path) as stuck:
        (stuck / "file").touch()

    def refuse(path: object, **how: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "unlink", refuse)
    assert scratch.make(str(tmp_path)).is_dir()


def test_the_cache_folder_is_made_where_it_is_not(tmp_path: Path) -> None:
    with InlineEngine(cache_dir=str(tmp_path / "a" / "b")):
        assert len(list((tmp_path / "a" / "b").iterdir())) == 1
    assert list((tmp_path / "a" / "b").iterdir()) == []
