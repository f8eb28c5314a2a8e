"""Whether rows are like those that a model was trained on, or as a schema file says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mrml.algorithms.evaluation.describe import Describe
from mrml.config.sections import DataConfig
from mrml.config.steps import Limits
from mrml.data.files import File, discover
from mrml.data.inference.infer import load_yaml
from mrml.data.inference.sniff import first_with_text
from mrml.data.open import for_other_files, names_of, open_dataset, read_text
from mrml.errors import ConfigError, InputError, nearest
from mrml.fs.folder import Folder
from mrml.runs.batch.drift import drifts, edges_of
from mrml.runs.progress import Progress
from mrml.runs.setup import On
from mrml.runs.store import resolved
from mrml.runs.train import found_by, load_model
from mrml.schema import Column, Schema

PROFILE = "profile.json"
#: roles whose columns are told of where the rows have them
_TOLD = ("target", "weight", "offset")
_ANY_NUMBER = 1 << 62
#: a moment and its distance from UTC
_MOMENT = r"(.+?)(?:Z|([+-])(\d\d):?(\d\d))?"


@dataclasses.dataclass(frozen=True)
class Before:
    """What rows are compared with: ``name`` for people, the schema that they are read by, and a profile of it."""

    name: str
    schema: Schema
    profile: Mapping[str, Any]


def validate(
    data: DataConfig,
    engine: On,
    before: Before | None,
    limits: Limits,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How the rows differ from those before; the profile of them too, so that the next can be compared with it.

    Raises
    ------
    InputError
        A limit is passed; ``facts`` is what would have been returned.
    """
    profile, counts = describe(data, engine, before, progress)
    for name in limits.unjudged:
        if name not in profile["columns"]:
            finding = f"column {name!r} is none of those that are compared"
            raise ConfigError("validate, unjudged", finding, nearest(name, profile["columns"]))
    found = drifts(before.profile, profile, limits) if before else []
    failures = [f"{d.column}: {', '.join(d.failures)}" for d in found if d.failures]
    n_records = profile["n_rows"] + counts["bad_rows"]
    if counts["bad_rows"] > limits.bad_rows * n_records:
        failures.append(f"{counts['bad_rows']} of {n_records} rows are malformed: {'; '.join(counts['problems'][:1])}")
    if profile["n_rows"] < limits.min_rows:
        failures.append(f"{profile['n_rows']} rows, fewer than {limits.min_rows}")
    facts = {
        "against": before.name if before else None, "n_rows": profile["n_rows"], "bad_rows": counts["bad_rows"],
        "problems": counts["problems"], "columns": [dataclasses.asdict(d) for d in found], "failures": failures,
        "profile": profile,
    }  # fmt: skip
    if failures:
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        remedy = "look at what made these rows, or allow more: psi, unseen, missing, out_of_range, bad_rows, min_rows"
        error = InputError(", ".join(data.data), "; ".join(failures[:3]) + more, remedy)
        error.facts = facts
        raise error
    return facts


def describe(
    data: DataConfig, engine: On, before: Before | None, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The profile of rows, and what was counted on the way; malformed rows are left out."""
    data = dataclasses.replace(data, bad_rows="skip", max_bad_rows=_ANY_NUMBER, valid=())
    files = discover(data.data)
    schema = for_other_files(before.schema, files, data) if before else open_dataset(data).schema
    if schema.sparse:
        remedy = "validate files with column names (CSV, JSON lines, Parquet)"
        raise ConfigError(", ".join(data.data), "LibSVM rows have no named columns to compare", remedy)
    told = _all_features(schema, files)
    dataset = open_dataset(data, told, ("feature",))
    numeric = told.features("numeric")
    known = before.profile["columns"] if before else {}
    against = tuple(tuple(edges_of(known.get(c.name, {}))) for c in numeric) if before else ()
    return found_by(Describe(schema=dataset.schema, against=against), dataset, engine, data, progress)


def _all_features(schema: Schema, files: Sequence[File]) -> Schema:
    """The schema with all that can be compared as a feature: what the rows must have, and what they may."""
    there = names_of(first_with_text(files), schema.format)

    def told(column: Column) -> Column:
        is_told = column.role == "feature" or (column.role in _TOLD and column.name in there)
        return dataclasses.replace(column, role="feature" if is_told and column.kind != "text" else "ignore")

    return dataclasses.replace(schema, columns=tuple(map(told, schema.columns)), design=None)


# ---- what they are compared with


def before_of(against: str, data: DataConfig, engine: On) -> Before:
    """A schema file, a model or a store of them, or rows.

    Raises
    ------
    InputError
        It is a model that has no profile, and the rows that it was trained on are no longer what they were.
    """
    if against.endswith((".yaml", ".yml")):
        return _of_schema(against)
    folder = Folder(resolved(against))
    if folder.exists("model.json"):
        return _of_model(against, folder, engine)
    rows = dataclasses.replace(data, data=(against,), valid=())
    schema = open_dataset(rows).schema
    profile, _ = describe(rows, engine, Before(against, schema, {"n_rows": 0, "columns": {}}))
    return Before(against, schema, profile)


def _of_model(name: str, folder: Folder, engine: On) -> Before:
    schema = load_model(folder.path).schema
    if folder.exists(PROFILE):
        return Before(name, schema, folder.read_json(PROFILE))
    data = _training_data(folder)
    if data is None:
        finding = "has no profile, and the rows that it was trained on are not there as they were"
        raise InputError(name, finding, "compare with rows: --against DATA; `mrml run` with validate keeps a profile")
    profile, _ = describe(data, engine, Before(name, schema, {"n_rows": 0, "columns": {}}))
    return Before(name, schema, profile)


def _training_data(folder: Folder) -> DataConfig | None:
    """The rows that a model was trained on, where they have the names and sizes that they had."""
    if not (folder.exists("run.json") and (folder / "_run").exists("identity.json")):
        return None
    config = folder.read_json("run.json")["config"]["data"]
    known = {f.name for f in dataclasses.fields(DataConfig)}
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in known}
    data = DataConfig(**fields)
    inputs = (folder / "_run").read_json("identity.json")["inputs"]
    try:
        now = [[f.name, f.size] for f in discover(data.data)]
    except InputError:
        return None
    return data if now == [[name, size] for part, name, size in inputs if part == "train"] else None


def _of_schema(path: str) -> Before:
    """A schema file: kinds, and of what was observed ranges, shares of nulls and levels where they are all there."""
    import yaml

    text = read_text(path)
    schema = load_yaml(text, path)
    try:
        observed = (yaml.safe_load(text) or {}).get("observed") or {}
        columns = {c.name: _observed(c, (observed.get("columns") or {}).get(c.name) or {}) for c in schema.columns}
        n_rows = int(observed.get("rows", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}, observed", f"cannot be read: {error}", "write it again with `mrml schema`"
        ) from error
    return Before(path, schema, {"n_rows": n_rows, "columns": columns})


def _observed(column: Column, about: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": column.kind, "nulls": about.get("nulls")}
    if column.kind == "numeric" and "range" in about:
        low, high = (_as_number(value, column.source) for value in about["range"])
        found["range"] = [low, high]
    if column.kind == "categorical":
        top = {str(k): n for k, n in (about.get("top") or {}).items()}
        found |= {"levels": top if top and about.get("distinct") == len(top) else None, "rest": 0}
    return found


def _as_number(value: Any, source: str) -> float:
    """A bound as blocks hold it: days of a date, seconds of a time."""
    if isinstance(value, int | float):
        return float(value)
    import numpy as np

    moment, sign, hours, minutes = re.fullmatch(_MOMENT, str(value)).groups()  # type: ignore[union-attr]
    found = float((np.datetime64(moment) - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
    found -= int(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60) if sign else 0
    return found / 86400 if source.startswith("date") else found
