"""A folder of files in which commands run as a user would run them, and everything that lies there afterwards."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mrml.cli.main import COMMANDS, main
from mrml.pin import VARIABLES
from tests import answers

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Place:
    """``here`` is the current directory, ``tmp`` the temporary one: both are watched."""

    def __init__(self, top: Path, read: Callable[[], Any]) -> None:
        self.here, self.tmp, self._read = top / "here", top / "tmp", read
        for folder in (self.here, self.tmp):
            folder.mkdir()
        unset = [k for k in os.environ if k.startswith("MRML_") or k in VARIABLES]
        self.environment = {k: v for k, v in os.environ.items() if k not in unset}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.environment |= {"TMPDIR": str(self.tmp), "PYTHONPATH": path, "COLUMNS": "200"}

    def put(self, files: dict[str, str | bytes]) -> None:
        """Write files below ``here``; bytes as they are."""
        for name, content in files.items():
            path = self.here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def __call__(self, *argv: str) -> Done:
        """Run a command line in this process."""
        self._read()
        code = main(argv)
        return _checked(argv, Done(code, *self._read()))

    def start(self, *argv: str, program: tuple[str, ...] = ("-m", "mrml"), **environment: str) -> subprocess.Popen[str]:
        """Run a command line in a process of its own, with the environment of someone who set nothing."""
        return subprocess.Popen(
            [sys.executable, *program, *argv],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="backslashreplace",
            cwd=self.here, start_new_session=True,
            env={**self.environment, **environment},
        )  # fmt: skip

    def run(self, *argv: str, program: tuple[str, ...] = ("-m", "mrml"), **environment: str) -> Done:
        process = self.start(*argv, program=program, **environment)
        out, err = process.communicate(timeout=120)
        return _checked(argv, Done(process.returncode, out, err))

    def tree(self) -> dict[str, str]:
        """Every file and folder below both, with a digest of its bytes; logs of tracebacks are no output."""
        found = sorted(p for top in (self.here, self.tmp) for p in top.rglob("*"))
        found = [p for p in found if "__pycache__" not in p.parts and not p.match("tmp/mrml-*.log")]
        return {str(p): _digest(p) for p in found}

    def refused(self, code: int, message: str, *argv: str) -> None:
        """The command ends with this code and this one line, and changes nothing anywhere."""
        before = self.tree()
        done = self(*argv, "-q")
        assert done == Done(code, "", f"error: {message}\n")
        assert self.tree() == before

    def model(self, directory: str = "m") -> bytes:
        """The two files of a model."""
        folder = self.here / directory
        assert (folder / "_SUCCESS").exists()
        return (folder / "model.json").read_bytes() + (folder / "model.npz").read_bytes()


def _checked(argv: Sequence[str], done: Done) -> Done:
    if "--json" in argv and done.out and any(word in COMMANDS for word in argv):
        answers.check(argv, done.out)
    return done


def _digest(path: Path) -> str:
    if not path.is_file() or not os.access(path, os.R_OK):
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    place = Place(tmp_path, capsys.readouterr)
    monkeypatch.chdir(place.here)
    monkeypatch.setenv("TMPDIR", str(place.tmp))
    monkeypatch.setattr(tempfile, "tempdir", str(place.tmp))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [n for n in os.environ if n.startswith("MRML_")]:
        monkeypatch.delenv(name)
    yield place
    for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(tmp_path))]:
        del sys.modules[name]
