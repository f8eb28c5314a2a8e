"""Output directories: who may write one, written aside and renamed, nothing left of what failed at once.

A model's directory holds ``model.json`` and ``model.npz`` (the model), ``run.json`` (when, where, how, with what
metrics), ``_SUCCESS`` (the marker, written last) and ``_run/`` (identity and checkpoints).

The directory is how a run is found again.  A training that is submitted again goes on where the one before it was
stopped, when it is the same: algorithm, schema, inputs, builds.  One that is something else is refused, and so is a
model that is finished: to answer with that one, when the rows may have changed since, nobody asked for (``--resume``
does, ``--overwrite`` begins anew).
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from types import TracebackType
from typing import Any

from mrml.algorithm import State
from mrml.data.files import hidden
from mrml.engines.base import Engine
from mrml.errors import ConfigError, EngineError, InputError, OutputExists, ResumeMismatch
from mrml.fs.folder import ASIDE, Folder
from mrml.model import Model
from mrml.runs.fit import Checkpoint, OnRound
from mrml.runs.identity import brought_up
from mrml.runs.lease import LEASE, Lease, RemoteLease, lease_on

#: seconds between checkpoints: a round may take milliseconds, and waiting for the disk takes as long
CHECKPOINT_S = 0.5
SUCCESS = "_SUCCESS"
#: for how long the directory of an attempt that failed is removed again where something is written into it
UNMAKE_S = 3.0
#: below ``_run``: who computes, written this often at most
MEMBERS, MEMBERS_S = "workers.json", 5.0
log = logging.getLogger(__name__)


class LeasedCheckpoint(Checkpoint):
    """Nothing is written by a driver whose run another one has taken."""

    def __init__(self, directory: str, lease: Lease | RemoteLease) -> None:
        super().__init__(directory, every_s=CHECKPOINT_S)
        self.lease = lease

    def save(self, state: State, last: bool = False) -> State:
        self.lease.check()
        return super().save(state, last)


class RunDirectory:
    """``OUTPUT/_run``: who may write the output, what it was begun with, its checkpoints.

    ``abandon`` is told the id of a run that ``overwrite`` takes the place of, while all of that run is still there.
    """

    def __init__(
        self,
        output: str,
        identity: Mapping[str, Any],
        resume: bool,
        overwrite: bool,
        abandon: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name, self.output = output, Folder(output)
        self.folder = self.output / "_run"
        self.resumed, self._abandon, self._told = resume, abandon, -math.inf
        if resume and not self.folder.exists():
            raise ResumeMismatch(self.name, "has no run to resume", "leave out --resume")
        if not (overwrite or self.folder.exists()):
            self._refuse_files()
        self.made = _make(self.folder, output)
        self.lease = lease_on(self.folder)
        self.checkpoint = LeasedCheckpoint((self.folder / "checkpoint").path, self.lease)
        try:
            self._begin(identity, resume, overwrite)
        except BaseException:
            self.lease.close()
            raise

    def _begin(self, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        """Under the lease: nobody else advances or clears this run."""
        if resume:
            self._same(identity)
        elif overwrite:
            if before := self._run_id():
                self._abandon(before)
            self._clear()
        elif self.output.exists(SUCCESS):
            raise OutputExists(self.name, "already exists", "use --overwrite to replace it")
        elif self.folder.exists("identity.json"):
            self._go_on(identity)
        else:
            self._refuse_files()
        self.folder.write("identity.json", _json(identity))
        self.folder.remove(MEMBERS)  # of a driver before this one
        if not self._run_id():
            self.folder.write("run_id.json", _json({"run": uuid.uuid4().hex[:12]}))
        self.id = self._run_id()

    def _run_id(self) -> str:
        known = self.folder.exists("run_id.json")
        return str(self.folder.read_json("run_id.json").get("run", "")) if known else ""

    def _clear(self) -> None:
        """Nothing of the run that was there; the checkpoints first, since they are worth nothing without the rest."""
        for name in self.folder.names():
            if not name.startswith((LEASE, f".{LEASE}")):
                self.folder.remove(name)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lease.close()

    def _refuse_files(self) -> None:
        if set(self.output.names()) - {"_run"}:
            remedy = "name a directory that does not exist, or use --overwrite to write a model beside them"
            raise OutputExists(self.name, "holds other files", remedy)

    def _go_on(self, identity: Mapping[str, Any]) -> None:
        """What was stopped there is this run, or another one."""
        if difference := self._different(identity):
            remedy = "use --overwrite to start again, or name another --output"
            raise OutputExists(self.name, f"contains an unfinished run of something else; {difference}", remedy)
        self.resumed = True
        done = max(self.checkpoint.rounds(), default=0)
        log.info("%s: continuing an unfinished run after round %d", self.name, done)

    @contextmanager
    def undone_early(self) -> Iterator[None]:
        """An error before a round is done leaves nothing behind; so does what the user has to mend in the data or the
        configuration, found before a second one: nothing could go on.

        After anything else, a lost cluster or an interrupt, and in a run that goes on, what a round has written stays:
        the same command takes it up.
        """
        try:
            yield
        except Exception as error:
            done = max(self.checkpoint.rounds(), default=0)
            if not self.resumed and (done < 1 or (done < 2 and isinstance(error, ConfigError | InputError))):
                self.lease.rest()
                _unmake(self.folder, self.made)
            raise

    def _same(self, identity: Mapping[str, Any]) -> None:
        if not self.folder.exists("identity.json"):
            raise ResumeMismatch(self.name, "has no run to resume", "leave out --resume")
        if difference := self._different(identity):
            finding = f"is not the run that began there; {difference}"
            raise ResumeMismatch(self.name, finding, "give what it began with, or another --output")

    def _different(self, identity: Mapping[str, Any]) -> str:
        """The first thing in which a run differs from the one that began here; empty when it is the same."""
        try:
            begun = brought_up(self.folder.read_json("identity.json"))
        except (InputError, ValueError, TypeError, AttributeError, KeyError) as error:
            place, said = self.folder.join("identity.json"), error.finding if isinstance(error, InputError) else error
            raise ResumeMismatch(place, f"is damaged: {said}", "start again with --overwrite") from error
        for key, value in json.loads(json.dumps(identity)).items():
            if begun.get(key) != value:
                return f"{key}: {_difference(begun.get(key), value)}"
        return ""

    def telling(self, engine: Engine, on_round: OnRound) -> OnRound:
        """What is called after every round, and then word of who computes."""

        def done(state: State) -> None:
            on_round(state)
            self._tell_members(engine)

        return done

    def _tell_members(self, engine: Engine) -> None:
        """Leave word of who computes, for `mrml runs show`; one in some seconds, since rounds may take milliseconds."""
        now = time.monotonic()
        if now - self._told < MEMBERS_S:
            return
        members = engine.members()
        if not members and self._told == -math.inf:
            return
        self._told = now
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with suppress(OSError, EngineError):  # a run does not end for it
            self.folder.write(MEMBERS, _json({"at": at, "members": members}))

    def counted(self, rounds: int, counts: Mapping[str, Any]) -> dict[str, Any]:
        """What a run tells of its rows; one that had nothing left to do tells what the record of it says."""
        found = dict(counts)
        if not rounds and self.output.exists("run.json"):
            with suppress(InputError):
                before = self.output.read_json("run.json")
                found = {name: before.get(name, value) for name, value in found.items()}
        return found

    def commit(self, model: Model, facts: Mapping[str, Any]) -> None:
        """Put the model in place: what was there stays whole until the new files are."""
        self.lease.check()
        aside = self.folder / "model"
        aside.remove()
        aside.make()
        model.save(aside.path)
        aside.write("run.json", _json(facts))
        self.output.remove(SUCCESS)
        for name in ("model.npz", "model.json", "run.json"):
            self.output.fs.mv(aside.join(name), self.output.join(name))
        aside.remove()
        self.output.write(SUCCESS, b"")


_ELSEWHERE = "name another output, or remove that directory yourself"


def refuse_taken(output: str, overwrite: bool) -> None:
    """OutputExists, unless there is nothing, or what lies there may be replaced: part files and their marker."""
    target = Folder(output)
    is_link = target.is_local and os.path.islink(target.path)
    if not is_link and not target.exists():
        return
    if is_link or not target.isdir():
        raise OutputExists(output, "is not a directory", "name a directory that does not exist")
    if not overwrite:
        raise OutputExists(output, "already exists", "use --overwrite to replace it")
    names = target.names()
    foreign = next((n for n in names if not n.startswith(("part-", "_", "."))), None)
    if foreign is not None:
        raise OutputExists(output, f"holds {foreign!r}, which is not a part file", _ELSEWHERE)
    if names and SUCCESS not in names:
        raise OutputExists(output, f"has no {SUCCESS}, so it is not an output of mrml", _ELSEWHERE)


def refuse_inputs(output: str, paths: Iterable[str]) -> None:
    """ConfigError when an input file lies where the output is to be."""
    top = _real(output) + "/"
    for path in paths:
        if _real(path).startswith(top):
            raise ConfigError(f"output {output}", f"holds the input file {path}", "name another output")


def among(path: str, source: str) -> bool:
    """Whether what is written at a path would be read with an input: below it, and not under a hidden name.

    No file system is asked: that of a URI may not be known here.
    """
    outer, inner = (p.rstrip("/") + "/" if "://" in p else os.path.realpath(p) + "/" for p in (source, path))
    return inner.startswith(outer) and not hidden(inner[len(outer) :])


def _real(path: str) -> str:
    folder = Folder(path)
    return os.path.realpath(folder.path) if folder.is_local else folder.path


@contextmanager
def written_aside(output: str) -> Iterator[Folder]:
    """A new directory that takes the place of ``output``, ``_SUCCESS`` included, when all went well.

    Its path is absolute: tasks run in directories of their own.
    """
    target = Folder(output)
    aside, old = target.sibling(ASIDE), target.sibling(".old")
    made = _make(aside, output)
    try:
        yield aside
        aside.write(SUCCESS, b"")
        if target.exists():
            target.move(old)
        aside.move(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.move(target)
        _unmake(aside, made)
        raise
    old.remove()


def _unmake(folder: Folder, made: list[Folder]) -> None:
    """Remove a directory, and those above it that were made for it and hold nothing else.

    It is tried for UNMAKE_S: a worker may be writing there still, and who waits for it may press Ctrl-C again.
    """
    until = time.monotonic() + UNMAKE_S
    while True:
        try:
            folder.remove()
            for empty in reversed(made):
                if empty.exists() and not empty.names():
                    empty.remove()
            return
        except (OSError, KeyboardInterrupt):
            if time.monotonic() > until:
                return
            time.sleep(0.05)


def _make(folder: Folder, output: str) -> list[Folder]:
    """Make a directory and those above it; the new ones, from the outermost.  ConfigError where none can be made."""
    new: list[Folder] = []
    above = folder
    while not above.exists():
        new.insert(0, above)
        above = above.parent
    try:
        folder.make()
    except OSError as error:
        place = f"output {output}"
        raise ConfigError(place, f"cannot be made: {error.strerror or error}", "name another --output") from error
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


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
