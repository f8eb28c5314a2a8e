"""A trained model leaves: trees as a file of XGBoost or LightGBM, a network as one of ONNX, torch or safetensors.

Each is checked in the library itself before it is put in place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrml.algorithms.pipeline.bins import Binned
from mrml.algorithms.pipeline.model import PipelineModel
from mrml.algorithms.sgd.model import NetModel
from mrml.algorithms.sgd.rows import inputs_of
from mrml.algorithms.sgd.torch_module import ModuleModel
from mrml.algorithms.trees.model import TreesModel
from mrml.arrays import CSR, Array
from mrml.config.sections import DataConfig
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError, OutputExists, nearest
from mrml.export import FORMATS, Checked, Ensemble, checked, encoded, made_rows, net, net_check, net_files, svg, text
from mrml.export.lightgbm import tellable
from mrml.export.xgboost import beyond_ascii
from mrml.fs.folder import Folder
from mrml.kernels.net.describe import Inputs
from mrml.kernels.net.numpy import predict
from mrml.runs.train import load_model, scoring_config

log = logging.getLogger(__name__)
#: rows that are read of ``--probe``
PROBE_ROWS = 20_000


def trees_of(model: PipelineModel, place: str = "model") -> TreesModel:
    """The boosted trees of a model; ConfigError where it has none."""
    if not isinstance(model.inner, TreesModel):
        raise ConfigError(place, f"is a {type(model.inner).__name__}, not trees", "give a model of boosting")
    return model.inner


def has_trees(model_dir: str) -> bool:
    """Whether a model is of trees."""
    return isinstance(load_model(model_dir).inner, TreesModel)


def ensemble_of(model: PipelineModel, place: str = "model") -> Ensemble:
    """The trees of a model with what names and codes mean; ConfigError where it has none."""
    inner, fitted = trees_of(model, place), model.fitted
    assert isinstance(fitted, Binned)
    return Ensemble(
        inner.objective, inner.trees, inner.base, tuple(inner.names), tuple(fitted.cuts),
        tuple(tuple(f["levels"]) for f in fitted.levels), tuple(bool(f["other"]) for f in fitted.levels),
        tuple(inner.classes), inner.params, not model.schema.sparse, tuple(tuple(f["rare"]) for f in fitted.levels),
        model.schema.sparse and fitted.params["absent"] == "missing",
    )  # fmt: skip


def export(
    model_dir: str, to: str, output: str, probe: DataConfig | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Write a model for another library and compare both on a probe; the facts of it.

    The file is there only when the comparison found nothing, or could not be made because the library is missing.
    """
    target = Folder(output)
    if target.exists() and not (overwrite and not target.isdir()):
        remedy = "name another file" if target.isdir() else "use --overwrite to replace it"
        raise OutputExists(output, "already exists", remedy)
    if to not in (known := {**FORMATS, **net.FORMATS}):
        raise ConfigError("export, to", f"{to!r} is unknown", nearest(to, known))
    model = load_model(model_dir)
    of = _trees if to in FORMATS else _network
    content, facts, found = of(model, model_dir, to, target.name, probe)
    target.parent.make()
    target.parent.write(target.name, content)
    facts = {"output": output, "format": to, "bytes": len(content), **facts}
    if isinstance(found, str):
        log.warning("%s was not checked: %s; `pip install %s` and export again", output, found, known[to])
        return {**facts, "checked": None}
    return {**facts, "checked": found._asdict()}


#: the bytes of the file, facts of it, and what the comparison found
_Left = tuple[bytes, dict[str, Any], Checked | str]


def _trees(model: PipelineModel, place: str, to: str, name: str, probe: DataConfig | None) -> _Left:
    """Boosted trees."""
    ensemble = ensemble_of(model, place)
    content = encoded(ensemble, to, name)
    x = made_rows(ensemble) if probe is None else probe_rows(model, probe)
    if to == "lightgbm" and probe is None:
        x = tellable(ensemble, x)
    if to == "lightgbm" and ensemble.absent_is_missing:
        log.warning("LightGBM takes zeros for missing in this file, as rows of LibSVM that leave them out")
    if to == "xgboost" and (strange := beyond_ascii(ensemble)):
        told = "XGBoost misreads levels beyond ASCII in the categories of a data frame (column %r): give it the codes"
        log.warning(told + " that attribute mrml.levels lists", strange)
    facts = {"trees": ensemble.n_trees, "columns": list(ensemble.names), "classes": list(ensemble.classes)}
    found = checked(content, to, ensemble, x, _predicted(model, ensemble, x))
    return content, {**facts, "levels": _levels(ensemble)}, found


def _network(model: PipelineModel, place: str, to: str, name: str, probe: DataConfig | None) -> _Left:
    """A network."""
    export = network_of(model, place)
    content = net_files.encoded(export, to)
    x, codes = net.made_rows(export) if probe is None else _network_rows(model, probe)
    inputs = Inputs(net.standardised(export, x), np.ascontiguousarray(codes, np.int32))
    raw = predict(export.net, export.params, export.buffers, inputs)
    found = net_check.checked(content, to, export, net_check.Rows(x, codes, inputs), raw)
    facts = {"parameters": export.net.n_params, "columns": list(export.columns), "classes": list(export.classes)}
    return content, {**facts, "levels": {c["column"]: list(c.get("levels", ())) for c in export.levels}}, found


def network_of(model: PipelineModel, place: str = "model") -> net.NetExport:
    """The network of a model with what is around it; ConfigError where it has none, or one that does not leave."""
    inner, fitted = model.inner, model.fitted
    if isinstance(inner, ModuleModel):
        remedy = "its module() in Python is the torch.nn.Module with what it learned, to save as torch does"
        raise ConfigError(place, "is a module of your own", remedy)
    if not isinstance(inner, NetModel):
        remedy = "give a model of mlp or factorization-machine; boosting leaves with --to xgboost or lightgbm"
        raise ConfigError(place, f"is a {type(inner).__name__}, not a network", remedy)
    if fitted.sparse or fitted.edges:
        finding = "reads " + ("LibSVM columns" if fitted.sparse else "quantile bins of columns")
        raise ConfigError(place, f"{finding}, which an export does not", "train it on numbers in columns")
    center, scale = fitted.affine
    n, target = inner.net.n_numeric, model.schema.role("target")
    hashed = fitted.hash or {"columns": [], "bits": 0}
    levels = [{"column": f["column"], "levels": list(f["levels"]), "null": bool(f["null"])} for f in fitted.onehot]
    levels += [{"column": name, "hash": "FNV-1a", "bits": hashed["bits"]} for name in hashed["columns"]]
    return net.NetExport(
        inner.net, inner.params, inner.buffers, inner.link, tuple(fitted.names), fitted.fill,
        np.zeros(n) if center is None else center, np.ones(n) if scale is None else scale,
        fitted.dtype, tuple(levels), tuple(inner.classes), target.name if target else "",
    )  # fmt: skip


def _network_rows(model: PipelineModel, data: DataConfig) -> tuple[Array, Array]:
    """At most 20,000 rows of data: their numbers, and the codes of their categories."""
    parts = [(np.asarray(raw.X), inputs_of(design).codes) for raw, design in _probed(model, data)]
    x, codes = (np.concatenate(columns)[:PROBE_ROWS] for columns in zip(*parts, strict=True))
    return x, codes.astype(np.int64)


def probe_rows(model: PipelineModel, data: DataConfig) -> Array:
    """(at most 20,000, n_features) float32: the first rows of data as the trees see them."""
    parts = [design.X for _, design in _probed(model, data)]
    dense = [x.toarray(x.fill).astype(np.float32) if isinstance(x, CSR) else x for x in parts]
    x: Array = np.concatenate(dense)[:PROBE_ROWS]
    return x


def _probed(model: PipelineModel, data: DataConfig) -> list[tuple[Block, Block]]:
    """The first blocks of data, as they are and as the model sees them, with at least 20,000 rows where there are."""
    dataset = scoring_config(model, data, ("feature",))
    found, n_rows = [], 0
    with dataset.naming():
        for block in (b for split in dataset.splits(data.split_bytes) for part in split for b in dataset.read(part)):
            found.append((block, model.design(block)))
            n_rows += block.n_rows
            if n_rows >= PROBE_ROWS:
                break
    if not n_rows:
        raise InputError(", ".join(data.data), "has no row to check the export with", "give files with rows")
    return found


def tree_text(model_dir: str, number: int) -> list[str]:
    """A tree of a model as lines of text."""
    return list(text.lines(ensemble_of(load_model(model_dir), model_dir), number))


def plot(model_dir: str, output: str, number: int | None = None) -> None:
    """The importance of the columns, or a tree, as an SVG file; one that is there is replaced."""
    if not output.endswith(".svg"):
        raise ConfigError("plot", f"{output} is not a name of an SVG file", "end it in .svg")
    model = load_model(model_dir)
    ensemble = ensemble_of(model, model_dir)
    target = model.schema.role("target")
    subject = target.name if target else "the target"
    drawn = svg.importance(trees_of(model).importance(), subject) if number is None else svg.tree(ensemble, number)
    folder = Folder(output).parent
    folder.make()
    folder.write(Folder(output).name, drawn.encode())


def _predicted(model: PipelineModel, ensemble: Ensemble, x: Array) -> Array:
    """(n_rows,) means or probabilities of the second class, or (n_rows, n_classes) probabilities."""
    return trees_of(model).means(ensemble.forest.raw_prediction(x, ensemble.base))


def _levels(ensemble: Ensemble) -> dict[str, list[str]]:
    """Of each categorical column the levels by code."""
    rare = [["(the rare levels)"] if other else [] for other in ensemble.other]
    columns = ensemble.names[ensemble.n_numeric :]
    return {c: [*texts, *more] for c, texts, more in zip(columns, ensemble.levels, rare, strict=True)}


def lines_of_levels(levels: dict[str, list[str]], shown: int = 12) -> Iterator[str]:
    """A line a column: which code is which level."""
    for column, texts in levels.items():
        some = ", ".join(f"{code} {level}" for code, level in enumerate(texts[:shown]))
        yield f"{column}: {some}" + (f", and {len(texts) - shown} more" if len(texts) > shown else "")
