"""One parameter under many names: XGBoost's and LightGBM's are as good as ours, and two at once are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mrml.algorithm import build, hyperparameters
from mrml.algorithms.objectives import library_names as tree_names
from mrml.algorithms.objectives.table import OBJECTIVES, objective_of
from mrml.algorithms.trees.boosting import Boosting
from mrml.cli import main as cli
from mrml.cli.parser import flags
from mrml.config import sources as conf
from mrml.errors import ConfigError

XGBOOST: dict[str, Any] = {
    "objective": "binary:logistic", "eta": 0.3, "num_boost_round": 7, "max_depth": 4, "lambda": 2.0, "alpha": 0.5,
    "gamma": 1.0, "min_child_weight": 3, "subsample": 0.5, "colsample_bytree": 0.8, "grow_policy": "lossguide",
    "max_leaves": 9, "max_bin": 256, "random_state": 4, "early_stopping_rounds": 5,
}  # fmt: skip
LIGHTGBM: dict[str, Any] = {
    "objective": "binary", "shrinkage_rate": 0.3, "num_iterations": 7, "max_depth": 4, "lambda_l2": 2.0,
    "lambda_l1": 0.5, "min_gain_to_split": 1.0, "min_sum_hessian_in_leaf": 3, "bagging_fraction": 0.5,
    "feature_fraction": 0.8, "growth": "leafwise", "num_leaves": 9, "max_bin": 255, "random_seed": 4,
    "early_stopping_round": 5,
}  # fmt: skip
OURS = Boosting(
    objective="logistic", rounds=7, growth="leafwise", max_depth=4, max_leaves=9, learning_rate=0.3, l2=2.0, l1=0.5,
    min_split_gain=1.0, min_child_weight=3, subsample=0.5, colsample_bytree=0.8, seed=4, early_stopping=5,
)  # fmt: skip
RUN = ["train", "boosting", "--data", "d", "--target", "y", "--output", "m"]


def configured(argv: list[str], environ: dict[str, str] | None = None) -> Boosting:
    """The algorithm of a command line."""
    args = cli.parse([*RUN, *argv])
    settings = conf.resolve(args.known, flags(args), environ or {}, args.tree, args.config or "", args.absent)
    found = build(Boosting, conf.run_config(settings).params)
    assert isinstance(found, Boosting)
    return found


@pytest.mark.parametrize("theirs", [XGBOOST, LIGHTGBM], ids=["xgboost", "lightgbm"])
def test_parameters_of_the_libraries_mean_ours_in_python_on_the_command_line_in_files_and_in_the_environment(
    theirs: dict[str, Any], tmp_path: Path
) -> None:
    assert build(Boosting, theirs) == OURS
    assert configured([f"--{k.replace('_', '-')}={v}" for k, v in theirs.items()]) == OURS
    assert configured([f"--{k}={v}" for k, v in theirs.items()]) == OURS
    path = tmp_path / "run.yaml"
    path.write_text("algorithm:\n  name: boosting\n" + "".join(f"  {k}: {v}\n" for k, v in theirs.items()))
    assert configured(["--config", str(path)]) == OURS
    assert configured([], {f"MRML_{k.upper()}": str(v) for k, v in theirs.items()}) == OURS


def test_a_later_layer_wins_whatever_name_it_uses(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("algorithm: {name: boosting, eta: 0.5}\n")
    assert configured(["--config", str(path), "--learning-rate", "0.2"]).learning_rate == 0.2
    assert configured(["--config", str(path)], {"MRML_SHRINKAGE_RATE": "0.4"}).learning_rate == 0.4


def test_two_names_of_one_parameter_at_once_are_refused(tmp_path: Path) -> None:
    said = "the same parameter"
    path = tmp_path / "run.yaml"
    path.write_text("algorithm: {name: boosting, eta: 0.5, learning_rate: 0.1}\n")
    with pytest.raises(ConfigError, match=said):
        build(Boosting, {"eta": 0.1, "learning_rate": 0.1})
    with pytest.raises(ConfigError, match=said):
        configured(["--eta", "0.1", "--learning_rate", "0.2"])
    with pytest.raises(ConfigError, match=said):
        configured([], {"MRML_ETA": "0.1", "MRML_LEARNING_RATE": "0.2"})
    with pytest.raises(ConfigError, match=said):
        configured(["--config", str(path)])


def test_parameters_without_a_counterpart_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("algorithm: {name: boosting, tree_method: hist}\n")
    for argv, said in (
        (["--nthread", "2"], "--workers"),
        (["--scale-pos-weigth", "2"], "scale-pos-weight"),
        (["--n-estimater", "2"], "n-estimators"),
        (["--config", str(path)], "histograms"),
    ):
        with pytest.raises(ConfigError, match=said):
            configured(argv)
    with pytest.raises(ConfigError, match="gbtree"):
        build(Boosting, {"booster": "dart"})
    with pytest.raises(ConfigError, match="did you mean 'eta'"):
        build(Boosting, {"etta": 0.1})
    with pytest.raises(ConfigError, match="'reg:squareerror' is unknown; did you mean 'reg:squarederror'"):
        objective_of("reg:squareerror")


def test_every_other_name_is_one_parameters_alone_and_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    fields = hyperparameters(Boosting)
    aliases = [alias for f in fields.values() for alias in f.metadata["aliases"]]
    assert len(set(aliases)) == len(aliases) and not set(aliases) & {*fields, *tree_names.ABSENT}
    assert not {*fields} & {*tree_names.ABSENT}
    with pytest.raises(SystemExit):
        cli.parse(["train", "boosting", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "also eta, shrinkage_rate" in said and "also lambda, reg_lambda" in said


def test_every_word_for_a_value_means_one_that_is_allowed() -> None:
    for f in dataclasses.fields(Boosting):
        for value in f.metadata["values"].values() if "values" in f.metadata else ():
            assert not f.metadata["choices"] or value in f.metadata["choices"]
            assert f.name != "objective" or value in OBJECTIVES
