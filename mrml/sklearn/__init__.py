"""The algorithms as estimators of scikit-learn: the same hyperparameters, the same model.

>>> from mrml.sklearn import GridSearchCV, LogisticRegression            # doctest: +SKIP
>>> GridSearchCV(LogisticRegression(), {"l2": [1e-4, 1e-2]}).fit(X, y)   # doctest: +SKIP

Names of hyperparameters are those of the algorithms (``mrml train ALGORITHM --help``); ``engine`` and ``workers`` say
where the rounds run.  Frames keep their categories, texts, times and nulls; arrays and sparse matrices are numbers.
``model_`` is the fitted :class:`mrml.FittedModel`: ``est.model_.save(directory)`` is what the command reads.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mrml.sklearn import backend  # joblib knows the name "mrml" from here on
from mrml.sklearn.base import Classifier, Clusterer, Linear, Regressor, Trees
from mrml.sklearn.search import GridSearchCV

__all__ = [
    "GridSearchCV",
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "MLPClassifier",
    "MLPRegressor",
    "PoissonRegressor",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "backend",
]


class LinearRegression(Linear, Regressor, algorithm="linear"):
    """Least squares, with an L2 penalty where ``l2`` is not 0."""


class PoissonRegressor(Linear, Regressor, algorithm="poisson"):
    """Counts with a log link."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


class LogisticRegression(Linear, Classifier, algorithm="logistic"):
    """Two classes; of more the multinomial model (``softmax``)."""

    algorithm_of_many = "softmax"


class HistGradientBoostingRegressor(Trees, Regressor, algorithm="boosting", keeps=("objective",)):
    """Gradient boosted trees of numbers; ``objective`` is any of ``boosting`` that is."""


class HistGradientBoostingClassifier(Trees, Classifier, algorithm="boosting"):
    """Gradient boosted trees of classes."""

    two: ClassVar[dict[str, Any]] = {"objective": "logistic"}
    many: ClassVar[dict[str, Any]] = {"objective": "softmax"}


class RandomForestRegressor(Trees, Regressor, algorithm="forest"):
    """A random forest of numbers."""


class RandomForestClassifier(Trees, Classifier, algorithm="forest"):
    """A random forest of classes."""

    two: ClassVar[dict[str, Any]] = {"objective": "gini"}
    many: ClassVar[dict[str, Any]] = {"objective": "gini"}


class MLPRegressor(Regressor, algorithm="mlp", keeps=("loss",)):
    """A network of numbers; its defaults suit many rows."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # ten epochs of 200 rows are ten steps
        return tags


class MLPClassifier(Classifier, algorithm="mlp"):
    """A network of classes; its defaults suit many rows."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    two: ClassVar[dict[str, Any]] = {"loss": "logistic"}
    many: ClassVar[dict[str, Any]] = {"loss": "softmax"}


class KMeans(Clusterer, algorithm="kmeans"):
    """Lloyd's algorithm from k-means|| seeds: ``k`` centres."""
