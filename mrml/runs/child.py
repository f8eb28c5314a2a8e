"""A run in a process whose kernels are pinned: this one where they are, else one of its own.

A model is the same bytes everywhere only where NumPy was loaded with the variables of :mod:`mrml.pin`.  A process of
the user's is left as it is, so what computes there goes to a child: arguments and answer travel as JSON, a line each.

To start one and to load what it computes with takes a second, so a child stays for the next call for a while: one of
the same environment, path and directory, and without modules of the user's own, which may have changed by then.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, ClassVar

from mrml import names, pin
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import MrmlError, from_json, to_json

if TYPE_CHECKING:
    from mrml.runs.progress import Progress

#: not ``-m``, which looks for every module, NumPy too, in the current directory first
_CODE = "import sys; sys.path[:] = {path!r}; from mrml.runs.child import serve; serve()"
#: functions that are not of the module train
_ELSEWHERE = {"judged": "mrml.runs.search.tune", "curves_of": "mrml.runs.batch.compare"}
#: seconds for which a child waits for another call
IDLE_S = 60.0
#: the arguments that are sections, by name
_SECTIONS: dict[str, type] = {"data": DataConfig, "engine": EngineConfig, "config": RunConfig}


def train(config: RunConfig, progress: Progress | None = None) -> dict[str, Any]:
    """See :func:`mrml.runs.train.train`."""
    return _called("train", {"config": config}, progress)


def predict(model: str, data: DataConfig, engine: EngineConfig, output: str) -> dict[str, Any]:
    """See :func:`mrml.runs.train.predict`."""
    return _called("predict", {"model_dir": model, "data": data, "engine": engine, "output": output})


def evaluate(model: str, data: DataConfig, engine: EngineConfig) -> dict[str, Any]:
    """See :func:`mrml.runs.train.evaluate`."""
    return _called("evaluate", {"model_dir": model, "data": data, "engine": engine})


def curves_of(model: str, data: DataConfig, engine: EngineConfig) -> dict[str, Any]:
    """See :func:`mrml.runs.batch.compare.curves_of`."""
    return _called("curves_of", {"model": model, "data": data, "engine": engine})


def judged(config: RunConfig, chosen: Sequence[Mapping[str, Any]], folds: int, by: str) -> list[dict[str, Any]]:
    """See :func:`mrml.runs.search.tune.judged`."""
    given = {"config": config, "chosen": [dict(c) for c in chosen], "folds": folds, "by": by}
    return list(_called("judged", given)["trials"])


def _called(name: str, given: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    if pin.pinned():
        return _function(name)(**given, **({"progress": progress} if progress else {}))
    sections = {k: dataclasses.asdict(v) if k in _SECTIONS else v for k, v in given.items()}
    allow = names.allowed()
    child = _Child.free() if not allow else _Child()
    try:
        message = {"name": name, "given": sections, "allow": allow, "tells": progress is not None}
        answer = child.answer(json.dumps(message, default=_plain), progress)
    except BaseException:
        child.end()
        raise
    if allow or "ended" in answer:
        child.end()
    else:
        child.stay()
    if "error" in answer:
        raise from_json(answer["error"])
    if "found" not in answer:
        raise MrmlError(name, f"its process ended with exit code {answer['ended']}", "its message is above")
    found: dict[str, Any] = answer["found"]
    return found


class _Child:
    """A process that answers calls, one at a time."""

    #: those that wait for a call, the latest last
    waiting: ClassVar[list[_Child]] = []
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.like, self.since = _surroundings(), 0.0
        command = [sys.executable, "-c", _CODE.format(path=sys.path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )

    @classmethod
    def free(cls) -> _Child:
        """One that waits and is as a new one would be, or a new one."""
        with cls.lock:
            while cls.waiting:
                child = cls.waiting.pop()
                fresh = time.monotonic() - child.since < IDLE_S / 2  # it must not end while it is asked
                if fresh and child.process.poll() is None and child.like == _surroundings():
                    return child
                child.end()
        return cls()

    def answer(self, message: str, progress: Progress | None = None) -> dict[str, Any]:
        """What it answers; its exit code as ``ended`` where it does not.  Before that it may tell of its progress."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(message + "\n")
            self.process.stdin.flush()
        while line := self.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if progress is None or "tells" not in answer:
                return answer
            getattr(progress, answer["tells"])(answer["facts"])
        return {"ended": self.process.wait()}

    def stay(self) -> None:
        """Wait for another call, of which one child is enough."""
        self.since = time.monotonic()
        with self.lock:
            before, self.waiting[:] = self.waiting[:], [self]
        for child in before:
            child.end()

    def end(self) -> None:
        """Let go of it; a process that was forked meanwhile leaves it to the one that started it."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        if self.like[0] == os.getpid():
            self.process.kill()
            self.process.wait()
        else:
            self.process.returncode = 0


@atexit.register
def _end_all() -> None:
    for child in _Child.waiting:
        child.end()


def _environment() -> dict[str, str]:
    """The caller's arguments are complete: a variable MRML_... must not win over them."""
    return {k: v for k, v in pin.environment().items() if not k.startswith("MRML_")}


def _surroundings() -> tuple[Any, ...]:
    """What a child has of the process that starts it."""
    return os.getpid(), os.getcwd(), list(sys.path), _environment()


class _Tells:
    """A Progress whose listener is the process that called."""

    def __init__(self, out: IO[str]) -> None:
        self.out = out

    def start(self, plan: dict[str, Any]) -> None:
        _say(self.out, {"tells": "start", "facts": plan})

    def round(self, facts: dict[str, Any]) -> None:
        _say(self.out, {"tells": "round", "facts": facts})

    def done(self, facts: dict[str, Any]) -> None:
        _say(self.out, {"tells": "done", "facts": facts})


def _say(out: IO[str], message: dict[str, Any]) -> None:
    json.dump(message, out, default=_plain)
    out.write("\n")
    out.flush()


def serve() -> None:
    """Answer the calls that come by standard input; what is printed meanwhile goes to standard error."""
    pin.pin()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        while line := _asked():
            _say(answers, _answer(json.loads(line), answers))


def _asked() -> str:
    """The next call; empty where none comes any more."""
    try:
        return sys.stdin.readline() if select.select([sys.stdin], [], [], IDLE_S)[0] else ""
    except KeyboardInterrupt:  # of the terminal, and no call is under way
        return ""


def _answer(message: Mapping[str, Any], answers: IO[str]) -> dict[str, Any]:
    names.allow(*message["allow"])
    given = {k: _section(_SECTIONS[k], v) if k in _SECTIONS else v for k, v in message["given"].items()}
    given |= {"progress": _Tells(answers)} if message.get("tells") else {}
    try:
        return {"found": _function(message["name"])(**given)}
    except MrmlError as error:
        return {"error": to_json(error)}


def _function(name: str) -> Callable[..., dict[str, Any]]:
    module = _ELSEWHERE.get(name, "mrml.runs.train")
    commands = importlib.import_module(module)  # loads NumPy, which must be pinned before
    found: Callable[..., dict[str, Any]] = getattr(commands, name)
    return found


def _section(cls: type, values: Mapping[str, Any]) -> Any:
    """A section of its JSON values, whose lists are tuples."""
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if cls is RunConfig:
        known |= {name: _section(_SECTIONS[name], known[name]) for name in ("data", "engine")}
    return cls(**known)


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays among hyperparameters, and paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
