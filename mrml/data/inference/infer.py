"""The schema of files nobody has described: kinds, roles and storage from a sample, printed as editable YAML.

Floor 2, the driver's side only.  At most 64 MB of an input are read, spread over its first 16 files; full levels and
counts come from the transform round.  What is inferred is written down in full, so that a user who disagrees edits a
line instead of guessing an option.

Rules: numbers, truths, dates, times and decimals are numeric.  Strings are categorical up to 1,000 levels or half as
many levels as rows; otherwise they are left out with a note, as an id or as text of several words.  A column without
values is left out with a note, a constant one is kept with one.  A target of strings or truths is categorical.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mrml.config.sections import DataConfig
from mrml.data.files import File, below_inputs, discover
from mrml.data.formats import parquet
from mrml.data.formats.texts import arrow_type
from mrml.data.inference import odd, samples
from mrml.data.inference.notes import index_columns, notes_that_matter
from mrml.data.inference.profile import ALL, Observed, Profile
from mrml.data.inference.sniff import SINGLE_ROLES, named, sniff
from mrml.data.without_pandas import keep_pandas_out
from mrml.errors import ConfigError, InputError
from mrml.schema import Column, Format, Schema

_LIBSVM_ROLES = {"label": "target", "weight": "weight", "qid": "group"}


@dataclass(frozen=True)
class Report:
    """What the sample held: ``rows``, ``n_bytes`` and ``files`` read, malformed ``bad_lines``, and each column.

    ``matter`` are the sentences that a training run tells.
    """

    rows: int = 0
    n_bytes: int = 0
    files: int = 0
    bad_lines: int = 0
    columns: tuple[Observed, ...] = ()
    notes: tuple[str, ...] = ()
    matter: tuple[str, ...] = ()


def infer(paths: Sequence[str], config: DataConfig) -> tuple[Schema, Report]:
    """Schema and report of some files, directories and globs."""
    keep_pandas_out()
    files = below_inputs(discover(paths), named(config))
    format_ = sniff(files, config, named(config))
    schema, report = infer_files(files, config, format_, parquet.footers(files) if format_.name == "parquet" else ())
    if report.bad_lines and not report.rows:
        raise odd.no_rows(files, report.bad_lines, schema.format, config.window_bytes)
    return schema, report


def infer_files(
    files: Sequence[File], config: DataConfig, format: Format, footers: Sequence[parquet.Footer]
) -> tuple[Schema, Report]:
    """The same for files whose format is known, and for Parquet their footers."""
    sample = samples.take(files, format, config, footers)
    profiles = sample.profiles + (_partitions(files, sample.profiles, format) if format.name != "libsvm" else [])
    texts = format.name != "parquet"
    indexes = index_columns([p.name for p in profiles], [f.schema for f in footers]) - named(config)
    columns = tuple(_column(p, texts, _is_partition(p, files), p.name in indexes) for p in profiles)
    if format.name == "libsvm":
        columns = tuple(dataclasses.replace(c, role=_LIBSVM_ROLES[c.name]) for c in columns)
    schema = _with_roles(Schema(columns, sample.format, config.window_bytes), files, config)
    rows = max((p.rows for p in sample.profiles), default=0)
    seen = tuple(p.observed() for p in profiles)
    n_files = len(files[: samples.SAMPLE_FILES])
    bad = odd.bad_lines(files[: samples.SAMPLE_FILES], sample.bad_lines, rows, schema)
    matter = (*bad, *notes_that_matter(schema, seen, indexes), *sample.matter)
    return schema, Report(rows, sample.n_bytes, n_files, sample.bad_lines, seen, sample.notes, matter)


def _with_roles(schema: Schema, files: Sequence[File], config: DataConfig) -> Schema:
    """The schema with the roles of the configuration; where a column is not there, InputError with what the files tell
    of the reason."""
    names = [c.name for c in schema.columns]
    try:
        return apply_roles(schema, config)
    except InputError as error:
        missing = next((name for name in sorted(named(config)) if error.place == f"column {name!r}"), None)
        if missing is None or missing in names:
            raise
        raise odd.explained(error, missing, names, files, schema.format) from None


def apply_roles(schema: Schema, config: DataConfig) -> Schema:
    """The schema with the roles of the configuration; those of the schema stay where it says nothing.

    InputError with the nearest name for a column that is not there, ConfigError for one with two roles.
    """
    roles: dict[str, str] = {}
    for role in SINGLE_ROLES:
        name = getattr(config, role)
        if name is not None:
            schema.column(name)
            if name in roles:
                raise ConfigError(
                    f"data, {role}", f"column {name!r} is the {roles[name]} already", "name another column"
                )
            roles[name] = role
    if schema.sparse and (config.features or config.exclude or config.categorical):
        remedy = "leave features, exclude and categorical out"
        raise ConfigError("data, features", "LibSVM features are indices without names", remedy)
    for name in (*config.features, *config.exclude, *config.categorical):
        schema.column(name)
    schema = schema.with_roles(roles)
    columns = (_chosen(c, config, roles) for c in schema.columns)
    if schema.format.name not in ("parquet", "libsvm"):  # whose integers stay, and whose query ids are numbers
        columns = (_named_exactly(c, config) for c in columns)
    return dataclasses.replace(schema, columns=tuple(columns))


def to_yaml(schema: Schema, report: Report | None = None) -> str:
    """The schema as YAML to edit; ``observed`` says what was seen and is ignored by :func:`load_yaml`."""
    import yaml

    value = schema.to_json()
    columns = value.pop("columns")
    if value["design"] is None:
        del value["design"]
    value["format"]["na"] = list(value["format"]["na"])
    lines = [
        "# Edit kind (numeric, categorical, text) and role (feature, target, weight, group, offset, id, time, ignore);"
    ]
    lines += ["# `observed` is what the sample held and is not read back.", _dump(yaml, value).rstrip()]
    lines += ["columns:" if columns else "columns: []"]
    lines += ["- " + _dump(yaml, c, flow=True).strip() for c in columns]
    text = "\n".join(lines) + "\n"
    return text if report is None else text + _dump(yaml, {"observed": _plain(report)})


def load_yaml(text: str, place: str = "schema") -> Schema:
    """The schema of :func:`to_yaml`'s text as edited.  ConfigError for what it does not know."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(place, f"is not YAML: {' '.join(str(error).split())}", "check quotes and indents") from error
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
        raise ConfigError(place, "has no list of columns", "start from the output of `mrml schema`")
    value.pop("observed", None)
    for column in value["columns"]:
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            raise ConfigError(
                place, f"{column!r} is not a column with a name that is a text", "quote names like 'no' and '1'"
            )
    markers = (value.get("format") or {}).get("na", [])
    if not isinstance(markers, list) or not all(isinstance(m, str) for m in markers):
        raise ConfigError(f"{place}, format, na", f"{markers!r} is not a list of texts", "quote each of them")
    schema = Schema.from_json(value)
    for column in schema.columns:
        _check_source(column, place)
    return schema


def _check_source(column: Column, place: str) -> None:
    """ConfigError for an unknown type, unless the column is not read."""
    try:
        if column.role != "ignore":
            arrow_type(column.source)
    except InputError as error:
        raise ConfigError(f"{place}, column {column.name!r}", error.finding, error.remedy) from error


# ---- columns ----


def _column(profile: Profile, texts: bool, partition: bool, is_index: bool) -> Column:
    kind, source = profile.kind()
    if partition and kind == "text":
        kind = "categorical"
    role = "ignore" if profile.empty or kind == "text" or is_index else "feature"
    storage = "float64" if texts or kind != "numeric" or profile.empty else profile.storage()
    return Column(profile.name, kind, role, source, storage)


def _chosen(column: Column, config: DataConfig, roles: Mapping[str, str]) -> Column:
    """The column after --features and --exclude, and with the kind its role asks for."""
    role, kind = column.role, column.kind
    if column.name not in roles and role in ("feature", "ignore"):
        if config.features:
            role = "feature" if column.name in config.features else "ignore"
        if column.name in config.exclude:
            role = "ignore"
    if role == "feature" and column.name in config.categorical:
        kind = "categorical"
    if role == "target" and (kind == "text" or column.source == "bool"):
        kind = "categorical"
    if role in ("weight", "offset", "time") and kind != "numeric":
        raise InputError(f"column {column.name!r}", f"is {kind} and cannot be the {role}", _numbers_for(role))
    return dataclasses.replace(column, role=role, kind=kind)


def _numbers_for(role: str) -> str:
    return "name a column of dates, times or numbers" if role == "time" else "name a column of numbers"


def _named_exactly(column: Column, config: DataConfig) -> Column:
    """Groups, and numbers taken as categories, are names and no amounts: 007 is not 7, nor 9007199254740993 ...992.

    So text formats keep their text as it stands.
    """
    is_feature = column.role == "feature" and column.name in config.categorical
    if column.role != "group" and not is_feature:
        return column
    return dataclasses.replace(column, kind="categorical", source="string")


def _is_partition(profile: Profile, files: Sequence[File]) -> bool:
    return any(profile.name == name for name, _ in files[0].partition)


def _partitions(files: Sequence[File], own: list[Profile], format: Format) -> list[Profile]:
    """Profiles of the Hive partition columns, which take the place of a file's own column of that name."""
    columns = [name for name, _ in files[0].partition]
    for file in files:
        if [name for name, _ in file.partition] != columns:
            here, there = (", ".join(name for name, _ in f.partition) or "none" for f in (file, files[0]))
            finding = f"has the partition columns {here}, and {files[0].name} has {there}"
            raise InputError(file.name, finding, "give files of one table")
    own[:] = [p for p in own if p.name not in columns]
    profiles = []
    for i, name in enumerate(columns):
        profile = Profile(name, format.na)
        profile.take(pa.array([file.partition[i][1] for file in files], pa.string()), ALL)
        profiles.append(profile)
    return profiles


# ---- YAML ----


def _plain(report: Report) -> dict[str, Any]:
    """The report as YAML values, without what says nothing."""
    value = {k: v for k, v in dataclasses.asdict(report).items() if k != "columns" and v not in ((), 0)}
    value.pop("matter", None)  # each stands with its column
    value["notes"] = list(report.notes)
    value["columns"] = {c.name: _about(c) for c in report.columns}
    return value if report.notes else {k: v for k, v in value.items() if k != "notes"}


def _about(column: Observed) -> dict[str, Any]:
    about: dict[str, Any] = {"nulls": column.nulls}
    about["distinct"] = f"at least {column.distinct}" if column.distinct_capped else column.distinct
    if column.bad:
        about["bad"] = column.bad
        about["bad_texts"] = list(column.bad_texts)
    if column.low is not None:
        about["range"] = [column.low, column.high]
    if column.top:
        about["top"] = dict(column.top)
    if column.markers:
        about["null_markers"] = [{"text": text, "count": n} for text, n in column.markers]
    return about | ({"notes": list(column.notes)} if column.notes else {})


def _dump(yaml: Any, value: Any, flow: bool = False) -> str:
    return str(
        yaml.safe_dump(
            value, sort_keys=False, allow_unicode=True, default_flow_style=True if flow else None, width=1 << 20
        )
    )
