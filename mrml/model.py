"""Models leave: a JSON header beside one array file, read with NumPy alone.

``DIRECTORY/model.json`` is the header (strict JSON, sorted keys), ``DIRECTORY/model.npz`` the arrays.
Neither holds anything of when, where or by which engine a model was made.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from mrml import names
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.fs.folder import Folder

FORMAT_VERSION = 2
#: formats that are read; 1 names classes by where they lay (``names.FORMER``)
READS = (1, 2)
#: lists of texts in headers of ours
_NAMES = ("names", "classes", "dependent_columns")
M = TypeVar("M", bound="Model")


class Prediction(NamedTuple):
    """What a model says of a block.

    ``y_pred`` (n_rows,) float64: the value, or the code of the class or cluster.  ``probability``
    (n_rows, n_classes) float64 or None.  ``raw_prediction`` (n_rows,) or (n_rows, n_classes) float64 in
    link space, or None.
    """

    y_pred: Array
    probability: Array | None = None
    raw_prediction: Array | None = None


class Model(ABC):
    """What was learned.  It predicts a block (or transforms it), and is saved as a JSON header and arrays."""

    #: "numeric", "classes" or "cluster": what y_pred is
    output: ClassVar[str] = "numeric"

    def predict(self, block: Block) -> Prediction:
        """Predict for the rows of a block.

        Raises
        ------
        InputError
            The block has other columns than the model was trained on.
        """
        raise ConfigError(type(self).__name__, "this model transforms and does not predict")

    def transform(self, block: Block) -> Block:
        """Return the block with new columns."""
        raise ConfigError(type(self).__name__, "this model predicts and does not transform")

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Everything except the arrays, as JSON values."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """The arrays by name; no object arrays."""

    @classmethod
    @abstractmethod
    def from_parts(cls: type[M], header: Mapping[str, Any], arrays: Mapping[str, Array]) -> M:
        """Make the model from its :meth:`header` and :meth:`arrays`."""

    def to_sklearn(self) -> Any:
        """Convert to a fitted scikit-learn estimator with equal predictions.

        Raises
        ------
        ConfigError
            scikit-learn has no counterpart.
        """
        raise ConfigError(type(self).__name__, "has no scikit-learn counterpart")

    def save(self, directory: str | Path) -> None:
        """Write ``model.json`` and ``model.npz`` into an existing directory, local or on HDFS."""
        folder = Folder(directory)
        text = json.dumps(describe(self), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        arrays = self.arrays()
        for name, array in arrays.items():
            if np.asarray(array).dtype.hasobject:  # NumPy would pickle it
                raise ConfigError(type(self).__name__, f"array {name!r} holds objects", "put them into the header")
        packed = io.BytesIO()  # the archive of a stream without seek has other bytes than that of a file
        np.savez(packed, **{k: arrays[k] for k in sorted(arrays)})  # type: ignore[arg-type]
        folder.write("model.json", text.encode() + b"\n")
        folder.write("model.npz", packed.getvalue())


def describe(model: Model) -> dict[str, Any]:
    """The header of a model with the class that reads it."""
    return {
        "format": FORMAT_VERSION,
        "class": names.name_of(type(model)),
        **_finite(model.header()),
    }


def revive(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Model:
    """The model of a described header; nested models use this too."""
    cls: type[Model] = names.find(str(header["class"]), Model, "model")
    return cls.from_parts(header, arrays)


def carried(model: Model) -> dict[str, Any]:
    """A model as a message carries it: the inverse of :func:`received`."""
    return {"header": json.dumps(describe(model)), "arrays": model.arrays()}


def received(message: Mapping[str, Any]) -> Model:
    """The model of a message."""
    return revive(json.loads(message["header"]), message["arrays"])


def load(directory: str | Path) -> Model:
    """Read the model that ``save`` wrote into a directory, local or on HDFS."""
    folder, name = Folder(directory), "model.json"
    try:
        header = json.loads(folder.read(name))
        name = "model.npz"
        arrays = _arrays(folder, name)
    except (FileNotFoundError, NotADirectoryError) as error:
        finding = f"has no {name}" if folder.isdir() else "is not a directory"
        raise InputError(str(directory), finding, "give what `mrml train --output` wrote") from error
    except (ValueError, OSError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(str(directory), f"cannot be read as a model: {error}", "copy it again") from error
    if not isinstance(header, dict) or header.get("format") not in READS:
        found = header.get("format") if isinstance(header, dict) else None
        raise InputError(
            str(directory),
            f"is of model format {found}, this mrml reads {' and '.join(map(str, READS))}",
            "use the version of mrml that wrote it",
        )
    try:
        _check_names(header, str(directory))
        return revive(header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        finding = f"is not a complete model: {type(error).__name__}: {error}"
        raise InputError(str(directory), finding, "copy it again") from error


def _check_names(value: Any, place: str) -> None:
    """InputError where what names columns or classes of a model of ours holds something else than texts."""
    ours = isinstance(value, dict) and str(value.get("class", "mrml.")).startswith("mrml.")
    for key, found in value.items() if ours else ():
        names = found if key in _NAMES and isinstance(found, list) else ()
        if not all(isinstance(name, str) for name in names):
            raise InputError(
                place, f"is not a complete model: {key} contains something other than texts", "copy it again"
            )
        _check_names(found, place)


def _arrays(folder: Folder, name: str) -> dict[str, Array]:
    """The arrays of a file by name, each checked against its checksum."""
    with folder.fs.open(folder.join(name)) as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError(f"{name} is not an array file")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            return {k: file[k] for k in file.files}


def _finite(value: Any) -> Any:
    """NaN and infinities have no JSON; a header says null instead."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
