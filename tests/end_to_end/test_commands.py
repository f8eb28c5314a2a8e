"""What a user can do with the commands, done: files in, files out, nothing looked at but those and what is printed."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn import metrics as sk

from mrml import pin
from tests.shared import shared

from .conftest import ROOT, Place

INLINE = ("--engine", "inline", "-q")
LOGISTIC = ("train", "logistic", "--data", "d", "--target", "y", "--output", "m", *INLINE)
LINEAR = ("train", "linear", "--data", "d", "--target", "y", "--output", "m", *INLINE)


def numbers(n: int = 60, header: str = "a,b,y\n") -> str:
    return header + "".join(f"{i % 11},{(i * 7) % 13},{'yes' if (i * i) % 7 < 3 else 'no'}\n" for i in range(n))


def measured(n: int = 60, start: int = 0) -> str:
    """Columns key, a, b and a number y."""
    each = ((i, i % 11, (i * 7) % 13, (i * i) % 17) for i in range(start, start + n))
    return "key,a,b,y\n" + "".join(f"k{i},{a},{b}.5,{y}.25\n" for i, a, b, y in each)


def told(place: Place, *argv: str) -> Any:
    done = place(*argv, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def predictions(folder: Path) -> list[dict[str, Any]]:
    """The rows of the part files, in the order of their names."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("part-*")):
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
        elif path.suffix == ".jsonl":
            rows += [json.loads(line) for line in path.read_text().splitlines()]
        else:
            with open(path, newline="") as file:
                rows += [dict(row) for row in csv.DictReader(file)]
    return rows


# ---- schema, train, inspect


def test_an_inferred_schema_is_edited_and_trained_with(place: Place) -> None:
    lines = "".join(f"{i % 4},{i % 3},{'uv'[i % 2]},{i % 5 % 2}\n" for i in range(40))
    place.put({"d/a.csv": "zip,a,b,y\n" + lines})
    shown = place("schema", "d", "--target", "y")
    assert place("schema", "d", "--target", "y", "--output", "s.yaml").code == 0
    assert shown.code == 0 and (place.here / "s.yaml").read_text() == shown.out
    found = yaml.safe_load(shown.out)
    assert found["observed"]["columns"]["b"]["top"] == {"u": 20, "v": 20}
    kinds = {c["name"]: (c["kind"], c["role"]) for c in found["columns"]}
    assert kinds == {"zip": ("numeric", "feature"), "a": ("numeric", "feature"), "b": ("categorical", "feature"),
                     "y": ("numeric", "target")}  # fmt: skip
    text = shown.out.replace("{name: zip, kind: numeric", "{name: zip, kind: categorical")
    text = text.replace("{name: b, kind: categorical, role: feature", "{name: b, kind: categorical, role: ignore")
    place.put({"s.yaml": text})
    assert place("train", "logistic", "--data", "d", "--schema", "s.yaml", "--output", "m", *INLINE).code == 0
    coefficients = told(place, "inspect", "m")["coefficients"]
    assert list(coefficients) == ["a", *(f"zip={z}" for z in (0, 1, 2, 3, "other"))]


def test_a_run_file_the_environment_and_options_each_win_over_what_is_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put({"d/a.csv": numbers(), "run.yaml": """
        algorithm: {name: logistic, l2: 0.5, tol: 1e-5, solver: lbfgs}
        data: {data: d, target: y, exclude: [b]}
        engine: {engine: local}
        output: m
        """})  # fmt: skip
    monkeypatch.setenv("MRML_TOL", "1e-7")
    monkeypatch.setenv("MRML_ENGINE", "inline")
    more = ("--config", "run.yaml", "--solver", "newton")
    shown = told(place, "config", "show", *more)
    origins = {name: (s["value"], s["origin"]) for section in shown.values() for name, s in section.items()}
    assert origins["l2"] == (0.5, "run.yaml") and origins["exclude"] == (["b"], "run.yaml")
    assert origins["tol"] == (1e-7, "environment MRML_TOL") and origins["engine"] == (
        "inline",
        "environment MRML_ENGINE",
    )
    assert origins["solver"] == ("newton", "option --solver") and origins["fit_intercept"] == (True, "default")
    assert place("train", *more, "-q").code == 0
    used = told(place, "inspect", "m")
    wanted = {"l2": 0.5, "tol": 1e-7, "solver": "newton"}
    assert {k: used["params"][k] for k in wanted} == wanted and list(used["coefficients"]) == ["a"]
    ran = json.loads((place.here / "m/run.json").read_text())
    assert ran["engine"]["name"] == "inline" and ran["converged"] is True


def test_a_dry_run_tells_what_would_be_read_and_writes_nothing(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "d/b.csv": numbers(9)})
    before = place.tree()
    plan = told(place, *LOGISTIC, "--dry-run")
    assert place.tree() == before
    sizes = [len(numbers()), len(numbers(9))]
    assert [(f["name"], f["bytes"], f["blocks"]) for f in plan["files"]] == [
        ("a.csv", sizes[0], 1),
        ("b.csv", sizes[1], 1),
    ]
    assert plan["n_bytes"] == sum(sizes) and plan["n_blocks"] == 2 and plan["features"] == ["a", "b"]
    assert plan["rounds_expected"] > 1 and plan["memory_bytes_per_worker"] > 0 and plan["workers"] == 1


def test_a_run_tells_rounds_on_stderr_and_its_result_on_stdout(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "v.csv": numbers(30)})
    brief = place(*LOGISTIC[:-1], "--valid", "v.csv")
    done = place(*LOGISTIC[:-1], "--valid", "v.csv", "--overwrite", "-v")
    assert done.code == 0 and done.out.startswith("logistic: 60 rows, 30 rows to validate with, ")
    assert "model  m/model.json, m/model.npz\nnext   mrml evaluate m --data v.csv" in done.out
    start, *rounds = [line for line in done.err.splitlines() if line != "done"]
    assert (
        start.startswith("2 files, 2 blocks")
        and len(rounds) == json.loads((place.here / "m/run.json").read_text())["rounds"]
    )
    assert all(line.startswith(f"round {i}/") and "rows/s" in line for i, line in enumerate(rounds, 1))
    first, last = brief.err.splitlines()[1:]
    assert first.startswith("round 1/") and last.startswith(f"round {len(rounds)}/")
    again = place(*LOGISTIC[:-1], "--valid", "v.csv", "--overwrite", "--json", "--log-format", "json")
    ran = json.loads(again.out)
    assert (ran["n_rows"], ran["valid_rows"], ran["valid"]["n_rows"]) == (60, 30, 30)
    events = [json.loads(line)["event"] for line in again.err.splitlines()]
    assert events == ["start"] + ["round"] * len(rounds)


def test_a_run_that_does_not_converge_is_6_with_strict_and_its_model_stays(place: Place) -> None:
    place.put({"d/a.csv": numbers()})
    done = place(*LOGISTIC, "--max-iterations", "2", "--tol", "1e-12", "--strict")
    assert done.code == 6 and done.out.startswith("logistic: 60 rows, ")
    assert done.err.startswith("error: logistic: max_iterations 2 reached: largest gradient entry ")
    assert done.err.endswith("; allow more rounds, or a larger tol\n") and done.err.count("\n") == 1
    assert place.model() and place(*LOGISTIC, "--max-iterations", "2", "--tol", "1e-12", "--overwrite").code == 0
    assert json.loads((place.here / "m/run.json").read_text())["converged"] is False


# ---- files and columns that are odd, and right


def test_what_lies_beside_the_rows_and_how_lines_end_changes_nothing(place: Place) -> None:
    """Empty parts, Hadoop's and Spark's own files, a header in every part, CRLF, byte order marks, no last newline."""
    parts = [numbers(20), numbers(30), numbers(9)]
    place.put({f"d/part-{i}.csv": part for i, part in enumerate(parts)})
    place.put(
        {
            "e/part-0.csv": parts[0].replace("\n", "\r\n"),
            "e/part-1.csv": "\ufeff" + parts[1].rstrip("\n"),
            "e/part-2.csv": parts[2].replace("\n", "\r"),
            "e/part-3.csv": "",
            "e/part-4.csv": "a,b,y\n",
            "e/_SUCCESS": "",
            "e/_committed_31": "{}",
            "e/_started_31": "",
            "e/.part-0.csv.crc": b"crc\0\1",
            "e/part-0.csv.crc": b"crc\0\1",
            "e/_temporary/0/part-9.csv": "not,a,row\n",
            "e/.hidden/x.csv": "?",
        }
    )
    assert place(*LOGISTIC).code == 0
    assert place("train", "logistic", "--data", "e", *LOGISTIC[4:7], "n", *INLINE).code == 0
    assert place.model("n") == place.model("m")


def test_inference_finds_rows_behind_many_parts_that_are_headers_only(place: Place) -> None:
    place.put({f"d/part-{i:02}.csv": "a,b,y\n" for i in range(20)})
    place.put({"d/part-20.csv": numbers()})
    assert place(*LOGISTIC).code == 0
    assert told(place, "evaluate", "m", "--data", "d", *INLINE)["n_rows"] == 60


def test_two_null_markers_a_blank_and_an_empty_column_are_nulls(place: Place) -> None:
    place.put({"d/a.csv": "a,e,y\n" + "".join(f"{['NA', '?', ' ', i][i % 4]},,{i % 6}\n" for i in range(40))})
    report = yaml.safe_load(place("schema", "d", "--target", "y").out)["observed"]["columns"]
    assert report["a"]["nulls"] == 30 and report["a"]["notes"] == ["3 different null markers"]
    assert {(m["text"], m["count"]) for m in report["a"]["null_markers"]} == {("NA", 10), ("?", 10), (" ", 10)}
    assert report["e"]["notes"] == ["every value is null"]
    assert place(*LINEAR).code == 0
    assert list(told(place, "inspect", "m")["coefficients"]) == ["a"]
    assert told(place, *LINEAR, "--dry-run", "--overwrite")["ignored"] == ["e"]


def test_a_column_that_the_schema_keeps_and_that_holds_nothing_has_no_coefficient(place: Place) -> None:
    place.put({"d/a.csv": "a,e,y\n" + "".join(f"{i % 7},,{i % 6}\n" for i in range(40))})
    assert place("schema", "d", "--target", "y", "--output", "s.yaml").code == 0
    text = (
        (place.here / "s.yaml")
        .read_text()
        .replace("{name: e, kind: numeric, role: ignore", "{name: e, kind: numeric, role: feature")
    )
    place.put({"s.yaml": text})
    assert place(*LINEAR, "--schema", "s.yaml").code == 0
    assert told(place, "inspect", "m")["coefficients"]["e"] == [0.0]


def test_the_telco_data_with_its_blank_numbers_trains_at_once(place: Place) -> None:
    data = str(shared("telco-churn", "Telco-Customer-Churn.csv"))
    assert place("train", "logistic", "--data", data, "--target", "Churn", "--id", "customerID", "--output", "m",
                 *INLINE).code == 0  # fmt: skip
    assert "TotalCharges" in told(place, "inspect", "m")["coefficients"]
    report = yaml.safe_load(place("schema", data, "--target", "Churn").out)["observed"]["columns"]
    assert report["TotalCharges"]["null_markers"] == [{"text": " ", "count": 11}]


def test_the_chicago_taxi_data_with_its_empty_column_trains_at_once(place: Place) -> None:
    data = str(shared("chicago-taxi", "data.parquet"))
    plan = told(place, "train", "linear", "--data", data, "--target", "fare", "--dry-run", *INLINE)
    assert plan["ignored"] == ["pickup_census_tract"]
    done = place("train", "linear", "--data", data, "--target", "fare", "--output", "m", *INLINE)
    assert done.code == 0 and "  collinear: 4 directions dropped among " in done.out
    assert all(abs(c) < 1e6 for cs in told(place, "inspect", "m")["coefficients"].values() for c in cs)


def test_constant_and_collinear_columns_are_told_and_do_not_blow_up(place: Place) -> None:
    lines = "".join(f"{i % 7},{(i * 5) % 11},{i % 7 + (i * 5) % 11},3,{(i * i) % 13}\n" for i in range(60))
    place.put({"d/a.csv": "a,b,sum,same,y\n" + lines})
    done = place(*LINEAR)
    what = "2 directions dropped among a, b, sum, same; of equal predictions the smallest coefficients"
    assert done.code == 0 and f"  collinear: {what}\n" in done.out
    found = told(place, "inspect", "m")["coefficients"]
    x = np.array([[i % 7, (i * 5) % 11] for i in range(60)], float)
    y = np.array([(i * i) % 13 for i in range(60)], float)
    (a, b), *_ = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(), rcond=None)
    assert found["same"] == [0.0]
    np.testing.assert_allclose([found["a"][0] + found["sum"][0], found["b"][0] + found["sum"][0]], [a, b], rtol=1e-9)


def test_newlines_in_quotes_are_read_with_multiline(place: Place) -> None:
    place.put({"d/a.csv": "a,b,y\n" + '1,"u\nv",no\n2,w,yes\n3,"u\nv",yes\n4,w,no\n' * 5})
    assert place(*LOGISTIC, "--multiline").code == 0
    assert list(told(place, "inspect", "m")["coefficients"]) == ["a", "b=u\nv", "b=w", "b=other"]


def test_bad_rows_that_are_skipped_are_counted_in_the_summary_and_in_the_record(place: Place) -> None:
    bad = b"1,\xff,no\nx,2,no\n1,2\n"
    place.put({"d/a.csv": numbers().encode() + bad, "e/a.csv": numbers()})
    done = place(*LOGISTIC, "--bad-rows", "skip", "--max-bad-rows", "3")
    assert (
        done.code == 0 and done.out.startswith("logistic: 60 rows, ") and "  left out: 3 malformed rows\n" in done.out
    )
    ran, at = json.loads((place.here / "m/run.json").read_text()), len(numbers())
    assert (ran["n_rows"], ran["bad_rows"], ran["metrics"]["n_rows"]) == (60, 3, 60)
    assert ran["problems"] == [
        f"a.csv, byte {at}, column 'b': is not UTF-8; "
        "use --encoding cp1252, latin-1 or what it is, or save the file as UTF-8",
        f"a.csv, byte {at + 7}, column 'a': 'x' is not a number; add na: [\"x\"] under data",
        f"a.csv, byte {at + 14}: has 2 fields, the header names 3; quote what holds ',', or say another --delimiter",
    ]
    fitted = told(place, "inspect", "m")
    assert place("train", "logistic", "--data", "e", *LOGISTIC[4:7], "n", *INLINE).code == 0
    assert {k: told(place, "inspect", "n")[k] for k in ("coefficients", "intercept")} == {
        k: fitted[k] for k in ("coefficients", "intercept")
    }


def test_hive_partitions_are_columns(place: Place) -> None:
    place.put(
        {
            "d/country=NL/day=1/a.csv": numbers(20),
            "d/country=BE/day=2/a.csv": numbers(30),
            "d/country=__HIVE_DEFAULT_PARTITION__/day=2/a.csv": numbers(7),
        }
    )
    assert place(*LOGISTIC).code == 0
    names = list(told(place, "inspect", "m")["coefficients"])
    assert names == ["a", "b", "day", "country=BE", "country=NL", "country=null", "country=other"]
    assert place("predict", "m", "--data", "d/country=NL", "--output", "p", "--format", "csv", *INLINE).code == 0
    assert len(predictions(place.here / "p")) == 20


def test_weights_beside_a_libsvm_file_are_used(place: Place) -> None:
    lines = [f"{i % 2} 1:{i % 5} 3:{(i * i) % 7}\n" for i in range(20)]
    place.put(
        {
            "d/a.svm": "".join(lines),
            "d/a.svm.weight": "".join(f"{1 + i % 3}\n" for i in range(20)),
            "e/a.svm": "".join(line * (1 + i % 3) for i, line in enumerate(lines)),
        }
    )
    found = []
    for data in "de":
        assert (
            place("train", "logistic", "--data", data, "--output", f"m{data}", "--standardise", "false", *INLINE).code
            == 0
        )
        found.append(told(place, "inspect", f"m{data}"))
    assert found[0]["facts"]["sum_weight"] == found[1]["facts"]["sum_weight"] == 39
    assert found[0]["intercept"] == pytest.approx(found[1]["intercept"], rel=1e-5)
    scores = []
    for data in "de":
        assert place("predict", f"m{data}", "--data", "e", "--output", f"p{data}", *INLINE).code == 0
        scores.append([row["probability_1"] for row in predictions(place.here / f"p{data}")])
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    assert told(place, "evaluate", "md", "--data", "d", *INLINE)["weight"] == 39


# ---- predict


def scored(place: Place, *argv: str) -> list[dict[str, Any]]:
    done = place("predict", "m", "--output", "p", "--overwrite", *INLINE, *argv)
    assert done.code == 0, done.err
    return predictions(place.here / "p")


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_predictions_are_the_model_s_in_the_order_of_the_input(place: Place, format_: str) -> None:
    """Several files, one of them compressed, bad rows skipped: told by file and row, or by their id."""
    place.put({"d/a.csv": measured()})
    assert place(*LINEAR, "--exclude", "key").code == 0
    model = told(place, "inspect", "m")
    (a,), (b,), (intercept,) = *(model["coefficients"][name] for name in "ab"), model["intercept"]
    bad = "b,key,a,more\n2.5,x0,1,?\n0.5,x1,one,?\n1.5,x2,3,?\n"
    place.put({"e/2.csv": measured(5, 70), "e/10.csv": bad, "e/sub/0.csv": measured(3, 9)})
    place.put({"e/1.csv.gz": gzip.compress(measured(30, 100).encode())})
    files = {"1.csv.gz": range(100, 130), "10.csv": None, "2.csv": range(70, 75), "sub/0.csv": range(9, 12)}
    wanted = []
    for name, numbers_ in files.items():
        if numbers_ is None:
            wanted += [(name, 0, "x0", intercept + a * 1 + b * 2.5), (name, 2, "x2", intercept + a * 3 + b * 1.5)]
            continue
        wanted += [
            (name, row, f"k{i}", intercept + a * (i % 11) + b * ((i * 7) % 13 + 0.5)) for row, i in enumerate(numbers_)
        ]
    more = ("--data", "e", "--format", format_, "--bad-rows", "skip")
    by_row = scored(place, *more)
    assert list(by_row[0]) == ["file", "row", "prediction"]
    assert [(r["file"], int(r["row"])) for r in by_row] == [w[:2] for w in wanted]
    np.testing.assert_allclose([float(r["prediction"]) for r in by_row], [w[3] for w in wanted], rtol=1e-12)
    by_id = scored(place, *more, "--id", "key")
    assert list(by_id[0]) == ["id", "prediction"] and [r["id"] for r in by_id] == [w[2] for w in wanted]
    assert [r["prediction"] for r in by_id] == [r["prediction"] for r in by_row]


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_rows_without_the_model_s_id_are_told_by_file_and_row_with_a_note(place: Place, format_: str) -> None:
    place.put({"d/a.csv": measured(), "e/b.csv": "x,a,b\n1,2,3.5\n1,4,5\n"})
    assert place(*LINEAR, "--id", "key").code == 0
    table = pa_csv.read_csv(place.here / "e/b.csv")
    if format_ == "parquet":
        pq.write_table(table, place.here / "e/b.parquet")
    elif format_ == "jsonl":
        place.put({"e/b.jsonl": "".join(json.dumps(row) + "\n" for row in table.to_pylist())})
    done = place("predict", "m", "--data", f"e/b.{format_}", "--output", "p", *INLINE[:-1])
    assert done.code == 0, done.err
    assert f"b.{format_}: there is no column 'key', the id when the model was trained" in done.err
    assert [(r["file"], r["row"]) for r in predictions(place.here / "p")] == [(f"b.{format_}", 0), (f"b.{format_}", 1)]
    named = place("predict", "m", "--data", f"e/b.{format_}", "--output", "q", "--id", "key", *INLINE)
    assert named.code == 3 or format_ == "jsonl"  # a key that is in no object is null in each


def test_rows_may_be_told_by_another_id_than_the_one_the_model_was_trained_with(place: Place) -> None:
    rows = measured().splitlines()
    place.put({"d/a.csv": "\n".join(["n," + rows[0], *(f"{i},{row}" for i, row in enumerate(rows[1:]))])})
    assert place(*LINEAR, "--id", "n", "--exclude", "key").code == 0
    by_number = scored(place, "--data", "d")
    by_key = scored(place, "--data", "d", "--id", "key")
    assert [r["id"] for r in by_number[:2] + by_key[:2]] == ["0", "1", "k0", "k1"]
    assert [r["prediction"] for r in by_number] == [r["prediction"] for r in by_key]


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_the_ids_of_csv_keep_their_zeros(place: Place, format_: str) -> None:
    place.put({"d/a.csv": measured().replace("k", "00")})
    assert place(*LINEAR, "--exclude", "00ey").code == 0
    rows = scored(place, "--data", "d", "--id", "00ey", "--format", format_)
    assert [r["id"] for r in rows[:3]] == ["000", "001", "002"]


def test_predictions_are_the_same_rows_on_every_engine_and_cut(place: Place) -> None:
    place.put({"d/a.csv": measured(300), "d/b.csv": measured(200)})
    assert place(*LINEAR, "--id", "key", "--window-bytes", "1000").code == 0
    rows = scored(place, "--data", "d")
    for engine in (("inline",), ("local", "--workers", "2"), ("streaming", "-r", "inline")):
        done = place(
            "predict",
            "m",
            "--data",
            "d",
            "--output",
            "q",
            "--engine",
            *engine,
            "--split-bytes",
            "2500",
            "--overwrite",
            "-q",
        )
        assert done.code == 0 and len(list((place.here / "q").glob("part-*"))) > 3
        assert predictions(place.here / "q") == rows


def test_columns_are_found_by_name_in_any_order_and_extra_ones_are_ignored(place: Place) -> None:
    place.put({"d/a.csv": numbers()})
    assert place(*LOGISTIC).code == 0
    lines = [line.split(",") for line in numbers().splitlines()[1:]]
    place.put(
        {
            "e/a.tsv": "z\tb\ta\n" + "".join(f"x\t{b}\t{a}\n" for a, b, _ in lines),
            "f/a.jsonl": "".join(json.dumps({"b": int(b), "q": [1], "a": float(a)}) + "\n" for a, b, _ in lines),
        }
    )
    sink = pa.table({"b": [int(b) for _, b, _ in lines], "t": ["x"] * 60, "a": [int(a) for a, _, _ in lines]})
    (place.here / "g").mkdir()
    pq.write_table(sink, place.here / "g/a.parquet")
    wanted = [{k: v for k, v in row.items() if k != "file"} for row in scored(place, "--data", "d")]
    assert list(wanted[0]) == ["row", "prediction", "probability_no", "probability_yes"]
    for data in "efg":
        assert [{k: v for k, v in row.items() if k != "file"} for row in scored(place, "--data", data)] == wanted


def test_files_whose_names_are_not_utf_8_are_read_and_named(place: Place) -> None:
    place.put({"d/a.csv": numbers()})
    assert place(*LOGISTIC).code == 0
    odd = os.fsencode(place.here) + b"/e\xff.csv"
    with open(odd, "w") as file:
        file.write(numbers(3))
    found = scored(place, "--data", os.fsdecode(b"e\xff.csv"), "--format", "csv")
    assert [row["file"] for row in found] == ["e\\udcff.csv"] * 3
    done = place.run("train", "kmeans", "--k", "2", "--data", os.fsdecode(b"e\xff.csv"), "--output", "k", *INLINE)
    assert done.code == 0 and done.out.startswith("kmeans: 3 rows, ")


def test_labels_come_back_as_they_were(place: Place) -> None:
    place.put({"d/a.csv": "a,y\n" + "".join(f"{i % 7},{(-1, 5, 12)[i % 3]}\n" for i in range(60))})
    assert place("train", "softmax", *LOGISTIC[2:]).code == 0
    row = scored(place, "--data", "d")[0]
    assert row["prediction"] in (-1, 5, 12) and list(row)[3:] == ["probability_-1", "probability_5", "probability_12"]
    assert sum(v for k, v in row.items() if k.startswith("prob")) == pytest.approx(1)


def test_rows_never_seen_are_scored_with_their_nulls_filled_and_levels_unknown(place: Place) -> None:
    place.put(
        {
            "d/a.csv": "a,b,y\n" + "".join(f"{i % 7},{'uvw'[i % 3]},{i % 5}\n" for i in range(60)),
            "e/a.csv": "a,b\n,u\n3,new\n,\n",
        }
    )
    assert place(*LINEAR).code == 0
    model = told(place, "inspect", "m")
    c, (intercept,) = {k: v[0] for k, v in model["coefficients"].items()}, model["intercept"]
    mean = sum(i % 7 for i in range(60)) / 60
    found = [row["prediction"] for row in scored(place, "--data", "e")]
    wanted = [c["a"] * mean + c["b=u"], c["a"] * 3 + c["b=other"], c["a"] * mean + c["b=other"]]
    np.testing.assert_allclose(found, np.array(wanted) + intercept, rtol=1e-9)


# ---- evaluate

METRICS = ["auc", "pr_auc", "log_loss", "accuracy", "rmse", "mae", "r2", "deviance"]


def test_evaluation_has_the_same_keys_for_every_model_and_scikit_learn_s_figures(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "e/a.csv": measured()})
    assert place(*LOGISTIC).code == 0
    found = told(place, "evaluate", "m", "--data", "d", *INLINE)
    assert list(found)[:8] == METRICS and found["n_rows"] == 60
    truth = [line.endswith("yes") for line in numbers().splitlines()[1:]]
    rows = scored(place, "--data", "d")
    chance = [row["probability_yes"] for row in rows]
    assert found["auc"] == pytest.approx(sk.roc_auc_score(truth, chance), rel=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, chance), rel=1e-12)
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(truth, chance), rel=1e-12)
    assert found["accuracy"] == sk.accuracy_score(truth, [row["prediction"] == "yes" for row in rows])
    assert found["rmse"] is found["mae"] is found["r2"] is None
    assert place(*LINEAR[:3], "e", *LINEAR[4:], "--id", "key", "--overwrite").code == 0
    found = told(place, "evaluate", "m", "--data", "e", *INLINE)
    assert list(found)[:8] == METRICS and found["auc"] is found["log_loss"] is found["accuracy"] is None
    truth, said = [(i * i) % 17 + 0.25 for i in range(60)], [row["prediction"] for row in scored(place, "--data", "e")]
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, said), rel=1e-12)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, said), rel=1e-12)
    assert found["r2"] == pytest.approx(sk.r2_score(truth, said), rel=1e-10)


# ---- the other ways in


def test_the_same_commands_as_mrjob_jobs_make_the_same_model_and_predictions(place: Place) -> None:
    place.put({"d/a.csv": measured()})
    more = ("--data", "d", "--target", "y", "--id", "key", "--max-rounds", "2", "--output")
    assert place("train", "linear", *more, "m", *INLINE).code == 0
    done = place.run("-r", "local", "linear", *more, "j", "--workers", "1", program=(str(ROOT / "jobs" / "train.py"),))
    assert done.code == 0 and "engine streaming, " in done.err and "model  j/model.json, j/model.npz" in done.out
    assert place.model("j") == place.model("m")
    again = ("-r", "inline", "j", "--data", "d")
    done = place.run(*again, "--output", "p", program=(str(ROOT / "jobs" / "predict.py"),))
    assert done.code == 0 and len(predictions(place.here / "p")) == 60
    done = place.run(*again, "--json", program=(str(ROOT / "jobs" / "evaluate.py"),))
    assert json.loads(done.out) == told(place, "evaluate", "m", "--data", "d", *INLINE)


API = """
{first}
import mrml, json, os, sys
assert mrml.pin.pinned() is {pinned} and ("OPENBLAS_NUM_THREADS" in os.environ) is {pinned}
model = mrml.Logistic(l2=1e-4).fit("d", target="y", engine="inline", output="api")
table = model.predict("d", output="p")
model.save("saved")
again = mrml.load("saved")
try:
    mrml.Logistic(l2=1e-4).fit("d", target="yy", engine="inline")
except mrml.errors.InputError as error:
    wrong = str(error)
told = dict(rows=table.num_rows, columns=table.column_names, metrics=model.metrics, evaluated=again.evaluate("d"),
            classes=model.to_sklearn().classes_.tolist(), wrong=wrong, facts=model.facts["converged"])
assert mrml.pin.pinned() is {pinned}, "the process is left as it is"
print(json.dumps(told))
"""


@pytest.mark.parametrize(("first", "pinned"), [("", True), ("", False), ("import numpy", False)])
def test_python_makes_the_same_model_whatever_the_kernels_of_its_process(
    place: Place, first: str, pinned: bool
) -> None:
    place.put({"d/a.csv": numbers()})
    assert place(*LOGISTIC).code == 0
    done = place.run(program=("-c", API.format(first=first, pinned=pinned)), **(pin.VARIABLES if pinned else {}))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert place.model("api") == place.model("m") == place.model("saved")
    assert found["rows"] == 60 and found["columns"] == [
        "file",
        "row",
        "prediction",
        "probability_no",
        "probability_yes",
    ]
    assert found["metrics"] == found["evaluated"] and found["classes"] == ["no", "yes"] and found["facts"] is True
    assert found["wrong"] == "column 'yy': is not in the data; did you mean 'y'?"
    assert list(place.tmp.iterdir()) == []


UNPINNED = """
import numpy, sys
from mrml import logs
{enter}
"""
BY_THE_COMMAND = "from mrml.cli.main import main\nsys.exit(main(sys.argv[1:]))"
PAST_THE_DOORS = """
logs.setup(sys.stderr)
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import EngineError
from mrml.runs.train import train
data = DataConfig(data=("d",), target="y")
train(RunConfig("logistic", {"tol": 1e-3}, data, EngineConfig("inline"), "n", 3))
try:
    train(RunConfig("logistic", {"tol": 1e-3}, data, EngineConfig("inline", strict_identity=True), "o", 3))
except EngineError as error:
    print(error)
"""


def wide_and_numeric() -> str:
    """60 columns: products large enough for a BLAS to share among threads."""
    lines = "".join(",".join(str(i * (j + 1) % (j + 53)) for j in range(60)) + f",{i % 3}\n" for i in range(2000))
    return ",".join(f"x{j}" for j in range(60)) + ",y\n" + lines


def test_a_command_called_where_numpy_came_first_computes_in_a_process_of_its_own(place: Place) -> None:
    place.put({"d/a.csv": wide_and_numeric()})
    assert place(*LINEAR, "--max-rounds", "2").code == 0
    program = ("-c", UNPINNED.format(enter=BY_THE_COMMAND))
    done = place.run(*LINEAR[:7], "n", *INLINE, "--max-rounds", "2", program=program, OPENBLAS_NUM_THREADS="2")
    assert done.code == 0, done.err
    assert "unpinned" not in done.err and place.model("n") == place.model("m")
    assert place.run("train", "linear", program=program).code == 2


def test_a_run_that_computes_unpinned_all_the_same_is_told_and_refused_where_identity_is_strict(place: Place) -> None:
    place.put({"d/a.csv": numbers()})
    done = place.run(program=("-c", UNPINNED.format(enter=PAST_THE_DOORS)))
    assert done.code == 0, done.err
    told = "NumPy was loaded before mrml could pin its kernels"
    assert done.err.count(told) >= 1 and "export the variables of mrml.pin" in done.err
    assert told in done.out
    (found,) = json.loads((place.here / "n/run.json").read_text())["fingerprints"]
    assert found.endswith("-unpinned")


@pytest.mark.parametrize("threads", [None, "1", "2"])
def test_the_model_is_the_same_bytes_whatever_the_caller_s_blas_threads(place: Place, threads: str | None) -> None:
    place.put({"d/a.csv": wide_and_numeric()})
    assert place(*LINEAR, "--max-rounds", "2").code == 0
    environment = {} if threads is None else {"OPENBLAS_NUM_THREADS": threads}
    done = place.run(*LINEAR[:7], "n", *INLINE, "--max-rounds", "2", **environment)
    assert done.code == 0, done.err
    assert place.model("n") == place.model("m")


@pytest.mark.parametrize("quiet", [(), ("-q",), ("--json",)])
def test_what_has_not_converged_says_so_in_the_last_line(place: Place, quiet: tuple[str, ...]) -> None:
    place.put({"d/a.csv": "a,b\n" + "".join(f"{i % 7},{i * i % 11}\n" for i in range(60))})
    command = ("train", "kmeans", "--k", "5", "--seeding", "random", "--data", "d", *INLINE, *quiet)
    done = place(*command, "--max-iterations", "1", "--output", "m")
    assert done.code == 0
    last = "warning: m: has not converged: max_iterations (1) reached before the centres stood still"
    assert done.err.splitlines()[-1] == last
    done = place(*command, "--output", "n")
    assert done.code == 0 and "converged" not in done.err


def test_what_has_not_converged_is_in_colour_on_a_terminal(place: Place) -> None:
    place.put({"d/a.csv": "a,b\n" + "".join(f"{i % 7},{i * i % 11}\n" for i in range(60))})
    ours, theirs = os.openpty()
    command = ["train", "kmeans", "--k", "5", "--seeding", "random", "--max-iterations", "1", "--data", "d",
               "--output", "m", *INLINE, "-q"]  # fmt: skip
    with open(ours, "rb", buffering=0) as terminal:
        done = subprocess.run([sys.executable, "-m", "mrml", *command], stdout=subprocess.DEVNULL, stderr=theirs,
                              cwd=place.here, env={**place.environment, "TERM": "xterm"}, timeout=60)  # fmt: skip
        told = terminal.read(4096).decode()
        os.close(theirs)
    assert done.returncode == 0 and "\033[33mwarning:\033[0m m: has not converged" in told


def test_clusters_are_found_and_predicted(place: Place) -> None:
    place.put({"d/a.csv": "a,b\n" + "".join(f"{i % 3 * 10 + i % 2},{i % 3 * -7}\n" for i in range(60))})
    assert place("train", "kmeans", "--k", "3", "--data", "d", "--output", "m", *INLINE).code == 0
    found = [row["prediction"] for row in scored(place, "--data", "d")]
    assert len({(i % 3, c) for i, c in enumerate(found)}) == 3 == len(set(found))
    assert told(place, "inspect", "m")["class"] == "mrml.kmeans-model/1"


def test_clusters_are_measured_in_the_summary_and_by_evaluate(place: Place) -> None:
    place.put({"d/a.csv": "a,b\n0,0\n2,0\n10,5\n10,9\n13,7\n", "e/a.csv": "a,b\n1,3\n11,6\n"})
    done = place("train", "kmeans", "--k", "2", "--n-init", "3", "--data", "d", "--output", "m", *INLINE)
    assert done.code == 0 and "restart 1 of 3 has the least inertia" in done.out
    inertia = 2 * 1.0 + (1 + 4) * 2 + 4  # about (1, 0) and (11, 7)
    assert ["inertia", str(int(inertia))] in [line.split() for line in done.out.splitlines()]
    assert told(place, "inspect", "m")["inertia"] == pytest.approx(inertia)
    found = told(place, "evaluate", "m", "--data", "e", *INLINE)
    assert found["n_rows"] == 2 and found["inertia"] == pytest.approx(9 + 1)
    assert sorted((c["rows"], c["inertia"]) for c in found["clusters"]) == [
        (1, pytest.approx(1)),
        (1, pytest.approx(9)),
    ]
    text = place("evaluate", "m", "--data", "e", *INLINE).out
    assert ["cluster", "rows", "weight", "inertia"] in [line.split() for line in text.splitlines()]


def test_a_sample_is_made_trained_on_and_evaluated_by_the_installed_command(place: Place) -> None:
    assert place.run("sample", "made", "--rows", "500", "--columns", "3", "--seed", "4").code == 0
    done = place.run(
        "train", "logistic", "--data", "made", "--target", "label", "--output", "m", "--workers", "1", "-q"
    )
    assert done.code == 0 and done.err == ""
    metrics = json.loads(place.run("evaluate", "m", "--data", "made", "--json", "-q", *INLINE[:2]).out)
    assert metrics["n_rows"] == 500 and metrics["auc"] > 0.7
    assert place.run("version").out.startswith("mrml ") and list(place.tmp.iterdir()) == []


# ---- interrupts and kills

#: logistic regression that stops in its second round while the file HOLD is there
WAITS = """
import os, time
from dataclasses import dataclass
from mrml.algorithms.linear.glm import Logistic
from tests.shared import shared

@dataclass(frozen=True)
class Waits(Logistic):
    def map(self, state, block, into):
        hold = os.environ.get("HOLD", "")
        while state.round == 2 and os.path.exists(hold):
            open(hold + ".reached", "w").close()
            time.sleep(0.02)
        super().map(state, block, into)
"""
WAITING = ("train", "waits:Waits", "--data", "d", "--target", "y", "--output", "m", "-q", "--engine")


def processes_of(place: Place) -> list[str]:
    """Command lines of the processes that have this place's temporary folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={place.tmp}\0" in (entry / "environ").read_text() + "\0" and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def none_left(place: Place) -> bool:
    """Whether they all end; they look for their driver twice a second."""
    for _ in range(300):
        if not processes_of(place):
            return True
        time.sleep(0.1)
    return False


def stopped(place: Place, number: signal.Signals, engine: tuple[str, ...], group: bool) -> tuple[int, str]:
    """Send a signal in the middle of the second round; exit code and stderr."""
    hold = place.here / "hold"
    hold.touch()
    process = place.start(*WAITING, *engine, HOLD=str(hold))
    while not (place.here / "hold.reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize(
    ("number", "engine", "group"),
    [
        (signal.SIGINT, ("inline",), False),
        (signal.SIGINT, ("local", "--workers", "2"), True),
        (signal.SIGTERM, ("local", "--workers", "2"), False),
        (signal.SIGTERM, ("streaming", "-r", "local", "--workers", "2"), True),
    ],
)
def test_an_interrupted_run_is_130_leaves_no_process_and_resumes_to_the_same_bytes(
    place: Place, number: signal.Signals, engine: tuple[str, ...], group: bool
) -> None:
    place.put({"d/a.csv": numbers(), "d/b.csv": numbers(9), "waits.py": WAITS})
    code, err = stopped(place, number, engine, group)
    assert code == 130
    assert err.endswith("error: interrupted; the same command continues\n") and "Traceback" not in err
    assert none_left(place) and list(place.tmp.iterdir()) == []
    assert [p.name for p in (place.here / "m").iterdir()] == ["_run"]
    resumed_to_the_same_bytes(place)


def resumed_to_the_same_bytes(place: Place) -> None:
    """By the same command once more: the directory is how a run is found again."""
    other = place(*WAITING, "inline", "--window-bytes", "100000")
    assert other.code == 4 and "m: contains an unfinished run of something else; " in other.err
    done = place(*(word for word in WAITING if word != "-q"), "inline")
    assert done.code == 0 and "m: continuing an unfinished run after round " in done.err
    resumed = place.model()
    assert place(*WAITING, "inline", "--overwrite").code == 0
    assert place.model() == resumed


def test_a_killed_run_is_no_output_leaves_no_worker_and_resumes_to_the_same_bytes(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "d/b.csv": numbers(9), "waits.py": WAITS})
    code, _ = stopped(place, signal.SIGKILL, ("local", "--workers", "2"), False)
    assert code == -signal.SIGKILL and none_left(place)
    assert [p.name for p in (place.here / "m").iterdir()] == ["_run"]
    resumed_to_the_same_bytes(place)
    assert list(place.tmp.iterdir()) == [], "the next run sweeps what a killed one left"


def test_a_model_that_was_to_be_replaced_by_a_killed_run_is_there_until_the_new_one_is(place: Place) -> None:
    place.put({"d/a.csv": numbers(), "waits.py": WAITS})
    assert place(*WAITING, "inline").code == 0
    old = place.model()
    place.put({"d/b.csv": numbers(9)})
    hold = place.here / "hold"
    hold.touch()
    process = place.start(*WAITING, "inline", "--overwrite", HOLD=str(hold))
    while not (place.here / "hold.reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert place.model() == old
    process.kill()
    process.communicate()
    assert place.model() == old and place("inspect", "m").code == 0
    hold.unlink()
    assert place(*WAITING, "inline", "--resume").code == 0
    assert place.model() != old
