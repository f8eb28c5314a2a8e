"""Part files: whole or not there, one type in every part, what is written is what was predicted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from mrml.arrays import Array
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.block import Block
from mrml.engines.write import Scoring, sweep, write_split
from mrml.errors import ConfigError
from mrml.model import Model, Prediction
from mrml.runs import train as run

INLINE = EngineConfig(engine="inline")


class Told(Model):
    """Predicts the first column, as a value or as a class."""

    def __init__(self, output: str = "numeric", classes: tuple[str, ...] = (), probable: bool = False) -> None:
        self.output, self.classes, self.probable = output, classes, probable  # type: ignore[misc]

    def predict(self, block: Block) -> Prediction:
        x: Array = np.asarray(block.X)[:, 0]
        p = np.stack([1 - x / 4, x / 4], axis=1) if self.probable else None
        return Prediction(x, p)

    def header(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, Array]:
        return {}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Told:
        return cls()


def block(values: list[float], index: int = 0, **more: Any) -> Block:
    rows = np.arange(len(values), dtype=np.int64)
    return Block(0, index, rows, np.array(values, np.float64).reshape(-1, 1), **more)


def written(folder: Path, model: Model, blocks: list[Block], format: str = "parquet", **more: Any) -> list[Path]:
    write_split(model, blocks, Scoring(str(folder), format, **more), 7)
    return sorted(folder.iterdir())


def test_a_part_is_named_after_its_split_and_a_rerun_is_harmless(tmp_path: Path) -> None:
    blocks = [block([0.5, 1.5], id=np.array(["a", "b"])), block([2.5], 1, id=np.array(["c"]))]
    (part,) = written(tmp_path, Told(), blocks)
    first = part.read_bytes()
    assert part.name == "part-00007.parquet"
    assert written(tmp_path, Told(), blocks) == [part] and part.read_bytes() == first
    assert pq.read_table(part).to_pydict() == {"id": ["a", "b", "c"], "prediction": [0.5, 1.5, 2.5]}


def test_an_error_leaves_no_part_and_nothing_beside_it(tmp_path: Path) -> None:
    bad = block([1.0]).with_design(X=np.empty((1, 0)), id=np.array(["b"]))
    with pytest.raises(IndexError):
        written(tmp_path, Told(), [block([0.5], id=np.array(["a"])), bad])
    assert list(tmp_path.iterdir()) == []


def test_a_split_without_blocks_leaves_no_part(tmp_path: Path) -> None:
    for format in ("parquet", "csv", "jsonl"):
        assert written(tmp_path, Told(), [], format) == []


def test_what_a_killed_task_left_is_hidden_and_swept(tmp_path: Path) -> None:
    seen: list[str] = []

    def blocks() -> Any:
        yield block([0.5], id=np.array(["a"]))
        seen.extend(p.name for p in tmp_path.iterdir())

    write_split(Told(), blocks(), Scoring(str(tmp_path), "csv"), 3)
    assert len(seen) == 1 and seen[0].startswith(".")  # readers of directories skip it
    (tmp_path / seen[0]).touch()
    sweep(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["part-00003.csv"]


def test_rows_without_an_id_are_told_by_file_and_row(tmp_path: Path) -> None:
    gap = block([1.0, 2.0], 1).with_design(rows=np.array([0, 2]))  # record 1 of the block was malformed
    where = {"names": ("a.csv",), "starts": {"0": np.array([0, 100])}}
    (part,) = written(tmp_path, Told(), [block([0.0]), gap], **where)
    found = pq.read_table(part).to_pydict()
    assert found["file"] == ["a.csv"] * 3 and found["row"] == [0, 100, 102]


@pytest.mark.parametrize(("classes", "expected"), [
    (("-1", "3"), [-1, 3]), (("no", "3"), ["no", "3"]), (("1.5", "2"), ["1.5", "2"]), (("01", "2"), ["01", "2"]),
    (("²", "3"), ["²", "3"]),
])  # fmt: skip
def test_predictions_are_the_original_labels(tmp_path: Path, classes: tuple[str, str], expected: list[Any]) -> None:
    model = Told("classes", classes, probable=True)
    (part,) = written(tmp_path, model, [block([0.0, 1.0], id=np.array(["a", "b"]))])
    found = pq.read_table(part).to_pydict()
    assert found["prediction"] == expected
    assert found[f"probability_{classes[1]}"] == [0.0, 0.25]


def test_clusters_are_numbers(tmp_path: Path) -> None:
    (part,) = written(tmp_path, Told("cluster"), [block([0.0, 4.0], id=np.array(["a", "b"]))])
    assert pq.read_table(part)["prediction"].to_pylist() == [0, 4]


def test_every_format_holds_the_same_values_to_the_last_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-300, 12345678.9]
    blocks = [block(values, id=np.array(['a,"b', "☃", "c\td", "e"]))]
    tables = {}
    for format in ("parquet", "csv", "jsonl"):
        (part,) = written(tmp_path, Told(), blocks, format)
        if format == "jsonl":
            tables[format] = [json.loads(line) for line in part.read_text().splitlines()]
        else:
            tables[format] = (pq.read_table(part) if format == "parquet" else pacsv.read_csv(part)).to_pylist()
        part.unlink()
    assert tables["parquet"] == tables["csv"] == tables["jsonl"]
    assert [row["prediction"] for row in tables["csv"]] == values


def test_json_lines_are_strict(tmp_path: Path) -> None:
    blocks = [block([np.inf, -np.inf, np.nan, 1.0], id=np.array(["a", "b", "c", "d"]))]
    (part,) = written(tmp_path, Told(), blocks, "jsonl")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in part.read_text().splitlines()]
    assert [line["prediction"] for line in lines] == [None, None, None, 1.0]


def test_an_unknown_format_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'parquet'"):
        Scoring("out", "parqet")


# ---- through the command's function


def model_of(folder: Path) -> str:
    """A line through made rows, trained without an id."""
    (folder / "train.csv").write_text("a,y\n" + "".join(f"{i},{2 * i + i % 3}\n" for i in range(60)))
    data = DataConfig(data=(str(folder / "train.csv"),), target="y")
    run.train(RunConfig("linear", {}, data, INLINE, str(folder / "model")))
    return str(folder / "model")


def predicted(model: str, data: Path, output: Path, **options: Any) -> pa.Table:
    run.predict(model, DataConfig(data=(str(data),), **options), INLINE, str(output))
    assert (output / "_SUCCESS").exists()
    return pa.concat_tables([pq.read_table(p) for p in sorted(output.glob("part-*"))])


BIG = 2**53 + 1


@pytest.mark.parametrize(("ids", "type_"), [
    ([BIG, 2, 3, 4, 5, None], pa.int64()),       # nulls in the last row group
    ([None, 2, 3, 4, 5, BIG], pa.int64()),       # and in the first
    ([1, 2, 3, 2**63 + 1, 2**64 - 1, 4], pa.uint64()),
    ([1, None, 3, 2**63 + 1, 2**64 - 1, 4], pa.uint64()),
    (["a", None, "", "b", "c", "d"], pa.string()),
])  # fmt: skip
def test_ids_of_any_type_come_back_as_they_were(tmp_path: Path, ids: list[Any], type_: Any) -> None:
    model = model_of(tmp_path)
    table = pa.table({"key": pa.array(ids, type_), "a": np.arange(6.0)})
    pq.write_table(table, tmp_path / "new.parquet", row_group_size=2)
    found = predicted(model, tmp_path / "new.parquet", tmp_path / "out", id="key", split_bytes=64)
    assert found.schema.field("id").type == type_
    assert found["id"].to_pylist() == [i if i is not None or type_ != pa.string() else "" for i in ids]
    assert len(list((tmp_path / "out").glob("part-*"))) == 3


@pytest.mark.parametrize("id_", [None, "key"])
def test_data_without_a_row_gives_a_part_with_the_columns(tmp_path: Path, id_: str | None) -> None:
    model = model_of(tmp_path)
    table = pa.table({"key": pa.array([], pa.int64()), "a": pa.array([], pa.float64())})
    pq.write_table(table, tmp_path / "none.parquet")
    found = predicted(model, tmp_path / "none.parquet", tmp_path / "out", id=id_)
    assert found.num_rows == 0
    assert found.column_names == (["id", "prediction"] if id_ else ["file", "row", "prediction"])
    assert found.schema.field("prediction").type == pa.float64()
    if id_:
        assert found.schema.field("id").type == pa.int64()
