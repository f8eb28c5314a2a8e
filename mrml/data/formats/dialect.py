"""Text of other customs as plain text: encodings, escapes, delimiters of several characters, blanks around fields.

Floor 2.  Everything behind knows UTF-8, delimiters and quotes of one character, and no escapes; :func:`plain` makes
that of whole records, a record at a time, so that windows are cut and problems placed in the file's own bytes.  That
needs encodings in which the bytes of line ends are nothing else: :func:`encoding_named` refuses the others.

An escape makes a quote, a delimiter or itself after it plain, inside quotes and outside; before anything else it is a
character like others, as Spark writes ``C:\\dir``.
"""

from __future__ import annotations

import codecs
import re
import warnings
from dataclasses import replace

from mrml.data.formats.lines import BOM, Rule, quoted_fields
from mrml.errors import ConfigError, InputError
from mrml.schema import Format

#: control characters that stand for delimiter and quote, where the text holds none of them
_SPARE = tuple(c for c in "\x1f\x1e\x1d\x1c\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17")
#: every ASCII character, and what encodings of escapes and of names take for something else
_PROBE = bytes(range(128)) + b"\\n \\u0041 a-b"
_LINE_END = re.compile(rb"(\r\n|\r|\n)")
_LINES = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
#: a byte that is nowhere in UTF-8 stands for what cannot be decoded, so that its record is told
_NO_TEXT = "mrml.no-text"
codecs.register_error(_NO_TEXT, lambda error: ("\udcff", getattr(error, "end", 0)))


def encoding_named(name: str) -> str:
    """Python's name of an encoding; ConfigError for one that is unknown or cannot be cut at line ends."""
    place = "data, encoding"
    try:
        found = codecs.lookup(name).name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            text = _PROBE.decode(found)
    except LookupError:
        raise ConfigError(place, f"{name!r} is unknown", "give a name such as cp1252, latin-1 or shift_jis") from None
    except (UnicodeError, ValueError, DeprecationWarning):
        text = ""
    if text != _PROBE.decode("ascii"):
        remedy = f"convert the files: iconv -f {name.upper()} -t UTF-8 FILE > NEW"
        raise ConfigError(place, f"{name} cannot be split at line ends", remedy)
    return "utf-8" if found in ("utf-8-sig", "ascii") else found


def is_plain(format: Format) -> bool:
    """Whether :func:`plain` has nothing to do."""
    return format.encoding == "utf-8" and not _is_foreign(format)


def plain(data: bytes, format: Format) -> tuple[bytes, Format]:
    """Whole records as plain ones, as many and in the same order, and the format of those."""
    data = utf8(data, format)
    format = replace(format, encoding="utf-8")
    return _rewritten(data, format) if _is_foreign(format) else (data, format)


def utf8(data: bytes, format: Format) -> bytes:
    """Whole lines as UTF-8, with 0xFF for what is no text of the format's encoding."""
    if format.encoding == "utf-8":
        return data
    try:
        return data.decode(format.encoding).encode()
    except UnicodeDecodeError:
        parts = _LINE_END.split(data)
        return b"".join(_decoded(part, format.encoding) for part in parts)


def _decoded(line: bytes, encoding: str) -> bytes:
    return line.decode(encoding, _NO_TEXT).encode("utf-8", "surrogateescape")


def _is_foreign(format: Format) -> bool:
    return format.name in ("csv", "tsv") and (bool(format.escape) or format.trim or len(format.delimiter) > 1)


def _rewritten(data: bytes, format: Format) -> tuple[bytes, Format]:
    """UTF-8 with delimiter and quote replaced by characters that the text does not hold."""
    free = [c for c in _SPARE if c.encode() not in data and c not in (format.delimiter, format.quote)]
    if len(free) < 2:
        raise InputError("text", "holds every control character", "is it text? say another --format or --encoding")
    new = replace(format, delimiter=free[0], quote=free[1] if format.quote else "", escape="", trim=False)
    mark, text = (BOM, data[len(BOM) :]) if data.startswith(BOM) else (b"", data)
    rewriter = _Rewriter(Rule.of(format), new.delimiter.encode(), new.quote.encode())
    if not format.quote or format.quote.encode() not in text:
        return mark + rewriter.outside(text, True, True), new
    units = [text] if format.multiline else _LINES.findall(text)  # a quote without multiline ends with its line
    return mark + b"".join(map(rewriter.whole, units)), new


class _Rewriter:
    """Records of one rule with another delimiter and quote, which stand nowhere in them."""

    def __init__(self, rule: Rule, delimiter: bytes, quote: bytes) -> None:
        self.rule, self.delimiter, self.quote = rule, delimiter, quote
        self.said_delimiter, self.said_quote = rule.delimiter.encode(), rule.quote.encode()
        q, d, e = (re.escape(c.encode()) for c in (rule.quote, rule.delimiter, rule.escape))
        plain = b"|".join(p for p in (e, q, d) if p)
        self.escaped = re.compile(e + b"(" + plain + b")|(" + d + b")") if e else None
        self.doubled = re.compile(e + b"(" + plain + b")|" + q + b"(" + q + b")") if e and q else None
        self.blanks = rule.blanks
        edge = b"[" + delimiter + b"\r\n]"
        blank = b"[" + self.blanks + b"]"
        around = b"(?<!" + blank + b")" + blank + b"+(?=" + edge + b")|(?<=" + edge + b")" + blank + b"+"
        self.around = re.compile(around) if self.blanks else None

    def whole(self, text: bytes) -> bytes:
        """Some whole records, of which all quoted fields are looked at together."""
        quoted = quoted_fields(text, self.rule)
        out, at = [], 0
        for (first, stop), is_open in zip(quoted.spans.tolist(), quoted.is_open.tolist(), strict=True):
            out += [self.outside(text[at:first], at == 0, False), self.inside(text[first:stop], is_open)]
            at = stop
        return b"".join([*out, self.outside(text[at:], at == 0, True)])

    def outside(self, text: bytes, is_first: bool, is_last: bool) -> bytes:
        """What is not quoted; the first and the last of some records have a line's edge beside them."""
        if self.escaped:
            text = self.escaped.sub(lambda m: m[1] if m[2] is None else self.delimiter, text)
        else:
            text = text.replace(self.said_delimiter, self.delimiter)
        if self.around:
            text = text.lstrip(self.blanks) if is_first else text
            text = self.around.sub(b"", text.rstrip(self.blanks) if is_last else text)
        return text

    def inside(self, field: bytes, is_open: bool) -> bytes:
        """A quoted field; one that is open stays so."""
        text = field[1:] if is_open else field[1:-1]
        if self.doubled:
            text = self.doubled.sub(lambda m: m[1] or m[2], text)
        else:
            text = text.replace(self.said_quote * 2, self.said_quote)
        return self.quote + text + (b"" if is_open else self.quote)
