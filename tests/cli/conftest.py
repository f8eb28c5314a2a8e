"""A command line in this process, a floor below that records, an algorithm of the user's own."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mrml.runs as package
from mrml.cli.main import main
from mrml.errors import NotConverged

ALGORITHM = '''
"""An algorithm of the user's own, with a hyperparameter of each type."""
from dataclasses import dataclass
from mrml.algorithm import Algorithm
from mrml.params import param

@dataclass(frozen=True)
class {name}(Algorithm):
    """{name} does nothing."""

    l2: float = param(0.0, "strength of the penalty", low=0.0)
    solver: str = param("auto", "which solver", choices=("auto", "newton", "lbfgs"))
    standardise: bool = param(True, "put columns in units of their spread")
    depth: int | None = param(None, "levels; default as many as it takes", low=1)
    rates: tuple[float, ...] = param((0.5, 0.25), "learning rates")
    class_weight: dict[str, float] | None = param(None, "weight of each class")
    secret: int = param(3, "not an option", internal=True)
    {extra}

    def init(self, schema): ...
    def statistic(self, state, key): ...
    def map(self, state, block, into): ...
    def update(self, state, values): ...
    def model(self, state, schema): ...
'''


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def mrml(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run a command line: ``mrml("train", "--help")``, in an environment without MRML_ variables."""
    for name in [n for n in os.environ if n.startswith("MRML_")]:
        monkeypatch.delenv(name)

    def call(*argv: str) -> Done:
        capsys.readouterr()
        code = main(argv)
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes an algorithm where the command runs; its ``module:Class``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name: str = "Toy", extra: str = "") -> str:
        module = f"own_{name.lower()}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(ALGORITHM.format(name=name, extra=extra))
        return f"{module}:{name}"

    return write


class Below(types.SimpleNamespace):
    """Stands where ``mrml.runs.train`` stands: keeps what it was called with, answers what it is told to."""

    calls: list[tuple[Any, ...]]

    def __init__(self) -> None:
        super().__init__(calls=[], answers={}, raises=None)

    def check_converged(self, config: Any, facts: Any) -> None:
        """As below, where it runs only after a training run that answered."""
        if config.strict and not facts.get("converged", True):
            raise NotConverged(config.algorithm, "stopped", "allow more rounds")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any) -> Any:
            self.calls.append((name, *args))
            if self.raises is not None:
                raise self.raises
            return self.answers.get(name, {})

        return call


@pytest.fixture
def below(monkeypatch: pytest.MonkeyPatch) -> Below:
    fake = Below()
    monkeypatch.setitem(sys.modules, "mrml.runs.train", fake)
    monkeypatch.setattr(package, "train", fake, raising=False)
    return fake
