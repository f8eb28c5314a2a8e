"""A store of models: versions that never change, and which of them is in service.

A directory on any file system::

    versions/000003/     model.json, model.npz, run.json, profile.json where there is one, and version.json: whole from
                         the moment that it has its name
    switches/000004      which version went into service then, from where, when and by whom
    CURRENT              the name of the version in service, for other programs

A version and a switch get their names by a rename that fails where the name is taken.  So who is killed leaves the
store as it was or as it was to be, and of two who promote at once one is told; the last switch is what counts, and
``CURRENT`` follows it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from mrml.errors import InputError, OutputExists
from mrml.fs.folder import Folder
from mrml.model import load

CURRENT, _VERSIONS, _SWITCHES, _ABOUT = "CURRENT", "versions", "switches", "version.json"
_FILES = ("model.json", "model.npz", "run.json", "profile.json")
#: what makes a model another version: `mrml run` compares rows with the profile of the version in service
_OF_VERSION = ("model.json", "model.npz", "profile.json")
#: what is told of every version
_TOLD = ("number", "digest", "source", "created", "algorithm", "metrics")


class Switch(NamedTuple):
    """A version that went into service: the how-manieth time, by ``promote`` or ``rollback``, when, and who said so."""

    number: int
    version: int
    action: str
    at: str
    by: str


class Store:
    """The store at a path, local or on HDFS; it need not be there yet.

    Raises
    ------
    InputError
        A version is named that is not there, or nothing is in service.
    OutputExists
        Somebody else switched at the same moment.
    """

    def __init__(self, path: str) -> None:
        self.folder = Folder(path)
        self.versions_folder, self.switches_folder = self.folder / _VERSIONS, self.folder / _SWITCHES

    # ---- what is there

    def versions(self) -> list[dict[str, Any]]:
        """What each version is, in order: number, digest, source, created, algorithm, metrics."""
        names = [name for name in self.versions_folder.names() if name.isdigit()]
        return [_whole(self.versions_folder / name, _ABOUT, _TOLD) for name in names]

    def version(self, number: int) -> dict[str, Any]:
        """One of them."""
        found = next((v for v in self.versions() if v["number"] == number), None)
        if found is None:
            there = ", ".join(str(v["number"]) for v in self.versions()) or "none"
            raise InputError(str(self.folder), f"has no version {number}; there are: {there}", "name one of them")
        return found

    def switches(self) -> list[Switch]:
        """Every version that went into service, in order."""
        names = [name for name in self.switches_folder.names() if name.isdigit()]
        return [Switch(**_whole(self.switches_folder, name, Switch._fields)) for name in names]

    def current(self) -> Switch | None:
        """What is in service."""
        return (self.switches() or [None])[-1]  # type: ignore[list-item]

    def directory(self, number: int) -> str:
        """The directory of a version's model."""
        return (self.versions_folder / _name(number)).path

    # ---- what changes

    def promote(self, model: str, lineage: Mapping[str, Any] | None = None, instead_of: int | None = None) -> Switch:
        """Put a model into service: as a new version, or as the one that has its bytes and its profile already.

        Parameters
        ----------
        lineage : what it came of, kept with a new version, beside its configuration, the versions of the software and
            ``parent``, the version that was in service.
        instead_of : number of the switch by which that came into service which it was compared with, 0 for nothing;
            OutputExists where that is no longer the last one.
        """
        if self.folder.exists() and not self.folder.isdir():
            raise OutputExists(str(self.folder), "is a file", "name a directory")
        load(model)  # whole, and of a format that this mrml reads
        before, source = self.current(), Folder(model)
        files = {name: source.read(name) for name in _FILES if source.exists(name)}
        digest = sha256(b"".join(files[name] for name in _OF_VERSION if name in files)).hexdigest()
        number = next((v["number"] for v in self.versions() if v["digest"] == digest), None)
        if before is not None and before.version == number:
            self._follow()
            return before
        if instead_of is not None and instead_of != (before.number if before else 0):
            finding = f"version {before.version if before else None} went into service meanwhile"
            remedy = "compare with that one: `mrml run` does so with --from evaluate"
            raise OutputExists(str(self.folder), finding, remedy)
        if number is None:
            parent = {"parent": before.version if before else None}
            number = self._added(files, digest, model, {**parent, **(lineage or {})})
        return self._switched(before, number, "promote")

    def rollback(self, to: int | None = None) -> Switch:
        """Put the version into service that was before the one that is, or a named one."""
        switches = self.switches()
        if not switches:
            raise InputError(str(self.folder), "nothing is in service", "promote a model first")
        if to is None:
            earlier = [s.version for s in switches if s.version != switches[-1].version]
            if not earlier:
                finding = f"no other version was in service before {switches[-1].version}"
                raise InputError(str(self.folder), finding, "name one with --to")
            to = earlier[-1]
        self.version(to)
        return self._switched(switches[-1], to, "rollback")

    def _added(self, files: dict[str, bytes], digest: str, source: str, lineage: Mapping[str, Any]) -> int:
        """A new version, whole from the moment that it has its name."""
        self.versions_folder.make()
        number = self._claimed()
        facts = json.loads(files.get("run.json", b"{}"))
        about = {
            "number": number, "digest": digest, "source": source, "created": _now(),
            "algorithm": facts.get("algorithm"), "metrics": _metrics(facts),
            "lineage": {**lineage, "config": facts.get("config"), "versions": facts.get("versions")},
        }  # fmt: skip
        aside = self.versions_folder / f"_{_name(number)}.{uuid.uuid4().hex[:12]}"
        aside.make()
        for name, content in {**files, _ABOUT: json.dumps(about, indent=1).encode()}.items():
            aside.write(name, content, sync=True)
        aside.move(self.versions_folder / _name(number))
        return number

    def _claimed(self) -> int:
        """A number that is nobody else's, also where he was killed before he used it."""
        while True:
            taken = [int(n.partition(".")[0]) for n in self.versions_folder.names() if n.partition(".")[0].isdigit()]
            number = max(taken, default=0) + 1
            with contextlib.suppress(FileExistsError):
                self.versions_folder.create(f"{_name(number)}.claim", b"", sync=True)
                return number

    def _switched(self, before: Switch | None, version: int, action: str) -> Switch:
        number = 1 if before is None else before.number + 1
        switch = Switch(number, version, action, _now(), f"{getpass.getuser()}@{platform.node()}")
        self.switches_folder.make()
        try:
            self.switches_folder.create(_name(number), json.dumps(switch._asdict()).encode(), sync=True)
        except FileExistsError as error:
            other = self.current()
            who = f"version {other.version} by {other.by}" if other else "another version"
            remedy = "look with `mrml models list`, and say it again if it is still meant"
            raise OutputExists(str(self.folder), f"{who} went into service at the same moment", remedy) from error
        self._follow()
        return switch

    def _follow(self) -> None:
        """Have CURRENT say what the last switch says, also where who switched was killed before he wrote it."""
        while (switch := self.current()) is not None:
            told = f"{_name(switch.version)}\n".encode()
            if not self.folder.exists(CURRENT) or self.folder.read(CURRENT) != told:
                self.folder.write(CURRENT, told, sync=True)
            if self.current() == switch:
                return


def _whole(folder: Folder, name: str, keys: Sequence[str]) -> dict[str, Any]:
    """A record of the store with these keys; of a switch nothing else.  InputError for one that is damaged."""
    found = folder.read_json(name)
    if missing := [key for key in keys if key not in found]:
        finding = f"is not a record of a store: it has no {missing[0]!r}"
        raise InputError(folder.join(name), finding, "copy it again from where the store was copied from")
    return {key: found[key] for key in keys} if keys == Switch._fields else found


def resolved(path: str) -> str:
    """The directory of a model: of a store, that of the version in service."""
    folder = Folder(path)
    if folder.exists("model.json") or not folder.exists(_SWITCHES):
        return path
    store = Store(path)
    switch = store.current()
    if switch is None:
        raise InputError(path, "is a store of models of which none is in service", "promote one")
    return store.directory(switch.version)


def metrics_of(model: str) -> dict[str, Any]:
    """What the training of a model left: on validation rows where there were some, else on training rows."""
    folder = Folder(model)
    return _metrics(folder.read_json("run.json")) if folder.exists("run.json") else {}


def _metrics(facts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = facts.get("valid") or facts.get("metrics") or {}
    return found


def _name(number: int) -> str:
    return f"{number:06d}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
