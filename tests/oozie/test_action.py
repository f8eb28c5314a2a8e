"""What the shell action says to Oozie: always something, never too much, and exit code 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mrml.tools.oozie.action import LIMIT, tags, told
from mrml.tools.oozie.document import read_properties
from mrml.tools.oozie.render import _SCRIPT_TEXT


def act(*words: str, python: str = sys.executable, **more: str) -> tuple[int, dict[str, str], str]:
    """Exit code, what Oozie would capture, and the log of the script of an application."""
    environment = {**os.environ, "MRML_PYTHON": python, **more}
    done = subprocess.run(
        ["sh", "-c", _SCRIPT_TEXT, "mrml-run.sh", *words], capture_output=True, text=True, env=environment
    )
    return done.returncode, read_properties(done.stdout), done.stderr


def test_a_command_that_works_says_0_and_its_result_is_in_the_log() -> None:
    code, said, log = act("version")
    assert (code, said) == (0, {"exit_code": "0", "verdict": "", "message": ""})
    assert '"mrml"' in log or "numpy" in log


def test_a_command_that_fails_says_its_code_and_its_error_in_words(tmp_path: Path) -> None:
    code, said, log = act("run", str(tmp_path / "nö.yaml"))
    assert code == 0 and said["exit_code"] == "2" and log.count("nö.yaml") == 2
    assert said["message"].startswith(f"{tmp_path}/nö.yaml: there is no such file; ")


def test_an_interpreter_that_is_not_there_or_has_no_mrml_is_told_too(tmp_path: Path) -> None:
    code, said, _ = act("version", python="/nowhere/python")
    assert (code, said["exit_code"]) == (0, "127") and "ended with exit code 127; see the log" in said["message"]
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    code, said, log = act("version", python=str(bare))
    assert (code, said["exit_code"]) == (0, "1") and "No module named" in log


@given(st.integers(0, 255), st.text(), st.text(), st.text(min_size=1))
def test_oozie_is_told_no_more_than_it_takes(code: int, place: str, finding: str, directory: str) -> None:
    error = {"place": place * 40, "finding": finding * 80, "remedy": "", "exit_code": code}
    text = told(code, json.dumps({"error": error, "directory": directory * 300, "verdict": "refused", "version": None}))
    said = read_properties(text)
    assert text.isascii() and len(text) <= LIMIT and said["exit_code"] == str(code) and said["verdict"] == "refused"
    words = f"{place * 40}: {finding * 80}" if place else finding * 80
    assert words.startswith(said["message"]) or not finding
    assert said.get("directory", directory * 300) == directory * 300


def test_what_is_no_json_is_told_by_its_code_alone() -> None:
    assert read_properties(told(137, "Killed")) == {
        "exit_code": "137", "verdict": "", "message": "see the log of the action"}  # fmt: skip


def test_the_tag_by_which_oozie_ends_what_an_action_began_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "action.xml"
    name = "oozie.child.mapreduce.job.tags"
    path.write_text(f"<configuration><property><name>{name}</name><value>oozie-1f</value></property></configuration>")
    assert tags(str(path)) == {"MRML_YARN_TAGS": "oozie-1f"}
    path.write_text("<configuration/>")
    assert tags(str(path)) == tags("") == tags(str(tmp_path / "none")) == {}
