"""Numbers and times as people write them: ``1.299,99``, ``$5.00``, ``12%``, ``31/12/2023``.

Floor 2.  What a format says of decimals, thousands, units and dates makes plain numbers and times of such texts; a text
that is spelled otherwise becomes null, so that it is a fault and never another number: with a decimal comma ``1.5`` is
none.  :func:`suggestion` finds the options for texts that are neither.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mrml.schema import Format

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)
_NO_NUMBERS = "(?i:[+-]?(?:inf|infinity|nan))"
#: the share of texts that options must read to be named
_MOST = 0.95
_MARKS = ((".", ""), (".", ","), (",", "."), (",", ""), (".", " "), (",", " "), (".", "'"), (",", "'"))
#: words for null that a suggestion spells out
_MOST_WORDS = 5
_DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y",
         "%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%b %d %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%Y.%m.%d")  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f", " %H:%M:%S %z", "T%H:%M:%S")
#: what begins like a number or a day, and like a day
_MAY_BE = re.compile(r"[^\w\s]{0,4}\s*[^\w\s]{0,4}\s*\d|[A-Za-z]{3,9}\.? \d")
_LIKE_A_DAY = re.compile(r"\w+[/.\- ]\s*\w+,?[/.\- ]\s*\d")
#: signs before a number; letters there are names, such as Q1
_UNIT = re.compile(r"[+-]?\s*([^\w\s.,+\-]{0,4})\s*[+-]?[\d.,'\s\u2019]*\d\s*([^\d\s.,+\-]{0,4})")
#: different texts from which letters behind a number may be a unit; fewer are names, such as 1a and 2a
_MANY_TEXTS = 20


class Spelling(NamedTuple):
    """What a format says of numbers and times in texts.

    ``units`` are texts before or after a number that are no part of it; ``dates`` in the words of Python's strptime.
    """

    decimal: str = "."
    thousands: str = ""
    units: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()

    @staticmethod
    def of(format: Format) -> Spelling:
        return Spelling(format.decimal, format.thousands, format.units, format.date_format)

    def concerns(self, type_: Any) -> bool:
        """Whether texts of an Arrow type are spelled in another way than Arrow's."""
        if pa.types.is_floating(type_):
            return self[:3] != (".", "", ())
        return bool(self.dates) and (pa.types.is_date(type_) or pa.types.is_timestamp(type_))

    def numbers(self, texts: Any) -> Any:
        """Texts (n,) without blanks around them as Arrow spells numbers, null where they are none."""
        if not len(texts):
            return texts
        plain = texts
        for unit in sorted(self.units, key=len, reverse=True):
            u = re.escape(unit)
            plain = pc.replace_substring_regex(plain, f"^([+-]?)\\s*{u}\\s*|\\s*{u}$", r"\1")
        is_number = pc.match_substring_regex(plain, f"^(?:{_pattern(self.decimal, self.thousands)}|{_NO_NUMBERS})$")
        for mark in _alike(self.thousands):
            plain = pc.replace_substring(plain, mark, "")
        plain = pc.replace_substring(plain, self.decimal, ".") if self.decimal != "." else plain
        return pc.if_else(is_number, plain, pa.scalar(None, plain.type))

    def times(self, texts: Any, type_: Any) -> Any:
        """Texts (n,) as dates or times of an Arrow type, null where no format fits."""
        coded = texts.dictionary_encode()
        ticks = [None if t is None else _micros(t, self.dates) for t in coded.dictionary.to_pylist()]
        values = pa.array(ticks, pa.int64()).cast(pa.timestamp("us")).take(coded.indices)
        if pa.types.is_date(type_):
            return values.cast(pa.date32(), safe=False).cast(type_)
        return values.cast(pa.int64()).cast(pa.timestamp("us", type_.tz)).cast(type_, safe=False)

    def has_clock(self, texts: Any) -> bool:
        """Whether the formats that fit some texts tell hours."""
        some = texts.slice(0, 100).to_pylist()
        fitting = [f for f in self.dates if any(_micros(t, (f,)) is not None for t in some)]
        return any(set(re.findall("%[a-zA-Z]", f)) & {"%H", "%I", "%S", "%c", "%X"} for f in fitting)


PLAIN = Spelling()


def suggestion(texts: Sequence[str]) -> str:
    """The options that read nearly all of some texts as numbers or times, or ''."""
    texts = [t.strip() for t in texts if t.strip()][:1000]
    if not texts or sum(_MAY_BE.match(t) is not None for t in texts) < _MOST * len(texts):
        return ""
    return _number_options(texts) or _date_options(texts)


def zoned(texts: Any) -> Any:
    """ISO times with the zone that Arrow wants of all or none: those without one are UTC."""
    has_clock = pc.match_substring_regex(texts, r"\d{2}:\d{2}")
    full = pc.if_else(has_clock, texts, pc.binary_join_element_wise(texts, " 00:00:00", ""))
    has_zone = pc.match_substring_regex(full, r":\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$")
    return pc.if_else(has_zone, full, pc.binary_join_element_wise(full, "Z", ""))


def _alike(mark: str) -> str:
    """A mark of thousands, and the spaces that no line is broken at."""
    return " \u00a0\u202f" if mark == " " else "'\u2019" if mark == "'" else mark


@lru_cache(maxsize=64)
def _pattern(decimal: str, thousands: str) -> str:
    """RE2 pattern of a number; groups of thousands are of three digits, those above of two or three."""
    whole = r"\d+"
    if thousands:
        t = "[" + re.escape(_alike(thousands)) + "]"
        whole = rf"(?:\d{{1,3}}(?:{t}\d{{2,3}})*{t}\d{{3}}|\d+)"
    d = re.escape(decimal)
    return rf"[+-]?(?:{whole}(?:{d}\d*)?|{d}\d+)(?:[eE][+-]?\d+)?"


def _micros(text: str, formats: Iterable[str]) -> int | None:
    """Microseconds since 1970 UTC; without a zone it is UTC."""
    for format_ in formats:
        try:
            found = datetime.datetime.strptime(text, format_)
        except (ValueError, re.error):
            continue
        found = found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)
        return (found - _EPOCH) // _MICROSECOND
    return None


def _number_options(texts: Sequence[str]) -> str:
    """The options that read the most, where that is more than without them; else words for null where few are left."""
    array, units = pa.array(texts, pa.string()), _units(texts)
    marks = [(d, t) for d, t in _MARKS if not t or any(mark in text for text in texts for mark in _alike(t))]
    spellings = [PLAIN, *(Spelling(*pair, units) for pair in marks)]
    read = [len(texts) - spelling.numbers(array).null_count for spelling in spellings]
    most = read.index(max(read))
    if read[most] < _MOST * len(texts):
        return ""
    decimal, thousands, units, _ = spellings[most]
    said = [f"--decimal '{decimal}'"] * (decimal != ".") + [f'--thousands "{thousands}"'] * bool(thousands)
    said += [f"--units '{unit}'" for unit in units]
    words = array.filter(pc.is_null(spellings[most].numbers(array))).to_pylist()
    said += [f"--na '{word}'" for word in dict.fromkeys(words[:_MOST_WORDS])]
    return " ".join(said)


def _units(texts: Sequence[str]) -> tuple[str, ...]:
    """What stands before or after numbers; none where it is many things."""
    found = [m for t in texts if (m := _UNIT.fullmatch(t))]
    units = {u for m in found for u in m.groups() if u}
    names = [u for u in units if any(c.isalpha() for c in u)]
    few = len(units) <= 3 and (not names or (len(units) == 1 and len(texts) >= _MANY_TEXTS))
    return tuple(sorted(units)) if few and len(found) >= _MOST * len(texts) else ()


def _date_options(texts: Sequence[str]) -> str:
    """The date format that fits, or the first two where days and months cannot be told apart."""
    fitting = []
    if not _LIKE_A_DAY.match(texts[0]):  # 136 tries take a millisecond
        return ""
    for format_ in (day + clock for day in _DAYS for clock in _CLOCKS):
        if _micros(texts[0], (format_,)) is None:
            continue
        if sum(_micros(t, (format_,)) is not None for t in texts) >= _MOST * len(texts):
            fitting.append(f"--date-format '{format_}'")
    return " or ".join(fitting[:2])
