"""What of an inferred schema is worth a line while training: columns that were left out, or are not what they seem."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from mrml.data.inference.profile import Observed
from mrml.schema import Column, Schema

#: levels from which a categorical column is suspect, and the share of the rows that they are then
MANY_LEVELS, MANY_OF_ROWS = 100, 0.25
#: rows from which a column of which every value differs is suspect
FEW_ROWS = 5
_UNNAMED = ("", "Unnamed: 0")
_PANDAS = "__index_level_"


def index_columns(names: Collection[str], arrow_schemas: Sequence[Any]) -> set[str]:
    """The names that are the index of a pandas frame, by its metadata or by what pandas calls one.

    An index numbers the rows in the order in which somebody sorted them: it tells what the rows were sorted by.
    """
    found = {name for name in names if name in _UNNAMED or name.startswith(_PANDAS)}
    for schema in arrow_schemas:
        try:
            told = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
        except (ValueError, AttributeError):  # written by something else
            continue
        found |= {name for name in told if isinstance(name, str)}
    return found & set(names)


def notes_that_matter(schema: Schema, observed: Sequence[Observed], indexes: Collection[str]) -> tuple[str, ...]:
    """A sentence a finding; columns that the user named are his own affair where they are no feature."""
    seen = {o.name: o for o in observed}
    notes = [note for c in schema.columns if (note := _note(c, seen.get(c.name), c.name in indexes))]
    return tuple(notes)


def _note(column: Column, seen: Observed | None, is_index: bool) -> str:
    place = f"column {column.name!r}"
    if column.role == "ignore" and is_index:
        return f"{place} is left out: it is the index of a pandas frame; --features names it where it is none"
    if seen is None:
        return ""
    if column.role == "ignore" and seen.notes:
        return f"{place} is left out: {seen.notes[0]}"
    spelt = [note for note in seen.notes if "which are kept" in note or "not read as such" in note]
    if spelt and column.role in ("feature", "target", "group"):
        return f"{place}: {spelt[0]}"
    if column.role != "feature":
        return ""
    filled = seen.rows - seen.nulls
    each_its_own = seen.distinct == filled >= FEW_ROWS
    if column.kind == "categorical" and (each_its_own or seen.distinct >= max(MANY_LEVELS, MANY_OF_ROWS * seen.rows)):
        least = "at least " * seen.distinct_capped
        finding = f"{least}{seen.distinct} levels in {seen.rows} rows"
        return f"{place} has {finding}: a number, a time or an id? --exclude leaves it out"
    suspicious = [note for note in seen.notes if "id?" in note or "no numbers" in note]
    return f"{place}: {suspicious[0]}" if suspicious else ""
