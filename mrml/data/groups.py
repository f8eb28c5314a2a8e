"""A group stays whole: a block owns the groups that begin in it and reads past its end.

Floor 2.  A group is a run of equal values in the group column, over the usable rows of one file.  So a block loses
the rows at its beginning that go on with the group before, and gains the rest of its own last group, however many
blocks on that ends; what a block owns follows from the file alone, never from where a reader started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.data.block import Coded
from mrml.data.rows import Piece, join, take

#: A value that equals no group.
NONE = object()


def owned(
    pieces: Iterator[Piece], values: Callable[[Piece], Array | Coded], before: Any, stop: int | None
) -> Iterator[Piece]:
    """The pieces up to block ``stop`` with the rows they own.

    Parameters
    ----------
    pieces : consecutive pieces of a file from the first wanted one; read past ``stop`` as far as the last group goes.
    values : the group of every row of a piece.
    before : the group of the last usable row before the first piece, or NONE.
    """
    waiting: list[Piece] = []  # the block whose last group is still open, and the empty ones after it
    seen = 0  # records of the waiting ones: what ordinals of later rows are raised by
    last, owns = before, False
    for piece in pieces:
        if stop is not None and piece.block >= stop and not owns:
            break
        groups = values(piece)
        n_on = _leading(groups, last)
        if n_on and owns:
            waiting[0] = join(waiting[0], take(piece, np.arange(len(piece.rows)) < n_on), seen)
        if n_on < len(piece.rows):
            yield from waiting
            waiting, seen, owns = [], 0, True
            last = value_at(groups, -1)
            if stop is not None and piece.block >= stop:
                return
        rest = take(piece, np.arange(len(piece.rows)) >= n_on) if n_on else piece
        if stop is None or piece.block < stop:
            waiting.append(rest)
        seen += piece.n_records
    yield from waiting


def value_at(groups: Array | Coded, row: int) -> Any:
    """The group of a row as a plain value."""
    if isinstance(groups, Coded):
        return str(groups.levels[groups.codes[row]])
    return groups[row].item()


def _leading(groups: Array | Coded, value: Any) -> int:
    """How many rows at the beginning have this group."""
    if value is NONE:
        return 0
    same: Array
    if isinstance(groups, Coded):
        same = np.append(groups.levels == value, False)[groups.codes]
    else:
        same = np.equal(groups, value)
    return len(same) if same.all() else int(np.argmin(same))
