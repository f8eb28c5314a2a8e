"""XML with line numbers, and the property files of Java: what applications of Oozie are written in.

The standard library's expat alone, which follows no external entity; ElementTree's own parser keeps no line numbers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

from mrml.errors import ConfigError

_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclasses.dataclass
class Element:
    """``tag`` without its namespace; ``line`` counts from 1."""

    tag: str
    namespace: str
    attributes: Mapping[str, str]
    line: int
    children: list[Element] = dataclasses.field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> Iterator[Element]:
        """Children of this name."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        return next(self.all(tag), None)

    def walk(self) -> Iterator[Element]:
        """Itself and everything in it."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse(text: bytes, place: str) -> Element:
    """The root of a document; ConfigError with the line where it is none."""
    parser = expat.ParserCreate(namespace_separator=" ")
    above: list[Element] = []
    root: list[Element] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        namespace, _, tag = name.rpartition(" ")
        found = Element(tag, namespace, attributes, parser.CurrentLineNumber)
        (above[-1].children if above else root).append(found)
        above.append(found)

    def data(text: str) -> None:
        above[-1].text += text

    def refuse(name: str, *rest: Any) -> None:
        raise ConfigError(f"{place}, line {parser.CurrentLineNumber}", f"declares {name!r}", "leave the DOCTYPE out")

    parser.StartElementHandler, parser.CharacterDataHandler = start, data
    parser.EndElementHandler = lambda name: above.pop()
    parser.StartDoctypeDeclHandler = refuse  # entities that grow without bound are declared in one
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        finding = f"is not XML: {expat.ErrorString(error.code)}"
        raise ConfigError(f"{place}, line {error.lineno}", finding, "fix it there") from error
    return root[0]


def read_properties(text: str) -> dict[str, str]:
    """A property file (``java.util.Properties.load``): ``key=value``, ``key: value``, ``\\u00e9``, lines that go on."""
    found = {}
    joined = re.sub(r"(?<!\\)((?:\\\\)*)\\\r?\n[ \t]*", r"\1", text)
    for line in joined.splitlines():
        line = line.lstrip()
        if line and line[0] not in "#!":
            key, value = re.fullmatch(r"((?:\\.|[^=:\s\\])*)\s*[=:]?\s*(.*)", line, re.S).groups()  # type: ignore[union-attr]
            found[_plain(key)] = _plain(value)
    return found


def write_properties(values: Mapping[str, str]) -> str:
    """The same the other way round, in ASCII."""
    return "".join(f"{_escape(key, '=: ')}={_escape(value, '')}\n" for key, value in values.items())


def _plain(text: str) -> str:
    """Escapes taken off; two of ``\\uD83D`` may make one character."""

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return _ESCAPED.get(match[2], match[2])

    found = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, text, flags=re.S)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escape(text: str, more: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    out = []
    for i in range(0, len(units), 2):
        char = chr(int.from_bytes(units[i : i + 2], "big"))
        named = next((k for k, v in _ESCAPED.items() if v == char), "")
        if named or char == "\\" or char in more or (char in " #!" and i == 0):
            out.append("\\" + (named or char))
        else:
            out.append(char if " " <= char <= "~" else f"\\u{ord(char):04x}")
    return "".join(out)
