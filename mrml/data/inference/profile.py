"""What a sample of a column looks like: the figures behind an inferred schema.

Floor 2, the driver's side only.  A :class:`Profile` takes in Arrow arrays, of any type and from any number of
files, and then says the kind of the column, the type to read it as, and what is worth a note.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mrml.data.formats.spelling import PLAIN, Spelling, suggestion, zoned
from mrml.data.formats.texts import FALSE, TRUE, parse_texts

#: A column of strings is categorical up to this many levels, or where the levels are at most this share of the rows.
MAX_LEVELS, MAX_SHARE = 1000, 0.5
#: A column of texts is numeric when at most this many different texts, in at most this share of the rows, are none.
MAX_BAD_TEXTS, MAX_BAD_SHARE = 5, 0.1
#: Rows of each array whose different values are counted, of texts and of numbers; and when counting ends.
_COUNT_TEXTS, _COUNT_NUMBERS = 100_000, 1024
_MOST_TEXTS, _MOST_NUMBERS = 100_000, 1000
#: Texts of this many words or more are prose rather than names.
_WORDS = 3
#: What texts are tried as, the narrowest first: in JSON only where no type stands for them, in text files always.
TIMES = (
    pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.timestamp("ns", "UTC"),
)  # fmt: skip
ALL = (pa.bool_(), pa.int64(), pa.float64(), *TIMES)
#: what Arrow and Python say of values that they cannot compare, count or show: times beyond the year 9999, nanoseconds,
#: zones beside none, durations.  A profile is for people: it leaves out what it cannot tell
_UNKNOWN = (pa.ArrowException, OverflowError, ValueError, TypeError)
_FLOAT32 = ("int8", "int16", "uint8", "uint16", "halffloat", "float", "bool")


@dataclass(frozen=True)
class Observed:
    """What was seen of one column in the sample.

    ``distinct`` counts the different values among the first rows of each file; ``distinct_capped`` says that there are
    more.  ``bad`` values are texts in a column that otherwise holds numbers.  ``markers`` are the texts that
    mean null, ``top`` the most frequent levels, both with their counts.
    """

    name: str
    rows: int = 0
    nulls: int = 0
    bad: int = 0
    distinct: int = 0
    distinct_capped: bool = False
    low: int | float | str | None = None
    high: int | float | str | None = None
    top: tuple[tuple[str, int], ...] = ()
    markers: tuple[tuple[str, int], ...] = ()
    bad_texts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Profile:
    """Counts of one column; ``take`` an array at a time, in the files' order."""

    def __init__(self, name: str, na: Sequence[str], spelling: Spelling = PLAIN) -> None:
        self.name, self.na, self.spelling = name, tuple(na), spelling
        self.types: list[str] = []
        self.rows = self.nulls = self.numbers = self.counted = 0
        self.markers: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.low: Any = None
        self.high: Any = None
        self.full = self.loose = False  # loose: texts may be numbers
        self.bytes = False  # some are no texts of UTF-8
        self.blanks = self.escapes = 0  # texts with blanks around them, with backslashes before quotes

    def take(self, values: Any, among: Sequence[Any] = ()) -> None:
        """Count in an Arrow array or chunked array; texts are tried as the types ``among``."""
        values = _flat(values)
        self.rows += len(values)
        if _is_text(values.type):
            try:
                texts = values.cast(pa.string())
            except pa.ArrowException:
                self.bytes = True
                return
            self._texts(texts, among)
            return
        self.nulls += values.null_count
        values = values.drop_null() if values.null_count else values
        if pa.types.is_floating(values.type):
            missing = pc.is_nan(values)
            if n_missing := pc.sum(missing).as_py() or 0:
                self.nulls += n_missing
                values = values.filter(pc.invert(missing))
        self.saw(values.type)
        if not pa.types.is_nested(values.type):
            self.numbers += len(values)
            self._bounds(values)
            self._count(values.slice(0, _COUNT_NUMBERS), _MOST_NUMBERS)

    def saw(self, type_: Any) -> None:
        """Note that a file holds the column as this Arrow type."""
        if pa.types.is_dictionary(type_):
            type_ = type_.value_type
        name = "string" if _is_text(type_) else str(type_).replace("[day]", "")
        if name not in self.types:
            self.types.append(name)

    def kind(self) -> tuple[str, str]:
        """Kind of the column and the type to read it as."""
        types = [t for t in self.types if t != "null"]
        if self.bytes:
            return "text", "string"
        if not types:
            return "numeric", "double"
        if any(t.endswith(">") for t in types):
            return "text", types[0]
        if "string" not in types:
            merged = None if self.loose and "bool" in types and len(types) > 1 else _merged(types)
            return ("numeric", merged) if merged else ("categorical", "string")
        if self._mostly_numbers():
            return "numeric", "double"
        return ("categorical" if self._repeats() else "text"), "string"

    def storage(self) -> str:
        """float32 where every file holds what it can hold exactly; texts are float64."""
        return "float32" if self.types and all(t in _FLOAT32 for t in self.types) else "float64"

    def observed(self) -> Observed:
        kind, source = self.kind()
        return Observed(
            self.name,
            self.rows,
            self.nulls,
            sum(self.bad.values()) if kind == "numeric" else 0,
            len(self.levels),
            self.full or self.counted < self.rows - self.nulls,
            _plain(self.low) if kind == "numeric" else None,
            _plain(self.high) if kind == "numeric" else None,
            _most(self.levels, 5) if kind != "numeric" else (),
            _most(self.markers, 10),
            tuple(t for t, _ in _most(self.bad, MAX_BAD_TEXTS)) if kind == "numeric" else (),
            tuple(self._notes(kind, source)),
        )

    @property
    def empty(self) -> bool:
        return self.rows == self.nulls and not self.bytes

    @property
    def nested(self) -> bool:
        return any(t.endswith(">") for t in self.types)

    def _notes(self, kind: str, source: str) -> list[str]:
        if self.nested:
            return [f"nested ({source}): not read"]
        if self.bytes:
            return ["bytes that are no UTF-8: not read"]
        if self.empty:
            return ["every value is null"]
        notes = []
        if kind != "numeric" and self.loose and (options := suggestion(list(self.levels))):
            notes.append(f"numbers or times that are not read as such: {options} reads them")
        if kind == "text":
            prose = self._prose()
            notes.append("texts of several words" if prose else "nearly every value differs: an id?")
        if kind == "numeric" and self.bad:
            notes.append("some values are no numbers: add them to na, or make the kind categorical")
        told = self.low is not None if kind == "numeric" else not self.full
        if not self.nulls and told and (self.low == self.high if kind == "numeric" else len(self.levels) == 1):
            notes.append("constant")
        whole = kind == "numeric" and source.startswith(("int", "uint"))
        if whole and len(self.levels) == self.counted > 100:
            notes.append("every value differs: an id?")
        if kind != "numeric" and self.escapes:
            notes.append("backslashes before quotes, which are kept: --escape '\\' takes them for no part of the text")
        if kind != "numeric" and self.blanks:
            notes.append("texts with blanks around them, which are kept: --trim takes them away")
        if len(self.markers) > 1:
            notes.append(f"{len(self.markers)} different null markers")
        return notes

    def _texts(self, texts: Any, among: Sequence[Any]) -> None:
        self.nulls += texts.null_count
        texts = texts.drop_null()
        trimmed = pc.utf8_trim(texts, " \t")
        missing = pc.or_(
            pc.is_in(texts, pa.array(self.na, pa.string())), pc.is_in(trimmed, pa.array(self.na, pa.string()))
        )
        n_missing = pc.sum(missing).as_py() or 0
        if n_missing:
            self.nulls += n_missing
            self.markers.update(_counts(texts.filter(missing)))
            keep = pc.invert(missing)
            texts, trimmed = texts.filter(keep), trimmed.filter(keep)
        self.loose |= pa.float64() in among
        values = _typed(trimmed, among, self.spelling)
        self.saw(values.type)
        if not pa.types.is_string(values.type):
            self.numbers += len(values)
            self._bounds(values)
            self._count(texts.slice(0, _COUNT_NUMBERS), _MOST_NUMBERS)
            return
        if self.loose:
            self.blanks += pc.sum(pc.not_equal(texts, trimmed)).as_py() or 0
            self.escapes += pc.sum(pc.match_substring(texts, '\\"')).as_py() or 0
        self._count(texts.slice(0, _COUNT_TEXTS), _MOST_TEXTS)
        if self.loose:
            self._numbers(trimmed)

    def _numbers(self, texts: Any) -> None:
        """How many texts are numbers, and which are not."""
        values, bad = parse_texts(texts, pa.float64(), (), self.spelling)
        self.numbers += int(len(texts) - bad.sum())
        if len(self.bad) <= MAX_BAD_TEXTS:
            self.bad.update(_counts(texts.filter(pa.array(bad))))
        if not bad.all():
            self._bounds(values.drop_null())

    def _mostly_numbers(self) -> bool:
        other = {"string", "int64", "double"}
        filled = self.rows - self.nulls
        few = len(self.bad) <= MAX_BAD_TEXTS and filled - self.numbers <= MAX_BAD_SHARE * filled
        return self.loose and few and all(t in other for t in self.types if t != "null")

    def _repeats(self) -> bool:
        return len(self.levels) <= MAX_LEVELS or len(self.levels) <= MAX_SHARE * self.counted

    def _prose(self) -> bool:
        some = list(self.levels)[:1000]
        return sum(len(s.split()) for s in some) >= _WORDS * len(some)

    def _bounds(self, values: Any) -> None:
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        if not len(values) or pa.types.is_null(values.type):
            return
        with contextlib.suppress(*_UNKNOWN):
            low, high = pc.min_max(values).as_py().values()
            if low is None or (self.low is not None and type(low) is not type(self.low) and not _both(low, self.low)):
                return
            low, high = (low, high) if self.low is None else (min(self.low, low), max(self.high, high))
            self.low, self.high = low, high

    def _count(self, values: Any, most: int) -> None:
        if len(self.levels) > most:
            self.full = True
            return
        try:
            found = _counts(values)
        except _UNKNOWN:
            self.full = True
            return
        self.counted += len(values)
        self.levels.update(found)


def _counts(values: Any) -> dict[str, int]:
    counts = values.value_counts()
    return dict(zip(map(str, counts.field("values").to_pylist()), counts.field("counts").to_pylist(), strict=True))


def _most(counts: Counter[str], n: int) -> tuple[tuple[str, int], ...]:
    """The n most frequent, ties by text."""
    return tuple(sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:n])


def _plain(value: Any) -> int | float | str | None:
    return value if value is None or isinstance(value, int | float) else str(value)


def _both(a: Any, b: Any) -> bool:
    return isinstance(a, int | float) and isinstance(b, int | float)


def _flat(values: Any) -> Any:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _is_text(type_: Any) -> bool:
    is_ = pa.types
    tests = (
        is_.is_string,
        is_.is_large_string,
        is_.is_string_view,
        is_.is_binary,
        is_.is_large_binary,
        is_.is_fixed_size_binary,
        is_.is_binary_view,
    )
    return any(f(type_) for f in tests)


def _typed(texts: Any, among: Sequence[Any], spelling: Spelling) -> Any:
    """The texts as the first type that holds them all."""
    if not len(texts):
        return pa.array([], pa.null())
    words = pa.array([w for w in TRUE + FALSE if w.isalpha()])
    if pa.bool_() in among and pc.all(pc.is_in(texts, words)).as_py():
        return pc.is_in(texts, pa.array(TRUE))
    for type_ in (t for t in among if t != pa.bool_()):
        try:
            _cast(texts.slice(0, 64), type_, spelling)  # Arrow refuses a column only once it has been through all of it
            return _cast(texts, type_, spelling)
        except pa.ArrowInvalid:
            continue
    return texts


def _cast(texts: Any, type_: Any, spelling: Spelling) -> Any:
    """The texts as values of the type; ``pa.ArrowInvalid`` where one is none."""
    if not spelling.concerns(type_):
        return (zoned(texts) if pa.types.is_timestamp(type_) and type_.tz else texts).cast(type_)
    if pa.types.is_date(type_) and spelling.has_clock(texts):
        raise pa.ArrowInvalid("times of day are no dates")
    values, bad = parse_texts(texts, type_, (), spelling)
    if bad.any():
        raise pa.ArrowInvalid("not of the type")
    return values


def _merged(types: list[str]) -> str | None:
    """The type that stands for all of these, or None."""
    if len(set(types)) == 1:
        return types[0]
    if all(t == "date32" or t.startswith("timestamp") for t in types):
        zoned = [t for t in types if "tz=" in t]
        return (zoned or [t for t in types if t != "date32"])[0]
    numbers = ("int", "uint", "float", "double", "halffloat", "decimal", "bool")
    if all(t.startswith(numbers) for t in types):
        return "double"
    return types[0] if len({t[:4] for t in types}) == 1 else None
