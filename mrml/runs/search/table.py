"""What a search found: candidates, the best first, and ``trials.parquet``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrml.algorithm import State
from mrml.algorithms.search.scores import place
from mrml.algorithms.search.search import Search
from mrml.config.sections import SearchConfig
from mrml.errors import InputError
from mrml.runs.search.wave import Done, Wave
from mrml.runs.search.waves import by_rows

Result = dict[str, Any]


def results_of(wave: Wave, search: Search, state: State) -> list[Result]:
    """Every candidate of a wave, the best first: what :meth:`Standing.results` says, its ``score`` and ``std`` by the
    metric that decides, ``judged_by``, and ``refit``, what else it is trained with on all rows."""
    standing = search.standing(state)
    found = []
    for result in standing.results():
        own = int(result["trial"])
        score = result["metrics"].get(standing.judged_by) or {"mean": None, "std": None}
        told = {"trial": wave.trials[own], "score": score["mean"], "std": score["std"]}
        refit = {} if result["state"] == "failed" else search.refit_with(state, own)
        found.append({**result, **told, "judged_by": standing.judged_by, "refit": refit})
    plain: list[Result] = json.loads(json.dumps(found))  # as one that is taken up reads them
    return plain


def merged(config: SearchConfig, done: Sequence[Done]) -> list[Result]:
    """Every candidate of all waves with its hyperparameters, the best first; of each what the last of its waves found.
    InputError where none has a model that may be the best."""
    last: dict[int, Result] = {}
    for level, one in enumerate(done):
        params = dict(zip(one.wave.trials, one.wave.params, strict=True))
        for result in one.results:
            own = {**result, "params": dict(params[result["trial"]])}
            last[result["trial"]] = {**own, "rung": level} if by_rows(config) else own
    found = list(last.values())
    if by_rows(config):
        here = set(done[-1].wave.trials)
        found = [r if r["trial"] in here or r["state"] != "done" else {**r, "state": "left"} for r in found]
    if len(done) > 1:
        found.sort(key=_place)
    _check_best(config, found)
    return found


def _place(result: Result) -> tuple[Any, ...]:
    large = result["state"] == "too large"
    judged = place(result["judged_by"], result["trial"], result["score"], result["rung"], large)
    return (result["score"] is None, *judged)


def _check_best(config: SearchConfig, results: Sequence[Result]) -> None:
    best = results[0]
    if best["score"] is None:
        first = next((r["stop"] for r in results if r["stop"]), "no candidate has a model")
        raise InputError("search", f"no candidate could be judged; the first: {first}", "fix that, or use other spaces")
    if best["state"] == "too large":
        least = min(r["bytes"] for r in results if r.get("bytes"))
        finding = f"no candidate's model has at most {config.max_model_bytes:,} bytes; the smallest has {least:,}"
        raise InputError("search, max_model_bytes", finding, "raise it, or search among smaller models")


def parquet(results: Sequence[Mapping[str, Any]]) -> bytes:
    """A row a candidate, the best first: hyperparameters as ``param_NAME``, metrics by name, with ``_std``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = dict.fromkeys(name for result in results for name in result["metrics"])
    more = [name for name in ("bytes", "share") if any(name in result for result in results)]
    rows = []
    for rank, result in enumerate(results):
        row = {"rank": rank + 1, **{k: result[k] for k in ("trial", "state", "rung", "rounds", "score", "std")}}
        row |= {name: result.get(name) for name in more}
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
