"""A network that the user wrote: a function that makes a ``torch.nn.Module``, by its import path.

``make(n_features, n_outputs)`` returns a module over one float32 matrix (n, n_features): the standardised numbers, then
a column of 0 and 1 for every level of every category.  ``make(n_numeric, n_outputs, levels)`` returns one that is
called with the numbers (n, n_numeric) and the codes (n, len(levels)) int64 of the categories; ``levels`` are their
sizes, one for each.  Either way it returns raw predictions (n, n_outputs), or (n,) where there is one output, to which
the loss applies its link.

The parameters are one flat vector, in the order of ``named_parameters()``.  Buffers of floating numbers (running means
and the like) are averaged at the meetings; others stay as the module makes them.  The text of the module's file travels
with the State of a run, and is what a task imports that does not find the module.

This module needs no torch; :mod:`mrml.kernels.net.torch_module` computes.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mrml import names
from mrml.arrays import Array
from mrml.errors import ConfigError
from mrml.kernels.net.describe import Slot

_REMEDY = "put it where tasks find it: on the nodes' PYTHONPATH, or into the environment of `mrml pack`"


@dataclass(frozen=True)
class ModuleNet:
    """A module of the user's as a network.

    Parameters
    ----------
    path : package.module:function.
    source : the text of the file of its module, or nothing.
    n_numeric : numeric columns; ``tables`` (n_levels, 1) of each coded column, as of a
        :class:`mrml.kernels.net.describe.Net`.
    takes_codes : whether it wants the codes beside the numbers, rather than columns of 0 and 1.
    shapes, buffers : names and shapes of its parameters, and of its buffers of floating numbers.
    """

    path: str
    source: str
    n_numeric: int
    tables: tuple[tuple[int, int], ...]
    n_outputs: int
    takes_codes: bool
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    buffers: tuple[tuple[str, tuple[int, ...]], ...] = ()

    #: CSR columns; it has none
    n_sparse = 0

    @property
    def place(self) -> str:
        return f"module {self.path}"

    @property
    def n_features(self) -> int:
        """Columns of the matrix, where it takes one."""
        return self.n_numeric + sum(n for n, _ in self.tables)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Where every parameter lies; all are dense."""
        slots, offset = [], 0
        for name, shape in self.shapes:
            slots.append(Slot(name, shape, offset, False))
            offset += slots[-1].size
        return tuple(slots)

    @property
    def n_params(self) -> int:
        return sum(math.prod(shape) for _, shape in self.shapes)

    @property
    def n_buffers(self) -> int:
        return sum(math.prod(shape) for _, shape in self.buffers)

    def init(self, seed: int, bias: Sequence[float] = ()) -> Array:
        """(n_params,) float32: what the module begins with after ``torch.manual_seed(seed)``."""
        params: Array = self._kernel().first(self, seed)[0]
        return params

    def init_buffers(self) -> Array:
        """(n_buffers,) float64."""
        buffers: Array = self._kernel().first(self, 0)[1]
        return buffers

    def made(self) -> Any:
        """A new module; ConfigError where the function does not make one."""
        sizes = [n for n, _ in self.tables]
        given = (self.n_numeric, self.n_outputs, sizes) if self.takes_codes else (self.n_features, self.n_outputs)
        try:
            return self.function(*given)
        except Exception as error:  # whatever a function of the user's own does
            finding = f"raised {type(error).__name__}: {error}, called with {', '.join(map(str, given))}"
            raise ConfigError(self.place, finding, "fix the function") from error

    @cached_property
    def function(self) -> Callable[..., Any]:
        return function_of(self.path, self.source)

    def to_json(self, source: bool = True) -> dict[str, Any]:
        """Plain values; a model has them without the source."""
        shapes = {k: [[name, list(shape)] for name, shape in getattr(self, k)] for k in ("shapes", "buffers")}
        tables = [list(t) for t in self.tables]
        return {**dataclasses.asdict(self), **shapes, "tables": tables, "source": self.source if source else ""}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModuleNet:
        shapes = {k: tuple((str(name), tuple(map(int, shape))) for name, shape in values[k]) for k in
                  ("shapes", "buffers")}  # fmt: skip
        return cls(**{**values, **shapes, "tables": tuple((int(n), int(dim)) for n, dim in values["tables"])})

    @classmethod
    def of(cls, path: str, n_numeric: int, sizes: Sequence[int], n_outputs: int) -> ModuleNet:
        """The network of a function, which is called once to see what it makes."""
        function = function_of(path, "")
        takes_codes = len(inspect.signature(function).parameters) >= 3
        bare = cls(path, _source(function), n_numeric, tuple((n, 1) for n in sizes), n_outputs, takes_codes)
        shapes, buffers = bare._kernel().described(bare)
        return dataclasses.replace(bare, shapes=shapes, buffers=buffers)

    def _kernel(self) -> Any:
        from mrml.kernels.device import torch_of

        torch_of(self.place)
        from mrml.kernels.net import torch_module as net_torch_module

        return net_torch_module


def function_of(path: str, source: str) -> Callable[..., Any]:
    """The function at ``module:function``, imported, or made from the source of its module where that is not here."""
    name, _, attribute = path.partition(":")
    place = f"module {path}"
    if not name or not attribute:
        raise ConfigError(place, "names no function", "give it as my_package.my_module:make_net")
    names.require(path, place)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever a module of the user's own does when it is imported
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "?") in _parents(name)
        if not (absent and source):
            finding = f"cannot be imported here: {type(error).__name__}: {error}"
            raise ConfigError(place, finding, _REMEDY if absent else "fix the module") from error
        module = _from_source(name, source, place)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ConfigError(place, f"{name} has no function {attribute!r}", "give it as my_package.my_module:make_net")
    result: Callable[..., Any] = function
    return result


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _from_source(name: str, source: str, place: str) -> types.ModuleType:
    """The module as the driver's file has it; kept, since every shard asks for it."""
    module = types.ModuleType(name)
    try:
        exec(compile(source, f"<{name}, as it was sent>", "exec"), module.__dict__)
    except Exception as error:
        finding = f"was sent here as one file, and that does not run alone: {type(error).__name__}: {error}"
        raise ConfigError(place, finding, _REMEDY) from error
    sys.modules[name] = module
    return module


def _source(function: Callable[..., Any]) -> str:
    """The text of the file that a function is in; nothing where there is none."""
    module = inspect.getmodule(function)
    try:
        return inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        return ""
