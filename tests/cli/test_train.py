"""``mrml train`` and ``mrml config show``: hyperparameters as options, a plan, a summary, origins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml import logs
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError

from .conftest import Below, Done

Cli = Callable[..., Done]
Own = Callable[..., str]
HYPER = {
    "l2": 0.0,
    "solver": "auto",
    "standardise": True,
    "depth": None,
    "rates": (0.5, 0.25),
    "class_weight": None,
}
SUMMARY = {
    "output": "out",
    "rounds": 7,
    "stop": "converged: largest gradient 3e-07",
    "converged": True,
    "seconds": 1.25,
    "n_rows": 2_000_000,
    "bad_rows": 3,
    "metrics": {"auc": 0.9876543, "rmse": None, "n_rows": 1000},
    "valid": {"auc": 0.9, "rmse": None, "n_rows": 100},
}


@pytest.fixture
def train(mrml: Cli, own: Own, below: Below) -> Callable[..., RunConfig]:
    """The configuration that a command line trains with."""
    below.answers["train"] = SUMMARY

    def call(*argv: str) -> RunConfig:
        done = mrml("train", own(), "--data", "d", "--output", "out", *argv)
        assert done.code == 0, done.err
        (_, config, progress) = below.calls[-1]
        assert isinstance(progress, logs.Lines) and isinstance(config, RunConfig)
        return config

    return call


def test_what_is_not_said_is_the_default(train: Callable[..., RunConfig], own: Own) -> None:
    assert train() == RunConfig(algorithm=own(), params=HYPER, data=DataConfig(data=("d",)), output="out")


@pytest.mark.parametrize(
    ("argv", "changed"),
    [
        (["--l2", "1e-4"], {"l2": 1e-4}),
        (["--l2=1e-4"], {"l2": 1e-4}),
        (["--solver", "newton"], {"solver": "newton"}),
        (["--standardise", "false"], {"standardise": False}),
        (["--standardise"], {"standardise": True}),
        (["--depth", "3"], {"depth": 3}),
        (["--rates", "1,2"], {"rates": (1.0, 2.0)}),
        (["--rates", "1", "--rates", "2"], {"rates": (1.0, 2.0)}),
        (["--class-weight", "yes=2,no=1"], {"class_weight": {"yes": 2.0, "no": 1.0}}),
        (["--class_weight", "yes=2"], {"class_weight": {"yes": 2.0}}),
    ],
)
def test_a_hyperparameter_is_an_option(
    train: Callable[..., RunConfig], argv: list[str], changed: dict[str, object]
) -> None:
    assert train(*argv).params == {**HYPER, **changed}


def test_sections_are_options(train: Callable[..., RunConfig]) -> None:
    config = train(
        *("--target", "y", "--features", "a,b", "--exclude", "c", "--weight", "w", "--id", "i", "--group", "g"),
        *("--offset", "o", "--valid", "v", "--schema", "s.yaml", "--engine", "streaming", "-r", "inline"),
        *("--workers", "3", "--max_rounds", "9", "--overwrite", "--strict", "yes", "--data", "e"),
    )
    assert config.data == DataConfig(
        data=("d", "e"), valid=("v",), target="y", weight="w", id="i", group="g", offset="o",
        features=("a", "b"), exclude=("c",), schema="s.yaml",
    )  # fmt: skip
    assert config.engine == EngineConfig(engine="streaming", runner="inline", workers=3)
    assert (config.max_rounds, config.overwrite, config.strict, config.resume) == (9, True, True, False)


def test_what_a_job_asks_of_yarn_has_names_and_any_property_wins(train: Callable[..., RunConfig]) -> None:
    asked = ("--memory-mb", "2048", "--vcores", "2", "--priority", "high", "--gpus-per-task", "2")
    wins = ("-Dmapreduce.map.cpu.vcores=3", "-D", "mapreduce.map.env=A=1,B=2", "--jobconf", "a.b=")
    assert train(*asked, *wins).engine.properties() == {
        "mapreduce.map.memory.mb": "2048", "mapreduce.reduce.memory.mb": "2048", "mapreduce.map.cpu.vcores": "3",
        "mapreduce.reduce.cpu.vcores": "2", "mapreduce.job.priority": "HIGH", 
        "mapreduce.map.resource.yarn.io/gpu": "2", "mapreduce.map.env": "A=1,B=2", "a.b": "",
    }  # fmt: skip
    assert train("--priority", "7").engine.properties() == {"mapreduce.job.priority": "7"}
    for wrong, said in ((("--priority", "urgent"), "'urgent' is unknown"), (("-D", "a.b"), "'a.b' has no value")):
        with pytest.raises(ConfigError, match=said):
            train(*wrong).engine.properties()


def test_a_bare_boolean_takes_no_word_after_it(mrml: Cli, own: Own, below: Below) -> None:
    below.answers["train"] = SUMMARY
    name = own()
    assert mrml("train", "--overwrite", name, "--data", "d", "--output", "o").code == 0
    assert below.calls[-1][1].algorithm == name and below.calls[-1][1].overwrite


@pytest.mark.parametrize("before", [True, False])
def test_the_algorithm_may_stand_before_or_after_its_options(mrml: Cli, own: Own, below: Below, before: bool) -> None:
    below.answers["train"] = SUMMARY
    name, rest = own(), ["--data", "d", "--output", "o", "--l2=0.5"]
    assert mrml("train", *([name, *rest] if before else [*rest, name])).code == 0
    assert below.calls[-1][1].params["l2"] == 0.5


def test_the_help_of_an_algorithm_lists_its_own_hyperparameters(mrml: Cli, own: Own) -> None:
    with_it, without = mrml("train", own(), "--help").out, mrml("train", "--help").out
    assert "--class-weight" in with_it and "Toy does nothing." in with_it
    assert "strength of the penalty (default 0.0)" in with_it
    assert "--secret" not in with_it and "--class-weight" not in without


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--solvr", "newton"], "mrml train: unknown option --solvr; did you mean '--solver'?"),
        (["--solver", "newtn"], "--solver: 'newtn' is unknown; did you mean 'newton'?"),
        (["--l2", "abc"], "--l2: 'abc' is not a number"),
        (["--l2", "-1"], "--l2: -1.0 is out of bounds; it must be at least 0.0"),
        (["--secret", "1"], "mrml train: unknown option --secret"),
        (["--resume", "--overwrite"], "mrml train: --resume and --overwrite exclude each other"),
        (["--output", ""], "mrml train: no output; give --output DIR"),
    ],
)
def test_a_mistake_is_2_and_nothing_runs(mrml: Cli, own: Own, below: Below, argv: list[str], message: str) -> None:
    done = mrml("train", own(), "--data", "d", "--output", "o", *argv)
    assert (done.code, below.calls) == (2, []) and done.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "mrml train: no algorithm; name one of linear, logistic"),
        (["--l2", "1", "--data", "d"], "mrml train: unknown option --l2 and no algorithm; name one of linear"),
        (["logistik"], "algorithm: 'logistik' is unknown; did you mean 'logistic'?"),
        (["no.such:Thing"], "no.such:Thing: cannot be imported: No module named 'no'"),
        (["json:loads"], "json:loads: is not a subclass of mrml.algorithm.Algorithm"),
    ],
)
def test_an_algorithm_that_is_not_there_is_2(mrml: Cli, argv: list[str], message: str) -> None:
    done = mrml("train", *argv)
    assert done.code == 2 and done.err.startswith(f"error: {message}")


def test_a_hyperparameter_may_not_take_the_name_of_an_option(mrml: Cli, own: Own) -> None:
    done = mrml("train", own("Clash", 'target: str = param("", "clashes")'), "--data", "d")
    assert done.code == 2 and "hyperparameter 'target' has the name of an option" in done.err


def test_the_summary_tells_metrics_model_and_next_step(mrml: Cli, own: Own, below: Below) -> None:
    below.answers["train"] = SUMMARY
    name = own()
    allowing = f" --allow-import {name.partition(':')[0]}"
    done = mrml("train", name, "--data", "d", "--valid", "v", "--output", "out")
    assert done.out.splitlines() == [
        f"{name}: 2,000,000 rows, 7 rounds in 1.25 s; converged: largest gradient 3e-07",
        "  metric     train  valid",
        "  auc     0.987654    0.9",
        "  n_rows     1,000    100",
        "  left out: 3 malformed rows",
        "model  out/model.json, out/model.npz",
        f"next   mrml evaluate out --data v{allowing}",
        f"       mrml predict out --data v --output out.predictions{allowing}",
    ]


def test_what_to_run_next_is_quoted_for_the_shell(mrml: Cli, own: Own, below: Below) -> None:
    below.answers["train"] = {**SUMMARY, "output": "mödel ☃"}
    done = mrml("train", own(), "--data", "a b.csv", "--output", "mödel ☃")
    assert "next   mrml evaluate 'mödel ☃' --data 'a b.csv' --allow-import" in done.out
    assert "mrml predict 'mödel ☃' --data 'a b.csv' --output 'mödel ☃.predictions'" in done.out


def test_without_a_target_there_is_nothing_to_evaluate(mrml: Cli, own: Own, below: Below) -> None:
    below.answers["train"] = {**SUMMARY, "metrics": {}, "valid": {}}
    name = own()
    last = mrml("train", name, "--data", "d", "--output", "out").out.splitlines()[-1]
    module = name.partition(":")[0]
    assert last == f"next   mrml predict out --data d --output out.predictions --allow-import {module}"


def test_with_json_the_summary_is_one_object_and_nothing_else(mrml: Cli, own: Own, below: Below) -> None:
    below.answers["train"] = SUMMARY
    done = mrml("train", own(), "--data", "d", "--output", "out", "--json")
    assert json.loads(done.out) == SUMMARY and done.err == ""


def test_a_dry_run_prints_the_plan_and_trains_nothing(mrml: Cli, own: Own, below: Below) -> None:
    plan = {
        "config": {"algorithm": "a", "data": {"target": "y"}},
        "files": [{"name": f"p{i}", "bytes": 10, "blocks": 1} for i in range(22)],
        "n_blocks": 22,
        "n_rows": None,
        "n_bytes": 5 << 20,
        "features": ["f", "g"],
    }
    below.answers["plan"] = plan
    done = mrml("train", own(), "--data", "d", "--dry-run")
    assert done.code == 0 and [c[0] for c in below.calls] == ["plan"]
    for line in (
        "  data.target  y",
        "  p0    train     10       1",
        "  and 10 more",
        "  n blocks  22",
        "  n rows    -",
    ):
        assert line in done.out.splitlines()
    assert "5.0 MiB" in done.out and "f, g" in done.out
    assert json.loads(mrml("train", own(), "--data", "d", "--dry-run", "--json").out) == plan


def test_config_show_tells_every_value_and_its_origin(
    mrml: Cli, own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = own()
    (tmp_path / "run.yaml").write_text(f"algorithm: {{name: '{name}', l2: 0.1, depth: 3}}\ndata: {{data: d}}\n")
    monkeypatch.setenv("MRML_DEPTH", "4")
    done = mrml("config", "show", "--config", "run.yaml", "--workers", "2", "--json")
    shown = json.loads(done.out)
    assert shown["algorithm"]["l2"] == {"value": 0.1, "origin": "run.yaml"}
    assert shown["algorithm"]["depth"] == {"value": 4, "origin": "environment MRML_DEPTH"}
    assert shown["algorithm"]["solver"] == {"value": "auto", "origin": "default"}
    assert shown["engine"]["workers"] == {"value": 2, "origin": "option --workers"}
    assert shown["data"]["data"] == {"value": ["d"], "origin": "run.yaml"}
    assert shown["run"]["algorithm"] == {"value": name, "origin": "run.yaml"}
    assert done.err == ""
    text = mrml("config", "show", name, "--config", "run.yaml").out
    assert f"  algorithm   {name}  option ALGORITHM" in text.splitlines()
    assert "  depth         4          environment MRML_DEPTH" in text.splitlines()
    monkeypatch.setenv("MRML_DEPHT", "4")
    for command in (("config", "show"), ("train",)):
        refused = mrml(*command, name, "--config", "run.yaml")
        message = "error: environment: unknown variable 'MRML_DEPHT'; did you mean 'MRML_DEPTH'?\n"
        assert (refused.code, refused.err) == (2, message)


def test_a_mistake_in_the_run_file_names_file_and_key(mrml: Cli, own: Own, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"algorithm: {{name: '{own()}', l2: abc}}\n")
    done = mrml("train", "--config", str(tmp_path / "run.yaml"))
    assert (done.code, done.err) == (2, f"error: {tmp_path}/run.yaml, algorithm.l2: 'abc' is not a number\n")
