"""The stock libraries score a file in a process of their own: LightGBM, for one, aborts on a file it cannot read."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrml.arrays import Array

_CODE = "import sys; sys.path[:] = {path!r}; from mrml.export import stock; stock.main(*{args!r})"


class Scores(NamedTuple):
    """``leaves`` (n_rows, n_trees) int64 as the library numbers them, ``raw`` (n_rows, n_outputs) float64,
    ``predicted`` of any shape, the library's version, and the names of the features as it reads them."""

    leaves: Array
    raw: Array
    predicted: Array
    version: str
    names: tuple[str, ...] = ()


class Unreadable(Exception):
    """The library does not take the file; the text says what it said."""


def scores(name: str, content: bytes, x: Array) -> Scores | str:
    """What the library makes of a file, or why it cannot be asked; Unreadable where it fails."""
    with tempfile.TemporaryDirectory(prefix="mrml-") as folder:
        model, rows, out = (str(Path(folder) / part) for part in ("model", "x.npy", "out.npz"))
        Path(model).write_bytes(content)
        np.save(rows, x)
        code = _CODE.format(path=sys.path, args=(name, model, rows, out))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            told = said[-1] if said else ""
            raise Unreadable(f"it ends with signal {-done.returncode}" if done.returncode < 0 else told)
        with np.load(out) as found:
            if "missing" in found:
                return str(found["missing"])
            names = tuple(json.loads(str(found["names"])))
            return Scores(found["leaves"], found["raw"], found["predicted"], str(found["version"]), names)


def main(name: str, model: str, rows: str, out: str) -> None:
    """What the process does."""
    try:
        library = importlib.import_module(name)
    except (ImportError, OSError) as error:
        np.savez(out, missing=str(error).splitlines()[0])
        return
    x = np.load(rows)
    score = {"xgboost": _xgboost, "lightgbm": _lightgbm}[name]
    leaves, raw, predicted, names = score(library, Path(model).read_bytes(), x)
    shape = (len(x), -1)
    np.savez(out, leaves=leaves.reshape(shape).astype(np.int64), raw=raw.reshape(shape).astype(np.float64),
             predicted=predicted, version=library.__version__, names=json.dumps(list(names or ())))  # fmt: skip


def _xgboost(library: Any, content: bytes, x: Array) -> tuple[Array, Array, Array, Any]:
    booster = library.Booster({"nthread": 1})
    booster.load_model(bytearray(content))
    matrix = library.DMatrix(
        x, feature_names=booster.feature_names, feature_types=booster.feature_types, enable_categorical=True, nthread=1
    )
    raw = booster.predict(matrix, output_margin=True)
    return booster.predict(matrix, pred_leaf=True), raw, booster.predict(matrix), booster.feature_names


def _lightgbm(library: Any, content: bytes, x: Array) -> tuple[Array, Array, Array, Any]:
    booster = library.Booster(model_str=content.decode())
    raw = booster.predict(x, raw_score=True, num_threads=1)
    leaves = booster.predict(x, pred_leaf=True, num_threads=1)
    return leaves, raw, booster.predict(x, num_threads=1), booster.feature_name()
