"""Property files of Java and XML with line numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.errors import ConfigError
from mrml.tools.oozie.document import parse, read_properties, write_properties


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_properties_are_read_as_they_were_written_and_are_ascii(values: dict[str, str]) -> None:
    text = write_properties(values)
    assert read_properties(text) == values and text.isascii() and text.count("\n") == len(values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1\nb: 2\nc 3\n\n# no\n! no\n d = x y \n", {"a": "1", "b": "2", "c": "3", "d": "x y "}),
        ("e=one \\\n   two\n", {"e": "one two"}),
        ("f\\:g\\=h=\\u00e9\\t\\\\", {"f:g=h": "é\t\\"}),
        ("g", {"g": ""}),
        ("#Mon Nov 30\nmessage=x\\: y\n", {"message": "x: y"}),
        ("h=a\\\\\ni=2", {"h": "a\\", "i": "2"}),
        ("j=\\ud83d\\ude00", {"j": "😀"}),
    ],
)
def test_what_java_writes_is_read(text: str, values: dict[str, str]) -> None:
    """java.util.Properties, "Class Properties, load(Reader)"."""
    assert read_properties(text) == values


def test_elements_know_their_lines_and_their_namespaces() -> None:
    root = parse(b'<a xmlns="u:1">\n<b x="1">text</b>\n\n<c xmlns="u:2"><b/></c></a>', "x")
    assert [(e.tag, e.namespace, e.line) for e in root.walk()] == [
        ("a", "u:1", 1), ("b", "u:1", 2), ("c", "u:2", 4), ("b", "u:2", 4)]  # fmt: skip
    assert root.children[0].text == "text" and root.children[0].attributes == {"x": "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"<a>\n<b></a>", "x.xml, line 2: is not XML: mismatched tag"),
        (b"", "x.xml, line 1: is not XML: no element found"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>', "x.xml, line 1: declares 'a'; leave the DOCTYPE out"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "x.xml")
    assert str(error.value).startswith(message)
