"""Scored rows become part files: Parquet, CSV or JSON lines, in input order."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded
from mrml.engines.task import Report, kernels_here, prints_to_stderr, working_on
from mrml.errors import ConfigError, nearest
from mrml.fs.folder import ASIDE, Folder
from mrml.model import Model, Prediction

if TYPE_CHECKING:
    import pyarrow as pa

    from mrml.data.dataset import Dataset

FORMATS = ("parquet", "csv", "jsonl")


@dataclass(frozen=True)
class Scoring:
    """Where predictions go and how.

    ``names`` are the file names by number; ``starts`` maps a file number to (n_blocks,) int64, the ordinal of each
    block's first record in its file.  Both are used only when the rows have no id column.  ``id_type`` is ``int64`` or
    ``uint64`` where the id column holds integers: a block of which some are null has their texts.
    """

    output: str
    format: str = "parquet"
    names: tuple[str, ...] = ()
    starts: Mapping[str, Array] = field(default_factory=dict)
    id_type: str = ""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError("predict, format", f"{self.format!r} is unknown", nearest(self.format, FORMATS))

    def to_wire(self) -> dict[str, Any]:
        return {**vars(self), "names": list(self.names), "starts": dict(self.starts)}

    @staticmethod
    def from_wire(tree: Mapping[str, Any]) -> Scoring:
        return Scoring(**{**tree, "names": tuple(tree["names"])})


def sweep(output: str) -> None:
    """Remove what tasks that were killed left of their part files; once no task runs any more."""
    folder = Folder(output)
    for name in folder.names():
        if name.startswith(".part-") and name.endswith(ASIDE):
            folder.remove(name)


def fetch(source: Folder, target: Folder) -> None:
    """Copy the parts that tasks wrote where they could to where they shall lie."""
    for name in source.names():
        if name.startswith("part-"):
            with source.fs.open(source.join(name)) as part, target.writing(name) as file:
                shutil.copyfileobj(part, file, 1 << 20)


@prints_to_stderr()
def write_split(model: Model, source: Iterable[Block], scoring: Scoring, number: int) -> Report:
    """Score the blocks of split ``number`` into ``part-<number>``; no blocks, no part.

    Every attempt writes aside under a name of its own and renames: equal bytes, so which attempt is last is all one.
    """
    report = Report(fingerprints=kernels_here())
    with report.spending("map"):
        _write_blocks(model, report.reading(source), scoring, number, report)
    return report


def _write_blocks(model: Model, blocks: Iterator[Block], scoring: Scoring, number: int, report: Report) -> None:
    folder, first = Folder(scoring.output), next(blocks, None)
    if first is None:
        return
    with (
        folder.writing(f"part-{number:05d}.{scoring.format}") as file,
        _Writer(file, scoring.format) as writer,
    ):
        for block in itertools.chain([first], blocks):
            report.see(block)
            with working_on(f"file {block.file}, block {block.index}"):
                writer.write(_table(model, block, scoring))


def write_nothing(model: Model, dataset: Dataset, scoring: Scoring) -> None:
    """A part without rows, where no file held a block: so the output has its columns."""
    X = np.empty((0, len(dataset.schema.features("numeric"))), dataset.schema.numeric_dtype)
    sparse = CSR(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0), 0)
    texts = [c.name for kind in ("categorical", "text") for c in dataset.schema.features(kind)]
    coded = {name: Coded(np.empty(0, np.int32), np.empty(0, np.str_)) for name in texts}
    named = any(c.role == "id" for c in dataset.columns)
    block = Block(0, 0, np.empty(0, np.int64), sparse if dataset.schema.sparse else X, coded)
    block = block.with_design(id=np.empty(0, np.str_) if named else None)
    write_split(model, [block], dataclasses.replace(scoring, starts={"0": np.zeros(1, np.int64)}), 0)


def _table(model: Model, block: Block, scoring: Scoring) -> pa.Table:
    import pyarrow as pa

    prediction = model.predict(block)
    columns: dict[str, pa.Array] = {}
    if block.id is not None:
        columns["id"] = _ids(block.id, scoring.id_type)
    else:
        # the bytes of a name need not be UTF-8, which every format of predictions is
        name = scoring.names[block.file].encode("utf-8", "backslashreplace").decode()
        codes = pa.array(np.zeros(block.n_rows, np.int32))
        columns["file"] = pa.DictionaryArray.from_arrays(codes, pa.array([name])).cast(pa.string())
        columns["row"] = pa.array(scoring.starts[str(block.file)][block.index] + block.rows)
    columns.update(_predicted(model, prediction))
    return pa.table(columns)


def _ids(ids: Array, id_type: str) -> pa.Array:
    """The ids with one type in every part."""
    import pyarrow as pa

    if not id_type:
        return pa.array(ids)
    texts = ids.dtype.kind == "U"
    return (pa.array(ids, mask=ids == "") if texts else pa.array(ids)).cast(id_type)


def _predicted(model: Model, prediction: Prediction) -> dict[str, pa.Array]:
    import pyarrow as pa

    classes = getattr(model, "classes", ())
    if model.output == "numeric":
        return {"prediction": pa.array(prediction.y_pred)}
    nobodys = np.isnan(prediction.y_pred)  # rows in no fold, which no model scores
    codes = np.where(nobodys, 0, prediction.y_pred).astype(np.int64)
    if not classes:
        return {"prediction": pa.array(codes)}
    out = {"prediction": labels(classes).take(pa.array(codes, mask=nobodys))}
    if prediction.probability is not None:
        for k, label in enumerate(classes):
            out[f"probability_{label}"] = pa.array(np.ascontiguousarray(prediction.probability[:, k]))
    return out


def labels(classes: tuple[str, ...]) -> pa.Array:
    """The original labels: integers where every label is one, else strings."""
    import pyarrow as pa

    if all(c.lstrip("-").isdecimal() and str(int(c)) == c for c in classes):
        return pa.array([int(c) for c in classes], pa.int64())
    return pa.array(list(classes), pa.string())


def _strict(row: dict[str, Any]) -> dict[str, Any]:
    """NaN and infinities are no JSON."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


class _Writer:
    """Tables into an open file; their schema is the first one's."""

    def __init__(self, file: BinaryIO, format: str) -> None:
        self._file, self.format = file, format
        self._sink: Any = None

    def write(self, table: pa.Table) -> None:
        if self.format == "jsonl":
            self._file.write(b"".join(json.dumps(_strict(row)).encode() + b"\n" for row in table.to_pylist()))
            return
        if self._sink is None:
            self._sink = self._open(table.schema)
        self._sink.write_table(table)

    def _open(self, schema: pa.Schema) -> Any:
        if self.format == "csv":
            import pyarrow.csv

            return pyarrow.csv.CSVWriter(self._file, schema)
        import pyarrow.parquet

        return pyarrow.parquet.ParquetWriter(self._file, schema, compression="snappy")

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        if self._sink is not None:
            self._sink.close()
