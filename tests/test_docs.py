"""The docs are the program's: commands, options, examples, the table of algorithms, exit codes."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrml import errors
from mrml.cli import main as cli
from mrml.cli import reference
from mrml.cli.parser import Parser
from mrml.errors import ConfigError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "data-samples" / "README.md"]


def fences(path: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a document in these languages."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
        if language in languages:
            yield body


def commands(path: Path) -> Iterator[str]:
    """The ``mrml`` command lines of a document, prompts, continuations and comments taken off."""
    for body in fences(path, "sh", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and words[0] == "mrml":
                yield shlex.join(words[1:])


def parsers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Parser]:
    """The parser of every command, caught as it reads ``--help``."""
    found: dict[str, Parser] = {}
    monkeypatch.setattr(Parser, "print_help", lambda self, file=None: found.update({self.prog: self}))
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.parse([name, "--help"])
    return found


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`mrml {name}\b", README)


def test_every_option_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for parser in parsers(monkeypatch).values():
        for action in parser._actions:
            assert action.help and action.help != argparse.SUPPRESS, f"{parser.prog} {action.dest}"


def test_every_example_of_a_help_is_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [p.example for p in parsers(monkeypatch).values()] + [cli.help_parser().example]
    for example in examples:
        monkeypatch.chdir(ROOT)
        assert cli.parse(shlex.split(example)[1:]).run


@pytest.mark.parametrize("line", [line for path in DOCUMENTS for line in commands(path)])
def test_every_command_line_of_the_docs_is_one(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    try:
        assert cli.parse(shlex.split(line)).run
    except ConfigError as error:
        pytest.fail(f"mrml {line}: {error}")
    except SystemExit as stop:
        assert stop.code == 0  # --help


@pytest.mark.parametrize("body", list(fences(ROOT / "README.md", "python")))
def test_the_python_of_the_readme_compiles(body: str) -> None:
    compile(body, "README.md", "exec")


def test_the_generated_parts_of_the_readme_are_fresh() -> None:
    assert reference.refreshed(README) == README, "run `make docs`"


def test_the_readme_documents_every_exit_code() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.MrmlError)]
    for code in {0, cli.Interrupted.exit_code, *(c.exit_code for c in classes)}:
        assert re.search(rf"^\| {code} \|", README, re.M), f"exit code {code}"


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda p: p.name)
def test_every_run_file_is_a_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrml.cli.parser import flags
    from mrml.config import sources as conf

    args = cli.parse(["train", "--config", str(path)])
    config = conf.run_config(conf.resolve(args.known, flags(args), {}, args.tree, str(path)))
    assert config.algorithm and config.data.data and config.output
