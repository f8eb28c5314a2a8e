"""What a report tells, read from what a run has left."""

from __future__ import annotations

import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from mrml import logs
from mrml.config.sections import DataConfig
from mrml.config.sources import flag_of
from mrml.config.steps import STEPS
from mrml.errors import InputError, MrmlError
from mrml.fs.folder import Folder
from mrml.runs import train as runs
from mrml.runs.batch.records import BEGUN, FOLDER, MODEL, Records

#: columns of the drift table without a finding that are shown
_MOST_COLUMNS = 30
#: rounds of the training that are shown
_MOST_ROUNDS = 20
#: options that are said once for each of their items
_WHOLE = {f.name for f in fields(DataConfig) if f.metadata.get("whole")}
_PATHS = {"data": "data", "validation": "valid"}


def of_run(place: str) -> dict[str, Any]:
    """Of a training run, or of a run of steps; InputError where there is neither."""
    folder = Folder(place)
    records = Records(folder / FOLDER)
    if begun := records.get(BEGUN):
        steps = {name: record for name in STEPS if (record := records.get(name))}
        return _facts(folder, folder / MODEL, steps, begun)
    if folder.exists("run.json"):
        return _facts(folder, folder, {}, {})
    raise InputError(place, "has no run", "give the --output of `mrml train`, or the directory of a `mrml run`")


def _facts(folder: Folder, model: Folder, steps: dict[str, Any], begun: Mapping[str, Any]) -> dict[str, Any]:
    run = model.read_json("run.json") if model.exists("run.json") else {}
    evaluated = steps.get("evaluate", {})
    own = evaluated.get("metrics") or run.get("valid") or run.get("metrics") or {}
    return {
        "title": folder.name, "directory": folder.path, "run": begun.get("run", ""),
        "when": begun.get("began") or run.get("began", ""), "verdict": _verdict(steps, run),
        "errors": [s["error"] for s in steps.values() if "error" in s],
        "steps": [(name, s["outcome"], logs.seconds(s["seconds"])) for name, s in steps.items()],
        "clauses": steps.get("gate", {}).get("clauses", []),
        "metrics": _metrics(own, evaluated.get("comparison", {}).get("metrics", {})),
        "on": "the rows of the evaluation" if evaluated else "validation rows" if run.get("valid") else "training rows",
        "compared": bool(evaluated.get("comparison")), "curves": evaluated.get("curves", {}),
        "drift": _drift(steps.get("validate", {})), "validated": steps.get("validate", {}),
        "coefficients": told(steps.get("train", {}).get("coefficients", [])),
        "losses": losses(run), "weights": weights(model),
        "notes": [*run.get("notes", []), *evaluated.get("notes", [])],
        "phases": _phases(run, steps), "rounds": _rounds(run), "splits": _splits(run),
        "lineage": _lineage(run, steps, begun), "command": begun.get("command") or _command(run),
    }  # fmt: skip


def _verdict(steps: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, str]:
    """What became of it, and whether that is good, bad or neither."""
    failed = next((name for name, s in steps.items() if s["outcome"] == "failed"), None)
    if failed:
        return f"{failed} failed", "bad"
    if steps.get("gate", {}).get("outcome") == "refused":
        return "refused by the gate", "bad"
    if steps.get("promote", {}).get("outcome") == "done":
        return f"version {steps['promote']['version']} is in service", "good"
    if run and not run.get("converged", True):
        return "stopped before it converged", "bad"
    return ("done", "good") if run else ("nothing is trained", "bad")


def _metrics(own: Mapping[str, Any], compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, value in own.items():
        if isinstance(value, int | float) and name not in ("rows", "weight"):
            rows.append({"name": name, "value": logs.number(value), **_compared(compared.get(name))})
    return rows


def _compared(about: Mapping[str, Any] | None) -> dict[str, str]:
    if about is None:
        return {}
    found = {"champion": logs.number(about["first"]), "difference": logs.number(about["difference"])}
    if "low" in about:
        found["interval"] = f"{logs.number(about['low'])} to {logs.number(about['high'])}"
        found["word"] = {True: "better", False: "worse", None: "may be chance"}[about["better"]]
    return found


def _drift(validated: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs first, then the rest as far as it is shown."""
    columns = sorted(validated.get("columns", []), key=lambda c: (not c["failures"], -(c["psi"] or 0.0)))
    kept = [c for i, c in enumerate(columns) if c["shifted"] or i < _MOST_COLUMNS]
    figures = ("psi", "missing", "missing_before", "unseen", "out_of_range")
    return [
        {"column": c["column"], "failures": "; ".join(c["failures"]) or ("shifted" if c["shifted"] else ""),
         **{name: "" if c[name] is None else f"{c[name]:.4f}" for name in figures}}
        for c in kept
    ]  # fmt: skip


def losses(run: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Of each round that has a loss."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for facts in run.get("history", []):
        for key, name in (("loss", "training"), ("valid_loss", "validation")):
            if isinstance(facts.get(key), int | float):
                x, y = found.setdefault(name, ([], []))
                x.append(facts["round"])
                y.append(facts[key])
    return found


def weights(model: Folder) -> dict[str, Any]:
    """What the columns are worth to the model: the gain of trees, or coefficients times the columns' spread."""
    try:
        facts = runs.inspect(model.path)
    except (MrmlError, OSError):  # there is none, or its own code is not here
        return {}
    if "importance" in facts:
        gain = facts["importance"]["gain"]
        total = sum(gain.values()) or 1.0
        return {"title": "Share of the gain of all splits", "values": {n: g / total for n, g in gain.items()}}
    one = {name: c[0] for name, c in facts.get("coefficients", {}).items() if len(c) == 1}
    scale = runs.load_model(model.path).fitted.design.scale if one else None
    if scale is None:
        return {"title": "Coefficients", "values": one} if one else {}
    values = {name: c * s for (name, c), s in zip(one.items(), scale, strict=True)}
    return {"title": "Coefficients, for one standard deviation of a column", "values": values}


def told(coefficients: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Name, coefficient, error, z and p; the surest first, the intercept last."""
    last = [row for row in coefficients if row["name"] == "intercept"]
    rows = sorted((row for row in coefficients if row not in last), key=lambda row: -abs(row["z"] or 0.0))
    figures = ("coefficient", "standard_error", "z", "p")
    shown = [*rows[:_MOST_COLUMNS], *last]
    return [(row["name"], *("" if row[f] is None else f"{row[f]:.4g}" for f in figures)) for row in shown]


def _phases(run: Mapping[str, Any], steps: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Seconds of each phase by step."""
    found = [(name, s["seconds_in"]) for name, s in steps.items() if s.get("seconds_in")]
    return found or ([("train", run["seconds_in"])] if run.get("seconds_in") else [])


def _rounds(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the training's rounds, where there are many of those that took longest: seconds, of each phase too, and what
    was sent up."""
    timed = [facts for facts in run.get("history", []) if facts.get("seconds_in")]
    longest = sorted(timed, key=lambda facts: -facts["seconds"])[:_MOST_ROUNDS]
    return [
        {"round": f["round"], "seconds": f["seconds"], "in": f["seconds_in"],
         "up": logs.size(f["bytes_up"]) if "bytes_up" in f else ""}
        for f in timed if f in longest
    ]  # fmt: skip


def _splits(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**split, "seconds": logs.seconds(split["seconds"])} for split in run.get("slowest_splits", [])]


def _lineage(run: Mapping[str, Any], steps: Mapping[str, Any], begun: Mapping[str, Any]) -> dict[str, Any]:
    """Where it came from: configuration, inputs, builds, the model before."""
    config, inputs = run.get("config", {}), begun.get("inputs", [])
    told: dict[str, Any] = {"algorithm": run.get("algorithm"), "rows": run.get("n_rows"), "engine": None}
    told |= {"rounds": run.get("rounds"), "stop": run.get("stop")}
    if run.get("engine"):
        told["engine"] = f"{run['engine']['name']}, {logs.count(run['engine']['workers'], 'worker')}"
    if inputs:
        told["inputs"] = f"{logs.count(len(inputs), 'file')}, {logs.size(sum(size for _, size, _ in inputs))}"
    champion = begun.get("champion")
    told["compared with"] = f"version {champion['version']}" if champion else None
    told |= {name: ", ".join(config.get("data", {}).get(key) or []) for name, key in _PATHS.items()}
    told |= {k: f"{v:g}" if isinstance(v, float) else v for k, v in config.get("params", {}).items()}
    told |= {f"version of {name}": version for name, version in run.get("versions", {}).items()}
    return {k: v for k, v in told.items() if v not in (None, "", [], ())} | {"host": run.get("host", platform.node())}


def _command(run: Mapping[str, Any]) -> str:
    """The command that trains the same: every hyperparameter, and of the data what is no default."""
    config = run.get("config", {})
    if not config:
        return ""
    words = ["mrml", "train", config["algorithm"]]
    usual = {f.name: list(f.default) if isinstance(f.default, tuple) else f.default for f in fields(DataConfig)}
    data = {name: value for name, value in config.get("data", {}).items() if value != usual.get(name)}
    for name, value in {**config.get("params", {}), **data}.items():
        if value not in (None, "", [], {}):
            words += [f"{flag_of(name)}={text}" for text in _texts(name, value)]
    return shlex.join([*words, f"--output={config['output']}"])


def _texts(name: str, value: Any) -> list[str]:
    """What to write behind an option, once or, of lists whose items may hold commas, each of them."""
    if isinstance(value, dict):
        return [",".join(f"{_item(k)}={v}" for k, v in value.items())]
    if isinstance(value, list):
        items = [str(v) if name in _WHOLE else _item(v) for v in value]
        return items if name in _WHOLE else [",".join(items)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def _item(value: Any) -> str:
    """An item of a list; commas in braces are part of it already."""
    return str(value) if "{" in str(value) else str(value).replace(",", "\\,")


def now() -> str:
    """The moment a page is made."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
