"""A wave of a search: candidates that train side by side, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wave:
    """Candidates that train side by side.

    ``trials`` are their numbers, ``params`` what is searched of them, ``brackets`` of each the first rung at which it
    may leave, ``share`` of the rows they are trained on; ``drawn`` what TPE knows them by, where it chose them.
    """

    trials: tuple[int, ...]
    params: tuple[Mapping[str, Any], ...]
    brackets: tuple[int, ...] = ()
    share: float = 1.0
    drawn: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "trials": list(self.trials),
            "params": [dict(p) for p in self.params],
            "brackets": list(self.brackets),
            "share": self.share,
            "drawn": [dict(d) for d in self.drawn],
        }


@dataclass(frozen=True)
class Done:
    """A wave that is over, and its results: of every candidate, the best first, by its number over all waves."""

    wave: Wave
    results: Sequence[Mapping[str, Any]]
