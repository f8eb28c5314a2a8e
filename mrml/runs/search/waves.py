"""Which candidates a search trains side by side, and which after them: waves.

One wave does for a grid, for drawn candidates, and where rungs are rounds: those are inside the search of the wave.
Where rungs are rows every rung is a wave, which trains what is left of the one before anew, on ``eta`` times as many
rows.  TPE chooses the candidates of a wave by the scores of all before it.

A wave is a function of the configuration and of what the waves before it found: a search that goes on finds the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mrml.config.sections import SearchConfig
from mrml.runs.search import tpe
from mrml.runs.search.spaces import Space, candidates
from mrml.runs.search.wave import Done, Wave

#: rounds before which no candidate leaves: one fits the transforms
LEAST_ROUNDS = 3


def first_wave(config: SearchConfig, spaces: Sequence[Space]) -> Wave:
    """The candidates that a search begins with."""
    if config.method == "tpe":
        return _chosen(config, spaces, ())
    every = _every(config, spaces)
    return _rung(config, every, every.trials, 0) if by_rows(config) else every


def wave_after(config: SearchConfig, spaces: Sequence[Space], done: Sequence[Done]) -> Wave | None:
    """The candidates that come after some waves; None where the search is over."""
    if config.method == "tpe":
        wave = _chosen(config, spaces, done)
        return wave if wave.trials else None
    if not by_rows(config):
        return None
    every, level = _every(config, spaces), len(done)
    if level > levels_of(config, len(every.trials)):
        return None
    alive = [int(r["trial"]) for r in done[-1].results if r["state"] != "failed"]
    stay: list[int] = []
    for bracket in sorted({every.brackets[t] for t in alive}):
        own = [t for t in alive if every.brackets[t] == bracket]
        stay += own[: max(math.ceil(len(own) / config.eta), 1)]
    wave = _rung(config, every, sorted(stay), level)
    return wave if wave.trials else None


def by_rows(config: SearchConfig) -> bool:
    """Whether rungs are rows."""
    return config.method in ("halving", "hyperband") and config.resource == "rows"


def levels_of(config: SearchConfig, n: int) -> int:
    """So many rungs that of ``n`` candidates, which all begin at the first one, about one is left at the end."""
    if config.method not in ("halving", "hyperband"):
        return 0
    return int(math.log(max(n, 1)) / math.log(config.eta) + 1e-9)


def rungs_of(config: SearchConfig, n: int, rounds: int) -> tuple[int, ...]:
    """After how many of ``rounds`` the worse leave, each ``eta`` times further than the one before; none by rows."""
    if by_rows(config):
        return ()
    found = [math.ceil(rounds / config.eta**k) for k in range(levels_of(config, n), 0, -1)]
    return tuple(r for r in dict.fromkeys(found) if r >= LEAST_ROUNDS)


def brackets_of(config: SearchConfig, n: int) -> tuple[int, ...]:
    """Of ``n`` candidates the bracket: 0 but for Hyperband, which deals them so that all brackets take about as many
    rounds: the one with s rungs gets eta^s / (s + 1) parts."""
    if config.method != "hyperband":
        return (0,) * n
    levels = levels_of(config, n)
    parts = [config.eta**s / (s + 1) for s in range(levels, -1, -1)]
    edges = [round(n * sum(parts[:k]) / sum(parts)) for k in range(1, len(parts))]
    return tuple(sum(i >= edge for edge in edges) for i in range(n))


def _every(config: SearchConfig, spaces: Sequence[Space]) -> Wave:
    """All candidates of a search that chooses none by scores."""
    params = candidates(config, spaces)
    return Wave(tuple(range(len(params))), tuple(params), brackets_of(config, len(params)))


def _rung(config: SearchConfig, every: Wave, stay: Sequence[int], level: int) -> Wave:
    """The wave of a rung of rows: those that stay, and the candidates of the bracket that begins there."""
    levels = levels_of(config, len(every.trials))
    stay = [t for t in every.trials if every.brackets[t] == level or (every.brackets[t] < level and t in set(stay))]
    share = config.eta ** (level - levels)
    return Wave(tuple(stay), tuple(every.params[t] for t in stay), tuple(every.brackets[t] for t in stay), share)


def _chosen(config: SearchConfig, spaces: Sequence[Space], done: Sequence[Done]) -> Wave:
    first = sum(len(d.wave.trials) for d in done)
    n = min(config.wave if done else max(config.wave, tpe.STARTUP), config.trials - first)
    drawn, params = tpe.suggested(config, spaces, done, n)
    return Wave(tuple(range(first, first + len(params))), tuple(params), drawn=tuple(drawn))
