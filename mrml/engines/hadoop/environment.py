"""The packed environment of the tasks: uploaded once for its content, unpacked by every node once."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tarfile
import zipfile
import zlib

from mrml.errors import ConfigError
from mrml.fs.find import filesystem
from mrml.fs.folder import Folder
from mrml.version import IMPORTED_FROM

log = logging.getLogger(__name__)

#: the link in a task's working directory
LINK = "environment"
PYTHON = f"{LINK}/bin/python"
_COMPILED = (".nbi", ".nbc")
_PLACE = "engine, environment"
#: archives by the ending of their names, and how they begin (RFC 1952; PKWARE's APPNOTE, 4.3.7)
_MAGIC = {".tar.gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".zip": b"PK\x03\x04"}


def interpreter(archive: str | None, task_python: str | None) -> tuple[str, dict[str, str]]:
    """The Python that tasks run, and the variables by which it finds mrml."""
    if archive:
        return PYTHON, {}
    if task_python:
        return task_python, {}
    # the nodes are this machine: mrml may lie outside the interpreter's packages
    return sys.executable, {"PYTHONPATH": IMPORTED_FROM}


def shipped(archive: str, home: str) -> str:
    """The URI of an archive on HDFS; a local one is put below ``home``, unless one of its content is there.

    ConfigError where there is none, or what is there is no archive of a Python: each node would find that out.
    """
    if "://" in archive and not archive.startswith("file://"):
        folder, _, name = archive.rpartition("/")
        if not Folder(folder).exists(name):
            raise ConfigError(_PLACE, f"{archive} is not there", "`mrml pack --upload` prints its URI")
        _expect_beginning(archive)
        return archive
    path = archive.removeprefix("file://")
    if not os.path.isfile(path):
        raise ConfigError(_PLACE, f"{path} is not a file", "make it with `mrml pack`")
    return upload(path, home)


def upload(path: str, home: str) -> str:
    """Put a local archive below ``home`` under a name that tells its content; its URI."""
    folder = Folder(home) / "environments"
    stem, ending = _parted(path)
    name = f"{stem}-{content(path)[:12]}{ending}"
    if not folder.exists(name):
        folder.make()
        with open(path, "rb") as source, folder.writing(name) as target:
            shutil.copyfileobj(source, target, 1 << 22)
        log.info("uploaded %s", folder.join(name))
    return folder.join(name)


def _parted(path: str) -> tuple[str, str]:
    """Stem and ending of an archive's name, by which YARN unpacks it."""
    base = path.rpartition("/")[2]
    for ending in _MAGIC:
        if base.endswith(ending) and base != ending:
            return base.removesuffix(ending), ending
    raise ConfigError(_PLACE, f"{path} is not a .tar.gz, .tgz or .zip", "make it with `mrml pack`")


def _expect_beginning(uri: str) -> None:
    """ConfigError where a file on HDFS begins with no archive; all of it is left for the nodes to read."""
    if uri.endswith((".tar", ".jar")):  # YARN unpacks them, too
        return
    magic = _MAGIC[_parted(uri)[1]]
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        if file.read(len(magic)) != magic:
            raise ConfigError(_PLACE, f"{uri} is not an archive", "make it with `mrml pack --upload`")


def content(path: str) -> str:
    """SHA-256 in hex of what an archive holds, numba's machine code left out: that has addresses of its process in it.

    Of a .zip, of the file.  ConfigError where it cannot be read to its end, or holds no ``bin/python``.
    """
    try:
        names, found = _of_zip(path) if path.endswith(".zip") else _of_tar(path)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise ConfigError(_PLACE, f"{path} cannot be read: {error}", "make it again with `mrml pack`") from error
    if not {os.path.normpath(name) for name in names} & {"bin/python"}:
        raise ConfigError(_PLACE, f"{path} has no bin/python", "make it with `mrml pack`")
    return found


def _of_tar(path: str) -> tuple[list[str], str]:
    """Names and digest of the members."""
    found, names = hashlib.sha256(), []
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            names.append(member.name)
            if member.name.endswith(_COMPILED):
                continue
            found.update(f"{member.name} {member.mode} {member.size} {member.linkname}\n".encode())
            file = archive.extractfile(member) if member.isfile() else None
            while file and (chunk := file.read(1 << 22)):
                found.update(chunk)
    return names, found.hexdigest()


def _of_zip(path: str) -> tuple[list[str], str]:
    """Names of the members, and the digest of the file."""
    with zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            raise zipfile.BadZipFile(f"{broken} is damaged")
        return archive.namelist(), digest(path)


def digest(path: str) -> str:
    """SHA-256 of a file in hex."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            found.update(chunk)
    return found.hexdigest()
