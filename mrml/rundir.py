"""Output directories: who may write one, written aside and renamed, nothing left of what failed at once.

A model's directory holds ``model.json`` and ``model.npz`` (the model), ``run.json`` (when, where, how, with what
metrics), ``_SUCCESS`` (the marker, written last) and ``_run/`` (identity and checkpoints, for ``--resume``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mrml.driver import Checkpoint
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
        if overwrite and not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif resume:
            self._same(identity)
        elif self.output.exists() and any(self.output.iterdir()):
            raise self._taken()
        self.made = _make(self.folder)
        _write_json(self.folder / "identity.json", identity)

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
                shutil.rmtree(self.folder, ignore_errors=True)
                for folder in reversed(self.made):
                    with suppress(OSError):  # something else lies there by now
                        folder.rmdir()
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


def _make(folder: Path) -> list[Path]:
    """Make a directory and those above it; the new ones, from the outermost.  ConfigError where none can be made."""
    new = [p for p in (folder, *folder.parents) if not p.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output {folder}", f"cannot be made: {error.strerror}", "name another --output") from error
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
