"""The packed environment: mrml is in it, its Python runs elsewhere, it travels once for its content."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path

import pytest

import mrml
from mrml import pack
from mrml.engines import environment
from mrml.errors import ConfigError, OutputExists


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees this one's packages by a .pth file: small, and good on this machine."""
    folder = tmp_path_factory.mktemp("environment") / "small"
    venv.create(folder, symlinks=True, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    theirs = [p for p in sys.path if p.endswith("site-packages")]
    (site / "theirs.pth").write_text("".join(f"{p}\n" for p in theirs))
    return folder


@pytest.fixture(scope="module")
def archive(small: Path, tmp_path_factory: pytest.TempPathFactory) -> pack.Packed:
    pytest.importorskip("venv_pack", reason="the extra `pack` is not installed")
    return pack.pack(str(tmp_path_factory.mktemp("archive") / "env.tar.gz"), prefix=str(small))


def test_the_archives_python_runs_elsewhere_with_mrml(archive: pack.Packed, tmp_path: Path) -> None:
    with tarfile.open(archive.path) as file:
        file.extractall(tmp_path)
    program = "import mrml, sys; print(mrml.__file__); print(sys.prefix)"
    found = subprocess.run([tmp_path / "bin/python", "-c", program], capture_output=True, text=True, check=True,
                           cwd="/", env={}).stdout.splitlines()  # fmt: skip
    assert found[0].startswith(str(tmp_path)) and found[1] == str(tmp_path)
    assert (archive.kind, archive.bytes) == ("venv", Path(archive.path).stat().st_size)


def test_an_archive_that_exists_is_replaced_only_when_asked(archive: pack.Packed, small: Path) -> None:
    with pytest.raises(OutputExists, match="say --overwrite"):
        pack.pack(archive.path, prefix=str(small))
    assert sorted(p.name for p in Path(archive.path).parent.iterdir()) == ["env.tar.gz"]


def test_the_same_environment_is_the_same_archive(archive: pack.Packed, small: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # gzip knows seconds
    assert pack.pack(str(tmp_path / "again.tar.gz"), prefix=str(small)).sha256 == archive.sha256


@pytest.mark.parametrize("name", ["env.zip", "env", "env.tar"])
def test_an_archive_is_a_tar_gz(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is no \.tar\.gz"):
        pack.pack(name)


def test_a_python_without_an_environment_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no virtual or conda environment; make one with `python -m venv`"):
        pack.kind_of(str(tmp_path))


def test_what_made_an_environment_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    assert pack.kind_of(str(tmp_path)) == "venv"
    (tmp_path / "conda-meta").mkdir()
    assert pack.kind_of(str(tmp_path)) == "conda"


def test_mrml_is_put_in_where_it_lies_outside(small: Path) -> None:
    targets = [target for _, target in pack.own_files(str(small))]
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"lib/{python}/site-packages/mrml/__init__.py" in targets
    assert pack.own_files(str(Path(mrml.__file__).parents[1])) == []


def test_an_archive_is_uploaded_once_for_its_content(tmp_path: Path) -> None:
    local, home = tmp_path / "e.tar.gz", str(tmp_path / "home")
    local.write_bytes(b"one")
    first = environment.shipped(str(local), home)
    stat = Path(first).stat()
    assert environment.shipped(str(local), home) == first and Path(first).stat().st_mtime_ns == stat.st_mtime_ns
    local.write_bytes(b"two")
    second = environment.shipped(f"file://{local}", home)
    assert second != first and Path(second).read_bytes() == b"two"
    assert Path(second).name.startswith("e-") and second.endswith(".tar.gz")


@pytest.mark.parametrize(("name", "finding"), [("gone.tar.gz", "is no file"), ("e.txt", r"is no \.tar\.gz")])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, finding: str) -> None:
    (tmp_path / "e.txt").touch()
    with pytest.raises(ConfigError, match=finding):
        environment.shipped(str(tmp_path / name), str(tmp_path))
