"""From a folder with an application of Oozie to HDFS, and the properties that it is started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mrml.errors import ConfigError
from mrml.fs.folder import Folder
from mrml.tools.oozie.document import read_properties
from mrml.tools.oozie.render import PROPERTIES

_PATHS = ("oozie.coord.application.path", "oozie.wf.application.path")


def application(folder: Path, more: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The properties of a folder's application, ``more`` of which win, and where it lies on HDFS."""
    file = folder / PROPERTIES
    if not file.is_file():
        raise ConfigError(str(file), "is not there", "name a folder that `mrml oozie render` made")
    properties = {**read_properties(file.read_text(encoding="latin-1")), **more}
    path = next((properties[key] for key in _PATHS if properties.get(key)), "")
    if not path:
        raise ConfigError(str(file), "names no application", f"write {_PATHS[1]}=hdfs://...")
    if "://" not in path or path.startswith("file:"):
        raise ConfigError(str(file), f"the application's path {path!r} is not on HDFS", "write hdfs://host:port/...")
    return properties, path


def upload(folder: Path, path: str) -> None:
    """Put every file of a folder where the application lies; those of the same names are replaced, one by one."""
    target = Folder(path)
    target.make()
    for file in sorted(p for p in folder.iterdir() if p.is_file() and p.name != PROPERTIES):
        target.write(file.name, file.read_bytes())
