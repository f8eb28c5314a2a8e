"""Made data: deterministic, cut anyhow, whole or not there, what its kind says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from mrml.errors import ConfigError
from mrml.tools.sample import CHUNK_ROWS, Sample, chunk, write

from .conftest import Done

Cli = Callable[..., Done]
SAMPLES = Path(__file__).parents[2] / "data-samples"


def rows(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(p) for p in sorted(folder.glob("part-*"))])


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.iterdir()))).hexdigest()


@pytest.mark.parametrize("kind", ["binary", "regression", "clusters", "mixed"])
@pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
def test_the_same_seed_is_the_same_bytes_and_another_is_not(tmp_path: Path, kind: str, format_: str) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(Sample(rows=50, columns=3, kind=kind, format=format_, parts=2, seed=seed), str(tmp_path / name))
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b != c


def test_the_rows_are_the_same_however_they_are_cut(tmp_path: Path) -> None:
    n_rows = 2 * CHUNK_ROWS + 12345
    for parts in (1, 3):
        write(Sample(rows=n_rows, columns=2, parts=parts), str(tmp_path / str(parts)))
    one, three = rows(tmp_path / "1"), rows(tmp_path / "3")
    assert one.num_rows == n_rows and one.equals(three)


def test_fewer_rows_are_the_beginning_of_more() -> None:
    few, many = chunk(Sample(rows=10, kind="mixed"), 0), chunk(Sample(rows=1000, kind="mixed"), 0)
    assert few.equals(many.slice(0, 10))


def test_every_format_holds_the_same_rows(tmp_path: Path) -> None:
    for format_ in ("parquet", "csv", "jsonl", "libsvm"):
        write(Sample(rows=100, columns=3, parts=1, format=format_), str(tmp_path / format_))
    expected = rows(tmp_path / "parquet")
    x = np.column_stack([expected[f"x{j}"] for j in range(3)])
    table = pa.csv.read_csv(tmp_path / "csv" / "part-00000.csv")
    assert table.column_names == expected.column_names
    np.testing.assert_allclose(np.column_stack([table[f"x{j}"] for j in range(3)]), x, rtol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "jsonl" / "part-00000.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([[line[f"x{j}"] for j in range(3)] for line in lines], x, rtol=1e-6)
    sparse, label = load_svmlight_file(str(tmp_path / "libsvm" / "part-00000.libsvm"), zero_based=False)
    np.testing.assert_allclose(sparse.toarray(), x, rtol=1e-6)
    assert label.tolist() == expected["label"].to_pylist() == [line["label"] for line in lines]


def test_numbers_are_float32_in_row_groups_of_262144(tmp_path: Path) -> None:
    write(Sample(rows=300_000, columns=1, parts=1), str(tmp_path / "s"))
    file = pq.ParquetFile(tmp_path / "s" / "part-00000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [262_144, 300_000 - 262_144]
    assert file.schema_arrow.field("x0").type == pa.float32()


def test_a_binary_sample_can_be_learned_but_not_perfectly() -> None:
    table = chunk(Sample(rows=20_000, columns=10), 0)
    x, y = np.column_stack(table.columns[1:]), table["label"].to_numpy()
    x = (x - x.mean(0)) / x.std(0)
    auc = roc_auc_score(y[10_000:], LogisticRegression().fit(x[:10_000], y[:10_000]).decision_function(x[10_000:]))
    assert 0.7 < auc < 0.95


def test_a_regression_sample_is_linear_with_noise() -> None:
    table = chunk(Sample(rows=20_000, columns=10, kind="regression"), 0)
    x, y = np.column_stack(table.columns[1:]).astype(float), table["y"].to_numpy()
    assert 0.6 < LinearRegression().fit(x, y).score(x, y) < 0.95


def test_a_mixed_sample_has_an_id_a_date_categories_and_nulls() -> None:
    table = chunk(Sample(rows=5000, kind="mixed"), 0)
    assert table["id"].to_pylist() == list(range(5000))
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert (types["joined"], types["plan"], types["active"], types["churned"]) == (
        "date32[day]",
        "string",
        "bool",
        "string",
    )
    assert all(table[name].null_count > 0 for name in ("plan", "age", "income"))
    assert set(table["churned"].to_pylist()) == {"yes", "no"}


def test_what_exists_is_kept_and_only_made_data_is_replaced(mrml: Cli, tmp_path: Path) -> None:
    out = tmp_path / "made"
    first = mrml("sample", str(out), "--rows", "100", "--columns", "2", "--parts", "2")
    assert first.code == 0 and "100 rows x 3 columns (label, x0, x1)" in first.out
    assert sorted(p.name for p in out.iterdir()) == ["_SUCCESS", "part-00000.parquet", "part-00001.parquet"]
    before = digest(out)
    again = mrml("sample", str(out), "--rows", "50")
    assert again.code == 4 and "already exists" in again.err and digest(out) == before
    assert mrml("sample", str(out), "--rows", "50", "--overwrite").code == 0 and rows(out).num_rows == 50
    (out / "_SUCCESS").unlink()
    foreign = mrml("sample", str(out), "--rows", "9", "--overwrite")
    assert foreign.code == 4 and "has no _SUCCESS" in foreign.err and rows(out).num_rows == 50
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_sample_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("mrml.tools.sample._write_part", fail)
    with pytest.raises(OSError, match="disk full"):
        write(Sample(rows=10), str(tmp_path / "s"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rows", "0"], "sample, rows: 0 is out of bounds; it must be at least 1"),
        (["--rows", "many"], "--rows: 'many' is not a whole number"),
        (["--kind", "mixed", "--format", "libsvm"], "sample: libsvm holds numbers only"),
    ],
)
def test_a_mistake_is_2_and_writes_nothing(mrml: Cli, tmp_path: Path, argv: list[str], message: str) -> None:
    done = mrml("sample", str(tmp_path / "s"), *argv)
    assert done.code == 2 and done.err.startswith(f"error: {message}") and list(tmp_path.iterdir()) == []


def test_libsvm_of_mixed_rows_is_refused_in_python_too() -> None:
    with pytest.raises(ConfigError):
        Sample(kind="mixed", format="libsvm")


def test_the_shipped_samples_are_what_their_readme_says(mrml: Cli, tmp_path: Path) -> None:
    text = (SAMPLES / "README.md").read_text()
    commands = [line.split()[2:] for line in text.splitlines() if line.startswith("mrml sample data-samples/")]
    assert len(commands) == len([p for p in SAMPLES.iterdir() if p.is_dir()])
    for name, *options in commands:
        made = tmp_path / Path(name).name
        assert mrml("sample", str(made), *options).code == 0
        shipped = SAMPLES / made.name
        assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in shipped.iterdir())
        for ours in sorted(made.glob("part-*")):
            theirs = shipped / ours.name
            if ours.suffix == ".parquet":
                assert pq.read_table(ours).equals(pq.read_table(theirs))
            else:
                assert ours.read_bytes() == theirs.read_bytes()
