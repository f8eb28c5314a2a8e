"""A text or a YAML node becomes a value of its field's type, or an error that names its place."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.config.parse import from_text, from_yaml, split_list
from mrml.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("1e6", int, 1_000_000),
        ("1e-4", float, 1e-4),
        ("3", float, 3.0),
        ("Yes", bool, True),
        ("0", bool, False),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("none", str | None, "none"),
        ("", str, ""),
        ("a,b", tuple[str, ...], ("a", "b")),
        ("", tuple[str, ...], ()),
        (",NA", tuple[str, ...], ("", "NA")),
        ("0.5,1", tuple[float, ...], (0.5, 1.0)),
        ("part-{a,b}.csv,c", tuple[str, ...], ("part-{a,b}.csv", "c")),
        ("a=1,b=2.5", dict[str, float], {"a": 1.0, "b": 2.5}),
        ("x=y=1", dict[str, float], {"x=y": 1.0}),
        ("balanced", dict[str, float] | str | None, "balanced"),
        ("auto", float | str, "auto"),
        ("0.5", float | str, 0.5),
    ],
)
def test_a_text_is_the_value_it_looks_like(text: str, annotation: Any, value: Any) -> None:
    found = from_text(text, annotation, "--option")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "finding"),
    [
        ("abc", float, "'abc' is not a number"),
        ("1.5", int, "'1.5' is not a whole number"),
        ("inf", int, "'inf' is not a whole number"),
        ("nan", int, "'nan' is not a whole number"),
        ("maybe", bool, "'maybe' is not true or false"),
        ("1,x", tuple[int, ...], "'x' is not a whole number"),
        ("a", dict[str, float], "'a' is not a list of NAME=VALUE or NAME:VALUE"),
    ],
)
def test_a_text_of_another_type_is_refused_with_its_place(text: str, annotation: Any, finding: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_text(text, annotation, "--option")
    assert str(error.value) == f"--option: {finding}"


@pytest.mark.parametrize(
    ("node", "annotation", "value"),
    [
        ("1e-4", float, 1e-4),  # PyYAML reads 1e-4 as a text: YAML 1.1 wants a point
        (1, float, 1.0),
        (2.0, int, 2),
        ("a", tuple[str, ...], ("a",)),
        (["a", "b"], tuple[str, ...], ("a", "b")),
        (None, int | None, None),
        (True, bool, True),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
    ],
)
def test_a_node_is_the_value_it_looks_like(node: Any, annotation: Any, value: Any) -> None:
    found = from_yaml(node, annotation, "run.yaml, x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("node", "annotation", "message"),
    [
        ("abc", float, "run.yaml, x: 'abc' is not a number"),
        (True, float, "run.yaml, x: True is not a number"),
        (1, bool, "run.yaml, x: 1 is not true or false"),
        (2021, str, "run.yaml, x: 2021 is not text; put it in quotes"),
        (True, str, "run.yaml, x: True is not text; put it in quotes"),
        (["a", 3], tuple[str, ...], "run.yaml, x[1]: 3 is not text; put it in quotes"),
        ({"a": "b"}, dict[str, float], "run.yaml, x.a: 'b' is not a number"),
        ({"a": 1}, tuple[str, ...], "run.yaml, x: {'a': 1} is not a list"),
        (None, int, "run.yaml, x: None is not a whole number"),
        (["a"], str, "run.yaml, x: ['a'] is not text"),
    ],
)
def test_a_node_of_another_type_is_refused_with_its_place(node: Any, annotation: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_yaml(node, annotation, "run.yaml, x")
    assert str(error.value) == message


@given(st.lists(st.text(st.characters(exclude_characters="{}\\")), min_size=1))
def test_a_list_reads_back_from_its_parts_with_commas_escaped(parts: list[str]) -> None:
    text = ",".join(part.replace(",", "\\,") for part in parts)
    assert split_list(text) == (parts if text else [])


@given(st.text())
def test_without_commas_a_text_is_one_part_and_keeps_its_backslashes(text: str) -> None:
    plain = text.replace(",", "")
    assert split_list(plain) == ([plain] if plain else [])


@given(st.floats(allow_nan=False))
def test_a_float_reads_back_from_its_digits(value: float) -> None:
    assert from_text(repr(value), float, "") == value


@given(st.text())
def test_any_text_gives_a_value_or_a_config_error(text: str) -> None:
    for annotation in (int, float, bool, tuple[int, ...], dict[str, int], int | None):
        with contextlib.suppress(ConfigError):
            from_text(text, annotation, "--option")
