"""The candidates of a search: values of hyperparameters from the spaces that a run file gives.

A space stands in the place of a value::

    l2: {log: [1e-6, 10]}                   # a number whose logarithm is uniform
    learning_rate: {uniform: [0.01, 0.3]}
    max_depth: {int: [3, 10]}               # both ends among them
    growth: {of: [depthwise, leafwise]}

Draws are counter-based: that of a candidate and a hyperparameter depends on the seed, the candidate's number and the
hyperparameter's name alone, so more trials keep the first ones, and another hyperparameter changes no other draw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrml.algorithm import Algorithm, build, field_type, hyperparameters
from mrml.algorithms.pipeline.transforms import fnv1a
from mrml.config import parse
from mrml.config.sections import SearchConfig
from mrml.errors import ConfigError, nearest
from mrml.kernels.random import rng
from mrml.params import by_name, check, meant, once

KINDS = ("of", "log", "uniform", "int")
#: candidates that one run trains side by side: their States travel every round
MOST = 10_000
#: draws for a candidate that is none of those before, until a space has no other
_TRIES = 50


@dataclass(frozen=True)
class Space:
    """Values of a hyperparameter: a list of them, or a range, whose values are ``whole`` or not."""

    name: str
    kind: str
    values: tuple[Any, ...]
    whole: bool = False

    def drawn(self, u: float) -> Any:
        """The value at u, a uniform draw from [0, 1)."""
        if self.kind == "of":
            return self.values[int(u * len(self.values))]
        low, high = self.values
        if self.kind == "int":
            return int(low) + int(u * (int(high) - int(low) + 1))
        if self.kind == "log":
            return self._rounded(math.exp(math.log(low) + u * (math.log(high) - math.log(low))))
        return self._rounded(low + u * (high - low))

    def points(self, n: int) -> list[Any]:
        """Its values, or of a range n at even distances, each once."""
        if self.kind == "of":
            return list(self.values)
        low, high = self.values
        spaced: Callable[..., Any] = np.geomspace if self.kind == "log" else np.linspace
        if self.kind == "int" and high - low < n:
            return list(range(int(low), int(high) + 1))
        found = [self._rounded(float(v)) for v in spaced(low, high, n)]
        return list(dict.fromkeys(found))

    def _rounded(self, value: float) -> Any:
        low, high = self.values
        value = min(max(value, low), high)  # rounding of the logarithm
        return round(value) if self.whole else value


def is_space(node: Any) -> bool:
    """Whether a node of a run file is a space, well spelt or not: a mapping of one word, a kind or that of a list."""
    if not isinstance(node, Mapping) or len(node) != 1:
        return False
    ((kind, values),) = node.items()
    return kind in KINDS or isinstance(values, list)


def split(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The algorithm of a run file without its spaces, and these by name."""
    words = dict(tree.get("algorithm") or {})
    found = {name: words.pop(name) for name in list(words) if is_space(words[name])}
    return {**tree, "algorithm": words}, found


def spaces_of(cls: type[Algorithm], nodes: Mapping[str, Any], file: str) -> list[Space]:
    """The spaces of an algorithm's hyperparameters, each value checked; ConfigError naming the place in the file."""
    known = hyperparameters(cls)
    field_of = by_name(known)
    once([name for name in nodes if name in field_of], field_of, f"{file}, algorithm")
    found = []
    for given, node in nodes.items():
        place = f"{file}, algorithm.{given}"
        if given not in field_of:
            raise ConfigError(f"{file}, algorithm", f"unknown key {given!r}", nearest(given, field_of))
        name, ((kind, values),) = field_of[given], node.items()
        space = _space(name, kind, values, field_type(cls, name), place)
        ends = [meant(known[name], v) for v in space.values]
        for value in ends:
            check(known[name], value, place)
        found.append(Space(name, kind, tuple(ends), space.whole))
    if not found:
        finding, remedy = "no hyperparameter has a space", "write one, such as l2: {log: [1e-6, 10]}"
        raise ConfigError(f"{file}, algorithm", finding, remedy)
    return found


def _space(name: str, kind: str, values: Any, annotation: Any, place: str) -> Space:
    if kind not in KINDS:
        raise ConfigError(place, f"unknown {kind!r}", nearest(str(kind), KINDS))
    if not isinstance(values, list) or not values:
        raise ConfigError(place, f"{values!r} is not a list", f"write {kind}: [A, B]")
    if kind == "of":
        return Space(name, kind, tuple(parse.from_yaml(v, annotation, place) for v in values))
    types = parse.members(annotation)
    whole = kind == "int" or float not in types
    if not {int, float} & set(types) or (kind == "int" and int not in types):
        what = "whole number" if float in types else "number"
        raise ConfigError(place, f"is not a {what}, of which there are ranges", "list its values: {of: [A, B]}")
    ends = tuple(parse.from_yaml(v, int if kind == "int" else float, place) for v in values)
    if len(ends) != 2 or not ends[0] < ends[1] or (kind == "log" and not ends[0] > 0):
        remedy = "give the lower end, which is above 0, and the upper one" if kind == "log" else "give both ends"
        raise ConfigError(place, f"{values!r} is not a range", remedy)
    return Space(name, kind, tuple(int(v) if whole else v for v in ends), whole)


def candidates(config: SearchConfig, spaces: Sequence[Space]) -> list[dict[str, Any]]:
    """Hyperparameters of every candidate; of a random search fewer than were asked for where there are no more."""
    if config.method == "grid":
        n = math.prod(len(space.points(config.points)) for space in spaces)
        if n > MOST:
            finding = f"{n:,} combinations, more than {MOST:,}"
            raise ConfigError("search, method", finding, "use random, or fewer points")
        pairs = [[(space.name, value) for value in space.points(config.points)] for space in spaces]
        return [dict(chosen) for chosen in itertools.product(*pairs)]
    if config.trials > MOST:
        finding = f"{config.trials:,} candidates, more than {MOST:,}"
        raise ConfigError("search, trials", finding, "give fewer")
    return list(itertools.islice(_draws(config.seed, spaces, config.trials), config.trials))


def _draws(seed: int, spaces: Sequence[Space], trials: int) -> Iterator[dict[str, Any]]:
    """Different candidates, in the order of their draws."""
    keys = np.arange(_TRIES * trials, dtype=np.uint64)
    draws = {space.name: rng(seed, fnv1a(space.name.encode()), keys) for space in spaces}
    seen = set()
    for k in range(len(keys)):
        candidate = {space.name: space.drawn(float(draws[space.name][k])) for space in spaces}
        if repr(candidate) not in seen:
            seen.add(repr(candidate))
            yield candidate


def built(
    cls: type[Algorithm], fixed: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]], numbers: Sequence[int]
) -> list[Algorithm]:
    """The algorithm of every candidate; ConfigError naming the number of the candidate that cannot be."""
    found = []
    for number, params in zip(numbers, chosen, strict=True):
        try:
            found.append(build(cls, {**fixed, **params}))
        except ConfigError as error:
            raise ConfigError(f"trial {number}, {error.place}", error.finding, error.remedy) from error
    return found
