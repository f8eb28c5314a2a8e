"""``mrml tune``: a search among candidates, and the best of them trained on all rows.

``OUTPUT/_run`` holds the search's identity and checkpoints, below ``_run/waves`` the candidates and results of waves,
``OUTPUT/trials.parquet`` every candidate with its scores, ``OUTPUT/model`` the best one's model, a training run of its
own, ``OUTPUT/run.json`` what the search found, and ``_SUCCESS`` comes last.  The same command takes up a search that
was stopped, wherever that was.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from mrml.algorithm import State, build
from mrml.algorithms import algorithm_class
from mrml.algorithms.search.parting import Parting
from mrml.algorithms.search.scores import OUT_OF_TIME
from mrml.algorithms.search.search import Search
from mrml.config.sections import RunConfig, SearchConfig
from mrml.engines.base import Engine
from mrml.errors import ConfigError
from mrml.fs.folder import Folder
from mrml.names import allow
from mrml.runs import manage as runs
from mrml.runs.directory import SUCCESS, LeasedCheckpoint, RunDirectory, refuse_inputs
from mrml.runs.fit import Checkpoint, fit
from mrml.runs.plan import plan_of
from mrml.runs.progress import Progress, Silent, Watch
from mrml.runs.search import estimate, table, tpe
from mrml.runs.search.field import Field, Tuning, opened
from mrml.runs.search.folds import parting_of
from mrml.runs.search.wave import Done, Wave
from mrml.runs.search.waves import wave_after
from mrml.runs.setup import check_here, open_training, pipeline_of, running
from mrml.runs.train import check_output, train, with_engine

MODEL, TRIALS, WAVES = "model", "trials.parquet", "waves"


def tune(tuning: Tuning, progress: Progress | None = None) -> dict[str, Any]:
    """Search, train the best candidate on all rows, and put the results in place; the summary."""
    run, progress, began = tuning.run, progress or Silent(), time.time()
    if not run.output:
        raise ConfigError("output", "no directory is named", "use --output DIR")
    check_output(run)
    with ExitStack() as held:
        facts = _searched(tuning, held, progress)
        best = facts["best"]
        facts["model"] = _trained(tuning, {**run.params, **best["params"], **best["refit"]})
        facts["seconds"] = time.time() - began
        output = Folder(run.output)
        told = {**facts, "config": dataclasses.asdict(run), "search": dataclasses.asdict(tuning.search)}
        output.write("run.json", json.dumps(told, indent=1, sort_keys=True, default=str).encode() + b"\n")
        output.write(SUCCESS, b"")
    progress.done(facts)
    return facts


def judged(config: RunConfig, chosen: Sequence[Mapping[str, Any]], folds: int, by: str) -> dict[str, Any]:
    """``trials``: what :meth:`Standing.results` says of candidates with these hyperparameters, in the order of their
    numbers, over rows that are dealt to folds ``by`` one of FOLD_BY, or whose id is the fold that they are in: given.
    Nothing is kept."""
    allow(*config.engine.allow_import)
    algorithms = [build(algorithm_class(config.algorithm, params.get("solver")), params) for params in chosen]
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder, running(config.engine, config.data) as engine:
        dataset, _ = open_training(config, algorithms[0])
        for algorithm in algorithms:
            check_here(config, algorithm)
        parting: Parting | None = Parting(folds, by)
        if by == "given":
            dataset = dataclasses.replace(dataset, roles=(*dataset.roles, "id"))
        else:
            parting = parting_of(SearchConfig(fold_by=by), folds, algorithms[0], dataset, engine)
        if parting is None:
            raise ConfigError("cv", "no folds to judge by", "say cv=5")
        pipelines = tuple(pipeline_of(a, dataset.schema, config.data) for a in algorithms)
        search = Search(pipelines, dataset.schema, **dataclasses.asdict(parting))
        _, state = fit(search, dataset, engine, Checkpoint(folder, every_s=math.inf))
    return {"trials": sorted(search.standing(state).results(), key=lambda result: int(result["trial"]))}


def plan(tuning: Tuning) -> dict[str, Any]:
    """What a search would read and do: nothing is written."""
    run, _ = with_engine(tuning.run)
    field = opened(tuning)
    waves = estimate.waves_of(field)
    searches = [field.search(wave) for wave in waves]
    facts = plan_of(dataclasses.replace(run, params={}), field.dataset, searches[0].candidates[0])
    alone = sum(int(c.expected_rounds()) * s.each for s in searches for c in s.candidates)
    members = sum(len(s.trainer.members) for s in searches)
    return {
        **facts,
        "rounds_expected": sum(s.expected_rounds() for s in searches),
        "candidates": len({trial for wave in waves for trial in wave.trials}),
        "folds": searches[0].folds,
        "members": members,
        "waves": len(waves),
        "rungs": list(searches[0].rungs),
        "rounds_one_after_the_other": alone + 2 * members,
        **estimate.seconds(run, field, searches, facts),
        "spaces": {space.name: " ".join(map(str, (space.kind, *space.values))) for space in tuning.spaces},
    }


def _searched(tuning: Tuning, held: ExitStack, progress: Progress) -> dict[str, Any]:
    """Run the search, or what is left of it, under the lease of its directory, which ``held`` keeps; what it found."""
    run, why = with_engine(tuning.run)
    with running(run.engine, run.data) as engine:
        field = opened(tuning, engine)
        search, dataset = field.search(field.first), field.dataset
        refuse_inputs(run.output, [f.path for f in dataset.files])
        directory = RunDirectory(run.output, field.identity(), run.resume, run.overwrite, runs.abandon)
        held.enter_context(directory)
        if run.overwrite:
            _clear(directory.output)
        if directory.resumed and not run.engine.on_yarn:
            runs.abandon(directory.id)
        engine.attach(directory.id, directory.output.path)
        told = plan_of(dataclasses.replace(run, params={}), dataset, search.candidates[0], engine, why)
        progress.start({**told, "rounds_expected": search.expected_rounds(), "candidates": len(search.candidates)})
        with directory.undone_early():
            waves = _Waves(field, directory, engine, progress)
            done = waves.all(search)
        results = table.merged(tuning.search, done)
        directory.output.write(TRIALS, table.parquet(results))
        return waves.facts(search, results)


class _Waves:
    """The waves of a search, one after the other; each leaves its results in the run directory."""

    def __init__(self, field: Field, directory: RunDirectory, engine: Engine, progress: Progress) -> None:
        self.field, self.directory, self.engine, self.progress = field, directory, engine, progress
        self.folder = directory.folder / WAVES
        self.rounds = self.count = 0
        self.left_out = False
        self.seconds = 0.0

    def all(self, search: Search) -> list[Done]:
        """Every wave with its results; ``search`` is that of the first."""
        config, spaces = self.field.tuning.search, self.field.tuning.spaces
        found: list[Done] = []
        after: Wave | None = self.field.first
        while after is not None:
            number = len(found)
            wave = self._kept(after, number)
            found.append(Done(wave, self._results(wave, number, None if number else search)))
            after = wave_after(config, spaces, found)
            if after is not None and config.max_seconds is not None and self.seconds >= config.max_seconds:
                after, self.left_out = None, True
        self.count = len(found)
        return found

    def _kept(self, wave: Wave, number: int) -> Wave:
        """The wave as it was begun; where it was not, it is kept before it begins.  Of any other than what TPE chose
        nothing needs to be known."""
        if not wave.drawn:
            return wave
        name = f"{number:03d}.begun.json"
        if self.folder.exists(name):
            drawn = self.folder.read_json(name)["drawn"]
            params = tpe.params_of(self.field.tuning.spaces, drawn)
            return dataclasses.replace(wave, drawn=tuple(drawn), params=tuple(params))
        self._write(name, wave.to_json())
        return wave

    def _results(self, wave: Wave, number: int, search: Search | None) -> list[table.Result]:
        """What a wave found, from its own record where it is over; else it is run, or what is left of it."""
        name = f"{number:03d}.json"
        if not self.folder.exists(name):
            search = search or self.field.search(wave)
            state = self._run(search, number)
            results = table.results_of(wave, search, state)
            if wave.share < 1.0:
                results = [{**r, "share": wave.share} for r in results]
            self._write(name, {"results": results, "rounds": state.round, "seconds": self.seconds})
            (self.folder / f"{number:03d}").remove()
        told = self.folder.read_json(name)
        self.rounds, self.seconds = self.rounds + told["rounds"], told["seconds"]
        found: list[table.Result] = told["results"]
        return found

    def _run(self, search: Search, number: int) -> State:
        run, directory = self.field.tuning.run, self.directory
        checkpoint: Checkpoint = directory.checkpoint
        if number:
            checkpoint = LeasedCheckpoint((self.folder / f"{number:03d}").path, directory.lease)
        watch = Watch(self.engine, search, run.data, run.engine.strict_identity, self.progress)
        told = directory.telling(self.engine, watch)
        clock = _Clock(search, self.field.tuning.search.max_seconds, self.seconds)
        _, state = fit(search, self.field.dataset, self.engine, checkpoint, told, turn=clock)
        self.seconds = clock.spent(state)
        return state

    def _write(self, name: str, told: Mapping[str, Any]) -> None:
        self.directory.lease.check()
        self.folder.make()
        self.folder.write(name, json.dumps(told, sort_keys=True).encode() + b"\n", sync=True)

    def facts(self, search: Search, results: Sequence[table.Result]) -> dict[str, Any]:
        """What the search found."""
        tuning = self.field.tuning
        late = self.left_out or any(r["state"] == OUT_OF_TIME for r in results)
        why = f" by what they learned in {tuning.search.max_seconds:g} s" if late else ""
        return {
            "algorithm": tuning.run.algorithm,
            "output": tuning.run.output,
            "method": tuning.search.method,
            "metric": results[0]["judged_by"],
            "folds": search.folds,
            "fold_by": search.by if search.folds else None,
            "candidates": len(results),
            "rounds": self.rounds,
            "rungs": list(search.rungs),
            "waves": self.count,
            "stop": f"{len(results)} candidates are judged{why}; the best is {results[0]['trial']}",
            "out_of_time": late,
            "engine": {"name": self.engine.name, "workers": self.engine.workers()},
            "best": results[0],
            "trials": list(results),
        }


class _Clock:
    """Ends training where a search has taken its seconds; those lie in its State, so that one that is taken up has what
    is left of them.  Without a limit nothing is noted, and a State depends on no clock."""

    def __init__(self, search: Search, limit: float | None, before: float) -> None:
        self.search, self.limit, self.before, self.last = search, limit, before, time.monotonic()

    def __call__(self, state: State) -> State:
        if self.limit is None:
            return state
        now = time.monotonic()
        seconds = self.spent(state) + now - self.last
        self.last = now
        state = dataclasses.replace(state, params={**state.params, "seconds": seconds})
        why = f"the search has taken {self.limit:g} s"
        return self.search.hurried(state, why) if seconds >= self.limit else state

    def spent(self, state: State) -> float:
        """Seconds that are noted in a State, those of the waves before it included."""
        return float(state.params.get("seconds", self.before))


def _clear(output: Folder) -> None:
    """Nothing is left of the search that was there: its model is one of ours."""
    for name in (SUCCESS, "run.json", TRIALS):
        output.remove(name)
    if (output / MODEL).exists("_run"):
        output.remove(MODEL)


def _trained(tuning: Tuning, params: dict[str, Any]) -> dict[str, Any]:
    """Train the best candidate on all rows, or what is left of that; the summary of the run."""
    folder = Folder(tuning.run.output) / MODEL
    done = folder.exists(SUCCESS)
    run = dataclasses.replace(tuning.run, params=params, output=folder.path, resume=done, overwrite=False)
    return train(run)
