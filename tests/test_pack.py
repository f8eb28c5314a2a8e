"""The packed environment: mrml is in it, its Python runs elsewhere, it travels once for its content."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest

from mrml.engines.hadoop import environment
from mrml.errors import ConfigError, EngineError, OutputExists
from mrml.tools import pack


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
    with pytest.raises(OutputExists, match="use --overwrite"):
        pack.pack(archive.path, prefix=str(small))
    assert sorted(p.name for p in Path(archive.path).parent.iterdir()) == ["env.tar.gz"]


def test_the_same_environment_is_uploaded_once_and_another_one_again(
    archive: pack.Packed, small: Path, tmp_path: Path
) -> None:
    time.sleep(1.1)  # files and gzip know seconds
    again = pack.pack(str(tmp_path / "env.tar.gz"), prefix=str(small))
    home = str(tmp_path / "home")
    assert environment.shipped(again.path, home) == environment.shipped(archive.path, home)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "f").write_text("x")
    for name, text in (("one", "x"), ("two", "y")):
        (tmp_path / "e" / "f").write_text(text)
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as file:
            file.add(tmp_path / "e", "bin")
            file.add(sys.executable, "bin/python", recursive=False)
    assert environment.content(str(tmp_path / "one.tar.gz")) != environment.content(str(tmp_path / "two.tar.gz"))


@pytest.mark.parametrize("name", ["env.zip", "env", "env.tar"])
def test_an_archive_is_a_tar_gz(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a \.tar\.gz"):
        pack.pack(name)


def test_a_python_without_an_environment_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a virtual or conda environment; make one with `python -m venv`"):
        pack.kind_of(str(tmp_path))


def test_what_made_an_environment_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    assert pack.kind_of(str(tmp_path)) == "venv"
    (tmp_path / "conda-meta").mkdir()
    assert pack.kind_of(str(tmp_path)) == "conda"


COUNT = """
import importlib, json, pkgutil
import mrml.kernels
from numba.core.dispatcher import Dispatcher
found = {"hits": 0, "misses": 0}
for module in pkgutil.walk_packages(mrml.kernels.__path__, "mrml.kernels."):
    if module.name.endswith("numba"):
        fast = importlib.import_module(module.name)
        fast.prewarm()
        for function in vars(fast).values():
            if isinstance(function, Dispatcher):
                found["hits"] += sum(function.stats.cache_hits.values())
                found["misses"] += sum(function.stats.cache_misses.values())
print(json.dumps({**found, "file": mrml.__file__}))
"""


def test_a_task_of_the_archive_compiles_nothing(archive: pack.Packed, tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    with tarfile.open(archive.path) as file:
        file.extractall(tmp_path)
    names = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if "site-packages/mrml/" in str(p)]
    assert any(n.endswith(".nbc") for n in names)
    assert {n for n in names if n.endswith("rounds.py")} == set()
    sources = {Path(n).stem for n in names if n.endswith(".py")}
    assert sources == {Path(n).name.split(".")[0] for n in names if n.endswith(".pyc")}
    done = subprocess.run([tmp_path / "bin/python", "-c", COUNT], capture_output=True, text=True, check=True,
                          cwd="/", env={})  # fmt: skip
    told = json.loads(done.stdout)
    assert told["file"].startswith(str(tmp_path)) and told["hits"] > 5 and told["misses"] == 0


def test_an_environment_in_which_mrml_does_not_run_is_said(tmp_path: Path) -> None:
    pytest.importorskip("venv_pack", reason="the extra `pack` is not installed")
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    with pytest.raises(EngineError, match="mrml does not run there: ModuleNotFoundError: No module named 'pyarrow'"):
        pack.pack(str(tmp_path / "env.tar.gz"), prefix=str(tmp_path / "bare"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare"]


def as_conda(folder: Path) -> Path:
    """A conda environment as its files tell it: the record of one package, which is Python."""
    venv.create(folder, symlinks=True, with_pip=False)
    meta = folder / "conda-meta"
    meta.mkdir()
    python = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    site = folder / python / "site-packages"
    theirs = [p for p in sys.path if p.endswith("site-packages")]
    (site / "theirs.pth").write_text("".join(f"{p}\n" for p in theirs))
    version = ".".join(map(str, sys.version_info[:3]))
    record = {"name": "python", "version": version, "url": "", "link": None, "files": ["bin/python"]}
    (meta / f"python-{version}-0.json").write_text(json.dumps(record))
    (meta / "history").touch()
    return folder


def test_a_conda_environment_goes_through_conda_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = as_conda(tmp_path / "env")
    target = str(tmp_path / "env.tar.gz")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "conda_pack", None)
        patch.setattr("importlib.util.find_spec", lambda name, package=None: None)
        with pytest.raises(ConfigError, match="conda-pack is not installed; pip install conda-pack"):
            pack._conda(str(prefix), target, [])
    pytest.importorskip("conda_pack", reason="conda-pack is not installed")
    packed = pack.pack(target, prefix=str(prefix))
    assert packed.kind == "conda"
    with tarfile.open(target) as file:
        names = file.getnames()
    assert "bin/python" in names and "bin/conda-unpack" in names
    assert [n for n in names if n.endswith("site-packages/mrml/tools/pack.py")]


def written(path: Path, name: str = "./bin/python", content: bytes = b"") -> Path:
    """An archive of one file."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".zip"])
def test_an_archive_is_uploaded_once_for_its_content(tmp_path: Path, ending: str) -> None:
    local, home = written(tmp_path / f"e{ending}", content=b"one"), str(tmp_path / "home")
    first = environment.shipped(str(local), home)
    stat = Path(first).stat()
    assert environment.shipped(str(local), home) == first and Path(first).stat().st_mtime_ns == stat.st_mtime_ns
    written(local, content=b"two")
    second = environment.shipped(f"file://{local}", home)
    assert second != first and Path(second).read_bytes() == local.read_bytes()
    assert Path(second).name.startswith("e-") and second.endswith(ending)


@pytest.mark.parametrize(("name", "finding"), [
    ("gone.tar.gz", "is not a file"),
    ("e.txt", r"is not a \.tar\.gz"),
    ("text.tar.gz", "cannot be read: not a gzip file; make it again with `mrml pack`"),
    ("text.zip", "cannot be read: File is not a zip file"),
    ("torn.tar.gz", "cannot be read: Compressed file ended"),
    ("torn.zip", "cannot be read"),
    ("empty.tar.gz", "cannot be read"),
    ("other.tar.gz", "has no bin/python; make it with `mrml pack`"),
    ("other.zip", "has no bin/python"),
])  # fmt: skip
def test_what_is_no_archive_is_refused_and_not_uploaded(tmp_path: Path, name: str, finding: str) -> None:
    for ending in ("tar.gz", "zip"):
        whole = written(tmp_path / f"whole.{ending}", content=random.Random(1).randbytes(1 << 16)).read_bytes()
        (tmp_path / f"torn.{ending}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"text.{ending}").write_text("no archive\n")
        written(tmp_path / f"other.{ending}", "python")
    for path in (tmp_path / "e.txt", tmp_path / "empty.tar.gz"):
        path.touch()
    with pytest.raises(ConfigError, match=finding):
        environment.shipped(str(tmp_path / name), str(tmp_path / "home"))
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("*.*"))
