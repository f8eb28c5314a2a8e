"""Java and Maven: found, refused in words, and fetched from once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mrml.cluster.jars import HADOOP, OOZIE, Jars, fetch_jars, find_java
from mrml.errors import EngineError

from .conftest import Program

#: what Maven is asked for goes where -DoutputDirectory says
FETCHES = """
for a in "$@"; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done
mkdir -p "$d"; echo jar > "$d/hadoop-common-3.5.0.jar"; echo x >> "${0%/*}/calls"
"""


def test_no_java_is_told_with_the_version_it_needs(program: Program) -> None:
    with pytest.raises(EngineError, match=r"Java is not installed; install Java 17, or point JAVA_HOME at one"):
        find_java()


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.22"])
def test_an_old_java_is_refused_with_its_version(program: Program, version: str) -> None:
    program("java", f"""echo 'openjdk version "{version}" 2024-01-16' >&2""")
    number = version.removeprefix("1.").partition(".")[0]
    with pytest.raises(EngineError, match=rf"is Java {number}, and Hadoop needs 17 or newer"):
        find_java()


def test_java_home_wins_over_the_path(program: Program, tmp_path: Path) -> None:
    program("java", """echo 'openjdk version "11.0.1"' >&2""")
    home = tmp_path / "jdk" / "bin"
    home.mkdir(parents=True)
    program("java21", """echo 'openjdk version "21" 2023-09-19' >&2""").rename(home / "java")
    assert find_java(str(home.parent)) == home / "java"
    with pytest.raises(EngineError, match=r"nowhere/bin/java is not a program.*JAVA_HOME"):
        find_java(str(tmp_path / "nowhere"))


def test_jars_are_fetched_once_and_again_when_one_is_missing(program: Program, tmp_path: Path) -> None:
    calls = program("mvn", FETCHES).with_name("calls")
    folder = fetch_jars(tmp_path / "cache")
    assert fetch_jars(tmp_path / "cache") == folder and calls.read_text() == "x\n"
    (folder / "hadoop-common-3.5.0.jar").write_text("cut sh")
    assert fetch_jars(tmp_path / "cache") == folder and calls.read_text() == "x\nx\n"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [folder.name]


def test_of_two_that_fetch_at_once_the_second_takes_what_the_first_has_put_there(
    program: Program, tmp_path: Path
) -> None:
    fast = (
        'for a in "$@"; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done; place=${d%/fetching-*}; '
        f'mkdir -p "$place/{HADOOP.folder(tmp_path).name}"; cd "$place/{HADOOP.folder(tmp_path).name}"; '
        "printf jar1 > hadoop-first.jar; echo '{\"hadoop-first.jar\": 4}' > whole.json"
    )
    program("mvn", f"{FETCHES}\n{fast}")
    assert [p.name for p in fetch_jars(tmp_path / "cache").glob("*.jar")] == ["hadoop-first.jar"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_no_maven_is_no_matter_once_the_jars_are_there(program: Program, tmp_path: Path, cache: Path) -> None:
    assert fetch_jars(cache).parent == cache
    with pytest.raises(EngineError, match=r"Maven: is not installed.*install Maven \(mvn\)"):
        fetch_jars(tmp_path / "empty")


def test_a_repository_out_of_reach_is_told_as_such(program: Program, tmp_path: Path) -> None:
    said = "[ERROR] Plugin p or one of its dependencies could not be resolved: Could not transfer artifact a from/to m"
    program("mvn", f"echo '{said}: Connection refused'; exit 1")
    with pytest.raises(EngineError, match=r"cannot reach its repository: .*Connection refused; check the network.*"):
        fetch_jars(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_any_other_failure_of_maven_is_its_first_error(program: Program, tmp_path: Path) -> None:
    program("mvn", "echo '[ERROR] JAVA_HOME is not right'; echo '[ERROR] help'; exit 3")
    with pytest.raises(EngineError, match="exit code 3: JAVA_HOME is not right; run `mvn"):
        fetch_jars(tmp_path / "cache")


@pytest.mark.parametrize("jars, n_jars", [(HADOOP, 13), (OOZIE, 40)])
def test_the_poms_name_no_repository_and_pin_every_version(jars: Jars, n_jars: int) -> None:
    text = jars.pom.read_text()
    assert "://" not in text and "repositor" not in text
    assert text.count("<dependency>") == len(re.findall(r"</artifactId><version>[$\d]", text)) == n_jars
    assert not re.search("<version>(LATEST|RELEASE|[\\[(])", text)


def test_what_is_missing_is_told_by_name_and_a_relative_cache_is_where_the_command_runs(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match="Oozie's jars are not fetched yet"):
        fetch_jars(Path("cache"), OOZIE)
    program("mvn", FETCHES)
    assert fetch_jars(Path("cache")).parent == tmp_path / "cache"
