"""Candidates that the tree-structured Parzen estimator of Optuna chooses by the scores of those before them.

Optuna keeps nothing: its study is made anew, in memory, of what the run directory knows, and its sampler begins with a
seed that depends on how many candidates there were.  So a search that was killed goes on with the same ones.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mrml.algorithms.evaluation.parts import RISING
from mrml.config.sections import SearchConfig
from mrml.errors import ConfigError
from mrml.runs.search.spaces import Space
from mrml.runs.search.wave import Done

#: candidates that are drawn at random before scores say anything, as of Optuna
STARTUP = 10
#: how often another candidate is asked for where one was there before
_TRIES = 50


def version() -> str:
    """Of Optuna; ConfigError where it is not installed."""
    return str(_optuna().__version__)


def suggested(
    config: SearchConfig, spaces: Sequence[Space], done: Sequence[Done], n: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``n`` candidates that were not there before, fewer where there are no more: as Optuna knows them, and their
    hyperparameters."""
    optuna = _optuna()
    before = [dict(drawn) for d in done for drawn in d.wave.drawn]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Optuna 5 has another way too, Optuna 4 only this one
        sampler = optuna.samplers.TPESampler(
            seed=(config.seed * 1_000_003 + len(before)) % (1 << 32),
            n_startup_trials=STARTUP,
            constant_liar=True,  # candidates of a wave keep away from each other
            constraints_func=_constraints if config.max_model_bytes else None,
        )
    study = optuna.create_study(sampler=sampler, storage=optuna.storages.InMemoryStorage())
    where = {space.name: _distribution(optuna, space) for space in spaces}
    for trial in _known(optuna, config, where, done):
        study.add_trial(trial)
    found: list[dict[str, Any]] = []
    seen = {repr(drawn) for drawn in before}
    for _ in range(n + _TRIES):
        drawn = dict(study.ask(where).params)
        if len(found) < n and repr(drawn) not in seen:
            seen.add(repr(drawn))
            found.append(drawn)
        if len(found) == n:
            break
    return found, params_of(spaces, found)


def params_of(spaces: Sequence[Space], drawn: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The hyperparameters of candidates as Optuna knows them."""
    return [{s.name: s.values[d[s.name]] if s.kind == "of" else d[s.name] for s in spaces} for d in drawn]


def _known(optuna: Any, config: SearchConfig, where: Mapping[str, Any], done: Sequence[Done]) -> list[Any]:
    """What was found, as trials of which a smaller value is better."""
    found = []
    for one in done:
        told = {int(r["trial"]): r for r in one.results}
        for number, drawn in zip(one.wave.trials, one.wave.drawn, strict=True):
            result = told[number]
            more: dict[str, Any] = {"params": dict(drawn), "distributions": dict(where)}
            if result["score"] is None:
                more["state"] = optuna.trial.TrialState.FAIL
            else:
                more["value"] = -result["score"] if result["judged_by"] in RISING else result["score"]
                over = float(result.get("bytes") or 0) - config.max_model_bytes
                more["system_attrs"] = {"constraints": (over,)} if config.max_model_bytes else {}
            found.append(optuna.trial.create_trial(**more))
    return found


def _constraints(trial: Any) -> Sequence[float]:
    found: Sequence[float] = trial.system_attrs.get("constraints", (0.0,))
    return found


def _distribution(optuna: Any, space: Space) -> Any:
    """Where the values of a space lie; those of a list by their places, since they may be of any kind."""
    of = optuna.distributions
    if space.kind == "of":
        return of.CategoricalDistribution(tuple(range(len(space.values))))
    low, high = space.values
    kind = of.IntDistribution if space.whole else of.FloatDistribution
    return kind(low, high, log=space.kind == "log")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("search, method", "tpe needs Optuna", "pip install 'mrml[search]', or use random") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").propagate = False
    return optuna
