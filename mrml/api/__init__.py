"""The commands as Python: the same configuration, the same run, the same model to the byte.

>>> import mrml                                                      # doctest: +SKIP
>>> model = mrml.Logistic(l2=1e-4).fit("data/", target="y")          # doctest: +SKIP
>>> model.metrics["auc"], model.predict("more/").num_rows            # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrml import names
from mrml.api.options import Data, Paths, as_paths
from mrml.config.given import sections_of, texts
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError, OutputExists
from mrml.runs import child
from mrml.runs.report import notebook
from mrml.runs.tables import is_table, like

if TYPE_CHECKING:
    from mrml.algorithms.pipeline.model import PipelineModel


class Estimator:
    """An algorithm with its hyperparameters, to be fitted.

    Parameters
    ----------
    algorithm : str
        A name such as ``"logistic"``, or ``"package.module:Class"`` for an algorithm of your own.
    **params
        Hyperparameters of the algorithm, by name.

    Raises
    ------
    ConfigError
        An unknown algorithm or hyperparameter, or a value that is not allowed.
    """

    def __init__(self, algorithm: str, **params: Any) -> None:
        self.algorithm, self.params = algorithm, params
        from mrml.runs.setup import algorithm_of

        algorithm_of(RunConfig(algorithm=algorithm, params=params))

    def __repr__(self) -> str:
        return f"{self.algorithm}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def fit(self, data: Data, y: Any = None, *, output: str | Path | None = None, max_rounds: int | None = None,
            overwrite: bool = False, resume: bool = False, log_dir: str | None = None, folds: int = 0,
             fold_by: str = "auto", fold_span: int = 0, oof: str | None = None,
             **options: Any) -> FittedModel:  # fmt: skip
        """Train a model.

        Parameters
        ----------
        data : str, Path, list of them, or table
            Files, directories or globs; or a table of shape (n_rows, n_columns): a pandas or polars frame, an Arrow
            table, a NumPy array (its columns are named x0, x1, ...) or a SciPy sparse matrix.  The model is the
            same, byte for byte, as from the table's Parquet file (for a sparse matrix, its LibSVM file).
        y : array-like of shape (n_rows,), optional
            The target, if ``data`` is a table that does not contain it.
        output : str or Path, optional
            Directory for the model; without it the model is kept in a temporary folder until it is saved.
        max_rounds, overwrite, resume, log_dir, folds, fold_by, oof, **options
            The options of ``mrml train``: ``target``, ``weight``, ``valid``, ``engine``, ``workers``, ...  With a
            table, ``weight``, ``group`` and ``offset`` may be arrays of shape (n_rows,), and ``valid`` may be a table
            or a pair of a table and its target.  ``facts["folds"]`` has the metrics of ``folds``.

        Returns
        -------
        FittedModel

        Raises
        ------
        ConfigError
            An unknown option, or options that do not fit together.
        InputError
            Data that cannot be read, or does not suit the algorithm.
        OutputExists, EngineError, Diverged
            The output exists; a worker or the cluster failed; the loss became infinite or NaN.
        """
        with ExitStack() as held:
            given = as_paths(held, data, y, options)
            run = {"max_rounds": max_rounds, "overwrite": overwrite, "resume": resume, "log_dir": log_dir}
            return self._fit(
                given, output, {**run, "folds": folds, "fold_by": fold_by, "fold_span": fold_span, "oof": oof}
            )

    def _fit(self, options: Mapping[str, Any], output: str | Path | None, run: Mapping[str, Any]) -> FittedModel:
        keep = tempfile.TemporaryDirectory(prefix="mrml-model-") if output is None else None
        where = str(Path(keep.name) / "model") if keep else str(output)
        data_config, engine_config = sections_of(options)
        config = RunConfig(self.algorithm, self.params, data_config, engine_config, where, **run)
        names.allow(*engine_config.allow_import)
        names.allow(*([self.algorithm] if ":" in self.algorithm else []))
        child.train(config, notebook.bar(self.algorithm))
        return FittedModel(where, engine_config, keep)


class FittedModel:
    """A trained model in its directory.  It can be pickled: the pickle contains the files of the model.

    Models are made by :meth:`Estimator.fit` and :func:`load`.
    """

    def __init__(self, directory: str, engine: EngineConfig, keep: Any = None) -> None:
        self.directory, self.engine, self._keep = directory, engine, keep

    def __getstate__(self) -> dict[str, Any]:
        files = {p.name: p.read_bytes() for p in sorted(Path(self.directory).iterdir()) if p.is_file()}
        return {"files": files, "engine": self.engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        keep = tempfile.TemporaryDirectory(prefix="mrml-model-")
        for name, content in state["files"].items():
            Path(keep.name, Path(name).name).write_bytes(content)
        self.directory, self.engine, self._keep = keep.name, state["engine"], keep

    @property
    def facts(self) -> dict[str, Any]:
        """The contents of ``run.json``: rounds, reason for stopping, metrics, timings (seconds), sizes (bytes)."""
        found: dict[str, Any] = json.loads((Path(self.directory) / "run.json").read_text(encoding="utf-8"))
        return found

    @property
    def metrics(self) -> dict[str, Any]:
        """Exact metrics on the validation rows if there were any, else on the training rows, by name."""
        facts = self.facts
        return notebook.MetricTable(facts["valid"] or facts["metrics"])

    def __repr__(self) -> str:
        return f"FittedModel({self.directory!r})"

    def _repr_html_(self) -> str:
        return notebook.model(self.facts)

    @property
    def model(self) -> PipelineModel:
        """The model object itself, which predicts :class:`~mrml.extend.Block` by block."""
        from mrml.runs.train import load_model

        return load_model(self.directory)

    def predict(self, data: Data, *, output: str | Path | None = None, **options: Any) -> Any:
        """Predict for every row.

        Parameters
        ----------
        data : str, Path, list of them, or table
            As in :meth:`Estimator.fit`; columns are found by name, and extra ones are ignored.
        output : str or Path, optional
            Directory to also write the predictions to, as part files.
        **options
            The other options of ``mrml predict``; ``id`` names a column to copy to the predictions.

        Returns
        -------
        pyarrow.Table or frame
            One row for each input row, in input order: ``prediction``, and for classes ``probability_CLASS``.  For
            a pandas or polars frame, a frame of the same kind with its index.

        Raises
        ------
        InputError
            A column is missing, or a value cannot be read.
        OutputExists
            ``output`` exists.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with ExitStack() as held:
            given = self._scoring(held, data, None, options)
            data_config, engine = sections_of(given)
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="mrml-"))
            where = str(output) if output is not None else f"{folder}/predictions"
            child.predict(self.directory, data_config, engine, where)
            found = pa.concat_tables([pq.read_table(p) for p in sorted(Path(where).glob("part-*"))])
        if not is_table(data):
            return found
        return like(data, found.drop_columns([n for n in ("file", "row") if n in found.column_names]))

    def evaluate(self, data: Data, y: Any = None, **options: Any) -> dict[str, Any]:
        """Compute exact metrics.

        Parameters
        ----------
        data : str, Path, list of them, or table
            As in :meth:`Estimator.fit`.
        y : array-like of shape (n_rows,), optional
            The target, if ``data`` is a table that does not contain it.
        **options
            The other options of ``mrml evaluate``.

        Returns
        -------
        dict
            Metrics by name, such as ``auc`` and ``log_loss``, with the sums ``n_rows`` and ``weight``.
        """
        with ExitStack() as held:
            data_config, engine = sections_of(self._scoring(held, data, y, options))
            return notebook.MetricTable(child.evaluate(self.directory, data_config, engine))

    def plot(
        self, kind: str | None = None, data: Data = None, y: Any = None, *, tree: int | None = None, **options: Any
    ) -> Any:
        """A figure of matplotlib: one picture, or without ``kind`` all that there are.

        ``importance`` (of linear models the coefficients), ``loss`` and ``tree`` (number ``tree``) are of the model;
        ``roc``, ``pr``, ``calibration``, ``confusion``, ``truth`` and ``residuals`` of its predictions for ``data``.

        Raises
        ------
        ConfigError
            There is no such picture of this model, it needs data, or matplotlib is not installed.
        """
        from mrml.runs.report import drawing, kinds

        drawing.require()
        kinds.check(kind)
        found = {}
        if data is not None and kind not in kinds.OF_MODEL:
            with ExitStack() as held:
                data_config, engine = sections_of(self._scoring(held, data, y, options))
                found = kinds.of_rows(child.curves_of(self.directory, data_config, engine), kind)
        elif kind in kinds.OF_ROWS:
            raise ConfigError("plot", f"{kind!r} is a picture of rows", f"give some: plot({kind!r}, data)")
        if kind not in kinds.OF_ROWS:
            found |= kinds.of_model(self.directory, kind, tree)
        return drawing.figure(found)

    def _scoring(self, held: ExitStack, data: Any, y: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a scoring; what the model knows of its columns is not said again."""
        given = as_paths(held, data, y, {**dataclasses.asdict(self.engine), **options})
        if is_table(data):
            for name in {"categorical", "absent"} - set(options):
                given.pop(name, None)
        return given

    def to_sklearn(self) -> Any:
        """Convert linear models and k-means to a fitted scikit-learn estimator with equal predictions.

        Returns
        -------
        estimator or Pipeline
            A Pipeline that takes the raw data frame, if the model has categories.

        Raises
        ------
        ConfigError
            scikit-learn has no counterpart of the model.
        """
        return self.model.to_sklearn()

    def export(
        self, output: str | Path, to: str, *, probe: Paths | None = None, overwrite: bool = False
    ) -> dict[str, Any]:
        """Write the model as a file of another library.

        Parameters
        ----------
        output : str or Path
            The file to write; for XGBoost ``.json`` or ``.ubj``.
        to : {"xgboost", "lightgbm", "onnx", "torch", "safetensors"}
            The format: the first two for trees, the others for networks.
        probe : str, Path or list of them, optional
            Rows to compare predictions on; by default they are made from the model.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        MrmlError
            The library is installed and predicts differently; nothing is written.
        ConfigError
            The format cannot hold this model.
        """
        from mrml.runs.export import export

        rows = None if probe is None else DataConfig(data=texts(probe))
        return export(self.directory, to, str(output), rows, overwrite)

    def importance(self) -> dict[str, dict[str, float]]:
        """Column importances of trees: for ``gain``, ``cover`` and ``count`` the total by column, largest first."""
        from mrml.runs.export import trees_of

        return trees_of(self.model, self.directory).importance()

    def save(self, directory: str | Path) -> None:
        """Copy the model to a new directory.

        Raises
        ------
        OutputExists
            The directory exists.
        """
        target = Path(directory)
        if target.exists():
            raise OutputExists(str(target), "already exists", "name a directory that does not exist")
        shutil.copytree(self.directory, target, ignore=shutil.ignore_patterns("_run"))


def load(directory: str | Path, engine: str = "auto", allow_import: str | Sequence[str] = ()) -> FittedModel:
    """Load a model from its directory, or the model in service from a store.

    Parameters
    ----------
    directory : str or Path
        Directory of ``mrml train --output``, of :meth:`FittedModel.save`, or of a store; local or on HDFS.
    engine : str
        Where predictions and metrics are computed.
    allow_import : str or list of str
        Modules of your own, ``package.module``, that the model may import.

    Raises
    ------
    ConfigError
        The model needs code of a module that is not in ``allow_import``; none of it was run.
    InputError
        The directory does not contain a complete model.
    """
    from mrml.runs.store import resolved
    from mrml.runs.train import load_model

    modules = texts(allow_import)
    names.allow(*modules)
    where = resolved(str(directory))
    load_model(where)
    return FittedModel(where, EngineConfig(engine=engine, allow_import=modules))
