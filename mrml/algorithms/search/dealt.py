"""Whether every fold has rows, by what is known after the first round: a look of its own at the data is not needed."""

from __future__ import annotations

from mrml.algorithm import State
from mrml.algorithms.search.grid import Grid
from mrml.algorithms.search.parting import Parting
from mrml.errors import ConfigError


def check_dealt(parting: Parting, grid: Grid, state: State, first: int) -> None:
    """ConfigError where folds are without rows, by the Grid's members from number ``first`` on, one without each fold,
    after the round that fitted their transforms.

    Each row is missing in one of them alone, so that together they have all rows ``folds - 1`` times; one that has all
    of them is without nothing.  Stretches of time are cut so that each has rows.
    """
    if parting.by == "date":
        return
    fitted = [grid.state_of(state, first + k).params.get("fitted") for k in range(parting.folds)]
    if None in fitted:  # one failed, and says why
        return
    rows = [int(f["n_rows"]) for f in fitted if f]
    n_rows = sum(rows) // (parting.folds - 1)
    if empty := rows.count(n_rows):
        finding = f"of {parting.folds} folds by {parting.by} {empty} have none of the {n_rows:,} rows"
        raise ConfigError("run, folds", finding, "give fewer folds, or another --fold-seed")
