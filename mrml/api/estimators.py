"""A class for every algorithm of the table, ``mrml.Logistic(l2=1e-4)``: its hyperparameters are keywords.

``mrml/__init__.pyi`` says the same to editors and type checkers; it is written by :func:`stub`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from typing import Any

from mrml.algorithm import hyperparameters
from mrml.algorithms import SGD, TABLE, algorithm_class
from mrml.api import Estimator
from mrml.params import by_name

ALGORITHMS = {entry.estimator: name for name, entry in TABLE.items()}


@functools.cache
def class_of(estimator: str) -> type[Estimator]:
    """The class of a name such as ``Logistic``."""
    algorithm = ALGORITHMS[estimator]

    def __init__(self: Estimator, **params: Any) -> None:
        Estimator.__init__(self, algorithm, **params)

    words = {"__init__": __init__, "__module__": "mrml", "__doc__": _doc(algorithm)}
    found = type(estimator, (Estimator,), words)
    shown = [p.replace(annotation=inspect.Parameter.empty) for p in _keywords(algorithm)]
    found.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return found


def _fields(algorithm: str) -> dict[str, dataclasses.Field[Any]]:
    """Hyperparameters by name, those of ``solver="sgd"`` last."""
    solvers = (None, "sgd") if algorithm in SGD else (None,)
    found: dict[str, dataclasses.Field[Any]] = {}
    for solver in solvers:
        known = hyperparameters(algorithm_class(algorithm, solver))
        found |= {name: f for name, f in known.items() if name not in found}
    return found


def _aliases(algorithm: str) -> dict[str, str]:
    """Other names, such as XGBoost's, of hyperparameters."""
    return {alias: name for alias, name in by_name(_fields(algorithm)).items() if alias != name}


def _keywords(algorithm: str) -> Iterator[inspect.Parameter]:
    for name, f in _fields(algorithm).items():
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
    if _aliases(algorithm):
        yield inspect.Parameter("other_names", inspect.Parameter.VAR_KEYWORD, annotation="Any")


def _doc(algorithm: str) -> str:
    summary = TABLE[algorithm].summary
    lines = [f"{summary[0].upper()}{summary[1:]}.", "", "Parameters", "----------"]
    for name, f in _fields(algorithm).items():
        choices = f.metadata.get("choices")
        kind = f"{{{', '.join(map(repr, choices))}}}" if choices else str(f.type).replace(" | None", "")
        lines += [f"{name} : {kind}, default {f.default!r}", f"    {f.metadata['help']}."]
    if aliases := _aliases(algorithm):
        lines += ["**other_names", f"    {', '.join(f'{alias} ({name})' for alias, name in aliases.items())}."]
    lines += ["", "Raises", "------", "ConfigError", "    An unknown hyperparameter, or a value that is not allowed."]
    return "\n".join(lines)


# ---- for editors


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


_HEAD = """\
# Written by `make docs` (mrml.api.estimators.stub): what editors and type checkers see of `import mrml`.
from typing import Any, Literal

from mrml import pin as pin
from mrml.api import Estimator as Estimator
from mrml.api import FittedModel as FittedModel
from mrml.api import load as load

__version__: str
"""


def stub() -> str:
    """The text of ``mrml/__init__.pyi``."""
    parts = [_HEAD]
    for name, algorithm in ALGORITHMS.items():
        parts += [f"class {name}(Estimator):", "    def __init__(", "        self,", "        *,"]
        for p in _keywords(algorithm):
            if p.kind is inspect.Parameter.VAR_KEYWORD:
                parts += [f"        **{p.name}: Any,"]
                continue
            choices = ", ".join(map(_quoted, _fields(algorithm)[p.name].metadata.get("choices") or ()))
            line = f"        {p.name}: {f'Literal[{choices}]' if choices else p.annotation} = ...,"
            long = [f"        {p.name}: Literal[", f"            {choices}", "        ] = ...,"]
            parts += [line] if len(line) <= 120 else long
        parts += ["    ) -> None: ...", ""]
    return "\n".join(parts)
