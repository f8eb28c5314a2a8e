"""What the columns are and how a record becomes numbers.

A :class:`Schema` is inferred (``mrml schema``), printed as YAML, edited by the user and stored in
the model.  It also holds the block size, because that is part of the model's identity: the order of
floating-point additions follows the blocks.

Kinds of a column
    numeric      booleans are 0/1; integers, floats and decimals are themselves; a date is its days
                 since 1970-01-01; a timestamp its seconds since then (UTC), as float64
    categorical  strings; each level is looked up by its text
    text         strings that are split into words (feature hashing only)

Roles of a column
    feature, target, weight, group, offset, id, time, ignore
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrml.errors import ConfigError, InputError, nearest
from mrml.params import unusual

KINDS = ("numeric", "categorical", "text")
ROLES = ("feature", "target", "weight", "group", "offset", "id", "time", "ignore")
FORMATS = ("csv", "tsv", "jsonl", "libsvm", "parquet")
NA = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "\\N", "?")
WINDOW_BYTES = 4 << 20
#: fields of Format that models written before them do not have: left out where they are as usual, so that models and
#: identities of runs stay as they were
_YOUNGER = ("encoding", "escape", "skip_lines", "columns", "trim", "decimal", "thousands", "units", "date_format")


@dataclass(frozen=True)
class Column:
    """One column of the input.

    ``source`` is the type the column is read as, in Arrow's words (``int64``, ``double``,
    ``bool``, ``date32``, ``timestamp[us]``, ``decimal128(10, 2)``, ``string``).  ``storage`` is the
    dtype of a numeric column in a block: float32 only where the source is float32 or an integer
    type (int8, uint8, int16, uint16) that cannot reach 2**24, else float64.
    """

    name: str
    kind: str = "numeric"
    role: str = "feature"
    source: str = "double"
    storage: str = "float64"

    def __post_init__(self) -> None:
        place = f"schema, column {self.name!r}"
        if self.kind not in KINDS:
            raise ConfigError(place, f"kind {self.kind!r} is unknown", nearest(self.kind, KINDS))
        if self.role not in ROLES:
            raise ConfigError(place, f"role {self.role!r} is unknown", nearest(self.role, ROLES))
        if self.storage not in ("float32", "float64"):
            raise ConfigError(place, f"storage {self.storage!r} is neither float32 nor float64")


@dataclass(frozen=True)
class Format:
    """How the bytes of a file become records.

    ``absent`` is what an index that a LibSVM line does not name means: ``zero``, ``missing``, or None, what is usual
    for the algorithm.
    ``index_base`` is the first LibSVM index.  ``header`` says that the first line of every text file
    names the columns.  ``multiline`` allows newlines inside quotes and makes a file unsplittable.
    ``delimiter`` : one character or several.  ``encoding`` : of the bytes, by Python's name.  ``escape`` : a character
    that makes a quote, a delimiter or itself after it plain, or "".  ``skip_lines`` : lines above the header or the
    first row.  ``columns`` : names in place of the header's, or where there is none.  ``trim`` : blanks around fields
    are none of theirs.  ``decimal``, ``thousands``, ``units``, ``date_format`` : how CSV spells numbers and times, see
    :mod:`mrml.data.formats.spelling`.
    """

    name: str = "csv"
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    multiline: bool = False
    na: tuple[str, ...] = NA
    index_base: int = 1
    absent: str | None = None
    encoding: str = "utf-8"
    escape: str = ""
    skip_lines: int = 0
    columns: tuple[str, ...] = ()
    trim: bool = False
    decimal: str = "."
    thousands: str = ""
    units: tuple[str, ...] = ()
    date_format: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in FORMATS:
            raise ConfigError("data, format", f"{self.name!r} is unknown", nearest(self.name, FORMATS))
        if self.absent not in ("zero", "missing", None):
            raise ConfigError("data, absent", f"{self.absent!r} is neither 'zero' nor 'missing'")
        if self.index_base not in (0, 1):
            raise ConfigError("data, index_base", f"{self.index_base} is neither 0 nor 1")


@dataclass(frozen=True)
class Bins:
    """How columns became codes: numeric ones first, then categorical ones.

    ``cuts`` : float32 arrays, ascending edges of the numeric columns; ``n_bins`` a number per column, whose code for
    "missing" it is too; ``levels`` texts per categorical column, of codes 0, 1, ...; ``target`` facts of the target.

    Where most rows hold one code of a column, ``default`` (n_columns,) uint8 is that, and ``block.X`` holds the others
    alone, ``n_entries`` in all rows (:class:`mrml.kernels.trees.sparse.SparseCodes`).
    """

    cuts: Sequence[Any] = ()
    n_bins: tuple[int, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    target: Mapping[str, Any] = field(default_factory=dict)
    default: Any = None
    n_entries: int = 0


@dataclass(frozen=True)
class Design:
    """What the transforms made of the columns: the matrix an algorithm sees as ``block.X``.

    Attributes
    ----------
    names : tuple of str, one per column of X.
    n_features : their number (names may be left empty for hashed and LibSVM columns).
    dtype : "float32" or "float64".
    sparse : whether ``block.X`` is a :class:`mrml.arrays.CSR`.
    center, scale : None, or tuples of n_features floats; the standardised column is
        ``(X - center) / scale``.  The block keeps X as it is and carries both, so that kernels
        standardise a cache-sized run of rows in float64 and float32 storage costs no accuracy.
    classes : the labels of a classification target, in the order of their codes in ``block.y``;
        empty for a numeric target.
    class_weight_sums : float per class: rows, or their weights, in the training part.
    n_rows, sum_weight : of the training part.
    bins : None, or how ``block.X`` came to hold uint8 codes.
    tables : name and number of codes of every column in ``block.coded``.
    levels : names of the codes of those tables that are not hashed, which come first.
    target : mean, min and max of a target of numbers, where the algorithm asks for that.
    """

    names: tuple[str, ...] = ()
    n_features: int = 0
    dtype: str = "float64"
    sparse: bool = False
    center: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    class_weight_sums: tuple[float, ...] = ()
    n_rows: int = 0
    sum_weight: float = 0.0
    bins: Bins | None = None
    tables: tuple[tuple[str, int], ...] = ()
    target: Mapping[str, float] = field(default_factory=dict)
    levels: tuple[tuple[str, ...], ...] = field(default=(), repr=False)  # States tell designs apart by their texts


@dataclass(frozen=True)
class Schema:
    """The columns, the format and the block size; ``design`` is set once transforms are fitted.

    For LibSVM ``columns`` holds only the target (``label``), and ``qid`` where the lines have one;
    the features are the indices, and ``block.X`` is sparse before any transform.
    """

    columns: tuple[Column, ...]
    format: Format = field(default_factory=Format)
    window_bytes: int = WINDOW_BYTES
    design: Design | None = None

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise InputError(f"schema, column {twice[0]!r}", "two columns have this name", "rename one of them")
        if self.window_bytes < 1:
            raise ConfigError("data, window_bytes", f"{self.window_bytes} is not a positive number of bytes")

    def column(self, name: str) -> Column:
        """The column of that name; InputError naming the nearest one when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise InputError(f"column {name!r}", "is not in the data", nearest(name, [c.name for c in self.columns]))

    def role(self, role: str) -> Column | None:
        """The one column that has this role, or None."""
        return next((c for c in self.columns if c.role == role), None)

    def features(self, kind: str) -> tuple[Column, ...]:
        """Feature columns of one kind, in order."""
        return tuple(c for c in self.columns if c.role == "feature" and c.kind == kind)

    @property
    def sparse(self) -> bool:
        """True when features are LibSVM indices rather than named columns."""
        return self.format.name == "libsvm"

    @property
    def absent_is_zero(self) -> bool:
        """Whether rows hold entries alone, and what they leave out is zero."""
        return self.sparse and self.format.absent != "missing"

    @property
    def numeric_dtype(self) -> str:
        """dtype of ``block.X`` before transforms: float32 when every numeric feature is stored so."""
        storage = {c.storage for c in self.features("numeric")}
        return "float32" if storage == {"float32"} else "float64"

    def with_roles(self, roles: Mapping[str, str]) -> Schema:
        """A copy in which the named columns have these roles; a role held by another is taken away."""
        for name in roles:
            self.column(name)
        taken = {r for r in roles.values() if r not in ("feature", "ignore")}

        def new(c: Column) -> Column:
            role = roles.get(c.name, "feature" if c.role in taken else c.role)
            return dataclasses.replace(c, role=role)

        return dataclasses.replace(self, columns=tuple(new(c) for c in self.columns))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, in a fixed order; of the format's younger fields those that say something."""
        value = dataclasses.asdict(self)
        value["format"] = unusual(value["format"], Format, among=_YOUNGER)
        return value

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Schema:
        """The inverse of :meth:`to_json`; ConfigError for unknown keys."""
        value = _known(Schema, value, "schema")
        columns = tuple(Column(**_known(Column, c, "schema, columns")) for c in value["columns"])
        format_ = Format(**_tuples(_known(Format, value.get("format", {}), "schema, format")))
        design = value.get("design")
        return Schema(
            columns,
            format_,
            value.get("window_bytes", WINDOW_BYTES),
            None if design is None else Design(**_tuples(_known(Design, design, "schema, design"))),
        )


def _known(cls: type, value: Any, place: str) -> dict[str, Any]:
    """The fields of a dataclass, each of its default's type; ConfigError for others."""
    if not isinstance(value, Mapping):
        raise ConfigError(place, f"{value!r:.40} has no keys", "start from the output of `mrml schema`")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, found in value.items():
        if key not in fields:
            raise ConfigError(place, f"unknown key {key!r}", nearest(str(key), list(fields)))
        default = fields[key].default
        wanted = list if isinstance(default, tuple) else type(default)
        plain = isinstance(default, bool | int | str | tuple) and not isinstance(found, tuple)
        if plain and (not isinstance(found, wanted) or isinstance(found, bool) != isinstance(default, bool)):
            raise ConfigError(f"{place}, {key}", f"{found!r:.40} is no {wanted.__name__}", f"the usual is {default!r}")
        if cls is Format and wanted is list and not all(isinstance(text, str) for text in found):
            raise ConfigError(f"{place}, {key}", f"{found!r:.40} is not a list of texts", "quote each of them")
    return dict(value)


def _tuples(value: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, Sequence) and not isinstance(v, str) else v for k, v in value.items()}
