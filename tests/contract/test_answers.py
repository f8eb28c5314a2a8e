"""Every command answers --json with what docs/answers.yaml says."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mrml.cli.main import COMMANDS, main
from tests.answers import check, name_of, schema

ROWS = Path(__file__).parents[2] / "data-samples" / "churn"
CANDIDATES = """
algorithm: {name: logistic, l2: {of: [0.1, 1.0]}}
data: {data: [ROWS], target: churned, id: id}
search: {method: grid}
"""


def names() -> list[str]:
    """Commands, those of several actions with each."""
    found = []
    for name, command in COMMANDS.items():
        actions = getattr(importlib.import_module(command.module), "_ACTIONS", ()) if command.module.count(".") else ()
        found += [f"{name} {action}" for action in actions] or [{"config": "config show"}.get(name, name)]
    return found


def keywords(value: Any) -> set[str]:
    """The words of schemas that say something; a comma too many in YAML makes one more."""
    if isinstance(value, list):
        return set().union(*map(keywords, value))
    if not isinstance(value, dict):
        return set()
    inner = [v for name, v in value.items() if name != "properties"] + list(value.get("properties", {}).values())
    return set(value).union(*map(keywords, inner))


def test_every_command_has_an_answer_and_no_answer_is_without_a_command() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert set(names()) <= set(schema()["$defs"])
    assert not [
        word for word in keywords(list(schema()["$defs"].values())) if not word.isidentifier() and word != "$ref"
    ]
    asked = set(re.findall(r"#/\$defs/([^\"'}]+)", str(schema())))
    words = {name.split()[0] for name in schema()["$defs"]}
    assert asked <= set(schema()["$defs"])
    assert {w for w in words if w in COMMANDS} == set(COMMANDS)
    assert {n for n in schema()["$defs"] if n.split()[0] not in COMMANDS} - asked <= {"error", "texts"}


def test_the_name_of_an_answer_is_the_command_with_its_action_or_the_option_that_changes_it() -> None:
    assert name_of(["train", "logistic", "--dry-run"]) == "train --dry-run"
    assert name_of(["-q", "runs", "show", "m"]) == "runs show"
    assert name_of(["inspect", "m", "--tree", "0"]) == "inspect --tree"
    assert name_of(["oozie", "submit", "m", "--dry-run"]) == "oozie submit"
    assert name_of(["evaluate", "m"]) == "evaluate"


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)

    def call(*argv: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*argv, "--json", "-q"]) == code
        return check(argv, capsys.readouterr().out)

    return call


def test_what_commands_answer_is_valid(answer: Callable[..., Any], tmp_path: Path) -> None:
    data = ("--data", str(ROWS))
    train = ("train", "logistic", *data, "--target", "churned", "--id", "id")
    answer("version")
    answer("schema", str(ROWS))
    answer("config", "show", *data)
    answer("sample", "made", "--rows", "100")
    answer(*train, "--output", "m", "--dry-run")
    trained = answer(*train, "--output", "m", "--folds", "2")
    assert trained["folds"]["rows"] == [60, 60]
    answer(*train, "--output", "m", code=4)
    answer(
        "train",
        "boosting",
        *data,
        "--target",
        "churned",
        "--rounds",
        "2",
        "--objective",
        "logistic",
        "--id",
        "id",
        "--output",
        "b",
    )
    answer("inspect", "m"), answer("inspect", "b"), answer("inspect", "b", "--tree", "0")
    answer("inspect", "b", "--plot", "b.svg"), answer("inspect", "m", "--plot", "pictures")
    answer("evaluate", "m", *data, "--plot", "pictures")
    answer("predict", "m", *data, "--output", "p")
    answer("export", "b", "--to", "xgboost", "--output", "b.json")
    answer("compare", "m", "b", *data)
    answer("validate", str(ROWS), "--against", "m")
    answer("runs", "show", "m"), answer("runs", "list", "."), answer("runs", "kill", "m"), answer("runs", "attach", "m")
    answer("runs", "clean", ".")
    answer("report", "m", "--output", "r.html")
    store = ("--store", "models")
    for action in ("promote m", "promote b", "rollback", "list", "show"):
        answer("models", *action.split(), *store)
    (tmp_path / "tune.yaml").write_text(CANDIDATES.replace("ROWS", str(ROWS)))
    answer("tune", "tune.yaml", "--output", "t", "--dry-run")
    answer("tune", "tune.yaml", "--output", "t")
    answer("doctor", "--data", str(ROWS), code=0)
