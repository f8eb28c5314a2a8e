"""mrml.Logistic and the others: classes whose hyperparameters editors, help and type checkers see."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

import mrml
from mrml.algorithms import TABLE
from mrml.api.estimators import ALGORITHMS, class_of, stub
from mrml.cli.parser import load_algorithm
from mrml.config import sources as conf
from mrml.config.given import sections_of
from mrml.errors import ConfigError


def test_the_stub_is_what_make_docs_writes() -> None:
    assert (Path(mrml.__file__).parent / "__init__.pyi").read_text(encoding="utf-8") == stub()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_estimator_is_a_class_that_tells_its_hyperparameters(name: str) -> None:
    cls = getattr(mrml, name)
    assert cls is class_of(name) and name in dir(mrml)
    shown = inspect.signature(cls).parameters
    for option in conf.options(load_algorithm(ALGORITHMS[name]), "algorithm"):
        assert shown[option.name].default == option.default
        assert f"\n{option.name} : " in cls.__doc__ and str(option.field.metadata["help"]) in cls.__doc__
        assert not option.aliases or "other_names" in shown


def test_estimators_are_those_of_the_table_and_travel() -> None:
    assert list(ALGORITHMS.values()) == list(TABLE)
    made = pickle.loads(pickle.dumps(mrml.Boosting(eta=0.2)))
    assert type(made) is mrml.Boosting and made.algorithm == "boosting"
    assert mrml.Logistic(solver="sgd", epochs=2).params == {"solver": "sgd", "epochs": 2}
    logistic: Any = class_of("Logistic")
    with pytest.raises(ConfigError, match="unknown key 'l2_penalty'"):
        logistic(l2_penalty=1.0)


@pytest.mark.parametrize("data", [None, 3, [1, 2], [[1.0, 2.0]], {"x0": [1.0]}])
def test_what_is_no_data_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match="is neither a path nor a table; give paths, a frame"):
        mrml.Logistic().fit(data, target="y")


def test_a_text_for_a_number_is_read_as_on_the_command_line() -> None:
    assert sections_of({"workers": "3", "weight": "w"})[1].workers == 3
    with pytest.raises(ConfigError, match="workers: 'x' is not a whole number"):
        sections_of({"workers": "x"})
