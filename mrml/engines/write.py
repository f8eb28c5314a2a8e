"""Scored rows become part files: Parquet, CSV or JSON lines, in input order."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mrml.data.block import Array, Block
from mrml.engines.task import Report, prints_to_stderr
from mrml.errors import ConfigError, EngineError, nearest
from mrml.folder import Folder
from mrml.kernels.fingerprint import fingerprint
from mrml.model import Model, Prediction

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("parquet", "csv", "jsonl")


@dataclass(frozen=True)
class Scoring:
    """Where predictions go and how.

    ``names`` are the file names by number; ``starts`` maps a file number to (n_blocks,) int64, the ordinal of each
    block's first record in its file.  Both are used only when the rows have no id column.
    """

    output: str
    format: str = "parquet"
    names: tuple[str, ...] = ()
    starts: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError("predict, format", f"{self.format!r} is unknown", nearest(self.format, FORMATS))

    def to_wire(self) -> dict[str, Any]:
        return {"output": self.output, "format": self.format, "names": list(self.names), "starts": dict(self.starts)}

    @staticmethod
    def from_wire(tree: Mapping[str, Any]) -> Scoring:
        return Scoring(tree["output"], tree["format"], tuple(tree["names"]), tree["starts"])


@prints_to_stderr()
def write_split(model: Model, source: Iterable[Block], scoring: Scoring, number: int) -> Report:
    """Score the blocks of split ``number`` into ``part-<number>``.

    Every attempt writes aside under a name of its own and renames: equal bytes, so which attempt is last is all one.
    """
    report = Report(fingerprints=[fingerprint()])
    folder = Folder(scoring.output)
    with folder.writing(part_name(number, scoring.format)) as file, _Writer(file, scoring.format) as writer:
        for block in source:
            report.see(block)
            writer.write(_table(model, block, scoring))
    return report


def part_name(number: int, format: str) -> str:
    """The part file of a split."""
    return f"part-{number:05d}.{format}"


def finish(folder: Folder, format: str) -> int:
    """Remove what lost attempts left beside the parts; the number of parts, of which none may be missing."""
    names = folder.names()
    parts = [name for name in names if re.fullmatch(rf"part-\d+\.{format}", name)]
    for name in set(names) - set(parts):
        folder.remove(name)
    missing = {part_name(n, format) for n in range(len(parts))} - set(parts)
    if missing:
        raise EngineError(str(folder), f"{min(missing)} is missing", "run it again, and report this as a bug")
    return len(parts)


def fetch(source: Folder, target: Folder) -> None:
    """Copy the parts that tasks wrote where they could to where they shall lie."""
    for name in source.names():
        if name.startswith("part-"):
            with source.fs.open(source.join(name)) as parts, target.writing(name) as file:
                shutil.copyfileobj(parts, file, 1 << 20)


def _table(model: Model, block: Block, scoring: Scoring) -> pa.Table:
    import pyarrow as pa

    prediction = model.predict(block)
    columns: dict[str, pa.Array] = {}
    if block.id is not None:
        columns["id"] = pa.array(block.id)
    else:
        name = scoring.names[block.file]
        codes = pa.array(np.zeros(block.n_rows, np.int32))
        columns["file"] = pa.DictionaryArray.from_arrays(codes, pa.array([name])).cast(pa.string())
        columns["row"] = pa.array(scoring.starts[str(block.file)][block.index] + block.rows)
    columns.update(_predicted(model, prediction))
    return pa.table(columns)


def _predicted(model: Model, prediction: Prediction) -> dict[str, pa.Array]:
    import pyarrow as pa

    classes = getattr(model, "classes", ())
    if model.output == "numeric":
        return {"prediction": pa.array(prediction.y_pred)}
    codes = prediction.y_pred.astype(np.int64)
    if not classes:
        return {"prediction": pa.array(codes)}
    out = {"prediction": labels(classes).take(pa.array(codes))}
    if prediction.probability is not None:
        for k, label in enumerate(classes):
            out[f"probability_{label}"] = pa.array(np.ascontiguousarray(prediction.probability[:, k]))
    return out


def labels(classes: tuple[str, ...]) -> pa.Array:
    """The original labels: integers where every label is one, else strings."""
    import pyarrow as pa

    if all(c.lstrip("-").isdigit() and str(int(c)) == c for c in classes):
        return pa.array([int(c) for c in classes], pa.int64())
    return pa.array(list(classes), pa.string())


class _Writer:
    """Tables into an open file; their schema is the first one's."""

    def __init__(self, file: BinaryIO, format: str) -> None:
        self._file, self.format = file, format
        self._sink: Any = None

    def write(self, table: pa.Table) -> None:
        if self.format == "jsonl":
            self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist()))
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
