"""The packed environment of the tasks: uploaded once for its content, unpacked by every node once."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tarfile

from mrml.errors import ConfigError
from mrml.fs.folder import Folder

log = logging.getLogger(__name__)

#: the link in a task's working directory
LINK = "environment"
PYTHON = f"{LINK}/bin/python"
_COMPILED = (".nbi", ".nbc")


def shipped(archive: str, home: str) -> str:
    """The URI of an archive on HDFS; a local one is put below ``home``, unless one of its content is there."""
    if "://" in archive and not archive.startswith("file://"):
        folder, _, name = archive.rpartition("/")
        if not Folder(folder).exists(name):
            raise ConfigError("engine, environment", f"{archive} is not there", "`mrml pack --upload` tells its URI")
        return archive
    path = archive.removeprefix("file://")
    if not os.path.isfile(path):
        raise ConfigError("engine, environment", f"{path} is no file", "make it with `mrml pack`")
    return upload(path, home)


def upload(path: str, home: str) -> str:
    """Put a local archive below ``home`` under a name that tells its content; its URI."""
    folder = Folder(home) / "environments"
    base = os.path.basename(path)
    stem, ending = next(((base.removesuffix(e), e) for e in (".tar.gz", ".tgz", ".zip") if base.endswith(e)), ("", ""))
    if not stem:
        raise ConfigError("engine, environment", f"{path} is no .tar.gz, .tgz or .zip", "make it with `mrml pack`")
    name = f"{stem}-{content(path)[:12]}{ending}"
    if not folder.exists(name):
        folder.make()
        with open(path, "rb") as source, folder.writing(name) as target:
            shutil.copyfileobj(source, target, 1 << 22)
        log.info("uploaded %s", folder.join(name))
    return folder.join(name)


def content(path: str) -> str:
    """SHA-256 in hex of what an archive holds, numba's machine code left out: that has addresses of its process in it.

    Of what is no .tar.gz, of the file.
    """
    found = hashlib.sha256()
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name.endswith(_COMPILED):
                    continue
                found.update(f"{member.name} {member.mode} {member.size} {member.linkname}\n".encode())
                file = archive.extractfile(member) if member.isfile() else None
                while file and (chunk := file.read(1 << 22)):
                    found.update(chunk)
    except (tarfile.TarError, OSError, EOFError):
        return digest(path)
    return found.hexdigest()


def digest(path: str) -> str:
    """SHA-256 of a file in hex."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            found.update(chunk)
    return found.hexdigest()
