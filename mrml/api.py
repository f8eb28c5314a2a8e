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
from typing import TYPE_CHECKING, Any, TypeVar

from mrml import names
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError, OutputExists, nearest
from mrml.params import check
from mrml.runs import child
from mrml.runs.tables import TARGET, is_table, like, written

if TYPE_CHECKING:
    from mrml.algorithms.pipeline.model import PipelineModel

Paths = str | Path | Sequence[str | Path]
#: paths, or a table in memory
Data = Any
#: roles whose columns may be given beside a table, and what they are called then
_BESIDE = {"weight": "weight", "group": "group", "offset": "offset", "id": ".id"}
Section = TypeVar("Section", DataConfig, EngineConfig)


class Estimator:
    """An algorithm with its hyperparameters, to be fitted.

    Parameters
    ----------
    algorithm : a name of the table of algorithms, or ``package.module:Class`` of one's own.
    params : its hyperparameters; ConfigError for a name or a value that it does not know.
    """

    def __init__(self, algorithm: str, **params: Any) -> None:
        self.algorithm, self.params = algorithm, params
        from mrml.runs.setup import algorithm_of

        algorithm_of(RunConfig(algorithm=algorithm, params=params))

    def __repr__(self) -> str:
        return f"{self.algorithm}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def fit(self, data: Data, y: Any = None, *, output: str | Path | None = None, max_rounds: int | None = None,
            overwrite: bool = False, resume: bool = False, log_dir: str | None = None, folds: int = 0,
            fold_by: str = "auto", oof: str | None = None, **options: Any) -> FittedModel:  # fmt: skip
        """Train on files, directories or globs, or on a table in memory.

        A table is a frame of pandas or polars, what Arrow takes over, an array of NumPy (its columns are named x0,
        x1, ...), or a sparse matrix of SciPy; ``y`` is its target where that is no column of it, as ``weight``,
        ``group`` and ``offset`` may be arrays, and ``valid`` may be a table, or a pair of one and its target.  The
        model has the bytes that the table's Parquet file gives (of a sparse matrix, its LibSVM file).

        ``options`` are those of the sections data and engine (``target``, ``weight``, ``valid``, ``engine``,
        ``workers``, ...).  Without ``output`` the model lives in a temporary folder until it is saved.

        With ``folds`` models without each fold of the rows are trained in the same scans; ``facts["folds"]`` has their
        metrics, and the directory ``oof`` the prediction of every row by the one that did not see it.
        """
        with ExitStack() as held:
            given = _as_paths(held, data, y, options)
            run = {"max_rounds": max_rounds, "overwrite": overwrite, "resume": resume, "log_dir": log_dir}
            return self._fit(given, output, {**run, "folds": folds, "fold_by": fold_by, "oof": oof})

    def _fit(self, options: Mapping[str, Any], output: str | Path | None, run: Mapping[str, Any]) -> FittedModel:
        keep = tempfile.TemporaryDirectory(prefix="mrml-model-") if output is None else None
        where = str(Path(keep.name) / "model") if keep else str(output)
        data_config, engine_config = _sections(options)
        config = RunConfig(self.algorithm, self.params, data_config, engine_config, where, **run)
        names.allow(*engine_config.allow_import)
        names.allow(*([self.algorithm] if ":" in self.algorithm else []))
        child.train(config)
        return FittedModel(where, engine_config, keep)


def _as_paths(held: ExitStack, data: Any, y: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run on data that may be tables: these are files for as long as the stack lasts."""
    given = {**options}
    cache_dir = given.get("cache_dir")
    pairs = {"data": (data, y)}
    beside: dict[str, Any] = {}
    for name, column in _BESIDE.items():  # columns that are given as such, and not by name
        if given.get(name) is not None and not isinstance(given[name], str):
            beside[column], given[name] = given[name], column
    if beside and not is_table(data):
        raise ConfigError("fit", f"data is a path, and its {next(iter(beside))} a table", "name the column")
    valid = given.get("valid")
    if isinstance(valid, tuple) and len(valid) == 2 and is_table(valid[0]):
        pairs["valid"] = valid
    elif is_table(valid):
        pairs["valid"] = (valid, None)
    for name, (table, target) in pairs.items():
        if not is_table(table):
            if target is not None:
                raise ConfigError("fit", f"{name} is a path, and its target a table", "name the column with target=")
            given[name] = table
            continue
        columns = beside if name == "data" else {}
        file = held.enter_context(written(table, {TARGET: target, **columns}, cache_dir))
        for column in file.without:
            del given[column]
        given[name] = file.path
        for option, value in file.options.items():
            if option == "categorical":
                given[option] = tuple(dict.fromkeys((*_texts(given.get(option, ())), *value)))
            else:
                given.setdefault(option, value)
        if target is not None:
            given.setdefault("target", file.target)
    return given


def run_sections(held: ExitStack, data: Data, y: Any, options: Mapping[str, Any]) -> tuple[DataConfig, EngineConfig]:
    """The sections of a run on data that may be a table in memory, for as long as the stack lasts."""
    return _sections(_as_paths(held, data, y, options))


def _sections(options: Mapping[str, Any]) -> tuple[DataConfig, EngineConfig]:
    """Options by name as the two sections; ConfigError with the nearest name for an unknown one."""
    of_data, of_engine = ({f.name for f in dataclasses.fields(cls)} for cls in (DataConfig, EngineConfig))
    _known(options, of_data | of_engine)
    return (
        section_of(DataConfig, {k: v for k, v in options.items() if k in of_data}),
        section_of(EngineConfig, {k: v for k, v in options.items() if k in of_engine}),
    )


def section_of(cls: type[Section], options: Mapping[str, Any]) -> Section:
    """Options by name as one section; ConfigError with the nearest name for an unknown one."""
    fields = dataclasses.fields(cls)
    _known(options, {f.name for f in fields})
    lists = {f.name for f in fields if f.type == "tuple[str, ...]"}
    given: dict[str, Any] = {k: _texts(v) if k in lists else v for k, v in options.items()}
    section = cls(**given)
    for f in fields:
        check(f, getattr(section, f.name))
    return section


def _known(options: Mapping[str, Any], known: set[str]) -> None:
    for name in options:
        if name not in known:
            raise ConfigError("fit", f"unknown option {name!r}", nearest(name, known))


def _texts(value: Any) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))


class FittedModel:
    """A trained model in its directory, with what can be done with it.  A pickle of it holds the files of the model."""

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
        """``run.json``: rounds, why it stopped, metrics, figures of the run."""
        found: dict[str, Any] = json.loads((Path(self.directory) / "run.json").read_text(encoding="utf-8"))
        return found

    @property
    def metrics(self) -> dict[str, Any]:
        """Exact metrics on the validation rows where there were some, else on the training rows."""
        facts = self.facts
        found: dict[str, Any] = facts["valid"] or facts["metrics"]
        return found

    @property
    def model(self) -> PipelineModel:
        """The model itself: it predicts Blocks, and converts with ``to_sklearn()``."""
        from mrml.runs.train import load_model

        return load_model(self.directory)

    def predict(self, data: Data, *, output: str | Path | None = None, **options: Any) -> Any:
        """Score files, or a table in memory; the predictions in input order, also left as part files where ``output``
        is given.

        A pyarrow Table; of a frame a frame of its kind, with its index.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with ExitStack() as held:
            given = self._scoring(held, data, None, options)
            data_config, engine = _sections(given)
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="mrml-"))
            where = str(output) if output is not None else f"{folder}/predictions"
            child.predict(self.directory, data_config, engine, where)
            found = pa.concat_tables([pq.read_table(p) for p in sorted(Path(where).glob("part-*"))])
        if not is_table(data):
            return found
        return like(data, found.drop_columns([n for n in ("file", "row") if n in found.column_names]))

    def evaluate(self, data: Data, y: Any = None, **options: Any) -> dict[str, Any]:
        """Exact metrics on data that has the target, or on a table of which ``y`` is the target."""
        with ExitStack() as held:
            data_config, engine = _sections(self._scoring(held, data, y, options))
            return child.evaluate(self.directory, data_config, engine)

    def _scoring(self, held: ExitStack, data: Any, y: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a scoring; what the model knows of its columns is not said again."""
        given = _as_paths(held, data, y, {**dataclasses.asdict(self.engine), **options})
        if is_table(data):
            for name in {"categorical", "absent"} - set(options):
                given.pop(name, None)
        return given

    def to_sklearn(self) -> Any:
        """The fitted scikit-learn estimator over the design columns, with equal predictions."""
        return self.model.to_sklearn()

    def export(
        self, output: str | Path, to: str, *, probe: Paths | None = None, overwrite: bool = False
    ) -> dict[str, Any]:
        """Boosted trees as a file of ``xgboost`` (.json, .ubj) or ``lightgbm``, compared there on a probe."""
        from mrml.runs.export import export

        rows = None if probe is None else DataConfig(data=_texts(probe))
        return export(self.directory, to, str(output), rows, overwrite)

    def importance(self) -> dict[str, dict[str, float]]:
        """Of boosted trees by kind (gain, cover, count) the total of every column that splits, the largest first."""
        from mrml.runs.export import trees_of

        return trees_of(self.model, self.directory).importance()

    def save(self, directory: str | Path) -> None:
        """Copy the model to a directory that does not exist."""
        target = Path(directory)
        if target.exists():
            raise OutputExists(str(target), "is there already", "name a directory that does not exist")
        shutil.copytree(self.directory, target, ignore=shutil.ignore_patterns("_run"))


def load(directory: str | Path, engine: str = "auto", allow_import: str | Sequence[str] = ()) -> FittedModel:
    """The model that ``mrml train --output`` or ``save`` wrote.

    ``allow_import`` names modules of your own, ``package.module``, whose code the model may need: they are imported.

    Raises
    ------
    ConfigError
        The model needs code of a module that was not named; nothing of it was run.
    InputError
        There is no whole model.
    """
    from mrml.runs.store import resolved
    from mrml.runs.train import load_model

    modules = _texts(allow_import)
    names.allow(*modules)
    where = resolved(str(directory))
    load_model(where)
    return FittedModel(where, EngineConfig(engine=engine, allow_import=modules))
