"""Names in the texts of a run file: variables, and what comes of a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrml.cli.main import main
from mrml.config.template import filled, variables
from mrml.errors import ConfigError


def test_names_are_filled_in_and_one_without_a_value_is_told_with_its_place() -> None:
    declared = {"ds": None, "root": "/r", "models": "{{ root }}/m/${YEAR}", "n": 5, "on": True}
    values = variables({"ds": "2024-03-01"}, declared, "f")
    assert values["models"] == "/r/m/2024" and values["yesterday_ds"] == "2024-02-29"
    tree = {"a": ["{{ds_nodash}}", 7], "b": {"c": "x{{ n }}y{{ n }}"}, "d": "{{ on }}", "e": "${MONTH}/${DAY}"}
    assert filled(tree, values, "f") == {"a": ["20240301", 7], "b": {"c": "x5y5"}, "d": True, "e": "03/01"}
    with pytest.raises(ConfigError, match=r"f, b\.c\[1\]: \{\{ ds \}\} has no value; use --set ds=VALUE"):
        filled({"b": {"c": ["", "{{ ds }}"]}}, {}, "f", {"ds": None})
    with pytest.raises(ConfigError, match="'2024-2-1' is not a day; write YYYY-MM-DD"):
        variables({"ds": "2024-2-1"}, declared, "f")
    with pytest.raises(ConfigError, match="has no such variable; did you mean 'root'"):
        variables({"rot": "1"}, declared, "f")


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2026-1-1", "20261120"])
def test_a_day_without_a_yesterday_or_a_tomorrow_is_none(day: str) -> None:
    with pytest.raises(ConfigError, match="is not a day"):
        variables({"ds": day}, {"ds": None}, "f")


def test_a_name_that_the_file_declares_wins_everywhere_over_that_of_the_day() -> None:
    values = variables({"ds": "0999-03-01"}, {"ds": None, "YEAR": "1", "path": "${YEAR}/${MONTH}"}, "f")
    assert values["path"] == "1/03" and values["YEAR"] == "1" and values["ds_nodash"] == "09990301"


def test_an_empty_variable_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", "")
    with pytest.raises(ConfigError, match=r"f, root: .* ROOT is empty in the environment; export ROOT=VALUE"):
        filled({"root": "{{ env.ROOT }}"}, {}, "f")


@pytest.mark.parametrize(("command", "given"), [("train", ["--config"]), ("tune", [])])
def test_braces_are_of_the_files_of_mrml_run_and_others_say_so(
    command: str, given: list[str], tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("algorithm: {name: logistic, l2: '{{ env.L2 }}'}", encoding="utf-8")
    assert main([command, *given, str(file)]) == 2
    assert "algorithm.l2: {{ env.L2 }} is replaced in the files of `mrml run` only" in capsys.readouterr().err
