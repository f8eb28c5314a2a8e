"""What is no feature is left out with a note: an index of pandas, a folder above the data, files that are no data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.data.files import discover
from mrml.data.open import open_dataset
from mrml.errors import InputError
from mrml.logs import Lines
from mrml.runs import train as run


def frame(n: int = 400) -> pd.DataFrame:
    """Labels at random, sorted: the row number alone tells them."""
    draw = np.random.default_rng(3)
    return pd.DataFrame({"x": draw.normal(size=n).round(3), "y": np.sort(draw.integers(0, 2, n))})


def features(data: Path, **more: object) -> list[str]:
    dataset = open_dataset(DataConfig(data=(str(data),), target="y", **more))  # type: ignore[arg-type]
    return [c.name for c in dataset.schema.columns if c.role == "feature"]


@pytest.mark.parametrize(
    "kind", ["range index", "named index", "kept range index", "csv", "csv read and written again"]
)
def test_the_index_of_a_pandas_frame_is_left_out_and_said_so(kind: str, tmp_path: Path) -> None:
    rows = frame()
    if kind == "named index":
        rows.index.name = "row_number"
    if kind.startswith("csv"):
        path = tmp_path / "a.csv"
        rows.to_csv(path)
        if kind != "csv":
            pd.read_csv(path).to_csv(path, index=False)
    else:
        path = tmp_path / "a.parquet"
        if kind == "kept range index":
            rows = rows.sample(frac=1.0, random_state=1)
        rows.to_parquet(path, index=True if kind == "named index" else None)
    assert features(path) == ["x"]
    notes = open_dataset(DataConfig(data=(str(path),), target="y")).notes
    assert any("is the index of a pandas frame" in note for note in notes) is (kind != "range index")


def test_an_index_that_the_user_names_is_a_feature(tmp_path: Path) -> None:
    frame().rename_axis("t").to_parquet(tmp_path / "a.parquet", index=True)
    assert features(tmp_path / "a.parquet", features=("x", "t")) == ["x", "t"]


def test_notes_are_told_while_training_in_at_most_five_lines_and_are_all_in_run_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = frame()
    for i in range(8):
        rows[f"id{i}"] = [f"word {i} of many {k}" for k in range(len(rows))]
    rows.to_csv(tmp_path / "a.csv")
    data = DataConfig(data=(str(tmp_path / "a.csv"),), target="y")
    with caplog.at_level("INFO", "mrml"):
        facts = run.train(RunConfig("logistic", {}, data, EngineConfig("inline"), str(tmp_path / "m")), Lines())
    told = [m for m in caplog.messages if m.startswith("note: ")]
    assert len(told) == 5 and "pandas" in told[0] and told[-1] == "note: 5 more, in run.json"
    assert json.loads((tmp_path / "m/run.json").read_text())["notes"] == facts["notes"] and len(facts["notes"]) == 9


@pytest.mark.parametrize("named", ["runs/lr=0.1", "runs/lr=0.1/a.csv", "runs/lr=0.1/*.csv"])
def test_a_folder_above_the_data_is_no_feature(named: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "lr=0.1"
    folder.mkdir(parents=True)
    frame().to_csv(folder / "a.csv", index=False)
    assert features(tmp_path / named) == ["x"]
    assert features(tmp_path / "runs") == ["x", "lr"]
    assert features(tmp_path / named, features=("x", "lr")) == ["x", "lr"]


@pytest.mark.parametrize("valid", ["holdout", "rows/ds=2"])
def test_the_day_above_the_rows_is_no_feature_wherever_the_validation_rows_lie(valid: str, tmp_path: Path) -> None:
    """In training it has one value: a model of it would learn nothing, and ask it of every row to score."""
    for folder in ("rows/ds=1", valid):
        (tmp_path / folder).mkdir(parents=True)
        frame().to_csv(tmp_path / folder / "a.csv", index=False)
    assert features(tmp_path / "rows" / "ds=1", valid=(str(tmp_path / valid),)) == ["x"]
    assert features(tmp_path / "rows" / "ds=1", valid=(str(tmp_path / valid),), features=("x",)) == ["x"]


def test_partitions_that_differ_between_the_inputs_stay_columns(tmp_path: Path) -> None:
    for day in ("1", "2"):
        (tmp_path / f"day={day}").mkdir()
        frame().to_csv(tmp_path / f"day={day}" / "a.csv", index=False)
    paths = tuple(str(tmp_path / f"day={day}") for day in ("1", "2"))
    assert [c.name for c in open_dataset(DataConfig(data=paths, target="y")).schema.columns] == ["x", "y", "day"]


@pytest.mark.parametrize("name", ["part-1.csv._COPYING_", "part-1.csv.tmp", "part-1.csv~", "part-1.csv.inprogress",
                                  "part-1.csv.bak", ".part-1.csv.crc", ".part-1.csv.swp"])  # fmt: skip
def test_a_file_that_is_not_finished_or_no_more_is_no_data(name: str, tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text("x,y\n1,2\n")
    (tmp_path / name).write_text("x,y\n3,4\n")
    assert [f.name for f in discover([str(tmp_path)])] == ["part-0.csv"]


@pytest.mark.parametrize(("inside", "lake"), [("_delta_log/00000000000000000000.json", "Delta"),
                                              (".hoodie/hoodie.properties", "Hudi"),
                                              ("metadata/v1.metadata.json", "Iceberg")])  # fmt: skip
def test_a_lake_table_is_refused_by_name(inside: str, lake: str, tmp_path: Path) -> None:
    table = tmp_path / "table"
    (table / inside).parent.mkdir(parents=True)
    (table / inside).write_text("{}")
    frame().to_parquet(table / "part-0.parquet")
    with pytest.raises(InputError, match=f"table: is a {lake} table: .*; write its current rows as Parquet"):
        discover([str(table)])
    if lake != "Iceberg":
        with pytest.raises(InputError, match=f"is a {lake} table"):
            discover([str(table / "*.parquet")])


def test_a_link_to_its_own_folder_is_not_followed_and_a_loop_of_links_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for folder in (tmp_path, tmp_path / "a"):
        (folder / "rows.csv").write_text("x,y\n1,2\n")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rows.csv").write_text("x,y\n5,6\n")
    os.symlink(tmp_path / "elsewhere", tmp_path / "linked")  # no loop: followed, as ever
    names = [f.name for f in discover([str(tmp_path)])]
    assert names == ["a/rows.csv", "elsewhere/rows.csv", "linked/rows.csv", "rows.csv"]
