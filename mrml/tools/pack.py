"""An archive of the Python environment that runs: what the nodes of a cluster need, and all they need.

Floor 4.  A virtual environment goes through venv-pack, a conda environment through conda-pack.  The archive of a
virtual environment links to its base interpreter by path: the nodes need that Python at the same place; a conda
archive brings its own.

mrml goes in from a copy, wherever it is installed: with its bytecode, and with what numba compiles of it, so that a
task compiles nothing.  numba takes a function from its cache when the time of the source is the one it saw, and an
archive keeps whole seconds only: so do the files of the copy.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mrml
from mrml import pin
from mrml.engines.hadoop.environment import digest
from mrml.errors import ConfigError, EngineError, OutputExists

log = logging.getLogger(__name__)

KINDS = (".tar.gz", ".tgz")
#: what no task needs: tests of packages, C headers, notebooks' files
LEFT_OUT = ("*/tests/*", "include/*", "share/*")
#: an installed mrml, which the copy stands for
_OWN = "*/site-packages/mrml/*"
#: run by the environment's Python: what a task imports, bytecode, and machine code where it has numba
_WARM = """\
import compileall, importlib, importlib.util, pkgutil
compileall.compile_dir("mrml", quiet=2)
import pyarrow, mrml.kernels, mrml.engines.streaming.job
if importlib.util.find_spec("numba"):
    for module in pkgutil.walk_packages(mrml.kernels.__path__, "mrml.kernels."):
        if module.name.endswith("numba"):
            importlib.import_module(module.name).prewarm()
"""


class Packed(NamedTuple):
    """``path`` of the archive, ``bytes`` of it, SHA-256 in hex, ``kind`` venv or conda, the Python it holds."""

    path: str
    bytes: int
    sha256: str
    kind: str
    python: str


def pack(output: str, overwrite: bool = False, prefix: str = sys.prefix) -> Packed:
    """Write the archive of the environment below ``prefix``: aside first, then renamed."""
    if not output.endswith(KINDS):
        raise ConfigError("pack, output", f"{output!r} is not a .tar.gz", "name it FILE.tar.gz")
    if os.path.exists(output) and not overwrite:
        raise OutputExists(output, "already exists", "use --overwrite to replace it")
    kind = kind_of(prefix)
    aside = f"{output}.{uuid.uuid4().hex[:12]}.tar.gz"
    try:
        with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(prefix="mrml-pack-") as folder:
            warm(Path(folder), prefix)
            (_conda if kind == "conda" else _venv)(prefix, aside, own_files(Path(folder), prefix))
        undate(aside)
        os.replace(aside, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
    version = ".".join(map(str, sys.version_info[:3]))
    return Packed(output, os.path.getsize(output), digest(output), kind, version)


def undate(archive: str) -> None:
    """Clear the time in gzip's header (RFC 1952, bytes 4 to 7): all that differs when nothing else changed."""
    with open(archive, "r+b") as file:
        file.seek(4)
        file.write(bytes(4))


def kind_of(prefix: str) -> str:
    """What made the environment: conda or venv; ConfigError for a Python that is in neither."""
    if Path(prefix, "conda-meta").is_dir():
        return "conda"
    if Path(prefix, "pyvenv.cfg").is_file():
        return "venv"
    remedy = "make one with `python -m venv`, install mrml there and run its `mrml pack`"
    raise ConfigError("pack", f"the Python of {prefix} is not a virtual or conda environment", remedy)


def warm(folder: Path, prefix: str) -> None:
    """Copy mrml into ``folder`` and let the Python of the environment compile it there."""
    source, copy = Path(mrml.__file__).resolve().parent, folder / "mrml"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    seconds = int(max(path.stat().st_mtime for path in copy.rglob("*.py")))
    _date(copy, seconds)
    environment = {k: v for k, v in pin.environment().items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"}
    python = str(Path(prefix, "bin", "python"))
    done = subprocess.run([python, "-c", _WARM], capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(f"pack {prefix}", f"mrml does not run there: {said}", "fix the environment")
    _date(copy, seconds)


def _date(folder: Path, seconds: int) -> None:
    """Give everything below a folder one time."""
    for path in folder.rglob("*"):
        os.utime(path, (seconds, seconds))


def _tool(module: str, package: str) -> Any:
    if importlib.util.find_spec(module) is None:
        raise ConfigError("pack", f"{package} is not installed", f"pip install {package}")
    return importlib.import_module(module)


def _conda(prefix: str, target: str, own: list[tuple[Path, str]]) -> None:
    tool = _tool("conda_pack", "conda-pack")
    try:
        env = tool.CondaEnv.from_prefix(prefix, ignore_editable_packages=True).exclude(_OWN)
        env.files.extend(tool.core.File(str(path), name, is_conda=False) for path, name in own)
        env.pack(target)
    except tool.CondaPackException as error:
        raise EngineError(f"pack {prefix}", str(error).splitlines()[0], "fix the environment") from error


def _venv(prefix: str, target: str, own: list[tuple[Path, str]]) -> None:
    tool = _tool("venv_pack", "venv-pack2")
    try:
        with _editable_allowed():
            env = tool.Env(prefix)
        for pattern in (*LEFT_OUT, _OWN):
            env = env.exclude(pattern)
        env.files.extend(tool.core.File(str(path), name) for path, name in own)
        env.pack(target)
    except tool.VenvPackException as error:
        raise EngineError(f"pack {prefix}", str(error).splitlines()[0], "fix the environment") from error


@contextlib.contextmanager
def _editable_allowed() -> Iterator[None]:
    """venv-pack refuses environments that point out of themselves; those of a developer point at mrml."""
    core: Any = importlib.import_module("venv_pack.core")
    before = core.check_no_editable_packages
    core.check_no_editable_packages = _warn_of_editable
    try:
        yield
    finally:
        core.check_no_editable_packages = before


def _warn_of_editable(context: Any) -> None:
    """Name the folders outside that hold other packages: the nodes will not have them."""
    own = Path(mrml.__file__).resolve().parents[1]
    for pth in Path(context.prefix, context.py_lib, "site-packages").glob("*.pth"):
        for line in pth.read_text(encoding="utf-8").splitlines():
            folder = Path(line.strip())
            outside = folder.is_absolute() and folder.is_dir() and not folder.is_relative_to(context.prefix)
            if outside and folder.resolve() != own:
                log.warning("%s: %s is not in the archive; install its packages without -e", pth.name, folder)


def own_files(folder: Path, prefix: str) -> list[tuple[Path, str]]:
    """The files of the copy of mrml below ``folder``, and their places in the archive."""
    site = next(Path(prefix, "lib").glob("python*")).name
    names = (path for path in sorted((folder / "mrml").rglob("*")) if path.is_file())
    return [(path, f"lib/{site}/site-packages/{path.relative_to(folder)}") for path in names]
