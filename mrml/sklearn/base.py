"""What the estimators have in common: hyperparameters from the algorithm, checks of scikit-learn, a run for a fit."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mrml.algorithm import hyperparameters
from mrml.algorithms import algorithm_class
from mrml.api import Estimator, FittedModel
from mrml.arrays import Array
from mrml.errors import ConfigError, InputError
from mrml.runs.tables import is_frame, with_names
from mrml.sklearn import paths

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, ClusterMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:  # pragma: no cover - told by the extra's absence
    raise ConfigError("mrml.sklearn", "scikit-learn is not installed", "pip install 'mrml[sklearn]'") from error

#: hyperparameters that the estimator itself decides
_OWN = ("objective", "loss", "init_model")


class Plan(NamedTuple):
    """A run: data and target, the algorithm with its hyperparameters, columns beside the data, where it runs."""

    X: Any
    y: Any
    algorithm: str
    params: dict[str, Any]
    beside: dict[str, Any]
    options: dict[str, Any]


class Base(BaseEstimator):  # type: ignore[misc]
    """An algorithm as scikit-learn's estimators are."""

    algorithm: ClassVar[str]

    def __init_subclass__(cls, algorithm: str = "", keeps: tuple[str, ...] = (), **more: Any) -> None:
        super().__init_subclass__(**more)
        if algorithm:
            cls.algorithm = algorithm
            cls.__init__ = _init_of(algorithm, keeps)  # type: ignore[method-assign]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def planned(self, X: Any, y: Any, sample_weight: Any, algorithm: str, **decided: Any) -> Plan:
        """The run that fits what was checked."""
        beside: dict[str, Any] = {}
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if (weight <= 0).all():
                raise ValueError("sample_weight: all weights are zero")
            beside["weight"] = weight
        given = {f.name for f in dataclasses.fields(algorithm_class(algorithm))}  # type: ignore[arg-type]
        params = {
            k: v
            for k, v in self.get_params(deep=False).items()
            if k in given and not (k == "class_weight" and isinstance(v, dict))
        }
        return Plan(X, y, algorithm, {**params, **decided}, beside, {"engine": self.engine, "workers": self.workers})

    def train(self, plan: Plan) -> None:
        """Fit."""
        try:
            estimator = Estimator(plan.algorithm, **plan.params)
            self.model_: FittedModel = estimator.fit(plan.X, plan.y, **plan.beside, **plan.options)
        except (ConfigError, InputError) as error:  # scikit-learn's callers expect it
            raise ValueError(str(error)) from error
        self.n_iter_ = int(self.model_.facts["rounds"])

    def on_files(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Fit to columns of files."""
        return paths.fitted(self, X, y, {} if sample_weight is None else {"weight": sample_weight})

    def checked(self, X: Any, y: Any = None, numeric: bool = False) -> tuple[Any, Any]:
        """What to train on: a frame as it is, else an array or a sparse matrix of numbers."""
        self._of_frame = is_frame(X)
        if self._of_frame:
            validate_data(self, X, skip_check_array=True)
            if y is not None:
                y = column_or_1d(y, warn=True)
                check_consistent_length(X, y)
                if numeric:
                    y = np.asarray(y, np.float64)
        elif y is None:
            X = validate_data(self, X, accept_sparse="csr", ensure_all_finite="allow-nan", ensure_min_samples=2)
        else:
            X, y = validate_data(
                self, X, y, accept_sparse="csr", ensure_all_finite="allow-nan", ensure_min_samples=2, y_numeric=numeric
            )
        self._is_sparse = hasattr(X, "tocsr")
        return X, y

    def predicted(self, X: Any) -> Any:
        """An Arrow table of predictions, or a frame's columns."""
        check_is_fitted(self, "model_")
        if paths.is_path(X):
            return self.model_.predict(X)
        if self._of_frame and is_frame(X):
            validate_data(self, X, reset=False, skip_check_array=True)
        else:
            X = validate_data(self, X, reset=False, accept_sparse="csr", ensure_all_finite="allow-nan")
            if self._of_frame:
                X = with_names(X, self.feature_names_in_)
            elif self._is_sparse and not hasattr(X, "tocsr"):
                from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

                X = csr_matrix(X)
            elif hasattr(X, "tocsr") and not self._is_sparse:
                X = X.toarray()
        try:
            return self.model_.predict(X)
        except InputError as error:
            raise ValueError(str(error)) from error


class Regressor(RegressorMixin, Base):  # type: ignore[misc]
    """Numbers for rows."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to numbers ``y`` (n_samples,); or X paths, and y the name of a column there, as ``sample_weight`` is."""
        if paths.is_path(X):
            return self.on_files(X, y, sample_weight)
        self.train(self.plan(X, y, sample_weight))
        return self

    def plan(self, X: Any, y: Any, sample_weight: Any = None) -> Plan:
        """The run that fits to numbers ``y`` (n_samples,)."""
        X, y = self.checked(X, _there(self, y), numeric=True)
        return self.planned(X, y, sample_weight, self.algorithm)

    def predict(self, X: Any) -> Array:
        """(n_samples,) float64: means."""
        return np.asarray(self.predicted(X)["prediction"], np.float64)


class Classifier(ClassifierMixin, Base):  # type: ignore[misc]
    #: hyperparameters for two classes, and for more; the algorithm for more where it is another
    two: ClassVar[dict[str, Any]] = {}
    many: ClassVar[dict[str, Any]] = {}
    algorithm_of_many: ClassVar[str] = ""
    classes_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to classes ``y`` (n_samples,): texts, whole numbers, or anything else that ``numpy.unique`` sorts; or X
        paths, and y the name of a column there, as ``sample_weight`` is."""
        if paths.is_path(X):
            return self.on_files(X, y, sample_weight)
        self.train(self.plan(X, y, sample_weight))
        if len(self.model_.model.classes) < len(self.classes_):  # rows of no weight had the others
            self.classes_ = np.array([c for c in self.classes_ if str(c) in self.model_.model.classes])
        return self

    def plan(self, X: Any, y: Any, sample_weight: Any = None) -> Plan:
        """The run that fits to classes ``y`` (n_samples,)."""
        X, y = self.checked(X, _there(self, y))
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}: a classifier needs at least two classes")
        #: texts and whole numbers are their own names in the model
        self._named = self.classes_.dtype.kind in "iuU" or all(isinstance(c, str) for c in self.classes_)
        several = len(self.classes_) > 2
        algorithm = self.algorithm_of_many if several and self.algorithm_of_many else self.algorithm
        if isinstance(weights := getattr(self, "class_weight", None), dict):
            of_class = np.array([float(weights.get(c, 1.0)) for c in self.classes_.tolist()])
            given = np.ones(len(codes)) if sample_weight is None else np.asarray(sample_weight, np.float64)
            sample_weight = given * of_class[codes]
        labels = np.asarray(y, None if self.classes_.dtype.kind in "iu" else str) if self._named else codes
        return self.planned(X, labels, sample_weight, algorithm, **(self.many if several else self.two))

    def predict_proba(self, X: Any) -> Array:
        """(n_samples, n_classes) float64, in the order of ``classes_``."""
        found = self.predicted(X)
        names = self.classes_ if self._named else range(len(self.classes_))
        return np.column_stack([np.asarray(found[f"probability_{name}"], np.float64) for name in names])

    def predict(self, X: Any) -> Array:
        """(n_samples,) of ``classes_``: the likeliest."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        out: Array = self.classes_[likeliest]
        return out


class Clusterer(ClusterMixin, Base):  # type: ignore[misc]
    """Numbers of clusters for rows."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Find the clusters."""
        X, _ = self.checked(X)
        self.train(self.planned(X, None, sample_weight, self.algorithm))
        self.labels_ = self.predict(X)
        return self

    def predict(self, X: Any) -> Array:
        """(n_samples,) int32: the nearest centre's number."""
        return np.asarray(self.predicted(X)["prediction"], np.int32)


class Linear:
    """What linear models tell."""

    @property
    def coef_(self) -> Array:
        """As scikit-learn's estimator of this model has them: of the columns that the model makes of its features."""
        out: Array = self.model_.model.inner.to_sklearn().coef_  # type: ignore[attr-defined]
        return out

    @property
    def intercept_(self) -> Any:
        """See ``coef_``."""
        return self.model_.model.inner.to_sklearn().intercept_  # type: ignore[attr-defined]


class Trees:
    """What trees tell."""

    @property
    def feature_importances_(self) -> Array:
        """(n_features,) float64: shares of the gain of all splits."""
        gains = self.model_.importance().get("gain", {})  # type: ignore[attr-defined]
        names = list(self.model_.model.schema.columns)  # type: ignore[attr-defined]
        found = np.array([gains.get(c.name, 0.0) for c in names if c.role == "feature"])
        return found / (found.sum() or 1.0)


def _init_of(algorithm: str, keeps: tuple[str, ...]) -> Any:
    """An ``__init__`` with the algorithm's hyperparameters and their defaults, where the rounds run, and no more."""
    known = hyperparameters(algorithm_class(algorithm))
    defaults = {name: f.default for name, f in known.items() if name not in _OWN or name in keeps}
    defaults |= {"engine": "auto", "workers": None}

    def __init__(self: Any, **params: Any) -> None:
        unknown = set(params) - set(defaults)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no hyperparameter {sorted(unknown)[0]!r}")
        for name, default in defaults.items():
            setattr(self, name, params.get(name, default))

    one, word = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), inspect.Parameter.KEYWORD_ONLY
    named = [inspect.Parameter(name, word, default=default) for name, default in defaults.items()]
    __init__.__signature__ = inspect.Signature([one, *named])  # type: ignore[attr-defined]
    return __init__


def _there(estimator: Any, y: Any) -> Any:
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None")
    return y
