"""LightGBM's side files: ``X.weight`` holds one number a line, ``X.query`` the sizes of consecutive groups.

Floor 2.  Line i of a weight file belongs to record i of the data file, malformed records counted and the header not,
so a file that has one is read from its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrml.arrays import Array
from mrml.data.files import File
from mrml.errors import InputError
from mrml.fs.find import filesystem
from mrml.schema import Column, Schema

#: Stand for the side files among a file's columns.
WEIGHT = Column(".weight", "numeric", "weight")
QUERY = Column(".query", "numeric", "group", "int64")


def notes(files: Sequence[File]) -> tuple[str, ...]:
    """What is told of side files, which nobody named."""
    weights, groups = ([f for f in files if getattr(f, kind)] for kind in ("weight", "query"))
    found = [("weights of its rows", ".weight", weights), ("sizes of its groups", ".query", groups)]
    return tuple(f"{own[0].name}{end} is read: {what}" for what, end, own in found if own)


class Sides:
    """The side files of one data file.

    Parameters
    ----------
    number : of the file in the Dataset: groups of different files get different values.
    columns : WEIGHT, QUERY, both or none.
    """

    def __init__(self, file: File, number: int, columns: Sequence[Column]) -> None:
        self.file = file
        self.values: dict[str, Array] = {}
        if WEIGHT in columns:
            self.values[WEIGHT.name] = _numbers(file.weight, file)
        if QUERY in columns:
            sizes = _numbers(file.query, file)
            if not ((sizes >= 0) & (sizes == np.rint(sizes))).all():
                raise InputError(
                    file.name + ".query", "contains something other than sizes", "give a whole number a line"
                )
            self.values[QUERY.name] = np.repeat(np.arange(len(sizes)) + (number << 32), sizes.astype(np.int64))

    def at(self, ordinals: Array) -> dict[str, Array]:
        """The values of records, numbered through the file."""
        most = int(ordinals.max()) + 1 if len(ordinals) else 0
        for name, values in self.values.items():
            if most > len(values):
                raise self._differ(name, f"more than {len(values)}")
        return {name: values[ordinals] for name, values in self.values.items()}

    def check(self, n_records: int) -> None:
        """InputError unless the data file has as many records as the side files say."""
        for name, values in self.values.items():
            if n_records != len(values):
                raise self._differ(name, str(n_records))

    def _differ(self, name: str, n: str) -> InputError:
        finding = f"is for {len(self.values[name])} rows, the data file has {n}"
        return InputError(self.file.name + name, finding, "write the side file anew, or move it away")


def side_columns(file: File, schema: Schema, roles: Sequence[str]) -> tuple[Column, ...]:
    """WEIGHT and QUERY where a side file stands in for a role that no column has."""
    pairs = ((WEIGHT, file.weight), (QUERY, file.query))
    return tuple(c for c, path in pairs if path and c.role in roles and schema.role(c.role) is None)


def check_all_or_none(files: Sequence[File], schema: Schema, roles: Sequence[str]) -> None:
    """InputError when one file of a part has a side file and another of that part has none."""
    for part in ("train", "valid"):
        own = [(f, side_columns(f, schema, roles)) for f in files if f.part == part]
        for column in (WEIGHT, QUERY):
            lacking = [f for f, found in own if column not in found]
            if lacking and len(lacking) < len(own):
                finding = f"has no {column.name} file beside it, and other files have"
                raise InputError(lacking[0].name, finding, "give every file one, or move them away")


def _numbers(path: str, file: File) -> Array:
    fs, plain = filesystem(path)
    name = file.name + path[len(file.path) :]
    try:
        data = fs.cat_file(plain)
    except OSError as error:
        raise InputError(name, f"cannot be read: {error.strerror or error}", "check the file and its rights") from error
    try:
        return np.array(data.split(), np.float64)
    except ValueError as error:
        raise InputError(name, f"contains something other than numbers: {error}", "give one number a line") from error
