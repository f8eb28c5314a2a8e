"""Output directories: who may write one, written aside and renamed, nothing left of what failed at once.

A model's directory holds ``model.json`` and ``model.npz`` (the model), ``run.json`` (when, where, how, with what
metrics), ``_SUCCESS`` (the marker, written last) and ``_run/`` (identity and checkpoints, for ``--resume``).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any

from mrml.driver import Checkpoint
from mrml.engines.lease import Lease
from mrml.errors import ConfigError, OutputExists, ResumeMismatch
from mrml.model import Model

SUCCESS = "_SUCCESS"


class RunDirectory:
    """``OUTPUT/_run``: who may write the output, what it was begun with, its checkpoints."""

    def __init__(self, output: str, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        self.output = Path(output)
        self.folder = self.output / "_run"
        self.checkpoint = Checkpoint(self.folder / "checkpoint")
        self.resumed = resume
        there = self.output.exists() and any(self.output.iterdir())
        if resume and not self.folder.exists():
            raise ResumeMismatch(str(self.output), "holds no run to resume", "leave out --resume")
        if there and not (overwrite or self.folder.exists()):
            raise self._taken()
        self.made = _make(self.folder)
        self.lease = Lease(self.folder / "lease")
        try:
            self._begin(identity, there, resume, overwrite)
        except BaseException:
            self.lease.close()
            raise

    def _begin(self, identity: Mapping[str, Any], there: bool, resume: bool, overwrite: bool) -> None:
        """Under the lease: nobody else advances or clears this run."""
        if resume:
            self._same(identity)
        elif overwrite:
            self._clear()
        elif there:
            raise self._taken()
        _write_json(self.folder / "identity.json", identity)
        name = self.folder / "run_id.json"
        if not name.exists():
            _write_json(name, {"run": uuid.uuid4().hex[:12]})
        self.id: str = json.loads(name.read_text(encoding="utf-8"))["run"]

    def _clear(self) -> None:
        """Remove what an earlier run left, but for the lease."""
        for path in self.folder.iterdir():
            if path != self.lease.path:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lease.close()

    def _taken(self) -> OutputExists:
        if (self.output / SUCCESS).exists():
            return OutputExists(str(self.output), "is there already", "say --overwrite to replace it")
        if not self.folder.exists():
            remedy = "name a directory that does not exist, or say --overwrite to write a model beside them"
            return OutputExists(str(self.output), "holds other files", remedy)
        remedy = "say --overwrite to replace it, or --resume to go on"
        return OutputExists(str(self.output), "holds a run that did not finish", remedy)

    @contextmanager
    def undone_early(self) -> Iterator[None]:
        """An error before a second round is done leaves nothing behind: those two see every row, and cost no more.

        After an interrupt, and in a run that goes on, everything stays for ``--resume``.
        """
        try:
            yield
        except Exception:
            if not self.resumed and max(self.checkpoint.rounds(), default=0) < 2:
                _unmake(self.folder, self.made)
            raise

    def _same(self, identity: Mapping[str, Any]) -> None:
        path = self.folder / "identity.json"
        if not path.exists():
            raise ResumeMismatch(str(self.output), "holds no run to resume", "leave out --resume")
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ResumeMismatch(str(path), f"cannot be read: {error}", "begin again with --overwrite") from error
        for key, value in json.loads(json.dumps(identity)).items():
            if begun.get(key) != value:
                finding = f"is not the run that began there; {key}: {_difference(begun.get(key), value)}"
                raise ResumeMismatch(str(self.output), finding, "give what it began with, or another --output")

    def commit(self, model: Model, facts: Mapping[str, Any]) -> None:
        """Put the model in place: what was there stays whole until the new files are."""
        aside = self.folder / "model"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        model.save(aside)
        _write_json(aside / "run.json", facts)
        (self.output / SUCCESS).unlink(missing_ok=True)
        for name in ("model.npz", "model.json", "run.json"):
            os.replace(aside / name, self.output / name)
        aside.rmdir()
        (self.output / SUCCESS).touch()


def refuse_taken(output: str, overwrite: bool) -> None:
    """OutputExists, unless there is nothing, or what lies there may be replaced: part files and their marker."""
    target = Path(output)
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputExists(output, "is no directory", "name a directory that does not exist")
    if not overwrite:
        raise OutputExists(output, "is there already", "say --overwrite to replace it")
    names = sorted(p.name for p in target.iterdir())
    foreign = next((n for n in names if not n.startswith(("part-", "_", "."))), None)
    if foreign is not None:
        raise OutputExists(output, f"holds {foreign!r}, which is no part file", "remove the directory yourself")
    if names and SUCCESS not in names:
        raise OutputExists(output, f"holds no {SUCCESS}, so it is no output of mrml", "remove the directory yourself")


def refuse_inputs(output: str, paths: Iterable[str]) -> None:
    """ConfigError when an input file lies where the output is to be."""
    top = os.path.join(os.path.realpath(output), "")
    for path in paths:
        if os.path.realpath(path).startswith(top):
            raise ConfigError(f"output {output}", f"holds the input file {path}", "name another --output")


@contextmanager
def written_aside(output: str) -> Iterator[Path]:
    """A new directory that takes the place of ``output``, ``_SUCCESS`` included, when all went well.

    Its path is absolute: tasks run in directories of their own.
    """
    target = Path(os.path.abspath(output))
    aside, old = (target.with_name(f"_{target.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    shutil.rmtree(aside, ignore_errors=True)
    made = _make(aside)
    try:
        yield aside
        (aside / SUCCESS).touch()
        if target.exists():
            os.rename(target, old)
        os.rename(aside, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        _unmake(aside, made)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unmake(folder: Path, made: list[Path]) -> None:
    """Remove a directory, and those above it that were made for it and hold nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for empty in reversed(made):
        with suppress(OSError):
            empty.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a directory and those above it; the new ones, from the outermost.  ConfigError where none can be made."""
    new = [p for p in (folder, *folder.parents) if not p.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = f"output {folder.parent}"
        raise ConfigError(place, f"cannot be made: {error.strerror}", "name another --output") from error
    return new


def _difference(old: Any, new: Any) -> str:
    """The first place in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        key = next(k for k in sorted({*old, *new}) if old.get(k) != new.get(k))
        return f"{key}: {_difference(old.get(key), new.get(key))}"
    if isinstance(old, list) and isinstance(new, list):
        a, b = next((a, b) for a, b in zip_longest(old, new) if a != b)
        if a is None or b is None:
            return f"{_name(a or b)} not there {'then' if a is None else 'now'}"
        return f"{_name(a)} {_difference(a, b)}" if isinstance(a, dict | list) else _difference(a, b)
    return f"{json.dumps(old)[:200]} then, {json.dumps(new)[:200]} now"


def _name(value: Any) -> str:
    """What an entry of a list is called: a column by its name, a file by [part, name, size]."""
    name = value.get("name") if isinstance(value, dict) else value[1] if isinstance(value, list) else value
    return repr(name)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(aside, path)
