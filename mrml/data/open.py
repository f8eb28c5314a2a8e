"""Opening a Dataset: which files, which schema, how many blocks.  The driver's side of :mod:`mrml.data.dataset`.

Floor 2.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from mrml.config.sections import DataConfig
from mrml.data import sides
from mrml.data.dataset import ROLES, Dataset
from mrml.data.files import File, below_inputs, discover
from mrml.data.formats import parquet, textfiles
from mrml.data.formats.textfiles import misplaced
from mrml.data.inference.infer import apply_roles, infer_files, load_yaml
from mrml.data.inference.odd import no_rows
from mrml.data.inference.sniff import (
    NO_QUOTE,
    first_fields,
    first_keys,
    first_with_text,
    named,
    null_words,
    said_format,
    sniff,
    spelt,
)
from mrml.data.without_pandas import keep_pandas_out
from mrml.errors import ConfigError, InputError
from mrml.fs.find import filesystem
from mrml.schema import Column, Format, Schema

log = logging.getLogger(__name__)


def open_dataset(config: DataConfig, schema: Schema | None = None, roles: Sequence[str] = ROLES) -> Dataset:
    """The Dataset of a configuration.

    The schema is the given one (a model's, whose columns, kinds and block size stay while the format is that of the
    new files), or that of ``config.schema``, or inferred from the training files.
    """
    keep_pandas_out()
    if not config.data:
        raise ConfigError("data, data", "no input is given", "name files, directories or globs with --data")
    files = (*discover(config.data), *(discover(config.valid, "valid") if config.valid else ()))
    if schema is not None:
        schema = for_other_files(schema, files, config)
        if "id" in roles and not config.id:
            schema = _without_absent_id(schema, files)
    elif config.schema:
        schema = _from_file(config)
    else:
        files = below_inputs(files, named(config))
    format_ = schema.format if schema else sniff(files, config, named(config))
    footers = parquet.footers(files) if format_.name == "parquet" else ()
    notes: tuple[str, ...] = ()
    if schema is None:
        train = [f for f in files if f.part == "train"]
        schema, report = infer_files(train, config, format_, footers[: len(train)])
        if not report.rows and not footers:  # of Parquet the types are known without rows
            raise no_rows(train, report.bad_lines, schema.format, config.window_bytes)
        notes = (*report.matter, *sides.notes(train))
    dataset = Dataset(schema, files, tuple(roles), config.bad_rows, notes)
    sides.check_all_or_none(files, schema, roles)
    return dataclasses.replace(dataset, files=tuple(_measured(dataset, footers)))


def _from_file(config: DataConfig) -> Schema:
    """The schema file, with the format and the roles that the configuration says otherwise."""
    assert config.schema is not None
    schema = load_yaml(read_text(config.schema), config.schema)
    return dataclasses.replace(apply_roles(schema, config), format=_overridden(schema.format, config))


def read_text(schema: str) -> str:
    """The text of a schema file; ConfigError where it cannot be read."""
    fs, path = filesystem(schema)
    try:
        return fs.cat_file(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(schema, f"cannot be read: {error}", "write one with `mrml schema`") from error


def _overridden(format: Format, config: DataConfig) -> Format:
    """The format with what the configuration says."""
    new = said_format(config)
    said: dict[str, Any] = {
        "name": config.format,
        "delimiter": spelt("delimiter", config.delimiter),
        "quote": new.quote if config.quote else None,
        "escape": new.escape or None,
        "encoding": new.encoding if config.encoding else None,
        "skip_lines": config.skip_lines,
        "columns": config.columns or None,
        "trim": config.trim or None,
        "decimal": new.decimal if config.decimal else None,
        "thousands": new.thousands or None,
        "units": config.units or None,
        "date_format": config.date_format or None,
        "header": config.header,
        "na": null_words(config.na, format.na) if config.na else None,
        "index_base": config.index_base,
        "absent": config.absent,
        "multiline": config.multiline or None,
    }
    return dataclasses.replace(format, **{k: v for k, v in said.items() if v is not None})


def for_other_files(schema: Schema, files: Sequence[File], config: DataConfig) -> Schema:
    """A model's schema over files of any format; what nulls and indices mean stays the model's unless said."""
    old, said = schema.format, config.columns
    base = config.index_base if config.index_base is not None else old.index_base
    absent = config.absent or old.absent
    config = dataclasses.replace(config, na=null_words(config.na, old.na), index_base=base, absent=absent)
    if old.name in ("csv", "tsv"):
        config = dataclasses.replace(
            config,
            multiline=config.multiline or old.multiline,
            quote=config.quote or old.quote or NO_QUOTE,
            escape=config.escape or old.escape or None,
            skip_lines=old.skip_lines if config.skip_lines is None else config.skip_lines,
            columns=config.columns or old.columns,
            trim=config.trim or old.trim,
            decimal=config.decimal or old.decimal,
            thousands=config.thousands or old.thousands or None,
            units=config.units or old.units,
            date_format=config.date_format or old.date_format,
            delimiter=config.delimiter or (old.delimiter if len(old.delimiter) > 1 else None),
        )
    if old.name != "parquet":
        config = dataclasses.replace(config, encoding=config.encoding or old.encoding)
    new = sniff(files, config, {c.name for c in schema.columns})
    if new.header and new.columns and not said and misplaced(first_fields(first_with_text(files), new), new.columns):
        new = dataclasses.replace(new, columns=())  # the model's, and these files name theirs
    if (new.name == "libsvm") != schema.sparse:
        finding = f"is {new.name}, and the model was trained on {old.name}"
        raise InputError(files[0].name, finding, "LibSVM models read LibSVM files, the others files with column names")
    return dataclasses.replace(schema, format=new)


def _without_absent_id(schema: Schema, files: Sequence[File]) -> Schema:
    """The schema without its id where the first file does not have that column: nothing is computed from it."""
    column, first = schema.role("id"), first_with_text(files)
    if column is None or column.name in names_of(first, schema.format):
        return schema
    message = "%s: there is no column %r, the id when the model was trained: rows are told by file and row number"
    log.warning(message, first.name, column.name)
    columns = (dataclasses.replace(c, role="ignore") if c == column else c for c in schema.columns)
    return dataclasses.replace(schema, columns=tuple(columns))


def names_of(file: File, format: Format) -> set[str]:
    """Columns of a file, its partitions included."""
    stored: Iterable[str]
    if format.name == "parquet":
        stored = parquet.footer(file).schema.names
    elif format.name == "jsonl":
        stored = first_keys(file, format)
    elif format.columns:
        stored = format.columns
    elif format.header:
        stored = first_fields(file, format)
    else:
        stored = (f"c{i}" for i in range(len(first_fields(file, format))))
    return {*stored, *dict(file.partition)}


def _measured(dataset: Dataset, footers: Sequence[parquet.Footer]) -> list[File]:
    """The files with their blocks counted; Parquet ones are checked against the schema."""
    measured = []
    rows = parquet.block_rows(dataset.schema)
    for i, file in enumerate(dataset.files):
        own = set(dict(file.partition))
        if footers:
            stored: list[Column] = [c for c in dataset.columns if c.name not in own]
            parquet.check(footers[i].schema, stored, file.name)
            groups = footers[i].row_groups
            measured.append(dataclasses.replace(file, row_groups=groups, n_blocks=parquet.n_blocks(groups, rows)))
            continue
        n_blocks = textfiles.n_blocks(file, dataset.schema)
        whole = n_blocks is None or bool(sides.side_columns(file, dataset.schema, dataset.roles))
        measured.append(dataclasses.replace(file, n_blocks=n_blocks, splittable=not whole))
    return measured
