"""mrml validate: how rows differ from those of before equals a direct computation, and chance alone fails nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from scipy import stats

from mrml.algorithms.evaluation.describe import Describe
from mrml.cli.main import main
from mrml.config.sections import DataConfig, EngineConfig
from mrml.config.steps import Limits
from mrml.runs.batch.drift import _chi_square, drifts, stability_index
from mrml.runs.batch.validate import _as_number, before_of, describe
from tests.shared import shared

CHURN = Path(__file__).parents[1] / "data-samples" / "churn"


def direct(before: np.ndarray, now: np.ndarray) -> float:
    """The index by its formula, over the tenths of the rows before and a bin of nulls."""
    old, new = before[~np.isnan(before)], now[~np.isnan(now)]
    edges = np.unique(np.sort(old)[np.searchsorted((np.arange(len(old)) + 0.5) / len(old), np.arange(1, 10) / 10)])
    shares = []
    for rows, whole in ((old, before), (new, now)):
        counts = [((rows >= a) & (rows < b)).sum() for a, b in zip([-np.inf, *edges], [*edges, np.inf], strict=True)]
        shares.append(np.maximum(np.array([*counts, len(whole) - len(rows)]) / len(whole), 1e-4))
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def write(path: Path, columns: dict[str, Any]) -> str:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, r)) for r in rows)]) + "\n", encoding="utf-8")
    return str(path)


def validated(capsys: Any, data: str, against: str, *words: str, code: int = 0) -> dict[str, Any]:
    assert main(["validate", data, "--against", against, "--json", "-q", *words]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found | {"by": {c["column"]: c for c in found["columns"]}}


def test_figures_equal_a_direct_computation(tmp_path: Path, capsys: Any) -> None:
    rng = np.random.default_rng(3)
    old, new = rng.normal(size=4000), rng.normal(0.8, 1.2, size=3000)
    before, now = rng.choice(list("aab"), 4000), rng.choice(list("abbcd"), 3000)
    gaps, holes = np.where(rng.random(4000) < 0.02, np.nan, 1.0), np.where(rng.random(3000) < 0.3, np.nan, 1.0)
    texts = [["" if math.isnan(v) else "1" for v in c] for c in (gaps, holes)]
    a = write(tmp_path / "a.csv", {"x": old, "c": before, "g": texts[0]})
    b = write(tmp_path / "b.csv", {"x": new, "c": now, "g": texts[1]})
    found = validated(capsys, b, a, code=3)["by"]
    assert found["x"]["psi"] == pytest.approx(direct(old, new), rel=1e-12)
    outside = ((new < old.min()) | (new > old.max())).mean()
    assert found["x"]["out_of_range"] == pytest.approx(outside) and outside > 0
    counts = [Counter(c.tolist()) for c in (before, now)]
    p = np.maximum([counts[0][k] / 4000 for k in "ab"] + [0.0] * 3, 1e-4)
    q = np.maximum([*(counts[1][k] / 3000 for k in "ab"), 0, (counts[1]["c"] + counts[1]["d"]) / 3000, 0], 1e-4)
    assert found["c"]["psi"] == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-12)
    assert found["c"]["unseen"] == pytest.approx((counts[1]["c"] + counts[1]["d"]) / 3000)
    assert found["g"]["missing"] == np.isnan(holes).mean() and found["g"]["missing_before"] == np.isnan(gaps).mean()
    assert {name: bool(c["failures"]) for name, c in found.items()} == {"x": True, "c": True, "g": True}


def test_the_seasons_of_two_halves_by_date_differ_and_random_halves_do_not(tmp_path: Path, capsys: Any) -> None:
    head, *rows = shared("bike-sharing", "hour_train.csv").read_text("utf-8").splitlines()
    order = np.random.default_rng(1).permutation(len(rows))
    halves = {"date": (rows[: len(rows) // 2], rows[len(rows) // 2 :]),
              "random": ([rows[i] for i in order[::2]], [rows[i] for i in order[1::2]])}  # fmt: skip
    failed = {}
    for name, parts in halves.items():
        paths = [tmp_path / f"{name}{i}.csv" for i in range(2)]
        for path, part in zip(paths, parts, strict=True):
            path.write_text("\n".join([head, *part]) + "\n", encoding="utf-8")
        found = validated(capsys, str(paths[1]), str(paths[0]), code=3 if name == "date" else 0)
        failed[name] = {c["column"] for c in found["columns"] if c["shifted"]}
    assert {"season", "mnth", "temp"} <= failed["date"] and failed["random"] == set()


def test_chance_alone_fails_nothing_however_few_rows_there_are() -> None:
    rng, failed = np.random.default_rng(5), 0
    for n, m in [(20, 20), (60, 500), (3000, 40), (400, 400)] * 50:
        profiles = []
        for rows in (n, m):
            levels = Counter(rng.geometric(0.1, rows).astype(str).tolist())
            column = {"kind": "categorical", "nulls": 0, "levels": dict(levels.most_common()), "rest": 0}
            profiles.append({"n_rows": rows, "columns": {"c": column}})
        failed += bool(drifts(*profiles, Limits(psi=0.0, unseen=0.0))[0].failures)  # type: ignore[call-arg]
    assert failed <= 6  # of 200, at a chance of about 1 in 500 each: the index is only about chi-square


@pytest.mark.parametrize("free", [1, 2, 9, 50])
def test_the_bound_of_chance_is_chi_squares(free: int) -> None:
    assert _chi_square(free) == pytest.approx(stats.chi2.ppf(0.999, free), rel=0.04)


def test_the_index_of_the_same_shares_is_zero_and_it_does_not_know_before_from_now() -> None:
    assert stability_index([10, 30], [1, 3]) == 0
    assert stability_index([10, 30, 0], [5, 1, 9]) == pytest.approx(stability_index([5, 1, 9], [10, 30, 0]))


@pytest.mark.parametrize("engine", ["inline", "local", "streaming", "resident"])
@pytest.mark.parametrize("window", [300, 4 << 20])
def test_a_profile_is_the_same_by_every_engine_and_cut(engine: str, window: int) -> None:
    data = DataConfig(data=(str(CHURN),), split_bytes=700, window_bytes=window)
    config = EngineConfig(engine=engine, runner="inline" if engine == "streaming" else "local", workers=2)
    found, counts = describe(data, config, None)
    other, _ = describe(dataclasses.replace(data, split_bytes=1 << 20), EngineConfig(engine="inline"), None)
    assert found == other and found["n_rows"] == 120 and counts["bad_rows"] == 0


def test_what_is_compared_may_be_a_model_a_schema_or_rows(tmp_path: Path, capsys: Any) -> None:
    parts = [str(CHURN / f"part-0000{i}.csv") for i in range(2)]
    model = str(tmp_path / "model")
    assert main(["train", "logistic", f"--data={parts[0]}", "--target=churned", f"--output={model}", "-q"]) == 0
    capsys.readouterr()
    assert main(["schema", parts[0], "-q"]) == 0
    (tmp_path / "s.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    loose = ["--psi=99", "--unseen=1", "--out-of-range=1", "--missing=1"]
    by_rows = validated(capsys, parts[1], parts[0], *loose)["by"]
    by_model = validated(capsys, parts[1], model, *loose)["by"]
    by_schema = validated(capsys, parts[1], str(tmp_path / "s.yaml"), *loose)["by"]
    assert by_model == by_rows
    for name, column in by_schema.items():
        for figure in ("out_of_range", "unseen", "missing_before", "missing"):
            if column[figure] is not None:
                assert column[figure] == by_rows[name][figure], (name, figure)
    assert sum(c["out_of_range"] is not None for c in by_schema.values()) == 6


def test_bounds_of_moments_are_those_of_their_zone_and_one_that_is_none_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert _as_number("1970-01-02", "date32") == _as_number("1970-01-02", "date64") == 1.0
    for text in (
        "1970-01-01 01:00:00+01:00",
        "1969-12-31T19:00:00-05:00",
        "1970-01-01T00:00:00Z",
        "1970-01-01 00:00:00",
    ):
        assert _as_number(text, "timestamp[us, tz=Europe/Berlin]") == 0.0
    rows, schema = tmp_path / "rows.csv", tmp_path / "s.yaml"
    rows.write_text("x\n1\n2\n", encoding="utf-8")
    assert main(["schema", str(rows), f"--output={schema}", "-q"]) == 0
    schema.write_text(schema.read_text("utf-8").replace("range: [1, 2]", "range: [1, soon]"), encoding="utf-8")
    capsys.readouterr()
    assert main(["validate", str(rows), f"--against={schema}", "--json", "-q"]) == 2
    assert "observed" in json.loads(capsys.readouterr().out)["error"]["place"]


def test_the_rows_of_a_model_that_are_no_longer_there_are_told(tmp_path: Path, capsys: Any) -> None:
    part = tmp_path / "a.csv"
    part.write_bytes((CHURN / "part-00000.csv").read_bytes())
    model = str(tmp_path / "model")
    assert main(["train", "logistic", f"--data={part}", "--target=churned", f"--output={model}", "-q"]) == 0
    part.write_bytes(part.read_bytes() + b"\n")
    capsys.readouterr()
    told = validated_error(capsys, str(part), model, 3)
    assert "no longer" in told["finding"] or "not there as they were" in told["finding"]


def validated_error(capsys: Any, data: str, against: str, code: int) -> dict[str, Any]:
    assert main(["validate", data, "--against", against, "--json", "-q"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
    return found


def test_rows_that_are_malformed_or_too_few_fail(tmp_path: Path, capsys: Any) -> None:
    a = write(tmp_path / "a.csv", {"x": range(100), "y": range(100)})
    b = write(tmp_path / "b.csv", {"x": [*range(98), "none of it"], "y": range(99)})
    found = validated(capsys, b, a, code=3)
    assert found["bad_rows"] == 1 and "none of it" in found["failures"][0]
    assert validated(capsys, b, a, "--bad-rows=0.02")["failures"] == []
    assert "fewer than 200" in validated(capsys, b, a, "--bad-rows=0.02", "--min-rows=200", code=3)["failures"][0]


def test_rows_of_another_format_are_compared_by_their_columns(tmp_path: Path, capsys: Any) -> None:
    model, other = str(tmp_path / "model"), tmp_path / "rows.parquet"
    part = CHURN / "part-00000.csv"
    assert main(["train", "logistic", f"--data={part}", "--target=churned", f"--output={model}", "-q"]) == 0
    pq.write_table(csv.read_csv(part), other)
    capsys.readouterr()
    found = validated(capsys, str(other), model)["by"]
    assert found == validated(capsys, str(part), model)["by"] and found["churned"]["psi"] == 0


def test_a_column_that_is_not_to_be_judged_is_one(tmp_path: Path, capsys: Any) -> None:
    a = write(tmp_path / "a.csv", {"x": range(9), "y": range(9)})
    assert main(["validate", a, "--against", a, "--unjudged=yy", "--json", "-q"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["finding"] == "column 'yy' is none of those that are compared"


def test_rows_that_lack_a_column_or_have_none_are_refused(tmp_path: Path, capsys: Any) -> None:
    a = write(tmp_path / "a.csv", {"x": range(9), "y": range(9)})
    assert "'y'" in validated_error(capsys, write(tmp_path / "b.csv", {"x": range(9)}), a, 3)["place"]
    libsvm = tmp_path / "c.libsvm"
    libsvm.write_text("1 1:2\n0 2:3\n", encoding="utf-8")
    assert "no named columns" in validated_error(capsys, str(libsvm), str(libsvm), 2)["finding"]


def test_a_column_of_nulls_and_one_of_one_value_are_no_trouble(tmp_path: Path, capsys: Any) -> None:
    a = write(tmp_path / "a.csv", {"x": range(50), "n": [""] * 50, "k": [7] * 50})
    found = validated(capsys, a, a)["by"]
    assert found["k"]["psi"] == 0 and found["k"]["out_of_range"] == 0 and found["x"]["failures"] == []


def test_describe_is_what_before_of_gives_of_a_store_too(tmp_path: Path, capsys: Any) -> None:
    model, store = str(tmp_path / "model"), str(tmp_path / "store")
    assert main(["train", "logistic", f"--data={CHURN}", "--target=churned", f"--output={model}", "-q"]) == 0
    profile, _ = describe(DataConfig(data=(str(CHURN),)), EngineConfig(engine="inline"), None)
    (Path(model) / "profile.json").write_text(json.dumps(profile), encoding="utf-8")
    assert main(["models", "promote", model, "--store", store, "-q"]) == 0
    assert before_of(store, DataConfig(), EngineConfig()).profile == profile
    assert Describe().expected_rounds() == 2
