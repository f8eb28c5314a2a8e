"""Tables in memory: the model of one has the bytes of its file's, and answers come in the form of the questions."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrml
from mrml.config.sections import DataConfig
from mrml.data.open import open_dataset
from mrml.errors import ConfigError, InputError
from mrml.runs import tables
from mrml.runs.tables import is_table, to_arrow, written

N = 120


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(3)
    number = rng.normal(size=N)
    return pa.table({
        "number": pa.array(np.where(rng.random(N) < 0.1, np.nan, number), from_pandas=True),
        "text": pa.array(rng.choice(["x", "y", None], N).tolist(), pa.string()),
        "level": pa.DictionaryArray.from_arrays(rng.integers(0, 3, N).astype(np.int8), pa.array([10, 20, 30])),
        "time": pa.array(np.datetime64("2024-01-01", "us") + rng.integers(0, 10**6, N), pa.timestamp("us")),
        "whole": pa.array([None if k % 9 == 0 else k % 5 for k in range(N)], pa.int64()),
        "yes": pa.array(rng.random(N) < 0.5),
        "w": pa.array(rng.uniform(0.5, 2.0, N)),
        "y": pa.array(np.where(number + rng.normal(size=N) > 0, "up", "down").tolist()),
    })  # fmt: skip


def files_of(model: Any) -> tuple[bytes, ...]:
    return tuple(Path(model.directory, name).read_bytes() for name in ("model.json", "model.npz"))


ALGORITHMS: list[Any] = [mrml.Logistic(l2=0.01), mrml.Boosting(objective="logistic", rounds=3, growth="leafwise")]


@pytest.mark.parametrize("estimator", ALGORITHMS, ids=repr)
def test_the_model_of_a_table_has_the_bytes_of_that_of_its_parquet_file(
    table: pa.Table, tmp_path: Path, estimator: Any
) -> None:
    pd = pytest.importorskip("pandas")
    pq.write_table(table, tmp_path / "rows.parquet")
    expected = files_of(estimator.fit(tmp_path / "rows.parquet", target="y", categorical=["level"], engine="inline"))
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame.index = pd.Index(range(7, 7 + N), name="key")
    for rows in (table, frame, table.to_batches()[0]):
        assert files_of(estimator.fit(rows, target="y", engine="inline")) == expected, type(rows)
    without = frame.drop(columns="y")
    beside = estimator.fit(without.rename(columns={"w": "target_"}), frame["y"], engine="inline")
    renamed = table.rename_columns(["target_" if n == "w" else "target" if n == "y" else n for n in table.column_names])
    assert files_of(beside) == files_of(estimator.fit(renamed, target="target", engine="inline"))


def test_weights_and_validation_rows_are_given_beside_a_table_as_they_are_by_name(table: pa.Table) -> None:
    weights, rows = table["w"].to_numpy(), table.drop_columns(["w"])
    moved = rows.append_column("weight", table["w"])
    named = mrml.Logistic().fit(moved, target="y", weight="weight", valid=moved, engine="inline")
    x, y = rows.drop_columns(["y"]), rows["y"]
    given_beside = mrml.Logistic().fit(
        x.append_column("target", y), target="target", weight=weights,
        valid=x.append_column("target", y).append_column("weight", table["w"]), engine="inline",
    )  # fmt: skip
    assert given_beside.metrics == named.metrics
    assert mrml.Logistic().fit(x, y, valid=(x, y), engine="inline").facts["valid"]["n_rows"] == N


def test_answers_come_in_the_form_of_the_questions(table: pa.Table) -> None:
    pd = pytest.importorskip("pandas")
    model = mrml.Logistic().fit(table, target="y", engine="inline")
    frame = table.to_pandas().set_axis(pd.Index(range(N))[::-1], axis=0)
    found, answers = model.predict(frame), model.predict(table)
    assert isinstance(found, pd.DataFrame) and found.index.equals(frame.index)
    assert isinstance(answers, pa.Table) and answers.column_names == [
        "prediction",
        "probability_down",
        "probability_up",
    ]
    assert found["prediction"].tolist() == answers["prediction"].to_pylist()
    with written(table) as file:
        of_file = model.predict(file.path)
        assert of_file.column_names[:2] == ["file", "row"]
        assert of_file.drop_columns(["file", "row"]).equals(answers)
    assert model.evaluate(table)["n_rows"] == N
    assert model.evaluate(table.drop_columns(["y"]).append_column("y", table["y"])) == model.evaluate(table)


def test_frames_of_polars_come_back_as_such(table: pa.Table) -> None:
    polars = pytest.importorskip("polars")
    model = mrml.Logistic().fit(polars.from_arrow(table.drop_columns(["level"])), target="y", engine="inline")
    assert isinstance(model.predict(polars.from_arrow(table.drop_columns(["level"]))), polars.DataFrame)


def test_a_sparse_matrix_is_its_libsvm_file(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.random(N, 30, 0.2, "csr", random_state=1)
    y, weight = np.arange(N) % 2, np.linspace(0.5, 1.5, N)
    lines = []
    for row in range(N):
        entries = zip(x[row].indices.tolist(), x[row].data.tolist(), strict=True)
        lines.append(" ".join([str(y[row]), *(f"{j + 1}:{v!r}" for j, v in sorted(entries))]))
    (tmp_path / "rows.libsvm").write_text("\n".join(lines) + "\n")
    (tmp_path / "rows.libsvm.weight").write_text("\n".join(map(repr, weight.tolist())) + "\n")
    expected = mrml.Logistic().fit(tmp_path / "rows.libsvm", absent="zero", engine="inline")
    found = mrml.Logistic().fit(x, y, weight=weight, engine="inline")
    assert files_of(found) == files_of(expected) and found.predict(x).num_rows == N


def test_a_pickled_model_holds_its_files(table: pa.Table) -> None:
    model = mrml.Logistic().fit(table, target="y", engine="inline")
    packed = pickle.dumps(model)
    expected, files = model.predict(table), files_of(model)
    del model
    again = pickle.loads(packed)
    assert files_of(again) == files and again.predict(table).equals(expected) and again.facts["rounds"] > 0


def test_what_is_no_table_is_refused_with_what_to_do() -> None:
    pd = pytest.importorskip("pandas")
    several = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    bad: list[tuple[Any, str]] = [
        (np.zeros((2, 2, 2)), "shape .2, 2, 2. is not a table; .*reshape"),
        (np.zeros((2, 0)), "is not a table"),
        (np.zeros((2, 2), complex), "complex"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'; rename one"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns are named '1'"),
        (several, "several levels"),
        (pd.DataFrame({"a": [1, "x"]}), "one type each"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "two columns"),
    ]
    for data, finding in bad:
        with pytest.raises(InputError, match=finding):
            to_arrow(data)
    with pytest.raises(InputError, match="3 rows, and 2 values of target"):
        mrml.Linear().fit(np.zeros((3, 1)), [1.0, 2.0])
    with pytest.raises(InputError, match="has a column 'target' of its own"):
        mrml.Linear().fit(pd.DataFrame({"target": [1.0]}), [1.0])
    for options in ({"y": [1]}, {"weight": np.ones(3)}):
        with pytest.raises(ConfigError, match=r"is a path, and its (target|weight) a table"):
            mrml.Linear().fit("somewhere", **options)
    assert not any(map(is_table, ("path", Path("path"), ["a", "b"], None)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(width=32) | st.just(float("nan")), min_size=3, max_size=3), min_size=1, max_size=5))
def test_an_array_is_a_table_of_its_columns(rows: list[list[float]]) -> None:
    for dtype in (np.float32, np.float64):
        array = np.array(rows, dtype)
        found, categorical = to_arrow(np.asfortranarray(array))
        assert found.column_names == ["x0", "x1", "x2"] and categorical == ()
        back = np.column_stack([found[name].to_numpy() for name in found.column_names])
        assert back.dtype == dtype and back.tobytes() == array.tobytes()


@pytest.mark.parametrize("kind", ["array", "frame", "arrow"])
def test_a_table_is_written_in_runs_of_rows_that_cut_the_blocks_of_its_parquet_file(kind: str, tmp_path: Path) -> None:
    n = tables.ROWS + 1000
    array = np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32)
    array[::7, 1] = np.nan
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(array, columns=["x0", "x1"])
    whole = pa.Table.from_pandas(frame) if kind == "frame" else tables.with_names(array, frame.columns)
    data = {"array": array, "frame": frame, "arrow": whole}[kind]
    pq.write_table(whole, tmp_path / "whole.parquet")
    with tables.written(data, {"y": np.arange(n)}) as file:
        found = pq.ParquetFile(file.path)
        assert found.num_row_groups == 2 and found.schema_arrow.names == ["x0", "x1", "y"]
        for name, values in (("x0", array[:, 0]), ("x1", array[:, 1]), ("y", np.arange(n))):
            np.testing.assert_array_equal(found.read([name])[name].to_numpy(), values)
        cuts = [
            [(b.index, b.n_rows) for s in d.splits(1 << 30) for r in s for b in d.read(r)]
            for d in (open_dataset(DataConfig(data=(p,), exclude=("y",) if p == file.path else ()))
                      for p in (file.path, str(tmp_path / "whole.parquet")))
        ]  # fmt: skip
    assert cuts[0] == cuts[1] and len(cuts[0]) > 2
    with pytest.raises(InputError, match=f"{n} rows, and 3 values of y"), tables.written(data, {"y": np.arange(3)}):
        pass
