"""Tables in memory as the files that everything else reads: frames, Arrow tables, arrays, sparse matrices.

A table is written as Parquet, a sparse matrix as LibSVM, into a folder that goes when it has been read; processes that
compute map or read it there.  So a model of a table has the bytes of one of its file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrml.errors import ConfigError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

#: what a target is called that was given beside its table
TARGET = "target"
#: rows that are converted and written at a time: whole blocks, so that it moves none of their limits
ROWS = 1 << 17


def is_frame(data: Any) -> bool:
    """Whether it is a table whose columns have names and types."""
    return hasattr(data, "__arrow_c_stream__") or (_is_pandas(data) and hasattr(data, "columns"))


def with_names(array: Any, names: Any) -> pa.Table:
    """An array (n_rows, n_columns) as a table of named columns."""
    import numpy as np
    import pyarrow as pa

    columns = np.asarray(array.toarray() if _is_sparse(array) else array)
    return pa.table({str(name): pa.array(np.ascontiguousarray(columns[:, j])) for j, name in enumerate(names)})


def is_table(data: Any) -> bool:
    """Whether it is a table, and no path: a frame of pandas or polars, what Arrow can take over, an array, a matrix."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__array__") or _is_sparse(data)


def _is_sparse(data: Any) -> bool:
    return type(data).__module__.startswith("scipy.sparse")


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.split(".")[0] == "pandas"


@dataclasses.dataclass(frozen=True)
class Written:
    """A table as a file, and the options with which it reads as what it is."""

    path: str
    options: dict[str, Any]
    target: str = TARGET
    #: names of columns that lie in files beside it, and are read unasked
    without: tuple[str, ...] = ()


@contextlib.contextmanager
def written(data: Any, beside: Mapping[str, Any] | None = None, cache_dir: str | None = None) -> Iterator[Written]:
    """The file of a table, with columns ``beside`` it, for the length of a with-block.

    Raises
    ------
    InputError
        Columns cannot be told apart, or hold what no column of a file does, or have other lengths.
    """
    beside = {name: column for name, column in (beside or {}).items() if column is not None}
    with tempfile.TemporaryDirectory(prefix="mrml-table-", dir=cache_dir) as folder:
        if _is_sparse(data):
            path = _libsvm(data, beside, Path(folder))
            without = tuple(name for name in beside if name != TARGET)
            yield Written(str(path), {"format": "libsvm", "absent": "zero"}, "label", without)
            return
        path = Path(folder, "table.parquet")
        categorical = _parquet(data, beside, path)
        yield Written(str(path), {"categorical": categorical} if categorical else {})


def _parquet(data: Any, beside: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Write a table; the columns of numbers that are categories in it.

    Where the rows of an array lie one after the other Arrow copies columns: it gets some rows at a time, so that of
    2,000,000 rows 1/15 is held twice.
    """
    import pyarrow.parquet as pq

    if _of_numbers(data):
        rows = data.iloc if _is_pandas(data) else data
        parts: Iterable[pa.Table] = (to_arrow(rows[k : k + ROWS])[0] for k in range(0, max(len(data), 1), ROWS))
        n_rows, categorical = len(data), tuple[str, ...]()
    else:
        table, categorical = to_arrow(data)
        parts, n_rows = [table], table.num_rows
    columns = {name: _values(name, column, n_rows) for name, column in beside.items()}
    writer, start = None, 0
    for table in parts:
        for name, values in columns.items():
            table = _with_column(table, name, values.slice(start, table.num_rows))
        start += table.num_rows
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROWS)
    assert writer is not None
    writer.close()
    return categorical


def _of_numbers(data: Any) -> bool:
    """Whether any rows of it say what its columns are: an array or a frame of NumPy's numbers."""
    types = list(data.dtypes) if _is_pandas(data) and hasattr(data, "columns") else [getattr(data, "dtype", None)]
    return type(data).__module__.split(".")[0] in ("numpy", "pandas") and hasattr(data, "__len__") and all(
        getattr(type_, "kind", "") in ("f", "i", "u", "b") and type(type_).__module__.startswith("numpy")
        for type_ in types
    )  # fmt: skip


def to_arrow(data: Any) -> tuple[pa.Table, tuple[str, ...]]:
    """A table of Arrow, and the columns of numbers that are categories in it; the index of a frame is no column."""
    import pyarrow as pa

    try:
        if _is_pandas(data):
            data = data.to_frame() if hasattr(data, "to_frame") else data
            if data.columns.nlevels > 1:
                raise InputError("table", "its columns have several levels", "give each one name")
            _expect_distinct([str(c) for c in data.columns])
            table = pa.Table.from_pandas(data.set_axis([str(c) for c in data.columns], axis=1), preserve_index=False)
        elif hasattr(data, "__arrow_c_stream__"):
            table = pa.table(data)
        else:
            table = _of_array(data)
    except pa.ArrowException as error:
        finding = " ".join(str(part) for part in error.args)
        raise InputError("table", finding, "give its columns one type each: numbers, texts, times") from error
    _expect_distinct(table.column_names)
    dictionaries = [f for f in table.schema if pa.types.is_dictionary(f.type)]
    return table, tuple(f.name for f in dictionaries if not _of_texts(f.type.value_type))


def _expect_distinct(names: list[str]) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError("table", f"two columns are named {repeated!r}", "rename one")


def _of_texts(type_: Any) -> bool:
    import pyarrow as pa

    found: bool = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return found


def _of_array(data: Any) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    array = np.asarray(data)
    if array.dtype.names:
        return pa.table({name: pa.array(array[name]) for name in array.dtype.names})
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.shape[1]:
        remedy = "give rows and columns: reshape(-1, 1) is one column, reshape(1, -1) one row"
        raise InputError("table", f"an array of shape {array.shape} is not a table", remedy)
    if array.dtype.kind == "c":
        raise InputError("table", "holds complex numbers", "give real and imaginary parts as columns")
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    width = len(str(array.shape[1] - 1))
    return with_names(array, (f"x{j:0{width}d}" for j in range(array.shape[1])))


def _with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    if name in table.column_names:
        raise InputError("table", f"has a column {name!r} of its own", "rename it, or name the column instead")
    return table.append_column(name, values)


def _values(name: str, column: Any, n_rows: int) -> Any:
    """A column beside a table as Arrow's."""
    import numpy as np
    import pyarrow as pa

    values = pa.array(column if _is_pandas(column) or hasattr(column, "__arrow_array__") else np.asarray(column))
    if len(values) != n_rows:
        raise InputError("table", f"{n_rows} rows, and {len(values)} values of {name}", "give as many")
    return values


def _libsvm(data: Any, beside: Mapping[str, Any], folder: Path) -> Path:
    """One line a row; indices count from 1, and a number has the digits that read back as the same one."""
    import numpy as np

    for name in set(beside) - {TARGET}:
        if name != "weight":
            raise ConfigError("table", f"a sparse matrix has no place for {name}", "give a frame, or a LibSVM file")
        values = np.asarray(beside[name], np.float64).tolist()
        (folder / "table.libsvm.weight").write_text("".join(f"{value!r}\n" for value in values), encoding="utf-8")
    rows = data.tocsr()
    target = np.zeros(rows.shape[0]) if TARGET not in beside else np.asarray(beside[TARGET])
    if len(target) != rows.shape[0]:
        raise InputError("table", f"{rows.shape[0]} rows, and {len(target)} values of {TARGET}", "give as many")
    path = folder / "table.libsvm"
    ends, indices, values = rows.indptr.tolist(), (rows.indices + 1).tolist(), rows.data.tolist()
    with open(path, "w", encoding="utf-8") as file:
        for number, label in enumerate(target.tolist()):
            entries = sorted(zip(indices[ends[number] : ends[number + 1]], values[ends[number] : ends[number + 1]],
                                 strict=True))  # fmt: skip
            file.write(" ".join([str(label), *(f"{index}:{value!r}" for index, value in entries)]) + "\n")
    return path


def like(data: Any, table: pa.Table) -> Any:
    """Rows of answers in the form in which the questions came: a frame with its index, an Arrow table."""
    if _is_pandas(data):
        return table.to_pandas().set_axis(data.index, axis=0)
    if type(data).__module__.split(".")[0] == "polars":
        return sys.modules["polars"].from_arrow(table)
    return table
