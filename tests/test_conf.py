"""Defaults, run file, environment, options: later wins, every value has an origin, every error a place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError
from mrml.params import param


@dataclass(frozen=True)
class Hyper:
    l2: float = param(0.0, "strength of the penalty", low=0.0)
    solver: str = param("auto", "which solver", choices=("auto", "newton"))


KNOWN = conf.run_options(Hyper)


def run(flags: dict[conf.Key, Any] | None = None, environ: dict[str, str] | None = None, text: str = "",
        folder: Path | None = None) -> conf.Settings:  # fmt: skip
    path = str((folder or Path()) / "run.yaml")
    if folder is not None:
        Path(path).write_text(text)
    tree = conf.read_file(path) if folder is not None else {}
    return conf.resolve(KNOWN, flags or {}, environ or {}, tree, path)


def test_without_anything_every_value_is_its_default() -> None:
    settings = run()
    assert {s.origin for s in settings.values()} == {"default"}
    config = conf.run_config(settings)
    assert config == RunConfig(params={"l2": 0.0, "solver": "auto"})


layers = st.sets(st.sampled_from(["file", "environment", "option"]))


@given(layers)
def test_later_wins_and_the_origin_says_who_won(tmp_path_factory: pytest.TempPathFactory, given_in: set[str]) -> None:
    folder = tmp_path_factory.mktemp("run")
    text = "algorithm: {l2: 1}" if "file" in given_in else ""
    environ = {"MRML_L2": "2"} if "environment" in given_in else {}
    flags = {("algorithm", "l2"): "3"} if "option" in given_in else {}
    found = run(flags, environ, text, folder)["algorithm", "l2"]
    expected = [
        ("option", 3.0, "option --l2"),
        ("environment", 2.0, "environment MRML_L2"),
        ("file", 1.0, str(folder / "run.yaml")),
    ]
    value, origin = next(((v, o) for layer, v, o in expected if layer in given_in), (0.0, "default"))
    assert (found.value, found.origin) == (value, origin)


def test_a_run_file_sets_every_section(tmp_path: Path) -> None:
    text = """
algorithm: {name: logistic, l2: 1e-4}
data: {data: [a, b], target: y, header: false, max_bad_rows: 5}
engine: {engine: inline, workers: 2}
output: out
max_rounds: 7
strict: true
"""
    config = conf.run_config(run(text=text, folder=tmp_path))
    assert config == RunConfig(
        algorithm="logistic",
        params={"l2": 1e-4, "solver": "auto"},
        data=DataConfig(data=("a", "b"), target="y", header=False, max_bad_rows=5),
        engine=EngineConfig(engine="inline", workers=2),
        output="out",
        max_rounds=7,
        strict=True,
    )


def test_an_algorithm_without_hyperparameters_may_be_written_as_its_name(tmp_path: Path) -> None:
    assert conf.run_config(run(text="algorithm: linear", folder=tmp_path)).algorithm == "linear"


def test_an_empty_file_and_an_empty_section_say_nothing(tmp_path: Path) -> None:
    assert conf.run_config(run(text="", folder=tmp_path)) == conf.run_config(run())
    assert conf.run_config(run(text="data:\n", folder=tmp_path)) == conf.run_config(run())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dta: {}", "{}: unknown key 'dta'; did you mean 'data'?"),
        ("search: {}", "{}: has a search, which only mrml tune runs; use mrml tune "),
        ("data: {traget: y}", "{}, data: unknown key 'traget'; did you mean 'target'?"),
        ("algorithm: {solvr: 1}", "{}, algorithm: unknown key 'solvr'; did you mean 'solver'?"),
        ("algorithm: {l2: abc}", "{}, algorithm.l2: 'abc' is not a number"),
        ("algorithm: {l2: -1}", "{}, algorithm.l2: -1.0 is out of bounds; it must be at least 0.0"),
        ("algorithm: {solver: newtn}", "{}, algorithm.solver: 'newtn' is unknown; did you mean 'newton'?"),
        ("engine: {engine: lokal}", "{}, engine.engine: 'lokal' is unknown; did you mean 'local'?"),
        ("data: {target: yes}", "{}, data.target: True is not text; put it in quotes"),
        ("data: a.csv", "{}, data: 'a.csv' is not a section; indent its keys under data:"),
        ("max_rounds: 0", "{}, max_rounds: 0 is out of bounds; it must be at least 1"),
        ("- a", "{}: is not a mapping; write sections data:, algorithm:, engine:"),
        ("a: [1", "{}, line 1: is not YAML: "),
    ],
)
def test_a_mistake_in_a_run_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        run(text=text, folder=tmp_path)
    assert str(error.value).startswith(message.format(tmp_path / "run.yaml"))


def test_a_run_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        conf.read_file(str(tmp_path / "none.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"bytes\.yaml"):
        conf.read_file(str(tmp_path / "bytes.yaml"))


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"MRML_L2": "abc"}, "MRML_L2: 'abc' is not a number"),
        ({"MRML_WORKERS": "0"}, "MRML_WORKERS: 0 is out of bounds; it must be at least 1"),
        ({"MRML_OVERWRITE": "maybe"}, "MRML_OVERWRITE: 'maybe' is not true or false"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        run(environ=environ)
    assert str(error.value) == message


def test_a_variable_that_names_no_option_is_refused_with_the_nearest_name() -> None:
    environ = {"MRML_WORKRES": "2", "MRML_BENCH_DATA": "x", "MRML_L2": "1", "PATH": "/bin"}
    with pytest.raises(ConfigError) as refused:
        conf.refuse_unknown_variables(KNOWN, environ)
    assert str(refused.value) == "environment: unknown variable 'MRML_WORKRES'; did you mean 'MRML_WORKERS'?"
    conf.refuse_unknown_variables(KNOWN, {k: v for k, v in environ.items() if k != "MRML_WORKRES"})


def test_a_repeated_list_is_joined_and_a_list_in_a_later_layer_replaces() -> None:
    settings = run({("data", "features"): ["a,b", "c"]}, {"MRML_FEATURES": "z"})
    assert settings["data", "features"].value == ("a", "b", "c")


def test_a_hyperparameter_named_like_an_option_is_refused() -> None:
    @dataclass(frozen=True)
    class Clash:
        output: str = param("", "clashes")

    with pytest.raises(ConfigError, match="'output' has the name of an option"):
        conf.run_options(Clash)


def test_a_hyperparameter_without_a_default_must_be_given() -> None:
    @dataclass(frozen=True)
    class Needs:
        k: int

    known = conf.options(Needs, "algorithm")
    with pytest.raises(ConfigError, match="algorithm, k: has no default; give --k"):
        conf.resolve(known, {}, {})
    assert conf.resolve(known, {("algorithm", "k"): "3"}, {})["algorithm", "k"].value == 3


@pytest.mark.parametrize(
    ("flag", "environ", "tree", "name"),
    [
        ("linear", {"MRML_ALGORITHM": "poisson"}, {"algorithm": {"name": "kmeans"}}, "linear"),
        (None, {"MRML_ALGORITHM": "poisson"}, {"algorithm": {"name": "kmeans"}}, "poisson"),
        (None, {}, {"algorithm": {"name": "kmeans"}}, "kmeans"),
        (None, {}, {"algorithm": None}, ""),
    ],
)
def test_the_algorithm_follows_the_same_precedence(
    flag: str | None, environ: dict[str, str], tree: dict[str, Any], name: str
) -> None:
    assert conf.algorithm_name(flag, environ, tree) == name
