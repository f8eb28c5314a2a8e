"""How some rows differ from those of before, column by column, and whether that is more than is allowed.

The population stability index of a column is ``sum((q - p) ln(q / p))`` over bins, ``p`` the share of the rows before
in a bin and ``q`` that of the rows now; a share below 1e-4 is taken as 1e-4.  Bins of a number are the tenths of the
rows before; of a category its TOP_LEVELS most frequent levels, the rest of them, and those not seen before; rows
without a value are a bin of their own.  (Siddiqi 2006, Credit Risk Scorecards, p. 136, with the
bounds 0.1 and 0.25.)

A figure fails above its limit, and only where two draws of so many rows from one population would show it less than
once in 1,000 times: for the index by Pearson's chi-square of the same bins; for levels not seen before by how many
were seen once (Good 1953); for numbers outside of the range by two rows of ``n`` that are its ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from mrml.config.steps import Limits
from mrml.logs import number

LEAST_SHARE = 1e-4
#: an index above this is worth a look, whatever the limit
SHIFTED = 0.1
TOP_LEVELS = 20
#: rows that a bin must expect for Pearson's test (Cochran 1954)
FEW = 5
#: of the standard normal, 1 in 1,000 lies above
_Z = 3.0902


@dataclass(frozen=True)
class Drift:
    """A column: the index, shares of the rows now (``missing_before`` of those before), and what is above its limit.

    ``shifted``: an index above SHIFTED that is not of chance, or a failure.  A figure is None where what it is compared
    with does not tell.
    """

    column: str
    kind: str
    psi: float | None
    missing: float
    missing_before: float | None
    unseen: float | None = None
    out_of_range: float | None = None
    shifted: bool = False
    failures: tuple[str, ...] = ()


class _Figure(NamedTuple):
    """A figure, and whether chance alone may have made it."""

    value: float
    by_chance: bool


def drifts(before: Mapping[str, Any], now: Mapping[str, Any], limits: Limits) -> list[Drift]:
    """Every column that both profiles have, in the order of the first."""
    shared = [name for name in before["columns"] if name in now["columns"]]
    return [_drift(name, before, now, limits) for name in shared]


def stability_index(before: Sequence[float], now: Sequence[float]) -> float:
    """The index of counts in the same bins; NaN where one side has no rows."""
    total, other = sum(before), sum(now)
    if not total or not other:
        return math.nan
    pairs = [(max(a / total, LEAST_SHARE), max(b / other, LEAST_SHARE)) for a, b in zip(before, now, strict=True)]
    return math.fsum((q - p) * math.log(q / p) for p, q in pairs)


def edges_of(column: Mapping[str, Any]) -> list[float]:
    """The edges in which rows are counted to be compared with a numeric column: its range, and the bins inside it."""
    if not column.get("range"):
        return []
    low, high = column["range"]
    return [low, *column.get("edges", ()), math.nextafter(high, math.inf)]


def _drift(name: str, before: Mapping[str, Any], now: Mapping[str, Any], limits: Limits) -> Drift:
    old, new, n, m = before["columns"][name], now["columns"][name], before["n_rows"], now["n_rows"]
    figures = (_numbers if new["kind"] == "numeric" else _categories)(old, new, n, m)
    psi, unseen, outside = ((f := figures.get(key)) and f.value for key in ("psi", "unseen", "out_of_range"))
    found = Drift(name, new["kind"], psi, new["nulls"] / m, None, unseen, outside)
    if old.get("nulls") is not None and n:
        found = replace(found, missing_before=old["nulls"] / n)
        pooled = (old["nulls"] + new["nulls"]) / (n + m)
        spread = _Z * math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / n + 1 / m))
        figures["missing"] = _within(new["nulls"] / m - old["nulls"] / n, spread)
    failures = () if name in limits.unjudged else tuple(_failures(figures, limits))
    shifted = bool(failures) or any(True for _ in _failures(figures, replace(limits, psi=SHIFTED)))
    return replace(found, failures=failures, shifted=shifted)


def _numbers(old: Mapping[str, Any], new: Mapping[str, Any], n: int, m: int) -> dict[str, _Figure]:
    counts = new.get("against")
    if not old.get("range") or not counts or not n:
        return {}
    found = {"out_of_range": _within((counts[0] + counts[-1]) / m, 2 / n + _Z * math.sqrt(2 * (n + m) / m) / n)}
    if "counts" in old:
        inside = [sum(counts)] if len(counts) == 3 else [sum(counts[:2]), *counts[2:-2], sum(counts[-2:])]
        found["psi"] = _index([*old["counts"], old["nulls"]], [*inside, new["nulls"]], n, m)
    return found


def _categories(old: Mapping[str, Any], new: Mapping[str, Any], n: int, m: int) -> dict[str, _Figure]:
    levels = old.get("levels")
    if levels is None or old.get("rest") or not n:  # of levels that were not kept nobody knows whether they are new
        return {}
    unseen = sum(rows for level, rows in new["levels"].items() if level not in levels) + new["rest"]
    once = (sum(rows == 1 for rows in levels.values()) + 1) / n
    found = {"unseen": _within(unseen / m, once + _Z * math.sqrt(once * (1 / n + 1 / m)))}
    top = list(levels)[:TOP_LEVELS]
    kept = [new["levels"].get(t, 0) for t in top]
    then = [*(levels[t] for t in top), sum(list(levels.values())[TOP_LEVELS:]), 0, old["nulls"]]
    found["psi"] = _index(then, [*kept, m - new["nulls"] - unseen - sum(kept), unseen, new["nulls"]], n, m)
    return found


def _within(value: float, bound: float) -> _Figure:
    return _Figure(value, value <= bound)


def _index(before: Sequence[int], now: Sequence[int], n: int, m: int) -> _Figure:
    return _Figure(stability_index(before, now), _by_chance(list(zip(before, now, strict=True)), n, m))


def _by_chance(bins: list[tuple[int, int]], n: int, m: int) -> bool:
    """Pearson's test of two samples; bins of which one has, or one expects, fewer than FEW rows are one bin.

    What was not seen before is among them: of what was rare then, other levels come now.
    """
    few = [(a, b) for a, b in bins if min(a, (a + b) * min(n, m) / (n + m)) < FEW]
    enough = [pair for pair in bins if pair not in few]
    enough += [(sum(a for a, _ in few), sum(b for _, b in few))] if any(map(sum, few)) else []
    shares = ((math.sqrt(m / n) * a - math.sqrt(n / m) * b) ** 2 / (a + b) for a, b in enough)
    return len(enough) < 2 or math.fsum(shares) <= _chi_square(len(enough) - 1)


def _chi_square(free: int) -> float:
    """What chi-square of so many degrees of freedom passes once in 1,000 times (Wilson and Hilferty 1931)."""
    part = 2 / (9 * free)
    return float(free * (1 - part + _Z * math.sqrt(part)) ** 3)


def _failures(figures: Mapping[str, _Figure], limits: Limits) -> Iterator[str]:
    for name, limit in asdict(limits).items():
        figure = figures.get(name)
        if figure is not None and figure.value > limit and not figure.by_chance:
            yield f"{name} {number(figure.value)} > {number(limit)}"
