"""The docs are the program's: commands, options, examples, the table of algorithms, exit codes."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mrml import errors
from mrml.cli import main as cli
from mrml.cli import reference
from mrml.errors import ConfigError
from mrml.runs.batch.file import read as read_batch

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
]
DOCUMENTS = [*PAGES, ROOT / "data-samples" / "README.md"]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
NEW_ALGORITHM = ROOT / "docs" / "adding-an-algorithm.md"


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


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_in_the_docs(name: str) -> None:
    assert re.search(rf"`mrml {name}\b", COMMANDS)


def test_every_option_says_what_it_is_for() -> None:
    for parser in map(reference.parser_of, cli.COMMANDS):
        for action in parser._actions:
            assert action.help and action.help != argparse.SUPPRESS, f"{parser.prog} {action.dest}"


def test_every_example_of_a_help_is_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [reference.parser_of(name).example for name in cli.COMMANDS] + [cli.help_parser().example]
    for example in examples:
        monkeypatch.chdir(ROOT)
        assert cli.parse(shlex.split(example)[1:]).run


@pytest.mark.parametrize("line", [line for path in DOCUMENTS if path != NEW_ALGORITHM for line in commands(path)])
def test_every_command_line_of_the_docs_is_one(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    try:
        assert cli.parse(shlex.split(line)).run
    except ConfigError as error:
        pytest.fail(f"mrml {line}: {error}")
    except SystemExit as stop:
        assert stop.code == 0  # --help


@pytest.mark.parametrize(("path", "body"), [(p, body) for p in PAGES for body in fences(p, "python")],
                         ids=lambda v: v.name if isinstance(v, Path) else "")  # fmt: skip
def test_the_python_of_the_docs_compiles(path: Path, body: str) -> None:
    compile(body, path.name, "exec")


def test_the_python_that_a_newcomer_copies_first_runs_in_a_process_of_theirs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "data-samples", tmp_path / "data-samples")
    body = "\n".join(fences(ROOT / "README.md", "python"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", body], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "auc" in done.stdout, done.stderr


def test_the_file_of_the_night_in_the_docs_is_the_one_in_conf() -> None:
    (text,) = fences(ROOT / "docs" / "nightly.md", "yaml")
    shown, there = yaml.safe_load(text), yaml.safe_load((ROOT / "conf/nightly/churn.yaml").read_text("utf-8"))
    assert shown == there


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "nightly").glob("*.yaml")), ids=lambda p: p.name)
def test_every_file_of_a_batch_run_is_one(path: Path) -> None:
    assert read_batch(str(path), {"ds": "2026-11-20"}).label == "2026-11-20"


def test_a_newcomer_adds_an_algorithm_by_the_page_alone(tmp_path: Path) -> None:
    """One file, one test, the commands: exactly what the page says, in a folder that has nothing else."""
    shutil.copytree(ROOT / "data-samples", tmp_path / "data-samples")
    algorithm, test = fences(NEW_ALGORITHM, "python")
    (tmp_path / "my_ridge.py").write_text(algorithm, encoding="utf-8")
    (tmp_path / "test_my_ridge.py").write_text(test, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    words = [[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_ridge.py"]]
    words += [[sys.executable, "-m", "mrml", *shlex.split(line)] for line in commands(NEW_ALGORITHM)]
    for command in words:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert len(words) == 3 and list((tmp_path / "ridge.predictions").glob("part-*"))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_link_between_the_pages_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        made = target.startswith("generated/")  # by the build of the docs, which a test of its own looks at
        assert made or (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_module_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[a-z_]+/)*[a-z_*]+\.py)`", text):
        found = [*ROOT.glob(name), *(ROOT / "mrml").glob(name), *(ROOT / "mrml").rglob(name)]
        assert found, f"ARCHITECTURE.md names {name}"


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_the_generated_parts_of_the_docs_are_fresh(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert reference.refreshed(text) == text, "run `make docs`"


def test_sphinx_builds_the_docs_without_a_warning(tmp_path: Path) -> None:
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    words += [str(ROOT / "docs"), str(tmp_path / "html")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Predict for every row" in (tmp_path / "html" / "api.html").read_text("utf-8")  # what autodoc finds


def test_the_docs_have_every_exit_code() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.MrmlError)]
    for code in {0, cli.Interrupted.exit_code, *(c.exit_code for c in classes)}:
        assert re.search(rf"^\| {code} \|", ERRORS, re.M), f"exit code {code}"


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda p: p.name)
def test_every_run_file_is_a_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrml.cli.parser import flags
    from mrml.cli.search.tune import tuning_of
    from mrml.config import sources as conf

    if "search" in conf.read_file(str(path)):
        tuning = tuning_of(cli.parse(["tune", str(path)]))
        assert tuning.spaces and tuning.run.algorithm and tuning.run.data.data
        return
    args = cli.parse(["train", "--config", str(path)])
    config = conf.run_config(conf.resolve(args.known, flags(args), {}, args.tree, str(path)))
    assert config.algorithm and config.data.data and config.output
