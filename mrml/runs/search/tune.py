"""``mrml tune``: a search among candidates, and the best of them trained on all rows.

``OUTPUT/_run`` holds the search's identity and checkpoints, ``OUTPUT/trials.parquet`` every candidate with its scores,
``OUTPUT/model`` the best one's model, a training run of its own, ``OUTPUT/run.json`` what the search found, and
``_SUCCESS`` comes last.  The same command takes up a search that was stopped, wherever that was.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mrml.algorithm import Algorithm, State, build, load_class
from mrml.algorithms import locate
from mrml.algorithms.search.search import Search
from mrml.config.sections import RunConfig, SearchConfig
from mrml.data.dataset import Dataset
from mrml.engines.base import Engine
from mrml.errors import ConfigError, InputError
from mrml.fs.folder import Folder
from mrml.names import allow
from mrml.runs import manage as runs
from mrml.runs.directory import SUCCESS, RunDirectory, refuse_inputs
from mrml.runs.fit import Checkpoint, fit
from mrml.runs.plan import plan_of
from mrml.runs.progress import Progress, Silent, Watch
from mrml.runs.search.folds import parting_of
from mrml.runs.search.spaces import Space, built, candidates
from mrml.runs.setup import check_here, identity_of, open_training, pipeline_of, roles_of, running
from mrml.runs.train import check_output, train, with_engine

MODEL, TRIALS = "model", "trials.parquet"
#: rounds before which no candidate leaves: one fits the transforms
_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Tuning:
    """What is to be found: ``run`` has the data, the engine, the output and the hyperparameters that stay."""

    run: RunConfig
    search: SearchConfig
    spaces: tuple[Space, ...]

    @property
    def algorithm(self) -> type[Algorithm]:
        """Of all candidates."""
        allow(*self.run.engine.allow_import)
        return _class_of(self.run.algorithm, self.run.params)

    @property
    def folds(self) -> int:
        """Folds to judge by; 0 where rows to validate with do."""
        if self.search.folds is None:
            return 0 if self.run.data.valid else 5
        return self.search.folds


@dataclass(frozen=True)
class Opened:
    """A search with its data: hyperparameters of every candidate, and what trains them."""

    chosen: list[dict[str, Any]]
    dataset: Dataset
    search: Search


def tune(tuning: Tuning, progress: Progress | None = None) -> dict[str, Any]:
    """Search, train the best candidate on all rows, and put the results in place; the summary."""
    run, progress, began = tuning.run, progress or Silent(), time.time()
    if not run.output:
        raise ConfigError("output", "no directory is named", "say --output DIR")
    check_output(run)
    with ExitStack() as held:
        facts = _searched(tuning, held, progress)
        facts["model"] = _trained(tuning, {**run.params, **facts["best"]["params"]})
        facts["seconds"] = time.time() - began
        output = Folder(run.output)
        told = {**facts, "config": dataclasses.asdict(run), "search": dataclasses.asdict(tuning.search)}
        output.write("run.json", json.dumps(told, indent=1, sort_keys=True, default=str).encode() + b"\n")
        output.write(SUCCESS, b"")
    progress.done(facts)
    return facts


def judged(config: RunConfig, chosen: Sequence[Mapping[str, Any]], folds: int) -> dict[str, Any]:
    """``trials``: what :meth:`Standing.results` says of candidates with these hyperparameters, in the order of their
    numbers, over rows whose id is the fold that they are in.  Nothing is kept."""
    allow(*config.engine.allow_import)
    algorithms = [build(_class_of(config.algorithm, params), params) for params in chosen]
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder, running(config.engine, config.data) as engine:
        dataset, _ = open_training(config, algorithms[0])
        for algorithm in algorithms:
            check_here(config, algorithm)
        dataset = dataclasses.replace(dataset, roles=(*dataset.roles, "id"))
        pipelines = tuple(pipeline_of(a, dataset.schema, config.data) for a in algorithms)
        search = Search(pipelines, dataset.schema, folds, by="given")
        _, state = fit(search, dataset, engine, Checkpoint(folder, every_s=math.inf))
    return {"trials": sorted(search.standing(state).results(), key=lambda result: int(result["trial"]))}


def plan(tuning: Tuning) -> dict[str, Any]:
    """What a search would read and do: nothing is written."""
    run, _ = with_engine(tuning.run)
    opened = _opened(tuning)
    search, pipeline = opened.search, opened.search.candidates[0]
    facts = plan_of(dataclasses.replace(run, params={}), opened.dataset, pipeline)
    alone = sum(int(c.expected_rounds()) for c in search.candidates) * search.each
    return {
        **facts,
        "rounds_expected": search.expected_rounds(),
        "candidates": len(search.candidates),
        "folds": search.folds,
        "members": len(search.trainer.members),
        "rungs": list(search.rungs),
        "rounds_one_after_the_other": alone + 2 * len(search.trainer.members),
        "spaces": {space.name: " ".join(map(str, (space.kind, *space.values))) for space in tuning.spaces},
    }


def _class_of(name: str, params: Mapping[str, Any]) -> type[Algorithm]:
    found: type[Algorithm] = load_class(locate(name, params.get("solver")), Algorithm)
    return found


def _opened(tuning: Tuning, engine: Engine | None = None) -> Opened:
    """The candidates over their data, which an engine looks at where folds go by date; ConfigError where they cannot be
    trained side by side."""
    run, config = tuning.run, tuning.search
    params = candidates(config, tuning.spaces)
    algorithms = built(tuning.algorithm, run.params, params)
    dataset, _ = open_training(run, algorithms[0])
    for number, algorithm in enumerate(algorithms):
        check_here(run, algorithm)
        dataset.shards(algorithm.shards)
        if roles_of(algorithm, dataset.schema) != dataset.roles or algorithm.target != algorithms[0].target:
            raise ConfigError(f"trial {number}", "has another kind of target than trial 0", "search them one by one")
    if not tuning.folds and not any(file.part == "valid" for file in dataset.files):
        raise ConfigError("search, folds", "there are no rows to judge by", "say --folds 5, or name some with --valid")
    if algorithms[0].target == "none":
        raise ConfigError("search", f"{run.algorithm} has no target to be judged by", "search among other algorithms")
    parting = parting_of(config, tuning.folds, algorithms[0], dataset, engine)
    pipelines = tuple(pipeline_of(a, dataset.schema, run.data) for a in algorithms)
    search = Search(pipelines, dataset.schema, tuning.folds, metric=config.metric or "", eta=config.eta)
    search = dataclasses.replace(search, rungs=_rungs(config, pipelines))
    if parting is not None:
        dealt = dataclasses.asdict(parting)
        search = dataclasses.replace(search, **{**dealt, "folds": tuning.folds})
    return Opened(params, dataset, search)


def _rungs(config: SearchConfig, pipelines: Sequence[Algorithm]) -> tuple[int, ...]:
    """After how many rounds the worse leave: so many rungs that about one candidate is left at the end, each as many
    times further than the one before as candidates leave there."""
    if config.method != "halving":
        return ()
    rounds = max(int(p.expected_rounds()) for p in pipelines)
    n = int(math.log(len(pipelines)) / math.log(config.eta) + 1e-9)
    found = [math.ceil(rounds / config.eta**k) for k in range(n, 0, -1)]
    return tuple(r for r in dict.fromkeys(found) if r >= _LEAST_ROUNDS)


def _searched(tuning: Tuning, held: ExitStack, progress: Progress) -> dict[str, Any]:
    """Run the search, or what is left of it, under the lease of its directory, which ``held`` keeps; what it found."""
    run, why = with_engine(tuning.run)
    with running(run.engine, run.data) as engine:
        opened = _opened(tuning, engine)
        search, dataset = opened.search, opened.dataset
        refuse_inputs(run.output, [f.path for f in dataset.files])
        directory = RunDirectory(run.output, _identity(tuning, opened), run.resume, run.overwrite, runs.abandon)
        held.enter_context(directory)
        if run.overwrite:
            _clear(directory.output)
        if directory.resumed and not run.engine.on_yarn:
            runs.abandon(directory.id)
        engine.attach(directory.id, directory.output.path)
        told = plan_of(dataclasses.replace(run, params={}), dataset, search.candidates[0], engine, why)
        progress.start({**told, "rounds_expected": search.expected_rounds(), "candidates": len(search.candidates)})
        watch = Watch(engine, search, run.data, run.engine.strict_identity, progress)
        with directory.undone_early():
            _, state = fit(search, dataset, engine, directory.checkpoint, directory.telling(engine, watch))
        results = _results(opened, state)
        directory.output.write(TRIALS, _parquet(results))
        return _facts(tuning, opened, state, results, {"name": engine.name, "workers": engine.workers()})


def _identity(tuning: Tuning, opened: Opened) -> dict[str, Any]:
    """What a search that is taken up must have in common with its beginning."""
    found = identity_of(opened.search.candidates[0], opened.dataset)
    search = {**dataclasses.asdict(tuning.search), "folds": tuning.folds}
    return {**found, "search": search, "candidates": opened.chosen}


def _clear(output: Folder) -> None:
    """Nothing is left of the search that was there: its model is one of ours."""
    for name in (SUCCESS, "run.json", TRIALS):
        output.remove(name)
    if (output / MODEL).exists("_run"):
        output.remove(MODEL)


def _results(opened: Opened, state: State) -> list[dict[str, Any]]:
    """Every candidate, the best first, with its hyperparameters and its score."""
    standing = opened.search.standing(state)
    found = []
    for result in standing.results():
        score = result["metrics"].get(standing.judged_by) or {"mean": None, "std": None}
        told = {"params": opened.chosen[result["trial"]], "score": score["mean"], "std": score["std"]}
        found.append({**result, **told})
    if not standing.ranking:
        first = next((r["stop"] for r in found if r["stop"]), "no candidate has a model")
        raise InputError("search", f"no candidate could be judged; the first: {first}", "mend it, or other spaces")
    return found


def _facts(
    tuning: Tuning, opened: Opened, state: State, results: list[dict[str, Any]], engine: Mapping[str, Any]
) -> dict[str, Any]:
    search = opened.search
    return {
        "algorithm": tuning.run.algorithm,
        "output": tuning.run.output,
        "method": tuning.search.method,
        "metric": search.standing(state).judged_by,
        "folds": search.folds,
        "fold_by": search.by if search.folds else None,
        "candidates": len(search.candidates),
        "rounds": state.round,
        "rungs": list(search.rungs),
        "stop": state.stop,
        "engine": dict(engine),
        "best": results[0],
        "trials": results,
    }


def _parquet(results: Sequence[Mapping[str, Any]]) -> bytes:
    """A row a candidate, the best first: hyperparameters as ``param_NAME``, metrics by name, with ``_std``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = dict.fromkeys(name for result in results for name in result["metrics"])
    rows = []
    for place, result in enumerate(results):
        row = {"rank": place + 1, **{k: result[k] for k in ("trial", "state", "rung", "rounds", "score", "std")}}
        row |= {f"param_{name}": value for name, value in result["params"].items()}
        for name in names:
            told = result["metrics"].get(name) or {}
            row |= {name: told.get("mean"), f"{name}_std": told.get("std"), f"{name}_folds": told.get("folds")}
        rows.append({**row, "stop": result["stop"]})
    out = io.BytesIO()
    pq.write_table(pa.table({name: _column([row[name] for row in rows]) for name in rows[0]}), out)
    return out.getvalue()


def _column(values: list[Any]) -> Any:
    """Values of one type as they are, of several as JSON texts."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([json.dumps(value) for value in values])


def _trained(tuning: Tuning, params: dict[str, Any]) -> dict[str, Any]:
    """Train the best candidate on all rows, or what is left of that; the summary of the run."""
    folder = Folder(tuning.run.output) / MODEL
    done = folder.exists(SUCCESS)
    run = dataclasses.replace(tuning.run, params=params, output=folder.path, resume=done, overwrite=False)
    return train(run)
