"""A run in a process whose kernels are pinned: this one where they are, else one of its own.

A model is the same bytes everywhere only where NumPy was loaded with the variables of :mod:`mrml.pin`.  A process of
the user's is left as it is, so what computes there goes to a child: arguments and answer travel as JSON.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrml import names, pin
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import MrmlError, from_json, to_json

#: not ``-m``, which looks for every module, NumPy too, in the current directory first
_CODE = "import sys; sys.path[:] = {path!r}; from mrml.runs.child import serve; serve()"
#: the arguments that are sections, by name
_SECTIONS: dict[str, type] = {"data": DataConfig, "engine": EngineConfig, "config": RunConfig}


def train(config: RunConfig) -> dict[str, Any]:
    """See :func:`mrml.runs.train.train`."""
    return _called("train", {"config": config})


def predict(model: str, data: DataConfig, engine: EngineConfig, output: str) -> dict[str, Any]:
    """See :func:`mrml.runs.train.predict`."""
    return _called("predict", {"model_dir": model, "data": data, "engine": engine, "output": output})


def evaluate(model: str, data: DataConfig, engine: EngineConfig) -> dict[str, Any]:
    """See :func:`mrml.runs.train.evaluate`."""
    return _called("evaluate", {"model_dir": model, "data": data, "engine": engine})


def judged(config: RunConfig, chosen: Sequence[Mapping[str, Any]], folds: int, by: str) -> list[dict[str, Any]]:
    """See :func:`mrml.runs.search.tune.judged`."""
    given = {"config": config, "chosen": [dict(c) for c in chosen], "folds": folds, "by": by}
    return list(_called("judged", given)["trials"])


def _called(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if pin.pinned():
        return _function(name)(**given)
    # the caller's arguments are complete: a variable MRML_... must not win over them
    environment = {k: v for k, v in pin.environment().items() if not k.startswith("MRML_")}
    sections = {k: dataclasses.asdict(v) if k in _SECTIONS else v for k, v in given.items()}
    message = json.dumps({"name": name, "given": sections, "allow": names.allowed()}, default=_plain)
    command = [sys.executable, "-c", _CODE.format(path=sys.path)]
    done = subprocess.run(command, input=message, stdout=subprocess.PIPE, text=True, env=environment)
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    if "error" in answer:
        raise from_json(answer["error"])
    if "found" not in answer:
        raise MrmlError(name, f"its process ended with exit code {done.returncode}", "its message is above")
    found: dict[str, Any] = answer["found"]
    return found


def serve() -> None:
    """Answer the one call that comes by standard input; what is printed meanwhile goes to standard error."""
    pin.pin()
    message = json.load(sys.stdin)
    answers = os.dup(1)
    os.dup2(2, 1)
    names.allow(*message["allow"])
    given = {k: _section(_SECTIONS[k], v) if k in _SECTIONS else v for k, v in message["given"].items()}
    try:
        answer: dict[str, Any] = {"found": _function(message["name"])(**given)}
    except MrmlError as error:
        answer = {"error": to_json(error)}
    with os.fdopen(answers, "w") as out:
        json.dump(answer, out, default=_plain)


def _function(name: str) -> Callable[..., dict[str, Any]]:
    module = "mrml.runs.search.tune" if name == "judged" else "mrml.runs.train"
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
